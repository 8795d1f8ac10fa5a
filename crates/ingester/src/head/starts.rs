//! Start timestamps of one series' float samples in one window: mostly one that stays, so runs of it.

/// Since when samples count, by timestamp; 0 is not known.
#[derive(Debug)]
pub(super) struct StartLog {
    /// The series' newest sample when the log began: what is not newer is never part of a run.
    barrier: i64,
    /// Ascending and apart; a sample in a run has the run's start unless `late` says otherwise.
    runs: Vec<Run>,
    /// Samples that arrived behind the newest run, sorted.
    late: Vec<(i64, i64)>,
}

#[derive(Debug)]
struct Run {
    first: i64,
    last: i64,
    start: i64,
}

impl StartLog {
    /// A log for a series whose samples up to `barrier` were not noted: they have no start.
    pub(super) fn new(barrier: i64) -> StartLog {
        StartLog { barrier, runs: Vec::new(), late: Vec::new() }
    }

    /// Notes the start of the sample at `ts`. Once a series has a log, samples without a start are noted too.
    pub(super) fn push(&mut self, ts: i64, start: i64) {
        if ts <= self.runs.last().map_or(self.barrier, |run| run.last) {
            let at = self.late.partition_point(|(t, _)| *t < ts);
            self.late.insert(at, (ts, start));
            return;
        }
        match self.runs.last_mut() {
            Some(run) if run.start == start => run.last = ts,
            _ => self.runs.push(Run { first: ts, last: ts, start }),
        }
    }

    /// The start of the sample at `ts`, 0 for none.
    pub(super) fn start_of(&self, ts: i64) -> i64 {
        if let Ok(at) = self.late.binary_search_by_key(&ts, |(t, _)| *t) {
            return self.late[at].1;
        }
        let run = self.runs.partition_point(|run| run.last < ts);
        self.runs.get(run).filter(|run| run.first <= ts).map_or(0, |run| run.start)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<StartLog>() + size_of::<Run>() * self.runs.capacity() + 16 * self.late.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sample_keeps_its_own_start(
            samples in prop::collection::btree_map(0i64..200, 0i64..3, 1..60), seed in any::<u64>(),
            n_unnoted in 0usize..5,
        ) {
            let mut order: Vec<(i64, i64)> = samples.iter().map(|(ts, start)| (*ts, *start)).collect();
            // Mostly in order, some late.
            let n = order.len();
            order.swap(seed as usize % n, (seed >> 32) as usize % n);
            let (unnoted, noted) = order.split_at(n_unnoted.min(n));
            let barrier = unnoted.iter().map(|(ts, _)| *ts).max().unwrap_or(i64::MIN);
            let mut log = StartLog::new(barrier);
            noted.iter().for_each(|(ts, start)| log.push(*ts, *start));
            for (ts, start) in noted {
                prop_assert_eq!(log.start_of(*ts), *start);
            }
            for (ts, _) in unnoted {
                prop_assert_eq!(log.start_of(*ts), 0);
            }
        }
    }
}
