//! The buckets as the HTTP API shows them.

use model::Histogram;

use super::FloatHistogram;
use super::bucket::Bucket;

/// A bucket of the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ApiBucket {
    /// Which bounds belong to it: 0 the upper, 1 the lower, 2 neither, 3 both.
    pub rule: u8,
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
}

impl From<Bucket> for ApiBucket {
    fn from(bucket: Bucket) -> ApiBucket {
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        ApiBucket { rule, lower: bucket.lower, upper: bucket.upper, count: bucket.count }
    }
}

/// The buckets of a histogram, ascending, without empty ones.
pub fn api_buckets(histogram: &Histogram) -> Vec<ApiBucket> {
    let histogram = FloatHistogram::from_model(histogram);
    histogram.all_buckets().filter(|bucket| bucket.count != 0.0).map(ApiBucket::from).collect()
}
