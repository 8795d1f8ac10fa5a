//! Histograms as Prometheus writes them, which `count_values` shows.

use std::fmt;

use model::ResetHint;

use super::FloatHistogram;
use super::bucket::Bucket;
use crate::number::shortest;

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", shortest(self.count), shortest(self.sum))?;
        let zero = self.zero_bucket();
        for bucket in self.negative_buckets_rev().chain(zero).chain(self.positive_buckets()) {
            if bucket.count != 0.0 {
                write!(f, ", {bucket}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [self.lower, self.upper, self.count].map(shortest);
        write!(f, "{open}{lower},{upper}{close}:{count}")
    }
}

impl FloatHistogram {
    /// The histogram as test scripts write it: `{{schema:… count:… buckets:[…]}}`.
    pub fn to_test_literal(&self) -> String {
        let mut compacted = self.clone();
        // One span a side: the literal has no other gaps than empty buckets.
        compacted.compact(usize::MAX);
        let mut parts: Vec<String> = Vec::new();
        if self.schema != 0 {
            parts.push(format!("schema:{}", self.schema));
        }
        let numbers = [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ];
        parts.extend(
            numbers.iter().filter(|(_, v)| *v != 0.0).map(|(key, v)| format!("{key}:{}", shortest(*v))),
        );
        if self.uses_custom_buckets() {
            parts.push(format!("custom_values:[{}]", joined(&self.custom_values)));
        }
        match self.reset_hint {
            ResetHint::Unknown => {}
            ResetHint::Yes => parts.push("counter_reset_hint:reset".to_owned()),
            ResetHint::No => parts.push("counter_reset_hint:not_reset".to_owned()),
            ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        let sides = [
            ("offset", "buckets", &compacted.positive_spans, &compacted.positive),
            ("n_offset", "n_buckets", &compacted.negative_spans, &compacted.negative),
        ];
        for (offset_key, buckets_key, spans, counts) in sides {
            if let Some(span) = spans.first().filter(|span| span.offset != 0) {
                parts.push(format!("{offset_key}:{}", span.offset));
            }
            if !counts.is_empty() {
                parts.push(format!("{buckets_key}:[{}]", joined(counts)));
            }
        }
        format!("{{{{{}}}}}", parts.join(" "))
    }
}

fn joined(values: &[f64]) -> String {
    values.iter().map(|v| shortest(*v)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_prints_its_populated_buckets() {
        let span = |offset, length| model::BucketSpan { offset, length };
        let histogram = FloatHistogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 11.0,
            sum: 18.4,
            positive_spans: vec![span(0, 2), span(1, 1)],
            positive: vec![1.0, 0.0, 3.5],
            negative_spans: vec![span(0, 2)],
            negative: vec![4.0, 0.5],
            reset_hint: ResetHint::Gauge,
            ..FloatHistogram::empty(0)
        };
        assert_eq!(
            histogram.to_string(),
            "{count:11, sum:18.4, [-2,-1):0.5, [-1,-0.5):4, [-0.001,0.001]:2, (0.5,1]:1, (4,8]:3.5}"
        );
        assert_eq!(
            histogram.to_test_literal(),
            "{{count:11 sum:18.4 z_bucket:2 z_bucket_w:0.001 counter_reset_hint:gauge \
             buckets:[1 0 0 3.5] n_buckets:[4 0.5]}}"
        );
    }

    #[test]
    fn custom_buckets_print_their_bounds() {
        let histogram = FloatHistogram {
            count: 3.0,
            sum: 5.0,
            positive_spans: vec![model::BucketSpan { offset: 0, length: 3 }],
            positive: vec![1.0, 1.0, 1.0],
            custom_values: vec![2.0, 4.0],
            ..FloatHistogram::empty(model::CUSTOM_BUCKETS_SCHEMA)
        };
        assert_eq!(histogram.to_string(), "{count:3, sum:5, [-Inf,2]:1, (2,4]:1, (4,+Inf]:1}");
        assert_eq!(
            histogram.to_test_literal(),
            "{{schema:-53 count:3 sum:5 custom_values:[2 4] buckets:[1 1 1]}}"
        );
    }
}
