use std::f64::consts::TAU;

use model::Labels;

use crate::recording::{self, Recorded};
use crate::{Metrics, Workload};

/// Everything that will be sent, as a function of target, series and time.
#[derive(Debug)]
pub(crate) struct Fleet {
    node: Vec<Recorded>,
    http: Vec<Recorded>,
    targets: Vec<Target>,
    /// Samples of each series.
    pub(crate) n_samples: usize,
    /// Time of the first sample, in milliseconds.
    pub(crate) start_ms: i64,
    /// Milliseconds between two samples.
    pub(crate) interval_ms: i64,
}

/// One scraped process.
#[derive(Debug)]
pub(crate) struct Target {
    kind: Kind,
    /// Canonical label runs of its series.
    pub(crate) runs: Vec<Vec<u8>>,
    /// Runs that take their place in the second half; empty where a series stays.
    pub(crate) later_runs: Vec<Vec<u8>>,
    /// Where in the recording the target begins.
    offset: usize,
    /// When in the interval it is scraped.
    phase_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Node,
    Http,
}

/// Scrapes in a synthetic recording.
const SYNTHETIC_SCRAPES: usize = 1200;

impl Fleet {
    /// The fleet of a workload, ending at `metrics.end` or now.
    pub(crate) fn new(metrics: &Metrics, now_ms: i64) -> anyhow::Result<Fleet> {
        let node = match &metrics.recording {
            Some(path) => recording::read(path)?,
            None => synthetic_node(),
        };
        let http = synthetic_http();
        let (n_node, n_http, n_samples) = match metrics.workload {
            Workload::Std => (80, 12, 240),
            Workload::Card => (982, 0, 10),
            Workload::Long => (6, 1, 5760),
        };
        let n_node = metrics.targets.unwrap_or(n_node);
        let n_http = if metrics.targets.is_some() { 0 } else { n_http };
        let n_samples = metrics.samples.unwrap_or(n_samples);
        let target = |i: usize| match i < n_node {
            true => Target::new(Kind::Node, i, &node, metrics),
            false => Target::new(Kind::Http, i, &http, metrics),
        };
        let targets = (0..n_node + n_http).map(target).collect();
        let interval_ms = metrics.interval_secs * 1000;
        let end_ms = metrics.end.map_or(now_ms - interval_ms, |secs| secs * 1000);
        let start_ms = end_ms - interval_ms * (n_samples as i64 - 1);
        Ok(Fleet { node, http, targets, n_samples, start_ms, interval_ms })
    }

    /// All targets.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// When a target's n-th scrape happens.
    pub(crate) fn timestamp(&self, target: &Target, n: usize) -> i64 {
        self.start_ms + self.interval_ms * n as i64 - target.phase_ms
    }

    /// The value of a series in its target's n-th scrape.
    pub(crate) fn value(&self, target: &Target, series: usize, n: usize) -> f64 {
        let recorded = match target.kind {
            Kind::Node => &self.node[series],
            Kind::Http => &self.http[series],
        };
        recorded.values[(target.offset + n) % recorded.values.len()]
    }

    /// Series over the whole run.
    pub(crate) fn n_series(&self) -> usize {
        let later = |t: &Target| t.later_runs.iter().filter(|run| !run.is_empty()).count();
        self.targets.iter().map(|t| t.runs.len() + later(t)).sum()
    }
}

impl Target {
    fn new(kind: Kind, i: usize, series: &[Recorded], metrics: &Metrics) -> Target {
        let job = if kind == Kind::Node { "node" } else { "shop" };
        let instance = format!("host-{i:04}.example:9100");
        let run = |recorded: &Recorded, generation: &str| {
            let pairs = recorded.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let own = [("job", job), ("instance", instance.as_str()), ("generation", generation)];
            Labels::from_pairs(pairs.chain(own)).run().to_vec()
        };
        let replaced = |n: usize| (n as f64) < metrics.churn * series.len() as f64;
        let later = |(n, s): (usize, &Recorded)| if replaced(n) { run(s, "2") } else { Vec::new() };
        Target {
            kind,
            runs: series.iter().map(|s| run(s, "")).collect(),
            later_runs: series.iter().enumerate().map(later).collect(),
            offset: (i * 37) % 1000,
            phase_ms: (i as i64 * 7919) % (metrics.interval_secs * 1000),
        }
    }
}

/// A stand-in for a node_exporter with the mix of a real one: two thirds of the series never change, the rest are
/// counters, gauges with few and with many values.
fn synthetic_node() -> Vec<Recorded> {
    let mut noise = Noise(7);
    let mut series = Vec::new();
    for i in 0..507 {
        let labels = vec![
            ("__name__".to_string(), format!("node_metric_{:03}", i / 4)),
            ("device".to_string(), format!("dev{}", i % 4)),
        ];
        let values = (0..SYNTHETIC_SCRAPES).scan(1000.0 * i as f64, |level, n| {
            match i % 100 {
                0..65 => {}
                65..77 => *level += (noise.next() * 40.0).floor(),
                77..83 => *level = (noise.next() * 4.0).floor(),
                _ => {
                    *level = ((5e6 + 1e6 * (n as f64 / 97.0 * TAU).sin() + noise.next() * 1e5) / 4096.0)
                        .floor()
                        * 4096.0
                }
            }
            Some(*level)
        });
        series.push(Recorded { labels, values: values.collect() });
    }
    series
}

/// A service with a latency histogram by route, method and status.
fn synthetic_http() -> Vec<Recorded> {
    const BOUNDS: [&str; 11] =
        ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"];
    let mut noise = Noise(11);
    let mut series = Vec::new();
    for i in 0..60 {
        let own = |name: &str, le: Option<&str>| {
            let mut labels = vec![
                ("__name__".to_string(), name.to_string()),
                ("route".to_string(), format!("/api/v1/thing{}", i / 4)),
                ("method".to_string(), ["GET", "POST"][i % 2].to_string()),
                ("code".to_string(), ["200", "500"][i / 2 % 2].to_string()),
            ];
            labels.extend(le.map(|le| ("le".to_string(), le.to_string())));
            labels
        };
        let mut columns = vec![Vec::with_capacity(SYNTHETIC_SCRAPES); BOUNDS.len() + 2];
        let mut totals = vec![0.0; BOUNDS.len() + 2];
        for _ in 0..SYNTHETIC_SCRAPES {
            let requests = (noise.next() * 20.0).floor();
            for (b, total) in totals.iter_mut().enumerate().take(BOUNDS.len()) {
                *total += (requests * (b + 1) as f64 / BOUNDS.len() as f64).floor();
            }
            totals[BOUNDS.len()] += requests * noise.next() * 0.1;
            totals[BOUNDS.len() + 1] = totals[BOUNDS.len() - 1];
            columns.iter_mut().zip(&totals).for_each(|(column, total)| column.push(*total));
        }
        let mut columns = columns.into_iter();
        for bound in BOUNDS {
            let labels = own("http_request_duration_seconds_bucket", Some(bound));
            series.extend(columns.next().map(|values| Recorded { labels, values }));
        }
        for name in ["http_request_duration_seconds_sum", "http_request_duration_seconds_count"] {
            let labels = own(name, None);
            series.extend(columns.next().map(|values| Recorded { labels, values }));
        }
    }
    series
}

/// Numbers in 0…1 that are the same in every run (xorshift64*, Marsaglia 2003, Vigna 2016).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}
