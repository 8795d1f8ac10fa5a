use std::sync::Arc;

use model::{BucketSpan, Counts, Histogram, HistogramPoint, ResetHint};

use super::ReadError;
use crate::histogram::{COUNT, NEGATIVE, POSITIVE, SUM, ZERO, spans};

/// A row of kind `series` that holds one part of histograms.
#[derive(Debug, Clone)]
pub struct PartRow {
    pub(super) kind: PartKind,
    pub(super) float: bool,
    pub(super) form: i32,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) custom_values: Vec<f64>,
    pub(super) bucket: i32,
    pub(super) times: Arc<[i64]>,
    /// Of a `u64` or of an `f64`, as `float` and `kind` say.
    pub(super) bits: Vec<u64>,
    pub(super) present: Vec<bool>,
    pub(super) hints: Vec<i32>,
    pub(super) starts: Vec<i64>,
    pub(super) stale_at: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Count,
    Sum,
    Zero,
    Negative,
    Positive,
}

impl PartKind {
    pub(super) fn parse(text: &str) -> Option<PartKind> {
        match text {
            COUNT => Some(PartKind::Count),
            SUM => Some(PartKind::Sum),
            ZERO => Some(PartKind::Zero),
            NEGATIVE => Some(PartKind::Negative),
            POSITIVE => Some(PartKind::Positive),
            _ => None,
        }
    }

    pub(super) fn is_bucket(self) -> bool {
        matches!(self, PartKind::Negative | PartKind::Positive)
    }
}

impl PartRow {
    /// Whether this is the part that says where histograms are.
    pub fn is_count(&self) -> bool {
        self.kind == PartKind::Count
    }

    /// Takes out what lies at the timestamps for which `is_gone` says so.
    pub fn erase(&mut self, is_gone: impl Fn(i64) -> bool) {
        for (timestamp, present) in self.times.iter().zip(&mut self.present) {
            *present &= !is_gone(*timestamp);
        }
        self.stale_at.retain(|timestamp| !is_gone(*timestamp));
    }

    /// Cells in the range that was asked for.
    pub fn n_cells(&self) -> usize {
        self.bits.len()
    }
}

/// Puts the parts of one series, in the order of their rows, together again. The points are ascending by timestamp
/// within a window.
pub fn assemble(parts: &[PartRow]) -> Result<Vec<HistogramPoint>, ReadError> {
    let mut points = Vec::new();
    let mut rest = parts;
    while let Some(first) = rest.first() {
        let len = 1 + rest[1..].iter().take_while(|part| part.kind != PartKind::Count).count();
        let (form, tail) = rest.split_at(len);
        let belongs = |part: &PartRow| part.form == first.form && part.bits.len() == first.bits.len();
        if first.kind != PartKind::Count || !form.iter().all(belongs) {
            return Err(ReadError("the parts of a histogram are not together".to_string()));
        }
        assemble_form(form, &mut points)?;
        rest = tail;
    }
    points.sort_by_key(|point| point.timestamp);
    Ok(points)
}

fn assemble_form(form: &[PartRow], points: &mut Vec<HistogramPoint>) -> Result<(), ReadError> {
    let count = &form[0];
    let sum = form.iter().find(|part| part.kind == PartKind::Sum);
    let sum = sum.ok_or_else(|| ReadError("a histogram has no sum".to_string()))?;
    for (at, timestamp) in count.times.iter().copied().enumerate() {
        let start_timestamp = count.starts.get(at).copied().unwrap_or(0);
        if count.present[at] {
            let histogram = Arc::new(histogram(form, f64::from_bits(sum.bits[at]), at));
            points.push(HistogramPoint { timestamp, start_timestamp, histogram });
        } else if count.stale_at.binary_search(&timestamp).is_ok() {
            let histogram = Arc::new(Histogram::stale());
            points.push(HistogramPoint { timestamp, start_timestamp, histogram });
        }
    }
    Ok(())
}

fn histogram(form: &[PartRow], sum: f64, at: usize) -> Histogram {
    let count = &form[0];
    let zero = form.iter().find(|part| part.kind == PartKind::Zero).map_or(0, |part| part.bits[at]);
    let (positive_spans, positive) = buckets(form, PartKind::Positive, at);
    let (negative_spans, negative) = buckets(form, PartKind::Negative, at);
    let float = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
    let counts = if count.float {
        Counts::Float {
            count: f64::from_bits(count.bits[at]),
            zero: f64::from_bits(zero),
            positive: float(positive),
            negative: float(negative),
        }
    } else {
        Counts::Int { count: count.bits[at], zero, positive, negative }
    };
    Histogram {
        schema: count.schema,
        zero_threshold: count.zero_threshold,
        sum,
        counts,
        positive_spans,
        negative_spans,
        custom_values: count.custom_values.clone(),
        reset_hint: match count.hints.get(at) {
            Some(1) => ResetHint::Yes,
            Some(3) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
    }
}

fn buckets(form: &[PartRow], kind: PartKind, at: usize) -> (Vec<BucketSpan>, Vec<u64>) {
    let present = form.iter().filter(|part| part.kind == kind && part.present[at]);
    let (indexes, counts): (Vec<i32>, Vec<u64>) = present.map(|part| (part.bucket, part.bits[at])).unzip();
    (spans(&indexes), counts)
}
