//! Reset hints at the border of a range. A hint speaks of the histogram before it; of the first one in a range that
//! is returned as it is, the predecessor lies outside and has to be asked for.

use std::cmp::Ordering;

use model::{HistogramPoint, SeriesData};

/// Sets the hint of each series' first histogram by the last one in `before`; both are sorted by labels.
pub(crate) fn of_first(series: &mut [SeriesData], before: &[SeriesData]) {
    let mut before = before.iter().peekable();
    for one in series {
        while before.next_if(|other| other.labels.cmp(&one.labels) == Ordering::Less).is_some() {}
        let Some(other) = before.peek().filter(|other| other.labels == one.labels) else { continue };
        if let (Some(first), Some(last)) = (one.histograms.first_mut(), other.histograms.last()) {
            let mut pair: [HistogramPoint; 2] = [last.clone(), first.clone()];
            promql::set_reset_hints(&mut pair);
            let [_, hinted] = pair;
            *first = hinted;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use model::{BucketSpan, Counts, Histogram, Labels, ResetHint};

    fn series(name: &str, timestamp: i64, count: u64) -> SeriesData {
        let counts = Counts::Int { count, zero: 0, positive: vec![count], negative: Vec::new() };
        let positive_spans = vec![BucketSpan { offset: 0, length: 1 }];
        let histogram = Histogram { counts, positive_spans, sum: 1.0, ..Histogram::stale() };
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", name)]));
        let histogram = Arc::new(histogram);
        series.histograms.push(HistogramPoint { timestamp, start_timestamp: 0, histogram });
        series
    }

    #[test]
    fn the_first_histogram_knows_the_one_before_the_range() {
        let mut inside = [series("a", 10, 2), series("b", 10, 2), series("c", 10, 1)];
        of_first(&mut inside, &[series("b", 5, 1), series("c", 5, 2)]);
        let hints = inside.map(|series| series.histograms[0].histogram.reset_hint);
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::No, ResetHint::Unknown]);
    }
}
