//! Merging files of one day into fewer: every series once, every row still within its window.
//!
//! On the path: compactor → **merge** (reads the inputs through [`ReadRanges`]) → upload, commit.
//!
//! Always true:
//! - what a query finds in the outputs is what it found in the inputs, bit for bit, less what is deleted;
//! - a row that no other input has a counterpart for is copied as it is encoded, others are decoded and merged by the
//!   model's rule;
//! - of each input a bounded piece is in memory, of the outputs a row group.

mod batch;
mod beside;
mod copy;
mod cursor;
mod series;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::{Deletion, Labels};
use parquet::errors::ParquetError;

use crate::read::ReadError;
use crate::write::{BlockMeta, Writer};
use crate::{BlockSummary, WriteOptions, WrittenBlock, block_order};
use cursor::Cursor;

pub use beside::{WholeFile, merge_exemplars, merge_metadata};

/// Timelines are shared over all shards: a merge does not know which shard a series is of.
const SHARD: u32 = 0;

/// An output is handed out in pieces of so many bytes, and of a whole row group at least.
const PIECE_BYTES: usize = 1 << 20;

/// Reads ranges of one file; may block.
pub trait ReadRanges: Send {
    /// The bytes of each range, in order.
    fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, SourceError>;
}

/// Why a range could not be read.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A file that is to be merged.
pub struct MergeFile {
    /// Its name in errors.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its bytes.
    pub source: Box<dyn ReadRanges>,
    /// What of it is to be left out.
    pub deletions: Vec<Arc<Deletion>>,
}

/// How files are merged.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Length of a window in milliseconds: rows of one series that lie in one window become one.
    pub window_ms: i64,
    /// How the outputs are encoded.
    pub write: WriteOptions,
    /// An output ends with the series that brings it to so many bytes.
    pub target_bytes: usize,
    /// How many encoded bytes of an input are held at once, about.
    pub read_bytes: usize,
    /// The shards whose series are in the inputs.
    pub shards: Vec<u32>,
}

/// Why a merge ended early.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input could not be read.
    #[error("read {file}: {source}")]
    Source {
        /// The input.
        file: String,
        /// Why.
        source: SourceError,
    },
    /// An input does not hold what its format says.
    #[error("{file}: {reason}")]
    Corrupt {
        /// The input.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The encoder refused.
    #[error("parquet: {0}")]
    Write(#[from] ParquetError),
}

impl MergeError {
    fn corrupt(file: &str, reason: impl ToString) -> MergeError {
        MergeError::Corrupt { file: file.to_string(), reason: reason.to_string() }
    }

    fn read(file: &str, error: ReadError) -> MergeError {
        MergeError::corrupt(file, error)
    }
}

/// What became of rows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// Rows that were copied as they were encoded.
    pub copied_rows: u64,
    /// Rows that were decoded, since another row or a deletion concerned the same samples.
    pub decoded_rows: u64,
    /// Rows that were deleted whole.
    pub deleted_rows: u64,
}

/// What there is of an output.
#[derive(Debug)]
pub enum Output {
    /// Its next bytes.
    Piece(Vec<u8>),
    /// Its last bytes, and what the log says about it: nothing when no sample was left for it.
    End(Vec<u8>, Option<BlockSummary>),
}

/// A merge on its way.
pub struct Merge {
    output: Option<Writer>,
    options: MergeOptions,
    cursors: Vec<Cursor>,
    next: BinaryHeap<Next>,
    stats: MergeStats,
}

/// Where an input stands; the greatest is the first in the order of a block.
struct Next {
    labels: Labels,
    cursor: usize,
}

impl Merge {
    /// Opens the inputs. Each is a sequence of files that follow each other in the order of a block: one file, or the
    /// outputs of one merge.
    pub fn open(inputs: Vec<Vec<MergeFile>>, options: MergeOptions) -> Result<Merge, MergeError> {
        let mut first_file = 0;
        let mut cursors = Vec::with_capacity(inputs.len());
        for files in inputs {
            let n_files = files.len();
            cursors.push(Cursor::new(files, first_file, options.read_bytes));
            first_file += n_files;
        }
        let mut merge =
            Merge { output: None, options, cursors, next: BinaryHeap::new(), stats: MergeStats::default() };
        for cursor in 0..merge.cursors.len() {
            merge.cursors[cursor].start()?;
            merge.queue(cursor)?;
        }
        Ok(merge)
    }

    /// Begins the next output, under this number. `false` when nothing is left.
    pub fn begin_file(&mut self, block: i64) -> Result<bool, MergeError> {
        if self.next.is_empty() {
            return Ok(false);
        }
        let meta = BlockMeta { block, window_ms: self.options.window_ms };
        let mut writer = Writer::new(meta, &self.options.write)?;
        writer.set_shards(&self.options.shards);
        self.output = Some(writer);
        Ok(true)
    }

    /// Goes on with the output until there is a piece of it, or its end.
    pub fn advance(&mut self) -> Result<Output, MergeError> {
        let Some(mut writer) = self.output.take() else { return Ok(Output::End(Vec::new(), None)) };
        let mut rows = Vec::new();
        while writer.n_rows() == 0 || writer.size() < self.options.target_bytes {
            let Some(labels) = self.next_series(&mut rows)? else { break };
            series::write(&mut writer, &labels, &rows, self.options.window_ms, &mut self.stats)?;
            rows.clear();
            if writer.n_encoded() >= PIECE_BYTES {
                let piece = writer.take_encoded();
                self.output = Some(writer);
                return Ok(Output::Piece(piece));
            }
        }
        if let Some((first, second)) = writer.crossed_day() {
            return Err(MergeError::corrupt("the inputs", format!("samples of {first} and of {second}")));
        }
        let written = writer.finish()?;
        Ok(match written {
            Some(WrittenBlock { bytes, summary }) => Output::End(bytes, Some(summary)),
            None => Output::End(Vec::new(), None),
        })
    }

    /// What became of rows so far.
    pub fn stats(&self) -> MergeStats {
        self.stats
    }

    /// The next series in the order of a block, and its rows in all inputs.
    fn next_series(&mut self, rows: &mut Vec<batch::RowRef>) -> Result<Option<Labels>, MergeError> {
        let Some(first) = self.next.pop() else { return Ok(None) };
        self.cursors[first.cursor].take(rows)?;
        self.queue(first.cursor)?;
        while self.next.peek().is_some_and(|next| next.labels == first.labels) {
            let Some(same) = self.next.pop() else { break };
            self.cursors[same.cursor].take(rows)?;
            self.queue(same.cursor)?;
        }
        Ok(Some(first.labels))
    }

    fn queue(&mut self, cursor: usize) -> Result<(), MergeError> {
        if let Some(labels) = self.cursors[cursor].labels() {
            self.next.push(Next { labels: labels.clone(), cursor });
        }
        Ok(())
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        block_order(&other.labels, &self.labels).then(other.cursor.cmp(&self.cursor))
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
