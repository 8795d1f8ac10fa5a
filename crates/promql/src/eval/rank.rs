use std::cmp::Ordering;

use model::is_empty_cell;
use xxhash_rust::xxh64::xxh64;

use super::aggregate::Grouper;
use super::{EvalError, Evaluator, Grid, Head, PLACE_BYTES, Sink, Vector, unparen};
use crate::annotations::Notice;
use crate::ast::{Aggregate, AggregateOp, Span};

/// A sample that is among the first of its group.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    value: f64,
    row: usize,
}

/// The `k` greatest or least samples seen so far: a heap with the one at the top that goes next. Which of equal
/// samples stay follows from how a binary heap moves its elements, and agrees with Prometheus.
#[derive(Debug, Default)]
struct Heap {
    samples: Vec<Ranked>,
}

impl Heap {
    fn offer(&mut self, sample: Ranked, k: usize, goes_before: fn(f64, f64) -> bool) {
        let before = |a: &Ranked, b: &Ranked| a.value.is_nan() || goes_before(a.value, b.value);
        if self.samples.len() < k {
            self.push(sample, goes_before);
            return;
        }
        let top = self.samples[0].value;
        if goes_before(top, sample.value) || (top.is_nan() && !sample.value.is_nan()) {
            self.samples[0] = sample;
            self.sift_down(before);
        }
    }

    fn push(&mut self, sample: Ranked, goes_before: fn(f64, f64) -> bool) {
        self.samples.push(sample);
        self.sift_up(|a, b| a.value.is_nan() || goes_before(a.value, b.value));
    }

    fn sift_up(&mut self, before: impl Fn(&Ranked, &Ranked) -> bool) {
        let mut child = self.samples.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !before(&self.samples[child], &self.samples[parent]) {
                break;
            }
            self.samples.swap(parent, child);
            child = parent;
        }
    }

    fn sift_down(&mut self, before: impl Fn(&Ranked, &Ranked) -> bool) {
        let mut parent = 0;
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= self.samples.len() {
                break;
            }
            let takes_right = right < self.samples.len() && before(&self.samples[right], &self.samples[left]);
            let child = if takes_right { right } else { left };
            if !before(&self.samples[child], &self.samples[parent]) {
                break;
            }
            self.samples.swap(parent, child);
            parent = child;
        }
    }

    /// The samples, the first of them first, NaN last.
    fn sorted(mut self, is_top: bool) -> Vec<Ranked> {
        self.samples.sort_by(|a, b| match (a.value.is_nan(), b.value.is_nan()) {
            (false, false) if is_top => b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal),
            (false, false) => a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        });
        self.samples
    }
}

