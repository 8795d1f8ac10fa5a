//! How data travels between components: the traits [`Push`], [`Select`], [`Query`] and [`Admin`], and what they carry.
//!
//! On the path: distributor → **Push** → ingester; querier → **Select** → ingester and scan;
//! query-frontend → **Query** → querier; compactor → **Admin** → ingester. Near and far neighbours implement the same trait and wiring chooses.
//!
//! Always true:
//! - components reach one another only through these traits;
//! - an `Ok` from [`Push::push`] means that everything not named in [`Pushed::refused`] is on the log.

mod admin;
mod blocks;
pub mod bytes;
pub mod generated;
mod head_stats;
mod push;
mod query;
mod select;
mod standing;

pub use admin::{Admin, AdminError};
pub use blocks::StoredBlock;
pub use head_stats::{
    Distinct, HeadStats, HeadStatsRequest, HeadTotals, HistogramStats, LabelStats, most_first,
};
pub use push::{Push, PushError, Pushed, Refusal, RefusalReason};
pub use query::{Held, Query, QueryError, QueryRequest, QueryResult, QueryStats, Raw, RawRequest};
pub use select::{
    LabelsRequest, Listed, MetadataRequest, Meter, Projection, SERIES_BYTES, Select, SelectBudget,
    SelectError, SelectRequest, SelectStats, Selected, SeriesRange, Taken,
};
pub use standing::{Fingerprint, Standing, StandingRequest};
