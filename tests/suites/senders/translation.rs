//! What Prometheus 3.15 makes of OpenTelemetry's metrics is what Firn makes of them: recorded requests and requests made
//! by chance go to both, under every translation strategy and every option, and every sample and exemplar is compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prost::Message;
use system_tests::{Chance, FirnOptions, get_json_with, now_ms, part, post, seconds, shared};
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use wire::generated::opentelemetry::metrics::v1::metric::Data;
use wire::generated::opentelemetry::metrics::v1::*;
use wire::generated::opentelemetry::resource::v1::Resource;

use super::sameness::{Mortal, Pair, Window, canonical, folder};
use super::servers::{Server, start_prometheus};

/// A configuration, as Prometheus has it and as Firn has it.
struct Variant {
    name: &'static str,
    /// Under `otlp:`.
    prometheus: &'static str,
    /// Under `limits.overrides`.
    firn: &'static str,
    /// Beside `exemplar-storage`.
    features: &'static str,
}

const VARIANTS: [Variant; 7] = [
    Variant { name: "escaping-with-suffixes", prometheus: "", firn: "", features: "" },
    Variant {
        name: "escaping-without-suffixes",
        prometheus: "translation_strategy: UnderscoreEscapingWithoutSuffixes",
        firn: "otel_translation_strategy: UnderscoreEscapingWithoutSuffixes",
        features: "",
    },
    Variant {
        name: "utf8-with-suffixes",
        prometheus: "translation_strategy: NoUTF8EscapingWithSuffixes",
        firn: "otel_translation_strategy: NoUTF8EscapingWithSuffixes",
        features: "",
    },
    Variant {
        name: "no-translation",
        prometheus: "translation_strategy: NoTranslation",
        firn: "otel_translation_strategy: NoTranslation",
        features: "",
    },
    Variant {
        name: "promoted",
        prometheus: "promote_resource_attributes: [host.name, process.pid, service.name, zone]\n  \
                     keep_identifying_resource_attributes: true\n  promote_scope_metadata: true",
        firn: "promote_otel_resource_attributes: 'host.name,process.pid,service.name,zone'\n      \
               otel_keep_identifying_resource_attributes: true\n      otel_promote_scope_metadata: true",
        features: "",
    },
    Variant {
        name: "everything-native",
        prometheus: "promote_all_resource_attributes: true\n  ignore_resource_attributes: [host.name]\n  \
                     convert_histograms_to_nhcb: true\n  promote_scope_metadata: true\n  \
                     translation_strategy: NoUTF8EscapingWithSuffixes",
        firn: "promote_all_otel_resource_attributes: true\n      ignore_otel_resource_attributes: host.name\n      \
               otel_convert_histograms_to_nhcb: true\n      otel_promote_scope_metadata: true\n      \
               otel_native_delta_ingestion: true\n      \
               otel_translation_strategy: NoUTF8EscapingWithSuffixes",
        features: ",otlp-native-delta-ingestion",
    },
    Variant {
        name: "other-underscores",
        prometheus: "label_name_underscore_sanitization: false\n  label_name_preserve_multiple_underscores: false\n  \
                     promote_all_resource_attributes: true",
        firn: "otel_label_name_underscore_sanitization: false\n      \
               otel_label_name_preserve_underscores: false\n      promote_all_otel_resource_attributes: true",
        features: "",
    },
];

/// Requests made by chance.
const GENERATED: usize = 80;
const DAY_MS: i64 = 24 * 3600 * 1000;

