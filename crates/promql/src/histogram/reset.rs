//! Whether a counter started anew between two histograms.

use model::{BucketSpan, ResetHint};

use super::FloatHistogram;
use super::bounds::exponential_bound;
use super::custom::{intersection, rebin};
use super::spans::{indexed, reduce_compensated};

impl FloatHistogram {
    /// Whether a counter reset lies between `previous` and this histogram.
    ///
    /// A hint decides. Without one, any count that went down is a reset, and so is a change of the buckets that a
    /// running counter cannot make: a finer schema, a narrower zero bucket, a zero bucket that would split a
    /// populated bucket of before, exponential instead of custom buckets or the reverse.
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.reset_hint {
            ResetHint::Yes => return true,
            ResetHint::No => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.uses_custom_buckets() != previous.uses_custom_buckets() {
            return true;
        }
        if self.uses_custom_buckets() && self.custom_values != previous.custom_values {
            return self.reset_at_common_bounds(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let widened = previous.widened_zero_bucket(self.zero_threshold, None);
        widened.threshold != self.zero_threshold
            || self.zero_count < widened.count
            || self.side_reset(
                previous,
                (&self.positive_spans, &self.positive),
                (&previous.positive_spans, &previous.positive),
            )
            || self.side_reset(
                previous,
                (&self.negative_spans, &self.negative),
                (&previous.negative_spans, &previous.negative),
            )
    }

    /// Counts of different custom buckets are comparable only at the bounds that both have.
    fn reset_at_common_bounds(&self, previous: &FloatHistogram) -> bool {
        let bounds = intersection(&self.custom_values, &previous.custom_values);
        let totals = |histogram: &FloatHistogram| {
            let mut totals = vec![(0.0, 0.0); bounds.len() + 1];
            let buckets = indexed(&histogram.positive_spans, &histogram.positive);
            let buckets = buckets.map(|(index, count)| (index, count, 0.0));
            rebin(&mut totals, &bounds, &histogram.custom_values, buckets);
            totals
        };
        totals(self).iter().zip(totals(previous)).any(|(ours, before)| ours.0 < before.0)
    }

    fn side_reset(
        &self,
        previous: &FloatHistogram,
        ours: (&[BucketSpan], &[f64]),
        before: (&[BucketSpan], &[f64]),
    ) -> bool {
        let in_zero_bucket = |index: i64| {
            !self.uses_custom_buckets() && exponential_bound(index, self.schema) <= self.zero_threshold
        };
        let first = indexed(ours.0, ours.1).next();
        let alike = self.schema == previous.schema && ours.0 == before.0 && ours.1.len() == before.1.len();
        if alike && !first.is_some_and(|(index, _)| in_zero_bucket(index)) {
            // So it is with most samples of most series, and every sample of a query comes through here.
            return ours.1.iter().zip(before.1).any(|(now, before)| now < before);
        }
        let outside_zero = |(spans, counts): (&[BucketSpan], &[f64]), schema: i32| {
            let buckets = indexed(spans, counts).map(|(index, count)| (index, count, 0.0));
            let reduced = reduce_compensated(buckets, schema.abs_diff(self.schema));
            reduced.into_iter().skip_while(|bucket| in_zero_bucket(bucket.0))
        };
        let mut ours = outside_zero(ours, self.schema).peekable();
        for (index, count, _) in outside_zero(before, previous.schema) {
            while ours.next_if(|bucket| bucket.0 < index).is_some() {}
            let now = ours.next_if(|bucket| bucket.0 == index).map(|bucket| bucket.1);
            if now.map_or(count != 0.0, |now| now < count) {
                return true;
            }
        }
        false
    }
}
