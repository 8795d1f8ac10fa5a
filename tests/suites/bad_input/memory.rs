use std::path::Path;
use std::time::Duration;

use system_tests::{Firn, TimeSeries, WriteRequest, now_ms, wait_until};

use super::{expect, start, values, values_at};

const LIMIT_MIB: u64 = if cfg!(debug_assertions) { 80 } else { 64 };
/// With everything in use, the code alone takes 46 MiB in a debug build, and a third of it in a release.
const LOADED_LIMIT_MIB: u64 = if cfg!(debug_assertions) { 96 } else { 64 };
/// Series of one request.
const BATCH: usize = 500;
/// With long labels.
const LONG_LIMIT_MIB: u64 = 96;
const LONG_BATCH: usize = 200;

#[test]
fn the_memory_limit_refuses_new_series_by_name_and_holds() {
    let (_dir, mut firn) = start(&[&format!("--memory-limit={LIMIT_MIB}MiB")]);
    let mut pushed = 0;
    let refusal = loop {
        let answer = push(&firn, pushed);
        if answer.status != 204 {
            break answer;
        }
        pushed += 1;
        assert!(pushed < 2_000, "a million series fit into {LIMIT_MIB} MiB?");
        hold(&mut firn, LIMIT_MIB, "while series were pushed");
    };
    expect("over the memory limit", &refusal, 503, &["memory_limit"]);
    assert!(refusal.header("retry-after").is_some());
    println!("{} series were taken", pushed * BATCH);
    assert!(pushed * BATCH > 5_000);
    hold(&mut firn, LIMIT_MIB, "when pushes were refused");

    assert_eq!(values(&firn, "count(memory{batch=\"0\"})"), [BATCH as f64], "queries are answered");
    for _ in 0..200 {
        push(&firn, pushed);
    }
    hold(&mut firn, LIMIT_MIB, "when they were refused again and again");

    firn.flush_all().unwrap();
    hold(&mut firn, LIMIT_MIB, "after a flush");
    let accepted = wait_until(Duration::from_secs(30), || {
        let status = push(&firn, pushed).status;
        (status == 204).then_some(())
    });
    assert!(accepted.is_some(), "pushes are refused after a flush, too");
    assert_eq!(values(&firn, "count(memory{batch=\"0\"})"), [BATCH as f64], "what was flushed is there");
    let peak = hold(&mut firn, LIMIT_MIB, "at the end");
    println!("peak RSS {} MiB with a limit of {LIMIT_MIB} MiB", peak >> 10);
}

#[test]
fn the_memory_limit_holds_under_heavy_queries_large_bodies_and_replay() {
    let flags = [format!("--memory-limit={LOADED_LIMIT_MIB}MiB")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (dir, mut firn) = start(&flags);
    let base = now_ms() - 1_000_000;
    for part in 0..20 {
        let mut request = WriteRequest::default();
        for i in 0..500 {
            let (job, n) = (format!("job-{}", i % 10), format!("{part}-{i}"));
            let mut series = TimeSeries::new([("__name__", "heavy"), ("job", job.as_str()), ("n", &n)]);
            for k in 0..20 {
                series = series.sample(base + k * 15_000, f64::from(part) + i as f64 * 0.1 + k as f64);
            }
            request.push(&series);
        }
        let answer = firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "part {part}: {}", answer.body);
    }
    println!(
        "10,000 series of 20 samples take {} MiB",
        hold(&mut firn, LOADED_LIMIT_MIB, "with samples in memory") >> 10
    );
    for when in ["from memory", "from the table"] {
        heavy_load(&firn, base, when);
        println!("peak RSS {} MiB", hold(&mut firn, LOADED_LIMIT_MIB, when) >> 10);
        assert_eq!(values_at(&firn, "count(heavy)", base + 285_000), [10_000.0], "{when}");
        if when == "from memory" {
            firn.flush_all().unwrap();
        }
    }
    // What replay takes is bounded as well.
    for i in 0..40 {
        assert_eq!(push(&firn, i).status, 204);
    }
    firn.child().kill();
    let mut firn = Firn::start(super::FIRN, dir.path(), &system_tests::FirnOptions::flags(&flags)).unwrap();
    hold(&mut firn, LOADED_LIMIT_MIB, "after replay");
    assert_eq!(values(&firn, "count(memory)"), [40.0 * BATCH as f64]);
    let peak = hold(&mut firn, LOADED_LIMIT_MIB, "after replay and a query");
    println!("peak RSS {} MiB after replay", peak >> 10);
}

