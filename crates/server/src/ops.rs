use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::Deserialize;

use crate::{Gate, SharedRegistry};

/// Something to show that changes.
pub type Text = Arc<dyn Fn() -> String + Send + Sync>;
/// The overrides of limits in force as YAML; only what differs from the defaults, if so asked.
pub type Overrides = Arc<dyn Fn(bool) -> String + Send + Sync>;
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
    /// `/runtime_config`: the limits that can change while the process runs.
    pub runtime_config: Overrides,
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
        .route("/runtime_config", get(runtime_config))
        .route("/api/v1/status/walreplay", get(walreplay))
        .route("/prometheus/api/v1/status/walreplay", get(walreplay))
        .route("/services", get(|State(ops): State<Ops>| async move { (ops.services)() }))
        .route("/log_level", get(log_level))
        .route("/log_level", post(set_log_level))
        .with_state(ops)
        .fallback_service(any(move |request| gate.clone().answer(request)))
}

async fn index(State(ops): State<Ops>) -> String {
    format!(
        "firn {}\n\n/ready\n/metrics\n/config\n/runtime_config\n/services\n/log_level\n/flush\n/api/v1/push\n/api/v1/query\n/api/v1/query_range\n",
        ops.version
    )
}

async fn ready(State(ops): State<Ops>) -> Response {
    match ops.gate.unready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn config(State(ops): State<Ops>) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], ops.config).into_response()
}

/// `mode=diff` leaves out what does not differ from the defaults, as in Mimir.
async fn runtime_config(State(ops): State<Ops>, RawQuery(query): RawQuery) -> Response {
    let only_differences = match query.as_deref().unwrap_or_default() {
        "" => false,
        "mode=diff" => true,
        other => {
            let reason = format!("unknown parameters {other:?}; there is mode=diff only\n");
            return (StatusCode::BAD_REQUEST, reason).into_response();
        }
    };
    ([(header::CONTENT_TYPE, "application/yaml")], (ops.runtime_config)(only_differences)).into_response()
}

/// How far the log is replayed, in mebibytes, as Prometheus tells it in segments. It is asked while the gate is closed.
async fn walreplay(State(ops): State<Ops>) -> Response {
    let figure = |name: &str| ops.registry.value(&format!("firn_ingester_replay_{name}")).unwrap_or(0.0);
    let mebibytes = |bytes: f64| (bytes / f64::from(1 << 20)).ceil() as u64;
    let max = mebibytes(figure("total_bytes"));
    let is_over = figure("duration_seconds") > 0.0;
    let current = if is_over { max } else { mebibytes(figure("read_bytes")) };
    let body =
        format!("{{\"status\":\"success\",\"data\":{{\"min\":0,\"max\":{max},\"current\":{current}}}}}");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn log_level(State(ops): State<Ops>) -> String {
    format!("{}\n", (ops.log_level)())
}

#[derive(Debug, Deserialize)]
struct LevelParams {
    log_level: String,
}

/// The parameters of the address or, when it has none, of the form: both are written alike.
fn level_params(query: Option<String>, form: &str) -> Option<LevelParams> {
    let text = query.unwrap_or_else(|| form.trim().to_string());
    let address: Uri = format!("/?{text}").parse().ok()?;
    let Query(params) = Query::try_from_uri(&address).ok()?;
    Some(params)
}

async fn set_log_level(State(ops): State<Ops>, RawQuery(query): RawQuery, form: String) -> Response {
    let Some(params) = level_params(query, &form) else {
        let reason = "send log_level=info in the address or as a form\n";
        return (StatusCode::BAD_REQUEST, reason).into_response();
    };
    match (ops.set_log_level)(&params.log_level) {
        Ok(()) => {
            tracing::info!(log_level = params.log_level, "log level changed");
            format!("{}\n", (ops.log_level)()).into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_taken_from_the_address_or_the_form() {
        let level = |query: Option<&str>, form: &str| {
            level_params(query.map(str::to_string), form).map(|params| params.log_level)
        };
        assert_eq!(level(Some("log_level=debug"), ""), Some("debug".to_string()));
        assert_eq!(level(None, "log_level=debug\n"), Some("debug".to_string()));
        assert_eq!(level(None, "log_level=info,wal=debug"), Some("info,wal=debug".to_string()));
        assert_eq!(level(None, "log_level=info%2Cwal%3Ddebug"), Some("info,wal=debug".to_string()));
        for wrong in ["", "debug", "level=debug", "log_level = debug"] {
            assert_eq!(level(None, wrong), None, "{wrong}");
        }
    }
}
