//! What every process has: arguments, configuration, logs, the port, and a life from start to end.
//!
//! On the path: below every binary; its `main` calls [`run`] with the roles that it can play.
//!
//! Always true:
//! - configuration is read once, from defaults, file, environment and flags, in this order of precedence;
//! - there is one start-up sequence: arguments, configuration, logs, port, wiring, services;
//! - no component is known here: a role's wiring comes with the role, so that a binary links what it plays.

mod allocator;
mod args;
mod bytes;
mod config;
mod expand;
mod health;
mod logs;
mod memory;
mod node;
mod ring;
mod run;

pub use config::Config;
pub use memory::{Shares, Split};
pub use node::{Node, Role, Wiring};
pub use ring::{open_ring, ring_routes};
pub use run::run;
pub use server::{Gate, Routes};
