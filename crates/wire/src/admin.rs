use async_trait::async_trait;
use model::{Classify, ErrorKind, TenantId};

/// What others ask of an ingester beside samples.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Brings what was pushed before this call into the tables: a tenant's, or everyone's.
    async fn flush(&self, tenant: Option<&TenantId>) -> Result<(), AdminError>;

    /// Learns that the tenant's table `metrics` has this version, so that answers from now on name it or a later one.
    async fn observe(&self, tenant: &TenantId, table_version: u64) -> Result<(), AdminError>;
}

/// Why something asked of an ingester was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An ingester, or its store, cannot be reached: ask again.
    #[error("{0}")]
    Unavailable(String),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Classify for AdminError {
    fn kind(&self) -> ErrorKind {
        match self {
            AdminError::Unavailable(_) => ErrorKind::Unavailable,
            AdminError::Internal(_) => ErrorKind::Internal,
        }
    }
}
