//! `/status/*`: what the process says about itself and about the series that ingesters hold, as Prometheus's API has
//! it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::METRIC_NAME;
use server::SharedRegistry;
use wire::{HeadStats, HeadStatsRequest, LabelStats, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// The version of Prometheus whose API this is; Grafana decides by it what it may ask.
const PROMETHEUS_VERSION: &str = "3.15.0";

/// Items of each list of `/status/tsdb` unless the request says how many, and at most (Prometheus's numbers).
const LIMIT: usize = 10;
const LIMIT_MAX: usize = 10_000;
/// Values asked of each ingester at least.
const ASKED_MIN: usize = 1000;

/// What there is to say about the process.
#[derive(Clone)]
pub struct Process {
    /// The configuration in force as YAML, without secrets.
    pub config: String,
    /// Every key as a flag, and its value, by name.
    pub flags: Vec<(String, String)>,
    /// The memory that the process may use, 0 for any.
    pub memory_limit: u64,
    /// Whether what can be changed while the process runs is in force as it stands in its file, and since when what is
    /// in force is; `None` for since the start.
    pub in_force: Arc<dyn Fn() -> (bool, Option<i64>) + Send + Sync>,
    /// Damaged records that were met in the log.
    pub corruptions: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The metrics of the process.
    pub registry: SharedRegistry,
}

/// `/status/buildinfo`
///
/// There are no `features` here: Grafana takes a server that has any for Mimir, and then configures rules with it.
pub(crate) async fn buildinfo() -> Response {
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

/// `/status/config`
pub(crate) async fn config(State(deps): State<Deps>) -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("yaml").string(&deps.process.config);
        });
    })
}

/// `/status/flags`
pub(crate) async fn flags(State(deps): State<Deps>) -> Response {
    json::success(|out| {
        out.object(|out| {
            for (name, value) in &deps.process.flags {
                out.key(name).string(value);
            }
        });
    })
}

/// `/status/runtimeinfo`. What Go has and Rust has not is there by its name with what comes nearest.
pub(crate) async fn runtimeinfo(State(deps): State<Deps>, headers: HeaderMap) -> Result<Response, ApiError> {
    let retention = retention(&deps, &headers)?;
    let started_ms = (runtime::ProcessStats::read().start_secs * 1000.0) as i64;
    let (is_in_force, since_ms) = (deps.process.in_force)();
    let folder = std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_limit = match deps.process.memory_limit {
        0 => i64::MAX,
        bytes => i64::try_from(bytes).unwrap_or(i64::MAX),
    };
    Ok(json::success(|out| {
        out.object(|out| {
            out.key("startTime").string(&server::format_time(started_ms));
            out.key("CWD").string(&folder);
            out.key("hostname").string(&hostname());
            out.key("serverTime").string(&server::format_time(deps.clock.now_ms()));
            out.key("reloadConfigSuccess").bool(is_in_force);
            out.key("lastConfigTime").string(&server::format_time(since_ms.unwrap_or(started_ms)));
            out.key("corruptionCount").number((deps.process.corruptions)());
            out.key("goroutineCount").number(runtime::n_tasks());
            out.key("GOMAXPROCS").number(n_cores);
            out.key("GOMEMLIMIT").number(memory_limit);
            out.key("GOGC").string("");
            out.key("GODEBUG").string("");
            out.key("storageRetention").string(&retention);
        });
    }))
}

