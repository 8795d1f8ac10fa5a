use std::time::Duration;

use system_tests::{Firn, TimeSeries, WriteRequest, now_ms, wait_until};

use super::{expect, start, values, values_at};

const LIMIT_MIB: u64 = 64;
/// With everything in use, the code alone takes 30 MiB in a debug build and 13 in a release.
const LOADED_LIMIT_MIB: u64 = if cfg!(debug_assertions) { 80 } else { 64 };
/// Series of one request.
const BATCH: usize = 500;

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
