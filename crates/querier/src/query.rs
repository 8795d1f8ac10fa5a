use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use config::querier::TenantFederation;
use futures::future::Either;
use limits::{EnabledNames, Limits, LimitsHandle, PromDuration};
use model::{ExemplarSeries, Labels, Metadata, SeriesData, TenantId, TenantIds, TimeRange};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use promql::{Enabled, EvalError, EvalOptions, Evaluated, Experimental, Plan, PlanError, SelectSpec};
use runtime::{Clock, MemoryPart, SharedMemory, TraceContext};
use tokio::sync::oneshot;
use wire::{
    Fingerprint, HeadStats, HeadStatsRequest, Held, LabelsRequest, MetadataRequest, Meter, Projection, Query,
    QueryError, QueryRequest, QueryResult, QueryStats, Raw, RawRequest, Select, SelectBudget, SelectError,
    SelectRequest, SelectStats, StoredBlock,
};

mod apart;
mod lists;
mod raw;

use lists::List;

use crate::federation::{self, Federation};
use crate::metrics::Metrics;
use crate::processors::{Paced, Processors, SLICE};
use crate::room::{Budgeted, bytes_of, refusal};
use crate::source::Source;
use crate::turns::{Turn, Turns};
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
    /// Queries of one tenant that may wait for their turn.
    pub max_waiting: usize,
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

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) source: Source,
    pub(crate) limits: LimitsHandle,
    memory: SharedMemory,
    pub(crate) clock: Clock,
    turns: Turns,
    processors: Arc<Processors>,
    metrics: Metrics,
}

impl Querier {
    /// A querier over the two halves.
    pub fn open(config: Config, deps: Deps<'_>) -> Querier {
        let turns = Turns::new(config.max_concurrent, deps.max_waiting, deps.clock.clone(), deps.registry);
        let source = Source { recent: deps.recent, stored: deps.stored };
        let metrics = Metrics::register(deps.registry);
        let Deps { limits, memory, clock, .. } = deps;
        let memory = SharedMemory::new(memory, clock.clone());
        let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = Processors::new(n_processors, SLICE, clock.clone(), metrics.handovers.clone());
        Querier {
            inner: Arc::new(Inner { config, source, limits, memory, clock, turns, processors, metrics }),
        }
    }
}

#[async_trait]
impl Query for Querier {
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        self.query_from(tenants, request, None).await
    }

    async fn query_from(
        &self,
        tenants: &TenantIds,
        request: &QueryRequest,
        table_version: Option<u64>,
    ) -> Result<QueryResult, QueryError> {
        let inner = &self.inner;
        inner.metrics.queries.inc();
        let result = inner.query(tenants, request, table_version).await;
        match &result {
            Ok(result) => inner.metrics.count(&result.stats.select),
            Err(_) => {
                inner.metrics.failures.inc();
            }
        }
        result
    }

    async fn fingerprints(
        &self,
        tenant: &TenantId,
        request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        self.inner.fingerprints(tenant, request, parts).await
    }

    async fn series(&self, tenants: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        self.inner.list(tenants, request, List::series).await
    }

    async fn label_names(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        self.inner.list(tenants, request, List::label_names).await
    }

    async fn label_values(
        &self,
        tenants: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        let name = name.to_string();
        self.inner.list(tenants, request, |list| list.label_values(name)).await
    }

    async fn exemplars(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        self.inner.list(tenants, request, List::exemplars).await
    }

    async fn metadata(
        &self,
        tenants: &TenantIds,
        request: &MetadataRequest,
    ) -> Result<Vec<Metadata>, QueryError> {
        let federation = self.inner.federation(tenants)?;
        let limits = federation::strictest(&self.inner.limits, tenants);
        let deadline = self.inner.clock.instant() + query_timeout(&limits);
        let budget = self.inner.budget(tenants, &limits, deadline);
        Ok(federation.metadata(MetadataRequest { budget, ..request.clone() }).await?)
    }

    async fn raw(&self, tenants: &TenantIds, request: &RawRequest) -> Result<Raw, QueryError> {
        let raw = self.inner.raw(tenants, request).await;
        if raw.is_err() {
            self.inner.metrics.failures.inc();
        }
        raw
    }

    async fn head_stats(
        &self,
        tenants: &TenantIds,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, QueryError> {
        let federation = self.inner.federation(tenants)?;
        let limits = federation::strictest(&self.inner.limits, tenants);
        let deadline = self.inner.clock.instant() + query_timeout(&limits);
        let budget = self.inner.budget(tenants, &limits, deadline);
        Ok(federation.head_stats(HeadStatsRequest { budget, ..request.clone() }).await?)
    }

    async fn blocks(&self, tenants: &TenantIds) -> Result<Vec<StoredBlock>, QueryError> {
        let federation = self.inner.federation(tenants)?;
        let limits = federation::strictest(&self.inner.limits, tenants);
        let deadline = self.inner.clock.instant() + query_timeout(&limits);
        Ok(federation.blocks(deadline).await?)
    }
}

