use std::io;
use std::path::PathBuf;

use model::{Classify, ErrorKind};

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The record is not on the log: disk full, or another failure to write. The log goes on when it can.
    #[error("write to the log: {0}")]
    Write(#[source] io::Error),
    /// A sync failed: what was written since the last one may not survive the machine.
    #[error("sync the log: {0}")]
    Sync(String),
    /// A sync failed earlier; with `wal.sync: always` nothing can be acknowledged any more until a restart.
    #[error("an earlier sync of the log failed, nothing can be acknowledged until a restart")]
    Poisoned,
    /// A file of the log cannot be opened, read or removed.
    #[error("{action} {path:?}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process has the log open.
    #[error("the log in {0:?} is open in another process")]
    Locked(PathBuf),
    /// The log's `meta` is not one of ours, or was written by a newer version.
    #[error("{path:?} is not the meta file of a log that this version reads")]
    Meta {
        /// The file.
        path: PathBuf,
    },
    /// The record is longer than a record may be.
    #[error("a record of {0} bytes is too long for the log")]
    TooLong(usize),
    /// A bug.
    #[error("internal error in the log: {0}")]
    Internal(String),
}

impl Classify for WalError {
    fn kind(&self) -> ErrorKind {
        match self {
            WalError::Write(_)
            | WalError::Sync(_)
            | WalError::Poisoned
            | WalError::File { .. }
            | WalError::Locked(_) => ErrorKind::Unavailable,
            WalError::Meta { .. } => ErrorKind::Corrupt,
            WalError::TooLong(_) => ErrorKind::Invalid,
            WalError::Internal(_) => ErrorKind::Internal,
        }
    }
}

impl WalError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> WalError {
        let path = path.into();
        move |source| WalError::File { action, path, source }
    }
}
