use std::sync::Arc;
use std::time::Duration;

use config::rpc::Compression;
use model::{FloatColumn, Labels, Matcher, MatcherOp, SeriesData, TimeRange};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, TestRunner};
use rpc::Config;
use runtime::TraceContext;
use wire::{
    Admin, AdminError, HeadStatsRequest, LabelsRequest, MetadataRequest, Projection, Push, PushError, Pushed,
    RefusalReason, Select, SelectBudget, SelectError, SelectRequest, SelectStats, Selected,
};

use crate::made;
use crate::near::{self, Near, all_heads, all_labels, budget_of, client, ingester, select_all, tenant};

/// Runs `check` with made values over one connection.
fn with_values<S: Strategy>(strategy: S, check: impl AsyncFn(&Near, &rpc::IngesterClient, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let near = Near::new();
    let config = Config { select_compression: Compression::Gzip, ..Config::default() };
    let process = runtime.block_on(ingester(&near, &config));
    let client = {
        let _inside = runtime.enter();
        client(&process, &config)
    };
    let mut runner = TestRunner::new(Cases { cases: 64, ..Cases::default() });
    let run = |value| {
        runtime.block_on(check(&near, &client, value));
        Ok(())
    };
    runner.run(&strategy, run).unwrap();
}

#[test]
fn a_select_from_afar_is_what_a_select_nearby_is() {
    let stats = SelectStats { n_samples: 7, n_requests: 8, n_bytes: 9 };
    with_values((made::series(), any::<Option<u64>>()), async |near, client, (series, table_version)| {
        *near.selected.lock() = Selected { series, table_version, stats };
        let request = select_all(&SelectBudget::unlimited());
        let close = near.select(&tenant(), &request).await.unwrap();
        let far = client.select(&tenant(), &request).await.unwrap();
        assert_eq!(made::said(&far.series), made::said(&close.series));
        assert_eq!((far.table_version, far.stats), (table_version, stats));
    });
}

#[tokio::test]
async fn which_labels_are_looked_at_is_said_to_who_answers() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let names: Arc<[String]> = ["job", "zone"].map(str::to_string).into();
    let all = [Projection::All, Projection::Only(Arc::clone(&names)), Projection::Without(names)];
    for projection in all {
        let request = SelectRequest { projection, ..select_all(&SelectBudget::unlimited()) };
        near.select(&tenant(), &request).await.unwrap();
        client.select(&tenant(), &request).await.unwrap();
        let [.., close, far] = &near.whats()[..] else { panic!("nobody was asked") };
        assert_eq!(far, close);
    }
}

#[test]
fn lists_from_afar_are_what_lists_nearby_are() {
    let made = (
        prop::collection::vec(made::labels(), 0..9),
        prop::collection::vec("[a-zé]{0,9}", 0..9),
        made::exemplars(),
        made::metadata(),
        (made::head_stats(), any::<Option<u64>>()),
    );
    with_values(made, async |near, far, (labels, strings, exemplars, metadata, (head, table_version))| {
        *near.head_stats.lock() = head;
        *near.labels.lock() = labels;
        *near.strings.lock() = strings;
        *near.exemplars.lock() = exemplars;
        *near.metadata.lock() = metadata;
        *near.table_version.lock() = table_version;
        let (tenant, all) = (tenant(), all_labels());
        let families =
            MetadataRequest { family: None, budget: SelectBudget::unlimited(), min_table_version: None };
        // Debug tells -0.0 from 0.0; NaNs of exemplars are equal to nothing.
        macro_rules! same {
            ($call:ident($($argument:expr),*)) => {
                let (far, near) = (
                    Select::$call(far, &tenant, $($argument),*).await.unwrap(),
                    Select::$call(near, &tenant, $($argument),*).await.unwrap(),
                );
                assert_eq!(format!("{far:?}"), format!("{near:?}"));
            };
        }
        same!(series(&all));
        same!(label_names(&all));
        same!(label_values("job", &all));
        same!(exemplars(&all));
        same!(metadata(&families));
        same!(standing(&wire::StandingRequest::default()));
        same!(head_stats(&all_heads()));
    });
}

