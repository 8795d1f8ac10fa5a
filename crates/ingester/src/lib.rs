//! ingester

pub mod head;
