//! The store in processes of their own, over a real bucket: this test is their distributor and their query-frontend,
//! so that what comes back is compared as it is, histograms and all, and not as JSON shows it.

use std::sync::Arc;

use limits::LimitsHandle;
use rpc::pull::QueueDeps;
use rpc::{Pool, RingAdmin, RingPush};
use runtime::{Clock, MemoryPart, Service as _, Shutdown};
use server::Bound;
use system_tests::{Cluster, ClusterOptions, ObjectStore, Storage, StoreKind};

use super::{Neighbours, Placement, Store, check};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

#[test]
fn all_scripts_pass_in_processes_over_the_head() {
    check_far(Placement::Head, StoreKind::Minio);
}

#[test]
fn all_scripts_pass_in_processes_split_by_time() {
    check_far(Placement::SplitByTime, StoreKind::Minio);
}

fn check_far(placement: Placement, kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = ObjectStore::start(kind, dir.path()).unwrap() else { return };
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
    check(placement, |file| Store::new(neighbours.clone(), placement, file));
}
