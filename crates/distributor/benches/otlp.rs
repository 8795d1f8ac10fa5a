//! Decode of OpenTelemetry's metrics beside remote write 1.0: the same fleet, the same samples, per request of 2,000.

use distributor::{Decoder, Workspace};
use divan::counter::ItemsCount;
use limits::LimitsHandle;
use model::{Shards, TenantId};
use prost::Message;
use runtime::{Clock, MemoryPart};
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{AnyValue, KeyValue, any_value::Value};
use wire::generated::opentelemetry::metrics::v1::metric::Data;
use wire::generated::opentelemetry::metrics::v1::*;
use wire::generated::opentelemetry::resource::v1::Resource;
use wire::generated::prometheus as pb;

const TARGETS: usize = 100;
const METRICS: usize = 63;
const POINTS: usize = 8;
const TARGETS_PER_BODY: usize = 4;

fn main() {
    divan::main();
}

fn decoder() -> Decoder {
    let shards = Shards { count: 4, spread: 1 };
    Decoder::new(LimitsHandle::default(), shards, Clock::manual(1_795_251_153_981).0, 64 << 20, 7)
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_string(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..Default::default()
    }
}

/// Value and milliseconds of a point.
fn measured(target: usize, metric: usize, point: usize, round: u64) -> (f64, i64) {
    let i = (target * METRICS + metric) * POINTS + point;
    ((i as u64 * 7 + round * 15) as f64, 1_795_251_000_000 + target as i64 + round as i64 * 15)
}

