//! OpenTelemetry's histograms as native ones.

use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramError, MAX_SCHEMA, MIN_SCHEMA, ResetHint,
};

use crate::histogram::{HistogramFault, coarsen};
use crate::proto::{Malformed, Reader, Wire};

/// A histogram with bounds of the sender's choice.
#[derive(Debug, Default)]
pub(super) struct Explicit {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) counts: Vec<u64>,
    /// Bits of the upper bounds.
    pub(super) bounds: Vec<u64>,
}

/// A histogram whose bounds grow by a factor.
#[derive(Debug, Default)]
pub(super) struct Exponential {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) positive: Dense,
    pub(super) negative: Dense,
}

/// Buckets one after the other, empty ones among them.
#[derive(Debug, Default)]
pub(super) struct Dense {
    offset: i32,
    counts: Vec<u64>,
}

/// Buckets in spans, as they are stored.
#[derive(Debug, Default, PartialEq)]
struct Sparse {
    spans: Vec<BucketSpan>,
    counts: Vec<u64>,
}

/// Half the width of the zero bucket. Prometheus takes this value whatever the sender says, so that histograms of one
/// series fit each other.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Up to so many empty buckets are stored as such before a new span begins, as Prometheus's client library does.
const MAX_GAP: i64 = 2;

impl Explicit {
    pub(super) fn clear(&mut self) {
        (self.count, self.sum) = (0, None);
        self.counts.clear();
        self.bounds.clear();
    }

    /// The histogram with custom buckets.
    pub(super) fn native(
        &self,
        is_stale: bool,
        is_delta: bool,
        max_buckets: u32,
    ) -> Result<Histogram, HistogramFault> {
        if is_stale {
            return Ok(Histogram::stale());
        }
        // Without buckets all observations lie in the one that has no bound.
        let all = [self.count];
        let counts = if self.counts.is_empty() && self.bounds.is_empty() { &all[..] } else { &self.counts };
        let buckets = Sparse::of(counts.iter().enumerate().map(|(i, count)| (i as i64, *count)))?;
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: self.sum.unwrap_or(0.0),
            counts: Counts::Int {
                count: self.count,
                zero: 0,
                positive: buckets.counts,
                negative: Vec::new(),
            },
            positive_spans: buckets.spans,
            negative_spans: Vec::new(),
            custom_values: self.bounds.iter().map(|bits| f64::from_bits(*bits)).collect(),
            reset_hint: hint(is_delta),
        };
        checked(histogram, max_buckets)
    }
}

impl Exponential {
    pub(super) fn clear(&mut self) {
        (self.count, self.sum, self.scale, self.zero_count) = (0, 0.0, 0, 0);
        self.positive.clear();
        self.negative.clear();
    }

    /// The native histogram, no finer than what is stored.
    pub(super) fn native(
        &self,
        is_stale: bool,
        is_delta: bool,
        max_buckets: u32,
    ) -> Result<Histogram, HistogramFault> {
        if self.scale < MIN_SCHEMA {
            return Err(HistogramError::UnknownSchema(self.scale).into());
        }
        if is_stale {
            return Ok(Histogram::stale());
        }
        let schema = self.scale.min(MAX_SCHEMA);
        let finer = (i64::from(self.scale) - i64::from(schema)).min(63) as u32;
        let (positive, negative) = (self.positive.sparse(finer)?, self.negative.sparse(finer)?);
        let histogram = Histogram {
            schema,
            zero_threshold: ZERO_THRESHOLD,
            sum: self.sum,
            counts: Counts::Int {
                count: self.count,
                zero: self.zero_count,
                positive: positive.counts,
                negative: negative.counts,
            },
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            custom_values: Vec::new(),
            reset_hint: hint(is_delta),
        };
        checked(histogram, max_buckets)
    }
}

impl Dense {
    fn clear(&mut self) {
        self.offset = 0;
        self.counts.clear();
    }

    pub(super) fn read(&mut self, mut message: Reader<'_>) -> Result<(), Malformed> {
        while !message.is_done() {
            let (number, wire) = message.tag()?;
            match number {
                1 => self.offset = message.sint32(wire)?,
                2 if wire == Wire::Len => {
                    let mut packed = message.message(wire)?;
                    while !packed.is_done() {
                        self.counts.push(packed.varint()?);
                    }
                }
                2 => self.counts.push(message.uint64(wire)?),
                _ => message.skip(number, wire)?,
            }
        }
        Ok(())
    }

