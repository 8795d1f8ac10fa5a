//! The series of a query, put together row by row.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use block::read::{Clip, FloatRows, PackedRow, PartRow, ReadError, RowForm, assemble};
use model::{FloatColumn, SeriesData, SeriesId, TimeRange, is_empty_cell};
use wire::{Projection, SERIES_BYTES, SelectBudget, SelectError};

use crate::deletes::{self, Deleted, Rest};
use crate::error::ScanError;
use crate::matched::{GroupMatch, MatchedRow, NONE, Projector};
use crate::rows::{GroupRows, PIECE_ROWS, Pieces};
use crate::timelines::Timelines;

/// The series of a query by identity.
pub(crate) struct Found<'a> {
    budget: &'a SelectBudget,
    range: TimeRange,
    projection: &'a Projection,
    projector: Projector<'a>,
    ids: Vec<SeriesId>,
    /// Where the first `n_indexed` of them are: made when it is needed, since files have their series in one order.
    by_id: HashMap<SeriesId, u32, ById>,
    n_indexed: usize,
    /// Which series comes next, if this file has what the one before had.
    next: usize,
    series: Vec<SeriesData>,
    states: Vec<State>,
    parts: BTreeMap<u32, Vec<PartRow>>,
    timelines: Timelines,
}

/// Identities are hashes.
type ById = BuildHasherDefault<IdHasher>;

#[derive(Debug, Default)]
struct IdHasher(u64);

/// How far a series is.
#[derive(Debug, Clone, Copy)]
struct State {
    /// The timestamps of its last column.
    node: u32,
    n_rows: u32,
    /// Samples that its rows have in the range, about.
    n_samples: u32,
}

/// Rows of a row group that are wanted.
#[derive(Debug)]
pub(crate) struct GroupRead {
    pub(crate) file: usize,
    pub(crate) group: usize,
    pub(crate) rows: Vec<WantedRow>,
    /// The numbers of the timelines that they refer to.
    pub(crate) timelines: Vec<u32>,
    pub(crate) has_parts: bool,
    /// By row, the ranges whose samples are deleted.
    cuts: HashMap<u32, Vec<TimeRange>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedRow {
    pub(crate) row: u32,
    /// Index among the series of the query.
    series: u32,
    /// Index among the timelines of the row group.
    pub(crate) timeline: u32,
    pub(crate) form: RowForm,
}

impl<'a> Found<'a> {
    pub(crate) fn new(budget: &'a SelectBudget, range: TimeRange, projection: &'a Projection) -> Found<'a> {
        Found {
            budget,
            range,
            projection,
            projector: Projector::new(projection),
            ids: Vec::new(),
            by_id: HashMap::default(),
            n_indexed: 0,
            next: 0,
            series: Vec::new(),
            states: Vec::new(),
            parts: BTreeMap::new(),
            timelines: Timelines::new(range),
        }
    }

    /// Takes in the series that match in a row group; returns what is to be read of it. Where something of the file is
    /// deleted, the match has whole labels.
    pub(crate) fn place(
        &mut self,
        file: usize,
        deleted: &Deleted,
        matched: &GroupMatch,
    ) -> Result<Option<GroupRead>, SelectError> {
        let n_known = self.series.len();
        let mut read = GroupRead::new(file, matched);
        let mut timelines = vec![NONE; matched.timelines.len()];
        let mut last = (NONE, 0);
        for row in &matched.rows {
            let times = matched.times(row);
            if !times.overlaps(&self.range) || !read.is_left(deleted, matched, row, (times, self.range)) {
                continue;
            }
            if last.0 != row.series {
                last = (row.series, self.index_of(matched, row.series, deleted));
            }
            let timeline = read.timeline(matched, row, &mut timelines);
            let (state, n_samples) =
                (&mut self.states[last.1 as usize], within(row.n_samples, times, self.range));
            state.n_rows += 1;
            state.n_samples = state.n_samples.saturating_add(n_samples);
            read.has_parts |= row.form == RowForm::Part;
            read.rows.push(WantedRow { row: row.row, series: last.1, timeline, form: row.form });
        }
        self.account_series(n_known, matched)?;
        Ok((!read.rows.is_empty()).then_some(read))
    }

