use async_trait::async_trait;
use bucket::{BucketError, Table};
use model::{Classify, ErrorKind, TenantId};
use wire::{Admin, AdminError};

use crate::tenants;
use crate::{FlushError, Ingester};

#[async_trait]
impl Admin for Ingester {
    async fn flush(&self, tenant: Option<&TenantId>) -> Result<(), AdminError> {
        let flushed = match tenant {
            None => self.flush_all().await,
            Some(tenant) => self.flush_tenant(tenant).await,
        };
        flushed.map_err(|e: FlushError| explained(e.kind(), e.to_string()))
    }

    async fn observe(&self, tenant: &TenantId, table_version: u64) -> Result<(), AdminError> {
        let table = self.inner.bucket.table(tenant, Table::Metrics);
        let seen = table.snapshot_at_least(Some(table_version)).await;
        seen.map_err(|e: BucketError| explained(e.kind(), e.to_string()))?;
        // Who changes `metrics` from outside changes the tables beside it too, and has done so before.
        for beside in [Table::Exemplars, Table::Metadata] {
            let seen = self.inner.bucket.table(tenant, beside).snapshot().await;
            seen.map_err(|e: BucketError| explained(e.kind(), e.to_string()))?;
        }
        self.forget_flushed(tenant);
        Ok(())
    }
}

impl Ingester {
    /// What others changed in the table may have been of what was flushed from here: a sample that is deleted and sent
    /// again must not be judged by what is no longer there. Descriptions are compared with their table again.
    fn forget_flushed(&self, tenant: &TenantId) {
        let Some(tenant) = self.inner.tenants.get(tenant) else { return };
        let mut families = tenant.metadata.lock();
        let before = families.bytes();
        families.forget_idle(i64::MAX);
        tenants::account_families(before, &families, &self.inner.head_bytes);
        drop(families);
        for shard in tenant.shards() {
            let mut state = shard.state.lock();
            state.head.forget_idle(i64::MAX);
            tenants::account(&tenant, &mut state, &self.inner.head_bytes);
        }
    }
}

fn explained(kind: ErrorKind, message: String) -> AdminError {
    match kind {
        ErrorKind::Internal | ErrorKind::Corrupt => AdminError::Internal(message),
        _ => AdminError::Unavailable(message),
    }
}
