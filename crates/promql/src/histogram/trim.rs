//! The trim operators `</` and `>/`: what a histogram would be without its observations above or below a value.

use super::FloatHistogram;
use super::bucket::Bucket;

/// What a trim leaves of a bucket.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// How many observations.
    count: f64,
    /// What they are on average.
    mean: f64,
}

/// How observations are taken to lie within a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    /// Evenly, as in custom buckets.
    Linear,
    /// Evenly on a logarithmic scale, right of zero.
    Positive,
    /// The same, left of zero.
    Negative,
}

/// Which observations remain.
#[derive(Debug, Clone, Copy)]
enum Keep {
    Below(f64),
    Above(f64),
}

const NOTHING: Kept = Kept { count: 0.0, mean: 0.0 };

impl FloatHistogram {
    /// Removes the observations above `bound` (`</`). Buckets that it cuts are interpolated; count and sum are
    /// estimated anew from the buckets if anything was removed.
    pub fn trim_upper(&mut self, bound: f64) {
        self.trim(Keep::Below(bound));
    }

    /// Removes the observations below `bound` (`>/`), as [`FloatHistogram::trim_upper`] does above.
    pub fn trim_lower(&mut self, bound: f64) {
        self.trim(Keep::Above(bound));
    }

    fn trim(&mut self, keep: Keep) {
        let spread = if self.uses_custom_buckets() { Spread::Linear } else { Spread::Positive };
        let positive: Vec<Kept> = self.positive_buckets().map(|b| keep.of_bucket(b, spread)).collect();
        let negative: Vec<Kept> =
            self.negative_buckets().map(|b| keep.of_bucket(b, Spread::Negative)).collect();
        let has_positive = self.positive.iter().any(|c| *c != 0.0);
        let has_negative = self.negative.iter().any(|c| *c != 0.0);
        let zero = self
            .zero_bucket()
            .filter(|bucket| bucket.count > 0.0)
            .map(|bucket| keep.of_zero_bucket(bucket.one_sided(has_positive, has_negative)));

        let before = self.positive.iter().chain(&self.negative).chain(zero.map(|_| &self.zero_count));
        let after = positive.iter().chain(&negative).chain(&zero);
        if before.zip(after.clone()).all(|(count, kept)| *count == kept.count) {
            return;
        }
        let mut count = 0.0;
        let mut sum = 0.0;
        for kept in after {
            count += kept.count;
            sum += kept.mean * kept.count;
        }
        self.count = count;
        self.sum = sum;
        self.zero_count = zero.map_or(self.zero_count, |kept| kept.count);
        self.positive = positive.into_iter().map(|kept| kept.count).collect();
        self.negative = negative.into_iter().map(|kept| kept.count).collect();
        self.compact(0);
    }
}

impl Bucket {
    /// The zero bucket of a histogram with observations on one side only is taken to be on that side as well.
    fn one_sided(mut self, has_positive: bool, has_negative: bool) -> Bucket {
        if has_negative && !has_positive {
            self.upper = 0.0;
        }
        if has_positive && !has_negative {
            self.lower = 0.0;
        }
        self
    }
}

impl Keep {
    fn of_bucket(self, bucket: Bucket, spread: Spread) -> Kept {
        if bucket.count == 0.0 {
            return NOTHING;
        }
        let (whole, cut) = match self {
            Keep::Below(bound) => (bucket.upper <= bound, bucket.lower < bound),
            Keep::Above(bound) => (bucket.lower >= bound, bucket.upper > bound),
        };
        if whole {
            return Kept { count: bucket.count, mean: midpoint(bucket.lower, bucket.upper, spread) };
        }
        match (cut, bucket.lower == f64::NEG_INFINITY, bucket.upper == f64::INFINITY) {
            (false, ..) => NOTHING,
            (true, true, _) => self.of_endless_left(bucket),
            (true, false, true) => self.of_endless_right(bucket),
            (true, false, false) => self.of_finite(bucket, spread),
        }
    }

    fn of_finite(self, bucket: Bucket, spread: Spread) -> Kept {
        let below = |bound: f64| {
            if bound <= bucket.lower {
                return 0.0;
            }
            if bound >= bucket.upper {
                return bucket.count;
            }
            bucket.count * bucket.fraction_below(bound, spread == Spread::Linear)
        };
        match self {
            Keep::Below(bound) => Kept { count: below(bound), mean: midpoint(bucket.lower, bound, spread) },
            Keep::Above(bound) => {
                Kept { count: bucket.count - below(bound), mean: midpoint(bound, bucket.upper, spread) }
            }
        }
    }

    /// The first custom bucket has no lower bound. Where its upper bound is positive it is taken to begin at zero, as
    /// quantiles do; elsewhere its observations are taken to lie at the bound.
    fn of_endless_left(self, bucket: Bucket) -> Kept {
        let from_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
        match self {
            Keep::Below(bound) if bound > 0.0 && from_zero => {
                Kept { count: bucket.count * bound / bucket.upper, mean: bound / 2.0 }
            }
            Keep::Below(bound) if bucket.upper <= 0.0 => Kept { count: bucket.count, mean: bound },
            Keep::Above(bound) if bound >= 0.0 && bucket.upper > bound && from_zero => {
                let count = bucket.count * (1.0 - bound / bucket.upper);
                Kept { count, mean: (bound + bucket.upper) / 2.0 }
            }
            Keep::Below(_) | Keep::Above(_) => NOTHING,
        }
    }

    /// The last bucket has no upper bound: its observations are taken to lie at the bound from which they are kept,
    /// and none of them below a bound.
    fn of_endless_right(self, bucket: Bucket) -> Kept {
        match self {
            Keep::Above(bound) if bound >= bucket.lower => Kept { count: bucket.count, mean: bound },
            Keep::Below(_) | Keep::Above(_) => NOTHING,
        }
    }

    fn of_zero_bucket(self, bucket: Bucket) -> Kept {
        let (lower, upper) = (bucket.lower, bucket.upper);
        let whole = Kept { count: bucket.count, mean: (lower + upper) / 2.0 };
        let part = |fraction: f64, mean: f64| Kept { count: bucket.count * fraction, mean };
        match self {
            Keep::Below(bound) if bound <= lower => NOTHING,
            Keep::Below(bound) if bound >= upper => whole,
            Keep::Below(bound) => part((bound - lower) / (upper - lower), (lower + bound) / 2.0),
            Keep::Above(bound) if bound <= lower => whole,
            Keep::Above(bound) if bound >= upper => NOTHING,
            Keep::Above(bound) => part((upper - bound) / (upper - lower), (bound + upper) / 2.0),
        }
    }
}

/// The average of observations between two bounds.
fn midpoint(lower: f64, upper: f64, spread: Spread) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) => match spread {
            Spread::Linear => (lower + upper) / 2.0,
            Spread::Positive => (lower * upper).abs().sqrt(),
            Spread::Negative => -(lower * upper).abs().sqrt(),
        },
    }
}
