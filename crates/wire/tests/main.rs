//! Batches as bytes: what was put in comes out, and nothing else does.

use model::{
    Batch, BatchSeries, BucketSpan, Counts, Exemplar, Histogram, HistogramSample, Labels, Metadata,
    MetricType, ResetHint, SeriesId, ShardBatch,
};
use proptest::prelude::*;
use wire::bytes::{
    Reader, decode_batch, encode_batch, encode_parts, labels_len_of, put_histogram, take_histogram,
};
use xxhash_rust::xxh3::xxh3_64;

/// A series and what it brings, before it is laid out in columns.
#[derive(Debug, Clone)]
struct Brought {
    labels: Labels,
    is_known: bool,
    floats: Vec<(i64, u64, i64)>,
    histograms: Vec<(i64, i64, Histogram)>,
    exemplars: Vec<(i64, u64, Labels)>,
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[a-z_]{1,12}", "[a-zé\u{0}]{1,20}"), 0..6).prop_map(Labels::from_pairs)
}

fn spans() -> impl Strategy<Value = Vec<BucketSpan>> {
    let span = (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| BucketSpan { offset, length });
    prop::collection::vec(span, 0..4)
}

fn counts() -> impl Strategy<Value = Counts> {
    let ints = || prop::collection::vec(any::<u64>(), 0..6);
    let doubles = || prop::collection::vec(-1e9..1e9, 0..6);
    prop_oneof![
        (any::<u64>(), any::<u64>(), ints(), ints())
            .prop_map(|(count, zero, positive, negative)| Counts::Int { count, zero, positive, negative }),
        (0.0..1e9, 0.0..1e9, doubles(), doubles())
            .prop_map(|(count, zero, positive, negative)| Counts::Float { count, zero, positive, negative }),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let hint =
        prop::sample::select(vec![ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge]);
    let bounds = prop::collection::vec(-1e6..1e6, 0..4);
    (any::<i32>(), 0.0..1.0, -1e9..1e9, counts(), spans(), spans(), bounds, hint).prop_map(
        |(schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values, reset_hint)| {
            Histogram {
                schema,
                zero_threshold,
                sum,
                counts,
                positive_spans,
                negative_spans,
                custom_values,
                reset_hint,
            }
        },
    )
}

fn brought() -> impl Strategy<Value = Brought> {
    let floats = prop::collection::vec((any::<i64>(), any::<u64>(), 0i64..3), 0..4);
    let histograms = prop::collection::vec((any::<i64>(), any::<i64>(), histogram()), 0..2);
    let exemplars = prop::collection::vec((any::<i64>(), any::<u64>(), labels()), 0..2);
    (labels(), any::<bool>(), floats, histograms, exemplars).prop_map(
        |(labels, is_known, floats, histograms, exemplars)| Brought {
            labels,
            is_known,
            floats,
            histograms,
            exemplars,
        },
    )
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let types =
        vec![MetricType::Unknown, MetricType::Counter, MetricType::GaugeHistogram, MetricType::StateSet];
    ("[a-z]{0,9}", prop::sample::select(types), "[a-z]{0,5}", "[a-zé ]{0,30}")
        .prop_map(|(family, metric_type, unit, help)| Metadata { family, metric_type, unit, help })
}

/// Lays out a batch as decoders do: label bytes lie among others and in any order.
fn batch(parts: &[Vec<Brought>], starts: bool, metadata: Vec<Metadata>) -> Batch {
    let mut batch = Batch { bytes: b"bytes of a body".to_vec(), metadata, ..Batch::default() };
    let mut put = |labels: &Labels| {
        batch.bytes.extend_from_slice(b"\x00between");
        let from = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(labels.run());
        (from, batch.bytes.len() as u32)
    };
    for (i, series) in parts.iter().enumerate() {
        let mut part = ShardBatch { shard: 7 * i as u32, ..ShardBatch::default() };
        for one in series {
            part.series.push(BatchSeries {
                id: one.labels.id(),
                labels: put(&one.labels),
                is_known: one.is_known,
                n_floats: one.floats.len() as u32,
                n_histograms: one.histograms.len() as u32,
                n_exemplars: one.exemplars.len() as u32,
            });
            for (timestamp, bits, start) in &one.floats {
                part.timestamps.push(*timestamp);
                part.values.push(f64::from_bits(*bits));
                if starts {
                    part.start_timestamps.push(*start);
                }
            }
            for (timestamp, start_timestamp, histogram) in &one.histograms {
                let (timestamp, start_timestamp) = (*timestamp, *start_timestamp);
                let histogram = Box::new(histogram.clone());
                part.histograms.push(HistogramSample { timestamp, start_timestamp, histogram });
            }
            for (timestamp, bits, labels) in &one.exemplars {
                let value = f64::from_bits(*bits);
                part.exemplars.push(Exemplar { timestamp: *timestamp, value, labels: put(labels) });
            }
        }
        batch.shards.push(part);
    }
    batch
}

/// What a batch says, with labels in the place of positions and bits in the place of floats.
fn said(batch: &Batch, parts: &[usize], with_metadata: bool) -> String {
    let mut text = String::new();
    for part in parts.iter().map(|part| &batch.shards[*part]) {
        let series: Vec<_> = part
            .series
            .iter()
            .map(|s| (s.id, batch.labels(s), s.n_floats, s.n_histograms, s.n_exemplars))
            .collect();
        let bits: Vec<u64> = part.values.iter().map(|value| value.to_bits()).collect();
        let exemplars: Vec<_> = part
            .exemplars
            .iter()
            .map(|e| (e.timestamp, e.value.to_bits(), batch.exemplar_labels(e)))
            .collect();
        let starts = &part.start_timestamps;
        text += &format!("{} {series:?} {:?} {bits:?} {starts:?} ", part.shard, part.timestamps);
        text += &format!("{:?} {exemplars:?}\n", part.histograms);
    }
    if with_metadata { text + &format!("{:?}", batch.metadata) } else { text }
}

fn encoded(batch: &Batch) -> Vec<u8> {
    let mut bytes = b"whatever was in the buffer".to_vec();
    encode_batch(batch, &mut bytes);
    bytes
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&bytes[16..]);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn parts() -> impl Strategy<Value = Vec<Vec<Brought>>> {
    prop::collection::vec(prop::collection::vec(brought(), 0..5), 0..4)
}

proptest! {
    #[test]
    fn a_batch_comes_out_as_it_went_in(
        parts in parts(), starts: bool, metadata in prop::collection::vec(metadata(), 0..3),
    ) {
        let before = batch(&parts, starts, metadata);
        let after = decode_batch(&encoded(&before)).unwrap();
        let all: Vec<usize> = (0..parts.len()).collect();
        prop_assert_eq!(said(&after, &all, true), said(&before, &all, true));
    }

    #[test]
    fn parts_that_were_not_asked_for_stay_behind(parts in parts(), metadata in metadata(), with_metadata: bool) {
        let before = batch(&parts, false, vec![metadata]);
        let wanted: Vec<usize> = (0..parts.len()).step_by(2).collect();
        let mut bytes = Vec::new();
        encode_parts(&before, &wanted, with_metadata, &mut bytes);
        let after = decode_batch(&bytes).unwrap();
        let all: Vec<usize> = (0..wanted.len()).collect();
        let mut left = before.clone();
        for series in left.shards.iter_mut().flat_map(|part| &mut part.series).filter(|s| s.is_known) {
            series.labels = (0, 0);
        }
        prop_assert_eq!(said(&after, &all, with_metadata), said(&left, &wanted, with_metadata));
        prop_assert_eq!(after.metadata.len(), usize::from(with_metadata));
        let runs: usize = after.shards.iter().flat_map(|part| &part.series).map(|s| after.labels(s).len()).sum();
        prop_assert!(after.bytes.len() >= runs);
        prop_assert_eq!(after.bytes.len(), labels_len_of(&bytes));
    }

    #[test]
    fn bytes_that_were_cut_or_changed_are_refused(
        parts in parts(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let bytes = encoded(&batch(&parts, true, vec![]));
        prop_assert!(decode_batch(&bytes[..cut.index(bytes.len())]).is_err());
        let mut flipped = bytes.clone();
        flipped[flip.index(bytes.len())] ^= 1 << bit;
        prop_assert!(decode_batch(&flipped).is_err());
    }

    #[test]
    fn whatever_bytes_say_they_cost_no_more_than_some_times_their_length(
        parts in parts(), at in any::<prop::sample::Index>(), number in prop_oneof![any::<u32>(), 0..300u32],
    ) {
        let mut bytes = encoded(&batch(&parts, true, vec![]));
        let at = 16 + at.index(bytes.len() - 16).min(bytes.len() - 20);
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        if let Ok(batch) = decode_batch(&with_checksum(bytes.clone())) {
            let of_part = |part: &ShardBatch| {
                part.series.capacity() * size_of::<BatchSeries>()
                    + 8 * (part.timestamps.capacity() + part.values.capacity() + part.start_timestamps.capacity())
                    + part.histograms.capacity() * (size_of::<HistogramSample>() + size_of::<Histogram>())
                    + part.exemplars.capacity() * size_of::<Exemplar>()
            };
            let held: usize = batch.shards.iter().map(of_part).sum::<usize>() + batch.bytes.capacity();
            prop_assert!(held <= 32 * bytes.len() + 4096, "{} bytes hold {}", bytes.len(), held);
            // The columns belong together.
            for part in &batch.shards {
                let floats: usize = part.series.iter().map(|series| series.n_floats as usize).sum();
                prop_assert_eq!((part.timestamps.len(), part.values.len()), (floats, floats));
            }
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200), header: bool) {
        let bytes = if header { [b"FIRB\x02\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &noise].concat() } else { noise };
        let bytes = if bytes.len() >= 16 { with_checksum(bytes) } else { bytes };
        if let Ok(batch) = decode_batch(&bytes) {
            prop_assert!(bytes.starts_with(b"FIRB") && batch.shards.len() <= bytes.len());
        }
    }

    #[test]
    fn a_histogram_comes_out_as_it_went_in(histogram in histogram()) {
        let mut bytes = Vec::new();
        put_histogram(&mut bytes, &histogram);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(take_histogram(&mut reader).unwrap(), histogram);
        prop_assert_eq!(reader.left(), 0);
        for len in 0..bytes.len() {
            prop_assert!(take_histogram(&mut Reader::new(&bytes[..len])).is_err());
        }
    }
}

#[test]
fn a_version_of_the_future_is_refused_by_name() {
    let mut bytes = encoded(&Batch::default());
    bytes[4] = 3;
    let error = decode_batch(&bytes).unwrap_err().to_string();
    assert!(error.contains("version that is unknown here"), "{error}");
    let error = decode_batch(b"GET / HTTP/1.1").unwrap_err().to_string();
    assert!(error.contains("no batch"), "{error}");
}

#[test]
fn labels_that_neighbours_share_are_sent_once() {
    let one = |i: usize| Brought {
        labels: Labels::from_pairs([
            ("__name__", "node_cpu_seconds_total"),
            ("cpu", &i.to_string()),
            ("instance", "host-1.example.org:9100"),
            ("job", "node"),
        ]),
        is_known: false,
        floats: vec![(1, 2, 0)],
        histograms: vec![],
        exemplars: vec![],
    };
    let batch = batch(&[(0..1000).map(one).collect()], false, vec![]);
    let bytes = encoded(&batch);
    // Identity, length, what is shared, time and value; of the labels the number and the lengths around it.
    assert!(bytes.len() < 1000 * (16 + 4 + 4 + 16 + 12), "{}", bytes.len());
    assert_eq!(said(&decode_batch(&bytes).unwrap(), &[0], true), said(&batch, &[0], true));
    assert_eq!(batch.shards[0].series[0].id, SeriesId::of_run(batch.labels(&batch.shards[0].series[0])));
}

#[test]
fn a_series_that_was_met_before_takes_its_identity_and_a_value_and_a_scrape_its_time_once() {
    let one = |i: usize| Brought {
        labels: Labels::from_pairs([("__name__", "up"), ("instance", &i.to_string())]),
        is_known: true,
        floats: vec![(1, 2, 0)],
        histograms: vec![],
        exemplars: vec![],
    };
    let batch = batch(&[(0..1000).map(one).collect()], false, vec![]);
    let mut bytes = Vec::new();
    encode_parts(&batch, &[0], false, &mut bytes);
    assert!(bytes.len() < 1000 * (16 + 8) + 100, "{}", bytes.len());
    let after = decode_batch(&bytes).unwrap();
    assert!(after.bytes.is_empty() && after.shards[0].series[999].id == batch.shards[0].series[999].id);
}

#[test]
fn labels_that_would_grow_beyond_measure_are_sent_whole() {
    let long = Labels::from_pairs([("__name__", "x".repeat(30_000))]);
    let one = Brought {
        labels: long,
        is_known: false,
        floats: vec![(1, 2, 0)],
        histograms: vec![],
        exemplars: vec![],
    };
    let batch = batch(&[vec![one; 100]], false, vec![]);
    let bytes = encoded(&batch);
    assert!(bytes.len() > 100 * 30_000, "{}", bytes.len());
    assert_eq!(said(&decode_batch(&bytes).unwrap(), &[0], true), said(&batch, &[0], true));
    let mut claims = encoded(&Batch::default());
    claims[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = decode_batch(&with_checksum(claims)).unwrap_err().to_string();
    assert!(error.contains("more labels are announced"), "{error}");
}
