use model::{Classify, ErrorKind};

use crate::{StoreError, Txn};

/// More of what a store says is cut.
const LONGEST_REASON: usize = 600;
/// Operations for which an object that is not there is an answer.
const READS: [&str; 4] = ["get", "read", "list", "delete"];

/// Why an operation on a table failed.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The object store failed or took too long. Whether a write happened is unknown.
    #[error("object store {store}: {operation} {path}: {reason}")]
    Unavailable {
        /// Its name.
        store: String,
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
    /// The store cannot be spoken to as it is configured.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store answers, and cannot do what tables need, or not for us.
    #[error("object store {store}: {reason}; it cannot hold tables")]
    Unfit {
        /// Its name.
        store: String,
        /// What it does wrong.
        reason: String,
    },
    /// A file was uploaded so long ago that vacuum may have taken it: it must be written anew.
    #[error("{path} was uploaded more than {longest} ago (bucket.longest_upload) and must be uploaded again")]
    UploadTooOld {
        /// The file.
        path: String,
        /// The limit.
        longest: runtime::PromDuration,
    },
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
            BucketError::Store(_) | BucketError::Unfit { .. } | BucketError::Unsupported { .. } => {
                ErrorKind::Invalid
            }
            BucketError::Corrupt { .. } => ErrorKind::Corrupt,
            BucketError::InputGone(_) | BucketError::PartlyCommitted { .. } => ErrorKind::Invalid,
            BucketError::UploadTooOld { .. } => ErrorKind::Unavailable,
        }
    }
}

impl BucketError {
    /// What the store said, told once and on one line: its errors repeat their sources, and some are pages of XML.
    pub(crate) fn store(
        store: &dyn object_store::ObjectStore,
        operation: &'static str,
        path: &object_store::path::Path,
        error: &object_store::Error,
    ) -> BucketError {
        let (store, path) = (store.to_string(), path.to_string());
        match error {
            // Of what is written, it is the bucket that is not there.
            object_store::Error::NotFound { .. } if READS.contains(&operation) => BucketError::NotFound(path),
            other => {
                let mut reason: String = other.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                let end = (0..=LONGEST_REASON).rev().find(|end| reason.is_char_boundary(*end));
                reason.truncate(end.unwrap_or(0));
                BucketError::Unavailable { store, operation, path, reason }
            }
        }
    }

    pub(crate) fn corrupt(path: impl ToString, reason: impl ToString) -> BucketError {
        BucketError::Corrupt { path: path.to_string(), reason: reason.to_string() }
    }
}
