use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;
use tower::ServiceExt;

/// Keeps the routes closed until the process is ready, and closes them again when it stops.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<RwLock<State>>,
}

#[derive(Debug)]
enum State {
    Closed(String),
    Open(Router),
}

impl Gate {
    /// A closed gate.
    pub fn closed(reason: &str) -> Gate {
        Gate { state: Arc::new(RwLock::new(State::Closed(reason.to_string()))) }
    }

    /// Lets requests through to `routes`.
    pub fn open(&self, routes: Router) {
        *self.state.write() = State::Open(routes);
    }

    /// Answers 503 with `reason` from now on.
    pub fn close(&self, reason: &str) {
        *self.state.write() = State::Closed(reason.to_string());
    }

    /// Why the gate is closed, if it is.
    pub fn closed_because(&self) -> Option<String> {
        match &*self.state.read() {
            State::Closed(reason) => Some(reason.clone()),
            State::Open(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer(self, request: Request<Body>) -> Response {
        let routes = match &*self.state.read() {
            State::Open(routes) => routes.clone(),
            State::Closed(reason) => return unavailable(reason),
        };
        match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], format!("{reason}\n")).into_response()
}
