use std::collections::BTreeSet;

use crate::Day;

/// Names longer than this are left out of the statistics: the log would repeat them in every checkpoint.
pub(crate) const LONGEST_NAME: usize = 256;

/// What the log says about a file: enough to prune it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSummary {
    /// The file's number.
    pub block: i64,
    /// The partition.
    pub day: Day,
    /// Rows of all kinds.
    pub n_rows: u64,
    /// Rows of kind `series`.
    pub n_series_rows: u64,
    /// Series.
    pub n_series: u64,
    /// Samples, stale markers included.
    pub n_samples: u64,
    /// First timestamp.
    pub min_time: i64,
    /// Last timestamp.
    pub max_time: i64,
    /// First and last metric name, unless one is too long for statistics or no series has a name.
    pub metrics: Option<(String, String)>,
    /// Rows without a metric name.
    pub n_metric_nulls: u64,
    /// The shards whose series are in the file, ascending.
    pub shards: Vec<u32>,
}

/// What the log says about a file of a table whose rows are all of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsSummary {
    /// The file's number.
    pub block: i64,
    /// Rows.
    pub n_rows: u64,
    /// First and last timestamp.
    pub times: (i64, i64),
    /// First and last name: of a metric, of a family. `None` as in [`BlockSummary::metrics`].
    pub names: Option<(String, String)>,
    /// Rows without a name.
    pub n_name_nulls: u64,
    /// The shards whose rows are in the file, ascending.
    pub shards: Vec<u32>,
}

/// What the log says about a file, by its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSummary {
    /// Of the table `metrics`.
    Metrics(BlockSummary),
    /// Of the table `exemplars`.
    Exemplars(RowsSummary),
    /// Of the table `metadata`.
    Metadata(RowsSummary),
}

impl From<BlockSummary> for FileSummary {
    fn from(summary: BlockSummary) -> FileSummary {
        FileSummary::Metrics(summary)
    }
}

/// Collects a summary series by series.
#[derive(Default)]
pub(crate) struct Collector {
    first_metric: Option<String>,
    last_metric: Option<String>,
    n_named_rows: u64,
    n_series_rows: u64,
    pub(crate) n_series: u64,
    n_samples: u64,
    times: Option<(i64, i64)>,
    shards: BTreeSet<u32>,
}

impl Collector {
    pub(crate) fn series(&mut self, shard: u32) {
        self.n_series += 1;
        self.shards.insert(shard);
    }

    pub(crate) fn set_shards(&mut self, shards: &[u32]) {
        self.shards = shards.iter().copied().collect();
    }

    pub(crate) fn row(&mut self, metric: Option<&str>, n_samples: usize, times: (i64, i64)) {
        self.n_series_rows += 1;
        self.n_samples += n_samples as u64;
        self.times = Some(match self.times {
            None => times,
            Some((min, max)) => (min.min(times.0), max.max(times.1)),
        });
        let Some(metric) = metric else { return };
        self.n_named_rows += 1;
        if self.first_metric.is_none() {
            self.first_metric = Some(metric.to_string());
        }
        if self.last_metric.as_deref() != Some(metric) {
            self.last_metric = Some(metric.to_string());
        }
    }

    /// First and last timestamp so far.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// `None` when there was no row.
    pub(crate) fn finish(self, block: i64, n_rows: u64) -> Option<BlockSummary> {
        let (min_time, max_time) = self.times?;
        let fits = |name: &String| name.len() <= LONGEST_NAME;
        let metrics = self.first_metric.zip(self.last_metric);
        Some(BlockSummary {
            block,
            day: Day::of(min_time),
            n_rows,
            n_series_rows: self.n_series_rows,
            n_series: self.n_series,
            n_samples: self.n_samples,
            min_time,
            max_time,
            metrics: metrics.filter(|(first, last)| fits(first) && fits(last)),
            n_metric_nulls: n_rows - self.n_named_rows,
            shards: self.shards.into_iter().collect(),
        })
    }
}
