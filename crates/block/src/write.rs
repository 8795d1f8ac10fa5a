use std::cmp::Ordering;
use std::sync::Arc;

use arrow_schema::ArrowError;
use model::{Classify, ErrorKind, FloatColumn, HistogramPoint, Labels, SeriesData, is_empty_cell, is_stale};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use crate::decimal::{self, is_null};
use crate::histogram::{self, Cells, Form, FormKey};
use crate::labels::LabelPairs;
use crate::rows::{Part, Rows, SeriesRow, Times, Values};
use crate::schema::{Day, arrow_schema, writer_properties};
use crate::summary::{BlockSummary, Collector};
use crate::timelines::Timelines;
use crate::windows::{Piece, pieces};

/// What a file is.
#[derive(Debug, Clone, Copy)]
pub struct BlockMeta {
    /// The file's number, unique in the table for ever.
    pub block: i64,
    /// Length of a window in milliseconds; divides a day.
    pub window_ms: i64,
}

/// A series on its way into a file.
#[derive(Debug, Clone)]
pub struct BlockSeries {
    /// The shard it belongs to: timelines are shared within a shard.
    pub shard: u32,
    /// Labels and samples, all of one day, of any number of windows. Series of one target should bring one `Arc`
    /// as their timeline; an equal list in another allocation is found too, from its second appearance on.
    pub data: SeriesData,
}

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// 3 for a cut, 9 for a compaction.
    pub zstd_level: i32,
    /// The most rows of a row group.
    pub row_group_rows: usize,
    /// The size at which a page of values ends, before compression.
    pub value_page_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions { zstd_level: 3, row_group_rows: 8192, value_page_bytes: 256 * 1024 }
    }
}

/// A whole file in memory and what the log will say about it.
#[derive(Debug, Clone)]
pub struct WrittenBlock {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the log says about it.
    pub summary: BlockSummary,
}

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E: std::error::Error + 'static> {
    /// The source of series failed.
    #[error(transparent)]
    Source(E),
    /// Series must come in [`block_order`], each once.
    #[error("series {after} came after {before}")]
    OutOfOrder {
        /// The series before.
        before: Labels,
        /// The series that should have come earlier.
        after: Labels,
    },
    /// A file belongs to one day.
    #[error("samples of {first} and of {second} in one file")]
    CrossesDay {
        /// The day of the file so far.
        first: Day,
        /// Another day.
        second: Day,
    },
    /// Timestamps and values do not fit each other.
    #[error("series {series} has {timestamps} timestamps and {values} values")]
    Uneven {
        /// The series.
        series: Labels,
        /// Timestamps of a column.
        timestamps: usize,
        /// Values of the column.
        values: usize,
    },
    /// The encoder refused.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// The encoder refused.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
}

impl<E: Classify + 'static> Classify for WriteError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            WriteError::Source(e) => e.kind(),
            _ => ErrorKind::Internal,
        }
    }
}

/// The order of series in a file: metric name first, then labels.
pub fn block_order(a: &Labels, b: &Labels) -> Ordering {
    a.metric_name().cmp(&b.metric_name()).then_with(|| a.cmp(b))
}

/// Writes one file. Series come in [`block_order`]; those without a sample are left out. `None` when nothing is
/// left.
pub fn write_metrics<E: std::error::Error + 'static>(
    meta: BlockMeta,
    series: impl IntoIterator<Item = Result<BlockSeries, E>>,
    options: &WriteOptions,
) -> Result<Option<WrittenBlock>, WriteError<E>> {
    write_metrics_within(meta, &mut series.into_iter(), options, usize::MAX)
}

/// Writes one file as [`write_metrics`] does, of as many series as it may hold within `max_bytes` of memory, about: it
/// ends with the series that reaches them, and those that are left stay in the source. The files that such calls make
/// one after another are a run: a sequence without a common series, in the order of rows.
pub fn write_metrics_within<E: std::error::Error + 'static>(
    meta: BlockMeta,
    series: &mut impl Iterator<Item = Result<BlockSeries, E>>,
    options: &WriteOptions,
    max_bytes: usize,
) -> Result<Option<WrittenBlock>, WriteError<E>> {
    let mut writer = Writer::new(meta, options)?;
    let mut previous: Option<Labels> = None;
    while writer.n_rows() == 0 || writer.held_bytes() < max_bytes {
        let Some(next) = series.next() else { break };
        let next = next.map_err(WriteError::Source)?;
        if let Some(before) = previous.take().filter(|p| block_order(p, &next.data.labels) != Ordering::Less)
        {
            return Err(WriteError::OutOfOrder { before, after: next.data.labels });
        }
        previous = Some(next.data.labels.clone());
        check_even(&next.data)?;
        writer.write_series(next)?;
        if let Some((first, second)) = writer.crossed_day() {
            return Err(WriteError::CrossesDay { first, second });
        }
    }
    Ok(writer.finish()?)
}

