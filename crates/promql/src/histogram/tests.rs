use model::BucketSpan;

use super::*;

fn side(offset: i32, counts: &[f64]) -> (Vec<BucketSpan>, Vec<f64>) {
    (vec![BucketSpan { offset, length: counts.len() as u32 }], counts.to_vec())
}

fn exponential(schema: i32, offset: i32, counts: &[f64]) -> FloatHistogram {
    let (positive_spans, positive) = side(offset, counts);
    let count = counts.iter().sum();
    FloatHistogram { count, sum: count, positive_spans, positive, ..FloatHistogram::empty(schema) }
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    let mut histogram = exponential(CUSTOM_BUCKETS_SCHEMA, 0, counts);
    histogram.custom_values = bounds.to_vec();
    histogram
}

fn with_zero(mut histogram: FloatHistogram, threshold: f64, zero: f64) -> FloatHistogram {
    histogram.zero_threshold = threshold;
    histogram.zero_count = zero;
    histogram.count += zero;
    histogram
}

fn compacted(mut histogram: FloatHistogram) -> FloatHistogram {
    histogram.compact(0);
    histogram
}

fn added(a: &FloatHistogram, b: &FloatHistogram) -> (FloatHistogram, Combined) {
    let mut sum = a.clone();
    let combined = sum.add(b).expect("both are exponential or both are custom");
    (sum, combined)
}

#[track_caller]
fn assert_same(a: &FloatHistogram, b: &FloatHistogram) {
    let (a, b) = (compacted(a.clone()), compacted(b.clone()));
    assert!(a.equals(&b), "{} is not {}", a.to_test_literal(), b.to_test_literal());
}

#[track_caller]
fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || a == b, "{a} is not {b}");
}

#[test]
fn integers_become_floats_and_stay_where_they_are() {
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 0.5,
        sum: 7.5,
        counts: Counts::Int { count: 9, zero: 2, positive: vec![1, 2], negative: vec![4] },
        positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
        negative_spans: vec![BucketSpan { offset: 4, length: 1 }],
        custom_values: Vec::new(),
        reset_hint: ResetHint::No,
    };
    let floats = FloatHistogram::from_model(&histogram);
    assert_eq!((floats.count, floats.zero_count, floats.sum), (9.0, 2.0, 7.5));
    let back = floats.clone().into_model();
    assert_eq!(
        back.counts,
        Counts::Float { count: 9.0, zero: 2.0, positive: vec![1.0, 2.0], negative: vec![4.0] }
    );
    assert_eq!(back.positive_spans, histogram.positive_spans);
    assert_eq!(back.reset_hint, ResetHint::No);
    assert_eq!(FloatHistogram::from_model(&back), floats);
    assert!(FloatHistogram::from_model(&Histogram::stale()).is_stale());
}

#[test]
fn a_sum_has_the_buckets_of_both() {
    let (sum, combined) = added(&exponential(0, 0, &[1.0, 2.0]), &exponential(0, 5, &[4.0]));
    assert_same(&sum, &exponential(0, 0, &[1.0, 2.0, 0.0, 0.0, 0.0, 4.0]));
    assert_eq!(combined, Combined::default());
}

#[test]
fn a_sum_has_the_coarser_schema_from_either_side() {
    let fine = exponential(0, 1, &[2.0, 2.0]);
    let coarse = exponential(-1, 1, &[1.0]);
    let expected = exponential(-1, 1, &[5.0]);
    assert_same(&added(&fine, &coarse).0, &expected);
    assert_same(&added(&coarse, &fine).0, &expected);
}

#[test]
fn exponential_and_custom_buckets_do_not_add_up() {
    let mut a = exponential(0, 0, &[1.0]);
    let before = a.clone();
    let b = custom(&[1.0], &[1.0]);
    assert_eq!(a.add(&b), Err(HistogramOpError::IncompatibleSchema));
    assert_eq!(a.sub(&b), Err(HistogramOpError::IncompatibleSchema));
    assert_eq!(a.kahan_add(&b, &mut None), Err(HistogramOpError::IncompatibleSchema));
    assert_eq!(a, before);
}

