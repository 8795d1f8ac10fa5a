//! distributor