impl Evaluator<'_> {
    /// `topk`, `bottomk`, `limitk` and `limit_ratio`, whose results are some of their inputs.
    pub(super) fn rank_rows(
        &self,
        aggregate: &Aggregate,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let Some(param) = &aggregate.param else { return Ok(()) };
        let params = self.scalars(unparen(param), grid)?;
        let rows = self.vector(unparen(&aggregate.expr), grid)?;
        let is_ratio = aggregate.op == AggregateOp::LimitRatio;
        let is_nothing = match is_ratio {
            true => params.iter().all(|r| *r == 0.0),
            false => !params.iter().any(|k| *k >= 1.0 || k.is_nan()),
        };
        if !is_nothing {
            match is_ratio {
                true => self.note_ratios(&params, unparen(param).span)?,
                false => refuse_counts(&params)?,
            }
            match aggregate.op {
                AggregateOp::LimitRatio => self.limit_ratio(&rows, &params, aggregate, sink)?,
                AggregateOp::Limitk => self.limitk(&rows, &params, aggregate, sink)?,
                _ => self.extremes(&rows, &params, aggregate, span, sink)?,
            }
        }
        self.release(rows);
        Ok(())
    }

    fn extremes(
        &self,
        rows: &Vector,
        params: &[f64],
        aggregate: &Aggregate,
        span: Span,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let is_top = aggregate.op == AggregateOp::Topk;
        if rows.has_histograms() {
            let name = if is_top { "topk" } else { "bottomk" };
            self.note(Notice::HistogramIgnoredInAggregation(name), span);
        }
        let goes_before: fn(f64, f64) -> bool = if is_top { |a, b| a < b } else { |a, b| a > b };
        let _groups = self.lease(GROUPED_BYTES * rows.len())?;
        let (groups, of_row) = groups(rows, aggregate);
        let greatest = params.iter().map(|k| count(*k, rows.len())).max().unwrap_or(0);
        let _heaps = self.lease(heap_bytes(groups, greatest, rows))?;
        let mut heaps: Vec<Heap> = Vec::new();
        heaps.resize_with(groups * rows.steps(), Heap::default);
        for row in by_labels(rows) {
            let group = of_row[row];
            let heaps = &mut heaps[group * rows.steps()..(group + 1) * rows.steps()];
            for ((heap, value), k) in heaps.iter_mut().zip(rows.floats(row)).zip(params) {
                let k = count(*k, rows.len());
                if k > 0 && !is_empty_cell(*value) {
                    heap.offer(Ranked { value: *value, row }, k, goes_before);
                }
            }
        }
        let mut picked = Picked::new(self, rows);
        for (index, heap) in heaps.into_iter().enumerate() {
            for sample in heap.sorted(is_top) {
                picked.take(sample.row, index % rows.steps())?;
            }
        }
        picked.emit(sink)
    }

    fn limitk(
        &self,
        rows: &Vector,
        params: &[f64],
        aggregate: &Aggregate,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let _groups = self.lease(GROUPED_BYTES * rows.len())?;
        let (groups, of_row) = groups(rows, aggregate);
        let mut taken = vec![0; groups];
        if let [k] = params {
            let k = count(*k, rows.len());
            return self.heaps(rows, (groups, &of_row), sink, |row| {
                let taken = &mut taken[of_row[row]];
                *taken += 1;
                *taken <= k
            });
        }
        let mut picked = Picked::new(self, rows);
        for (step, k) in params.iter().enumerate() {
            let k = count(*k, rows.len());
            taken.fill(0);
            for (row, group) in of_row.iter().enumerate() {
                if taken[*group] < k && rows.is_present(row, step) {
                    taken[*group] += 1;
                    picked.take(row, step)?;
                }
            }
        }
        picked.emit(sink)
    }

    fn limit_ratio(
        &self,
        rows: &Vector,
        params: &[f64],
        aggregate: &Aggregate,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if let [ratio] = params {
            let _groups = self.lease(GROUPED_BYTES * rows.len())?;
            let (groups, of_row) = groups(rows, aggregate);
            let is_taken = |row: usize| is_sampled(sampling_offset(&rows.head(row).labels), *ratio);
            return self.heaps(rows, (groups, &of_row), sink, is_taken);
        }
        let mut picked = Picked::new(self, rows);
        for row in 0..rows.len() {
            let offset = sampling_offset(&rows.head(row).labels);
            for (step, ratio) in params.iter().enumerate() {
                if is_sampled(offset, *ratio) && rows.is_present(row, step) {
                    picked.take(row, step)?;
                }
            }
        }
        picked.emit(sink)
    }

    /// The samples of a single step that are taken: group by group, and those of a group in the order in which
    /// Prometheus's heap of them has them. Over several steps it has none.
    fn heaps(
        &self,
        rows: &Vector,
        (groups, of_row): (usize, &[usize]),
        sink: &mut Sink<'_>,
        mut is_taken: impl FnMut(usize) -> bool,
    ) -> Result<(), EvalError> {
        let _heaps = self.lease(heap_bytes(groups, rows.len(), rows))?;
        let mut heaps: Vec<Heap> = Vec::new();
        heaps.resize_with(groups, Heap::default);
        for (row, group) in of_row.iter().enumerate() {
            if rows.is_present(row, 0) && is_taken(row) {
                // To the heap, a histogram is a zero.
                let value = if rows.histogram_at(row, 0).is_some() { 0.0 } else { rows.float_at(row, 0) };
                heaps[*group].push(Ranked { value, row }, |a, b| a < b);
            }
        }
        let mut picked = Picked::new(self, rows);
        for sample in heaps.into_iter().flat_map(|heap| heap.samples) {
            picked.take(sample.row, 0)?;
        }
        picked.emit(sink)
    }

    fn note_ratios(&self, ratios: &[f64], at: Span) -> Result<(), EvalError> {
        if ratios.iter().any(|r| r.is_nan()) {
            return Err(EvalError::Execution("Ratio value is NaN".to_string()));
        }
        let max = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        if max > 1.0 {
            self.note(Notice::InvalidRatio(crate::number::shortest(max), "1"), at);
        }
        if min < -1.0 {
            self.note(Notice::InvalidRatio(crate::number::shortest(min), "-1"), at);
        }
        Ok(())
    }
}

fn refuse_counts(params: &[f64]) -> Result<(), EvalError> {
    let max = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = params.iter().copied().fold(f64::INFINITY, f64::min);
    let refused = |message: String| Err(EvalError::Execution(message));
    if params.iter().any(|k| k.is_nan()) {
        return refused("Parameter value is NaN".to_string());
    }
    // Go's limits of an int64, as floats.
    if min <= -9_223_372_036_854_775_808.0 {
        return refused(format!("Scalar value {} underflows int64", crate::number::shortest(min)));
    }
    if max >= 9_223_372_036_854_775_807.0 {
        return refused(format!("Scalar value {} overflows int64", crate::number::shortest(max)));
    }
    Ok(())
}

