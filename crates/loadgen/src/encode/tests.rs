//! What is encoded by hand, read by generated decoders: every protocol says the same of the same scrape.

use std::collections::BTreeMap;

use clap::Parser;
use prost::Message;
use wire::generated::{prometheus as v1, prometheus2 as v2};

use super::{Encoder, Extras};
use crate::fleet::{Entry, Fleet};
use crate::{Cli, Command, Metrics};

const EXTRAS: Extras = Extras { metadata: true, start_timestamps: true };

/// Labels as text, then timestamp and value, a histogram by its buckets.
type Said = BTreeMap<String, Vec<(i64, String)>>;

fn encoded(protocol: &str) -> Vec<u8> {
    let arguments =
        "firn-loadgen metrics --targets=1 --services=1 --samples=2 --histograms=both --end=1700000000";
    let exemplars = if protocol == "text" { "" } else { "--exemplars=0.5" };
    let arguments = format!("{arguments} --protocol={protocol} {exemplars}");
    let Command::Metrics(metrics) = Cli::try_parse_from(arguments.split_whitespace()).unwrap().command;
    encode(&metrics)
}

fn encode(metrics: &Metrics) -> Vec<u8> {
    let fleet = Fleet::new(metrics, 0).unwrap();
    let entries: Vec<Entry<'_>> =
        fleet.targets().iter().flat_map(|t| (0..2).flat_map(|n| fleet.scrape(t, n))).collect();
    let mut body = Vec::new();
    Encoder::new(metrics.protocol, &fleet).encode(&mut body, &fleet, &entries, EXTRAS);
    body
}

fn buckets(spans: &[(i32, u32)], deltas: &[i64]) -> String {
    let absolute = deltas.iter().scan(0, |count, delta| {
        *count += delta;
        Some(*count)
    });
    format!("{spans:?} {:?}", absolute.collect::<Vec<_>>())
}

fn said_in_version_1(body: &[u8]) -> (Said, Said) {
    let (mut said, mut exemplars) = (Said::new(), Said::new());
    for series in v1::WriteRequest::decode(body).unwrap().timeseries {
        let labels: Vec<_> = series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
        assert!(labels.is_sorted());
        let labels = format!("{labels:?}");
        for s in &series.samples {
            said.entry(labels.clone()).or_default().push((s.timestamp, s.value.to_string()));
        }
        for h in &series.histograms {
            let spans: Vec<_> = h.positive_spans.iter().map(|s| (s.offset, s.length)).collect();
            let buckets = buckets(&spans, &h.positive_deltas);
            said.entry(labels.clone()).or_default().push((h.timestamp, format!("{buckets} {}", h.sum)));
        }
        for e in &series.exemplars {
            let trace = (e.labels[0].name.clone(), e.labels[0].value.clone());
            exemplars
                .entry(labels.clone())
                .or_default()
                .push((e.timestamp, format!("{trace:?} {}", e.value)));
        }
    }
    (said, exemplars)
}

fn said_in_version_2(body: &[u8]) -> (Said, Said) {
    let request = v2::Request::decode(body).unwrap();
    assert_eq!(request.symbols[0], "");
    let text = |at: u32| request.symbols[at as usize].as_str();
    let pairs = |refs: &[u32]| refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect::<Vec<_>>();
    let (mut said, mut exemplars) = (Said::new(), Said::new());
    for series in &request.timeseries {
        let labels = pairs(&series.labels_refs);
        assert!(labels.is_sorted());
        let labels = format!("{labels:?}");
        let metadata = series.metadata.unwrap();
        assert!(!series.exemplars.is_empty() || text(metadata.help_ref).starts_with("What "));
        for s in &series.samples {
            assert_eq!(s.start_timestamp != 0, labels.contains("http_request_duration_seconds"));
            said.entry(labels.clone()).or_default().push((s.timestamp, s.value.to_string()));
        }
        for h in &series.histograms {
            assert!(h.start_timestamp > 0 && h.start_timestamp < h.timestamp);
            let spans: Vec<_> = h.positive_spans.iter().map(|s| (s.offset, s.length)).collect();
            let buckets = buckets(&spans, &h.positive_deltas);
            said.entry(labels.clone()).or_default().push((h.timestamp, format!("{buckets} {}", h.sum)));
        }
        for e in &series.exemplars {
            let trace = pairs(&e.labels_refs)[0];
            exemplars
                .entry(labels.clone())
                .or_default()
                .push((e.timestamp, format!("{trace:?} {}", e.value)));
        }
    }
    (said, exemplars)
}

