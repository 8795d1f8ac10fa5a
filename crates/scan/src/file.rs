use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use block::read;
use block::schema::{KIND_LABELS, KIND_SERIES, KIND_TIMESTAMPS};
use bucket::FileEntry;
use model::Metrics;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData};

use crate::ahead::Ahead;
use crate::cache::{Cache, Entry, FileId, Key};
use crate::deletes::Deleted;
use crate::error::ScanError;
use crate::fetch::Fetch;
use crate::plan;

/// What the first read of a file takes from its end at least: footer and page index of a small file.
const SHORTEST_TAIL: u64 = 64 * 1024;
/// Footer and page index of a row group of ours, which has [`GROUP_ROWS`]: measured 6.1 KiB.
const GROUP_TAIL: u64 = 7 * 1024;
/// As `block` writes them unless it is told otherwise.
const GROUP_ROWS: u64 = 8192;
/// More encoded bytes than this are decoded off the async threads.
const INLINE_BYTES: usize = 128 * 1024;
/// Rows of a batch at most: a row group of ours is one batch.
const LARGEST_BATCH: usize = 64 * 1024;

/// Footer and page index of a file, and where its kinds of rows are.
#[derive(Debug)]
pub(crate) struct FileMeta {
    reader: ArrowReaderMetadata,
    pub(crate) series: Vec<usize>,
    /// Row groups of timelines with the number of their first.
    timelines: Vec<(usize, u32)>,
    labels: Vec<usize>,
    leaves: HashMap<String, Vec<usize>>,
}

/// How the rows of a file are laid out.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// Row groups of several kinds of rows: the table `metrics`.
    Kinds,
    /// Rows of one kind: the table `exemplars`.
    Rows,
}

impl Layout {
    /// The columns without which nothing can be planned.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Layout::Kinds => &["row_kind", "metric", "min_time", "max_time"],
            Layout::Rows => &["metric", "ts"],
        }
    }
}

/// A file that a query reads.
pub(crate) struct TableFile<'a> {
    pub(crate) path: Path,
    pub(crate) id: FileId,
    pub(crate) meta: Arc<FileMeta>,
    /// What no query may find any more.
    pub(crate) deleted: Deleted,
    pub(crate) fetch: &'a Fetch,
    pub(crate) cache: &'a Cache,
}

impl FileMeta {
    pub(crate) fn size(&self) -> usize {
        self.parquet().memory_size() + 1024
    }

    pub(crate) fn parquet(&self) -> &Arc<ParquetMetaData> {
        self.reader.metadata()
    }

    /// The index of a column that is not nested.
    pub(crate) fn leaf(&self, name: &str) -> usize {
        self.leaves.get(name).and_then(|leaves| leaves.first()).copied().unwrap_or(usize::MAX)
    }

    fn new(path: &str, parquet: ParquetMetaData, layout: Layout) -> Result<FileMeta, ScanError> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = unpanicked(|| ArrowReaderMetadata::try_new(Arc::new(parquet), options))
            .map_err(|e| ScanError::parquet(path, e))?;
        let mut leaves: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, column) in reader.parquet_schema().columns().iter().enumerate() {
            let root = column.path().parts().first().cloned().unwrap_or_default();
            leaves.entry(root).or_default().push(index);
        }
        let mut meta =
            FileMeta { reader, series: Vec::new(), timelines: Vec::new(), labels: Vec::new(), leaves };
        meta.require(path, layout.columns())?;
        match layout {
            Layout::Kinds => meta.sort_row_groups(path)?,
            Layout::Rows => {}
        }
        Ok(meta)
    }

    fn require(&self, path: &str, columns: &[&str]) -> Result<(), ScanError> {
        match columns.iter().find(|name| !self.leaves.contains_key(**name)) {
            None => Ok(()),
            Some(name) => {
                let reason = format!("column {name} is missing");
                Err(ScanError::Corrupt { path: path.to_string(), reason })
            }
        }
    }

    fn sort_row_groups(&mut self, path: &str) -> Result<(), ScanError> {
        let corrupt =
            |reason: &str| ScanError::Corrupt { path: path.to_string(), reason: reason.to_string() };
        let parquet = Arc::clone(self.parquet());
        let mut next_timeline = 0;
        for (index, group) in parquet.row_groups().iter().enumerate() {
            let kind = kind_of(group, self.leaf("row_kind"));
            match kind.as_deref() {
                Some(KIND_SERIES) => self.series.push(index),
                Some(KIND_TIMESTAMPS) => {
                    self.timelines.push((index, next_timeline));
                    next_timeline += u32::try_from(group.num_rows()).unwrap_or(0);
                }
                Some(KIND_LABELS) => self.labels.push(index),
                _ => return Err(corrupt("a row group holds rows of unknown or several kinds")),
            }
        }
        Ok(())
    }

    /// What so many rows of these columns of a row group take while they are decoded: encoded, as arrays, and as what
    /// becomes of them.
    pub(crate) fn decoded_bytes<'a>(
        &self,
        group: usize,
        columns: impl IntoIterator<Item = &'a str>,
        n_rows: usize,
    ) -> u64 {
        let all = u64::try_from(self.parquet().row_group(group).num_rows()).unwrap_or(0).max(1);
        let size = |leaf: &usize| self.parquet().row_group(group).column(*leaf).uncompressed_size();
        let whole: u64 = self.filled(group, columns).iter().map(|leaf| size(leaf).unsigned_abs()).sum();
        3 * (whole / all + 1) * (n_rows as u64).min(all)
    }

    /// Those of `columns` that the row group has values in.
    pub(crate) fn filled<'a>(&self, group: usize, columns: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        let group = self.parquet().row_group(group);
        let mut leaves = Vec::new();
        for column in columns {
            let of_column = self.leaves.get(column).map_or(&[][..], Vec::as_slice);
            if of_column.iter().any(|leaf| has_values(group, *leaf)) {
                leaves.extend_from_slice(of_column);
            }
        }
        leaves
    }
}