#[test]
fn different_custom_bounds_leave_only_the_common_ones() {
    let (sum, combined) =
        added(&custom(&[2.0, 5.0, 10.0], &[1.0, 2.0, 4.0, 8.0]), &custom(&[5.0, 7.0, 10.0], &[16.0, 32.0]));
    assert_same(&sum, &custom(&[5.0, 10.0], &[19.0, 36.0, 8.0]));
    assert!(combined.nhcb_bounds_reconciled);
}

#[test]
fn the_zero_bucket_of_a_sum_is_the_wider_one_and_never_splits_a_populated_bucket() {
    // A zero bucket up to 0.75 would split (½,1]; the sum's reaches to 1 and takes in what both have below.
    let wide = with_zero(exponential(0, 2, &[1.0]), 0.75, 3.0);
    let narrow = with_zero(exponential(0, -1, &[8.0, 16.0, 32.0]), 0.25, 4.0);
    let expected = with_zero(exponential(0, 1, &[32.0, 1.0]), 1.0, 31.0);
    let (mut one, mut other) = (added(&wide, &narrow).0, added(&narrow, &wide).0);
    // The sums are made up of counts here, and no histogram tells the sum of its zero bucket.
    (one.sum, other.sum) = (expected.sum, expected.sum);
    assert_same(&one, &expected);
    assert_same(&other, &expected);
}

#[test]
fn an_empty_bucket_may_be_split_by_a_zero_bucket() {
    let wide = with_zero(exponential(0, 2, &[1.0]), 0.75, 3.0);
    let narrow = with_zero(exponential(0, 0, &[0.0, 2.0]), 0.25, 4.0);
    let (mut sum, _) = added(&wide, &narrow);
    sum.sum = 3.0;
    assert_same(&sum, &with_zero(exponential(0, 1, &[2.0, 1.0]), 0.75, 7.0));
}

#[test]
fn thresholds_that_are_no_numbers_do_not_hang_an_addition() {
    let broken = with_zero(exponential(0, 2, &[1.0]), f64::NAN, 3.0);
    assert!(added(&broken, &exponential(0, 0, &[1.0])).0.zero_threshold.is_nan());
    let endless = with_zero(exponential(0, 2, &[1.0]), f64::INFINITY, 3.0);
    assert_eq!(added(&exponential(0, 0, &[1.0]), &endless).0.zero_count, 4.0);
}

#[test]
fn contradicting_reset_hints_are_told_and_forgotten() {
    use ResetHint::{Gauge, No, Unknown, Yes};
    let cases = [
        (Unknown, Unknown, Unknown, false),
        (Yes, Yes, Yes, false),
        (No, No, No, false),
        (Yes, No, Unknown, true),
        (No, Yes, Unknown, true),
        (Yes, Unknown, Unknown, false),
        (Unknown, No, Unknown, false),
        (Gauge, Yes, Gauge, false),
        (No, Gauge, Gauge, false),
    ];
    for (ours, theirs, expected, collision) in cases {
        let with_hint = |hint| FloatHistogram { reset_hint: hint, ..exponential(0, 0, &[1.0]) };
        let (sum, combined) = added(&with_hint(ours), &with_hint(theirs));
        assert_eq!((sum.reset_hint, combined.counter_reset_collision), (expected, collision));
    }
}