/// What finding the group of a row takes, its place in the order, and what says which row of the result it has become.
const GROUPED_BYTES: usize = PLACE_BYTES + 4 * size_of::<usize>();

/// What the samples take that are kept of all groups at all steps.
fn heap_bytes(groups: usize, greatest: usize, rows: &Vector) -> usize {
    let heaps = groups.saturating_mul(rows.steps());
    let kept = heaps.saturating_mul(greatest).min(rows.cells());
    heaps.saturating_mul(size_of::<Heap>()).saturating_add(kept.saturating_mul(2 * size_of::<Ranked>()))
}

fn count(k: f64, rows: usize) -> usize {
    if k < 1.0 { 0 } else { (k as usize).min(rows) }
}

/// The rows by their labels. Which of several equal samples is among the first follows from the order in which they come,
/// and that must not depend on the rows at other steps: a part of a range has the answer that the whole has there.
fn by_labels(rows: &Vector) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if !rows.heads().is_sorted_by(|a, b| a.labels <= b.labels) {
        order.sort_by(|a, b| rows.head(*a).labels.cmp(&rows.head(*b).labels));
    }
    order
}

/// How many groups there are, and the group of each row.
fn groups(rows: &Vector, aggregate: &Aggregate) -> (usize, Vec<usize>) {
    let mut grouper = Grouper::new(&aggregate.grouping, aggregate.without);
    let mut groups = 0;
    let of_row = rows.heads().iter().map(|head| {
        let (group, new) = grouper.group(&head.labels);
        groups += usize::from(new.is_some());
        group
    });
    let of_row = of_row.collect();
    (groups, of_row)
}

/// A number from 0 to 1 that follows from the labels: their hash in the layout in which Prometheus keeps them
/// (name and value, each after its length: one byte, or 0xFF and three).
fn sampling_offset(labels: &model::Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.run().len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match text.len() {
            len @ 0..=254 => bytes.push(len as u8),
            len => {
                bytes.push(0xFF);
                bytes.extend_from_slice(&(len as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

/// Whether a ratio takes the series with this offset; less than none takes those that its complement leaves.
fn is_sampled(offset: f64, ratio: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}

/// Some of the samples of some rows, in the order in which they were taken.
struct Picked<'v> {
    evaluator: &'v Evaluator<'v>,
    from: &'v Vector,
    output: Vector,
    of_row: Vec<Option<usize>>,
}

impl<'v> Picked<'v> {
    fn new(evaluator: &'v Evaluator<'v>, from: &'v Vector) -> Picked<'v> {
        Picked { evaluator, from, output: Vector::new(from.steps()), of_row: vec![None; from.len()] }
    }

    fn take(&mut self, row: usize, step: usize) -> Result<(), EvalError> {
        let into = match self.of_row[row] {
            Some(into) => into,
            None => self.add(row)?,
        };
        match self.from.histogram_at(row, step) {
            Some(histogram) => self.output.set_histogram(into, step, std::sync::Arc::clone(histogram)),
            None => self.output.set_float(into, step, self.from.float_at(row, step)),
        }
        Ok(())
    }

    fn add(&mut self, row: usize) -> Result<usize, EvalError> {
        let Head { labels, drop_name } = self.from.head(row);
        let into = self.output.push_empty(Head { labels: labels.clone(), drop_name: *drop_name });
        self.of_row[row] = Some(into);
        self.evaluator.account(&mut self.output)?;
        Ok(into)
    }

    fn emit(self, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.evaluator.emit(self.output, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(values: &[f64], k: usize) -> Vec<f64> {
        let mut heap = Heap::default();
        for (row, value) in values.iter().enumerate() {
            heap.offer(Ranked { value: *value, row }, k, |a, b| a < b);
        }
        heap.sorted(true).iter().map(|sample| sample.value).collect()
    }

    #[test]
    fn the_greatest_stay_and_nan_goes_first() {
        assert_eq!(top(&[1.0, 5.0, 3.0, 4.0, 2.0], 3), [5.0, 4.0, 3.0]);
        assert_eq!(top(&[f64::NAN, 1.0, 2.0], 2), [2.0, 1.0]);
        let with_nan = top(&[f64::NAN, 1.0], 2);
        assert!(with_nan[0] == 1.0 && with_nan[1].is_nan());
    }

    #[test]
    fn the_sampling_offset_follows_from_the_labels() {
        let labels = model::Labels::from_pairs([("__name__", "http_requests"), ("job", "api-server")]);
        let expected =
            xxh64(b"\x08__name__\x0dhttp_requests\x03job\x0aapi-server", 0) as f64 / u64::MAX as f64;
        assert_eq!(sampling_offset(&labels), expected);
    }
}
