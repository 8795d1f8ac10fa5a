//! How Prometheus writes numbers: the formats of Go's `strconv` that show in messages and labels.

use model::Digits;

/// Go's `%g` with the shortest digits that read back: exponents below −4 and from 6 on.
pub fn shortest(value: f64) -> String {
    general(value, 6)
}

/// Go's `%.<n>g`, for fewer digits than a double has.
pub(crate) fn with_digits(value: f64, n: usize) -> String {
    let rounded = format!("{value:.*e}", n.max(1) - 1).parse().unwrap_or(value);
    general(rounded, n as i32)
}

/// Go's `FormatFloat(value, 'f', -1, 64)`: never an exponent.
pub(crate) fn plain(value: f64) -> String {
    let Some(digits) = Digits::of(value) else { return special(value).to_string() };
    let mut text = String::new();
    digits.put_positional(&mut text);
    text
}

/// As a label of OpenMetrics: like [`shortest`], but a whole number gets `.0`.
pub(crate) fn open_metrics(value: f64) -> String {
    let text = shortest(value);
    if text.contains(['e', '.', 'N', 'I']) { text } else { text + ".0" }
}

fn general(value: f64, exponent_from: i32) -> String {
    let Some(digits) = Digits::of(value) else { return special(value).to_string() };
    let mut text = String::new();
    if (-4..exponent_from).contains(&digits.exponent()) {
        digits.put_positional(&mut text);
    } else {
        digits.put_scientific(2, &mut text);
    }
    text
}

fn special(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "+Inf",
        _ => "-Inf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (2.5e300, "2.5e+300"),
            // Halfway between two decimals of sixteen digits: the even one, unless it reads back as another number.
            (26_506_972_977_069.0 / 32.0, "8.283429055334062e+11"),
            (2.0_f64.powi(-24), "5.960464477539063e-08"),
            (1.5e-5, "1.5e-05"),
            (123_456.789, "123456.789"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(shortest(value), text);
        }
        assert_eq!(with_digits(12.345, 2), "12");
        assert_eq!(with_digits(1.0, 2), "1");
        assert_eq!(with_digits(1234.0, 2), "1.2e+03");
        assert_eq!(with_digits(0.000_012_34, 2), "1.2e-05");
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(-1.5e-7), "-0.00000015");
        assert_eq!(plain(-0.0), "-0");
        assert_eq!(plain(1234.5), "1234.5");
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.9), "0.9");
    }
}