#[test]
fn a_compensated_sum_keeps_what_rounding_takes_away() {
    let big = exponential(1, 0, &[1e16, 1.0]);
    let one = exponential(0, 0, &[1.0, 1.0]);
    let mut sum = big.clone();
    let mut compensation = None;
    for _ in 0..10 {
        sum.kahan_add(&one, &mut compensation).expect("both are exponential");
    }
    let mut minus = big.clone();
    minus.mul(-1.0);
    sum.kahan_add(&minus, &mut compensation).expect("both are exponential");
    sum.add(&compensation.expect("something was added")).expect("both are exponential");
    // Bucket 0 of schema 1 is (½·√2, 1], which is in bucket 0 of schema 0; bucket 1, (1, √2], in bucket 1.
    assert_eq!((sum.schema, &sum.positive), (0, &vec![10.0, 10.0]));
    assert_eq!((sum.count, sum.sum), (20.0, 20.0));
}

#[test]
fn a_compensation_follows_the_buckets_wherever_they_go() {
    // Whatever comes in between (other buckets, a wider zero bucket, fewer custom bounds), the result is that of exact
    // counts, which small integers are.
    let groups = [
        vec![
            with_zero(exponential(2, -6, &[1.0, 2.0, 3.0, 0.0, 4.0]), 0.0, 1.0),
            with_zero(exponential(1, 4, &[5.0, 6.0]), 0.01, 2.0),
            with_zero(exponential(1, -9, &[7.0, 0.0, 8.0]), 0.3, 3.0),
            with_zero(exponential(-1, 0, &[1.0, 9.0]), 0.3, 3.0),
        ],
        vec![
            custom(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]),
            custom(&[1.0, 2.0, 3.0], &[0.0, 2.0]),
            custom(&[1.0, 3.0, 5.0], &[5.0, 6.0, 7.0]),
        ],
    ];
    for group in groups {
        let mut plain = group[0].clone();
        let mut sum = group[0].clone();
        let mut compensation = None;
        for histogram in &group[1..] {
            plain.add(histogram).expect("of one kind");
            sum.kahan_add(histogram, &mut compensation).expect("of one kind");
            let compensation = compensation.as_ref().expect("something was added");
            assert_eq!(compensation.positive_spans, sum.positive_spans);
            assert_eq!(compensation.positive.len(), sum.positive.len());
        }
        sum.add(&compensation.expect("something was added")).expect("of one kind");
        assert_same(&sum, &plain);
    }
}

#[test]
fn a_histogram_divided_by_zero_has_no_buckets_left() {
    let mut histogram = with_zero(exponential(0, 0, &[3.0]), 0.001, 3.0);
    histogram.div(0.0);
    assert_eq!((histogram.count, histogram.zero_count), (f64::INFINITY, f64::INFINITY));
    assert!(histogram.positive.is_empty() && histogram.positive_spans.is_empty());
    assert!(histogram.has_overflow());
}

#[test]
fn a_negated_histogram_is_no_counter() {
    let mut histogram = exponential(0, 0, &[3.0]);
    histogram.mul(2.0);
    assert_eq!((histogram.reset_hint, histogram.count), (ResetHint::Unknown, 6.0));
    histogram.div(-3.0);
    assert_eq!((histogram.reset_hint, histogram.count), (ResetHint::Gauge, -2.0));
}

#[test]
fn resolution_goes_down_only() {
    let histogram = exponential(0, 0, &[3.0]);
    assert_eq!(histogram.copy_to_schema(0), Ok(histogram.clone()));
    assert_eq!(histogram.copy_to_schema(1), Err(HistogramOpError::NotReducible { from: 0, to: 1 }));
    assert!(histogram.copy_to_schema(CUSTOM_BUCKETS_SCHEMA).is_err());
    assert!(custom(&[1.0], &[1.0]).copy_to_schema(-60).is_err());
}

#[test]
fn buckets_come_in_order_and_do_not_overlap_the_zero_bucket() {
    let mut histogram = with_zero(exponential(0, 0, &[1.0, 2.0]), 0.75, 4.0);
    (histogram.negative_spans, histogram.negative) = side(0, &[8.0, 16.0]);
    let bounds = |b: Bucket| (b.lower, b.upper, b.count);
    let ascending: Vec<_> = histogram.all_buckets().map(bounds).collect();
    assert_eq!(
        ascending,
        [(-2.0, -1.0, 16.0), (-1.0, -0.75, 8.0), (-0.75, 0.75, 4.0), (0.75, 1.0, 1.0), (1.0, 2.0, 2.0)]
    );
    let mut descending: Vec<_> = histogram.all_buckets_rev().map(bounds).collect();
    descending.reverse();
    assert_eq!(ascending, descending);
}

