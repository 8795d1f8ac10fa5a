//! Adding and subtracting histograms whose buckets differ.

use std::cmp::Ordering;

use model::{BucketSpan, ResetHint};

use super::bounds::exponential_bound;
use super::custom;
use super::kahan::kahan_add;
use super::spans::{self, Compensated, SpanBuilder, indexed};
use super::{FloatHistogram, HistogramOpError};

/// What an addition or subtraction had to put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One was known to follow a reset and the other was known not to.
    pub counter_reset_collision: bool,
    /// Custom bounds differed, and only those in both were kept.
    pub nhcb_bounds_reconciled: bool,
}

/// Positive or negative.
#[derive(Debug, Clone, Copy)]
enum Side {
    Positive,
    Negative,
}

impl FloatHistogram {
    /// Adds `other`: in the coarser schema of both, with the wider zero bucket, with the custom bounds of both.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, HistogramOpError> {
        self.combine(other, 1.0, None)
    }

    /// Subtracts `other`, as [`FloatHistogram::add`] adds it.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Combined, HistogramOpError> {
        self.combine(other, -1.0, None)
    }

    /// Adds `other`, and what rounding takes away to `compensation`, which starts as `None`. In the end
    /// `compensation` is to be added as well. What scales one of the two must scale the other.
    pub fn kahan_add(
        &mut self,
        other: &FloatHistogram,
        compensation: &mut Option<FloatHistogram>,
    ) -> Result<Combined, HistogramOpError> {
        self.check_compatible(other)?;
        if compensation.is_none() {
            *compensation = Some(self.zeroed());
        }
        self.combine(other, 1.0, compensation.as_mut())
    }

    /// What to do with a reset hint when another histogram is added: a gauge stays one, what is known only of one
    /// is not known of the sum. Returns whether the two contradict each other.
    pub fn adjust_reset_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, No, Unknown, Yes};
        let collision = matches!((self.reset_hint, other), (Yes, No) | (No, Yes));
        self.reset_hint = match (self.reset_hint, other) {
            (Gauge, _) | (_, Gauge) => Gauge,
            (ours, theirs) if ours == theirs => ours,
            _ => Unknown,
        };
        collision
    }

    fn check_compatible(&self, other: &FloatHistogram) -> Result<(), HistogramOpError> {
        if self.uses_custom_buckets() == other.uses_custom_buckets() {
            return Ok(());
        }
        Err(HistogramOpError::IncompatibleSchema)
    }

    /// The same buckets without observations.
    fn zeroed(&self) -> FloatHistogram {
        FloatHistogram {
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: vec![0.0; self.positive.len()],
            negative: vec![0.0; self.negative.len()],
            ..self.clone()
        }
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
        mut compensation: Option<&mut FloatHistogram>,
    ) -> Result<Combined, HistogramOpError> {
        self.check_compatible(other)?;
        let counter_reset_collision = self.adjust_reset_hint(other.reset_hint);
        if !self.uses_custom_buckets() {
            self.combine_zero(other, sign, compensation.as_deref_mut());
        }
        let mut unused = (0.0, 0.0);
        let (lost_count, lost_sum) = match &mut compensation {
            Some(c) => (&mut c.count, &mut c.sum),
            None => (&mut unused.0, &mut unused.1),
        };
        (self.count, *lost_count) = kahan_add(sign * other.count, self.count, *lost_count);
        (self.sum, *lost_sum) = kahan_add(sign * other.sum, self.sum, *lost_sum);

        let nhcb_bounds_reconciled = self.uses_custom_buckets() && self.custom_values != other.custom_values;
        if nhcb_bounds_reconciled {
            self.combine_mismatched(other, sign, compensation);
        } else {
            self.combine_side(Side::Positive, other, sign, compensation.as_deref_mut());
            self.combine_side(Side::Negative, other, sign, compensation.as_deref_mut());
            self.schema = self.schema.min(other.schema);
            if let Some(c) = compensation {
                c.schema = self.schema;
                c.zero_threshold = self.zero_threshold;
            }
        }
        Ok(Combined { counter_reset_collision, nhcb_bounds_reconciled })
    }

    fn combine_zero(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
        mut compensation: Option<&mut FloatHistogram>,
    ) {
        let (theirs, theirs_lost) = self.reconcile_zero_buckets(other, compensation.as_deref_mut());
        let lost = compensation.as_ref().map_or(0.0, |c| c.zero_count);
        let (sum, lost) = kahan_add(sign * theirs, self.zero_count, lost);
        let Some(c) = compensation else {
            self.zero_count = sum;
            return;
        };
        (self.zero_count, c.zero_count) = kahan_add(sign * theirs_lost, sum, lost);
    }

    /// Widens our zero bucket until it is as wide as that of `other` or wider, and returns how many observations of
    /// `other` are in a zero bucket as wide as ours then, with what rounding took away.
    fn reconcile_zero_buckets(
        &mut self,
        other: &FloatHistogram,
        mut compensation: Option<&mut FloatHistogram>,
    ) -> (f64, f64) {
        let mut theirs = Widened { threshold: other.zero_threshold, count: other.zero_count, lost: 0.0 };
        loop {
            // Each turn ends at a bound of one of the two or at the end of its buckets, so the loop ends.
            match self.zero_threshold.partial_cmp(&theirs.threshold) {
                Some(Ordering::Greater) => theirs = other.widened_zero_bucket(self.zero_threshold, None),
                Some(Ordering::Less) => self.widen_zero_bucket(theirs.threshold, compensation.as_deref_mut()),
                // Thresholds of NaN compare with nothing; the sum of such histograms means nothing either.
                Some(Ordering::Equal) | None => return (theirs.count, theirs.lost),
            }
        }
    }

    fn widen_zero_bucket(&mut self, threshold: f64, mut compensation: Option<&mut FloatHistogram>) {
        let widened = self.widened_zero_bucket(threshold, compensation.as_deref());
        self.zero_threshold = widened.threshold;
        self.zero_count = widened.count;
        if let Some(c) = &mut compensation {
            c.zero_count = widened.lost;
        }
        self.drop_side_in_zero_bucket(Side::Positive, compensation.as_deref_mut());
        self.drop_side_in_zero_bucket(Side::Negative, compensation);
    }

    /// The zero bucket if it reached to `threshold`. A populated bucket is never split: the zero bucket then reaches
    /// to the end of that bucket, on both sides.
    pub(super) fn widened_zero_bucket(
        &self,
        mut threshold: f64,
        compensation: Option<&FloatHistogram>,
    ) -> Widened {
        if threshold == self.zero_threshold {
            let lost = compensation.map_or(0.0, |c| c.zero_count);
            return Widened { threshold, count: self.zero_count, lost };
        }
        loop {
            let mut widened = Widened {
                threshold,
                count: self.zero_count,
                lost: compensation.map_or(0.0, |c| c.zero_count),
            };
            // The negative side may reach further than the positive one, which then has to be looked at again.
            threshold = widened.take_side(self, Side::Positive, compensation, threshold);
            let reached = widened.take_side(self, Side::Negative, compensation, threshold);
            if reached == threshold {
                widened.threshold = threshold;
                return widened;
            }
            threshold = reached;
        }
    }

    fn drop_side_in_zero_bucket(&mut self, side: Side, compensation: Option<&mut FloatHistogram>) {
        let inside = |index: i64| exponential_bound(index - 1, self.schema) < self.zero_threshold;
        let kept: Vec<Compensated> = self
            .compensated(side, compensation.as_deref())
            .into_iter()
            .filter(|(index, count, lost)| !inside(*index) && (*count != 0.0 || *lost != 0.0))
            .collect();
        self.set_side(side, kept, compensation);
    }

    fn combine_side(
        &mut self,
        side: Side,
        other: &FloatHistogram,
        sign: f64,
        mut compensation: Option<&mut FloatHistogram>,
    ) {
        if self.combine_alike(side, other, sign, compensation.as_deref_mut()) {
            return;
        }
        let schema = self.schema.min(other.schema);
        let mut ours = self.compensated(side, compensation.as_deref());
        if schema < self.schema {
            ours = spans::reduce_compensated(ours.into_iter(), self.schema.abs_diff(schema));
        }
        let mut theirs = other.compensated(side, None);
        if schema < other.schema {
            theirs = spans::reduce_compensated(theirs.into_iter(), other.schema.abs_diff(schema));
        }
        let theirs = theirs.into_iter().skip_while(|bucket| self.counts_as_zero(bucket.0, schema));
        let merged =
            spans::merge(ours, theirs.map(|(index, count, lost)| (index, sign * count, sign * lost)));
        self.set_side(side, merged, compensation);
    }

    /// Whether the bucket `index` of `other` has been counted in the zero bucket.
    fn counts_as_zero(&self, index: i64, schema: i32) -> bool {
        !self.uses_custom_buckets() && exponential_bound(index, schema) <= self.zero_threshold
    }

    /// Adds the buckets one by one where both have the same, as the samples of one series mostly do and often those
    /// of many. Returns whether it could.
    fn combine_alike(
        &mut self,
        side: Side,
        other: &FloatHistogram,
        sign: f64,
        compensation: Option<&mut FloatHistogram>,
    ) -> bool {
        let (their_spans, theirs) = other.side(side);
        let (our_spans, ours) = self.side(side);
        let alike = self.schema == other.schema && our_spans == their_spans && ours.len() == theirs.len();
        let first = indexed(our_spans, ours).next();
        if !alike || first.is_some_and(|(index, _)| self.counts_as_zero(index, self.schema)) {
            return false;
        }
        let Some(c) = compensation else {
            for (count, theirs) in self.side_mut(side).1.iter_mut().zip(theirs) {
                *count += sign * theirs;
            }
            return true;
        };
        let lost = c.side_mut(side).1;
        // A compensation that was not kept beside its sum knows nothing of the buckets beyond its end.
        lost.resize(theirs.len(), 0.0);
        for ((count, lost), theirs) in self.side_mut(side).1.iter_mut().zip(lost).zip(theirs) {
            (*count, *lost) = kahan_add(sign * theirs, *count, *lost);
        }
        true
    }

    fn combine_mismatched(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
        compensation: Option<&mut FloatHistogram>,
    ) {
        let bounds = custom::intersection(&self.custom_values, &other.custom_values);
        let mut totals = vec![(0.0, 0.0); bounds.len() + 1];
        let ours = self.compensated(Side::Positive, compensation.as_deref());
        custom::rebin(&mut totals, &bounds, &self.custom_values, ours.into_iter());
        let theirs = other.compensated(Side::Positive, None).into_iter();
        let signed = theirs.map(|(index, count, lost)| (index, sign * count, lost));
        custom::rebin(&mut totals, &bounds, &other.custom_values, signed);
        let kept = (0_i64..)
            .zip(totals)
            .map(|(index, (count, lost))| (index, count, lost))
            .filter(|(_, count, lost)| *count != 0.0 || *lost != 0.0)
            .collect();
        self.custom_values = bounds;
        match compensation {
            Some(c) => {
                c.custom_values = self.custom_values.clone();
                self.set_side(Side::Positive, kept, Some(c));
            }
            None => self.set_side(Side::Positive, kept, None),
        }
    }

    fn side(&self, side: Side) -> (&[BucketSpan], &[f64]) {
        match side {
            Side::Positive => (&self.positive_spans, &self.positive),
            Side::Negative => (&self.negative_spans, &self.negative),
        }
    }

    /// The buckets of a side with what rounding took away from them.
    fn compensated(&self, side: Side, compensation: Option<&FloatHistogram>) -> Vec<Compensated> {
        let (spans, counts) = self.side(side);
        let lost = compensation.map_or(&[][..], |c| c.side(side).1);
        let lost = lost.iter().copied().chain(std::iter::repeat(0.0));
        indexed(spans, counts).zip(lost).map(|((index, count), lost)| (index, count, lost)).collect()
    }

    fn set_side(&mut self, side: Side, buckets: Vec<Compensated>, compensation: Option<&mut FloatHistogram>) {
        let mut spans = SpanBuilder::default();
        buckets.iter().for_each(|bucket| spans.push(bucket.0));
        let spans = spans.finish();
        if let Some(c) = compensation {
            let (c_spans, c_counts) = c.side_mut(side);
            *c_spans = spans.clone();
            *c_counts = buckets.iter().map(|bucket| bucket.2).collect();
        }
        let (our_spans, ours) = self.side_mut(side);
        *our_spans = spans;
        *ours = buckets.into_iter().map(|bucket| bucket.1).collect();
    }

    fn side_mut(&mut self, side: Side) -> (&mut Vec<BucketSpan>, &mut Vec<f64>) {
        match side {
            Side::Positive => (&mut self.positive_spans, &mut self.positive),
            Side::Negative => (&mut self.negative_spans, &mut self.negative),
        }
    }
}

/// A zero bucket that took in buckets beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widened {
    /// How far it reaches.
    pub(super) threshold: f64,
    /// Observations in it.
    pub(super) count: f64,
    /// What rounding took away from `count`.
    lost: f64,
}

impl Widened {
    /// Takes in the buckets of a side that begin before `threshold`; returns how far the last of them reaches if it
    /// is populated, at least `threshold`.
    fn take_side(
        &mut self,
        histogram: &FloatHistogram,
        side: Side,
        compensation: Option<&FloatHistogram>,
        threshold: f64,
    ) -> f64 {
        for (index, count, lost) in histogram.compensated(side, compensation) {
            if exponential_bound(index - 1, histogram.schema) >= threshold {
                break;
            }
            (self.count, self.lost) = kahan_add(count, self.count, self.lost);
            (self.count, self.lost) = kahan_add(lost, self.count, self.lost);
            let end = exponential_bound(index, histogram.schema);
            if end > threshold {
                return if count == 0.0 { threshold } else { end };
            }
        }
        threshold
    }
}
