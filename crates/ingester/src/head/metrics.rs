use std::sync::Arc;

use hashbrown::HashMap;
use model::{METRIC_NAME, run_labels};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// How many series each metric of a tenant has, over all of its shards. Kept while the tenant has a limit for it. A
/// shard is counted from its first push on, and shards that are pushed to at the same moment do not see what the other
/// one decides: the limit may be passed by as many series as one request brings.
#[derive(Debug, Default)]
pub struct MetricCounts {
    by_name: Mutex<HashMap<u64, u32>>,
}

impl MetricCounts {
    fn get(&self, metric: u64) -> u32 {
        self.by_name.lock().get(&metric).copied().unwrap_or(0)
    }

    fn add(&self, metric: u64) {
        *self.by_name.lock().entry(metric).or_default() += 1;
    }

    fn remove(&self, metric: u64) {
        let mut by_name = self.by_name.lock();
        let Some(n) = by_name.get_mut(&metric) else { return };
        *n -= 1;
        if *n == 0 {
            by_name.remove(&metric);
        }
    }
}

/// A shard's part in the counting.
#[derive(Debug, Default)]
pub(super) struct Counting {
    counts: Option<Arc<MetricCounts>>,
    /// Series of the batch that is being decided, by metric.
    born: HashMap<u64, u32>,
}

impl Counting {
    /// Begins to count, with the series that are there.
    pub(super) fn begin<'a>(&mut self, counts: &Arc<MetricCounts>, runs: impl Iterator<Item = &'a [u8]>) {
        if self.counts.is_none() {
            runs.for_each(|run| counts.add(metric_of(run)));
            self.counts = Some(Arc::clone(counts));
        }
    }

    pub(super) fn begin_batch(&mut self) {
        self.born.clear();
    }

    /// Whether the metric of a new series may have one more; it then has, in this batch.
    pub(super) fn admit(&mut self, run: &[u8], limit: u64) -> bool {
        let Some(counts) = self.counts.as_ref().filter(|_| limit > 0) else { return true };
        let metric = metric_of(run);
        let born = self.born.entry(metric).or_default();
        let is_room = u64::from(counts.get(metric)) + u64::from(*born) < limit;
        *born += u32::from(is_room);
        is_room
    }

    pub(super) fn added(&self, run: &[u8]) {
        if let Some(counts) = &self.counts {
            counts.add(metric_of(run));
        }
    }

    pub(super) fn removed(&self, run: &[u8]) {
        if let Some(counts) = &self.counts {
            counts.remove(metric_of(run));
        }
    }
}

fn metric_of(run: &[u8]) -> u64 {
    let name = run_labels(run).find(|label| label.name == METRIC_NAME.as_bytes());
    xxh3_64(name.map_or(&[], |label| label.value))
}
