/// A range of milliseconds that includes both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First millisecond.
    pub start: i64,
    /// Last millisecond.
    pub end: i64,
}

impl TimeRange {
    /// Everything.
    pub const ALL: TimeRange = TimeRange { start: i64::MIN, end: i64::MAX };

    /// A range from `start` to `end`, both included.
    pub fn new(start: i64, end: i64) -> TimeRange {
        TimeRange { start, end }
    }

    /// Whether `ts` lies in the range.
    pub fn contains(&self, ts: i64) -> bool {
        self.start <= ts && ts <= self.end
    }

    /// Whether the two ranges share a millisecond.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// An aligned window of time: the unit in which the head is cut and a stored row never exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First millisecond; a multiple of `length`.
    pub start: i64,
    /// Length in milliseconds.
    pub length: i64,
}

impl Window {
    /// The window of `length` milliseconds that holds `ts`.
    pub fn of(ts: i64, length: i64) -> Window {
        Window { start: ts.div_euclid(length) * length, length }
    }

    /// The first millisecond after the window.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.length)
    }

    /// The window as a range that includes both ends.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.end() - 1)
    }
}
