//! What of a batch is not stored: what is there already, and what is refused, in words.

use std::time::Duration;

use limits::format_duration;
use model::BatchSeries;
use wire::RefusalReason;

use super::{Decider, Pushed, Stored};
use crate::head::{Decision, ShardHead};

impl Decider<'_> {
    /// A sample where there is one: the same again is taken and dropped, another one refused.
    pub(super) fn settle(
        &self,
        series: &BatchSeries,
        ts: i64,
        pushed: Pushed,
        stored: Stored,
        out: &mut Decision,
    ) {
        if pushed.is(stored) {
            pushed.count(&mut out.pushed);
            return;
        }
        out.pushed.refuse(RefusalReason::DuplicateTimestamp, 1, || {
            let labels = self.describe(series);
            format!("duplicate sample for timestamp {ts}: {stored} is stored, {pushed} was pushed, series {labels}")
        });
    }

    pub(super) fn refuse(&self, reason: RefusalReason, series: &BatchSeries, ts: i64, out: &mut Decision) {
        out.pushed.refuse(reason, 1, || {
            let labels = self.describe(series);
            let millis = |ms| format_duration(Duration::from_millis(ms));
            if reason == RefusalReason::TooOld {
                let window = millis(self.rules.out_of_order_window_ms);
                let min = self.rules.min_time;
                format!("sample at {ts} is older than {min}, the limit out_of_order_window is {window}, series {labels}")
            } else {
                let grace = millis(self.rules.creation_grace_period_ms);
                let max = self.rules.max_time;
                format!("sample at {ts} is newer than {max}, the limit creation_grace_period is {grace}, series {labels}")
            }
        });
    }

    /// The labels in words, also of a series that came without them.
    fn describe(&self, series: &BatchSeries) -> String {
        let pushed = self.batch.labels(series);
        let table = &self.head.series;
        let known = || table.get(table.find(series.id)?).map(|entry| table.run(entry));
        ShardHead::describe(if pushed.is_empty() { known().unwrap_or_default() } else { pushed })
    }

    pub(super) fn refuse_series(&self, series: &BatchSeries, n_samples: usize, out: &mut Decision) {
        out.pushed.refuse(RefusalReason::SeriesLimit, n_samples, || {
            let labels = ShardHead::describe(self.batch.labels(series));
            format!("the limit max_series of {} is reached, series {labels}", self.rules.max_series)
        });
    }
}

impl Pushed {
    fn count(self, pushed: &mut wire::Pushed) {
        match self {
            Pushed::Float(_) => pushed.n_floats += 1,
            Pushed::Histogram(_) => pushed.n_histograms += 1,
        }
    }

    fn is(self, stored: Stored) -> bool {
        match (self, stored) {
            (Pushed::Float(a), Stored::Float(b) | Stored::Flushed(b)) => a == b,
            (Pushed::Histogram(a), Stored::Histogram(b) | Stored::Flushed(b)) => a == b,
            _ => false,
        }
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stored::Float(bits) | Stored::Flushed(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Stored::Histogram(_) => f.write_str("a histogram"),
        }
    }
}

impl std::fmt::Display for Pushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pushed::Float(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Pushed::Histogram(_) => f.write_str("another histogram"),
        }
    }
}