#[test]
fn what_prometheus_makes_of_opentelemetry_is_what_firn_makes_of_it() {
    let Some(binary) = part("bin/prometheus") else { return };
    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("firn.yaml");
    fs::write(&file, firn_config()).unwrap();
    let mut mortal = Mortal::start(FirnOptions::flags(&[&format!("-config.file={}", file.display())]));
    let truths: Vec<Server> = VARIANTS.iter().map(|variant| start(variant, &binary, &mortal)).collect();
    let bodies = bodies();
    let recorded = bodies.iter().filter(|body| !body.name.starts_with("generated")).count();
    for (variant, truth) in VARIANTS.iter().zip(&truths) {
        let mut n_taken = (0, 0);
        for body in &bodies {
            let is_generated = body.name.starts_with("generated");
            if send_to_both(variant, truth, mortal.firn().url(), body) {
                if is_generated { n_taken.1 += 1 } else { n_taken.0 += 1 }
            }
        }
        println!(
            "{}: Prometheus takes {} of {recorded} recorded and {} of {GENERATED} generated requests",
            variant.name, n_taken.0, n_taken.1
        );
        assert!(n_taken.1 > GENERATED / 3 && (recorded == 0 || n_taken.0 >= 10));
    }
    let pairs: Vec<Pair> = VARIANTS
        .iter()
        .zip(&truths)
        .map(|(variant, truth)| Pair {
            what: variant.name,
            prometheus: truth.url.clone(),
            tenant: variant.name.to_string(),
            // They are compared below.
            exemplars: false,
        })
        .collect();
    let to = now_ms();
    let window = Window { from: to - DAY_MS, to };
    compare_exemplars(&pairs, mortal.firn().url(), window);
    mortal.check_through_its_life(&pairs, window);
    compare_exemplars(&pairs, mortal.firn().url(), window);
}

/// All that Prometheus holds have to be there. It drops exemplars of one time that do not come in the order of their
/// values, as recorded ones may; where they come in order there must be no others.
fn compare_exemplars(pairs: &[Pair], firn: &str, window: Window) {
    for pair in pairs {
        let truth = exemplars(&pair.prometheus, &[], window);
        let found = exemplars(firn, &[("X-Scope-OrgID", &pair.tenant)], window);
        let missing: Vec<&String> = truth.difference(&found).take(3).collect();
        assert!(missing.is_empty(), "{}: {missing:#?}", pair.what);
        let more: Vec<&String> =
            found.difference(&truth).filter(|e| e.contains("generated")).take(3).collect();
        assert!(more.is_empty(), "{}: {more:#?}", pair.what);
        println!("{}: {} exemplars, all there", pair.what, truth.len());
        assert!(truth.len() > 100);
    }
}

/// Each with the labels of its series, as text.
fn exemplars(url: &str, headers: &[(&str, &str)], window: Window) -> BTreeSet<String> {
    let (from, to) = (seconds(window.from), seconds(window.to));
    let query = [("query", "{__name__=~\".+\"}"), ("start", from.as_str()), ("end", &to)];
    let answer = get_json_with(&format!("{url}/api/v1/query_exemplars"), &query, headers).unwrap();
    let mut all = BTreeSet::new();
    for series in answer["data"].as_array().unwrap() {
        let labels = canonical(&series["seriesLabels"]);
        for exemplar in series["exemplars"].as_array().unwrap() {
            all.insert(format!("{labels} {}", canonical(exemplar)));
        }
    }
    all
}

fn firn_config() -> String {
    let mut yaml = "limits:\n  overrides:\n".to_string();
    for variant in VARIANTS {
        let limits = if variant.firn.is_empty() { "max_series: 0" } else { variant.firn };
        yaml.push_str(&format!("    {}:\n      {limits}\n", variant.name));
    }
    yaml
}

fn start(variant: &Variant, binary: &Path, mortal: &Mortal) -> Server {
    let features = format!("--enable-feature=exemplar-storage{}", variant.features);
    let flags = ["--web.enable-otlp-receiver", features.as_str()];
    start_prometheus(variant.name, binary, &folder(mortal, variant.name), &flags, |_| {
        let otlp = if variant.prometheus.is_empty() {
            "{}".to_string()
        } else {
            format!("\n  {}", variant.prometheus)
        };
        // Recorded requests are hours old and come in any order.
        format!("otlp: {otlp}\nstorage:\n  tsdb:\n    out_of_order_time_window: 30d\n")
    })
}

