//! Others read the table: each engine gives back, bit for bit, what was pushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use system_tests::{
    Chance, Cluster, ClusterOptions, Firn, FirnOptions, NativeHistogram, ObjectStore, Storage, StoreKind,
    Surface, TimeSeries, WriteRequest, now_ms, part, post_form, wait_until,
};

use crate::objects::download;

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");
const STALE: u64 = 0x7ff0_0000_0000_0002;
const WINDOW_MS: i64 = 2 * 3_600_000;

/// Float series of each kind; of histogram series there are as many as there are shapes.
const SERIES_PER_KIND: usize = 40;

/// How to start each reader: its name, its Python, and the views it reads through.
const READERS: [(&str, &str, Option<&str>); 4] = [
    ("read_deltalake.py", "duckdb2/bin/python", None),
    ("read_duckdb2.py", "duckdb2/bin/python", Some("duckdb.sql")),
    ("read_duckdb1.py", "duckdb1/bin/python", Some("duckdb.sql")),
    ("read_spark.py", "spark/bin/python", Some("spark.sql")),
];

/// What was pushed, as lines that every reader must print (tests/readers/output.py).
#[derive(Default)]
struct Expected {
    floats: Vec<String>,
    histograms: Vec<String>,
}

type Labels = BTreeMap<String, String>;

#[test]
fn every_reader_gives_back_the_bits_that_were_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let start = now_ms() / WINDOW_MS * WINDOW_MS - 2 * WINDOW_MS;
    let mut expected = Expected::default();
    let mut n_series = push_floats(&firn, start, &mut expected);
    // A second file, in the middle of a window.
    firn.flush_all().unwrap();
    n_series += push_histograms(&firn, start, &mut expected);
    firn.flush_all().unwrap();
    expected.floats.sort_unstable();
    expected.histograms.sort_unstable();
    println!(
        "pushed {n_series} series: {} float samples, {} parts of histogram samples",
        expected.floats.len(),
        expected.histograms.len()
    );
    assert!(n_series >= 500);

    let wrong = read_by_all(&dir.path().join(TABLE), &expected);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Windows in several files each, merged, deleted from while they are merged, rewritten; the files that were replaced
