//! Parts of the date, in UTC: of the values of a vector, or of the time of evaluation.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::{Labels, is_empty_cell};

use super::argument;
use crate::ast::Call;
use crate::eval::{EvalError, Evaluator, Grid, Row, Sink};

/// The function of this name, if it is one of these.
pub(super) fn function(name: &str) -> Option<fn(DateTime) -> i64> {
    Some(match name {
        "minute" => |t| i64::from(t.minute()),
        "hour" => |t| i64::from(t.hour()),
        "day_of_week" => |t| i64::from(t.weekday().to_sunday_zero_offset()),
        "day_of_month" => |t| i64::from(t.day()),
        "day_of_year" => |t| i64::from(t.day_of_year()),
        "days_in_month" => |t| i64::from(t.days_in_month()),
        "month" => |t| i64::from(t.month()),
        "year" => |t| i64::from(t.year()),
        _ => return None,
    })
}

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    part: fn(DateTime) -> i64,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    if call.args.is_empty() {
        let mut values: Vec<f64> = grid.times().map(|time| part_of((time / 1000) as f64, part)).collect();
        return sink(Row {
            labels: &Labels::empty(),
            drop_name: false,
            floats: &mut values,
            histograms: &mut [],
        });
    }
    evaluator.rows(argument(call, 0)?, grid, &mut |row| {
        for value in row.floats.iter_mut().filter(|v| !is_empty_cell(**v)) {
            *value = part_of(*value, part);
        }
        let row = Row { drop_name: true, histograms: &mut [], ..row };
        if row.is_empty() { Ok(()) } else { sink(row) }
    })
}

/// A value that is no time has no date.
fn part_of(seconds: f64, part: fn(DateTime) -> i64) -> f64 {
    let timestamp = jiff::Timestamp::from_second(seconds as i64);
    timestamp.map_or(f64::NAN, |timestamp| part(TimeZone::UTC.to_datetime(timestamp)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_taken_apart_in_utc() {
        let part = |name: &str, seconds: f64| part_of(seconds, function(name).unwrap());
        // 2016-02-29 23:59:59 UTC, a Monday.
        let leap_day = 1_456_790_399.0;
        let parts = ["year", "month", "day_of_month", "day_of_year", "days_in_month", "day_of_week", "hour"]
            .map(|name| part(name, leap_day));
        assert_eq!(parts, [2016.0, 2.0, 29.0, 60.0, 29.0, 1.0, 23.0]);
        assert_eq!(part("minute", -1.0), 59.0);
        assert!(part("year", 1e300).is_nan());
    }
}
