use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use wire::Pushed;

use crate::head::RefusedExemplars;

/// What the ingester counts. Registered before it opens, so that a replay can be watched.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) samples: Counter,
    pub(crate) refused: Family<ReasonLabel, Counter>,
    pub(crate) exemplars: Counter,
    pub(crate) refused_exemplars: Family<ReasonLabel, Counter>,
    pub(crate) unavailable: Family<ReasonLabel, Counter>,
    pub(crate) series: Gauge,
    pub(crate) head_bytes: Gauge,
    pub(crate) tenants: Gauge,
    pub(crate) silent_tenants: Gauge,
    pub(crate) cuts: Family<ReasonLabel, Counter>,
    pub(crate) commits: Counter,
    pub(crate) repeated_commits: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) flushing: Gauge,
    pub(crate) pending_cuts: Gauge,
    pub(crate) block_bytes: Counter,
    pub(crate) exemplar_bytes: Counter,
    pub(crate) newest_commit_secs: Gauge<f64, AtomicU64>,
    pub(crate) replay_bytes: Gauge,
    pub(crate) replay_read_bytes: Gauge,
    pub(crate) replay_seconds: Gauge<f64, AtomicU64>,
    pub(crate) replay_samples: Counter,
    pub(crate) replay_unknown_refs: Counter,
    pub(crate) corrupt_records: Counter,
    pub(crate) torn_bytes: Counter,
    pub(crate) wal: WalMetrics,
}

/// What the log counts, copied from it now and then.
#[derive(Debug, Clone, Default)]
pub(crate) struct WalMetrics {
    appended: Counter,
    appended_bytes: Counter,
    failed_appends: Counter,
    syncs: Counter,
    failed_syncs: Counter,
    segments: Gauge,
    bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Metrics {
        let m = Metrics::default();
        let r = registry.sub_registry_with_prefix("ingester");
        r.register("samples", "Samples acknowledged", m.samples.clone());
        r.register("refused_samples", "Samples refused, by reason", m.refused.clone());
        r.register("exemplars", "Exemplars acknowledged", m.exemplars.clone());
        r.register("refused_exemplars", "Exemplars refused, by reason", m.refused_exemplars.clone());
        r.register("unavailable", "Pushes refused for now, by reason", m.unavailable.clone());
        r.register("series", "Series in memory", m.series.clone());
        r.register_with_unit("head", "Memory of the head", Unit::Bytes, m.head_bytes.clone());
        r.register("tenants", "Tenants in memory", m.tenants.clone());
        let help = "Tenants that fell silent, of which only some numbers are in memory";
        r.register("silent_tenants", help, m.silent_tenants.clone());
        r.register("cuts", "Windows cut, by reason", m.cuts.clone());
        r.register("commits", "Commits of cuts", m.commits.clone());
        r.register(
            "repeated_commits",
            "Cuts that were found in the table already",
            m.repeated_commits.clone(),
        );
        r.register("flush_failures", "Flushes that failed and are tried again", m.flush_failures.clone());
        r.register("flushing", "Flushes going on", m.flushing.clone());
        r.register("pending_cuts", "Cuts that are not in the table yet", m.pending_cuts.clone());
        r.register_with_unit("block", "Bytes of blocks uploaded", Unit::Bytes, m.block_bytes.clone());
        r.register_with_unit(
            "exemplar_file",
            "Bytes of files of exemplars uploaded",
            Unit::Bytes,
            m.exemplar_bytes.clone(),
        );
        r.register_with_unit(
            "last_commit_timestamp",
            "When a cut was last committed",
            Unit::Seconds,
            m.newest_commit_secs.clone(),
        );
        m.register_replay(r);
        m.wal.register(registry.sub_registry_with_prefix("wal"));
        m
    }

    fn register_replay(&self, r: &mut Registry) {
        r.register("replay_total_bytes", "Length of the log when it was opened", self.replay_bytes.clone());
        r.register("replay_read_bytes", "How much of it is replayed", self.replay_read_bytes.clone());
        r.register("replay_duration_seconds", "How long the replay took", self.replay_seconds.clone());
        r.register("replay_samples", "Samples replayed", self.replay_samples.clone());
        r.register(
            "replay_unknown_refs",
            "Samples replayed of series that are no longer defined: forgotten, or lost with a damaged record",
            self.replay_unknown_refs.clone(),
        );
        r.register("replay_corrupt_records", "Damaged records met", self.corrupt_records.clone());
        r.register("replay_torn_bytes", "Bytes cut off the torn end of the log", self.torn_bytes.clone());
    }

    pub(crate) fn pushed(&self, pushed: &Pushed) {
        self.samples.inc_by(pushed.n_samples() as u64);
        self.exemplars.inc_by(pushed.n_exemplars as u64);
        for refusal in &pushed.refused {
            let reason = ReasonLabel { reason: refusal.reason.as_str() };
            self.refused.get_or_create(&reason).inc_by(refusal.n_samples as u64);
        }
    }

    pub(crate) fn refused_exemplars(&self, refused: &RefusedExemplars) {
        let RefusedExemplars { by_time, by_series_limit, by_limit } = *refused;
        for (reason, n) in
            [("time", by_time), ("series_limit", by_series_limit), ("exemplar_limit", by_limit)]
        {
            if n > 0 {
                self.refused_exemplars.get_or_create(&ReasonLabel { reason }).inc_by(n);
            }
        }
    }

    pub(crate) fn count(family: &Family<ReasonLabel, Counter>, reason: &'static str) {
        family.get_or_create(&ReasonLabel { reason }).inc();
    }
}

impl WalMetrics {
    fn register(&self, r: &mut Registry) {
        r.register("appended_records", "Records appended", self.appended.clone());
        r.register("appended_bytes", "Bytes appended", self.appended_bytes.clone());
        r.register("failed_appends", "Appends that failed", self.failed_appends.clone());
        r.register("syncs", "Syncs", self.syncs.clone());
        r.register("failed_syncs", "Syncs that failed", self.failed_syncs.clone());
        r.register("segments", "Segments of the log", self.segments.clone());
        r.register_with_unit("size", "Length of the log", Unit::Bytes, self.bytes.clone());
    }

    pub(crate) fn set(&self, stats: &wal::WalStats) {
        for (counter, value) in [
            (&self.appended, stats.n_appended),
            (&self.appended_bytes, stats.appended_bytes),
            (&self.failed_appends, stats.n_failed_appends),
            (&self.syncs, stats.n_syncs),
            (&self.failed_syncs, stats.n_failed_syncs),
        ] {
            counter.inner().fetch_max(value, Ordering::Relaxed);
        }
        self.segments.set(stats.n_segments as i64);
        self.bytes.set(stats.total_bytes as i64);
    }
}
