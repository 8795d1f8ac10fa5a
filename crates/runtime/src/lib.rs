//! The one door to the clock, to chance and to tasks; the life of a service.
//!
//! On the path: beneath everything that lives.
//!
//! Always true:
//! - no other crate reads the time, draws a random number or spawns.

mod clock;

pub use clock::{Clock, ManualClock};
