//! Numbers as texts: what most answers are made of.

use model::Digits;

/// Integers below are doubles without rounding: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Decimals of fifteen digits are all different doubles, so that one which reads back as the same double has its fewest
/// digits.
const FIFTEEN_DIGITS: f64 = 1e15;

/// Writes a float as Go's `encoding/json` does: shortest digits, an exponent below 1e-6 and from 1e21 on.
pub(crate) fn write_float(out: &mut String, value: f64) {
    let magnitude = value.abs();
    if !(1e-5..EXACT).contains(&magnitude) && magnitude != 0.0 {
        return write_far_float(out, value);
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    // Most values are integers or have few decimals, and those are written without a search for the shortest digits.
    let (millionths, of_one) = (magnitude * 1e6, 1_000_000);
    if magnitude.trunc() == magnitude {
        push_integer(out, magnitude as u64);
    } else if millionths < FIFTEEN_DIGITS && millionths.trunc() == millionths && millionths / 1e6 == magnitude
    {
        let millionths = millionths as u64;
        push_integer(out, millionths / of_one);
        out.push('.');
        out.push_str(decimals(&mut itoa::Buffer::new(), millionths, of_one).trim_end_matches('0'));
    } else {
        // With a point and without an exponent between these bounds.
        out.push_str(ryu::Buffer::new().format_finite(magnitude));
    }
}

/// A float whose digits may lie far from the point, or that is none.
fn write_far_float(out: &mut String, value: f64) {
    match Digits::of(value) {
        Some(digits) if (1e-6..1e21).contains(&value.abs()) => digits.put_positional(out),
        Some(digits) => digits.put_scientific(2, out),
        None if value.is_nan() => out.push_str("NaN"),
        None => out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
    }
}

/// Writes a timestamp: seconds with three decimals unless whole.
pub(crate) fn write_timestamp(out: &mut String, ms: i64) {
    if ms < 0 {
        out.push('-');
    }
    let ms = ms.unsigned_abs();
    push_integer(out, ms / 1000);
    if !ms.is_multiple_of(1000) {
        out.push('.');
        out.push_str(decimals(&mut itoa::Buffer::new(), ms, 1000));
    }
}

/// What is left of a number of parts, of which `of_one` are one, as decimals.
fn decimals(buffer: &mut itoa::Buffer, parts: u64, of_one: u64) -> &str {
    &buffer.format(of_one + parts % of_one)[1..]
}

fn push_integer(out: &mut String, value: u64) {
    out.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> String {
        let mut out = String::new();
        write_float(&mut out, value);
        out
    }

    #[test]
    fn of_two_texts_that_are_equally_near_the_even_one_is_written() {
        assert_eq!(float(2f64.powi(-25)), "2.9802322387695312e-08");
        assert_eq!(float(-(2f64.powi(-25))), "-2.9802322387695312e-08");
        assert_eq!(float(0.1), "0.1");
        assert_eq!(float(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(float(5e-324), "5e-324");
        assert_eq!(float(1.0 / 3.0), "0.3333333333333333");
    }

    #[test]
    fn floats_look_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-1_234_567_890.0, "-1234567890"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1_234_567.5, "1234567.5"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-07"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn short_ways_to_write_a_number_give_its_fewest_digits() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..40_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let decimal = (bits >> 12) as f64 / 10f64.powi(round % 19);
            for value in [decimal, -decimal, f64::from_bits(bits ^ bits >> 29)] {
                let mut digits = String::new();
                write_far_float(&mut digits, value);
                assert_eq!(float(value), digits, "{value:e}");
            }
        }
    }

    #[test]
    fn timestamps_are_seconds_with_three_decimals_unless_whole() {
        for (ms, text) in [
            (0, "0"),
            (1_500, "1.500"),
            (-1, "-0.001"),
            (-2_000, "-2"),
            (1_795_203_561_042, "1795203561.042"),
        ] {
            let mut out = String::new();
            write_timestamp(&mut out, ms);
            assert_eq!(out, text);
        }
    }
}
