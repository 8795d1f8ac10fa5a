//! Requests made up by chance, and messages written as JSON.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use wire::generated::opentelemetry::metrics::v1::metric::Data;
use wire::generated::opentelemetry::metrics::v1::*;
use wire::generated::opentelemetry::resource::v1::Resource;

/// 2026, in nanoseconds.
pub(crate) const NOW: u64 = 1_795_251_153_981_000_000;

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_string())) });
    KeyValue { key: key.to_string(), value, ..Default::default() }
}

/// A request with one resource and one scope.
pub(crate) fn of_metrics(resource: &[(&str, &str)], metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    let scope = InstrumentationScope { name: "scope".to_string(), ..Default::default() };
    let scope_metrics = ScopeMetrics { scope: Some(scope), metrics, ..Default::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_metrics: vec![scope_metrics],
            ..Default::default()
        }],
    }
}

/// A gauge with one point.
pub(crate) fn gauge(name: &str, value: f64) -> Metric {
    let point = NumberDataPoint {
        time_unix_nano: NOW,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    Metric { name: name.to_string(), data, ..Default::default() }
}

/// A sum with one point.
pub(crate) fn sum(name: &str, temporality: AggregationTemporality) -> Metric {
    let Some(Data::Gauge(Gauge { data_points })) = gauge(name, 3.0).data else { panic!() };
    let sum = Sum { data_points, aggregation_temporality: temporality as i32, is_monotonic: true };
    Metric { name: name.to_string(), data: Some(Data::Sum(sum)), ..Default::default() }
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.5), Just(f64::NAN), -1e9..1e9f64]
}

fn any_nanos() -> impl Strategy<Value = u64> {
    prop_oneof![6 => NOW..NOW + 1_000_000_000_000, 1 => Just(0), 1 => any::<u64>()]
}

fn any_key() -> impl Strategy<Value = String> {
    let known = vec![
        "http.method",
        "http_method",
        "http-method",
        "le",
        "job",
        "instance",
        "__name__",
        "_x",
        "9",
        "ä",
        "a.b",
        "otel_scope_name",
        "host.name",
        "quantile",
        "zone",
        "Az",
        "",
    ];
    prop::sample::select(known).prop_map(str::to_string)
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        6 => "[a-z0-9:]{0,12}".prop_map(Value::StringValue),
        1 => ".{0,40}".prop_map(Value::StringValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        1 => any::<i64>().prop_map(Value::IntValue),
        1 => prop_oneof![Just(1.0), Just(0.5), Just(f64::NAN), Just(1e21), Just(3e-9)].prop_map(Value::DoubleValue),
        1 => vec(any::<u8>(), 0..6).prop_map(Value::BytesValue),
    ];
    let nested = leaf.prop_recursive(2, 8, 3, |inner| {
        let any = inner.prop_map(|value| AnyValue { value: Some(value) });
        let pair = ("[a-c]{1}", any.clone()).prop_map(|(key, value)| KeyValue {
            key,
            value: Some(value),
            ..Default::default()
        });
        prop_oneof![
            vec(any, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
    });
    proptest::option::weighted(0.95, nested).prop_map(|value| AnyValue { value })
}

fn any_attributes(max: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (any_key(), any_value()).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    });
    vec(pair, 0..max)
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let identity =
        prop::sample::subsequence(vec!["service.name", "service.namespace", "service.instance.id"], 0..=3);
    (identity, any_attributes(4)).prop_map(|(keys, mut attributes)| {
        attributes.extend(keys.into_iter().map(|key| attribute(key, "x")));
        Resource { attributes, ..Default::default() }
    })
}

fn any_exemplar() -> impl Strategy<Value = Exemplar> {
    let id = |n: usize| prop_oneof![vec(any::<u8>(), n), Just(vec![0; n]), Just(Vec::new())];
    let value = prop_oneof![
        any_double().prop_map(|v| Some(exemplar::Value::AsDouble(v))),
        (-50i64..50).prop_map(|v| Some(exemplar::Value::AsInt(v))),
        Just(None),
    ];
    (id(16), id(8), value, any_nanos(), any_attributes(3)).prop_map(
        |(trace_id, span_id, value, time_unix_nano, filtered_attributes)| Exemplar {
            trace_id,
            span_id,
            value,
            time_unix_nano,
            filtered_attributes,
        },
    )
}

