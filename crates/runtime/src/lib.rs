//! The one door to the clock, to chance and to tasks; durations; the life of a service; the memory budget.
//!
//! On the path: beneath everything that lives.
//!
//! Always true:
//! - no other crate reads the time, draws a random number, spawns or calls `catch_unwind`;
//! - what is started first is depended on by what is started later, so services stop in reverse order, each
//!   awaited before the next is told, all within one grace period.

mod clock;
mod duration;
pub mod fault;
mod memory;
mod owners;
mod panics;
mod process;
mod random;
mod service;
mod shutdown;
mod tasks;
mod trace;

pub use clock::{Clock, ManualClock};
pub use duration::{DurationError, PromDuration, format_duration, parse_duration};
pub use memory::{MemoryBudget, MemoryPart, OverBudget, Reservation, container_limit, resident_bytes};
pub use owners::SharedMemory;
pub use panics::unpanicked;
pub use process::ProcessStats;
pub use random::random_u64;
pub use service::{Service, Stopped, Supervisor};
pub use shutdown::{Shutdown, ShutdownHandle};
pub use tasks::{blocking, n_tasks, sleep, spawn, timeout, wait, yield_now};
pub use trace::TraceContext;
