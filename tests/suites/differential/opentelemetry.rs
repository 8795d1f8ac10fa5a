//! Counters and histograms whose samples say since when they count.

use std::ops::Range;

use prost::Message;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::common::v1::{AnyValue, KeyValue, any_value};
use wire::generated::opentelemetry::metrics::v1::exponential_histogram_data_point::Buckets;
use wire::generated::opentelemetry::metrics::v1::metric::Data;
use wire::generated::opentelemetry::metrics::v1::*;
use wire::generated::opentelemetry::resource::v1::Resource;

use super::data::MINUTE_MS;
use super::dice::Dice;

const EVERY_MS: i64 = 30_000;
/// How long a process lives; it starts anew then, and its counters from zero.
const LIFE_MS: i64 = 17 * MINUTE_MS + 4_321;

/// The request of a slab of time. Names sort behind all others.
pub(super) fn export(seed: u64, from_ms: i64, slab: &Range<i64>) -> Vec<u8> {
    let resource_metrics = ["h1", "h2", "h3"].into_iter().enumerate().map(|(i, instance)| {
        let mut points = Points::default();
        let mut dice = Dice::new(seed, 7_000 + i as u64);
        let mut at = from_ms + i as i64 * 1_111;
        let mut count = 0;
        let mut born = at - 5_000;
        while at < slab.end {
            if at - born > LIFE_MS {
                (born, count) = (at - dice.between(0, EVERY_MS + 9_000), 0);
            }
            count += dice.between(0, 9);
            if slab.contains(&at) {
                points.push(at, born, count, i == 2);
            }
            at += EVERY_MS;
        }
        ResourceMetrics {
            resource: Some(resource(instance)),
            scope_metrics: vec![ScopeMetrics { metrics: points.metrics(), ..Default::default() }],
            ..Default::default()
        }
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }.encode_to_vec()
}

#[derive(Default)]
struct Points {
    numbers: Vec<NumberDataPoint>,
    histograms: Vec<ExponentialHistogramDataPoint>,
}

impl Points {
    /// With `is_delta`-like starts each sample says that it began where the one before it was.
    fn push(&mut self, at: i64, born: i64, count: i64, restarts: bool) {
        let nanos = |ms: i64| ms as u64 * 1_000_000;
        let start = if restarts { at - EVERY_MS } else { born };
        self.numbers.push(NumberDataPoint {
            start_time_unix_nano: nanos(start),
            time_unix_nano: nanos(at),
            value: Some(number_data_point::Value::AsInt(count)),
            ..Default::default()
        });
        let low = count as u64 / 3;
        self.histograms.push(ExponentialHistogramDataPoint {
            start_time_unix_nano: nanos(start),
            time_unix_nano: nanos(at),
            count: count as u64,
            sum: Some(count as f64 * 0.25),
            scale: 1,
            positive: Some(Buckets { offset: -2, bucket_counts: vec![low, 0, count as u64 - low] }),
            ..Default::default()
        });
    }

    fn metrics(self) -> Vec<Metric> {
        let requests = Data::Sum(Sum {
            data_points: self.numbers,
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
            is_monotonic: true,
        });
        let sizes = Data::ExponentialHistogram(ExponentialHistogram {
            data_points: self.histograms,
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
        });
        [("zz.started", requests), ("zz.started.sizes", sizes)]
            .into_iter()
            .map(|(name, data)| Metric { name: name.to_string(), data: Some(data), ..Default::default() })
            .collect()
    }
}

fn resource(instance: &str) -> Resource {
    let pair = |key: &str, value: &str| KeyValue {
        key: key.to_string(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_string())) }),
        ..Default::default()
    };
    let attributes = vec![pair("service.name", "started"), pair("service.instance.id", instance)];
    Resource { attributes, ..Default::default() }
}