#[test]
fn the_api_tells_which_bounds_belong_to_a_bucket() {
    let mut histogram = with_zero(exponential(0, 1, &[1.0, 0.0, 2.0]), 0.25, 4.0);
    (histogram.negative_spans, histogram.negative) = side(0, &[8.0]);
    let view = |h: FloatHistogram| -> Vec<(u8, f64, f64, f64)> {
        api::api_buckets(&h.into_model()).iter().map(|b| (b.rule, b.lower, b.upper, b.count)).collect()
    };
    assert_eq!(
        view(histogram),
        [(1, -1.0, -0.5, 8.0), (3, -0.25, 0.25, 4.0), (0, 1.0, 2.0, 1.0), (0, 4.0, 8.0, 2.0)]
    );
    let infinity = f64::INFINITY;
    assert_eq!(
        view(custom(&[1.0, 2.0], &[1.0, 0.0, 2.0])),
        [(3, -infinity, 1.0, 1.0), (0, 2.0, infinity, 2.0)]
    );
}

#[test]
fn a_reset_shows_in_any_number_and_in_buckets_that_cannot_have_changed() {
    let before = with_zero(exponential(0, 0, &[4.0, 2.0, 1.0]), 0.001, 2.0);
    let same_count = |mut histogram: FloatHistogram| {
        histogram.count = 100.0;
        histogram
    };
    let cases = [
        ("the same", before.clone(), false),
        ("less in all", FloatHistogram { count: 1.0, ..before.clone() }, true),
        ("less in a bucket", same_count(with_zero(exponential(0, 0, &[9.0, 1.0, 9.0]), 0.001, 2.0)), true),
        ("a bucket less", same_count(with_zero(exponential(0, 0, &[9.0, 9.0]), 0.001, 2.0)), true),
        ("another bucket", same_count(with_zero(exponential(0, -3, &[9.0; 6]), 0.001, 2.0)), false),
        ("less in the zero bucket", same_count(with_zero(exponential(0, 0, &[9.0; 3]), 0.001, 1.0)), true),
        ("a finer schema", same_count(with_zero(exponential(1, -1, &[9.0; 6]), 0.001, 2.0)), true),
        ("a coarser schema", same_count(with_zero(exponential(-1, 0, &[9.0; 2]), 0.001, 2.0)), false),
        ("less, coarser", same_count(with_zero(exponential(-1, 0, &[9.0, 2.0]), 0.001, 2.0)), true),
        ("a narrower zero bucket", same_count(with_zero(exponential(0, 0, &[9.0; 3]), 0.0001, 9.0)), true),
        ("a wider zero bucket", same_count(with_zero(exponential(0, 1, &[9.0; 2]), 1.0, 6.0)), false),
        ("wider, but less", same_count(with_zero(exponential(0, 1, &[9.0; 2]), 1.0, 5.0)), true),
        ("a split bucket", same_count(with_zero(exponential(0, 1, &[9.0; 2]), 0.75, 9.0)), true),
        ("custom buckets", same_count(custom(&[1.0], &[9.0])), true),
    ];
    for (name, now, expected) in cases {
        assert_eq!(now.detect_reset(&before), expected, "{name}");
    }
    assert!(exponential(0, 0, &[9.0]).detect_reset(&custom(&[1.0], &[1.0])));
}

