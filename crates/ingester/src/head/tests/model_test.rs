//! Random interleavings of pushes, freezes, drops and forgets, compared with ordered maps.

use std::collections::BTreeMap;

use model::{EMPTY, Histogram, HistogramSample, Labels, STALE_NAN, TimeRange};
use proptest::prelude::*;

use super::*;
use crate::head::histograms::{hash, stored_hint, tests::histogram};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Float { bits: u64, start: i64 },
    Histogram { hash: u64, start: i64 },
}

type Samples = BTreeMap<(usize, i64), Kept>;

/// What a head must hold, without any cleverness.
#[derive(Default)]
struct Naive {
    open: BTreeMap<i64, Samples>,
    frozen: Vec<(u64, i64, Samples)>,
    flushed: BTreeMap<usize, (i64, u64)>,
}

impl Naive {
    fn stored(&self, series: usize, ts: i64) -> Option<u64> {
        let start = ts.div_euclid(WINDOW) * WINDOW;
        let open = self.open.get(&start).into_iter();
        let frozen =
            self.frozen.iter().filter(|(_, window, _)| *window == start).map(|(_, _, samples)| samples);
        let kept = open.chain(frozen).find_map(|samples| samples.get(&(series, ts)));
        let flushed = self.flushed.get(&series).filter(|(flushed, _)| *flushed == ts).map(|(_, bits)| *bits);
        kept.map(bits_of).or(flushed)
    }

    /// Returns how many samples count as taken.
    fn push(&mut self, samples: &[(usize, i64, Kept)]) -> usize {
        let mut taken = 0;
        for (series, ts, kept) in samples {
            match self.stored(*series, *ts) {
                Some(stored) => taken += usize::from(stored == bits_of(kept)),
                None => {
                    let window = ts.div_euclid(WINDOW) * WINDOW;
                    self.open.entry(window).or_default().insert((*series, *ts), *kept);
                    taken += 1;
                }
            }
        }
        taken
    }

    fn drop_oldest(&mut self) -> Option<u64> {
        if self.frozen.is_empty() {
            return None;
        }
        let (seq, _, samples) = self.frozen.remove(0);
        for ((series, ts), kept) in samples {
            let newest = self.flushed.entry(series).or_insert((i64::MIN, 0));
            if ts > newest.0 {
                *newest = (ts, bits_of(&kept));
            }
        }
        Some(seq)
    }

    fn all(&self, range: TimeRange) -> Samples {
        let maps = self.open.values().chain(self.frozen.iter().map(|(_, _, samples)| samples));
        let samples = maps.flatten().filter(|((_, ts), _)| range.contains(*ts));
        samples.map(|(key, kept)| (*key, *kept)).collect()
    }
}

fn bits_of(kept: &Kept) -> u64 {
    match kept {
        Kept::Float { bits, .. } => *bits,
        Kept::Histogram { hash, .. } => *hash,
    }
}

/// Equality that shows the difference only.
fn assert_same(found: &Samples, wanted: &Samples) {
    let lacks: Vec<_> = wanted.iter().filter(|(key, kept)| found.get(key) != Some(kept)).collect();
    let surplus: Vec<_> = found.keys().filter(|key| !wanted.contains_key(key)).collect();
    assert!(lacks.is_empty() && surplus.is_empty(), "lacks {lacks:?}, has besides {surplus:?}");
}

/// The series of the test: two targets, one whose series go their own ways, and series without a target.
fn universe() -> Vec<Labels> {
    let target = |n: usize, name: &'static str| (0..n).map(move |i| metric(&format!("m{i}"), name));
    let alone = (0..4).map(|i| Labels::from_pairs([("__name__", format!("alone{i}"))]));
    target(20, "a").chain(target(5, "b")).chain(target(30, "sparse")).chain(alone).collect()
}

const N_SERIES: usize = 59;