    /// Takes in the samples of a row group; returns how many. Row groups come in the order of time.
    pub(crate) fn fill(&mut self, read: &GroupRead, rows: GroupRows<'_>) -> Result<u64, FillError> {
        let file = read.file;
        let known = read.timelines.iter().zip(&rows.timelines);
        let clips: Vec<u32> =
            known.map(|(number, times)| self.timelines.of_file(file, *number, times)).collect();
        let mut n_samples = 0;
        let mut pieces = Walk { pieces: &rows.pieces, at: 0 };
        for chunk in read.rows.chunks(PIECE_ROWS as usize) {
            let floats = chunk.iter().filter(|row| row.form == RowForm::Floats);
            let n_cells = floats.map(|row| self.n_cells(row, &clips, &mut pieces)).sum::<u64>();
            self.budget.samples.take(n_cells)?;
            self.budget.bytes.take(n_cells * 8)?;
            n_samples += n_cells;
            for row in chunk.iter().filter(|row| row.form == RowForm::Floats) {
                let packed = pieces.row(row.row).ok_or_else(lost)?;
                let cuts = read.cuts.get(&row.row).map_or(&[][..], Vec::as_slice);
                self.append(row, packed, clips.get(row.timeline as usize).copied(), cuts)?;
            }
        }
        let parts = read.rows.iter().filter(|row| row.form == RowForm::Part);
        for (row, part) in parts.zip(rows.parts) {
            n_samples += self.take_part(row, part, read.cuts.get(&row.row))?;
        }
        Ok(n_samples)
    }

