//! Histograms and floats as Prometheus writes them, which annotations and `count_values` show.

use std::fmt;

use model::ResetHint;

use super::FloatHistogram;
use super::bucket::Bucket;

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        let zero = self.zero_bucket();
        for bucket in self.negative_buckets_rev().chain(zero).chain(self.positive_buckets()) {
            if bucket.count != 0.0 {
                write!(f, ", {bucket}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(format_g);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

impl FloatHistogram {
    /// The histogram as test scripts write it: `{{schema:… count:… buckets:[…]}}`.
    pub fn to_test_literal(&self) -> String {
        let mut compacted = self.clone();
        // One span a side: the literal has no other gaps than empty buckets.
        compacted.compact(usize::MAX);
        let mut parts: Vec<String> = Vec::new();
        if self.schema != 0 {
            parts.push(format!("schema:{}", self.schema));
        }
        let numbers = [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ];
        parts.extend(
            numbers.iter().filter(|(_, v)| *v != 0.0).map(|(key, v)| format!("{key}:{}", format_g(*v))),
        );
        if self.uses_custom_buckets() {
            parts.push(format!("custom_values:[{}]", joined(&self.custom_values)));
        }
        match self.reset_hint {
            ResetHint::Unknown => {}
            ResetHint::Yes => parts.push("counter_reset_hint:reset".to_owned()),
            ResetHint::No => parts.push("counter_reset_hint:not_reset".to_owned()),
            ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        let sides = [
            ("offset", "buckets", &compacted.positive_spans, &compacted.positive),
            ("n_offset", "n_buckets", &compacted.negative_spans, &compacted.negative),
        ];
        for (offset_key, buckets_key, spans, counts) in sides {
            if let Some(span) = spans.first().filter(|span| span.offset != 0) {
                parts.push(format!("{offset_key}:{}", span.offset));
            }
            if !counts.is_empty() {
                parts.push(format!("{buckets_key}:[{}]", joined(counts)));
            }
        }
        format!("{{{{{}}}}}", parts.join(" "))
    }
}

fn joined(values: &[f64]) -> String {
    values.iter().map(|v| format_g(*v)).collect::<Vec<_>>().join(" ")
}

/// The shortest decimal that reads back as `v`, with an exponent below 10⁻⁴ and from 10⁶ on (Go's `%g`).
pub fn format_g(v: f64) -> String {
    if let Some(name) = special(v) {
        return name.to_owned();
    }
    let shortest = format!("{v:e}");
    let (mantissa, exponent) = split_exponent(&shortest);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count().max(1);
    // Where two decimals of that many digits are equally close, Go takes the even one if it reads back as `v`; Rust
    // rounds up to the shortest, but to the even one with a precision.
    let rounded = format!("{v:.*e}", digits - 1);
    let even = if rounded.parse() == Ok(v) { rounded } else { shortest };
    if (-4..6).contains(&exponent) { plain(&even) } else { with_go_exponent(&even) }
}

/// A decimal with an exponent of −4 to 5 without it.
fn plain(scientific: &str) -> String {
    let (mantissa, exponent) = split_exponent(scientific);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    if whole == 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    if digits.len() <= whole {
        return format!("{sign}{digits:0<whole$}");
    }
    let (whole, fraction) = digits.split_at(whole);
    format!("{sign}{whole}.{fraction}")
}

/// `v` with `digits` significant digits at most, with an exponent below 10⁻⁴ and where the digits do not reach to
/// the point (Go's `%.3g` and its like).
pub fn format_g_digits(v: f64, digits: usize) -> String {
    if let Some(name) = special(v) {
        return name.to_owned();
    }
    let digits = digits.max(1);
    let rounded = format!("{v:.*e}", digits - 1);
    let (mantissa, exponent) = split_exponent(&rounded);
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        return with_go_exponent(&format!("{}e{exponent}", without_trailing_zeros(mantissa)));
    }
    let decimals = usize::try_from(digits as i64 - 1 - i64::from(exponent)).unwrap_or(0);
    without_trailing_zeros(&format!("{v:.decimals$}")).to_owned()
}

fn special(v: f64) -> Option<&'static str> {
    if v.is_nan() {
        return Some("NaN");
    }
    if v.is_infinite() {
        return Some(if v > 0.0 { "+Inf" } else { "-Inf" });
    }
    None
}

fn split_exponent(scientific: &str) -> (&str, i32) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

fn without_trailing_zeros(decimal: &str) -> &str {
    if decimal.contains('.') { decimal.trim_end_matches('0').trim_end_matches('.') } else { decimal }
}

/// Go writes the exponent's sign always and two digits at least.
fn with_go_exponent(scientific: &str) -> String {
    let (mantissa, exponent) = split_exponent(scientific);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let cases = [
            (1e20, "1e+20", "1e+20"),
            (1_234_567.0, "1.234567e+06", "1.2e+06"),
            (999_999.0, "999999", "1e+06"),
            (100_000.0, "100000", "1e+05"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (26_506_972_977_069.0 / 32.0, "8.283429055334062e+11", "8.3e+11"),
            (2.0_f64.powi(-24), "5.960464477539063e-08", "6e-08"),
            (-0.0625, "-0.0625", "-0.062"),
            (100.5, "100.5", "1e+02"),
            (1.5e-7, "1.5e-07", "1.5e-07"),
            (2.5e300, "2.5e+300", "2.5e+300"),
            (99.9, "99.9", "1e+02"),
            (0.15, "0.15", "0.15"),
            (12.0, "12", "12"),
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (-1.25, "-1.25", "-1.2"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ];
        for (v, shortest, two_digits) in cases {
            assert_eq!(format_g(v), shortest);
            assert_eq!(format_g_digits(v, 2), two_digits);
        }
    }

    #[test]
    fn a_histogram_prints_its_populated_buckets() {
        let span = |offset, length| model::BucketSpan { offset, length };
        let histogram = FloatHistogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 11.0,
            sum: 18.4,
            positive_spans: vec![span(0, 2), span(1, 1)],
            positive: vec![1.0, 0.0, 3.5],
            negative_spans: vec![span(0, 2)],
            negative: vec![4.0, 0.5],
            reset_hint: ResetHint::Gauge,
            ..FloatHistogram::empty(0)
        };
        assert_eq!(
            histogram.to_string(),
            "{count:11, sum:18.4, [-2,-1):0.5, [-1,-0.5):4, [-0.001,0.001]:2, (0.5,1]:1, (4,8]:3.5}"
        );
        assert_eq!(
            histogram.to_test_literal(),
            "{{count:11 sum:18.4 z_bucket:2 z_bucket_w:0.001 counter_reset_hint:gauge \
             buckets:[1 0 0 3.5] n_buckets:[4 0.5]}}"
        );
    }

    #[test]
    fn custom_buckets_print_their_bounds() {
        let histogram = FloatHistogram {
            count: 3.0,
            sum: 5.0,
            positive_spans: vec![model::BucketSpan { offset: 0, length: 3 }],
            positive: vec![1.0, 1.0, 1.0],
            custom_values: vec![2.0, 4.0],
            ..FloatHistogram::empty(model::CUSTOM_BUCKETS_SCHEMA)
        };
        assert_eq!(histogram.to_string(), "{count:3, sum:5, [-Inf,2]:1, (2,4]:1, (4,+Inf]:1}");
        assert_eq!(
            histogram.to_test_literal(),
            "{{schema:-53 count:3 sum:5 custom_values:[2 4] buckets:[1 1 1]}}"
        );
    }
}
