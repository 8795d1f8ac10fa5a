//! A Firn of several processes over a real bucket loses nothing, whichever of them dies, and whenever.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use system_tests::{
    Chance, Cluster, ClusterOptions, ObjectStore, Storage, StoreKind, TimeSeries, WriteRequest, flush,
    now_ms, post_form, push, seconds, wait_until,
};

use super::ledger::{Count, Ledger, Stream};
use super::points::{by_phase, names};
use super::table::{self, Expected};
use super::{FIRN, options};
use crate::objects::download;

const CLIENTS: u64 = 2;
/// Between two pushes of a client: what is pushed is to be queried, too.
const PAUSE: Duration = Duration::from_millis(10);
const SIGKILL: i32 = 9;
/// How long a process may take to reach the point at which it is to die: by itself, and where its turn has to come.
const REACHED_WITHIN: Duration = Duration::from_millis(1500);
const TURN_WITHIN: Duration = Duration::from_secs(8);

/// A compactor that always has something to do.
const BUSY_COMPACTOR: [&str; 9] = [
    "-compactor.interval=20ms",
    "-compactor.open-day-files=2",
    "-compactor.day-grace=0",
    "-compactor.settle=0",
    "-compactor.deletion-delay=0",
    "-compactor.cleanup-interval=50ms",
    // What lost a race against the flushes is tried again while the test lasts.
    "-compactor.retry-min=10ms",
    "-compactor.retry-max=100ms",
    "-limits.defaults.compactor-blocks-retention-period=3d",
];

/// A cluster over a prefix of a store's bucket, and the clients that push to it.
struct World {
    cluster: Cluster,
    store: ObjectStore,
    ledgers: Vec<Ledger>,
    /// Of clients that are done.
    settled: Vec<Ledger>,
    dir: PathBuf,
    /// Whether the compactor has work.
    compacts: bool,
}

#[test]
fn nothing_acknowledged_is_lost_whichever_process_dies() {
    kill_in_turn(StoreKind::Minio, 2);
}

#[test]
fn nothing_acknowledged_is_lost_over_another_store() {
    kill_in_turn(StoreKind::SeaweedFs, 1);
}

/// Kills each process so many times, at random moments.
fn kill_in_turn(kind: StoreKind, rounds: usize) {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    let Some(mut world) = World::start(kind, dir.path(), 2, &[]) else { return };
    let mut chance = Chance::new(seed);
    for round in 0..rounds {
        for name in world.cluster.names() {
            let delay = Duration::from_millis(20 + chance.below(400));
            world.work(|cluster| {
                thread::sleep(delay);
                cluster.kill(&name)?;
                // The others go on, and notice.
                thread::sleep(Duration::from_millis(150));
                cluster.restart(&name)
            });
            world.check(&format!("{name} was killed in round {round}, seed {seed}"));
        }
    }
    let n_processes = world.cluster.names().len();
    let found = world.finish();
    println!("{kind:?}: each of {n_processes} processes killed {rounds} times, seed {seed}: {found}");
}

#[test]
fn an_ingester_apart_loses_nothing_at_any_named_fault_point() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut world) = World::start(StoreKind::Minio, dir.path(), 1, &[]) else { return };
    // Those of the folder are not on the way to a bucket, and the compactor's are another process's.
    let mut names = names();
    names.retain(|name| !is_of_folders(name) && !name.starts_with("compactor."));
    let mut unreached = Vec::new();
    for name in &names {
        let died = world.die_at("ingester-0", name, REACHED_WITHIN);
        world.check(name);
        world.change_clients();
        if !died {
            unreached.push(name.clone());
        }
    }
    // Those that want a sync mode or a rhythm of their own are the one-process suite's.
    let n_reached = names.len() - unreached.len();
    assert!(
        n_reached * 4 >= names.len() * 3,
        "only {n_reached} of {} were reached, not {unreached:?}",
        names.len()
    );
    for phase in by_phase(&names).keys() {
        let prefix = format!("{phase}.");
        let reached =
            names.iter().filter(|name| name.starts_with(&prefix) && !unreached.contains(name)).count();
        assert!(reached > 0, "no fault point of phase {phase} was reached");
    }
    let found = world.finish();
    println!(
        "an ingester apart died at {n_reached} of {} fault points (not {unreached:?}): {found}",
        names.len()
    );
}

#[test]
fn a_compactor_apart_loses_nothing_at_any_named_fault_point() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut world) = World::start(StoreKind::Minio, dir.path(), 1, &BUSY_COMPACTOR) else { return };
    let mut names = names();
    names.retain(|name| name.starts_with("compactor."));
    let mut unreached = Vec::new();
    for name in &names {
        let died = world.die_at("compactor", name, TURN_WITHIN);
        world.check(name);
        world.change_clients();
        if !died {
            unreached.push(name.clone());
        }
    }
    // When it is the compactor's turn is not the client's to say: most of its points are met in a run, not all in each.
    assert!(unreached.len() * 2 < names.len(), "of {names:?} not {unreached:?}");
    let found = world.finish();
    let n_reached = names.len() - unreached.len();
    println!(
        "a compactor apart died at {n_reached} of {} fault points (not {unreached:?}): {found}",
        names.len()
    );
}

/// Something for the compactor to do: a sample that is too old to be kept, and a deletion that every file has to be
/// asked about and that takes nothing. What is answered does not matter: who is asked may be gone.
fn give_work(pushes: &str, compactor: &str) {
    let mut request = WriteRequest::default();
    request.push(&TimeSeries::new([("__name__", "too_old")]).bits(now_ms() - 5 * 86_400_000, 0));
    let _answer = push(pushes, None, &request);
    let deletion = format!("{compactor}/api/v1/admin/tsdb/delete_series");
    let _answer = post_form(&deletion, &[("match[]", "{stream=\"no such stream\"}")]);
}

