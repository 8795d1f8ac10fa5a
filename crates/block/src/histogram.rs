//! Histograms as rows: one per form and part.

use std::collections::BTreeMap;

use model::{BucketSpan, Counts, EMPTY, Histogram, HistogramPoint, ResetHint, STALE_NAN};

pub(crate) const COUNT: &str = "count";
pub(crate) const SUM: &str = "sum";
pub(crate) const ZERO: &str = "zero";
pub(crate) const NEGATIVE: &str = "negative";
pub(crate) const POSITIVE: &str = "positive";

/// What a sequence of histograms has in common.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FormKey {
    pub(crate) float: bool,
    pub(crate) schema: i32,
    /// Bits, so that forms are equal only if all of it comes back.
    pub(crate) zero_threshold: u64,
    pub(crate) custom_values: Vec<u64>,
}

/// The histograms of one form, a cell per timestamp of the series. A cell is the bits of a count: of a `u64` or of
/// an `f64`, as the form says.
pub(crate) struct Form {
    pub(crate) key: FormKey,
    pub(crate) count: Cells,
    pub(crate) sum: Vec<f64>,
    pub(crate) zero: Cells,
    pub(crate) negative: BTreeMap<i32, Cells>,
    pub(crate) positive: BTreeMap<i32, Cells>,
    pub(crate) hints: Vec<i32>,
    pub(crate) stale_at: Vec<i64>,
    /// Parallel to the timestamps, 0 for unknown.
    pub(crate) starts: Vec<i64>,
    /// Histograms and stale markers.
    pub(crate) n_samples: usize,
}

/// Counts and whether they are there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cells {
    pub(crate) bits: Vec<u64>,
    pub(crate) present: Vec<bool>,
}

impl Cells {
    fn new(len: usize) -> Cells {
        Cells { bits: vec![0; len], present: vec![false; len] }
    }

    fn set(&mut self, at: usize, bits: u64) {
        self.bits[at] = bits;
        self.present[at] = true;
    }
}

impl Form {
    fn new(key: FormKey, len: usize) -> Form {
        Form {
            key,
            count: Cells::new(len),
            sum: vec![f64::from_bits(EMPTY); len],
            zero: Cells::new(len),
            negative: BTreeMap::new(),
            positive: BTreeMap::new(),
            hints: Vec::new(),
            stale_at: Vec::new(),
            starts: Vec::new(),
            n_samples: 0,
        }
    }

    fn add(&mut self, at: usize, len: usize, point: &HistogramPoint) {
        let histogram = &*point.histogram;
        let (count, zero, positive, negative) = counts(&histogram.counts);
        self.n_samples += 1;
        self.count.set(at, count);
        self.zero.set(at, zero);
        self.sum[at] = ordinary(histogram.sum);
        fill(&mut self.positive, len, at, &histogram.positive_spans, &positive);
        fill(&mut self.negative, len, at, &histogram.negative_spans, &negative);
        let hint = match histogram.reset_hint {
            ResetHint::Unknown | ResetHint::No => 0,
            ResetHint::Yes => 1,
            ResetHint::Gauge => 3,
        };
        set_sparse(&mut self.hints, len, at, hint);
        set_sparse(&mut self.starts, len, at, point.start_timestamp);
    }

    /// Whether the zero bucket is empty in all histograms.
    pub(crate) fn zero_is_empty(&self) -> bool {
        self.zero.bits.iter().all(|bits| *bits == 0)
    }
}

/// Sorts histograms by form; a cell stands for each point of `points`.
pub(crate) fn forms(points: &[HistogramPoint]) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut last = 0;
    for (at, point) in points.iter().enumerate() {
        if point.histogram.is_stale() {
            continue;
        }
        let key = key(&point.histogram);
        if forms.get(last).is_none_or(|form| form.key != key) {
            last = forms.iter().position(|form| form.key == key).unwrap_or_else(|| {
                forms.push(Form::new(key, points.len()));
                forms.len() - 1
            });
        }
        forms[last].add(at, points.len(), point);
    }
    if forms.is_empty() {
        forms.push(Form::new(key(&Histogram::stale()), points.len()));
    }
    for (at, point) in points.iter().enumerate().filter(|(_, point)| point.histogram.is_stale()) {
        forms[0].stale_at.push(point.timestamp);
        forms[0].n_samples += 1;
        set_sparse(&mut forms[0].starts, points.len(), at, point.start_timestamp);
    }
    forms
}