/// are deleted, and there is a checkpoint.
#[test]
fn every_reader_gives_back_the_bits_after_merges_deletions_and_clean_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut flags = vec![
        "-compactor.interval=100ms",
        "-compactor.day-grace=0",
        "-compactor.settle=0",
        "-compactor.final-after=0",
        "-compactor.deletion-delay=0",
        "-compactor.cleanup-interval=100ms",
        "-compactor.vacuum-grace=1s",
        "-bucket.checkpoint-interval=3",
    ];
    // Vacuum waits for the longest query.
    flags.push("-limits.defaults.query-timeout=1s");
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(&flags)).unwrap();
    // Of days that are over.
    let start = (now_ms() - 3 * 86_400_000) / WINDOW_MS * WINDOW_MS;
    let mut expected = Expected::default();
    push_floats(&firn, start, &mut expected);
    firn.flush_all().unwrap();
    push_histograms(&firn, start, &mut expected);
    firn.flush_all().unwrap();
    // The same once more, into files that overlap with the first.
    push_histograms(&firn, start, &mut Expected::default());
    firn.flush_all().unwrap();
    delete(&firn, r#"read_counter{job="job-1"}"#, None);
    delete(&firn, r#"{__name__=~"read_h_.*", n="2"}"#, Some((start, start + WINDOW_MS)));
    expected.floats.retain(|line| !(line.contains("\"read_counter\"") && line.contains("\"job-1\"")));
    expected.histograms.retain(|line| !(line.contains("\"n\":\"2\"") && time_of(line) <= start + WINDOW_MS));
    expected.floats.sort_unstable();
    expected.histograms.sort_unstable();
    let table = dir.path().join(TABLE);
    let settled = wait_until(Duration::from_secs(120), || {
        let n_days = fs::read_dir(&table).ok()?.filter(|entry| is_day(entry.as_ref().ok())).count();
        let deletions = firn.metric("firn_compactor_deletions").ok()??;
        (deletions == 0.0 && n_objects(&table) == n_days && n_days > 0).then_some(n_days)
    });
    assert!(settled.is_some(), "{} objects are left", n_objects(&table));
    assert!(table.join("_delta_log/_last_checkpoint").exists());
    let wrong = read_by_all(&table, &expected);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same through distributor and ingesters apart, once over each real store.
#[test]
fn every_reader_gives_back_the_bits_that_processes_apart_wrote_to_a_bucket() {
    for kind in [StoreKind::Minio, StoreKind::SeaweedFs] {
        let dir = tempfile::tempdir().unwrap();
        let Some(store) = ObjectStore::start(kind, dir.path()).unwrap() else { return };
        let options = ClusterOptions::over(Storage::bucket(&store, "tables")).with_ingesters(2);
        let cluster = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
        let start = now_ms() / WINDOW_MS * WINDOW_MS - 2 * WINDOW_MS;
        let mut expected = Expected::default();
        push_floats(&cluster, start, &mut expected);
        cluster.flush_all().unwrap();
        push_histograms(&cluster, start, &mut expected);
        cluster.flush_all().unwrap();
        expected.floats.sort_unstable();
        expected.histograms.sort_unstable();
        let n = download(&store, "tables", &dir.path().join("tables")).unwrap();
        println!("{kind:?}: {n} objects");
        let wrong = read_by_all(&dir.path().join(TABLE), &expected);
        assert!(wrong.is_empty(), "{kind:?}: {}", wrong.join("\n"));
    }
}

const TABLE: &str = "tables/anonymous/metrics";

/// Deletes what the selector selects, in a range of time.
fn delete(firn: &Firn, selector: &str, range: Option<(i64, i64)>) {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (from, to) = range.map_or((String::new(), String::new()), |(from, to)| (seconds(from), seconds(to)));
    let url = format!("{}/api/v1/admin/tsdb/delete_series", firn.url());
    let answer = post_form(&url, &[("match[]", selector), ("start", &from), ("end", &to)]).unwrap();
    assert_eq!(answer.status, 204, "{selector}: {}", answer.body);
}

fn time_of(line: &str) -> i64 {
    line.split('\t').nth(1).unwrap().parse().unwrap()
}

fn is_day(entry: Option<&fs::DirEntry>) -> bool {
    let files = entry.filter(|entry| entry.file_name().to_string_lossy().starts_with("day="));
    files.is_some_and(|day| fs::read_dir(day.path()).is_ok_and(|mut files| files.next().is_some()))
}

/// Files of the table, of whatever version.
fn n_objects(table: &Path) -> usize {
    let days = fs::read_dir(table).into_iter().flatten().flatten();
    let days = days.filter(|entry| entry.file_name().to_string_lossy().starts_with("day="));
    days.map(|day| fs::read_dir(day.path()).into_iter().flatten().count()).sum()
}

/// What readers find otherwise than expected.
fn read_by_all(table: &Path, expected: &Expected) -> Vec<String> {
    let mut readers = Vec::new();
    for (script, python, views) in READERS {
        let Some(python) = part(python) else { continue };
        let table = table.to_path_buf();
        readers.push((script, thread::spawn(move || read(script, &python, views, &table))));
    }
    let mut wrong = Vec::new();
    for (script, reader) in readers {
        match reader.join().unwrap() {
            Ok((floats, histograms)) => {
                wrong.extend(difference(script, "float samples", &expected.floats, &floats));
                wrong.extend(difference(script, "histogram parts", &expected.histograms, &histograms));
                println!("{script}: {} float and {} histogram lines", floats.len(), histograms.len());
            }
            Err(e) => wrong.push(format!("{script}: {e}")),
        }
    }
    wrong
}

type Lines = Vec<String>;

fn read(script: &str, python: &Path, views: Option<&str>, table: &Path) -> Result<(Lines, Lines), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let views: Option<PathBuf> =
        views.map(|name| root.parent().unwrap_or(root).join("deploy/sql").join(name));
    let mut command = Command::new(python);
    command.arg(root.join("readers").join(script)).arg(table).args(&views).args(["--stale", "--all"]);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).to_string());
    }
    let text = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
    let lines = text.lines().map(str::to_string);
    // A float's line has three fields, a histogram's four.
    Ok(lines.partition(|line| line.matches('\t').count() == 2))
}

/// The first lines that differ, if any do.
fn difference(script: &str, what: &str, expected: &[String], found: &[String]) -> Option<String> {
    if expected == found {
        return None;
    }
    let count = |lines: &[String]| {
        let mut counts = BTreeMap::<String, i64>::new();
        lines.iter().for_each(|line| *counts.entry(line.clone()).or_default() += 1);
        counts
    };
    let mut counts = count(found);
    for (line, n) in count(expected) {
        *counts.entry(line).or_default() -= n;
    }
    let differing = counts.iter().filter(|(_, n)| **n != 0);
    let shown: Vec<String> = differing.clone().take(12).map(|(line, n)| format!("  {n:+} {line}")).collect();
    Some(format!(
        "{script}: {} {what} differ (+ too many, - missing):\n{}",
        differing.count(),
        shown.join("\n")
    ))
}

