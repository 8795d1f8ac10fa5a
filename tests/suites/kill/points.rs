//! SIGKILL at every named fault point of the source, each with a client pushing and flushing beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use system_tests::{Firn, FirnOptions, Started, TimeSeries, WriteRequest, flush, now_ms, post_form, push};

use super::ledger::{Count, Ledger, Stream};
use super::table::Expected;
use super::{FIRN, options, table};

const PHASES: [&str; 8] = ["push", "append", "cut", "upload", "commit", "drop", "replay", "compactor"];
const POINTS_PER_PHASE: usize = 5;
/// Firns that run at the same time.
const WORKERS: usize = 4;
/// Flushes and pushes after which a point that was not reached never will be: several segments of the log.
const FLUSHES: usize = 12;
const PUSHES: usize = 200;
/// The same for what goes on beside them: a merge comes when its turn has come, not when somebody asks.
const COMPACTOR_FLUSHES: usize = 80;
const SIGKILL: i32 = 9;

/// A scenario that ended well.
struct Outcome {
    data: PathBuf,
    count: Count,
    in_table: u64,
}

#[test]
fn nothing_acknowledged_is_lost_at_any_named_fault_point() {
    let names = names();
    let by_phase = by_phase(&names);
    for phase in PHASES {
        let n = by_phase.get(phase).map_or(0, |names| names.len());
        assert!(n >= POINTS_PER_PHASE, "phase {phase} has {n} fault points, must have {POINTS_PER_PHASE}");
    }
    let dir = tempfile::tempdir().unwrap();
    let queue = Mutex::new(names.iter().rev().collect::<Vec<_>>());
    let outcomes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(name) = next(&queue) {
                    let outcome = scenario(dir.path(), name);
                    outcomes.lock().unwrap().insert(name.clone(), outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    report(&by_phase, &outcomes);
    let failures: Vec<String> =
        outcomes.iter().filter_map(|(name, o)| Some(format!("{name}: {}", o.as_ref().err()?))).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
    let outcomes = outcomes.into_values().flatten();
    let tables: Vec<Expected> = outcomes
        .map(|Outcome { data, in_table, .. }| Expected { data, samples: in_table, distinct: in_table })
        .collect();
    if table::read_by_deltalake(&tables).is_some() {
        println!("deltalake reads {} tables: as many samples as were stored, none twice", tables.len());
    }
}

fn next<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().unwrap().pop()
}

fn report(by_phase: &BTreeMap<String, Vec<String>>, outcomes: &BTreeMap<String, Result<Outcome, String>>) {
    for phase in PHASES {
        let names = &by_phase[phase];
        let held = names.iter().filter_map(|name| outcomes[name].as_ref().ok());
        let (n, acknowledged) = held.fold((0, 0), |(n, sum), o| (n + 1, sum + o.count.acknowledged));
        println!(
            "{phase}: {n} of {} fault points held, {acknowledged} samples acknowledged and found: {}",
            names.len(),
            names.join(" ")
        );
    }
}

/// Every fault point that is spelled in the sources: a new one is tested without being told to.
pub(super) fn names() -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                names.extend(text.split('"').filter(|word| is_name(word)).map(str::to_string));
            }
        }
    }
    names.into_iter().collect()
}

fn is_name(word: &str) -> bool {
    let Some((phase, point)) = word.split_once('.') else { return false };
    PHASES.contains(&phase) && !point.is_empty() && point.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

pub(super) fn by_phase(names: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut phases = BTreeMap::<String, Vec<String>>::new();
    for name in names {
        let phase = name.split('.').next().unwrap_or_default().to_string();
        phases.entry(phase).or_default().push(name.clone());
    }
    phases
}

fn flags(name: &str) -> Vec<&'static str> {
    match name {
        // Only where an acknowledgement waits for the disk are these on the path.
        "push.before_sync" | "push.after_sync" => vec!["-ingester.wal.sync=always"],
        // Cut by themselves, not by /flush.
        "cut.due" => vec![
            "-ingester.check-interval=50ms",
            "-ingester.late-window-idle=10ms",
            "-ingester.late-window-max=50ms",
            "-ingester.wal.sync=interval(10ms)",
        ],
        // Files are merged, deleted from and removed beside the pushes.
        _ if name.starts_with("compactor.") => vec![
            "-ingester.wal.sync=interval(10ms)",
            "-compactor.interval=20ms",
            "-compactor.open-day-files=2",
            "-compactor.day-grace=0",
            "-compactor.settle=0",
            "-compactor.deletion-delay=0",
            "-compactor.cleanup-interval=50ms",
            "-limits.defaults.compactor-blocks-retention-period=3d",
        ],
        _ => vec!["-ingester.wal.sync=interval(10ms)"],
    }
}

/// Something for the compactor to do: a sample that is too old to be kept, and a deletion that every file has to be
/// asked about and that takes nothing.
fn give_work(url: &str) {
    let too_old = now_ms() - 5 * 86_400_000;
    let mut request = WriteRequest::default();
    request.push(&TimeSeries::new([("__name__", "too_old")]).bits(too_old, 0));
    // What is answered does not matter: the process may be gone.
    let _answer = push(url, None, &request);
    let deletion = format!("{url}/api/v1/admin/tsdb/delete_series");
    let _answer = post_form(&deletion, &[("match[]", "{stream=\"no such stream\"}")]);
}

/// The how-manieth passing to die at: what is tried first, and next when it is not reached.
fn times(name: &str) -> &'static [u32] {
    match name {
        "replay.opened" | "replay.definitions" | "replay.finished" => &[1],
        // Filling a segment takes a while.
        "append.before_rotate" | "append.after_rotate" => &[2, 1],
        _ if name.starts_with("compactor.") => &[1],
        _ => &[5, 2, 1],
    }
}