#[tokio::test]
async fn what_is_asked_arrives_as_it_was_asked() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    let matchers = vec![
        matcher("__name__", MatcherOp::Equal, "up"),
        matcher("job", MatcherOp::NotEqual, "é\n"),
        matcher("a", MatcherOp::Regex, "x.*"),
        matcher("b", MatcherOp::NotRegex, ".+"),
    ];
    let range = TimeRange::new(-5, i64::MAX);
    let budget = SelectBudget::unlimited();
    let select = SelectRequest {
        matchers: matchers.clone(),
        range,
        within: None,
        projection: Projection::All,
        budget: Arc::clone(&budget),
        min_table_version: Some(0),
    };
    let heads = HeadStatsRequest {
        selectors: vec![matchers.clone(), vec![]],
        active_since_ms: Some(-3),
        names: vec!["job".to_string(), "é".to_string()],
        top: 19,
        histograms: true,
        budget: Arc::clone(&budget),
    };
    let labels = LabelsRequest {
        selectors: vec![matchers, vec![]],
        range,
        limit: 17,
        budget: Arc::clone(&budget),
        min_table_version: Some(u64::MAX),
    };
    let metadata = MetadataRequest { family: Some("up".to_string()), budget, min_table_version: None };
    let ask = async |asked: &dyn Select| {
        asked.select(&tenant(), &select).await.unwrap();
        asked.series(&tenant(), &labels).await.unwrap();
        asked.label_names(&tenant(), &labels).await.unwrap();
        asked.label_values(&tenant(), "é", &labels).await.unwrap();
        asked.exemplars(&tenant(), &labels).await.unwrap();
        asked.metadata(&tenant(), &metadata).await.unwrap();
        asked.head_stats(&tenant(), &heads).await.unwrap();
        std::mem::take(&mut *near.calls.lock())
    };
    let direct = ask(&*near).await;
    assert_eq!(ask(&client).await, direct);
    assert_eq!(direct.len(), 7);
}

#[tokio::test]
async fn an_answer_of_many_chunks_is_whole_and_shares_its_timelines() {
    let near = Near::new();
    let timeline: Arc<[i64]> = (0..240).map(|i| i * 15_000).collect();
    let series = |i: i32| {
        let mut one = SeriesData::new(Labels::from_pairs([("__name__", format!("m{i:06}"))]));
        let values = (0..240).map(|step| f64::from(i * step)).collect();
        one.floats.push(FloatColumn { timeline: Arc::clone(&timeline), values });
        one
    };
    near.selected.lock().series = (0..4000).map(series).collect();
    let process = ingester(&near, &Config::default()).await;
    let budget = SelectBudget::unlimited();
    let far = client(&process, &Config::default()).select(&tenant(), &select_all(&budget)).await.unwrap();
    assert_eq!(made::said(&far.series), made::said(&near.selected.lock().series));
    let first = &far.series[0].floats[0].timeline;
    assert!(far.series.iter().all(|one| Arc::ptr_eq(&one.floats[0].timeline, first)));
}

#[tokio::test]
async fn a_series_larger_than_a_chunk_arrives_whole() {
    let near = Near::new();
    let mut one = SeriesData::new(Labels::from_pairs([("__name__", "large")]));
    for part in 0..40i64 {
        let timeline: Vec<i64> = (0..10_000).map(|i| part * 10_000 + i).collect();
        one.floats.push(FloatColumn::new(timeline, vec![part as f64; 10_000]));
    }
    let mut runner = TestRunner::deterministic();
    for timestamp in 0..20_000 {
        let histogram = made::histogram().new_tree(&mut runner).unwrap().current();
        let histogram = Arc::new(histogram);
        one.histograms.push(model::HistogramPoint { timestamp, start_timestamp: 0, histogram });
    }
    near.selected.lock().series = vec![one];
    let process = ingester(&near, &Config::default()).await;
    let budget = SelectBudget::unlimited();
    let far = client(&process, &Config::default()).select(&tenant(), &select_all(&budget)).await.unwrap();
    assert_eq!(made::said(&far.series), made::said(&near.selected.lock().series));
    assert_eq!(budget.series.used(), 1);
}

#[tokio::test]
async fn a_push_from_afar_says_what_a_push_nearby_says() {
    let near = Near::new();
    for push_compression in [Compression::None, Compression::Gzip] {
        let config = Config { push_compression, ..Config::default() };
        let process = ingester(&near, &config).await;
        let mut pushed = Pushed { n_floats: 1, n_histograms: 2, n_exemplars: 3, ..Pushed::default() };
        for reason in RefusalReason::ALL {
            pushed.refuse(reason, 5, || format!("the first of {}", reason.as_str()));
        }
        *near.pushed.lock() = pushed.clone();
        let batch = made::batch(&[1, 2], 100);
        assert_eq!(client(&process, &config).push(&tenant(), &batch).await.unwrap(), pushed);
        let arrived = near.batches.lock().pop().unwrap();
        let runs = |batch: &model::Batch| -> Vec<Vec<u8>> {
            batch.shards.iter().flat_map(|part| &part.series).map(|s| batch.labels(s).to_vec()).collect()
        };
        assert_eq!(runs(&arrived), runs(&batch));
        assert_eq!(arrived.shards[1].timestamps, batch.shards[1].timestamps);
        assert_eq!(near.calls.lock().pop().unwrap().what, "push team-1");
    }
}

