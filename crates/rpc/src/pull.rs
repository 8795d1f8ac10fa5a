//! Queries wait here for queriers.
