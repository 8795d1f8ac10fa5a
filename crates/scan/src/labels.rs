//! The labels of the rows of a file: read for many row groups with few requests, decoded and cached in pieces.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use block::read::{self, LabelRows};

use crate::ahead::{Ahead, places};
use crate::cache::{Entry, Key};
use crate::error::ScanError;
use crate::file::TableFile;
use crate::room::{Place, Room};

/// Labels are decoded and cached in pieces of so many rows, as pages are.
pub(crate) const PIECE_ROWS: usize = 1024;
/// What is read at once of the labels of several row groups at most, with what lies between them.
const BATCH_BYTES: u64 = 2 << 20;

/// Rows of a row group whose labels are wanted.
#[derive(Debug)]
pub(crate) struct LabelGroup {
    pub(crate) group: usize,
    pub(crate) rows: Vec<Range<usize>>,
}

/// Row groups whose labels are read together.
#[derive(Debug, Default)]
pub(crate) struct LabelBatch {
    pub(crate) groups: Vec<LabelGroup>,
    places: Vec<Range<u64>>,
    /// What those take that are not in the cache.
    bytes: u64,
}

/// The labels of a batch, and the room that they have.
pub(crate) struct DecodedLabels<'a> {
    pub(crate) groups: Vec<(usize, Pieces)>,
    pub(crate) place: Place<'a>,
}

/// The labels of a row group, by number of the piece.
pub(crate) type Pieces = Vec<(usize, Arc<LabelRows>)>;