fn resource_metrics(target: usize, round: u64) -> ResourceMetrics {
    let point = |metric: usize, i: usize| {
        let (value, timestamp) = measured(target, metric, i, round);
        NumberDataPoint {
            attributes: vec![
                attribute("cpu", i.to_string()),
                attribute("device", format!("/dev/disk/by-id/{}", metric * POINTS + i)),
                attribute("mode", "system".to_string()),
            ],
            start_time_unix_nano: 1_795_250_000_000_000_000,
            time_unix_nano: timestamp as u64 * 1_000_000,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..Default::default()
        }
    };
    let metric = |metric: usize| Metric {
        name: format!("node_some_longer_metric_name_{metric}"),
        description: "What it is that was counted".to_string(),
        data: Some(Data::Sum(Sum {
            data_points: (0..POINTS).map(|i| point(metric, i)).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    let attributes = vec![
        attribute("service.name", "node".to_string()),
        attribute("service.instance.id", format!("host-{target}.example.org:9100")),
    ];
    ResourceMetrics {
        resource: Some(Resource { attributes, ..Default::default() }),
        scope_metrics: vec![ScopeMetrics {
            metrics: (0..METRICS).map(metric).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn otlp(round: u64) -> Vec<Vec<u8>> {
    requests(|target| resource_metrics(target, round))
}

/// As many samples in histograms: ten buckets, a sum and a count in each point.
fn otlp_histograms(round: u64) -> Vec<Vec<u8>> {
    const BUCKETS: usize = 10;
    const PER_METRIC: usize = 6;
    const HISTOGRAMS: usize = METRICS * POINTS / (BUCKETS + 2) / PER_METRIC;
    let point = |target: usize, metric: usize, i: usize| {
        let (_, timestamp) = measured(target, metric, i, round);
        HistogramDataPoint {
            attributes: vec![
                attribute("method", "GET".to_string()),
                attribute("route", format!("/api/v1/things/{i}")),
                attribute("status", "200".to_string()),
            ],
            start_time_unix_nano: 1_795_250_000_000_000_000,
            time_unix_nano: timestamp as u64 * 1_000_000,
            count: BUCKETS as u64 * round,
            sum: Some(round as f64),
            bucket_counts: vec![round; BUCKETS],
            explicit_bounds: (1..BUCKETS).map(|i| i as f64 * 0.25).collect(),
            ..Default::default()
        }
    };
    let metric = |target: usize, metric: usize| Metric {
        name: format!("http.server.some.longer.name.{metric}"),
        unit: "s".to_string(),
        data: Some(Data::Histogram(Histogram {
            data_points: (0..PER_METRIC).map(|i| point(target, metric, i)).collect(),
            aggregation_temporality: 2,
        })),
        ..Default::default()
    };
    requests(|target| {
        let mut resource = resource_metrics(target, round);
        resource.scope_metrics[0].metrics = (0..HISTOGRAMS).map(|i| metric(target, i)).collect();
        resource
    })
}

fn requests(make: impl Fn(usize) -> ResourceMetrics) -> Vec<Vec<u8>> {
    let targets: Vec<usize> = (0..TARGETS).collect();
    let body = |targets: &[usize]| {
        let resource_metrics = targets.iter().map(|target| make(*target)).collect();
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    };
    targets.chunks(TARGETS_PER_BODY).map(body).collect()
}

fn remote_write(round: u64) -> Vec<Vec<u8>> {
    let label = |name: &str, value: String| pb::Label { name: name.to_string(), value };
    let series = |target: usize, metric: usize, i: usize| {
        let (value, timestamp) = measured(target, metric, i, round);
        let labels = vec![
            label("__name__", format!("node_some_longer_metric_name_{metric}_total")),
            label("cpu", i.to_string()),
            label("device", format!("/dev/disk/by-id/{}", metric * POINTS + i)),
            label("instance", format!("host-{target}.example.org:9100")),
            label("job", "node".to_string()),
            label("mode", "system".to_string()),
        ];
        pb::TimeSeries { labels, samples: vec![pb::Sample { value, timestamp }], ..Default::default() }
    };
    let targets: Vec<usize> = (0..TARGETS).collect();
    let body = |targets: &[usize]| {
        let mut timeseries = Vec::new();
        for target in targets {
            for metric in 0..METRICS {
                timeseries.extend((0..POINTS).map(|i| series(*target, metric, i)));
            }
        }
        pb::WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec()
    };
    targets.chunks(TARGETS_PER_BODY).map(body).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Otlp,
    RemoteWrite,
}

fn run(protocol: Protocol, decoder: &Decoder, work: &mut Workspace, bodies: &[Vec<u8>]) -> usize {
    let tenant = TenantId::anonymous();
    let memory = MemoryPart::unlimited("bench");
    let mut n = 0;
    for body in bodies {
        let mut reservation = memory.reserve(0).expect("there is no limit");
        let decoded = if protocol == Protocol::Otlp {
            work.text.extend_from_slice(body);
            decoder.otlp(&tenant, work, &mut reservation).map(|(decoded, _)| decoded)
        } else {
            work.body_mut(body.len()).copy_from_slice(body);
            decoder.remote_write(&tenant, work, &mut reservation)
        };
        n += decoded.expect("the message is good").counts.floats as usize;
        work.reset();
    }
    assert_eq!(n, TARGETS * METRICS * POINTS);
    n
}

fn repeated(bencher: divan::Bencher, protocol: Protocol, make: impl Fn(u64) -> Vec<Vec<u8>>) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..4).map(make).collect();
    run(protocol, &decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(TARGETS * METRICS * POINTS)).bench_local(|| {
        round += 1;
        run(protocol, &decoder, &mut work, &rounds[round % 4])
    });
}

/// What the others are measured against.
#[divan::bench]
fn remote_write_1(bencher: divan::Bencher) {
    repeated(bencher, Protocol::RemoteWrite, remote_write);
}

/// Attributes in the order in which they came before.
#[divan::bench]
fn otlp_protobuf(bencher: divan::Bencher) {
    repeated(bencher, Protocol::Otlp, otlp);
}

/// The same number of samples, most of them in buckets.
#[divan::bench]
fn otlp_protobuf_histograms(bencher: divan::Bencher) {
    repeated(bencher, Protocol::Otlp, otlp_histograms);
}

/// Nothing was seen before.
#[divan::bench]
fn otlp_new_series(bencher: divan::Bencher) {
    let bodies = otlp(0);
    let mut work = Workspace::default();
    bencher
        .counter(ItemsCount::new(TARGETS * METRICS * POINTS))
        .with_inputs(decoder)
        .bench_local_values(|decoder| run(Protocol::Otlp, &decoder, &mut work, &bodies));
}