/// A request over HTTP.
struct Body {
    name: String,
    content_type: &'static str,
    bytes: Vec<u8>,
}

/// Whether Prometheus takes a request whole; then Firn has to take it whole as well.
fn send_to_both(variant: &Variant, truth: &Server, firn: &str, body: &Body) -> bool {
    let content_type = ("Content-Type", body.content_type);
    let url = format!("{}/api/v1/otlp/v1/metrics", truth.url);
    let answer = post(&url, &[content_type], &body.bytes).unwrap();
    if answer.status != 200 {
        return false;
    }
    let headers = [content_type, ("X-Scope-OrgID", variant.name)];
    let answer = post(&format!("{firn}/api/v1/otlp/v1/metrics"), &headers, &body.bytes).unwrap();
    assert_eq!(answer.status, 200, "{} of {}: {}", body.name, variant.name, answer.body);
    // Of two points of one series and time in one request Prometheus keeps the first and says nothing.
    let is_whole = matches!(answer.body.as_str(), "" | "{}") || answer.body.contains("duplicate sample");
    assert!(is_whole, "{} of {}: {}", body.name, variant.name, answer.body);
    true
}

const PROTOBUF: &str = "application/x-protobuf";

/// Recorded requests as they are and in a form that Prometheus takes under every strategy, and generated ones.
fn bodies() -> Vec<Body> {
    let mut bodies = Vec::new();
    for (name, content_type, bytes) in recorded() {
        if content_type == PROTOBUF {
            let mut message = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
            tame(&mut message, &name);
            bodies.push(Body {
                name: format!("{name}, tamed"),
                content_type,
                bytes: message.encode_to_vec(),
            });
        }
        bodies.push(Body { name, content_type, bytes });
    }
    let mut chance = Chance::new(0x07E1);
    for i in 0..GENERATED {
        let bytes = generated(&mut chance, i).encode_to_vec();
        bodies.push(Body { name: format!("generated {i}"), content_type: PROTOBUF, bytes });
    }
    bodies
}

/// Those of the recorded requests that lie there unpacked.
fn recorded() -> Vec<(String, &'static str, Vec<u8>)> {
    let Some(folder) = shared("data/requests") else { return Vec::new() };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let is_metrics = !name.contains("traces") && !name.contains("logs");
        let is_packed = name.contains("gzip") || name.contains("zstd");
        let content_type = match name.rsplit_once('.') {
            Some((stem, "pb")) if is_metrics && (stem.contains("grpc")) => PROTOBUF,
            Some((stem, "body")) if is_metrics && !is_packed && stem.contains("-json-") => "application/json",
            Some((stem, "body")) if is_metrics && !is_packed && stem.contains("-http-") => PROTOBUF,
            _ => continue,
        };
        all.push((name, content_type, fs::read(path).unwrap()));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Takes out what makes Prometheus refuse a whole request: names of which nothing is left, and histograms that do not
/// add up. The resource becomes one of its own.
fn tame(message: &mut ExportMetricsServiceRequest, name: &str) {
    for resource in &mut message.resource_metrics {
        let attributes = &mut resource.resource.get_or_insert_default().attributes;
        attributes.retain(|pair| pair.key != "service.instance.id");
        attributes.push(attribute("service.instance.id", text(name)));
        attributes.iter_mut().for_each(rename);
        for metric in resource.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
            if metric.name.chars().all(|c| !c.is_ascii_alphanumeric()) {
                metric.name = format!("renamed.{}", metric.name);
            }
            match metric.data.as_mut() {
                None => {}
                Some(Data::Gauge(data)) => {
                    data.data_points.iter_mut().flat_map(|p| &mut p.attributes).for_each(rename);
                }
                Some(Data::Sum(data)) => {
                    data.data_points.iter_mut().flat_map(|p| &mut p.attributes).for_each(rename);
                }
                Some(Data::Histogram(data)) => {
                    data.data_points.iter_mut().flat_map(|p| &mut p.attributes).for_each(rename);
                }
                Some(Data::Summary(data)) => {
                    data.data_points.iter_mut().flat_map(|p| &mut p.attributes).for_each(rename);
                }
                Some(Data::ExponentialHistogram(data)) => {
                    data.data_points.iter_mut().flat_map(|p| &mut p.attributes).for_each(rename);
                    data.data_points.retain(adds_up);
                }
            }
        }
    }
}

