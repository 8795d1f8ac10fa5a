use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as Prometheus writes it: `1h30m`, `10m`, `15s`, `250ms`, `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PromDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration")]
    Empty,
    /// Not a sequence of numbers with units.
    #[error("not a valid duration: {0:?} (write it like 1h30m, 10m, 15s or 250ms)")]
    Invalid(String),
    /// More milliseconds than fit.
    #[error("duration out of range: {0:?}")]
    OutOfRange(String),
}

/// The units in the only order in which they may appear, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses a duration in the form of Prometheus: whole numbers with units from large to small, each unit once;
/// `0` needs none.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || DurationError::Invalid(text.to_string());
    let out_of_range = || DurationError::OutOfRange(text.to_string());
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(invalid());
        }
        let (_, millis) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*millis));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(out_of_range)?;
        rest = tail;
    }
    // Everything that computes with durations does so in signed nanoseconds or milliseconds.
    if total > i64::MAX as u64 / 1_000_000 {
        return Err(out_of_range());
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in the form that [`parse_duration`] reads; what is below a millisecond falls away.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_string();
    }
    let mut text = String::new();
    for (unit, millis) in UNITS {
        // Years and weeks only where nothing remains, as Prometheus prints them.
        let exact_only = unit == "y" || unit == "w";
        if exact_only && !rest.is_multiple_of(millis) {
            continue;
        }
        let n = rest / millis;
        if n > 0 {
            text.push_str(&format!("{n}{unit}"));
            rest -= n * millis;
        }
    }
    text
}

fn split_where(text: &str, at: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(at).unwrap_or(text.len()))
}

impl PromDuration {
    /// A duration of so many seconds.
    pub const fn secs(secs: u64) -> PromDuration {
        PromDuration(Duration::from_secs(secs))
    }

    /// Milliseconds, the unit of timestamps.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Deref for PromDuration {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<PromDuration, DurationError> {
        parse_duration(text).map(PromDuration)
    }
}

impl Serialize for PromDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PromDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PromDuration, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = PromDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PromDuration, E> {
        text.parse().map_err(E::custom)
    }

    /// A bare number is a mistake unless it is 0: nobody knows its unit.
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PromDuration, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PromDuration, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1d12h", 129_600_000),
            ("4w", 2_419_200_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "1", "m", "10", "-1m", "1.5h", "1m1h", "1m1m", "1x", "1h ", "ms1"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
        assert!(matches!(parse_duration("294y"), Err(DurationError::OutOfRange(_))));
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in
            [0, 1, 999, 1000, 60_000, 5_400_000, 86_400_000, 604_800_000, 31_536_000_000, 123_456_789]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "{millis}");
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(format_duration(Duration::from_secs(8 * 86_400)), "8d");
    }
}
