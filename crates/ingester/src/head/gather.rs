//! Many series at once. Their cells are read group by group and block by block, in the order in which they lie in
//! memory, and each series gets one column through all generations whose rows follow each other.

use std::ops::Range;
use std::sync::Arc;

use model::{EMPTY, FloatColumn, TimeRange};
use wire::{Meter, SelectBudget, SelectError};

use super::ShardHead;
use super::column::MAX_ROWS;
use super::frozen::Frozen;
use super::generation::Generation;
use super::read::{Collected, Order, Span, Timeline, n_samples};
use super::rows::{Found, GroupRows};
use super::series::{HAS_HISTOGRAMS, MOVED, Series};

/// Blocks in which columns are found before any is decoded: each is a cache miss or two, which then overlap.
const BATCH: usize = 16;

/// No lane.
const NONE: u32 = u32::MAX;

/// Collects the samples of series in a range. Buffers stay from one slice of them to the next.
#[derive(Debug)]
pub(super) struct Gather<'b> {
    range: TimeRange,
    budget: &'b SelectBudget,
    lanes: Vec<Lane>,
    /// By series of the slice, its lane in the group at hand.
    lane_of: Vec<u32>,
    chain: Chain,
    /// Of a batch, block by block: where the column of each lane is, if it is there.
    found: Vec<Option<Found>>,
}

/// A series in a group, and its column as far as it has come.
#[derive(Debug)]
struct Lane {
    /// Which series of the slice.
    index: u32,
    /// Which source saw it last.
    source: u32,
    /// The row of the chain at which `values` begin.
    first: usize,
    values: Vec<f64>,
    n_samples: usize,
}

/// Rows of a group that follow each other, through generations.
#[derive(Debug, Default)]
struct Chain {
    times: Vec<i64>,
    /// Rows that this chain may come to have.
    max_rows: usize,
    /// Parts of `times` that columns have, by first row and end.
    timelines: Vec<(usize, usize, Arc<[i64]>)>,
}

/// The cell of a series in the rows of a group.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: u32,
    slot: u32,
    index: u32,
}

/// Generations in which the series have the same places: all open ones, or a frozen one.
struct Source<'h> {
    generations: Vec<&'h Generation>,
    /// By group and slot.
    places: Vec<Place>,
    next: usize,
}

/// The rows of the group at hand in one generation.
struct Part<'h> {
    generation: &'h Generation,
    rows: &'h GroupRows,
    span: Span,
    source: usize,
}

