//! Which samples of a batch are accepted: the decision that is logged and then applied.

mod exemplars;
mod refusals;

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use model::{Batch, BatchSeries, EMPTY, SeriesId, ShardBatch, is_empty_cell};
use wire::RefusalReason;

use super::frozen::Frozen;
use super::generation::Generation;
use super::histograms::{hash, stored_hint};
use super::series::{HAS_HISTOGRAMS, MOVED, NO_REF, Series};
use super::{DecideRules, Decision, NewSeries, ShardHead};

/// How a pushed value is stored that has the bits of the empty cell.
const ORDINARY_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// What a decision must remember of its own batch; emptied by each.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Series that are born in this batch by identity: their place in the decision, and where their newest float
    /// is in it.
    born: HashTable<(u32, u32)>,
    /// Accepted floats of this batch by series and time. Filled only when a series goes back in time.
    floats: HashMap<(u32, i64), u64>,
    has_floats: bool,
    /// Accepted histograms of this batch.
    histograms: HashMap<(u32, i64), u64>,
    /// Where in the decision the accepted exemplars of a series and window are.
    exemplars: HashMap<(u32, i64), Vec<u32>>,
}

/// The series whose samples are being decided.
#[derive(Debug, Clone, Copy)]
struct Target {
    /// [`NO_REF`] as long as no sample of a new series was accepted.
    series_ref: u32,
    group: u32,
    slot: u32,
    flags: u32,
    flushed_ts: i64,
    flushed_bits: u64,
    /// Where in the decision its newest float is, if it is of this batch.
    last_at: u32,
    /// The series that followed it last time.
    next: u32,
    is_new: bool,
}

/// What is stored for a series at a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Float(u64),
    Histogram(u64),
    /// Flushed: the bits of a value or the hash of a histogram.
    Flushed(u64),
}

/// A sample in the same terms.
#[derive(Debug, Clone, Copy)]
enum Pushed {
    Float(u64),
    Histogram(u64),
}

/// Where the samples of one group at one time would be: what the last sample taught about the next.
#[derive(Debug, Clone, Copy)]
struct Look {
    group: u32,
    ts: i64,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Nothing is stored for any series of the group at this time.
    Nowhere,
    /// In this open row only.
    Row { generation: usize, rows: usize, row: usize },
    /// Perhaps in closed rows or in a frozen generation.
    Anywhere,
}

impl ShardHead {
    /// Decides about a shard's part of a batch. Nothing changes that can be seen. Each decision must be applied
    /// before the next is made, or be given up for good when its log write failed.
    pub fn decide(&mut self, batch: &Batch, part: &ShardBatch, rules: &DecideRules, out: &mut Decision) {
        out.clear();
        out.now_ms = rules.now_ms;
        self.is_deciding = true;
        self.counting.begin_batch();
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        let mut decider = Decider { head: self, request: &mut request, batch, part, rules, look: None };
        decider.run(out);
        self.request = request;
    }

    /// Whether something is stored for the series at `ts`.
    pub(super) fn is_stored(&self, series_ref: u32, ts: i64) -> bool {
        let Some(series) = self.series.get(series_ref) else { return false };
        self.stored(&Target::known(series_ref, series), ts).is_some()
    }

    fn stored(&self, target: &Target, ts: i64) -> Option<Stored> {
        let start = self.window_start(ts);
        let in_open = || {
            let at = self.open.binary_search_by_key(&start, |generation| generation.start).ok()?;
            self.stored_in_open(&self.open[at], target, ts)
        };
        let in_frozen = |frozen: &Arc<Frozen>| {
            if frozen.window_start() != start {
                return None;
            }
            let float = frozen.stored_float(target.series_ref, ts).map(Stored::Float);
            let histogram = || frozen.generation().stored_histogram(target.series_ref, ts);
            float.or_else(|| histogram().map(Stored::Histogram))
        };
        in_open().or_else(|| self.frozen.iter().find_map(in_frozen)).or_else(|| target.flushed_at(ts))
    }

