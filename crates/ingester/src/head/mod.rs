//! The head: what one tenant's one shard holds in memory, from the log write to the drop after the commit.
//!
//! On the path: push → [`ShardHead::decide`] → log → [`ShardHead::apply`] → freeze → cut → drop; selects read it
//! in between.
//!
//! ```text
//! series   ref → identity, labels, (group, slot), newest flushed sample
//! group    series of one target: a row is a timestamp with one cell per slot
//! window   generation: per group up to 16 open rows and blocks of closed ones; histograms, starts, exemplars per series
//! frozen   a generation that is being cut; a window reopened meanwhile gets a fresh one
//! ```
//!
//! Always true:
//! - a decision changes nothing that can be seen; only what was decided is applied;
//! - a series has one value at a timestamp, in one place, the first that was accepted;
//! - a ref is never used for another series as long as the process lives;
//! - samples come back bit for bit as they were pushed, but for the bits of the empty cell.

mod append;
mod arena;
mod column;
mod decide;
mod exemplars;
mod frozen;
mod gather;
mod generation;
mod groups;
mod histograms;
mod label_maker;
mod metrics;
mod postings;
mod read;
mod rows;
mod select;
mod series;
mod starts;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hashbrown::HashMap;
use model::{ExemplarPoint, HistogramSample, SeriesId, TimeRange};
use wire::Pushed;

use decide::Request;
use generation::Generation;
use groups::Groups;
use metrics::Counting;
use postings::Postings;
use rows::Encoder;
use series::{MOVED, SeriesTable};

pub use frozen::{Frozen, Reading};
pub use metrics::MetricCounts;
pub use select::{Candidates, Selecting};
pub use stats::{Chosen, Extent, PairCount};

/// What the allocator keeps beside an allocation (glibc: 8 bytes, and rounding to 16).
const MALLOC: usize = 12;

/// How a head is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadConfig {
    /// Length of a window in milliseconds.
    pub window_ms: i64,
}

/// What is acceptable now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecideRules {
    /// The clock.
    pub now_ms: i64,
    /// Older samples are refused.
    pub min_time: i64,
    /// Newer samples are refused.
    pub max_time: i64,
    /// How many series may be born in this batch.
    pub series_allowance: usize,
    /// The limit behind `series_allowance`, to be named in refusals.
    pub max_series: u64,
    /// How many series one metric may have, 0 for any number.
    pub max_series_per_metric: u64,
    /// The limit behind `min_time`, to be named in refusals.
    pub out_of_order_window_ms: u64,
    /// The limit behind `max_time`, to be named in refusals.
    pub creation_grace_period_ms: u64,
    /// Exemplars of one series in one window, 0 for any number.
    pub max_exemplars_per_series: u32,
}

/// What of a batch goes to the log and the head. Buffers are reused from batch to batch.
#[derive(Debug, Default)]
pub struct Decision {
    /// Series that are born; each is the first with its ref.
    pub new_series: Vec<NewSeries>,
    /// Series of the accepted floats.
    pub refs: Vec<u32>,
    /// Timestamps, parallel to `refs`.
    pub timestamps: Vec<i64>,
    /// Values, parallel to `refs`.
    pub values: Vec<f64>,
    /// Start timestamps, parallel to `refs` or empty when no sample has one.
    pub starts: Vec<i64>,
    /// Accepted histograms.
    pub histograms: Vec<(u32, HistogramSample)>,
    /// Accepted exemplars.
    pub exemplars: Vec<(u32, ExemplarPoint)>,
    /// Why exemplars were refused, which never fails the samples beside them.
    pub refused_exemplars: RefusedExemplars,
    /// What the sender will be told; samples that were there before count as taken.
    pub pushed: Pushed,
    now_ms: i64,
    /// Whether a series has several samples, so that rows are better filled in the order of time.
    has_bursts: bool,
}

/// How many exemplars were refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedExemplars {
    /// Older than `min_time` or newer than `max_time`.
    pub by_time: u64,
    /// Of a series that may not be born.
    pub by_series_limit: u64,
    /// More than `max_exemplars_per_series`.
    pub by_limit: u64,
}

/// A series that is born with its first sample or exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSeries {
    /// The number by which the log refers to it.
    pub series_ref: u32,
    /// The identity.
    pub id: SeriesId,
    /// Where the canonical label run lies in the batch's bytes.
    pub labels: (u32, u32),
}

/// What is held of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowStats {
    /// First millisecond.
    pub window_start: i64,
    /// Float and histogram samples since the last freeze; there may be exemplars without any.
    pub n_samples: usize,
    /// Bytes of memory.
    pub bytes: usize,
    /// Newest timestamp.
    pub newest: i64,
    /// When the first sample since the last freeze came, by the pusher's clock.
    pub opened_ms: i64,
    /// When the last one came.
    pub touched_ms: i64,
}

/// A series as the log must define it again when the segment that defined it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition<'a> {
    /// The number by which the log refers to it.
    pub series_ref: u32,
    /// The identity.
    pub id: SeriesId,
    /// The canonical label run.
    pub run: &'a [u8],
    /// Newest flushed timestamp, and the value's bits or the histogram's hash.
    pub newest_flushed: Option<(i64, u64)>,
}

