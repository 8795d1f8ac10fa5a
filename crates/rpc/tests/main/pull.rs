use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use config::query_frontend;
use limits::{Limits, LimitsHandle};
use model::{Labels, MatrixSeries, SampleValue, TenantIds, Value, VectorSample};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, TestRunner};
use rpc::Config;
use rpc::pull::{PullWorker, Queue, QueueDeps};
use runtime::{Clock, MemoryPart, PromDuration, Service, Shutdown, ShutdownHandle, TraceContext};
use wire::{
    HeadStats, MetadataRequest, Query, QueryError, QueryRequest, QueryResult, QueryStats, Raw, RawRequest,
    SelectBudget, SelectError, SelectStats, SeriesRange,
};

use crate::made;
use crate::near::{Near, Process, all_heads, all_labels, until};

fn tenants(ids: &str) -> TenantIds {
    TenantIds::parse(ids).unwrap()
}

fn asking(query: &str) -> QueryRequest {
    QueryRequest {
        query: query.to_string(),
        start_ms: -1,
        end_ms: 1_795_251_000_000,
        step_ms: Some(15_000),
        lookback_ms: Some(0),
        timeout_ms: Some(20_000),
        stats_per_step: true,
    }
}

fn result(value: Value) -> QueryResult {
    QueryResult {
        value,
        warnings: vec![],
        infos: vec![],
        stats: QueryStats::default(),
        held: wire::Held::default(),
    }
}

fn number(value: f64) -> QueryResult {
    result(Value::Scalar { timestamp: 5, value })
}

/// A query-frontend in a process of its own; its queue is used from here.
async fn frontend(config: &query_frontend::Config, limits: Limits) -> (Arc<Queue>, Process) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let config = config.clone();
    let process = Process::serve(0, async move {
        let memory = MemoryPart::unlimited("query");
        let deps = QueueDeps { limits: LimitsHandle::fixed(limits), memory, clock: Clock::system() };
        let (queue, routes) = rpc::pull::queue(&config, &Config::default(), deps);
        let _held = sender.send(queue);
        routes
    })
    .await;
    (receiver.await.unwrap(), process)
}

/// A querier in a process of its own.
struct Querier {
    process: Process,
    shutdown: ShutdownHandle,
    ended: tokio::task::JoinHandle<()>,
}

fn querier(near: &Arc<Near>, addresses: &[&str], slots: usize) -> Querier {
    let process = Process::start();
    let (shutdown, told) = Shutdown::new();
    let near: Arc<dyn Query> = Arc::clone(near) as Arc<dyn Query>;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let ended = process.spawn(async move {
        let worker = PullWorker::new(&Config::default(), "querier-0", &addresses, slots, near).unwrap();
        let Ok(()) = worker.run(told).await;
    });
    Querier { process, shutdown, ended }
}

fn impatient() -> query_frontend::Config {
    let querier_wait = PromDuration(Duration::from_millis(300));
    query_frontend::Config { querier_wait, ..query_frontend::Config::default() }
}

fn said(result: &QueryResult) -> String {
    let bits = |samples: &[(i64, f64)]| samples.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
    let value = match &result.value {
        Value::Scalar { timestamp, value } => format!("{timestamp} {}", value.to_bits()),
        Value::Matrix(series) => {
            let one = |s: &MatrixSeries| format!("{} {:?} {:?}", s.labels, bits(&s.floats), s.histograms);
            series.iter().map(one).collect::<Vec<_>>().join("\n")
        }
        Value::Vector(samples) => {
            let one = |s: &VectorSample| match &s.value {
                SampleValue::Float(value) => format!("{} {} {}", s.labels, s.timestamp, value.to_bits()),
                SampleValue::Histogram(histogram) => format!("{} {} {histogram:?}", s.labels, s.timestamp),
            };
            samples.iter().map(one).collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:?}"),
    };
    let kind = std::mem::discriminant(&result.value);
    // Waiting for a querier is waiting as well.
    let stats = QueryStats { queue_secs: 0.0, ..result.stats.clone() };
    format!("{kind:?} {value} {:?} {:?} {stats:?}", result.warnings, result.infos)
}

