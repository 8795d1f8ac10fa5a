use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use model::{Labels, TimeRange};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData};

use super::batch::{Batch, OpenFile, RowRef};
use super::{MergeError, MergeFile, ReadRanges};
use crate::block_order;
use crate::read::{self, Clip};
use crate::schema::{KIND_LABELS, KIND_SERIES, KIND_TIMESTAMPS};

/// What the first read of a file takes from its end: footer and page index of a usual file.
const TAIL: u64 = 64 * 1024;
/// How many bytes of decoded values a batch holds, about.
const BATCH_BYTES: usize = 512 * 1024;
/// Slices of a row group end where pages do: those of values have 64 rows or so, others 1,024.
const SLICE_ROWS: usize = 1024;
/// What is copied from a file is not read: the columns of which the writer makes its own.
const NOT_READ: [&str; 9] = [
    "row_kind",
    "block",
    "metric",
    "l_job",
    "l_instance",
    "l_namespace",
    "l_service",
    "label_name",
    "label_value",
];

/// An input: the rows of kind `series` of files that follow each other.
pub(super) struct Cursor {
    rest: VecDeque<MergeFile>,
    next_number: usize,
    read_bytes: usize,
    open: Option<Reader>,
    at: Option<RowRef>,
    labels: Option<Labels>,
}

impl Cursor {
    pub(super) fn new(files: Vec<MergeFile>, first_number: usize, read_bytes: usize) -> Cursor {
        Cursor {
            rest: files.into(),
            next_number: first_number,
            read_bytes,
            open: None,
            at: None,
            labels: None,
        }
    }

    /// Moves to the first row.
    pub(super) fn start(&mut self) -> Result<(), MergeError> {
        self.at = self.next_batch()?;
        self.labels = self.at.as_ref().map(|at| Labels::of_canonical_run(at.run()));
        Ok(())
    }

    /// The series at which the input stands; `None` at its end.
    pub(super) fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// Hands out all rows of the series and moves to the next one.
    pub(super) fn take(&mut self, rows: &mut Vec<RowRef>) -> Result<(), MergeError> {
        let Some(labels) = self.labels.take() else { return Ok(()) };
        while let Some(at) = self.at.take() {
            if at.run() != labels.run() {
                let next = Labels::of_canonical_run(at.run());
                if block_order(&labels, &next).is_ge() {
                    let reason = format!("series {next} comes after {labels}");
                    return Err(MergeError::corrupt(&at.batch.file.name, reason));
                }
                self.labels = Some(next);
                self.at = Some(at);
                return Ok(());
            }
            self.at = if at.row + 1 < at.batch.labels.len() {
                Some(RowRef { batch: Arc::clone(&at.batch), row: at.row + 1 })
            } else {
                None
            };
            rows.push(at);
            if self.at.is_none() {
                self.at = self.next_batch()?;
            }
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<RowRef>, MergeError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.next_batch()? {
                    return Ok(Some(RowRef { batch: Arc::new(batch), row: 0 }));
                }
                self.open = None;
            }
            let Some(file) = self.rest.pop_front() else { return Ok(None) };
            self.open = Some(Reader::open(file, self.next_number, self.read_bytes)?);
            self.next_number += 1;
        }
    }
}

/// Reads a file's rows of kind `series` slice by slice.
struct Reader {
    file: Arc<OpenFile>,
    source: Box<dyn ReadRanges>,
    meta: ArrowReaderMetadata,
    slices: VecDeque<Slice>,
    decoder: Option<ParquetPushDecoder>,
}

/// Rows that are fetched together.
struct Slice {
    group: usize,
    rows: Range<usize>,
    batch_rows: usize,
}

