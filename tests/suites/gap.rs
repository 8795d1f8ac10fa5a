//! No gap between ingesters and tables when they are processes apart: while samples are flushed, and ingesters stop,
//! die and come back, a query sees every acknowledged sample once, or fails by name.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use system_tests::{
    Cluster, ClusterOptions, ObjectStore, Storage, StoreKind, Surface, TimeSeries, WriteRequest, flush, get,
    now_ms, push, seconds,
};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");
const SERIES: u64 = 16;
const ROUNDS: usize = 6;
const INGESTERS: usize = 2;

/// What the queries saw.
#[derive(Default)]
struct Seen {
    right: AtomicU64,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// How far the client is.
#[derive(Default)]
struct Sent {
    /// Pushes begun.
    begun: AtomicU64,
    /// Pushes acknowledged; all before are, too.
    acknowledged: AtomicU64,
    done: AtomicBool,
}

#[test]
fn no_query_misses_a_sample_while_ingesters_flush_stop_and_die() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = ObjectStore::start(StoreKind::Minio, dir.path()).unwrap() else { return };
    // The querier's snapshots stay warm for longer than the test takes: only what ingesters name moves them on.
    let options = ClusterOptions::over(Storage::bucket(&store, "gap"))
        .with_ingesters(INGESTERS)
        .with_flags(&["-bucket.poll-interval=10m", "-bucket.checkpoint-interval=5"]);
    let mut cluster = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let surface = Surface::clone(&cluster);
    let (base, sent, seen) = (now_ms() - 3_600_000, Sent::default(), Seen::default());
    thread::scope(|scope| {
        scope.spawn(|| write(&surface, base, &sent));
        for _ in 0..2 {
            scope.spawn(|| ask(&surface, base, &sent, &seen));
        }
        for round in 0..ROUNDS {
            disturb(&mut cluster, round, &sent);
        }
        sent.done.store(true, Ordering::SeqCst);
    });
    let wrong = seen.wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong, first {}", wrong.len(), wrong[0]);
    let (right, refused) = (seen.right.into_inner(), seen.refused.into_inner());
    assert!(right >= 50, "only {right} queries were answered, {refused} refused");
    println!(
        "{right} queries saw every one of {} samples once, {refused} were refused, while {INGESTERS} ingesters \
         flushed, stopped and died {ROUNDS} times each",
        sent.acknowledged.into_inner() * SERIES
    );
}

/// Flushes, stops and kills the ingesters in turn, with time between for queries that find all well.
fn disturb(cluster: &mut Cluster, round: usize, sent: &Sent) {
    for i in 0..INGESTERS {
        let name = format!("ingester-{i}");
        let url = cluster.url(&name).unwrap();
        for _ in 0..4 {
            await_pushes(sent, 2);
            assert_eq!(flush(&url).unwrap().status, 204);
        }
        await_pushes(sent, 2);
        match round % 2 {
            0 => {
                let ended = cluster.child(&name).unwrap().terminate();
                assert!(ended.is_some_and(|status| status.success()), "{name} stopped with {ended:?}");
            }
            _ => cluster.kill(&name).unwrap(),
        }
        cluster.restart(&name).unwrap();
    }
}

fn await_pushes(sent: &Sent, n: u64) {
    let before = sent.acknowledged.load(Ordering::SeqCst);
    let limit = system_tests::wait_until(Duration::from_secs(30), || {
        (sent.acknowledged.load(Ordering::SeqCst) >= before + n).then_some(())
    });
    assert!(limit.is_some(), "pushes are not acknowledged any more");
}

/// Pushes one timestamp after the other; the same again until it is acknowledged.
fn write(surface: &Surface, base: i64, sent: &Sent) {
    while !sent.done.load(Ordering::SeqCst) {
        let n = sent.begun.fetch_add(1, Ordering::SeqCst);
        while !push(&surface.push, None, &request(base, n)).is_ok_and(|answer| answer.status == 204) {
            if sent.done.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        sent.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

fn ask(surface: &Surface, base: i64, sent: &Sent, seen: &Seen) {
    let url = format!("{}/api/v1/query", surface.query);
    let at = seconds(base + 3_600_000);
    while !sent.done.load(Ordering::SeqCst) {
        let at_least = sent.acknowledged.load(Ordering::SeqCst) * SERIES;
        let answer = get(&url, &[("query", "sum(count_over_time(gap[2h]))"), ("time", &at)]).unwrap();
        let at_most = sent.begun.load(Ordering::SeqCst) * SERIES;
        if answer.status == 503 {
            seen.refused.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        let json = answer.json();
        let counted = match json["data"]["result"][0]["value"][1].as_str() {
            Some(text) => text.parse::<u64>().ok(),
            None => (answer.status == 200).then_some(0),
        };
        if answer.status == 200 && counted.is_some_and(|n| (at_least..=at_most).contains(&n)) {
            seen.right.fetch_add(1, Ordering::Relaxed);
        } else {
            let found =
                format!("{counted:?}, not {at_least} to {at_most}: {} {}", answer.status, answer.body);
            seen.wrong.lock().unwrap().push(found);
        }
    }
}

fn request(base: i64, n: u64) -> WriteRequest {
    let mut request = WriteRequest::default();
    for i in 0..SERIES {
        request.push(&TimeSeries::named("gap", &format!("j{i}")).sample(base + n as i64 * 100, n as f64));
    }
    request
}
