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
/// Pushes.
pub mod distributor;
/// The log and the head.
pub mod ingester;
/// Evaluation.
pub mod querier;
/// Reading blocks.
pub mod scan;
