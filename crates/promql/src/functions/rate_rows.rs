//! `rate` and its kin for all windows of a series of floats at once.
//!
//! All but two values of a window depends on times only, and those are the same for all series of a target. So that is
//! computed once, and what is left for a series are a difference and a product per step.

use model::EMPTY;

use super::rate::{Borders, Extent, Spread, counter_factor};
use super::window::FloatRow;

/// What the extrapolation knows of the windows over a list of times.
pub(crate) struct Spreads {
    /// By step, the index of the first float of the window, or of any where the window has less than two.
    first: Vec<u32>,
    /// The same of the last float.
    last: Vec<u32>,
    /// By what the difference of the two is multiplied.
    factor: Vec<f64>,
    /// How large a share of its rise a counter's first value may be if it is reached from zero within the window.
    reach: Vec<f64>,
    spreads: Vec<Spread>,
    /// The steps whose windows have less than two floats.
    absent: Vec<u32>,
}

/// What is known of the last two floats of each window.
pub(crate) struct Pairs {
    /// By step, the index of the last float, or of any but the first where the window has less than two.
    last: Vec<u32>,
    /// The seconds from the one to the other.
    secs: Vec<f64>,
    /// The steps whose windows have less than two floats.
    absent: Vec<u32>,
}

impl Spreads {
    fn of(row: &FloatRow<'_>, per_second: bool) -> Spreads {
        let n = row.grid.steps;
        let mut known = Spreads {
            first: Vec::with_capacity(n),
            last: Vec::with_capacity(n),
            factor: Vec::with_capacity(n),
            reach: Vec::with_capacity(n),
            spreads: Vec::with_capacity(n),
            absent: Vec::new(),
        };
        let none = Spread { sampled: 1.0, to_start: 0.0, to_end: 0.0, factor: 0.0 };
        // Windows of the same shape spread alike, and most have that of the one before.
        let mut last = (None, None);
        for step in 0..n {
            let (window, borders) = (row.steps.window(step), borders(row, step));
            let times = &row.track.times[window.clone()];
            let shape = match times {
                [first, .., last] => {
                    Some((times.len(), first - borders.start, last - first, borders.end - last))
                }
                _ => None,
            };
            if shape != last.0 {
                let spread = shape.and_then(|_| Extent::of(times, 0, borders).spread(borders, per_second));
                last = (shape, spread);
            }
            let spread = last.1;
            if spread.is_none() {
                known.absent.push(step as u32);
            }
            let spread = spread.unwrap_or(none);
            let end = row.track.times.len() - 1;
            known.first.push(window.start.min(end) as u32);
            known.last.push(window.end.saturating_sub(1).clamp(window.start.min(end), end) as u32);
            known.factor.push(spread.factor);
            known.reach.push(spread.to_start / spread.sampled);
            known.spreads.push(spread);
        }
        known
    }
}

impl Pairs {
    fn of(row: &FloatRow<'_>) -> Pairs {
        let times = &row.track.times;
        let mut known = Pairs { last: Vec::new(), secs: Vec::new(), absent: Vec::new() };
        for step in 0..row.grid.steps {
            let window = row.steps.window(step);
            let last = if window.len() < 2 { 1 } else { window.end - 1 };
            let interval = times[last] - times[last - 1];
            if window.len() < 2 || interval == 0 {
                known.absent.push(step as u32);
            }
            known.last.push(last as u32);
            known.secs.push(interval as f64 / 1000.0);
        }
        known
    }
}

fn borders(row: &FloatRow<'_>, step: usize) -> Borders {
    let end = row.reference.of(row.grid.time(step));
    Borders { start: end.saturating_sub(row.range_ms), end, range_secs: row.range_ms as f64 / 1000.0 }
}

pub(super) fn extrapolated<const COUNTER: bool, const PER_SECOND: bool>(
    row: &FloatRow<'_>,
    cells: &mut [f64],
) -> bool {
    if row.track.times.len() < 2 {
        return false;
    }
    let known = row.steps.known.spreads.get_or_init(|| Spreads::of(row, PER_SECOND));
    if known.absent.len() == cells.len() {
        return false;
    }
    let resets = if COUNTER { row.track.resets() } else { &[] };
    let is_near_zero = match resets {
        [] => multiply_rises::<COUNTER>(known, &row.track.values, cells),
        resets => multiply_rises_between(known, &row.track.values, resets, cells),
    };
    if is_near_zero {
        begin_at_zero::<PER_SECOND>(row, known, resets, cells);
    }
    clear(&known.absent, cells);
    true
}

