//! `kill -9` at random moments, under clients that push and flush at the same time.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use system_tests::{Chance, Firn, flush, now_ms};

use super::ledger::{Count, Ledger, Stream};
use super::table::Expected;
use super::{FIRN, options, table};

const KILLS_PER_LANE: usize = 12;
const CLIENTS: u64 = 3;

/// How the clients' clocks relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// All write of the same time: nothing may be in the table twice.
    Abreast,
    /// Two of them write of the past, into windows that are long gone. Their series are forgotten as soon as they
    /// are flushed, so what is sent again may be in the table twice; queries must not show it.
    Backlog,
}

#[test]
fn nothing_acknowledged_is_lost_at_random_moments() {
    let seed =
        std::env::var("FIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now_ms() as u64);
    println!("seed {seed} (FIRN_TEST_SEED={seed} repeats it)");
    let dir = tempfile::tempdir().unwrap();
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for lane in [Lane::Abreast, Lane::Backlog] {
            let (outcomes, data) = (&outcomes, dir.path().join(format!("{lane:?}")));
            scope.spawn(move || {
                let outcome = run_lane(lane, &data, Chance::new(seed ^ (lane as u64) << 32));
                outcomes.lock().unwrap().push((lane, outcome));
            });
        }
    });
    let mut tables = Vec::new();
    for (lane, outcome) in outcomes.into_inner().unwrap() {
        let (count, table) = outcome.unwrap_or_else(|e| panic!("lane {lane:?}, seed {seed}: {e}"));
        println!(
            "lane {lane:?}: {KILLS_PER_LANE} kills at random moments, {} samples acknowledged and found, \
             {} in the table, {} of them twice",
            count.acknowledged,
            table.samples,
            table.samples - table.distinct
        );
        tables.push(table);
    }
    if table::read_by_deltalake(&tables).is_some() {
        println!("deltalake reads the same");
    }
}

fn run_lane(lane: Lane, data: &Path, mut chance: Chance) -> Result<(Count, Expected), String> {
    std::fs::create_dir_all(data).map_err(|e| e.to_string())?;
    // Short windows, so that pushes run into cuts, and late ones into windows that are gone.
    let options = options(&[
        "-ingester.window=1m",
        "-ingester.cut-after-window=0s",
        "-ingester.late-window-idle=100ms",
        "-ingester.late-window-max=300ms",
        "-ingester.check-interval=50ms",
        "-ingester.wal.sync=interval(20ms)",
    ]);
    let base = now_ms() - 3 * 3_600_000;
    let apart = if lane == Lane::Backlog { 1_234_567 } else { 7 };
    let stream = |id: u64| Stream { id, base_ms: base + id as i64 * apart, step_ms: 1_000 };
    let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(|id| Ledger::new(stream(id))).collect();
    for kill in 0..KILLS_PER_LANE {
        let mut firn = Firn::start(FIRN, data, &options).map_err(|e| format!("start {kill}: {e}"))?;
        check_all(&ledgers, &firn).map_err(|e| format!("after kill {kill}: {e}"))?;
        let delay = Duration::from_millis(20 + chance.below(800));
        let flush_every = Duration::from_millis(30 + chance.below(300));
        work_until_killed(&mut firn, &mut ledgers, delay, flush_every)?;
    }
    let firn = Firn::start(FIRN, data, &options)?;
    check_all(&ledgers, &firn).map_err(|e| format!("after the last kill: {e}"))?;
    for ledger in &mut ledgers {
        ledger.push(firn.url())?;
        if !ledger.is_settled() {
            return Err("a push is still in doubt after it was sent again".to_string());
        }
    }
    firn.flush_all()?;
    let count = check_all(&ledgers, &firn).map_err(|e| format!("after the last flush: {e}"))?;
    let (samples, distinct) = (table::samples(data)?, count.stored as u64);
    let twice = samples.checked_sub(distinct).ok_or("samples that can be queried are not in the table")?;
    let allowed = if lane == Lane::Backlog { ledgers.iter().map(Ledger::n_sent_again).sum() } else { 0 };
    if twice > allowed as u64 {
        return Err(format!("{twice} of {samples} samples in the table are there twice, {allowed} may be"));
    }
    Ok((count, Expected { data: data.to_path_buf(), samples, distinct }))
}

fn work_until_killed(
    firn: &mut Firn,
    ledgers: &mut [Ledger],
    delay: Duration,
    flush_every: Duration,
) -> Result<(), String> {
    let url = firn.url().to_string();
    let killed = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = ledgers
            .iter_mut()
            .map(|ledger| {
                scope.spawn(|| -> Result<(), String> {
                    while ledger.push(&url)? {}
                    Ok(())
                })
            })
            .collect();
        let flusher = scope.spawn(|| {
            while !killed.load(Ordering::Relaxed) && flush(&url).is_ok() {
                thread::sleep(flush_every);
            }
        });
        thread::sleep(delay);
        let alive = firn.child().is_running();
        firn.child().kill();
        killed.store(true, Ordering::Relaxed);
        let flushed = flusher.join().map_err(|_| "the flusher panicked".to_string());
        for client in clients {
            client.join().map_err(|_| "a client panicked".to_string())??;
        }
        flushed?;
        if alive { Ok(()) } else { Err(format!("it died by itself:\n{}", firn.child().output())) }
    })
}

fn check_all(ledgers: &[Ledger], firn: &Firn) -> Result<Count, String> {
    let mut sum = Count::default();
    for ledger in ledgers {
        let count = ledger.check(firn).map_err(|e| format!("stream {}: {e}", ledger.stream.id))?;
        sum.acknowledged += count.acknowledged;
        sum.stored += count.stored;
    }
    Ok(sum)
}