impl Reader {
    fn open(file: MergeFile, number: usize, read_bytes: usize) -> Result<Reader, MergeError> {
        let MergeFile { name, size, mut source, deletions } = file;
        let meta = read_meta(&name, size, source.as_mut())?;
        let mut open = OpenFile { name, number, timelines: Vec::new(), deletions };
        let parquet = Arc::clone(meta.metadata());
        let mut slices = VecDeque::new();
        for (index, group) in parquet.row_groups().iter().enumerate() {
            match kind_of(&meta, group).as_deref() {
                Some(KIND_SERIES) => slices.extend(slices_of(&meta, index, read_bytes)),
                Some(KIND_TIMESTAMPS) => {
                    let timelines = read_timelines(&open.name, &meta, index, source.as_mut())?;
                    open.timelines.extend(timelines);
                }
                Some(KIND_LABELS) => {}
                _ => {
                    let reason = "a row group holds rows of unknown or several kinds";
                    return Err(MergeError::corrupt(&open.name, reason));
                }
            }
        }
        Ok(Reader { file: Arc::new(open), source, meta, slices, decoder: None })
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, MergeError> {
        loop {
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                None => {
                    let Some(slice) = self.slices.pop_front() else { return Ok(None) };
                    let decoder =
                        decoder(&self.meta, &slice).map_err(|e| MergeError::corrupt(&self.file.name, e))?;
                    self.decoder.insert(decoder)
                }
            };
            match next_of(&self.file.name, decoder, self.source.as_mut())? {
                Some(record) if record.num_rows() > 0 => return Batch::new(&self.file, record).map(Some),
                Some(_) => {}
                None => self.decoder = None,
            }
        }
    }
}

fn read_meta(name: &str, size: u64, source: &mut dyn ReadRanges) -> Result<ArrowReaderMetadata, MergeError> {
    let broken = |e: ParquetError| MergeError::corrupt(name, e);
    let mut decoder = ParquetMetaDataPushDecoder::try_new(size).map_err(broken)?;
    let mut wanted = std::iter::once(size.saturating_sub(TAIL)..size).collect::<Vec<_>>();
    loop {
        let bytes = fetch(name, source, &wanted)?;
        decoder.push_ranges(wanted, bytes).map_err(broken)?;
        match decoder.try_decode().map_err(broken)? {
            DecodeResult::Data(meta) => return reader_metadata(meta).map_err(broken),
            DecodeResult::NeedsData(ranges) => wanted = ranges,
            DecodeResult::Finished => return Err(MergeError::corrupt(name, "the footer ends too early")),
        }
    }
}

fn reader_metadata(meta: ParquetMetaData) -> Result<ArrowReaderMetadata, ParquetError> {
    ArrowReaderMetadata::try_new(Arc::new(meta), ArrowReaderOptions::new().with_skip_arrow_metadata(true))
}

fn fetch(
    name: &str,
    source: &mut dyn ReadRanges,
    ranges: &[Range<u64>],
) -> Result<Vec<bytes::Bytes>, MergeError> {
    source.read(ranges).map_err(|source| MergeError::Source { file: name.to_string(), source })
}

/// The next batch of a decoder, fetching what it takes.
fn next_of(
    name: &str,
    decoder: &mut ParquetPushDecoder,
    source: &mut dyn ReadRanges,
) -> Result<Option<arrow_array::RecordBatch>, MergeError> {
    let broken = |e: ParquetError| MergeError::corrupt(name, e);
    loop {
        match decoder.try_decode().map_err(broken)? {
            DecodeResult::Data(record) => return Ok(Some(record)),
            DecodeResult::Finished => return Ok(None),
            DecodeResult::NeedsData(ranges) => {
                let bytes = fetch(name, source, &ranges)?;
                decoder.push_ranges(ranges, bytes).map_err(broken)?;
            }
        }
    }
}

fn kind_of(meta: &ArrowReaderMetadata, group: &RowGroupMetaData) -> Option<String> {
    let leaf = leaves_of(meta, |column| column == "row_kind").next()?;
    let stats = group.column(leaf).statistics()?;
    let (min, max) = (stats.min_bytes_opt()?, stats.max_bytes_opt()?);
    (min == max).then(|| String::from_utf8_lossy(min).into_owned())
}

