use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What the compactor counts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) jobs: Family<JobLabels, Counter>,
    pub(crate) running: Gauge,
    pub(crate) read_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) samples: Counter,
    pub(crate) copied_rows: Counter,
    pub(crate) decoded_rows: Counter,
    pub(crate) retired_files: Counter,
    pub(crate) deletions: Gauge,
    pub(crate) lag_secs: Gauge<f64, AtomicU64>,
    pub(crate) last_round_secs: Gauge<f64, AtomicU64>,
    pub(crate) vacuumed_bytes: Counter,
    pub(crate) cleaned_log_files: Counter,
}

/// What a job was and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    pub(crate) table: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Metrics {
        let m = Metrics::default();
        let r = registry.sub_registry_with_prefix("compactor");
        r.register("jobs", "Merges and rewrites, by how they ended", m.jobs.clone());
        r.register("running_jobs", "Merges and rewrites going on", m.running.clone());
        r.register_with_unit("read", "Bytes read for merges", Unit::Bytes, m.read_bytes.clone());
        r.register_with_unit("written", "Bytes of merged files", Unit::Bytes, m.written_bytes.clone());
        r.register("samples", "Samples in merged files", m.samples.clone());
        r.register("copied_rows", "Rows copied as they were encoded", m.copied_rows.clone());
        r.register("decoded_rows", "Rows decoded to be merged", m.decoded_rows.clone());
        r.register("retired_files", "Files removed by retention", m.retired_files.clone());
        r.register("deletions", "Deletions that files do not reflect yet", m.deletions.clone());
        let lag = "How long ago the oldest day ended that is to be merged";
        r.register_with_unit("lag", lag, Unit::Seconds, m.lag_secs.clone());
        let last = "When all tables had last been looked at";
        r.register("last_round_timestamp_seconds", last, m.last_round_secs.clone());
        r.register_with_unit("vacuumed", "Bytes that vacuum took", Unit::Bytes, m.vacuumed_bytes.clone());
        r.register("cleaned_log_files", "Files of logs that were deleted", m.cleaned_log_files.clone());
        m
    }
}
