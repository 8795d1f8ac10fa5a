//! Data that nobody thought of.

use std::sync::Arc;

use model::{
    Batch, BatchSeries, BucketSpan, Counts, EMPTY, ExemplarPoint, ExemplarSeries, FloatColumn, Histogram,
    HistogramPoint, Labels, Metadata, MetricType, ResetHint, STALE_NAN, SeriesData, ShardBatch,
};
use proptest::prelude::*;
use wire::{Distinct, HeadStats, HeadTotals, HistogramStats, LabelStats};

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[a-z_]{1,8}", "[a-zé\n]{1,10}"), 1..5).prop_map(Labels::from_pairs)
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::from_bits(STALE_NAN)),
        Just(f64::from_bits(EMPTY)),
        Just(-0.0),
        Just(f64::INFINITY)
    ]
}

pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
    let hint =
        prop::sample::select(vec![ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge]);
    (-4..9i32, any::<bool>(), prop::collection::vec(0..1_000_000u64, 0..9), hint).prop_map(
        |(schema, is_float, positive, reset_hint)| {
            let span = BucketSpan { offset: -3, length: positive.len() as u32 };
            let count = positive.iter().sum();
            let counts = if is_float {
                let positive = positive.iter().map(|n| *n as f64).collect();
                Counts::Float { count: count as f64, zero: 0.0, positive, negative: vec![] }
            } else {
                Counts::Int { count, zero: 0, positive, negative: vec![] }
            };
            Histogram {
                schema,
                zero_threshold: 1e-128,
                sum: -0.5,
                counts,
                positive_spans: vec![span],
                negative_spans: vec![],
                custom_values: vec![],
                reset_hint,
            }
        },
    )
}

fn timeline() -> impl Strategy<Value = Arc<[i64]>> {
    prop::collection::btree_set(any::<i64>(), 0..6).prop_map(|set| set.into_iter().collect())
}

/// Series, some of which share their timelines: sorted, or in any order and with a few of their labels.
pub(crate) fn series() -> impl Strategy<Value = Vec<SeriesData>> {
    (whole_series(), any::<bool>()).prop_map(|(mut series, is_projected)| {
        if is_projected {
            series.reverse();
            for one in &mut series {
                one.id = Some(one.labels.id());
                one.labels = one.labels.without(|name| !name.starts_with('a'));
            }
        }
        series
    })
}

fn whole_series() -> impl Strategy<Value = Vec<SeriesData>> {
    let one = (
        labels(),
        prop::collection::vec((0..3usize, prop::collection::vec(float(), 6)), 0..4),
        prop::collection::vec((any::<i64>(), any::<i64>()), 0..3),
        prop::collection::vec((any::<i64>(), any::<i64>(), histogram()), 0..3),
    );
    let timelines = prop::collection::vec(timeline(), 3);
    (timelines, prop::collection::vec(one, 0..8)).prop_map(|(timelines, all)| {
        let mut series: Vec<SeriesData> = Vec::new();
        for (labels, columns, starts, histograms) in all {
            let mut one = SeriesData::new(labels);
            for (timeline, mut values) in columns {
                let timeline = Arc::clone(&timelines[timeline]);
                values.truncate(timeline.len());
                one.floats.push(FloatColumn { timeline, values });
            }
            one.starts = starts;
            one.histograms = histograms
                .into_iter()
                .map(|(timestamp, start_timestamp, histogram)| {
                    let histogram = Arc::new(histogram);
                    HistogramPoint { timestamp, start_timestamp, histogram }
                })
                .collect();
            series.push(one);
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        series.dedup_by(|a, b| a.labels == b.labels);
        series
    })
}

pub(crate) fn exemplars() -> impl Strategy<Value = Vec<ExemplarSeries>> {
    let point = (any::<i64>(), float(), labels()).prop_map(|(timestamp, value, labels)| ExemplarPoint {
        timestamp,
        value,
        labels,
    });
    let one = (labels(), prop::collection::vec(point, 0..4))
        .prop_map(|(labels, exemplars)| ExemplarSeries { labels, exemplars });
    prop::collection::vec(one, 0..5)
}

pub(crate) fn metadata() -> impl Strategy<Value = Vec<Metadata>> {
    let types = vec![MetricType::Unknown, MetricType::Summary, MetricType::Info, MetricType::StateSet];
    let one = ("[a-z]{1,9}", prop::sample::select(types), "[a-z]{0,5}", "[a-zé ]{0,30}")
        .prop_map(|(family, metric_type, unit, help)| Metadata { family, metric_type, unit, help });
    prop::collection::vec(one, 0..5)
}

pub(crate) fn head_stats() -> impl Strategy<Value = HeadStats> {
    let totals = any::<(u64, u64, Option<i64>, Option<i64>)>();
    let totals = totals.prop_map(|(n_series, n_columns, oldest_ms, newest_ms)| HeadTotals {
        n_series,
        n_columns,
        oldest_ms,
        newest_ms,
    });
    let hashes = prop::collection::btree_set(any::<u64>(), 0..9);
    let top = prop::collection::vec(("[a-zé]{0,5}", any::<u64>()), 0..4);
    let label = ("[a-z]{1,9}", any::<(u64, u64)>(), hashes, top);
    let label = label.prop_map(|(name, (n_series, n_bytes), hashes, top)| LabelStats {
        name,
        n_series,
        n_bytes,
        values: Distinct::of(hashes.into_iter().collect()),
        top,
    });
    let histogram = ("[a-z]{1,9}", any::<[u64; 4]>()).prop_map(|(metric, [a, b, c, d])| HistogramStats {
        metric,
        n_series: a,
        n_buckets: b,
        min_buckets: c,
        max_buckets: d,
    });
    (totals, prop::collection::vec(label, 0..5), prop::collection::vec(histogram, 0..3))
        .prop_map(|(totals, labels, histograms)| HeadStats { totals, labels, histograms })
}

/// Everything about series, with bits in the place of floats.
pub(crate) fn said(series: &[SeriesData]) -> String {
    let mut text = String::new();
    for one in series {
        text += &format!("{} {:?} {:?} {:?}", one.labels, one.id, one.starts, one.histograms);
        for column in &one.floats {
            let bits: Vec<u64> = column.values.iter().map(|value| value.to_bits()).collect();
            text += &format!(" {:?} {bits:?}", column.timeline);
        }
        text.push('\n');
    }
    text
}

/// A batch with one float for each of `n` series in each of the shards.
pub(crate) fn batch(shards: &[u32], n: usize) -> Batch {
    let mut batch = Batch::default();
    for shard in shards {
        let mut part = ShardBatch { shard: *shard, ..ShardBatch::default() };
        for i in 0..n {
            let labels = Labels::from_pairs([
                ("__name__", "up"),
                ("shard", &shard.to_string()),
                ("i", &i.to_string()),
            ]);
            let from = batch.bytes.len() as u32;
            batch.bytes.extend_from_slice(labels.run());
            let run = (from, batch.bytes.len() as u32);
            part.series.push(BatchSeries {
                id: labels.id(),
                labels: run,
                is_known: false,
                n_floats: 1,
                n_histograms: 0,
                n_exemplars: 0,
            });
            part.push_float(1_795_251_000_000 + i as i64, 0, i as f64);
        }
        batch.shards.push(part);
    }
    batch
}
