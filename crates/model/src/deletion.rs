use crate::{Matcher, TimeRange, passes};

/// Samples that are to be gone: those of the series that pass one of the selectors, in a range of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// A series is meant when all matchers of one of the selectors pass.
    pub selectors: Vec<Vec<Matcher>>,
    /// First and last millisecond of what goes.
    pub range: TimeRange,
}

impl Deletion {
    /// Whether samples of the series with this label run go.
    pub fn concerns(&self, run: &[u8]) -> bool {
        self.selectors.iter().any(|matchers| passes(matchers, run))
    }
}

/// Whether nothing of `range` is left outside of these ranges.
pub fn is_covered(range: TimeRange, by: impl IntoIterator<Item = TimeRange>) -> bool {
    let mut ranges: Vec<TimeRange> = by.into_iter().collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut next = range.start;
    for covering in ranges {
        if covering.start > next {
            return false;
        }
        if covering.end >= range.end {
            return true;
        }
        next = next.max(covering.end.saturating_add(1));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_together_when_no_millisecond_is_between() {
        let covered = |by: &[(i64, i64)]| {
            is_covered(TimeRange::new(10, 20), by.iter().map(|(start, end)| TimeRange::new(*start, *end)))
        };
        assert!(covered(&[(10, 20)]));
        assert!(covered(&[(15, 30), (0, 14)]));
        assert!(!covered(&[(16, 30), (0, 14)]));
        assert!(!covered(&[(10, 19)]) && !covered(&[(11, 20)]) && !covered(&[]));
        assert!(covered(&[(0, 30), (12, 13)]));
    }
}
