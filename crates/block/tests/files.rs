//! Files in memory: written from series, read back into series, merged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use block::merge::{Merge, MergeFile, MergeOptions, MergeStats, Output, ReadRanges, SourceError};
use block::read::{Clip, LabelRows, RowForm, SampleRows, assemble, timelines};
use block::{BlockMeta, BlockSeries, WriteOptions, WrittenBlock, block_order, write_metrics};
use bytes::Bytes;
use model::{Deletion, Labels, SeriesData, TimeRange};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub(crate) const WINDOW_MS: i64 = 7_200_000;

/// A file as one input of a merge.
pub(crate) struct Memory(pub(crate) Bytes);

impl ReadRanges for Memory {
    fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, SourceError> {
        Ok(ranges.iter().map(|range| self.0.slice(range.start as usize..range.end as usize)).collect())
    }
}

pub(crate) fn write(series: Vec<SeriesData>, shard: u32, row_group_rows: usize) -> WrittenBlock {
    let mut series = series;
    series.sort_by(|a, b| block_order(&a.labels, &b.labels));
    let series = series.into_iter().map(|data| Ok::<_, Infallible>(BlockSeries { shard, data }));
    let options = WriteOptions { row_group_rows, ..WriteOptions::default() };
    let meta = BlockMeta { block: 1, window_ms: WINDOW_MS };
    write_metrics(meta, series, &options).unwrap().expect("there are samples")
}

pub(crate) fn file(bytes: &Bytes, deletions: Vec<Arc<Deletion>>) -> MergeFile {
    let source = Box::new(Memory(bytes.clone()));
    MergeFile { name: "input".to_string(), size: bytes.len() as u64, source, deletions }
}

pub(crate) fn options() -> MergeOptions {
    MergeOptions {
        window_ms: WINDOW_MS,
        write: WriteOptions { zstd_level: 9, ..WriteOptions::default() },
        target_bytes: 64 << 20,
        read_bytes: 4 << 20,
        shards: vec![0],
    }
}

/// The outputs of a merge.
pub(crate) fn merge(inputs: Vec<Vec<MergeFile>>, options: MergeOptions) -> (Vec<WrittenBlock>, MergeStats) {
    let mut merge = Merge::open(inputs, options).unwrap();
    let mut files = Vec::new();
    while merge.begin_file(files.len() as i64 + 100).unwrap() {
        let mut bytes = Vec::new();
        loop {
            match merge.advance().unwrap() {
                Output::Piece(piece) => bytes.extend(piece),
                Output::End(last, summary) => {
                    bytes.extend(last);
                    files.extend(summary.map(|summary| WrittenBlock { bytes, summary }));
                    break;
                }
            }
        }
    }
    (files, merge.stats())
}

/// A file, read row by row.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) series: BTreeMap<Labels, SeriesData>,
    /// Rows of floats of a series by window.
    pub(crate) float_rows: BTreeMap<(Labels, i64), usize>,
    pub(crate) n_timelines: usize,
    pub(crate) labels: Vec<(String, String)>,
}

pub(crate) fn read(bytes: &Bytes) -> Content {
    let batches = batches(bytes);
    let of_kind = |kind: &'static str| batches.iter().filter(move |batch| kind_of(batch) == kind);
    let mut content = Content::default();
    let mut clips = Vec::new();
    for batch in of_kind("timestamps") {
        clips.extend(timelines(batch).unwrap().into_iter().map(|t| Clip::new(&t.into(), TimeRange::ALL)));
    }
    content.n_timelines = clips.len();
    for batch in of_kind("labels") {
        let pairs = block::read::label_pairs(batch).unwrap();
        content.labels.extend(pairs.into_iter().map(|(n, v)| (n.to_string(), v.to_string())));
    }
    let mut parts = BTreeMap::<Labels, Vec<_>>::new();
    for batch in of_kind("series") {
        let labels = LabelRows::decode(std::slice::from_ref(batch)).unwrap();
        let rows = SampleRows::new(batch, TimeRange::ALL).unwrap();
        for at in 0..labels.len() {
            let row = labels.get(at).unwrap();
            let of = Labels::of_canonical_run(row.run);
            let clip = row.ts_ref.map(|number| &clips[number as usize]);
            let data = content.series.entry(of.clone()).or_insert_with(|| SeriesData::new(of.clone()));
            if row.form == RowForm::Part {
                parts.entry(of).or_default().push(rows.part(at, clip).unwrap());
                continue;
            }
            let (column, starts) = rows.floats(at, clip).unwrap();
            assert_eq!(
                row.times.start.div_euclid(WINDOW_MS),
                row.times.end.div_euclid(WINDOW_MS),
                "a row exceeds its window"
            );
            assert_eq!(column.samples().count(), row.count as usize, "count of {of}");
            assert_eq!(column.samples().next().unwrap().0, row.times.start);
            assert_eq!(column.samples().last().unwrap().0, row.times.end);
            data.floats.push(column);
            data.starts.extend(starts);
            *content.float_rows.entry((of, row.times.start.div_euclid(WINDOW_MS))).or_default() += 1;
        }
    }
    for (labels, parts) in parts {
        content.series.get_mut(&labels).unwrap().histograms = assemble(&parts).unwrap();
    }
    content
}

/// One batch per row group, since a group holds one kind of rows.
pub(crate) fn batches(bytes: &Bytes) -> Vec<RecordBatch> {
    let open = || ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let n = open().metadata().num_row_groups();
    let read = |group| open().with_row_groups(vec![group]).with_batch_size(1 << 16).build().unwrap();
    (0..n).flat_map(read).map(Result::unwrap).collect()
}

fn kind_of(batch: &RecordBatch) -> String {
    batch.column_by_name("row_kind").unwrap().as_string::<i32>().value(0).to_string()
}

/// The samples of a series as text in which every bit shows.
pub(crate) fn lines(data: &SeriesData) -> Vec<String> {
    let data = data.clone().merged();
    let mut lines = Vec::new();
    let starts: BTreeMap<i64, i64> = data.starts.iter().copied().collect();
    for (ts, value) in data.floats.iter().flat_map(|column| column.samples()) {
        let start = starts.get(&ts).copied().unwrap_or(0);
        lines.push(format!("{ts} {:016x} start {start}", value.to_bits()));
    }
    for point in &data.histograms {
        lines.push(format!("{} {:?} start {}", point.timestamp, point.histogram, point.start_timestamp));
    }
    lines
}

pub(crate) fn options_of(target_bytes: usize, read_bytes: usize) -> MergeOptions {
    MergeOptions { target_bytes, read_bytes, ..options() }
}