fn value() -> impl Strategy<Value = Value> {
    let histogram = || made::histogram().prop_map(Arc::new);
    let sample = (made::labels(), any::<i64>(), any::<f64>(), prop::option::of(histogram())).prop_map(
        |(labels, timestamp, float, histogram)| {
            let value = histogram.map_or(SampleValue::Float(float), SampleValue::Histogram);
            VectorSample { labels, timestamp, value }
        },
    );
    let series = (
        made::labels(),
        prop::collection::vec(any::<(i64, f64)>(), 0..9),
        prop::collection::vec((any::<i64>(), histogram()), 0..4),
    )
        .prop_map(|(labels, floats, histograms)| MatrixSeries { labels, floats, histograms });
    prop_oneof![
        any::<(i64, f64)>().prop_map(|(timestamp, value)| Value::Scalar { timestamp, value }),
        (any::<i64>(), "[a-zé]{0,9}").prop_map(|(timestamp, value)| Value::String { timestamp, value }),
        prop::collection::vec(sample, 0..6).prop_map(Value::Vector),
        prop::collection::vec(series, 0..6).prop_map(Value::Matrix),
    ]
}

fn stats() -> impl Strategy<Value = QueryStats> {
    let per_step = || prop::collection::vec(any::<(i64, u64)>(), 0..4);
    let all = (any::<[u64; 7]>(), per_step(), per_step());
    all.prop_map(|([a, b, c, d, e, f, g], samples_per_step, samples_read_per_step)| QueryStats {
        prepare_secs: 0.25,
        eval_secs: 0.5,
        queue_secs: 0.125,
        total_samples: a,
        samples_per_step,
        samples_read: g,
        samples_read_per_step,
        peak_samples: b,
        n_series: c,
        select: SelectStats { n_samples: d, n_requests: e, n_bytes: f },
    })
}

#[test]
fn results_that_were_pulled_are_those_of_the_querier() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let near = Near::new();
    let (queue, process) = runtime.block_on(frontend(&impatient(), Limits::default()));
    let _querier = querier(&near, &[&process.address], 4);
    let made = (
        (value(), prop::collection::vec("[a-zé]{0,9}", 0..3), stats()),
        prop::collection::vec(made::labels(), 0..5),
        made::exemplars(),
        (made::metadata(), made::head_stats()),
    );
    let mut runner = TestRunner::new(Cases { cases: 64, ..Cases::default() });
    type Made = (
        (Value, Vec<String>, QueryStats),
        Vec<Labels>,
        Vec<model::ExemplarSeries>,
        (Vec<model::Metadata>, HeadStats),
    );
    let check = async |((value, notes, stats), labels, exemplars, (metadata, head)): Made| {
        *near.head_stats.lock() = head;
        let (warnings, infos) = (notes.clone(), notes.clone());
        *near.result.lock() =
            Some(QueryResult { value, warnings, infos, stats, held: wire::Held::default() });
        (*near.labels.lock(), *near.strings.lock()) = (labels, notes);
        (*near.exemplars.lock(), *near.metadata.lock()) = (exemplars, metadata);
        let tenants = tenants("b|a");
        let (request, all) = (asking("up"), all_labels());
        let family = Some("up".to_string());
        let families = MetadataRequest { family, budget: SelectBudget::unlimited(), min_table_version: None };
        let far = queue.query(&tenants, &request).await.unwrap();
        assert_eq!(said(&far), said(&near.query(&tenants, &request).await.unwrap()));
        macro_rules! same {
            ($call:ident($($argument:expr),*)) => {
                let far = Query::$call(&*queue, &tenants, $($argument),*).await.unwrap();
                let near = Query::$call(&*near, &tenants, $($argument),*).await.unwrap();
                assert_eq!(format!("{far:?}"), format!("{near:?}"));
            };
        }
        same!(series(&all));
        same!(label_names(&all));
        same!(label_values("job", &all));
        same!(exemplars(&all));
        same!(metadata(&families));
        let parts = [model::TimeRange::new(-5, 7), model::TimeRange::new(8, i64::MAX)];
        let tenant = model::TenantId::new("a").unwrap();
        let far = queue.fingerprints(&tenant, &request, &parts).await.unwrap();
        assert_eq!(far, near.fingerprints(&tenant, &request, &parts).await.unwrap());
        same!(head_stats(&all_heads()));
        same!(blocks());
        // Each was asked as it was asked here.
        for pair in near.whats().chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        near.calls.lock().clear();
    };
    let run = |made| {
        runtime.block_on(check(made));
        Ok(())
    };
    runner.run(&made, run).unwrap();
}

