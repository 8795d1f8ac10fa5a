//! The histogram samples of one series in one window: a byte log, each entry told by its difference to the last.
//!
//! ```text
//! entry  := zigzag(ts - last ts), zigzag(start - last start), flags, [layout], sum, count, zero, buckets
//! flags  := float counts | layout as before << 1 | reset hint << 2
//! layout := zigzag schema, zero threshold, positive spans, negative spans, custom bounds, bucket counts
//! ```
//! Integers are the zigzag difference to the last entry's, floats the xor with it without its zero bytes.

use std::sync::Arc;

use model::{BucketSpan, Counts, Histogram, HistogramPoint, HistogramSample, ResetHint, TimeRange};
use xxhash_rust::xxh3::xxh3_64;

use super::MALLOC;
use super::column::{push_varint, read_varint, unzigzag, zigzag};

const FLOAT: u8 = 1;
const SAME_LAYOUT: u8 = 2;
const HINT_SHIFT: u8 = 2;

/// Histogram samples in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct HistogramLog {
    bytes: Vec<u8>,
    last: Last,
    min_time: i64,
    max_time: i64,
    n_samples: usize,
}

/// The entry that the next one refers to.
#[derive(Debug, Default)]
struct Last {
    timestamp: i64,
    start_timestamp: i64,
    histogram: Option<Box<Histogram>>,
}

impl HistogramLog {
    /// Appends a sample; there must be none at its timestamp.
    pub(super) fn push(&mut self, sample: HistogramSample) {
        if self.bytes.capacity() - self.bytes.len() < 64 {
            self.bytes.reserve_exact((self.bytes.len() / 4).max(128));
        }
        push_entry(&mut self.bytes, &self.last, &sample);
        let is_first = self.n_samples == 0;
        self.min_time = if is_first { sample.timestamp } else { self.min_time.min(sample.timestamp) };
        self.max_time = if is_first { sample.timestamp } else { self.max_time.max(sample.timestamp) };
        self.n_samples += 1;
        self.last = Last {
            timestamp: sample.timestamp,
            start_timestamp: sample.start_timestamp,
            histogram: Some(sample.histogram),
        };
    }

    /// The hash of the histogram at `ts`.
    pub(super) fn stored(&self, ts: i64) -> Option<u64> {
        if ts > self.max_time {
            return None;
        }
        self.iter().find(|sample| sample.timestamp == ts).map(|sample| hash(&sample.histogram))
    }

    /// The newest timestamp with the hash of its histogram.
    pub(super) fn newest(&self) -> Option<(i64, u64)> {
        self.stored(self.max_time).map(|hash| (self.max_time, hash))
    }

    /// The oldest timestamp.
    pub(super) fn oldest(&self) -> Option<i64> {
        (self.n_samples > 0).then_some(self.min_time)
    }

    /// The timestamp and the buckets of the sample that came last.
    pub(super) fn latest(&self) -> Option<(i64, u64)> {
        match &self.last.histogram {
            Some(histogram) => Some((self.last.timestamp, n_buckets(histogram))),
            None => self.iter().last().map(|sample| (sample.timestamp, n_buckets(&sample.histogram))),
        }
    }

    /// The samples in the range, ascending.
    pub(super) fn points(&self, range: TimeRange) -> Vec<HistogramPoint> {
        let mut points: Vec<HistogramPoint> = self
            .iter()
            .filter(|sample| range.contains(sample.timestamp))
            .map(|sample| HistogramPoint {
                timestamp: sample.timestamp,
                start_timestamp: sample.start_timestamp,
                histogram: Arc::new(*sample.histogram),
            })
            .collect();
        points.sort_by_key(|point| point.timestamp);
        points
    }

    /// Whether a sample lies in the range.
    pub(super) fn has_samples(&self, range: TimeRange) -> bool {
        self.iter().any(|sample| range.contains(sample.timestamp))
    }

    /// Nothing more will be appended.
    pub(super) fn seal(&mut self) {
        self.last.histogram = None;
        self.bytes.shrink_to_fit();
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let last =
            self.last.histogram.as_ref().map_or(0, |h| size_of::<Histogram>() + MALLOC + heap_bytes(h));
        size_of::<HistogramLog>() + self.bytes.capacity() + MALLOC + last
    }

