use std::ops::RangeInclusive;

use limits::PromDuration;
use model::{Batch, ShardBatch};
use wire::{Pushed, RefusalReason};

use crate::canonical::describe;

/// The times that a table can hold: a day of the calendar names each partition, and other readers of the table know
/// the years 1 to 9999.
const STORABLE: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Takes samples out of the batch that are further ahead of the clock than allowed, or at a time that no table holds;
/// a grace of 0 allows all that can be stored. Costs one pass over the timestamps when there are none.
pub(crate) fn drop_misplaced(batch: &mut Batch, now_ms: i64, grace: PromDuration, refused: &mut Pushed) {
    let earliest = *STORABLE.start();
    let latest = if grace.is_zero() { i64::MAX } else { now_ms.saturating_add(grace.millis()) };
    let taken = earliest..=latest.min(*STORABLE.end());
    let Batch { bytes, shards, .. } = batch;
    for columns in shards.iter_mut() {
        let times = (columns.timestamps.iter().copied())
            .chain(columns.histograms.iter().map(|sample| sample.timestamp))
            .fold((earliest, earliest), |(min, max), ts| (min.min(ts), max.max(ts)));
        if taken.contains(&times.0) && taken.contains(&times.1) {
            continue;
        }
        drop_outside(columns, bytes, &taken, &mut |run, timestamp| {
            if timestamp > latest {
                refused.refuse(RefusalReason::TooFarInFuture, 1, || {
                    let ahead = timestamp.saturating_sub(now_ms) / 1000;
                    format!(
                        "sample at {timestamp} is {ahead}s ahead of the clock, the limit creation_grace_period is {grace}: {}",
                        describe(run)
                    )
                });
            } else {
                let far = timestamp > *taken.end();
                let reason = if far { RefusalReason::TooFarInFuture } else { RefusalReason::TooOld };
                refused.refuse(reason, 1, || {
                    format!("sample at {timestamp} is outside the years 1 to 9999: {}", describe(run))
                });
            }
        });
    }
}

fn drop_outside(
    columns: &mut ShardBatch,
    bytes: &[u8],
    taken: &RangeInclusive<i64>,
    refuse: &mut impl FnMut(&[u8], i64),
) {
    let (mut from, mut kept) = (0, 0);
    let mut histograms = std::mem::take(&mut columns.histograms).into_iter();
    for series in &mut columns.series {
        let run = bytes.get(series.labels.0 as usize..series.labels.1 as usize).unwrap_or_default();
        let to = from + series.n_floats as usize;
        let first = kept;
        for i in from..to {
            let timestamp = columns.timestamps[i];
            if !taken.contains(&timestamp) {
                refuse(run, timestamp);
                continue;
            }
            columns.timestamps[kept] = timestamp;
            columns.values[kept] = columns.values[i];
            if let Some(start) = columns.start_timestamps.get(i).copied() {
                columns.start_timestamps[kept] = start;
            }
            kept += 1;
        }
        from = to;
        let before = columns.histograms.len();
        for sample in histograms.by_ref().take(series.n_histograms as usize) {
            if !taken.contains(&sample.timestamp) {
                refuse(run, sample.timestamp);
            } else {
                columns.histograms.push(sample);
            }
        }
        series.n_floats = (kept - first) as u32;
        series.n_histograms = (columns.histograms.len() - before) as u32;
    }
    columns.timestamps.truncate(kept);
    columns.values.truncate(kept);
    columns.start_timestamps.truncate(kept);
    columns.series.retain(|series| series.n_floats + series.n_histograms + series.n_exemplars > 0);
}

#[cfg(test)]
mod tests {
    use model::{BatchSeries, Histogram, HistogramSample, Labels};

    use super::*;

    #[test]
    fn samples_ahead_of_the_grace_go_and_their_neighbours_stay() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let run = (0, labels.run().len() as u32);
        let series = |n_floats, n_histograms| BatchSeries {
            id: labels.id(),
            labels: run,
            is_known: false,
            n_floats,
            n_histograms,
            n_exemplars: 0,
        };
        let histogram = |timestamp| HistogramSample {
            timestamp,
            start_timestamp: 0,
            histogram: Box::new(Histogram::stale()),
        };
        let columns = ShardBatch {
            series: vec![series(3, 0), series(1, 2), series(1, 0)],
            timestamps: vec![1, 700_001, 600_000, 700_002, 5],
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            histograms: vec![histogram(9), histogram(600_001)],
            ..ShardBatch::default()
        };
        let mut batch = Batch { bytes: labels.run().to_vec(), shards: vec![columns], ..Batch::default() };
        let mut refused = Pushed::default();
        drop_misplaced(&mut batch, 0, PromDuration::secs(0), &mut refused);
        assert_eq!(refused, Pushed::default());
        drop_misplaced(&mut batch, 0, PromDuration::secs(600), &mut refused);
        let columns = &batch.shards[0];
        assert_eq!(columns.series, [series(2, 0), series(0, 1), series(1, 0)]);
        assert_eq!(
            (&columns.timestamps[..], &columns.values[..]),
            (&[1, 600_000, 5][..], &[1.0, 3.0, 5.0][..])
        );
        let timestamps: Vec<i64> = columns.histograms.iter().map(|sample| sample.timestamp).collect();
        assert_eq!(timestamps, [9]);
        assert_eq!(refused.refused.len(), 1);
        assert_eq!(refused.refused[0].n_samples, 3);
        assert!(refused.refused[0].message.contains("creation_grace_period is 10m: {__name__=\"up\"}"));
    }

    #[test]
    fn a_time_that_no_table_holds_is_refused_whatever_the_grace() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let run = (0, labels.run().len() as u32);
        let series = BatchSeries {
            id: labels.id(),
            labels: run,
            is_known: false,
            n_floats: 6,
            n_histograms: 0,
            n_exemplars: 0,
        };
        let (first, last) = (*STORABLE.start(), *STORABLE.end());
        let columns = ShardBatch {
            series: vec![series],
            timestamps: vec![i64::MIN, first - 1, first, last, last + 1, i64::MAX],
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            ..ShardBatch::default()
        };
        let mut batch = Batch { bytes: labels.run().to_vec(), shards: vec![columns], ..Batch::default() };
        let mut refused = Pushed::default();
        drop_misplaced(&mut batch, 0, PromDuration::secs(0), &mut refused);
        assert_eq!(batch.shards[0].timestamps, [first, last]);
        assert_eq!(batch.shards[0].values, [3.0, 4.0]);
        let reasons: Vec<_> = refused.refused.iter().map(|r| (r.reason, r.n_samples)).collect();
        assert_eq!(reasons, [(RefusalReason::TooOld, 2), (RefusalReason::TooFarInFuture, 2)]);
        assert!(refused.refused[0].message.contains("outside the years 1 to 9999: {__name__=\"up\"}"));
    }
}
