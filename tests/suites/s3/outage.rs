//! A bucket that is slow, refuses, lies, or is away: nothing is lost, nothing is there twice, and it is said whose fault
//! it was.

use std::thread;
use std::time::{Duration, Instant};

use system_tests::{
    FaultProxy, Firn, ObjectStore, ProxyFault, ProxyTarget, StoreKind, TimeSeries, WriteRequest, get, now_ms,
    seconds, wait_until,
};

use super::table::{copy, read_by_others, replayed, samples};
use super::{FIRN, options, over, store};

/// With a debug build's own code, which alone takes 30 MiB.
const LIMIT_MIB: u64 = 96;
const SERIES: usize = 40;
/// Minutes of an outage, at the scale of the time limits below.
const PHASE: Duration = Duration::from_secs(3);

const FLAGS: [&str; 8] = [
    "-memory-limit=96MiB",
    "-bucket.request-timeout=1500ms",
    "-bucket.poll-interval=200ms",
    "-bucket.checkpoint-interval=4",
    "-ingester.retry-min=50ms",
    "-ingester.retry-max=400ms",
    "-ingester.check-interval=200ms",
    "-ingester.wal.segment-bytes=65536",
];

/// One Firn in front of a store that fails, and what has been pushed to it.
struct World {
    firn: Firn,
    base: i64,
    n_batches: i64,
    n_refused_flushes: usize,
    n_refused_queries: usize,
}

#[test]
fn a_bucket_that_is_slow_refuses_lies_or_is_away_costs_nothing_but_time() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut store) = store(StoreKind::Minio, dir.path()) else { return };
    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    let storage = over(&proxy.endpoint(), "tables");
    let firn = Firn::start(FIRN, dir.path(), &options(&storage, &FLAGS)).unwrap();
    let base = now_ms() - 3_600_000;
    let mut world = World { firn, base, n_batches: 0, n_refused_flushes: 0, n_refused_queries: 0 };
    world.phase("healthy");
    assert_eq!(world.n_refused_flushes + world.n_refused_queries, 0, "nothing has failed yet");

    for (name, target, fault) in [
        ("slow", ProxyTarget::All, ProxyFault::Delay(Duration::from_millis(250))),
        ("commits are lied about", ProxyTarget::Of("PUT", ".json"), ProxyFault::LoseAnswer),
        ("uploads are lied about", ProxyTarget::Of("PUT", ".parquet"), ProxyFault::LoseAnswer),
        ("overloaded", ProxyTarget::All, ProxyFault::Status(503)),
        ("answers are cut", ProxyTarget::Of("GET", ""), ProxyFault::CutAnswer),
        ("connections are closed", ProxyTarget::All, ProxyFault::Refuse),
        ("everything is lied about", ProxyTarget::All, ProxyFault::LoseAnswer),
    ] {
        let before = proxy.n_faults();
        proxy.fail(target, fault);
        world.phase(name);
        assert!(proxy.n_faults() > before, "{name}: nothing went wrong");
        proxy.heal();
    }
    away(&mut world, &mut store);
    assert!(world.n_refused_flushes > 0, "no flush was refused, so nothing was tested");

    let healed = Instant::now();
    let recovered = wait_until(Duration::from_secs(20), || world.firn.flush_all().ok());
    assert!(recovered.is_some(), "it does not recover by itself");
    println!(
        "{} batches, {} flushes and {} queries refused, recovered after {:?}",
        world.n_batches,
        world.n_refused_flushes,
        world.n_refused_queries,
        healed.elapsed()
    );
    world.check_counts().unwrap();
    let peak = world.hold_memory("at the end");
    println!("peak RSS {} MiB with a limit of {LIMIT_MIB} MiB", peak >> 10);

    let logged = world.firn.child().output();
    assert!(!logged.contains("target=object_store"), "the client's own repetitions are logged");
    println!("{} lines of log", logged.lines().count());

    // What the log of the table says, and what others read.
    let total = world.n_samples();
    let direct = over(&store.endpoint(), "tables");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(samples(&runtime.block_on(replayed(&direct))), total, "samples in the table");
    let table = runtime.block_on(copy(&direct, &dir.path().join("copy")));
    for counts in read_by_others(&table).into_iter().flatten() {
        assert_eq!(counts.values().sum::<u64>(), total, "samples as others read them");
    }
}