#[test]
fn a_reset_hint_decides() {
    let before = exponential(0, 0, &[4.0]);
    let hinted = |reset_hint, count| FloatHistogram { reset_hint, ..exponential(0, 0, &[count]) };
    assert!(hinted(ResetHint::Yes, 5.0).detect_reset(&before));
    assert!(!hinted(ResetHint::No, 3.0).detect_reset(&before));
    assert!(hinted(ResetHint::Gauge, 3.0).detect_reset(&before));
}

#[test]
fn counts_of_different_custom_bounds_are_compared_at_the_common_ones() {
    let before = custom(&[1.0, 2.0, 3.0], &[1.0, 2.0, 0.0, 1.0]);
    assert!(!custom(&[2.0], &[3.0, 1.0]).detect_reset(&before));
    assert!(custom(&[2.0], &[2.0, 9.0]).detect_reset(&before));
    assert!(!custom(&[5.0], &[4.0]).detect_reset(&before));
    assert!(custom(&[2.0, 4.0], &[9.0, 0.0, 0.0]).detect_reset(&before));
}

#[test]
fn a_quantile_lies_halfway_between_powers() {
    let histogram = exponential(0, 0, &[1.0, 2.0, 1.0]);
    assert_close(histogram_quantile(0.5, &histogram).0, std::f64::consts::SQRT_2);
    let mut mirrored = FloatHistogram::empty(0);
    (mirrored.negative_spans, mirrored.negative) = side(0, &[1.0, 2.0, 1.0]);
    mirrored.count = 4.0;
    assert_close(histogram_quantile(0.5, &mirrored).0, -std::f64::consts::SQRT_2);
    assert_eq!(histogram_quantile(-0.1, &histogram).0, f64::NEG_INFINITY);
    assert_eq!(histogram_quantile(1.1, &histogram).0, f64::INFINITY);
    assert!(histogram_quantile(f64::NAN, &histogram).0.is_nan());
    assert!(histogram_quantile(0.5, &FloatHistogram::empty(0)).0.is_nan());
    assert_eq!(histogram_quantiles(&[0.0, 1.0], &histogram), [(0.5, None), (4.0, None)]);
}

#[test]
fn custom_and_zero_buckets_are_interpolated_linearly() {
    let histogram = custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]);
    for (q, expected) in [(0.125, 2.5), (0.5, 7.5), (0.9, 10.0)] {
        assert_close(histogram_quantile(q, &histogram).0, expected);
    }
    assert_eq!(histogram_quantile(0.2, &custom(&[-5.0, 10.0], &[4.0, 1.0])).0, -5.0);
    let zero = with_zero(FloatHistogram::empty(0), 0.5, 1.0);
    assert_close(histogram_quantile(0.25, &zero).0, -0.25);
    let right = with_zero(exponential(0, 1, &[2.0]), 0.5, 2.0);
    assert_close(histogram_quantile(0.25, &right).0, 0.25);
}

#[test]
fn observations_that_are_no_numbers_are_above_all_others() {
    let mut histogram = exponential(0, 0, &[12.0]);
    (histogram.count, histogram.sum) = (15.0, f64::NAN);
    assert_close(histogram_quantile(0.4, &histogram).0, std::f64::consts::FRAC_1_SQRT_2);
    assert_eq!(histogram_quantile(0.8, &histogram), (1.0, Some(QuantileNote::NanSkew)));
    let (value, note) = histogram_quantile(0.81, &histogram);
    assert!(value.is_nan());
    assert_eq!(note, Some(QuantileNote::NanResult));
    assert_eq!(histogram_fraction(f64::NEG_INFINITY, f64::INFINITY, &histogram), (0.8, true));
    // Infinite observations of both signs make the sum NaN as well, but they are in buckets.
    histogram.count = 12.0;
    assert_eq!(histogram_quantile(1.0, &histogram), (1.0, None));
}

