//! Writing a file and reading it back: samples per second of one core, and bytes per sample.

use std::convert::Infallible;
use std::sync::Arc;

use block::merge::{Merge, MergeFile, MergeOptions, Output, ReadRanges, SourceError};
use block::read::{Clip, LabelRows, SampleRows, timelines};
use block::{BlockMeta, BlockSeries, WriteOptions, WrittenBlock, block_order, write_metrics};
use divan::Bencher;
use divan::counter::ItemsCount;
use model::{FloatColumn, Labels, SeriesData, TimeRange};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const TARGETS: usize = 20;
const SCRAPES: usize = 240;
const WINDOW_MS: i64 = 7_200_000;
const START: i64 = 1_795_219_200_000;

fn main() {
    let fleet = fleet();
    let n = samples(&fleet);
    for zstd_level in [3, 9] {
        let written = write(&fleet, &WriteOptions { zstd_level, ..WriteOptions::default() });
        let per_sample = written.bytes.len() as f64 / n as f64;
        println!("zstd {zstd_level}: {} bytes, {per_sample:.3} a sample", written.bytes.len());
    }
    divan::main();
}

#[divan::bench(args = [3, 9])]
fn write_file(bencher: Bencher<'_, '_>, zstd_level: i32) {
    let fleet = fleet();
    let options = WriteOptions { zstd_level, ..WriteOptions::default() };
    bencher.counter(ItemsCount::new(samples(&fleet))).bench_local(|| write(&fleet, &options));
}

#[divan::bench]
fn detect_integers(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let mut ints = Vec::new();
    bencher.counter(ItemsCount::new(samples(&fleet))).bench_local(|| {
        let columns = fleet.iter().flat_map(|series| &series.data.floats);
        columns.filter(|column| block::decimal::detect(&column.values, &mut ints).is_some()).count()
    });
}

#[divan::bench]
fn read_file(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let bytes = bytes::Bytes::from(write(&fleet, &WriteOptions::default()).bytes);
    bencher.counter(ItemsCount::new(samples(&fleet))).bench_local(|| read(bytes.clone()));
}

/// Four windows of the fleet into one file, as a day is merged.
#[divan::bench]
fn merge_files(bencher: Bencher<'_, '_>) {
    let inputs: Vec<bytes::Bytes> = (0..4i64).map(|window| write_window(&fleet(), window)).collect();
    bencher.counter(ItemsCount::new(4 * samples(&fleet()))).bench_local(|| {
        let file = |bytes: &bytes::Bytes| {
            let source = Box::new(Memory(bytes.clone()));
            vec![MergeFile { name: String::new(), size: bytes.len() as u64, source, deletions: Vec::new() }]
        };
        let write = WriteOptions { zstd_level: 9, ..WriteOptions::default() };
        let options = MergeOptions {
            window_ms: WINDOW_MS,
            write,
            target_bytes: usize::MAX,
            read_bytes: 4 << 20,
            shards: vec![0],
        };
        let mut merge = Merge::open(inputs.iter().map(file).collect(), options).expect("our own files");
        assert!(merge.begin_file(1).expect("our own files"));
        while let Output::Piece(_) = merge.advance().expect("our own files") {}
        merge.stats()
    });
}

struct Memory(bytes::Bytes);

