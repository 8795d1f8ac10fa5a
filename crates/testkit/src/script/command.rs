use model::{Histogram, Labels};
use regex::Regex;

use super::LoadedSeries;

/// A command and its line.
#[derive(Debug, Clone)]
pub struct Command {
    /// Counted from 1.
    pub line: usize,
    /// What to do.
    pub kind: CommandKind,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum CommandKind {
    /// Forget all series.
    Clear,
    /// Add series.
    Load(Vec<LoadedSeries>),
    /// Ask and compare.
    Eval(Box<Eval>),
}

/// A query and what must come back.
#[derive(Debug, Clone)]
pub struct Eval {
    /// The query.
    pub expr: String,
    /// For when.
    pub when: When,
    /// What is said about the result.
    pub expectations: Expectations,
    /// The result.
    pub expected: Expected,
    /// The times of the points where an instant query returns a range vector: start, end, step.
    pub range_vector: Option<(i64, i64, i64)>,
}

/// The time of a query in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// One moment.
    Instant(i64),
    /// Many.
    Range {
        /// First.
        start: i64,
        /// Last, at most.
        end: i64,
        /// Distance.
        step: i64,
    },
}

/// What is said about a result.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The order counts.
    pub ordered: bool,
    /// The query fails, with a text like this.
    pub fail: Option<Pattern>,
    /// Warnings; with none, warnings are unchecked.
    pub warn: Vec<Pattern>,
    /// Infos; with none, infos are unchecked.
    pub info: Vec<Pattern>,
    /// No warning at all.
    pub no_warn: bool,
    /// No info at all.
    pub no_info: bool,
}

/// How a text must look.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Any text.
    Any,
    /// Exactly this.
    Exact(String),
    /// It contains a match.
    Regex(Regex),
}

/// The result.
#[derive(Debug, Clone)]
pub enum Expected {
    /// Series, each once; none for an empty result.
    Series(Vec<ExpectedSeries>),
    /// A number.
    Scalar(f64),
    /// A string.
    String(String),
}

/// A series of a result.
#[derive(Debug, Clone)]
pub struct ExpectedSeries {
    /// The labels.
    pub labels: Labels,
    /// One item per step.
    pub items: Vec<Item>,
}

/// A sample of a result, or of a series to load.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// No sample.
    Gap,
    /// A float.
    Float(f64),
    /// A histogram, and whether its reset hint was written down and counts.
    Histogram {
        /// The histogram.
        histogram: Box<Histogram>,
        /// Whether its reset hint was written down.
        hint_given: bool,
    },
}

impl Expectations {
    /// How many there are of annotations.
    pub fn annotations(&self) -> usize {
        self.warn.len() + self.info.len() + usize::from(self.no_warn) + usize::from(self.no_info)
    }
}

impl Pattern {
    /// Whether `text` is one of these.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exact(exact) => exact == text,
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}
