//! What is too old or too much: decisions without I/O.

use std::collections::BTreeMap;

use block::Day;
use bucket::Snapshot;

/// How much of a tenant's tables is kept; 0 keeps all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) period_ms: i64,
    pub(crate) bytes: u64,
}

/// Files of a table that are too old.
pub(crate) fn too_old(snapshot: &Snapshot, now_ms: i64, period_ms: i64) -> Vec<String> {
    if period_ms == 0 {
        return Vec::new();
    }
    let before_ms = now_ms.saturating_sub(period_ms);
    let is_old = |max_time: Option<i64>| max_time.is_some_and(|max_time| max_time < before_ms);
    let old = snapshot.files().filter(|file| is_old(file.stats.max_time));
    old.map(|file| file.path.clone()).collect()
}

/// The first day that is kept so that what is left takes `limit` bytes at most, as far as whole days go; the newest
/// is kept in any case. `None` when all days are.
pub(crate) fn first_kept(sizes: &BTreeMap<Day, u64>, limit: u64) -> Option<Day> {
    if limit == 0 {
        return None;
    }
    let mut total: u64 = sizes.values().sum();
    let (newest, _) = sizes.last_key_value()?;
    let mut first = None;
    for (day, size) in sizes {
        if total <= limit || day == newest {
            break;
        }
        total -= size;
        first = sizes.range((std::ops::Bound::Excluded(day), std::ops::Bound::Unbounded)).next();
    }
    first.map(|(day, _)| *day)
}

/// Adds what the files of a table take, by day.
pub(crate) fn add_sizes(snapshot: &Snapshot, sizes: &mut BTreeMap<Day, u64>) {
    for file in snapshot.files() {
        if let Some(day) = file.day {
            *sizes.entry(day).or_default() += file.size;
        }
    }
}

/// Files of days before `first`.
pub(crate) fn before(snapshot: &Snapshot, first: Day) -> Vec<String> {
    let old = snapshot.files().filter(|file| file.day.is_some_and(|day| day < first));
    old.map(|file| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_days_go_until_the_rest_fits() {
        let day = |n: i64| Day::of(n * Day::MS);
        let sizes: BTreeMap<Day, u64> = [(1, 10), (2, 20), (5, 30), (6, 40)].map(|(n, s)| (day(n), s)).into();
        let first = |limit| first_kept(&sizes, limit);
        assert_eq!(first(0), None);
        assert_eq!(first(100), None);
        assert_eq!(first(99), Some(day(2)));
        assert_eq!(first(70), Some(day(5)));
        assert_eq!(first(69), Some(day(6)));
        assert_eq!(first(1), Some(day(6)), "the newest day stays");
        assert_eq!(first_kept(&BTreeMap::new(), 1), None);
    }
}
