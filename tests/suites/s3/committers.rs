//! Sixteen who commit to one table from several processes, while its log is cleaned: none of their changes is lost and
//! none is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use block::{BlockMeta, BlockSeries, Day, FileSummary, WriteOptions, write_metrics};
use bucket::{Bucket, BucketError, Commit, Config, LogTable, NewFile, Operation, Snapshot, Table, Txn};
use model::{FloatColumn, Labels, SeriesData, TenantId};
use runtime::{Clock, PromDuration};
use system_tests::{Chance, Storage, StoreKind};

use super::table::{copy, open, read_by_others, storage_of};
use super::{over, store};

const PROCESSES: u32 = 4;
const WRITERS: u32 = 4;
/// Files that everybody swaps for others with the same samples.
const BASES: u64 = 12;
const SAMPLES: i64 = 8;
const RUN: Duration = Duration::from_secs(20);
/// So short that what is committed at the beginning is cleaned away before the end.
const RETENTION: PromDuration = PromDuration::secs(8);
/// Where a child finds its store: `endpoint prefix number`, or `folder number`.
const CHILD: &str = "COMMITTERS_CHILD";

const NOON: i64 = 1_795_262_400_000;

fn config() -> Config {
    Config {
        checkpoint_interval: 7,
        log_retention: RETENTION,
        request_timeout: PromDuration::secs(3),
        commit_attempts: 10_000,
        ..Config::default()
    }
}

#[test]
fn sixteen_committers_in_four_processes_lose_and_duplicate_nothing_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    if child("folder") {
        return;
    }
    committers("folder", &Storage::Folder(dir.path().join("tables")), dir.path());
}

#[test]
fn sixteen_committers_in_four_processes_lose_and_duplicate_nothing_on_minio() {
    on_a_store("minio", StoreKind::Minio);
}

#[test]
fn sixteen_committers_in_four_processes_lose_and_duplicate_nothing_on_seaweedfs() {
    on_a_store("seaweedfs", StoreKind::SeaweedFs);
}

fn on_a_store(name: &str, kind: StoreKind) {
    if child(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(kind, dir.path()) else { return };
    committers(name, &over(&store.endpoint(), "many"), dir.path());
}

/// The part of the parent: makes the table, starts the children, looks at what they left.
fn committers(name: &str, storage: &Storage, dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bucket = open(storage, config()).await;
        let table = table(&bucket);
        for base in 0..BASES {
            let commit = written(&table, &format!("base_{base}"), "parent", base as i64).await;
            table.commit(&commit).await.unwrap();
        }
    });
    let children: Vec<_> = (0..PROCESSES).map(|number| start_child(name, storage, number)).collect();
    let mut told = Told::default();
    for child in children {
        told.read(&child.wait_with_output().unwrap());
    }
    let end = runtime.block_on(async {
        let bucket =
            open(storage, Config { log_retention: Config::default().log_retention, ..config() }).await;
        table(&bucket).snapshot().await.unwrap().unwrap()
    });
    println!(
        "{name}: {} appends, {} swaps won and {} lost, {} log files cleaned, version {}",
        told.appended.len(),
        told.n_swapped,
        told.n_lost,
        told.n_cleaned,
        end.version()
    );
    assert!(told.n_cleaned > 0, "the log was never cleaned");
    assert!(told.n_swapped > 10 && told.n_lost > 0, "the swaps did not compete");
    assert_eq!(end.version(), BASES + (told.appended.len() + told.n_swapped) as u64, "a version per change");
    for (app_id, newest) in &told.newest {
        assert_eq!(end.txn(app_id), Some(*newest), "{app_id}");
    }
    let expected: BTreeMap<String, u64> = told
        .appended
        .iter()
        .cloned()
        .chain((0..BASES).map(|base| format!("base_{base}")))
        .map(|metric| (metric, SAMPLES as u64))
        .collect();
    let replayed = end.files().map(|file| {
        let metric = file.stats.min_metric.clone().unwrap();
        (metric, file.tag("firn.samples").unwrap().parse::<u64>().unwrap())
    });
    let replayed: Vec<(String, u64)> = replayed.collect();
    assert_eq!(replayed.len(), expected.len(), "a file per metric");
    assert_eq!(replayed.into_iter().collect::<BTreeMap<_, _>>(), expected, "as the log is replayed here");
    let vacuumed = runtime.block_on(async {
        let bucket = open(storage, config()).await;
        table(&bucket).vacuum(PromDuration::secs(0)).await.unwrap()
    });
    assert_eq!(vacuumed.n_removed, told.n_swapped, "what was swapped out is deleted, and nothing else");
    assert_eq!(vacuumed.n_orphans, 0, "uploads of swaps that lost are too young");
    let folder: PathBuf = runtime.block_on(copy(storage, &dir.join("copy")));
    for counts in read_by_others(&folder).into_iter().flatten() {
        assert_eq!(counts, expected, "as others read the table");
    }
}

/// What the children say that they did.
#[derive(Default)]
struct Told {
    appended: BTreeSet<String>,
    newest: BTreeMap<String, i64>,
    n_swapped: usize,
    n_lost: usize,
    n_cleaned: usize,
}

