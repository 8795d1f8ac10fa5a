use std::collections::{BTreeSet, HashMap};

use model::TenantId;

/// However long a tenant has been idle, its tables are looked at so often: a deletion must not wait for an hour.
const LONGEST_PAUSE_MS: i64 = 30 * 60_000;
/// A tenant whose tables did not change for so many pauses is looked at less often.
const IDLE_SHARE: i64 = 8;

/// When each tenant is looked at next.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    by_tenant: HashMap<TenantId, Pace>,
}

#[derive(Debug, Clone, Default)]
struct Pace {
    n_failures: u32,
    not_before_ms: i64,
    /// The versions of its tables when it was looked at last, added up; `None` before the first look.
    versions: Option<u64>,
    /// When they last changed.
    changed_ms: i64,
    /// Files that cannot be read: what they hold stays in them.
    unreadable: BTreeSet<String>,
}

impl Paces {
    pub(crate) fn is_due(&self, tenant: &TenantId, now_ms: i64) -> bool {
        self.by_tenant.get(tenant).is_none_or(|pace| pace.not_before_ms <= now_ms)
    }

    /// Notes that all was done for now; `versions` grow when something changes.
    pub(crate) fn note_look(&mut self, tenant: &TenantId, versions: u64, now_ms: i64, interval_ms: i64) {
        let pace = self.by_tenant.entry(tenant.clone()).or_default();
        if pace.versions != Some(versions) {
            pace.versions = Some(versions);
            pace.changed_ms = now_ms;
        }
        let idle_ms = now_ms.saturating_sub(pace.changed_ms);
        pace.n_failures = 0;
        // A little less than the interval, so that every round finds those that are due in each.
        let longest_ms = LONGEST_PAUSE_MS.max(interval_ms / 2);
        pace.not_before_ms = now_ms + (idle_ms / IDLE_SHARE).clamp(interval_ms / 2, longest_ms);
    }

    /// Notes a failure; says how many there were in a row, and how long the tenant waits.
    pub(crate) fn note_failure(
        &mut self,
        tenant: &TenantId,
        now_ms: i64,
        (min_ms, max_ms): (i64, i64),
    ) -> (u32, i64) {
        let pace = self.by_tenant.entry(tenant.clone()).or_default();
        let pause_ms = min_ms.saturating_mul(1 << pace.n_failures.min(20)).min(max_ms);
        pace.n_failures += 1;
        pace.not_before_ms = now_ms.saturating_add(pause_ms);
        (pace.n_failures, pause_ms)
    }

    /// The tenant is looked at with the next round, unless it waits after a failure.
    pub(crate) fn wake(&mut self, tenant: &TenantId) {
        if let Some(pace) = self.by_tenant.get_mut(tenant).filter(|pace| pace.n_failures == 0) {
            pace.not_before_ms = i64::MIN;
        }
    }

    pub(crate) fn note_unreadable(&mut self, tenant: &TenantId, path: String) {
        self.by_tenant.entry(tenant.clone()).or_default().unreadable.insert(path);
    }

    pub(crate) fn is_readable(&self, tenant: &TenantId, path: &str) -> bool {
        self.by_tenant.get(tenant).is_none_or(|pace| !pace.unreadable.contains(path))
    }

    /// Forgets all others.
    pub(crate) fn keep(&mut self, sorted: &[TenantId]) {
        self.by_tenant.retain(|tenant, _| sorted.binary_search(tenant).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_tenant_is_looked_at_less_and_less_often_and_never_too_seldom() {
        let (tenant, mut paces) = (TenantId::anonymous(), Paces::default());
        let mut n_looks = 0;
        for now_ms in (0..86_400_000).step_by(60_000) {
            if paces.is_due(&tenant, now_ms) {
                n_looks += 1;
                paces.note_look(&tenant, 1, now_ms, 60_000);
            }
        }
        assert!((48..100).contains(&n_looks), "{n_looks} looks in a day");
        paces.note_look(&tenant, 2, 86_400_000, 60_000);
        assert!(paces.is_due(&tenant, 86_460_000), "it has changed");
    }

    #[test]
    fn a_tenant_that_has_nothing_yet_is_looked_at_again_soon() {
        let (tenant, mut paces) = (TenantId::anonymous(), Paces::default());
        paces.note_look(&tenant, 0, 86_400_000, 60_000);
        assert!(paces.is_due(&tenant, 86_460_000));
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let (tenant, mut paces) = (TenantId::anonymous(), Paces::default());
        let pauses: Vec<i64> = (0..5).map(|_| paces.note_failure(&tenant, 0, (10, 50)).1).collect();
        assert_eq!(pauses, [10, 20, 40, 50, 50]);
        assert!(!paces.is_due(&tenant, 49) && paces.is_due(&tenant, 50));
        paces.note_look(&tenant, 1, 50, 4);
        assert_eq!(paces.note_failure(&tenant, 60, (10, 50)), (1, 10));
    }

    #[test]
    fn one_that_is_woken_is_due_unless_it_failed() {
        let (tenant, mut paces) = (TenantId::anonymous(), Paces::default());
        paces.note_look(&tenant, 1, 0, 60_000);
        paces.wake(&tenant);
        assert!(paces.is_due(&tenant, 1));
        paces.note_failure(&tenant, 1, (10, 50));
        paces.wake(&tenant);
        assert!(!paces.is_due(&tenant, 2));
    }
}
