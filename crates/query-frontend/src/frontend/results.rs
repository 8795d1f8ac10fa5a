//! Answers that are kept: by query and interval, as much of the interval as was asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{MatrixSeries, TenantId};
use parking_lot::Mutex;
use runtime::MemoryPart;

use super::merge::{Slice, bytes_of};
use super::metrics::CacheMetrics;
use super::steps::Steps;

/// What an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) query: Arc<str>,
    pub(crate) lookback_ms: Option<i64>,
    pub(crate) step: i64,
    /// Where the grid of steps lies.
    pub(crate) offset: i64,
    pub(crate) interval_ms: i64,
    /// Which interval since the epoch.
    pub(crate) number: i64,
}

/// An answer to some steps of an interval, and what it rests on.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) steps: Steps,
    /// It is good as long as the querier names this print for its steps.
    pub(crate) print: u64,
    pub(crate) series: Vec<MatrixSeries>,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Extent {
    /// As much of it as is wanted.
    pub(crate) fn slice(&self, steps: Steps) -> Slice<'_> {
        Slice { series: &self.series, warnings: &self.warnings, infos: &self.infos, steps }
    }

    /// Whether it can stand in for these steps or some of them. What is said about it may be about any of its steps, so
    /// then it is all or nothing.
    pub(crate) fn serves(&self, wanted: Steps) -> bool {
        let is_silent = self.warnings.is_empty() && self.infos.is_empty();
        self.steps.touch(wanted) && (is_silent || self.steps.are_in(wanted))
    }

    fn bytes(&self) -> u64 {
        let messages = self.warnings.iter().chain(&self.infos);
        size_of::<Extent>() as u64
            + bytes_of(&self.series)
            + messages.map(|m| m.len() as u64 + 24).sum::<u64>()
    }
}

/// Kept answers within a bound of memory; those that were not asked for the longest go first.
#[derive(Debug)]
pub(crate) struct Results {
    limit: u64,
    memory: MemoryPart,
    state: Mutex<State>,
    pub(crate) metrics: CacheMetrics,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Arc<Key>, Entry>,
    /// By when they were last used.
    order: BTreeMap<u64, Arc<Key>>,
    next_use: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    extent: Arc<Extent>,
    used: u64,
    bytes: u64,
}

/// One answer takes no more than this part of the cache.
const LARGEST_PART: u64 = 8;
/// Key, hash table and allocations.
const ENTRY_BYTES: u64 = 256;

impl Results {
    /// At most so many bytes, of this use of memory.
    pub(crate) fn new(limit: u64, memory: MemoryPart) -> Results {
        Results { limit, memory, state: Mutex::default(), metrics: CacheMetrics::default() }
    }

    /// Whether anything may be kept at all.
    pub(crate) fn is_on(&self) -> bool {
        self.limit > 0
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Extent>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let entry = state.entries.get_mut(key)?;
        if let Some(key) = state.order.remove(&entry.used) {
            entry.used = state.next_use;
            state.next_use += 1;
            state.order.insert(entry.used, key);
        }
        Some(Arc::clone(&entry.extent))
    }

    /// Keeps an answer in place of what was kept under its key, if there is room for one as large.
    pub(crate) fn put(&self, key: Key, extent: Extent) {
        let bytes = extent.bytes() + key.query.len() as u64 + ENTRY_BYTES;
        let mut state = self.state.lock();
        state.remove(&key, &self.memory);
        if bytes > self.limit / LARGEST_PART {
            self.metrics.too_large.inc();
        } else {
            while state.bytes + bytes > self.limit && self.evict(&mut state) {}
            // Others use the same memory.
            while self.memory.try_add(bytes).is_err() {
                if !self.evict(&mut state) {
                    self.show(&state);
                    return;
                }
            }
            state.insert(Arc::new(key), Arc::new(extent), bytes);
            self.metrics.stored.inc();
        }
        self.show(&state);
    }

    /// Lets go of what was not used for the longest; `false` when there is nothing.
    fn evict(&self, state: &mut State) -> bool {
        let Some((_, key)) = state.order.first_key_value() else { return false };
        let key = Arc::clone(key);
        state.remove(&key, &self.memory);
        self.metrics.evicted.inc();
        true
    }

    fn show(&self, state: &State) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.entries.set(gauge(state.entries.len() as u64));
        self.metrics.bytes.set(gauge(state.bytes));
    }
}

impl State {
    fn insert(&mut self, key: Arc<Key>, extent: Arc<Extent>, bytes: u64) {
        let used = self.next_use;
        self.next_use += 1;
        self.order.insert(used, Arc::clone(&key));
        self.entries.insert(key, Entry { extent, used, bytes });
        self.bytes += bytes;
    }

    fn remove(&mut self, key: &Key, memory: &MemoryPart) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
            memory.sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn key(number: i64) -> Key {
        Key {
            tenant: TenantId::anonymous(),
            query: "up".into(),
            lookback_ms: None,
            step: 10,
            offset: 0,
            interval_ms: 100,
            number,
        }
    }

    fn extent(n_points: i64) -> Extent {
        let floats = (0..n_points).map(|i| (i * 10, 1.0)).collect();
        let series =
            vec![MatrixSeries { labels: Labels::from_pairs([("a", "b")]), floats, histograms: Vec::new() }];
        let steps = Steps { first: 0, last: (n_points - 1) * 10, step: 10 };
        Extent { steps, print: 1, series, warnings: Vec::new(), infos: Vec::new() }
    }

    #[test]
    fn memory_is_bounded_and_what_was_not_used_for_the_longest_goes_first() {
        let memory = MemoryPart::new("test", 100_000);
        let results = Results::new(16_000, memory.clone());
        for number in 0..100 {
            results.put(key(number), extent(50));
            assert!(results.get(&key(0)).is_some(), "it is used all the time");
            assert!(memory.used() <= 16_000);
        }
        assert!(results.get(&key(1)).is_none() && results.get(&key(99)).is_some());
        results.put(key(0), extent(1000));
        assert!(results.get(&key(0)).is_none(), "larger than an answer may be, and the old one is gone");
        for number in 0..100 {
            results.state.lock().remove(&key(number), &memory);
        }
        assert_eq!((memory.used(), results.state.lock().bytes), (0, 0));
        assert!(results.state.lock().order.is_empty());
    }

    #[test]
    fn when_others_take_the_memory_nothing_is_kept() {
        let memory = MemoryPart::new("test", 10_000);
        let results = Results::new(1_000_000, memory.clone());
        results.put(key(1), extent(50));
        let _others = memory.reserve(10_000 - memory.used()).unwrap();
        results.put(key(2), extent(50));
        assert!(
            results.get(&key(1)).is_none() && results.get(&key(2)).is_some(),
            "one makes way for the other"
        );
        results.put(key(3), extent(200));
        assert!(results.get(&key(2)).is_none() && results.get(&key(3)).is_none());
    }

    #[test]
    fn an_answer_with_something_to_say_serves_as_a_whole_only() {
        let silent = extent(10);
        let talking = Extent { infos: vec!["x".to_string()], ..extent(10) };
        let some = Steps { first: 50, last: 200, step: 10 };
        let all = Steps { first: -50, last: 200, step: 10 };
        assert!(silent.serves(some) && silent.serves(all));
        assert!(!talking.serves(some) && talking.serves(all));
    }
}
