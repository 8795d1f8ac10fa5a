//! The HTTP contract: statuses by dialect, headers, and what reaches the log.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use distributor::{Config, Deps, Distributor, routes};
use http_body_util::BodyExt;
use limits::{Limits, LimitsHandle};
use model::{Batch, Shards, TenantId};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use runtime::{Clock, ManualClock, MemoryPart};
use tower::ServiceExt;
use wire::generated::prometheus as pb;
use wire::{Push, PushError, Pushed, RefusalReason};

use crate::corpus;
use crate::oracle::{self, Seen};
use crate::sample_bodies::{NOW, everything, series, snappy};

/// Answers as scripted and remembers what it was given.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<Pushed, PushError>>>,
    seen: Mutex<Vec<(String, Seen)>>,
}

/// What an ingester says that took all of it.
fn all_of(batch: &Batch) -> Pushed {
    Pushed {
        n_floats: batch.shards.iter().map(|shard| shard.values.len()).sum(),
        n_histograms: batch.shards.iter().map(|shard| shard.histograms.len()).sum(),
        n_exemplars: batch.shards.iter().map(|shard| shard.exemplars.len()).sum(),
        ..Pushed::default()
    }
}

#[async_trait]
impl Push for Script {
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        self.seen.lock().push((tenant.to_string(), oracle::seen(batch)));
        let answer = self.answers.lock().pop_front();
        answer.unwrap_or_else(|| Ok(all_of(batch)))
    }
}

pub(crate) struct Stand {
    pub(crate) router: Router,
    script: Arc<Script>,
    pub(crate) clock: ManualClock,
    registry: Registry,
    pub(crate) memory: MemoryPart,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
    retry_after: Option<u64>,
    allow: Option<String>,
    headers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }
}

pub(crate) const RW1: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];
const VMAGENT: &[(&str, &str)] =
    &[("content-type", "application/x-protobuf"), ("content-encoding", "snappy"), ("user-agent", "vmagent")];
const VMAGENT_ZSTD: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "zstd"),
    ("user-agent", "vmagent"),
    ("x-victoriametrics-remote-write-version", "1"),
];

pub(crate) fn stand() -> Stand {
    stand_with(Limits::default(), MemoryPart::unlimited("push"), false)
}

pub(crate) fn stand_with(limits: Limits, memory: MemoryPart, multitenancy: bool) -> Stand {
    stand_of(LimitsHandle::fixed(limits), memory, multitenancy)
}

pub(crate) fn stand_of(limits: LimitsHandle, memory: MemoryPart, multitenancy: bool) -> Stand {
    let script = Arc::new(Script::default());
    let (clock, manual) = Clock::manual(NOW);
    let deps = Deps {
        push: Arc::clone(&script) as Arc<dyn Push>,
        limits,
        clock,
        shards: Shards { count: 4, spread: 1 },
        memory: memory.clone(),
    };
    let mut registry = Registry::default();
    let distributor = Distributor::open(&Config::default(), deps, &mut registry);
    Stand { router: routes(distributor, multitenancy), script, clock: manual, registry, memory }
}

