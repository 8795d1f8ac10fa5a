//! `/cardinality/*`: which labels and metrics make the series that ingesters hold, in Mimir's form. Errors are plain
//! text, as there.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use model::{Matcher, TenantIds, TimeRange};
use wire::{HeadStats, HeadStatsRequest, HistogramStats, LabelStats, LabelsRequest, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// Items of a list unless the request says how many (Mimir's default).
const LIMIT: usize = 20;
/// A series without a sample for so long is not active (Mimir's `-ingester.active-series-metrics-idle-timeout`).
const ACTIVE_MS: i64 = 20 * 60_000;
/// Values asked of each ingester at least.
const ASKED_MIN: usize = 1000;

/// A question, and how many items of a list are shown.
struct Asked {
    request: HeadStatsRequest,
    limit: usize,
}

/// What a request is refused with.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        Refusal(error.status(), error.message().to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

/// `/cardinality/label_names`
pub(crate) async fn label_names(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let tenants = allowed(&deps, &headers)?;
    let Asked { request, limit } = asked(&params, &deps, &tenants)?;
    let mut stats = ask(&deps, &tenants, request).await?;
    stats.labels.sort_by_key(|label| std::cmp::Reverse(label.values.count()));
    Ok(answer(|out| {
        out.key("label_values_count_total").number(stats.n_pairs());
        out.key("label_names_count").number(stats.labels.len());
        out.key("cardinality").array(|out| {
            for label in stats.labels.iter().take(limit) {
                out.object(|out| {
                    out.key("label_name").string(&label.name);
                    out.key("label_values_count").number(label.values.count());
                });
            }
        });
    }))
}

/// `/cardinality/label_values`
pub(crate) async fn label_values(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let tenants = allowed(&deps, &headers)?;
    let names: Vec<String> = params.all("label_names[]").map(str::to_string).collect();
    if names.is_empty() {
        return Err(Refusal::bad("'label_names[]' param is required"));
    }
    if let Some(name) = names.iter().find(|name| !promql::is_valid_label_name(name)) {
        return Err(Refusal::bad(format!("invalid 'label_names' param '{name}'")));
    }
    let Asked { request, limit } = asked(&params, &deps, &tenants)?;
    let request =
        HeadStatsRequest { names, top: (HeadStatsRequest::SPARE * limit).max(ASKED_MIN), ..request };
    let mut stats = ask(&deps, &tenants, request).await?;
    stats.labels.sort_by_key(|label| std::cmp::Reverse(label.n_series));
    Ok(answer(|out| {
        out.key("series_count_total").number(stats.totals.n_series);
        out.key("labels").array(|out| stats.labels.iter().for_each(|label| write_label(out, label, limit)));
    }))
}

/// `/cardinality/active_series`
pub(crate) async fn active_series(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let tenants = allowed(&deps, &headers)?;
    let request = LabelsRequest {
        selectors: vec![required_selector(&params)?],
        range: TimeRange::new(active_since(&deps), i64::MAX),
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let series = deps.querier.series(&tenants, &request).await;
    let series = series.map_err(|e| ApiError::instead_of("active series", &tenants, e))?;
    Ok(answer(|out| {
        out.key("data").array(|out| {
            for labels in &series {
                out.labels(labels);
            }
        });
    }))
}

/// `/cardinality/active_native_histogram_metrics`
pub(crate) async fn active_native_histogram_metrics(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let tenants = allowed(&deps, &headers)?;
    let request = HeadStatsRequest {
        selectors: vec![required_selector(&params)?],
        active_since_ms: Some(active_since(&deps)),
        // No label has this name.
        names: vec![String::new()],
        top: 0,
        histograms: true,
        budget: SelectBudget::unlimited(),
    };
    let stats = ask(&deps, &tenants, request).await?;
    Ok(answer(|out| {
        out.key("data").array(|out| stats.histograms.iter().for_each(|metric| write_histogram(out, metric)));
    }))
}

/// The tenant of the request, if it may ask.
fn allowed(deps: &Deps, headers: &HeaderMap) -> Result<TenantIds, Refusal> {
    let tenants = deps.tenants(headers)?;
    let several = || Refusal::bad("cardinality is of one tenant; the request names several");
    let tenant = tenants.only().ok_or_else(several)?;
    if !deps.limits.for_tenant(tenant).cardinality_analysis_enabled {
        return Err(Refusal::bad(format!(
            "cardinality analysis is disabled for the tenant: {tenant} (limit cardinality_analysis_enabled)"
        )));
    }
    Ok(tenants)
}

async fn ask(deps: &Deps, tenants: &TenantIds, request: HeadStatsRequest) -> Result<HeadStats, Refusal> {
    let stats = deps.querier.head_stats(tenants, &request).await;
    Ok(stats.map_err(|e| ApiError::instead_of("cardinality", tenants, e))?)
}

/// Looks at the parameters in the order in which Mimir does.
fn asked(params: &Params, deps: &Deps, tenants: &TenantIds) -> Result<Asked, Refusal> {
    let selector = selector(params)?;
    let limit = limit(params, deps, tenants)?;
    let active_since_ms = match params.all("count_method").next() {
        None | Some("inmemory") => None,
        Some("active") => Some(active_since(deps)),
        Some(other) => {
            let message =
                format!("invalid 'count_method' param '{other}'. valid options are: [active,inmemory]");
            return Err(Refusal::bad(message));
        }
    };
    let request = HeadStatsRequest {
        selectors: selector.into_iter().collect(),
        active_since_ms,
        names: Vec::new(),
        top: 0,
        histograms: false,
        budget: SelectBudget::unlimited(),
    };
    Ok(Asked { request, limit })
}

fn active_since(deps: &Deps) -> i64 {
    deps.clock.now_ms().saturating_sub(ACTIVE_MS)
}

fn selector(params: &Params) -> Result<Option<Vec<Matcher>>, Refusal> {
    let mut all = params.all("selector");
    let Some(text) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Refusal::bad("multiple 'selector' params are not allowed"));
    }
    let parsed = promql::parse_selector(text);
    parsed.map(Some).map_err(|e| Refusal::bad(format!("failed to parse selector: {e}")))
}

