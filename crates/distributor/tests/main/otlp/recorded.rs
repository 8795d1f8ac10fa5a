//! Requests recorded from real senders.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use distributor::Workspace;
use limits::Limits;
use model::TenantId;
use prost::Message;
use runtime::MemoryPart;
use serde_json::Value as Json;
use tower::ServiceExt;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;

use super::{oracle, truth};
use crate::http::{Stand, stand_with};
use crate::oracle::Seen;
use crate::{corpus, oracle as plain};

/// A recorded request.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
    headers: Vec<(String, String)>,
    path: String,
    pub(crate) message: ExportMetricsServiceRequest,
}

/// All recorded requests with metrics, or none where the corpus is absent.
pub(crate) fn all() -> Vec<Recorded> {
    let Some(folder) = corpus::folder() else {
        println!("CORPUS ABSENT: no recorded requests (set FIRN_SHARED)");
        return Vec::new();
    };
    let json = |path| -> Json { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".decoded.json") else {
            continue;
        };
        let decoded = json(folder.join(format!("{name}.decoded.json")));
        let is_metrics = decoded["_reference"]["message"]
            == "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest";
        if !is_metrics {
            continue;
        }
        let described = json(folder.join(format!("{name}.json")));
        let text = |v: &Json| v.as_str().unwrap().to_string();
        let headers = described["headers"].as_array().unwrap();
        let read = |end: &str| std::fs::read(folder.join(format!("{name}.{end}")));
        all.push(Recorded {
            name: name.to_string(),
            body: read("body").or_else(|_| read("grpc")).unwrap(),
            headers: headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            path: text(&described["path"]),
            message: truth::request(&decoded),
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Recorded {
    /// Sends it to its own path with its own headers.
    pub(crate) async fn send(&self, router: &Router) -> u16 {
        let mut request = Request::builder().method("POST").uri(&self.path);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body.clone())).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let refused = answer.headers().contains_key("grpc-message");
        assert!(!refused, "{}: {:?}", self.name, answer.headers());
        answer.status().as_u16()
    }
}

/// Limits under which recorded points of any time and temporality are taken.
pub(crate) fn taking_all() -> Limits {
    Limits {
        creation_grace_period: limits::PromDuration::secs(0),
        otel_native_delta_ingestion: true,
        ..Limits::default()
    }
}

fn sorted(mut seen: Seen) -> Seen {
    // The reference decoder took `-0` in JSON for a whole number, which has no sign.
    for (_, bits, _) in seen.series.iter_mut().flat_map(|series| &mut series.floats) {
        *bits = if *bits == (-0f64).to_bits() { 0 } else { *bits };
    }
    seen.series.sort();
    seen.metadata.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    seen
}

async fn stored(stand: &Stand, recorded: &Recorded) -> Seen {
    assert_eq!(recorded.send(&stand.router).await, 200, "{}", recorded.name);
    let seen = stand.seen().pop().map(|(_, seen)| seen).unwrap_or_default();
    sorted(seen)
}

#[tokio::test]
async fn every_recorded_request_becomes_what_the_reference_decoder_saw() {
    let limits = taking_all();
    let stand = stand_with(limits.clone(), MemoryPart::unlimited("push"), false);
    let all = all();
    for recorded in &all {
        let expected = oracle::expected(&recorded.message, &limits);
        // A metric called 温度 has no name left, and the Collector rounded the counts of a float histogram, so that they
        // do not add up. Prometheus refuses both as well.
        let n_refused = match recorded.name.rsplit_once('-') {
            Some((_, "scraped")) => 2,
            Some((_, "stale")) => 1,
            _ => 0,
        };
        assert_eq!(expected.n_refused, n_refused, "{}", recorded.name);
        let expected = sorted(expected.seen);
        // Twice: the first time everything is new, the second time everything is known.
        for _ in 0..2 {
            let seen = stored(&stand, recorded).await;
            for (seen, expected) in seen.series.iter().zip(&expected.series) {
                assert_eq!(seen, expected, "{}", recorded.name);
            }
            assert_eq!(seen, expected, "{}", recorded.name);
        }
    }
    println!("{} recorded requests decoded", all.len());
    assert!(all.is_empty() || all.len() >= 23, "{}", all.len());
}

#[tokio::test]
async fn protobuf_json_and_grpc_forms_of_the_same_data_become_the_same() {
    let stand = stand_with(taking_all(), MemoryPart::unlimited("push"), false);
    let mut by_data: BTreeMap<Vec<u8>, Vec<(String, Seen)>> = BTreeMap::new();
    for recorded in all() {
        let key = recorded.message.encode_to_vec();
        by_data.entry(key).or_default().push((recorded.name.clone(), stored(&stand, &recorded).await));
        // Whatever it was recorded as: JSON and plain protobuf of the message itself.
        for (form, body) in [
            ("application/x-protobuf", recorded.message.encode_to_vec()),
            ("application/json", super::generated::json(&recorded.message).into_bytes()),
        ] {
            let again = Recorded {
                name: format!("{} as {form}", recorded.name),
                body,
                headers: vec![("content-type".to_string(), form.to_string())],
                path: "/v1/metrics".to_string(),
                message: recorded.message.clone(),
            };
            let seen = stored(&stand, &again).await;
            by_data.get_mut(&recorded.message.encode_to_vec()).unwrap().push((again.name, seen));
        }
    }
    for forms in by_data.values() {
        for (name, seen) in forms {
            for (seen, other) in seen.series.iter().zip(&forms[0].1.series) {
                assert_eq!(seen, other, "{name} and {}", forms[0].0);
            }
            assert_eq!(seen, &forms[0].1, "{name} and {}", forms[0].0);
        }
    }
}

#[test]
fn a_repeated_request_works_out_no_labels() {
    let decoder = plain::decoder(plain::ONE_SHARD);
    let mut work = Workspace::default();
    for recorded in all() {
        let mut learned = 1;
        for _ in 0..2 {
            work.reset();
            work.text.extend_from_slice(&recorded.message.encode_to_vec());
            let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
            let (decoded, _) = decoder.otlp(&TenantId::anonymous(), &mut work, &mut reservation).unwrap();
            learned = decoded.counts.learned;
        }
        assert_eq!(learned, 0, "{}", recorded.name);
    }
}
