//! Merged files hold what their inputs held.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    BucketSpan, Counts, Deletion, EMPTY, FloatColumn, Histogram, HistogramPoint, Labels, Matcher, MatcherOp,
    ResetHint, STALE_NAN, SeriesData, TimeRange,
};
use proptest::prelude::*;

use crate::files::{self, WINDOW_MS, file, lines, merge, options, read, write};

/// 2026-11-21, a day's first window.
const DAY: i64 = 1_795_219_200_000;

/// One series of one input: which, from when, how many scrapes, of what.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) series: u8,
    /// In units of a quarter of a window.
    pub(crate) from: u8,
    pub(crate) scrapes: u8,
    /// 0 shares its timeline with other parts, others are shifted.
    pub(crate) shift: u8,
    pub(crate) kind: u8,
    pub(crate) with_starts: bool,
}

fn part() -> impl Strategy<Value = Part> {
    (0..6u8, 0..16u8, 1..40u8, 0..4u8, 0..8u8, any::<bool>()).prop_map(
        |(series, from, scrapes, shift, kind, with_starts)| Part {
            series,
            from,
            scrapes,
            shift,
            kind,
            with_starts,
        },
    )
}

fn labels(series: u8) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}", series / 2)),
        ("job", "j".to_string()),
        ("n", format!("{series}")),
    ])
}

fn value(kind: u8, i: i64) -> f64 {
    match kind {
        0 => i as f64,
        1 => i as f64 / 100.0,
        2 => f64::from_bits(0x7ff8_0000_dead_0000 | i as u64),
        3 => [-0.0, 0.0, f64::INFINITY][i as usize % 3],
        4 if i % 3 == 2 => f64::from_bits(STALE_NAN),
        5 if i % 3 == 1 => f64::from_bits(EMPTY),
        _ => (i * 7 + i64::from(kind)) as f64,
    }
}

