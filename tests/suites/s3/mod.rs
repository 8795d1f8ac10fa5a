//! Tables in a bucket: real stores, stores that fail, and many who commit at once.

mod cold;
mod committers;
mod credentials;
mod end_to_end;
mod large;
mod outage;
mod table;

use std::path::Path;

use system_tests::{FirnOptions, ObjectStore, Storage, StoreKind};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// A store of this kind; `None` where it is not installed.
fn store(kind: StoreKind, dir: &Path) -> Option<ObjectStore> {
    ObjectStore::start(kind, dir).unwrap()
}

/// Tables below a prefix of the store's bucket, reached at this endpoint.
fn over(endpoint: &str, prefix: &str) -> Storage {
    Storage::Bucket { endpoint: endpoint.to_string(), prefix: prefix.to_string() }
}

fn options(storage: &Storage, flags: &[&str]) -> FirnOptions {
    let mut options = FirnOptions::flags(flags);
    options.flags.extend(storage.flags());
    options
}