impl ReadRanges for Memory {
    fn read(&mut self, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>, SourceError> {
        Ok(ranges.iter().map(|range| self.0.slice(range.start as usize..range.end as usize)).collect())
    }
}

/// The fleet, so many windows later.
fn write_window(fleet: &[BlockSeries], window: i64) -> bytes::Bytes {
    let later = |series: &BlockSeries| {
        let mut series = series.clone();
        for column in &mut series.data.floats {
            column.timeline = column.timeline.iter().map(|ts| ts + window * WINDOW_MS).collect();
        }
        series
    };
    let fleet: Vec<BlockSeries> = fleet.iter().map(later).collect();
    write(&fleet, &WriteOptions::default()).bytes.into()
}

fn write(fleet: &[BlockSeries], options: &WriteOptions) -> WrittenBlock {
    let meta = BlockMeta { block: 1, window_ms: WINDOW_MS };
    let series = fleet.iter().cloned().map(Ok::<_, Infallible>);
    write_metrics(meta, series, options).ok().flatten().expect("the fleet is in order and not empty")
}

/// Every sample of the file; returns how many.
fn read(bytes: bytes::Bytes) -> usize {
    let groups = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("our own file");
    let groups = groups.metadata().num_row_groups();
    let read_group = |group| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("our own file");
        builder.with_row_groups(vec![group]).with_batch_size(8192).build().expect("our own file")
    };
    let batches: Vec<_> =
        (0..groups).flat_map(read_group).map(|batch| batch.expect("our own file")).collect();
    let mut clips = Vec::new();
    let kind = |batch: &arrow_array::RecordBatch| {
        use arrow_array::cast::AsArray as _;
        batch.column_by_name("row_kind").map(|kinds| kinds.as_string::<i32>().value(0).to_string())
    };
    for batch in batches.iter().filter(|batch| kind(batch).as_deref() == Some("timestamps")) {
        for times in timelines(batch).expect("our own file") {
            clips.push(Clip::new(&Arc::from(times), TimeRange::ALL));
        }
    }
    let mut n = 0;
    for batch in batches.iter().filter(|batch| kind(batch).as_deref() == Some("series")) {
        let labels = LabelRows::decode(std::slice::from_ref(batch)).expect("our own file");
        let rows = SampleRows::new(batch, TimeRange::ALL).expect("our own file");
        for row in 0..labels.len() {
            let clip = labels.get(row).and_then(|row| row.ts_ref).map(|at| &clips[at as usize]);
            n += rows.floats(row, clip).expect("our own file").0.values.len();
        }
    }
    n
}

fn samples(fleet: &[BlockSeries]) -> usize {
    fleet.iter().flat_map(|series| &series.data.floats).map(|column| column.values.len()).sum()
}

/// Something like node_exporter: two thirds constant, counters, gauges of bytes and of short decimals, a few floats.
fn fleet() -> Vec<BlockSeries> {
    let mut random = Random(42);
    let mut fleet = Vec::new();
    for target in 0..TARGETS {
        let timeline: Arc<[i64]> =
            (0..SCRAPES as i64).map(|i| START + i * 15_000 + (random.next() % 5) as i64).collect();
        for metric in 0..507usize {
            let labels = Labels::from_pairs([
                ("__name__", format!("node_metric_{:03}_total", metric / 4)),
                ("device", format!("sd{}", metric % 4)),
                ("instance", format!("host-{target:04}:9100")),
                ("job", "node".to_string()),
            ]);
            let mut data = SeriesData::new(labels);
            let values = values(metric, &mut random);
            data.floats.push(FloatColumn { timeline: Arc::clone(&timeline), values });
            fleet.push(BlockSeries { shard: 0, data });
        }
    }
    fleet.sort_by(|a, b| block_order(&a.data.labels, &b.data.labels));
    fleet
}

fn values(metric: usize, random: &mut Random) -> Vec<f64> {
    let mut level = (random.next() % 1_000_000) as f64;
    let mut step = |random: &mut Random| match metric % 100 {
        0..65 => level,
        65..77 => {
            level += (random.next() % 40) as f64;
            level
        }
        77..87 => {
            level += ((random.next() % 64) as f64 - 31.0).trunc();
            level * 4096.0
        }
        87..93 => (random.next() % 3) as f64,
        93..99 => (random.next() % 100_000) as f64 / 1000.0,
        _ => (random.next() >> 12) as f64 / (1u64 << 52) as f64,
    };
    (0..SCRAPES).map(|_| step(random)).collect()
}

/// xorshift: the same fleet each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
