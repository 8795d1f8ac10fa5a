//! The samples of rows: floats are kept in pieces of neighbours, each with the rows that were read so far.

use std::sync::Arc;

use arrow_array::RecordBatch;
use block::read::{Clip, FloatRow, FloatRows, PART_COLUMNS, PartRow, RowForm, SAMPLE_COLUMNS, SampleRows};
use model::TimeRange;
use wire::Taken;

use crate::cache::{Entry, Key};
use crate::error::ScanError;
use crate::file::TableFile;
use crate::found::{GroupRead, WantedRow};
use crate::room::Room;

/// Rows of a piece: few enough that one read of a few of them costs little, and that a piece is small beside the cache.
pub(crate) const PIECE_ROWS: u32 = 128;

/// The pieces of a row group that a query needs, by number, ascending.
pub(crate) type Pieces = Vec<(u32, Arc<FloatRows>)>;

/// What is wanted of a row group.
pub(crate) struct GroupRows<'a> {
    pub(crate) pieces: Pieces,
    /// Histogram parts, in the order of their rows.
    pub(crate) parts: Vec<PartRow>,
    /// The timelines that were asked for.
    pub(crate) timelines: Vec<Arc<[i64]>>,
    /// For what is in no cache yet.
    pub(crate) _taken: Option<Taken<'a>>,
}

/// Rows that were read: those of floats with their numbers.
struct Decoded {
    floats: Vec<(u32, FloatRow)>,
    parts: Vec<PartRow>,
}

/// One of them.
enum Content {
    Floats(FloatRow),
    Part(PartRow),
}

