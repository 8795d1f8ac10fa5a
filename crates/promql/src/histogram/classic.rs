//! Classic histograms: cumulative counts in series with an `le` label.

use std::cmp::Ordering;

/// Two counts whose relative difference is below this are one count, rounded differently. It takes 10¹² observations
/// for one of them to go unnoticed (Prometheus's figure: float noise of real data lies between 10⁻⁵ and 10⁻¹⁵).
const NOISE: f64 = 1e-12;

/// One bucket of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassicBucket {
    /// The bound of its `le` label.
    pub upper: f64,
    /// Observations up to the bound.
    pub count: f64,
}

/// Where counts had to be raised, since they went down from one bucket to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForcedMonotonicity {
    /// The lowest bound with a raised count.
    pub min_bucket: f64,
    /// The highest bound with a raised count.
    pub max_bucket: f64,
    /// By how much at most.
    pub max_diff: f64,
}

/// A quantile and what had to be done to the buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassicQuantile {
    /// The quantile.
    pub value: f64,
    /// Set if counts went down.
    pub forced: Option<ForcedMonotonicity>,
    /// Whether rounding noise between counts was removed.
    pub fixed_precision: bool,
}

impl ForcedMonotonicity {
    /// What holds for both.
    fn merged(self, other: ForcedMonotonicity) -> ForcedMonotonicity {
        ForcedMonotonicity {
            min_bucket: self.min_bucket.min(other.min_bucket),
            max_bucket: self.max_bucket.max(other.max_bucket),
            max_diff: self.max_diff.max(other.max_diff),
        }
    }
}

/// The bound in an `le` label, if it is a number.
pub fn parse_bound(le: &str) -> Option<f64> {
    let digits = le.strip_prefix(['+', '-']).unwrap_or(le);
    let named = |name: &str| digits.eq_ignore_ascii_case(name);
    if named("nan") && digits.len() < le.len() {
        return None;
    }
    let bound: f64 = le.parse().ok()?;
    // A number too large for a float is no bound; infinity by name is.
    (bound.is_finite() || bound.is_nan() || named("inf") || named("infinity")).then_some(bound)
}

/// The value below which a fraction `q` of the observations lies (`histogram_quantile`), linear within a bucket.
///
/// NaN without a bucket +Inf and another one, without observations, or for `q` NaN; infinite for `q` outside of 0…1.
/// The lowest bucket begins at zero if its bound is positive; otherwise nothing is known within it and the answer is
/// its bound. In the bucket +Inf the answer is the bound below it. The buckets end up sorted and repaired.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> ClassicQuantile {
    let plain = |value: f64| ClassicQuantile { value, forced: None, fixed_precision: false };
    if q.is_nan() {
        return plain(f64::NAN);
    }
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if !sort_and_coalesce(buckets) {
        return plain(f64::NAN);
    }
    let (forced, fixed_precision) = make_monotonic(buckets);
    ClassicQuantile { value: interpolate(q, buckets), forced, fixed_precision }
}

/// The fraction of observations between `lower` and `upper` (`histogram_fraction`), linear within a bucket. The
/// buckets end up sorted.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !sort_and_coalesce(buckets) {
        return f64::NAN;
    }
    let total = buckets.last().map_or(0.0, |bucket| bucket.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// Sorts by bound and adds up the counts of equal bounds; says whether there is a bucket +Inf.
fn sort_and_coalesce(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.partial_cmp(&b.upper).unwrap_or(Ordering::Equal));
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|bucket| bucket.upper == f64::INFINITY)
}

/// Raises counts that went down, which rounding, missed scrapes and inconsistent sources bring about, to the count
/// before; says where, and whether mere noise was removed as well.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> (Option<ForcedMonotonicity>, bool) {
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut fixed_precision = false;
    let mut reached = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        let count = bucket.count;
        if count == reached {
            continue;
        }
        if is_noise(reached, count) {
            bucket.count = reached;
            fixed_precision = true;
        } else if count < reached {
            bucket.count = reached;
            let here = ForcedMonotonicity {
                min_bucket: bucket.upper,
                max_bucket: bucket.upper,
                max_diff: reached - count,
            };
            forced = Some(forced.map_or(here, |before| before.merged(here)));
        } else {
            reached = count;
        }
    }
    (forced, fixed_precision)
}

/// Whether two counts differ by no more than rounding.
fn is_noise(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return model::is_stale(a) == model::is_stale(b);
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    // Near zero there is no relative difference to speak of.
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < NOISE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < NOISE
}

fn interpolate(q: f64, buckets: &[ClassicBucket]) -> f64 {
    let [finite @ .., last] = buckets else { return f64::NAN };
    let Some(highest) = finite.last() else { return f64::NAN };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * last.count;
    // Not `count < rank`: with NaN among the counts the search has to go on.
    let at = finite.partition_point(|bucket| {
        !matches!(bucket.count.partial_cmp(&rank), Some(Ordering::Equal | Ordering::Greater))
    });
    let Some(bucket) = finite.get(at) else { return highest.upper };
    if at == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let before = match at.checked_sub(1).and_then(|before| finite.get(before)) {
        Some(before) => *before,
        None => ClassicBucket { upper: 0.0, count: 0.0 },
    };
    let fraction = (rank - before.count) / (bucket.count - before.count);
    before.upper + (bucket.upper - before.upper) * fraction
}

