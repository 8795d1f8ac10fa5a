use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{FloatColumn, Labels, SeriesData};
use rpc::{Config, IngesterDeps};
use runtime::MemoryPart;
use wire::{Push, PushError, Select, SelectBudget, SelectError};

use crate::made;
use crate::near::{Near, Process, client, deps, ingester, ingester_at, select_all, tenant, until};

/// What a push that should be refused was told.
async fn refused(client: &rpc::IngesterClient, n_series: usize) -> PushError {
    client.push(&tenant(), &made::batch(&[0], n_series)).await.unwrap_err()
}

#[tokio::test]
async fn more_pushes_than_may_be_in_flight_are_refused_by_name_and_may_come_again() {
    let near = Near::new();
    let config = Config { max_concurrent_pushes: 1, ..Config::default() };
    let process = ingester(&near, &config).await;
    let client = client(&process, &config);
    near.hang(true);
    let first = process.spawn({
        let client = client.clone();
        async move { client.push(&tenant(), &made::batch(&[0], 1)).await }
    });
    until("the first push is there", || near.running.load(Ordering::SeqCst) == 1).await;
    match refused(&client, 1).await {
        PushError::Unavailable { message, retry_after_secs: 1.. } => {
            assert!(message.contains("rpc.max_concurrent_pushes is 1"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    near.hang(false);
    assert!(first.await.unwrap().is_ok());
    assert!(client.push(&tenant(), &made::batch(&[0], 1)).await.is_ok());
}

#[tokio::test]
async fn more_selects_than_may_be_in_flight_are_refused_by_name() {
    let near = Near::new();
    let config = Config { max_concurrent_selects: 1, ..Config::default() };
    let process = ingester(&near, &config).await;
    let client = client(&process, &config);
    near.hang(true);
    let first = process.spawn({
        let client = client.clone();
        async move { client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await }
    });
    until("the first select is there", || near.running.load(Ordering::SeqCst) == 1).await;
    let error = client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await.unwrap_err();
    let is_named = |message: &str| message.contains("rpc.max_concurrent_selects is 1");
    assert!(matches!(&error, SelectError::Unavailable(message) if is_named(message)), "{error:?}");
    near.hang(false);
    assert!(first.await.unwrap().is_ok());
    assert!(client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await.is_ok());
}

#[tokio::test]
async fn a_batch_waits_for_memory_only_where_it_could_ever_have_it() {
    let near = Near::new();
    let memory = MemoryPart::new("requests", 20_000);
    let deps = IngesterDeps { push_memory: memory.clone(), ..deps(&near) };
    let process = ingester_at(0, &Config::default(), deps, None).await;
    let client = client(&process, &Config::default());
    let taken = memory.reserve(19_000).unwrap();
    match refused(&client, 20).await {
        PushError::Unavailable { message, .. } => {
            assert!(message.contains("the memory for requests is used up"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    drop(taken);
    assert!(client.push(&tenant(), &made::batch(&[0], 20)).await.is_ok());
    match refused(&client, 1000).await {
        PushError::Invalid(message) => assert!(message.contains("memory_limit"), "{message}"),
        other => panic!("{other:?}"),
    }
    until("all memory is given back", || memory.used() == 0).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_the_limits_name() {
    let near = Near::new();
    let small = Config { max_message_bytes: 4 << 20, ..Config::default() };
    let process = ingester(&near, &small).await;
    let client = client(&process, &Config::default());
    match refused(&client, 200_000).await {
        PushError::Invalid(message) => {
            assert!(message.contains("rpc.max_message_bytes is 4194304"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    assert!(near.whats().is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_batch_are_refused_and_cost_nobody_else() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let mut cut = Vec::new();
    wire::bytes::encode_batch(&made::batch(&[0], 10), &mut cut);
    cut.pop();
    for garbage in [vec![], b"GET / HTTP/1.1".to_vec(), vec![0xFF; 100_000], cut] {
        match client.push_encoded(&tenant(), 1, garbage.into()).await.unwrap_err() {
            PushError::Invalid(message) => assert!(message.contains("at byte"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(client.push(&tenant(), &made::batch(&[0], 10)).await.is_ok());
    assert_eq!(near.whats(), ["push team-1"]);
}

#[tokio::test]
async fn an_ingester_that_dies_under_a_select_is_named() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let address = process.address.clone();
    let client = client(&process, &Config::default());
    near.hang(true);
    let killing = async {
        until("the select is there", || near.running.load(Ordering::SeqCst) == 1).await;
        process.kill();
    };
    let asking = select_all(&SelectBudget::unlimited());
    let tenant = tenant();
    let (error, ()) = tokio::join!(client.select(&tenant, &asking), killing);
    match error.unwrap_err() {
        SelectError::Unavailable(message) => {
            assert!(message.contains(&format!("ingester ingester-0 at {address}")), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let near = Near::new();
    // More than the windows of stream and connection hold, so that the far side waits in the middle.
    let series = |i: i32| {
        let mut one = SeriesData::new(Labels::from_pairs([("__name__", format!("m{i:03}"))]));
        one.floats.push(FloatColumn::new((0..50_000).collect(), vec![f64::from(i); 50_000]));
        one
    };
    near.selected.lock().series = (0..60).map(series).collect();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let asking = select_all(&SelectBudget::unlimited());
    let (tenant, budget) = (tenant(), Arc::clone(&asking.budget));
    let mut select = Box::pin(client.select(&tenant, &asking));
    // Polled until the first bytes were paid for, then not while the far side dies.
    loop {
        let polled = runtime::timeout(Duration::from_millis(1), &mut select).await;
        assert!(polled.is_none(), "the whole answer came before the far side could die");
        if budget.series.used() > 0 {
            break;
        }
    }
    process.kill();
    let error = select.await.unwrap_err();
    assert!(
        matches!(&error, SelectError::Unavailable(message) if message.contains("ingester-0")),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_ingester_that_was_away_is_reached_again_without_a_failed_call() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let port = process.port();
    client.push(&tenant(), &made::batch(&[0], 1)).await.unwrap();
    process.kill();
    match refused(&client, 1).await {
        PushError::Unavailable { message, .. } => assert!(message.contains("cannot be reached"), "{message}"),
        other => panic!("{other:?}"),
    }
    let _again = ingester_at(port, &Config::default(), deps(&near), None).await;
    client.push(&tenant(), &made::batch(&[0], 1)).await.unwrap();
    client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await.unwrap();
}

#[tokio::test]
async fn a_push_that_nobody_answers_is_given_up() {
    let near = Near::new();
    let push_timeout = runtime::PromDuration(Duration::from_millis(200));
    let config = Config { push_timeout, ..Config::default() };
    let process = ingester(&near, &config).await;
    near.hang(true);
    match refused(&client(&process, &config), 1).await {
        PushError::Unavailable { message, .. } => {
            assert!(message.contains("rpc.push_timeout") || message.contains("timed out"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    until("the far side has stopped", || near.canceled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn health_says_what_it_was_told() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let process = Process::serve(0, async move {
        let (health, routes) = rpc::health_routes().await;
        let _held = sender.send(health);
        routes
    })
    .await;
    let health = receiver.await.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", process.address)).unwrap();
    let mut asking = tonic_health::pb::health_client::HealthClient::new(channel.connect_lazy());
    let mut status = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_string() };
        asking.check(request).await.unwrap().into_inner().status()
    };
    use tonic_health::pb::health_check_response::ServingStatus;
    assert_eq!(status("").await, ServingStatus::NotServing);
    health.set(true).await;
    assert_eq!(status("").await, ServingStatus::Serving);
    assert_eq!(status("firn.v1.Ingester").await, ServingStatus::Serving);
}
