//! The queries that are being answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use model::TenantIds;
use parking_lot::Mutex;
use runtime::{Clock, random_u64};

use super::asked::Asked;

/// All of them, by when they came.
#[derive(Debug)]
pub(crate) struct Active {
    clock: Clock,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    queries: BTreeMap<u64, (Arc<Asked>, Instant)>,
    next: u64,
}

/// Its query is on the list until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    active: Arc<Active>,
    number: u64,
}

/// A query on the list.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Unlike that of other processes.
    pub(crate) id: u64,
    pub(crate) asked: Arc<Asked>,
    pub(crate) secs: f64,
}

impl Active {
    pub(crate) fn new(clock: Clock) -> Arc<Active> {
        // So that the numbers of two frontends do not meet.
        let running = Running { next: random_u64() >> 8, ..Running::default() };
        Arc::new(Active { clock, running: Mutex::new(running) })
    }

    pub(crate) fn enter(self: &Arc<Active>, asked: Arc<Asked>) -> Entry {
        let mut running = self.running.lock();
        let number = running.next;
        running.next += 1;
        running.queries.insert(number, (asked, self.clock.instant()));
        Entry { active: Arc::clone(self), number }
    }

    /// Those that read nothing but what these tenants own, the oldest first.
    pub(crate) fn visible_to(&self, tenants: &TenantIds) -> Vec<Shown> {
        let now = self.clock.instant();
        let running = self.running.lock();
        let visible = running.queries.iter().filter(|(_, (asked, _))| asked.is_visible_to(tenants));
        visible
            .map(|(number, (asked, since))| Shown {
                id: *number,
                asked: Arc::clone(asked),
                secs: now.saturating_duration_since(*since).as_secs_f64(),
            })
            .collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.active.running.lock().queries.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_sees_its_own_queries_as_long_as_they_run() {
        let active = Active::new(Clock::system());
        let ids = |ids: &str| TenantIds::parse(ids).unwrap();
        let entries = ["a", "b", "a|b"].map(|of| active.enter(Asked::of(&ids(of), "up")));
        let seen = |by: &str| -> Vec<String> {
            active.visible_to(&ids(by)).iter().map(|shown| shown.asked.tenants.to_string()).collect()
        };
        assert_eq!(
            (seen("a"), seen("a|b")),
            (vec!["a".to_string()], ["a", "b", "a|b"].map(String::from).to_vec())
        );
        drop(entries);
        assert!(seen("a|b").is_empty());
    }
}
