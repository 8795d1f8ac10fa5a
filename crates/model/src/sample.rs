/// The bits that mark a series as ended (Prometheus, `model/value`: `StaleNaN`).
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The bits of an empty cell in a column: a scrape in which the series had no sample. Never a sample's value:
/// a sample that arrives with these bits is stored as the ordinary NaN `0x7ff8000000000001`.
pub const EMPTY: u64 = 0x7ff4_6669_726e_0000;

/// Whether the value is a stale marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// Whether the cell holds no sample.
pub fn is_empty_cell(value: f64) -> bool {
    value.to_bits() == EMPTY
}

/// Which of two values of one series at one timestamp everyone keeps: a value over a stale marker, then the
/// greater value, then the greater bits.
pub fn resolve(a: f64, b: f64) -> f64 {
    let rank = |v: f64| (!is_stale(v), !v.is_nan());
    match rank(a).cmp(&rank(b)).then(a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal if a.to_bits() >= b.to_bits() => a,
        std::cmp::Ordering::Equal => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_resolved_alike_from_both_sides() {
        let stale = f64::from_bits(STALE_NAN);
        let values = [1.0, 2.0, -0.0, 0.0, f64::NAN, stale, f64::INFINITY];
        for a in values {
            for b in values {
                assert_eq!(resolve(a, b).to_bits(), resolve(b, a).to_bits(), "{a} {b}");
            }
        }
        assert_eq!(resolve(stale, 1.0), 1.0);
        assert_eq!(resolve(1.0, 2.0), 2.0);
        assert_eq!(resolve(f64::NAN, 1.0), 1.0);
    }
}
