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

/// What a tenant costs besides its memo's content, about.
const TENANT_BYTES: usize = 1024;

impl Tenants {
    pub(crate) fn new(max_bytes: usize) -> Tenants {
        // The memo's positions have 32 bits.
        let max_bytes = max_bytes.min(1 << 30);
        Tenants { map: RwLock::default(), bytes: AtomicUsize::new(0), max_bytes }
    }

    pub(crate) fn get(&self, id: &TenantId, now_ms: i64) -> Arc<Tenant> {
        let known = self.map.read().get(id).map(Arc::clone);
        let tenant = known.unwrap_or_else(|| self.create(id));
        tenant.last_used_ms.store(now_ms, Ordering::Relaxed);
        tenant
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
