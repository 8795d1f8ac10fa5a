//! Deletion of series and of tenants, as it is asked for: with the answer nobody finds the samples any more.

use std::sync::Arc;

use bucket::{Bucket, BucketError, Commit, LogTable, Operation, Table};
use model::{Deletion, TenantId};
use runtime::fault;
use wire::Admin;

use crate::error::CompactError;

/// Tables that hold what is of a series.
const OF_SERIES: [Table; 2] = [Table::Exemplars, Table::Metrics];
/// So often a removal is planned anew when files were replaced meanwhile.
const ATTEMPTS: usize = 20;

/// Deletes on request.
#[derive(Clone)]
pub struct Deleter {
    bucket: Arc<Bucket>,
    ingesters: Arc<dyn Admin>,
}

impl Deleter {
    /// A deleter in these tables; the ingesters hold what is in no table yet.
    pub fn new(bucket: Arc<Bucket>, ingesters: Arc<dyn Admin>) -> Deleter {
        Deleter { bucket, ingesters }
    }

    /// Deletes samples and exemplars that were pushed before. When this returns no query finds them; what is pushed
    /// later stays. May be repeated at any point.
    pub async fn delete_series(&self, tenant: &TenantId, deletion: Deletion) -> Result<(), CompactError> {
        fault::point("compactor.delete_asked");
        self.ingesters.flush(Some(tenant)).await?;
        fault::point("compactor.delete_flushed");
        for table in OF_SERIES {
            let deleted = self.bucket.table(tenant, table).delete(deletion.clone()).await?;
            fault::point("compactor.delete_committed");
            let Some(deleted) = deleted else { continue };
            if table == Table::Metrics {
                self.ingesters.observe(tenant, deleted.version).await?;
            }
            tracing::info!(%tenant, table = table.name(), version = deleted.version, "deletion committed");
        }
        Ok(())
    }

    /// Removes all files of the tenant from its tables. The logs stay: a table that comes to be again goes on in them.
    pub async fn delete_tenant(&self, tenant: &TenantId) -> Result<(), CompactError> {
        self.ingesters.flush(Some(tenant)).await?;
        for table in Table::ALL {
            let version = empty(&self.bucket.table(tenant, table)).await?;
            let Some(version) = version else { continue };
            if table == Table::Metrics {
                self.ingesters.observe(tenant, version).await?;
            }
            tracing::info!(%tenant, table = table.name(), version, "all files removed");
        }
        Ok(())
    }

    /// Whether no table of the tenant has a file.
    pub async fn is_deleted(&self, tenant: &TenantId) -> Result<bool, CompactError> {
        for table in Table::ALL {
            let snapshot = self.bucket.table(tenant, table).snapshot().await?;
            if snapshot.is_some_and(|snapshot| snapshot.n_files() > 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Removes all files that a table has; says at which version that was.
async fn empty(table: &LogTable) -> Result<Option<u64>, CompactError> {
    for _ in 0..ATTEMPTS {
        let Some(snapshot) = table.snapshot().await? else { return Ok(None) };
        let removes: Vec<String> = snapshot.files().map(|file| file.path.clone()).collect();
        if removes.is_empty() {
            return Ok(Some(snapshot.version()));
        }
        let commit = Commit { removes, operation: Operation::Delete, ..Commit::default() };
        match table.commit(&commit).await {
            Ok(committed) => return Ok(Some(committed.version)),
            // A merge replaced some meanwhile.
            Err(BucketError::InputGone(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(BucketError::Contended(ATTEMPTS as u32).into())
}
