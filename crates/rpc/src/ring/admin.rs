use async_trait::async_trait;
use cluster::RingWatch;
use futures::future::join_all;
use model::TenantId;
use wire::{Admin, AdminError};

use super::Members;
use crate::{IngesterClient, Pool};

/// Speaks to every ingester; done means that all of them did it.
pub struct RingAdmin {
    members: Members,
}

impl RingAdmin {
    /// Speaks to those of the newest ring.
    pub fn new(ring: RingWatch, pool: Pool) -> RingAdmin {
        RingAdmin { members: Members { ring, pool } }
    }

    /// Everyone is told, whoever of them fails.
    async fn tell<F>(&self, tell: impl Fn(IngesterClient) -> F) -> Result<(), AdminError>
    where
        F: Future<Output = Result<(), AdminError>>,
    {
        let ring = self.members.snapshot();
        let readers = self.members.readers(&ring).map_err(AdminError::Unavailable)?;
        join_all(readers.into_iter().map(tell)).await.into_iter().collect()
    }
}

#[async_trait]
impl Admin for RingAdmin {
    async fn flush(&self, tenant: Option<&TenantId>) -> Result<(), AdminError> {
        self.tell(|client| async move { client.flush(tenant).await }).await
    }

    async fn observe(&self, tenant: &TenantId, table_version: u64) -> Result<(), AdminError> {
        self.tell(|client| async move { client.observe(tenant, table_version).await }).await
    }
}
