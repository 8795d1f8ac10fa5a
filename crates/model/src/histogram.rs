use std::cmp::Ordering;

/// The schema of custom buckets: bounds are listed, not computed.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema.
pub const MIN_SCHEMA: i32 = -4;
/// The finest exponential schema that is stored.
pub const MAX_SCHEMA: i32 = 8;

/// A run of consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketSpan {
    /// Gap to the previous span, or the index of the first bucket.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// What the sender knows about a counter reset before this histogram (`prometheus.Histogram.ResetHint`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResetHint {
    /// Nothing is known; compare with the predecessor.
    #[default]
    Unknown,
    /// A reset happened.
    Yes,
    /// No reset happened.
    No,
    /// A gauge: resets have no meaning.
    Gauge,
}

/// Absolute counts of a histogram, integer or float as the sender sent them.
#[derive(Debug, Clone, PartialEq)]
pub enum Counts {
    /// Counts of observations.
    Int {
        /// All observations.
        count: u64,
        /// Observations in the zero bucket.
        zero: u64,
        /// Positive buckets, absolute, in the order of the spans.
        positive: Vec<u64>,
        /// Negative buckets, absolute, in the order of the spans.
        negative: Vec<u64>,
    },
    /// Rates, sums over instances, averages.
    Float {
        /// All observations.
        count: f64,
        /// Observations in the zero bucket.
        zero: f64,
        /// Positive buckets, absolute, in the order of the spans.
        positive: Vec<f64>,
        /// Negative buckets, absolute, in the order of the spans.
        negative: Vec<f64>,
    },
}

/// A native histogram sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// −4…8 exponential, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations; the stale NaN marks the series as ended.
    pub sum: f64,
    /// The counts.
    pub counts: Counts,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<BucketSpan>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<BucketSpan>,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_values: Vec<f64>,
    /// What the sender knows about a reset.
    pub reset_hint: ResetHint,
}

/// Why a histogram was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// A schema that is neither exponential nor custom.
    #[error("histogram schema {0} is neither -4 to 8 nor -53")]
    UnknownSchema(i32),
    /// The spans announce another number of buckets than there are.
    #[error("histogram spans need {spans} buckets, have {buckets}")]
    SpansMismatch {
        /// Announced by the spans.
        spans: usize,
        /// Present.
        buckets: usize,
    },
    /// A span other than the first has a negative offset.
    #[error("histogram span {0} has a negative offset")]
    NegativeSpanOffset(usize),
    /// A bucket holds a negative number of observations.
    #[error("histogram bucket {0} has a negative count")]
    NegativeBucket(usize),
    /// The buckets do not add up to the count.
    #[error("histogram has {buckets} observations in buckets but a count of {count}")]
    CountMismatch {
        /// In the buckets.
        buckets: f64,
        /// Announced.
        count: f64,
    },
    /// Custom bounds are not ascending or not finite.
    #[error("histogram custom bounds are not finite and ascending")]
    CustomBounds,
    /// Custom buckets go with positive buckets only.
    #[error("histogram with custom buckets has a zero bucket or negative buckets")]
    CustomWithNegative,
    /// Exponential buckets have no bounds.
    #[error("histogram with exponential buckets has custom bounds")]
    BoundsWithoutCustom,
}

impl Histogram {
    /// Whether this is a stale marker.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Whether the buckets are custom.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The stale marker in the histogram's own form.
    pub fn stale() -> Histogram {
        Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: f64::from_bits(crate::STALE_NAN),
            counts: Counts::Int { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            reset_hint: ResetHint::Unknown,
        }
    }

    /// Which of two histograms of one series at one timestamp everyone keeps is the greater: one over a stale marker,
    /// then the one with more observations, then by all that it holds, so that only equals are equal.
    pub fn rank(&self, other: &Histogram) -> Ordering {
        let doubles = |a: &[f64], b: &[f64]| {
            let unequal = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        };
        let spans = |spans: &[BucketSpan]| spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>();
        other
            .is_stale()
            .cmp(&self.is_stale())
            .then_with(|| self.counts.rank(&other.counts, doubles))
            .then_with(|| self.sum.total_cmp(&other.sum))
            .then_with(|| self.schema.cmp(&other.schema))
            .then_with(|| self.zero_threshold.total_cmp(&other.zero_threshold))
            .then_with(|| spans(&self.positive_spans).cmp(&spans(&other.positive_spans)))
            .then_with(|| spans(&self.negative_spans).cmp(&spans(&other.negative_spans)))
            .then_with(|| doubles(&self.custom_values, &other.custom_values))
            .then_with(|| (self.reset_hint as u8).cmp(&(other.reset_hint as u8)))
    }

