//! The times at which a range query is evaluated, and their parts.

/// Times of evaluation: from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Steps {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) step: i64,
}

/// A part has at least so many steps, unless it is at an end: with fewer there is more to do around a part than in it.
const STEPS_MIN: i64 = 16;

impl Steps {
    /// The steps from `start` on that are not after `end`.
    pub(crate) fn new(start: i64, end: i64, step: i64) -> Option<Steps> {
        if step <= 0 || end < start {
            return None;
        }
        let last = start + end.saturating_sub(start) / step * step;
        Some(Steps { first: start, last, step })
    }

    /// What is left of them from `from` to `to`.
    pub(crate) fn within(self, from: i64, to: i64) -> Option<Steps> {
        let skipped = from.saturating_sub(self.first).max(0);
        let n_skipped = skipped / self.step + i64::from(skipped % self.step != 0);
        let first = self.first.checked_add(n_skipped.checked_mul(self.step)?)?;
        Steps::new(first, self.last.min(to), self.step)
    }

    /// Those before the first of others.
    pub(crate) fn before(self, other: Steps) -> Option<Steps> {
        self.within(self.first, other.first.saturating_sub(1))
    }

    /// Those after the last of others.
    pub(crate) fn after(self, other: Steps) -> Option<Steps> {
        self.within(other.last.saturating_add(1), self.last)
    }

    /// Whether these are among others.
    pub(crate) fn are_in(self, other: Steps) -> bool {
        other.first <= self.first && self.last <= other.last
    }

    /// Whether no step lies between these and others of the same grid.
    pub(crate) fn touch(self, other: Steps) -> bool {
        self.first <= other.last.saturating_add(self.step)
            && other.first <= self.last.saturating_add(self.step)
    }

    /// From the first of both to the last of both.
    pub(crate) fn joined(self, other: Steps) -> Steps {
        Steps { first: self.first.min(other.first), last: self.last.max(other.last), ..self }
    }

    /// Where the grid lies: the same for all its parts.
    pub(crate) fn offset(self) -> i64 {
        self.first.rem_euclid(self.step)
    }
}

/// How long parts are: a multiple of the configured interval that is no less than what a step reaches over, since that
/// is read again for each part, and has enough steps.
pub(crate) fn interval_of(configured_ms: i64, step_ms: i64, reach_ms: i64) -> i64 {
    let least = reach_ms.max(step_ms.saturating_mul(STEPS_MIN)).max(1);
    let n = least / configured_ms + i64::from(least % configured_ms != 0);
    configured_ms.saturating_mul(n.max(1))
}

/// The steps of each interval, by its number since the epoch.
pub(crate) fn split(steps: Steps, interval_ms: i64) -> Vec<(i64, Steps)> {
    let mut parts = Vec::new();
    let mut rest = Some(steps);
    while let Some(left) = rest {
        let number = left.first.div_euclid(interval_ms);
        let end = number.saturating_add(1).saturating_mul(interval_ms).saturating_sub(1);
        let Some(part) = left.within(left.first, end) else { break };
        parts.push((number, part));
        rest = left.after(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn every_step_is_in_one_part_and_no_part_crosses_a_boundary() {
        for (start, end, step) in
            [(0, 3 * DAY, 60_000), (-DAY - 7, 5 * DAY + 11, 7_777), (5, 5, 1), (1, DAY, HOUR)]
        {
            let steps = Steps::new(start, end, step).unwrap();
            let mut times = Vec::new();
            for (number, part) in split(steps, DAY) {
                let grid = (0..).map(|i| part.first + i * step).take_while(|time| *time <= part.last);
                for time in grid {
                    assert_eq!(time.div_euclid(DAY), number);
                    times.push(time);
                }
            }
            let expected: Vec<i64> =
                (0..).map(|i| start + i * step).take_while(|time| *time <= end).collect();
            assert_eq!(times, expected);
        }
    }

    #[test]
    fn parts_are_no_shorter_than_what_a_step_reaches_over() {
        assert_eq!(interval_of(DAY, 60_000, 300_000), DAY);
        assert_eq!(interval_of(DAY, 60_000, 7 * DAY), 7 * DAY);
        assert_eq!(interval_of(DAY, 60_000, 7 * DAY + 1), 8 * DAY);
        assert_eq!(interval_of(DAY, 6 * HOUR, 0), 4 * DAY);
    }

    #[test]
    fn steps_before_and_after_others_are_on_the_same_grid() {
        let steps = Steps::new(3, 100, 10).unwrap();
        assert_eq!((steps.last, steps.offset()), (93, 3));
        let middle = steps.within(30, 60).unwrap();
        assert_eq!((middle.first, middle.last), (33, 53));
        assert_eq!(steps.before(middle), Steps::new(3, 23, 10));
        assert_eq!(steps.after(middle), Steps::new(63, 93, 10));
        assert_eq!(steps.before(steps), None);
        assert!(middle.are_in(steps) && middle.touch(Steps::new(63, 63, 10).unwrap()));
        assert!(!middle.touch(Steps::new(73, 93, 10).unwrap()));
        assert_eq!(steps.within(200, 300), None);
    }
}
