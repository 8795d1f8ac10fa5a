//! The truth about a recorded request, as the message that the reference decoder saw.

use serde_json::Value as Json;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use wire::generated::opentelemetry::metrics::v1::*;
use wire::generated::opentelemetry::resource::v1::Resource;

/// The message that the truth describes. NaNs are those of ordinary senders: none of the recorded ones says more.
pub(crate) fn request(truth: &Json) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: list(&truth["decoded"]["resource_metrics"], resource_metrics),
    }
}

fn list<T>(value: &Json, read: impl Fn(&Json) -> T) -> Vec<T> {
    value.as_array().map(|items| items.iter().map(read).collect()).unwrap_or_default()
}

fn present<T>(value: &Json, read: impl Fn(&Json) -> T) -> Option<T> {
    (!value.is_null()).then(|| read(value))
}

fn text(v: &Json) -> String {
    v.as_str().unwrap_or_default().to_string()
}

fn int<T: std::str::FromStr + TryFrom<i64> + Default>(v: &Json) -> T {
    match v {
        Json::Null => T::default(),
        Json::String(text) => text.parse().ok().unwrap(),
        number => T::try_from(number.as_i64().unwrap()).ok().unwrap(),
    }
}

fn double(v: &Json) -> f64 {
    match v {
        Json::Null => 0.0,
        Json::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap(),
    }
}

fn bytes(v: &Json) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String =
        text(v).trim_end_matches('=').chars().map(|c| format!("{:06b}", ALPHABET.find(c).unwrap())).collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap())
        .collect()
}

fn resource_metrics(v: &Json) -> ResourceMetrics {
    ResourceMetrics {
        resource: present(&v["resource"], |r| Resource {
            attributes: list(&r["attributes"], key_value),
            ..Default::default()
        }),
        scope_metrics: list(&v["scope_metrics"], scope_metrics),
        schema_url: text(&v["schema_url"]),
    }
}

fn scope_metrics(v: &Json) -> ScopeMetrics {
    ScopeMetrics {
        scope: present(&v["scope"], |s| InstrumentationScope {
            name: text(&s["name"]),
            version: text(&s["version"]),
            attributes: list(&s["attributes"], key_value),
            dropped_attributes_count: 0,
        }),
        metrics: list(&v["metrics"], metric),
        schema_url: text(&v["schema_url"]),
    }
}

fn key_value(v: &Json) -> KeyValue {
    KeyValue { key: text(&v["key"]), value: present(&v["value"], any_value), ..Default::default() }
}

fn any_value(v: &Json) -> AnyValue {
    let (kind, inner) = match v.as_object().unwrap().iter().next() {
        None => return AnyValue { value: None },
        Some((kind, inner)) => (kind.as_str(), inner),
    };
    let value = match kind {
        "string_value" => any_value::Value::StringValue(text(inner)),
        "bool_value" => any_value::Value::BoolValue(inner.as_bool().unwrap()),
        "int_value" => any_value::Value::IntValue(int(inner)),
        "double_value" => any_value::Value::DoubleValue(double(inner)),
        "bytes_value" => any_value::Value::BytesValue(bytes(inner)),
        "array_value" => {
            any_value::Value::ArrayValue(ArrayValue { values: list(&inner["values"], any_value) })
        }
        "kvlist_value" => {
            any_value::Value::KvlistValue(KeyValueList { values: list(&inner["values"], key_value) })
        }
        other => panic!("{other}"),
    };
    AnyValue { value: Some(value) }
}

