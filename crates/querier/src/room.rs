//! What a query holds while it is evaluated, and what its result holds, in bytes of its budget.

use std::sync::Arc;

use model::{Classify, ErrorKind, Labels, SampleValue, Value};
use promql::{EvalError, NoRoom, Room};
use wire::{QueryError, SelectBudget, SelectError};

/// The bytes of a query's budget.
#[derive(Debug)]
pub(crate) struct Budgeted(pub(crate) Arc<SelectBudget>);

impl Room for Budgeted {
    fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        self.0.bytes.take(bytes).map_err(|e| NoRoom { kind: e.kind(), message: e.to_string() })
    }

    fn give_back(&self, bytes: u64) {
        self.0.bytes.give_back(bytes);
    }
}

/// What becomes of a refused evaluation.
pub(crate) fn refusal(error: EvalError, max_samples: u64) -> QueryError {
    match error {
        EvalError::Timeout => QueryError::Timeout("expression evaluation"),
        EvalError::Canceled => QueryError::Canceled,
        EvalError::TooManySamples => {
            QueryError::Execution(format!("{error} (limit max_samples_per_query of {max_samples})"))
        }
        EvalError::NoRoom(NoRoom { kind: ErrorKind::Unavailable, message }) => {
            QueryError::Select(SelectError::Unavailable(message))
        }
        EvalError::NoRoom(NoRoom { message, .. }) | EvalError::Execution(message) => {
            QueryError::Execution(message)
        }
    }
}

/// What a result takes, together with the text that it becomes: it is written before the result is gone.
pub(crate) fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::Scalar { .. } => 0,
        Value::String { value, .. } => 3 * value.len() as u64,
        Value::Vector(samples) => {
            let of_one = |sample: &model::VectorSample| match &sample.value {
                SampleValue::Float(_) => labels(&sample.labels) + SAMPLE,
                SampleValue::Histogram(histogram) => labels(&sample.labels) + of_histogram(histogram),
            };
            samples.iter().map(of_one).sum()
        }
        Value::Matrix(series) => {
            let of_one = |series: &model::MatrixSeries| {
                let histograms = series.histograms.iter().map(|(_, histogram)| of_histogram(histogram));
                labels(&series.labels) + SAMPLE * series.floats.len() as u64 + histograms.sum::<u64>()
            };
            series.iter().map(of_one).sum()
        }
    }
}

/// Sixteen bytes, and up to forty in text: most have fewer digits.
const SAMPLE: u64 = 16 + 32;

/// Their bytes, the series around them, and twice their bytes in text.
fn labels(labels: &Labels) -> u64 {
    3 * labels.run().len() as u64 + 160
}

/// A bucket takes eight bytes, and some fifty in text with its bounds.
fn of_histogram(histogram: &model::Histogram) -> u64 {
    let buckets = match &histogram.counts {
        model::Counts::Int { positive, negative, .. } => positive.len() + negative.len(),
        model::Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    400 + 64 * buckets as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MatrixSeries;

    #[test]
    fn too_many_samples_are_refused_with_the_value_of_the_limit() {
        let refused = refusal(EvalError::TooManySamples, 7).to_string();
        assert!(refused.ends_with("(limit max_samples_per_query of 7)"), "{refused}");
    }

    #[test]
    fn a_result_counts_for_what_it_takes_and_for_its_text() {
        let labels = Labels::from_pairs([("job", "x".repeat(1_000))]);
        let series = MatrixSeries { labels, floats: vec![(0, 1.5); 10_000], histograms: Vec::new() };
        let text = 1_000 + 10_000 * "[1700000000,\"1.5\"],".len();
        let bytes = bytes_of(&Value::Matrix(vec![series]));
        let held = 1_000 + 160_000 + text as u64;
        assert!((held..2 * held).contains(&bytes), "{bytes} for {held}");
    }

    #[test]
    fn what_the_process_has_no_memory_for_may_be_asked_for_again() {
        let refused = |kind| refusal(EvalError::NoRoom(NoRoom { kind, message: "memory_limit".into() }), 0);
        assert_eq!(refused(ErrorKind::Unavailable).kind(), ErrorKind::Unavailable);
        assert_eq!(refused(ErrorKind::LimitExceeded).kind(), ErrorKind::LimitExceeded);
    }
}
