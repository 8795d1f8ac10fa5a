use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use config::querier::TenantFederation;
use limits::{Limits, LimitsHandle, PromDuration};
use model::{ExemplarSeries, Labels, Metadata, SeriesData, TenantId, TenantIds, TimeRange};
use prometheus_client::registry::Registry;
use promql::{EvalError, EvalOptions, Evaluated, Plan};
use runtime::{Clock, MemoryPart};
use wire::{
    LabelsRequest, MetadataRequest, Meter, Query, QueryError, QueryRequest, QueryResult, QueryStats, Select,
    SelectBudget, SelectRequest, SelectStats,
};

use crate::federation::{self, Federation};
use crate::metrics::Metrics;
use crate::source::Source;
use crate::turns::Turns;
use crate::{Config, hints};

/// Long enough for any query and short enough to add to an [`Instant`].
const UNLIMITED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What the querier is made of.
pub struct Deps<'a> {
    /// The head.
    pub recent: Arc<dyn Select>,
    /// The table.
    pub stored: Arc<dyn Select>,
    /// What each tenant may do.
    pub limits: LimitsHandle,
    /// Memory for what queries hold.
    pub memory: MemoryPart,
    /// The time.
    pub clock: Clock,
    /// Where its metrics go.
    pub registry: &'a mut Registry,
}

/// Evaluates queries.
#[derive(Clone)]
pub struct Querier {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    source: Source,
    limits: LimitsHandle,
    memory: MemoryPart,
    clock: Clock,
    turns: Turns,
    metrics: Metrics,
}

impl Querier {
    /// A querier over the two halves.
    pub fn open(config: Config, deps: Deps<'_>) -> Querier {
        let turns = Turns::new(config.max_concurrent);
        let source = Source { recent: deps.recent, stored: deps.stored };
        let metrics = Metrics::register(deps.registry);
        let Deps { limits, memory, clock, .. } = deps;
        Querier { inner: Arc::new(Inner { config, source, limits, memory, clock, turns, metrics }) }
    }
}

#[async_trait]
impl Query for Querier {
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        let inner = &self.inner;
        inner.metrics.queries.inc();
        let result = inner.query(tenants, request).await;
        match &result {
            Ok(result) => inner.metrics.count(&result.stats.select),
            Err(_) => {
                inner.metrics.failures.inc();
            }
        }
        result
    }

    async fn series(&self, tenants: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        Ok(self.inner.federation(tenants)?.series(self.inner.bounded(tenants, request)).await?)
    }

    async fn label_names(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        Ok(self.inner.federation(tenants)?.label_names(self.inner.bounded(tenants, request)).await?)
    }

    async fn label_values(
        &self,
        tenants: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        Ok(self.inner.federation(tenants)?.label_values(name, self.inner.bounded(tenants, request)).await?)
    }

    async fn exemplars(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        Ok(self.inner.federation(tenants)?.exemplars(self.inner.bounded(tenants, request)).await?)
    }

    async fn metadata(
        &self,
        tenants: &TenantIds,
        request: &MetadataRequest,
    ) -> Result<Vec<Metadata>, QueryError> {
        let federation = self.inner.federation(tenants)?;
        let limits = federation::strictest(&self.inner.limits, tenants);
        let deadline = self.inner.clock.instant() + query_timeout(&limits);
        let budget = self.inner.budget(&limits, Some(deadline));
        Ok(federation.metadata(MetadataRequest { budget, ..request.clone() }).await?)
    }
}

impl Inner {
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        let federation = self.federation(tenants)?;
        let limits = federation::strictest(&self.limits, tenants);
        let start = self.clock.instant();
        let timeout = timeout(request, &limits);
        let deadline = start + timeout;
        let turn = runtime::timeout(timeout, self.turns.take(&self.lanes(tenants))).await;
        let Some(_turn) = turn else { return Err(QueryError::Timeout("query queue")) };
        self.metrics.evaluating.inc();
        let _done = Done(&self.metrics);