#[test]
fn the_memory_limit_holds_while_series_with_long_labels_are_flushed() {
    let memory = format!("--memory-limit={LONG_LIMIT_MIB}MiB");
    // Nothing is cut before memory is full, so that all of it is flushed at once.
    let (dir, mut firn) =
        start(&[&memory, "-ingester.cut-at-memory-percent=100", "-ingester.check-interval=1h"]);
    let mut n_taken = 0;
    let refusal = loop {
        let answer = firn.push(&long_labels(n_taken)).unwrap();
        if answer.status != 204 {
            break answer;
        }
        n_taken += 1;
        assert!(n_taken < 2_000, "memory is never full");
    };
    expect("series with long labels", &refusal, 503, &["memory_limit"]);
    let full = hold(&mut firn, LONG_LIMIT_MIB, "when memory was full");
    firn.flush_all().unwrap();
    let peak = hold(&mut firn, LONG_LIMIT_MIB, "after the flush");
    for batch in [0, n_taken / 2, n_taken - 1] {
        let count = values(&firn, &format!("count(long{{batch=\"{batch}\"}})"));
        assert_eq!(count, [LONG_BATCH as f64], "batch {batch}");
    }
    let (n_files, n_samples) = committed(dir.path());
    assert!(n_files > 1, "a flush of {n_taken} batches made one file");
    assert_eq!(n_samples, (n_taken * LONG_BATCH) as u64);
    println!(
        "{n_samples} series with a label of 1,000 bytes: {n_files} files, peak RSS {} MiB before the flush, {} MiB after",
        full >> 10,
        peak >> 10
    );
}

/// Files that commits added, and their samples.
fn committed(data: &Path) -> (usize, u64) {
    let log = data.join("tables/anonymous/metrics/_delta_log");
    let (mut n_files, mut n_samples) = (0, 0);
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(samples) = action["add"]["tags"]["firn.samples"].as_str() else { continue };
            n_files += 1;
            n_samples += samples.parse::<u64>().unwrap();
        }
    }
    (n_files, n_samples)
}

/// A batch of series, each with a label of 1,000 bytes that no other has and that does not compress well.
fn long_labels(batch: usize) -> WriteRequest {
    let mut request = WriteRequest::default();
    let now = now_ms();
    for i in 0..LONG_BATCH {
        let mut state = (batch * LONG_BATCH + i) as u64 + 1;
        let mut digits = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:010x}", state >> 24)
        };
        let unique: String = (0..100).map(|_| digits()).collect();
        let batch = batch.to_string();
        let labels = [("__name__", "long"), ("batch", &batch), ("job", "long"), ("unique", &unique)];
        request.push(&TimeSeries::new(labels).sample(now, 1.0));
    }
    request
}

/// Clients that ask for everything and push more than fits, at the same time. Each is answered or refused by name.
fn heavy_load(firn: &Firn, base: i64, when: &str) {
    let at = system_tests::seconds(base + 285_000);
    let queries = [
        "heavy[10m]",
        "sum by (n) (rate(heavy[5m]))",
        "max_over_time(sum by (job) (heavy)[5m:1s])",
        "topk(10, heavy)",
        "heavy + on (n) heavy",
        "quantile by (job) (0.9, heavy)",
    ];
    let body = vec![0u8; 31 << 20];
    let large = system_tests::snappy(&body);
    drop(body);
    let outcomes = std::sync::Mutex::new(std::collections::BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (at, outcomes, large) = (&at, &outcomes, &large);
            scope.spawn(move || {
                for (i, query) in queries.iter().cycle().skip(client).take(2 * queries.len()).enumerate() {
                    let url = format!("{}/api/v1/query", firn.url());
                    let answer = system_tests::get(&url, &[("query", query), ("time", at)]).unwrap();
                    let note = |what: &str, status: u16| {
                        *outcomes.lock().unwrap().entry(format!("{what} {status}")).or_default() += 1;
                    };
                    note("query", answer.status);
                    if answer.status != 200 {
                        assert!([422, 503].contains(&answer.status), "{when}: {query}: {}", answer.body);
                        assert!(answer.body.contains("memory"), "{when}: {query}: {}", answer.body);
                    }
                    if i % 4 == client {
                        let answer = firn.push_bytes(large).unwrap();
                        note("body of 31 MiB", answer.status);
                        // It could never fit, so the sender is not told to come back.
                        assert_eq!(answer.status, 413, "{when}: {}", answer.body);
                    }
                }
            });
        }
    });
    println!("heavy load {when}: {:?}", outcomes.into_inner().unwrap());
}

/// A batch of series that nobody has seen, or the same again.
fn push(firn: &Firn, batch: usize) -> system_tests::Answer {
    let mut request = WriteRequest::default();
    let (now, batch) = (now_ms(), batch.to_string());
    for i in 0..BATCH {
        let i = i.to_string();
        let labels = [("__name__", "memory"), ("batch", batch.as_str()), ("job", "churn"), ("n", &i)];
        request.push(&TimeSeries::new(labels).sample(now, 1.0));
    }
    firn.push(&request).unwrap()
}

/// The peak of RSS in KiB, which must be within the limit and a tenth.
fn hold(firn: &mut Firn, limit_mib: u64, when: &str) -> u64 {
    let child = firn.child();
    let peak = child.status_kib("VmHWM").unwrap_or_else(|| panic!("{when}: it is gone:\n{}", child.output()));
    let allowed = (limit_mib << 10) * 11 / 10;
    assert!(peak <= allowed, "{when}: RSS was {peak} KiB, allowed are {allowed} KiB");
    peak
}
