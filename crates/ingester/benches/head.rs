//! The head, stage by stage: `cargo bench -p ingester --bench head`. Values are a recorded node_exporter's
//! (`FIRN_SHARED`, or `../shared` beside the checkout), or synthetic when it is absent. Divide by the item count.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};

use divan::Bencher;
use divan::counter::ItemsCount;
use ingester::head::{DecideRules, Decision, HeadConfig, ShardHead};
use model::{Batch, BatchSeries, Labels, LabelsBuilder, Matcher, MatcherOp, ShardBatch, TimeRange};
use wire::SelectBudget;

const TARGETS: usize = 20;
const ROUNDS: usize = 240;
const INTERVAL: i64 = 15_000;

const RULES: DecideRules = DecideRules {
    now_ms: 0,
    min_time: i64::MIN,
    max_time: i64::MAX,
    series_allowance: usize::MAX,
    max_series: 0,
    max_series_per_metric: 0,
    out_of_order_window_ms: 0,
    creation_grace_period_ms: 0,
    max_exemplars_per_series: 0,
};

fn main() {
    divan::main();
}

/// A fleet's scrapes, one batch per target and round.
struct Fleet {
    labels: Vec<Labels>,
    /// Values by round and series of one target.
    values: Vec<Vec<f64>>,
}

/// Something that has no order but repeats.
fn scramble(i: u64) -> u64 {
    let i = (i ^ i >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    i ^ i >> 29
}

impl Fleet {
    fn load() -> Fleet {
        Fleet::recorded().unwrap_or_else(|| {
            println!("CORPUS ABSENT: node_exporter.prom.zst");
            Fleet::synthetic()
        })
    }

    fn recorded() -> Option<Fleet> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
        let shared = std::env::var("FIRN_SHARED").unwrap_or_else(|_| beside.to_string());
        let file = std::fs::File::open(format!("{shared}/data/node_exporter.prom.zst")).ok()?;
        let mut fleet = Fleet { labels: Vec::new(), values: Vec::new() };
        for line in BufReader::new(zstd::Decoder::new(file).ok()?).lines() {
            let line = line.ok()?;
            if line.starts_with("#TS") {
                if fleet.values.len() == ROUNDS {
                    break;
                }
                fleet.values.push(Vec::new());
                continue;
            }
            let (series, value) = line.rsplit_once(' ')?;
            if fleet.values.len() == 1 {
                fleet.labels.push(parse(series));
            }
            fleet.values.last_mut()?.push(value.parse().ok()?);
        }
        let n_series = fleet.labels.len();
        fleet.values.iter_mut().for_each(|values| values.resize(n_series, 0.0));
        Some(fleet)
    }

    fn synthetic() -> Fleet {
        let labels = |i: usize| {
            Labels::from_pairs([
                ("__name__", format!("node_subsystem_{}_total", i / 6)),
                ("device", format!("device{}", i % 6)),
                ("job", "node".to_string()),
            ])
        };
        let value = |round: usize, i: usize| match i % 4 {
            0 | 1 => 1000.0,
            2 => (round * 300) as f64 + (scramble((round * 600 + i) as u64) % 300) as f64,
            _ => (round * 1500) as f64 / 100.0,
        };
        let row = |round| (0..507).map(|i| value(round, i)).collect();
        Fleet { labels: (0..507).map(labels).collect(), values: (0..ROUNDS).map(row).collect() }
    }

    /// One round of all targets; `generation` makes other series.
    fn batches(&self, generation: usize) -> Vec<(Batch, ShardBatch)> {
        let one = |target: usize| {
            let (mut batch, mut part) = (Batch::default(), ShardBatch::default());
            for labels in &self.labels {
                let mut builder: LabelsBuilder = labels.builder();
                builder.set("instance", &format!("host-{target:03}-{generation}:9100"));
                let labels = builder.build();
                let from = batch.bytes.len() as u32;
                batch.bytes.extend_from_slice(labels.run());
                let range = (from, batch.bytes.len() as u32);
                let id = labels.id();
                part.series.push(BatchSeries {
                    id,
                    labels: range,
                    is_known: false,
                    n_floats: 1,
                    n_histograms: 0,
                    n_exemplars: 0,
                });
                part.timestamps.push(0);
                part.values.push(0.0);
            }
            (batch, part)
        };
        (0..TARGETS).map(one).collect()
    }

    fn n_series(&self) -> usize {
        TARGETS * self.labels.len()
    }
}

fn parse(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut labels = Labels::from_pairs([("__name__", name), ("job", "node")]).builder();
    for pair in rest.trim_end_matches('}').split("\",") {
        if let Some((name, value)) = pair.split_once("=\"") {
            labels.set(name, value.trim_end_matches('"'));
        }
    }
    labels.build()
}

/// A head and the batches that it is fed with, round after round.
struct Feed {
    fleet: Fleet,
    batches: Vec<(Batch, ShardBatch)>,
    /// By batch, the series that its places hold.
    places: Vec<Vec<usize>>,
    head: ShardHead,
    decision: Decision,
    round: usize,
}

impl Feed {
    fn new() -> Feed {
        let fleet = Fleet::load();
        let batches = fleet.batches(0);
        let places = batches.iter().map(|_| (0..fleet.labels.len()).collect()).collect();
        let head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
        Feed { fleet, batches, places, head, decision: Decision::default(), round: 0 }
    }

