use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tower::ServiceExt;

use crate::listen::is_grpc;

/// Keeps the routes closed until the process is ready, and closes them again when it stops.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<RwLock<State>>,
}

#[derive(Debug)]
enum State {
    /// Nothing is answered but what `routes` still knows.
    Closed { reason: String, routes: Router },
    /// Each request in flight holds a clone of `requests`. `ends` says why this will not last.
    Open { routes: Routes, requests: Arc<()>, ends: Option<String> },
}

/// What is served.
#[derive(Default)]
pub struct Routes {
    /// While the process is open for business.
    pub open: Router,
    /// From when it stops until it is gone; all else is refused then.
    pub stopping: Router,
    /// Why the process, though open, had better not be sent requests now.
    pub unready: Option<Unready>,
}

/// Says what is missing, if anything is.
pub type Unready = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl From<Router> for Routes {
    fn from(open: Router) -> Routes {
        Routes { open, ..Routes::default() }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

/// The requests that were let in before a gate closed.
#[derive(Debug)]
#[must_use = "what was let in may still be at work"]
pub struct InFlight {
    requests: Option<Arc<()>>,
}

impl Gate {
    /// A closed gate.
    pub fn closed(reason: &str) -> Gate {
        Gate { state: Arc::new(RwLock::new(State::closed(reason, Router::new()))) }
    }

    /// Lets requests through to `routes`.
    pub fn open(&self, routes: impl Into<Routes>) {
        let mut routes: Routes = routes.into();
        routes.open = routes.open.fallback(not_found);
        *self.state.write() = State::Open { routes, requests: Arc::new(()), ends: None };
    }

    /// Goes on as before, but says that it will end.
    pub fn announce_end(&self, reason: &str) {
        if let State::Open { ends, .. } = &mut *self.state.write() {
            *ends = Some(reason.to_string());
        }
    }

    /// Answers 503 with `reason` from now on, but for what is served while stopping.
    pub fn close(&self, reason: &str) -> InFlight {
        let mut state = self.state.write();
        match std::mem::replace(&mut *state, State::closed(reason, Router::new())) {
            State::Open { routes, requests, .. } => {
                *state = State::closed(reason, routes.stopping);
                InFlight { requests: Some(requests) }
            }
            State::Closed { routes, .. } => {
                *state = State::Closed { reason: reason.to_string(), routes };
                InFlight { requests: None }
            }
        }
    }

    /// Why no requests should be sent: the gate is closed, soon will be, or something is missing behind it.
    pub fn unready(&self) -> Option<String> {
        match &*self.state.read() {
            State::Closed { reason, .. } => Some(reason.clone()),
            State::Open { routes, ends, .. } => {
                ends.clone().or_else(|| routes.unready.as_ref().and_then(|unready| unready()))
            }
        }
    }

    /// Answers a request.
    pub async fn answer(self, request: Request<Body>) -> Response {
        let (routes, _in_flight) = match &*self.state.read() {
            State::Open { routes, requests, .. } => (routes.open.clone(), Some(Arc::clone(requests))),
            State::Closed { routes, .. } => (routes.clone(), None),
        };
        match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Says so in words: an empty 404 looks like a proxy's.
async fn not_found(request: Request) -> Response {
    if is_grpc(&request) {
        // 12 is UNIMPLEMENTED.
        let headers =
            [(header::CONTENT_TYPE, "application/grpc"), (HeaderName::from_static("grpc-status"), "12")];
        return (StatusCode::OK, headers).into_response();
    }
    let path: String = request.uri().path().chars().take(200).collect();
    (StatusCode::NOT_FOUND, format!("there is no {path:?} here; / lists what there is\n")).into_response()
}

impl State {
    fn closed(reason: &str, routes: Router) -> State {
        let text = reason.to_string();
        let routes = routes.fallback(move |request: Request| async move { unavailable(&request, &text) });
        State::Closed { reason: reason.to_string(), routes }
    }
}

impl InFlight {
    /// Returns when all of them are answered, or after `patience`.
    pub async fn wait(self, patience: Duration) {
        self.wait_for_all_but(0, patience).await;
    }

    /// As [`InFlight::wait`], for a request that closed the gate and is one of them itself.
    pub async fn wait_for_others(self, patience: Duration) {
        self.wait_for_all_but(1, patience).await;
    }

    async fn wait_for_all_but(self, n: usize, patience: Duration) {
        let Some(requests) = self.requests else { return };
        let mut waited = Duration::ZERO;
        while Arc::strong_count(&requests) > 1 + n && waited < patience {
            runtime::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }
}

/// How often it is looked whether requests are answered.
const PAUSE: Duration = Duration::from_millis(5);

/// In the words of who asks: a gRPC client takes a status that does not come as gRPC's for our bug.
fn unavailable(request: &Request, reason: &str) -> Response {
    if is_grpc(request) {
        let message: String = percent_encode(reason.as_bytes(), NON_ALPHANUMERIC).to_string();
        let headers =
            [("content-type", "application/grpc"), ("grpc-status", "14"), ("grpc-message", &message)];
        return headers.into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], format!("{reason}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::routing::get;
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    async fn ask(gate: &Gate, path: &str) -> StatusCode {
        gate.clone().answer(Request::get(path).body(Body::empty()).unwrap()).await.status()
    }

    fn routes() -> Router {
        Router::new().route("/push", get(|| async {})).route("/select", get(|| async {}))
    }

    #[tokio::test]
    async fn a_closed_gate_answers_only_what_it_was_left() {
        let gate = Gate::closed("starting");
        assert_eq!(ask(&gate, "/push").await, StatusCode::SERVICE_UNAVAILABLE);
        let stopping = Router::new().route("/select", get(|| async {}));
        gate.open(Routes { open: routes(), stopping, unready: None });
        gate.announce_end("stopping soon");
        assert_eq!(ask(&gate, "/push").await, StatusCode::OK);
        assert_eq!(gate.unready().as_deref(), Some("stopping soon"));
        gate.close("stopping").wait(Duration::ZERO).await;
        assert_eq!(ask(&gate, "/push").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&gate, "/select").await, StatusCode::OK);
        assert_eq!(gate.unready().as_deref(), Some("stopping"));
    }

    #[tokio::test]
    async fn a_closed_gate_refuses_grpc_in_its_own_words() {
        let request =
            Request::post("/firn.v1.Ingester/Push").header("content-type", "application/grpc+proto");
        let response = Gate::closed("not yet").answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            (&response.headers()["grpc-status"], &response.headers()["grpc-message"]),
            (&HeaderValue::from_static("14"), &HeaderValue::from_static("not%20yet"))
        );
    }

    #[tokio::test]
    async fn an_open_gate_may_say_what_is_missing() {
        let gate = Gate::closed("starting");
        let unready: Unready = Arc::new(|| Some("no querier is connected".to_string()));
        gate.open(Routes { open: routes(), unready: Some(unready), ..Routes::default() });
        assert_eq!(ask(&gate, "/push").await, StatusCode::OK);
        assert_eq!(gate.unready().as_deref(), Some("no querier is connected"));
    }

    #[tokio::test]
    async fn what_was_let_in_before_is_waited_for() {
        let (let_go, held) = tokio::sync::oneshot::channel::<()>();
        let held = Arc::new(tokio::sync::Mutex::new(Some(held)));
        let slow = get(move || async move { drop(held.lock().await.take().unwrap().await) });
        let gate = Gate::closed("starting");
        gate.open(Router::new().route("/slow", slow));
        let mut request = pin!(ask(&gate, "/slow"));
        assert!(poll_once(request.as_mut()).await.is_none());
        let in_flight = gate.close("stopping");
        let mut waiting = pin!(in_flight.wait(Duration::from_secs(600)));
        assert!(poll_once(waiting.as_mut()).await.is_none(), "the slow request is still at work");
        let_go.send(()).unwrap();
        assert_eq!(request.await, StatusCode::OK);
        waiting.await;
    }

    async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        poll_fn(|context| match Pin::new(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
