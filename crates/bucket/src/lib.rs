//! The tables of all tenants in an object store: Delta Lake logs that we replay and append to ourselves.
//!
//! On the path: ingester → block → **bucket** (upload, commit); **bucket** (snapshot) → scan. The table's layout is
//! written down in `docs/format/metrics-table.md`.
//!
//! Always true:
//! - a version of a table is one object, put only if it is absent, so of several committers one wins it;
//! - a commit whose transactions are already in the table commits nothing, a swap whose inputs are gone neither;
//! - an error after a put does not count as "not committed" until the log has been read again;
//! - a table that we do not understand in full is refused by name.

mod action;
mod bucket;
mod checkpoint;
mod clean;
mod commit;
mod deletes;
mod error;
mod file;
mod kept;
mod metrics;
mod probe;
mod snapshot;
mod store;
mod table;
mod upload;
mod vacuum;

pub use bucket::{Bucket, Deps};
pub use commit::{Commit, Committed, Operation, Txn};
pub use config::bucket::Config;
pub use deletes::TableDeletion;
pub use error::BucketError;
pub use file::{FileEntry, FileStats, NewFile, RunTag};
pub use snapshot::Snapshot;
pub use store::{DirStore, StoreError, open_store};
pub use table::{LogTable, Table};
pub use upload::FileWriter;
pub use vacuum::Vacuumed;
