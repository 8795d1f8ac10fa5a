use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use model::{
    Classify, ErrorKind, ExemplarSeries, Labels, METRIC_NAME, Matcher, Metadata, SeriesData, TenantId,
    TimeRange, compare_runs,
};
use runtime::MemoryPart;

use crate::{HeadStats, HeadStatsRequest, Standing, StandingRequest, StoredBlock};

/// Answers for the series that match, out of the head or out of the table.
#[async_trait]
pub trait Select: Send + Sync {
    /// The series that match with their samples in the range, sorted by labels unless fewer labels are wanted
    /// ([`Projection`]). Their columns may still overlap.
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError>;

    /// The series that match and have a sample near the range, sorted.
    async fn series(&self, tenant: &TenantId, request: &LabelsRequest)
    -> Result<Listed<Labels>, SelectError>;

    /// The names of labels of the series that match, sorted.
    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError>;

    /// The values of one label of the series that match, sorted.
    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError>;

    /// The exemplars of the series that match, sorted by labels.
    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError>;

    /// The descriptions of metric families, sorted by family; one that was described in several ways is there several
    /// times, the newest description first.
    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError>;

    /// What of the tenant's samples may still change, and what the rest rests on.
    async fn standing(
        &self,
        _tenant: &TenantId,
        _request: &StandingRequest,
    ) -> Result<Standing, SelectError> {
        Ok(Standing::unknown())
    }

    /// Figures of the series in memory. What is no head has none.
    async fn head_stats(
        &self,
        _tenant: &TenantId,
        _request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        Ok(HeadStats::default())
    }

    /// The files of the table at this version or a later one, in the order of time. What is no table has none.
    async fn blocks(
        &self,
        _tenant: &TenantId,
        _min_table_version: Option<u64>,
    ) -> Result<Vec<StoredBlock>, SelectError> {
        Ok(Vec::new())
    }
}

/// The series between two, both included, in the order of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRange {
    /// The first.
    pub first: Labels,
    /// The last.
    pub last: Labels,
}

impl SeriesRange {
    /// Whether the series with this canonical label run is one of them.
    pub fn contains(&self, run: &[u8]) -> bool {
        compare_runs(self.first.run(), run).is_le() && compare_runs(run, self.last.run()).is_le()
    }
}

/// Which labels of the series are looked at: what an aggregation groups by. The name of the metric is always wanted.
///
/// An answer may ignore this and give whole labels in their order. Where it does not, its series have no order, several
/// may show the same labels, and each tells its identity ([`SeriesData::id`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// All, and the series in the order of their labels.
    #[default]
    All,
    /// These, sorted.
    Only(Arc<[String]>),
    /// All but these, sorted.
    Without(Arc<[String]>),
}

impl Projection {
    /// Whether a label is wanted.
    pub fn wants(&self, name: &[u8]) -> bool {
        let is_among = |names: &[String]| match names.len() {
            0..=8 => names.iter().any(|known| known.as_bytes() == name),
            _ => names.binary_search_by(|known| known.as_bytes().cmp(name)).is_ok(),
        };
        match self {
            Projection::All => true,
            Projection::Only(names) => name == METRIC_NAME.as_bytes() || is_among(names),
            Projection::Without(names) => name == METRIC_NAME.as_bytes() || !is_among(names),
        }
    }
}

/// Which samples are wanted.
#[derive(Debug, Clone)]
pub struct SelectRequest {
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// First and last millisecond of interest.
    pub range: TimeRange,
    /// Only these of the series, if not all: a large answer is asked for in parts.
    pub within: Option<SeriesRange>,
    /// Which of their labels are looked at.
    pub projection: Projection,
    /// What the query may still use.
    pub budget: Arc<SelectBudget>,
    /// The table version that the answer must at least reflect: what the head said when it was asked. A select of
    /// the head ignores it.
    pub min_table_version: Option<u64>,
}

