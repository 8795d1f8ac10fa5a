use std::collections::HashMap;
use std::sync::Arc;

use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Tenants whose deletions are not to wait for others before files are rewritten. Clones share what was asked.
#[derive(Debug, Clone, Default)]
pub struct Hurry {
    /// When it was asked last.
    asked: Arc<Mutex<HashMap<TenantId, i64>>>,
    news: Arc<Notify>,
}

impl Hurry {
    /// Files are rewritten without what the tenant has deleted until now, soon.
    pub fn ask(&self, tenant: &TenantId, now_ms: i64) {
        self.asked.lock().insert(tenant.clone(), now_ms);
        self.news.notify_one();
    }

    /// Deletions until then do not wait.
    pub(crate) fn until_ms(&self, tenant: &TenantId) -> i64 {
        self.asked.lock().get(tenant).copied().unwrap_or(i64::MIN)
    }

    /// Forgets what was asked so long ago that the deletions do not wait anyway; the others.
    pub(crate) fn keep_since(&self, since_ms: i64) -> Vec<TenantId> {
        let mut asked = self.asked.lock();
        asked.retain(|_, at| *at >= since_ms);
        asked.keys().cloned().collect()
    }

    /// Returns when somebody has asked.
    pub(crate) async fn asked(&self) {
        self.news.notified().await;
    }
}