/// The series and recent samples of one tenant and shard.
#[derive(Debug)]
pub struct ShardHead {
    config: HeadConfig,
    series: SeriesTable,
    postings: Postings,
    groups: Groups,
    /// Slots in groups that a series has left, while an open generation holds samples there.
    former: HashMap<u32, Vec<(u32, u32)>>,
    /// Refs that a replayed log used for a series that had another one before.
    aliases: HashMap<u32, u32>,
    /// By window.
    open: Vec<Generation>,
    frozen: Vec<Arc<Frozen>>,
    /// The last series of the last request: its successor begins the next one.
    tail: u32,
    /// Forgotten series that the postings still name.
    n_forgotten: usize,
    /// How often the postings were made anew, which numbers their pairs anew.
    n_rebuilds: u32,
    /// A decision waits to be applied, so no series may go.
    is_deciding: bool,
    request: Request,
    counting: Counting,
    encoder: Encoder,
    order: Vec<u32>,
}

impl Decision {
    /// Forgets the batch and keeps the buffers.
    pub fn clear(&mut self) {
        self.new_series.clear();
        self.refs.clear();
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.refused_exemplars = RefusedExemplars::default();
        self.pushed = Pushed::default();
        self.has_bursts = false;
    }

    /// Whether there is nothing to log.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}

impl ShardHead {
    /// An empty head.
    pub fn new(config: HeadConfig) -> ShardHead {
        ShardHead {
            config,
            series: SeriesTable::default(),
            postings: Postings::default(),
            groups: Groups::default(),
            former: HashMap::new(),
            aliases: HashMap::new(),
            open: Vec::new(),
            frozen: Vec::new(),
            tail: series::NO_REF,
            n_forgotten: 0,
            n_rebuilds: 0,
            is_deciding: false,
            request: Request::default(),
            counting: Counting::default(),
            encoder: Encoder::default(),
            order: Vec::new(),
        }
    }

    /// Takes the window's generation out of the way of new samples; it stays readable until
    /// [`ShardHead::drop_frozen`]. Says whether there was one.
    pub fn freeze(&mut self, window_start: i64, seq: u64) -> bool {
        let Ok(at) = self.open.binary_search_by_key(&window_start, |generation| generation.start) else {
            return false;
        };
        let mut generation = self.open.remove(at);
        let mut cells = Vec::new();
        for rows_at in 0..generation.rows.len() {
            generation.retire(rows_at, &mut self.encoder);
            let rows = &generation.rows[rows_at];
            rows.for_each_slot(|slot| {
                let series_ref = self.groups.owner(rows.group, slot);
                cells.push(frozen::Cells { series_ref, rows: rows_at as u32, slot: slot as u32 });
            });
        }
        generation.seal();
        let chunks = self.series.arena.share();
        let run_of = |series_ref| self.series.get(series_ref).map(|series| series.run);
        self.frozen.push(Arc::new(Frozen::new(seq, generation, chunks, cells, run_of)));
        self.trim_former();
        true
    }

    /// A generation that is being cut.
    pub fn frozen(&self, seq: u64) -> Option<Arc<Frozen>> {
        self.frozen.iter().find(|frozen| frozen.seq() == seq).cloned()
    }

    /// All generations that are being cut, in the order of freezing.
    pub fn frozen_seqs(&self) -> impl Iterator<Item = u64> + '_ {
        self.frozen.iter().map(|frozen| frozen.seq())
    }

    /// Lets go of a generation that the table holds now, and remembers each series' newest flushed sample.
    pub fn drop_frozen(&mut self, seq: u64) {
        let Some(at) = self.frozen.iter().position(|frozen| frozen.seq() == seq) else { return };
        let frozen = self.frozen.remove(at);
        for (series_ref, ts, bits) in frozen.newest_of_each() {
            if let Some(series) = self.series.get_mut(series_ref)
                && ts > series.flushed_ts
            {
                series.flushed_ts = ts;
                series.flushed_bits = bits;
            }
        }
    }

