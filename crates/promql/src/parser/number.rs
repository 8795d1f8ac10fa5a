use crate::lexer::is_number_word;

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The units of durations in their order, with their nanoseconds. A year has 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Reads an unsigned number as Go does: an integer in the base of its prefix (`0x`, `0b`, `0o`, or a leading zero),
/// else a decimal (`None` beyond what a float holds); underscores may separate digits; `Inf` and `NaN` in any case.
pub fn parse_number(text: &str) -> Option<f64> {
    if is_number_word(text) {
        let infinite = text.eq_ignore_ascii_case("inf");
        return Some(if infinite { f64::INFINITY } else { f64::NAN });
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let digits = without_underscores(text)?;
    if let Some(integer) = parse_integer(&digits) {
        return Some(integer as f64);
    }
    digits.parse().ok().filter(|value: &f64| value.is_finite())
}

/// `None` where an underscore does not stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let between = |i: usize| {
        let left = i.checked_sub(1).and_then(|i| bytes.get(i));
        let right = bytes.get(i + 1);
        let is_digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
        (is_digit(left) || (i == 2 && matches!(left, Some(b'x' | b'X')))) && is_digit(right)
    };
    let all_between = bytes.iter().enumerate().all(|(i, b)| *b != b'_' || between(i));
    all_between.then(|| text.replace('_', ""))
}

fn parse_integer(digits: &str) -> Option<i64> {
    let lower = digits.to_ascii_lowercase();
    for (prefix, base) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return i64::from_str_radix(rest, base).ok();
        }
    }
    let base = if lower.len() > 1 && lower.starts_with('0') { 8 } else { 10 };
    i64::from_str_radix(&lower, base).ok()
}

/// Reads a duration literal into nanoseconds.
fn parse_nanos(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let mut total: u64 = 0;
    let mut rest = text;
    let mut allowed = &UNITS[..];
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let value: u64 = digits.parse().map_err(|_| invalid())?;
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        }
        let at = allowed.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let nanos = value.checked_mul(allowed[at].1).and_then(|n| total.checked_add(n));
        total = nanos.filter(|n| i64::try_from(*n).is_ok()).ok_or("duration out of range")?;
        allowed = &allowed[at + 1..];
        rest = tail;
    }
    i64::try_from(total).map_err(|_| "duration out of range".to_string())
}

/// Reads a duration literal into seconds.
pub(super) fn parse_duration(text: &str) -> Result<f64, String> {
    Ok(parse_nanos(text)? as f64 / SECOND)
}

/// Reads a duration (`1h30m`, `0`) into milliseconds, as the HTTP API and configuration write them.
pub fn parse_duration_millis(text: &str) -> Result<i64, String> {
    match text {
        "" => Err("empty duration string".to_string()),
        "0" => Ok(0),
        _ => Ok(parse_nanos(text)? / 1_000_000),
    }
}

/// Whole milliseconds of a number of seconds; parts of a millisecond are dropped, as the engine drops them, unless
/// they are what binary fractions leave over. A NaN is the least duration, as it is for Go on amd64.
pub(crate) fn to_millis(seconds: f64) -> i64 {
    if seconds.is_nan() {
        return i64::MIN / 1_000_000;
    }
    let millis = seconds * 1000.0;
    let nearest = millis.round();
    let is_whole = (millis - nearest).abs() <= nearest.abs() * 1e-12;
    if is_whole { nearest as i64 } else { millis as i64 }
}

/// Whether a duration of this many seconds has no nanoseconds in 64 bits. A NaN is in range, as in Prometheus.
pub(crate) fn is_out_of_range(seconds: f64) -> bool {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0 / SECOND;
    seconds.abs() > LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_go() {
        let cases = [
            ("12.34e6", 12.34e6),
            (".2", 0.2),
            ("2.", 2.0),
            ("0xFF", 255.0),
            ("0X_1f", 31.0),
            ("017", 15.0),
            ("09", 9.0),
            ("1_000.5", 1000.5),
            ("inF", f64::INFINITY),
            ("18446744073709551616", 18446744073709551616.0),
        ];
        for (text, value) in cases {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        assert!(parse_number("NaN").is_some_and(f64::is_nan));
        for bad in ["", "1_", "_1", "1__0", "infinity", "0x", "1e", "-1", "+1", "x", "1e999"] {
            assert_eq!(parse_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_ordered_from_years_to_milliseconds() {
        assert_eq!(parse_duration("1y2w3d4h5m6s7ms"), Ok(33019506.007));
        assert_eq!(parse_duration("90m"), Ok(5400.0));
        assert_eq!(parse_duration("1m1h"), Err("not a valid duration string: \"1m1h\"".to_string()));
        assert_eq!(parse_duration("1hs"), Err("unknown unit \"hs\" in duration \"1hs\"".to_string()));
        assert_eq!(parse_duration("300y"), Err("duration out of range".to_string()));
    }
}
