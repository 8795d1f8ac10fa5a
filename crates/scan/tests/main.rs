//! The whole way of a sample through a file: written, committed, selected.

mod labels;
mod limits;
mod pruning;
mod roundtrip;
#[path = "../../bucket/tests/store/mod.rs"]
mod store;
mod world;
