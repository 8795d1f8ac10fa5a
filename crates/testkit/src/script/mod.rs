//! The script language of PromQL tests, as Prometheus's `promqltest` defines it: `load` series, `eval` queries,
//! compare.
//!
//! [`parse`] turns a script into commands, [`run`] runs them against any [`Engine`]. As upstream's, the runner is
//! stricter than the script looks: an instant query must have the same result with its time pinned by `@`,
//! whenever it is asked, and as the middle step of a range query. A case counts as passed only if all of that holds.

mod command;
mod compare;
mod histogram;
mod nhcb;
mod parse;
mod pin;
mod run;
mod series;
#[cfg(test)]
mod tests;

use model::{Histogram, Labels, Value};

pub use command::{Command, CommandKind, Eval, Expectations, Expected, ExpectedSeries, Item, Pattern, When};
pub use parse::{ScriptError, parse};
pub use run::{Beside, Failure, Report, run};

/// What a script is run against.
pub trait Engine {
    /// Forgets all series.
    fn clear(&mut self);

    /// Adds samples. The samples of a series come in order of time.
    fn load(&mut self, series: Vec<LoadedSeries>);

    /// Asks for one moment.
    fn instant(&mut self, expr: &str, at_ms: i64) -> Result<Outcome, String>;

    /// Asks for a range of moments.
    fn range(&mut self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Outcome, String>;
}

/// A result, and what was said about it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result.
    pub value: Value,
    /// Warnings, as the HTTP API prints them.
    pub warnings: Vec<String>,
    /// Infos, as the HTTP API prints them.
    pub infos: Vec<String>,
}

/// The samples of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples, ascending.
    pub samples: Vec<LoadedSample>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSample {
    /// When, in milliseconds.
    pub timestamp: i64,
    /// Since when it counts; 0 for unknown.
    pub start_timestamp: i64,
    /// What.
    pub value: LoadedValue,
}

/// A float or a histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadedValue {
    /// A float; the stale NaN ends a series of either kind.
    Float(f64),
    /// A native histogram with float counts.
    Histogram(Histogram),
}