    /// Timestamps and values of the next round, shuffled if asked for.
    fn prepare(&mut self, shuffled: bool) {
        let values = &self.fleet.values[self.round % self.fleet.values.len()];
        for (target, (_, part)) in self.batches.iter_mut().enumerate() {
            if shuffled {
                let places = &mut self.places[target];
                for i in (1..places.len()).rev() {
                    let j = scramble((self.round * 7919 + i) as u64) as usize % (i + 1);
                    places.swap(i, j);
                    part.series.swap(i, j);
                }
            }
            part.timestamps.fill(self.round as i64 * INTERVAL + target as i64);
            for (value, series) in part.values.iter_mut().zip(&self.places[target]) {
                *value = values[*series];
            }
        }
        self.round += 1;
    }

    fn push(&mut self) {
        for (batch, part) in &self.batches {
            self.head.decide(batch, part, &RULES, &mut self.decision);
            self.head.apply(&batch.bytes, &self.decision);
        }
        // As in life, a window is cut when the next one is well under way.
        let windows = self.head.windows();
        if windows.len() > 1 && windows[1].n_samples > 100 * self.fleet.n_series() {
            self.head.freeze(windows[0].window_start, 1);
            self.head.drop_frozen(1);
        }
    }

    fn filled(rounds: usize) -> Feed {
        let mut feed = Feed::new();
        for _ in 0..rounds {
            feed.prepare(false);
            feed.push();
        }
        feed
    }
}

fn append(bencher: Bencher, shuffled: bool) {
    let feed = RefCell::new(Feed::filled(2));
    let n_series = feed.borrow().fleet.n_series();
    bencher
        .counter(ItemsCount::new(n_series))
        .with_inputs(|| feed.borrow_mut().prepare(shuffled))
        .bench_local_values(|()| feed.borrow_mut().push());
}

/// Decide, append and compress, each batch in the order of the one before.
#[divan::bench(sample_count = 400, sample_size = 1)]
fn append_ordered(bencher: Bencher) {
    append(bencher, false);
}

/// The same with the series of each batch shuffled anew: no prediction holds.
#[divan::bench(sample_count = 400, sample_size = 1)]
fn append_shuffled(bencher: Bencher) {
    append(bencher, true);
}

/// Series are born, each with its first sample.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn new_series(bencher: Bencher) {
    let fleet = Fleet::load();
    let generation = RefCell::new(0);
    bencher
        .counter(ItemsCount::new(fleet.n_series()))
        .with_inputs(|| {
            *generation.borrow_mut() += 1;
            (fleet.batches(*generation.borrow()), ShardHead::new(HeadConfig { window_ms: 7_200_000 }))
        })
        .bench_local_values(|(batches, mut head)| {
            let mut decision = Decision::default();
            for (batch, part) in &batches {
                head.decide(batch, part, &RULES, &mut decision);
                head.apply(&batch.bytes, &decision);
            }
            head
        });
}

/// Sixteen open rows of all groups are compressed, and the generation frozen.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn close_rows(bencher: Bencher) {
    let n_samples = 16 * Feed::new().fleet.n_series();
    bencher.counter(ItemsCount::new(n_samples)).with_inputs(|| Feed::filled(16)).bench_local_values(
        |mut feed| {
            feed.head.freeze(0, 1);
            feed
        },
    );
}

/// All series of one target over an hour.
#[divan::bench(sample_count = 50, sample_size = 4)]
fn select_one_target(bencher: Bencher) {
    let feed = Feed::filled(ROUNDS);
    let matcher = Matcher::new("instance", MatcherOp::Equal, "host-003-0:9100").expect("no pattern");
    let range = TimeRange::new(0, ROUNDS as i64 * INTERVAL);
    let budget = SelectBudget::unlimited();
    let window = feed.head.windows()[0];
    let per_sample = window.bytes as f64 / window.n_samples as f64;
    let per_series = feed.head.bytes() / feed.head.n_series();
    println!("{per_sample:.3} bytes/sample, {per_series} bytes/series with {ROUNDS} samples");
    bencher
        .counter(ItemsCount::new(ROUNDS * feed.fleet.labels.len()))
        .bench_local(|| feed.head.select(std::slice::from_ref(&matcher), range, &budget).expect("no limits"));
}

/// One series out of each target.
#[divan::bench(sample_count = 50, sample_size = 16)]
fn select_one_metric(bencher: Bencher) {
    let feed = Feed::filled(ROUNDS);
    let name = feed.fleet.labels[feed.fleet.labels.len() / 2].metric_name().unwrap_or_default().to_string();
    let matcher = Matcher::new("__name__", MatcherOp::Equal, &name).expect("no pattern");
    let range = TimeRange::new(0, ROUNDS as i64 * INTERVAL);
    let budget = SelectBudget::unlimited();
    let select = || feed.head.select(std::slice::from_ref(&matcher), range, &budget).expect("no limits");
    let n_samples: usize = select().iter().flat_map(|s| &s.floats).map(|column| column.values.len()).sum();
    bencher.counter(ItemsCount::new(n_samples)).bench_local(select);
}