        let canceled = CancelOnDrop::default();
        let options = self.options(request, &limits, deadline, &canceled);
        let plan = Plan::new(&request.query, &options).map_err(|e| QueryError::Invalid(e.to_string()))?;
        check_length(&plan, &limits)?;
        let budget = self.budget(&limits, Some(deadline));
        let selecting = self.select(federation, &plan, options.lookback_ms, &budget);
        let Some(selected) = runtime::timeout(timeout, selecting).await else {
            return Err(QueryError::Timeout("query execution"));
        };
        let (data, select) = selected?;
        let prepare_secs = start.elapsed().as_secs_f64();

        let n_series = data.iter().map(Vec::len).sum::<usize>() as u64;
        let evaluated = runtime::blocking(move || plan.evaluate(data)).await.map_err(QueryError::Internal)?;
        let evaluated = evaluated.map_err(|e| refuse(e, &limits))?;
        let eval_secs = start.elapsed().as_secs_f64() - prepare_secs;
        Ok(result(
            evaluated,
            QueryStats { prepare_secs, eval_secs, n_series, select, ..QueryStats::default() },
        ))
    }

    async fn select(
        &self,
        federation: Federation<'_>,
        plan: &Plan,
        lookback_ms: i64,
        budget: &Arc<SelectBudget>,
    ) -> Result<(Vec<Vec<SeriesData>>, SelectStats), QueryError> {
        let mut data = Vec::new();
        let mut stats = SelectStats::default();
        for spec in plan.selects() {
            let request = SelectRequest {
                matchers: spec.matchers.clone(),
                range: spec.range,
                budget: Arc::clone(budget),
                min_table_version: None,
            };
            let (mut series, cost) = federation.select(request.clone()).await?;
            stats.add(cost);
            if plan.shows_reset_hints() && series.iter().any(|one| !one.histograms.is_empty()) {
                let start = spec.range.start;
                let range = TimeRange::new(start.saturating_sub(lookback_ms), start.saturating_sub(1));
                let (before, cost) = federation.select(SelectRequest { range, ..request }).await?;
                stats.add(cost);
                hints::of_first(&mut series, &before);
            }
            data.push(series);
        }
        Ok((data, stats))
    }

    fn options(
        &self,
        request: &QueryRequest,
        limits: &Limits,
        deadline: Instant,
        canceled: &CancelOnDrop,
    ) -> EvalOptions {
        EvalOptions {
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            step_ms: request.step_ms,
            lookback_ms: request.lookback_ms.unwrap_or(self.config.lookback_delta.millis()),
            subquery_step_ms: self.config.default_evaluation_interval.millis(),
            max_samples: limits.max_samples_per_query,
            deadline: Some(deadline),
            cancel: Arc::clone(&canceled.flag),
            stats_per_step: request.stats_per_step,
        }
    }

    fn budget(&self, limits: &Limits, deadline: Option<Instant>) -> Arc<SelectBudget> {
        Arc::new(SelectBudget {
            series: Meter::new("max_series_per_query", limits.max_series_per_query),
            samples: Meter::new("max_samples_per_query", limits.max_samples_per_query),
            bytes: Meter::of_memory("max_bytes_per_query", limits.max_bytes_per_query, self.memory.clone()),
            deadline,
        })
    }

    /// How many queries each tenant may have at once.
    fn lanes(&self, tenants: &TenantIds) -> Vec<(TenantId, u32)> {
        let lane = |tenant: &TenantId| (tenant.clone(), self.limits.for_tenant(tenant).max_query_parallelism);
        tenants.all().iter().map(lane).collect()
    }

    /// The series of these tenants, if a query may name them all.
    fn federation<'a>(&'a self, tenants: &'a TenantIds) -> Result<Federation<'a>, QueryError> {
        let TenantFederation { enabled, max_tenants } = self.config.tenant_federation;
        let n = tenants.all().len();
        if n > 1 && !enabled {
            return Err(QueryError::Invalid(format!(
                "queries over several tenants ({n}: {}) need querier.tenant_federation.enabled",
                shortened(&tenants.to_string())
            )));
        }
        if max_tenants > 0 && n > max_tenants {
            return Err(QueryError::Invalid(format!(
                "the query is over {n} tenants, the limit is querier.tenant_federation.max_tenants of {max_tenants}"
            )));
        }
        Ok(Federation { source: &self.source, tenants })
    }

    /// The request under the tenants' own limits.
    fn bounded(&self, tenants: &TenantIds, request: &LabelsRequest) -> LabelsRequest {
        let limits = federation::strictest(&self.limits, tenants);
        let deadline = self.clock.instant() + query_timeout(&limits);
        LabelsRequest { budget: self.budget(&limits, Some(deadline)), ..request.clone() }
    }
}