#[test]
fn a_fraction_counts_what_lies_between() {
    let mut histogram = with_zero(exponential(0, 0, &[2.0, 3.0, 0.0, 1.0, 4.0]), 0.001, 4.0);
    (histogram.negative_spans, histogram.negative) = side(0, &[2.0, 3.0, 0.0, 1.0, 4.0]);
    histogram.count = 24.0;
    let infinity = f64::INFINITY;
    for (lower, upper, expected) in [
        (0.0, infinity, 0.5),
        (-infinity, 0.0, 0.5),
        (-0.0005, 0.0005, 2.0 / 24.0),
        (1.0, 2.0, 0.125),
        (-8.0, -1.0, 4.0 / 24.0),
        (42.0, 3.0, 0.0),
    ] {
        assert_close(histogram_fraction(lower, upper, &histogram).0, expected);
    }
    assert!(histogram_fraction(f64::NAN, 1.0, &histogram).0.is_nan());
    assert!(histogram_fraction(0.0, 1.0, &FloatHistogram::empty(0)).0.is_nan());
    let linear = custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]);
    assert_close(histogram_fraction(2.5, 7.5, &linear).0, 0.375);
}

#[test]
fn moments_take_each_bucket_at_its_middle() {
    let histogram = exponential(0, 1, &[2.0, 2.0]);
    let middles = [std::f64::consts::SQRT_2, 8.0_f64.sqrt()];
    let variance = middles.iter().map(|m| (m - 1.0) * (m - 1.0)).sum::<f64>() / 2.0;
    // The sum is that of the counts, so the mean is 1.
    assert_eq!(histogram_avg(&histogram), 1.0);
    assert_close(histogram_stdvar(&histogram), variance);
    assert_close(histogram_stddev(&histogram), variance.sqrt());
    assert_eq!((histogram_count(&histogram), histogram_sum(&histogram)), (4.0, 4.0));
    let zero = with_zero(FloatHistogram::empty(0), 0.5, 3.0);
    assert_eq!(histogram_stdvar(&zero), 0.0);
}

#[test]
fn a_trim_keeps_whole_buckets_and_interpolates_the_one_it_cuts() {
    let histogram = exponential(0, 1, &[2.0, 4.0, 8.0]);
    let mut below = histogram.clone();
    below.trim_upper(8.0);
    assert_eq!(below, histogram);
    below.trim_upper(8.0_f64.sqrt());
    assert_close(below.count, 4.0);
    assert_close(below.sum, 2.0 * 2.0_f64.sqrt() + 2.0 * (2.0 * 8.0_f64.sqrt()).sqrt());
    let mut above = histogram.clone();
    above.trim_lower(4.0);
    assert_eq!((above.count, above.positive), (8.0, vec![8.0]));
    let mut nothing = histogram;
    nothing.trim_upper(0.5);
    assert_eq!((nothing.count, nothing.sum), (0.0, 0.0));
}

#[test]
fn a_trim_cuts_custom_and_zero_buckets_linearly() {
    let mut histogram = custom(&[5.0, 10.0], &[1.0, 2.0, 1.0]);
    histogram.trim_upper(7.5);
    assert_eq!((histogram.count, histogram.positive.clone()), (2.0, vec![1.0, 1.0]));
    assert_close(histogram.sum, 2.5 + 6.25);
    histogram.trim_lower(2.5);
    assert_eq!(histogram.positive, [0.5, 1.0]);
    let mut zero = with_zero(FloatHistogram::empty(0), 0.5, 4.0);
    zero.trim_lower(0.25);
    assert_eq!((zero.zero_count, zero.count, zero.sum), (1.0, 1.0, 0.375));
    let mut last = custom(&[5.0], &[1.0, 3.0]);
    last.trim_lower(7.0);
    assert_eq!((last.count, last.sum), (3.0, 21.0));
}

