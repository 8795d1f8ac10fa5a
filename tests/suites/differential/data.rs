//! What both servers are sent: by remote write 2.0, and by OpenTelemetry what has start timestamps, since the receiver
//! of remote write of Prometheus 3.15 leaves those out.
//!
//! Requests are slabs of time, since Prometheus takes nothing that is an hour older than the newest. In the first slab
//! there is every series, in the order of labels: what depends on the order of series is the order of labels then.

use prost::Message;
use system_tests::{NativeHistogram, snappy};
use wire::generated::prometheus2 as pb;

use super::dice::Dice;
use super::families;
use super::opentelemetry;

/// How long the data last.
pub(super) const SPAN_MS: i64 = 100 * MINUTE_MS;
/// How much of it is in one request.
pub(super) const SLAB_MS: i64 = 10 * MINUTE_MS;
pub(super) const MINUTE_MS: i64 = 60_000;

const STALE_BITS: u64 = 0x7FF0_0000_0000_0002;

/// A sample's value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Float(f64),
    Histogram(NativeHistogram),
}

/// A series as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Sorted by name.
    pub(super) labels: Vec<(&'static str, String)>,
    /// By time.
    pub(super) points: Vec<(i64, Value)>,
}

/// Requests of a slab of time.
pub(super) struct Slab {
    /// A body of remote write 2.0.
    pub(super) write: Vec<u8>,
    /// A body of OpenTelemetry.
    pub(super) export: Vec<u8>,
}

/// The stale marker.
pub(super) fn stale() -> Value {
    Value::Float(f64::from_bits(STALE_BITS))
}

/// The stale marker of a histogram: its sum is one.
pub(super) fn stale_histogram() -> Value {
    Value::Histogram(NativeHistogram { sum: f64::from_bits(STALE_BITS), ..NativeHistogram::default() })
}

/// All that is sent, from `from_ms` on.
pub(super) fn slabs(seed: u64, from_ms: i64) -> Vec<Slab> {
    let mut series = families::all(&mut Dice::new(seed, u64::MAX), from_ms);
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let starts = (0..SPAN_MS / SLAB_MS).map(|n| from_ms + n * SLAB_MS);
    starts
        .map(|start| {
            let slab = start..start + SLAB_MS;
            let mut request = Request { symbols: vec![String::new()], entries: Vec::new() };
            series.iter().for_each(|series| request.push(series, &slab));
            Slab { write: request.packed(), export: opentelemetry::export(seed, from_ms, &slab) }
        })
        .collect()
}

struct Request {
    symbols: Vec<String>,
    entries: Vec<pb::TimeSeries>,
}

impl Request {
    /// Adds the samples of a slab, as many entries as there are runs of floats and of histograms.
    fn push(&mut self, series: &Series, slab: &std::ops::Range<i64>) {
        let labels_refs: Vec<u32> =
            series.labels.iter().flat_map(|(name, value)| [self.symbol(name), self.symbol(value)]).collect();
        let mut entry = pb::TimeSeries { labels_refs: labels_refs.clone(), ..Default::default() };
        for (at, value) in series.points.iter().filter(|(at, _)| slab.contains(at)) {
            let is_other = match value {
                Value::Float(_) => !entry.histograms.is_empty(),
                Value::Histogram(_) => !entry.samples.is_empty(),
            };
            if is_other {
                let next = pb::TimeSeries { labels_refs: labels_refs.clone(), ..Default::default() };
                self.entries.push(std::mem::replace(&mut entry, next));
            }
            match value {
                Value::Float(value) => {
                    entry.samples.push(pb::Sample { value: *value, timestamp: *at, start_timestamp: 0 });
                }
                Value::Histogram(histogram) => {
                    entry.histograms.push(pb::Histogram::decode(&histogram.protobuf(*at)[..]).unwrap());
                }
            }
        }
        if entry.samples.len() + entry.histograms.len() > 0 {
            self.entries.push(entry);
        }
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        let at = known.unwrap_or_else(|| {
            self.symbols.push(text.to_string());
            self.symbols.len() - 1
        });
        at as u32
    }

    fn packed(self) -> Vec<u8> {
        let request = pb::Request { symbols: self.symbols, timeseries: self.entries };
        snappy(&request.encode_to_vec())
    }
}
