use model::{Classify, ErrorKind};
use wal::WalError;

use crate::record::RecordError;

/// Why the ingester could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A record on the log is whole and yet not understood.
    #[error("record {lsn} of the log: {source}")]
    Record {
        /// Its position.
        lsn: wal::Lsn,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// The configuration makes no sense.
    #[error("ingester.{0}")]
    Config(String),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why a flush did not bring everything into the tables. What it did not bring there is still in memory and on
/// the log, and is tried again.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The object store failed or refused.
    #[error("flush tenant {tenant}: {source}")]
    Store {
        /// Whose table.
        tenant: model::TenantId,
        /// What the store said.
        #[source]
        source: bucket::BucketError,
    },
    /// The cut could not be logged.
    #[error("flush: {0}")]
    Wal(#[from] WalError),
    /// The block could not be written.
    #[error("flush tenant {tenant}: {message}")]
    Block {
        /// Whose block.
        tenant: model::TenantId,
        /// Why.
        message: String,
    },
}

impl Classify for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            OpenError::Wal(e) => e.kind(),
            OpenError::Record { .. } => ErrorKind::Corrupt,
            OpenError::Config(_) => ErrorKind::Invalid,
            OpenError::Internal(_) => ErrorKind::Internal,
        }
    }
}

impl Classify for FlushError {
    fn kind(&self) -> ErrorKind {
        match self {
            FlushError::Store { source, .. } => source.kind(),
            FlushError::Wal(e) => e.kind(),
            FlushError::Block { .. } => ErrorKind::Internal,
        }
    }
}