    fn iter(&self) -> impl Iterator<Item = HistogramSample> {
        let (mut at, mut last) = (0, Last::default());
        std::iter::from_fn(move || {
            if at == self.bytes.len() {
                return None;
            }
            let sample = read_entry(&self.bytes, &mut at, &last);
            last = Last {
                timestamp: sample.timestamp,
                start_timestamp: sample.start_timestamp,
                histogram: Some(sample.histogram.clone()),
            };
            Some(sample)
        })
    }
}

/// A hash by which two histograms are told apart; equal bits give equal hashes.
pub(super) fn hash(histogram: &Histogram) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    push_histogram(&mut bytes, None, histogram);
    xxh3_64(&bytes)
}

/// What is stored of a reset hint: that there was none follows from the neighbours, which late data may change.
pub(super) fn stored_hint(hint: ResetHint) -> ResetHint {
    if hint == ResetHint::No { ResetHint::Unknown } else { hint }
}

/// Positive and negative buckets.
fn n_buckets(histogram: &Histogram) -> u64 {
    let n = match &histogram.counts {
        Counts::Int { positive, negative, .. } => positive.len() + negative.len(),
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    n as u64
}

fn heap_bytes(histogram: &Histogram) -> usize {
    let counts = match &histogram.counts {
        Counts::Int { positive, negative, .. } => positive.capacity() + negative.capacity(),
        Counts::Float { positive, negative, .. } => positive.capacity() + negative.capacity(),
    };
    let spans = histogram.positive_spans.capacity() + histogram.negative_spans.capacity();
    8 * (counts + spans + histogram.custom_values.capacity())
}

fn push_entry(out: &mut Vec<u8>, last: &Last, sample: &HistogramSample) {
    push_varint(out, zigzag(sample.timestamp.wrapping_sub(last.timestamp)));
    push_varint(out, zigzag(sample.start_timestamp.wrapping_sub(last.start_timestamp)));
    push_histogram(out, last.histogram.as_deref(), &sample.histogram);
}

fn push_histogram(out: &mut Vec<u8>, last: Option<&Histogram>, histogram: &Histogram) {
    let base = last.filter(|last| same_layout(last, histogram));
    let is_float = matches!(histogram.counts, Counts::Float { .. });
    let hint = match stored_hint(histogram.reset_hint) {
        ResetHint::Unknown | ResetHint::No => 0,
        ResetHint::Yes => 1,
        ResetHint::Gauge => 2,
    };
    let same = if base.is_some() { SAME_LAYOUT } else { 0 };
    out.push(u8::from(is_float) | same | hint << HINT_SHIFT);
    if base.is_none() {
        push_layout(out, histogram);
    }
    push_float(out, base.map_or(0.0, |base| base.sum), histogram.sum);
    match (&histogram.counts, base.map(|base| &base.counts)) {
        (Counts::Int { count, zero, positive, negative }, base) => {
            let mut base = int_counts(base);
            for value in [count, zero].into_iter().chain(positive).chain(negative) {
                push_varint(out, zigzag(value.wrapping_sub(base.next().unwrap_or(0)) as i64));
            }
        }
        (Counts::Float { count, zero, positive, negative }, base) => {
            let mut base = float_counts(base);
            for value in [count, zero].into_iter().chain(positive).chain(negative) {
                push_float(out, base.next().unwrap_or(0.0), *value);
            }
        }
    }
}

fn read_entry(bytes: &[u8], at: &mut usize, last: &Last) -> HistogramSample {
    let timestamp = last.timestamp.wrapping_add(unzigzag(read_varint(bytes, at)));
    let start_timestamp = last.start_timestamp.wrapping_add(unzigzag(read_varint(bytes, at)));
    let flags = bytes[*at];
    *at += 1;
    let base = last.histogram.as_deref().filter(|_| flags & SAME_LAYOUT != 0);
    let mut histogram = match base {
        Some(base) => base.clone(),
        None => read_layout(bytes, at, flags & FLOAT != 0),
    };
    histogram.sum = read_float(bytes, at, base.map_or(0.0, |base| base.sum));
    histogram.reset_hint = match flags >> HINT_SHIFT {
        1 => ResetHint::Yes,
        2 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    // A cloned layout holds the base's counts, a read one zeroes: the differences apply to what is there.
    match &mut histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            for value in [count, zero].into_iter().chain(positive).chain(negative) {
                *value = value.wrapping_add(unzigzag(read_varint(bytes, at)) as u64);
            }
        }
        Counts::Float { count, zero, positive, negative } => {
            for value in [count, zero].into_iter().chain(positive).chain(negative) {
                *value = read_float(bytes, at, *value);
            }
        }
    }
    HistogramSample { timestamp, start_timestamp, histogram: Box::new(histogram) }
}

