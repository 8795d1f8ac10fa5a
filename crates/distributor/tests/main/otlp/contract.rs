//! What senders are told, over HTTP and gRPC.

use axum::http::HeaderMap;
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt;
use limits::Limits;
use prost::Message;
use runtime::MemoryPart;
use std::io::Write;
use tower::ServiceExt;
use wire::generated::opentelemetry::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use wire::generated::opentelemetry::metrics::v1::AggregationTemporality;
use wire::{PushError, Pushed, RefusalReason};

use super::generated::{gauge, json, of_metrics, sum};
use crate::http::{Stand, stand, stand_with};

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn good() -> ExportMetricsServiceRequest {
    of_metrics(&[("service.name", "shop")], vec![gauge("up", 1.0)])
}

/// A good metric beside one of delta temporality.
fn partly_good() -> ExportMetricsServiceRequest {
    of_metrics(&[], vec![gauge("up", 1.0), sum("visits", AggregationTemporality::Delta)])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn frame(packed: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![packed];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The status, the message and all headers and trailers of an answer over gRPC.
#[derive(Debug)]
struct Called {
    status: i32,
    message: String,
    body: Vec<u8>,
    headers: HeaderMap,
}

async fn call(stand: &Stand, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Called {
    let mut request = axum::http::Request::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer =
        stand.router.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let mut headers = answer.headers().clone();
    let collected = answer.into_body().collect().await.unwrap();
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    let body = collected.to_bytes().to_vec();
    let text = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap());
    Called {
        status: text("grpc-status").parse().unwrap(),
        message: text("grpc-message").to_string(),
        body,
        headers,
    }
}

async fn export(stand: &Stand, body: Vec<u8>) -> Called {
    call(stand, EXPORT, &[GRPC], body).await
}

#[tokio::test]
async fn each_path_takes_each_form_and_packing() {
    let stand = stand();
    let protobuf = good().encode_to_vec();
    let text = json(&good()).into_bytes();
    for path in ["/v1/metrics", "/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"] {
        for (form, bytes) in [(PROTOBUF, &protobuf), (JSON, &text)] {
            for (packing, body) in [
                ("identity", bytes.clone()),
                ("gzip", gzip(bytes)),
                ("zstd", zstd::bulk::compress(bytes, 3).unwrap()),
                ("zstd", zstd::stream::encode_all(&bytes[..], 3).unwrap()),
            ] {
                let answer = stand.send("POST", path, &[form, ("content-encoding", packing)], body).await;
                assert_eq!((answer.status, answer.header("content-type")), (200, Some(form.1)), "{packing}");
                assert_eq!(answer.body, if form == JSON { "{}" } else { "" });
                let (_, seen) = stand.seen().pop().unwrap();
                assert_eq!(
                    seen.series[0].labels,
                    [("__name__".to_string(), "up".to_string()), ("job".to_string(), "shop".to_string())]
                );
            }
        }
    }
    assert!(stand.metrics().contains("requests_total{protocol=\"otlp_http_json\"} 12"));
}

#[tokio::test]
async fn grpc_takes_each_packing_and_answers_with_trailers() {
    let stand = stand();
    let bytes = good().encode_to_vec();
    for (packing, body) in [
        ("identity", frame(0, &bytes)),
        ("gzip", frame(0, &bytes)),
        ("gzip", frame(1, &gzip(&bytes))),
        ("zstd", frame(1, &zstd::bulk::compress(&bytes, 3).unwrap())),
    ] {
        let called = call(&stand, EXPORT, &[GRPC, ("grpc-encoding", packing)], body).await;
        assert_eq!((called.status, called.body), (0, vec![0, 0, 0, 0, 0]), "{packing}");
        assert_eq!(stand.seen().len(), 1);
    }
}

#[tokio::test]
async fn points_that_were_refused_are_counted_in_a_partial_success_and_the_others_are_stored() {
    let stand = stand();
    let protobuf = stand.send("POST", "/v1/metrics", &[PROTOBUF], partly_good().encode_to_vec()).await;
    let called = export(&stand, frame(0, &partly_good().encode_to_vec())).await;
    let answer = stand.send("POST", "/v1/metrics", &[JSON], json(&partly_good()).into_bytes()).await;
    assert_eq!((protobuf.status, called.status, answer.status), (200, 0, 200));
    for bytes in [&protobuf.bytes[..], &called.body[5..]] {
        let partial = ExportMetricsServiceResponse::decode(bytes).unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_data_points, 1);
        assert!(partial.error_message.contains("otel_native_delta_ingestion"), "{}", partial.error_message);
    }
    let partial: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedDataPoints"], "1");
    for (_, seen) in stand.seen() {
        assert_eq!(seen.series.len(), 1);
    }
}

#[tokio::test]
async fn what_the_ingester_refuses_is_rejected_and_never_more_than_there_is() {
    let stand = stand();
    let mut pushed = Pushed::default();
    pushed.refuse(RefusalReason::TooOld, 9, || "sample is too old".to_string());
    pushed.refuse(RefusalReason::InvalidExemplar, 9, || "exemplar".to_string());
    stand.script(Ok(pushed));
    let answer = stand.send("POST", "/v1/metrics", &[PROTOBUF], partly_good().encode_to_vec()).await;
    let partial = ExportMetricsServiceResponse::decode(&answer.bytes[..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert!(partial.error_message.ends_with("; sample is too old"), "{}", partial.error_message);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_for_good_with_a_status_in_its_own_form() {
    let stand = stand();
    for (headers, body, status) in [
        (vec![PROTOBUF], b"\x0A\x05x".to_vec(), 400),
        (vec![PROTOBUF, ("content-encoding", "gzip")], b"no gzip".to_vec(), 400),
        (vec![JSON], b"{\"resourceMetrics\": 5}".to_vec(), 400),
        (vec![JSON], b"{} {}".to_vec(), 400),
        (vec![("content-type", "text/plain")], Vec::new(), 415),
        (vec![], Vec::new(), 415),
        (vec![PROTOBUF, ("content-encoding", "br")], Vec::new(), 415),
    ] {
        let answer = stand.send("POST", "/v1/metrics", &headers, body).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("retry-after"), None);
        if headers.first() == Some(&PROTOBUF) && status == 400 {
            assert!(answer.bytes.starts_with(&[0x08, 3, 0x12]), "google.rpc.Status: {:?}", answer.bytes);
        } else {
            let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert!(told["code"].is_number() && told["message"].is_string(), "{}", answer.body);
        }
    }
    let bytes = good().encode_to_vec();
    for (headers, body, status) in [
        (vec![GRPC], frame(0, b"\x0A\x05x"), 3),
        (vec![GRPC], frame(1, &gzip(&bytes)), 3),
        (vec![GRPC], frame(7, &bytes), 3),
        (vec![GRPC], Vec::new(), 3),
        (vec![GRPC], [frame(0, &bytes), frame(0, &bytes)].concat(), 3),
        (vec![GRPC, ("grpc-encoding", "snappy")], frame(1, &bytes), 12),
    ] {
        let called = call(&stand, EXPORT, &headers, body).await;
        assert_eq!(called.status, status, "{called:?}");
        assert!(!called.message.is_empty() && !called.headers.contains_key("grpc-status-details-bin"));
    }
    assert!(stand.seen().is_empty());
}

#[tokio::test]
async fn what_passes_is_to_be_sent_again_and_says_when() {
    let stand = stand();
    let down = || PushError::Unavailable { message: "starting".to_string(), retry_after_secs: 5 };
    stand.script(Err(down()));
    let answer = stand.send("POST", "/v1/metrics", &[PROTOBUF], good().encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    stand.script(Err(down()));
    let called = export(&stand, frame(0, &good().encode_to_vec())).await;
    assert_eq!((called.status, called.message.as_str()), (14, "starting"));
    // google.rpc.Status with a RetryInfo in it, as base64.
    let details = called.headers["grpc-status-details-bin"].to_str().unwrap();
    assert!(details.starts_with("CA4S"), "{details}");
    stand.script(Err(PushError::Internal("bug".to_string())));
    assert_eq!(export(&stand, frame(0, &good().encode_to_vec())).await.status, 13);
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_to_wait_and_one_without_a_name_to_go() {
    let limits = Limits { ingestion_rate: 0.001, ingestion_burst_size: 1.0, ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), true);
    let tenant = ("x-scope-orgid", "a");
    assert_eq!(stand.send("POST", "/v1/metrics", &[PROTOBUF], good().encode_to_vec()).await.status, 401);
    assert_eq!(export(&stand, frame(0, &good().encode_to_vec())).await.status, 16);
    let first = stand.send("POST", "/v1/metrics", &[PROTOBUF, tenant], good().encode_to_vec()).await;
    assert_eq!(first.status, 200);
    assert_eq!(stand.seen()[0].0, "a");
    let second = stand.send("POST", "/v1/metrics", &[PROTOBUF, tenant], good().encode_to_vec()).await;
    assert_eq!(second.status, 429);
    assert!(second.header("retry-after").is_some());
    let called = call(&stand, EXPORT, &[GRPC, tenant], frame(0, &good().encode_to_vec())).await;
    assert_eq!(called.status, 8);
    assert!(called.headers.contains_key("grpc-status-details-bin"), "without it senders drop the request");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_for_good_however_it_is_packed() {
    let limits = Limits { max_body_bytes: 1000, ..Limits::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    let large = vec![0; 100_000];
    for (packing, body, status) in [
        ("identity", large.clone(), 413),
        ("gzip", gzip(&large), 400),
        ("zstd", zstd::bulk::compress(&large, 3).unwrap(), 400),
    ] {
        let headers = [PROTOBUF, ("content-encoding", packing)];
        let answer = stand.send("POST", "/v1/metrics", &headers, body).await;
        assert_eq!(answer.status, status, "{packing}");
        assert!(answer.body.contains("max_body_bytes"), "{}", answer.body);
    }
    let called = export(&stand, frame(0, &large)).await;
    assert_eq!(called.status, 3, "a sender that repeats what is exhausted would never end: {called:?}");
    let small = stand_with(Limits::default(), MemoryPart::new("push", 10_000), false);
    let called = export(&small, frame(0, &large)).await;
    assert_eq!(called.status, 3, "there will never be enough memory: {called:?}");
}

#[tokio::test]
async fn a_point_without_a_time_does_not_make_millions_of_target_info() {
    let stand = stand();
    let mut early = gauge("early", 1.0);
    let Some(wire::generated::opentelemetry::metrics::v1::metric::Data::Gauge(data)) = &mut early.data else {
        panic!()
    };
    data.data_points[0].time_unix_nano = 0;
    let resource = [("service.name", "shop"), ("host.name", "a")];
    let request = of_metrics(&resource, vec![gauge("up", 1.0), early]);
    let answer = stand.send("POST", "/v1/metrics", &[PROTOBUF], request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let (_, seen) = stand.seen().pop().unwrap();
    let n = seen.series.iter().map(|series| series.floats.len()).max().unwrap();
    assert_eq!(n, 10_001);
}

#[tokio::test]
async fn labels_that_multiply_are_bounded() {
    let stand = stand();
    let mut metric = gauge("h", 1.0);
    let point = wire::generated::opentelemetry::metrics::v1::HistogramDataPoint {
        time_unix_nano: super::generated::NOW,
        attributes: vec![super::generated::attribute("a", &"x".repeat(2000))],
        bucket_counts: vec![1; 100_000],
        explicit_bounds: (0..100_000).map(f64::from).collect(),
        ..Default::default()
    };
    metric.data = Some(wire::generated::opentelemetry::metrics::v1::metric::Data::Histogram(
        wire::generated::opentelemetry::metrics::v1::Histogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
        },
    ));
    let answer =
        stand.send("POST", "/v1/metrics", &[PROTOBUF], of_metrics(&[], vec![metric]).encode_to_vec()).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(stand.seen().is_empty());
}

#[tokio::test]
async fn traces_and_logs_are_refused_in_words() {
    let stand = stand();
    for signal in ["traces", "logs"] {
        let answer = stand.send("POST", &format!("/v1/{signal}"), &[PROTOBUF], Vec::new()).await;
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("does not take traces and logs"), "{}", answer.body);
    }
    for service in ["trace.v1.TraceService", "logs.v1.LogsService"] {
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let called = call(&stand, &path, &[GRPC], frame(0, b"")).await;
        assert_eq!(called.status, 12);
        assert!(called.message.contains("does not take traces and logs"), "{}", called.message);
    }
}