/// Enough of a list of tenants to recognise it.
fn shortened(text: &str) -> String {
    if text.len() <= 200 {
        text.to_string()
    } else {
        format!("{}…", &text[..text.floor_char_boundary(200)])
    }
}

impl Metrics {
    fn count(&self, stats: &SelectStats) {
        self.samples.inc_by(stats.n_samples);
        self.store_requests.inc_by(stats.n_requests);
        self.store_bytes.inc_by(stats.n_bytes);
    }
}

/// Tells the evaluation to stop when the caller goes away, since that drops the query's future.
#[derive(Default)]
struct CancelOnDrop {
    flag: Arc<AtomicBool>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

struct Done<'a>(&'a Metrics);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.evaluating.dec();
    }
}

/// The longest stretch of time that a selector of the query needs, ranges and lookback included, is bounded.
fn check_length(plan: &Plan, limits: &Limits) -> Result<(), QueryError> {
    let lengths = plan.selects().into_iter().map(|spec| spec.range.end.saturating_sub(spec.range.start));
    let (length, limit) = (lengths.max().unwrap_or(0), limits.max_query_length);
    if limit.millis() > 0 && length > limit.millis() {
        let length = PromDuration(Duration::from_millis(length.unsigned_abs()));
        return Err(QueryError::Execution(format!(
            "the query needs samples of {length}, which exceeds the limit max_query_length of {limit}"
        )));
    }
    Ok(())
}

fn timeout(request: &QueryRequest, limits: &Limits) -> Duration {
    let limit = query_timeout(limits);
    request.timeout_ms.map_or(limit, Duration::from_millis).min(limit)
}

fn query_timeout(limits: &Limits) -> Duration {
    match limits.query_timeout.millis() {
        0 => UNLIMITED,
        ms => Duration::from_millis(ms.unsigned_abs()),
    }
}

fn refuse(error: EvalError, limits: &Limits) -> QueryError {
    match error {
        EvalError::Timeout => QueryError::Timeout("expression evaluation"),
        EvalError::Canceled => QueryError::Canceled,
        EvalError::TooManySamples => {
            let limit = limits.max_samples_per_query;
            QueryError::Execution(format!("{error} (limit max_samples_per_query of {limit})"))
        }
        EvalError::Execution(message) => QueryError::Execution(message),
    }
}

fn result(evaluated: Evaluated, stats: QueryStats) -> QueryResult {
    QueryResult {
        value: evaluated.value,
        warnings: evaluated.annotations.warnings,
        infos: evaluated.annotations.infos,
        stats: QueryStats {
            total_samples: evaluated.stats.total_samples,
            peak_samples: evaluated.stats.peak_samples,
            samples_per_step: evaluated.stats.per_step,
            ..stats
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_samples_are_refused_with_the_value_of_the_limit() {
        let limits = Limits { max_samples_per_query: 7, ..Limits::default() };
        let refused = refuse(EvalError::TooManySamples, &limits).to_string();
        assert!(refused.ends_with("(limit max_samples_per_query of 7)"), "{refused}");
    }
}