/// Attributes, times, flags and exemplars.
type Common = (Vec<KeyValue>, u64, u64, u32, Vec<Exemplar>);

fn any_common() -> impl Strategy<Value = Common> {
    let flags = prop_oneof![5 => Just(0u32), 1 => Just(1), 1 => Just(2)];
    (any_attributes(5), any_nanos(), any_nanos(), flags, vec(any_exemplar(), 0..3))
}

fn any_number() -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        any_double().prop_map(|v| Some(number_data_point::Value::AsDouble(v))),
        any::<i64>().prop_map(|v| Some(number_data_point::Value::AsInt(v))),
        Just(None),
    ];
    (any_common(), value).prop_map(|((attributes, start, time, flags, exemplars), value)| NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        exemplars,
        flags,
        value,
    })
}

fn any_histogram() -> impl Strategy<Value = HistogramDataPoint> {
    let bounds = prop_oneof![
        3 => (0usize..5).prop_map(|n| (0..n).map(|i| i as f64 * 2.5 - 1.0).collect::<Vec<_>>()),
        1 => vec(any_double(), 0..4),
    ];
    let counts = vec(prop_oneof![4 => 0u64..20, 2 => Just(0u64), 1 => any::<u64>()], 0..6);
    (any_common(), bounds, counts, proptest::option::of(any_double()), any::<bool>()).prop_map(
        |((attributes, start, time, flags, exemplars), bounds, mut counts, sum, fits)| {
            if fits {
                counts.resize(bounds.len() + 1, 1);
            }
            HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count: counts.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)),
                sum,
                bucket_counts: counts,
                explicit_bounds: bounds,
                exemplars,
                flags,
                min: None,
                max: Some(1.0),
            }
        },
    )
}

fn any_exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        let offset = prop_oneof![4 => -20i32..20, 1 => any::<i32>()];
        let counts = vec(prop_oneof![2 => Just(0u64), 2 => 0u64..20], 0..12);
        proptest::option::of((offset, counts).prop_map(|(offset, bucket_counts)| {
            exponential_histogram_data_point::Buckets { offset, bucket_counts }
        }))
    };
    let scale = prop_oneof![4 => -4i32..=20, 1 => any::<i32>()];
    (any_common(), buckets(), buckets(), scale, 0u64..5, proptest::option::of(any_double())).prop_map(
        |((attributes, start, time, flags, exemplars), positive, negative, scale, zero_count, sum)| {
            let all = [&positive, &negative];
            let in_buckets = all.into_iter().flatten().flat_map(|b| &b.bucket_counts).sum::<u64>();
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count: zero_count + in_buckets,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                exemplars,
                zero_threshold: 0.25,
                ..Default::default()
            }
        },
    )
}

