//! Figures of a head, in steps that are each short: the shard's lock is let go between them.

use std::sync::Arc;

use model::{Matcher, TimeRange};

use super::ShardHead;
use super::series::HAS_HISTOGRAMS;

/// Refs looked at in one step.
const REFS_PER_STEP: usize = 1 << 16;
/// Pairs looked at in one step, whatever their number of series.
const PAIRS_PER_STEP: usize = 1 << 12;

/// The series of a head that a statistic is about: a bit per ref.
#[derive(Debug, Default)]
pub struct Chosen {
    bits: Vec<u64>,
    n_series: u64,
    n_rebuilds: u32,
}

/// How much a head holds, and from when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Columns: the samples of a series in a block of rows, or its histograms in a window.
    pub n_columns: u64,
    /// Time of the oldest sample.
    pub oldest_ms: Option<i64>,
    /// Time of the newest sample.
    pub newest_ms: Option<i64>,
}

/// A pair of a name and a value that chosen series have.
#[derive(Debug)]
pub struct PairCount<'a> {
    /// Its number, by which [`ShardHead::value_of`] knows it until the postings are made anew.
    pub pair: u32,
    /// The name.
    pub name: &'a Arc<str>,
    /// The bytes of the value.
    pub value: &'a [u8],
    /// How many of the chosen series have it.
    pub n_series: u64,
}

impl Chosen {
    /// How many they are.
    pub fn n_series(&self) -> u64 {
        self.n_series
    }

    fn has(&self, series_ref: u32) -> bool {
        let word = self.bits.get(series_ref as usize / 64);
        word.is_some_and(|word| word >> (series_ref % 64) & 1 == 1)
    }
}

impl ShardHead {
    /// The refs of the series that match one of the selectors (none: all).
    pub fn matching_refs(&self, selectors: &[Vec<Matcher>]) -> Vec<u32> {
        self.resolve_any(selectors)
    }

    /// Takes a step through `refs`, from the `from`-th on: keeps in `active` those with a sample at `since_ms` or
    /// later. Says where the next step begins, `None` at the end.
    pub fn keep_active(
        &self,
        refs: &[u32],
        from: usize,
        since_ms: i64,
        active: &mut Vec<u32>,
    ) -> Option<usize> {
        let range = TimeRange::new(since_ms, i64::MAX);
        let to = refs.len().min(from.saturating_add(PAIRS_PER_STEP));
        let is_active = |series_ref: &&u32| {
            let flushed = self.series.get(**series_ref).map(|series| series.flushed_ts);
            flushed.is_some_and(|ts| ts >= since_ms) || self.has_samples(**series_ref, range)
        };
        active.extend(refs[from.min(to)..to].iter().filter(is_active));
        (to < refs.len()).then_some(to)
    }

    /// These series, as long as the postings are not made anew.
    pub fn choose(&self, refs: &[u32]) -> Chosen {
        let mut bits = vec![0u64; self.series.ref_end() as usize / 64 + 1];
        for series_ref in refs {
            if let Some(word) = bits.get_mut(*series_ref as usize / 64) {
                *word |= 1 << (series_ref % 64);
            }
        }
        Chosen { bits, n_series: refs.len() as u64, n_rebuilds: self.n_rebuilds }
    }

    /// Whether pairs still have the numbers that they had when these series were chosen.
    pub fn knows(&self, chosen: &Chosen) -> bool {
        self.n_rebuilds == chosen.n_rebuilds
    }