impl TableFile<'_> {
    /// Divides row groups into batches that take at most `most_bytes` in memory where that can be. Neighbours are read
    /// together although what lies between their labels is not wanted, where that costs less than another request.
    pub(crate) fn label_batches(
        &self,
        groups: impl IntoIterator<Item = LabelGroup>,
        most_bytes: u64,
    ) -> Vec<LabelBatch> {
        let mut batches: Vec<LabelBatch> = Vec::new();
        for group in groups.into_iter().flat_map(|group| self.divided(group, most_bytes)) {
            let missing = self.missing(&group);
            let places = self.places_of(&group, &missing);
            let bytes = self.bytes_of(group.group, &missing);
            let fits =
                |batch: &LabelBatch| batch.bytes + bytes <= most_bytes && self.is_room_in(batch, &places);
            match batches.last_mut().filter(|batch| fits(batch)) {
                Some(batch) => {
                    batch.groups.push(group);
                    batch.places.extend(places);
                    batch.bytes += bytes;
                }
                None => batches.push(LabelBatch { groups: vec![group], places, bytes }),
            }
        }
        batches
    }

    /// The labels of a batch of row groups.
    pub(crate) async fn labels<'r>(
        &self,
        batch: LabelBatch,
        room: &'r Room<'_>,
    ) -> Result<DecodedLabels<'r>, ScanError> {
        let place = room.take(batch.bytes).await?;
        let ahead = Ahead::read(self.fetch, &self.path, &batch.places).await?;
        let mut labels = Vec::with_capacity(batch.groups.len());
        for group in &batch.groups {
            labels.push((group.group, self.label_pieces(group, &ahead).await?));
        }
        Ok(DecodedLabels { groups: labels, place })
    }

    /// A row group by itself, or in runs of pieces where all of them take too much at once.
    fn divided(&self, group: LabelGroup, most_bytes: u64) -> Vec<LabelGroup> {
        let all = self.missing(&group);
        if self.bytes_of(group.group, &all) <= most_bytes {
            return vec![group];
        }
        let per_piece = self.bytes_of(group.group, &all[..1]).max(1);
        let pieces = pieces(&group.rows);
        let runs = pieces.chunks((most_bytes / per_piece).max(1) as usize);
        let of_run = |run: &[usize]| {
            let (first, last) = (run[0] * PIECE_ROWS, (run[run.len() - 1] + 1) * PIECE_ROWS);
            let within = |rows: &Range<usize>| rows.start.max(first)..rows.end.min(last);
            let rows = group.rows.iter().map(within).filter(|rows| !rows.is_empty()).collect();
            LabelGroup { group: group.group, rows }
        };
        runs.map(of_run).collect()
    }

    fn is_room_in(&self, batch: &LabelBatch, places: &[Range<u64>]) -> bool {
        let all: Vec<Range<u64>> = batch.places.iter().chain(places).cloned().collect();
        let merged = self.fetch.merged(&all);
        merged.iter().map(|range| range.end - range.start).sum::<u64>() <= BATCH_BYTES
    }

    /// The pieces whose labels are not in the cache.
    fn missing(&self, group: &LabelGroup) -> Vec<usize> {
        let is_missing = |piece: &usize| self.cache.get(&self.labels_key(group.group, *piece)).is_none();
        pieces(&group.rows).into_iter().filter(is_missing).collect()
    }

    /// Where the labels of these pieces lie.
    fn places_of(&self, group: &LabelGroup, pieces: &[usize]) -> Vec<Range<u64>> {
        if pieces.is_empty() {
            return Vec::new();
        }
        let leaves = self.meta.filled(group.group, read::LABEL_COLUMNS);
        places(self.meta.parquet(), group.group, &leaves, &self.rows_of(group.group, pieces))
    }

    /// What these pieces take while they are decoded.
    fn bytes_of(&self, group: usize, pieces: &[usize]) -> u64 {
        self.meta.decoded_bytes(group, read::LABEL_COLUMNS, pieces.len() * PIECE_ROWS)
    }

    async fn label_pieces(&self, group: &LabelGroup, ahead: &Ahead) -> Result<Pieces, ScanError> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for piece in pieces(&group.rows) {
            match self.cache.get(&self.labels_key(group.group, piece)) {
                Some(Entry::Labels(rows)) => found.push((piece, rows)),
                _ => missing.push(piece),
            }
        }
        if !missing.is_empty() {
            found.extend(self.read_pieces(group.group, &missing, ahead).await?);
            found.sort_by_key(|(piece, _)| *piece);
        }
        Ok(found)
    }

    async fn read_pieces(&self, group: usize, missing: &[usize], ahead: &Ahead) -> Result<Pieces, ScanError> {
        let rows = self.rows_of(group, missing);
        let batches = self.read_with(ahead, group, read::LABEL_COLUMNS, Some(rows)).await?;
        let mut batches = Rows { batches, batch: 0, row: 0 };
        let mut decoded = Vec::with_capacity(missing.len());
        for piece in missing {
            let n_rows = self.rows_of(group, &[*piece]).iter().map(ExactSizeIterator::len).sum();
            let rows = LabelRows::decode(&batches.take(n_rows));
            let rows = Arc::new(rows.map_err(|e| ScanError::read(self.name(), e))?);
            self.cache.insert(self.labels_key(group, *piece), Entry::Labels(Arc::clone(&rows)));
            decoded.push((*piece, rows));
        }
        Ok(decoded)
    }

    /// The rows of some pieces of a row group, neighbours as one range.
    fn rows_of(&self, group: usize, pieces: &[usize]) -> Vec<Range<usize>> {
        let n_rows = usize::try_from(self.meta.parquet().row_group(group).num_rows()).unwrap_or(0);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for range in pieces.iter().map(|piece| piece * PIECE_ROWS..((piece + 1) * PIECE_ROWS).min(n_rows)) {
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    fn labels_key(&self, group: usize, piece: usize) -> Key {
        Key::Labels(self.id, group, piece)
    }
}

/// Batches as one sequence of rows.
struct Rows {
    batches: Vec<RecordBatch>,
    batch: usize,
    row: usize,
}

impl Rows {
    fn take(&mut self, mut n: usize) -> Vec<RecordBatch> {
        let mut taken = Vec::new();
        while n > 0 && self.batch < self.batches.len() {
            let batch = &self.batches[self.batch];
            let here = n.min(batch.num_rows() - self.row);
            taken.push(batch.slice(self.row, here));
            n -= here;
            self.row += here;
            if self.row == batch.num_rows() {
                self.batch += 1;
                self.row = 0;
            }
        }
        taken
    }
}

/// The numbers of the pieces that hold these rows, ascending.
fn pieces(ranges: &[Range<usize>]) -> Vec<usize> {
    let mut pieces = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        for piece in range.start / PIECE_ROWS..=(range.end - 1) / PIECE_ROWS {
            if pieces.last() != Some(&piece) {
                pieces.push(piece);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_rows_once() {
        assert_eq!(pieces(&[0..1, 5..1025, 2048..2048, 4000..4001]), [0, 1, 3]);
    }
}