/// How many observations lie below `v`.
fn rank_of(v: f64, buckets: &[ClassicBucket], total: f64) -> f64 {
    let mut rank = 0.0;
    let mut lower = match buckets.first() {
        Some(first) if first.upper <= 0.0 => f64::NEG_INFINITY,
        _ => 0.0,
    };
    for bucket in buckets {
        if lower >= v {
            break;
        }
        if bucket.upper > v {
            // Half of an endless bucket is not known. Nothing of the last bucket counts as below a value in it, which
            // the interpolation yields by itself, and all of the first.
            if lower == f64::NEG_INFINITY {
                rank = bucket.count;
            } else {
                rank += (bucket.count - rank) * (v - lower) / (bucket.upper - lower);
            }
            break;
        }
        rank = bucket.count;
        lower = bucket.upper;
    }
    if rank > total { total } else { rank }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<ClassicBucket> {
        pairs.iter().map(|(upper, count)| ClassicBucket { upper: *upper, count: *count }).collect()
    }

    fn quantile(q: f64, pairs: &[(f64, f64)]) -> f64 {
        bucket_quantile(q, &mut buckets(pairs)).value
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_is_interpolated_between_bounds() {
        let pairs = [(INF, 12.0), (0.1, 2.0), (1.0, 10.0)];
        for (q, expected) in
            [(0.0, 0.0), (1.0 / 12.0, 0.05), (0.5, 0.55), (0.9, 1.0), (-1.0, -INF), (1.1, INF)]
        {
            assert!((quantile(q, &pairs) - expected).abs() < 1e-12 || quantile(q, &pairs) == expected, "{q}");
        }
    }

    #[test]
    fn the_lowest_bucket_below_zero_answers_its_bound() {
        assert_eq!(quantile(0.1, &[(-1.0, 5.0), (1.0, 10.0), (INF, 10.0)]), -1.0);
        assert_eq!(quantile(0.75, &[(-1.0, 5.0), (1.0, 10.0), (INF, 10.0)]), 0.0);
    }

    #[test]
    fn buckets_that_say_too_little_have_no_quantile() {
        let too_little: [&[(f64, f64)]; 5] =
            [&[], &[(INF, 3.0)], &[(1.0, 3.0)], &[(1.0, 0.0), (INF, 0.0)], &[(1.0, 1.0), (2.0, 2.0)]];
        for pairs in too_little {
            assert!(quantile(0.5, pairs).is_nan(), "{pairs:?}");
            assert!(quantile(f64::NAN, pairs).is_nan());
        }
    }

    #[test]
    fn equal_bounds_are_added_up() {
        let mut buckets = buckets(&[(1.0, 2.0), (INF, 4.0), (1.0, 2.0), (INF, 4.0)]);
        assert_eq!(bucket_quantile(0.5, &mut buckets).value, 1.0);
        assert_eq!(buckets.len(), 2);
        assert_eq!(bucket_quantile(0.5, &mut buckets).value, 1.0);
    }

    #[test]
    fn a_falling_count_is_raised_and_told() {
        let mut broken = buckets(&[(1.0, 10.0), (2.0, 8.0), (3.0, 12.0), (4.0, 11.5), (INF, 20.0)]);
        let answer = bucket_quantile(0.5, &mut broken);
        let forced = answer.forced.expect("counts went down");
        assert_eq!(forced, ForcedMonotonicity { min_bucket: 2.0, max_bucket: 4.0, max_diff: 2.0 });
        assert_eq!(answer.value, 1.0);
        assert_eq!(bucket_quantile(0.5, &mut broken).forced, None);
    }

    #[test]
    fn rounding_noise_is_removed_silently() {
        let mut noisy = buckets(&[(1.0, 1.0), (2.0, 1.0 - 1e-13), (3.0, 1.0 + 1e-13), (INF, 2.0)]);
        let answer = bucket_quantile(0.5, &mut noisy);
        assert!(answer.fixed_precision && answer.forced.is_none());
        assert_eq!(answer.value, 1.0);
    }

    #[test]
    fn a_fraction_is_the_inverse_of_a_quantile() {
        let pairs = [(0.5, 1.0), (1.0, 4.0), (8.0, 9.0), (INF, 10.0)];
        for q in [0.05, 0.1, 0.3, 0.55, 0.9] {
            let fraction = bucket_fraction(f64::NEG_INFINITY, quantile(q, &pairs), &mut buckets(&pairs));
            assert!((fraction - q).abs() < 1e-12, "{q} {fraction}");
        }
        assert_eq!(bucket_fraction(8.0, INF, &mut buckets(&pairs)), 0.1);
        assert_eq!(bucket_fraction(2.0, 1.0, &mut buckets(&pairs)), 0.0);
        assert!(bucket_fraction(f64::NAN, 1.0, &mut buckets(&pairs)).is_nan());
        assert!(bucket_fraction(0.0, 1.0, &mut Vec::new()).is_nan());
    }

    #[test]
    fn an_le_label_is_a_number_or_no_bound() {
        for (le, bound) in [("+Inf", INF), ("inf", INF), ("-Infinity", -INF), ("0.5", 0.5), ("1e3", 1e3)] {
            assert_eq!(parse_bound(le), Some(bound), "{le}");
        }
        for le in ["", "abc", "1e999", "-nan", "1 ", "0.5s"] {
            assert_eq!(parse_bound(le), None, "{le}");
        }
    }
}
