use block::merge::MergeError;
use bucket::BucketError;
use model::{Classify, ErrorKind};
use runtime::OverBudget;
use wire::AdminError;

/// Why something was not done to a table.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The table could not be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Files could not be merged.
    #[error("merge: {0}")]
    Merge(#[from] MergeError),
    /// A file of rows could not be read or written.
    #[error("{file}: {reason}")]
    Rows {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The share of memory does not suffice.
    #[error(transparent)]
    Memory(#[from] OverBudget),
    /// An ingester did not do what was asked of it.
    #[error("ingester: {0}")]
    Ingester(#[from] AdminError),
    /// The process stops.
    #[error("stopping")]
    Stopping,
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl CompactError {
    /// Whether another was faster: what was to be done is done, or has to be planned anew.
    pub(crate) fn is_lost_race(&self) -> bool {
        match self {
            CompactError::Bucket(BucketError::InputGone(_)) => true,
            CompactError::Merge(MergeError::Source { source, .. }) => {
                matches!(source.downcast_ref(), Some(BucketError::NotFound(_)))
            }
            CompactError::Bucket(BucketError::NotFound(_)) => true,
            _ => false,
        }
    }
}

impl Classify for CompactError {
    fn kind(&self) -> ErrorKind {
        match self {
            CompactError::Bucket(e) => e.kind(),
            CompactError::Ingester(e) => e.kind(),
            CompactError::Memory(_) | CompactError::Stopping => ErrorKind::Unavailable,
            CompactError::Merge(MergeError::Source { .. }) => ErrorKind::Unavailable,
            CompactError::Merge(_) | CompactError::Rows { .. } => ErrorKind::Corrupt,
            CompactError::Internal(_) => ErrorKind::Internal,
        }
    }
}
