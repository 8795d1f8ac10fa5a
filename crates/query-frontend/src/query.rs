use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{TenantIds, Value};
use wire::{QueryRequest, QueryResult};

use crate::error::ApiError;
use crate::frontend::Asker;
use crate::http::Deps;
use crate::json;
use crate::params::{NANOS_PER_MS, Params, parse_nanos};

/// The most steps of a range query, as in Prometheus: enough for a minute's resolution over a week.
const STEPS_MAX: i128 = 11_000;

/// What is said when `limit` cut the result.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// `/query`
pub(crate) async fn instant(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    params.limit()?;
    let at = params.time("time")?.unwrap_or_else(|| deps.clock.now_ms());
    let request = request(&params, at, at, None)?;
    answer(&deps, &headers, &params, request).await
}

/// `/query_range`
pub(crate) async fn range(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    params.limit()?;
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
    check_order(start, end)?;
    let step =
        parse_nanos(params.get("step").unwrap_or_default()).map_err(|e| ApiError::parameter("step", e))?;
    let step = step_ms(end.saturating_sub(start), step)?;
    let request = request(&params, start, end, Some(step))?;
    answer(&deps, &headers, &params, request).await
}

fn check_order(start: i64, end: i64) -> Result<(), ApiError> {
    match end < start {
        true => Err(ApiError::parameter("end", "end timestamp must not be before start time")),
        false => Ok(()),
    }
}

/// The step in milliseconds, of which a range has not too many.
fn step_ms(range_ms: i64, step_nanos: i64) -> Result<i64, ApiError> {
    let zero = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    if step_nanos <= 0 {
        return Err(ApiError::parameter("step", zero));
    }
    if i128::from(range_ms) * i128::from(NANOS_PER_MS) / i128::from(step_nanos) > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    match step_nanos / NANOS_PER_MS {
        0 => Err(ApiError::parameter("step", zero)),
        step => Ok(step),
    }
}

fn request(
    params: &Params,
    start_ms: i64,
    end_ms: i64,
    step_ms: Option<i64>,
) -> Result<QueryRequest, ApiError> {
    let timeout_ms = params.duration("timeout")?;
    let timeout_ms = timeout_ms.map(|ms| u64::try_from(ms).unwrap_or(0));
    Ok(QueryRequest {
        query: params.get("query").unwrap_or_default().to_string(),
        start_ms,
        end_ms,
        step_ms,
        lookback_ms: params.lookback()?,
        timeout_ms,
        stats_per_step: params.get("stats") == Some("all"),
    })
}

async fn answer(
    deps: &Deps,
    headers: &HeaderMap,
    params: &Params,
    request: QueryRequest,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let tenants = deps.tenants(headers)?;
    let asker = Asker::new(headers, params.get("nocache"));
    let query = request.query.clone();
    let time = bound_of_time(deps, &tenants, request.timeout_ms);
    let answered = deps.frontend.query(&tenants, request, asker).await;
    let (mut result, work) = answered.map_err(|e| ApiError::instead_of_within(&query, &tenants, e, time))?;
    truncate(&mut result, limit);
    result.warnings.extend(params.get("stats").and_then(stats_warning));
    let stats = params.get("stats").map(|_| (&result.stats, work));
    let data = |out: &mut json::Json| json::query_data(out, &result.value, stats);
    Ok(json::success_with(data, &result.warnings, &result.infos))
}

/// What ends a query that takes too long: what the request asks for, unless the limit is shorter.
fn bound_of_time(deps: &Deps, tenants: &TenantIds, asked_ms: Option<u64>) -> &'static str {
    let limits = tenants.all().iter().map(|tenant| deps.limits.for_tenant(tenant).query_timeout.0);
    let limit_ms = limits.filter(|limit| !limit.is_zero()).min().map(|limit| limit.as_millis());
    let is_shorter = asked_ms.is_some_and(|asked| limit_ms.is_none_or(|limit| u128::from(asked) < limit));
    if is_shorter { "parameter timeout" } else { "limit query_timeout" }
}

/// What is said about a value of `stats` that is answered as `true` today, in Prometheus's words.
fn stats_warning(value: &str) -> Option<String> {
    (!["true", "all"].contains(&value)).then(|| {
        format!(
            "value {value:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
             use \"true\" or \"all\""
        )
    })
}

fn truncate(result: &mut QueryResult, limit: usize) {
    let n = match &result.value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar { .. } | Value::String { .. } => return,
    };
    if limit == 0 || n <= limit {
        return;
    }
    match &mut result.value {
        Value::Vector(samples) => samples.truncate(limit),
        Value::Matrix(series) => series.truncate(limit),
        Value::Scalar { .. } | Value::String { .. } => {}
    }
    result.warnings.insert(0, TRUNCATED.to_string());
}
