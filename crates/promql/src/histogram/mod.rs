//! Native histograms as PromQL computes with them: float counts, absolute buckets.
//!
//! On the path: samples come as [`model::Histogram`], whose counts may be integers; [`FloatHistogram::from_model`]
//! makes them floats, the functions and operators work on them here, and [`FloatHistogram::into_model`] hands them
//! to the result. Classic histograms, which are series of their own with an `le` label, are in [`classic`].
//!
//! Always true: nothing here panics on a histogram that nobody validated. Where spans and counts disagree, the shorter
//! of the two ends the buckets.

pub mod api;
mod bounds;
mod bucket;
pub mod classic;
mod combine;
mod custom;
mod kahan;
mod quantile;
mod reset;
mod spans;
mod text;
mod trim;

use model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Classify, Counts, ErrorKind, Histogram, HistogramError, ResetHint,
};

pub use bounds::exponential_bound;
pub use bucket::Bucket;
pub use combine::Combined;
pub use kahan::kahan_add as kahan_inc;
pub use quantile::{
    QuantileNote, histogram_avg, histogram_count, histogram_fraction, histogram_quantile,
    histogram_quantiles, histogram_stddev, histogram_stdvar, histogram_sum,
};

/// A native histogram with float counts, absolute in every bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatHistogram {
    /// −4…8 exponential, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, those of the value NaN included.
    pub count: f64,
    /// Sum of observations; the stale NaN marks the series as ended.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<BucketSpan>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<BucketSpan>,
    /// Counts of the positive buckets in the order of the spans.
    pub positive: Vec<f64>,
    /// Counts of the negative buckets in the order of the spans.
    pub negative: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_values: Vec<f64>,
    /// What is known about a counter reset before this histogram.
    pub reset_hint: ResetHint,
}

/// Why an operation on histograms has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramOpError {
    /// One has exponential buckets, the other custom ones.
    #[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
    IncompatibleSchema,
    /// Buckets can be merged into wider ones only, and only exponential ones.
    #[error("cannot bring a histogram of schema {from} to schema {to}")]
    NotReducible {
        /// The schema it has.
        from: i32,
        /// The schema asked for.
        to: i32,
    },
}

impl Classify for HistogramOpError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl Default for FloatHistogram {
    fn default() -> FloatHistogram {
        FloatHistogram::empty(0)
    }
}

impl FloatHistogram {
    /// A histogram without observations.
    pub fn empty(schema: i32) -> FloatHistogram {
        FloatHistogram {
            schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values: Vec::new(),
            reset_hint: ResetHint::Unknown,
        }
    }

    /// The same histogram with float counts.
    pub fn from_model(histogram: &Histogram) -> FloatHistogram {
        let floats = |counts: &[u64]| counts.iter().map(|c| *c as f64).collect();
        let (count, zero_count, positive, negative) = match &histogram.counts {
            Counts::Int { count, zero, positive, negative } => {
                (*count as f64, *zero as f64, floats(positive), floats(negative))
            }
            Counts::Float { count, zero, positive, negative } => {
                (*count, *zero, positive.clone(), negative.clone())
            }
        };
        FloatHistogram {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count,
            count,
            sum: histogram.sum,
            positive_spans: histogram.positive_spans.clone(),
            negative_spans: histogram.negative_spans.clone(),
            positive,
            negative,
            custom_values: histogram.custom_values.clone(),
            reset_hint: histogram.reset_hint,
        }
    }

    /// The histogram as results hold it.
    pub fn into_model(self) -> Histogram {
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            counts: Counts::Float {
                count: self.count,
                zero: self.zero_count,
                positive: self.positive,
                negative: self.negative,
            },
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            custom_values: self.custom_values,
            reset_hint: self.reset_hint,
        }
    }

    /// Whether this is a stale marker.
    pub fn is_stale(&self) -> bool {
        model::is_stale(self.sum)
    }

    /// Whether the buckets are custom.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether a count, the sum or a bound is infinite: a running sum that got too large.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive)
            .chain(&self.negative)
            .chain(&self.custom_values)
            .any(|v| v.is_infinite())
    }

    /// Checks what a receiver checks.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.clone().into_model().validate()
    }

    /// Multiplies every count and the sum. What has been negated is no counter any more.
    pub fn mul(&mut self, factor: f64) {
        self.for_each_number(|v| *v *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides every count and the sum. Divided by zero, no buckets are left, only count, sum and zero bucket.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.positive_spans.clear();
            self.negative.clear();
            self.negative_spans.clear();
        }
        self.for_each_number(|v| *v /= divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// A copy in the same or a coarser schema. A copy in another schema knows nothing of resets any more.
    pub fn copy_to_schema(&self, target: i32) -> Result<FloatHistogram, HistogramOpError> {
        let mut copy = self.clone();
        if target != self.schema {
            copy.reduce_resolution(target)?;
            copy.reset_hint = ResetHint::Unknown;
        }
        Ok(copy)
    }

    /// Merges the buckets to those of a coarser schema.
    pub fn reduce_resolution(&mut self, target: i32) -> Result<(), HistogramOpError> {
        let custom = self.uses_custom_buckets() || target == CUSTOM_BUCKETS_SCHEMA;
        if custom || target >= self.schema {
            return Err(HistogramOpError::NotReducible { from: self.schema, to: target });
        }
        let shift = self.schema.abs_diff(target);
        (self.positive_spans, self.positive) = spans::reduce(&self.positive_spans, &self.positive, shift);
        (self.negative_spans, self.negative) = spans::reduce(&self.negative_spans, &self.negative, shift);
        self.schema = target;
        Ok(())
    }

    /// Drops empty buckets; then fills gaps of up to `max_empty` buckets, since a span costs more than a few
    /// empty buckets.
    pub fn compact(&mut self, max_empty: usize) {
        spans::compact(&mut self.positive_spans, &mut self.positive, max_empty);
        spans::compact(&mut self.negative_spans, &mut self.negative, max_empty);
    }

    /// Whether both hold the same numbers, bit for bit, in the same buckets, however the spans cut them up. An
    /// empty bucket differs from an absent one: [`FloatHistogram::compact`] both where it should not. The reset
    /// hint is no part of the comparison.
    pub fn equals(&self, other: &FloatHistogram) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && spans::same(&self.positive_spans, &self.positive, &other.positive_spans, &other.positive)
            && spans::same(&self.negative_spans, &self.negative, &other.negative_spans, &other.negative)
    }

    fn for_each_number(&mut self, change: impl Fn(&mut f64)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum]
            .into_iter()
            .chain(&mut self.positive)
            .chain(&mut self.negative)
            .for_each(change);
    }
}

#[cfg(test)]
mod tests;
