//! Samples into rows, after the log has them; rows into blocks; sparse groups into groups of their own.

use hashbrown::HashMap;
use model::{ExemplarPoint, HistogramSample, Labels, SeriesId, TimeRange, Window, is_empty_cell};

use super::generation::Generation;
use super::rows::GroupRows;
use super::series::{HAS_HISTOGRAMS, MOVED};
use super::{Decision, ShardHead};

/// Below this share of filled cells a group is taken apart: one in so many.
const SPARSE: usize = 4;

/// Where the last sample went: mostly the next one goes to the same row.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    group: u32,
    ts: i64,
    generation: usize,
    rows: usize,
    row: usize,
    stride: usize,
}

/// Samples of one window, counted together.
#[derive(Debug, Clone, Copy)]
struct Tally {
    generation: usize,
    n_samples: usize,
    newest: i64,
}

impl ShardHead {
    /// Applies what was decided; `bytes` are those of the decided batch. To be called once the log has it, and
    /// before the next decision.
    pub fn apply(&mut self, bytes: &[u8], decision: &Decision) {
        self.is_deciding = false;
        for (i, new) in decision.new_series.iter().enumerate() {
            let run = bytes.get(new.labels.0 as usize..new.labels.1 as usize).unwrap_or_default();
            self.add_series(new.series_ref, new.id, run);
            let next = decision.new_series.get(i + 1).map(|next| next.series_ref);
            if let (Some(next), Some(series)) = (next, self.series.get_mut(new.series_ref)) {
                series.next = next;
            }
        }
        let mut cursor = None;
        if decision.has_bursts {
            self.in_order_of_time(&decision.timestamps, |head, at| head.append_at(decision, at, &mut cursor));
        } else {
            (0..decision.refs.len()).for_each(|at| self.append_at(decision, at, &mut cursor));
        }
        self.count_floats(&decision.timestamps, decision.now_ms);
        for (series_ref, sample) in &decision.histograms {
            self.append_histogram(*series_ref, sample.clone(), decision.now_ms);
        }
        for (series_ref, point) in &decision.exemplars {
            self.append_exemplar(*series_ref, point.clone(), decision.now_ms);
        }
    }

    /// Replay: a series that the log defines. What it was flushed up to may be told again. The same series under
    /// a second ref is one series. Says no, and does nothing, when the ref is another series.
    pub fn define_series(&mut self, series_ref: u32, run: &[u8], newest_flushed: Option<(i64, u64)>) -> bool {
        let id = SeriesId::of_run(run);
        self.series.skip_to(series_ref.saturating_add(1));
        let target = match self.series.find(id) {
            Some(known) => known,
            None if self.series.get(series_ref).is_some() => return false,
            None => {
                self.add_series(series_ref, id, run);
                series_ref
            }
        };
        if target != series_ref {
            self.aliases.insert(series_ref, target);
        }
        if let (Some((ts, bits)), Some(series)) = (newest_flushed, self.series.get_mut(target))
            && ts > series.flushed_ts
        {
            series.flushed_ts = ts;
            series.flushed_bits = bits;
        }
        true
    }

    /// Replay: floats of the log. Samples that are there are skipped, so a record may come twice. `starts` is
    /// empty or parallel. Returns how many samples named a series that was not defined.
    pub fn append_replayed(
        &mut self,
        refs: &[u32],
        timestamps: &[i64],
        values: &[f64],
        starts: &[i64],
        now_ms: i64,
    ) -> usize {
        let mut n_undefined = 0;
        let mut cursor = None;
        let append = |head: &mut ShardHead, at: usize| {
            let series_ref = head.resolve_alias(refs[at]);
            let ts = timestamps[at];
            if head.series.get(series_ref).is_none() {
                n_undefined += 1;
            } else if !head.is_stored(series_ref, ts) {
                let start = starts.get(at).copied().unwrap_or(0);
                head.append_float(series_ref, ts, values[at], start, now_ms, &mut cursor);
                head.count_floats(&timestamps[at..=at], now_ms);
            }
        };
        if refs.windows(2).any(|pair| pair[0] == pair[1]) {
            self.in_order_of_time(timestamps, append);
        } else {
            let mut append = append;
            (0..refs.len()).for_each(|at| append(self, at));
        }
        n_undefined
    }