#[test]
fn both_versions_of_remote_write_say_the_same() {
    let (said, exemplars) = said_in_version_1(&encoded("rw1"));
    // 507 of a node_exporter; 60 histograms of thirteen series and a native one.
    assert_eq!(said.len(), 507 + 60 * 14);
    assert!(said.values().all(|samples| samples.len() == 2));
    assert!(exemplars.len() > 20);
    let (said_2, exemplars_2) = said_in_version_2(&encoded("rw2"));
    assert_eq!(said_2, said);
    assert_eq!(exemplars_2, exemplars);
}

#[test]
fn the_text_format_says_the_same_floats() {
    let (mut said, _) = said_in_version_1(&encoded("rw1"));
    let text = encode(&{
        let arguments =
            "firn-loadgen metrics --targets=1 --services=1 --samples=2 --end=1700000000 --protocol=text";
        let Command::Metrics(metrics) = Cli::try_parse_from(arguments.split(' ')).unwrap().command;
        metrics
    });
    let mut n = 0;
    for line in std::str::from_utf8(&text).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.rsplitn(3, ' ');
        let (timestamp, value, series) =
            (words.next().unwrap().parse::<i64>().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (name, rest) = series.split_once('{').unwrap();
        let rest = rest.strip_suffix("\"}").unwrap();
        let mut labels: Vec<_> = rest.split("\",").map(|label| label.split_once("=\"").unwrap()).collect();
        labels.push(("__name__", name));
        labels.sort_unstable();
        let samples = said.get_mut(&format!("{labels:?}")).unwrap();
        assert!(samples.contains(&(timestamp, value.to_string())), "{line}");
        n += 1;
    }
    assert_eq!(n, 2 * (507 + 60 * 13));
}

#[test]
fn json_and_protobuf_of_otlp_have_the_same_points() {
    let json: serde_json::Value = serde_json::from_slice(&encoded("otlp-json")).unwrap();
    let mut points = BTreeMap::new();
    for resource in json["resourceMetrics"].as_array().unwrap() {
        for metric in resource["scopeMetrics"][0]["metrics"].as_array().unwrap() {
            for (kind, data) in metric.as_object().unwrap() {
                let Some(list) = data["dataPoints"].as_array() else { continue };
                *points.entry(kind.clone()).or_insert(0) += list.len();
            }
        }
    }
    let expected = [("exponentialHistogram", 120), ("gauge", 1014), ("histogram", 120)];
    assert_eq!(points, expected.map(|(kind, n)| (kind.to_string(), n)).into());

    let body = encoded("otlp-http");
    let inside = |message: &[u8], field: u64| -> Vec<Vec<u8>> {
        let found = super::proto::fields(message).filter(|(number, _, _)| *number == field);
        found.map(|(_, _, bytes)| bytes.to_vec()).collect()
    };
    let mut points = BTreeMap::new();
    for resource in inside(&body, 1) {
        for metric in inside(&resource, 2).iter().flat_map(|scope| inside(scope, 2)) {
            for (field, kind) in [(5, "gauge"), (9, "histogram"), (10, "exponentialHistogram")] {
                let n: usize = inside(&metric, field).iter().map(|data| inside(data, 1).len()).sum();
                *points.entry(kind).or_insert(0) += n;
            }
        }
    }
    assert_eq!(points, expected.into());
}
