//! A file ends within a bound of memory, and the files together hold what there was.

use std::collections::BTreeMap;
use std::convert::Infallible;

use block::{
    BlockMeta, BlockSeries, WriteOptions, WrittenBlock, block_order, write_exemplars, write_exemplars_within,
    write_metrics_within,
};
use bytes::Bytes;
use model::{ExemplarPoint, ExemplarSeries, FloatColumn, Labels, SeriesData};

use crate::files::{WINDOW_MS, file, lines, merge, options, read, write};

/// 2026-11-21, a day's first window.
const DAY: i64 = 1_795_219_200_000;

/// Text that does not compress, of twelve hexadecimal digits at a time.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:012x}", state >> 16));
    }
    text.truncate(length);
    text
}

/// Series of two metrics, each with a label of so many bytes that no other has, in the order of a block.
fn series(n: usize, label_bytes: usize) -> Vec<SeriesData> {
    let of = |i: usize| {
        let unique = noise(i as u64 + 1, label_bytes);
        let metric = format!("metric_{}", i * 2 / n);
        let labels = Labels::from_pairs([("__name__", metric.as_str()), ("unique", &unique), ("z", "same")]);
        let mut data = SeriesData::new(labels);
        let times: Vec<i64> = (0..3).map(|k| DAY + k * 15_000 + (i % 2) as i64).collect();
        let values = vec![i as f64, 0.5, -1.0];
        data.floats.push(FloatColumn { timeline: times.into(), values });
        data
    };
    let mut all: Vec<SeriesData> = (0..n).map(of).collect();
    all.sort_by(|a, b| block_order(&a.labels, &b.labels));
    all
}

/// All files that it takes when each is bounded.
fn write_all(series: Vec<SeriesData>, max_bytes: usize) -> Vec<WrittenBlock> {
    let mut source = series.into_iter().map(|data| Ok::<_, Infallible>(BlockSeries { shard: 0, data }));
    let mut files = Vec::new();
    loop {
        let meta = BlockMeta { block: files.len() as i64, window_ms: WINDOW_MS };
        let written = write_metrics_within(meta, &mut source, &WriteOptions::default(), max_bytes).unwrap();
        match written {
            Some(written) => files.push(written),
            None => return files,
        }
    }
}

fn content(bytes: &Bytes) -> BTreeMap<Labels, Vec<String>> {
    read(bytes).series.iter().map(|(labels, data)| (labels.clone(), lines(data))).collect()
}

#[test]
fn a_bounded_writer_splits_between_two_series_and_the_files_hold_what_one_would() {
    let all = series(3000, 1000);
    let whole = Bytes::from(write(all.clone(), 0, 8192).bytes);
    let files = write_all(all, 1 << 20);
    // A label of 1,000 bytes counts twice, since it is written twice.
    assert!((5..=15).contains(&files.len()), "{} files", files.len());
    let longest = files.iter().map(|written| written.bytes.len()).max().unwrap();
    assert!(longest <= 1 << 20, "{longest} bytes in one file");
    let mut found = BTreeMap::new();
    let mut last: Option<Labels> = None;
    for written in &files {
        let bytes = Bytes::from(written.bytes.clone());
        let part = content(&bytes);
        assert_eq!(written.summary.n_series as usize, part.len());
        let pairs = read(&bytes).labels;
        let n_metrics = part.keys().map(Labels::metric_name).collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(pairs.len(), part.len() + n_metrics + 1, "each file names the labels of its own series");
        let first = part.keys().min_by(|a, b| block_order(a, b)).unwrap();
        assert!(last.is_none_or(|last| block_order(&last, first).is_lt()), "the files are a run");
        last = part.keys().max_by(|a, b| block_order(a, b)).cloned();
        found.extend(part);
    }
    assert_eq!(found, content(&whole));

    // The compactor takes them as one input.
    let run = files.iter().map(|written| file(&Bytes::from(written.bytes.clone()), Vec::new())).collect();
    let (merged, _) = merge(vec![run], options());
    assert_eq!(merged.len(), 1);
    assert_eq!(content(&Bytes::from(merged[0].bytes.clone())), content(&whole));
}

#[test]
fn a_bound_that_no_series_fits_makes_a_file_of_each() {
    let files = write_all(series(4, 300), 1);
    let counts: Vec<u64> = files.iter().map(|written| written.summary.n_series).collect();
    assert_eq!(counts, [1; 4]);
}

#[test]
fn exemplars_that_do_not_fit_one_file_go_on_in_the_next() {
    let with_exemplar = |data: SeriesData| ExemplarSeries {
        labels: data.labels,
        exemplars: vec![ExemplarPoint {
            timestamp: DAY,
            value: 1.0,
            labels: Labels::from_pairs([("trace_id", "t")]),
        }],
    };
    let all: Vec<ExemplarSeries> = series(2000, 1000).into_iter().map(with_exemplar).collect();
    let options = WriteOptions::default();
    let whole = write_exemplars(1, &[0], all.clone(), &options).unwrap().unwrap();
    let mut source = all.into_iter();
    let mut counts = Vec::new();
    while let Some(written) = write_exemplars_within(1, &[0], &mut source, &options, 1 << 20).unwrap() {
        assert!(written.bytes.len() < 3 << 19, "{} bytes in one file", written.bytes.len());
        counts.push(written.summary.n_rows);
    }
    assert!(counts.len() > 1, "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), whole.summary.n_rows);
}
