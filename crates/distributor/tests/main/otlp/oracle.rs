//! What a request should become, worked out slowly and plainly from the generated messages.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use limits::Limits;
use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, MetricType, ResetHint};
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{AnyValue, KeyValue, any_value::Value};
use wire::generated::opentelemetry::metrics::v1 as otlp;
use wire::generated::opentelemetry::metrics::v1::metric::Data;

use crate::oracle::{Seen, SeenExemplar, SeenSeries, render};

type Labels = BTreeMap<String, String>;

/// What a request becomes, as far as one can compare it.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) seen: Seen,
    pub(crate) n_points: usize,
    pub(crate) n_refused: usize,
}

struct Oracle<'a> {
    limits: &'a Limits,
    expected: Expected,
    span: Option<(u64, u64)>,
    resource: Vec<KeyValue>,
    /// Name, version and so on of the scope, ready as labels; empty values take labels away.
    scope: Vec<(String, String)>,
}

/// The value of a label that is there twice, which makes a series invalid unless another takes its place.
const TWICE: &str = "\0twice";
const STALE: u64 = 0x7ff0_0000_0000_0002;
const CALENDAR: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

pub(crate) fn expected(request: &ExportMetricsServiceRequest, limits: &Limits) -> Expected {
    let mut oracle =
        Oracle { limits, expected: Expected::default(), span: None, resource: Vec::new(), scope: Vec::new() };
    for resource in &request.resource_metrics {
        oracle.resource_metrics(resource);
    }
    let mut seen = std::mem::take(&mut oracle.expected.seen);
    for series in &mut seen.series {
        series.floats.retain(|(timestamp, ..)| CALENDAR.contains(timestamp));
        series.histograms.retain(|(timestamp, ..)| CALENDAR.contains(timestamp));
    }
    seen.series.retain(|s| s.floats.len() + s.histograms.len() + s.exemplars.len() > 0);
    Expected { seen, ..oracle.expected }
}

/// The value of an attribute as text.
pub(crate) fn as_text(value: &Option<AnyValue>) -> String {
    match value.as_ref().and_then(|v| v.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => double(*value),
        Some(Value::BytesValue(bytes)) => base64(bytes),
        Some(nested) => json(nested).map_or(String::new(), |json| json.to_string()),
    }
}

fn double(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_string(),
        f64::INFINITY => "Infinity".to_string(),
        f64::NEG_INFINITY => "-Infinity".to_string(),
        _ if value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21) => {
            format!("{value:e}").replace("e", "e+").replace("e+-", "e-")
        }
        _ => value.to_string(),
    }
}