fn metric(v: &Json) -> Metric {
    let temporality =
        |v: &Json| v.as_str().map_or(0, |name| AggregationTemporality::from_str_name(name).unwrap() as i32);
    let data = if let Some(v) = v.get("gauge") {
        metric::Data::Gauge(Gauge { data_points: list(&v["data_points"], number_point) })
    } else if let Some(v) = v.get("sum") {
        metric::Data::Sum(Sum {
            data_points: list(&v["data_points"], number_point),
            aggregation_temporality: temporality(&v["aggregation_temporality"]),
            is_monotonic: v["is_monotonic"] == true,
        })
    } else if let Some(v) = v.get("histogram") {
        metric::Data::Histogram(Histogram {
            data_points: list(&v["data_points"], histogram_point),
            aggregation_temporality: temporality(&v["aggregation_temporality"]),
        })
    } else if let Some(v) = v.get("exponential_histogram") {
        metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: list(&v["data_points"], exponential_point),
            aggregation_temporality: temporality(&v["aggregation_temporality"]),
        })
    } else {
        metric::Data::Summary(Summary { data_points: list(&v["summary"]["data_points"], summary_point) })
    };
    Metric {
        name: text(&v["name"]),
        description: text(&v["description"]),
        unit: text(&v["unit"]),
        metadata: list(&v["metadata"], key_value),
        data: Some(data),
    }
}

fn number_point(v: &Json) -> NumberDataPoint {
    NumberDataPoint {
        attributes: list(&v["attributes"], key_value),
        start_time_unix_nano: int(&v["start_time_unix_nano"]),
        time_unix_nano: int(&v["time_unix_nano"]),
        exemplars: list(&v["exemplars"], exemplar),
        flags: int::<i64>(&v["flags"]) as u32,
        value: present(&v["as_double"], |v| number_data_point::Value::AsDouble(double(v)))
            .or_else(|| present(&v["as_int"], |v| number_data_point::Value::AsInt(int(v)))),
    }
}

fn histogram_point(v: &Json) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: list(&v["attributes"], key_value),
        start_time_unix_nano: int(&v["start_time_unix_nano"]),
        time_unix_nano: int(&v["time_unix_nano"]),
        count: int(&v["count"]),
        sum: present(&v["sum"], double),
        bucket_counts: list(&v["bucket_counts"], int),
        explicit_bounds: list(&v["explicit_bounds"], double),
        exemplars: list(&v["exemplars"], exemplar),
        flags: int::<i64>(&v["flags"]) as u32,
        min: present(&v["min"], double),
        max: present(&v["max"], double),
    }
}

fn exponential_point(v: &Json) -> ExponentialHistogramDataPoint {
    let buckets = |v: &Json| exponential_histogram_data_point::Buckets {
        offset: int::<i64>(&v["offset"]) as i32,
        bucket_counts: list(&v["bucket_counts"], int),
    };
    ExponentialHistogramDataPoint {
        attributes: list(&v["attributes"], key_value),
        start_time_unix_nano: int(&v["start_time_unix_nano"]),
        time_unix_nano: int(&v["time_unix_nano"]),
        count: int(&v["count"]),
        sum: present(&v["sum"], double),
        scale: int::<i64>(&v["scale"]) as i32,
        zero_count: int(&v["zero_count"]),
        positive: present(&v["positive"], buckets),
        negative: present(&v["negative"], buckets),
        flags: int::<i64>(&v["flags"]) as u32,
        exemplars: list(&v["exemplars"], exemplar),
        min: present(&v["min"], double),
        max: present(&v["max"], double),
        zero_threshold: double(&v["zero_threshold"]),
    }
}

fn summary_point(v: &Json) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: list(&v["attributes"], key_value),
        start_time_unix_nano: int(&v["start_time_unix_nano"]),
        time_unix_nano: int(&v["time_unix_nano"]),
        count: int(&v["count"]),
        sum: double(&v["sum"]),
        quantile_values: list(&v["quantile_values"], |q| summary_data_point::ValueAtQuantile {
            quantile: double(&q["quantile"]),
            value: double(&q["value"]),
        }),
        flags: int::<i64>(&v["flags"]) as u32,
    }
}

fn exemplar(v: &Json) -> Exemplar {
    Exemplar {
        filtered_attributes: list(&v["filtered_attributes"], key_value),
        time_unix_nano: int(&v["time_unix_nano"]),
        span_id: bytes(&v["span_id"]),
        trace_id: bytes(&v["trace_id"]),
        value: present(&v["as_double"], |v| exemplar::Value::AsDouble(double(v)))
            .or_else(|| present(&v["as_int"], |v| exemplar::Value::AsInt(int(v)))),
    }
}