    /// Checks what a receiver must check before it stores a histogram (Prometheus, `Histogram.Validate`).
    pub fn validate(&self) -> Result<(), HistogramError> {
        if self.is_stale() {
            return Ok(());
        }
        if !self.is_custom() && !(MIN_SCHEMA..=MAX_SCHEMA).contains(&self.schema) {
            return Err(HistogramError::UnknownSchema(self.schema));
        }
        if self.is_custom() {
            self.validate_custom()?;
        } else if !self.custom_values.is_empty() {
            return Err(HistogramError::BoundsWithoutCustom);
        }
        let (n_positive, n_negative) = match &self.counts {
            Counts::Int { positive, negative, .. } => (positive.len(), negative.len()),
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        check_spans(&self.positive_spans, n_positive)?;
        check_spans(&self.negative_spans, n_negative)?;
        self.validate_counts()
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        let finite = self.custom_values.iter().all(|bound| bound.is_finite());
        let ascending = self.custom_values.windows(2).all(|pair| pair[0] < pair[1]);
        if !finite || !ascending {
            return Err(HistogramError::CustomBounds);
        }
        let zero = match &self.counts {
            Counts::Int { zero, .. } => *zero as f64,
            Counts::Float { zero, .. } => *zero,
        };
        if zero != 0.0 || !self.negative_spans.is_empty() || self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomWithNegative);
        }
        let last = self.positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum::<i64>();
        if last > self.custom_values.len() as i64 + 1
            || self.positive_spans.first().is_some_and(|s| s.offset < 0)
        {
            let buckets = self.custom_values.len() + 1;
            return Err(HistogramError::SpansMismatch { spans: last.max(0) as usize, buckets });
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), HistogramError> {
        match &self.counts {
            Counts::Int { count, zero, positive, negative } => {
                let all =
                    positive.iter().chain(negative).fold(u128::from(*zero), |sum, b| sum + u128::from(*b));
                // With a NaN among the observations the count exceeds the buckets.
                let fits =
                    if self.sum.is_nan() { all <= u128::from(*count) } else { all == u128::from(*count) };
                if !fits {
                    return Err(HistogramError::CountMismatch { buckets: all as f64, count: *count as f64 });
                }
            }
            Counts::Float { count, zero, positive, negative } => {
                let negative_at = positive.iter().chain(negative).position(|b| *b < 0.0);
                if let Some(i) = negative_at {
                    return Err(HistogramError::NegativeBucket(i));
                }
                if *count < 0.0 || *zero < 0.0 {
                    return Err(HistogramError::CountMismatch { buckets: *zero, count: *count });
                }
            }
        }
        Ok(())
    }
}

impl Counts {
    fn rank(&self, other: &Counts, doubles: impl Fn(&[f64], &[f64]) -> Ordering) -> Ordering {
        use Counts::{Float, Int};
        match (self, other) {
            (Int { .. }, Float { .. }) => Ordering::Less,
            (Float { .. }, Int { .. }) => Ordering::Greater,
            (
                Int { count, zero, positive, negative },
                Int { count: c, zero: z, positive: p, negative: n },
            ) => (count, zero, positive, negative).cmp(&(c, z, p, n)),
            (
                Float { count, zero, positive, negative },
                Float { count: c, zero: z, positive: p, negative: n },
            ) => doubles(&[*count, *zero], &[*c, *z])
                .then_with(|| doubles(positive, p))
                .then_with(|| doubles(negative, n)),
        }
    }
}

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<(), HistogramError> {
    if let Some(i) = spans.iter().skip(1).position(|span| span.offset < 0) {
        return Err(HistogramError::NegativeSpanOffset(i + 1));
    }
    let announced = spans.iter().map(|span| span.length as usize).sum();
    if announced != buckets {
        return Err(HistogramError::SpansMismatch { spans: announced, buckets });
    }
    Ok(())
}