/// One kind of values: its name, and the bits of sample `i` of series `n`; `None` is a scrape without a sample.
type Kind = (&'static str, fn(&mut Chance, i64, i64) -> Option<u64>);

const KINDS: [Kind; 14] = [
    ("constant", |_, n, _| value(n as f64)),
    ("counter", |_, n, i| value((n * 1_000_003 + i * 17) as f64)),
    ("decimal", |_, n, i| value(((n * 31 + i * 7) % 100_000) as f64 / 100.0)),
    ("tiny_steps", |_, n, i| value(n as f64 + i as f64 * 1e-9)),
    ("irregular", |c, _, _| value(f64::from_bits(0x3ff0_0000_0000_0000 | c.below(1 << 52)))),
    ("large", |c, n, _| value((1u64 << 53) as f64 * (n + 1) as f64 + c.below(1 << 20) as f64 * 4096.0)),
    ("any_bits", |c, _, _| Some(finite(c.draw()))),
    ("negative", |c, n, i| value(-(n as f64) * 0.25 - i as f64 - c.below(10) as f64)),
    ("minus_zero", |_, n, i| value(if (i + n) % 3 == 0 { -0.0 } else { 0.0 })),
    ("infinite", |_, n, i| value([1.0, f64::INFINITY, f64::NEG_INFINITY, 2.5][((i + n) % 4) as usize])),
    ("not_a_number", |_, n, i| Some(NANS[((i + n) % 5) as usize])),
    ("stale", |_, n, i| if (i + n) % 4 == 3 { Some(STALE) } else { value((i * n) as f64) }),
    ("only_stale", |_, n, i| (i == n % 20).then_some(STALE)),
    ("gaps", |c, n, i| if c.below(3) == 0 { None } else { value((i * 2 + n) as f64 / 8.0) }),
];

/// Ordinary, negative, with a payload, and two signalling ones: none of them the stale marker.
const NANS: [u64; 5] = [
    0x7ff8_0000_0000_0001,
    0xfff8_0000_0000_0123,
    0x7ff8_0000_dead_beef,
    0x7ff0_0000_0000_0042,
    0x4009_21fb_5444_2d18,
];

fn value(value: f64) -> Option<u64> {
    Some(value.to_bits())
}

/// The bits of a number, whatever was drawn.
fn finite(bits: u64) -> u64 {
    if f64::from_bits(bits).is_finite() { bits } else { bits & !(1 << 62) }
}

/// Scrapes of several targets over three windows, and series that keep their own time.
fn push_floats(firn: &Surface, start: i64, expected: &mut Expected) -> usize {
    let mut chance = Chance::new(42);
    let mut n_series = 0;
    for (kind, bits_of) in KINDS {
        let mut request = WriteRequest::default();
        for n in 0..SERIES_PER_KIND as i64 {
            let labels = labels(kind, n);
            let mut series =
                TimeSeries::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            for i in 0..60 {
                let Some(bits) = bits_of(&mut chance, n, i) else { continue };
                let at = timestamp(start, n, i);
                series = series.bits(at, bits);
                expected.float(&labels, at, bits);
            }
            request.push(&series);
            n_series += 1;
        }
        let answer = firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "{kind}: {}", answer.body);
    }
    n_series
}

/// Every sixth series has times of its own; the others are scraped with their target, every four minutes.
fn timestamp(start: i64, n: i64, i: i64) -> i64 {
    let scrape = start + i * 240_000 + (n % 4) * 1_000;
    if n % 6 == 5 { scrape + (i * 7_919 + n * 104_729) % 239_000 } else { scrape }
}

fn labels(kind: &str, n: i64) -> Labels {
    let mut labels = Labels::from([
        ("__name__".to_string(), format!("read_{kind}")),
        ("job".to_string(), format!("job-{}", n % 4)),
        ("instance".to_string(), format!("host-{}:9100", n % 4)),
        ("n".to_string(), n.to_string()),
    ]);
    match n % 7 {
        0 => labels.insert("quoted".to_string(), "a\"b\\c\n\td\u{1}\u{7f}".to_string()),
        1 => labels.insert("länge".to_string(), "é😀 \u{2028}".to_string()),
        2 => labels.insert("namespace".to_string(), "prod".to_string()),
        3 => labels.insert("service".to_string(), "x".repeat(500)),
        4 => labels.insert("Job".to_string(), "not job".to_string()),
        _ => None,
    };
    labels
}

