use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::{Classify, Deletion, Matcher, TimeRange};
use runtime::Clock;
use server::TenantError;

use crate::delete::Deleter;
use crate::error::CompactError;
use crate::hurry::Hurry;

/// The most bytes of a form.
const FORM_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a message: what is wrong stands at the front.
const MESSAGE_BYTES_MAX: usize = 1024;

/// What the routes work with.
#[derive(Clone)]
pub struct Api {
    /// Who deletes.
    pub deleter: Deleter,
    /// Who does not wait with deletions.
    pub hurry: Hurry,
    /// The time.
    pub clock: Clock,
    /// Whether requests must name their tenant.
    pub multitenancy: bool,
}

/// Deletion of series as in Prometheus, deletion of tenants as in Mimir.
pub fn routes(api: Api) -> Router {
    let tsdb = Router::new()
        .route("/delete_series", post(delete_series).put(delete_series))
        .route("/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/snapshot", post(snapshot).put(snapshot));
    Router::new()
        .nest("/api/v1/admin/tsdb", tsdb.clone())
        .nest("/prometheus/api/v1/admin/tsdb", tsdb)
        .route("/compactor/delete_tenant", post(delete_tenant))
        .route("/compactor/delete_tenant_status", get(delete_tenant_status))
        .with_state(api)
}

async fn delete_series(
    State(api): State<Api>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<StatusCode, ApiError> {
    let tenant = server::tenant(&headers, api.multitenancy)?;
    let deletion = deletion(&parameters(request).await?)?;
    api.deleter.delete_series(&tenant, deletion).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// No query finds what is deleted; that files are rewritten without it is begun now and not waited for.
async fn clean_tombstones(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    let tenant = server::tenant(&headers, api.multitenancy)?;
    api.hurry.ask(&tenant, api.clock.now_ms());
    Ok(StatusCode::NO_CONTENT)
}

/// There is nothing to copy out of the way: the tables are files that do not change.
async fn snapshot(request: Request<Body>) -> Result<StatusCode, ApiError> {
    let pairs = parameters(request).await?;
    let skip_head = pairs.iter().find(|(name, _)| name == "skip_head").map_or("", |(_, text)| text);
    let booleans = ["", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
    if !booleans.contains(&skip_head) {
        let reason =
            format!("unable to parse boolean: strconv.ParseBool: parsing {skip_head:?}: invalid syntax");
        return Err(ApiError::parameter("skip_head", &reason));
    }
    Err(ApiError {
        status: StatusCode::NOT_IMPLEMENTED,
        error_type: "unavailable",
        message:
            "there are no snapshots here: POST /flush, then copy storage.url, or read a version of the Delta \
                  tables that is younger than compactor.vacuum_grace"
                .to_string(),
    })
}

async fn delete_tenant(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    let tenant = server::tenant(&headers, api.multitenancy)?;
    api.deleter.delete_tenant(&tenant).await?;
    Ok(StatusCode::OK)
}

async fn delete_tenant_status(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenant = server::tenant(&headers, api.multitenancy)?;
    let deleted = api.deleter.is_deleted(&tenant).await?;
    let body = serde_json::json!({"tenant_id": tenant.as_str(), "blocks_deleted": deleted});
    Ok(([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

type Pairs = Vec<(String, String)>;

/// The parameters of the URL, then those of a form.
async fn parameters(request: Request<Body>) -> Result<Pairs, ApiError> {
    let mut pairs = Pairs::new();
    let url = request.uri().query().unwrap_or_default().to_string();
    pairs.extend(form_urlencoded::parse(url.as_bytes()).into_owned());
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        let limited = request.map(|body| Body::new(http_body_util::Limited::new(body, FORM_BYTES_MAX)));
        let body = Bytes::from_request(limited, &()).await;
        let body = body.map_err(|e| ApiError::bad_data(format!("error parsing form values: {e}")))?;
        pairs.extend(form_urlencoded::parse(&body).into_owned());
    }
    Ok(pairs)
}

fn deletion(pairs: &Pairs) -> Result<Deletion, ApiError> {
    let selectors = pairs.iter().filter(|(name, _)| name == "match[]");
    let selectors: Vec<Vec<Matcher>> = selectors.map(|(_, text)| selector(text)).collect::<Result<_, _>>()?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided".to_string()));
    }
    let time = |name: &str, default| match pairs.iter().find(|(n, text)| n == name && !text.is_empty()) {
        None => Ok(default),
        Some((_, text)) => server::parse_time(text)
            .map_err(|e| ApiError::parameter(name, &format!("invalid time value for '{name}': {e}"))),
    };
    let range = TimeRange::new(time("start", i64::MIN)?, time("end", i64::MAX)?);
    Ok(Deletion { selectors, range })
}

fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    promql::parse_selector(text).map_err(|e| ApiError::parameter("match[]", &e))
}

/// An error as Prometheus's API spells it.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl ApiError {
    fn bad_data(message: String) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, error_type: "bad_data", message }
    }

    fn parameter(name: &str, reason: &dyn std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> ApiError {
        ApiError { status: error.status(), error_type: "bad_data", message: error.to_string() }
    }
}

impl From<CompactError> for ApiError {
    /// Asked again it may succeed: every step can be repeated.
    fn from(error: CompactError) -> ApiError {
        let status = StatusCode::from_u16(error.kind().http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error_type = if status == StatusCode::SERVICE_UNAVAILABLE { "unavailable" } else { "internal" };
        tracing::error!(%error, "deletion that was asked for");
        ApiError { status, error_type, message: error.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = &self.message[..self.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        let body = serde_json::json!({"status": "error", "errorType": self.error_type, "error": message});
        (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<Deletion, String> {
        let pairs: Pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        deletion(&pairs).map_err(|e| e.message)
    }

    #[test]
    fn parameters_are_those_of_prometheus() {
        let all = check("match[]=up&match[]={job=\"a\"}").unwrap();
        assert_eq!((all.selectors.len(), all.range), (2, TimeRange::ALL));
        let some = check("match[]=up&start=1.5&end=2015-07-01T20:10:51.781Z").unwrap();
        assert_eq!(some.range, TimeRange::new(1500, 1_435_781_451_781));
        assert_eq!(check("start=1").unwrap_err(), "no match[] parameter provided");
        assert!(check("match[]=up&start=yesterday").unwrap_err().starts_with("invalid parameter \"start\""));
        assert!(check("match[]=up{").unwrap_err().starts_with("invalid parameter \"match[]\""));
    }
}
