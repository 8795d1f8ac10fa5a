//! No gap between memory and table: while samples move from the one to the other, every query sees each once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use system_tests::{Firn, TimeSeries, WriteRequest, flush, now_ms, push, seconds};

use super::{FIRN, options};

const SERIES: u64 = 8;
const FLUSHES: usize = 40;

#[test]
fn queries_during_flushes_see_every_acknowledged_sample_once() {
    let dir = tempfile::tempdir().unwrap();
    let firn = Firn::start(FIRN, dir.path(), &options(&[])).unwrap();
    let url = firn.url();
    let base = now_ms() - 3_600_000;
    let (sent, acknowledged, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let wrong = Mutex::new(Vec::new());
    let n_queries = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let n = sent.fetch_add(1, Ordering::SeqCst);
                assert_eq!(push(url, None, &request(base, n)).unwrap().status, 204);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let at_least = acknowledged.load(Ordering::SeqCst) * SERIES;
                    let counted = count(&firn, base);
                    let at_most = sent.load(Ordering::SeqCst) * SERIES;
                    n_queries.fetch_add(1, Ordering::Relaxed);
                    if !counted.as_ref().is_ok_and(|n| (at_least..=at_most).contains(n)) {
                        wrong.lock().unwrap().push(format!("{counted:?}, not {at_least} to {at_most}"));
                    }
                }
            });
        }
        for _ in 0..FLUSHES {
            // As many pushes between two flushes as there happen to be; at least one.
            let before = acknowledged.load(Ordering::SeqCst);
            while acknowledged.load(Ordering::SeqCst) == before {
                thread::yield_now();
            }
            let flushed = flush(url);
            if !flushed.as_ref().is_ok_and(|answer| answer.status < 300) {
                wrong.lock().unwrap().push(format!("{flushed:?}"));
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong, first {}", wrong.len(), wrong[0]);
    println!(
        "{} queries during {FLUSHES} flushes of {} samples: each saw every sample once",
        n_queries.into_inner(),
        acknowledged.into_inner() * SERIES
    );
}

fn request(base: i64, n: u64) -> WriteRequest {
    let mut request = WriteRequest::default();
    for i in 0..SERIES {
        request.push(&TimeSeries::named("gap", &format!("j{i}")).sample(base + n as i64 * 100, n as f64));
    }
    request
}

fn count(firn: &Firn, base: i64) -> Result<u64, String> {
    let result = firn.query("sum(count_over_time(gap[2h]))", &seconds(base + 3_600_000))?;
    match result[0]["value"][1].as_str() {
        Some(text) => text.parse().map_err(|_| format!("{text} is no count")),
        None => Ok(0),
    }
}