    fn stored_in_open(&self, generation: &Generation, target: &Target, ts: i64) -> Option<Stored> {
        let current = generation.stored_float(target.group, target.slot, ts);
        let former = || {
            let places = self.former.get(&target.series_ref).filter(|_| target.flags & MOVED != 0)?;
            places.iter().find_map(|(group, slot)| generation.stored_float(*group, *slot, ts))
        };
        if let Some(bits) = current.or_else(former) {
            return Some(Stored::Float(bits));
        }
        let has_histograms = target.flags & HAS_HISTOGRAMS != 0;
        let hash = has_histograms.then(|| generation.stored_histogram(target.series_ref, ts)).flatten();
        hash.map(Stored::Histogram)
    }
}

struct Decider<'a> {
    head: &'a mut ShardHead,
    request: &'a mut Request,
    batch: &'a Batch,
    part: &'a ShardBatch,
    rules: &'a DecideRules,
    look: Option<Look>,
}

impl Decider<'_> {
    fn run(&mut self, out: &mut Decision) {
        let (mut float_at, mut histogram_at, mut exemplar_at) = (0, 0, 0);
        let mut previous = self.head.tail;
        let mut guess = self.head.series.get(previous).map_or(NO_REF, |series| series.next);
        for series in &self.part.series {
            let floats = float_at..float_at + series.n_floats as usize;
            let histograms = histogram_at..histogram_at + series.n_histograms as usize;
            let exemplars = exemplar_at..exemplar_at + series.n_exemplars as usize;
            (float_at, histogram_at, exemplar_at) = (floats.end, histograms.end, exemplars.end);
            if floats.is_empty() && histograms.is_empty() && exemplars.is_empty() {
                continue;
            }
            out.has_bursts |= floats.len() > 1;
            let target = self.target(series, previous, guess, out);
            if target.is_none_or(|target| target.series_ref == NO_REF) && self.batch.labels(series).is_empty()
            {
                out.pushed.unknown.push(series.id);
                continue;
            }
            let Some(mut target) = target else {
                let n_samples = floats.len() + histograms.len();
                if n_samples > 0 {
                    self.refuse_series(series, n_samples, out);
                }
                out.refused_exemplars.by_series_limit += exemplars.len() as u64;
                continue;
            };
            for at in floats {
                self.float(series, &mut target, at, out);
            }
            for at in histograms {
                self.histogram(series, &mut target, at, out);
            }
            for at in exemplars {
                self.exemplar(series, &mut target, at, out);
            }
            if target.is_new {
                self.request.note_born(series.id, &target, out);
            } else {
                if let Some(entry) = self.head.series.get_mut(target.series_ref) {
                    entry.last_at = target.last_at;
                }
                previous = target.series_ref;
                guess = target.next;
            }
        }
        self.head.tail = previous;
    }

    /// The series; `None` when it is new and there may be no more.
    fn target(&mut self, series: &BatchSeries, previous: u32, guess: u32, out: &Decision) -> Option<Target> {
        let table = &mut self.head.series;
        if let Some(entry) = table.get(guess)
            && entry.id() == series.id
        {
            return Some(Target::known(guess, entry));
        }
        if let Some(found) = table.find(series.id) {
            if let Some(previous) = table.get_mut(previous) {
                previous.next = found;
            }
            return table.get(found).map(|entry| Target::known(found, entry));
        }
        if let Some((born, last_at)) = self.request.find_born(series.id, out) {
            let series_ref = out.new_series[*born as usize].series_ref;
            return Some(Target { series_ref, last_at: *last_at, ..Target::NEW });
        }
        (out.new_series.len() < self.rules.series_allowance).then_some(Target::NEW)
    }

    fn float(&mut self, series: &BatchSeries, target: &mut Target, at: usize, out: &mut Decision) {
        let (Some(ts), Some(value)) = (self.part.timestamps.get(at), self.part.values.get(at)) else {
            return;
        };
        let ts = *ts;
        let value = if is_empty_cell(*value) { ORDINARY_NAN } else { *value };
        let pushed = Pushed::Float(value.to_bits());
        if let Some(reason) = self.refused_by_time(ts) {
            return self.refuse(reason, series, ts, out);
        }
        let newest = self.last_in_request(target, out);
        let stored = self.stored_float(target, ts);
        if let Some(stored) = stored.or_else(|| self.in_request(target, ts, newest, out)) {
            return self.settle(series, ts, pushed, stored, out);
        }
        if !self.give_birth(series, target, out) {
            return;
        }
        if newest.is_none_or(|newest| newest < ts) {
            target.last_at = out.refs.len() as u32;
        }
        if self.request.has_floats {
            self.request.floats.insert((target.series_ref, ts), value.to_bits());
        }
        out.refs.push(target.series_ref);
        out.timestamps.push(ts);
        out.values.push(value);
        if !self.part.start_timestamps.is_empty() {
            out.starts.push(self.part.start_timestamps.get(at).copied().unwrap_or(0));
        }
        out.pushed.n_floats += 1;
    }

    fn histogram(&mut self, series: &BatchSeries, target: &mut Target, at: usize, out: &mut Decision) {
        let Some(sample) = self.part.histograms.get(at) else { return };
        let ts = sample.timestamp;
        if let Some(reason) = self.refused_by_time(ts) {
            return self.refuse(reason, series, ts, out);
        }
        let hash = hash(&sample.histogram);
        let stored = if target.is_new { None } else { self.head.stored(target, ts) };
        let newest = self.last_in_request(target, out);
        if let Some(stored) = stored.or_else(|| self.in_request(target, ts, newest, out)) {
            return self.settle(series, ts, Pushed::Histogram(hash), stored, out);
        }
        if !self.give_birth(series, target, out) {
            return;
        }
        self.request.histograms.insert((target.series_ref, ts), hash);
        let mut sample = sample.clone();
        sample.histogram.reset_hint = stored_hint(sample.histogram.reset_hint);
        out.histograms.push((target.series_ref, sample));
        out.pushed.n_histograms += 1;
    }

    fn refused_by_time(&self, ts: i64) -> Option<RefusalReason> {
        if ts < self.rules.min_time {
            return Some(RefusalReason::TooOld);
        }
        (ts > self.rules.max_time).then_some(RefusalReason::TooFarInFuture)
    }

    /// What the head has for a float: like [`ShardHead::stored`], but neighbours share the way to their row.
    fn stored_float(&mut self, target: &Target, ts: i64) -> Option<Stored> {
        if target.is_new {
            return None;
        }
        if target.flags != 0 {
            return self.head.stored(target, ts);
        }
        let look = match self.look {
            Some(look) if look.group == target.group && look.ts == ts => look,
            _ => self.look_for(target.group, ts),
        };
        self.look = Some(look);
        match look.place {
            Place::Anywhere => self.head.stored(target, ts),
            Place::Row { generation, rows, row } => {
                let cell = self.head.open[generation].rows[rows].cell(row, target.slot as usize);
                let stored = (!is_empty_cell(cell)).then_some(Stored::Float(cell.to_bits()));
                stored.or_else(|| target.flushed_at(ts))
            }
            Place::Nowhere => target.flushed_at(ts),
        }
    }

    fn look_for(&self, group: u32, ts: i64) -> Look {
        let start = self.head.window_start(ts);
        let place = if self.head.frozen.iter().any(|frozen| frozen.window_start() == start) {
            Place::Anywhere
        } else {
            self.place_in_open(group, ts, start)
        };
        Look { group, ts, place }
    }

    fn place_in_open(&self, group: u32, ts: i64, start: i64) -> Place {
        let open = &self.head.open;
        let Ok(at) = open.binary_search_by_key(&start, |generation| generation.start) else {
            return Place::Nowhere;
        };
        let Some(rows_at) = open[at].rows_of(group) else { return Place::Nowhere };
        let rows = &open[at].rows[rows_at];
        if rows.may_be_closed(ts) {
            return Place::Anywhere;
        }
        let row = rows.find(ts);
        row.map_or(Place::Nowhere, |row| Place::Row { generation: at, rows: rows_at, row })
    }

    /// What this batch itself has accepted for the series at `ts`; `newest` is the series' newest float in it.
    fn in_request(
        &mut self,
        target: &Target,
        ts: i64,
        newest: Option<i64>,
        out: &Decision,
    ) -> Option<Stored> {
        if target.series_ref == NO_REF {
            return None;
        }
        if !self.request.histograms.is_empty()
            && let Some(hash) = self.request.histograms.get(&(target.series_ref, ts))
        {
            return Some(Stored::Histogram(*hash));
        }
        // Mostly the series is seen for the first time, or the sample is newer than all before.
        if newest.is_none_or(|newest| newest < ts) {
            return None;
        }
        self.request.index_floats(out);
        self.request.floats.get(&(target.series_ref, ts)).map(|bits| Stored::Float(*bits))
    }

    /// The newest accepted float of the series in this batch.
    fn last_in_request(&self, target: &Target, out: &Decision) -> Option<i64> {
        let at = target.last_at as usize;
        // `last_at` may be of an earlier batch; then another series is there, or none.
        let is_here = out.refs.get(at) == Some(&target.series_ref);
        is_here.then(|| out.timestamps[at])
    }

    /// Gives a new series its ref with its first accepted sample.
    fn give_birth(&mut self, series: &BatchSeries, target: &mut Target, out: &mut Decision) -> bool {
        if target.series_ref != NO_REF {
            return true;
        }
        let limit = self.rules.max_series_per_metric;
        if !self.head.counting.admit(self.batch.labels(series), limit) {
            out.pushed.refuse(RefusalReason::MetricSeriesLimit, 1, || {
                let labels = ShardHead::describe(self.batch.labels(series));
                format!("the limit max_series_per_metric of {limit} is reached, series {labels}")
            });
            return false;
        }
        // Refs are used up even when the log write fails: a part of it may lie in the log.
        let Some(series_ref) = self.head.series.reserve_ref() else {
            self.refuse_series(series, 1, out);
            return false;
        };
        target.series_ref = series_ref;
        out.new_series.push(NewSeries { series_ref, id: series.id, labels: series.labels });
        true
    }
}

