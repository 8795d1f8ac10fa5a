use model::{Counts, Histogram, HistogramPoint, SeriesData};

use crate::{histogram, xor};

/// The most samples of a chunk: Prometheus cuts its own there, and readers keep that many decoded.
pub const SAMPLES_MAX: usize = 120;

/// The most counts of buckets in a chunk, so that it fits a frame however wide its histograms are.
const COUNTS_MAX: usize = 1 << 16;

/// What is in a chunk; the numbers are those of `prometheus.Chunk.Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Native histograms with integer counts.
    Histogram = 2,
    /// Native histograms with float counts.
    FloatHistogram = 3,
}

/// A run of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// How `data` is to be read.
    pub encoding: Encoding,
    /// When the first sample is.
    pub min_time: i64,
    /// When the last sample is.
    pub max_time: i64,
    /// The samples.
    pub data: Vec<u8>,
}

/// The chunks of a series, made as they are asked for.
#[derive(Debug)]
pub struct Chunks<'a> {
    series: &'a SeriesData,
    /// The column and the cell in it that come next.
    column: usize,
    cell: usize,
    histograms: &'a [HistogramPoint],
    floats: Vec<(i64, f64)>,
}

/// The samples of a series as chunks, in order of time. Of a float and a histogram at the same time the histogram
/// counts, as in queries. The columns of the series must follow one another ([`SeriesData::merged`]).
pub fn chunks(series: &SeriesData) -> Chunks<'_> {
    let floats = Vec::with_capacity(SAMPLES_MAX);
    Chunks { series, column: 0, cell: 0, histograms: &series.histograms, floats }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        match (self.next_float(), self.histograms.first().map(|point| point.timestamp)) {
            (Some((time, _)), None) => Some(self.float_chunk(time, i64::MAX)),
            (Some((time, _)), Some(histogram)) if time < histogram => Some(self.float_chunk(time, histogram)),
            (_, Some(_)) => Some(self.histogram_chunk()),
            (None, None) => None,
        }
    }
}

impl Chunks<'_> {
    /// The float that comes next, without passing it.
    fn next_float(&mut self) -> Option<(i64, f64)> {
        loop {
            let column = self.series.floats.get(self.column)?;
            match (column.timeline.get(self.cell), column.values.get(self.cell)) {
                (Some(_), Some(value)) if model::is_empty_cell(*value) => self.cell += 1,
                (Some(time), Some(value)) => return Some((*time, *value)),
                _ => (self.column, self.cell) = (self.column + 1, 0),
            }
        }
    }

    /// Floats before `end`, the first of which is known to be one.
    fn float_chunk(&mut self, min_time: i64, end: i64) -> Chunk {
        let mut floats = std::mem::take(&mut self.floats);
        floats.clear();
        while let Some((time, value)) = self.next_float().filter(|(time, _)| *time < end) {
            if floats.len() == SAMPLES_MAX {
                break;
            }
            floats.push((time, value));
            self.cell += 1;
        }
        let max_time = floats.last().map_or(min_time, |(time, _)| *time);
        let chunk = Chunk { encoding: Encoding::Xor, min_time, max_time, data: xor::encode(&floats) };
        self.floats = floats;
        chunk
    }

    /// Histograms before the next float, as many as belong together.
    fn histogram_chunk(&mut self) -> Chunk {
        self.skip_floats_beside();
        let mut taken: Vec<histogram::At<'_>> = Vec::new();
        while let Some((point, rest)) = self.histograms.split_first() {
            let belongs = taken.last().is_none_or(|(_, last)| histogram::continues(last, &point.histogram));
            let is_next =
                taken.is_empty() || self.next_float().is_none_or(|(time, _)| point.timestamp <= time);
            if !belongs || !is_next || taken.len() >= samples_max(&point.histogram) {
                break;
            }
            taken.push((point.timestamp, &point.histogram));
            self.histograms = rest;
            self.skip_float_at(point.timestamp);
        }
        let encoding = match taken.first().map(|(_, first)| &first.counts) {
            Some(Counts::Float { .. }) => Encoding::FloatHistogram,
            _ => Encoding::Histogram,
        };
        let (min_time, max_time) = (taken.first().map_or(0, |at| at.0), taken.last().map_or(0, |at| at.0));
        Chunk { encoding, min_time, max_time, data: histogram::encode(&taken) }
    }

    fn skip_floats_beside(&mut self) {
        if let Some(point) = self.histograms.first() {
            self.skip_float_at(point.timestamp);
        }
    }

    fn skip_float_at(&mut self, time: i64) {
        if self.next_float().is_some_and(|(next, _)| next == time) {
            self.cell += 1;
        }
    }
}

/// How many histograms of this layout a chunk takes.
fn samples_max(histogram: &Histogram) -> usize {
    let n_buckets = match &histogram.counts {
        Counts::Int { positive, negative, .. } => positive.len() + negative.len(),
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    (COUNTS_MAX / (n_buckets + 1)).clamp(1, SAMPLES_MAX)
}
