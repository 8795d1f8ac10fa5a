use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cluster::{Member, MemberState, Ring};
use model::{
    Batch, ExemplarPoint, ExemplarSeries, FloatColumn, Labels, Metadata, MetricType, SeriesData, SeriesId,
    Shards,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rpc::{Config, Place, Pool, RingAdmin, RingPush, RingSelect};
use runtime::{Service, Shutdown, TraceContext};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use wire::{
    Admin, MetadataRequest, Projection, Push, PushError, Pushed, RefusalReason, Select, SelectBudget,
    SelectError, SelectRequest, SelectStats, Selected,
};

use crate::made;
use crate::near::{Near, Process, all_heads, all_labels, deps, ingester_at, select_all, tenant, until};

const SHARDS: Shards = Shards { count: 64, spread: 4 };

fn member(i: usize, address: &str) -> Member {
    Member {
        name: format!("ingester-{i}"),
        address: address.to_string(),
        zone: String::new(),
        state: MemberState::Active,
    }
}

fn ring(epoch: u64, members: Vec<Member>) -> Arc<Ring> {
    Arc::new(Ring::new(epoch, SHARDS, 1, members).unwrap())
}

/// Ingesters in processes of their own, and the ring of all of them.
struct World {
    nears: Vec<Arc<Near>>,
    processes: Vec<Process>,
    ring: watch::Sender<Arc<Ring>>,
    pool: Pool,
}

impl World {
    async fn of(n: usize) -> World {
        let nears: Vec<Arc<Near>> = (0..n).map(|_| Near::new()).collect();
        let mut processes = Vec::new();
        for near in &nears {
            processes.push(ingester_at(0, &Config::default(), deps(near), None).await);
        }
        let members = processes.iter().enumerate().map(|(i, process)| member(i, &process.address));
        let ring = watch::Sender::new(ring(1, members.collect()));
        World { nears, processes, ring, pool: Pool::new(&Config::default()) }
    }

    fn push(&self) -> RingPush {
        RingPush::new(self.ring.subscribe(), self.pool.clone())
    }

    fn select(&self) -> RingSelect {
        RingSelect::new(self.ring.subscribe(), self.pool.clone())
    }
}

fn shards_of(near: &Near) -> Vec<u32> {
    let batches = near.batches.lock();
    let mut shards: Vec<u32> =
        batches.iter().flat_map(|batch| &batch.shards).map(|part| part.shard).collect();
    shards.sort_unstable();
    shards
}

#[tokio::test]
async fn every_part_of_a_batch_arrives_at_the_owner_of_its_shard_and_nowhere_else() {
    let world = World::of(3).await;
    let mut batch = made::batch(&(0..64).collect::<Vec<u32>>(), 3);
    let (family, metric_type) = ("up".to_string(), MetricType::Gauge);
    batch.metadata.push(Metadata { family, metric_type, unit: String::new(), help: "é".to_string() });
    for (i, near) in world.nears.iter().enumerate() {
        let mut pushed =
            Pushed { n_floats: 10 * (i + 1), n_histograms: 1, n_exemplars: 2, ..Pushed::default() };
        pushed.refuse(RefusalReason::TooOld, i + 1, || "old".to_string());
        *near.pushed.lock() = pushed;
    }
    let pushed = world.push().push(&tenant(), &batch).await.unwrap();
    assert_eq!((pushed.n_floats, pushed.n_histograms, pushed.n_exemplars), (60, 3, 6));
    assert_eq!((pushed.refused.len(), pushed.n_refused()), (1, 6));
    let ring = Arc::clone(&world.ring.borrow());
    let mut described = 0;
    for (i, near) in world.nears.iter().enumerate() {
        let name = format!("ingester-{i}");
        let owned: Vec<u32> = (0..64).filter(|shard| ring.owns(&name, *shard)).collect();
        assert_eq!(shards_of(near), owned, "{name}");
        assert_eq!(near.batches.lock().len(), 1, "{name} got one request");
        described += near.batches.lock()[0].metadata.len();
    }
    assert_eq!(described, 1);
    let only_described = Batch { shards: vec![], bytes: vec![], ..batch };
    world.push().push(&tenant(), &only_described).await.unwrap();
    let all: usize = world.nears.iter().map(|near| near.batches.lock().len()).sum();
    assert_eq!(all, 4, "descriptions alone go to one ingester");
}

#[tokio::test]
async fn a_series_that_was_met_before_goes_without_labels_and_again_with_them_where_it_is_unknown() {
    let world = World::of(2).await;
    let mut batch = made::batch(&(0..64).collect::<Vec<u32>>(), 3);
    batch.shards.iter_mut().flat_map(|part| &mut part.series).for_each(|series| series.is_known = true);
    for near in &world.nears {
        *near.known.lock() = Some(HashSet::new());
    }
    let push = world.push();
    let runs = |near: &Near| -> Vec<usize> {
        let batches = std::mem::take(&mut *near.batches.lock());
        let with_labels = |batch: &Batch| {
            let series = batch.shards.iter().flat_map(|part| &part.series);
            series.filter(|series| !batch.labels(series).is_empty()).count()
        };
        batches.iter().map(with_labels).collect()
    };
    assert_eq!(push.push(&tenant(), &batch).await.unwrap().n_floats, 192, "nobody knew any");
    let n_first: Vec<Vec<usize>> = world.nears.iter().map(|near| runs(near)).collect();
    assert_eq!((n_first[0][0], n_first[1][0], n_first[0][1] + n_first[1][1]), (0, 0, 192));
    let pushed = push.push(&tenant(), &batch).await.unwrap();
    assert_eq!((pushed.n_floats, pushed.unknown), (192, vec![]));
    assert_eq!((runs(&world.nears[0]), runs(&world.nears[1])), (vec![0], vec![0]), "everybody knows all");
    // One of them forgets some, and a stranger comes along.
    let forgotten: Vec<SeriesId> = batch.shards[9].series.iter().map(|series| series.id).collect();
    for near in &world.nears {
        near.known.lock().as_mut().unwrap().retain(|id| !forgotten.contains(id));
    }
    batch.shards[20].series[1].is_known = false;
    assert_eq!(push.push(&tenant(), &batch).await.unwrap().n_floats, 192);
    let repeated = world.nears.iter().flat_map(|near| near.batches.lock().get(1).cloned()).next().unwrap();
    let [part] = &repeated.shards[..] else { panic!("{repeated:?}") };
    assert_eq!((part.shard, &part.timestamps), (9, &batch.shards[9].timestamps));
    assert_eq!(part.series.iter().map(|series| series.id).collect::<Vec<_>>(), forgotten);
    assert_eq!(repeated.labels(&part.series[2]), batch.labels(&batch.shards[9].series[2]));
    let n_with_labels: usize = world.nears.iter().map(|near| runs(near)[0]).sum();
    assert_eq!(n_with_labels, 1, "the stranger came with its labels at once");
}

#[tokio::test]
async fn the_trace_that_a_request_names_goes_with_the_calls_that_it_causes() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let world = World::of(1).await;
    let (push, batch) = (Arc::new(world.push()), Arc::new(made::batch(&[1], 1)));
    let handler = move || {
        let (push, batch) = (Arc::clone(&push), Arc::clone(&batch));
        async move { push.push(&tenant(), &batch).await.unwrap().n_samples().to_string() }
    };
    let bound = server::Bound::bind_to("127.0.0.1:0").await.unwrap();
    let address = bound.address();
    let (_stop, shutdown) = Shutdown::new();
    runtime::spawn(bound.serve(Router::new().route("/", get(handler))).run(shutdown));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntraceparent: {PARENT}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(&format!("traceresponse: {PARENT}\r\n")), "{answer}");
    let call = world.nears[0].calls.lock().pop().unwrap();
    assert_eq!(call.trace.as_ref().map(TraceContext::traceparent), Some(PARENT), "{call:?}");
}

