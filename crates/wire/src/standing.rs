use std::time::Instant;

use model::TimeRange;

/// Asks how a tenant's samples stand: what may still change, and what the rest rests on.
#[derive(Debug, Clone, Default)]
pub struct StandingRequest {
    /// The ranges of time that prints are wanted of.
    pub ranges: Vec<TimeRange>,
    /// As in [`SelectRequest`](crate::SelectRequest).
    pub min_table_version: Option<u64>,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
}

/// How a tenant's samples stand. A head says what is open, a table has prints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The times in which there may be samples that are in no table yet.
    pub open: Vec<TimeRange>,
    /// For each range asked for a number, which is another one when a file that may hold samples of the range, or a
    /// deletion from such a file, has come or gone.
    pub prints: Vec<u64>,
    /// Of a head, as in [`Selected`](crate::Selected); of a table, the version that the prints are of.
    pub table_version: Option<u64>,
}

/// What an answer to a part of a query rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The last time of evaluation in the part up to which no sample that is needed may still be in a head.
    pub until_ms: i64,
    /// Another number whenever the answer up to there may be another one.
    pub print: u64,
    /// The version of the table that this is about.
    pub table_version: Option<u64>,
}

impl Standing {
    /// Of whoever cannot tell: everything may change.
    pub fn unknown() -> Standing {
        Standing { open: vec![TimeRange::new(i64::MIN, i64::MAX)], ..Standing::default() }
    }
}