    /// The series that have samples.
    pub(crate) fn finish(mut self) -> Result<Vec<SeriesData>, ScanError> {
        for (series, state) in self.series.iter_mut().zip(&self.states) {
            close(series, state.node, &mut self.timelines);
            series.starts.sort_unstable();
        }
        for (at, parts) in &self.parts {
            let Some(series) = self.series.get_mut(*at as usize) else { continue };
            series.histograms =
                assemble(parts).map_err(|e| ScanError::read(&series.labels.to_string(), e))?;
        }
        self.series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
        if *self.projection == Projection::All {
            self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(self.series)
    }

    /// The series, whether they have samples or not, in no order.
    pub(crate) fn into_series(self) -> Vec<SeriesData> {
        self.series
    }

    fn account_series(&self, n_known: usize, matched: &GroupMatch) -> Result<(), SelectError> {
        let new = &self.series[n_known..];
        if new.is_empty() {
            return Ok(());
        }
        let n_new = new.len() as u64;
        let label_bytes = match self.projection {
            Projection::All => new.iter().map(|series| series.labels.run().len()).sum::<usize>(),
            _ => matched.label_bytes,
        };
        self.budget.series.take(n_new)?;
        self.budget.bytes.take(n_new * SERIES_BYTES + label_bytes as u64)
    }

    /// Where a series of a match is, a new one included.
    fn index_of(&mut self, matched: &GroupMatch, series: u32, deleted: &Deleted) -> u32 {
        let matched = &matched.series[series as usize];
        let id = matched.id;
        if self.ids.get(self.next) == Some(&id) {
            self.next += 1;
            return self.next as u32 - 1;
        }
        if !self.ids.is_empty() {
            let rest = self.ids.iter().enumerate().skip(self.n_indexed);
            self.by_id.extend(rest.map(|(at, id)| (*id, at as u32)));
            self.n_indexed = self.ids.len();
            if let Some(known) = self.by_id.get(&id) {
                self.next = *known as usize + 1;
                return *known;
            }
        }
        let labels = match deleted.is_empty() {
            true => matched.labels.clone(),
            false => self.projector.labels(matched.labels.run()).0,
        };
        let mut data = SeriesData::new(labels);
        data.id = (*self.projection != Projection::All).then_some(id);
        self.series.push(data);
        self.states.push(State { node: NONE, n_rows: 0, n_samples: 0 });
        self.ids.push(id);
        self.next = self.ids.len();
        self.ids.len() as u32 - 1
    }

    fn n_cells(&self, row: &WantedRow, clips: &[u32], pieces: &mut Walk<'_>) -> u64 {
        let n = match clips.get(row.timeline as usize) {
            Some(clip) => self.timelines.clip(*clip).map_or(0, |clip| clip.times.len()),
            None => {
                let times = pieces.row(row.row).and_then(|row| row.own_times());
                times.map_or(0, |times| self.timelines.own_clip(times).times.len())
            }
        };
        n as u64
    }

    fn append(
        &mut self,
        row: &WantedRow,
        packed: PackedRow<'_>,
        clip: Option<u32>,
        cuts: &[TimeRange],
    ) -> Result<(), ReadError> {
        let (series, state) = (&mut self.series[row.series as usize], &mut self.states[row.series as usize]);
        let own;
        let times: &Clip = match clip.and_then(|clip| self.timelines.clip(clip)) {
            Some(clip) => clip,
            None => {
                let times = packed.own_times();
                let times =
                    times.ok_or_else(|| ReadError("a row has neither timestamps nor ts_ref".to_string()))?;
                own = self.timelines.own_clip(times);
                &own
            }
        };
        let Some(first) = times.times.first().copied() else { return Ok(()) };
        let goes_on = self.timelines.follows(state.node, first);
        let shared = Arc::clone(&times.times);
        let appended = match series.floats.last_mut().filter(|_| goes_on) {
            Some(column) => append_to(column, packed, times, &mut series.starts, cuts)?,
            None => {
                let values = Vec::with_capacity(state.room(times));
                let mut column = FloatColumn { timeline: Arc::clone(&shared), values };
                let appended = append_to(&mut column, packed, times, &mut series.starts, cuts)?;
                if appended {
                    close(series, state.node, &mut self.timelines);
                    series.floats.push(column);
                    state.node = NONE;
                }
                appended
            }
        };
        if appended {
            state.node = match clip {
                Some(clip) => self.timelines.after(state.node, clip),
                None => self.timelines.after_own(state.node, shared),
            };
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        row: &WantedRow,
        mut part: PartRow,
        cuts: Option<&Vec<TimeRange>>,
    ) -> Result<u64, SelectError> {
        let n_cells = part.n_cells() as u64;
        let n_samples = if part.is_count() { n_cells } else { 0 };
        self.budget.samples.take(n_samples)?;
        self.budget.bytes.take(n_cells * 8)?;
        if let Some(ranges) = cuts {
            deletes::cut_part(ranges, &mut part);
        }
        self.parts.entry(row.series).or_default().push(part);
        Ok(n_samples)
    }
}

/// Appends the cells of a row; says whether there is a sample among them, and leaves them out if not.
fn append_to(
    column: &mut FloatColumn,
    packed: PackedRow<'_>,
    clip: &Clip,
    starts: &mut Vec<(i64, i64)>,
    cuts: &[TimeRange],
) -> Result<bool, ReadError> {
    let (first, first_start) = (column.values.len(), starts.len());
    packed.append(clip, &mut column.values, starts)?;
    let appended = &mut column.values[first..];
    if !cuts.is_empty() {
        deletes::cut_cells(cuts, &clip.times, appended);
        deletes::cut_starts(cuts, starts, first_start);
    }
    let is_any = appended.iter().any(|cell| !is_empty_cell(*cell));
    if !is_any {
        column.values.truncate(first);
        starts.truncate(first_start);
    }
    Ok(is_any)
}

/// Gives the last column of a series its timestamps: those of all of its rows.
fn close(series: &mut SeriesData, node: u32, timelines: &mut Timelines) {
    if let (Some(column), Some(joined)) = (series.floats.last_mut(), timelines.joined(node)) {
        column.timeline = joined;
    }
}

/// So many of a row's samples lie in a range, if they are as far from each other as in the whole.
fn within(n_samples: u32, times: TimeRange, range: TimeRange) -> u32 {
    if times.start >= range.start && times.end <= range.end {
        return n_samples;
    }
    let length = times.end.saturating_sub(times.start).max(1) as f64;
    let (start, end) = (times.start.max(range.start), times.end.min(range.end));
    let share = end.saturating_sub(start).max(0) as f64 / length;
    ((f64::from(n_samples) * share) as u32).saturating_add(1).min(n_samples)
}

fn lost() -> ReadError {
    ReadError("a row group has fewer rows than its footer says".to_string())
}

impl State {
    /// For how many cells a column is made whose first row has these timestamps. What the file says of its rows is
    /// believed as far as each of them may be as long as this one.
    fn room(&self, first: &Clip) -> usize {
        match self.node {
            NONE => (self.n_samples as usize).min(first.whole_len().saturating_mul(self.n_rows as usize)),
            _ => 0,
        }
        .max(first.times.len())
    }
}

impl GroupRead {
    fn new(file: usize, matched: &GroupMatch) -> GroupRead {
        GroupRead {
            file,
            group: matched.group,
            rows: Vec::with_capacity(matched.rows.len()),
            timelines: Vec::new(),
            has_parts: false,
            cuts: HashMap::new(),
        }
    }

    /// Whether deletions leave something of a row.
    fn is_left(
        &mut self,
        deleted: &Deleted,
        matched: &GroupMatch,
        row: &MatchedRow,
        (times, range): (TimeRange, TimeRange),
    ) -> bool {
        if deleted.is_empty() {
            return true;
        }
        match deleted.rest(matched.series[row.series as usize].labels.run(), times, range) {
            Rest::Nothing => return false,
            Rest::Without(ranges) => drop(self.cuts.insert(row.row, ranges)),
            Rest::Whole => {}
        }
        true
    }

    /// The index of a row's timeline among those that are read. `known` has them by their index in the match.
    fn timeline(&mut self, matched: &GroupMatch, row: &MatchedRow, known: &mut [u32]) -> u32 {
        let Some(at) = known.get_mut(row.timeline as usize) else { return NONE };
        if *at == NONE {
            self.timelines.push(matched.timelines[row.timeline as usize]);
            *at = self.timelines.len() as u32 - 1;
        }
        *at
    }
}

/// Why samples were not taken in.
pub(crate) enum FillError {
    Read(ReadError),
    Select(SelectError),
}

impl From<ReadError> for FillError {
    fn from(error: ReadError) -> FillError {
        FillError::Read(error)
    }
}

impl From<SelectError> for FillError {
    fn from(error: SelectError) -> FillError {
        FillError::Select(error)
    }
}

/// Pieces that are gone through in the order of rows.
struct Walk<'p> {
    pieces: &'p Pieces,
    at: usize,
}

impl<'p> Walk<'p> {
    fn row(&mut self, row: u32) -> Option<PackedRow<'p>> {
        let wanted = row / PIECE_ROWS;
        if self.pieces.get(self.at).is_none_or(|(piece, _)| *piece != wanted) {
            self.at = self.pieces.binary_search_by_key(&wanted, |(piece, _)| *piece).ok()?;
        }
        let (_, rows): &(u32, Arc<FloatRows>) = self.pieces.get(self.at)?;
        rows.get((row % PIECE_ROWS) as u16)
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_in_a_part_of_a_row_are_about_its_share() {
        let of = |start, end| within(100, TimeRange::new(0, 1000), TimeRange::new(start, end));
        assert_eq!([of(-5, 1000), of(0, 499), of(990, 2000), of(-10, 0), of(0, 999)], [100, 50, 2, 1, 100]);
        assert_eq!(within(7, TimeRange::ALL, TimeRange::new(0, 1)), 1);
    }
}
