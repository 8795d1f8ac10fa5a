//! How many parts of a tenant's queries are evaluated at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use limits::LimitsHandle;
use model::{TenantId, TenantIds};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Parts of one query at the same time, whatever the limits say.
pub(crate) const PARTS_AT_ONCE: usize = 16;

/// Beyond the one part that each query always may have evaluated, the queries of a tenant share
/// `max_query_parallelism`: so a query over a year waits for places in the queue as other queries do, and does not fill
/// it.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: LimitsHandle,
    tenants: Mutex<HashMap<TenantId, Lane>>,
}

#[derive(Debug)]
struct Lane {
    limit: u32,
    places: Arc<Semaphore>,
}

/// A place for one more part; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Lanes {
    pub(crate) fn new(limits: LimitsHandle) -> Lanes {
        Lanes { limits, tenants: Mutex::default() }
    }

    /// A place for one more part of a query over these tenants, if each has one free.
    pub(crate) fn place(&self, tenants: &TenantIds) -> Option<Place> {
        let mut permits = Vec::new();
        for tenant in tenants.all() {
            let limit = self.limits.for_tenant(tenant).max_query_parallelism;
            if limit > 0 {
                permits.push(self.lane(tenant, limit).try_acquire_owned().ok()?);
            }
        }
        Some(Place { _permits: permits })
    }

    fn lane(&self, tenant: &TenantId, limit: u32) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        // There may be thousands of tenants, and few of them have queries in parts at the moment.
        tenants.retain(|_, lane| Arc::strong_count(&lane.places) > 1);
        let fresh = || Lane { limit, places: Arc::new(Semaphore::new(limit as usize)) };
        let lane = tenants.entry(tenant.clone()).or_insert_with(fresh);
        if lane.limit != limit {
            *lane = fresh();
        }
        Arc::clone(&lane.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use limits::Limits;

    #[test]
    fn queries_of_a_tenant_share_its_places_and_nobody_elses() {
        let limits = LimitsHandle::fixed(Limits { max_query_parallelism: 2, ..Limits::default() });
        let lanes = Lanes::new(limits);
        let (a, b) = (TenantIds::parse("a").unwrap(), TenantIds::parse("b").unwrap());
        let places = [lanes.place(&a).unwrap(), lanes.place(&a).unwrap()];
        assert!(lanes.place(&a).is_none() && lanes.place(&TenantIds::parse("a|b").unwrap()).is_none());
        assert!(lanes.place(&b).is_some());
        drop(places);
        assert!(lanes.place(&a).is_some());
    }
}
