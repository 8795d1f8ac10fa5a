use crate::{Histogram, SeriesId};

/// What one request brought, after decoding, validation and sharding: flat columns, no object per sample.
///
/// The label bytes stay where they arrived: series refer to ranges of `bytes`, which is the decompressed body
/// when the sender sorted its labels, followed by the canonical runs of those that it did not sort.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Canonical label runs, somewhere among other bytes.
    pub bytes: Vec<u8>,
    /// One entry per shard that the request touches.
    pub shards: Vec<ShardBatch>,
    /// Descriptions of metric families; they belong to the tenant, not to a shard.
    pub metadata: Vec<Metadata>,
}

/// The part of a batch that goes to one shard.
#[derive(Debug, Clone, Default)]
pub struct ShardBatch {
    /// The shard.
    pub shard: u32,
    /// Series in the order of arrival; one series may appear more than once.
    pub series: Vec<BatchSeries>,
    /// Timestamps of the float samples, series after series.
    pub timestamps: Vec<i64>,
    /// Values of the float samples, parallel to `timestamps`.
    pub values: Vec<f64>,
    /// Start timestamps parallel to `timestamps`, 0 for none; empty when no sample has one.
    pub start_timestamps: Vec<i64>,
    /// Histogram samples, series after series.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars, series after series.
    pub exemplars: Vec<Exemplar>,
}

/// One series of a batch and how many of the next samples are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSeries {
    /// The identity.
    pub id: SeriesId,
    /// Where the canonical label run lies in [`Batch::bytes`]. An empty run is that of a series which came by its
    /// identity alone: whoever does not know it says so.
    pub labels: (u32, u32),
    /// Whether whoever filled the batch has met the series before. Then those to whom it is pushed know it, most
    /// likely, and its labels need not travel.
    pub is_known: bool,
    /// Float samples.
    pub n_floats: u32,
    /// Histogram samples.
    pub n_histograms: u32,
    /// Exemplars.
    pub n_exemplars: u32,
}

/// A histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub timestamp: i64,
    /// Since when it counts, 0 for unknown.
    pub start_timestamp: i64,
    /// The histogram.
    pub histogram: Box<Histogram>,
}

/// An example of an observation, usually with a trace id.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// When.
    pub timestamp: i64,
    /// The observed value.
    pub value: f64,
    /// The exemplar's own label run, in the order of arrival.
    pub labels: (u32, u32),
}

/// What a metric family is (`prometheus.MetricMetadata.MetricType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricType {
    /// Not said.
    #[default]
    Unknown,
    /// Only grows, until it resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets of a counter.
    Histogram,
    /// Buckets of a gauge.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Labels only.
    Info,
    /// One of several states.
    StateSet,
}

impl MetricType {
    /// All types.
    pub const ALL: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// The type as Prometheus's API and the text formats spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    /// The type that is spelled so; unknown when none is.
    pub fn parse(text: &str) -> MetricType {
        MetricType::ALL.into_iter().find(|t| t.as_str() == text).unwrap_or_default()
    }
}

/// The description of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the family.
    pub family: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its unit, may be empty.
    pub unit: String,
    /// Its help text, may be empty.
    pub help: String,
}

/// A description, and when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMetadata {
    /// The description.
    pub metadata: Metadata,
    /// When, by the clock of who saw it, in milliseconds.
    pub seen_ms: i64,
}

impl Batch {
    /// The canonical label run of a series.
    pub fn labels(&self, series: &BatchSeries) -> &[u8] {
        slice(&self.bytes, series.labels)
    }

    /// The label run of an exemplar.
    pub fn exemplar_labels(&self, exemplar: &Exemplar) -> &[u8] {
        slice(&self.bytes, exemplar.labels)
    }

    /// Float and histogram samples in all shards.
    pub fn n_samples(&self) -> usize {
        self.shards.iter().map(|shard| shard.values.len() + shard.histograms.len()).sum()
    }
}

impl ShardBatch {
    /// Adds a float sample and since when it counts, 0 for unknown. Whoever uses this uses it for all samples of a
    /// batch: the start timestamps are either absent or there for each.
    pub fn push_float(&mut self, timestamp: i64, start_timestamp: i64, value: f64) {
        if start_timestamp != 0 || !self.start_timestamps.is_empty() {
            self.start_timestamps.resize(self.timestamps.len(), 0);
            self.start_timestamps.push(start_timestamp);
        }
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Forgets the samples and keeps the buffers.
    pub fn clear(&mut self) {
        self.series.clear();
        self.timestamps.clear();
        self.values.clear();
        self.start_timestamps.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }
}

fn slice(bytes: &[u8], (from, to): (u32, u32)) -> &[u8] {
    bytes.get(from as usize..to as usize).unwrap_or_default()
}
