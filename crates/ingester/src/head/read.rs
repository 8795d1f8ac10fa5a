//! From rows back to columns: one timeline per group, one column per series.

use std::sync::Arc;

use model::{EMPTY, FloatColumn, HistogramPoint, Labels, SeriesData, TimeRange, is_empty_cell};

use super::rows::GroupRows;
use super::starts::StartLog;

/// The timestamps of a group's rows in a range, and how to bring cells into their order.
#[derive(Debug)]
pub(super) struct Timeline {
    times: Arc<[i64]>,
    /// Blocks with a row in the range.
    blocks: Vec<u32>,
    with_open: bool,
    /// Rows in these blocks and open ones.
    n_rows: usize,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// The rows follow each other: those from here on, as many as there are timestamps.
    From(usize),
    /// The place of each row in the timeline, [`OUTSIDE`] when it is out of range.
    Places(Vec<u32>),
}

const OUTSIDE: u32 = u32::MAX;

impl Timeline {
    /// The rows of a group in a range.
    pub(super) fn new(rows: &GroupRows, range: TimeRange) -> Timeline {
        let blocks: Vec<u32> = (0..rows.blocks().len() as u32)
            .filter(|block| rows.blocks()[*block as usize].overlaps(range))
            .collect();
        let mut times = Vec::new();
        blocks.iter().for_each(|block| rows.blocks()[*block as usize].times(&mut times));
        let with_open = rows.open_times().iter().any(|ts| range.contains(*ts));
        if with_open {
            times.extend_from_slice(rows.open_times());
        }
        let n_rows = times.len();
        if times.windows(2).all(|pair| pair[0] < pair[1]) {
            let from = times.partition_point(|ts| *ts < range.start);
            let to = times.partition_point(|ts| *ts <= range.end);
            return Timeline {
                times: times[from..to.max(from)].into(),
                blocks,
                with_open,
                n_rows,
                order: Order::From(from),
            };
        }
        let mut sorted: Vec<i64> = times.iter().copied().filter(|ts| range.contains(*ts)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |ts: &i64| sorted.binary_search(ts).map_or(OUTSIDE, |at| at as u32);
        let places = times.iter().map(place).collect();
        Timeline { times: sorted.into(), blocks, with_open, n_rows, order: Order::Places(places) }
    }

    /// A slot's column and its number of samples; `None` when it has no sample. `cells` is a buffer.
    pub(super) fn column(
        &self,
        rows: &GroupRows,
        slot: usize,
        cells: &mut Vec<f64>,
    ) -> Option<(FloatColumn, usize)> {
        let values = match &self.order {
            Order::From(from) => {
                let mut values = Vec::with_capacity(self.n_rows);
                self.append_cells(rows, slot, &mut values);
                values.truncate(*from + self.times.len());
                values.drain(..*from);
                values
            }
            Order::Places(places) => {
                cells.clear();
                self.append_cells(rows, slot, cells);
                let mut values = vec![f64::from_bits(EMPTY); self.times.len()];
                for (cell, place) in cells.iter().zip(places) {
                    if *place != OUTSIDE && !is_empty_cell(*cell) {
                        values[*place as usize] = *cell;
                    }
                }
                values
            }
        };
        let n_samples: usize = values.iter().map(|cell| usize::from(!is_empty_cell(*cell))).sum();
        (n_samples > 0).then(|| (FloatColumn { timeline: Arc::clone(&self.times), values }, n_samples))
    }

    /// The slot's cells in the order of the rows.
    fn append_cells(&self, rows: &GroupRows, slot: usize, cells: &mut Vec<f64>) {
        for block in &self.blocks {
            rows.blocks()[*block as usize].cells(slot, cells);
        }
        if self.with_open {
            cells.extend((0..rows.n_open()).map(|row| rows.cell(row, slot)));
        }
    }
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
    pub(super) fn into_series(mut self, labels: Labels) -> SeriesData {
        self.starts.sort_unstable();
        self.histograms.sort_by_key(|point| point.timestamp);
        SeriesData { labels, id: None, floats: self.floats, starts: self.starts, histograms: self.histograms }
    }
}