fn rename(pair: &mut KeyValue) {
    if pair.key.chars().all(|c| !c.is_ascii_alphanumeric()) {
        pair.key = format!("renamed {}", pair.key);
    }
}

fn adds_up(point: &ExponentialHistogramDataPoint) -> bool {
    let sides = [&point.positive, &point.negative].into_iter().flatten();
    let in_buckets: u64 = sides.flat_map(|side| &side.bucket_counts).sum();
    in_buckets + point.zero_count == point.count || point.flags & 1 == 1
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_string())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_string(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn generated(chance: &mut Chance, i: usize) -> ExportMetricsServiceRequest {
    let n_resources = 1 + chance.below(2);
    let resource_metrics = (0..n_resources).map(|n| {
        let mut attributes = some_attributes(chance);
        attributes.push(attribute("service.name", text("shop")));
        attributes.push(attribute("service.instance.id", text(&format!("generated {i} {n}"))));
        if chance.below(2) == 0 {
            attributes.push(attribute("service.namespace", text("ns")));
        }
        ResourceMetrics {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_metrics: (0..1 + chance.below(2)).map(|scope| some_scope(chance, scope)).collect(),
            ..Default::default()
        }
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }
}

fn some_scope(chance: &mut Chance, n: u64) -> ScopeMetrics {
    let mut scope = ScopeMetrics {
        schema_url: ["", "https://schema"][chance.below(2) as usize].to_string(),
        ..Default::default()
    };
    let info = scope.scope.get_or_insert_default();
    info.name = ["", "lib", "io.lib"][chance.below(3) as usize].to_string();
    info.version = ["", "1.2"][chance.below(2) as usize].to_string();
    info.attributes = some_attributes(chance);
    // Names are unique in a resource, so that no two points are the same series.
    scope.metrics = (0..1 + chance.below(5)).map(|i| some_metric(chance, &format!("{n}{i}"))).collect();
    scope
}

const NAMES: [&str; 12] = [
    "http.server.duration",
    "9lives",
    "a..b__c",
    "x:y",
    "requests_total",
    "cpu ratio",
    "größe",
    "_under",
    "temp.seconds",
    "total",
    "Mixed-Case.Name",
    "bytes.per.second",
];
const UNITS: [&str; 14] = [
    "",
    "s",
    "ms",
    "By",
    "1",
    "%",
    "{request}",
    "By/s",
    "m/h",
    "Cel",
    "requests/s",
    "KiBy",
    "°C",
    "foo__bar/",
];
const KEYS: [&str; 18] = [
    "http.method",
    "http_method",
    "http-method",
    "zone",
    "host.name",
    "process.pid",
    "_private",
    "__double",
    "__x__",
    "9digit",
    "a.b.c",
    "größe",
    "le",
    "quantile",
    "job",
    "Upper.Case",
    "otel_scope_name",
    "trailing.",
];

fn some_metric(chance: &mut Chance, unique: &str) -> Metric {
    let pick =
        |chance: &mut Chance, from: &[&str]| from[chance.below(from.len() as u64) as usize].to_string();
    let n = 1 + chance.below(3);
    let temporality = if chance.below(12) == 0 { 1 } else { 2 };
    let data = match chance.below(6) {
        0 => Data::Gauge(Gauge { data_points: (0..n).map(|i| some_number(chance, i)).collect() }),
        1 | 2 => Data::Sum(Sum {
            data_points: (0..n).map(|i| some_number(chance, i)).collect(),
            aggregation_temporality: temporality,
            is_monotonic: chance.below(2) == 0,
        }),
        3 => Data::Histogram(Histogram {
            data_points: (0..n).map(|i| some_histogram(chance, i)).collect(),
            aggregation_temporality: temporality,
        }),
        4 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: (0..n).map(|i| some_exponential(chance, i)).collect(),
            aggregation_temporality: temporality,
        }),
        _ => Data::Summary(Summary { data_points: (0..n).map(|i| some_summary(chance, i)).collect() }),
    };
    let name = format!("{}.{unique}", pick(chance, &NAMES));
    // Half of the names end as suffixes do.
    let name = if chance.below(2) == 0 { format!("{unique}.{}", pick(chance, &NAMES)) } else { name };
    Metric {
        name,
        unit: pick(chance, &UNITS),
        description: "what it is".to_string(),
        data: Some(data),
        ..Default::default()
    }
}

