use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use config::query_frontend::RemoteRead;
use limits::LimitsHandle;
use model::TenantIds;
use runtime::{Clock, MemoryPart};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use wire::Query;

use crate::error::ApiError;
use crate::frontend::{Frontend, active_queries, top_queries};
use crate::raw::Gate;
use crate::status::Process;
use crate::{
    absent, blocks, cardinality, exemplars, export, features, federate, labels, metadata, openapi, query,
    read, search, self_metrics, status, syntax,
};

/// What the frontend is made of.
#[derive(Clone)]
pub struct Deps {
    /// Who evaluates.
    pub querier: Arc<dyn Query>,
    /// Splits, keeps, lists and logs what is evaluated.
    pub frontend: Frontend,
    /// Whether requests must name their tenant.
    pub multitenancy: bool,
    /// What tenants may do.
    pub limits: LimitsHandle,
    /// What there is to say about the process.
    pub process: Arc<Process>,
    /// The time.
    pub clock: Clock,
    /// For what answers hold of series until they are sent.
    pub memory: MemoryPart,
    /// How far back the newest sample of a series may lie that is federated.
    pub lookback_ms: i64,
    /// Bounds of remote read and export.
    pub remote_read: RemoteRead,
}

/// The routes under `/api/v1` and under `/prometheus/api/v1`.
pub fn routes(deps: Deps) -> Router {
    let gate = Gate::new(deps.remote_read.concurrent_limit);
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
        .route("/targets/relabel_steps", get(absent::relabel_steps))
        .route("/scrape_pools", get(absent::scrape_pools))
        .route("/scrape_pools/config", get(absent::scrape_pool_config))
        .route("/notifications", get(absent::nothing))
        .route("/notifications/live", get(absent::no_stream))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/active_queries", get(active_queries).post(active_queries))
        .route("/status/top_queries", get(top_queries).post(top_queries))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(blocks::blocks))
        .route("/status/self_metrics", get(self_metrics::self_metrics))
        .route("/features", get(features::features))
        .route("/openapi.yaml", get(openapi::openapi))
        .nest("/cardinality", cardinality())
        .nest("/search", search())
        .with_state(deps.clone())
        .merge(export::routes(deps.clone(), gate.clone()))
        .layer(compression())
        // Frames and blocks are packed already.
        .merge(read::routes(deps.clone(), gate));
    Router::new()
        .nest("/api/v1", api.clone())
        .nest("/prometheus/api/v1", api)
        .merge(federate::routes(deps.clone()))
        .nest("/prometheus", federate::routes(deps))
        .layer(from_fn(cross_origin))
}

fn cardinality() -> Router<Deps> {
    let metrics = cardinality::active_native_histogram_metrics;
    Router::new()
        .route("/label_names", get(cardinality::label_names).post(cardinality::label_names))
        .route("/label_values", get(cardinality::label_values).post(cardinality::label_values))
        .route("/active_series", get(cardinality::active_series).post(cardinality::active_series))
        .route("/active_native_histogram_metrics", get(metrics).post(metrics))
}

fn search() -> Router<Deps> {
    Router::new()
        .route("/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/label_names", get(search::label_names).post(search::label_names))
        .route("/label_values", get(search::label_values).post(search::label_values))
}

/// Compression of what is text.
fn compression() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new()
        .compress_when(DefaultPredicate::new().and(NotForContentType::const_new("application/vnd.apache.")))
}

impl Deps {
    /// Whose data the request asks for.
    pub(crate) fn tenants(&self, headers: &HeaderMap) -> Result<TenantIds, ApiError> {
        server::tenants(headers, self.multitenancy).map_err(|e| ApiError::tenant(&e))
    }
}

/// Lets browsers on other origins ask, as Prometheus does, and answers their preflight requests.
async fn cross_origin(request: Request<Body>, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    // What is too short to be packed would not say that it might have been.
    if !headers.contains_key(header::VARY) {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date");
    response
}
