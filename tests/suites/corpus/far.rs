//! The store in processes of their own, over a real bucket: this test is their distributor and their query-frontend,
//! so that what comes back is compared as it is, histograms and all, and not as JSON shows it.

use std::sync::Arc;

use limits::LimitsHandle;
use rpc::pull::QueueDeps;
use rpc::{Pool, RingAdmin, RingPush};
use runtime::{Clock, MemoryPart, Service as _, Shutdown};
use server::Bound;
use system_tests::{Cluster, ClusterOptions, ObjectStore, Storage, StoreKind};

use super::{FILES, Neighbours, Placement, Score, Store, check, is_as_published};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

#[test]
fn all_scripts_pass_in_processes_over_minio() {
    // Where samples are matters little to most scripts, and each flush takes its time: every second is split.
    let split = |file: &str| FILES.iter().position(|other| *other == file).is_some_and(|i| i % 2 == 0);
    let placement = |file: &str| if split(file) { Placement::SplitByTime } else { Placement::Head };
    let Some(score) = check_far(StoreKind::Minio, &FILES, placement) else { return };
    is_as_published("in processes apart over a bucket", score);
}

#[test]
fn scripts_pass_in_processes_over_seaweedfs() {
    check_far(StoreKind::SeaweedFs, &["selectors", "staleness", "collision"], |_| Placement::Alternate);
}

/// `None` where the store is not installed, or where there are no scripts.
fn check_far(kind: StoreKind, files: &[&str], placement: impl Fn(&str) -> Placement) -> Option<Score> {
    let dir = tempfile::tempdir().unwrap();
    let store = ObjectStore::start(kind, dir.path()).unwrap()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bound = runtime.block_on(Bound::bind_to("127.0.0.1:0")).unwrap();
    // Scripts reach further into the future than tenants may.
    let options = ClusterOptions::over(Storage::bucket(&store, "corpus"))
        .with_ingesters(2)
        .with_frontend(&bound.address().to_string())
        .with_flags(&["-limits.defaults.creation-grace-period=0s"]);
    let cluster = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let config = config::cluster::Config { members: cluster.members(), ..Default::default() };
    let ring = cluster::fixed(&config).unwrap();
    let pool = Pool::new(&Default::default());
    let deps = QueueDeps {
        limits: LimitsHandle::default(),
        memory: MemoryPart::unlimited("queries"),
        clock: Clock::system(),
    };
    let (queue, routes) = rpc::pull::queue(&Default::default(), &Default::default(), deps);
    let (_stop, shutdown) = Shutdown::new();
    let _serving = runtime.spawn(bound.serve(routes).run(shutdown));
    let neighbours = Neighbours {
        push: Arc::new(RingPush::new(ring.clone(), pool.clone())),
        admin: Arc::new(RingAdmin::new(ring.clone(), pool)),
        query: queue,
        shards: ring.borrow().shards(),
        runtime: Arc::new(runtime),
    };
    check(files, |file| Store::new(neighbours.clone(), placement(file), file))
}