/// The last one makes the point's series its own.
fn point_attributes(chance: &mut Chance, i: u64) -> Vec<KeyValue> {
    let mut attributes = some_attributes(chance);
    attributes.push(attribute("point", Value::IntValue(i as i64)));
    attributes
}

/// Keys that are different from each other, some of them the same once they are translated.
fn some_attributes(chance: &mut Chance) -> Vec<KeyValue> {
    let mut attributes: Vec<KeyValue> = Vec::new();
    for _ in 0..chance.below(5) {
        let key = KEYS[chance.below(KEYS.len() as u64) as usize];
        if attributes.iter().all(|pair| pair.key != key) {
            let value = some_value(chance, 2);
            attributes.push(attribute(key, value));
        }
    }
    attributes
}

fn some_value(chance: &mut Chance, depth: u32) -> Value {
    match chance.below(if depth == 0 { 8 } else { 11 }) {
        0..=2 => text(["GET", "a;b", "", "größe", "\"quoted\"\n<tag>"][chance.below(5) as usize]),
        3 => Value::BoolValue(chance.below(2) == 0),
        4 => Value::IntValue(chance.draw() as i64),
        5 => Value::DoubleValue(
            [0.5, 1e21, -2.5e-7, 3.0, f64::NAN, f64::INFINITY, 1e20, -0.0][chance.below(8) as usize],
        ),
        6 => Value::BytesValue(chance.draw().to_le_bytes()[..chance.below(8) as usize].to_vec()),
        7 => text("v"),
        8 | 9 => {
            let values =
                (0..chance.below(3)).map(|_| AnyValue { value: Some(some_value(chance, depth - 1)) });
            Value::ArrayValue(ArrayValue { values: values.collect() })
        }
        _ => {
            let keys = ["k", "a", "k2"];
            let values =
                (0..chance.below(3)).map(|i| attribute(keys[i as usize], some_value(chance, depth - 1)));
            Value::KvlistValue(KeyValueList { values: values.collect() })
        }
    }
}

/// Some time in the last two hours, and a start before it or none.
fn some_times(chance: &mut Chance) -> (u64, u64) {
    let time = (now_ms() as u64 - 60_000 - chance.below(3_600_000)) * 1_000_000 + chance.below(1_000_000);
    (if chance.below(2) == 0 { 0 } else { time - chance.below(600_000_000_000) }, time)
}

fn some_flags(chance: &mut Chance) -> u32 {
    u32::from(chance.below(8) == 0)
}

fn some_double(chance: &mut Chance) -> f64 {
    match chance.below(6) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -0.0,
        _ => chance.below(1_000_000) as f64 / 128.0,
    }
}

fn some_number(chance: &mut Chance, i: u64) -> NumberDataPoint {
    let (start_time_unix_nano, time_unix_nano) = some_times(chance);
    NumberDataPoint {
        attributes: point_attributes(chance, i),
        start_time_unix_nano,
        time_unix_nano,
        exemplars: some_exemplars(chance, time_unix_nano),
        flags: some_flags(chance),
        value: match chance.below(8) {
            0 => None,
            1..4 => Some(number_data_point::Value::AsInt(chance.draw() as i64)),
            _ => Some(number_data_point::Value::AsDouble(some_double(chance))),
        },
    }
}

