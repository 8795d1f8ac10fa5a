//! What tests share: engines to hold against scripts, stores and worlds to run parts in.

pub mod script;
pub mod store;
