//! What stands between the HTTP handlers and the queriers: range queries in parts, kept answers, the list of queries
//! that run, of those that ran, and the log of queries.
//!
//! Always true:
//! - an answer is the one that an evaluation of the whole query now would give;
//! - whoever leaves stops the evaluation that nobody else waits for;
//! - every query leaves one record of how it ended.

mod active;
mod asked;
mod exact;
mod flight;
mod horizons;
mod http;
mod lanes;
mod log;
mod merge;
mod metrics;
mod results;
mod run;
mod steps;
mod top;

use std::sync::Arc;
use std::time::{Duration, Instant};

use limits::LimitsHandle;
use model::TenantIds;
use prometheus_client::registry::Registry;
use runtime::{Clock, MemoryPart};
use wire::{Query, QueryError, QueryRequest, QueryResult};

pub(crate) use asked::Asker;
pub use config::query_frontend::Config;
pub(crate) use http::{active_queries, top_queries};

use active::Active;
use asked::Asked;
use flight::Flights;
use horizons::Horizons;
use lanes::Lanes;
use log::Watch;
use metrics::Metrics;
use results::Results;
use run::Run;
use top::Top;

/// What the frontend is made of.
pub struct FrontendDeps<'a> {
    /// Who evaluates.
    pub querier: Arc<dyn Query>,
    /// What each tenant may do.
    pub limits: LimitsHandle,
    /// Memory for results on their way.
    pub memory: MemoryPart,
    /// Memory for kept answers.
    pub cache_memory: MemoryPart,
    /// The time.
    pub clock: Clock,
    /// Where its metrics go.
    pub registry: &'a mut Registry,
}

/// Answers queries; clones share what is kept.
#[derive(Clone)]
pub struct Frontend {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    querier: Arc<dyn Query>,
    limits: LimitsHandle,
    memory: MemoryPart,
    clock: Clock,
    results: Results,
    flights: Flights,
    lanes: Lanes,
    horizons: Horizons,
    active: Arc<Active>,
    top: Top,
    metrics: Metrics,
}

/// What was done for an answer beside evaluating.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Parts of the query by interval; 0 for a query that is not split.
    pub(crate) n_parts: u64,
    /// Parts of which some or all was kept from before.
    pub(crate) n_hits: u64,
    /// Evaluations.
    pub(crate) n_evaluated: u64,
}

impl Frontend {
    /// A frontend before a querier, or before a queue that queriers take from.
    pub fn open(config: Config, deps: FrontendDeps<'_>) -> Frontend {
        let FrontendDeps { querier, limits, memory, cache_memory, clock, registry } = deps;
        let limit = if config.cache_results { cache_memory.at_most(config.results_cache_bytes) } else { 0 };
        let inner = Inner {
            results: Results::new(limit, cache_memory),
            flights: Flights::default(),
            lanes: Lanes::new(limits.clone()),
            horizons: Horizons::default(),
            active: Active::new(clock.clone()),
            top: Top::new(config.query_stats_last_queries),
            metrics: Metrics::new(),
            config,
            querier,
            limits,
            memory,
            clock,
        };
        inner.metrics.register(registry, &inner.results.metrics, &inner.flights.joined);
        Frontend { inner: Arc::new(inner) }
    }

    /// Answers an instant or a range query.
    pub(crate) async fn query(
        &self,
        tenants: &TenantIds,
        request: QueryRequest,
        asker: Asker,
    ) -> Result<(QueryResult, Work), QueryError> {
        let inner = &self.inner;
        let request = inner.aligned(tenants, request);
        let is_uncached = asker.is_uncached;
        let mut watch = Watch::start(inner, Asked::new(tenants, &request, asker));
        let deadline = inner.deadline(tenants, &request);
        let (inner, tenants) = (Arc::clone(inner), tenants.clone());
        let mut run = Run { inner, tenants, request, deadline, is_uncached, work: Work::default() };
        let result = run.result().await;
        watch.end(&result, run.work);
        Ok((result?, run.work))
    }
}

impl Inner {
    /// The request with its times on multiples of its step, where its tenants want that.
    fn aligned(&self, tenants: &TenantIds, request: QueryRequest) -> QueryRequest {
        let wants = |tenant| self.limits.for_tenant(tenant).align_queries_with_step;
        match request.step_ms.filter(|step| *step > 0) {
            Some(step) if tenants.all().iter().all(wants) => {
                let align = |time: i64| time.saturating_sub(time.rem_euclid(step));
                let (start_ms, end_ms) = (align(request.start_ms), align(request.end_ms));
                QueryRequest { start_ms, end_ms, ..request }
            }
            _ => request,
        }
    }

    /// When the query has to be done: the least of what was asked for and what its tenants may.
    fn deadline(&self, tenants: &TenantIds, request: &QueryRequest) -> Option<Instant> {
        let limits = tenants.all().iter().map(|tenant| self.limits.for_tenant(tenant).query_timeout.0);
        let asked = request.timeout_ms.map(Duration::from_millis);
        let timeout = limits.filter(|limit| !limit.is_zero()).chain(asked).min()?;
        self.clock.instant().checked_add(timeout)
    }
}