/// The bounds of a bucket: of an exponential one by Prometheus's rule, of a custom one as listed.
pub(crate) fn bounds(key: &FormKey, kind: &str, index: i32) -> (f64, f64) {
    if key.schema == model::CUSTOM_BUCKETS_SCHEMA {
        let bound = |i: i64| usize::try_from(i).ok().and_then(|i| key.custom_values.get(i));
        let lower = bound(i64::from(index) - 1).map_or(f64::NEG_INFINITY, |bits| f64::from_bits(*bits));
        let upper = bound(i64::from(index)).map_or(f64::INFINITY, |bits| f64::from_bits(*bits));
        return (lower, upper);
    }
    let edge = |i: i64| (i as f64 * (-f64::from(key.schema)).exp2()).exp2();
    let (lower, upper) = (edge(i64::from(index) - 1), edge(i64::from(index)));
    if kind == NEGATIVE { (-upper, -lower) } else { (lower, upper) }
}

/// Spans of buckets that are there, from their ascending indexes.
pub(crate) fn spans(indexes: &[i32]) -> Vec<BucketSpan> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next = 0i32;
    for &index in indexes {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
    }
    spans
}

fn key(histogram: &Histogram) -> FormKey {
    FormKey {
        float: matches!(histogram.counts, Counts::Float { .. }),
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold.to_bits(),
        custom_values: histogram.custom_values.iter().map(|v| v.to_bits()).collect(),
    }
}

fn counts(counts: &Counts) -> (u64, u64, Vec<u64>, Vec<u64>) {
    match counts {
        Counts::Int { count, zero, positive, negative } => {
            (*count, *zero, positive.clone(), negative.clone())
        }
        Counts::Float { count, zero, positive, negative } => {
            let bits = |values: &[f64]| values.iter().map(|v| ordinary(*v).to_bits()).collect();
            (ordinary(*count).to_bits(), ordinary(*zero).to_bits(), bits(positive), bits(negative))
        }
    }
}

/// The two NaNs that mean something in a column are not values.
fn ordinary(value: f64) -> f64 {
    match value.to_bits() {
        EMPTY | STALE_NAN => f64::from_bits(0x7ff8_0000_0000_0001),
        _ => value,
    }
}

fn fill(buckets: &mut BTreeMap<i32, Cells>, len: usize, at: usize, spans: &[BucketSpan], counts: &[u64]) {
    let mut counts = counts.iter();
    let mut index = 0i32;
    for span in spans {
        index = index.wrapping_add(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            buckets.entry(index).or_insert_with(|| Cells::new(len)).set(at, *count);
            index = index.wrapping_add(1);
        }
    }
}

fn set_sparse<T: Default + Clone + PartialEq>(list: &mut Vec<T>, len: usize, at: usize, value: T) {
    if value == T::default() {
        return;
    }
    if list.is_empty() {
        list.resize(len, T::default());
    }
    list[at] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_come_back_from_indexes() {
        assert_eq!(spans(&[]), []);
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(spans(&[-2, -1, 3, 4, 5]), [span(-2, 2), span(3, 3)]);
        assert_eq!(spans(&[7]), [span(7, 1)]);
    }

    #[test]
    fn bucket_bounds_are_those_of_prometheus() {
        let key = |schema, custom: &[f64]| FormKey {
            float: false,
            schema,
            zero_threshold: 0,
            custom_values: custom.iter().map(|v| v.to_bits()).collect(),
        };
        assert_eq!(bounds(&key(0, &[]), POSITIVE, 1), (1.0, 2.0));
        assert_eq!(bounds(&key(-1, &[]), POSITIVE, 2), (4.0, 16.0));
        assert_eq!(bounds(&key(0, &[]), NEGATIVE, 2), (-4.0, -2.0));
        assert_eq!(bounds(&key(-53, &[1.0, 5.0]), POSITIVE, 0), (f64::NEG_INFINITY, 1.0));
        assert_eq!(bounds(&key(-53, &[1.0, 5.0]), POSITIVE, 2), (5.0, f64::INFINITY));
    }
}