fn kind_of(group: &RowGroupMetaData, leaf: usize) -> Option<String> {
    let stats = group.column(leaf).statistics()?;
    let (min, max) = (stats.min_bytes_opt()?, stats.max_bytes_opt()?);
    (min == max).then(|| String::from_utf8_lossy(min).into_owned())
}

fn has_values(group: &RowGroupMetaData, leaf: usize) -> bool {
    let column = group.column(leaf);
    let nulls = column.statistics().and_then(|stats| stats.null_count_opt());
    nulls.is_none_or(|nulls| i64::try_from(nulls).is_ok_and(|nulls| nulls < column.num_values()))
}

impl<'a> TableFile<'a> {
    /// Opens a file: from the cache, or with one read of its end.
    pub(crate) async fn open(
        path: Path,
        entry: &FileEntry,
        fetch: &'a Fetch,
        cache: &'a Cache,
    ) -> Result<TableFile<'a>, ScanError> {
        TableFile::open_as(Layout::Kinds, path, entry, fetch, cache).await
    }

    /// Opens a file whose rows are all of one kind.
    pub(crate) async fn open_rows(
        path: Path,
        entry: &FileEntry,
        fetch: &'a Fetch,
        cache: &'a Cache,
    ) -> Result<TableFile<'a>, ScanError> {
        TableFile::open_as(Layout::Rows, path, entry, fetch, cache).await
    }

    async fn open_as(
        layout: Layout,
        path: Path,
        entry: &FileEntry,
        fetch: &'a Fetch,
        cache: &'a Cache,
    ) -> Result<TableFile<'a>, ScanError> {
        let id = FileId::of(&path);
        if let Some(Entry::Meta(meta)) = cache.get(&Key::Meta(id)) {
            return Ok(TableFile { path, id, meta, deleted: Deleted::default(), fetch, cache });
        }
        let meta = Arc::new(read_meta(&path, entry, layout, fetch).await?);
        cache.insert(Key::Meta(id), Entry::Meta(Arc::clone(&meta)));
        Ok(TableFile { path, id, meta, deleted: Deleted::default(), fetch, cache })
    }

    /// The file's path, for errors.
    pub(crate) fn name(&self) -> &str {
        self.path.as_ref()
    }

    /// Columns of rows with these numbers, which ascend.
    pub(crate) async fn read_numbered(
        &self,
        group: usize,
        columns: impl IntoIterator<Item = &str>,
        rows: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<RecordBatch>, ScanError> {
        self.read(group, columns, Some(consecutive(rows))).await
    }

    /// A timeline, if it is kept.
    pub(crate) fn kept_timeline(&self, number: u32) -> Option<Arc<[i64]>> {
        match self.cache.get(&Key::Timeline(self.id, number)) {
            Some(Entry::Timeline(times)) => Some(times),
            _ => None,
        }
    }

    /// The timelines with these numbers.
    pub(crate) async fn timelines(&self, wanted: &[u32]) -> Result<Vec<Arc<[i64]>>, ScanError> {
        let kept: Vec<_> = wanted.iter().map(|number| self.kept_timeline(*number)).collect();
        let missing = wanted.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
        let mut missing: Vec<u32> = missing.map(|(number, _)| *number).collect();
        missing.sort_unstable();
        let read = self.read_timelines(&missing).await?;
        let lost = |number: u32| {
            let reason = format!("timeline {number} is missing");
            ScanError::Corrupt { path: self.name().to_string(), reason }
        };
        let found = wanted.iter().zip(kept);
        let found = found.map(|(number, kept)| kept.or_else(|| read.get(number).cloned()).ok_or(*number));
        found.map(|times| times.map_err(lost)).collect()
    }

    /// Reads timelines whose numbers ascend, and keeps them.
    async fn read_timelines(&self, missing: &[u32]) -> Result<HashMap<u32, Arc<[i64]>>, ScanError> {
        let mut found = HashMap::with_capacity(missing.len());
        for (at, (group, first)) in self.meta.timelines.iter().enumerate() {
            let end = self.meta.timelines.get(at + 1).map_or(u32::MAX, |next| next.1);
            let here: Vec<u32> = missing.iter().copied().filter(|n| (*first..end).contains(n)).collect();
            if here.is_empty() {
                continue;
            }
            let rows = here.iter().map(|number| (*number - *first) as usize);
            let batches = self.read_numbered(*group, ["timestamps"], rows).await?;
            let mut numbers = here.iter();
            for batch in &batches {
                for times in read::timelines(batch).map_err(|e| ScanError::read(self.name(), e))? {
                    let Some(number) = numbers.next() else { break };
                    let times: Arc<[i64]> = times.into();
                    self.cache.insert(Key::Timeline(self.id, *number), Entry::Timeline(Arc::clone(&times)));
                    found.insert(*number, times);
                }
            }
        }
        Ok(found)
    }

    /// The names of labels in the file, sorted.
    pub(crate) async fn label_names(&self) -> Result<Arc<[Box<str>]>, ScanError> {
        let key = Key::Names(self.id);
        if let Some(Entry::Strings(names)) = self.cache.get(&key) {
            return Ok(names);
        }
        let mut names: Vec<Box<str>> = Vec::new();
        for group in &self.meta.labels {
            for batch in self.read(*group, ["label_name"], None).await? {
                for (name, _) in read::label_pairs(&batch).map_err(|e| ScanError::read(self.name(), e))? {
                    if names.last().is_none_or(|last| **last != *name) {
                        names.push(name.into());
                    }
                }
            }
        }
        let names: Arc<[Box<str>]> = names.into();
        self.cache.insert(key, Entry::Strings(Arc::clone(&names)));
        Ok(names)
    }

    /// The values of a label in the file, sorted.
    pub(crate) async fn label_values(&self, label: &str) -> Result<Arc<[Box<str>]>, ScanError> {
        let key = Key::Values(self.id, label.into());
        if let Some(Entry::Strings(values)) = self.cache.get(&key) {
            return Ok(values);
        }
        let mut values: Vec<Box<str>> = Vec::new();
        let wanted = [label.to_string()];
        for group in &self.meta.labels {
            let leaf = self.meta.leaf("label_name");
            let rows = plan::rows(self.meta.parquet(), *group, leaf, &Metrics::Names(&wanted));
            if rows.is_empty() {
                continue;
            }
            for batch in self.read(*group, ["label_name", "label_value"], Some(rows)).await? {
                let pairs = read::label_pairs(&batch).map_err(|e| ScanError::read(self.name(), e))?;
                values.extend(
                    pairs.iter().filter(|(name, _)| *name == label).map(|(_, value)| (*value).into()),
                );
            }
        }
        let values: Arc<[Box<str>]> = values.into();
        self.cache.insert(key, Entry::Strings(Arc::clone(&values)));
        Ok(values)
    }

    /// Columns of a row group, of some of its rows.
    pub(crate) async fn read(
        &self,
        group: usize,
        columns: impl IntoIterator<Item = &str>,
        rows: Option<Vec<Range<usize>>>,
    ) -> Result<Vec<RecordBatch>, ScanError> {
        self.read_with(&Ahead::default(), group, columns, rows).await
    }

    /// The same, where some of the bytes may have been read already.
    pub(crate) async fn read_with(
        &self,
        ahead: &Ahead,
        group: usize,
        columns: impl IntoIterator<Item = &str>,
        rows: Option<Vec<Range<usize>>>,
    ) -> Result<Vec<RecordBatch>, ScanError> {
        let broken = |e| ScanError::parquet(self.name(), e);
        let leaves = self.meta.filled(group, columns);
        let n_rows = usize::try_from(self.meta.parquet().row_group(group).num_rows()).unwrap_or(0);
        let mask = ProjectionMask::leaves(self.meta.reader.parquet_schema(), leaves);
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(self.meta.reader.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(n_rows.clamp(1, LARGEST_BATCH));
        if let Some(rows) = rows {
            if rows.last().is_some_and(|last| last.end > n_rows) {
                let reason = "a row is asked for that the footer does not count".to_string();
                return Err(ScanError::Corrupt { path: self.name().to_string(), reason });
            }
            let selection = RowSelection::from_consecutive_ranges(rows.into_iter(), n_rows);
            builder = builder.with_row_selection(selection);
        }
        let mut decoder = unpanicked(|| builder.build()).map_err(broken)?;
        let mut batches = Vec::new();
        loop {
            let ranges = match drain(&mut decoder, &mut batches).map_err(broken)? {
                None => return Ok(batches),
                Some(ranges) => ranges,
            };
            let bytes = match ahead.slices(&ranges) {
                Some(bytes) => bytes,
                None => self.fetch.ranges(&self.path, &ranges).await?,
            };
            let n_bytes: usize = bytes.iter().map(bytes::Bytes::len).sum();
            unpanicked(|| decoder.push_ranges(ranges, bytes)).map_err(broken)?;
            if n_bytes <= INLINE_BYTES {
                continue;
            }
            let work = move || {
                let outcome = drain(&mut decoder, &mut batches);
                (decoder, batches, outcome)
            };
            let Ok((back, done, outcome)) = runtime::blocking(work).await else {
                return Err(wire::SelectError::Internal("decoding panicked".to_string()).into());
            };
            (decoder, batches) = (back, done);
            if outcome.map_err(broken)?.is_none() {
                return Ok(batches);
            }
        }
    }
}

/// Decodes what can be decoded; `Some` are the ranges that it takes to go on.
fn drain(
    decoder: &mut ParquetPushDecoder,
    batches: &mut Vec<RecordBatch>,
) -> Result<Option<Vec<Range<u64>>>, ParquetError> {
    unpanicked(|| {
        loop {
            match decoder.try_decode()? {
                DecodeResult::Data(batch) => batches.push(batch),
                DecodeResult::NeedsData(ranges) => return Ok(Some(ranges)),
                DecodeResult::Finished => return Ok(None),
            }
        }
    })
}

/// The decoder trusts lengths and offsets that it finds in a file. Where they are wrong it may panic: that is the
/// file's fault and an error like any other.
fn unpanicked<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let panicked = |said| ParquetError::General(format!("the file makes the decoder panic: {said}"));
    runtime::unpanicked(decode).unwrap_or_else(|said| Err(panicked(said)))
}

