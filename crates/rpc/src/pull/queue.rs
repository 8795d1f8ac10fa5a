use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use config::query_frontend;
use limits::LimitsHandle;
use model::{ExemplarSeries, Labels, Metadata, TenantId, TenantIds, TimeRange};
use prometheus_client::registry::Registry;
use prost::Message;
use runtime::{Clock, MemoryPart, Service, Shutdown, TraceContext};
use tokio::sync::mpsc;
use wire::{
    Fingerprint, HeadStats, HeadStatsRequest, LabelsRequest, MetadataRequest, Query, QueryError,
    QueryRequest, QueryResult, Raw, RawRequest, SelectError, StoredBlock,
};

use super::jobs::{Event, Job, Jobs, NoPlace, Ticket};
use crate::call;
use crate::convert::{self, Assembler, Malformed};
use crate::generated::firn;
use crate::generated::firn::job::What;

/// What the queue works with.
pub struct QueueDeps {
    /// How long a tenant's queries may take.
    pub limits: LimitsHandle,
    /// For results until they are whole.
    pub memory: MemoryPart,
    /// The time.
    pub clock: Clock,
}

/// Evaluates queries by letting queriers pull them.
pub struct Queue {
    config: query_frontend::Config,
    deps: QueueDeps,
    pub(super) jobs: Arc<Jobs>,
}

/// Lets the queries that are here end before the process does. Started after the port, it is stopped before it.
pub struct Drain(pub Arc<Queue>);

/// Events of one job that wait for whoever asked.
const INBOX: usize = 8;
/// The querier keeps the query's time itself and knows better what it was spent on; after this it is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question and what goes with it.
struct Asked {
    what: What,
    timeout_ms: Option<u64>,
    table_version: Option<u64>,
}

impl From<What> for Asked {
    fn from(what: What) -> Asked {
        Asked { what, timeout_ms: None, table_version: None }
    }
}

/// A result that is whole.
struct Finished {
    parts: Assembler,
    done: firn::Done,
}

impl Queue {
    /// A queue that no querier pulls from yet.
    pub(super) fn new(config: &query_frontend::Config, deps: QueueDeps) -> Arc<Queue> {
        let jobs = Jobs::new(config.max_outstanding_requests_per_tenant);
        Arc::new(Queue { config: config.clone(), deps, jobs })
    }

    /// How many queriers are connected.
    pub fn n_queriers(&self) -> usize {
        self.jobs.n_queriers()
    }

    /// Shows how many wait, where, and how it goes.
    pub fn register(&self, registry: &mut Registry) {
        self.jobs.metrics.register(registry);
    }

    /// Takes no more queries and returns when those that are here have ended and the queriers were told.
    pub async fn drain(&self) {
        self.jobs.drain().await;
    }

    /// Waits for a querier to do it.
    async fn run(&self, tenants: &TenantIds, asked: impl Into<Asked>) -> Result<Finished, QueryError> {
        let Asked { what, timeout_ms, table_version } = asked.into();
        let since = self.deps.clock.instant();
        let deadline = since + self.timeout(tenants, timeout_ms);
        let (events, mut inbox) = mpsc::channel(INBOX);
        let tenants = tenants.to_string();
        let trace = TraceContext::current();
        let owner = tenants.clone();
        let make = |id| Job {
            id,
            tenants: owner,
            what,
            table_version,
            since,
            waited: Duration::ZERO,
            deadline,
            trace,
            attempts: 0,
            events,
        };
        let ticket = self.jobs.enqueue(&tenants, make).map_err(|no| self.refusal(&no))?;
        self.collect(&ticket, &mut inbox, deadline).await
    }

    /// Puts the parts of a job together until its end comes.
    async fn collect(
        &self,
        ticket: &Ticket,
        inbox: &mut mpsc::Receiver<Event>,
        deadline: Instant,
    ) -> Result<Finished, QueryError> {
        let mut parts = Assembler::default();
        let mut reserved = self.reserve(0)?;
        loop {
            match self.next(ticket, inbox, deadline).await? {
                Event::Restarted => {
                    parts = Assembler::default();
                    reserved = self.reserve(0)?;
                }
                Event::Part(part) => {
                    let over = |over: runtime::OverBudget| unavailable(over.to_string());
                    reserved.grow(part.encoded_len() as u64).map_err(over)?;
                    parts.take(part).map_err(malformed)?;
                }
                Event::Done(done) => return Ok(Finished { parts, done }),
                Event::Failed(detail) => return Err(detail.into()),
            }
        }
    }