    /// Index `i` holds what lies in (base^i, base^(i+1)], in a native histogram that is bucket `i + 1`. With the base
    /// squared `finer` times, 2^`finer` neighbours become one.
    ///
    /// Where neighbours are merged behind empty ones, the first of them goes to the bucket before, since Prometheus
    /// counts so: two that read one sender agree.
    fn sparse(&self, finer: u32) -> Result<Sparse, HistogramError> {
        let merged = |i: usize| ((i64::from(self.offset) + i as i64) >> finer) + 1;
        let mut buckets = Vec::with_capacity(self.counts.len());
        // The bucket that is being filled, as far as it is known, and what is in it.
        let (mut open, mut sum) = (merged(0), 0u64);
        for (i, count) in self.counts.iter().enumerate() {
            let index = merged(i);
            if index == open {
                // What overflows cannot fit the count, which is checked next.
                sum = sum.saturating_add(*count);
            } else if sum == 0 {
                sum = *count;
            } else {
                buckets.push((index - 1, sum));
                (open, sum) = (index, *count);
            }
        }
        buckets.push((merged(self.counts.len().saturating_sub(1)), sum));
        Sparse::of(buckets.into_iter())
    }
}

impl Sparse {
    /// Buckets with ascending indices.
    fn of(buckets: impl Iterator<Item = (i64, u64)>) -> Result<Sparse, HistogramError> {
        let mut sparse = Sparse::default();
        // The index behind the last bucket.
        let mut end = 0i64;
        for (index, count) in buckets.filter(|(_, count)| *count > 0) {
            let gap = index - end;
            match sparse.spans.last_mut() {
                Some(span) if gap <= MAX_GAP => {
                    span.length += gap as u32 + 1;
                    sparse.counts.resize(sparse.counts.len() + gap as usize, 0);
                }
                _ => {
                    let n = sparse.counts.len();
                    let offset = i32::try_from(gap)
                        .map_err(|_| HistogramError::SpansMismatch { spans: n + 1, buckets: n })?;
                    sparse.spans.push(BucketSpan { offset, length: 1 });
                }
            }
            sparse.counts.push(count);
            end = index + 1;
        }
        Ok(sparse)
    }
}

/// Differences may fall: that is no reset.
fn hint(is_delta: bool) -> ResetHint {
    if is_delta { ResetHint::Gauge } else { ResetHint::Unknown }
}

fn checked(mut histogram: Histogram, max_buckets: u32) -> Result<Histogram, HistogramFault> {
    coarsen(&mut histogram, max_buckets)?;
    histogram.validate()?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(offset: i32, counts: &[u64]) -> Dense {
        Dense { offset, counts: counts.to_vec() }
    }

    fn check(dense: &Dense, finer: u32, spans: &[(i32, u32)], counts: &[u64]) {
        let spans = spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect();
        assert_eq!(dense.sparse(finer), Ok(Sparse { spans, counts: counts.to_vec() }));
    }

    #[test]
    fn small_gaps_stay_in_a_span_and_empty_ends_go() {
        check(&dense(0, &[1, 0, 2, 0]), 0, &[(1, 3)], &[1, 0, 2]);
        check(&dense(-3, &[0, 0, 1, 0, 0, 0, 4]), 0, &[(0, 1), (3, 1)], &[1, 4]);
        check(&dense(5, &[0, 0]), 0, &[], &[]);
    }

    #[test]
    fn finer_buckets_are_merged_without_losing_an_observation() {
        // Indices −3 … 4 become −1, −1, −1, 0, 0, 0, 0, 1 when four are one.
        check(&dense(-3, &[1, 2, 3, 4, 5, 6, 7, 8]), 2, &[(0, 3)], &[1 + 2 + 3, 4 + 5 + 6 + 7, 8]);
        // As Prometheus does it: behind the empty bucket 0 the first of bucket 1 is taken for its last.
        check(&dense(0, &[0, 0, 1, 2]), 1, &[(1, 2)], &[1, 2]);
    }

    #[test]
    fn a_histogram_without_buckets_has_one() {
        let explicit = Explicit { count: 3, sum: Some(1.5), ..Explicit::default() };
        let histogram = explicit.native(false, false, 0).unwrap();
        assert_eq!(histogram.positive_spans, [BucketSpan { offset: 0, length: 1 }]);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let explicit = Explicit { count: 3, counts: vec![1, 1], bounds: vec![1f64.to_bits()], sum: None };
        assert!(explicit.native(false, false, 0).is_err());
        let coarse = Exponential { scale: -5, ..Exponential::default() };
        assert!(coarse.native(false, false, 0).is_err());
    }
}