#[tokio::test]
async fn an_owner_that_cannot_be_reached_fails_the_push_by_name_and_the_others_have_their_parts() {
    let mut world = World::of(3).await;
    world.processes.remove(1).kill();
    let batch = made::batch(&(0..64).collect::<Vec<u32>>(), 1);
    match world.push().push(&tenant(), &batch).await.unwrap_err() {
        PushError::Unavailable { message, retry_after_secs: 1.. } => {
            assert!(message.contains("ingester ingester-1 at 127.0.0.1:"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!shards_of(&world.nears[0]).is_empty() && !shards_of(&world.nears[2]).is_empty());
    let problems: Vec<bool> = world.pool.states().iter().map(|state| state.problem.is_some()).collect();
    assert_eq!(problems, [false, true, false]);
    let mut registry = Registry::default();
    world.pool.register(&mut registry);
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    // Twice: a lost connection is tried once more.
    assert!(
        metrics.contains("rpc_calls_total{member=\"ingester-1\",outcome=\"unreachable\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("rpc_calls_total{member=\"ingester-0\",outcome=\"answered\"} 1"), "{metrics}");
}

#[tokio::test]
async fn of_two_failures_the_sender_hears_the_one_after_which_it_comes_again() {
    let world = World::of(2).await;
    *world.nears[0].push_error.lock() = Some(PushError::Invalid("nonsense".to_string()));
    let again = PushError::Unavailable { message: "disk full".to_string(), retry_after_secs: 9 };
    *world.nears[1].push_error.lock() = Some(again);
    let batch = made::batch(&(0..64).collect::<Vec<u32>>(), 1);
    let error = world.push().push(&tenant(), &batch).await.unwrap_err();
    assert!(matches!(&error, PushError::Unavailable { retry_after_secs: 9, .. }), "{error:?}");
}

#[tokio::test]
async fn a_shard_that_moved_is_followed_to_its_new_owner() {
    let (old, new) = (Near::new(), Near::new());
    let new_process = ingester_at(0, &Config::default(), deps(&new), None).await;
    let (here, place) = watch::channel(ring(2, vec![member(1, &new_process.address)]));
    let place = Place { ring: place, instance: "ingester-0".to_string() };
    let old_process = ingester_at(0, &Config::default(), deps(&old), Some(place)).await;
    let world = watch::Sender::new(ring(1, vec![member(0, &old_process.address)]));
    let push = RingPush::new(world.subscribe(), Pool::new(&Config::default()));
    let batch = made::batch(&[7], 1);
    let told = async {
        runtime::sleep(Duration::from_millis(100)).await;
        world.send_replace(Arc::clone(&here.borrow()));
    };
    let tenant = tenant();
    let (pushed, ()) = tokio::join!(push.push(&tenant, &batch), told);
    pushed.unwrap();
    assert_eq!((shards_of(&old).len(), shards_of(&new)), (0, vec![7]));
    // By the same epoch, or a newer one, the sender knows best.
    here.send_replace(ring(2, vec![member(0, &old_process.address)]));
    world.send_replace(ring(3, vec![member(0, &old_process.address)]));
    push.push(&tenant, &batch).await.unwrap();
    assert_eq!(shards_of(&old), [7]);
}

fn series(name: &str, samples: &[(i64, f64)]) -> SeriesData {
    let mut series = SeriesData::new(Labels::from_pairs([("__name__", name)]));
    let (timeline, values) = samples.iter().copied().unzip();
    series.floats.push(FloatColumn::new(timeline, values));
    series
}

#[tokio::test]
async fn a_select_asks_everyone_and_joins_what_they_say() {
    let world = World::of(3).await;
    let stats = SelectStats { n_samples: 5, n_requests: 1, n_bytes: 2 };
    let answers = [
        (vec![series("a", &[(1, 1.0)]), series("c", &[(1, 3.0)])], Some(7)),
        (vec![], None),
        (vec![series("a", &[(2, 2.0)]), series("b", &[(1, 9.0)])], Some(9)),
    ];
    for (near, (series, table_version)) in world.nears.iter().zip(answers) {
        *near.selected.lock() = Selected { series, table_version, stats };
    }
    let budget = SelectBudget::unlimited();
    let selected = world.select().select(&tenant(), &select_all(&budget)).await.unwrap();
    assert_eq!((selected.table_version, selected.stats.n_samples), (Some(9), 15));
    let names: Vec<_> = selected.series.iter().filter_map(|one| one.labels.metric_name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let merged = selected.series[0].clone().merged();
    assert_eq!(merged.floats[0].samples().collect::<Vec<_>>(), [(1, 1.0), (2, 2.0)]);
    assert_eq!((budget.series.used(), budget.samples.used()), (4, 4));
}

#[tokio::test]
async fn series_without_their_labels_are_joined_by_what_they_are() {
    let world = World::of(3).await;
    let projected = |name: &str, samples: &[(i64, f64)]| {
        let mut one = series(name, samples);
        one.id = Some(one.labels.id());
        one.labels = Labels::empty();
        one
    };
    // Each has all of it but for what it missed; one knows of no projection.
    let answers = [
        vec![projected("b", &[(1, 1.0), (2, 2.0)]), projected("a", &[(1, 5.0)])],
        vec![projected("a", &[(1, 5.0), (2, 6.0)])],
        vec![series("a", &[(1, 5.0)]), series("b", &[(2, 2.0), (3, 3.0)])],
    ];
    for (near, series) in world.nears.iter().zip(answers) {
        near.selected.lock().series = series;
    }
    let names = Projection::Only(Arc::from(["job".to_string()]));
    let request = SelectRequest { projection: names, ..select_all(&SelectBudget::unlimited()) };
    let selected = world.select().select(&tenant(), &request).await.unwrap();
    let of = |name: &str| {
        let id = Labels::from_pairs([("__name__", name)]).id();
        let found: Vec<_> = selected.series.iter().filter(|one| one.identity() == id).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].clone().merged().floats[0].samples().collect::<Vec<_>>()
    };
    assert_eq!(selected.series.len(), 2);
    assert_eq!(of("a"), [(1, 5.0), (2, 6.0)]);
    assert_eq!(of("b"), [(1, 1.0), (2, 2.0), (3, 3.0)]);
}

#[tokio::test]
async fn lists_of_several_ingesters_are_one_list() {
    let world = World::of(2).await;
    let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
    let exemplar = |timestamp| ExemplarPoint { timestamp, value: 1.0, labels: labels("trace") };
    let of = |name: &str, times: &[i64]| ExemplarSeries {
        labels: labels(name),
        exemplars: times.iter().map(|timestamp| exemplar(*timestamp)).collect(),
    };
    let family = |help: &str| Metadata {
        family: "up".to_string(),
        metric_type: MetricType::Gauge,
        unit: String::new(),
        help: help.to_string(),
    };
    for (near, version) in world.nears.iter().zip([Some(3), Some(4)]) {
        *near.table_version.lock() = version;
    }
    *world.nears[0].strings.lock() = vec!["a".to_string(), "c".to_string()];
    *world.nears[1].strings.lock() = vec!["b".to_string(), "c".to_string()];
    *world.nears[0].labels.lock() = vec![labels("a"), labels("c")];
    *world.nears[1].labels.lock() = vec![labels("a"), labels("b")];
    *world.nears[0].exemplars.lock() = vec![of("a", &[2, 3])];
    *world.nears[1].exemplars.lock() = vec![of("a", &[1, 2]), of("b", &[1])];
    *world.nears[0].metadata.lock() = vec![family("x"), family("y")];
    *world.nears[1].metadata.lock() = vec![family("y"), family("z")];
    let (select, tenant, all) = (world.select(), tenant(), all_labels());
    let names = select.label_names(&tenant, &all).await.unwrap();
    assert_eq!((names.items.join(""), names.table_version), ("abc".to_string(), Some(4)));
    assert_eq!(select.label_values(&tenant, "x", &all).await.unwrap().items.len(), 3);
    assert_eq!(select.series(&tenant, &all).await.unwrap().items, ["a", "b", "c"].map(labels));
    let exemplars = select.exemplars(&tenant, &all).await.unwrap().items;
    assert_eq!(exemplars, [of("a", &[1, 2, 3]), of("b", &[1])]);
    let request =
        MetadataRequest { family: None, budget: SelectBudget::unlimited(), min_table_version: None };
    let helps: Vec<String> =
        select.metadata(&tenant, &request).await.unwrap().items.into_iter().map(|one| one.help).collect();
    assert_eq!(helps, ["x", "y", "z"]);
    for (near, n_series) in world.nears.iter().zip([2, 3]) {
        near.head_stats.lock().totals.n_series = n_series;
    }
    assert_eq!(select.head_stats(&tenant, &all_heads()).await.unwrap().totals.n_series, 5);
}

#[tokio::test]
async fn a_select_without_one_of_the_ingesters_fails_by_its_name() {
    let mut world = World::of(2).await;
    world.processes.remove(0).kill();
    let error = world.select().select(&tenant(), &select_all(&SelectBudget::unlimited())).await.unwrap_err();
    let is_named = |message: &str| message.contains("ingester ingester-0 at ");
    assert!(matches!(&error, SelectError::Unavailable(message) if is_named(message)), "{error:?}");
    let error = world.select().label_names(&tenant(), &all_labels()).await.unwrap_err();
    assert!(matches!(&error, SelectError::Unavailable(message) if is_named(message)), "{error:?}");
}

#[tokio::test]
async fn those_on_their_way_out_are_asked_and_those_who_left_are_forgotten() {
    let world = World::of(3).await;
    let mut members = world.ring.borrow().members().to_vec();
    members[0].state = MemberState::Leaving;
    members[1].state = MemberState::Joining;
    world.ring.send_replace(ring(2, members.clone()));
    let batch = made::batch(&(0..64).collect::<Vec<u32>>(), 1);
    world.push().push(&tenant(), &batch).await.unwrap();
    world.select().label_names(&tenant(), &all_labels()).await.unwrap();
    let asked: Vec<BTreeSet<String>> = world
        .nears
        .iter()
        .map(|near| near.whats().iter().map(|what| what.split(' ').next().unwrap().to_string()).collect())
        .collect();
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    assert_eq!(asked, [set(&["label_names"]), set(&[]), set(&["label_names", "push"])]);
    members.remove(0);
    world.ring.send_replace(ring(3, members));
    world.select().label_names(&tenant(), &all_labels()).await.unwrap();
    let known: Vec<String> = world.pool.states().into_iter().map(|state| state.member).collect();
    assert_eq!(known, ["ingester-2"]);
}

#[tokio::test]
async fn everyone_flushes_and_learns() {
    let world = World::of(2).await;
    let admin = RingAdmin::new(world.ring.subscribe(), world.pool.clone());
    admin.flush(None).await.unwrap();
    admin.observe(&tenant(), 12).await.unwrap();
    for near in &world.nears {
        assert_eq!(near.whats(), ["flush None", "observe team-1 12"]);
    }
    *world.nears[1].admin_error.lock() = Some(wire::AdminError::Unavailable("the store is away".to_string()));
    let error = admin.flush(Some(&tenant())).await.unwrap_err();
    assert!(matches!(&error, wire::AdminError::Unavailable(why) if why == "the store is away"), "{error:?}");
    until("the other one flushed all the same", || world.nears[0].whats().len() == 3).await;
}
