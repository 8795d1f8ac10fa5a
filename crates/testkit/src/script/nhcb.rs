//! Classic histograms to native ones with custom buckets, for `load_with_nhcb`.

use std::collections::BTreeMap;

use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Labels, METRIC_NAME};
use promql::histogram::FloatHistogram;

use super::{LoadedSample, LoadedSeries, LoadedValue};

/// What is known of one classic histogram at one moment. The counts are cumulative.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// What a series of a classic histogram tells.
#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// The native series of the classic histograms among `series`. A family becomes one series without `le`, under
/// its name without suffix.
pub(super) fn convert(series: &[LoadedSeries]) -> Result<Vec<LoadedSeries>, String> {
    let mut families: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for one in series {
        let Some((family, part)) = family_of(&one.labels)? else { continue };
        let moments = families.entry(family).or_default();
        for sample in &one.samples {
            if let LoadedValue::Float(value) = sample.value {
                moments.entry(sample.timestamp).or_default().set(part, value)?;
            }
        }
    }
    let mut converted = Vec::new();
    for (labels, moments) in families {
        let samples = moments.into_iter().map(|(timestamp, classic)| {
            let value = LoadedValue::Histogram(classic.into_native()?.into_model());
            Ok(LoadedSample { timestamp, start_timestamp: 0, value })
        });
        converted.push(LoadedSeries { labels, samples: samples.collect::<Result<_, String>>()? });
    }
    Ok(converted)
}

fn family_of(labels: &Labels) -> Result<Option<(Labels, Part)>, String> {
    let Some(name) = labels.metric_name() else { return Ok(None) };
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let le = labels.get("le").ok_or_else(|| format!("expected bucket label in metric {labels}"))?;
        match promql::histogram::classic::parse_bound(le) {
            Some(bound) if !bound.is_nan() => (base, Part::Bucket(bound)),
            _ => return Ok(None),
        }
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else if let Some(base) = name.strip_suffix("_sum") {
        (base, Part::Sum)
    } else {
        return Ok(None);
    };
    let mut family = labels.builder();
    family.set(METRIC_NAME, base).remove("le");
    Ok(Some((family.build(), part)))
}

impl Classic {
    fn set(&mut self, part: Part, value: f64) -> Result<(), String> {
        match part {
            Part::Sum => self.sum = value,
            _ if value < 0.0 => return Err(format!("count must be non-negative: {value}")),
            Part::Count => self.count = Some(value),
            Part::Bucket(bound) => self.set_bucket(bound, value)?,
        }
        Ok(())
    }

    /// Of two buckets with one bound the first stays.
    fn set_bucket(&mut self, bound: f64, count: f64) -> Result<(), String> {
        let at = self.buckets.partition_point(|(le, _)| *le < bound);
        if self.buckets.get(at).is_some_and(|(le, _)| *le == bound) {
            return Ok(());
        }
        let below = at.checked_sub(1).map(|i| self.buckets[i].1);
        let above = self.buckets.get(at).map(|(_, count)| *count);
        if below.is_some_and(|below| count < below) || above.is_some_and(|above| count > above) {
            return Err(format!("count is not cumulative: le={bound} count={count}"));
        }
        self.buckets.insert(at, (bound, count));
        Ok(())
    }

    fn into_native(mut self) -> Result<FloatHistogram, String> {
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let whole = self.buckets.last().map_or(0.0, |(_, count)| *count);
        if whole != count {
            return Err(format!("count mismatch: count={count} != le=+Inf count={whole}"));
        }
        let mut histogram = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA);
        (histogram.count, histogram.sum) = (count, self.sum);
        let length = u32::try_from(self.buckets.len()).map_err(|_| "too many buckets".to_string())?;
        histogram.positive_spans = vec![BucketSpan { offset: 0, length }];
        let mut below = 0.0;
        for (bound, count) in self.buckets {
            histogram.positive.push(count - below);
            below = count;
            if bound != f64::INFINITY {
                histogram.custom_values.push(bound);
            }
        }
        histogram.compact(0);
        histogram.validate().map_err(|e| e.to_string())?;
        Ok(histogram)
    }
}