fn scenario(dir: &Path, name: &str) -> Result<Outcome, String> {
    // In the middle of things where the point is passed often, at its only time where it is not.
    let mut unreached = String::new();
    for nth in times(name) {
        let data = dir.join(format!("{name}-{nth}"));
        fs::create_dir_all(&data).map_err(|e| e.to_string())?;
        // So many pushes come beside what the compactor does that with longer steps they would overtake the clock.
        let step_ms = if name.starts_with("compactor.") { 50 } else { 250 };
        let stream = Stream { id: 0, base_ms: now_ms() - 1_800_000, step_ms };
        let mut ledger = Ledger::new(stream);
        if let Err(e) = prepare(name, &data, &mut ledger) {
            return Err(format!("before the fault: {e}"));
        }
        match die_at(name, *nth, &data, &mut ledger)? {
            Death::Fault => {
                let (count, in_table) = afterwards(name, &data, &mut ledger)?;
                return Ok(Outcome { data, count, in_table });
            }
            Death::Unreached(story) => unreached = story,
        }
    }
    Err(format!("never reached: {unreached}"))
}

/// For replay: a log that holds flushed and unflushed samples, and a cut that was begun and not finished.
fn prepare(name: &str, data: &Path, ledger: &mut Ledger) -> Result<(), String> {
    if !name.starts_with("replay.") {
        return Ok(());
    }
    let mut firn = Firn::start(FIRN, data, &options(&[]))?;
    for _ in 0..3 {
        push_some(ledger, firn.url(), 40)?;
        firn.flush_all()?;
    }
    push_some(ledger, firn.url(), 40)?;
    firn.child().kill();
    let mut firn = Firn::start(FIRN, data, &options(&[]).with_env("FIRN_FAULT", "commit.before"))?;
    push_some(ledger, firn.url(), 10)?;
    if firn.flush().is_ok() {
        return Err("a flush came through that should have died before its commit".to_string());
    }
    firn.child().kill();
    Ok(())
}

fn push_some(ledger: &mut Ledger, url: &str, n: usize) -> Result<(), String> {
    for _ in 0..n {
        if !ledger.push(url)? {
            return Err("died while nothing should have happened".to_string());
        }
    }
    Ok(())
}

enum Death {
    Fault,
    Unreached(String),
}

/// Starts with the fault and works until the process is gone.
fn die_at(name: &str, nth: u32, data: &Path, ledger: &mut Ledger) -> Result<Death, String> {
    let options: FirnOptions = options(&flags(name)).with_env("FIRN_FAULT", &format!("{name}:{nth}"));
    let mut firn = match Firn::start_or_die(FIRN, data, &options)? {
        Started::Died { signal: Some(SIGKILL), .. } => return Ok(Death::Fault),
        Started::Died { signal, output } => return Err(format!("died of {signal:?}:\n{output}")),
        Started::Ready(firn) => firn,
    };
    let url = firn.url().to_string();
    let done = AtomicBool::new(false);
    let n_pushed = AtomicUsize::new(0);
    let enough = thread::scope(|scope| {
        let pusher = scope.spawn(|| -> Result<(), String> {
            while !done.load(Ordering::Relaxed) {
                if !ledger.push(&url)? {
                    break;
                }
                n_pushed.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let (mut n_flushed, mut enough) = (0, false);
        // What a flush answers does not matter here; that it is not answered does.
        while flush(&url).is_ok() && !pusher.is_finished() {
            n_flushed += 1;
            if name.starts_with("compactor.") {
                give_work(&url);
            }
            let flushes = if name.starts_with("compactor.") { COMPACTOR_FLUSHES } else { FLUSHES };
            enough = n_flushed >= flushes && n_pushed.load(Ordering::Relaxed) >= PUSHES;
            if enough {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
        pusher.join().map_err(|_| "the client panicked".to_string())??;
        Ok::<bool, String>(enough)
    });
    // Where nobody answered any more it is dying, and may not have got round to it.
    if enough? && firn.child().is_running() {
        firn.child().kill();
        let n = n_pushed.into_inner();
        return Ok(Death::Unreached(format!("{n} pushes and at least {FLUSHES} flushes")));
    }
    match firn.child().killed_by() {
        Some(SIGKILL) => Ok(Death::Fault),
        signal => Err(format!("died of {signal:?} at {name}:\n{}", firn.child().output())),
    }
}

/// Starts again without the fault: all there; sends what was in doubt; all there once; flushed, restarted: the same.
fn afterwards(name: &str, data: &Path, ledger: &mut Ledger) -> Result<(Count, u64), String> {
    let firn = Firn::start(FIRN, data, &options(&flags(name)))?;
    ledger.check(&firn).map_err(|e| format!("after the restart: {e}"))?;
    push_some(ledger, firn.url(), 10)?;
    if !ledger.is_settled() {
        return Err("a push is still in doubt after it was sent again".to_string());
    }
    ledger.check(&firn).map_err(|e| format!("after sending again: {e}"))?;
    firn.flush_all()?;
    let flushed = ledger.check(&firn).map_err(|e| format!("after the flush: {e}"))?;
    drop(firn);
    let firn = Firn::start(FIRN, data, &options(&flags(name)))?;
    let count = ledger.check(&firn).map_err(|e| format!("after the second restart: {e}"))?;
    let in_table = table::samples(data)?;
    if in_table != count.stored as u64 || flushed.stored != count.stored {
        return Err(format!("{} samples can be queried, the table has {in_table}", count.stored));
    }
    Ok((count, in_table))
}