fn any_summary() -> impl Strategy<Value = SummaryDataPoint> {
    let quantile = (any_double(), any_double())
        .prop_map(|(quantile, value)| summary_data_point::ValueAtQuantile { quantile, value });
    (any_common(), any::<u32>(), any_double(), vec(quantile, 0..3)).prop_map(
        |((attributes, start, time, flags, _), count, sum, quantile_values)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            count: u64::from(count),
            sum,
            quantile_values,
            flags,
        },
    )
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let temporality = || prop_oneof![8 => Just(2), 2 => Just(1), 1 => Just(0)];
    let data = prop_oneof![
        vec(any_number(), 0..4).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(any_number(), 0..4), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (vec(any_histogram(), 0..3), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(any_exponential(), 0..3), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(any_summary(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    let names =
        vec!["http.requests", "up", "9lives", "x_total", "ratio.ratio", "名", "", "a..b__c:d", "t.seconds"];
    let name = prop::sample::select(names).prop_map(str::to_string);
    let unit = prop::sample::select(vec!["", "s", "1", "{x}", "By"]).prop_map(str::to_string);
    (name, unit, "[a-z ]{0,10}", proptest::option::weighted(0.97, data)).prop_map(
        |(name, unit, description, data)| Metric { name, unit, description, data, ..Default::default() },
    )
}

fn any_scope() -> impl Strategy<Value = ScopeMetrics> {
    let scope = ("[a-z]{0,3}", "[0-9]{0,2}", any_attributes(2)).prop_map(|(name, version, attributes)| {
        InstrumentationScope { name, version, attributes, dropped_attributes_count: 1 }
    });
    (proptest::option::of(scope), vec(any_metric(), 0..4), "[a-z]{0,3}")
        .prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url })
}

/// Any request, most of them good.
pub(crate) fn any_request() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let resource = (proptest::option::weighted(0.9, any_resource()), vec(any_scope(), 0..3)).prop_map(
        |(resource, scope_metrics)| ResourceMetrics { resource, scope_metrics, ..Default::default() },
    );
    vec(resource, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

/// The message as OTLP's JSON.
pub(crate) fn json(request: &ExportMetricsServiceRequest) -> String {
    let resources = request.resource_metrics.iter().map(|r| {
        object([
            ("resource", r.resource.as_ref().map(|r| json!({"attributes": attributes(&r.attributes)}))),
            ("scopeMetrics", Some(r.scope_metrics.iter().map(scope).collect())),
            ("schemaUrl", Some(r.schema_url.as_str().into())),
            ("unknown", Some(json!([{"deep": [1, null]}]))),
        ])
    });
    json!({"resourceMetrics": resources.collect::<Json>()}).to_string()
}

fn object<const N: usize>(fields: [(&str, Option<Json>); N]) -> Json {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    Json::Object(fields.collect::<Map<_, _>>())
}

fn scope(s: &ScopeMetrics) -> Json {
    let scope = s
        .scope
        .as_ref()
        .map(|s| json!({"name": s.name, "version": s.version, "attributes": attributes(&s.attributes)}));
    object([
        ("metrics", Some(s.metrics.iter().map(metric).collect())),
        ("scope", scope),
        ("schemaUrl", Some(s.schema_url.as_str().into())),
    ])
}

fn metric(m: &Metric) -> Json {
    let mut fields = Map::new();
    if let Some(data) = &m.data {
        let (name, data) = match data {
            Data::Gauge(d) => ("gauge", json!({"dataPoints": points(&d.data_points, number)})),
            Data::Sum(d) => (
                "sum",
                json!({"dataPoints": points(&d.data_points, number), "isMonotonic": d.is_monotonic,
                       "aggregationTemporality": d.aggregation_temporality}),
            ),
            Data::Histogram(d) => (
                "histogram",
                json!({"aggregationTemporality": d.aggregation_temporality,
                       "dataPoints": points(&d.data_points, histogram)}),
            ),
            Data::ExponentialHistogram(d) => (
                "exponentialHistogram",
                json!({"aggregationTemporality": d.aggregation_temporality,
                       "dataPoints": points(&d.data_points, exponential)}),
            ),
            Data::Summary(d) => ("summary", json!({"dataPoints": points(&d.data_points, summary)})),
        };
        fields.insert(name.to_string(), data);
    }
    // Behind the data, where the protocol allows it as well.
    fields.insert("name".to_string(), m.name.as_str().into());
    fields.insert("unit".to_string(), m.unit.as_str().into());
    fields.insert("description".to_string(), m.description.as_str().into());
    Json::Object(fields)
}

fn points<T>(points: &[T], write: impl Fn(&T) -> Json) -> Json {
    points.iter().map(write).collect()
}

fn double(value: f64) -> Json {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => json!(value),
    }
}

fn long(value: impl ToString) -> Json {
    value.to_string().into()
}

fn number(p: &NumberDataPoint) -> Json {
    let (as_double, as_int) = match p.value {
        Some(number_data_point::Value::AsDouble(v)) => (Some(double(v)), None),
        Some(number_data_point::Value::AsInt(v)) => (None, Some(long(v))),
        None => (None, None),
    };
    object([
        ("asDouble", as_double),
        ("asInt", as_int),
        ("attributes", Some(attributes(&p.attributes))),
        ("startTimeUnixNano", Some(long(p.start_time_unix_nano))),
        ("timeUnixNano", Some(json!(p.time_unix_nano))),
        ("flags", Some(p.flags.into())),
        ("exemplars", Some(points(&p.exemplars, exemplar))),
    ])
}

fn histogram(p: &HistogramDataPoint) -> Json {
    object([
        ("attributes", Some(attributes(&p.attributes))),
        ("start_time_unix_nano", Some(long(p.start_time_unix_nano))),
        ("timeUnixNano", Some(long(p.time_unix_nano))),
        ("count", Some(long(p.count))),
        ("sum", p.sum.map(double)),
        ("bucketCounts", Some(p.bucket_counts.iter().map(long).collect())),
        ("explicitBounds", Some(p.explicit_bounds.iter().map(|v| double(*v)).collect())),
        ("exemplars", Some(points(&p.exemplars, exemplar))),
        ("flags", Some(p.flags.into())),
        ("max", p.max.map(double)),
    ])
}

fn exponential(p: &ExponentialHistogramDataPoint) -> Json {
    let buckets = |b: &exponential_histogram_data_point::Buckets| json!({"offset": b.offset, "bucketCounts": b.bucket_counts.iter().map(long).collect::<Json>()});
    object([
        ("attributes", Some(attributes(&p.attributes))),
        ("startTimeUnixNano", Some(long(p.start_time_unix_nano))),
        ("timeUnixNano", Some(long(p.time_unix_nano))),
        ("count", Some(long(p.count))),
        ("sum", p.sum.map(double)),
        ("scale", Some(p.scale.into())),
        ("zeroCount", Some(long(p.zero_count))),
        ("positive", p.positive.as_ref().map(buckets)),
        ("negative", p.negative.as_ref().map(buckets)),
        ("flags", Some(p.flags.into())),
        ("exemplars", Some(points(&p.exemplars, exemplar))),
    ])
}

fn summary(p: &SummaryDataPoint) -> Json {
    let quantile = |q: &summary_data_point::ValueAtQuantile| json!({"quantile": double(q.quantile), "value": double(q.value)});
    json!({
        "attributes": attributes(&p.attributes), "startTimeUnixNano": long(p.start_time_unix_nano),
        "timeUnixNano": long(p.time_unix_nano), "count": long(p.count), "sum": double(p.sum),
        "quantileValues": p.quantile_values.iter().map(quantile).collect::<Json>(), "flags": p.flags,
    })
}

fn exemplar(e: &Exemplar) -> Json {
    let hex = |id: &[u8]| -> Json { id.iter().map(|b| format!("{b:02X}")).collect::<String>().into() };
    let (as_double, as_int) = match e.value {
        Some(exemplar::Value::AsDouble(v)) => (Some(double(v)), None),
        Some(exemplar::Value::AsInt(v)) => (None, Some(long(v))),
        None => (None, None),
    };
    object([
        ("asDouble", as_double),
        ("asInt", as_int),
        ("traceId", Some(hex(&e.trace_id))),
        ("spanId", Some(hex(&e.span_id))),
        ("timeUnixNano", Some(long(e.time_unix_nano))),
        ("filteredAttributes", Some(attributes(&e.filtered_attributes))),
    ])
}

fn attributes(attributes: &[KeyValue]) -> Json {
    attributes
        .iter()
        .map(|pair| {
            object([("key", Some(pair.key.as_str().into())), ("value", pair.value.as_ref().map(value_json))])
        })
        .collect()
}

fn value_json(value: &AnyValue) -> Json {
    match &value.value {
        None | Some(Value::StringValueStrindex(_)) => json!({}),
        Some(Value::StringValue(text)) => json!({"stringValue": text}),
        Some(Value::BoolValue(value)) => json!({"boolValue": value}),
        Some(Value::IntValue(value)) => json!({"intValue": long(value)}),
        Some(Value::DoubleValue(value)) => json!({"doubleValue": double(*value)}),
        Some(Value::BytesValue(bytes)) => json!({"bytesValue": super::oracle::base64(bytes)}),
        Some(Value::ArrayValue(list)) => {
            json!({"arrayValue": {"values": list.values.iter().map(value_json).collect::<Json>()}})
        }
        Some(Value::KvlistValue(list)) => json!({"kvlistValue": {"values": attributes(&list.values)}}),
    }
}