#[test]
fn spans_and_counts_that_disagree_are_no_reason_to_panic() {
    let mut broken = exponential(0, i32::MAX, &[1.0, 2.0, 3.0]);
    broken.positive_spans.push(BucketSpan { offset: i32::MAX, length: u32::MAX });
    broken.negative_spans = vec![BucketSpan { offset: i32::MIN, length: 3 }];
    broken.negative = vec![1.0];
    let other = with_zero(exponential(-3, -5, &[1.0]), 2.0, 1.0);
    for schema in [CUSTOM_BUCKETS_SCHEMA, -4, 0, 8] {
        let broken = FloatHistogram { schema, ..broken.clone() };
        let _ = broken.clone().add(&other);
        let _ = other.clone().sub(&broken);
        let _ = broken.clone().kahan_add(&other, &mut None);
        let _ = broken.copy_to_schema(-4);
        broken.detect_reset(&other);
        other.detect_reset(&broken);
        broken.clone().trim_upper(1.0);
        broken.clone().compact(3);
        histogram_quantile(0.3, &broken);
        histogram_fraction(-1.0, 1.0, &broken);
        assert!(!broken.to_string().is_empty());
    }
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn exponential_side() -> impl Strategy<Value = (Vec<BucketSpan>, Vec<f64>)> {
        let spans = prop::collection::vec((0_i32..6, 0_u32..5), 0..5);
        (spans, -20_i32..20).prop_flat_map(|(spans, first)| {
            let spans: Vec<BucketSpan> = spans
                .into_iter()
                .enumerate()
                .map(|(i, (offset, length))| BucketSpan {
                    offset: if i == 0 { first } else { offset },
                    length,
                })
                .collect();
            let buckets = spans.iter().map(|span| span.length as usize).sum::<usize>();
            // Integers, whose sums are exact, so that the laws hold to the bit.
            let counts = prop::collection::vec((0_u32..4).prop_map(f64::from), buckets);
            (Just(spans), counts)
        })
    }

    fn any_exponential() -> impl Strategy<Value = FloatHistogram> {
        let zero = (prop::sample::select(vec![0.0, 0.001, 0.3, 1.0, 5.0]), 0_u32..4);
        (-2_i32..4, exponential_side(), exponential_side(), zero).prop_map(
            |(schema, positive, negative, (zero_threshold, zero))| {
                let zero_count = f64::from(zero);
                let count = zero_count + positive.1.iter().chain(&negative.1).sum::<f64>();
                let mut histogram = FloatHistogram {
                    zero_threshold,
                    zero_count,
                    count,
                    sum: count * 3.0,
                    positive_spans: positive.0,
                    positive: positive.1,
                    negative_spans: negative.0,
                    negative: negative.1,
                    ..FloatHistogram::empty(schema)
                };
                // As a client has it: nothing populated lies in the zero bucket.
                let same_width = FloatHistogram { zero_threshold, ..FloatHistogram::empty(histogram.schema) };
                histogram.zero_threshold = 0.0;
                histogram.add(&same_width).expect("both are exponential");
                histogram
            },
        )
    }

    fn any_custom() -> impl Strategy<Value = FloatHistogram> {
        let bounds = prop::sample::subsequence(vec![-3.0, -1.0, 0.5, 2.0, 7.0], 0..=5);
        bounds.prop_flat_map(|bounds| {
            let counts = prop::collection::vec((0_u32..4).prop_map(f64::from), bounds.len() + 1);
            (Just(bounds), counts).prop_map(|(bounds, counts)| custom(&bounds, &counts))
        })
    }

    fn pair() -> impl Strategy<Value = (FloatHistogram, FloatHistogram)> {
        prop_oneof![(any_exponential(), any_exponential()), (any_custom(), any_custom())]
    }

    fn in_buckets(histogram: &FloatHistogram) -> f64 {
        histogram.zero_count + histogram.positive.iter().chain(&histogram.negative).sum::<f64>()
    }

    proptest! {
        #[test]
        fn what_is_added_and_subtracted_again_leaves_the_same((a, b) in pair()) {
            // Adding may coarsen; so a is coarsened alike first, by adding nothing in the form of b.
            let mut nothing = b.clone();
            nothing.mul(0.0);
            let (mut expected, _) = added(&a, &nothing);
            expected.add(&nothing).expect("of one kind");
            let (mut sum, _) = added(&a, &b);
            sum.sub(&b).expect("of one kind");
            prop_assert_eq!(sum.count, expected.count);
            prop_assert_eq!(sum.sum, expected.sum);
            prop_assert_eq!(sum.schema, expected.schema);
            if sum.zero_threshold == expected.zero_threshold {
                prop_assert!(compacted(sum).equals(&compacted(expected)));
            }
        }

        #[test]
        fn addition_does_not_care_for_the_order((a, b) in pair()) {
            let (ab, ba) = (added(&a, &b).0, added(&b, &a).0);
            prop_assert_eq!(ab.zero_threshold, ba.zero_threshold);
            prop_assert!(ab.count == ba.count && ab.sum == ba.sum);
        }

        #[test]
        fn a_compensated_sum_of_integers_is_the_plain_one((a, b) in pair()) {
            let (plain, told) = added(&a, &b);
            let mut sum = a;
            let mut compensation = None;
            prop_assert_eq!(sum.kahan_add(&b, &mut compensation), Ok(told));
            prop_assert!(compacted(sum).equals(&compacted(plain)));
        }

        #[test]
        fn a_coarser_copy_has_as_many_observations(a in any_exponential(), by in 1_i32..4) {
            let coarse = a.copy_to_schema(a.schema - by).expect("coarser");
            prop_assert_eq!(in_buckets(&coarse), in_buckets(&a));
            prop_assert_eq!(coarse.count, a.count);
            let steps = (1..=by).fold(a.clone(), |h, _| h.copy_to_schema(h.schema - 1).expect("coarser"));
            prop_assert!(compacted(steps).equals(&compacted(coarse)));
        }

        #[test]
        fn compacting_changes_no_bucket(a in any_exponential(), max_empty in 0_usize..4) {
            let mut compact = a.clone();
            compact.compact(max_empty);
            prop_assert!(compact.positive_spans.iter().skip(1).all(|s| s.offset > max_empty as i32));
            prop_assert_eq!(api::api_buckets(&a.clone().into_model()), api::api_buckets(&compact.clone().into_model()));
            prop_assert!(compacted(compact).equals(&compacted(a)));
        }

        #[test]
        fn a_counter_that_grew_was_not_reset((a, b) in pair()) {
            // In a coarser schema a bucket may reach across the end of the zero bucket, which looks like a reset.
            let schema = a.schema.min(b.schema);
            let [a, b] = [a, b].map(|h| h.copy_to_schema(schema).expect("the coarser of both"));
            let (grown, _) = added(&a, &b);
            prop_assert!(!grown.detect_reset(&a), "{} after {}", grown.to_test_literal(), a.to_test_literal());
        }

        #[test]
        fn quantiles_ascend_and_fractions_are_their_inverse(a in any_exponential(), q in 0.0..1.0_f64) {
            let a = compacted(a);
            // A zero bucket without width holds a whole range of ranks at one value.
            prop_assume!(a.count > 0.0 && (a.zero_threshold > 0.0 || a.zero_count == 0.0));
            let value = histogram_quantile(q, &a).0;
            prop_assert!(histogram_quantile(q / 2.0, &a).0 <= value);
            let fraction = histogram_fraction(f64::NEG_INFINITY, value, &a).0;
            prop_assert!((fraction - q).abs() < 1e-9, "{q} {value} {fraction} {a}");
        }

        #[test]
        fn what_is_trimmed_above_and_below_is_everything(a in any_exponential(), at in -9.0..9.0_f64) {
            let (mut above, mut below) = (a.clone(), a.clone());
            above.trim_lower(at);
            below.trim_upper(at);
            prop_assert!((above.count + below.count - a.count).abs() < 1e-9, "{a} {above} {below}");
        }
    }
}