/// Only whole numbers and text nest in these tests: other numbers are written differently by other writers of JSON.
fn json(value: &Value) -> Option<serde_json::Value> {
    let any = |v: &AnyValue| v.value.as_ref().map_or(Some(serde_json::Value::Null), json);
    Some(match value {
        Value::StringValueStrindex(_) => serde_json::Value::Null,
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(value) => (*value).into(),
        Value::IntValue(value) => (*value).into(),
        Value::DoubleValue(value) if value.is_finite() => serde_json::from_str(&double(*value)).unwrap(),
        Value::DoubleValue(_) => return None,
        // Where it nests, Prometheus takes no bytes for nothing.
        Value::BytesValue(bytes) if bytes.is_empty() => serde_json::Value::Null,
        Value::BytesValue(bytes) => base64(bytes).into(),
        Value::ArrayValue(list) => list.values.iter().map(any).collect::<Option<Vec<_>>>()?.into(),
        Value::KvlistValue(list) => {
            let mut map = BTreeMap::new();
            for pair in &list.values {
                map.insert(pair.key.clone(), pair.value.as_ref().map_or(Some(serde_json::Value::Null), any));
            }
            let map = map.into_iter().map(|(key, value)| Some((key, value?)));
            serde_json::Value::Object(map.collect::<Option<_>>()?)
        }
    })
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: String = bytes.iter().map(|b| format!("{b:08b}")).collect();
    while !bits.len().is_multiple_of(6) {
        bits.push('0');
    }
    let digit = |six: &[u8]| usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap();
    let mut text: String = bits.as_bytes().chunks(6).map(|six| ALPHABET[digit(six)] as char).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

impl Oracle<'_> {
    fn escapes(&self) -> bool {
        self.limits.otel_translation_strategy.escapes()
    }

    /// The name of a label; `None` when it would be underscores alone.
    fn label_name(&self, key: &str) -> Option<String> {
        let mut name = key.to_string();
        if self.escapes() {
            name = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                name = format!("key_{name}");
            } else if name.starts_with('_') && !name.starts_with("__") {
                name = format!("key{name}");
            }
        }
        (!name.chars().all(|c| c == '_')).then_some(name)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        let found = self.resource.iter().find(|pair| pair.key == key)?;
        Some(as_text(&found.value))
    }

    /// The labels of attributes under this resource and scope; `None` when one cannot be named.
    fn labels(&self, attributes: &[KeyValue], promotes: bool) -> Option<Labels> {
        let mut sorted: Vec<&KeyValue> = attributes.iter().filter(|pair| pair.key != "__name__").collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let mut labels = Labels::new();
        for pair in sorted {
            let name = if self.escapes() { self.label_name(&pair.key)? } else { pair.key.clone() };
            let value = as_text(&pair.value);
            let entry = labels.entry(name.clone()).or_default();
            if entry.is_empty() {
                *entry = value;
            } else if self.escapes() {
                *entry = format!("{entry};{value}");
            } else if !value.is_empty() {
                *entry = TWICE.to_string();
            }
        }
        labels.retain(|_, value| !value.is_empty());
        if promotes {
            for (name, value) in self.promoted() {
                labels.entry(name).or_insert(value);
            }
        }
        if let Some(name) = self.attribute("service.name") {
            let job = match self.attribute("service.namespace") {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name,
            };
            if !job.is_empty() {
                labels.insert("job".to_string(), job);
            }
        }
        if let Some(instance) = self.attribute("service.instance.id").filter(|i| !i.is_empty()) {
            labels.insert("instance".to_string(), instance);
        }
        if promotes {
            labels.extend(self.scope.clone());
        }
        Some(labels)
    }

    fn promoted(&self) -> Labels {
        let mut labels = Labels::new();
        let limits = self.limits;
        for pair in &self.resource {
            let promoted = if limits.promote_all_otel_resource_attributes {
                !limits.ignore_otel_resource_attributes.contains(&pair.key)
            } else {
                limits.promote_otel_resource_attributes.contains(&pair.key)
            };
            if promoted && let Some(name) = self.label_name(&pair.key) {
                labels.insert(name, as_text(&pair.value));
            }
        }
        labels.retain(|_, value| !value.is_empty());
        labels
    }

    fn resource_metrics(&mut self, message: &otlp::ResourceMetrics) {
        self.resource = message.resource.as_ref().map_or(Vec::new(), |r| r.attributes.clone());
        self.span = None;
        for scope in &message.scope_metrics {
            self.scope.clear();
            let info = scope.scope.clone().unwrap_or_default();
            if self.limits.otel_promote_scope_metadata && !info.name.is_empty() {
                for pair in &info.attributes {
                    if let Some(name) = self.label_name(&format!("otel_scope_{}", pair.key)) {
                        self.scope.push((name, as_text(&pair.value)));
                    }
                }
                let fixed =
                    [("name", &info.name), ("version", &info.version), ("schema_url", &scope.schema_url)];
                for (name, value) in fixed {
                    self.scope.push((format!("otel_scope_{name}"), value.clone()));
                }
            }
            for metric in &scope.metrics {
                self.metric(metric);
            }
        }
        self.target_info();
    }

    fn metric(&mut self, metric: &otlp::Metric) {
        let Some(data) = &metric.data else { return };
        let (n, temporality, kind) = match data {
            Data::Gauge(d) => (d.data_points.len(), 2, MetricType::Gauge),
            Data::Sum(d) => {
                let kind = if d.is_monotonic { MetricType::Counter } else { MetricType::Gauge };
                (d.data_points.len(), d.aggregation_temporality, kind)
            }
            Data::Histogram(d) => (d.data_points.len(), d.aggregation_temporality, MetricType::Histogram),
            Data::ExponentialHistogram(d) => {
                (d.data_points.len(), d.aggregation_temporality, MetricType::Histogram)
            }
            Data::Summary(d) => (d.data_points.len(), 2, MetricType::Summary),
        };
        self.expected.n_points += n;
        let is_delta = temporality == 1;
        let taken = temporality == 2 || (is_delta && self.limits.otel_native_delta_ingestion);
        let Some(name) = self.metric_name(metric, kind).filter(|_| taken) else {
            self.expected.n_refused += n;
            return;
        };
        match data {
            Data::Gauge(d) => d.data_points.iter().for_each(|p| self.number(&name, p, false)),
            Data::Sum(d) => d.data_points.iter().for_each(|p| self.number(&name, p, true)),
            Data::Histogram(d) => d.data_points.iter().for_each(|p| self.histogram(&name, p, is_delta)),
            Data::ExponentialHistogram(d) => {
                d.data_points.iter().for_each(|p| self.exponential(&name, p, is_delta));
            }
            Data::Summary(d) => d.data_points.iter().for_each(|p| self.summary(&name, p)),
        }
        if n > 0 {
            let unit = unit_word(&metric.unit);
            let kind = if is_delta { MetricType::Unknown } else { kind };
            self.describe(&name, kind, &metric.description, unit);
        }
    }

    fn describe(&mut self, family: &str, kind: MetricType, help: &str, unit: &str) {
        let row = (family.to_string(), kind, help.to_string(), unit.to_string());
        if !family.is_empty() {
            self.expected.seen.metadata.push(row);
        }
    }

    fn metric_name(&self, metric: &otlp::Metric, kind: MetricType) -> Option<String> {
        let given = metric.name.as_str();
        let suffixes = self.limits.otel_translation_strategy.adds_suffixes();
        let is_gauge = matches!(metric.data, Some(Data::Gauge(_)));
        let mut add = Vec::new();
        let unit = unit_word(&metric.unit);
        if suffixes && !unit.is_empty() {
            add.push(unit);
        }
        if suffixes && kind == MetricType::Counter {
            add.push("total");
        }
        if suffixes && metric.unit == "1" && is_gauge {
            add.push("ratio");
        }
        if !self.escapes() {
            let mut name = given.to_string();
            for suffix in add.iter().filter(|suffix| **suffix != unit) {
                if let Some(rest) = name.strip_suffix(suffix).filter(|rest| rest.len() > 1) {
                    name = rest[..rest.len() - 1].to_string();
                }
            }
            add.retain(|suffix| *suffix != unit || !name.ends_with(suffix));
            for suffix in add {
                name = format!("{name}_{suffix}");
            }
            return Some(name);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == ':';
        let mut name = if suffixes {
            let mut words: Vec<&str> = given.split(|c| !is_word(c)).filter(|w| !w.is_empty()).collect();
            for suffix in add {
                if suffix != unit {
                    words.retain(|word| *word != suffix);
                }
                if suffix != unit || !words.contains(&suffix) {
                    words.push(suffix);
                }
            }
            words.join("_")
        } else {
            let parts = given.split(|c| !is_word(c) && c != '_').filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join("_")
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name = format!("_{name}");
        }
        let is_nothing = name.is_empty() || (name != given && name.chars().all(|c| c == '_'));
        (!is_nothing).then_some(name)
    }

    /// Adds samples; false when the labels are invalid.
    fn add(
        &mut self,
        name: &str,
        labels: &Labels,
        extra: Option<(&str, String)>,
        samples: SeenSeries,
    ) -> bool {
        let mut labels = labels.clone();
        labels.insert("__name__".to_string(), name.to_string());
        labels.extend(extra.map(|(name, value)| (name.to_string(), value)));
        labels.retain(|_, value| !value.is_empty());
        let is_valid = labels.len() <= 30
            && labels.values().all(|value| value != TWICE)
            && labels.contains_key("__name__")
            && labels.iter().all(|(n, v)| !n.is_empty() && n.len() <= 1024 && v.len() <= 2048);
        if is_valid {
            let labels = labels.into_iter().collect();
            self.expected.seen.series.push(SeenSeries { labels, ..samples });
        }
        is_valid
    }

    fn note(&mut self, nanos: u64) {
        let (first, last) = self.span.unwrap_or((nanos, nanos));
        self.span = Some((first.min(nanos), last.max(nanos)));
    }

    fn number(&mut self, name: &str, point: &otlp::NumberDataPoint, has_exemplars: bool) {
        self.note(point.time_unix_nano);
        let value = match point.value {
            Some(otlp::number_data_point::Value::AsDouble(value)) => value,
            Some(otlp::number_data_point::Value::AsInt(value)) => value as f64,
            None => 0.0,
        };
        let value = if point.flags & 1 == 1 { f64::from_bits(STALE) } else { value };
        let sample = (ms(point.time_unix_nano), value.to_bits(), ms(point.start_time_unix_nano));
        let has_exemplars = has_exemplars && point.flags & 1 == 0;
        let exemplars = if has_exemplars { exemplars(&point.exemplars) } else { Vec::new() };
        let samples = SeenSeries { floats: vec![sample], exemplars, ..SeenSeries::default() };
        let added =
            self.labels(&point.attributes, true).is_some_and(|labels| self.add(name, &labels, None, samples));
        self.expected.n_refused += usize::from(!added);
    }

    fn summary(&mut self, name: &str, point: &otlp::SummaryDataPoint) {
        self.note(point.time_unix_nano);
        let Some(labels) = self.labels(&point.attributes, true) else {
            self.expected.n_refused += 1;
            return;
        };
        let times = (point.time_unix_nano, point.start_time_unix_nano, point.flags);
        let mut ok = self.add(&format!("{name}_sum"), &labels, None, float(times, point.sum));
        ok &= self.add(&format!("{name}_count"), &labels, None, float(times, point.count as f64));
        for q in &point.quantile_values {
            let extra = Some(("quantile", decimal(q.quantile)));
            ok &= self.add(name, &labels, extra, float(times, q.value));
        }
        self.expected.n_refused += usize::from(!ok);
    }

    fn histogram(&mut self, name: &str, point: &otlp::HistogramDataPoint, is_delta: bool) {
        self.note(point.time_unix_nano);
        let labels = self.labels(&point.attributes, true);
        if self.limits.otel_convert_histograms_to_nhcb {
            let native = custom(point, is_delta);
            self.native(
                name,
                labels,
                native,
                (point.time_unix_nano, point.start_time_unix_nano),
                &point.exemplars,
            );
            return;
        }
        let Some(labels) = labels else {
            self.expected.n_refused += 1;
            return;
        };
        let times = (point.time_unix_nano, point.start_time_unix_nano, point.flags);
        let mut ok = true;
        if let Some(sum) = point.sum {
            ok &= self.add(&format!("{name}_sum"), &labels, None, float(times, sum));
        }
        ok &= self.add(&format!("{name}_count"), &labels, None, float(times, point.count as f64));
        let mut rest = if point.flags & 1 == 0 { exemplars(&point.exemplars) } else { Vec::new() };
        let mut below = 0u64;
        for (bound, n) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            below = below.wrapping_add(*n);
            let split = rest.iter().position(|(_, bits, _)| {
                f64::from_bits(*bits) > *bound || {
                    let value = f64::from_bits(*bits);
                    value.is_nan() || bound.is_nan()
                }
            });
            let tail = rest.split_off(split.unwrap_or(rest.len()));
            let samples = SeenSeries { exemplars: rest, ..float(times, below as f64) };
            rest = tail;
            ok &= self.add(&format!("{name}_bucket"), &labels, Some(("le", decimal(*bound))), samples);
        }
        let samples = SeenSeries { exemplars: rest, ..float(times, point.count as f64) };
        ok &= self.add(&format!("{name}_bucket"), &labels, Some(("le", "+Inf".to_string())), samples);
        self.expected.n_refused += usize::from(!ok);
    }

    fn exponential(&mut self, name: &str, point: &otlp::ExponentialHistogramDataPoint, is_delta: bool) {
        self.note(point.time_unix_nano);
        let labels = self.labels(&point.attributes, true);
        let native = exponential(point, is_delta);
        self.native(
            name,
            labels,
            native,
            (point.time_unix_nano, point.start_time_unix_nano),
            &point.exemplars,
        );
    }

    fn native(
        &mut self,
        name: &str,
        labels: Option<Labels>,
        histogram: Option<Histogram>,
        (time, start): (u64, u64),
        examples: &[otlp::Exemplar],
    ) {
        let (Some(labels), Some(histogram)) = (&labels, &histogram) else {
            self.expected.n_refused += 1;
            return;
        };
        let sample = (ms(time), render(histogram), ms(start));
        let exemplars = if histogram.is_stale() { Vec::new() } else { exemplars(examples) };
        let samples = SeenSeries { histograms: vec![sample], exemplars, ..SeenSeries::default() };
        let added = self.add(name, labels, None, samples);
        self.expected.n_refused += usize::from(!added);
    }

    fn target_info(&mut self) {
        const STEP: u64 = 150_000_000_000;
        let Some((first, last)) = self.span else { return };
        let identifying = ["service.namespace", "service.name", "service.instance.id"];
        let n = identifying.iter().filter(|key| self.attribute(key).is_some()).count();
        if self.resource.len() == n {
            return;
        }
        let keeps = self.limits.otel_keep_identifying_resource_attributes;
        let mut attributes = self.resource.clone();
        attributes.retain(|pair| keeps || !identifying.contains(&pair.key.as_str()));
        let Some(labels) = self.labels(&attributes, false) else { return };
        if !labels.contains_key("job") && !labels.contains_key("instance") {
            return;
        }
        let (first, last) = (first as i64, last as i64);
        let n = (last.saturating_sub(first).max(0) as u64).div_ceil(STEP).min(10_000);
        let first = first.max(last.saturating_sub((n * STEP) as i64));
        let mut floats = Vec::new();
        for i in 0..n {
            floats.push((first + (i * STEP) as i64).div_euclid(1_000_000));
        }
        floats.push(last.div_euclid(1_000_000));
        let floats = floats.into_iter().map(|ts| (ts, 1f64.to_bits(), 0)).collect();
        if self.add("target_info", &labels, None, SeenSeries { floats, ..SeenSeries::default() }) {
            self.describe("target_info", MetricType::Gauge, "Target metadata", "");
        }
    }
}

