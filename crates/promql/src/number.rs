//! How Prometheus writes numbers: the formats of Go's `strconv` that show in messages and labels.

/// Go's `%g` with the shortest digits that read back: exponents below −4 and from 6 on.
pub(crate) fn shortest(value: f64) -> String {
    if let Some(special) = special(value) {
        return special.to_string();
    }
    let (digits, exponent) = decimal(&shortest_scientific(value));
    general(value.is_sign_negative(), &digits, exponent, 6)
}

/// Go's `%.<n>g`.
pub(crate) fn with_digits(value: f64, n: usize) -> String {
    if let Some(special) = special(value) {
        return special.to_string();
    }
    let (digits, exponent) = decimal(&format!("{value:.*e}", n.max(1) - 1));
    let trimmed = digits.trim_end_matches('0');
    let digits = if trimmed.is_empty() { "0" } else { trimmed };
    general(value.is_sign_negative(), digits, exponent, n as i32)
}

/// Go's `FormatFloat(value, 'f', -1, 64)`: never an exponent.
pub(crate) fn plain(value: f64) -> String {
    if let Some(special) = special(value) {
        return special.to_string();
    }
    let (digits, exponent) = decimal(&shortest_scientific(value));
    positional(value.is_sign_negative(), &digits, exponent)
}

/// As a label of OpenMetrics: like [`shortest`], but a whole number gets `.0`.
pub(crate) fn open_metrics(value: f64) -> String {
    let text = shortest(value);
    if text.contains(['e', '.', 'N', 'I']) { text } else { text + ".0" }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    if value.is_infinite() {
        return Some(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    None
}

/// The fewest digits that read back as `value`. Where two decimals of as many digits are equally close, Go takes the
/// even one if it reads back; so does Rust for a given number of digits, but not for the shortest.
fn shortest_scientific(value: f64) -> String {
    let shortest = format!("{value:e}");
    let (digits, _) = decimal(&shortest);
    let even = format!("{value:.*e}", digits.len().max(1) - 1);
    if even.parse() == Ok(value) { even } else { shortest }
}

/// Splits `d.ddde±x` into digits and exponent.
fn decimal(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
    (digits, exponent.parse().unwrap_or(0))
}

fn general(negative: bool, digits: &str, exponent: i32, exponent_from: i32) -> String {
    let sign = if negative { "-" } else { "" };
    if exponent < -4 || exponent >= exponent_from {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs());
    }
    positional(negative, digits, exponent)
}

/// Without an exponent.
fn positional(negative: bool, digits: &str, exponent: i32) -> String {
    let sign = if negative { "-" } else { "" };
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    let (before, after) = digits.split_at(whole);
    format!("{sign}{before}.{after}")
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