#[tokio::test]
async fn a_result_of_many_parts_is_whole() {
    let near = Near::new();
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    let mut runner = TestRunner::deterministic();
    let histogram = Arc::new(made::histogram().new_tree(&mut runner).unwrap().current());
    let series = |i: i64| MatrixSeries {
        labels: Labels::from_pairs([("i", i.to_string())]),
        floats: (0..150_000).map(|t| (t, (t * i) as f64)).collect(),
        histograms: (0..10_000).map(|t| (t, Arc::clone(&histogram))).collect(),
    };
    *near.result.lock() = Some(result(Value::Matrix((0..3).map(series).collect())));
    let far = queue.query(&tenants("a"), &asking("large")).await.unwrap();
    assert_eq!(said(&far), said(near.result.lock().as_ref().unwrap()));
}

#[tokio::test]
async fn errors_of_the_querier_are_errors_of_the_frontend() {
    let near = Near::new();
    let config = query_frontend::Config { max_retries: 0, ..impatient() };
    let (queue, process) = frontend(&config, Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    let text = || "é parse error".to_string();
    let limit = || SelectError::LimitExceeded { name: "max_bytes_per_query", limit: 1, used: 2 };
    let errors: [&dyn Fn() -> QueryError; 10] = [
        &|| QueryError::Invalid(text()),
        &|| QueryError::Execution(text()),
        &|| QueryError::Timeout("expression evaluation"),
        &|| QueryError::Canceled,
        &|| QueryError::TooManyRequests(text()),
        &|| QueryError::Internal(text()),
        &|| QueryError::Select(limit()),
        &|| QueryError::Select(SelectError::Timeout),
        &|| QueryError::Select(SelectError::Unavailable(text())),
        &|| QueryError::Select(SelectError::Corrupt(text())),
    ];
    for error in errors {
        *near.query_error.lock() = Some(error());
        let far = queue.query(&tenants("a"), &asking("up")).await.unwrap_err();
        assert_eq!(format!("{far:?}"), format!("{:?}", error()));
    }
    *near.result.lock() = Some(number(1.0));
    assert!(queue.query(&tenants("a"), &asking("up")).await.is_ok(), "an error costs its own query only");
}

#[tokio::test]
async fn what_failed_for_a_reason_outside_of_the_query_is_asked_again_and_nothing_else_is() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    let text = || "x".to_string();
    let cases: [(&dyn Fn() -> QueryError, bool); 5] = [
        (&|| QueryError::Select(SelectError::Unavailable(text())), true),
        (&|| QueryError::Internal(text()), true),
        (&|| QueryError::Select(SelectError::Corrupt(text())), false),
        (&|| QueryError::Execution(text()), false),
        (&|| QueryError::Timeout("expression evaluation"), false),
    ];
    for (error, is_retried) in cases {
        *near.query_error.lock() = Some(error());
        let answer = queue.query(&tenants("a"), &asking("up")).await;
        assert_eq!(
            (answer.is_ok(), near.whats().len()),
            (is_retried, 1 + usize::from(is_retried)),
            "{:?}",
            error()
        );
        near.calls.lock().clear();
    }
    let waited = queue.query(&tenants("a"), &asking("up")).await.unwrap().stats.queue_secs;
    assert!((0.0..5.0).contains(&waited), "{waited}");
}