/// The units that these tests know.
fn unit_word(unit: &str) -> &'static str {
    known_unit(unit).unwrap_or_else(|| panic!("unit {unit:?}"))
}

/// Whether all units are among those that these tests know.
pub(crate) fn knows_units(request: &ExportMetricsServiceRequest) -> bool {
    let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
    scopes.flat_map(|s| &s.metrics).all(|m| known_unit(&m.unit).is_some())
}

fn known_unit(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "s" | "seconds" => "seconds",
        "ms" | "milliseconds" => "milliseconds",
        "By" | "bytes" => "bytes",
        "Cel" | "celsius" => "celsius",
        "" | "1" => "",
        "{request}" | "{x}" => "",
        _ => return None,
    })
}

fn ms(nanos: u64) -> i64 {
    nanos as i64 / 1_000_000
}

fn float((time, start, flags): (u64, u64, u32), value: f64) -> SeenSeries {
    let bits = if flags & 1 == 1 { STALE } else { value.to_bits() };
    SeenSeries { floats: vec![(ms(time), bits, ms(start))], ..SeenSeries::default() }
}

fn decimal(value: f64) -> String {
    value.to_string().replace("-inf", "-Inf").replace("inf", "+Inf")
}

fn exemplars(examples: &[otlp::Exemplar]) -> Vec<SeenExemplar> {
    examples.iter().filter_map(exemplar).collect()
}