/// Whether there is a counter that would have been below zero within its window.
fn multiply_rises<const COUNTER: bool>(known: &Spreads, values: &[f64], cells: &mut [f64]) -> bool {
    let mut is_near_zero = false;
    let windows = known.first.iter().zip(&known.last).zip(known.factor.iter().zip(&known.reach));
    for (cell, ((first, last), (factor, reach))) in cells.iter_mut().zip(windows) {
        let first = values[*first as usize];
        let rise = values[*last as usize] - first;
        *cell = rise * factor;
        if COUNTER {
            is_near_zero |= starts_near_zero(first, rise, *reach);
        }
    }
    is_near_zero
}

/// The same of a counter that was reset; what was lost with each reset is added where it happened.
fn multiply_rises_between(known: &Spreads, values: &[f64], resets: &[usize], cells: &mut [f64]) -> bool {
    let mut is_near_zero = false;
    let mut rises = Rises::new(values, resets);
    for (step, cell) in cells.iter_mut().enumerate() {
        let (first, rise) = rises.between(known.first[step] as usize, known.last[step] as usize);
        *cell = rise * known.factor[step];
        is_near_zero |= starts_near_zero(first, rise, known.reach[step]);
    }
    is_near_zero
}

/// Mostly not, and then no division is needed. Where the two sides are equal but for rounding, so are the results.
fn starts_near_zero(first: f64, rise: f64, reach: f64) -> bool {
    (rise > 0.0) & (first >= 0.0) & (first <= rise * reach)
}

/// Counters are not extrapolated to below zero.
fn begin_at_zero<const PER_SECOND: bool>(
    row: &FloatRow<'_>,
    known: &Spreads,
    resets: &[usize],
    cells: &mut [f64],
) {
    let mut rises = Rises::new(&row.track.values, resets);
    for (step, cell) in cells.iter_mut().enumerate() {
        let (first, rise) = rises.between(known.first[step] as usize, known.last[step] as usize);
        if starts_near_zero(first, rise, known.reach[step]) {
            let spread = &known.spreads[step];
            *cell = rise * counter_factor(spread, Some(first / rise), borders(row, step), PER_SECOND);
        }
    }
}

/// By how much a counter rises within windows that only move forward.
struct Rises<'r> {
    values: &'r [f64],
    /// Indexes of the values that follow a reset.
    resets: &'r [usize],
    /// Which of them lie within the window, but for its first value.
    within: (usize, usize),
}

impl<'r> Rises<'r> {
    fn new(values: &'r [f64], resets: &'r [usize]) -> Rises<'r> {
        Rises { values, resets, within: (0, 0) }
    }

    /// The first value, and what the counter rises by from there to the last.
    fn between(&mut self, first: usize, last: usize) -> (f64, f64) {
        let (from, until) = &mut self.within;
        while self.resets.get(*from).is_some_and(|index| *index <= first) {
            *from += 1;
        }
        *until = (*until).max(*from);
        while self.resets.get(*until).is_some_and(|index| *index <= last) {
            *until += 1;
        }
        let mut rise = self.values[last] - self.values[first];
        for index in &self.resets[*from..*until] {
            rise += self.values[index - 1];
        }
        (self.values[first], rise)
    }
}

pub(super) fn instant<const PER_SECOND: bool>(row: &FloatRow<'_>, cells: &mut [f64]) -> bool {
    if row.track.times.len() < 2 {
        return false;
    }
    let known = row.steps.known.pairs.get_or_init(|| Pairs::of(row));
    if known.absent.len() == cells.len() {
        return false;
    }
    let values = &row.track.values;
    for (cell, (last, secs)) in cells.iter_mut().zip(known.last.iter().zip(&known.secs)) {
        let (from, to) = (values[*last as usize - 1], values[*last as usize]);
        let value = if PER_SECOND && to < from { to } else { to - from };
        *cell = if PER_SECOND { value / secs } else { value };
    }
    clear(&known.absent, cells);
    true
}

fn clear(absent: &[u32], cells: &mut [f64]) {
    absent.iter().for_each(|step| cells[*step as usize] = f64::from_bits(EMPTY));
}