#[test]
fn a_bucket_that_is_away_until_memory_is_full_makes_pushes_wait_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(StoreKind::Minio, dir.path()) else { return };
    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    let storage = over(&proxy.endpoint(), "tables");
    let mut firn = Firn::start(FIRN, dir.path(), &options(&storage, &FLAGS)).unwrap();
    let now = now_ms();
    proxy.fail(ProxyTarget::All, ProxyFault::Refuse);
    let mut n_taken = 0;
    let refusal = loop {
        let answer = firn.push(&many_series(n_taken, now)).unwrap();
        if answer.status != 204 {
            break answer;
        }
        n_taken += 1;
        assert!(n_taken < 1000, "memory is never full");
    };
    assert_eq!(refusal.status, 503, "{}", refusal.body);
    assert!(refusal.body.contains("memory_limit"), "{}", refusal.body);
    for _ in 0..20 {
        assert_eq!(firn.push(&many_series(n_taken, now)).unwrap().status, 503);
        thread::sleep(Duration::from_millis(50));
    }
    hold_memory(&mut firn, "while the store is away");

    proxy.heal();
    let refused = many_series(n_taken, now);
    let taken =
        wait_until(Duration::from_secs(30), || (firn.push(&refused).unwrap().status == 204).then_some(()));
    assert!(taken.is_some(), "pushes are refused although the store is back");
    firn.flush_all().unwrap();
    let peak = hold_memory(&mut firn, "after the store came back");
    println!("{n_taken} batches until memory was full, peak RSS {} MiB of {LIMIT_MIB} MiB", peak >> 10);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let in_table = samples(&runtime.block_on(replayed(&over(&store.endpoint(), "tables"))));
    assert_eq!(in_table, (n_taken as u64 + 1) * BATCH_SERIES, "each series has one sample");
}

const BATCH_SERIES: u64 = 500;

/// Series that nobody has seen.
fn many_series(batch: usize, at: i64) -> WriteRequest {
    let mut request = WriteRequest::default();
    let batch = batch.to_string();
    for n in 0..BATCH_SERIES {
        let n = n.to_string();
        let labels = [("__name__", "full"), ("batch", batch.as_str()), ("job", "away"), ("n", n.as_str())];
        request.push(&TimeSeries::new(labels).sample(at, 1.0));
    }
    request
}

/// The store's process is killed and comes back.
fn away(world: &mut World, store: &mut ObjectStore) {
    store.kill();
    world.phase("away");
    store.restart().unwrap();
}

impl World {
    /// Pushes, flushes and asks for a while, whatever the store does.
    fn phase(&mut self, name: &str) {
        let start = Instant::now();
        while start.elapsed() < PHASE {
            for _ in 0..4 {
                self.push(name);
            }
            self.flush(name);
            if let Err(refusal) = self.check_counts() {
                assert!(refusal.contains("s3://firn-test/tables"), "{name}: {refusal}");
                self.n_refused_queries += 1;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.hold_memory(name);
    }

    /// A sample of each series, which must be taken: the log has them, wherever the store is.
    fn push(&mut self, name: &str) {
        let mut request = WriteRequest::default();
        for n in 0..SERIES {
            let n = n.to_string();
            let series = TimeSeries::new([("__name__", "outage"), ("job", "s3"), ("n", n.as_str())]);
            request.push(&series.sample(self.base + self.n_batches * 1000, self.n_batches as f64));
        }
        let answer = self.firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "{name}: {}", answer.body);
        self.n_batches += 1;
    }

    fn flush(&mut self, name: &str) {
        let answer = self.firn.flush().unwrap();
        if answer.status >= 300 {
            assert_eq!(answer.status, 503, "{name}: {}", answer.body);
            assert!(answer.body.contains("s3://firn-test/tables at http://"), "{name}: {}", answer.body);
            self.n_refused_flushes += 1;
        }
    }

    fn n_samples(&self) -> u64 {
        self.n_batches as u64 * SERIES as u64
    }

    /// Everything that was pushed is answered, once; `Err` is the text of a refusal.
    fn check_counts(&self) -> Result<(), String> {
        let at = seconds(self.base + self.n_batches * 1000);
        let url = format!("{}/api/v1/query", self.firn.url());
        let query = [("query", "sum(count_over_time(outage[2h]))"), ("time", at.as_str())];
        let answer = get(&url, &query).unwrap();
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        let value = answer.json()["data"]["result"][0]["value"][1].clone();
        assert_eq!(value.as_str(), Some(self.n_samples().to_string().as_str()), "{}", answer.body);
        Ok(())
    }

    fn hold_memory(&mut self, when: &str) -> u64 {
        hold_memory(&mut self.firn, when)
    }
}

/// The peak of RSS in KiB, which must be within the limit and a tenth.
fn hold_memory(firn: &mut Firn, when: &str) -> u64 {
    let child = firn.child();
    let peak = child.status_kib("VmHWM").unwrap_or_else(|| panic!("{when}: it is gone:\n{}", child.output()));
    let allowed = (LIMIT_MIB << 10) * 11 / 10;
    assert!(peak <= allowed, "{when}: RSS was {peak} KiB, allowed are {allowed} KiB");
    peak
}