#[derive(Debug, Clone)]
enum Op {
    /// Rows of one target: first series, series, first timestamp, rows, step, which series are missing.
    Scrapes {
        first: usize,
        n: usize,
        ts: i64,
        rows: i64,
        step: i64,
        missing: u64,
        values: Vec<f64>,
    },
    /// Samples in any order.
    Scatter(Vec<(usize, i64, f64, i64)>),
    /// Many samples of few series, series after series.
    Bursts {
        first: usize,
        n: usize,
        ts: i64,
        rows: i64,
        value: f64,
    },
    Histograms(Vec<(usize, i64, Histogram)>),
    Lost(Vec<(usize, i64, f64, i64)>),
    Freeze(i64),
    Drop,
    Forget(i64),
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0i64..5).prop_map(|i| i as f64),
        4 => (-100_000i64..100_000).prop_map(|i| i as f64 / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(STALE_NAN), f64::from_bits(EMPTY),
            f64::from_bits(0x7ff8_0000_dead_beef),
        ]),
    ]
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![-1000i64..3000, 0i64..60]
}

fn scattered() -> impl Strategy<Value = Vec<(usize, i64, f64, i64)>> {
    let start = prop_oneof![3 => Just(0i64), 1 => 1i64..3];
    prop::collection::vec((0..N_SERIES, times(), value(), start), 1..20)
}

fn op() -> impl Strategy<Value = Op> {
    let targets = prop::sample::select(vec![(0usize, 20usize), (20, 5), (25, 30), (25, 3), (30, 9), (55, 1)]);
    let rows = (times(), 1i64..40, 1i64..40);
    let missing = prop_oneof![Just(0u64), any::<u64>(), Just(u64::MAX << 3)];
    prop_oneof![
        8 => (targets.clone(), rows, missing, prop::collection::vec(value(), 1..8)).prop_map(
            |((first, n), (ts, rows, step), missing, values)| {
                Op::Scrapes { first, n, ts, rows, step, missing, values }
            }),
        4 => scattered().prop_map(Op::Scatter),
        2 => (targets, times(), 1i64..80, value())
            .prop_map(|((first, n), ts, rows, value)| Op::Bursts { first, n, ts, rows, value }),
        1 => prop::collection::vec((0..N_SERIES, times(), histogram()), 1..4).prop_map(Op::Histograms),
        1 => scattered().prop_map(Op::Lost),
        2 => (-1i64..3).prop_map(|window| Op::Freeze(window * WINDOW)),
        1 => Just(Op::Drop),
        1 => times().prop_map(Op::Forget),
    ]
}

struct Pair {
    head: ShardHead,
    naive: Naive,
    series: Vec<Labels>,
    seq: u64,
}