/// Asks in the background.
fn ask(
    queue: &Arc<Queue>,
    tenant: &str,
    query: &str,
) -> tokio::task::JoinHandle<Result<QueryResult, QueryError>> {
    let (queue, tenants, request) = (Arc::clone(queue), tenants(tenant), asking(query));
    tokio::spawn(async move { queue.query(&tenants, &request).await })
}

#[tokio::test]
async fn tenants_take_turns() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let mut asked = vec![ask(&queue, "greedy", "0")];
    until("the first query is evaluated", || near.running.load(Ordering::SeqCst) == 1).await;
    for i in 1..10 {
        asked.push(ask(&queue, "greedy", &i.to_string()));
    }
    runtime::sleep(Duration::from_millis(100)).await;
    asked.push(ask(&queue, "modest", "late"));
    runtime::sleep(Duration::from_millis(100)).await;
    near.hang(false);
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
    let order = near.whats();
    let at = order.iter().position(|what| what == "query modest late").unwrap();
    assert!(at <= 2, "{order:?}");
    let greedy: Vec<&String> = order.iter().filter(|what| what.contains("greedy")).collect();
    assert_eq!(greedy.len(), 10);
    assert!(greedy.is_sorted(), "first in, first out: {greedy:?}");
}

#[tokio::test]
async fn a_tenant_with_too_many_waiting_is_refused_by_name_and_no_other_is() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let config = query_frontend::Config { max_outstanding_requests_per_tenant: 2, ..impatient() };
    let (queue, process) = frontend(&config, Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let first = ask(&queue, "a", "0");
    until("the first query is evaluated", || near.running.load(Ordering::SeqCst) == 1).await;
    let waiting = [ask(&queue, "a", "1"), ask(&queue, "a", "2")];
    runtime::sleep(Duration::from_millis(100)).await;
    match queue.query(&tenants("a"), &asking("3")).await.unwrap_err() {
        QueryError::TooManyRequests(message) => {
            assert!(message.starts_with("too many outstanding requests"), "{message}");
            assert!(message.contains("query_frontend.max_outstanding_requests_per_tenant"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let other = ask(&queue, "b", "4");
    near.hang(false);
    for answer in [first, other].into_iter().chain(waiting) {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_a_querier_a_query_is_refused_soon_and_one_that_comes_in_time_is_found() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    match queue.query(&tenants("a"), &asking("up")).await.unwrap_err() {
        QueryError::Select(SelectError::Unavailable(message)) => {
            assert!(message.contains("no querier is connected"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let patient = query_frontend::Config { querier_wait: PromDuration::secs(10), ..impatient() };
    drop(process);
    let (queue, process) = frontend(&patient, Limits::default()).await;
    let waiting = ask(&queue, "a", "up");
    runtime::sleep(Duration::from_millis(200)).await;
    let _querier = querier(&near, &[&process.address], 1);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn waiting_counts_against_a_querys_time() {
    let near = Near::new();
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let _first = ask(&queue, "a", "0");
    until("the first query is evaluated", || near.running.load(Ordering::SeqCst) == 1).await;
    let request = QueryRequest { timeout_ms: Some(300), ..asking("1") };
    let error = queue.query(&tenants("a"), &request).await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout("query queue")), "{error:?}");
    assert_eq!(near.whats(), ["query a 0"], "nobody evaluates what nobody waits for");
}

#[tokio::test]
async fn an_evaluation_that_takes_too_long_is_stopped() {
    let near = Near::new();
    let limits = Limits { query_timeout: PromDuration(Duration::from_millis(300)), ..Limits::default() };
    let (queue, process) = frontend(&impatient(), limits).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let error = queue.query(&tenants("a"), &asking("up")).await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout("query execution")), "{error:?}");
    until("the querier has stopped", || near.canceled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_its_query() {
    let near = Near::new();
    *near.result.lock() = Some(number(2.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let evaluated = ask(&queue, "a", "0");
    until("the first query is evaluated", || near.running.load(Ordering::SeqCst) == 1).await;
    let waiting = ask(&queue, "a", "1");
    runtime::sleep(Duration::from_millis(50)).await;
    waiting.abort();
    evaluated.abort();
    until("the querier has stopped", || near.canceled.load(Ordering::SeqCst) == 1).await;
    near.hang(false);
    queue.query(&tenants("a"), &asking("2")).await.unwrap();
    assert_eq!(near.whats(), ["query a 0", "query a 2"]);
}

#[tokio::test]
async fn a_query_whose_querier_dies_is_done_by_another() {
    let (dying, living) = (Near::new(), Near::new());
    *living.result.lock() = Some(number(7.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    dying.hang(true);
    let first = querier(&dying, &[&process.address], 1);
    let asked = ask(&queue, "a", "up");
    until("the query is evaluated", || dying.running.load(Ordering::SeqCst) == 1).await;
    let _second = querier(&living, &[&process.address], 1);
    first.process.kill();
    let far = asked.await.unwrap().unwrap();
    assert_eq!(said(&far), said(&number(7.0)));
    assert_eq!(living.whats(), ["query a up"]);
    let mut registry = Registry::default();
    queue.register(&mut registry);
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    for line in ["retries_total 1", "connected_queriers 1", "queue_length 0", "queries_at_queriers 0"] {
        assert!(metrics.contains(&format!("query_frontend_{line}\n")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_query_that_kills_its_queriers_is_given_up() {
    let near = Near::new();
    let (queue, process) = frontend(&query_frontend::Config::default(), Limits::default()).await;
    near.hang(true);
    let asked = ask(&queue, "a", "deadly");
    for round in 1..=3 {
        let victim = querier(&near, &[&process.address], 1);
        until("the query is evaluated", || near.whats().len() == round).await;
        victim.process.kill();
    }
    match asked.await.unwrap().unwrap_err() {
        QueryError::Select(SelectError::Unavailable(message)) => {
            assert!(
                message.contains("went away or failed 3 times") && message.contains("querier-0"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(near.whats().len(), 3);
}

#[tokio::test]
async fn a_querier_that_stops_finishes_what_it_has_and_takes_no_more() {
    let (leaving, staying) = (Near::new(), Near::new());
    *leaving.result.lock() = Some(number(1.0));
    *staying.result.lock() = Some(number(2.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    leaving.hang(true);
    let first = querier(&leaving, &[&process.address], 2);
    let asked = ask(&queue, "a", "0");
    until("the query is evaluated", || leaving.running.load(Ordering::SeqCst) == 1).await;
    first.shutdown.tell();
    runtime::sleep(Duration::from_millis(200)).await;
    let _second = querier(&staying, &[&process.address], 2);
    let other = queue.query(&tenants("a"), &asking("1")).await.unwrap();
    assert_eq!(said(&other), said(&number(2.0)));
    leaving.hang(false);
    assert_eq!(said(&asked.await.unwrap().unwrap()), said(&number(1.0)));
    let ended = runtime::timeout(Duration::from_secs(5), first.ended).await;
    assert!(ended.is_some(), "the querier still runs");
    assert_eq!((leaving.whats().len(), staying.whats().len()), (1, 1));
}

#[tokio::test]
async fn a_frontend_that_stops_lets_its_queries_end_and_takes_no_more() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    near.hang(true);
    let asked = [ask(&queue, "a", "0"), ask(&queue, "b", "1")];
    until("the first query is evaluated", || near.running.load(Ordering::SeqCst) == 1).await;
    let drained = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.drain().await }
    });
    runtime::sleep(Duration::from_millis(100)).await;
    let error = queue.query(&tenants("a"), &asking("2")).await.unwrap_err();
    assert!(error.to_string().contains("the query-frontend is stopping"), "{error}");
    assert!(!drained.is_finished());
    near.hang(false);
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
    assert!(runtime::timeout(Duration::from_secs(5), drained).await.is_some());
}

#[tokio::test]
async fn a_querier_works_for_every_frontend_and_finds_one_that_was_away() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let patient = query_frontend::Config { querier_wait: PromDuration::secs(20), ..impatient() };
    let (one, first) = frontend(&patient, Limits::default()).await;
    let (other, second) = frontend(&patient, Limits::default()).await;
    let _querier = querier(&near, &[&first.address, &second.address], 2);
    one.query(&tenants("a"), &asking("0")).await.unwrap();
    other.query(&tenants("a"), &asking("1")).await.unwrap();
    let port = second.port();
    second.kill();
    one.query(&tenants("a"), &asking("2")).await.unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let _again = Process::serve(port, async move {
        let memory = MemoryPart::unlimited("query");
        let deps = QueueDeps { limits: LimitsHandle::default(), memory, clock: Clock::system() };
        let (queue, routes) = rpc::pull::queue(&patient, &Config::default(), deps);
        let _held = sender.send(queue);
        routes
    })
    .await;
    receiver.await.unwrap().query(&tenants("a"), &asking("3")).await.unwrap();
}

#[tokio::test]
async fn the_trace_goes_with_the_query() {
    let near = Near::new();
    *near.result.lock() = Some(number(1.0));
    let (queue, process) = frontend(&impatient(), Limits::default()).await;
    let _querier = querier(&near, &[&process.address], 1);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::parse(parent, "").unwrap();
    trace.clone().scope(queue.query(&tenants("a"), &asking("up"))).await.unwrap();
    assert_eq!(near.calls.lock()[0].trace, Some(trace));
}

#[test]
fn a_querier_without_frontends_says_so() {
    let near: Arc<dyn Query> = Near::new();
    let error = PullWorker::new(&Config::default(), "q", &[], 1, near).err().unwrap();
    assert!(error.contains("querier.frontend_addresses"), "{error}");
}

#[test]
fn series_with_their_samples_come_as_they_are_or_not_at_all() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let near = Near::new();
    let (queue, process) = runtime.block_on(frontend(&impatient(), Limits::default()));
    let _querier = querier(&near, &[&process.address], 4);
    let within = prop::option::of((made::labels(), made::labels()));
    let made = (made::series(), within, any::<(i64, i64)>(), 0..3u64);
    let mut runner = TestRunner::new(Cases { cases: 64, ..Cases::default() });
    type Made = (Vec<model::SeriesData>, Option<(Labels, Labels)>, (i64, i64), u64);
    let check = async |(series, within, (start, end), max_samples): Made| {
        near.selected.lock().series = series;
        let request = RawRequest {
            selectors: all_labels().selectors,
            range: model::TimeRange::new(start, end),
            within: within.map(|(first, last)| SeriesRange { first, last }),
            max_samples,
        };
        let tenants = tenants("b|a");
        let far = queue.raw(&tenants, &request).await.unwrap();
        match (far, near.raw(&tenants, &request).await.unwrap()) {
            (Raw::Series(far, _), Raw::Series(near, _)) => assert_eq!(made::said(&far), made::said(&near)),
            (Raw::TooMany, Raw::TooMany) => assert_eq!(max_samples, 1),
            (far, near) => panic!("{far:?} {near:?}"),
        }
        for pair in near.whats().chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        near.calls.lock().clear();
    };
    let run = |made| {
        runtime.block_on(check(made));
        Ok(())
    };
    runner.run(&made, run).unwrap();
}