fn required_selector(params: &Params) -> Result<Vec<Matcher>, Refusal> {
    selector(params)?.ok_or_else(|| Refusal::bad("missing 'selector' parameter"))
}

fn limit(params: &Params, deps: &Deps, tenants: &TenantIds) -> Result<usize, Refusal> {
    let mut all = params.all("limit");
    let Some(text) = all.next() else { return Ok(LIMIT) };
    if all.next().is_some() {
        return Err(Refusal::bad("multiple 'limit' params are not allowed"));
    }
    let limit: i64 =
        text.parse().map_err(|e| Refusal::bad(crate::params::integer_error("Atoi", text, &e)))?;
    let limit = usize::try_from(limit).map_err(|_| Refusal::bad("'limit' param cannot be less than '0'"))?;
    let max =
        tenants.only().map_or(0, |tenant| deps.limits.for_tenant(tenant).cardinality_analysis_max_results);
    if max > 0 && limit > max as usize {
        return Err(Refusal::bad(format!(
            "'limit' param cannot be greater than '{max}' (limit cardinality_analysis_max_results)"
        )));
    }
    Ok(limit)
}

fn answer(fill: impl FnOnce(&mut Json)) -> Response {
    (json::CONTENT_TYPE, json::object(fill)).into_response()
}

fn write_label(out: &mut Json, label: &LabelStats, limit: usize) {
    out.object(|out| {
        out.key("label_name").string(&label.name);
        out.key("label_values_count").number(label.values.count());
        out.key("series_count").number(label.n_series);
        out.key("cardinality").array(|out| {
            for (value, n_series) in label.top.iter().take(limit) {
                out.object(|out| {
                    out.key("label_value").string(value);
                    out.key("series_count").number(n_series);
                });
            }
        });
    });
}

fn write_histogram(out: &mut Json, metric: &HistogramStats) {
    out.object(|out| {
        out.key("metric").string(&metric.metric);
        out.key("series_count").number(metric.n_series);
        out.key("bucket_count").number(metric.n_buckets);
        out.key("avg_bucket_count").float(metric.n_buckets as f64 / metric.n_series.max(1) as f64);
        out.key("min_bucket_count").number(metric.min_buckets);
        out.key("max_bucket_count").number(metric.max_buckets);
    });
}
