//! The role of the compactor: merges, retains and deletes what lies in the tables.
//!
//! On the path: beside it; tables → **compactor** → tables.
