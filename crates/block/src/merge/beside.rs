//! Merging files of the tables beside `metrics`. They are small: each is read whole.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use model::{Deletion, ExemplarPoint, ExemplarSeries, Labels, SeenMetadata};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

use super::MergeError;
use crate::read::{ExemplarRows, ReadError};
use crate::write::WriteError;
use crate::{WriteOptions, WrittenRows, block_order, read_metadata, write_exemplars, write_metadata};

/// Rows that are decoded together.
const BATCH_ROWS: usize = 1024;

/// A whole file that is to be merged.
#[derive(Debug, Clone)]
pub struct WholeFile {
    /// Its name in errors.
    pub name: String,
    /// All of it.
    pub bytes: Bytes,
    /// What of it is to be left out.
    pub deletions: Vec<Arc<Deletion>>,
}

/// One file of the exemplars in these: each once. `None` when none is left.
pub fn merge_exemplars(
    block: i64,
    shards: &[u32],
    inputs: Vec<WholeFile>,
    options: &WriteOptions,
) -> Result<Option<WrittenRows>, MergeError> {
    let mut failed = None;
    let merged = Exemplars::open(inputs)?;
    let series = std::iter::from_fn({
        let (mut merged, failed) = (merged, &mut failed);
        move || {
            merged.next_series().unwrap_or_else(|e| {
                *failed = Some(e);
                None
            })
        }
    });
    let written = write_exemplars(block, shards, series, options);
    match failed {
        Some(e) => Err(e),
        None => written.map_err(|e| write_error(&e)),
    }
}

/// One file of the descriptions in these: each once, as it was seen last. `None` when there is none.
pub fn merge_metadata(
    block: i64,
    inputs: Vec<WholeFile>,
    options: &WriteOptions,
) -> Result<Option<WrittenRows>, MergeError> {
    let mut newest: BTreeMap<(String, &str, String, String), SeenMetadata> = BTreeMap::new();
    for WholeFile { name, bytes, .. } in inputs {
        for row in read_metadata(bytes).map_err(|e| MergeError::read(&name, e))? {
            let of = &row.metadata;
            let key = (of.family.clone(), of.metric_type.as_str(), of.unit.clone(), of.help.clone());
            match newest.entry(key) {
                Entry::Vacant(new) => drop(new.insert(row)),
                Entry::Occupied(mut known) => {
                    let seen_ms = known.get().seen_ms.max(row.seen_ms);
                    known.get_mut().seen_ms = seen_ms;
                }
            }
        }
    }
    let rows = newest.into_values().collect();
    write_metadata(block, rows, options).map_err(|e| write_error(&e))
}

fn write_error(error: &WriteError<std::convert::Infallible>) -> MergeError {
    MergeError::Write(ParquetError::General(error.to_string()))
}

/// The exemplars of several files, series by series in the order of a block.
struct Exemplars {
    files: Vec<Rows>,
    next: BinaryHeap<Next>,
}

/// The rows of a file, one at a time.
struct Rows {
    name: String,
    deletions: Vec<Arc<Deletion>>,
    batches: ParquetRecordBatchReader,
    rows: std::vec::IntoIter<(Labels, ExemplarPoint)>,
}

/// The next row of a file; the greatest is the first in the order of a block.
struct Next {
    labels: Labels,
    point: ExemplarPoint,
    file: usize,
}

impl Exemplars {
    fn open(inputs: Vec<WholeFile>) -> Result<Exemplars, MergeError> {
        let files = inputs.into_iter().map(Rows::open).collect::<Result<Vec<_>, _>>()?;
        let mut exemplars = Exemplars { files, next: BinaryHeap::new() };
        for file in 0..exemplars.files.len() {
            exemplars.advance(file)?;
        }
        Ok(exemplars)
    }

    fn advance(&mut self, file: usize) -> Result<(), MergeError> {
        if let Some((labels, point)) = self.files[file].next()? {
            self.next.push(Next { labels, point, file });
        }
        Ok(())
    }

    fn next_series(&mut self) -> Result<Option<ExemplarSeries>, MergeError> {
        let Some(first) = self.next.pop() else { return Ok(None) };
        self.advance(first.file)?;
        let mut series = ExemplarSeries { labels: first.labels, exemplars: vec![first.point] };
        while self.next.peek().is_some_and(|next| next.labels == series.labels) {
            let Some(same) = self.next.pop() else { break };
            self.advance(same.file)?;
            series.exemplars.push(same.point);
        }
        series.exemplars.sort_by(order);
        series.exemplars.dedup_by(|a, b| order(a, b).is_eq());
        Ok(Some(series))
    }
}

impl Rows {
    fn open(file: WholeFile) -> Result<Rows, MergeError> {
        let WholeFile { name, bytes, deletions } = file;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let batches = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|e| MergeError::corrupt(&name, e))?;
        Ok(Rows { name, deletions, batches, rows: Vec::new().into_iter() })
    }

    fn next(&mut self) -> Result<Option<(Labels, ExemplarPoint)>, MergeError> {
        loop {
            for (labels, point) in self.rows.by_ref() {
                let is_gone = |deletion: &Arc<Deletion>| {
                    deletion.range.contains(point.timestamp) && deletion.concerns(labels.run())
                };
                if !self.deletions.iter().any(is_gone) {
                    return Ok(Some((labels, point)));
                }
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch.map_err(|e| MergeError::corrupt(&self.name, e))?;
            self.rows = decode(&batch).map_err(|e| MergeError::read(&self.name, e))?.into_iter();
        }
    }
}

fn decode(batch: &RecordBatch) -> Result<Vec<(Labels, ExemplarPoint)>, ReadError> {
    let rows = ExemplarRows::new(batch)?;
    let mut decoded: Vec<(Labels, ExemplarPoint)> = Vec::with_capacity(rows.len());
    let mut run = Vec::new();
    for row in 0..rows.len() {
        rows.series_run(row, &mut run)?;
        let labels = match decoded.last() {
            Some((last, _)) if last.run() == run => last.clone(),
            _ => Labels::of_canonical_run(&run),
        };
        let (timestamp, value) = (rows.timestamp(row), rows.value(row));
        decoded.push((labels, ExemplarPoint { timestamp, value, labels: rows.labels(row)? }));
    }
    Ok(decoded)
}

fn order(a: &ExemplarPoint, b: &ExemplarPoint) -> Ordering {
    let by_time = a.timestamp.cmp(&b.timestamp);
    by_time.then(a.value.total_cmp(&b.value)).then_with(|| a.labels.cmp(&b.labels))
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        block_order(&other.labels, &self.labels).then(other.file.cmp(&self.file))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}
