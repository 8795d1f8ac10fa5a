//! The processes: configuration, logs and the wiring of components.
//!
//! On the path: above everything; a binary calls [`run`] with the wiring function of its role.
//!
//! Always true:
//! - configuration is read once, from defaults, file, environment and flags, in this order of precedence;
//! - there is one start-up sequence: arguments, configuration, logs, port, wiring, services;
//! - components meet only in `wiring`.

mod allocator;
mod args;
mod bytes;
mod config;
mod expand;
mod logs;
mod memory;
mod run;
mod wiring;

pub use config::Config;
pub use run::run;