/// Which series a label query asks about.
#[derive(Debug, Clone)]
pub struct LabelsRequest {
    /// A series counts when all matchers of one of the selectors pass; no selector means all series.
    pub selectors: Vec<Vec<Matcher>>,
    /// First and last millisecond of interest.
    pub range: TimeRange,
    /// The most entries wanted, 0 for all. More may be returned.
    pub limit: usize,
    /// What the query may still use.
    pub budget: Arc<SelectBudget>,
    /// As in [`SelectRequest`].
    pub min_table_version: Option<u64>,
}

/// Which descriptions of metric families are wanted.
#[derive(Debug, Clone)]
pub struct MetadataRequest {
    /// The family, or all.
    pub family: Option<String>,
    /// What the query may still use.
    pub budget: Arc<SelectBudget>,
    /// As in [`SelectRequest`], of the table that is asked.
    pub min_table_version: Option<u64>,
}

/// The answer to a question for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// What there is, sorted.
    pub items: Vec<T>,
    /// As in [`Selected`], of the table that was asked: `metrics`, `exemplars` or `metadata`.
    pub table_version: Option<u64>,
}

/// The answer to a select.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// Series sorted by labels, unless a projection was asked for.
    pub series: Vec<SeriesData>,
    /// The newest table version that the answering ingester had seen after its view was taken; the stored part
    /// must be read at this version or a later one so that no sample falls between.
    pub table_version: Option<u64>,
    /// What it cost.
    pub stats: SelectStats,
}

/// What a select cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SelectStats {
    /// Samples decoded.
    pub n_samples: u64,
    /// Requests to the object store.
    pub n_requests: u64,
    /// Bytes read from the object store.
    pub n_bytes: u64,
}

impl SelectStats {
    /// Adds what another select cost.
    pub fn add(&mut self, other: SelectStats) {
        self.n_samples += other.n_samples;
        self.n_requests += other.n_requests;
        self.n_bytes += other.n_bytes;
    }
}

/// The limits of one query, shared by all of its selects, each naming itself when it is hit.
#[derive(Debug)]
pub struct SelectBudget {
    /// Limit and use so far, in series.
    pub series: Meter,
    /// Limit and use so far, in samples.
    pub samples: Meter,
    /// Limit and use so far, in bytes of memory held by samples and labels.
    pub bytes: Meter,
    /// When the query has to be done.
    pub deadline: Option<Instant>,
}

/// What a series takes on its way from a select to an evaluation, besides its labels and samples: itself (128 bytes) and
/// as much again, first while two lists become one and then for its decoded form; its column (40); the allocations of
/// its labels, its values and its columns.
pub const SERIES_BYTES: u64 = 344;

/// A limit and how much of it is used.
#[derive(Debug)]
pub struct Meter {
    name: &'static str,
    limit: u64,
    used: AtomicU64,
    /// What of `used` was used in another process.
    carried: u64,
    memory: Option<MemoryPart>,
}

impl Meter {
    /// A meter of the limit called `name`; 0 is no limit.
    pub fn new(name: &'static str, limit: u64) -> Meter {
        Meter { name, limit, used: 0.into(), carried: 0, memory: None }
    }

    /// A meter of bytes that are also taken from `memory`, until the meter is dropped.
    pub fn of_memory(name: &'static str, limit: u64, memory: MemoryPart) -> Meter {
        Meter { name, limit, used: 0.into(), carried: 0, memory: Some(memory) }
    }

    /// The same limit of the same query in another process, where `used` of it were used before.
    pub fn carried_on(name: &'static str, limit: u64, used: u64) -> Meter {
        Meter { name, limit, used: used.into(), carried: used, memory: None }
    }

    /// The same meter, of bytes that are also taken from `memory` from now on.
    pub fn taken_from(mut self, memory: MemoryPart) -> Meter {
        self.carried = self.used();
        self.memory = Some(memory);
        self
    }

    /// The limit's configuration key.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The limit, 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Uses `n` more, or says which limit is in the way.
    pub fn take(&self, n: u64) -> Result<(), SelectError> {
        if let Some(memory) = &self.memory {
            memory.try_add(n).map_err(|over| SelectError::Unavailable(over.to_string()))?;
        }
        let used = self.used.fetch_add(n, Ordering::Relaxed) + n;
        if self.limit > 0 && used > self.limit {
            return Err(SelectError::LimitExceeded { name: self.name, limit: self.limit, used });
        }
        Ok(())
    }