#[tokio::test]
async fn errors_are_of_the_same_kind_on_both_sides() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let text = || "é said the store".to_string();
    let pushes: [fn(String) -> PushError; 3] = [
        |message| PushError::Unavailable { message, retry_after_secs: 17 },
        PushError::Invalid,
        PushError::Internal,
    ];
    for error in pushes {
        *near.push_error.lock() = Some(error(text()));
        let far = client.push(&tenant(), &made::batch(&[0], 1)).await.unwrap_err();
        assert_eq!(format!("{far:?}"), format!("{:?}", error(text())));
    }
    let selects: [fn(String) -> SelectError; 5] = [
        |_| SelectError::LimitExceeded { name: "max_series_per_query", limit: 5, used: 6 },
        |_| SelectError::Timeout,
        SelectError::Unavailable,
        SelectError::Corrupt,
        SelectError::Internal,
    ];
    for error in selects {
        *near.select_error.lock() = Some(error(text()));
        let far = client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await.unwrap_err();
        assert_eq!(format!("{far:?}"), format!("{:?}", error(text())));
        *near.select_error.lock() = Some(error(text()));
        let far = client.label_values(&tenant(), "job", &all_labels()).await.unwrap_err();
        assert_eq!(format!("{far:?}"), format!("{:?}", error(text())));
    }
    for error in [AdminError::Unavailable, AdminError::Internal] {
        *near.admin_error.lock() = Some(error(text()));
        let far = client.flush(None).await.unwrap_err();
        assert_eq!(format!("{far:?}"), format!("{:?}", error(text())));
    }
    assert!(client.flush(Some(&tenant())).await.is_ok() && client.observe(&tenant(), 9).await.is_ok());
    let last = near.whats();
    assert_eq!(
        last[last.len() - 2..],
        [format!("flush Some({:?})", "team-1"), "observe team-1 9".to_string()]
    );
}

#[tokio::test]
async fn an_error_of_any_length_arrives() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    *near.select_error.lock() = Some(SelectError::Unavailable("é".repeat(100_000)));
    let asking = select_all(&SelectBudget::unlimited());
    let far = client(&process, &Config::default()).select(&tenant(), &asking).await.unwrap_err();
    assert!(matches!(&far, SelectError::Unavailable(message) if message.starts_with("éééé")), "{far:?}");
}

#[test]
fn limits_hold_across_processes_as_they_do_in_one() {
    let limits = (0..9u64, 0..40u64, 0..900u64, 0..5u64);
    with_values((made::series(), limits), async |near, client, (series, (a, b, c, before))| {
        near.selected.lock().series = series;
        let budget = || {
            let budget = budget_of(a, b, c, None);
            let _used_before = (budget.series.take(before), budget.samples.take(before));
            budget
        };
        let (here, there) = (budget(), budget());
        let close = near.select(&tenant(), &select_all(&here)).await;
        let far = client.select(&tenant(), &select_all(&there)).await;
        match (close, far) {
            (Ok(close), Ok(far)) => {
                assert_eq!(made::said(&far.series), made::said(&close.series));
                assert_eq!(there.samples.used(), here.samples.used());
            }
            (Err(close), Err(far)) => assert_eq!(format!("{far:?}"), format!("{close:?}")),
            // A select from afar also pays for the bytes of timelines and histograms as they come.
            (Ok(_), Err(SelectError::LimitExceeded { name: "max_bytes_per_query", .. })) => {}
            (close, far) => panic!("near {close:?}, far {far:?}"),
        }
    });
}

#[tokio::test]
async fn tenant_and_trace_arrive_with_every_call() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::parse(parent, "vendor=1").unwrap();
    let calls = async {
        client.push(&tenant(), &made::batch(&[0], 1)).await.unwrap();
        client.select(&tenant(), &select_all(&SelectBudget::unlimited())).await.unwrap();
        client.series(&tenant(), &all_labels()).await.unwrap();
        client.observe(&tenant(), 1).await.unwrap();
    };
    trace.clone().scope(calls).await;
    let calls = near.calls.lock().clone();
    assert_eq!(calls.len(), 4);
    for near::Call { what, trace: arrived } in calls {
        assert!(what.contains("team-1"), "{what}");
        assert_eq!(arrived.as_ref(), Some(&trace), "{what}");
    }
}

#[tokio::test]
async fn a_select_stops_on_both_sides_when_its_time_is_over() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    near.hang(true);
    let budget = budget_of(0, 0, 0, Some(Duration::from_millis(200)));
    let error = client.select(&tenant(), &select_all(&budget)).await.unwrap_err();
    assert!(matches!(error, SelectError::Timeout), "{error:?}");
    near::until("the far side has stopped", || near.canceled.load(std::sync::atomic::Ordering::SeqCst) == 1)
        .await;
    let error = client.select(&tenant(), &select_all(&budget)).await.unwrap_err();
    assert!(matches!(error, SelectError::Timeout), "{error:?}");
    assert_eq!(near.whats().len(), 1, "a query whose time is over asks nobody");
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_the_work() {
    let near = Near::new();
    let process = ingester(&near, &Config::default()).await;
    let client = client(&process, &Config::default());
    near.hang(true);
    let asking = select_all(&SelectBudget::unlimited());
    let tenant = tenant();
    let gone = runtime::timeout(Duration::from_millis(200), client.select(&tenant, &asking)).await;
    assert!(gone.is_none());
    near::until("the far side has stopped", || near.canceled.load(std::sync::atomic::Ordering::SeqCst) == 1)
        .await;
}
