use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// The timestamp lists that series of one file share, found by content within a shard. A window is part of the
/// content.
#[derive(Default)]
pub(crate) struct Timelines {
    /// By address, for series that arrive with the same `Arc`; the clone keeps the address from being reused.
    by_address: HashMap<Address, (Arc<[i64]>, u32)>,
    by_content: HashMap<u128, u32>,
    /// Lists met once, in a series that nobody seemed to share it with.
    seen: HashSet<u128>,
    rows: Vec<Arc<[i64]>>,
}

/// A shard, and where a list of it lies in memory.
type Address = (u32, usize);

impl Timelines {
    /// The number of the timeline for a series of `shard` with these timestamps, or `None` when the series should
    /// carry the list itself. `shared` says that other series are known to have the same list.
    pub(crate) fn find(&mut self, shard: u32, times: &Arc<[i64]>, shared: bool) -> Option<u32> {
        let address = (shard, times.as_ptr() as usize);
        if shared && let Some((known, number)) = self.by_address.get(&address) {
            // Same start and same length is the same list, since `known` holds the memory.
            if known.len() == times.len() {
                return Some(*number);
            }
        }
        let content = hash(shard, times);
        let number = match self.by_content.get(&content) {
            Some(number) => *number,
            None if shared || !self.seen.insert(content) => self.add(content, times),
            None => return None,
        };
        if shared {
            self.by_address.insert(address, (Arc::clone(times), number));
        }
        Some(number)
    }

    /// The lists in the order of their numbers.
    pub(crate) fn into_rows(self) -> Vec<Arc<[i64]>> {
        self.rows
    }

    fn add(&mut self, content: u128, times: &Arc<[i64]>) -> u32 {
        let number = self.rows.len() as u32;
        self.by_content.insert(content, number);
        self.rows.push(Arc::clone(times));
        number
    }
}

fn hash(shard: u32, times: &[i64]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&shard.to_le_bytes());
    let mut bytes = [0u8; 512];
    for chunk in times.chunks(64) {
        for (slot, ts) in bytes.chunks_exact_mut(8).zip(chunk) {
            slot.copy_from_slice(&ts.to_le_bytes());
        }
        hasher.update(&bytes[..chunk.len() * 8]);
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_timeline_from_the_second_series_on() {
        let mut timelines = Timelines::default();
        let list = || -> Arc<[i64]> { Arc::from([1, 2, 3]) };
        assert_eq!(timelines.find(0, &list(), false), None);
        assert_eq!(timelines.find(0, &list(), false), Some(0));
        assert_eq!(timelines.find(0, &list(), true), Some(0));
        assert_eq!(timelines.find(1, &list(), false), None, "shards do not share");
        assert_eq!(timelines.find(1, &list(), true), Some(1));
        assert_eq!(timelines.into_rows().len(), 2);
    }
}