    /// Uses all of these. Where the limit is in the way, it says what was used when it came to be so.
    pub fn take_all(&self, all: impl Iterator<Item = u64> + Clone) -> Result<(), SelectError> {
        let sum: u64 = all.clone().sum();
        if self.left().is_none_or(|left| sum <= left) {
            return if sum == 0 { Ok(()) } else { self.take(sum) };
        }
        all.into_iter().try_for_each(|n| self.take(n))
    }

    /// Gives back `n` that were taken here.
    pub fn give_back(&self, n: u64) {
        let own = self.used().saturating_sub(self.carried);
        let n = n.min(own);
        self.used.fetch_sub(n, Ordering::Relaxed);
        if let Some(memory) = &self.memory {
            memory.sub(n);
        }
    }

    /// Uses `n` until the answer is dropped.
    pub fn hold(&self, n: u64) -> Result<Taken<'_>, SelectError> {
        let mut taken = Taken { meter: self, n: 0 };
        taken.grow(n)?;
        Ok(taken)
    }

    /// How much is left, of the limit or of the memory behind it; `None` when there is neither.
    pub fn left(&self) -> Option<u64> {
        let of_limit = (self.limit > 0).then(|| self.limit.saturating_sub(self.used()));
        let of_memory = self.memory.as_ref().and_then(MemoryPart::left);
        of_limit.into_iter().chain(of_memory).min()
    }

    /// How much is used.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What was taken of a meter for a while.
#[derive(Debug)]
pub struct Taken<'m> {
    meter: &'m Meter,
    n: u64,
}

impl Taken<'_> {
    /// Takes more.
    pub fn grow(&mut self, n: u64) -> Result<(), SelectError> {
        self.meter.take(n)?;
        self.n += n;
        Ok(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.meter.give_back(self.n);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.sub(self.used().saturating_sub(self.carried));
        }
    }
}

impl SelectBudget {
    /// No limits: for tests and for our own use.
    pub fn unlimited() -> Arc<SelectBudget> {
        Arc::new(SelectBudget {
            series: Meter::new("max_series_per_query", 0),
            samples: Meter::new("max_samples_per_query", 0),
            bytes: Meter::new("max_bytes_per_query", 0),
            deadline: None,
        })
    }
}

/// Why a select has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A limit of the tenant, by its configuration key.
    #[error("the query exceeds the limit {name}: {used} > {limit}")]
    LimitExceeded {
        /// The limit's configuration key.
        name: &'static str,
        /// The limit.
        limit: u64,
        /// What the query needed when it was stopped.
        used: u64,
    },
    /// The deadline passed.
    #[error("query timed out in query execution")]
    Timeout,
    /// Starting, stopping, out of memory budget, or the store cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// Stored bytes do not check out.
    #[error("{0}")]
    Corrupt(String),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Classify for SelectError {
    fn kind(&self) -> ErrorKind {
        match self {
            SelectError::LimitExceeded { .. } => ErrorKind::LimitExceeded,
            SelectError::Timeout => ErrorKind::Timeout,
            SelectError::Unavailable(_) => ErrorKind::Unavailable,
            SelectError::Corrupt(_) => ErrorKind::Corrupt,
            SelectError::Internal(_) => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_a_while_is_free_again_afterwards() {
        let memory = MemoryPart::new("queries", 100);
        let meter = Meter::of_memory("max_bytes_per_query", 60, memory.clone());
        meter.take(10).unwrap();
        assert_eq!(meter.left(), Some(50));
        let mut held = meter.hold(40).unwrap();
        assert_eq!((meter.used(), memory.used()), (50, 50));
        let refused = held.grow(11).unwrap_err();
        assert!(refused.to_string().contains("max_bytes_per_query: 61 > 60"), "{refused}");
        drop(held);
        meter.give_back(1_000);
        assert_eq!((meter.used(), memory.used()), (0, 0), "no more is given back than was taken");
    }
}
