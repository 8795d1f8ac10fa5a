//! What tests share: engines to hold against scripts, stores and worlds to run parts in.
//!
//! On the path: nowhere; crates use it in their tests only.

pub mod role;
pub mod script;
pub mod store;
