//! What the `histogram_*` functions say of one native histogram.

use super::FloatHistogram;
use super::bucket::Bucket;
use super::kahan::kahan_add;
use crate::go_math;

/// What the user should know about a quantile. Observations of the value NaN are in the count and in no bucket, and
/// are taken to be above all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuantileNote {
    /// There are NaN observations and the quantile falls among them.
    NanResult,
    /// There are NaN observations, which push the quantile upwards.
    NanSkew,
}

/// The number of observations (`histogram_count`).
pub fn histogram_count(histogram: &FloatHistogram) -> f64 {
    histogram.count
}

/// The sum of observations (`histogram_sum`).
pub fn histogram_sum(histogram: &FloatHistogram) -> f64 {
    histogram.sum
}

/// The mean of observations (`histogram_avg`).
pub fn histogram_avg(histogram: &FloatHistogram) -> f64 {
    histogram.sum / histogram.count
}

/// The estimated standard deviation (`histogram_stddev`).
pub fn histogram_stddev(histogram: &FloatHistogram) -> f64 {
    histogram_stdvar(histogram).sqrt()
}

/// The estimated variance (`histogram_stdvar`): all observations of a bucket are taken to lie at its middle, which is
/// the geometric one for exponential buckets and zero for the zero bucket.
pub fn histogram_stdvar(histogram: &FloatHistogram) -> f64 {
    let mean = histogram_avg(histogram);
    let mut variance = (0.0, 0.0);
    for bucket in histogram.all_buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.touches_zero() {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        variance = kahan_add(bucket.count * delta * delta, variance.0, variance.1);
    }
    (variance.0 + variance.1) / histogram.count
}

/// The quantiles of `histogram_quantiles`, in the order of `qs`.
pub fn histogram_quantiles(qs: &[f64], histogram: &FloatHistogram) -> Vec<(f64, Option<QuantileNote>)> {
    qs.iter().map(|q| histogram_quantile(*q, histogram)).collect()
}

/// The value below which a fraction `q` of the observations lies (`histogram_quantile`).
///
/// NaN for no observations or `q` NaN, infinite for `q` outside of 0…1. Within custom buckets and the zero bucket the
/// observations are taken to lie evenly, within exponential buckets evenly on a logarithmic scale. The zero bucket of
/// a histogram with buckets on one side only lies on that side.
pub fn histogram_quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<QuantileNote>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let nan_sum = histogram.sum.is_nan();
    // From the end that is nearer, which rounds less. NaN observations are at the upper end and in no bucket, so with
    // them the rank must be counted from below.
    let ascending = nan_sum || q < 0.5;
    let rank = if ascending { q * histogram.count } else { (1.0 - q) * histogram.count };
    let mut buckets: Box<dyn Iterator<Item = Bucket>> =
        if ascending { Box::new(histogram.all_buckets()) } else { Box::new(histogram.all_buckets_rev()) };
    let (bucket, count) = find(&mut buckets, rank);

    let bucket = match place(histogram, bucket) {
        Placed::Bucket(bucket) => bucket,
        Placed::Value(value) => return (value, None),
    };
    // Rounding may have counted more in the buckets than there is.
    let count = if count > histogram.count { histogram.count } else { count };
    if count < rank {
        return if nan_sum { (f64::NAN, Some(QuantileNote::NanResult)) } else { (bucket.upper, None) };
    }
    let rank = if ascending { rank - (count - bucket.count) } else { count - rank };
    if !nan_sum {
        return (interpolate(histogram, bucket, rank), None);
    }
    // A sum is NaN for NaN observations, but also for infinite ones of both signs, which are in buckets.
    let mut total = count;
    let mut highest = bucket;
    for bucket in buckets {
        total += bucket.count;
        highest = bucket;
    }
    let note = (total < histogram.count).then_some(QuantileNote::NanSkew);
    // Prometheus interpolates in the highest bucket here, whichever holds the rank; answers have to be the same.
    (interpolate(histogram, highest, rank), note)
}

