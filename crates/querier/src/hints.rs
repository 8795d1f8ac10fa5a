//! Reset hints at the border of a range. A hint speaks of the histogram before it; of the first one in a range that
//! is returned as it is, the predecessor lies outside and has to be asked for.

use std::collections::HashMap;

use model::{HistogramPoint, SeriesData, SeriesId};

/// Sets the hint of each series' first histogram by the last one in `before`.
pub(crate) fn of_first(series: &mut [SeriesData], before: &[SeriesData]) {
    let with_histograms = before.iter().filter(|one| !one.histograms.is_empty());
    let before: HashMap<SeriesId, &SeriesData> = with_histograms.map(|one| (one.identity(), one)).collect();
    for one in series.iter_mut().filter(|one| !one.histograms.is_empty()) {
        let Some(other) = before.get(&one.identity()) else { continue };
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
        of_first(&mut inside, &[series("c", 5, 2), series("b", 5, 1)]);
        let hints = inside.map(|series| series.histograms[0].histogram.reset_hint);
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::No, ResetHint::Unknown]);
    }

    #[test]
    fn series_that_look_the_same_are_told_apart() {
        let of = |timestamp, count, instance: &str| SeriesData {
            id: Some(Labels::from_pairs([("instance", instance)]).id()),
            ..series("a", timestamp, count)
        };
        let mut inside = [of(10, 2, "x"), of(10, 2, "y")];
        of_first(&mut inside, &[of(5, 3, "y"), of(5, 1, "x")]);
        let hints = inside.map(|series| series.histograms[0].histogram.reset_hint);
        assert_eq!(hints, [ResetHint::No, ResetHint::Unknown]);
    }
}
