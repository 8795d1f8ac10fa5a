//! What can be configured of each component. Data only: whoever reads a configuration file need not link the
//! components that it speaks of.
//!
//! On the path: `app` reads it, each component gets its own.
//!
//! Always true:
//! - every key has a default, and an unknown key is refused;
//! - `violations` names every value that makes no sense, by its key.

/// Tables.
pub mod bucket;
/// The ring.
pub mod cluster;
/// Merging, retention, deletion.
pub mod compactor;
/// Pushes.
pub mod distributor;
/// The log and the head.
pub mod ingester;
/// Evaluation.
pub mod querier;
/// Waiting for a querier.
pub mod query_frontend;
/// Calls between processes.
pub mod rpc;
/// Reading blocks.
pub mod scan;
/// The object store and the log's folder.
pub mod storage;
