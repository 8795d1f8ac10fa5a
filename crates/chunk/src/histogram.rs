//! Chunks of native histograms, with integer or with float counts.

use model::{BucketSpan, Counts, Histogram, ResetHint};

use crate::bits::Bits;
use crate::starts::Starts;
use crate::varbit::{put_int, put_uint};
use crate::xor::Xor;

/// Bounds up to this are stored as whole thousandths where they are: 2²⁵−2, so that with one more they fit 25 bits.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// A histogram at its time.
pub(crate) type At<'a> = (i64, &'a Histogram);

/// Whether `next` may follow `last` in a chunk: the same layout, and no reader would miss a reset between them.
pub(crate) fn continues(last: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    !last.is_stale()
        && !next.is_stale()
        && next.reset_hint != ResetHint::Yes
        && is_gauge(last) == is_gauge(next)
        && has_layout_of(last, next)
        && (is_gauge(next) || only_grew(&last.counts, &next.counts))
}

fn has_layout_of(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.custom_values) == bits(&b.custom_values)
        && matches!(
            (&a.counts, &b.counts),
            (Counts::Int { .. }, Counts::Int { .. }) | (Counts::Float { .. }, Counts::Float { .. })
        )
}

/// Whether no count is less than before; of two equal layouts.
fn only_grew(last: &Counts, next: &Counts) -> bool {
    match (last, next) {
        (
            Counts::Int { count, zero, positive, negative },
            Counts::Int { count: c, zero: z, positive: p, negative: n },
        ) => count <= c && zero <= z && all_at_most(positive, p) && all_at_most(negative, n),
        (
            Counts::Float { count, zero, positive, negative },
            Counts::Float { count: c, zero: z, positive: p, negative: n },
        ) => count <= c && zero <= z && all_at_most(positive, p) && all_at_most(negative, n),
        _ => false,
    }
}

fn all_at_most<T: PartialOrd>(last: &[T], next: &[T]) -> bool {
    last.len() == next.len() && last.iter().zip(next).all(|(a, b)| a <= b)
}

/// The bytes of a chunk. The caller gives 1 to 127 histograms of which each [`continues`] the one before, and
/// their start timestamps if these are to be told.
pub(crate) fn encode(samples: &[At<'_>], starts: Option<&Vec<i64>>) -> Vec<u8> {
    let Some((&(time, first), rest)) = samples.split_first() else { return Vec::new() };
    let mut bytes = Vec::with_capacity(64 + 8 * samples.len());
    bytes.extend_from_slice(&(samples.len() as u16).to_be_bytes());
    match starts {
        None => bytes.push(flags(first)),
        // The flags are the highest bits of the number, and what there is of starts stands in their place.
        Some(_) => {
            bytes[0] |= flags(first);
            bytes.push(0);
        }
    }
    let mut out = Bits::after(bytes);
    let mut told = Told { starts, written: Starts::default(), index: 0, time_before: 0 };
    if first.is_stale() {
        // Nothing but the sum has a meaning.
        put_layout(&mut out, &Histogram::stale());
        put_int(&mut out, time);
        match first.counts {
            Counts::Int { .. } => out.put(0, 2),
            Counts::Float { .. } => (0..2).for_each(|_| out.put_f64(0.0)),
        }
        out.put_f64(first.sum);
        told.put(&mut out, time);
        return told.finish(out);
    }
    put_layout(&mut out, first);
    put_int(&mut out, time);
    let mut steps = Steps { time, step: 0 };
    match &first.counts {
        Counts::Int { .. } => {
            let mut state = IntState::put_first(&mut out, first);
            told.put(&mut out, time);
            rest.iter().for_each(|&(time, histogram)| {
                steps.put(&mut out, time);
                state.put(&mut out, histogram);
                told.put(&mut out, time);
            });
        }
        Counts::Float { .. } => {
            let mut state = FloatState::put_first(&mut out, first);
            told.put(&mut out, time);
            rest.iter().for_each(|&(time, histogram)| {
                steps.put(&mut out, time);
                state.put(&mut out, histogram);
                told.put(&mut out, time);
            });
        }
    }
    told.finish(out)
}

/// Where the byte about start timestamps lies.
const HEADER_AT: usize = 2;

/// Start timestamps behind histograms, where they are told.
struct Told<'a> {
    starts: Option<&'a Vec<i64>>,
    written: Starts,
    index: usize,
    time_before: i64,
}

impl Told<'_> {
    /// Behind the next histogram, which is at `time`.
    fn put(&mut self, out: &mut Bits, time: i64) {
        if let Some(start) = self.starts.and_then(|starts| starts.get(self.index)) {
            self.written.put(out, self.index, (time, self.time_before), *start);
        }
        (self.index, self.time_before) = (self.index + 1, time);
    }

    fn finish(self, out: Bits) -> Vec<u8> {
        let mut bytes = out.into_bytes();
        if let Some(header) = bytes.get_mut(HEADER_AT).filter(|_| self.starts.is_some()) {
            *header = self.written.header();
        }
        bytes
    }
}

fn flags(first: &Histogram) -> u8 {
    match first.reset_hint {
        ResetHint::Unknown => 0b0000_0000,
        ResetHint::No => 0b0100_0000,
        ResetHint::Yes => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    }
}