    /// Replay: histograms of the log, like [`ShardHead::append_replayed`].
    pub fn append_replayed_histograms(&mut self, samples: &[(u32, HistogramSample)], now_ms: i64) -> usize {
        let mut n_undefined = 0;
        for (series_ref, sample) in samples {
            let series_ref = self.resolve_alias(*series_ref);
            if self.series.get(series_ref).is_none() {
                n_undefined += 1;
            } else if !self.is_stored(series_ref, sample.timestamp) {
                self.append_histogram(series_ref, sample.clone(), now_ms);
            }
        }
        n_undefined
    }

    /// Replay: exemplars of the log, like [`ShardHead::append_replayed`].
    pub fn append_replayed_exemplars(&mut self, exemplars: &[(u32, ExemplarPoint)], now_ms: i64) -> usize {
        let mut n_undefined = 0;
        for (series_ref, point) in exemplars {
            let series_ref = self.resolve_alias(*series_ref);
            if self.series.get(series_ref).is_none() {
                n_undefined += 1;
            } else if !self.has_exemplar(series_ref, point) {
                self.append_exemplar(series_ref, point.clone(), now_ms);
            }
        }
        n_undefined
    }

    /// Replay is over: what needs the order of refs is put in order.
    pub fn finish_replay(&mut self) {
        self.postings.sort();
        self.aliases = HashMap::new();
    }