impl Inner {
    async fn query(
        self: &Arc<Inner>,
        tenants: &TenantIds,
        request: &QueryRequest,
        table_version: Option<u64>,
    ) -> Result<QueryResult, QueryError> {
        self.federation(tenants)?;
        let limits = federation::strictest(&self.limits, tenants);
        let start = self.clock.instant();
        let timeout = timeout(request, &limits);
        let deadline = start + timeout;
        let (_turn, waited) = self.turn(tenants, timeout).await?;
        let queue_secs = waited.as_secs_f64();
        let _evaluating = Counted::of(&self.metrics.evaluating);

        let canceled = CancelOnDrop::default();
        check_size(&request.query, &limits)?;
        let budget = self.budget(tenants, &limits, deadline);
        let options = self.options(request, &limits, &budget, &canceled);
        let plan = plan(request.query.clone(), options, &budget).await?;
        check_length(&plan, &limits)?;
        let wanted = Wanted {
            selects: plan.selects(),
            with_hints: plan.shows_reset_hints(),
            lookback_ms: self.lookback_ms(request),
            table_version,
        };
        let Computed { evaluated, select, n_series, selected_bytes, prepared } =
            self.compute(tenants, wanted, plan, &budget).await?;
        let prepare_secs = prepared.saturating_duration_since(start).as_secs_f64();
        let evaluated = evaluated.map_err(|e| refusal(e, limits.max_samples_per_query))?;
        // What was selected is gone, and what is left is the result.
        budget.bytes.give_back(selected_bytes);
        budget.bytes.take(bytes_of(&evaluated.value))?;
        let eval_secs = start.elapsed().as_secs_f64() - prepare_secs;
        let stats =
            QueryStats { prepare_secs, eval_secs, queue_secs, n_series, select, ..QueryStats::default() };
        Ok(result(evaluated, stats, budget))
    }

    /// Waits for a turn of these tenants.
    async fn turn(&self, tenants: &TenantIds, timeout: Duration) -> Result<(Turn, Duration), QueryError> {
        let turn = runtime::timeout(timeout, self.turns.take(self.lanes(tenants))).await;
        turn.unwrap_or(Err(QueryError::Timeout("query queue")))
    }

    /// Selects and evaluates on a thread of its own: merging the series of a large select takes its time, and evaluating
    /// is divided into slices.
    async fn compute(
        self: &Arc<Inner>,
        tenants: &TenantIds,
        wanted: Wanted,
        mut plan: Plan,
        budget: &Arc<SelectBudget>,
    ) -> Result<Computed, QueryError> {
        let (inner, tenants, budget) = (Arc::clone(self), tenants.clone(), Arc::clone(budget));
        let trace = TraceContext::current();
        // Dropped with this future: then nobody wants the answer any more.
        let (_waits, unwanted) = oneshot::channel::<()>();
        let computing = Counted::of(&self.metrics.computing);
        let work = move || {
            let _computing = computing;
            let tenant: Arc<str> = Arc::from(tenants.to_string());
            let selecting = inner.select(&tenants, &tenant, &wanted, &budget, unwanted);
            let (data, select) = match trace {
                Some(trace) => runtime::wait(trace.scope(selecting)),
                None => runtime::wait(selecting),
            }?;
            let n_series = data.iter().map(Vec::len).sum::<usize>() as u64;
            let (selected_bytes, prepared) = (budget.bytes.used(), inner.clock.instant());
            plan.keep_pace(Arc::new(inner.processors.enter(&tenant)));
            let evaluated = plan.evaluate(data);
            Ok(Computed { evaluated, select, n_series, selected_bytes, prepared })
        };
        runtime::blocking(work).await.map_err(QueryError::Internal)?
    }