fn check_even<E: std::error::Error + 'static>(data: &SeriesData) -> Result<(), WriteError<E>> {
    match data.floats.iter().find(|column| column.timeline.len() != column.values.len()) {
        None => Ok(()),
        Some(column) => Err(WriteError::Uneven {
            series: data.labels.clone(),
            timestamps: column.timeline.len(),
            values: column.values.len(),
        }),
    }
}

pub(crate) struct Writer {
    meta: BlockMeta,
    row_group_rows: usize,
    file: ArrowWriter<Vec<u8>>,
    rows: Rows,
    n_rows: u64,
    /// Bytes that the encoder held when the last batch was written.
    n_encoding: usize,
    timelines: Timelines,
    pairs: LabelPairs,
    collector: Collector,
    scratch: Scratch,
}

/// Buffers that each row fills anew.
#[derive(Default)]
struct Scratch {
    ints: Vec<i64>,
    present: Vec<bool>,
    stale_at: Vec<i64>,
    starts: Vec<i64>,
}

impl Writer {
    pub(crate) fn new(meta: BlockMeta, options: &WriteOptions) -> Result<Writer, ParquetError> {
        let properties = writer_properties(meta.block, options.zstd_level, options.value_page_bytes)?;
        let arrow_options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        Ok(Writer {
            meta,
            row_group_rows: options.row_group_rows.max(1),
            file: ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(), arrow_options)?,
            rows: Rows::new(meta.block),
            n_rows: 0,
            n_encoding: 0,
            timelines: Timelines::default(),
            pairs: LabelPairs::default(),
            collector: Collector::default(),
            scratch: Scratch::default(),
        })
    }

    /// Bytes of the file so far, about: without timelines, labels and footer.
    pub(crate) fn size(&self) -> usize {
        self.file.bytes_written() + self.file.in_progress_size()
    }

    /// The memory that the file takes, about. The pairs count twice: they are written at the end.
    fn held_bytes(&self) -> usize {
        self.n_encoding + self.rows.n_text_bytes() + 2 * self.pairs.n_bytes()
    }

    /// Bytes of finished row groups that nobody took yet.
    pub(crate) fn n_encoded(&self) -> usize {
        self.file.inner().len()
    }

    /// Takes the bytes of finished row groups; what `finish` gives back begins after them.
    pub(crate) fn take_encoded(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }

    /// Rows so far.
    pub(crate) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Says whose series are in the file, for one whose series are not written shard by shard.
    pub(crate) fn set_shards(&mut self, shards: &[u32]) {
        self.collector.set_shards(shards);
    }

    /// The number of a timeline, as [`Timelines::find`].
    pub(crate) fn timeline(&mut self, shard: u32, times: &Arc<[i64]>, shared: bool) -> Option<u32> {
        self.timelines.find(shard, times, shared)
    }

    /// Counts a series of which rows were written one by one.
    pub(crate) fn end_series(&mut self, labels: &Labels) {
        self.collector.n_series += 1;
        self.pairs.add(labels);
    }

    pub(crate) fn crossed_day(&self) -> Option<(Day, Day)> {
        let (min, max) = self.collector.times()?;
        let (first, second) = (Day::of(min), Day::of(max));
        (first != second).then_some((first, second))
    }

    fn write_series(&mut self, series: BlockSeries) -> Result<(), ParquetError> {
        let labels = series.data.labels.clone();
        let before = self.n_rows;
        let mut form = 0;
        for piece in pieces(series.data, self.meta.window_ms.max(1)) {
            let Piece { floats, shared, starts, histograms } = piece;
            if let Some(column) = floats {
                self.write_floats(series.shard, &labels, column, shared, &starts)?;
            }
            if !histograms.is_empty() {
                self.write_histograms(series.shard, &labels, &histograms, &mut form)?;
            }
        }
        if self.n_rows > before {
            self.collector.series(series.shard);
            self.pairs.add(&labels);
        }
        Ok(())
    }

    pub(crate) fn write_floats(
        &mut self,
        shard: u32,
        labels: &Labels,
        column: FloatColumn,
        shared: bool,
        starts: &[(i64, i64)],
    ) -> Result<(), ParquetError> {
        let n_samples = column.values.iter().filter(|cell| !is_empty_cell(**cell)).count();
        if n_samples == 0 {
            return Ok(());
        }
        // A list that the series hardly uses costs its readers more than a list of its own.
        let fits = n_samples * 2 >= column.timeline.len();
        let number = if fits { self.timelines.find(shard, &column.timeline, shared) } else { None };
        let column = if number.is_some() { column } else { column.dense() };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.describe(&column, starts);
        let values = match decimal::detect(&column.values, &mut scratch.ints) {
            Some(decimal) => Values::Int(decimal, &scratch.ints),
            None => Values::Double(&column.values),
        };
        let (min_time, max_time) = span_of_samples(&column);
        let row = SeriesRow {
            labels,
            min_time,
            max_time,
            count: n_samples as i64,
            times: number.map_or(Times::Own(&column.timeline), Times::Shared),
            values,
            present: &scratch.present,
            stale_at: &scratch.stale_at,
            starts: &scratch.starts,
            part: None,
        };
        self.push(&row)?;
        self.scratch = scratch;
        Ok(())
    }

    pub(crate) fn write_histograms(
        &mut self,
        shard: u32,
        labels: &Labels,
        points: &[HistogramPoint],
        number: &mut i32,
    ) -> Result<(), ParquetError> {
        let times: Arc<[i64]> = points.iter().map(|point| point.timestamp).collect();
        let timeline = self.timelines.find(shard, &times, false);
        for form in histogram::forms(points) {
            let writer = FormWriter {
                labels,
                times: timeline.map_or(Times::Own(&times), Times::Shared),
                bounds: (times[0], times[times.len() - 1]),
                number: *number,
                form: &form,
            };
            writer.write(self)?;
            *number += 1;
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, row: &SeriesRow<'_>) -> Result<(), ParquetError> {
        // The parts of a histogram are one sample: they count where the histogram is counted.
        let counts = row.part.is_none_or(|part| part.kind == histogram::COUNT);
        let n_samples = if counts { row.count as usize } else { 0 };
        self.collector.row(row.labels.metric_name(), n_samples, (row.min_time, row.max_time));
        self.rows.push_series(row)?;
        self.after_row()
    }

    fn after_row(&mut self) -> Result<(), ParquetError> {
        self.n_rows += 1;
        if self.file.in_progress_rows() + self.rows.len() >= self.row_group_rows {
            return self.end_row_group();
        }
        if self.rows.is_full() { self.end_batch() } else { Ok(()) }
    }

    fn end_batch(&mut self) -> Result<(), ParquetError> {
        if self.rows.len() > 0 {
            self.file.write(&self.rows.take()?)?;
            self.n_encoding = self.file.inner().len() + self.file.in_progress_size();
        }
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<(), ParquetError> {
        self.end_batch()?;
        self.file.flush()
    }

    pub(crate) fn finish(mut self) -> Result<Option<WrittenBlock>, ParquetError> {
        let Some(times) = self.collector.times() else { return Ok(None) };
        self.end_row_group()?;
        for (number, timeline) in std::mem::take(&mut self.timelines).into_rows().iter().enumerate() {
            self.rows.push_timeline(number as u32, timeline)?;
            self.after_row()?;
        }
        self.end_row_group()?;
        for (name, value, series) in std::mem::take(&mut self.pairs).into_sorted() {
            self.rows.push_label((&name, &value), series, times)?;
            self.after_row()?;
        }
        self.end_row_group()?;
        let summary = self.collector.finish(self.meta.block, self.n_rows);
        let bytes = self.file.into_inner()?;
        Ok(summary.map(|summary| WrittenBlock { bytes, summary }))
    }
}

impl Scratch {
    /// Nulls, stale markers and start timestamps of a column.
    fn describe(&mut self, column: &FloatColumn, starts: &[(i64, i64)]) {
        self.present.clear();
        self.stale_at.clear();
        self.starts.clear();
        if column.values.iter().any(|cell| is_null(*cell)) {
            self.present.extend(column.values.iter().map(|cell| !is_null(*cell)));
        }
        if !self.present.is_empty() {
            let stale = column.timeline.iter().zip(&column.values).filter(|(_, cell)| is_stale(**cell));
            self.stale_at.extend(stale.map(|(ts, _)| *ts));
        }
        for (ts, start) in starts.iter().filter(|(_, start)| *start != 0) {
            let Ok(at) = column.timeline.binary_search(ts) else { continue };
            if self.starts.is_empty() {
                self.starts.resize(column.timeline.len(), 0);
            }
            self.starts[at] = *start;
        }
    }
}

/// First and last timestamp that has a sample.
fn span_of_samples(column: &FloatColumn) -> (i64, i64) {
    let is_sample = |cell: &f64| !is_empty_cell(*cell);
    let first = column.values.iter().position(is_sample).unwrap_or(0);
    let last = column.values.iter().rposition(is_sample).unwrap_or(0);
    (column.timeline[first], column.timeline[last])
}

/// Writes the rows of one form.
struct FormWriter<'a> {
    labels: &'a Labels,
    times: Times<'a>,
    bounds: (i64, i64),
    number: i32,
    form: &'a Form,
}