async fn read_meta(
    path: &Path,
    entry: &FileEntry,
    layout: Layout,
    fetch: &Fetch,
) -> Result<FileMeta, ScanError> {
    let broken = |e| ScanError::parquet(path.as_ref(), e);
    let size = entry.size;
    let mut decoder = ParquetMetaDataPushDecoder::try_new(size).map_err(broken)?;
    let tail = first_tail(entry);
    let bytes = fetch.range(path, tail.clone()).await?;
    decoder.push_range(tail, bytes).map_err(broken)?;
    loop {
        match unpanicked(|| decoder.try_decode()).map_err(broken)? {
            DecodeResult::Data(meta) => return FileMeta::new(path.as_ref(), meta, layout),
            DecodeResult::NeedsData(ranges) => {
                let ranges = ranges.into_iter().map(|range| with_index(range, size)).collect::<Vec<_>>();
                let bytes = fetch.ranges(path, &ranges).await?;
                decoder.push_ranges(ranges, bytes).map_err(broken)?;
            }
            DecodeResult::Finished => {
                let reason = "the footer ends too early".to_string();
                return Err(ScanError::Corrupt { path: path.to_string(), reason });
            }
        }
    }
}

/// The end of a file that holds its footer and page index, as far as its number of rows tells.
fn first_tail(entry: &FileEntry) -> Range<u64> {
    let n_groups = entry.stats.n_rows.unwrap_or(0).div_ceil(GROUP_ROWS) + 2;
    let tail = (n_groups * GROUP_TAIL).max(SHORTEST_TAIL);
    entry.size.saturating_sub(tail)..entry.size
}

/// A footer that the first read did not reach, together with the page index, which lies before it and is about as long.
fn with_index(range: Range<u64>, size: u64) -> Range<u64> {
    let is_footer = range.end + 8 == size;
    let before = if is_footer { range.end - range.start } else { 0 };
    range.start.saturating_sub(before)..range.end
}

fn consecutive(rows: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(consecutive([1, 2, 3, 7]), [1..4, 7..8]);
    }
}