fn put_layout(out: &mut Bits, histogram: &Histogram) {
    put_zero_threshold(out, histogram.zero_threshold);
    put_int(out, i64::from(histogram.schema));
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    if histogram.is_custom() {
        put_uint(out, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| put_bound(out, *bound));
    }
}

fn put_spans(out: &mut Bits, spans: &[BucketSpan]) {
    put_uint(out, spans.len() as u64);
    for span in spans {
        put_uint(out, u64::from(span.length));
        put_int(out, i64::from(span.offset));
    }
}

/// One byte for 0 and for powers of two from 2⁻²⁴³ to 2¹⁰, which is what thresholds are; nine for others.
fn put_zero_threshold(out: &mut Bits, threshold: f64) {
    if threshold == 0.0 {
        return out.put(0, 8);
    }
    let bits = threshold.to_bits();
    let (exponent, mantissa) = ((bits >> 52) as i64 - 1023, bits << 12);
    if mantissa == 0 && (-243..=10).contains(&exponent) {
        // 2⁻²⁴³ is 1, 2¹⁰ is 254.
        out.put((exponent + 244) as u64, 8);
    } else {
        out.put(0xFF, 8);
        out.put(bits, 64);
    }
}

/// Whole thousandths in few bits, other bounds as they are behind a zero bit.
fn put_bound(out: &mut Bits, bound: f64) {
    let thousandths = bound * 1000.0;
    // As an integer, so that the sign of −0 is seen to be lost.
    let whole = thousandths.round() as u64;
    let is_whole = (0.0..=THOUSANDTHS_MAX).contains(&thousandths)
        && (whole as f64 / 1000.0).to_bits() == bound.to_bits();
    if is_whole {
        put_uint(out, whole + 1);
    } else {
        out.put(0, 1);
        out.put_f64(bound);
    }
}

/// Times as changes of their distance.
struct Steps {
    time: i64,
    step: i64,
}

impl Steps {
    fn put(&mut self, out: &mut Bits, time: i64) {
        let step = time.wrapping_sub(self.time);
        put_int(out, step.wrapping_sub(self.step));
        (self.time, self.step) = (time, step);
    }
}

/// A number and by how much it grew last.
#[derive(Clone, Copy)]
struct Grown {
    value: i64,
    growth: i64,
}

impl Grown {
    fn put(&mut self, out: &mut Bits, value: i64) {
        let growth = value.wrapping_sub(self.value);
        put_int(out, growth.wrapping_sub(self.growth));
        (self.value, self.growth) = (value, growth);
    }
}

/// What the next histogram with integer counts is written against.
struct IntState {
    count: Grown,
    zero: Grown,
    sum: Xor,
    buckets: Vec<Grown>,
}

impl IntState {
    fn put_first(out: &mut Bits, histogram: &Histogram) -> IntState {
        let (count, zero, buckets) = int_counts(histogram);
        put_uint(out, count as u64);
        put_uint(out, zero as u64);
        out.put_f64(histogram.sum);
        let grown = |value: i64| Grown { value, growth: 0 };
        let mut state = IntState {
            count: grown(count),
            zero: grown(zero),
            sum: Xor::new(histogram.sum),
            buckets: Vec::new(),
        };
        for value in buckets {
            put_int(out, value);
            state.buckets.push(grown(value));
        }
        state
    }

    fn put(&mut self, out: &mut Bits, histogram: &Histogram) {
        let (count, zero, buckets) = int_counts(histogram);
        self.count.put(out, count);
        self.zero.put(out, zero);
        self.sum.put(out, histogram.sum);
        for (state, value) in self.buckets.iter_mut().zip(buckets) {
            state.put(out, value);
        }
    }
}

/// Count, zero count, and the buckets of each side as differences to their left neighbours.
fn int_counts(histogram: &Histogram) -> (i64, i64, impl Iterator<Item = i64>) {
    let (count, zero, positive, negative) = match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => (*count, *zero, &positive[..], &negative[..]),
        Counts::Float { .. } => (0, 0, &[][..], &[][..]),
    };
    (count as i64, zero as i64, differences(positive).chain(differences(negative)))
}

fn differences(counts: &[u64]) -> impl Iterator<Item = i64> {
    counts.iter().scan(0u64, |left, &count| {
        let difference = count.wrapping_sub(*left) as i64;
        *left = count;
        Some(difference)
    })
}

/// What the next histogram with float counts is written against: count, zero count, sum, buckets.
struct FloatState(Vec<Xor>);

impl FloatState {
    fn put_first(out: &mut Bits, histogram: &Histogram) -> FloatState {
        let put = |value: f64| {
            out.put_f64(value);
            Xor::new(value)
        };
        FloatState(float_counts(histogram).map(put).collect())
    }

    fn put(&mut self, out: &mut Bits, histogram: &Histogram) {
        for (xor, value) in self.0.iter_mut().zip(float_counts(histogram)) {
            xor.put(out, value);
        }
    }
}

fn float_counts(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let (count, zero, positive, negative) = match &histogram.counts {
        Counts::Float { count, zero, positive, negative } => (*count, *zero, &positive[..], &negative[..]),
        Counts::Int { .. } => (0.0, 0.0, &[][..], &[][..]),
    };
    [count, zero, histogram.sum].into_iter().chain(positive.iter().chain(negative).copied())
}