impl FormWriter<'_> {
    fn write(&self, to: &mut Writer) -> Result<(), ParquetError> {
        let form = self.form;
        let custom: Vec<f64> = form.key.custom_values.iter().map(|bits| f64::from_bits(*bits)).collect();
        let count = Part { custom_values: &custom, hints: &form.hints, ..self.part(histogram::COUNT) };
        self.write_cells(to, count, &form.count)?;
        self.write_doubles(to, self.part(histogram::SUM), &form.sum, &form.count.present)?;
        if !form.zero_is_empty() {
            let width = f64::from_bits(form.key.zero_threshold);
            let zero = Part { bounds: Some((-width, width)), ..self.part(histogram::ZERO) };
            self.write_cells(to, zero, &form.zero)?;
        }
        for (kind, buckets) in [(histogram::NEGATIVE, &form.negative), (histogram::POSITIVE, &form.positive)]
        {
            for (index, cells) in buckets {
                let bounds = Some(histogram::bounds(&form.key, kind, *index));
                let part = Part { bucket: Some(*index), bounds, ..self.part(kind) };
                self.write_cells(to, part, cells)?;
            }
        }
        Ok(())
    }

    fn part(&self, kind: &'static str) -> Part<'_> {
        let FormKey { float, schema, zero_threshold, .. } = self.form.key;
        Part {
            form: self.number,
            kind,
            float,
            schema,
            zero_threshold: f64::from_bits(zero_threshold),
            custom_values: &[],
            hints: &[],
            bucket: None,
            bounds: None,
        }
    }

    fn write_cells(&self, to: &mut Writer, part: Part<'_>, cells: &Cells) -> Result<(), ParquetError> {
        if self.form.key.float {
            let doubles: Vec<f64> = cells.bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            return self.write_doubles(to, part, &doubles, &cells.present);
        }
        let counted = cells.bits.iter().zip(&cells.present).filter(|(_, present)| **present);
        let base = counted.map(|(bits, _)| *bits as i64).min().unwrap_or(0);
        let ints: Vec<i64> = cells.bits.iter().map(|bits| (*bits as i64).wrapping_sub(base)).collect();
        let decimal = decimal::Decimal { base, mul: 1.0, div: 1.0 };
        self.write_row(to, part, Values::Int(decimal, &ints), &cells.present)
    }

    fn write_doubles(
        &self,
        to: &mut Writer,
        part: Part<'_>,
        doubles: &[f64],
        present: &[bool],
    ) -> Result<(), ParquetError> {
        let empty = f64::from_bits(model::EMPTY);
        let cells: Vec<f64> = doubles
            .iter()
            .zip(present)
            .map(|(value, present)| if *present { *value } else { empty })
            .collect();
        let mut ints = Vec::new();
        match decimal::detect(&cells, &mut ints) {
            Some(decimal) => self.write_row(to, part, Values::Int(decimal, &ints), present),
            None => self.write_row(to, part, Values::Double(&cells), present),
        }
    }

    fn write_row(
        &self,
        to: &mut Writer,
        part: Part<'_>,
        values: Values<'_>,
        present: &[bool],
    ) -> Result<(), ParquetError> {
        let is_count = part.kind == histogram::COUNT;
        to.push(&SeriesRow {
            labels: self.labels,
            min_time: self.bounds.0,
            max_time: self.bounds.1,
            count: self.form.n_samples as i64,
            times: self.times,
            values,
            present: if present.contains(&false) { present } else { &[] },
            stale_at: if is_count { &self.form.stale_at } else { &[] },
            starts: if is_count { &self.form.starts } else { &[] },
            part: Some(part),
        })
    }
}