    /// Selects until the deadline, or until somebody tells that the answer is unwanted.
    async fn select(
        &self,
        tenants: &TenantIds,
        tenant: &Arc<str>,
        wanted: &Wanted,
        budget: &Arc<SelectBudget>,
        unwanted: oneshot::Receiver<()>,
    ) -> Result<(Vec<Vec<SeriesData>>, SelectStats), QueryError> {
        let federation = Federation { source: &self.source, tenants };
        let selecting = Paced::new(select(federation, wanted, budget), &self.processors, tenant);
        let selecting = async {
            match futures::future::select(selecting, unwanted).await {
                Either::Left((selected, _)) => selected,
                Either::Right(_) => Err(QueryError::Canceled),
            }
        };
        let left = budget
            .deadline
            .map_or(UNLIMITED, |deadline| deadline.saturating_duration_since(self.clock.instant()));
        runtime::timeout(left, selecting).await.unwrap_or(Err(QueryError::Timeout("query execution")))
    }

    fn lookback_ms(&self, request: &QueryRequest) -> i64 {
        request.lookback_ms.unwrap_or(self.config.lookback_delta.millis())
    }

    fn options(
        &self,
        request: &QueryRequest,
        limits: &Limits,
        budget: &Arc<SelectBudget>,
        canceled: &CancelOnDrop,
    ) -> EvalOptions {
        let enabled = |names: &EnabledNames| match names.names() {
            None => Enabled::All,
            Some(names) => Enabled::Only(names.to_vec()),
        };
        EvalOptions {
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            step_ms: request.step_ms,
            lookback_ms: self.lookback_ms(request),
            subquery_step_ms: self.config.default_evaluation_interval.millis(),
            max_samples: limits.max_samples_per_query,
            max_patterns: limits.max_regex_matchers_per_query as usize,
            room: Some(Arc::new(Budgeted(Arc::clone(budget)))),
            experimental: Experimental {
                functions: enabled(&limits.enabled_promql_experimental_functions),
                range_selectors: enabled(&limits.enabled_promql_extended_range_selectors),
                fill_modifiers: enabled(&limits.enabled_promql_binop_fill_modifiers),
            },
            pace: None,
            deadline: budget.deadline,
            cancel: Arc::clone(&canceled.flag),
            stats_per_step: request.stats_per_step,
        }
    }

    fn budget(&self, tenants: &TenantIds, limits: &Limits, deadline: Instant) -> Arc<SelectBudget> {
        Arc::new(SelectBudget {
            series: Meter::new("max_series_per_query", limits.max_series_per_query),
            samples: Meter::new("max_samples_per_query", limits.max_samples_per_query),
            bytes: self.bytes(tenants, limits),
            deadline: Some(deadline),
        })
    }