impl TableFile<'_> {
    /// The rows, if all are kept.
    pub(crate) fn kept_rows(&self, read: &GroupRead) -> Option<GroupRows<'static>> {
        if read.has_parts {
            return None;
        }
        let pieces = self.kept_pieces(read);
        let timelines: Option<Vec<_>> =
            read.timelines.iter().map(|number| self.kept_timeline(*number)).collect();
        let is_whole = missing(read, &pieces).is_empty();
        Some(GroupRows {
            pieces,
            parts: Vec::new(),
            timelines: timelines.filter(|_| is_whole)?,
            _taken: None,
        })
    }

    /// The rows: those that are kept, and the others read.
    pub(crate) async fn rows<'r>(
        &self,
        read: &GroupRead,
        range: TimeRange,
        room: &'r Room<'_>,
    ) -> Result<GroupRows<'r>, ScanError> {
        let mut pieces = self.kept_pieces(read);
        let missing = missing(read, &pieces);
        let place = room.take(self.decoding_bytes(read, &missing)).await?;
        let (batches, timelines) =
            futures::try_join!(self.read_rows(read, &missing), self.timelines(&read.timelines))?;
        let Decoded { floats, parts } = self.decode(&batches, &missing, &timelines, range)?;
        let mut taken = room.hold()?;
        let mut floats = floats.into_iter().peekable();
        while let Some(piece) = floats.peek().map(|(row, _)| row / PIECE_ROWS) {
            let of_piece = std::iter::from_fn(|| floats.next_if(|(row, _)| row / PIECE_ROWS == piece));
            taken.grow(self.keep(read.group, piece, of_piece, &mut pieces)?)?;
        }
        drop(place);
        Ok(GroupRows { pieces, parts, timelines, _taken: Some(taken) })
    }

    /// The pieces with wanted rows that are kept, and empty ones for the others.
    fn kept_pieces(&self, read: &GroupRead) -> Pieces {
        let mut pieces: Pieces = Vec::new();
        for row in read.rows.iter().filter(|row| row.form == RowForm::Floats) {
            let piece = row.row / PIECE_ROWS;
            if pieces.last().is_some_and(|(last, _)| *last == piece) {
                continue;
            }
            let rows = match self.cache.get(&Key::Rows(self.id, read.group, piece)) {
                Some(Entry::Rows(rows)) => rows,
                _ => Arc::default(),
            };
            pieces.push((piece, rows));
        }
        pieces
    }

    /// Puts rows into their piece and keeps it for the next query; returns what it takes.
    fn keep(
        &self,
        group: usize,
        number: u32,
        floats: impl Iterator<Item = (u32, FloatRow)>,
        pieces: &mut Pieces,
    ) -> Result<u64, ScanError> {
        let floats = floats.map(|(row, floats)| ((row % PIECE_ROWS) as u16, floats));
        let Some((_, rows)) = pieces.iter_mut().find(|(piece, _)| *piece == number) else { return Ok(0) };
        *rows = Arc::new(rows.with(floats).map_err(|e| ScanError::read(self.name(), e))?);
        self.cache.insert(Key::Rows(self.id, group, number), Entry::Rows(Arc::clone(rows)));
        Ok(rows.size() as u64)
    }

    /// What it takes to decode these rows.
    fn decoding_bytes(&self, read: &GroupRead, rows: &[WantedRow]) -> u64 {
        match rows.is_empty() {
            true => 0,
            false => self.meta.decoded_bytes(read.group, columns(rows), rows.len()),
        }
    }

    async fn read_rows(&self, read: &GroupRead, rows: &[WantedRow]) -> Result<Vec<RecordBatch>, ScanError> {
        match rows.is_empty() {
            true => Ok(Vec::new()),
            false => {
                self.read_numbered(read.group, columns(rows), rows.iter().map(|row| row.row as usize)).await
            }
        }
    }

    fn decode(
        &self,
        batches: &[RecordBatch],
        rows: &[WantedRow],
        timelines: &[Arc<[i64]>],
        range: TimeRange,
    ) -> Result<Decoded, ScanError> {
        let broken = |e| ScanError::read(self.name(), e);
        let mut decoded = Decoded { floats: Vec::with_capacity(rows.len()), parts: Vec::new() };
        let mut rows = rows.iter();
        for batch in batches {
            let samples = SampleRows::new(batch, range).map_err(broken)?;
            for (at, row) in (0..batch.num_rows()).zip(rows.by_ref()) {
                match content(&samples, at, row, timelines, range).map_err(broken)? {
                    Content::Floats(floats) => decoded.floats.push((row.row, floats)),
                    Content::Part(part) => decoded.parts.push(part),
                }
            }
        }
        if rows.next().is_some() {
            let reason = "a row group has fewer rows than its footer says".to_string();
            return Err(ScanError::Corrupt { path: self.name().to_string(), reason });
        }
        Ok(decoded)
    }
}

fn content(
    samples: &SampleRows<'_>,
    at: usize,
    row: &WantedRow,
    timelines: &[Arc<[i64]>],
    range: TimeRange,
) -> Result<Content, block::read::ReadError> {
    Ok(match row.form {
        RowForm::Floats => Content::Floats(samples.float_row(at)?),
        RowForm::Part => {
            let clip = timelines.get(row.timeline as usize).map(|times| Clip::new(times, range));
            Content::Part(samples.part(at, clip.as_ref())?)
        }
    })
}

/// The rows that are in none of the pieces. Histogram parts are kept in none.
fn missing(read: &GroupRead, pieces: &Pieces) -> Vec<WantedRow> {
    let mut at = 0;
    let mut is_missing = |row: &WantedRow| {
        if row.form == RowForm::Part {
            return true;
        }
        while pieces.get(at).is_some_and(|(piece, _)| *piece < row.row / PIECE_ROWS) {
            at += 1;
        }
        pieces.get(at).is_none_or(|(_, rows)| rows.get((row.row % PIECE_ROWS) as u16).is_none())
    };
    read.rows.iter().filter(|row| is_missing(row)).copied().collect()
}

fn columns(rows: &[WantedRow]) -> impl Iterator<Item = &'static str> {
    let with_parts = rows.iter().any(|row| row.form == RowForm::Part);
    let parts = if with_parts { &PART_COLUMNS[..] } else { &[] };
    SAMPLE_COLUMNS.iter().chain(parts).copied()
}