    /// The times of the windows that have samples here, whether they still fill or are being cut.
    pub fn held(&self) -> impl Iterator<Item = TimeRange> + '_ {
        let open = self.open.iter().map(|generation| generation.start);
        let starts = open.chain(self.frozen.iter().map(|frozen| frozen.window_start()));
        starts.map(|start| TimeRange::new(start, start.saturating_add(self.config.window_ms - 1)))
    }

    /// The open windows, oldest first.
    pub fn windows(&self) -> Vec<WindowStats> {
        let stats = |generation: &Generation| WindowStats {
            window_start: generation.start,
            n_samples: generation.n_samples,
            bytes: generation.bytes(),
            newest: generation.newest,
            opened_ms: generation.opened_ms,
            touched_ms: generation.touched_ms,
        };
        self.open.iter().map(stats).collect()
    }

    /// Forgets series that have no samples here and whose newest flushed sample is older than `before_ms`.
    /// Returns how many. Does nothing while a decision waits to be applied.
    pub fn forget_idle(&mut self, before_ms: i64) -> usize {
        if self.is_deciding {
            return 0;
        }
        let present = self.present();
        let is_idle = |(series_ref, flushed_ts): &(u32, i64)| {
            *flushed_ts < before_ms && !present[*series_ref as usize / 64] >> (*series_ref % 64) & 1 == 1
        };
        let all = self.series.iter().map(|(series_ref, series)| (series_ref, series.flushed_ts));
        let idle: Vec<u32> = all.filter(is_idle).map(|(series_ref, _)| series_ref).collect();
        for series_ref in &idle {
            self.forget(*series_ref);
        }
        self.n_forgotten += idle.len();
        if self.n_forgotten * 3 > self.series.len() {
            self.rebuild_index();
        }
        idle.len()
    }

    /// Bytes of memory, frozen generations included.
    pub fn bytes(&self) -> usize {
        let open: usize = self.open.iter().map(Generation::bytes).sum();
        let frozen: usize = self.frozen.iter().map(|frozen| frozen.bytes()).sum();
        let former = self.former.allocation_size() + self.former.len() * (8 + MALLOC);
        let index = self.series.bytes() + self.postings.bytes() + self.groups.bytes();
        let buffers = self.encoder.bytes() + 4 * self.order.capacity() + self.request.bytes();
        size_of::<ShardHead>() + open + frozen + former + self.aliases.allocation_size() + index + buffers
    }

    /// Counts the series of each metric from now on, together with the tenant's other shards.
    pub fn count_metrics(&mut self, counts: &Arc<MetricCounts>) {
        let ShardHead { counting, series, .. } = self;
        counting.begin(counts, series.iter().map(|(_, one)| series.run(one)));
    }

    /// Series in memory.
    pub fn n_series(&self) -> usize {
        self.series.len()
    }

    /// One more than the greatest ref in use or given out.
    pub fn next_ref(&self) -> u32 {
        self.series.ref_end()
    }

    /// Refs below `next_ref` were given out by this log before and are not given out again.
    pub fn skip_refs(&mut self, next_ref: u32) {
        self.series.skip_to(next_ref);
    }

    /// All series, for the log to carry forward.
    pub fn definitions(&self) -> impl Iterator<Item = Definition<'_>> {
        self.series.iter().map(|(series_ref, series)| Definition {
            series_ref,
            id: series.id(),
            run: self.series.run(series),
            newest_flushed: (series.flushed_ts > i64::MIN)
                .then_some((series.flushed_ts, series.flushed_bits)),
        })
    }

    /// A bit per ref: whether a generation holds a sample of the series.
    fn present(&self) -> Vec<u64> {
        let mut present = vec![0u64; self.series.ref_end() as usize / 64 + 1];
        let mut mark = |series_ref: u32| {
            if let Some(word) = present.get_mut(series_ref as usize / 64) {
                *word |= 1 << (series_ref % 64);
            }
        };
        for generation in &self.open {
            for rows in &generation.rows {
                rows.for_each_slot(|slot| mark(self.groups.owner(rows.group, slot)));
            }
            generation.histograms.keys().for_each(|series_ref| mark(*series_ref));
            generation.exemplars.keys().for_each(|series_ref| mark(*series_ref));
        }
        for frozen in &self.frozen {
            frozen.refs().for_each(&mut mark);
        }
        present
    }

    fn forget(&mut self, series_ref: u32) {
        let Some(series) = self.series.get(series_ref) else { return };
        let (group, slot) = (series.group, series.slot);
        self.counting.removed(self.series.run(series));
        self.groups.leave(group);
        self.groups.free_slot(group, slot);
        for (group, slot) in self.former.remove(&series_ref).unwrap_or_default() {
            self.groups.free_slot(group, slot);
        }
        self.series.remove(series_ref);
        if !self.aliases.is_empty() {
            self.aliases.retain(|_, target| *target != series_ref);
        }
    }

    /// Labels and postings without what the forgotten series left behind.
    fn rebuild_index(&mut self) {
        self.n_forgotten = 0;
        self.n_rebuilds += 1;
        self.series.rebuild_arena();
        self.postings = Postings::default();
        for (series_ref, series) in self.series.iter() {
            self.postings.insert(series_ref, series.run, &self.series.arena);
        }
    }

    /// Gives back the slots that series left and in which no open generation holds a sample.
    fn trim_former(&mut self) {
        let ShardHead { former, open, groups, series, .. } = self;
        former.retain(|series_ref, places| {
            places.retain(|(group, slot)| {
                let held = open.iter().any(|generation| {
                    let rows = generation.rows_of(*group).map(|at| &generation.rows[at]);
                    rows.is_some_and(|rows| rows.has_samples(*slot as usize, TimeRange::ALL))
                });
                if !held {
                    groups.free_slot(*group, *slot);
                }
                held
            });
            if places.is_empty()
                && let Some(series) = series.get_mut(*series_ref)
            {
                series.flags &= !MOVED;
            }
            !places.is_empty()
        });
    }
}
