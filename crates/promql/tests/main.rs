//! Queries against their results: the conformance corpus of Prometheus, where it is at hand, and scripts of ours.

mod corpus;
mod depth;
mod memory;
mod mutated;
mod projection;
mod scripts;
