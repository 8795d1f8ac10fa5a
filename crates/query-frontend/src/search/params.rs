use model::{Matcher, TenantIds, TimeRange};

use super::filter::{Algorithm, Filter};
use crate::error::ApiError;
use crate::http::Deps;
use crate::labels;
use crate::params::Params;

/// Results unless the request says how many (Prometheus's default), and results on a line.
const LIMIT: usize = 100;
/// Each term costs a look at every name (Prometheus's bound).
const TERMS_MAX: usize = 32;
/// How far back series are looked for unless the request says so.
const RANGE_MS: i64 = 3_600_000;

/// What all searches are told.
pub(super) struct SearchParams {
    pub(super) selectors: Vec<Vec<Matcher>>,
    pub(super) range: TimeRange,
    /// `None` finds everything.
    pub(super) filter: Option<Filter>,
    pub(super) order: Order,
    pub(super) include_score: bool,
    pub(super) limit: usize,
    pub(super) batch_size: usize,
}

/// The order of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
    /// The best first, equal ones by text.
    Score,
}

impl SearchParams {
    /// Looks at the parameters in the order in which Prometheus does, so that of several faults the same one is told.
    pub(super) fn parse(
        params: &Params,
        endpoint: &str,
        deps: &Deps,
        tenants: &TenantIds,
    ) -> Result<SearchParams, ApiError> {
        let now_ms = deps.clock.now_ms();
        let range = range(params, now_ms)?;
        let selectors = labels::selectors(params).map_err(ApiError::bad_data)?;
        let terms: Vec<&str> = params.all("search[]").collect();
        if terms.len() > TERMS_MAX {
            let n = terms.len();
            let message = format!("too many search[] terms: got {n}, maximum is {TERMS_MAX}");
            return Err(ApiError::bad_data(message));
        }
        let threshold = threshold(params)?;
        let algorithm = algorithm(params)?;
        let case_sensitive = boolean(params, "case_sensitive", true)?;
        let include_score = boolean(params, "include_score", false)?;
        let order = order(params, !terms.is_empty())?;
        let limit = limit(params, most(deps, tenants))?;
        let batch_size = positive(params, "batch_size")?.unwrap_or(LIMIT);
        if !["", "alpha", "score"].contains(&params.get("sort_by").unwrap_or_default()) {
            let sort_by = params.get("sort_by").unwrap_or_default();
            return Err(ApiError::bad_data(format!(
                "invalid sort_by {sort_by:?} for {endpoint}: must be \"alpha\" or \"score\""
            )));
        }
        let filter = Filter::new(terms.into_iter(), threshold, algorithm, case_sensitive);
        Ok(SearchParams { selectors, range, filter, order, include_score, limit, batch_size })
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(super) fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        None => Ok(default),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(text) => Err(ApiError::bad_data(format!("invalid {name} {text:?}: must be boolean"))),
    }
}

fn range(params: &Params, now_ms: i64) -> Result<TimeRange, ApiError> {
    let time = |name: &str, default: i64| match params.get(name) {
        None => Ok(default),
        Some(text) => server::parse_time(text)
            .map_err(|e| ApiError::bad_data(format!("invalid time value for '{name}': {e}"))),
    };
    let start = time("start", now_ms.saturating_sub(RANGE_MS))?;
    let end = time("end", now_ms)?;
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    Ok(TimeRange::new(start, end))
}

fn threshold(params: &Params) -> Result<u8, ApiError> {
    let Some(text) = params.get("fuzz_threshold") else { return Ok(0) };
    let percent = text.parse::<u8>().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| ApiError::bad_data(format!("invalid fuzz_threshold {text:?}: must be 0-100")))
}

fn algorithm(params: &Params) -> Result<Algorithm, ApiError> {
    let text = params.get("fuzz_alg").unwrap_or("subsequence");
    let unsupported = || {
        ApiError::bad_data(format!("unsupported fuzz_alg {text:?}: must be one of [subsequence jarowinkler]"))
    };
    Algorithm::find(text).ok_or_else(unsupported)
}

fn order(params: &Params, has_terms: bool) -> Result<Order, ApiError> {
    let (sort_by, sort_dir) = (params.get("sort_by"), params.get("sort_dir"));
    match (sort_by, sort_dir) {
        (None, Some(_)) => Err(ApiError::bad_data("sort_dir is only valid when sort_by is set")),
        (Some("score"), Some(_)) => Err(ApiError::bad_data("sort_dir is not supported for sort_by=score")),
        (_, Some(dir)) if dir != "asc" && dir != "dsc" => {
            Err(ApiError::bad_data(format!("invalid sort_dir {dir:?}: must be \"asc\" or \"dsc\"")))
        }
        (Some("score"), None) if !has_terms => {
            Err(ApiError::bad_data("sort_by=score requires search[] to be set"))
        }
        (Some("score"), None) => Ok(Order::Score),
        (_, Some("dsc")) => Ok(Order::Descending),
        _ => Ok(Order::Ascending),
    }
}

/// The strictest of the tenants' limits, 0 for none.
fn most(deps: &Deps, tenants: &TenantIds) -> usize {
    let limits =
        tenants.all().iter().map(|tenant| deps.limits.for_tenant(tenant).max_search_results as usize);
    limits.filter(|limit| *limit > 0).min().unwrap_or(0)
}

/// `max` is the tenant's limit, 0 for none.
fn limit(params: &Params, max: usize) -> Result<usize, ApiError> {
    let max = if max == 0 { usize::MAX } else { max };
    match positive(params, "limit")? {
        None => Ok(LIMIT.min(max)),
        Some(limit) if limit > max => Err(ApiError::bad_data(format!(
            "limit {limit} exceeds the configured maximum ({max}, see limits: max_search_results)"
        ))),
        Some(limit) => Ok(limit),
    }
}

fn positive(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let invalid = || ApiError::bad_data(format!("invalid {name} {text:?}: must be a positive integer"));
    text.parse().ok().filter(|n| *n > 0).map(Some).ok_or_else(invalid)
}