    /// The next event of a job. Gives up when its time is over, or when there is no querier for too long.
    async fn next(
        &self,
        ticket: &Ticket,
        inbox: &mut mpsc::Receiver<Event>,
        deadline: Instant,
    ) -> Result<Event, QueryError> {
        loop {
            let is_taken = self.jobs.is_taken(ticket.id);
            let left = deadline.saturating_duration_since(self.deps.clock.instant());
            let left = if is_taken { left + PATIENCE } else { left };
            if left.is_zero() {
                return Err(QueryError::Timeout("query queue"));
            }
            let wait = left.min(self.config.querier_wait.0.max(Duration::from_millis(1)));
            match runtime::timeout(wait, inbox.recv()).await {
                Some(Some(event)) => return Ok(event),
                Some(None) => return Err(QueryError::Internal("a job was lost".to_string())),
                None if wait == left && is_taken => return Err(QueryError::Timeout("query execution")),
                None if self.jobs.is_hopeless(ticket.id) => {
                    let waited = self.config.querier_wait;
                    return Err(unavailable(format!(
                        "no querier is connected to this query-frontend (waited {waited})"
                    )));
                }
                None => {}
            }
        }
    }

    fn reserve(&self, bytes: u64) -> Result<runtime::Reservation, QueryError> {
        self.deps.memory.reserve(bytes).map_err(|over| unavailable(over.to_string()))
    }

    fn refusal(&self, no: &NoPlace) -> QueryError {
        match no {
            NoPlace::Stopping => unavailable("the query-frontend is stopping".to_string()),
            NoPlace::Full => {
                let limit = self.config.max_outstanding_requests_per_tenant;
                QueryError::TooManyRequests(format!(
                    "too many outstanding requests: {limit} queries of the tenant are waiting \
                     (query_frontend.max_outstanding_requests_per_tenant)"
                ))
            }
        }
    }

    /// How long the query may take, waiting included: the least of what was asked for and what its tenants may.
    fn timeout(&self, tenants: &TenantIds, asked_ms: Option<u64>) -> Duration {
        let limits = tenants.all().iter().map(|tenant| self.deps.limits.for_tenant(tenant).query_timeout.0);
        let limit = limits.filter(|limit| !limit.is_zero()).min().unwrap_or(call::LONGEST);
        asked_ms.map_or(limit, Duration::from_millis).min(limit).min(call::LONGEST)
    }
}

fn unavailable(message: String) -> QueryError {
    QueryError::Select(SelectError::Unavailable(message))
}

fn malformed(error: Malformed) -> QueryError {
    QueryError::Internal(format!("a querier's answer makes no sense: {error}"))
}

#[async_trait]
impl Query for Queue {
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        self.query_from(tenants, request, None).await
    }

    async fn query_from(
        &self,
        tenants: &TenantIds,
        request: &QueryRequest,
        table_version: Option<u64>,
    ) -> Result<QueryResult, QueryError> {
        let what = What::Query(convert::query_to_wire(request));
        let asked = Asked { what, timeout_ms: request.timeout_ms, table_version };
        let Finished { parts, done } = self.run(tenants, asked).await?;
        let end = done.query.ok_or_else(|| malformed(Malformed("a query's end is missing".to_string())))?;
        parts.query(end).map_err(malformed)
    }

    async fn fingerprints(
        &self,
        tenant: &TenantId,
        request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        let what = What::Fingerprints(convert::fingerprints_to_wire(request, parts));
        Ok(self.run(&tenant.clone().into(), what).await?.parts.fingerprints)
    }

    async fn series(&self, tenants: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        let what = What::Series(convert::labels_to_wire(request, ""));
        Ok(self.run(tenants, what).await?.parts.labels)
    }

    async fn label_names(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        let what = What::LabelNames(convert::labels_to_wire(request, ""));
        Ok(self.run(tenants, what).await?.parts.strings)
    }

    async fn label_values(
        &self,
        tenants: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        let what = What::LabelValues(convert::labels_to_wire(request, name));
        Ok(self.run(tenants, what).await?.parts.strings)
    }

    async fn exemplars(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        let what = What::Exemplars(convert::labels_to_wire(request, ""));
        Ok(self.run(tenants, what).await?.parts.exemplars)
    }

    async fn metadata(
        &self,
        tenants: &TenantIds,
        request: &MetadataRequest,
    ) -> Result<Vec<Metadata>, QueryError> {
        let what = What::Metadata(convert::metadata_to_wire(request));
        Ok(self.run(tenants, what).await?.parts.metadata)
    }

    async fn raw(&self, tenants: &TenantIds, request: &RawRequest) -> Result<Raw, QueryError> {
        let what = What::Raw(convert::raw_to_wire(request));
        self.run(tenants, what).await?.parts.raw().map_err(malformed)
    }

    async fn head_stats(
        &self,
        tenants: &TenantIds,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, QueryError> {
        let what = What::HeadStats(convert::head_stats_to_wire(request));
        Ok(self.run(tenants, what).await?.parts.head_stats)
    }

    async fn blocks(&self, tenants: &TenantIds) -> Result<Vec<StoredBlock>, QueryError> {
        Ok(self.run(tenants, What::Blocks(firn::BlocksRequest {})).await?.parts.blocks)
    }
}

impl Service for Drain {
    const NAME: &'static str = "query-queue";
    type Error = std::convert::Infallible;

    async fn run(self, mut shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        shutdown.wait().await;
        self.0.drain().await;
        Ok(())
    }
}
