//! A sum that keeps what rounding takes away.

/// One step of Kahan's sum in Neumaier's form: adds `inc` to `sum` and what was rounded away to `compensation`.
/// The result of a summation is the sum of both in the end. Without branches, so that sums beside each other are made
/// several at a time.
#[inline]
pub fn kahan_add(inc: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + inc;
    // What rounding took away can be had exactly from the larger of the two.
    let (larger, smaller) = if sum.abs() >= inc.abs() { (sum, inc) } else { (inc, sum) };
    let lost = (larger - total) + smaller;
    (total, if total.is_infinite() { 0.0 } else { compensation + lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_takes_away_comes_back_in_the_end() {
        let mut sum = (0.0, 0.0);
        for v in [1.0, 1e100, 1.0, -1e100] {
            sum = kahan_add(v, sum.0, sum.1);
        }
        assert_eq!(sum.0 + sum.1, 2.0);
    }

    #[test]
    fn an_infinite_sum_has_no_compensation() {
        assert_eq!(kahan_add(f64::INFINITY, 1.0, 0.5), (f64::INFINITY, 0.0));
    }
}