fn exemplar(e: &otlp::Exemplar) -> Option<SeenExemplar> {
    let value = match e.value? {
        otlp::exemplar::Value::AsDouble(value) => value,
        otlp::exemplar::Value::AsInt(value) => value as f64,
    };
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut labels = Vec::new();
    for (name, id) in [("trace_id", &e.trace_id), ("span_id", &e.span_id)] {
        if id.iter().any(|b| *b != 0) {
            labels.push((name.to_string(), hex(id)));
        }
    }
    let attributes: Vec<_> =
        e.filtered_attributes.iter().map(|pair| (pair.key.clone(), as_text(&pair.value))).collect();
    let all = labels.iter().chain(&attributes);
    if all.map(|(n, v)| n.chars().count() + v.chars().count()).sum::<usize>() <= 128 {
        labels.extend(attributes);
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.retain(|(_, value)| !value.is_empty());
    Some(((e.time_unix_nano as i64).div_euclid(1_000_000), value.to_bits(), labels))
}

fn custom(point: &otlp::HistogramDataPoint, is_delta: bool) -> Option<Histogram> {
    if point.flags & 1 == 1 {
        return Some(Histogram::stale());
    }
    let one = vec![point.count];
    let is_bare = point.bucket_counts.is_empty() && point.explicit_bounds.is_empty();
    let counts = if is_bare { &one } else { &point.bucket_counts };
    let buckets = counts.iter().enumerate().map(|(i, n)| (i as i64, *n)).collect();
    let (positive_spans, positive) = sparse(&buckets)?;
    let histogram = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        sum: point.sum.unwrap_or(0.0),
        counts: Counts::Int { count: point.count, zero: 0, positive, negative: Vec::new() },
        positive_spans,
        negative_spans: Vec::new(),
        custom_values: point.explicit_bounds.clone(),
        reset_hint: if is_delta { ResetHint::Gauge } else { ResetHint::Unknown },
    };
    histogram.validate().ok()?;
    Some(histogram)
}

