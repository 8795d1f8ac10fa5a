//! Queries wait at the query-frontend until a querier takes them, so that a querier never has more than it can do and
//! one tenant's queries never stand in front of another's.
//!
//! ```text
//!   Queue::query ──▶ fair queue ──▶ Link ══ Pull: jobs ══▶ PullWorker ──▶ the querier
//!        ▲                           ▲                         │
//!        └────────── events ─────────┴══ parts, end ═══════════┘
//! ```
//!
//! A querier that goes away while it has jobs gives them back, and so does one that fails in a way that another need
//! not: another one takes them, `max_retries` times at most. What lies in the query is not asked again.

mod jobs;
mod link;
mod queue;
mod service;
mod worker;

use std::time::Duration;

pub use queue::{Drain, Queue, QueueDeps};
pub use service::queue;
pub use worker::PullWorker;

/// How often both ends of a stream say something, and how long one of them is silent before the other gives it up. The
/// server gives a request up whose body pauses for 30 s.
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Messages that wait for the network on either side.
const OUTBOX: usize = 16;
