//! From rows back to columns: one timeline per group, one column per series.

use std::sync::Arc;

use model::{EMPTY, FloatColumn, HistogramPoint, Labels, SeriesData, SeriesId, TimeRange, is_empty_cell};

use super::rows::GroupRows;
use super::starts::StartLog;

/// The rows of a group in a range: their timestamps, and how to bring cells into the order of these.
#[derive(Debug)]
pub(super) struct Span {
    /// Ascending, without repetition.
    pub times: Vec<i64>,
    /// Blocks with a row in the range.
    pub blocks: Vec<u32>,
    pub with_open: bool,
    pub order: Order,
    /// Rows in these blocks and open ones.
    n_rows: usize,
}

#[derive(Debug)]
pub(super) enum Order {
    /// The rows follow each other: those from here on, as many as there are timestamps.
    From(usize),
    /// The place of each row among the timestamps, [`OUTSIDE`] when it is out of range.
    Places(Vec<u32>),
}

/// The rows of a group in a range, for series that share their timestamps.
#[derive(Debug)]
pub(super) struct Timeline {
    times: Arc<[i64]>,
    span: Span,
}

const OUTSIDE: u32 = u32::MAX;

impl Span {
    /// The rows of a group in a range.
    pub(super) fn new(rows: &GroupRows, range: TimeRange) -> Span {
        let overlaps = |block: &u32| rows.blocks()[*block as usize].overlaps(range);
        let blocks: Vec<u32> = (0..rows.blocks().len() as u32).filter(overlaps).collect();
        let mut times = Vec::new();
        blocks.iter().for_each(|block| rows.blocks()[*block as usize].times(&mut times));
        let with_open = rows.open_times().iter().any(|ts| range.contains(*ts));
        if with_open {
            times.extend_from_slice(rows.open_times());
        }
        let n_rows = times.len();
        if times.windows(2).all(|pair| pair[0] < pair[1]) {
            let from = times.partition_point(|ts| *ts < range.start);
            times.truncate(times.partition_point(|ts| *ts <= range.end).max(from));
            times.drain(..from);
            return Span { times, blocks, with_open, order: Order::From(from), n_rows };
        }
        let mut sorted: Vec<i64> = times.iter().copied().filter(|ts| range.contains(*ts)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |ts: &i64| sorted.binary_search(ts).map_or(OUTSIDE, |at| at as u32);
        let order = Order::Places(times.iter().map(place).collect());
        Span { times: sorted, blocks, with_open, order, n_rows }
    }

    /// The slot's cells, one for each timestamp.
    fn cells(&self, rows: &GroupRows, slot: usize) -> Vec<f64> {
        let mut cells = Vec::with_capacity(self.n_rows);
        for block in &self.blocks {
            rows.blocks()[*block as usize].cells(slot, &mut cells);
        }
        if self.with_open {
            cells.extend((0..rows.n_open()).map(|row| rows.cell(row, slot)));
        }
        match &self.order {
            Order::From(from) => {
                cells.truncate(*from + self.times.len());
                cells.drain(..*from);
                cells
            }
            Order::Places(places) => {
                let mut values = vec![f64::from_bits(EMPTY); self.times.len()];
                for (cell, place) in cells.iter().zip(places) {
                    if *place != OUTSIDE && !is_empty_cell(*cell) {
                        values[*place as usize] = *cell;
                    }
                }
                values
            }
        }
    }
}

impl Timeline {
    /// Of these rows.
    pub(super) fn new(span: Span) -> Timeline {
        Timeline { times: span.times.as_slice().into(), span }
    }

    /// A slot's column and its number of samples; `None` when it has no sample.
    pub(super) fn column(&self, rows: &GroupRows, slot: usize) -> Option<(FloatColumn, usize)> {
        let values = self.span.cells(rows, slot);
        let n_samples = n_samples(&values);
        (n_samples > 0).then(|| (FloatColumn { timeline: Arc::clone(&self.times), values }, n_samples))
    }
}

/// How many cells hold a sample.
pub(super) fn n_samples(cells: &[f64]) -> usize {
    cells.iter().map(|cell| usize::from(!is_empty_cell(*cell))).sum()
}

/// The start timestamps of the samples of `columns`.
pub(super) fn starts_of(log: &StartLog, columns: &[FloatColumn]) -> Vec<(i64, i64)> {
    let samples = columns.iter().flat_map(FloatColumn::samples);
    let starts = samples.map(|(ts, _)| (ts, log.start_of(ts)));
    let mut starts: Vec<(i64, i64)> = starts.filter(|(_, start)| *start != 0).collect();
    starts.sort_unstable();
    starts
}

/// Collects a series from the generations that hold something of it.
#[derive(Debug)]
pub(super) struct Collected {
    pub floats: Vec<FloatColumn>,
    pub starts: Vec<(i64, i64)>,
    pub histograms: Vec<HistogramPoint>,
    pub n_samples: usize,
}

impl Collected {
    /// Nothing yet.
    pub(super) fn new() -> Collected {
        Collected { floats: Vec::new(), starts: Vec::new(), histograms: Vec::new(), n_samples: 0 }
    }

    /// Takes the columns of one generation.
    pub(super) fn add(&mut self, columns: Vec<(FloatColumn, usize)>, starts: Option<&StartLog>) {
        let first = self.floats.len();
        for (column, n_samples) in columns {
            self.add_column(column, n_samples);
        }
        self.add_starts(first, starts);
    }

    /// Takes a column.
    pub(super) fn add_column(&mut self, column: FloatColumn, n_samples: usize) {
        // Most series have one.
        self.floats.reserve_exact(1);
        self.floats.push(column);
        self.n_samples += n_samples;
    }

    /// Takes the start timestamps of the columns from `first` on.
    pub(super) fn add_starts(&mut self, first: usize, starts: Option<&StartLog>) {
        if let Some(log) = starts {
            self.starts.extend(starts_of(log, &self.floats[first..]));
        }
    }

    /// Takes histograms of one generation.
    pub(super) fn add_histograms(&mut self, points: Vec<HistogramPoint>) {
        self.n_samples += points.len();
        self.histograms.extend(points);
    }

    /// The series.
    pub(super) fn into_series(mut self, labels: Labels, id: Option<SeriesId>) -> SeriesData {
        self.starts.sort_unstable();
        self.histograms.sort_by_key(|point| point.timestamp);
        SeriesData { labels, id, floats: self.floats, starts: self.starts, histograms: self.histograms }
    }
}
