//! What there is to say about a result besides the result: warnings and infos, each with a position.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use crate::ast::Span;
use crate::error::line_col;
use crate::text::quote;

/// Warnings and infos of an evaluation, each formatted with its position, sorted, without repetition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Results that are probably not what was wanted.
    pub warnings: Vec<String>,
    /// Things worth knowing.
    pub infos: Vec<String>,
}

/// One thing to say. Two of the same content are said once, at the position of the later one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    InvalidQuantile(String),
    InvalidRatio(String, &'static str),
    BadBucketLabel { metric: String, label: String },
    MixedFloatsHistograms(String),
    MixedFloatsHistogramsAggregation,
    MixedClassicNative(String),
    NotACounter(String),
    NotAGauge(String),
    MixedBucketSchemas(String),
    IncompatibleBucketLayout(&'static str),
    SortInRangeQuery,
    CounterResetCollision(HistogramOperation),
    StartTimeOverlap(String),
    PossibleNonCounter(String),
    ForcedMonotonicity(String),
    IncompatibleTypes { lhs: &'static str, op: &'static str, rhs: &'static str },
    HistogramIgnoredInAggregation(&'static str),
    HistogramIgnoredInMixedRange(String),
    QuantileNanResult(String),
    QuantileNanSkew(String),
    FractionNans(String),
    MismatchedCustomBuckets(HistogramOperation),
}

/// What was done with histograms when something about it was worth a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

/// Whether a message counts what happened over the whole range of its query, so that those of parts of the range do not
/// make that of the whole.
pub fn speaks_of_range(message: &str) -> bool {
    message.contains(MONOTONICITY) || message.contains(OVERLAP)
}

const MONOTONICITY: &str = "input to histogram_quantile needed to be fixed for monotonicity";
const OVERLAP: &str = "sample has start time that overlaps with previous sample timestamp";

/// How often and where buckets had to be made monotonic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MonotonicityRepair {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

/// Collects notices during an evaluation.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    found: HashMap<Notice, Finding>,
}

#[derive(Debug, Clone, Copy)]
struct Finding {
    at: Span,
    count: u64,
    repair: Option<MonotonicityRepair>,
}

impl Notices {
    /// Notes something; whether it is new.
    pub(crate) fn add(&mut self, notice: Notice, at: Span) -> bool {
        let finding = self.found.entry(notice).or_insert(Finding { at, count: 0, repair: None });
        finding.at = at;
        finding.count += 1;
        finding.count == 1
    }

    pub(crate) fn add_repair(&mut self, metric: &str, at: Span, repair: MonotonicityRepair) {
        let notice = Notice::ForcedMonotonicity(metric.to_string());
        let finding = self.found.entry(notice).or_insert(Finding { at, count: 0, repair: Some(repair) });
        finding.count += 1;
        if let Some(known) = &mut finding.repair {
            known.widen(repair);
        }
    }

    /// Notes again what was noted of an expression at `from`, of an equal one at `to`.
    pub(crate) fn absorb(&mut self, other: &Notices, from: Span, to: Span) {
        let moved = |at: Span| match at == Span::default() {
            // The start of the query stands for no place in particular.
            true => at,
            false => Span { start: at.start - from.start + to.start, end: at.end - from.start + to.start },
        };
        for (notice, finding) in &other.found {
            let known = self.found.entry(notice.clone());
            let known = known.or_insert(Finding { at: finding.at, count: 0, repair: finding.repair });
            known.count += finding.count;
            known.at = moved(finding.at);
            if let (Some(known), Some(repair)) = (&mut known.repair, finding.repair) {
                known.widen(repair);
            }
        }
    }

    /// The messages, with positions counted in `query`.
    pub(crate) fn formatted(&self, query: &str) -> Annotations {
        let mut annotations = Annotations::default();
        for (notice, finding) in &self.found {
            let kind = if notice.is_info() { "info" } else { "warning" };
            let mut message = format!("PromQL {kind}: {notice}");
            if let Some(repair) = &finding.repair {
                // Writing to a string does not fail.
                let _ = write!(message, "{}", RepairDetails(repair, finding.count));
            }
            if matches!(notice, Notice::StartTimeOverlap(_)) && finding.count > 1 {
                let _ = write!(message, " ({} occurrences)", finding.count);
            }
            let (line, column) = line_col(query, &finding.at);
            let _ = write!(message, " ({line}:{column})");
            if notice.is_info() {
                annotations.infos.push(message);
            } else {
                annotations.warnings.push(message);
            }
        }
        annotations.warnings.sort();
        annotations.infos.sort();
        annotations
    }
}

impl MonotonicityRepair {
    /// Takes in another one.
    fn widen(&mut self, other: MonotonicityRepair) {
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.min_bucket = self.min_bucket.min(other.min_bucket);
        self.max_bucket = self.max_bucket.max(other.max_bucket);
        self.max_diff = self.max_diff.max(other.max_diff);
    }
}

impl Notice {
    fn is_info(&self) -> bool {
        matches!(
            self,
            Notice::PossibleNonCounter(_)
                | Notice::ForcedMonotonicity(_)
                | Notice::IncompatibleTypes { .. }
                | Notice::HistogramIgnoredInAggregation(_)
                | Notice::HistogramIgnoredInMixedRange(_)
                | Notice::QuantileNanResult(_)
                | Notice::QuantileNanSkew(_)
                | Notice::FractionNans(_)
                | Notice::MismatchedCustomBuckets(_)
        )
    }
}

impl fmt::Display for Notice {
    /// The texts of Prometheus 3.15: clients and alerts match on them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::InvalidQuantile(q) => write!(f, "quantile value should be between 0 and 1, got {q}"),
            Notice::InvalidRatio(ratio, cap) => {
                write!(f, "ratio value should be between -1 and 1, got {ratio}, capping to {cap}")
            }
            Notice::BadBucketLabel { metric, label } => {
                write!(f, "bucket label \"le\" is missing or has a malformed value of {}", quote(label))?;
                for_metric(f, metric)
            }
            Notice::MixedFloatsHistograms(metric) => {
                write!(f, "encountered a mix of histograms and floats for metric name {}", quote(metric))
            }
            Notice::MixedFloatsHistogramsAggregation => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Notice::MixedClassicNative(metric) => {
                f.write_str("vector contains a mix of classic and native histograms")?;
                for_metric(f, metric)
            }
            Notice::NotACounter(metric) => {
                write!(f, "this native histogram metric is not a counter: {}", quote(metric))
            }
            Notice::NotAGauge(metric) => {
                write!(f, "this native histogram metric is not a gauge: {}", quote(metric))
            }
            Notice::MixedBucketSchemas(metric) => write!(
                f,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                quote(metric)
            ),
            Notice::IncompatibleBucketLayout(op) => {
                write!(f, "incompatible bucket layout encountered for binary operator {op}")
            }
            Notice::SortInRangeQuery => f.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Notice::CounterResetCollision(operation) => {
                write!(f, "conflicting counter resets during histogram {operation}")
            }
            Notice::StartTimeOverlap(metric) => write!(f, "{OVERLAP} for metric {}", quote(metric)),
            Notice::PossibleNonCounter(metric) => write!(
                f,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(metric)
            ),
            Notice::ForcedMonotonicity(metric) => {
                write!(
                    f,
                    "{MONOTONICITY} (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                )?;
                for_metric(f, metric)
            }
            Notice::IncompatibleTypes { lhs, op, rhs } => write!(
                f,
                "incompatible sample types encountered for binary operator \"{op}\": {lhs} {op} {rhs}"
            ),
            Notice::HistogramIgnoredInAggregation(op) => write!(f, "ignored histogram in {op} aggregation"),
            Notice::HistogramIgnoredInMixedRange(metric) => write!(
                f,
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                quote(metric)
            ),
            Notice::QuantileNanResult(metric) => {
                f.write_str("input to histogram_quantile has NaN observations, result is NaN")?;
                for_metric(f, metric)
            }
            Notice::QuantileNanSkew(metric) => {
                f.write_str("input to histogram_quantile has NaN observations, result is skewed higher")?;
                for_metric(f, metric)
            }
            Notice::FractionNans(metric) => {
                f.write_str(
                    "input to histogram_fraction has NaN observations, which are excluded from all fractions",
                )?;
                for_metric(f, metric)
            }
            Notice::MismatchedCustomBuckets(operation) => {
                write!(f, "mismatched custom buckets were reconciled during {operation}")
            }
        }
    }
}

impl fmt::Display for HistogramOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        })
    }
}

