//! `label_replace` and `label_join`, which change labels and look at no value.

use model::{Labels, METRIC_NAME, Matcher, compile_framed};

use super::{argument, string_argument};
use crate::ast::Call;
use crate::eval::{Assembler, EvalError, Evaluator, Grid, Row, Sink};
use crate::text::{as_utf8, is_plain_label_name, is_valid_label_name, quote};

/// Whether a label describes the metric: it goes when the result is no longer that metric.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels as Prometheus prints them in errors.
pub(crate) fn to_go(labels: &Labels) -> String {
    let pair = |(name, value): (&str, &str)| match is_plain_label_name(name) {
        true => format!("{name}={}", quote(value)),
        false => format!("{}={}", quote(name), quote(value)),
    };
    format!("{{{}}}", labels.iter().map(pair).collect::<Vec<_>>().join(", "))
}

/// How often a text is there at once while it becomes a label: by itself, in the list of labels, and in their run.
const COPIES: usize = 3;

pub(super) fn replace(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let [destination, replacement, source, pattern] = [
        string_argument(call, 1)?,
        string_argument(call, 2)?,
        string_argument(call, 3)?,
        string_argument(call, 4)?,
    ];
    let regex = compile_framed(pattern, Matcher::REGEX_SIZE_LIMIT).map_err(|_| {
        EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
    })?;
    refuse_name(destination, "destination label name in label_replace()")?;
    let mut expanded = String::new();
    relabel(evaluator, call, grid, destination, sink, &mut |labels| {
        let text = labels.get(source).unwrap_or_default();
        let Some(captures) = regex.captures(text) else { return Ok(None) };
        // Each reference stands for the whole text at most. Asked for before it is there: texts multiply.
        let _room =
            evaluator.lease(COPIES * (replacement.len() + text.len() * replacement.matches('$').count()))?;
        expanded.clear();
        captures.expand(replacement, &mut expanded);
        Ok(Some(with_label(labels, destination, &expanded)))
    })
}

pub(super) fn join(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let (destination, separator) = (string_argument(call, 1)?, string_argument(call, 2)?);
    let mut sources = Vec::new();
    for index in 3..call.args.len() {
        let source = string_argument(call, index)?;
        refuse_name(source, "source label name in label_join()")?;
        sources.push(source);
    }
    refuse_name(destination, "destination label name in label_join()")?;
    relabel(evaluator, call, grid, destination, sink, &mut |labels| {
        let values: Vec<&str> = sources.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        let joined = values.iter().map(|value| value.len() + separator.len()).sum::<usize>();
        let _room = evaluator.lease(COPIES * joined)?;
        Ok(Some(with_label(labels, destination, &values.join(separator))))
    })
}

/// Gives each row the labels that `change` makes of its own, if it makes any. Rows that become the same are put
/// together.
fn relabel(
    evaluator: &Evaluator<'_>,
    call: &Call,
    grid: Grid,
    destination: &str,
    sink: &mut Sink<'_>,
    change: &mut dyn FnMut(&Labels) -> Result<Option<Labels>, EvalError>,
) -> Result<(), EvalError> {
    let mut rows = Assembler::new(evaluator, grid.steps);
    evaluator.rows(argument(call, 0)?, grid, &mut |row| {
        let changed = change(row.labels)?;
        // A name given on purpose stays.
        let drop_name = row.drop_name && !(changed.is_some() && destination == METRIC_NAME);
        let labels = changed.as_ref().unwrap_or(row.labels);
        rows.put_row(&Row { labels, drop_name, floats: row.floats, histograms: row.histograms })
    })?;
    rows.emit(sink)
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut builder = labels.builder();
    builder.set(name, value);
    builder.build()
}

fn refuse_name(name: &str, what: &str) -> Result<(), EvalError> {
    if is_valid_label_name(name) {
        return Ok(());
    }
    Err(EvalError::Execution(format!("invalid {what}: {}", as_utf8(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_print_as_in_prometheus() {
        let labels = Labels::from_pairs([("b", "x\"y"), ("a.b", "1")]);
        assert_eq!(to_go(&labels), r#"{"a.b"="1", b="x\"y"}"#);
    }
}
