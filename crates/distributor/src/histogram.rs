use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramError, HistogramSample, MAX_SCHEMA,
    MIN_SCHEMA, ResetHint, is_stale,
};

use crate::proto::{Malformed, Reader, Wire};

/// A histogram as it lies on the wire: integer ones carry deltas, float ones counts, and the message has room for
/// both at once.
#[derive(Debug, Default)]
struct Message {
    count: Number,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Number,
    negative: Buckets,
    positive: Buckets,
    reset_hint: u64,
    timestamp: i64,
    custom_values: Vec<f64>,
    start_timestamp: i64,
}

/// Whether the message has a start timestamp: remote write 1.0 knows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    Read,
    Unknown,
}

#[derive(Debug, Default)]
struct Buckets {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// A `oneof`: the last one read counts.
#[derive(Debug, Clone, Copy, Default)]
enum Number {
    #[default]
    Absent,
    Int(u64),
    Float(f64),
}

/// Why a well-formed histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum HistogramFault {
    #[error(transparent)]
    Invalid(#[from] HistogramError),
    #[error("histogram has {n} buckets, the limit max_native_histogram_buckets is {limit}")]
    TooManyBuckets { n: usize, limit: u32 },
}

/// What a histogram message holds.
pub(crate) struct Decoded {
    pub(crate) timestamp: i64,
    pub(crate) start_timestamp: i64,
    pub(crate) histogram: Result<Histogram, HistogramFault>,
}

impl Decoded {
    pub(crate) fn sample(histogram: Histogram, timestamp: i64, start_timestamp: i64) -> HistogramSample {
        HistogramSample { timestamp, start_timestamp, histogram: Box::new(histogram) }
    }
}

/// Reads a histogram, checks it and brings it into the form in which it is stored.
pub(crate) fn read(mut reader: Reader<'_>, max_buckets: u32, starts: Starts) -> Result<Decoded, Malformed> {
    let mut message = Message::default();
    while !reader.is_done() {
        message.read_field(&mut reader, starts)?;
    }
    let Message { timestamp, start_timestamp, .. } = message;
    Ok(Decoded { timestamp, start_timestamp, histogram: message.into_histogram(max_buckets) })
}

impl Message {
    fn read_field(&mut self, reader: &mut Reader<'_>, starts: Starts) -> Result<(), Malformed> {
        let (number, wire) = reader.tag()?;
        match number {
            1 => self.count = Number::Int(reader.uint64(wire)?),
            2 => self.count = Number::Float(reader.double(wire)?),
            3 => self.sum = reader.double(wire)?,
            4 => self.schema = reader.sint32(wire)?,
            5 => self.zero_threshold = reader.double(wire)?,
            6 => self.zero_count = Number::Int(reader.uint64(wire)?),
            7 => self.zero_count = Number::Float(reader.double(wire)?),
            8 => self.negative.spans.push(read_span(reader.message(wire)?)?),
            9 => read_deltas(reader, wire, &mut self.negative.deltas)?,
            10 => read_doubles(reader, wire, &mut self.negative.counts)?,
            11 => self.positive.spans.push(read_span(reader.message(wire)?)?),
            12 => read_deltas(reader, wire, &mut self.positive.deltas)?,
            13 => read_doubles(reader, wire, &mut self.positive.counts)?,
            14 => self.reset_hint = reader.uint64(wire)?,
            15 => self.timestamp = reader.int64(wire)?,
            16 => read_doubles(reader, wire, &mut self.custom_values)?,
            17 if starts == Starts::Read => self.start_timestamp = reader.int64(wire)?,
            _ => reader.skip(number, wire)?,
        }
        Ok(())
    }

    fn into_histogram(self, max_buckets: u32) -> Result<Histogram, HistogramFault> {
        // Senders mark the end with the sum alone or with leftovers around it: one form is kept.
        if is_stale(self.sum) {
            return Ok(Histogram::stale());
        }
        let reset_hint = match self.reset_hint as i32 {
            1 => ResetHint::Yes,
            2 => ResetHint::No,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        let counts = match self.count {
            Number::Float(count) => Counts::Float {
                count,
                zero: self.zero_count.float(),
                positive: self.positive.counts,
                negative: self.negative.counts,
            },
            count => Counts::Int {
                count: count.int(),
                zero: self.zero_count.int(),
                positive: absolute(&self.positive.deltas)?,
                negative: absolute(&self.negative.deltas)?,
            },
        };
        let mut histogram = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            counts,
            positive_spans: self.positive.spans,
            negative_spans: self.negative.spans,
            custom_values: self.custom_values,
            reset_hint,
        };
        coarsen(&mut histogram, max_buckets)?;
        histogram.validate()?;
        Ok(histogram)
    }
}

impl Number {
    fn int(self) -> u64 {
        if let Number::Int(n) = self { n } else { 0 }
    }

