//! Buckets with their bounds, from left to right and back.

use super::FloatHistogram;
use super::bounds::bound;
use super::spans::indexed;
use crate::go_math;

/// One bucket of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether an observation of `lower` is in it.
    pub lower_inclusive: bool,
    /// Whether an observation of `upper` is in it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Bucket {
    /// Which part of the bucket lies below `v`, which is in it: linear, or on a logarithmic scale, on which
    /// exponential buckets are equally wide.
    pub fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, v_log] = [self.lower, self.upper, v].map(|x| go_math::log2(x.abs()));
        if v > 0.0 { (v_log - lower) / (upper - lower) } else { 1.0 - (v_log - upper) / (lower - upper) }
    }

    /// Whether zero is in it or at its edge.
    pub(super) fn touches_zero(&self) -> bool {
        self.lower <= 0.0 && self.upper >= 0.0
    }

    /// A bucket that overlaps the zero bucket keeps only what is outside of it.
    fn outside_zero(mut self, threshold: f64) -> Bucket {
        if self.upper < 0.0 && self.upper > -threshold {
            self.upper = -threshold;
        } else if self.lower > 0.0 && self.lower < threshold {
            self.lower = threshold;
        }
        self
    }
}

impl FloatHistogram {
    /// The positive buckets, ascending, empty ones included.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.positive_spans, &self.positive).map(|bucket| self.positive_bucket(bucket))
    }

    /// The negative buckets from zero downwards, empty ones included.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.negative_spans, &self.negative).map(|bucket| self.negative_bucket(bucket))
    }

    /// The positive buckets, descending.
    pub fn positive_buckets_rev(&self) -> impl Iterator<Item = Bucket> + '_ {
        let buckets: Vec<(i64, f64)> = indexed(&self.positive_spans, &self.positive).collect();
        buckets.into_iter().rev().map(|bucket| self.positive_bucket(bucket))
    }

    /// The negative buckets from the lowest up to zero.
    pub fn negative_buckets_rev(&self) -> impl Iterator<Item = Bucket> + '_ {
        let buckets: Vec<(i64, f64)> = indexed(&self.negative_spans, &self.negative).collect();
        buckets.into_iter().rev().map(|bucket| self.negative_bucket(bucket))
    }

    /// The zero bucket; histograms with custom buckets have none.
    pub fn zero_bucket(&self) -> Option<Bucket> {
        (!self.uses_custom_buckets()).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        })
    }

    /// All buckets, ascending. The zero bucket is among them when it is populated, and the others do not overlap it.
    pub fn all_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.negative_buckets_rev()
            .map(|bucket| bucket.outside_zero(self.zero_threshold))
            .chain(self.populated_zero_bucket())
            .chain(self.positive_buckets().map(|bucket| bucket.outside_zero(self.zero_threshold)))
    }

    /// All buckets, descending.
    pub fn all_buckets_rev(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.positive_buckets_rev()
            .map(|bucket| bucket.outside_zero(self.zero_threshold))
            .chain(self.populated_zero_bucket())
            .chain(self.negative_buckets().map(|bucket| bucket.outside_zero(self.zero_threshold)))
    }

    fn populated_zero_bucket(&self) -> Option<Bucket> {
        self.zero_bucket().filter(|bucket| bucket.count > 0.0)
    }

    fn positive_bucket(&self, (index, count): (i64, f64)) -> Bucket {
        let lower = bound(index - 1, self.schema, &self.custom_values);
        let upper = bound(index, self.schema, &self.custom_values);
        if self.uses_custom_buckets() {
            return Bucket { lower, upper, lower_inclusive: index == 0, upper_inclusive: true, count };
        }
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }

    fn negative_bucket(&self, (index, count): (i64, f64)) -> Bucket {
        let lower = -bound(index, self.schema, &[]);
        let upper = -bound(index - 1, self.schema, &[]);
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }
}
