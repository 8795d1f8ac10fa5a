//! The whole system, over its own surface; and the rules that keep the house in order.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod corpus;
mod exemplars;
mod gap;
mod kill;
mod objects;
mod readers;
mod roles;
mod s3;
mod senders;
mod surface;
mod syntax;
mod tidy;