impl<'b> Gather<'b> {
    /// Nothing yet. Memory is taken from the budget before it is used.
    pub(super) fn new(range: TimeRange, budget: &'b SelectBudget) -> Gather<'b> {
        Gather {
            range,
            budget,
            lanes: Vec::new(),
            lane_of: Vec::new(),
            chain: Chain::default(),
            found: Vec::new(),
        }
    }

    /// The samples of these series, each by its place among them; they are in the order of refs.
    pub(super) fn collect(
        &mut self,
        head: &ShardHead,
        series: &[(u32, &Series)],
    ) -> Result<Vec<Collected>, SelectError> {
        let mut collected: Vec<Collected> = series.iter().map(|_| Collected::new()).collect();
        self.lane_of.clear();
        self.lane_of.resize(series.len(), NONE);
        let mut sources = self.sources(head, series);
        while let Some(group) = sources.iter().filter_map(Source::group).min() {
            let taken: Vec<Range<usize>> = sources.iter_mut().map(|source| source.take(group)).collect();
            let places: Vec<&[Place]> =
                sources.iter().zip(taken).map(|(source, taken)| &source.places[taken]).collect();
            let parts = self.parts(&sources, group, &places);
            self.collect_group(&parts, &places, series, &mut collected)?;
        }
        for generation in sources.iter().flat_map(|source| &source.generations) {
            self.add_histograms(generation, series, &mut collected)?;
        }
        Ok(collected)
    }

    fn sources<'h>(&self, head: &'h ShardHead, series: &[(u32, &Series)]) -> Vec<Source<'h>> {
        let mut sources = Vec::new();
        for frozen in &head.frozen {
            if frozen.generation().overlaps(self.range) {
                sources.push(Source::of_frozen(frozen, series));
            }
        }
        let open: Vec<&Generation> =
            head.open.iter().filter(|generation| generation.overlaps(self.range)).collect();
        if !open.is_empty() {
            sources.push(Source::of_open(head, open, series));
        }
        sources
    }

    /// The rows of a group that are in the range, in the order of time.
    fn parts<'h>(&self, sources: &[Source<'h>], group: u32, places: &[&[Place]]) -> Vec<Part<'h>> {
        let mut parts = Vec::new();
        for (number, source) in sources.iter().enumerate().filter(|(number, _)| !places[*number].is_empty()) {
            for generation in &source.generations {
                let Some(at) = generation.rows_of(group) else { continue };
                let rows = &generation.rows[at];
                let span = Span::new(rows, self.range);
                if !span.times.is_empty() {
                    parts.push(Part { generation, rows, span, source: number });
                }
            }
        }
        parts.sort_by_key(|part| part.generation.start);
        parts
    }

    fn collect_group(
        &mut self,
        parts: &[Part<'_>],
        places: &[&[Place]],
        series: &[(u32, &Series)],
        collected: &mut [Collected],
    ) -> Result<(), SelectError> {
        let lanes = self.make_lanes(places);
        self.chain.begin(parts);
        for (at, part) in parts.iter().enumerate() {
            let (places, lanes) = (places[part.source], &lanes[part.source]);
            let Order::From(from) = part.span.order else {
                self.scatter(part, places, series, collected)?;
                continue;
            };
            if self.chain.times.last().is_some_and(|last| *last >= part.span.times[0]) {
                self.finish(collected)?;
                self.chain.begin(&parts[at..]);
            }
            let base = self.chain.times.len();
            self.chain.times.extend_from_slice(&part.span.times);
            let rows = Placed { rows: part.rows, from, base, n: part.span.times.len() };
            let n_closed = self.append_blocks(&rows, &part.span.blocks, places, lanes)?;
            if part.span.with_open {
                self.append_open(&rows, n_closed, places, lanes)?;
            }
            if !part.generation.starts.is_empty() {
                self.add_starts(part, base, lanes, series, collected);
            }
        }
        self.finish(collected)?;
        for places in places {
            places.iter().for_each(|place| self.lane_of[place.index as usize] = NONE);
        }
        Ok(())
    }

    /// A lane for each series of the group. By source, those of its places.
    fn make_lanes(&mut self, places: &[&[Place]]) -> Vec<Vec<u32>> {
        self.lanes.clear();
        let mut lanes = Vec::with_capacity(places.len());
        for (source, places) in (0..).zip(places) {
            let mut of_places = Vec::with_capacity(places.len());
            for place in *places {
                let known = self.lane_of[place.index as usize];
                // A series that came back to a group has two slots there.
                let is_free = |lane: &Lane| lane.source != source;
                let lane = match self.lanes.get_mut(known as usize).filter(|lane| is_free(lane)) {
                    Some(lane) => {
                        lane.source = source;
                        known
                    }
                    None => {
                        let lane = self.lanes.len() as u32;
                        self.lane_of[place.index as usize] = lane;
                        self.lanes.push(Lane::new(place.index, source));
                        lane
                    }
                };
                of_places.push(lane);
            }
            lanes.push(of_places);
        }
        lanes
    }

    /// Closed rows. Returns how many rows their blocks have.
    fn append_blocks(
        &mut self,
        placed: &Placed<'_>,
        blocks: &[u32],
        places: &[Place],
        lanes: &[u32],
    ) -> Result<usize, SelectError> {
        let mut row = 0;
        for batch in blocks.chunks(BATCH) {
            let blocks = || batch.iter().map(|block| &placed.rows.blocks()[*block as usize]);
            let n_rows: usize = blocks().map(|block| block.n_rows()).sum();
            let Some((first, end)) = placed.of_chain(row, n_rows) else {
                row += n_rows;
                continue;
            };
            if let Some(first) = places.first() {
                let touched = blocks().fold(0, |all, block| all ^ block.touch(first.slot as usize));
                std::hint::black_box(touched);
            }
            self.found.clear();
            for block in blocks() {
                self.found.extend(places.iter().map(|place| block.find(place.slot as usize)));
            }
            let is_there =
                |nth: usize| self.found.iter().skip(nth).step_by(places.len()).any(Option::is_some);
            let there: Vec<(usize, u32)> =
                lanes.iter().copied().enumerate().filter(|(nth, _)| is_there(*nth)).collect();
            let more = there.iter().map(|(_, lane)| self.lanes[*lane as usize].needs(first, end)).sum();
            take_cells(&self.budget.bytes, more)?;
            for (nth, lane) in there {
                let lane = &mut self.lanes[lane as usize];
                lane.extend(first, end, self.chain.max_rows);
                let mut row = row;
                for (block, found) in blocks().zip(self.found.iter().skip(nth).step_by(places.len())) {
                    let n = block.n_rows();
                    if let Some(found) = *found {
                        lane.fill(placed, row, n, |cells| block.decode(found, cells));
                    }
                    row += n;
                }
            }
            row += n_rows;
        }
        Ok(row)
    }

    /// Open rows, which come after `n_closed` closed ones.
    fn append_open(
        &mut self,
        placed: &Placed<'_>,
        n_closed: usize,
        places: &[Place],
        lanes: &[u32],
    ) -> Result<(), SelectError> {
        let Some((first, end)) = placed.of_chain(n_closed, placed.rows.n_open()) else { return Ok(()) };
        let skip = first - placed.base + placed.from - n_closed;
        let mut cells = [0.0; MAX_ROWS];
        let cells = &mut cells[..end - first];
        for (place, lane) in places.iter().zip(lanes) {
            placed.rows.copy_open(place.slot as usize, skip, cells);
            let n_samples = n_samples(cells);
            if n_samples > 0 {
                let lane = &mut self.lanes[*lane as usize];
                take_cells(&self.budget.bytes, lane.needs(first, end))?;
                lane.extend(first, end, self.chain.max_rows);
                lane.values[first - lane.first..].copy_from_slice(cells);
                lane.n_samples += n_samples;
            }
        }
        Ok(())
    }

    /// Rows that are in no order give columns of their own.
    fn scatter(
        &self,
        part: &Part<'_>,
        places: &[Place],
        series: &[(u32, &Series)],
        collected: &mut [Collected],
    ) -> Result<(), SelectError> {
        let timeline = Timeline::new(Span::new(part.rows, self.range));
        for place in places {
            take_cells(&self.budget.bytes, part.span.times.len())?;
            let Some((column, n_samples)) = timeline.column(part.rows, place.slot as usize) else {
                self.budget.bytes.give_back(8 * part.span.times.len() as u64);
                continue;
            };
            self.budget.samples.take(n_samples as u64)?;
            let (series_ref, _) = series[place.index as usize];
            let log = part.generation.starts.get(&series_ref);
            collected[place.index as usize].add(vec![(column, n_samples)], log);
        }
        Ok(())
    }

    /// Gives each series the column of its lane.
    fn finish(&mut self, collected: &mut [Collected]) -> Result<(), SelectError> {
        self.budget.samples.take_all(self.lanes.iter().map(|lane| lane.n_samples as u64))?;
        for lane in &mut self.lanes {
            let mut values = std::mem::take(&mut lane.values);
            if lane.n_samples == 0 {
                self.budget.bytes.give_back(8 * values.len() as u64);
                continue;
            }
            if values.len() < values.capacity() / 2 {
                values.shrink_to_fit();
            }
            let timeline = self.chain.timeline(lane.first, lane.first + values.len());
            let n = std::mem::take(&mut lane.n_samples);
            collected[lane.index as usize].add_column(FloatColumn { timeline, values }, n);
        }
        Ok(())
    }

    /// The start timestamps of the rows just appended.
    fn add_starts(
        &self,
        part: &Part<'_>,
        base: usize,
        lanes: &[u32],
        series: &[(u32, &Series)],
        collected: &mut [Collected],
    ) {
        for lane in lanes.iter().map(|lane| &self.lanes[*lane as usize]) {
            let Some(log) = part.generation.starts.get(&series[lane.index as usize].0) else { continue };
            let end = lane.first + lane.values.len();
            for row in base.max(lane.first)..end {
                let (ts, cell) = (self.chain.times[row], lane.values[row - lane.first]);
                let start = log.start_of(ts);
                if start != 0 && !model::is_empty_cell(cell) {
                    collected[lane.index as usize].starts.push((ts, start));
                }
            }
        }
    }

    fn add_histograms(
        &self,
        generation: &Generation,
        series: &[(u32, &Series)],
        collected: &mut [Collected],
    ) -> Result<(), SelectError> {
        if generation.histograms.is_empty() {
            return Ok(());
        }
        for ((series_ref, one), collected) in series.iter().zip(collected) {
            let log =
                (one.flags & HAS_HISTOGRAMS != 0).then(|| generation.histograms.get(series_ref)).flatten();
            let Some(log) = log else { continue };
            let points = log.points(self.range);
            self.budget.samples.take(points.len() as u64)?;
            self.budget.bytes.take(256 * points.len() as u64)?;
            collected.add_histograms(points);
        }
        Ok(())
    }
}