impl Pair {
    fn new() -> Pair {
        Pair { head: head(), naive: Naive::default(), series: universe(), seq: 0 }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Scrapes { first, n, ts, rows, step, missing, values } => {
                for row in 0..rows {
                    let present = (first..first + n)
                        .filter(|i| missing.rotate_left(row as u32 * 7) >> (i % 64) & 1 == 0);
                    let value = |i: usize| values[i % values.len()] + (row * 3) as f64;
                    let samples = present.map(|i| (i, ts + row * step, value(i), 0)).collect();
                    self.push(samples, true);
                }
            }
            Op::Scatter(samples) => self.push(samples, true),
            Op::Lost(samples) => self.push(samples, false),
            Op::Bursts { first, n, ts, rows, value } => {
                let of = |i| (0..rows).map(move |row| (i, ts + row * 5, value, 0));
                self.push((first..first + n).flat_map(of).collect(), true);
            }
            Op::Histograms(samples) => self.push_histograms(&samples),
            Op::Freeze(window) => self.freeze(window),
            Op::Drop => {
                if let Some(seq) = self.naive.drop_oldest() {
                    self.head.drop_frozen(seq);
                    assert!(self.head.frozen(seq).is_none());
                }
            }
            Op::Forget(before) => self.forget(before),
        }
    }

    fn push(&mut self, samples: Vec<(usize, i64, f64, i64)>, apply: bool) {
        let floats: Vec<Float> =
            samples.iter().map(|(i, ts, value, start)| (&self.series[*i], *ts, *value, *start)).collect();
        let (batch, part) = batch(&floats, &[]);
        let mut decision = Decision::default();
        self.head.decide(&batch, &part, &RULES, &mut decision);
        if !apply {
            return;
        }
        let kept = |(i, ts, value, start): &(usize, i64, f64, i64)| {
            let bits = if value.to_bits() == EMPTY { 0x7ff8_0000_0000_0001 } else { value.to_bits() };
            (*i, *ts, Kept::Float { bits, start: *start })
        };
        let kept: Vec<_> = samples.iter().map(kept).collect();
        let taken = self.naive.push(&kept);
        assert_eq!(decision.pushed.n_samples(), taken);
        let refused: usize = decision.pushed.refused.iter().map(|refusal| refusal.n_samples).sum();
        assert_eq!(taken + refused, samples.len());
        self.head.apply(&batch.bytes, &decision);
    }

    fn push_histograms(&mut self, samples: &[(usize, i64, Histogram)]) {
        let sample = |ts: i64, histogram: &Histogram| HistogramSample {
            timestamp: ts,
            start_timestamp: ts / 2,
            histogram: Box::new(histogram.clone()),
        };
        let histograms: Vec<_> =
            samples.iter().map(|(i, ts, h)| (&self.series[*i], sample(*ts, h))).collect();
        let (batch, part) = batch(&[], &histograms);
        let mut decision = Decision::default();
        self.head.decide(&batch, &part, &RULES, &mut decision);
        let kept = |(i, ts, histogram): &(usize, i64, Histogram)| {
            let mut histogram = histogram.clone();
            histogram.reset_hint = stored_hint(histogram.reset_hint);
            (*i, *ts, Kept::Histogram { hash: hash(&histogram), start: ts / 2 })
        };
        let taken = self.naive.push(&samples.iter().map(kept).collect::<Vec<_>>());
        assert_eq!(decision.pushed.n_samples(), taken);
        self.head.apply(&batch.bytes, &decision);
    }

    fn freeze(&mut self, window: i64) {
        self.seq += 1;
        let samples = self.naive.open.remove(&window);
        assert_eq!(self.head.freeze(window, self.seq), samples.is_some());
        let Some(samples) = samples else { return };
        let frozen = self.head.frozen(self.seq).unwrap();
        assert_eq!(frozen.n_samples(), samples.len());
        let series: Vec<SeriesData> = frozen.series().collect();
        assert_eq!(frozen.n_series(), series.len());
        assert!(series.is_sorted_by(|a, b| a.labels < b.labels));
        assert!(series.iter().all(|series| series.floats.len() <= 1));
        assert_same(&self.read(&series), &samples);
        self.naive.frozen.push((self.seq, window, samples));
    }

    fn forget(&mut self, before: i64) {
        self.head.forget_idle(before);
        let held: Vec<usize> = self.naive.all(TimeRange::ALL).keys().map(|(series, _)| *series).collect();
        if !self.head.is_deciding {
            self.naive.flushed.retain(|series, (ts, _)| held.contains(series) || *ts >= before);
        }
    }

    /// What a select says, in the model's form.
    fn read(&self, selected: &[SeriesData]) -> Samples {
        let mut samples = Samples::new();
        for series in selected {
            let i = self.series.iter().position(|labels| *labels == series.labels).unwrap();
            let starts: BTreeMap<i64, i64> = series.starts.iter().copied().collect();
            for (ts, bits) in floats(series) {
                let start = starts.get(&ts).copied().unwrap_or(0);
                assert!(samples.insert((i, ts), Kept::Float { bits, start }).is_none());
            }
            assert!(series.histograms.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
            for point in &series.histograms {
                let kept = Kept::Histogram { hash: hash(&point.histogram), start: point.start_timestamp };
                assert!(samples.insert((i, point.timestamp), kept).is_none());
            }
        }
        samples
    }

    fn check(&self, range: TimeRange) {
        let selected = select(&self.head, range);
        assert!(selected.is_sorted_by(|a, b| a.labels < b.labels));
        assert_same(&self.read(&selected), &self.naive.all(range));
        for generation in &self.head.open {
            assert_eq!(generation.bytes(), generation.counted_bytes());
        }
        let n_open: usize = self.head.windows().iter().map(|window| window.n_samples).sum();
        assert_eq!(n_open, self.naive.open.values().map(BTreeMap::len).sum::<usize>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_head_holds_what_a_naive_one_holds(
        ops in prop::collection::vec(op(), 1..30), from in times(), len in 0i64..1500,
    ) {
        let mut pair = Pair::new();
        for op in ops {
            pair.run(op);
            pair.check(TimeRange::new(from, from + len));
        }
        pair.check(TimeRange::ALL);
    }
}
