use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use limits::TokenBucket;
use model::TenantId;
use parking_lot::{Mutex, RwLock};

use crate::election::Elections;
use crate::memo::Memo;

/// What is remembered of each tenant between requests. All of it may be forgotten: the memos then learn again,
/// the buckets are full again, and the replica that is heard next is elected.
#[derive(Debug)]
pub(crate) struct Tenants {
    map: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    /// When tenants were last looked through for idle ones.
    swept_ms: AtomicI64,
    /// Bytes of all memos.
    bytes: AtomicUsize,
    max_bytes: usize,
}

/// One tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) memo: Memo,
    pub(crate) rate: Mutex<TokenBucket>,
    pub(crate) elections: Mutex<Elections>,
    last_used_ms: AtomicI64,
}

/// How often tenants are looked through for idle ones.
const SWEEP_MS: i64 = 60 * 1000;
/// A tenant that sent nothing for this long is forgotten. The longest interval of senders is minutes.
const IDLE_MS: i64 = 30 * 60 * 1000;
/// What a tenant costs besides its memo's content, about.
const TENANT_BYTES: usize = 1024;

impl Tenants {
    pub(crate) fn new(max_bytes: usize) -> Tenants {
        // The memo's positions have 32 bits.
        let max_bytes = max_bytes.min(1 << 30);
        let swept_ms = AtomicI64::new(i64::MIN);
        Tenants { map: RwLock::default(), swept_ms, bytes: AtomicUsize::new(0), max_bytes }
    }

    pub(crate) fn get(&self, id: &TenantId, now_ms: i64) -> Arc<Tenant> {
        let known = self.map.read().get(id).map(Arc::clone);
        let tenant = known.unwrap_or_else(|| self.create(id));
        tenant.last_used_ms.store(now_ms, Ordering::Relaxed);
        let swept_ms = self.swept_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(swept_ms) > SWEEP_MS && self.takes_broom(swept_ms, now_ms) {
            self.forget_idle(now_ms);
        }
        tenant
    }

    /// Whether nobody else sweeps at this moment.
    fn takes_broom(&self, swept_ms: i64, now_ms: i64) -> bool {
        self.swept_ms.compare_exchange(swept_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Forgets the tenants that sent nothing for long.
    fn forget_idle(&self, now_ms: i64) {
        let is_idle =
            |tenant: &Tenant| now_ms.saturating_sub(tenant.last_used_ms.load(Ordering::Relaxed)) > IDLE_MS;
        let mut map = self.map.write();
        let before = map.len();
        map.retain(|_, tenant| !is_idle(tenant));
        if map.len() < before {
            map.shrink_to_fit();
            let bytes = map.values().map(|tenant| tenant.memo.read().size() + TENANT_BYTES).sum();
            self.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn create(&self, id: &TenantId) -> Arc<Tenant> {
        let mut map = self.map.write();
        if !map.contains_key(id) {
            self.bytes.fetch_add(TENANT_BYTES, Ordering::Relaxed);
        }
        Arc::clone(map.entry(id.clone()).or_default())
    }

    /// The most that one memo may hold.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes that a memo grew or shrank, and forgets the tenants unused for longest when there is too much.
    pub(crate) fn grew(&self, by: isize) {
        let bytes = self.bytes.fetch_add(by as usize, Ordering::Relaxed).wrapping_add(by as usize);
        if bytes > self.max_bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&self) {
        let mut map = self.map.write();
        let mut by_age: Vec<(i64, TenantId)> = map
            .iter()
            .map(|(id, tenant)| (tenant.last_used_ms.load(Ordering::Relaxed), id.clone()))
            .collect();
        by_age.sort_unstable();
        // Counted anew: a request may have added to a tenant that was forgotten meanwhile.
        let mut bytes: usize = map.values().map(|tenant| tenant.memo.read().size() + TENANT_BYTES).sum();
        for (_, id) in by_age {
            if bytes <= self.max_bytes / 4 * 3 {
                break;
            }
            if let Some(tenant) = map.remove(&id) {
                bytes = bytes.saturating_sub(tenant.memo.forget() + TENANT_BYTES);
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_tenants_cost_nothing_once_they_are_idle() {
        let tenants = Tenants::new(1 << 30);
        let id = |i: i64| TenantId::new(&format!("t{i}")).unwrap();
        for i in 0..5000 {
            tenants.get(&id(i), i);
        }
        assert_eq!(tenants.map.read().len(), 5000);
        tenants.get(&id(0), IDLE_MS);
        assert_eq!(tenants.map.read().len(), 5000, "not idle for long enough");
        tenants.get(&id(0), IDLE_MS + 5000 + SWEEP_MS);
        assert_eq!((tenants.map.read().len(), tenants.bytes()), (1, TENANT_BYTES));
        assert!(tenants.map.read().capacity() < 100);
    }

    #[test]
    fn tenants_unused_for_longest_are_forgotten_first() {
        let tenants = Tenants::new(10 * TENANT_BYTES);
        let id = |i: i64| TenantId::new(&format!("t{i}")).unwrap();
        for i in 0..11 {
            tenants.get(&id(i), i);
            tenants.grew(0);
        }
        let map = tenants.map.read();
        assert!(map.contains_key(&id(10)) && !map.contains_key(&id(0)));
        assert!(map.len() <= 8, "{}", map.len());
        assert_eq!(tenants.bytes(), map.len() * TENANT_BYTES);
    }
}
