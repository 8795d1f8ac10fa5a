use block::read::ReadError;
use bucket::BucketError;
use model::{Classify, ErrorKind};
use parquet::errors::ParquetError;
use wire::SelectError;

/// Why a file, or the whole table, could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// A compaction replaced the file and vacuum took it: plan again.
    #[error("{0} is gone")]
    Gone(String),
    #[error(transparent)]
    Bucket(BucketError),
    #[error("{path}: {reason}")]
    Corrupt { path: String, reason: String },
    #[error(transparent)]
    Select(#[from] SelectError),
}

impl ScanError {
    pub(crate) fn parquet(path: &str, error: ParquetError) -> ScanError {
        ScanError::Corrupt { path: path.to_string(), reason: error.to_string() }
    }

    pub(crate) fn read(path: &str, error: ReadError) -> ScanError {
        ScanError::Corrupt { path: path.to_string(), reason: error.to_string() }
    }
}

impl From<BucketError> for ScanError {
    fn from(error: BucketError) -> ScanError {
        match error {
            BucketError::NotFound(path) => ScanError::Gone(path),
            other => ScanError::Bucket(other),
        }
    }
}

impl From<ScanError> for SelectError {
    fn from(error: ScanError) -> SelectError {
        match error {
            ScanError::Select(e) => e,
            ScanError::Bucket(e) if e.kind() == ErrorKind::Unavailable => {
                SelectError::Unavailable(e.to_string())
            }
            ScanError::Bucket(_) | ScanError::Corrupt { .. } => SelectError::Corrupt(error.to_string()),
            ScanError::Gone(_) => SelectError::Unavailable(error.to_string()),
        }
    }
}