struct RepairDetails<'a>(&'a MonotonicityRepair, u64);

impl fmt::Display for RepairDetails<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RepairDetails(repair, count) = self;
        write!(
            f,
            ", from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {}",
            crate::number::shortest(repair.min_bucket),
            crate::number::shortest(repair.max_bucket),
            crate::number::with_digits(repair.max_diff, 2),
            rfc3339(repair.first_ms),
            rfc3339(repair.last_ms)
        )
    }
}

fn rfc3339(ms: i64) -> String {
    match jiff::Timestamp::from_second(ms / 1000) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => ms.to_string(),
    }
}

fn for_metric(f: &mut fmt::Formatter<'_>, metric: &str) -> fmt::Result {
    if metric.is_empty() {
        return Ok(());
    }
    write!(f, " for metric name {}", quote(metric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_said_once_and_at_its_last_position() {
        let query = "sum(a)\n + sum(b)";
        let mut notices = Notices::default();
        let notice = || Notice::HistogramIgnoredInAggregation("min");
        notices.add(notice(), Span { start: 4, end: 5 });
        notices.add(notice(), Span { start: 10, end: 12 });
        let annotations = notices.formatted(query);
        assert_eq!(annotations.infos, ["PromQL info: ignored histogram in min aggregation (2:4)"]);
        assert!(annotations.warnings.is_empty());
    }

    #[test]
    fn repairs_of_monotonicity_are_summed_up() {
        let mut notices = Notices::default();
        let repair = |ms, low, high, max_diff| MonotonicityRepair {
            first_ms: ms,
            last_ms: ms,
            min_bucket: low,
            max_bucket: high,
            max_diff,
        };
        notices.add_repair("x", Span::default(), repair(60_000, 1.0, 2.0, 0.5));
        notices.add_repair("x", Span::default(), repair(0, 0.1, 1.0, 12.345));
        let infos = notices.formatted("x").infos;
        assert_eq!(infos.len(), 1);
        let tail = "for metric name \"x\", from buckets 0.1 to 2, with a max diff of 12, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)";
        assert!(infos[0].ends_with(tail), "{}", infos[0]);
    }
}
