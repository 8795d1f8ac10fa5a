//! What goes into files and comes out of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounded;
mod files;
mod merge;
mod mutated;