    /// Appends samples of which several are of one series. Rows fill in the order of time, or each series would
    /// open rows that only it has a cell in.
    fn in_order_of_time(&mut self, timestamps: &[i64], mut append: impl FnMut(&mut ShardHead, usize)) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..timestamps.len() as u32);
        order.sort_by_key(|at| timestamps[*at as usize]);
        order.iter().for_each(|at| append(self, *at as usize));
        order.clear();
        order.shrink_to(1 << 14);
        self.order = order;
    }

    fn resolve_alias(&self, series_ref: u32) -> u32 {
        if self.aliases.is_empty() {
            return series_ref;
        }
        self.aliases.get(&series_ref).copied().unwrap_or(series_ref)
    }

    fn add_series(&mut self, series_ref: u32, id: SeriesId, run: &[u8]) {
        let group = self.groups.for_run(run);
        let slot = self.groups.join(group, series_ref);
        self.series.insert(series_ref, id, run, group, slot);
        self.counting.added(run);
        if let Some(series) = self.series.get(series_ref) {
            self.postings.insert(series_ref, series.run, &self.series.arena);
        }
    }

    fn append_at(&mut self, decision: &Decision, at: usize, cursor: &mut Option<Cursor>) {
        let start = decision.starts.get(at).copied().unwrap_or(0);
        let (series_ref, ts, value) = (decision.refs[at], decision.timestamps[at], decision.values[at]);
        self.append_float(series_ref, ts, value, start, decision.now_ms, cursor);
    }

    /// Writes a cell that is known to be empty.
    fn append_float(
        &mut self,
        series_ref: u32,
        ts: i64,
        value: f64,
        start: i64,
        now_ms: i64,
        cursor: &mut Option<Cursor>,
    ) {
        let Some(series) = self.series.get(series_ref) else { return };
        let (group, mut slot) = (series.group, series.slot);
        let hit = cursor.filter(|c| c.group == group && c.ts == ts && (slot as usize) < c.stride);
        let found = match hit {
            Some(found) => found,
            None => {
                let found = self.locate(series_ref, ts, now_ms);
                // On the way there the series may have got another slot in another group.
                slot = self.series.get(series_ref).map_or(slot, |series| series.slot);
                *cursor = Some(found);
                found
            }
        };
        let has_log = self.open[found.generation].starts.contains_key(&series_ref);
        if start != 0 || has_log {
            let newest = if has_log { None } else { self.newest_float(found.generation, series_ref) };
            self.open[found.generation].push_start(series_ref, ts, start, newest.unwrap_or(i64::MIN));
        }
        self.open[found.generation].rows[found.rows].set(found.row, slot as usize, value);
    }

    /// The row for a sample; opens it, and closes others when they are full.
    fn locate(&mut self, series_ref: u32, ts: i64, now_ms: i64) -> Cursor {
        let at = self.generation_or_new(ts, now_ms);
        loop {
            let group = self.series.get(series_ref).map_or(0, |series| series.group);
            let n_slots = self.groups.n_slots(group);
            let (rows_at, is_new) = self.open[at].rows_or_new(group);
            if is_new {
                self.retire_before(at, group);
            }
            let rows = &self.open[at].rows[rows_at];
            let row = match rows.find(ts) {
                Some(row) if n_slots <= rows.stride() => row,
                Some(row) => {
                    self.open[at].change_rows(rows_at, |rows| rows.widen(n_slots));
                    row
                }
                None if rows.is_full() => {
                    self.close_full(at, rows_at);
                    continue;
                }
                None => self.open[at].change_rows(rows_at, |rows| rows.open(ts, n_slots)),
            };
            let stride = self.open[at].rows[rows_at].stride();
            return Cursor { group, ts, generation: at, rows: rows_at, row, stride };
        }
    }

    fn generation_or_new(&mut self, ts: i64, now_ms: i64) -> usize {
        let start = self.window_start(ts);
        match self.open.binary_search_by_key(&start, |generation| generation.start) {
            Ok(at) => at,
            Err(at) => {
                self.open.insert(at, Generation::new(start, now_ms));
                at
            }
        }
    }

    pub(super) fn window_start(&self, ts: i64) -> i64 {
        let length = self.config.window_ms.max(1);
        // The first window of all time would begin before time does.
        if ts < i64::MIN + length { i64::MIN } else { Window::of(ts, length).start }
    }

    /// The group has moved on to a newer window: its open rows of older ones will hardly fill any more.
    fn retire_before(&mut self, at: usize, group: u32) {
        for generation in &mut self.open[..at] {
            if let Some(rows) = generation.rows_of(group) {
                generation.retire(rows, &mut self.encoder);
            }
        }
    }

    /// Makes place for a row: compresses the open ones, or takes the group apart when few cells are filled.
    fn close_full(&mut self, at: usize, rows_at: usize) {
        let rows = &self.open[at].rows[rows_at];
        let n_cells = rows.n_open() * self.groups.n_current(rows.group);
        if rows.n_filled() * SPARSE < n_cells {
            self.regroup(at, rows_at);
        } else {
            self.open[at].close(rows_at, &mut self.encoder);
        }
    }

    /// Gives the series that share their rows groups of their own, and moves their open cells there. Series
    /// without a cell stay.
    fn regroup(&mut self, at: usize, rows_at: usize) {
        let rows = &self.open[at].rows[rows_at];
        let old_group = rows.group;
        let mut by_mask: HashMap<u64, Vec<usize>> = HashMap::new();
        for slot in 0..rows.stride() {
            let filled = |row: usize| u64::from(!is_empty_cell(rows.cell(row, slot))) << row;
            let mask: u64 = (0..rows.n_open()).map(filled).sum();
            if mask != 0 {
                by_mask.entry(mask).or_default().push(slot);
            }
        }
        let mut classes: Vec<(u64, Vec<usize>)> = by_mask.into_iter().collect();
        classes.sort_unstable_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(&b.0)));
        let times = rows.open_times().to_vec();
        let cells: Vec<Vec<f64>> =
            classes.iter().map(|(mask, slots)| copy_cells(rows, *mask, slots)).collect();
        // The cells have left the old rows before anyone asks whether a slot there still holds something.
        self.open[at].change_rows(rows_at, |rows| {
            rows.clear_open();
            rows.release();
        });
        for (i, ((mask, slots), cells)) in classes.into_iter().zip(cells).enumerate() {
            let group = self.groups.create();
            if i == 0 {
                self.groups.redirect(old_group, group);
            }
            slots.iter().for_each(|slot| self.move_series(old_group, *slot as u32, group));
            let times: Vec<i64> =
                (0..times.len()).filter(|row| mask >> row & 1 == 1).map(|row| times[row]).collect();
            self.fill_rows(at, group, slots.len(), &times, &cells);
        }
    }

    /// Gives the owner of a slot, whose open cells leave it, a slot in `group`. If its next sample would have come
    /// here, it goes there from now on; a series that had moved on before stays where it is.
    fn move_series(&mut self, old_group: u32, old_slot: u32, group: u32) {
        let holds = |generation: &Generation| {
            let rows = generation.rows_of(old_group).map(|at| &generation.rows[at]);
            rows.is_some_and(|rows| rows.has_samples(old_slot as usize, TimeRange::ALL))
        };
        let is_held = self.open.iter().any(holds);
        let series_ref = self.groups.owner(old_group, old_slot as usize);
        let slot = self.groups.join(group, series_ref);
        let Some(series) = self.series.get_mut(series_ref) else { return };
        let former = self.former.entry(series_ref).or_default();
        if (series.group, series.slot) == (old_group, old_slot) {
            (series.group, series.slot) = (group, slot);
            former.push((old_group, old_slot));
            self.groups.leave(old_group);
        } else {
            former.push((group, slot));
            self.groups.leave(group);
        }
        if !is_held {
            former.retain(|place| *place != (old_group, old_slot));
            self.groups.free_slot(old_group, old_slot);
        }
        series.flags |= MOVED;
        if former.is_empty() {
            series.flags &= !MOVED;
            self.former.remove(&series_ref);
        }
    }

    /// Opens rows with all of their cells, slot after slot within a row.
    fn fill_rows(&mut self, at: usize, group: u32, n_slots: usize, times: &[i64], cells: &[f64]) {
        let generation = &mut self.open[at];
        let (rows_at, _) = generation.rows_or_new(group);
        for (ts, cells) in times.iter().zip(cells.chunks_exact(n_slots)) {
            generation.change_rows(rows_at, |rows| {
                let row = rows.open(*ts, n_slots);
                cells.iter().enumerate().for_each(|(slot, cell)| rows.set(row, slot, *cell));
            });
        }
    }

    fn newest_float(&self, at: usize, series_ref: u32) -> Option<i64> {
        let generation = &self.open[at];
        let places =
            self.places(series_ref).filter_map(|(group, slot)| Some((generation.rows_of(group)?, slot)));
        let newest = places.filter_map(|(rows, slot)| generation.rows[rows].newest(slot as usize));
        newest.map(|(ts, _)| ts).max()
    }

    /// The (group, slot) in which the series' samples are, here or in the past.
    pub(super) fn places(&self, series_ref: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let series = self.series.get(series_ref);
        let current = series.map(|series| (series.group, series.slot));
        let has_moved = series.is_some_and(|series| series.flags & MOVED != 0);
        let former = has_moved.then(|| self.former.get(&series_ref)).flatten();
        current.into_iter().chain(former.into_iter().flatten().copied())
    }

    fn append_histogram(&mut self, series_ref: u32, sample: HistogramSample, now_ms: i64) {
        let Some(series) = self.series.get_mut(series_ref) else { return };
        series.flags |= HAS_HISTOGRAMS;
        let ts = sample.timestamp;
        let at = self.generation_or_new(ts, now_ms);
        self.open[at].push_histogram(series_ref, sample);
        self.open[at].count(1, ts, now_ms);
    }

    fn append_exemplar(&mut self, series_ref: u32, point: ExemplarPoint, now_ms: i64) {
        if self.series.get(series_ref).is_none() {
            return;
        }
        let ts = point.timestamp;
        let at = self.generation_or_new(ts, now_ms);
        if self.open[at].push_exemplar(series_ref, point) {
            self.open[at].count(0, ts, now_ms);
        }
    }

    /// Accounts for samples that were appended, run by run of one window.
    fn count_floats(&mut self, timestamps: &[i64], now_ms: i64) {
        let length = self.config.window_ms.max(1);
        let mut tally: Option<Tally> = None;
        for ts in timestamps {
            let same = tally.filter(|t| {
                let start = self.open[t.generation].start;
                start <= *ts && *ts < start.saturating_add(length)
            });
            tally = match same {
                Some(t) => Some(Tally { n_samples: t.n_samples + 1, newest: t.newest.max(*ts), ..t }),
                None => {
                    self.add_tally(tally, now_ms);
                    let generation = self.generation_or_new(*ts, now_ms);
                    Some(Tally { generation, n_samples: 1, newest: *ts })
                }
            };
        }
        self.add_tally(tally, now_ms);
    }

    fn add_tally(&mut self, tally: Option<Tally>, now_ms: i64) {
        if let Some(tally) = tally {
            self.open[tally.generation].count(tally.n_samples, tally.newest, now_ms);
        }
    }

    /// The canonical labels of a series in words.
    pub(super) fn describe(run: &[u8]) -> String {
        Labels::from_run(run).map_or_else(|_| "{}".to_string(), |labels| labels.to_string())
    }
}

/// The cells of some slots in the rows of a mask, row after row.
fn copy_cells(rows: &GroupRows, mask: u64, slots: &[usize]) -> Vec<f64> {
    let in_mask = (0..rows.n_open()).filter(|row| mask >> row & 1 == 1);
    in_mask.flat_map(|row| slots.iter().map(move |slot| rows.cell(row, *slot))).collect()
}
