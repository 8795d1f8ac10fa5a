//! Native histograms whose layout changes while they are sampled: schema, zero bucket, buckets, custom bounds, whether
//! counts are fractions, and what the sender says of resets.
//!
//! Prometheus keeps histograms in chunks of one layout, and gives each the buckets of all others in its chunk, empty
//! ones, which shows in a few results. So with every change of buckets the zero threshold or the bounds change too,
//! and another chunk begins.

use std::collections::BTreeMap;

use system_tests::NativeHistogram;

use super::dice::Dice;

const SCHEMAS: [i32; 10] = [-4, -2, -1, 0, 1, 2, 3, 4, 5, 8];
const THRESHOLDS: [f64; 6] = [0.0, 1e-128, 0.001, 0.01, 0.125, 0.5];
const BOUNDS: [f64; 11] = [-5.0, -1.0, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a histogram counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Custom,
}

/// The histograms of a series, one after the other.
pub(super) struct Varied {
    kind: Kind,
    now: NativeHistogram,
}

impl Varied {
    pub(super) fn new(kind: Kind, dice: &mut Dice) -> Varied {
        let mut varied = Varied { kind, now: NativeHistogram::default() };
        varied.begin(dice);
        varied
    }

    pub(super) fn next(&mut self, dice: &mut Dice) -> NativeHistogram {
        self.change(dice);
        self.observe(dice);
        let mut histogram = self.now.clone();
        histogram.count = total(&histogram);
        histogram.sum = histogram.count * 0.7 - total_of(&histogram.negative);
        histogram.reset_hint = match (self.kind, dice.below(100)) {
            (Kind::Gauge, _) => 3,
            // It need not be true.
            (_, 0) => 1,
            (_, 1..=3) => 2,
            _ => 0,
        };
        histogram
    }

    fn change(&mut self, dice: &mut Dice) {
        match (self.kind, dice.below(100)) {
            (_, 0..=2) => self.begin(dice),
            (_, 3..=4) => self.reset(),
            (Kind::Counter | Kind::Gauge, 5..=6) => self.coarsen(),
            (Kind::Counter | Kind::Gauge, 7) => self.widen(),
            (Kind::Custom, 5..=6) => {
                // Higher counts than before: perhaps no reset.
                let before = total(&self.now).trunc();
                self.begin(dice);
                self.now.positive.values_mut().for_each(|count| *count += before);
            }
            _ => {}
        }
    }

    /// Another layout, and nothing but one observation in each bucket.
    fn begin(&mut self, dice: &mut Dice) {
        let is_float = dice.percent(30);
        if self.kind == Kind::Custom {
            let before = std::mem::take(&mut self.now.custom_values);
            let mut bounds = before.clone();
            while bounds == before {
                bounds = BOUNDS.into_iter().filter(|_| dice.percent(40)).collect();
            }
            let positive = (0..=bounds.len() as i32).map(|index| (index, 1.0)).collect();
            let custom =
                NativeHistogram { schema: -53, custom_values: bounds, positive, ..Default::default() };
            self.now = NativeHistogram { is_float, ..custom };
            return;
        }
        let schema = dice.pick(&SCHEMAS);
        let mut zero_threshold = self.now.zero_threshold;
        while zero_threshold == self.now.zero_threshold {
            zero_threshold = dice.pick(&THRESHOLDS);
        }
        let side = |dice: &mut Dice, is_there: bool| -> BTreeMap<i32, f64> {
            // From about one, upwards.
            let mut index = dice.between(0, 2) as i32 + if schema > 0 { 1 << schema } else { 0 };
            let mut buckets = BTreeMap::new();
            for _ in 0..if is_there { dice.between(1, 7) } else { 0 } {
                buckets.insert(index, 1.0);
                index += dice.pick(&[1, 1, 1, 2, 5]);
            }
            buckets
        };
        let (is_positive, is_signed) = (dice.percent(85), dice.percent(35));
        let (positive, negative) = (side(dice, is_positive), side(dice, is_signed));
        self.now = NativeHistogram {
            is_float,
            schema,
            zero_threshold,
            positive,
            negative,
            zero_count: dice.below(2) as f64,
            ..Default::default()
        };
    }

    fn reset(&mut self) {
        self.now.positive.values_mut().for_each(|count| *count = 1.0);
        self.now.negative.values_mut().for_each(|count| *count = 1.0);
        self.now.zero_count = 0.0;
    }

    /// Half the resolution, the same observations.
    fn coarsen(&mut self) {
        if self.now.schema == -4 {
            return;
        }
        self.now.schema -= 1;
        for side in [&mut self.now.positive, &mut self.now.negative] {
            let mut halved = BTreeMap::new();
            for (index, count) in std::mem::take(side) {
                *halved.entry((index + 1) >> 1).or_insert(0.0) += count;
            }
            *side = halved;
        }
    }

    /// The lowest buckets become part of the zero bucket.
    fn widen(&mut self) {
        let lowest = |side: &BTreeMap<i32, f64>| side.keys().next().copied();
        let sides = [lowest(&self.now.positive), lowest(&self.now.negative)];
        let Some(index) = sides.into_iter().flatten().min() else { return };
        self.now.zero_threshold = 2f64.powf(f64::from(index) * 2f64.powi(-self.now.schema));
        let counts = [self.now.positive.remove(&index), self.now.negative.remove(&index)];
        self.now.zero_count += counts.into_iter().flatten().sum::<f64>();
    }

    fn observe(&mut self, dice: &mut Dice) {
        if self.kind == Kind::Gauge {
            self.reset();
        }
        for side in [&mut self.now.positive, &mut self.now.negative] {
            for count in side.values_mut() {
                *count += if dice.percent(40) { dice.below(5) as f64 } else { 0.0 };
            }
        }
        if self.kind != Kind::Custom {
            self.now.zero_count += dice.below(2) as f64;
        }
        if self.now.is_float {
            let counts = self.now.positive.values_mut().chain(self.now.negative.values_mut());
            counts.for_each(|count| *count += 0.25);
        }
    }
}

fn total_of(side: &BTreeMap<i32, f64>) -> f64 {
    side.values().sum()
}

fn total(histogram: &NativeHistogram) -> f64 {
    total_of(&histogram.positive) + total_of(&histogram.negative) + histogram.zero_count
}

#[test]
fn layouts_change_and_counts_add_up() {
    let mut dice = Dice::new(1, 1);
    for kind in [Kind::Counter, Kind::Gauge, Kind::Custom] {
        let mut varied = Varied::new(kind, &mut dice);
        let all: Vec<NativeHistogram> = (0..200).map(|_| varied.next(&mut dice)).collect();
        assert!(all.iter().all(|histogram| histogram.count == total(histogram)));
        assert!(all.iter().filter(|histogram| histogram.count > 0.0).count() > 150);
        let layouts = |histogram: &NativeHistogram| {
            format!("{} {} {:?}", histogram.schema, histogram.zero_threshold, histogram.custom_values)
        };
        let layouts: std::collections::BTreeSet<String> = all.iter().map(layouts).collect();
        assert!(layouts.len() > 3, "{kind:?}: {layouts:?}");
    }
}