fn int_counts(counts: Option<&Counts>) -> impl Iterator<Item = u64> {
    let parts = match counts {
        Some(Counts::Int { count, zero, positive, negative }) => Some((count, zero, positive, negative)),
        _ => None,
    };
    parts.into_iter().flat_map(|(c, z, p, n)| [c, z].into_iter().chain(p).chain(n).copied())
}

fn float_counts(counts: Option<&Counts>) -> impl Iterator<Item = f64> {
    let parts = match counts {
        Some(Counts::Float { count, zero, positive, negative }) => Some((count, zero, positive, negative)),
        _ => None,
    };
    parts.into_iter().flat_map(|(c, z, p, n)| [c, z].into_iter().chain(p).chain(n).copied())
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let same_counts = match (&a.counts, &b.counts) {
        (Counts::Int { positive: p, negative: n, .. }, Counts::Int { positive, negative, .. }) => {
            p.len() == positive.len() && n.len() == negative.len()
        }
        (Counts::Float { positive: p, negative: n, .. }, Counts::Float { positive, negative, .. }) => {
            p.len() == positive.len() && n.len() == negative.len()
        }
        _ => false,
    };
    same_counts
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.custom_values) == bits(&b.custom_values)
}

fn push_layout(out: &mut Vec<u8>, histogram: &Histogram) {
    push_varint(out, zigzag(i64::from(histogram.schema)));
    push_float(out, 0.0, histogram.zero_threshold);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        push_varint(out, spans.len() as u64);
        for span in spans {
            push_varint(out, zigzag(i64::from(span.offset)));
            push_varint(out, u64::from(span.length));
        }
    }
    push_varint(out, histogram.custom_values.len() as u64);
    histogram.custom_values.iter().for_each(|bound| push_float(out, 0.0, *bound));
    // Spans say as much of a valid histogram, but what came is what is kept.
    let (n_positive, n_negative) = match &histogram.counts {
        Counts::Int { positive, negative, .. } => (positive.len(), negative.len()),
        Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
    };
    push_varint(out, n_positive as u64);
    push_varint(out, n_negative as u64);
}

fn read_layout(bytes: &[u8], at: &mut usize, is_float: bool) -> Histogram {
    let schema = unzigzag(read_varint(bytes, at)) as i32;
    let zero_threshold = read_float(bytes, at, 0.0);
    let mut spans = || -> Vec<BucketSpan> {
        let n = read_varint(bytes, at);
        let mut span = |_| {
            let offset = unzigzag(read_varint(bytes, at)) as i32;
            BucketSpan { offset, length: read_varint(bytes, at) as u32 }
        };
        (0..n).map(&mut span).collect()
    };
    let (positive_spans, negative_spans) = (spans(), spans());
    let n_bounds = read_varint(bytes, at);
    let custom_values = (0..n_bounds).map(|_| read_float(bytes, at, 0.0)).collect();
    let n_positive = read_varint(bytes, at) as usize;
    let n_negative = read_varint(bytes, at) as usize;
    let counts = if is_float {
        Counts::Float {
            count: 0.0,
            zero: 0.0,
            positive: vec![0.0; n_positive],
            negative: vec![0.0; n_negative],
        }
    } else {
        Counts::Int { count: 0, zero: 0, positive: vec![0; n_positive], negative: vec![0; n_negative] }
    };
    Histogram {
        schema,
        zero_threshold,
        sum: 0.0,
        counts,
        positive_spans,
        negative_spans,
        custom_values,
        reset_hint: ResetHint::Unknown,
    }
}

/// The xor of the bits as `trailing zero bytes << 4 | bytes` and these bytes.
fn push_float(out: &mut Vec<u8>, base: f64, value: f64) {
    let xor = base.to_bits() ^ value.to_bits();
    if xor == 0 {
        out.push(0);
        return;
    }
    let trailing = xor.trailing_zeros() / 8;
    let len = 8 - xor.leading_zeros() / 8 - trailing;
    out.push((trailing << 4 | len) as u8);
    out.extend_from_slice(&(xor >> (8 * trailing)).to_le_bytes()[..len as usize]);
}

