//! A sender of remote write 1.0 that can say what real senders never do: every bit of every field is the test's.

use std::collections::BTreeMap;

/// A `prometheus.WriteRequest` in the making.
#[derive(Debug, Default, Clone)]
pub struct WriteRequest {
    bytes: Vec<u8>,
}

/// A `prometheus.TimeSeries` in the making.
#[derive(Debug, Default, Clone)]
pub struct TimeSeries {
    bytes: Vec<u8>,
}

/// A native histogram by the absolute count of each of its buckets.
#[derive(Debug, Clone, Default)]
pub struct NativeHistogram {
    /// Whether counts travel as floats.
    pub is_float: bool,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// −4…8, or −53 with custom bounds.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in it.
    pub zero_count: f64,
    /// Count by index.
    pub positive: BTreeMap<i32, f64>,
    /// Count by index.
    pub negative: BTreeMap<i32, f64>,
    /// Upper bounds of custom buckets.
    pub custom_values: Vec<f64>,
    /// 0 unknown, 1 reset, 2 not reset, 3 gauge.
    pub reset_hint: u64,
}

impl WriteRequest {
    /// Adds a series.
    pub fn push(&mut self, series: &TimeSeries) -> &mut WriteRequest {
        message(&mut self.bytes, 1, &series.bytes);
        self
    }

    /// Adds the description of a metric family; `kind` 1 is a counter.
    pub fn metadata(&mut self, family: &str, kind: u64, help: &str) -> &mut WriteRequest {
        let mut bytes = Vec::new();
        field(&mut bytes, 1, 0);
        varint(&mut bytes, kind);
        message(&mut bytes, 2, family.as_bytes());
        message(&mut bytes, 4, help.as_bytes());
        message(&mut self.bytes, 3, &bytes);
        self
    }

    /// The message as it is.
    pub fn protobuf(&self) -> &[u8] {
        &self.bytes
    }

    /// The message as senders pack it.
    pub fn snappy(&self) -> Vec<u8> {
        snappy(&self.bytes)
    }
}

impl TimeSeries {
    /// A series without samples. Labels are sent in the order given.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> TimeSeries {
        let mut bytes = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            message(&mut label, 1, name.as_bytes());
            message(&mut label, 2, value.as_bytes());
            message(&mut bytes, 1, &label);
        }
        TimeSeries { bytes }
    }

    /// A series by its name and job, with labels whose order is right.
    pub fn named(name: &str, job: &str) -> TimeSeries {
        TimeSeries::new([("__name__", name), ("job", job)])
    }

    /// Adds a sample with exactly these bits.
    pub fn bits(mut self, timestamp: i64, bits: u64) -> TimeSeries {
        let mut sample = Vec::new();
        double(&mut sample, 1, bits);
        field(&mut sample, 2, 0);
        varint(&mut sample, timestamp as u64);
        message(&mut self.bytes, 2, &sample);
        self
    }

    /// Adds a sample.
    pub fn sample(self, timestamp: i64, value: f64) -> TimeSeries {
        self.bits(timestamp, value.to_bits())
    }

    /// Adds an exemplar. Its labels are sent in the order given.
    pub fn exemplar<'a>(
        mut self,
        timestamp: i64,
        value: f64,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> TimeSeries {
        let mut exemplar = TimeSeries::new(labels).bytes;
        double(&mut exemplar, 2, value.to_bits());
        field(&mut exemplar, 3, 0);
        varint(&mut exemplar, timestamp as u64);
        message(&mut self.bytes, 3, &exemplar);
        self
    }

    /// Adds a native histogram.
    pub fn histogram(mut self, timestamp: i64, histogram: &NativeHistogram) -> TimeSeries {
        message(&mut self.bytes, 4, &histogram.protobuf(timestamp));
        self
    }
}

impl NativeHistogram {
    /// The message, which is the same in both versions of remote write.
    pub fn protobuf(&self, timestamp: i64) -> Vec<u8> {
        let mut out = Vec::new();
        self.whole(&mut out, 1, 2, self.count);
        double(&mut out, 3, self.sum.to_bits());
        field(&mut out, 4, 0);
        varint(&mut out, zigzag(i64::from(self.schema)));
        double(&mut out, 5, self.zero_threshold.to_bits());
        self.whole(&mut out, 6, 7, self.zero_count);
        self.side(&mut out, 8, &self.negative);
        self.side(&mut out, 11, &self.positive);
        field(&mut out, 14, 0);
        varint(&mut out, self.reset_hint);
        field(&mut out, 15, 0);
        varint(&mut out, timestamp as u64);
        if !self.custom_values.is_empty() {
            let packed: Vec<u8> = self.custom_values.iter().flat_map(|v| v.to_le_bytes()).collect();
            message(&mut out, 16, &packed);
        }
        out
    }

    fn whole(&self, out: &mut Vec<u8>, integer: u64, float: u64, value: f64) {
        if self.is_float {
            double(out, float, value.to_bits());
        } else {
            field(out, integer, 0);
            varint(out, value as u64);
        }
    }

    /// Spans, then deltas or counts, in the fields that follow `spans_field`.
    fn side(&self, out: &mut Vec<u8>, spans_field: u64, buckets: &BTreeMap<i32, f64>) {
        let mut spans: Vec<(i32, u64)> = Vec::new();
        let mut next = 0;
        for &index in buckets.keys() {
            match spans.last_mut() {
                Some((_, length)) if index == next => *length += 1,
                _ => spans.push((index - next, 1)),
            }
            next = index + 1;
        }
        for (offset, length) in spans {
            let mut span = Vec::new();
            field(&mut span, 1, 0);
            varint(&mut span, zigzag(i64::from(offset)));
            field(&mut span, 2, 0);
            varint(&mut span, length);
            message(out, spans_field, &span);
        }
        let mut packed = Vec::new();
        let mut previous = 0;
        for &count in buckets.values() {
            if self.is_float {
                packed.extend_from_slice(&count.to_le_bytes());
            } else {
                varint(&mut packed, zigzag(count as i64 - previous));
                previous = count as i64;
            }
        }
        if !packed.is_empty() {
            message(out, spans_field + if self.is_float { 2 } else { 1 }, &packed);
        }
    }
}

/// Packs bytes as one snappy block.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

fn field(out: &mut Vec<u8>, number: u64, wire: u64) {
    varint(out, number << 3 | wire);
}

fn double(out: &mut Vec<u8>, number: u64, bits: u64) {
    field(out, number, 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn message(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    field(out, number, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Writes a LEB128 number.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
