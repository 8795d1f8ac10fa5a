//! What a shard holds of one window: rows by group; histograms, start timestamps and exemplars by series.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{ExemplarPoint, HistogramSample, TimeRange};

use super::exemplars::ExemplarLog;
use super::histograms::HistogramLog;
use super::rows::{Encoder, GroupRows};
use super::starts::StartLog;

/// The samples of a window since the last freeze of it.
#[derive(Debug)]
pub(super) struct Generation {
    /// First millisecond of the window.
    pub start: i64,
    /// Place in `rows` by group, [`NONE`] for none.
    by_group: Vec<u32>,
    pub rows: Vec<GroupRows>,
    pub histograms: HashMap<u32, HistogramLog>,
    pub starts: HashMap<u32, StartLog>,
    pub exemplars: HashMap<u32, ExemplarLog>,
    pub n_samples: usize,
    /// Newest timestamp, of a sample or an exemplar.
    pub newest: i64,
    /// When the first sample came, by the clock of whoever pushed.
    pub opened_ms: i64,
    /// When the last sample came.
    pub touched_ms: i64,
    data_bytes: usize,
}

const NONE: u32 = u32::MAX;

impl Generation {
    /// An empty window.
    pub(super) fn new(start: i64, now_ms: i64) -> Generation {
        Generation {
            start,
            by_group: Vec::new(),
            rows: Vec::new(),
            histograms: HashMap::new(),
            starts: HashMap::new(),
            exemplars: HashMap::new(),
            n_samples: 0,
            newest: i64::MIN,
            opened_ms: now_ms,
            touched_ms: now_ms,
            data_bytes: 0,
        }
    }

    /// Where the rows of a group are.
    pub(super) fn rows_of(&self, group: u32) -> Option<usize> {
        self.by_group.get(group as usize).filter(|at| **at != NONE).map(|at| *at as usize)
    }

    /// Where the rows of a group are; new ones when there are none, and then also says so.
    pub(super) fn rows_or_new(&mut self, group: u32) -> (usize, bool) {
        if let Some(at) = self.rows_of(group) {
            return (at, false);
        }
        if self.by_group.len() <= group as usize {
            let more = group as usize + 1 - self.by_group.len();
            self.by_group.reserve_exact(more.max(self.by_group.len() / 8));
            self.by_group.resize(group as usize + 1, NONE);
        }
        let at = self.rows.len();
        self.by_group[group as usize] = at as u32;
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact((at / 4).max(1));
        }
        let rows = GroupRows::new(group);
        self.data_bytes += rows.open_bytes();
        self.rows.push(rows);
        (at, true)
    }

    /// Changes the rows of a group and keeps account of their memory.
    pub(super) fn change_rows<T>(&mut self, at: usize, change: impl FnOnce(&mut GroupRows) -> T) -> T {
        let rows = &mut self.rows[at];
        let before = rows.open_bytes();
        let result = change(rows);
        self.data_bytes = self.data_bytes + rows.open_bytes() - before;
        result
    }

    /// Compresses the open rows of a group.
    pub(super) fn close(&mut self, at: usize, encoder: &mut Encoder) {
        if self.rows[at].n_open() > 0 {
            self.change_rows(at, |rows| rows.close(encoder));
            self.data_bytes += self.rows[at].last_block_bytes();
        }
    }

    /// Compresses the open rows of a group that is not expected to get more.
    pub(super) fn retire(&mut self, at: usize, encoder: &mut Encoder) {
        self.close(at, encoder);
        self.change_rows(at, GroupRows::release);
    }

    /// The bits of a float stored for the series at `ts`.
    pub(super) fn stored_float(&self, group: u32, slot: u32, ts: i64) -> Option<u64> {
        let rows = &self.rows[self.rows_of(group)?];
        rows.stored(slot as usize, ts).map(f64::to_bits)
    }

    /// The hash of a histogram stored for the series at `ts`.
    pub(super) fn stored_histogram(&self, series_ref: u32, ts: i64) -> Option<u64> {
        self.histograms.get(&series_ref)?.stored(ts)
    }

    /// Appends a histogram.
    pub(super) fn push_histogram(&mut self, series_ref: u32, sample: HistogramSample) {
        let mut before = 0;
        let log = match self.histograms.entry(series_ref) {
            Entry::Occupied(entry) => {
                before = entry.get().bytes();
                entry.into_mut()
            }
            Entry::Vacant(entry) => entry.insert(HistogramLog::default()),
        };
        log.push(sample);
        self.data_bytes = self.data_bytes + log.bytes() - before;
    }

    /// Notes a start timestamp. A log that is born here knows nothing of samples up to `newest`.
    pub(super) fn push_start(&mut self, series_ref: u32, ts: i64, start: i64, newest: i64) {
        let mut before = 0;
        let log = match self.starts.entry(series_ref) {
            Entry::Occupied(entry) => {
                before = entry.get().bytes();
                entry.into_mut()
            }
            Entry::Vacant(entry) => entry.insert(StartLog::new(newest)),
        };
        log.push(ts, start);
        self.data_bytes = self.data_bytes + log.bytes() - before;
    }

    /// Keeps an exemplar, unless it is there already.
    pub(super) fn push_exemplar(&mut self, series_ref: u32, point: ExemplarPoint) -> bool {
        let mut before = 0;
        let log = match self.exemplars.entry(series_ref) {
            Entry::Occupied(entry) => {
                before = entry.get().bytes();
                entry.into_mut()
            }
            Entry::Vacant(entry) => entry.insert(ExemplarLog::default()),
        };
        let is_new = log.push(point);
        self.data_bytes = self.data_bytes + log.bytes() - before;
        is_new
    }

    /// Nothing more will be appended.
    pub(super) fn seal(&mut self) {
        for log in self.histograms.values_mut() {
            let before = log.bytes();
            log.seal();
            self.data_bytes = self.data_bytes + log.bytes() - before;
        }
    }

    /// Some more samples.
    pub(super) fn count(&mut self, n: usize, newest: i64, now_ms: i64) {
        self.n_samples += n;
        self.newest = self.newest.max(newest);
        self.touched_ms = self.touched_ms.max(now_ms);
    }

    /// Whether a sample may lie in the range.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(&TimeRange::new(self.start, self.newest))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Generation>()
            + 4 * self.by_group.capacity()
            + size_of::<GroupRows>() * (self.rows.capacity() - self.rows.len())
            + self.histograms.allocation_size()
            + self.starts.allocation_size()
            + self.exemplars.allocation_size()
            + self.data_bytes
    }

    /// What [`Generation::bytes`] must say, computed by walking everything.
    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(GroupRows::bytes).sum();
        let histograms: usize = self.histograms.values().map(HistogramLog::bytes).sum();
        let starts: usize = self.starts.values().map(StartLog::bytes).sum();
        let exemplars: usize = self.exemplars.values().map(ExemplarLog::bytes).sum();
        let logs = rows + histograms + starts + exemplars;
        self.bytes() - self.data_bytes + logs
    }
}
