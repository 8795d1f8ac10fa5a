//! Answers selects and label queries out of the table `metrics`.
//!
//! On the path: querier → **scan** → bucket (snapshot), object store (ranged reads), block (decode).
//!
//! Always true:
//! - files, row groups and pages that cannot matter are not read: by the statistics of the log, then of the footer,
//!   then of the page index;
//! - labels are matched before any value is read, and label queries never read values or timestamps;
//! - what is kept between queries lies in one cache with a bound.

mod ahead;
mod beside;
mod blocks;
mod cache;
mod deletes;
mod error;
mod fetch;
mod file;
mod found;
mod labels;
mod matched;
mod plan;
mod room;
mod rows;
mod scan;
mod select;
mod standing;
mod timelines;

pub use config::scan::Config;
pub use scan::{Deps, Scan};
