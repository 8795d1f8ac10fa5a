/// The fewest decimal digits that read back as a double and, of two texts that are equally near, the one with the even
/// last digit: what Go writes (Adams, "Ryū: fast float-to-string conversion", 2018).
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    is_negative: bool,
    digits: [u8; MOST_CHARS],
    from: usize,
    to: usize,
    exponent: i32,
}

/// The most digits that are written before zeros are cut off: five zeros of `0.0000…` and the digits of a double.
const MOST_CHARS: usize = 24;

impl Digits {
    /// The digits of a finite number; `None` for others.
    pub fn of(value: f64) -> Option<Digits> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value.abs()).as_bytes();
        let mut digits = [b'0'; MOST_CHARS];
        let (mut n, mut whole, mut scale) = (0, None, 0);
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'.' => whole = Some(n),
                b'e' => {
                    scale = std::str::from_utf8(&text[at + 1..]).ok()?.parse().ok()?;
                    break;
                }
                digit => {
                    *digits.get_mut(n)? = digit;
                    n += 1;
                }
            }
        }
        let is_digit = |digit: &u8| *digit != b'0';
        let from = digits[..n].iter().position(is_digit).unwrap_or(n - 1);
        let to = digits[..n].iter().rposition(is_digit).unwrap_or(n - 1) + 1;
        let exponent = if from == to - 1 && digits[from] == b'0' {
            0
        } else {
            whole.unwrap_or(n) as i32 - 1 - from as i32 + scale
        };
        Some(Digits { is_negative: value.is_sign_negative(), digits, from, to, exponent })
    }

    /// The power of ten of the first digit.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// The digits, without zeros at either end; `0` for zero.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.from..self.to]).unwrap_or_default()
    }

    /// Appends the number without an exponent: `-0.0015`, `1200`.
    pub fn put_positional(&self, out: &mut String) {
        self.put_sign(out);
        let digits = self.as_str();
        let Ok(before_point) = usize::try_from(self.exponent + 1) else {
            out.push_str("0.");
            put_zeros(self.exponent.unsigned_abs() as usize - 1, out);
            out.push_str(digits);
            return;
        };
        if before_point == 0 {
            out.push_str("0.");
            out.push_str(digits);
        } else if digits.len() <= before_point {
            out.push_str(digits);
            put_zeros(before_point - digits.len(), out);
        } else {
            let (before, after) = digits.split_at(before_point);
            out.push_str(before);
            out.push('.');
            out.push_str(after);
        }
    }

    /// Appends the number with an exponent of at least so many digits: `1.5e-07`, `1e+21`.
    pub fn put_scientific(&self, exponent_digits: usize, out: &mut String) {
        self.put_sign(out);
        let (first, rest) = self.as_str().split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        out.push('e');
        out.push(if self.exponent < 0 { '-' } else { '+' });
        let exponent = self.exponent.unsigned_abs().to_string();
        put_zeros(exponent_digits.saturating_sub(exponent.len()), out);
        out.push_str(&exponent);
    }

    fn put_sign(&self, out: &mut String) {
        if self.is_negative {
            out.push('-');
        }
    }
}

fn put_zeros(n: usize, out: &mut String) {
    out.extend(std::iter::repeat_n('0', n));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> (String, String) {
        let (mut positional, mut scientific) = (String::new(), String::new());
        let digits = Digits::of(value).unwrap();
        digits.put_positional(&mut positional);
        digits.put_scientific(2, &mut scientific);
        (positional, scientific)
    }

    #[test]
    fn a_number_is_written_in_its_fewest_digits_in_both_notations() {
        for (value, positional, scientific) in [
            (0.0, "0", "0e+00"),
            (-0.0, "-0", "-0e+00"),
            (1.0, "1", "1e+00"),
            (-10.0, "-10", "-1e+01"),
            (0.1, "0.1", "1e-01"),
            (0.1 + 0.2, "0.30000000000000004", "3.0000000000000004e-01"),
            (1_234_567.5, "1234567.5", "1.2345675e+06"),
            (0.000_012_3, "0.0000123", "1.23e-05"),
            (1e21, "1000000000000000000000", "1e+21"),
            (-1.5e-7, "-0.00000015", "-1.5e-07"),
            (1e100, &format!("1{}", "0".repeat(100)), "1e+100"),
            // Halfway between two decimals of sixteen digits: the even one, unless it reads back as another number.
            (26_506_972_977_069.0 / 32.0, "828342905533.4062", "8.283429055334062e+11"),
            (2f64.powi(-25), "0.000000029802322387695312", "2.9802322387695312e-08"),
        ] {
            assert_eq!(written(value), (positional.to_string(), scientific.to_string()), "{value}");
        }
    }

    #[test]
    fn both_notations_read_back_as_the_same_bits() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits ^ bits >> 29);
            let Some(digits) = Digits::of(value) else { continue };
            assert!(digits.as_str().len() <= 17, "{value:e}");
            let (positional, scientific) = written(value);
            for text in [positional, scientific] {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            }
        }
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324] {
            assert_eq!(written(value).1.parse(), Ok(value));
        }
        assert!(Digits::of(f64::NAN).is_none() && Digits::of(f64::INFINITY).is_none());
    }
}