    fn float(self) -> f64 {
        if let Number::Float(n) = self { n } else { 0.0 }
    }
}

fn read_span(mut reader: Reader<'_>) -> Result<BucketSpan, Malformed> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 => span.offset = reader.sint32(wire)?,
            2 => span.length = reader.uint32(wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(span)
}

/// Packed or one by one: a receiver must read both.
fn read_deltas(reader: &mut Reader<'_>, wire: Wire, deltas: &mut Vec<i64>) -> Result<(), Malformed> {
    if wire != Wire::Len {
        deltas.push(zigzag(reader.uint64(wire)?));
        return Ok(());
    }
    let mut packed = reader.message(wire)?;
    while !packed.is_done() {
        deltas.push(zigzag(packed.varint()?));
    }
    Ok(())
}

fn read_doubles(reader: &mut Reader<'_>, wire: Wire, values: &mut Vec<f64>) -> Result<(), Malformed> {
    if wire != Wire::Len {
        values.push(reader.double(wire)?);
        return Ok(());
    }
    let mut packed = reader.message(wire)?;
    while !packed.is_done() {
        values.push(f64::from_bits(packed.fixed64()?));
    }
    Ok(())
}

fn zigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

fn absolute(deltas: &[i64]) -> Result<Vec<u64>, HistogramError> {
    let mut bucket = 0i64;
    let mut counts = Vec::with_capacity(deltas.len());
    for (i, delta) in deltas.iter().enumerate() {
        bucket = bucket.checked_add(*delta).ok_or(HistogramError::NegativeBucket(i))?;
        counts.push(u64::try_from(bucket).map_err(|_| HistogramError::NegativeBucket(i))?);
    }
    Ok(counts)
}

/// The finest schema that a sender may use; what is finer than [`MAX_SCHEMA`] is merged to it.
const FINEST_SCHEMA: i32 = 52;

/// Merges buckets until schema and number of buckets are what may be stored.
pub(crate) fn coarsen(histogram: &mut Histogram, max_buckets: u32) -> Result<(), HistogramFault> {
    let schema = histogram.schema;
    if schema > MAX_SCHEMA && schema <= FINEST_SCHEMA {
        reduce(histogram, (schema - MAX_SCHEMA) as u32)?;
    }
    let is_over = |histogram: &Histogram| max_buckets > 0 && n_buckets(histogram) > max_buckets as usize;
    while is_over(histogram) && (MIN_SCHEMA + 1..=MAX_SCHEMA).contains(&histogram.schema) {
        reduce(histogram, 1)?;
    }
    if is_over(histogram) {
        return Err(HistogramFault::TooManyBuckets { n: n_buckets(histogram), limit: max_buckets });
    }
    Ok(())
}

fn n_buckets(histogram: &Histogram) -> usize {
    match &histogram.counts {
        Counts::Int { positive, negative, .. } => positive.len() + negative.len(),
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    }
}

/// Halves the resolution of an exponential histogram `by` times.
fn reduce(histogram: &mut Histogram, by: u32) -> Result<(), HistogramError> {
    debug_assert_ne!(histogram.schema, CUSTOM_BUCKETS_SCHEMA);
    let (positive_spans, negative_spans) = (&mut histogram.positive_spans, &mut histogram.negative_spans);
    match &mut histogram.counts {
        Counts::Int { positive, negative, .. } => {
            merge_buckets(positive_spans, positive, by)?;
            merge_buckets(negative_spans, negative, by)?;
        }
        Counts::Float { positive, negative, .. } => {
            merge_buckets(positive_spans, positive, by)?;
            merge_buckets(negative_spans, negative, by)?;
        }
    }
    histogram.schema -= by as i32;
    Ok(())
}

/// Bucket `i` holds what lies in (base^(i−1), base^i]; with base squared `by` times it falls into bucket
/// ⌈i / 2^by⌉.
fn merge_buckets<T: Copy + std::ops::AddAssign>(
    spans: &mut Vec<BucketSpan>,
    buckets: &mut Vec<T>,
    by: u32,
) -> Result<(), HistogramError> {
    let announced: usize = spans.iter().map(|span| span.length as usize).sum();
    let mismatch = HistogramError::SpansMismatch { spans: announced, buckets: buckets.len() };
    if announced != buckets.len() {
        return Err(mismatch);
    }
    if let Some(i) = spans.iter().skip(1).position(|span| span.offset < 0) {
        return Err(HistogramError::NegativeSpanOffset(i + 1));
    }
    let (mut merged_spans, mut merged): (Vec<BucketSpan>, Vec<T>) = (Vec::new(), Vec::new());
    // The bucket behind the last one, before and after merging.
    let (mut index, mut end) = (0i64, 0i64);
    let mut counts = buckets.iter();
    for span in spans.iter() {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> by) + 1;
            index += 1;
            match merged.last_mut() {
                Some(last) if target == end - 1 => {
                    *last += *count;
                    continue;
                }
                _ => merged.push(*count),
            }
            match merged_spans.last_mut() {
                Some(span) if target == end => span.length += 1,
                _ => {
                    let offset = i32::try_from(target - end).map_err(|_| mismatch.clone())?;
                    merged_spans.push(BucketSpan { offset, length: 1 });
                }
            }
            end = target + 1;
        }
    }
    (*spans, *buckets) = (merged_spans, merged);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, spans: &[(i32, u32)], buckets: &[u64]) -> Histogram {
        let count = buckets.iter().sum();
        let positive = buckets.to_vec();
        Histogram {
            schema,
            zero_threshold: 0.0,
            sum: 1.0,
            counts: Counts::Int { count, zero: 0, positive, negative: Vec::new() },
            positive_spans: spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            reset_hint: ResetHint::Unknown,
        }
    }

    /// Each bucket with the upper end of its range, as a power of two.
    fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
        let Counts::Int { positive, .. } = &histogram.counts else { panic!("not an integer histogram") };
        let mut index = 0i64;
        let mut counts = positive.iter();
        let mut buckets = Vec::new();
        for span in &histogram.positive_spans {
            index += i64::from(span.offset);
            for count in counts.by_ref().take(span.length as usize) {
                buckets.push((index as f64 * 2f64.powi(-histogram.schema), *count));
                index += 1;
            }
        }
        buckets
    }

    #[test]
    fn merging_halves_the_resolution_and_loses_no_observation() {
        let mut h = histogram(10, &[(-5, 3), (2, 4), (100, 1)], &[1, 2, 3, 4, 5, 6, 7, 8]);
        coarsen(&mut h, 0).unwrap();
        assert_eq!(h.schema, 8);
        // Indices −5 −4 −3 | 0 1 2 3 | 104 become ⌈i/4⌉.
        let bound = |i: i32| f64::from(i) / 256.0;
        assert_eq!(
            buckets(&h),
            [(bound(-1), 1 + 2), (bound(0), 3 + 4), (bound(1), 5 + 6 + 7), (bound(26), 8)]
        );
        assert_eq!(h.validate(), Ok(()));
    }

    #[test]
    fn too_many_buckets_are_merged_and_custom_ones_are_refused() {
        let mut h = histogram(3, &[(1, 16)], &[1; 16]);
        coarsen(&mut h, 4).unwrap();
        assert_eq!((h.schema, buckets(&h).len()), (1, 4));
        let mut custom = histogram(CUSTOM_BUCKETS_SCHEMA, &[(0, 3)], &[1; 3]);
        custom.custom_values = vec![1.0, 2.0];
        assert_eq!(coarsen(&mut custom, 2), Err(HistogramFault::TooManyBuckets { n: 3, limit: 2 }));
    }

    #[test]
    fn spans_that_do_not_fit_are_refused_before_merging() {
        let mut h = histogram(10, &[(0, 3)], &[1, 2]);
        assert!(coarsen(&mut h, 0).is_err());
        let mut h = histogram(10, &[(0, 1), (-1, 1)], &[1, 2]);
        assert!(coarsen(&mut h, 0).is_err());
        let mut h = histogram(10, &[(i32::MAX, 1), (i32::MAX, 1)], &[1, 2]);
        assert!(coarsen(&mut h, 0).is_ok());
    }

    #[test]
    fn deltas_that_go_below_zero_or_overflow_are_refused() {
        assert_eq!(absolute(&[3, -2, 0]), Ok(vec![3, 1, 1]));
        assert_eq!(absolute(&[3, -4]), Err(HistogramError::NegativeBucket(1)));
        assert_eq!(absolute(&[i64::MAX, 1]), Err(HistogramError::NegativeBucket(1)));
    }
}