impl Stand {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let header = |name| Some(response.headers().get(name)?.to_str().unwrap().to_string());
        let (retry_after, allow) = (header("retry-after").map(|v| v.parse().unwrap()), header("allow"));
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            bytes: body.to_vec(),
            retry_after,
            allow,
            headers,
        }
    }

    pub(crate) async fn push(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.send("POST", "/api/v1/push", headers, body).await
    }

    pub(crate) async fn import(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.send("POST", "/api/v1/import/prometheus", headers, body).await
    }

    pub(crate) fn script(&self, answer: Result<Pushed, PushError>) {
        self.script.answers.lock().push_back(answer);
    }

    pub(crate) fn seen(&self) -> Vec<(String, Seen)> {
        std::mem::take(&mut self.script.seen.lock())
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn good() -> pb::WriteRequest {
    let up = series(&[("__name__", "up"), ("job", "a")], 1.0, NOW);
    pb::WriteRequest { timeseries: vec![up], metadata: vec![] }
}

/// A good series between two bad ones.
fn mixed() -> pb::WriteRequest {
    let mut request = good();
    request.timeseries.insert(0, series(&[("job", "nameless")], 1.0, NOW));
    request.timeseries.push(series(&[("__name__", "up"), ("a", "1"), ("a", "2")], 1.0, NOW));
    request
}

fn zstd(request: &pb::WriteRequest) -> Vec<u8> {
    zstd::bulk::compress(&request.encode_to_vec(), 1).unwrap()
}

#[tokio::test]
async fn what_is_well_formed_is_stored_on_every_path() {
    let stand = stand();
    for path in ["/api/v1/push", "/api/v1/write", "/prometheus/api/v1/push", "/prometheus/api/v1/write"] {
        let answer = stand.send("POST", path, RW1, snappy(&good())).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
    }
    let seen = stand.seen();
    assert_eq!(seen.len(), 4);
    for (tenant, seen) in seen {
        assert_eq!((tenant.as_str(), seen), ("anonymous", oracle::expected(&good())));
    }
}

#[tokio::test]
async fn recorded_requests_are_accepted_with_the_headers_they_came_with() {
    let limits = Limits { creation_grace_period: limits::PromDuration::secs(0), ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    for (name, body, _) in corpus::bodies() {
        let headers = corpus::headers(&name);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let answer = stand.push(&headers, body).await;
        let status = if name == corpus::INCONSISTENT { 400 } else { 204 };
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(stand.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn content_is_negotiated_as_the_contract_says() {
    let stand = stand();
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (headers, status) in [
        (vec![], 204),
        (vec![("content-type", "application/x-protobuf")], 204),
        (vec![("content-type", "application/x-protobuf;proto=prometheus.WriteRequest")], 204),
        (vec![("content-type", v2), ("content-encoding", "snappy")], 415),
        (vec![("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")], 415),
        (vec![("content-type", "application/json")], 415),
        (vec![("content-encoding", "gzip")], 415),
        (vec![("content-encoding", "zstd")], 415),
    ] {
        let answer = stand.push(&headers, snappy(&good())).await;
        assert_eq!(answer.status, status, "{headers:?} {answer:?}");
    }
    let answer = stand.push(&[("content-type", v2)], snappy(&good())).await;
    assert!(answer.body.contains("io.prometheus.write.v2.Request"), "{answer:?}");
    // A 2.0 body under a 1.0 name would be an empty 1.0 message.
    let v2_body = snap::raw::Encoder::new().compress_vec(&[0x22, 0x00, 0x2A, 0x02, 0x08, 0x00]).unwrap();
    assert_eq!(stand.push(RW1, v2_body).await.status, 415);
    // The codec is told by the body where header and body disagree.
    assert_eq!(stand.push(RW1, zstd(&good())).await.status, 204);
    assert_eq!(stand.push(VMAGENT_ZSTD, snappy(&good())).await.status, 204);
    assert_eq!(stand.push(VMAGENT_ZSTD, zstd(&good())).await.status, 204);
}

#[tokio::test]
async fn methods_other_than_post_are_refused_and_the_old_probe_is_answered() {
    let stand = stand();
    let answer = stand.send("GET", "/api/v1/write?get_vm_proto_version=1", &[], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
    for (method, path) in [
        ("GET", "/api/v1/push"),
        ("PUT", "/api/v1/push"),
        ("DELETE", "/api/v1/write"),
        ("GET", "/api/v1/import/prometheus"),
    ] {
        let answer = stand.send(method, path, &[], "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.allow.unwrap().contains("POST"), "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read_store_nothing() {
    let stand = stand();
    let whole = everything().encode_to_vec();
    let cut = snap::raw::Encoder::new().compress_vec(&whole[..whole.len() - 3]).unwrap();
    let packed = snappy(&everything());
    let v1_garbage = snap::raw::Encoder::new().compress_vec(b"not a message").unwrap();
    let mut lie = Vec::new();
    prost::encoding::encode_varint(32 << 20, &mut lie);
    for body in [cut, packed[..packed.len() / 2].to_vec(), b"garbage".to_vec(), Vec::new(), v1_garbage, lie] {
        for (headers, status) in [(RW1, 400), (VMAGENT, 400), (VMAGENT_ZSTD, 409)] {
            let answer = stand.push(headers, body.clone()).await;
            assert_eq!(answer.status, status, "{body:?} {answer:?}");
            assert!(!answer.body.is_empty() && answer.retry_after.is_none());
        }
    }
    assert_eq!(stand.seen(), []);
    assert_eq!(stand.memory.used(), 0, "all memory is given back");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_so_that_each_sender_drops_them() {
    let limits = Limits { max_body_bytes: 10_000, ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let big = vec![7u8; 10_001];
    for (headers, status) in [(RW1, 413), (VMAGENT, 400), (VMAGENT_ZSTD, 409)] {
        let answer = stand.push(headers, big.clone()).await;
        assert_eq!(answer.status, status, "announced or not: {answer:?}");
        let mut announced = headers.to_vec();
        announced.push(("content-length", "10001"));
        let answer = stand.push(&announced, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains("max_body_bytes of 10000"), "{answer:?}");
    }
    // Small on the wire, large behind it.
    let bomb = snap::raw::Encoder::new().compress_vec(&[0; 10_001]).unwrap();
    let zstd_bomb = zstd::bulk::compress(&[0; 10_001], 1).unwrap();
    for (headers, body, status) in
        [(RW1, bomb.clone(), 400), (VMAGENT, bomb, 400), (VMAGENT_ZSTD, zstd_bomb, 409)]
    {
        let answer = stand.push(headers, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains("10001 bytes, the limit max_body_bytes is 10000"), "{answer:?}");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[b'\n'; 10_001]).unwrap();
    let answer = stand.import(&[("content-encoding", "gzip")], gzip.finish().unwrap()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(stand.seen(), []);
}

#[tokio::test]
async fn good_neighbours_are_stored_and_the_first_error_is_told() {
    let stand = stand();
    for (headers, body, status) in
        [(RW1, snappy(&mixed()), 400), (VMAGENT, snappy(&mixed()), 400), (VMAGENT_ZSTD, zstd(&mixed()), 409)]
    {
        let answer = stand.push(headers, body).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.body,
            "series has no metric name: {job=\"nameless\"} (2 samples refused, 1 stored)"
        );
        assert_eq!(stand.seen()[0].1.series, oracle::expected(&good()).series);
    }
    let metrics = stand.metrics();
    assert!(metrics.contains(r#"refused_samples_total{reason="invalid_labels"} 6"#), "{metrics}");
    assert!(metrics.contains(r#"received_total{kind="float"} 9"#), "{metrics}");
}

#[tokio::test]
async fn what_the_ingester_refuses_is_told_as_well() {
    let stand = stand();
    let mut pushed = Pushed::default();
    pushed.refuse(RefusalReason::DuplicateTimestamp, 1, || "duplicate\nsample".to_string());
    stand.script(Ok(pushed.clone()));
    let answer = stand.push(RW1, snappy(&good())).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, "duplicate sample (1 samples refused, 0 stored)");
    stand.script(Ok(pushed));
    assert_eq!(stand.push(VMAGENT_ZSTD, zstd(&good())).await.status, 409);
}

#[tokio::test]
async fn labels_and_histograms_beyond_their_limits_are_named() {
    let limits = Limits {
        max_label_names_per_series: 2,
        max_label_value_length: 10,
        max_native_histogram_buckets: 2,
        ..Limits::default()
    };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let mut custom = crate::sample_bodies::histogram(NOW);
    (custom.schema, custom.custom_values) = (-53, vec![1.0, 2.0, 3.0]);
    let native = pb::TimeSeries {
        labels: crate::sample_bodies::labels(&[("__name__", "h")]),
        histograms: vec![custom],
        ..Default::default()
    };
    for (bad, limit) in [
        (series(&[("__name__", "up"), ("a", "1"), ("b", "1")], 1.0, NOW), "max_label_names_per_series is 2"),
        (series(&[("__name__", "up"), ("a", "12345678901")], 1.0, NOW), "max_label_value_length is 10"),
        (series(&[("__name__", "up")], 1.0, NOW + 601_000), "creation_grace_period is 10m"),
        (native, "max_native_histogram_buckets is 2"),
    ] {
        let request = pb::WriteRequest { timeseries: vec![bad], metadata: vec![] };
        let answer = stand.push(RW1, snappy(&request)).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(limit) && answer.body.contains("__name__="), "{answer:?}");
        assert!(!answer.body.contains('\n') && answer.body.len() <= 1024);
    }
}

#[tokio::test]
async fn an_error_behind_reaches_the_sender_as_what_it_is() {
    let stand = stand();
    let unavailable = PushError::Unavailable { message: "disk full".to_string(), retry_after_secs: 8 };
    stand.script(Err(unavailable));
    let answer = stand.push(RW1, snappy(&good())).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "disk full"));
    assert!((4..=12).contains(&answer.retry_after.unwrap()), "{answer:?}");
    stand.script(Err(PushError::Internal("oops".to_string())));
    assert_eq!(stand.push(VMAGENT_ZSTD, zstd(&good())).await.status, 500);
    stand.script(Err(PushError::Invalid("bad".to_string())));
    assert_eq!(stand.push(VMAGENT_ZSTD, zstd(&good())).await.status, 409);
}

#[tokio::test]
async fn a_tenant_over_its_rate_waits_and_is_told_how_long() {
    let limits = Limits { ingestion_rate: 1.0, ingestion_burst_size: 1.0, ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    assert_eq!(stand.push(RW1, snappy(&good())).await.status, 204);
    let answer = stand.push(RW1, snappy(&good())).await;
    assert_eq!(answer.status, 429);
    assert!(answer.body.contains("ingestion_rate of 1"), "{answer:?}");
    assert!((3..=9).contains(&answer.retry_after.unwrap()), "{answer:?}");
    let mut again = RW1.to_vec();
    again.push(("retry-attempt", "3"));
    let answer = stand.push(&again, snappy(&good())).await;
    assert!((24..=72).contains(&answer.retry_after.unwrap()), "{answer:?}");
    assert_eq!(stand.seen().len(), 1);
    stand.clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(stand.push(RW1, snappy(&good())).await.status, 204);
    assert!(stand.metrics().contains(r#"refused_requests_total{reason="rate_limited"} 2"#));
}

#[tokio::test]
async fn a_request_beyond_the_memory_share_is_refused_by_name_for_good() {
    let stand = stand_with(Limits::default(), MemoryPart::new("requests", 100_000), false);
    let mut request = good();
    request.timeseries = vec![request.timeseries[0].clone(); 20_000];
    let answer = stand.push(RW1, snappy(&request)).await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("the memory for requests is used up"), "{answer:?}");
    assert_eq!(answer.retry_after, None);
    assert_eq!((stand.memory.used(), stand.seen().len()), (0, 0));
}

#[tokio::test]
async fn a_request_that_finds_the_memory_share_in_use_may_come_back() {
    let stand = stand_with(Limits::default(), MemoryPart::new("requests", 8 << 20), false);
    let others = stand.memory.reserve(8 << 20).unwrap();
    let answer = stand.push(RW1, snappy(&good())).await;
    assert_eq!(answer.status, 503);
    assert!(answer.retry_after.is_some());
    drop(others);
    assert_eq!(stand.push(RW1, snappy(&good())).await.status, 204);
}

#[tokio::test]
async fn tenants_come_from_the_header_and_keep_apart() {
    let stand = stand_with(Limits::default(), MemoryPart::unlimited("push"), true);
    assert_eq!(stand.push(RW1, snappy(&good())).await.status, 401);
    for tenant in ["a", "b", "a"] {
        let mut headers = RW1.to_vec();
        headers.push(("x-scope-orgid", tenant));
        assert_eq!(stand.push(&headers, snappy(&good())).await.status, 204);
        assert_eq!(stand.seen()[0].0, tenant);
    }
    let answer = stand.push(&[("x-scope-orgid", "../x")], snappy(&good())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST.as_u16());
}

#[tokio::test]
async fn text_with_parameters_that_nobody_knows_is_refused_with_their_names() {
    let stand = stand();
    for (query, part) in [
        ("timestamp=1594370496905&label=dc%3Deu", "unknown parameter \"label\""),
        ("timestamp=soon", "timestamp is \"soon\""),
        ("extra_label=dc", "extra_label is \"dc\""),
        ("extra_label=%3Deu", "extra_label is \"=eu\""),
    ] {
        let path = format!("/api/v1/import/prometheus?{query}");
        let answer = stand.send("POST", &path, &[], "up 1\n").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(part), "{answer:?}");
    }
    assert_eq!(stand.seen().len(), 0);
    assert!(stand.metrics().contains("reason=\"parameters\"} 4"), "{}", stand.metrics());
    assert_eq!(stand.send("POST", "/api/v1/import/prometheus?", &[], "up 1\n").await.status, 204);
}

#[tokio::test]
async fn text_takes_its_time_and_more_labels_from_the_address() {
    let stand = stand();
    let path =
        "/api/v1/import/prometheus?timestamp=1594370496905&extra_label=dc%3Deu&extra_label=job%3Dx%3Dy";
    for _ in 0..2 {
        let answer = stand.send("POST", path, &[], "up{job=\"a\"} 1\ndown 2 5\n").await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let expected = pb::WriteRequest {
            timeseries: vec![
                series(&[("__name__", "down"), ("dc", "eu"), ("job", "x=y")], 2.0, 5),
                series(&[("__name__", "up"), ("dc", "eu"), ("job", "x=y")], 1.0, 1_594_370_496_905),
            ],
            metadata: vec![],
        };
        let mut seen = stand.seen().remove(0).1;
        seen.series.sort();
        assert_eq!(seen, oracle::expected(&expected));
    }
}

#[tokio::test]
async fn text_is_imported_plain_and_packed() {
    let stand = stand();
    let text = "# TYPE up gauge\n# HELP up It answers\nup{job=\"b\",instance=\"a\"} 1\n\nup{job=\"c\"} 2 5\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let plain = stand.import(&[], text).await;
    let packed = stand.import(&[("content-encoding", "gzip")], gzip.finish().unwrap()).await;
    assert_eq!((plain.status, packed.status), (204, 204), "{plain:?} {packed:?}");
    let expected = pb::WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("instance", "a"), ("job", "b")], 1.0, NOW),
            series(&[("__name__", "up"), ("job", "c")], 2.0, 5),
        ],
        metadata: vec![pb::MetricMetadata {
            r#type: 2,
            metric_family_name: "up".to_string(),
            help: "It answers".to_string(),
            unit: String::new(),
        }],
    };
    for (_, mut seen) in stand.seen() {
        seen.series.sort();
        assert_eq!(seen, oracle::expected(&expected));
    }
    assert_eq!(stand.import(&[("content-encoding", "br")], "").await.status, 415);
    assert_eq!(stand.import(&[("content-encoding", "gzip")], "not gzip").await.status, 400);
}

#[tokio::test]
async fn unreadable_lines_are_named_and_the_others_stored() {
    let stand = stand();
    let text = "up 1\nup{job=\"a} 2\nup x\nup{job=\"a\",job=\"b\"} 3\nup{job=\"c\"} 4\n";
    let answer = stand.import(&[], text).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body,
        "line 2: quotes are not closed (2 lines unreadable, 1 samples refused, 2 stored)"
    );
    assert_eq!(stand.seen()[0].1.series.len(), 2);
    let answer = stand.import(&[], "up{job=\"a\",job=\"b\"} 3\n").await;
    assert!(answer.body.starts_with("line 1: series has the label \"job\" more than once"), "{answer:?}");
    assert!(stand.metrics().contains(r#"refused_samples_total{reason="unreadable_line"} 2"#));
}
