//! Buckets by index: what spans and counts say together.

use model::BucketSpan;

use super::kahan::kahan_add;

/// A bucket's index, its count, and what rounding took away from the count so far.
pub(super) type Compensated = (i64, f64, f64);

/// Writes the spans of ascending indices.
#[derive(Debug, Default)]
pub(super) struct SpanBuilder {
    spans: Vec<BucketSpan>,
    next: i64,
}

impl SpanBuilder {
    /// Adds the bucket `index`, which follows all before.
    pub(super) fn push(&mut self, index: i64) {
        match self.spans.last_mut() {
            Some(span) if index == self.next => span.length += 1,
            _ => {
                let offset = (index - self.next).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                self.spans.push(BucketSpan { offset: offset as i32, length: 1 });
            }
        }
        self.next = index + 1;
    }

    /// The spans.
    pub(super) fn finish(self) -> Vec<BucketSpan> {
        self.spans
    }
}

/// The buckets with their indices. Spans that announce more buckets than there are end where the counts end.
pub(super) fn indexed<'a>(
    spans: &'a [BucketSpan],
    counts: &'a [f64],
) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0_i64;
    let indices = spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    });
    indices.zip(counts.iter().copied())
}

/// Spans and counts of buckets with ascending indices.
pub(super) fn collect(buckets: impl Iterator<Item = (i64, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans = SpanBuilder::default();
    let counts = buckets
        .map(|(index, count)| {
            spans.push(index);
            count
        })
        .collect();
    (spans.finish(), counts)
}

/// The index of the bucket that takes in bucket `index` in a schema coarser by `shift`.
fn coarser(index: i64, shift: u32) -> i64 {
    ((index - 1) >> shift.min(62)) + 1
}

/// The buckets in a schema coarser by `shift`.
pub(super) fn reduce(spans: &[BucketSpan], counts: &[f64], shift: u32) -> (Vec<BucketSpan>, Vec<f64>) {
    let compensated = indexed(spans, counts).map(|(index, count)| (index, count, 0.0));
    let reduced = reduce_compensated(compensated, shift);
    collect(reduced.into_iter().map(|(index, count, _)| (index, count)))
}

/// The buckets in a schema coarser by `shift`, with what rounding took away.
pub(super) fn reduce_compensated(buckets: impl Iterator<Item = Compensated>, shift: u32) -> Vec<Compensated> {
    let mut reduced: Vec<Compensated> = Vec::with_capacity(buckets.size_hint().0);
    for (index, count, compensation) in buckets {
        let target = coarser(index, shift);
        match reduced.last_mut() {
            Some(last) if last.0 == target => {
                (last.1, last.2) = kahan_add(count, last.1, last.2);
                (last.1, last.2) = kahan_add(compensation, last.1, last.2);
            }
            _ => reduced.push((target, count, compensation)),
        }
    }
    reduced
}

/// The buckets of both, in ascending order, those with the same index added up.
pub(super) fn merge(a: Vec<Compensated>, b: impl Iterator<Item = Compensated>) -> Vec<Compensated> {
    let mut merged = Vec::with_capacity(a.len());
    let mut a = a.into_iter().peekable();
    for (index, count, compensation) in b {
        while let Some(bucket) = a.next_if(|bucket| bucket.0 < index) {
            merged.push(bucket);
        }
        let Some((_, sum, lost)) = a.next_if(|bucket| bucket.0 == index) else {
            merged.push((index, count, compensation));
            continue;
        };
        let (mut sum, mut lost) = kahan_add(count, sum, lost);
        if compensation != 0.0 {
            (sum, lost) = kahan_add(compensation, sum, lost);
        }
        merged.push((index, sum, lost));
    }
    merged.extend(a);
    merged
}

/// Drops empty buckets, then fills gaps of up to `max_empty` buckets.
pub(super) fn compact(spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>, max_empty: usize) {
    let max_gap = i64::try_from(max_empty).unwrap_or(i64::MAX);
    let gap_to_fill = spans.iter().skip(1).any(|span| i64::from(span.offset) <= max_gap);
    let empty_span = spans.iter().any(|span| span.length == 0);
    if !gap_to_fill && !empty_span && counts.iter().all(|c| *c != 0.0) {
        return;
    }
    let mut compacted = SpanBuilder::default();
    let mut kept: Vec<f64> = Vec::with_capacity(counts.len());
    for (index, count) in indexed(spans, counts).filter(|(_, count)| *count != 0.0) {
        if !kept.is_empty() && index - compacted.next <= max_gap {
            for empty in compacted.next..index {
                compacted.push(empty);
                kept.push(0.0);
            }
        }
        compacted.push(index);
        kept.push(count);
    }
    *spans = compacted.finish();
    *counts = kept;
}

/// Whether both are the same buckets with the same bits.
pub(super) fn same(
    a_spans: &[BucketSpan],
    a_counts: &[f64],
    b_spans: &[BucketSpan],
    b_counts: &[f64],
) -> bool {
    let bits = |(index, count): (i64, f64)| (index, count.to_bits());
    indexed(a_spans, a_counts).map(bits).eq(indexed(b_spans, b_counts).map(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn spans_and_counts_say_where_each_bucket_is() {
        let spans = [span(-2, 2), span(0, 1), span(3, 0), span(1, 2)];
        let buckets: Vec<(i64, f64)> = indexed(&spans, &[1.0, 2.0, 3.0, 4.0, 5.0]).collect();
        assert_eq!(buckets, [(-2, 1.0), (-1, 2.0), (0, 3.0), (5, 4.0), (6, 5.0)]);
        let (spans, counts) = collect(buckets.into_iter());
        assert_eq!(spans, [span(-2, 3), span(4, 2)]);
        assert_eq!(counts, [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn compacting_drops_empty_buckets_and_fills_short_gaps() {
        let cases = [
            (0, vec![span(1, 1), span(3, 1), span(5, 1)], vec![1.0, 2.0, 3.0]),
            (2, vec![span(1, 1), span(3, 1), span(5, 1)], vec![1.0, 2.0, 3.0]),
            (3, vec![span(1, 5), span(5, 1)], vec![1.0, 0.0, 0.0, 0.0, 2.0, 3.0]),
        ];
        for (max_empty, expected_spans, expected) in cases {
            let mut spans = vec![span(0, 3), span(0, 1), span(1, 1), span(3, 5)];
            let mut counts = vec![0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0];
            compact(&mut spans, &mut counts, max_empty);
            assert_eq!((spans, counts), (expected_spans, expected), "{max_empty}");
        }
    }

    #[test]
    fn compacting_an_empty_side_leaves_no_span() {
        let (mut spans, mut counts) = (vec![span(4, 2), span(1, 0)], vec![0.0, -0.0]);
        compact(&mut spans, &mut counts, 0);
        assert!(spans.is_empty() && counts.is_empty());
    }

    #[test]
    fn a_coarser_schema_takes_pairs_of_buckets_together() {
        // Of schema 0, (½,1] is bucket 0, (1,2] bucket 1, (2,4] bucket 2, (4,8] bucket 3; (1,4] is bucket 1 of schema −1.
        let (spans, counts) = reduce(&[span(-1, 5)], &[1.0, 2.0, 4.0, 8.0, 16.0], 1);
        assert_eq!((spans, counts), (vec![span(0, 3)], vec![3.0, 12.0, 16.0]));
    }
}
