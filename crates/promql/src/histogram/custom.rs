//! Custom buckets whose bounds differ.

use super::kahan::kahan_add;
use super::spans::Compensated;

/// The bounds that are in both lists, which ascend.
pub(super) fn intersection(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().copied().peekable();
    let mut both = Vec::new();
    for bound in a {
        while b.next_if(|other| other < bound).is_some() {}
        if b.next_if(|other| other == bound).is_some() {
            both.push(*bound);
        }
    }
    both
}

/// Adds buckets with the bounds `from` to `totals`, the buckets with the bounds `to`, which are some of `from`, and
/// after them that up to +Inf. A total comes with what rounding took away from it.
pub(super) fn rebin(
    totals: &mut [(f64, f64)],
    to: &[f64],
    from: &[f64],
    buckets: impl Iterator<Item = Compensated>,
) {
    for (index, count, lost) in buckets {
        let upper = usize::try_from(index).ok().and_then(|at| from.get(at));
        let target = upper.map_or(to.len(), |upper| to.partition_point(|bound| bound < upper));
        let Some((total, total_lost)) = totals.get_mut(target) else { continue };
        (*total, *total_lost) = kahan_add(count, *total, *total_lost);
        (*total, *total_lost) = kahan_add(lost, *total, *total_lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bounds_of_both_lists_remain() {
        assert_eq!(intersection(&[1.0, 2.0, 5.0, 10.0], &[2.0, 3.0, 10.0, 20.0]), [2.0, 10.0]);
        assert_eq!(intersection(&[1.0], &[]), [0.0; 0]);
    }

    #[test]
    fn a_bucket_goes_where_its_upper_bound_is() {
        let mut totals = vec![(0.0, 0.0); 3];
        let buckets = [(0, 1.0, 0.0), (1, 2.0, 0.0), (2, 4.0, 0.0), (3, 8.0, 0.0), (4, 16.0, 0.0)];
        rebin(&mut totals, &[2.0, 10.0], &[1.0, 2.0, 5.0, 10.0], buckets.into_iter());
        assert_eq!(totals, [(3.0, 0.0), (12.0, 0.0), (16.0, 0.0)]);
    }
}
