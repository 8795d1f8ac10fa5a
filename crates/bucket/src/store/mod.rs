//! The stores that tables can lie in, by address: a folder, a bucket, memory.

mod dir;
mod dir_upload;
mod s3;

use std::fmt;
use std::sync::Arc;

use config::storage::{self, Location};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::Config;

pub use dir::DirStore;

/// Why a store cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[error("object store {store}: {reason}")]
pub struct StoreError {
    store: String,
    reason: String,
}

impl StoreError {
    fn new(store: &str, reason: impl fmt::Display) -> StoreError {
        StoreError { store: store.to_string(), reason: reason.to_string() }
    }
}

/// The store that is configured. Asks it for nothing: [`crate::Bucket::open`] does. `Display` of what is returned is
/// the name by which errors call it.
pub fn open_store(storage: &storage::Config, config: &Config) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let location = storage.location().map_err(|reason| StoreError::new(&storage.url, reason))?;
    match location {
        Location::Memory => Ok(Arc::new(InMemory::new())),
        Location::Folder(folder) => {
            let opened = DirStore::open(folder);
            Ok(opened.map_err(|e| StoreError::new(&folder.display().to_string(), e))?)
        }
        Location::S3 { bucket, prefix } => {
            let environment = s3::environment(std::env::vars());
            Ok(Arc::new(s3::open(bucket, prefix, &storage.s3, environment, config.request_timeout.0)?))
        }
    }
}
