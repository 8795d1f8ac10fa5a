use std::sync::Arc;

use block::read::PartRow;
use model::{Deletion, EMPTY, TimeRange, is_covered};

/// What of a file is deleted and still in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deleted(pub(crate) Vec<Arc<Deletion>>);

/// What a deletion leaves of a row.
pub(crate) enum Rest {
    Whole,
    /// All but samples in these ranges.
    Without(Vec<TimeRange>),
    Nothing,
}

impl Deleted {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of a row of the series with this label run, as far as `wanted` goes.
    pub(crate) fn rest(&self, run: &[u8], times: TimeRange, wanted: TimeRange) -> Rest {
        let asked = TimeRange::new(times.start.max(wanted.start), times.end.min(wanted.end));
        let concerned = self.0.iter().filter(|deletion| deletion.range.overlaps(&asked));
        let concerned = concerned.filter(|deletion| deletion.concerns(run));
        let ranges: Vec<TimeRange> = concerned.map(|deletion| deletion.range).collect();
        if ranges.is_empty() {
            Rest::Whole
        } else if is_covered(asked, ranges.iter().copied()) {
            Rest::Nothing
        } else {
            Rest::Without(ranges)
        }
    }

    /// Whether what the series has at this time is deleted.
    pub(crate) fn takes(&self, run: &[u8], timestamp: i64) -> bool {
        self.0.iter().any(|deletion| deletion.range.contains(timestamp) && deletion.concerns(run))
    }
}

/// Empties the cells in these ranges.
pub(crate) fn cut_cells(ranges: &[TimeRange], times: &[i64], cells: &mut [f64]) {
    for (timestamp, cell) in times.iter().zip(cells) {
        if is_in(ranges, *timestamp) {
            *cell = f64::from_bits(EMPTY);
        }
    }
}

/// Forgets start timestamps in these ranges, from the one at `first` on.
pub(crate) fn cut_starts(ranges: &[TimeRange], starts: &mut Vec<(i64, i64)>, first: usize) {
    let mut at = 0;
    starts.retain(|(timestamp, _)| {
        at += 1;
        at <= first || !is_in(ranges, *timestamp)
    });
}

/// Leaves histograms in these ranges out.
pub(crate) fn cut_part(ranges: &[TimeRange], part: &mut PartRow) {
    part.erase(|timestamp| is_in(ranges, timestamp));
}

fn is_in(ranges: &[TimeRange], timestamp: i64) -> bool {
    ranges.iter().any(|range| range.contains(timestamp))
}
