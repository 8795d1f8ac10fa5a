use jiff::Timestamp;

/// Prometheus's names for the ends of time (`web/api/v1`: `MinTime`, `MaxTime`).
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

/// A time in float seconds or RFC 3339, as milliseconds.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(secs) = text.parse::<f64>() {
        return to_millis(secs).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"));
    }
    match text {
        MIN_TIME => Ok(i64::MIN),
        MAX_TIME => Ok(i64::MAX),
        _ => match text.parse::<Timestamp>() {
            Ok(time) => Ok(time.as_millisecond()),
            Err(_) => Err(format!("cannot parse {text:?} to a valid timestamp")),
        },
    }
}

/// Milliseconds in RFC 3339.
pub fn format_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// Float seconds as milliseconds, unless they do not fit. As in Prometheus, the part behind the point is rounded by
/// itself: together with the whole seconds of our days it would round elsewhere.
fn to_millis(secs: f64) -> Option<i64> {
    let whole = secs.trunc();
    let ms = whole * 1000.0 + ((secs - whole) * 1000.0).round();
    // 2^63 is the first float that does not fit.
    (ms.is_finite() && ms.abs() < 9_223_372_036_854_775_808.0).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_float_seconds_or_rfc_3339() {
        assert_eq!(parse_time("1.5"), Ok(1500));
        assert_eq!(parse_time("1435781451.781"), Ok(1_435_781_451_781));
        // What is behind the point of the nearest double is a little more than the half, and a little less.
        assert_eq!(parse_time("1435781451.7815"), Ok(1_435_781_451_782));
        assert_eq!(parse_time("-1.0005"), Ok(-1000));
        assert_eq!(parse_time("4.0004"), Ok(4000));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("2015-07-01T22:10:51.781+02:00"), Ok(1_435_781_451_781));
        assert_eq!(parse_time(MIN_TIME), Ok(i64::MIN));
        assert_eq!(format_time(1_435_781_451_781), "2015-07-01T20:10:51.781Z");
        for bad in ["", "now", "1e300", "NaN", "30s"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
