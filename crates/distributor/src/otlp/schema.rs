//! The fields of OpenTelemetry's metrics, by their names in JSON and their numbers in protobuf.

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// In lower camel case, as the protocol demands; the name in the proto file is understood as well.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    One(Scalar),
    Many(Scalar),
    Message(&'static [Field]),
    Messages(&'static [Field]),
}

/// A value, by how protobuf encodes it and how JSON writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    /// Bytes as base64.
    Base64,
    /// Bytes as hexadecimal digits: ids of traces and spans.
    Hex,
    Bool,
    Double,
    Fixed64,
    SignedFixed64,
    Int64,
    Uint64,
    Uint32,
    ZigZag32,
    /// A number, or the name of an aggregation temporality.
    Temporality,
}

use Kind::{Many, Message, Messages, One};
use Scalar::{
    Base64, Bool, Double, Fixed64, Hex, Int64, SignedFixed64, Temporality, Text, Uint32, Uint64, ZigZag32,
};

const fn field(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind }
}

/// `ExportMetricsServiceRequest`.
pub(super) static REQUEST: [Field; 1] = [field("resourceMetrics", 1, Messages(&RESOURCE_METRICS))];

static RESOURCE_METRICS: [Field; 3] = [
    field("resource", 1, Message(&RESOURCE)),
    field("scopeMetrics", 2, Messages(&SCOPE_METRICS)),
    field("schemaUrl", 3, One(Text)),
];

static RESOURCE: [Field; 1] = [field("attributes", 1, Messages(&KEY_VALUE))];

static SCOPE_METRICS: [Field; 3] = [
    field("scope", 1, Message(&SCOPE)),
    field("metrics", 2, Messages(&METRIC)),
    field("schemaUrl", 3, One(Text)),
];

static SCOPE: [Field; 3] = [
    field("name", 1, One(Text)),
    field("version", 2, One(Text)),
    field("attributes", 3, Messages(&KEY_VALUE)),
];

static METRIC: [Field; 8] = [
    field("name", 1, One(Text)),
    field("description", 2, One(Text)),
    field("unit", 3, One(Text)),
    field("gauge", 5, Message(&GAUGE)),
    field("sum", 7, Message(&SUM)),
    field("histogram", 9, Message(&HISTOGRAM)),
    field("exponentialHistogram", 10, Message(&EXPONENTIAL)),
    field("summary", 11, Message(&SUMMARY)),
];

static GAUGE: [Field; 1] = [field("dataPoints", 1, Messages(&NUMBER_POINT))];

static SUM: [Field; 3] = [
    field("dataPoints", 1, Messages(&NUMBER_POINT)),
    field("aggregationTemporality", 2, One(Temporality)),
    field("isMonotonic", 3, One(Bool)),
];

static HISTOGRAM: [Field; 2] = [
    field("dataPoints", 1, Messages(&HISTOGRAM_POINT)),
    field("aggregationTemporality", 2, One(Temporality)),
];

static EXPONENTIAL: [Field; 2] = [
    field("dataPoints", 1, Messages(&EXPONENTIAL_POINT)),
    field("aggregationTemporality", 2, One(Temporality)),
];

static SUMMARY: [Field; 1] = [field("dataPoints", 1, Messages(&SUMMARY_POINT))];

static NUMBER_POINT: [Field; 7] = [
    field("startTimeUnixNano", 2, One(Fixed64)),
    field("timeUnixNano", 3, One(Fixed64)),
    field("asDouble", 4, One(Double)),
    field("exemplars", 5, Messages(&EXEMPLAR)),
    field("asInt", 6, One(SignedFixed64)),
    field("attributes", 7, Messages(&KEY_VALUE)),
    field("flags", 8, One(Uint32)),
];

static HISTOGRAM_POINT: [Field; 9] = [
    field("startTimeUnixNano", 2, One(Fixed64)),
    field("timeUnixNano", 3, One(Fixed64)),
    field("count", 4, One(Fixed64)),
    field("sum", 5, One(Double)),
    field("bucketCounts", 6, Many(Fixed64)),
    field("explicitBounds", 7, Many(Double)),
    field("exemplars", 8, Messages(&EXEMPLAR)),
    field("attributes", 9, Messages(&KEY_VALUE)),
    field("flags", 10, One(Uint32)),
];

static EXPONENTIAL_POINT: [Field; 11] = [
    field("attributes", 1, Messages(&KEY_VALUE)),
    field("startTimeUnixNano", 2, One(Fixed64)),
    field("timeUnixNano", 3, One(Fixed64)),
    field("count", 4, One(Fixed64)),
    field("sum", 5, One(Double)),
    field("scale", 6, One(ZigZag32)),
    field("zeroCount", 7, One(Fixed64)),
    field("positive", 8, Message(&BUCKETS)),
    field("negative", 9, Message(&BUCKETS)),
    field("flags", 10, One(Uint32)),
    field("exemplars", 11, Messages(&EXEMPLAR)),
];

static BUCKETS: [Field; 2] = [field("offset", 1, One(ZigZag32)), field("bucketCounts", 2, Many(Uint64))];

static SUMMARY_POINT: [Field; 7] = [
    field("startTimeUnixNano", 2, One(Fixed64)),
    field("timeUnixNano", 3, One(Fixed64)),
    field("count", 4, One(Fixed64)),
    field("sum", 5, One(Double)),
    field("quantileValues", 6, Messages(&QUANTILE)),
    field("attributes", 7, Messages(&KEY_VALUE)),
    field("flags", 8, One(Uint32)),
];

static QUANTILE: [Field; 2] = [field("quantile", 1, One(Double)), field("value", 2, One(Double))];

static EXEMPLAR: [Field; 6] = [
    field("timeUnixNano", 2, One(Fixed64)),
    field("asDouble", 3, One(Double)),
    field("spanId", 4, One(Hex)),
    field("traceId", 5, One(Hex)),
    field("asInt", 6, One(SignedFixed64)),
    field("filteredAttributes", 7, Messages(&KEY_VALUE)),
];

static KEY_VALUE: [Field; 2] = [field("key", 1, One(Text)), field("value", 2, Message(&ANY_VALUE))];

static ANY_VALUE: [Field; 7] = [
    field("stringValue", 1, One(Text)),
    field("boolValue", 2, One(Bool)),
    field("intValue", 3, One(Int64)),
    field("doubleValue", 4, One(Double)),
    field("arrayValue", 5, Message(&ARRAY)),
    field("kvlistValue", 6, Message(&MAP)),
    field("bytesValue", 7, One(Base64)),
];

static ARRAY: [Field; 1] = [field("values", 1, Messages(&ANY_VALUE))];

static MAP: [Field; 1] = [field("values", 1, Messages(&KEY_VALUE))];
