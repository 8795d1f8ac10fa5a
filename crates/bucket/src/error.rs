use model::{Classify, ErrorKind};

use crate::Txn;

/// Why an operation on a table failed.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The object store failed or took too long. Whether a write happened is unknown.
    #[error("object store: {operation} {path}: {reason}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// On which object.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// The object is not there.
    #[error("object store: {0} is not there")]
    NotFound(String),
    /// The store lets a put-if-absent overwrite, so commits would be lost.
    #[error("object store: a conditional put overwrote an object; this store cannot hold tables")]
    NoConditionalPut,
    /// The log or a checkpoint does not parse, or contradicts itself.
    #[error("table log {path}: {reason}")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The table uses a part of the Delta protocol that we do not.
    #[error("table log {path}: {feature} is not supported")]
    Unsupported {
        /// The object.
        path: String,
        /// The part.
        feature: String,
    },
    /// A file that a swap would replace is no longer in the table.
    #[error("{0} is no longer in the table")]
    InputGone(String),
    /// Some transactions of a commit are in the table and some are not: the file must be made anew without those.
    #[error("{} of the transactions are committed already, such as {:?}", present.len(), present.first())]
    PartlyCommitted {
        /// What is in the table.
        present: Vec<Txn>,
    },
    /// Others won every version that was tried.
    #[error("no version won in {0} attempts")]
    Contended(u32),
}

impl Classify for BucketError {
    fn kind(&self) -> ErrorKind {
        match self {
            BucketError::Unavailable { .. } | BucketError::Contended(_) => ErrorKind::Unavailable,
            BucketError::NotFound(_) => ErrorKind::NotFound,
            BucketError::NoConditionalPut | BucketError::Unsupported { .. } => ErrorKind::Invalid,
            BucketError::Corrupt { .. } => ErrorKind::Corrupt,
            BucketError::InputGone(_) | BucketError::PartlyCommitted { .. } => ErrorKind::Invalid,
        }
    }
}

impl BucketError {
    pub(crate) fn store(
        operation: &'static str,
        path: &object_store::path::Path,
        error: object_store::Error,
    ) -> BucketError {
        match error {
            object_store::Error::NotFound { .. } => BucketError::NotFound(path.to_string()),
            other => {
                BucketError::Unavailable { operation, path: path.to_string(), reason: other.to_string() }
            }
        }
    }

    pub(crate) fn corrupt(path: impl ToString, reason: impl ToString) -> BucketError {
        BucketError::Corrupt { path: path.to_string(), reason: reason.to_string() }
    }
}
