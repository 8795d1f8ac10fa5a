//! From when on the data of tenants are still on the move, as it was lately seen. Only a hint that saves questions: a
//! dashboard of the last hour need not ask each time whether something of it can be kept.

use std::collections::HashMap;

use model::TenantId;
use parking_lot::Mutex;

use super::steps::Steps;

/// How long what was seen counts.
const SEEN_LATELY_MS: i64 = 10_000;
/// Tenants that are remembered.
const TENANTS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Horizons {
    seen: Mutex<HashMap<TenantId, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Nothing from here on could be kept.
    from: i64,
    until_ms: i64,
}

impl Horizons {
    /// Remembers up to which step the answer to these could be kept.
    pub(crate) fn learn(&self, tenant: &TenantId, steps: Steps, settled_to: Option<i64>, now_ms: i64) {
        let mut seen = self.seen.lock();
        if settled_to.is_some_and(|settled_to| settled_to >= steps.last) {
            return;
        }
        if seen.len() >= TENANTS_MAX {
            seen.retain(|_, seen| seen.until_ms > now_ms);
        }
        if seen.len() < TENANTS_MAX {
            let from = settled_to.map_or(steps.first, |settled_to| settled_to.saturating_add(1));
            seen.insert(tenant.clone(), Seen { from, until_ms: now_ms.saturating_add(SEEN_LATELY_MS) });
        }
    }

    /// Whether nothing of what begins there could be kept, as far as one knows.
    pub(crate) fn is_recent(&self, tenant: &TenantId, first: i64, now_ms: i64) -> bool {
        let seen = self.seen.lock();
        seen.get(tenant).is_some_and(|seen| now_ms < seen.until_ms && first >= seen.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_the_move_lately_is_not_asked_about_again() {
        let (horizons, tenant) = (Horizons::default(), TenantId::anonymous());
        let steps = Steps { first: 0, last: 100, step: 10 };
        horizons.learn(&tenant, steps, Some(50), 1000);
        assert!(horizons.is_recent(&tenant, 60, 1000) && !horizons.is_recent(&tenant, 50, 1000));
        assert!(!horizons.is_recent(&tenant, 60, 1000 + SEEN_LATELY_MS), "it may have settled");
        assert!(!horizons.is_recent(&TenantId::new("b").unwrap(), 60, 1000));
        let other = TenantId::new("c").unwrap();
        horizons.learn(&other, steps, Some(100), 1000);
        assert!(!horizons.is_recent(&other, 200, 1000));
    }
}
