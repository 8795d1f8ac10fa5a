use async_trait::async_trait;
use model::{Classify, ErrorKind, ExemplarSeries, Labels, Metadata, TenantIds, Value};

use crate::{LabelsRequest, MetadataRequest, SelectError, SelectStats};

/// Evaluates queries over the data of one tenant, or of several as if they were one.
#[async_trait]
pub trait Query: Send + Sync {
    /// Evaluates an instant or a range query.
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError>;

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
}

/// What a query cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryStats {
    /// Seconds until the samples were there.
    pub prepare_secs: f64,
    /// Seconds of evaluation.
    pub eval_secs: f64,
    /// Samples looked at over all steps (Prometheus: `totalQueryableSamples`).
    pub total_samples: u64,
    /// The same per step, for `stats=all`.
    pub samples_per_step: Vec<(i64, u64)>,
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