fn some_histogram(chance: &mut Chance, i: u64) -> HistogramDataPoint {
    let (start_time_unix_nano, time_unix_nano) = some_times(chance);
    let bounds: Vec<f64> = (0..1 + chance.below(5)).map(|i| i as f64 * 2.5 - 1.0).collect();
    let counts: Vec<u64> = (0..=bounds.len()).map(|_| chance.below(4) * chance.below(9)).collect();
    HistogramDataPoint {
        attributes: point_attributes(chance, i),
        start_time_unix_nano,
        time_unix_nano,
        count: counts.iter().sum(),
        sum: (chance.below(4) > 0).then(|| chance.below(1000) as f64 / 8.0),
        bucket_counts: counts,
        explicit_bounds: bounds,
        exemplars: some_exemplars(chance, time_unix_nano),
        flags: some_flags(chance),
        ..Default::default()
    }
}

fn some_exponential(chance: &mut Chance, i: u64) -> ExponentialHistogramDataPoint {
    let (start_time_unix_nano, time_unix_nano) = some_times(chance);
    let mut side = || {
        let offset = chance.below(40) as i32 - 20;
        let bucket_counts = (0..chance.below(20)).map(|_| chance.below(3) * chance.below(9)).collect();
        exponential_histogram_data_point::Buckets { offset, bucket_counts }
    };
    let (positive, negative) = (side(), side());
    let zero_count = chance.below(5);
    let all = positive.bucket_counts.iter().chain(&negative.bucket_counts).sum::<u64>();
    ExponentialHistogramDataPoint {
        attributes: point_attributes(chance, i),
        start_time_unix_nano,
        time_unix_nano,
        count: all + zero_count,
        sum: (chance.below(4) > 0).then(|| chance.below(1000) as f64 / 8.0),
        scale: chance.below(16) as i32 - 4,
        zero_count,
        positive: Some(positive),
        negative: Some(negative),
        flags: some_flags(chance),
        exemplars: some_exemplars(chance, time_unix_nano),
        zero_threshold: 0.125,
        ..Default::default()
    }
}

fn some_summary(chance: &mut Chance, i: u64) -> SummaryDataPoint {
    let (start_time_unix_nano, time_unix_nano) = some_times(chance);
    let quantiles = [0.0, 0.5, 0.999, 1.0, 1e-7];
    let value =
        |quantile: &f64| summary_data_point::ValueAtQuantile { quantile: *quantile, value: *quantile * 3.0 };
    SummaryDataPoint {
        attributes: point_attributes(chance, i),
        start_time_unix_nano,
        time_unix_nano,
        count: chance.below(100),
        sum: chance.below(1000) as f64 / 8.0,
        quantile_values: quantiles[..chance.below(6) as usize].iter().map(value).collect(),
        flags: some_flags(chance),
    }
}

/// In the order of their values and times, as they come from histograms.
fn some_exemplars(chance: &mut Chance, nanos: u64) -> Vec<Exemplar> {
    let n = chance.below(4);
    let exemplar = |i: u64| Exemplar {
        time_unix_nano: nanos - (4 - i) * 7_000_000,
        value: Some(match chance.below(3) {
            0 => exemplar::Value::AsInt(i as i64 * 2),
            _ => exemplar::Value::AsDouble(i as f64 * 2.25 - 1.5),
        }),
        span_id: chance.draw().to_be_bytes()[..[0, 8][chance.below(2) as usize]].to_vec(),
        trace_id: [chance.draw().to_be_bytes(), chance.draw().to_be_bytes()].concat(),
        filtered_attributes: match chance.below(3) {
            0 => vec![attribute("user.id", text("7")), attribute("a", Value::DoubleValue(1.5))],
            1 => vec![attribute("long", text(&"x".repeat(200)))],
            _ => Vec::new(),
        },
    };
    (0..n).map(exemplar).collect()
}
