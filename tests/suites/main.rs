//! The whole system, over its own surface; and the rules that keep the house in order.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod corpus;
mod differential;
mod exemplars;
mod frontend;
mod gap;
mod grafana;
mod hostile;
mod kill;
mod objects;
mod promtool;
mod read;
mod readers;
mod roles;
mod s3;
mod senders;
mod status;
mod surface;
mod syntax;
mod tidy;
mod twins;
