//! The querier: evaluates PromQL over the recent and the stored part of a tenant's series.
//!
//! On the path: query-frontend → **querier** → ingester (recent) and scan (stored).
//!
//! Always true:
//! - the recent part is asked first, and the stored part is read at the table version it names or a later one,
//!   so a sample may be in both answers, never in neither;
//! - a query over several tenants is a query over the union of their series, told apart by `__tenant_id__`;
//! - a query holds no more series, samples, bytes and time than its tenant may, and says which limit it hit: its bytes
//!   are counted from its text to the text of its answer;
//! - queries compute in slices, and tenants take turns: nobody waits for the end of another tenant's long query.

mod federation;
mod fingerprint;
mod hints;
mod metrics;
mod processors;
mod query;
mod room;
mod source;
mod turns;

pub use config::querier::Config;
pub use query::{Deps, Querier};
