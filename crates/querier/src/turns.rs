use std::collections::HashMap;
use std::sync::Arc;

use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a bounded number of queries be evaluated at once, of each tenant and of all together.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, Lane>>,
}

#[derive(Debug)]
struct Lane {
    limit: u32,
    turns: Arc<Semaphore>,
}

/// A query's turn; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_tenants: Vec<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// At most `limit` queries at once.
    pub(crate) fn new(limit: usize) -> Turns {
        Turns { all: Arc::new(Semaphore::new(limit)), tenants: Mutex::default() }
    }

    /// Waits for a turn of all these tenants, each with its own bound, 0 for none, in the same order for everybody.
    /// The queries of a tenant wait for one another before they wait for those of others, so that a busy tenant does
    /// not fill the common queue.
    pub(crate) async fn take(&self, tenants: &[(TenantId, u32)]) -> Turn {
        let lanes: Vec<Arc<Semaphore>> =
            tenants.iter().filter_map(|(tenant, limit)| self.lane(tenant, *limit)).collect();
        let mut of_tenants = Vec::with_capacity(lanes.len());
        for lane in lanes {
            of_tenants.extend(lane.acquire_owned().await);
        }
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { _of_tenants: of_tenants, _of_all: of_all }
    }

    fn lane(&self, tenant: &TenantId, limit: u32) -> Option<Arc<Semaphore>> {
        if limit == 0 {
            return None;
        }
        let mut tenants = self.tenants.lock();
        // A lane that nobody waits in or runs from is not worth keeping: there may be thousands of tenants.
        tenants.retain(|_, lane| Arc::strong_count(&lane.turns) > 1);
        let fresh = || Lane { limit, turns: Arc::new(Semaphore::new(limit as usize)) };
        let lane = tenants.entry(tenant.clone()).or_insert_with(fresh);
        if lane.limit != limit {
            *lane = fresh();
        }
        Some(Arc::clone(&lane.turns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_tenant_waits_for_itself_and_not_for_others() {
        let turns = Turns::new(3);
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let first = turns.take(&[(a.clone(), 1)]).now_or_never().unwrap();
        assert!(turns.take(&[(a.clone(), 1)]).now_or_never().is_none());
        let _other = turns.take(&[(b.clone(), 1)]).now_or_never().unwrap();
        drop(first);
        let _next = turns.take(&[(a.clone(), 1)]).now_or_never().unwrap();
        let _third = turns.take(&[(b.clone(), 0)]).now_or_never().unwrap();
        assert!(turns.take(&[(b.clone(), 0)]).now_or_never().is_none(), "all turns are taken");
    }
}