impl Target {
    const NEW: Target = Target {
        series_ref: NO_REF,
        group: 0,
        slot: 0,
        flags: 0,
        flushed_ts: i64::MIN,
        flushed_bits: 0,
        last_at: NO_REF,
        next: NO_REF,
        is_new: true,
    };

    fn known(series_ref: u32, series: &Series) -> Target {
        Target {
            series_ref,
            group: series.group,
            slot: series.slot,
            flags: series.flags,
            flushed_ts: series.flushed_ts,
            flushed_bits: series.flushed_bits,
            last_at: series.last_at,
            next: series.next,
            is_new: false,
        }
    }

    fn flushed_at(&self, ts: i64) -> Option<Stored> {
        let is_flushed = ts == self.flushed_ts && ts > i64::MIN;
        is_flushed.then_some(Stored::Flushed(self.flushed_bits))
    }
}

impl Request {
    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let maps = self.floats.allocation_size() + self.histograms.allocation_size();
        self.born.allocation_size() + maps + self.exemplars.allocation_size()
    }

    fn clear(&mut self) {
        // A single huge request does not determine for ever what each one costs to clear.
        for map in [&mut self.floats, &mut self.histograms] {
            map.clear();
            map.shrink_to(1 << 8);
        }
        // Its lists are not counted as memory, so they do not stay.
        self.exemplars = HashMap::new();
        self.born.clear();
        self.born.shrink_to(1 << 12, |_| 0);
        self.has_floats = false;
    }

    fn find_born(&mut self, id: SeriesId, out: &Decision) -> Option<&mut (u32, u32)> {
        self.born.find_mut(id.0 as u64, |(born, _)| out.new_series[*born as usize].id == id)
    }

    fn note_born(&mut self, id: SeriesId, target: &Target, out: &Decision) {
        if target.series_ref == NO_REF {
            return;
        }
        if let Some((_, last_at)) = self.find_born(id, out) {
            *last_at = target.last_at;
            return;
        }
        // Born just now, so it is the last one.
        let entry = (out.new_series.len() as u32 - 1, target.last_at);
        self.born.insert_unique(id.0 as u64, entry, |(born, _)| out.new_series[*born as usize].id.0 as u64);
    }

    fn index_floats(&mut self, out: &Decision) {
        if self.has_floats {
            return;
        }
        self.has_floats = true;
        for (at, series_ref) in out.refs.iter().enumerate() {
            self.floats.insert((*series_ref, out.timestamps[at]), out.values[at].to_bits());
        }
    }
}

const _: () = assert!(EMPTY != 0x7ff8_0000_0000_0001);
