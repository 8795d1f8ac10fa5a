use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::TenantIds;
use runtime::Clock;
use tower_http::compression::CompressionLayer;
use wire::Query;

use crate::error::ApiError;
use crate::{absent, exemplars, json, labels, metadata, query, syntax};

/// What the frontend is made of.
#[derive(Clone)]
pub struct Deps {
    /// Who evaluates.
    pub querier: Arc<dyn Query>,
    /// Whether requests must name their tenant.
    pub multitenancy: bool,
    /// The time.
    pub clock: Clock,
}

/// The version of Prometheus whose API this is; Grafana decides by it what it may ask.
const PROMETHEUS_VERSION: &str = "3.15.0";

/// The routes under `/api/v1` and under `/prometheus/api/v1`.
pub fn routes(deps: Deps) -> Router {
    let api = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/series", get(labels::series).post(labels::series))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values).post(labels::values))
        .route("/query_exemplars", get(exemplars::query).post(exemplars::query))
        .route("/metadata", get(metadata::query).post(metadata::query))
        .route("/format_query", get(syntax::format).post(syntax::format))
        .route("/parse_query", get(syntax::tree).post(syntax::tree))
        .route("/rules", get(absent::rules))
        .route("/alerts", get(absent::alerts))
        .route("/alertmanagers", get(absent::alertmanagers))
        .route("/targets", get(absent::targets))
        .route("/targets/metadata", get(absent::targets_metadata))
        .route("/scrape_pools", get(absent::scrape_pools))
        .route("/notifications", get(absent::nothing))
        .route("/status/buildinfo", get(buildinfo))
        .with_state(deps);
    Router::new()
        .nest("/api/v1", api.clone())
        .nest("/prometheus/api/v1", api)
        .layer(CompressionLayer::new())
        .layer(from_fn(cross_origin))
}

impl Deps {
    /// Whose data the request asks for.
    pub(crate) fn tenants(&self, headers: &HeaderMap) -> Result<TenantIds, ApiError> {
        server::tenants(headers, self.multitenancy).map_err(|e| ApiError::tenant(&e))
    }
}

async fn buildinfo(State(_deps): State<Deps>) -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("version").string(PROMETHEUS_VERSION);
            out.key("revision").string("");
            out.key("branch").string("");
            out.key("buildUser").string("");
            out.key("buildDate").string("");
            out.key("goVersion").string("");
            out.key("application").string("firn");
            out.key("firnVersion").string(env!("CARGO_PKG_VERSION"));
        });
    })
}

/// Lets browsers on other origins ask, as Prometheus does, and answers their preflight requests.
async fn cross_origin(request: Request<Body>, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date");
    response
}
