use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::Deserialize;

use crate::{Gate, SharedRegistry};

/// Something to show that changes.
pub type Text = Arc<dyn Fn() -> String + Send + Sync>;
/// Changes the level of the logs, or says why not.
pub type SetLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What the operator's routes show and do.
#[derive(Clone)]
pub struct Ops {
    /// Decides readiness and answers everything that is not an operator's route.
    pub gate: Gate,
    /// `/metrics`.
    pub registry: SharedRegistry,
    /// `/config`: the configuration in force, as YAML.
    pub config: String,
    /// `/services`: a line per service.
    pub services: Text,
    /// `GET /log_level`.
    pub log_level: Text,
    /// `POST /log_level`.
    pub set_log_level: SetLevel,
    /// `/` and `/api/v1/status/buildinfo` of the process.
    pub version: &'static str,
}

/// The operator's routes; everything else goes through the gate.
pub fn routes(ops: Ops) -> Router {
    let gate = ops.gate.clone();
    Router::new()
        .route("/", get(index))
        .route("/ready", get(ready))
        .route("/-/ready", get(ready))
        .route("/-/healthy", get(|| async { "firn is healthy\n" }))
        .route("/metrics", get(|State(ops): State<Ops>| async move { ops.registry.expose() }))
        .route("/config", get(config))
        .route("/services", get(|State(ops): State<Ops>| async move { (ops.services)() }))
        .route("/log_level", get(log_level))
        .route("/log_level", post(set_log_level))
        .with_state(ops)
        .fallback_service(any(move |request| gate.clone().answer(request)))
}

async fn index(State(ops): State<Ops>) -> String {
    format!(
        "firn {}\n\n/ready\n/metrics\n/config\n/services\n/log_level\n/flush\n/api/v1/push\n/api/v1/query\n/api/v1/query_range\n",
        ops.version
    )
}

async fn ready(State(ops): State<Ops>) -> Response {
    match ops.gate.closed_because() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn config(State(ops): State<Ops>) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], ops.config).into_response()
}

async fn log_level(State(ops): State<Ops>) -> String {
    format!("{}\n", (ops.log_level)())
}

#[derive(Debug, Deserialize)]
struct LevelParams {
    log_level: String,
}

async fn set_log_level(State(ops): State<Ops>, Query(params): Query<LevelParams>) -> Response {
    match (ops.set_log_level)(&params.log_level) {
        Ok(()) => {
            tracing::info!(log_level = params.log_level, "log level changed");
            format!("{}\n", (ops.log_level)()).into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}
