//! Parts of the date, in UTC: of the values of a vector, or of the time of evaluation.

use model::{Labels, is_empty_cell};

use super::argument;
use crate::ast::Call;
use crate::eval::{EvalError, Evaluator, Grid, Row, Sink};

const DAY_SECONDS: u64 = 86_400;

/// Days from the day from which Go counts, 292 277 022 400 years before the year 0, to 1970.
const GO_DAYS: u64 = 106_751_991_073_400;

/// A time of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
    /// Since 1970-01-01.
    days: i64,
    second_of_day: i64,
}

/// The function of this name, if it is one of these.
pub(super) fn function(name: &str) -> Option<fn(Date) -> i64> {
    Some(match name {
        "minute" => |date| date.second_of_day / 60 % 60,
        "hour" => |date| date.second_of_day / 3600,
        // 1970 began with a Thursday.
        "day_of_week" => |date| (date.days + 4).rem_euclid(7),
        "day_of_month" => |date| date.day,
        "day_of_year" => |date| date.days - first_day(date.year, 1) + 1,
        "days_in_month" => |date| {
            let (year, month) =
                if date.month == 12 { (date.year + 1, 1) } else { (date.year, date.month + 1) };
            first_day(year, month) - first_day(date.year, date.month)
        },
        "month" => |date| date.month,
        "year" => |date| date.year,
        _ => return None,
    })
}

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    part: fn(Date) -> i64,
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

/// Every value has a date, in Prometheus: what is no number of seconds is the least there is, and seconds beyond the
/// calendar wrap around.
fn part_of(seconds: f64, part: fn(Date) -> i64) -> f64 {
    let is_time = (-(2f64.powi(63))..2f64.powi(63)).contains(&seconds);
    part(Date::of(if is_time { seconds as i64 } else { i64::MIN })) as f64
}

impl Date {
    fn of(seconds: i64) -> Date {
        let counted = (seconds as u64).wrapping_add(GO_DAYS * DAY_SECONDS);
        let days = (counted / DAY_SECONDS) as i64 - GO_DAYS as i64;
        // Years begin with March here, so that the odd day is their last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let is_next_year = month_from_march >= 10;
        Date {
            year: era * 400 + year_of_era + i64::from(is_next_year),
            month: if is_next_year { month_from_march - 9 } else { month_from_march + 3 },
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            days,
            second_of_day: (counted % DAY_SECONDS) as i64,
        }
    }
}

/// The first day of a month, since 1970-01-01.
fn first_day(year: i64, month: i64) -> i64 {
    let (year, month_from_march) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(seconds: f64) -> [f64; 8] {
        let names = [
            "year",
            "month",
            "day_of_month",
            "day_of_year",
            "days_in_month",
            "day_of_week",
            "hour",
            "minute",
        ];
        names.map(|name| part_of(seconds, function(name).unwrap()))
    }

    #[test]
    fn dates_are_taken_apart_in_utc() {
        // 2016-02-29 23:59:59 UTC, a Monday.
        assert_eq!(parts(1_456_790_399.0), [2016.0, 2.0, 29.0, 60.0, 29.0, 1.0, 23.0, 59.0]);
        assert_eq!(parts(-1.0), [1969.0, 12.0, 31.0, 365.0, 31.0, 3.0, 23.0, 59.0]);
        assert_eq!(parts(0.0), [1970.0, 1.0, 1.0, 1.0, 31.0, 4.0, 0.0, 0.0]);
        assert_eq!(parts(951_782_400.0), [2000.0, 2.0, 29.0, 60.0, 29.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_no_time_has_the_date_that_it_has_in_prometheus() {
        let last = [292_277_026_596.0, 12.0, 4.0, 339.0, 31.0, 0.0, 15.0, 30.0];
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e19] {
            assert_eq!(parts(value), last, "{value}");
        }
    }
}
