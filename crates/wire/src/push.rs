use async_trait::async_trait;
use model::{Batch, Classify, ErrorKind, SeriesId, TenantId};

/// Takes a batch into the log and the head.
#[async_trait]
pub trait Push: Send + Sync {
    /// Appends what is acceptable and says what was refused. Samples are idempotent: pushing a batch again
    /// after any error is safe.
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError>;
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Float samples that are on the log now, those that were there before included.
    pub n_floats: usize,
    /// Histogram samples, likewise.
    pub n_histograms: usize,
    /// Exemplars, likewise.
    pub n_exemplars: usize,
    /// What was refused while the rest was kept: one entry per reason, with the first message of each.
    pub refused: Vec<Refusal>,
    /// Series that came by their identity alone and are not known here: nothing of them was taken, they have to come
    /// again with their labels. Empty for a batch with all labels.
    pub unknown: Vec<SeriesId>,
}

/// Samples refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// How many samples.
    pub n_samples: usize,
    /// The first refusal in words: limit, value and series.
    pub message: String,
}

/// Why a sample was refused although its request was well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Another value is stored for this series and timestamp.
    DuplicateTimestamp,
    /// Older than the tenant's out-of-order window.
    TooOld,
    /// Further ahead than the tenant's future limit.
    TooFarInFuture,
    /// The tenant has as many series as it may have.
    SeriesLimit,
    /// The metric has as many series as one may have.
    MetricSeriesLimit,
    /// Labels break a rule or a limit.
    InvalidLabels,
    /// The histogram is malformed.
    InvalidHistogram,
    /// The exemplar breaks a rule.
    InvalidExemplar,
    /// The points are differences since the last ones, and the tenant takes totals only.
    DeltaTemporality,
    /// What was measured cannot be expressed as a series.
    Untranslatable,
    /// A series came with nothing that could be stored.
    EmptySeries,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [RefusalReason; 11] = [
        RefusalReason::DuplicateTimestamp,
        RefusalReason::TooOld,
        RefusalReason::TooFarInFuture,
        RefusalReason::SeriesLimit,
        RefusalReason::MetricSeriesLimit,
        RefusalReason::InvalidLabels,
        RefusalReason::InvalidHistogram,
        RefusalReason::InvalidExemplar,
        RefusalReason::DeltaTemporality,
        RefusalReason::Untranslatable,
        RefusalReason::EmptySeries,
    ];

    /// The reason as a label value of our own metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::DuplicateTimestamp => "duplicate_timestamp",
            RefusalReason::TooOld => "too_old",
            RefusalReason::TooFarInFuture => "too_far_in_future",
            RefusalReason::SeriesLimit => "series_limit",
            RefusalReason::MetricSeriesLimit => "metric_series_limit",
            RefusalReason::InvalidLabels => "invalid_labels",
            RefusalReason::InvalidHistogram => "invalid_histogram",
            RefusalReason::InvalidExemplar => "invalid_exemplar",
            RefusalReason::DeltaTemporality => "delta_temporality",
            RefusalReason::Untranslatable => "untranslatable",
            RefusalReason::EmptySeries => "empty_series",
        }
    }
}

impl Pushed {
    /// Float and histogram samples that are on the log now.
    pub fn n_samples(&self) -> usize {
        self.n_floats + self.n_histograms
    }

    /// Samples that were refused, for whatever reason.
    pub fn n_refused(&self) -> usize {
        self.refused.iter().map(|refusal| refusal.n_samples).sum()
    }

    /// Counts one refused sample; `message` is asked for only when it is the first of its reason.
    pub fn refuse(&mut self, reason: RefusalReason, n_samples: usize, message: impl FnOnce() -> String) {
        match self.refused.iter_mut().find(|refusal| refusal.reason == reason) {
            Some(refusal) => refusal.n_samples += n_samples,
            None => self.refused.push(Refusal { reason, n_samples, message: message() }),
        }
    }

    /// Adds what became of another part of the same request.
    pub fn absorb(&mut self, other: Pushed) {
        self.n_floats += other.n_floats;
        self.n_histograms += other.n_histograms;
        self.n_exemplars += other.n_exemplars;
        for refusal in other.refused {
            self.refuse(refusal.reason, refusal.n_samples, || refusal.message.clone());
        }
        self.unknown.extend(other.unknown);
    }
}

/// Why nothing, or not everything, is known to be on the log.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Starting, stopping, out of a memory budget, disk full: the sender retries.
    #[error("{message}")]
    Unavailable {
        /// What is unavailable, with the limit's name where one was hit.
        message: String,
        /// When to come back.
        retry_after_secs: u64,
    },
    /// The batch itself is malformed.
    #[error("{0}")]
    Invalid(String),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Classify for PushError {
    fn kind(&self) -> ErrorKind {
        match self {
            PushError::Unavailable { .. } => ErrorKind::Unavailable,
            PushError::Invalid(_) => ErrorKind::Invalid,
            PushError::Internal(_) => ErrorKind::Internal,
        }
    }
}
