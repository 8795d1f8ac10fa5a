//! The traits of `wire` over real connections: what comes back is what a direct call gives.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ingester;
mod made;
mod near;
mod pull;
mod ring;
mod trouble;
