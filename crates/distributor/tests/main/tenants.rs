//! What a tenant's limits make of what it sends: relabelling, replicas, shares.

use std::time::Duration;

use limits::{Limits, LimitsConfig, LimitsHandle, Overrides, RelabelConfig, Relabelling};
use runtime::MemoryPart;
use serde_json::json;
use wire::generated::prometheus as pb;

use crate::http::{Answer, RW1, Stand, stand_of, stand_with};
use crate::oracle;
use crate::sample_bodies::{NOW, everything, in_version_2, series, snappy};

const RW2: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
];

fn rules(rules: serde_json::Value) -> Limits {
    let rules: Vec<RelabelConfig> = serde_json::from_value(rules).unwrap();
    Limits { metric_relabel_configs: Relabelling::new(rules).unwrap(), ..Limits::default() }
}

fn request(timeseries: Vec<pb::TimeSeries>) -> pb::WriteRequest {
    pb::WriteRequest { timeseries, metadata: vec![] }
}

/// The label sets that reached the log, each as text, sorted.
fn stored(stand: &Stand) -> Vec<String> {
    let seen = stand.seen().into_iter().flat_map(|(_, seen)| seen.series);
    let text = |series: oracle::SeenSeries| {
        let labels = series.labels.iter().map(|(name, value)| format!("{name}={value}"));
        labels.collect::<Vec<String>>().join(" ")
    };
    let mut stored: Vec<String> = seen.map(text).collect();
    stored.sort();
    stored
}

fn written(answer: &Answer) -> Option<&str> {
    answer.header("x-prometheus-remote-write-samples-written")
}

#[tokio::test]
async fn series_are_relabelled_alike_in_every_protocol_and_every_time() {
    let limits = rules(json!([
        {"source_labels": ["__name__"], "regex": "drop_.*", "action": "drop"},
        {"regex": "pod_.*", "action": "labeldrop"},
        {"source_labels": ["env"], "target_label": "environment", "regex": "(.+)"},
    ]));
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let request = request(vec![
        series(&[("__name__", "drop_me"), ("job", "a")], 1.0, NOW),
        series(&[("__name__", "up"), ("env", "prod"), ("job", "a"), ("pod_id", "7")], 1.0, NOW),
        series(&[("__name__", "up"), ("job", "b")], 1.0, NOW),
        series(&[("__name__", "drop_too"), ("job", "b")], 1.0, NOW),
    ]);
    let expected = ["__name__=up env=prod environment=prod job=a", "__name__=up job=b"];
    // Twice: worked out, then known.
    for _ in 0..2 {
        let answer = stand.push(RW1, snappy(&request)).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(stored(&stand), expected);
        let answer = stand.push(RW2, snappy(&in_version_2(&request))).await;
        assert_eq!((answer.status, written(&answer)), (204, Some("4")), "what is left out is no failure");
        assert_eq!(stored(&stand), expected);
        let text = "drop_me{job=\"a\"} 1\nup{env=\"prod\",job=\"a\",pod_id=\"7\"} 1\nup{job=\"b\"} 1\n";
        assert_eq!(stand.import(&[], text).await.status, 204);
        assert_eq!(stored(&stand), expected);
    }
    assert!(stand.metrics().contains("relabelled_away_total 10"), "{}", stand.metrics());
}

#[tokio::test]
async fn relabelling_comes_before_the_limits_on_labels() {
    let limits = Limits {
        max_label_names_per_series: 2,
        ..rules(
            json!([{"regex": "pod_.*", "action": "labeldrop"}, {"target_label": "__name__", "source_labels": ["name"]}]),
        )
    };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let many = series(&[("__name__", "up"), ("job", "a"), ("pod_1", "x"), ("pod_2", "x")], 1.0, NOW);
    assert_eq!(
        stand.push(RW1, snappy(&request(vec![many]))).await.status,
        400,
        "the second rule takes the name off"
    );
    let named = series(&[("name", "down"), ("pod_1", "x")], 1.0, NOW);
    let answer = stand.push(RW1, snappy(&request(vec![named]))).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(stored(&stand), ["__name__=down name=down"]);
}