/// Rows of a group at their place in a chain: row `from` is row `base` of the chain, and `n` follow.
struct Placed<'h> {
    rows: &'h GroupRows,
    from: usize,
    base: usize,
    n: usize,
}

impl Placed<'_> {
    /// The rows of the chain, first and end, that `n` rows from `row` on are; `None` when all are out of range.
    fn of_chain(&self, row: usize, n: usize) -> Option<(usize, usize)> {
        let first = row.max(self.from) - self.from;
        let end = (row + n).saturating_sub(self.from).min(self.n);
        (first < end).then_some((self.base + first, self.base + end))
    }
}

impl Lane {
    fn new(index: u32, source: u32) -> Lane {
        Lane { index, source, first: 0, values: Vec::new(), n_samples: 0 }
    }

    /// How many cells more the rows from `first` to `end` take.
    fn needs(&self, first: usize, end: usize) -> usize {
        if self.values.is_empty() { end - first } else { end - self.first - self.values.len() }
    }

    /// Goes on to row `end`, empty so far; a column begins at the first row that is asked for.
    fn extend(&mut self, first: usize, end: usize, max_rows: usize) {
        if self.values.is_empty() {
            self.first = first;
            self.values.reserve_exact(max_rows.saturating_sub(first));
        }
        self.values.resize(end - self.first, f64::from_bits(EMPTY));
    }

