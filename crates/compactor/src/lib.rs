//! The life of tables: files of a day are merged, what is too old or deleted goes, logs and the store are cleaned.
//!
//! On the path: beside it; tables → **compactor** → tables.
//!
//! Always true:
//! - decisions are pure and made on one snapshot; a commit finds out whether they still hold;
//! - a change of a table is one commit: whoever reads sees the files before or the files after it, and of two
//!   compactions of the same files one wins;
//! - what is deleted is in no answer from the commit of the deletion on, whatever files still hold it;
//! - one job runs at a time, in a share of memory that does not depend on how much there is to merge.

mod beside;
mod compactor;
mod delete;
mod error;
mod http;
mod hurry;
mod merge;
mod metrics;
mod pace;
mod plan;
mod retain;

pub use crate::compactor::{Compactor, Deps};
pub use config::compactor::Config;
pub use delete::Deleter;
pub use error::CompactError;
pub use http::{Api, routes};
pub use hurry::Hurry;
pub use metrics::Metrics;

/// The points at which a test can make the process die.
pub const FAULT_POINTS: &[&str] = &[
    "compactor.planned",
    "compactor.opened",
    "compactor.uploaded",
    "compactor.before_commit",
    "compactor.after_commit",
    "compactor.retain",
    "compactor.clean",
    "compactor.delete_asked",
    "compactor.delete_flushed",
    "compactor.delete_committed",
];