/// One shape of histograms: its name, and what sample `i` of series `n` is.
type Shape = (&'static str, fn(i64, i64) -> NativeHistogram);

const SHAPES: [Shape; 8] = [
    ("integers", |n, i| exponential(false, 3, n, i)),
    ("floats", |n, i| exponential(true, 0, n, i)),
    ("coarse", |n, i| exponential(false, -4, n, i)),
    ("gauge", |n, i| NativeHistogram { reset_hint: 3, ..exponential(true, 8, n, i) }),
    ("resets", |n, i| NativeHistogram {
        reset_hint: u64::from(i % 5 == 0),
        ..exponential(false, 2, n, i % 5)
    }),
    ("custom", |n, i| NativeHistogram {
        schema: -53,
        zero_count: 0.0,
        zero_threshold: 0.0,
        count: (6 + i + n) as f64,
        negative: BTreeMap::new(),
        positive: BTreeMap::from([(0, 1.0), (1, 5.0), (3, (i + n) as f64)]),
        custom_values: vec![0.1, 0.25, 1.0, 2.5],
        ..exponential(false, 0, n, i)
    }),
    // Its form changes half way.
    ("changing", |n, i| exponential(i % 20 < 10, if i < 30 { 1 } else { 2 }, n, i)),
    ("stale", |n, i| if i % 6 == 5 { stale() } else { exponential(false, 3, n, i) }),
];

fn exponential(is_float: bool, schema: i32, n: i64, i: i64) -> NativeHistogram {
    let part = if is_float { 0.5 } else { 0.0 };
    let positive =
        BTreeMap::from([(-4, (i + 1) as f64 + part), (-3, n as f64), (2, 3.0 * i as f64), (40, 7.0)]);
    // A bucket that is not there at first.
    let negative = if i > 7 { BTreeMap::from([(1, i as f64), (5, 2.0)]) } else { BTreeMap::new() };
    let sum: f64 = positive.values().chain(negative.values()).sum();
    NativeHistogram {
        is_float,
        schema,
        count: sum + 2.0,
        sum: 0.1 * i as f64 + n as f64,
        zero_threshold: 0.001,
        zero_count: 2.0,
        positive,
        negative,
        custom_values: Vec::new(),
        reset_hint: 0,
    }
}

fn stale() -> NativeHistogram {
    NativeHistogram { sum: f64::from_bits(STALE), ..NativeHistogram::default() }
}

fn push_histograms(firn: &Surface, start: i64, expected: &mut Expected) -> usize {
    let mut n_series = 0;
    for (shape, histogram_of) in SHAPES {
        let mut request = WriteRequest::default();
        for n in 0..4 {
            let labels = labels(&format!("h_{shape}"), n);
            let mut series =
                TimeSeries::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            for i in 0..60 {
                let (at, histogram) = (timestamp(start, n, i), histogram_of(n, i));
                series = series.histogram(at, &histogram);
                expected.histogram(&labels, at, &histogram);
            }
            request.push(&series);
            n_series += 1;
        }
        let answer = firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "{shape}: {}", answer.body);
    }
    n_series
}

impl Expected {
    fn float(&mut self, labels: &Labels, at: i64, bits: u64) {
        let labels = serde_json::to_string(labels).unwrap();
        self.floats.push(format!("{labels}\t{at}\t{bits:016x}"));
    }

    fn histogram(&mut self, labels: &Labels, at: i64, histogram: &NativeHistogram) {
        let labels = serde_json::to_string(labels).unwrap();
        let mut line =
            |part: &str, bits: u64| self.histograms.push(format!("{labels}\t{at}\t{part}\t{bits:016x}"));
        if histogram.sum.to_bits() == STALE {
            line("stale", STALE);
            return;
        }
        line("count", histogram.count.to_bits());
        line("sum", histogram.sum.to_bits());
        if histogram.schema != -53 {
            line("zero", histogram.zero_count.to_bits());
        }
        for (side, buckets) in [("positive", &histogram.positive), ("negative", &histogram.negative)] {
            for (index, count) in buckets {
                line(&format!("{side}:{index}"), count.to_bits());
            }
        }
    }
}
