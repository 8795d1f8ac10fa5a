//! The ingester over a log that dies with its process or its machine, and a store that fails and stalls. Whatever
//! happens, what was acknowledged is compared with what the head and the table answer together.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bare;
mod bounded;
mod cuts;
mod exemplars;
mod faults;
mod history;
mod limits;
mod log;
mod logged;
mod metadata;
mod points;
mod silent;
mod starts;
mod stats;
mod versions;
mod world;
