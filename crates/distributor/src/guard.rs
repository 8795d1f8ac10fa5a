use limits::PromDuration;
use model::{Batch, ShardBatch};
use wire::{Pushed, RefusalReason};

use crate::canonical::describe;

/// Takes samples out of the batch that are further ahead of the clock than allowed; a grace of 0 allows all.
/// Costs one pass over the timestamps when there are none.
pub(crate) fn drop_future(batch: &mut Batch, now_ms: i64, grace: PromDuration, refused: &mut Pushed) {
    if grace.is_zero() {
        return;
    }
    let latest = now_ms.saturating_add(grace.millis());
    let Batch { bytes, shards, .. } = batch;
    for columns in shards.iter_mut() {
        let floats = columns.timestamps.iter().fold(i64::MIN, |max, ts| max.max(*ts));
        let histograms = columns.histograms.iter().map(|sample| sample.timestamp).max();
        if floats.max(histograms.unwrap_or(i64::MIN)) > latest {
            drop_after(columns, bytes, latest, &mut |run, timestamp| {
                refused.refuse(RefusalReason::TooFarInFuture, 1, || {
                    let ahead = timestamp.saturating_sub(now_ms) / 1000;
                    format!(
                        "sample at {timestamp} is {ahead}s ahead of the clock, the limit creation_grace_period is {grace}: {}",
                        describe(run)
                    )
                });
            });
        }
    }
}

fn drop_after(columns: &mut ShardBatch, bytes: &[u8], latest: i64, refuse: &mut impl FnMut(&[u8], i64)) {
    let (mut from, mut kept) = (0, 0);
    let mut histograms = std::mem::take(&mut columns.histograms).into_iter();
    for series in &mut columns.series {
        let run = bytes.get(series.labels.0 as usize..series.labels.1 as usize).unwrap_or_default();
        let to = from + series.n_floats as usize;
        let first = kept;
        for i in from..to {
            let timestamp = columns.timestamps[i];
            if timestamp > latest {
                refuse(run, timestamp);
                continue;
            }
            columns.timestamps[kept] = timestamp;
            columns.values[kept] = columns.values[i];
            kept += 1;
        }
        from = to;
        let before = columns.histograms.len();
        for sample in histograms.by_ref().take(series.n_histograms as usize) {
            if sample.timestamp > latest {
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
        drop_future(&mut batch, 0, PromDuration::secs(0), &mut refused);
        assert_eq!(refused, Pushed::default());
        drop_future(&mut batch, 0, PromDuration::secs(600), &mut refused);
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
}