/// `/status/tsdb`: the series of the tenant that are in memory, over all ingesters.
pub(crate) async fn tsdb(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    let tenants = deps.tenants(&headers)?;
    let request = HeadStatsRequest {
        selectors: Vec::new(),
        active_since_ms: None,
        names: Vec::new(),
        top: (HeadStatsRequest::SPARE * limit).max(ASKED_MIN),
        histograms: false,
        budget: SelectBudget::unlimited(),
    };
    let stats = deps.querier.head_stats(&tenants, &request).await;
    let stats = stats.map_err(|e| ApiError::instead_of("status/tsdb", &tenants, e))?;
    Ok(json::success(|out| {
        out.object(|out| {
            head(out.key("headStats"), &stats);
            let of_metrics = stats.labels.iter().filter(|label| label.name == METRIC_NAME);
            let of_metrics = of_metrics.flat_map(|label| &label.top).map(|(value, n)| (value.as_str(), *n));
            list(out.key("seriesCountByMetricName"), of_metrics.collect(), limit);
            let of_labels = |count: fn(&LabelStats) -> u64| {
                stats.labels.iter().map(move |label| (label.name.as_str(), count(label))).collect()
            };
            list(out.key("labelValueCountByLabelName"), of_labels(|label| label.values.count()), limit);
            list(out.key("memoryInBytesByLabelName"), of_labels(|label| label.n_bytes), limit);
            pairs(out.key("seriesCountByLabelValuePair"), &stats, limit);
        });
    }))
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(LIMIT) };
    match text.parse::<i64>().ok().and_then(|limit| usize::try_from(limit).ok()) {
        None | Some(0) => Err(ApiError::bad_data("limit must be a positive number")),
        Some(limit) if limit > LIMIT_MAX => {
            Err(ApiError::bad_data(format!("limit must not exceed {LIMIT_MAX}")))
        }
        Some(limit) => Ok(limit),
    }
}

/// An empty head has the times that Prometheus's has.
fn head(out: &mut Json, stats: &HeadStats) {
    out.object(|out| {
        out.key("numSeries").number(stats.totals.n_series);
        out.key("numLabelPairs").number(stats.n_pairs());
        out.key("chunkCount").number(stats.totals.n_columns);
        out.key("minTime").number(stats.totals.oldest_ms.unwrap_or(i64::MAX));
        out.key("maxTime").number(stats.totals.newest_ms.unwrap_or(i64::MIN));
    });
}

/// The greatest first, equal ones by name.
fn list(out: &mut Json, mut items: Vec<(&str, u64)>, limit: usize) {
    items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    out.array(|out| items.iter().take(limit).for_each(|(name, value)| item(out, name, *value)));
}

fn pairs(out: &mut Json, stats: &HeadStats, limit: usize) {
    let of_label = |label: &LabelStats| -> Vec<(u64, usize)> {
        label.top.iter().enumerate().map(|(at, (_, n_series))| (*n_series, at)).collect()
    };
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (label_at, label) in stats.labels.iter().enumerate() {
        all.extend(of_label(label).into_iter().map(|(n_series, at)| (n_series, label_at, at)));
    }
    // Labels are in the order of names, and equal values in the order of texts.
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    out.array(|out| {
        for (n_series, label_at, at) in all.into_iter().take(limit) {
            let label = &stats.labels[label_at];
            item(out, &format!("{}={}", label.name, label.top[at].0), n_series);
        }
    });
}

fn item(out: &mut Json, name: &str, value: u64) {
    out.object(|out| {
        out.key("name").string(name);
        out.key("value").number(value);
    });
}

/// How long, or how much, is kept of the tenant; empty for everything. Of several tenants, of the first.
fn retention(deps: &Deps, headers: &HeaderMap) -> Result<String, ApiError> {
    let tenants = deps.tenants(headers)?;
    let Some(tenant) = tenants.all().first() else { return Ok(String::new()) };
    let limits = deps.limits.for_tenant(tenant);
    let (period, bytes) = (limits.compactor_blocks_retention_period, limits.compactor_blocks_retention_bytes);
    let period = (!period.is_zero()).then(|| period.to_string());
    let bytes = (bytes > 0).then(|| size(bytes));
    Ok(period.into_iter().chain(bytes).collect::<Vec<String>>().join(" or "))
}

/// Bytes in the greatest unit that goes into them, as Prometheus writes a retention.
fn size(bytes: u64) -> String {
    let units = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, shift)| bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| format!("{bytes}B"), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_of_bytes_is_told_in_its_greatest_whole_unit() {
        for (bytes, wanted) in
            [(1, "1B"), (1024, "1KiB"), (1536, "1536B"), (10 << 30, "10GiB"), (1 << 60, "1EiB")]
        {
            assert_eq!(size(bytes), wanted);
        }
    }
}
