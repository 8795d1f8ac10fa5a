//! One answer of the answers to parts of a query.

use std::collections::BTreeMap;

use model::{Counts, Histogram, MatrixSeries};
use wire::{QueryResult, QueryStats};

use super::steps::Steps;

/// The answer to consecutive steps, or as much of it as is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice<'a> {
    pub(crate) series: &'a [MatrixSeries],
    pub(crate) warnings: &'a [String],
    pub(crate) infos: &'a [String],
    pub(crate) steps: Steps,
}

/// What there is to say about several parts as if they were one; `None` when that takes an evaluation of the whole.
pub(crate) fn annotations<'a>(parts: impl Iterator<Item = &'a [String]>) -> Option<Vec<String>> {
    // By the text without its position: of one that is said at several places, an evaluation says the last.
    let mut said: BTreeMap<&str, &str> = BTreeMap::new();
    let mut n_parts = 0;
    for part in parts {
        n_parts += 1;
        for message in part {
            if let Some(other) = said.insert(without_position(message), message)
                && other != message
            {
                return None;
            }
        }
    }
    if n_parts > 1 && said.values().any(|message| promql::speaks_of_range(message)) {
        return None;
    }
    let mut messages: Vec<String> = said.into_values().map(str::to_string).collect();
    messages.sort();
    Some(messages)
}

/// The series of slices that follow one another in time, sorted by labels.
pub(crate) fn series(slices: &[Slice<'_>]) -> Vec<MatrixSeries> {
    let mut all: Vec<(&MatrixSeries, Steps)> = Vec::new();
    for slice in slices {
        all.extend(slice.series.iter().map(|series| (series, slice.steps)));
    }
    // Stable: of one series the earlier samples stay first.
    all.sort_by(|(a, _), (b, _)| a.labels.cmp(&b.labels));
    let mut merged: Vec<MatrixSeries> = Vec::with_capacity(all.len());
    for (series, steps) in all {
        let floats = within(&series.floats, steps);
        let histograms = within(&series.histograms, steps);
        if floats.is_empty() && histograms.is_empty() {
            continue;
        }
        match merged.last_mut().filter(|last| last.labels == series.labels) {
            Some(last) => {
                last.floats.extend_from_slice(floats);
                last.histograms.extend_from_slice(histograms);
            }
            None => merged.push(MatrixSeries {
                labels: series.labels.clone(),
                floats: floats.to_vec(),
                histograms: histograms.to_vec(),
            }),
        }
    }
    merged
}

/// Adds what another part cost. Parts are evaluated at the same time, so the longest of them is what they took.
pub(crate) fn add_stats(sum: &mut QueryStats, part: &QueryResult) {
    let stats = &part.stats;
    sum.prepare_secs = sum.prepare_secs.max(stats.prepare_secs);
    sum.eval_secs = sum.eval_secs.max(stats.eval_secs);
    sum.queue_secs = sum.queue_secs.max(stats.queue_secs);
    sum.total_samples += stats.total_samples;
    sum.samples_per_step.extend_from_slice(&stats.samples_per_step);
    sum.samples_read += stats.samples_read;
    sum.samples_read_per_step.extend_from_slice(&stats.samples_read_per_step);
    sum.peak_samples = sum.peak_samples.max(stats.peak_samples);
    sum.n_series = sum.n_series.max(stats.n_series);
    sum.select.add(stats.select);
}

/// The memory that series take, roughly.
pub(crate) fn bytes_of(series: &[MatrixSeries]) -> u64 {
    let of_one = |one: &MatrixSeries| {
        let histograms: usize = one.histograms.iter().map(|(_, histogram)| histogram_bytes(histogram)).sum();
        size_of::<MatrixSeries>() + 64 + one.labels.run().len() + 16 * one.floats.len() + histograms
    };
    series.iter().map(|one| of_one(one) as u64).sum()
}

fn histogram_bytes(histogram: &Histogram) -> usize {
    let n_buckets = match &histogram.counts {
        Counts::Int { positive, negative, .. } => positive.len() + negative.len(),
        Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let n_spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    size_of::<Histogram>() + 32 + 8 * (n_buckets + n_spans)
}

fn within<T>(points: &[(i64, T)], steps: Steps) -> &[(i64, T)] {
    let from = points.partition_point(|(time, _)| *time < steps.first);
    let to = points.partition_point(|(time, _)| *time <= steps.last);
    &points[from..to]
}

/// A message without the place in the query at its end, ` (1:5)`.
fn without_position(message: &str) -> &str {
    let is_position = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == ':');
    match message.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
        Some((text, position)) if is_position(position) => text,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn one(name: &str, times: &[i64]) -> MatrixSeries {
        MatrixSeries {
            labels: Labels::from_pairs([("__name__", name)]),
            floats: times.iter().map(|time| (*time, *time as f64)).collect(),
            histograms: Vec::new(),
        }
    }

    fn slice(series: &[MatrixSeries], first: i64, last: i64) -> Slice<'_> {
        Slice { series, warnings: &[], infos: &[], steps: Steps { first, last, step: 1 } }
    }

    #[test]
    fn series_are_joined_in_time_cut_to_what_is_wanted_and_sorted_by_labels() {
        let early = [one("b", &[1, 2]), one("c", &[1])];
        let late = [one("a", &[4]), one("b", &[3, 4, 5])];
        let merged = series(&[slice(&early, 2, 2), slice(&late, 3, 4)]);
        let shown: Vec<(Option<&str>, Vec<i64>)> = merged
            .iter()
            .map(|s| (s.labels.metric_name(), s.floats.iter().map(|(time, _)| *time).collect()))
            .collect();
        assert_eq!(shown, [(Some("a"), vec![4]), (Some("b"), vec![2, 3, 4])]);
    }

    #[test]
    fn what_is_said_twice_is_said_once_unless_only_the_whole_knows_what_to_say() {
        let said = |parts: &[&[&str]]| {
            let parts: Vec<Vec<String>> =
                parts.iter().map(|part| part.iter().map(|text| text.to_string()).collect()).collect();
            annotations(parts.iter().map(Vec::as_slice))
        };
        assert_eq!(said(&[&["b (1:1)"], &["a (1:2)", "b (1:1)"]]).unwrap(), ["a (1:2)", "b (1:1)"]);
        assert_eq!(said(&[&["a (1:1)"], &["a (1:7)"]]), None, "at which place is it said?");
        let repaired = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see x), over 3 samples from 1 to 2 (1:1)";
        assert_eq!(said(&[&[repaired], &[]]), None, "how many samples were there in all?");
        assert_eq!(said(&[&[repaired]]).unwrap(), [repaired]);
    }
}
