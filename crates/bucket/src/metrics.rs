//! What is counted of requests to the store.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Requests to the store by what was asked of it, in the words in which errors say it. Repetitions that the client of
/// the store makes by itself are part of the request that they belong to.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    duration: Family<Asked, Histogram>,
    read_bytes: Counter,
    written_bytes: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    operation: &'static str,
    outcome: &'static str,
}

/// How a request to the store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// There is no such object, which is an answer like any other.
    NotFound,
    Failed,
    /// No answer in time.
    TimedOut,
}

impl Default for StoreMetrics {
    fn default() -> StoreMetrics {
        StoreMetrics {
            duration: Family::new_with_constructor(buckets),
            read_bytes: Counter::default(),
            written_bytes: Counter::default(),
        }
    }
}

impl StoreMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("store");
        let help = "Requests to the object store by operation and outcome";
        registry.register("request_duration_seconds", help, self.duration.clone());
        registry.register("read_bytes", "Bytes read from the object store", self.read_bytes.clone());
        registry.register("written_bytes", "Bytes written to the object store", self.written_bytes.clone());
    }

    pub(crate) fn asked(&self, operation: &'static str, outcome: Outcome, took: Duration) {
        let outcome = match outcome {
            Outcome::Done => "done",
            Outcome::NotFound => "not found",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed out",
        };
        self.duration.get_or_create(&Asked { operation, outcome }).observe(took.as_secs_f64());
    }

    pub(crate) fn read(&self, n_bytes: usize) {
        self.read_bytes.inc_by(n_bytes as u64);
    }

    pub(crate) fn written(&self, n_bytes: usize) {
        self.written_bytes.inc_by(n_bytes as u64);
    }
}

/// From a file of this machine to a part of an upload over a slow line.
fn buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0])
}
