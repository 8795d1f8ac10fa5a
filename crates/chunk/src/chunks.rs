use model::{Counts, Histogram, HistogramPoint, SeriesData};

use crate::{histogram, xor, xor2};

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
    /// Floats with start timestamps.
    Xor2 = 4,
    /// Native histograms with integer counts and start timestamps.
    HistogramSt = 5,
    /// Native histograms with float counts and start timestamps.
    FloatHistogramSt = 6,
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
    /// Whether start timestamps are told where there are some.
    with_starts: bool,
}

/// The samples of a series as chunks, in order of time. Of a float and a histogram at the same time the histogram
/// counts, as in queries. The columns of the series must follow one another ([`SeriesData::merged`]).
pub fn chunks(series: &SeriesData) -> Chunks<'_> {
    let floats = Vec::with_capacity(SAMPLES_MAX);
    Chunks { series, column: 0, cell: 0, histograms: &series.histograms, floats, with_starts: false }
}

/// The same with start timestamps, for readers who know the encodings that have them. What has none is encoded as
/// without.
pub fn chunks_with_starts(series: &SeriesData) -> Chunks<'_> {
    Chunks { with_starts: true, ..chunks(series) }
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
        let starts = self.starts_of(&floats);
        let (encoding, data) = match starts.iter().any(|start| *start != 0) {
            true => (Encoding::Xor2, xor2::encode(&floats, &starts)),
            false => (Encoding::Xor, xor::encode(&floats)),
        };
        let chunk = Chunk { encoding, min_time, max_time, data };
        self.floats = floats;
        chunk
    }

    /// Of each float since when it counts, if that is wanted and of any series known.
    fn starts_of(&self, floats: &[(i64, f64)]) -> Vec<i64> {
        let starts = &self.series.starts;
        if !self.with_starts || starts.is_empty() {
            return Vec::new();
        }
        let known = |time: &i64| starts.binary_search_by_key(time, |(at, _)| *at).ok();
        floats.iter().map(|(time, _)| known(time).map_or(0, |at| starts[at].1)).collect()
    }

    /// Histograms before the next float, as many as belong together.
    fn histogram_chunk(&mut self) -> Chunk {
        self.skip_floats_beside();
        let mut taken: Vec<histogram::At<'_>> = Vec::new();
        let mut starts = Vec::new();
        while let Some((point, rest)) = self.histograms.split_first() {
            let belongs = taken.last().is_none_or(|(_, last)| histogram::continues(last, &point.histogram));
            let is_next =
                taken.is_empty() || self.next_float().is_none_or(|(time, _)| point.timestamp <= time);
            if !belongs || !is_next || taken.len() >= samples_max(&point.histogram) {
                break;
            }
            taken.push((point.timestamp, &point.histogram));
            starts.push(point.start_timestamp);
            self.histograms = rest;
            self.skip_float_at(point.timestamp);
        }
        let has_starts = self.with_starts && starts.iter().any(|start| *start != 0);
        let is_float =
            matches!(taken.first(), Some((_, first)) if matches!(first.counts, Counts::Float { .. }));
        let encoding = match (is_float, has_starts) {
            (false, false) => Encoding::Histogram,
            (true, false) => Encoding::FloatHistogram,
            (false, true) => Encoding::HistogramSt,
            (true, true) => Encoding::FloatHistogramSt,
        };
        let (min_time, max_time) = (taken.first().map_or(0, |at| at.0), taken.last().map_or(0, |at| at.0));
        Chunk { encoding, min_time, max_time, data: histogram::encode(&taken, has_starts.then_some(&starts)) }
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