#[tokio::test]
async fn other_rules_hold_from_the_next_request_on() {
    let overrides = |job: &str| {
        let rule = json!([{"source_labels": ["job"], "regex": job, "action": "drop"}]);
        let one = Overrides {
            metric_relabel_configs: Some(rules(rule).metric_relabel_configs),
            ..Overrides::default()
        };
        LimitsConfig { overrides: [("anonymous".to_string(), one)].into(), ..LimitsConfig::default() }
    };
    let handle = LimitsHandle::new(&overrides("a")).unwrap();
    let stand = stand_of(handle.clone(), MemoryPart::unlimited("push"), false);
    let both = request(vec![
        series(&[("__name__", "up"), ("job", "a")], 1.0, NOW),
        series(&[("__name__", "up"), ("job", "b")], 1.0, NOW),
    ]);
    for (job, left) in [("a", "__name__=up job=b"), ("b", "__name__=up job=a"), ("a", "__name__=up job=b")] {
        handle.replace(&overrides(job)).unwrap();
        for _ in 0..2 {
            assert_eq!(stand.push(RW1, snappy(&both)).await.status, 204);
            assert_eq!(stored(&stand), [left]);
        }
    }
}

fn replica(name: &str) -> pb::WriteRequest {
    let labels = [("__name__", "up"), ("__replica__", name), ("cluster", "c1"), ("job", "a")];
    request(vec![series(&labels, 1.0, NOW), series(&[labels[0], labels[1], labels[2]], 2.0, NOW)])
}

#[tokio::test]
async fn one_replica_is_stored_without_its_label_and_the_other_is_told_that_all_is_well() {
    let limits = Limits { accept_ha_samples: true, ha_max_clusters: 1, ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let of_a = ["__name__=up cluster=c1", "__name__=up cluster=c1 job=a"];
    for _ in 0..2 {
        assert_eq!(stand.push(RW1, snappy(&replica("a"))).await.status, 204);
        assert_eq!(stored(&stand), of_a);
        assert_eq!(stand.push(RW1, snappy(&replica("b"))).await.status, 202);
        let answer = stand.push(RW2, snappy(&in_version_2(&replica("b")))).await;
        assert_eq!((answer.status, written(&answer)), (202, Some("2")), "{answer:?}");
        let text = "up{__replica__=\"b\",cluster=\"c1\"} 1\n";
        assert_eq!(stand.import(&[], text).await.status, 202);
        assert_eq!(stored(&stand), Vec::<String>::new());
    }
    assert!(stand.metrics().contains("deduplicated_total 10"), "{}", stand.metrics());
    stand.clock.advance(Duration::from_millis(30_001));
    assert_eq!(stand.push(RW1, snappy(&replica("b"))).await.status, 204, "a was silent for too long");
    assert_eq!(stored(&stand), of_a);
    let mut other = replica("a");
    other.timeseries.iter_mut().for_each(|series| series.labels[2].value = "c2".to_string());
    let answer = stand.push(RW1, snappy(&other)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("ha_max_clusters of 1") && answer.body.contains("c2"), "{answer:?}");
    // Who names no replica is always taken.
    assert_eq!(stand.push(RW1, snappy(&everything())).await.status, 400, "its nameless series");
    assert!(stored(&stand).len() > 5);
}

#[tokio::test]
async fn without_the_switch_the_labels_of_replicas_are_ordinary() {
    let stand = stand_with(Limits::default(), MemoryPart::unlimited("push"), false);
    for name in ["a", "b"] {
        assert_eq!(stand.push(RW1, snappy(&replica(name))).await.status, 204);
        assert_eq!(stored(&stand)[0], format!("__name__=up __replica__={name} cluster=c1"));
    }
}

#[tokio::test]
async fn two_distributors_let_pass_half_the_rate_each() {
    let limits = Limits { ingestion_rate: 10.0, ingestion_burst_size: 1.0, ..Limits::default() };
    let handle = LimitsHandle::fixed(limits);
    let stand = stand_of(handle.clone(), MemoryPart::unlimited("push"), false);
    let one = request(vec![series(&[("__name__", "up"), ("job", "a")], 1.0, NOW)]);
    let passed_in = |distributors: u32| {
        handle.divide_among(distributors, 1);
        let stand = &stand;
        let one = &one;
        async move {
            let mut n = 0;
            for _ in 0..1000 {
                stand.clock.advance(Duration::from_millis(10));
                n += u32::from(stand.push(RW1, snappy(one)).await.status == 204);
            }
            n
        }
    };
    let (alone, of_two) = (passed_in(1).await, passed_in(2).await);
    assert!((95..=105).contains(&alone) && (45..=55).contains(&of_two), "{alone} {of_two}");
    assert_eq!(stand.push(RW1, snappy(&one)).await.body.matches("ingestion_rate of 10").count(), 1);
}