/// The fraction of observations between `lower` and `upper` (`histogram_fraction`), the inverse of
/// [`histogram_quantile`], and whether there are NaN observations, which are in no such fraction.
pub fn histogram_fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let mut rank = 0.0;
    let mut lower_rank = None;
    let mut upper_rank = None;
    let mut buckets = histogram.all_buckets();
    let mut in_buckets = 0.0;
    for bucket in buckets.by_ref() {
        in_buckets += bucket.count;
        let zero = bucket.touches_zero();
        let bucket = if zero { one_sided(histogram, bucket) } else { bucket };
        let linear = zero || histogram.uses_custom_buckets();
        lower_rank = lower_rank.or_else(|| rank_at(lower, bucket, rank, linear));
        upper_rank = upper_rank.or_else(|| rank_at(upper, bucket, rank, linear));
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let mut total = histogram.count;
    let mut has_nan = false;
    if histogram.sum.is_nan() {
        total = buckets.fold(in_buckets, |total, bucket| total + bucket.count);
        has_nan = total < histogram.count;
    }
    let capped = |rank: Option<f64>| rank.map_or(total, |rank| if rank > total { total } else { rank });
    ((capped(upper_rank) - capped(lower_rank)) / histogram.count, has_nan)
}

/// How many observations lie below `v`, if `bucket` tells; `rank` of them are in the buckets before.
fn rank_at(v: f64, bucket: Bucket, rank: f64, linear: bool) -> Option<f64> {
    if bucket.lower >= v {
        return Some(rank);
    }
    if bucket.upper > v {
        // Half of an endless bucket is not known. Nothing of the last bucket counts as below a value in it, which the
        // interpolation yields by itself, and all of the first.
        if linear && bucket.lower == f64::NEG_INFINITY {
            return Some(bucket.count);
        }
        return Some(rank + bucket.count * bucket.fraction_below(v, linear));
    }
    None
}

/// The first bucket at whose end there have been `rank` observations, else the last; and how many there have been.
fn find(buckets: &mut dyn Iterator<Item = Bucket>, rank: f64) -> (Bucket, f64) {
    let mut found =
        Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    let mut count = 0.0;
    for bucket in buckets {
        found = bucket;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    (found, count)
}

enum Placed {
    /// The quantile lies in this bucket.
    Bucket(Bucket),
    /// The quantile is this value: that is all an endless bucket can tell.
    Value(f64),
}

fn place(histogram: &FloatHistogram, mut bucket: Bucket) -> Placed {
    if !histogram.uses_custom_buckets() {
        let across_zero = bucket.lower < 0.0 && bucket.upper > 0.0;
        return Placed::Bucket(if across_zero { one_sided(histogram, bucket) } else { bucket });
    }
    if bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return Placed::Value(bucket.upper);
        }
        bucket.lower = 0.0;
        return Placed::Bucket(bucket);
    }
    if bucket.upper == f64::INFINITY { Placed::Value(bucket.lower) } else { Placed::Bucket(bucket) }
}

/// The zero bucket of a histogram with buckets on one side only lies on that side.
fn one_sided(histogram: &FloatHistogram, mut bucket: Bucket) -> Bucket {
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        (true, true) | (false, false) => {}
    }
    bucket
}

/// The value below which `rank` of the bucket's observations lie.
fn interpolate(histogram: &FloatHistogram, bucket: Bucket, rank: f64) -> f64 {
    let fraction = rank / bucket.count;
    if histogram.uses_custom_buckets() || bucket.touches_zero() {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let lower = go_math::log2(bucket.lower.abs());
    let upper = go_math::log2(bucket.upper.abs());
    if bucket.lower > 0.0 {
        return go_math::exp2(lower + (upper - lower) * fraction);
    }
    -go_math::exp2(upper + (lower - upper) * (1.0 - fraction))
}