    /// Takes a step through the pairs, from number `from` on: calls `found` with those that chosen series have. Says
    /// where the next step begins, `None` at the end.
    pub fn count_pairs(
        &self,
        chosen: &Chosen,
        from: u32,
        mut found: impl FnMut(PairCount<'_>),
    ) -> Option<u32> {
        let end = self.postings.n_pairs() as u32;
        let mut n_refs = 0;
        for pair in from..end {
            if n_refs >= REFS_PER_STEP || (pair - from) as usize >= PAIRS_PER_STEP {
                return Some(pair);
            }
            let (name, value, refs) = self.postings.pair_at(pair, &self.series.arena);
            n_refs += refs.len();
            let n_series = refs.iter().filter(|series_ref| chosen.has(**series_ref)).count() as u64;
            if n_series > 0 {
                found(PairCount { pair, name, value, n_series });
            }
        }
        None
    }

    /// The value of a pair by its number.
    pub fn value_of(&self, pair: u32) -> &str {
        let (_, value, _) = self.postings.pair_at(pair, &self.series.arena);
        // Labels were checked when they came.
        std::str::from_utf8(value).unwrap_or_default()
    }

    /// How much is held, and from when.
    pub fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        let mut oldest = None;
        for generation in self.generations().filter(|generation| generation.n_samples > 0) {
            extent.newest_ms = extent.newest_ms.max(Some(generation.newest));
            extent.n_columns += generation.histograms.len() as u64;
            for rows in &generation.rows {
                let blocks = rows.blocks();
                let n_open = if rows.n_open() > 0 { rows.stride() as u64 } else { 0 };
                extent.n_columns += n_open + blocks.iter().map(|block| u64::from(block.n_slots)).sum::<u64>();
                let times =
                    blocks.iter().map(|block| block.min_time).chain(rows.open_times().iter().copied());
                oldest = oldest.into_iter().chain(times).min();
            }
            let histograms = generation.histograms.values().filter_map(|log| log.oldest());
            oldest = oldest.into_iter().chain(histograms).min();
        }
        extent.oldest_ms = oldest;
        extent
    }

    /// Takes a step through `refs`, from the `from`-th on: calls `found` with the metric and the buckets of the newest
    /// histogram of each series that has one. Says where the next step begins, `None` at the end.
    pub fn newest_histograms(
        &self,
        refs: &[u32],
        from: usize,
        mut found: impl FnMut(&[u8], u64),
    ) -> Option<usize> {
        let to = refs.len().min(from.saturating_add(PAIRS_PER_STEP));
        for series_ref in &refs[from.min(to)..to] {
            let Some(series) = self.series.get(*series_ref) else { continue };
            if series.flags & HAS_HISTOGRAMS == 0 {
                continue;
            }
            let logs = self.generations().filter_map(|generation| generation.histograms.get(series_ref));
            let newest = logs.filter_map(|log| log.latest()).max_by_key(|(ts, _)| *ts);
            if let Some((_, n_buckets)) = newest {
                found(metric_of(self.series.run(series)), n_buckets);
            }
        }
        (to < refs.len()).then_some(to)
    }
}

/// The value of `__name__` in a label run, empty where there is none.
fn metric_of(run: &[u8]) -> &[u8] {
    let mut labels = model::run_labels(run);
    labels.find(|label| label.name == model::METRIC_NAME.as_bytes()).map_or(&[], |label| label.value)
}

#[cfg(test)]
mod tests {
    use super::super::HeadConfig;
    use super::*;
    use model::Labels;

    #[test]
    fn pairs_are_counted_in_steps_and_only_of_chosen_series_that_are_alive() {
        let mut head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
        for i in 0..10_000u32 {
            let labels = Labels::from_pairs([
                ("__name__", "up".to_string()),
                ("host", format!("h{i}")),
                ("half", format!("{}", i % 2)),
            ]);
            head.define_series(i, labels.run(), None);
        }
        let all = head.matching_refs(&[]);
        let check = |head: &ShardHead, refs: &[u32], wanted: (u64, usize)| {
            let chosen = head.choose(refs);
            let (mut up, mut n_pairs, mut n_steps, mut next) = (0, 0, 0, Some(0));
            while let Some(from) = next {
                n_steps += 1;
                next = head.count_pairs(&chosen, from, |pair| {
                    n_pairs += 1;
                    if &**pair.name == "__name__" {
                        up = pair.n_series;
                        assert_eq!(head.value_of(pair.pair), "up");
                    }
                });
            }
            assert!(n_steps > 2, "{n_steps} steps");
            assert_eq!((up, n_pairs), wanted);
        };
        check(&head, &all, (10_000, 10_003));
        check(&head, &all[..100], (100, 103));
        (0..1000).for_each(|i| head.forget(i));
        check(&head, &head.matching_refs(&[]), (9000, 9003));
    }
}
