//! `deriv` and `predict_linear`: the line through the samples of a window with the least squares.

use model::EMPTY;

use super::lanes;
use super::window::{FloatRow, Window};
use crate::eval::are_tame;
use crate::histogram::kahan_inc;

/// What is known of the lines through the samples of each window before values are seen.
pub(crate) struct Lines {
    /// The times of all samples in milliseconds from the first.
    times: Vec<f64>,
    /// The same in seconds, if one sample is as far from the next as any other.
    regular: Option<Vec<f64>>,
    windows: Vec<Xs>,
}

/// What a window's times come to.
#[derive(Clone, Copy)]
struct Xs {
    /// From where times are counted, in milliseconds from the first sample of all.
    origin: f64,
    /// The sum of the times, in seconds.
    sum: f64,
    variance: f64,
}

impl Lines {
    fn of(row: &FloatRow<'_>, origin: impl Fn(usize) -> i64) -> Lines {
        let times = &row.track.times;
        let since = |time: i64| time.saturating_sub(times[0]) as f64;
        let is_regular = times.windows(3).all(|three| three[1] - three[0] == three[2] - three[1]);
        let mut windows: Vec<Xs> = Vec::with_capacity(row.grid.steps);
        // How many samples the last window had, and how far from its origin.
        let mut last = None;
        for step in 0..row.grid.steps {
            let window = &times[row.steps.window(step)];
            let origin = if window.is_empty() { 0 } else { origin(step) };
            let shape = window.first().map(|first| (window.len(), first - origin));
            let xs = match windows.last() {
                Some(known) if is_regular && shape == last => *known,
                _ => Xs::of(window, origin),
            };
            windows.push(Xs { origin: since(origin), ..xs });
            last = shape;
        }
        let secs = || times.iter().map(|time| since(*time) / 1e3).collect();
        Lines {
            times: times.iter().map(|time| since(*time)).collect(),
            regular: is_regular.then(secs),
            windows,
        }
    }
}

impl Xs {
    fn of(times: &[i64], origin: i64) -> Xs {
        let (mut x, mut xx) = ((0.0, 0.0), (0.0, 0.0));
        for time in times {
            let at = (time - origin) as f64 / 1e3;
            x = kahan_inc(at, x.0, x.1);
            xx = kahan_inc(at * at, xx.0, xx.1);
        }
        let (x, xx) = (x.0 + x.1, xx.0 + xx.1);
        Xs { origin: 0.0, sum: x, variance: xx - x * x / times.len() as f64 }
    }
}

/// Slope and value at `origin` of the line.
fn regression(times: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    if let Some(line) = level(values) {
        return line;
    }
    let n = values.len() as f64;
    let (mut x, mut y, mut xy, mut xx) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (time, value) in times.iter().zip(values) {
        let at = (time - origin) as f64 / 1e3;
        x = kahan_inc(at, x.0, x.1);
        y = kahan_inc(*value, y.0, y.1);
        xy = kahan_inc(at * value, xy.0, xy.1);
        xx = kahan_inc(at * at, xx.0, xx.1);
    }
    let (x, xx) = (x.0 + x.1, xx.0 + xx.1);
    line((x, xx - x * x / n), (y.0 + y.1, xy.0 + xy.1), n)
}

/// The line through values that are all the same.
fn level(values: &[f64]) -> Option<(f64, f64)> {
    let first = values[0];
    let is_level = values.len() == 1 || values.iter().all(|v| *v == first);
    let line = if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    is_level.then_some(line)
}

fn line((x, variance): (f64, f64), (y, xy): (f64, f64), n: f64) -> (f64, f64) {
    let covariance = xy - x * y / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

pub(super) fn deriv(window: &Window<'_>) -> f64 {
    if window.floats.len() < 2 {
        return f64::from_bits(EMPTY);
    }
    // An origin near the samples keeps the products small.
    regression(window.times(), window.values(), window.times()[0]).0
}

pub(super) fn predict(window: &Window<'_>) -> f64 {
    if window.floats.len() < 2 {
        return f64::from_bits(EMPTY);
    }
    let (slope, intercept) = regression(window.times(), window.values(), window.time);
    slope * window.args[0] + intercept
}

pub(super) fn deriv_row(row: &FloatRow<'_>, cells: &mut [f64]) -> bool {
    let origin = |step: usize| row.track.times[row.steps.window(step).start];
    lines(row, origin, |_, (slope, _)| slope, cells)
}

pub(super) fn predict_row(row: &FloatRow<'_>, cells: &mut [f64]) -> bool {
    let ahead = row.args.first().map_or(&[][..], Vec::as_slice);
    let predict = |step: usize, (slope, intercept): (f64, f64)| slope * ahead[step] + intercept;
    lines(row, |step| row.grid.time(step), predict, cells)
}

/// Writes what `result` makes of the line of each step; whether there is one.
fn lines(
    row: &FloatRow<'_>,
    origin: impl Fn(usize) -> i64,
    result: impl Fn(usize, (f64, f64)) -> f64,
    cells: &mut [f64],
) -> bool {
    let (times, values) = (&row.track.times, &row.track.values);
    if times.len() < 2 {
        return false;
    }
    let known = row.steps.known.lines.get_or_init(|| Lines::of(row, &origin));
    let mut any = false;
    for (step, cell) in cells.iter_mut().enumerate() {
        let window = row.steps.window(step);
        if window.len() < 2 {
            *cell = f64::from_bits(EMPTY);
            continue;
        }
        any = true;
        let some = &values[window.clone()];
        let found = match row.track.is_tame || are_tame(some) {
            true => level(some).unwrap_or_else(|| known.line(step, window.clone(), some)),
            false => regression(&times[window], some, origin(step)),
        };
        *cell = result(step, found);
    }
    any
}

impl Lines {
    fn line(&self, step: usize, window: std::ops::Range<usize>, values: &[f64]) -> (f64, f64) {
        let Xs { origin, sum, variance } = self.windows[step];
        let [y, xy] = match &self.regular {
            Some(secs) if origin == self.times[window.start] => {
                lanes::products(&secs[..window.len()], |secs| secs, values)
            }
            _ => lanes::products(&self.times[window], |time| (time - origin) / 1e3, values),
        };
        line((sum, variance), (y.0 + y.1, xy.0 + xy.1), values.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regression_through_a_line_is_the_line() {
        let (slope, intercept) = regression(&[0, 1000, 2000], &[1.0, 3.0, 5.0], 1000);
        assert_eq!((slope, intercept), (2.0, 3.0));
    }
}