fn histogram(kind: u8, i: i64) -> Histogram {
    if i % 5 == 4 {
        return Histogram::stale();
    }
    let span = |offset, length| BucketSpan { offset, length };
    let custom = kind == 7 && i % 2 == 0;
    Histogram {
        schema: if custom { model::CUSTOM_BUCKETS_SCHEMA } else { 3 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        sum: i as f64 * 0.1,
        counts: Counts::Int {
            count: 3 + i as u64,
            zero: u64::from(!custom),
            positive: vec![i as u64, 2],
            negative: vec![],
        },
        positive_spans: vec![span(0, 1), span(i as i32 % 3, 1)],
        negative_spans: vec![],
        custom_values: if custom { vec![0.5, 1.0, 2.0, 4.0] } else { vec![] },
        reset_hint: if i % 7 == 0 { ResetHint::Yes } else { ResetHint::Unknown },
    }
}

/// The series of one input.
pub(crate) fn input(parts: &[Part]) -> Vec<SeriesData> {
    let mut series = BTreeMap::<u8, SeriesData>::new();
    for part in parts {
        let from = DAY + i64::from(part.from) * WINDOW_MS / 4 + i64::from(part.shift) * 1_000;
        let times: Vec<i64> = (0..i64::from(part.scrapes)).map(|i| from + i * 60_000).collect();
        let data = series.entry(part.series).or_insert_with(|| SeriesData::new(labels(part.series)));
        let start = |ts: &i64| (*ts, from - 5);
        if part.kind >= 6 {
            let point = |(i, ts): (usize, &i64)| HistogramPoint {
                timestamp: *ts,
                start_timestamp: if part.with_starts { from - 5 } else { 0 },
                histogram: Arc::new(histogram(part.kind, i as i64)),
            };
            data.histograms.extend(times.iter().enumerate().map(point));
        } else {
            let values = (0..times.len()).map(|i| value(part.kind, i as i64)).collect();
            if part.with_starts {
                data.starts.extend(times.iter().map(start));
            }
            data.floats.push(FloatColumn::new(times, values));
        }
    }
    series.into_values().map(SeriesData::merged).collect()
}

fn expected(inputs: &[Vec<SeriesData>], gone: &[Deletion]) -> BTreeMap<Labels, Vec<String>> {
    let mut union = BTreeMap::<Labels, SeriesData>::new();
    for mut data in inputs.iter().flatten().cloned() {
        for deletion in gone.iter().filter(|deletion| deletion.concerns(data.labels.run())) {
            for column in &mut data.floats {
                for (ts, cell) in column.timeline.iter().zip(&mut column.values) {
                    if deletion.range.contains(*ts) {
                        *cell = f64::from_bits(EMPTY);
                    }
                }
            }
            data.starts.retain(|(ts, _)| !deletion.range.contains(*ts));
            data.histograms.retain(|point| !deletion.range.contains(point.timestamp));
        }
        let labels = data.labels.clone();
        union.entry(labels.clone()).or_insert_with(|| SeriesData::new(labels)).absorb(data);
    }
    let lines = union.into_iter().map(|(labels, data)| (labels, lines(&data)));
    lines.filter(|(_, lines)| !lines.is_empty()).collect()
}

/// A hint "no" and an order of spans are not stored, so what was written is compared as it is read.
fn stored(series: Vec<SeriesData>, rows: usize) -> Option<(Bytes, Vec<SeriesData>)> {
    let has_samples = |data: &SeriesData| !lines(data).is_empty();
    let series: Vec<SeriesData> = series.into_iter().filter(has_samples).collect();
    if series.is_empty() {
        return None;
    }
    let bytes = Bytes::from(write(series, 0, rows).bytes);
    let read = read(&bytes).series.into_values().collect();
    Some((bytes, read))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_holds_the_union_less_what_is_deleted(
        inputs in prop::collection::vec(prop::collection::vec(part(), 1..8), 1..5),
        rows in 1..40usize,
        (target_bytes, read_bytes) in (prop_oneof![Just(1usize), Just(1 << 20)], prop_oneof![Just(1usize), Just(1 << 20)]),
        deletion in prop::option::of((0..3u8, 0..16i64, 1..16i64)),
    ) {
        let written: Vec<_> = inputs.iter().filter_map(|parts| stored(input(parts), rows)).collect();
        let gone: Vec<Deletion> = deletion.map(|(metric, from, len)| Deletion {
            selectors: vec![vec![Matcher::new("__name__", MatcherOp::Equal, &format!("metric_{metric}")).unwrap()]],
            range: TimeRange::new(DAY + from * WINDOW_MS / 4, DAY + (from + len) * WINDOW_MS / 4),
        }).into_iter().collect();
        let deletions: Vec<Arc<Deletion>> = gone.iter().cloned().map(Arc::new).collect();
        let files = written.iter().map(|(bytes, _)| vec![file(bytes, deletions.clone())]).collect();
        let (outputs, _) = merge(files, files::options_of(target_bytes, read_bytes));

        let series: Vec<Vec<SeriesData>> = written.into_iter().map(|(_, series)| series).collect();
        let mut found = BTreeMap::new();
        for output in &outputs {
            let content = read(&Bytes::from(output.bytes.clone()));
            prop_assert!(content.float_rows.values().all(|n| *n == 1), "two rows of one series and window");
            prop_assert_eq!(output.summary.n_series, content.series.len() as u64);
            for (labels, data) in content.series {
                for (name, value) in labels.iter() {
                    prop_assert!(content.labels.contains(&(name.to_string(), value.to_string())));
                }
                prop_assert!(found.insert(labels, lines(&data)).is_none(), "a series in two outputs");
            }
        }
        prop_assert_eq!(found, expected(&series, &gone));
    }
}

/// Windows of one target with `n` series each.
fn windows(n: u8) -> Vec<Bytes> {
    let of_window = |window: i64| {
        let times: Arc<[i64]> = (0..480).map(|i| DAY + window * WINDOW_MS + i * 15_000 + i % 3).collect();
        let series = (0..n).map(|series| {
            let mut data = SeriesData::new(labels(series));
            let values = (0..480).map(|i| f64::from(i * i32::from(series)) / 8.0).collect();
            data.floats.push(FloatColumn { timeline: Arc::clone(&times), values });
            data
        });
        Bytes::from(write(series.collect(), 0, 8192).bytes)
    };
    (0..12).map(of_window).collect()
}

#[test]
fn rows_without_a_counterpart_are_copied_and_equal_timelines_are_one() {
    let inputs = windows(6);
    let twice = inputs.iter().chain(&inputs[..1]);
    let (outputs, stats) = merge(twice.map(|bytes| vec![file(bytes, Vec::new())]).collect(), options());
    assert_eq!((stats.copied_rows, stats.decoded_rows), (11 * 6, 2 * 6));
    let content = read(&Bytes::from(outputs[0].bytes.clone()));
    assert_eq!(content.n_timelines, 12, "one of each window");
    assert_eq!(outputs[0].summary.n_samples, 12 * 6 * 480);
}

#[test]
fn files_that_follow_each_other_are_one_input() {
    let inputs = windows(6);
    let all = |target| {
        let inputs = inputs.iter().map(|bytes| vec![file(bytes, Vec::new())]).collect();
        merge(inputs, files::options_of(target, 1 << 20)).0
    };
    let pieces = all(1);
    assert_eq!(pieces.len(), 6, "one series each");
    let run = pieces.iter().map(|piece| file(&Bytes::from(piece.bytes.clone()), Vec::new())).collect();
    let (again, stats) = merge(vec![run], options());
    assert_eq!(again[0].summary.n_samples, 12 * 6 * 480);
    assert_eq!(stats.decoded_rows, 0);
    let whole = all(64 << 20);
    assert_eq!(again[0].bytes.len(), whole[0].bytes.len());
}

#[test]
fn it_does_not_matter_how_much_of_an_input_is_held_at_once() {
    let inputs = windows(200);
    let merged = |read_bytes| {
        let inputs = inputs.iter().map(|bytes| vec![file(bytes, Vec::new())]).collect();
        let (outputs, _) = merge(inputs, files::options_of(64 << 20, read_bytes));
        assert_eq!(outputs[0].summary.n_samples, 12 * 200 * 480);
        outputs.into_iter().map(|output| output.bytes).collect::<Vec<_>>()
    };
    assert_eq!(merged(1), merged(64 << 20));
}

#[test]
fn an_input_that_is_not_in_order_is_refused_by_name() {
    let inputs = windows(4);
    let (pieces, _) = merge(vec![vec![file(&inputs[0], Vec::new())]], files::options_of(1, 1));
    let backwards = pieces.iter().rev().map(|p| file(&Bytes::from(p.bytes.clone()), Vec::new())).collect();
    let mut merge = block::merge::Merge::open(vec![backwards], options()).unwrap();
    assert!(merge.begin_file(1).unwrap());
    let error = merge.advance().unwrap_err().to_string();
    assert!(error.starts_with("input: series {"), "{error}");
    let cut = inputs[0].slice(..inputs[0].len() - 7);
    assert!(block::merge::Merge::open(vec![vec![file(&cut, Vec::new())]], options()).is_err());
}