/// The leaves whose column's name passes.
fn leaves_of(meta: &ArrowReaderMetadata, passes: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    let columns = meta.parquet_schema().columns().iter().enumerate();
    columns.filter_map(move |(leaf, column)| {
        let name = column.path().parts().first()?;
        passes(name).then_some(leaf)
    })
}

fn has_values(group: &RowGroupMetaData, leaf: usize) -> bool {
    let column = group.column(leaf);
    let nulls = column.statistics().and_then(|stats| stats.null_count_opt());
    nulls.is_none_or(|nulls| i64::try_from(nulls).is_ok_and(|nulls| nulls < column.num_values()))
}

/// Cuts a row group so that a slice has about so many encoded bytes.
fn slices_of(meta: &ArrowReaderMetadata, group: usize, read_bytes: usize) -> Vec<Slice> {
    let about = meta.metadata().row_group(group);
    let n_rows = usize::try_from(about.num_rows()).unwrap_or(0);
    let encoded = usize::try_from(about.compressed_size()).unwrap_or(0).max(1);
    let value_leaves = leaves_of(meta, |name| name == "values_int" || name == "values_double");
    let raw: i64 = value_leaves.map(|leaf| about.column(leaf).num_values()).sum();
    let row_bytes = usize::try_from(raw).unwrap_or(0) * 8 / n_rows.max(1) + 64;
    let batch_rows = (BATCH_BYTES / row_bytes).clamp(1, 4096);
    let fitting = n_rows * read_bytes / encoded;
    // Whole pages of the small columns where that is possible.
    let slice_rows = if fitting < SLICE_ROWS { fitting.max(64) } else { fitting / SLICE_ROWS * SLICE_ROWS };
    (0..n_rows)
        .step_by(slice_rows)
        .map(|from| Slice { group, rows: from..(from + slice_rows).min(n_rows), batch_rows })
        .collect()
}

fn decoder(meta: &ArrowReaderMetadata, slice: &Slice) -> Result<ParquetPushDecoder, ParquetError> {
    let group = meta.metadata().row_group(slice.group);
    let n_rows = usize::try_from(group.num_rows()).unwrap_or(0);
    let wanted = leaves_of(meta, |name| !NOT_READ.contains(&name));
    let leaves: Vec<usize> = wanted.filter(|leaf| has_values(group, *leaf)).collect();
    let mut builder = ParquetPushDecoderBuilder::new_with_metadata(meta.clone())
        .with_row_groups(vec![slice.group])
        .with_projection(ProjectionMask::leaves(meta.parquet_schema(), leaves))
        .with_batch_size(slice.batch_rows);
    if slice.rows != (0..n_rows) {
        let rows = std::iter::once(slice.rows.clone());
        builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(rows, n_rows));
    }
    builder.build()
}

fn read_timelines(
    name: &str,
    meta: &ArrowReaderMetadata,
    group: usize,
    source: &mut dyn ReadRanges,
) -> Result<Vec<Clip>, MergeError> {
    let broken = |e: ParquetError| MergeError::corrupt(name, e);
    let leaves = leaves_of(meta, |column| column == "timestamps");
    let mut decoder = ParquetPushDecoderBuilder::new_with_metadata(meta.clone())
        .with_row_groups(vec![group])
        .with_projection(ProjectionMask::leaves(meta.parquet_schema(), leaves))
        .build()
        .map_err(broken)?;
    let mut timelines = Vec::new();
    while let Some(record) = next_of(name, &mut decoder, source)? {
        let lists = read::timelines(&record).map_err(|e| MergeError::read(name, e))?;
        timelines.extend(lists.into_iter().map(|times| Clip::new(&times.into(), TimeRange::ALL)));
    }
    Ok(timelines)
}