fn read_float(bytes: &[u8], at: &mut usize, base: f64) -> f64 {
    let head = bytes[*at];
    let len = usize::from(head & 0xF);
    let mut word = [0; 8];
    word[..len].copy_from_slice(&bytes[*at + 1..*at + 1 + len]);
    *at += 1 + len;
    f64::from_bits(base.to_bits() ^ u64::from_le_bytes(word) << (8 * (head >> 4)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), (0u32..1000).prop_map(f64::from)]
    }

    fn counts() -> impl Strategy<Value = Counts> {
        let ints = |max| prop::collection::vec(prop_oneof![0u64..1000, any::<u64>()], 0..max);
        let floats = |max| prop::collection::vec(float(), 0..max);
        prop_oneof![
            (any::<u64>(), any::<u64>(), ints(6), ints(4)).prop_map(|(count, zero, positive, negative)| {
                Counts::Int { count, zero, positive, negative }
            }),
            (float(), float(), floats(6), floats(4)).prop_map(|(count, zero, positive, negative)| {
                Counts::Float { count, zero, positive, negative }
            }),
        ]
    }

    pub(in crate::head) fn histogram() -> impl Strategy<Value = Histogram> {
        let spans = || {
            let span =
                (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| BucketSpan { offset, length });
            prop::collection::vec(span, 0..3)
        };
        let hint =
            prop::sample::select(vec![ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge]);
        let bounds = prop::collection::vec(float(), 0..3);
        (-60i32..10, float(), float(), counts(), spans(), spans(), bounds, hint).prop_map(
            |(
                schema,
                zero_threshold,
                sum,
                counts,
                positive_spans,
                negative_spans,
                custom_values,
                reset_hint,
            )| {
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

    fn sample() -> impl Strategy<Value = HistogramSample> {
        (any::<i64>(), any::<i64>(), histogram()).prop_map(|(timestamp, start_timestamp, histogram)| {
            HistogramSample { timestamp, start_timestamp, histogram: Box::new(histogram) }
        })
    }

    /// Grows the last histogram, so that entries share a layout.
    fn grown(mut sample: HistogramSample) -> HistogramSample {
        sample.timestamp = sample.timestamp.wrapping_add(15_000);
        sample.histogram.sum += 0.25;
        match &mut sample.histogram.counts {
            Counts::Int { count, positive, .. } => {
                *count = count.wrapping_add(1);
                positive.iter_mut().for_each(|bucket| *bucket = bucket.wrapping_add(1));
            }
            Counts::Float { count, .. } => *count += 0.5,
        }
        sample
    }

    proptest! {
        #[test]
        fn histograms_come_back_bit_for_bit(samples in prop::collection::vec(sample(), 1..6)) {
            let mut log = HistogramLog::default();
            let mut wanted = Vec::new();
            for sample in samples {
                for sample in [sample.clone(), grown(sample)] {
                    log.push(sample.clone());
                    wanted.push(sample);
                }
            }
            let back: Vec<HistogramSample> = log.iter().collect();
            prop_assert_eq!(back.len(), wanted.len());
            for (back, wanted) in back.iter().zip(&wanted) {
                prop_assert_eq!((back.timestamp, back.start_timestamp), (wanted.timestamp, wanted.start_timestamp));
                prop_assert_eq!(hash(&back.histogram), hash(&wanted.histogram));
                prop_assert_eq!(back.histogram.reset_hint, stored_hint(wanted.histogram.reset_hint));
                // The debug form tells every field, NaN included; bits are the hash's business.
                let mut wanted = wanted.histogram.clone();
                wanted.reset_hint = stored_hint(wanted.reset_hint);
                prop_assert_eq!(format!("{:?}", back.histogram), format!("{:?}", wanted));
            }
        }
    }

    #[test]
    fn a_histogram_that_only_grows_takes_few_bytes() {
        let counts = Counts::Int { count: 5000, zero: 3, positive: vec![1000; 8], negative: Vec::new() };
        let first = Histogram {
            counts,
            positive_spans: vec![BucketSpan { offset: 1, length: 8 }],
            sum: 10.0,
            ..Histogram::stale()
        };
        let mut sample = HistogramSample { timestamp: 0, start_timestamp: 0, histogram: Box::new(first) };
        let mut log = HistogramLog::default();
        log.push(sample.clone());
        let before = log.bytes.len();
        for _ in 0..100 {
            sample = grown(sample);
            log.push(sample.clone());
        }
        assert!((log.bytes.len() - before) / 100 <= 24, "{}", (log.bytes.len() - before) / 100);
        assert_eq!(log.points(TimeRange::new(15_000, 30_000)).len(), 2);
        assert!(log.has_samples(TimeRange::new(15_000, 15_000)) && !log.has_samples(TimeRange::new(1, 2)));
    }
}
