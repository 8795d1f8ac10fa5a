//! The whole way of a sample through a file: written, committed, selected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cold;
mod exemplars;
mod labels;
mod limits;
mod pruning;
mod roundtrip;
mod selects;
#[path = "../../bucket/tests/store/mod.rs"]
mod store;
mod world;
