//! Points at which a test makes the process die, as by SIGKILL. Nothing remains of them without the feature
//! `faults`, which only tests turn on.

/// Dies here if `FIRN_FAULT=<name>` or `FIRN_FAULT=<name>:<n>` (the n-th time) says so.
#[cfg(feature = "faults")]
pub fn point(name: &'static str) {
    plan::reached(name);
}

/// Nothing: the feature `faults` is off.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(feature = "faults")]
mod plan {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        name: String,
        remaining: AtomicU64,
    }

    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

    pub(super) fn reached(name: &'static str) {
        let Some(plan) = PLAN.get_or_init(read) else { return };
        if plan.name == name && plan.remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    fn read() -> Option<Plan> {
        let text = std::env::var("FIRN_FAULT").ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Plan { name: name.to_string(), remaining: AtomicU64::new(nth.parse().unwrap_or(1)) })
    }

    /// SIGKILL, so that not even an abort handler runs.
    fn die() {
        let _sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