/// Where a file becomes visible in a folder (`bucket`'s store of folders).
fn is_of_folders(name: &str) -> bool {
    ["staged", "synced", "visible"].iter().any(|point| name.ends_with(&format!(".{point}")))
}

fn seed() -> u64 {
    let given = std::env::var("FIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or(now_ms() as u64)
}

impl World {
    /// `None` where the store is not installed.
    fn start(kind: StoreKind, dir: &Path, ingesters: usize, own_flags: &[&str]) -> Option<World> {
        let store = ObjectStore::start(kind, dir).unwrap()?;
        let flags = options(&["-ingester.wal.sync=interval(20ms)", "-ingester.check-interval=50ms"]).flags;
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(own_flags.iter().copied()).collect();
        let options = ClusterOptions::over(Storage::bucket(&store, "kill"));
        let options = options.with_ingesters(ingesters).with_flags(&flags);
        let cluster = Cluster::start(FIRN, &dir.join("cluster"), &options).unwrap();
        let mut world = World {
            cluster,
            store,
            ledgers: Vec::new(),
            settled: Vec::new(),
            dir: dir.to_path_buf(),
            compacts: !own_flags.is_empty(),
        };
        world.change_clients();
        Some(world)
    }

    /// Lets other clients go on, whose streams are short yet: what is asked after each death stays small.
    fn change_clients(&mut self) {
        self.settle();
        let first = self.settled.len() as u64;
        let base = now_ms() - 1_800_000;
        let stream = |id: u64| Stream { id, base_ms: base + id as i64 * 7, step_ms: 250 };
        self.ledgers = (first..first + CLIENTS).map(|id| Ledger::new(stream(id))).collect();
    }

    /// Sends what is in doubt; the clients are done.
    fn settle(&mut self) {
        for mut ledger in std::mem::take(&mut self.ledgers) {
            if !ledger.is_settled() {
                ledger.push(&self.cluster.push).unwrap();
            }
            assert!(ledger.is_settled(), "a push is still in doubt after it was sent again");
            self.settled.push(ledger);
        }
    }

    /// Does `what` while clients push, and an operator flushes.
    fn work(&mut self, what: impl FnOnce(&mut Cluster) -> Result<(), String>) {
        let done = AtomicBool::new(false);
        let (push, ingesters) = (self.cluster.push.clone(), self.cluster.ingesters.clone());
        let compactor = self.cluster.url("compactor").unwrap();
        let World { cluster, ledgers, compacts, .. } = self;
        thread::scope(|scope| {
            for ledger in ledgers.iter_mut() {
                let (done, push) = (&done, &push);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        ledger.push(push).unwrap();
                        thread::sleep(PAUSE);
                    }
                });
            }
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // What a flush answers while processes die does not matter.
                    let _answers: Vec<_> = ingesters.iter().map(|url| flush(url)).collect();
                    if *compacts {
                        give_work(&push, &compactor);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let outcome = what(cluster);
            done.store(true, Ordering::Relaxed);
            outcome.unwrap();
        });
    }

    /// Lets a process run with a fault until it dies of it, and starts it again. Whether it did.
    fn die_at(&mut self, name: &str, fault: &str, within: Duration) -> bool {
        let mut died = false;
        self.work(|cluster| {
            cluster.kill(name)?;
            died = !cluster.start_or_die(name, &[("FIRN_FAULT", fault)])?
                || wait_until(within, || {
                    cluster.child(name).is_ok_and(|child| !child.is_running()).then_some(())
                })
                .is_some();
            if died {
                assert_eq!(cluster.child(name)?.killed_by(), Some(SIGKILL), "{fault}");
            } else {
                cluster.kill(name)?;
            }
            cluster.restart(name)
        });
        died
    }

    /// All that was acknowledged is there once.
    fn check(&self, when: &str) -> Count {
        let mut sum = Count::default();
        for ledger in &self.ledgers {
            let count = ledger.check(&self.cluster).unwrap_or_else(|e| panic!("{when}: {e}"));
            sum.acknowledged += count.acknowledged;
            sum.stored += count.stored;
        }
        sum
    }

    /// Waits until retention took what was too old, and then keeps the compactor from taking files away from readers.
    fn let_go_of_what_is_too_old(&mut self) {
        let long_ago = seconds(now_ms() - 5 * 86_400_000 + 60_000);
        let gone = || (self.cluster.number("count_over_time(too_old[1d])", &long_ago).is_err()).then_some(());
        wait_until(Duration::from_secs(30), gone).unwrap();
        self.cluster.kill("compactor").unwrap();
    }

    /// Sends what is in doubt, flushes, and counts what then lies in the table.
    fn finish(&mut self) -> String {
        self.settle();
        self.cluster.flush_all().unwrap();
        self.ledgers = std::mem::take(&mut self.settled);
        let count = self.check("after the last flush");
        if self.compacts {
            self.let_go_of_what_is_too_old();
        }
        let folder = self.dir.join("downloaded");
        let n_objects = download(&self.store, "kill", &folder.join("tables")).unwrap();
        let expected =
            Expected { data: folder.clone(), samples: count.stored as u64, distinct: count.stored as u64 };
        assert_eq!(table::samples(&folder).unwrap(), expected.samples, "samples in the table");
        let read = table::read_by_deltalake(&[expected]).map_or("", |()| ", and deltalake reads them");
        format!(
            "{} samples acknowledged, each in the table once{read} ({n_objects} objects)",
            count.acknowledged
        )
    }
}