fn exponential(point: &otlp::ExponentialHistogramDataPoint, is_delta: bool) -> Option<Histogram> {
    if point.scale < -4 {
        return None;
    }
    if point.flags & 1 == 1 {
        return Some(Histogram::stale());
    }
    let side = |buckets: &Option<otlp::exponential_histogram_data_point::Buckets>| {
        let buckets = buckets.clone().unwrap_or_default();
        let finer = (point.scale - 8).clamp(0, 63);
        let index = |i: i128| ((i128::from(buckets.offset) + i).div_euclid(1 << finer)) as i64 + 1;
        // Prometheus's way: a bucket is put before the index at which the next one is met, and empty ones do not count
        // as met.
        let mut merged: BTreeMap<i64, u64> = BTreeMap::new();
        let (mut at, mut count) = (index(0), 0u64);
        for (i, n) in buckets.bucket_counts.iter().enumerate() {
            match index(i as i128) {
                same if same == at => count = count.saturating_add(*n),
                _ if count == 0 => count = *n,
                next => {
                    merged.insert(next - 1, count);
                    (at, count) = (next, *n);
                }
            }
        }
        merged.insert(index((buckets.bucket_counts.len() as i128 - 1).max(0)), count);
        sparse(&merged)
    };
    let ((positive_spans, positive), (negative_spans, negative)) =
        (side(&point.positive)?, side(&point.negative)?);
    let histogram = Histogram {
        schema: point.scale.min(8),
        zero_threshold: 1e-128,
        sum: point.sum.unwrap_or(0.0),
        counts: Counts::Int { count: point.count, zero: point.zero_count, positive, negative },
        positive_spans,
        negative_spans,
        custom_values: Vec::new(),
        reset_hint: if is_delta { ResetHint::Gauge } else { ResetHint::Unknown },
    };
    histogram.validate().ok()?;
    Some(histogram)
}

/// Spans with at most two empty buckets inside.
fn sparse(buckets: &BTreeMap<i64, u64>) -> Option<(Vec<BucketSpan>, Vec<u64>)> {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (index, n) in buckets.iter().filter(|(_, n)| **n > 0) {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= 2 => {
                (0..gap).for_each(|_| counts.push(0));
                span.length += gap as u32 + 1;
            }
            _ => spans.push(BucketSpan { offset: i32::try_from(gap).ok()?, length: 1 }),
        }
        counts.push(*n);
        next = index + 1;
    }
    Some((spans, counts))
}
