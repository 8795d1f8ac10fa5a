//! The workload `day`: 50,000 series over 24 hours at 15 seconds, 288 million samples in 12 files, merged by a whole
//! compactor within a limit of memory. Says samples per CPU-second, bytes a sample, and the peak of resident memory.
//!
//! `DAY_SERIES=5000` makes it smaller.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on has failed")]

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use block::{BlockMeta, BlockSeries, Day, WriteOptions, write_metrics};
use bucket::{Bucket, Commit, DirStore, Table};
use compactor::{Compactor, Config, Deps, Metrics};
use limits::{LimitsHandle, PromDuration};
use model::{FloatColumn, Labels, SeriesData, TenantId};
use prometheus_client::registry::Registry;
use runtime::{Clock, MemoryPart};

const WINDOW_MS: i64 = 7_200_000;
const STEP_MS: i64 = 15_000;
/// A day's first millisecond.
const DAY: i64 = 1_795_219_200_000;
const SERIES_PER_TARGET: usize = 500;
/// What the compactor of a process with 256 MiB may take.
const SHARE: u64 = 160 << 20;

#[tokio::main]
async fn main() {
    let n_series: usize = env::var("DAY_SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    if let Ok(dir) = env::var("DAY_GENERATE") {
        return generate(Path::new(&dir), n_series).await;
    }
    let dir = tempfile::tempdir().unwrap();
    // In a process of its own, so that its memory is not counted.
    let generated = Command::new(env::current_exe().unwrap()).env("DAY_GENERATE", dir.path()).status();
    assert!(generated.unwrap().success());
    let bucket = open(dir.path()).await;
    let before = bytes(&bucket).await;
    let clock = Clock::manual(DAY + 3 * Day::MS).0;
    let deps = Deps {
        bucket: Arc::clone(&bucket),
        limits: LimitsHandle::default(),
        memory: MemoryPart::new("compaction", SHARE),
        window: PromDuration::secs(7200),
        clock,
        metrics: Metrics::register(&mut Registry::default()),
    };
    let (cpu, rss) = (cpu_secs(), status("VmRSS"));
    Compactor::open(Config::default(), deps).round().await.unwrap();
    let cpu = cpu_secs() - cpu;
    let samples = (n_series as i64 * (24 * 3_600_000 / STEP_MS)) as f64;
    let (after, files) = (bytes(&bucket).await, n_files(&bucket).await);
    println!(
        "{samples} samples: {:.1} M per CPU-second ({cpu:.1} s), {:.3} -> {:.3} bytes a sample, {files} file(s), \
         peak RSS {} MiB (of which {} before)",
        samples / cpu / 1e6,
        before as f64 / samples,
        after as f64 / samples,
        status("VmHWM") >> 10,
        rss >> 10
    );
}

async fn open(dir: &Path) -> Arc<Bucket> {
    let deps = bucket::Deps { store: DirStore::open(dir).unwrap(), clock: Clock::manual(DAY + Day::MS).0 };
    Bucket::open(bucket::Config::default(), deps).await.unwrap()
}

async fn bytes(bucket: &Arc<Bucket>) -> u64 {
    let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
    table.snapshot().await.unwrap().unwrap().files().map(|file| file.size).sum()
}

async fn n_files(bucket: &Arc<Bucket>) -> usize {
    let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
    table.snapshot().await.unwrap().unwrap().n_files()
}

/// User and system time of this process (`/proc/self/stat`, in hundredths of a second).
fn cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One file per window, as an ingester cuts them.
async fn generate(dir: &Path, n_series: usize) {
    let bucket = open(dir).await;
    let table = bucket.table(&TenantId::anonymous(), Table::Metrics);
    let n_targets = n_series / SERIES_PER_TARGET;
    let mut states: Vec<State> = (0..n_series).map(State::new).collect();
    for window in 0..Day::MS / WINDOW_MS {
        let file = table.new_file(Day::of(DAY));
        let timelines: Vec<Arc<[i64]>> = (0..n_targets).map(|target| timeline(target, window)).collect();
        let series = states.iter_mut().enumerate().map(|(at, state)| {
            let (metric, target) = (at / n_targets, at % n_targets);
            let mut data = SeriesData::new(labels(metric, target));
            let timeline = Arc::clone(&timelines[target]);
            let values = timeline.iter().map(|_| state.next(metric)).collect();
            data.floats.push(FloatColumn { timeline, values });
            Ok::<_, Infallible>(BlockSeries { shard: 0, data })
        });
        let meta = BlockMeta { block: file.block, window_ms: WINDOW_MS };
        let written = write_metrics(meta, series, &WriteOptions::default()).unwrap().unwrap();
        let size = written.bytes.len();
        table.upload(&file, written.bytes).await.unwrap();
        let adds = vec![(file, size, written.summary.into())];
        table.commit(&Commit { adds, ..Commit::default() }).await.unwrap();
    }
}

fn labels(metric: usize, target: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("node_metric_{:03}_total", metric / 4)),
        ("device", format!("sd{}", metric % 4)),
        ("instance", format!("host-{target:04}:9100")),
        ("job", "node".to_string()),
    ])
}

/// Every target is scraped at a phase of its own, with a millisecond or two of jitter.
fn timeline(target: usize, window: i64) -> Arc<[i64]> {
    let start = DAY + window * WINDOW_MS + (target as i64 * 131) % STEP_MS;
    let at = |i: i64| start + i * STEP_MS + (i * 7 + target as i64 * 3) % 3;
    (0..WINDOW_MS / STEP_MS).map(at).filter(|ts| *ts < DAY + (window + 1) * WINDOW_MS).collect()
}

/// Something like node_exporter: two thirds constant, counters, gauges of bytes and of short decimals, a few floats.
struct State {
    level: f64,
    random: u64,
}

impl State {
    fn new(series: usize) -> State {
        let mut state = State { level: 0.0, random: (series as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) };
        state.level = (state.draw() % 1_000_000) as f64;
        state
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn next(&mut self, metric: usize) -> f64 {
        match metric % 100 {
            0..65 => self.level,
            65..77 => {
                self.level += (self.draw() % 40) as f64;
                self.level
            }
            77..87 => {
                self.level += (self.draw() % 64) as f64 - 31.0;
                self.level * 4096.0
            }
            87..93 => (self.draw() % 3) as f64,
            93..99 => (self.draw() % 100_000) as f64 / 1000.0,
            _ => (self.draw() >> 12) as f64 / (1u64 << 52) as f64,
        }
    }
}