impl Told {
    fn read(&mut self, output: &Output) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let mut done = false;
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["APPENDED", metric, app_id, sequence] => {
                    assert!(self.appended.insert(metric.to_string()), "{metric} was appended twice");
                    self.newest.insert(app_id.to_string(), sequence.parse().unwrap());
                }
                ["SWAPPED", app_id, sequence] => {
                    self.n_swapped += 1;
                    self.newest.insert(app_id.to_string(), sequence.parse().unwrap());
                }
                ["LOST"] => self.n_lost += 1,
                ["CLEANED", n] => self.n_cleaned += n.parse::<usize>().unwrap(),
                ["DONE"] => done = true,
                _ => {}
            }
        }
        assert!(done, "a child ended early:\n{text}");
    }
}

/// This test binary again, with only the test `name`, which finds that it is a child.
fn start_child(name: &str, storage: &Storage, number: u32) -> std::process::Child {
    let place = match storage {
        Storage::Folder(folder) => folder.display().to_string(),
        Storage::Bucket { endpoint, prefix } => format!("{endpoint} {prefix}"),
    };
    let test = match name {
        "folder" => "in_a_folder".to_string(),
        store => format!("on_{store}"),
    };
    let test =
        format!("s3::committers::sixteen_committers_in_four_processes_lose_and_duplicate_nothing_{test}");
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CHILD, format!("{number} {place}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The part of a child, if this process is one.
fn child(name: &str) -> bool {
    let Ok(text) = env::var(CHILD) else { return false };
    let words: Vec<&str> = text.split(' ').collect();
    let number: u32 = words[0].parse().unwrap();
    let storage = match words[1..] {
        [folder] => Storage::Folder(folder.into()),
        [endpoint, prefix] => over(endpoint, prefix),
        _ => panic!("{name}: {text}"),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let bucket = Bucket::connect(&storage_of(&storage), config(), Clock::system()).await.unwrap();
            writers.push(tokio::spawn(write(bucket, number * WRITERS + writer)));
        }
        for writer in writers {
            writer.await.unwrap();
        }
    });
    println!("DONE");
    true
}

/// Appends, swaps and cleans until the time is over.
async fn write(bucket: Arc<Bucket>, writer: u32) {
    let start = Instant::now();
    let table = table(&bucket);
    let app_id = format!("{writer}/16/child");
    let mut chance = Chance::new(u64::from(writer) + 1);
    let mut sequence = 0;
    while start.elapsed() < RUN {
        sequence += 1;
        match chance.below(8) {
            // What a busy store did not delete is deleted next time.
            0 if writer < 4 => println!("CLEANED {}", table.clean_log().await.unwrap_or(0)),
            0..=3 => {
                let base = format!("base_{}", chance.below(BASES));
                swap(&table, &base, &app_id, sequence).await;
            }
            _ => {
                let metric = format!("append_{writer}_{sequence}");
                let commit = written(&table, &metric, &app_id, sequence).await;
                until_committed(&table, &commit).await.unwrap();
                println!("APPENDED {metric} {app_id} {sequence}");
            }
        }
        // A pause, so that others are in between and the files stay few enough to be read.
        tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
    }
}

/// Puts another file with the same samples into the place of the one that holds `metric` now.
async fn swap(table: &LogTable, metric: &str, app_id: &str, sequence: i64) {
    let snapshot = table.snapshot().await.unwrap().unwrap();
    let holds = |snapshot: &Snapshot| {
        let mut files = snapshot.files().filter(|file| file.stats.min_metric.as_deref() == Some(metric));
        files.next().map(|file| file.path.to_string())
    };
    let old =
        holds(&snapshot).unwrap_or_else(|| panic!("{metric} is gone at version {}", snapshot.version()));
    let mut commit = written(table, metric, app_id, sequence).await;
    commit.removes = vec![old];
    commit.operation = Operation::Optimize;
    match until_committed(table, &commit).await {
        Ok(()) => println!("SWAPPED {app_id} {sequence}"),
        Err(BucketError::InputGone(_)) => println!("LOST"),
        Err(e) => panic!("{e}"),
    }
}

/// As a flush does it: after an error of the store the same commit again.
async fn until_committed(table: &LogTable, commit: &Commit) -> Result<(), BucketError> {
    loop {
        match table.commit(commit).await {
            Ok(committed) => {
                assert!(!committed.already, "somebody else used our sequence");
                return Ok(());
            }
            Err(BucketError::Unavailable { .. } | BucketError::Contended(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) => return Err(e),
        }
    }
}

/// A file with a few samples of a metric of its own, uploaded.
async fn written(table: &LogTable, metric: &str, app_id: &str, sequence: i64) -> Commit {
    let timeline: Arc<[i64]> = (0..SAMPLES).map(|i| NOON + i * 15_000).collect();
    let values = (0..SAMPLES).map(|i| i as f64).collect();
    let mut data = SeriesData::new(Labels::from_pairs([("__name__", metric), ("job", "many")]));
    data.floats.push(FloatColumn { timeline, values });
    let file: NewFile = table.new_file(Day::of(NOON));
    let meta = BlockMeta { block: file.block, window_ms: 2 * 3_600_000 };
    let series = std::iter::once(Ok::<_, Infallible>(BlockSeries { shard: 0, data }));
    let block = write_metrics(meta, series, &WriteOptions::default()).unwrap().unwrap();
    let size = block.bytes.len();
    table.upload(&file, block.bytes).await.unwrap();
    Commit {
        adds: vec![(file, size, FileSummary::Metrics(block.summary))],
        txns: vec![Txn { app_id: app_id.to_string(), version: sequence }],
        ..Commit::default()
    }
}

fn table(bucket: &Bucket) -> Arc<LogTable> {
    bucket.table(&TenantId::anonymous(), Table::Metrics)
}
