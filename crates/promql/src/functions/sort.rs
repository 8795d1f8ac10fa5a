//! `sort` and its kin, which order the samples of an instant query.

use std::cmp::Ordering;

use super::{argument, string_argument};
use crate::annotations::Notice;
use crate::ast::{Call, Span};
use crate::eval::{EvalError, Evaluator, Grid, Head, Row, Sink, Vector};

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    span: Span,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    let is_by_label = call.func.name.starts_with("sort_by_label");
    let sorted = sorted_rows(evaluator, call, is_by_label, grid, sink);
    // After what its argument has to say: of two that are the same the later one is shown.
    if grid.is_range {
        evaluator.note(Notice::SortInRangeQuery, span);
    }
    sorted
}

fn sorted_rows(
    evaluator: &Evaluator<'_>,
    call: &Call,
    is_by_label: bool,
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    if grid.steps > 1 {
        return evaluator.rows(argument(call, 0)?, grid, &mut |row| match is_by_label {
            true => sink(row),
            false => emit_floats(row, sink),
        });
    }
    let mut vector = evaluator.vector(argument(call, 0)?, grid)?;
    let _order = evaluator.lease(2 * size_of::<usize>() * vector.len())?;
    let mut order: Vec<usize> = (0..vector.len()).collect();
    if is_by_label {
        let names = (1..call.args.len()).map(|index| string_argument(call, index));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let is_descending = call.func.name == "sort_by_label_desc";
        order = sorted(order, |a, b| goes_before(vector.head(a), vector.head(b), &names, is_descending));
    } else {
        let is_descending = call.func.name == "sort_desc";
        order.retain(|row| vector.histogram_at(*row, 0).is_none());
        order.sort_by(|a, b| by_value(&vector, *a, *b, is_descending));
    }
    vector.emit(order, sink)?;
    evaluator.release(vector);
    Ok(())
}

fn emit_floats(row: Row<'_>, sink: &mut Sink<'_>) -> Result<(), EvalError> {
    let row = Row { histograms: &mut [], ..row };
    if row.is_empty() { Ok(()) } else { sink(row) }
}

/// NaN comes last, whichever way the others go.
fn by_value(vector: &Vector, a: usize, b: usize, is_descending: bool) -> Ordering {
    let (a, b) = (vector.float_at(a, 0), vector.float_at(b, 0));
    let by_number = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    let by_number = if is_descending { by_number.reverse() } else { by_number };
    a.is_nan().cmp(&b.is_nan()).then(by_number)
}

/// Not an order: of two values that differ, neither comes before the other when one of them is empty. The rows come out
/// as Prometheus's sort leaves them.
fn goes_before(a: &Head, b: &Head, names: &[&str], is_descending: bool) -> bool {
    for name in names {
        let value = |head: &Head| head.labels.get(name).unwrap_or_default().to_string();
        let (a, b) = (value(a), value(b));
        if a != b {
            return natural_before(&a, &b) != is_descending;
        }
    }
    let by_all = a.labels.cmp(&b.labels);
    if is_descending { by_all.is_gt() } else { by_all.is_lt() }
}

/// The most elements that Go's library sorts by insertion.
const INSERTED: usize = 12;

/// Sorts by what may contradict itself, which the sorts of the standard library may answer with a panic. As many as Go
/// sorts by insertion come out as they do there.
fn sorted(mut order: Vec<usize>, goes_before: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    for run in order.chunks_mut(INSERTED) {
        for end in 1..run.len() {
            let mut at = end;
            while at > 0 && goes_before(run[at], run[at - 1]) {
                run.swap(at, at - 1);
                at -= 1;
            }
        }
    }
    let mut width = INSERTED;
    while width < order.len() {
        order = order.chunks(2 * width).flat_map(|pair| merged(pair, width, &goes_before)).collect();
        width *= 2;
    }
    order
}

/// Two sorted runs as one; the first has this length.
fn merged(pair: &[usize], width: usize, goes_before: &impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let (mut left, mut right) = pair.split_at(width.min(pair.len()));
    let mut merged = Vec::with_capacity(pair.len());
    while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
        if goes_before(*b, *a) {
            merged.push(*b);
            right = right_rest;
        } else {
            merged.push(*a);
            left = left_rest;
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    merged
}

/// Whether `a` comes before `b` in natural order, where `node10` follows `node9`: runs of digits compare as
/// numbers, the rest as text.
fn natural_before(a: &str, b: &str) -> bool {
    let (a, b) = (chunks(a), chunks(b));
    for (index, chunk) in a.iter().enumerate() {
        let Some(other) = b.get(index) else { return false };
        let (is_last, is_last_other) = (index + 1 == a.len(), index + 1 == b.len());
        let is_same = match (chunk.parse::<i64>(), other.parse::<i64>()) {
            (Ok(x), Ok(y)) if x != y => return x < y,
            (Ok(_), Ok(_)) => true,
            _ => chunk == other,
        };
        if !is_same {
            return chunk < other;
        }
        if is_last || is_last_other {
            return is_last;
        }
    }
    false
}

/// Runs of digits and runs of anything else.
fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        chunks.push(&rest[..end]);
        rest = &rest[end..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_contradictions_end() {
        let numbers: Vec<usize> = (0..100).map(|i| i * 37 % 100).collect();
        assert_eq!(sorted(numbers.clone(), |a, b| a < b), (0..100).collect::<Vec<_>>());
        assert_eq!(sorted(numbers.clone(), |a, b| a > b), (0..100).rev().collect::<Vec<_>>());
        // Nobody goes before anybody, or everybody before everybody.
        assert_eq!(sorted(numbers.clone(), |_, _| false), numbers);
        assert_eq!(sorted(numbers.clone(), |_, _| true).len(), numbers.len());
    }

    #[test]
    fn numbers_within_text_compare_as_numbers() {
        for (a, b) in [("node9", "node10"), ("a", "b"), ("1.2", "1.10"), ("4m5", "4m600"), ("v", "v1")] {
            assert!(natural_before(a, b), "{a} before {b}");
            assert!(!natural_before(b, a), "{b} not before {a}");
        }
    }
}
