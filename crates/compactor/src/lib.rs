//! Merges, retains and deletes what lies in the tables.
