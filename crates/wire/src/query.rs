use std::sync::Arc;

use async_trait::async_trait;
use model::{
    Classify, ErrorKind, ExemplarSeries, Labels, Matcher, Metadata, SeriesData, TenantId, TenantIds,
    TimeRange, Value,
};

use crate::{
    Fingerprint, HeadStats, HeadStatsRequest, LabelsRequest, MetadataRequest, SelectBudget, SelectError,
    SelectStats, SeriesRange, StoredBlock,
};

/// Evaluates queries over the data of one tenant, or of several as if they were one.
#[async_trait]
pub trait Query: Send + Sync {
    /// Evaluates an instant or a range query.
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError>;

    /// As [`Query::query`], with the tables read at this version or a later one.
    async fn query_from(
        &self,
        tenants: &TenantIds,
        request: &QueryRequest,
        _table_version: Option<u64>,
    ) -> Result<QueryResult, QueryError> {
        self.query(tenants, request).await
    }

    /// For each part of a range query what its answer rests on; `None` where that may still change from the first step
    /// on, or where one cannot tell. An answer that was evaluated between two equal prints is good as long as the
    /// print stays.
    async fn fingerprints(
        &self,
        _tenant: &TenantId,
        _request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        Ok(vec![None; parts.len()])
    }

    /// The series that match with their samples as they are, sorted by labels, at most one column each; or word that
    /// these are too many for one answer.
    async fn raw(&self, tenants: &TenantIds, request: &RawRequest) -> Result<Raw, QueryError>;

    /// The series that match, sorted.
    async fn series(&self, tenants: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError>;

    /// The names of labels, sorted.
    async fn label_names(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError>;

    /// The values of a label, sorted.
    async fn label_values(
        &self,
        tenants: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError>;

    /// The exemplars of the series that match, sorted by labels.
    async fn exemplars(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError>;

    /// The descriptions of metric families, as [`Select::metadata`](crate::Select::metadata) orders them.
    async fn metadata(
        &self,
        tenants: &TenantIds,
        request: &MetadataRequest,
    ) -> Result<Vec<Metadata>, QueryError>;

    /// Figures of the series that ingesters hold in memory.
    async fn head_stats(
        &self,
        tenants: &TenantIds,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, QueryError>;

    /// The files of the tables `metrics`, in the order of time; of several tenants, those of one after the other.
    async fn blocks(&self, tenants: &TenantIds) -> Result<Vec<StoredBlock>, QueryError>;
}

/// A PromQL query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRequest {
    /// The expression.
    pub query: String,
    /// First evaluation time in milliseconds.
    pub start_ms: i64,
    /// Last evaluation time in milliseconds; equal to `start_ms` for an instant query.
    pub end_ms: i64,
    /// Step in milliseconds; `None` for an instant query.
    pub step_ms: Option<i64>,
    /// How far back a sample may lie, if the request said so.
    pub lookback_ms: Option<i64>,
    /// How long the query may take, if the request said so.
    pub timeout_ms: Option<u64>,
    /// Whether samples are to be counted per step.
    pub stats_per_step: bool,
}

/// Which series are wanted with their samples as they are.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// A series counts when all matchers of one of the selectors pass; there is at least one selector.
    pub selectors: Vec<Vec<Matcher>>,
    /// First and last millisecond of interest.
    pub range: TimeRange,
    /// Only these of the series, if not all.
    pub within: Option<SeriesRange>,
    /// The most samples of an answer; 0 for as many as the tenants may hold.
    pub max_samples: u64,
}

impl RawRequest {
    /// What [`RawRequest::max_samples`] is called where limits are named.
    pub const SAMPLES_MAX: &str = "the samples of one answer";
}

/// Series with their samples.
#[derive(Debug, Clone)]
pub enum Raw {
    /// All of them, and what keeps their memory counted.
    Series(Vec<SeriesData>, Held),
    /// There are more samples than wanted, or than may be held at once: ask for fewer series at a time.
    TooMany,
}

/// A result with what there is to say about it.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// The result.
    pub value: Value,
    /// Warnings, each with its position; sorted.
    pub warnings: Vec<String>,
    /// Infos, each with its position; sorted.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
    /// Keeps its memory counted.
    pub held: Held,
}

/// The memory of a result, counted against the query's limits and the process's memory until this is dropped: whoever
/// has the result has this, too.
#[derive(Debug, Clone, Default)]
pub struct Held {
    budgets: Vec<Arc<SelectBudget>>,
}

impl Held {
    /// What is used of a query's budget.
    pub fn of(budget: Arc<SelectBudget>) -> Held {
        Held { budgets: vec![budget] }
    }

    /// Both: of a result that was made of two.
    pub fn join(&mut self, other: Held) {
        self.budgets.extend(other.budgets);
    }
}

/// What a query cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryStats {
    /// Seconds until the samples were there.
    pub prepare_secs: f64,
    /// Seconds of evaluation.
    pub eval_secs: f64,
    /// Seconds that it waited for its turn.
    pub queue_secs: f64,
    /// Samples looked at over all steps (Prometheus: `totalQueryableSamples`).
    pub total_samples: u64,
    /// The same per step, for `stats=all`.
    pub samples_per_step: Vec<(i64, u64)>,
    /// Samples read for that, those of overlapping windows once (Prometheus: `samplesRead`).
    pub samples_read: u64,
    /// The same per step, for `stats=all`.
    pub samples_read_per_step: Vec<(i64, u64)>,
    /// The most samples held at once.
    pub peak_samples: u64,
    /// Series selected.
    pub n_series: u64,
    /// What the selects cost together.
    pub select: SelectStats,
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The expression or a parameter does not parse.
    #[error("{0}")]
    Invalid(String),
    /// Evaluation failed for a reason that lies in the query or the data (Prometheus: `execution`).
    #[error("{0}")]
    Execution(String),
    /// The deadline passed.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The caller went away.
    #[error("query was canceled")]
    Canceled,
    /// More queries of the tenant are waiting than may: ask again later. Names the limit.
    #[error("{0}")]
    TooManyRequests(String),
    /// The samples could not be had.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Classify for QueryError {
    fn kind(&self) -> ErrorKind {
        match self {
            QueryError::Invalid(_) => ErrorKind::Invalid,
            QueryError::Execution(_) => ErrorKind::LimitExceeded,
            QueryError::Timeout(_) => ErrorKind::Timeout,
            QueryError::Canceled => ErrorKind::Canceled,
            QueryError::TooManyRequests(_) => ErrorKind::RateLimited,
            QueryError::Select(e) => e.kind(),
            QueryError::Internal(_) => ErrorKind::Internal,
        }
    }
}
