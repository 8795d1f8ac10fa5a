use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time; a test may set it.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

/// Sets the time of the [`Clock`] it came with.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's time.
    pub fn system() -> Clock {
        Clock { source: Source::System }
    }

    /// A clock that stands at `now_ms` until it is set.
    pub fn manual(now_ms: i64) -> (Clock, ManualClock) {
        let now_ms = Arc::new(AtomicI64::new(now_ms));
        (Clock { source: Source::Manual(Arc::clone(&now_ms)) }, ManualClock { now_ms })
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Source::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// A point in monotonic time, to measure how long something takes. Not affected by a manual clock.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

impl ManualClock {
    /// Sets the time.
    pub fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}