    /// The bytes of a query: of several tenants, they are the first one's.
    fn bytes(&self, tenants: &TenantIds, limits: &Limits) -> Meter {
        let owner = tenants.all().first().map_or("", TenantId::as_str);
        Meter::of_memory("max_bytes_per_query", limits.max_bytes_per_query, self.memory.of(owner))
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
        LabelsRequest { budget: self.budget(tenants, &limits, deadline), ..request.clone() }
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

/// Counts one as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn of(gauge: &Gauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What came of a query.
struct Computed {
    evaluated: Result<Evaluated, EvalError>,
    select: SelectStats,
    n_series: u64,
    /// What the selected series took.
    selected_bytes: u64,
    /// When they were all there.
    prepared: Instant,
}

/// The series that a plan needs.
struct Wanted {
    selects: Vec<SelectSpec>,
    /// Whether it matters what came before the first histogram of each.
    with_hints: bool,
    lookback_ms: i64,
    /// The table is read at this version or a later one.
    table_version: Option<u64>,
}

async fn select(
    federation: Federation<'_>,
    wanted: &Wanted,
    budget: &Arc<SelectBudget>,
) -> Result<(Vec<Vec<SeriesData>>, SelectStats), QueryError> {
    let mut data = Vec::new();
    let mut stats = SelectStats::default();
    for spec in &wanted.selects {
        let request = SelectRequest {
            matchers: spec.matchers.clone(),
            range: spec.range,
            within: None,
            projection: projection(&spec.projection),
            budget: Arc::clone(budget),
            min_table_version: wanted.table_version,
        };
        let (mut series, cost) = select_one(federation, &request).await?;
        stats.add(cost);
        if wanted.with_hints && series.iter().any(|one| !one.histograms.is_empty()) {
            let start = spec.range.start;
            let range = TimeRange::new(start.saturating_sub(wanted.lookback_ms), start.saturating_sub(1));
            let (before, cost) = federation.select(SelectRequest { range, ..request }).await?;
            stats.add(cost);
            hints::of_first(&mut series, &before);
        }
        data.push(series);
    }
    Ok((data, stats))
}

/// The series of one select. Where histograms are aggregated, what there is to say of their layouts depends on the order of
/// their series, so they are selected once more with all labels, by which they are ordered.
async fn select_one(
    federation: Federation<'_>,
    request: &SelectRequest,
) -> Result<(Vec<SeriesData>, SelectStats), SelectError> {
    let meters = [&request.budget.series, &request.budget.samples, &request.budget.bytes];
    let before = meters.map(Meter::used);
    let (series, mut stats) = federation.select(request.clone()).await?;
    if request.projection == Projection::All || series.iter().all(|one| one.histograms.is_empty()) {
        return Ok((series, stats));
    }
    drop(series);
    for (meter, before) in meters.into_iter().zip(before) {
        meter.give_back(meter.used().saturating_sub(before));
    }
    let all = SelectRequest { projection: Projection::All, ..request.clone() };
    let (series, cost) = federation.select(all).await?;
    stats.add(cost);
    Ok((series, stats))
}

/// Which labels the parts of the store are to show.
fn projection(looked_at: &promql::Projection) -> Projection {
    match looked_at {
        promql::Projection::All => Projection::All,
        promql::Projection::Only(names) => Projection::Only(names.as_slice().into()),
        promql::Projection::Without(names) => Projection::Without(names.as_slice().into()),
    }
}

/// What the tree of a query takes per byte of its text at most, with the tokens that it is made of.
const TREE_FACTOR: u64 = 64;

/// Parses a query, off the async threads if it is long or has patterns, which take time to compile.
async fn plan(query: String, options: EvalOptions, budget: &SelectBudget) -> Result<Plan, QueryError> {
    let _tree = budget.bytes.hold(TREE_FACTOR * query.len() as u64)?;
    let is_quick = query.len() < SHORT_QUERY && !query.contains("=~") && !query.contains("!~");
    let planned = match is_quick {
        true => Plan::new(&query, &options),
        false => {
            runtime::blocking(move || Plan::new(&query, &options)).await.map_err(QueryError::Internal)?
        }
    };
    planned.map_err(|e| match e {
        PlanError::TooManyPatterns { .. } => QueryError::Execution(e.to_string()),
        _ => QueryError::Invalid(e.to_string()),
    })
}

/// Queries of dashboards are shorter, and to hand them to another thread takes longer than to parse them.
const SHORT_QUERY: usize = 2_000;

fn check_size(query: &str, limits: &Limits) -> Result<(), QueryError> {
    let (size, limit) = (query.len() as u64, limits.max_query_expression_size_bytes);
    if limit == 0 || size <= limit {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "the text of the query has {size} bytes, the limit is max_query_expression_size_bytes of {limit}"
    )))
}

/// The longest stretch of time that a selector of the query needs, ranges and lookback included, is bounded.
fn check_length(plan: &Plan, limits: &Limits) -> Result<(), QueryError> {
    let (length, limit) = (plan.longest_ms(), limits.max_query_length);
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

pub(crate) fn query_timeout(limits: &Limits) -> Duration {
    match limits.query_timeout.millis() {
        0 => UNLIMITED,
        ms => Duration::from_millis(ms.unsigned_abs()),
    }
}

fn result(evaluated: Evaluated, stats: QueryStats, budget: Arc<SelectBudget>) -> QueryResult {
    QueryResult {
        value: evaluated.value,
        warnings: evaluated.annotations.warnings,
        infos: evaluated.annotations.infos,
        stats: QueryStats {
            total_samples: evaluated.stats.total_samples,
            peak_samples: evaluated.stats.peak_samples,
            samples_per_step: evaluated.stats.per_step,
            samples_read: evaluated.stats.samples_read,
            samples_read_per_step: evaluated.stats.read_per_step,
            ..stats
        },
        held: Held::of(budget),
    }
}
