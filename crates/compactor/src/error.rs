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
    /// Another merge of this day was committed since this one was planned.
    #[error("another merge of the day was faster")]
    Overtaken,
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
    /// Whether files that were read or are to be removed were not found as they were.
    pub(crate) fn is_about_inputs(&self) -> bool {
        match self {
            CompactError::Bucket(BucketError::InputGone(_) | BucketError::NotFound(_)) => true,
            CompactError::Merge(MergeError::Source { source, .. }) => {
                matches!(source.downcast_ref(), Some(BucketError::NotFound(_)))
            }
            _ => false,
        }
    }

    /// The file that does not hold what its format says.
    pub(crate) fn corrupt_file(&self) -> Option<&str> {
        match self {
            CompactError::Merge(MergeError::Corrupt { file, .. }) => Some(file),
            _ => None,
        }
    }
}

impl Classify for CompactError {
    fn kind(&self) -> ErrorKind {
        match self {
            CompactError::Bucket(e) => e.kind(),
            CompactError::Ingester(e) => e.kind(),
            CompactError::Memory(_) | CompactError::Stopping | CompactError::Overtaken => {
                ErrorKind::Unavailable
            }
            CompactError::Merge(MergeError::Source { .. }) => ErrorKind::Unavailable,
            CompactError::Merge(_) => ErrorKind::Corrupt,
            CompactError::Internal(_) => ErrorKind::Internal,
        }
    }
}
