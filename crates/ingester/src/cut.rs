//! When a window is cut: a decision from numbers, made nowhere else.

use model::Window;

/// A window of a tenant that has samples which are in no cut yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenWindow {
    pub(crate) window: Window,
    /// When its first sample came, by the clock.
    pub(crate) opened_ms: i64,
    /// When its last sample came, by the clock.
    pub(crate) touched_ms: i64,
    /// Whether it was due already when its first sample came: reopened after its cut, or touched too late.
    pub(crate) late: bool,
    /// The first record with a sample of it.
    pub(crate) first_lsn: u64,
    /// Memory that a cut frees, roughly.
    pub(crate) bytes: u64,
}

/// How long windows wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// After the window's end.
    pub(crate) grace_ms: i64,
    /// Without a sample, when late.
    pub(crate) late_idle_ms: i64,
    /// At most, when late.
    pub(crate) late_max_ms: i64,
}

/// Why a window is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Its time has passed.
    Closed,
    /// Late samples came and then no more, or came for long enough.
    Late,
    /// Memory runs short.
    Memory,
    /// The log is too long.
    Log,
    /// Someone asked for it, or the process stops.
    Asked,
}

/// Whether a window that is touched now would be late.
pub(crate) fn is_late(window: Window, now_ms: i64, newest_ms: i64, waits: &Waits) -> bool {
    now_ms.max(newest_ms) >= window.end().saturating_add(waits.grace_ms)
}

/// Whether a window is due by time. `newest_ms` is the tenant's newest sample: when a whole past is replayed into
/// an empty store, its time passes faster than the clock.
pub(crate) fn due(open: &OpenWindow, now_ms: i64, newest_ms: i64, waits: &Waits) -> Option<Reason> {
    if open.late {
        let idle = now_ms - open.touched_ms >= waits.late_idle_ms;
        let long = now_ms - open.opened_ms >= waits.late_max_ms;
        return (idle || long).then_some(Reason::Late);
    }
    is_late(open.window, now_ms, newest_ms, waits).then_some(Reason::Closed)
}

/// Which windows to cut so that `bytes` of memory come free: those that are late or whose time is over before the
/// ones that still fill, then the largest, so that few files suffice. Indexes into `open`.
pub(crate) fn due_for_memory(open: &[OpenWindow], now_ms: i64, bytes: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..open.len()).collect();
    order.sort_by_key(|&i| {
        let fills = !open[i].late && open[i].window.end() > now_ms;
        (fills, std::cmp::Reverse(open[i].bytes))
    });
    let mut freed = 0;
    order.retain(|&i| {
        let wanted = freed < bytes;
        freed += open[i].bytes;
        wanted
    });
    order
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Reason::Closed => "closed",
            Reason::Late => "late",
            Reason::Memory => "memory",
            Reason::Log => "log",
            Reason::Asked => "asked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const WAITS: Waits = Waits { grace_ms: 30 * MINUTE, late_idle_ms: 10 * MINUTE, late_max_ms: 30 * MINUTE };

    fn open(opened_ms: i64, touched_ms: i64, late: bool) -> OpenWindow {
        let window = Window { start: 0, length: 120 * MINUTE };
        OpenWindow { window, opened_ms, touched_ms, late, first_lsn: 1, bytes: 1 }
    }

    #[test]
    fn a_window_is_due_half_an_hour_after_its_end_by_the_clock_or_by_the_newest_sample() {
        let window = open(0, 119 * MINUTE, false);
        assert_eq!(due(&window, 149 * MINUTE, 149 * MINUTE, &WAITS), None);
        assert_eq!(due(&window, 150 * MINUTE, 0, &WAITS), Some(Reason::Closed));
        assert_eq!(due(&window, 0, 150 * MINUTE, &WAITS), Some(Reason::Closed));
    }

    #[test]
    fn a_late_window_waits_for_ten_quiet_minutes_and_never_more_than_thirty() {
        let window = open(1000 * MINUTE, 1005 * MINUTE, true);
        assert_eq!(due(&window, 1014 * MINUTE, 2000 * MINUTE, &WAITS), None);
        assert_eq!(due(&window, 1015 * MINUTE, 0, &WAITS), Some(Reason::Late));
        let busy = open(1000 * MINUTE, 1029 * MINUTE, true);
        assert_eq!(due(&busy, 1029 * MINUTE, 0, &WAITS), None);
        assert_eq!(due(&busy, 1030 * MINUTE, 0, &WAITS), Some(Reason::Late));
    }

    #[test]
    fn memory_is_freed_by_few_large_windows_and_by_those_that_are_over_first() {
        let of = |start: i64, late, bytes| OpenWindow {
            window: Window { start: start * MINUTE, length: 120 * MINUTE },
            bytes,
            ..open(0, 0, late)
        };
        let windows = [of(120, false, 100), of(0, false, 10), of(-120, true, 30), of(-240, true, 20)];
        let now = 130 * MINUTE;
        assert_eq!(due_for_memory(&windows, now, 0), Vec::<usize>::new());
        assert_eq!(due_for_memory(&windows, now, 25), [2]);
        assert_eq!(due_for_memory(&windows, now, 50), [2, 3]);
        assert_eq!(due_for_memory(&windows, now, 1000), [2, 3, 1, 0]);
    }
}