    /// Writes the cells of `n` rows from `row` on, as far as they are in range.
    fn fill(&mut self, placed: &Placed<'_>, row: usize, n: usize, decode: impl FnOnce(&mut [f64]) -> usize) {
        let Some((first, end)) = placed.of_chain(row, n) else { return };
        let at = first - self.first;
        if end - first == n {
            self.n_samples += decode(&mut self.values[at..at + n]);
            return;
        }
        let mut cells = [0.0; MAX_ROWS];
        decode(&mut cells[..n]);
        let skip = first - placed.base + placed.from - row;
        let cells = &cells[skip..skip + end - first];
        self.values[at..at + cells.len()].copy_from_slice(cells);
        self.n_samples += n_samples(cells);
    }
}

impl Chain {
    /// Begins anew, before the first of these parts.
    fn begin(&mut self, parts: &[Part<'_>]) {
        self.times.clear();
        self.timelines.clear();
        self.max_rows = parts.iter().map(|part| part.span.times.len()).sum();
    }

    fn timeline(&mut self, first: usize, end: usize) -> Arc<[i64]> {
        // Series come and go together, if at all: those that differ are few, or many and alike.
        let known = self.timelines.iter().rev().take(8).find(|known| (known.0, known.1) == (first, end));
        if let Some((_, _, timeline)) = known {
            return Arc::clone(timeline);
        }
        let timeline: Arc<[i64]> = self.times[first..end].into();
        self.timelines.push((first, end, Arc::clone(&timeline)));
        timeline
    }
}

impl<'h> Source<'h> {
    fn of_frozen(frozen: &'h Frozen, series: &[(u32, &Series)]) -> Source<'h> {
        let generation = frozen.generation();
        let (mut places, mut at) = (Vec::with_capacity(series.len()), 0);
        for (index, (series_ref, _)) in (0..).zip(series) {
            for cells in frozen.cells_after(&mut at, *series_ref) {
                let group = generation.rows[cells.rows as usize].group;
                places.push(Place { group, slot: cells.slot, index });
            }
        }
        Source::new(vec![generation], places)
    }

    fn of_open(head: &ShardHead, generations: Vec<&'h Generation>, series: &[(u32, &Series)]) -> Source<'h> {
        let mut places = Vec::with_capacity(series.len());
        for (index, (series_ref, one)) in (0..).zip(series) {
            if one.flags & MOVED == 0 {
                places.push(Place { group: one.group, slot: one.slot, index });
                continue;
            }
            let all = head.places(*series_ref);
            places.extend(all.map(|(group, slot)| Place { group, slot, index }));
        }
        Source::new(generations, places)
    }

    fn new(generations: Vec<&'h Generation>, mut places: Vec<Place>) -> Source<'h> {
        // In order as a rule: series are born target by target.
        places.sort_by_key(|place| (place.group, place.slot));
        Source { generations, places, next: 0 }
    }

    fn group(&self) -> Option<u32> {
        self.places.get(self.next).map(|place| place.group)
    }

    /// The places in this group, if it is next.
    fn take(&mut self, group: u32) -> Range<usize> {
        let first = self.next;
        self.next += self.places[first..].iter().take_while(|place| place.group == group).count();
        first..self.next
    }
}

fn take_cells(bytes: &Meter, n: usize) -> Result<(), SelectError> {
    if n == 0 { Ok(()) } else { bytes.take(8 * n as u64) }
}
