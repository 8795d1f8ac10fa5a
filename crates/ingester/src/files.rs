//! The files of a cut: written one at a time, each within a bound of memory, uploaded, let go of.
//!
//! Mostly a cut is one file. What does not fit the bound becomes several, a run, that one commit brings into the table.
//! Those that were uploaded when the cut failed half way belong to no commit: the cut is written anew, and vacuum takes
//! them.

use block::{
    BlockMeta, BlockSeries, Day, FileSummary, WriteOptions, write_exemplars_within, write_metrics_within,
};
use bucket::{LogTable, NewFile, RunTag};
use model::{ExemplarSeries, SeriesData, Window};
use runtime::fault;

use crate::Inner;
use crate::error::FlushError;
use crate::flush::{Piece, store_error};
use crate::merge::{Content, Merge};
use crate::tenants::Tenant;

/// The most memory that a file may take while it is written; nobody wants larger ones of a cut.
const MOST_BYTES: u64 = 128 << 20;
/// Below this there would be more files than memory saved.
const LEAST_BYTES: u64 = 1 << 20;
/// Which part of the head's share a file may take beside it.
const PART_OF_HEAD: u64 = 8;
/// What the encoder's own buffers take, however small the file: contexts of compression, pages, dictionaries.
const ENCODER_BYTES: u64 = 2 << 20;

/// Files that are uploaded and in no commit yet, in the order of their rows.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) adds: Vec<(NewFile, usize, FileSummary)>,
    pub(crate) n_bytes: u64,
    /// Samples or exemplars.
    pub(crate) n_items: u64,
}

/// A file in memory.
struct Written {
    bytes: Vec<u8>,
    summary: FileSummary,
    n_items: u64,
}

/// What can be written from the series of a cut.
trait Write: Content {
    /// One file of as many series as it may hold.
    fn write(from: &mut Merge<Self>, meta: BlockMeta, max_bytes: usize) -> Result<Option<Written>, String>;
}

impl Files {
    /// The places of the files in their run; a file by itself is in none.
    pub(crate) fn runs(&self) -> Vec<RunTag> {
        let Some((first, ..)) = self.adds.first().filter(|_| self.adds.len() > 1) else { return Vec::new() };
        let run = first.block.to_string();
        (0..self.adds.len()).map(|place| RunTag { run: run.clone(), place: place as u32 }).collect()
    }

    fn add(&mut self, file: NewFile, size: usize, summary: FileSummary, n_items: u64) {
        self.adds.push((file, size, summary));
        self.n_bytes += size as u64;
        self.n_items += n_items;
    }
}

impl Inner {
    /// Writes and uploads the samples of these cuts.
    pub(crate) async fn upload_samples(
        &self,
        tenant: &Tenant,
        table: &LogTable,
        window: Window,
        pieces: Vec<Piece>,
    ) -> Result<Files, FlushError> {
        let mut files = Files::default();
        let mut left = merge_of::<SeriesData>(tenant, pieces).await?;
        while !left.is_empty() {
            let file = table.new_file(Day::of(window.start));
            fault::point("upload.before_write");
            let (rest, written) = self.write_next(tenant, left, &file, window).await?;
            fault::point("upload.after_write");
            left = rest;
            let Some(Written { bytes, summary, n_items }) = written else { break };
            let size = bytes.len();
            fault::point("upload.before_put");
            table.upload(&file, bytes).await.map_err(store_error(tenant))?;
            fault::point("upload.after_put");
            files.add(file, size, summary, n_items);
        }
        Ok(files)
    }

    /// Writes and uploads the exemplars of these cuts.
    pub(crate) async fn upload_exemplars(
        &self,
        tenant: &Tenant,
        table: &LogTable,
        window: Window,
        pieces: Vec<Piece>,
    ) -> Result<Files, FlushError> {
        let mut files = Files::default();
        let mut left = merge_of::<ExemplarSeries>(tenant, pieces).await?;
        while !left.is_empty() {
            let file = table.new_file(Day::of(window.start));
            let (rest, written) = self.write_next(tenant, left, &file, window).await?;
            left = rest;
            let Some(Written { bytes, summary, n_items }) = written else { break };
            let size = bytes.len();
            fault::point("upload.before_exemplars");
            table.upload(&file, bytes).await.map_err(store_error(tenant))?;
            files.add(file, size, summary, n_items);
        }
        Ok(files)
    }

    /// The next file, off the async threads, and what it left. No file when no series that was left had a row.
    async fn write_next<T: Write>(
        &self,
        tenant: &Tenant,
        mut left: Merge<T>,
        file: &NewFile,
        window: Window,
    ) -> Result<(Merge<T>, Option<Written>), FlushError> {
        let meta = BlockMeta { block: file.block, window_ms: window.length };
        let max_bytes = self.file_bytes();
        let work = move || {
            let written = T::write(&mut left, meta, max_bytes)?;
            if left.is_empty() {
                // What the drop needs is found here, where nobody waits for a lock.
                left.pieces().for_each(|piece| piece.frozen.prepare_drop());
            }
            Ok((left, written))
        };
        let failed = |message| FlushError::Block { tenant: tenant.id.clone(), message };
        runtime::blocking(work).await.map_err(failed)?.map_err(failed)
    }

    /// The memory that a file may take while it is written, about.
    fn file_bytes(&self) -> usize {
        let bytes = match self.memory.limit() {
            0 => MOST_BYTES,
            limit => {
                let share = limit / PART_OF_HEAD;
                share.saturating_sub(ENCODER_BYTES).clamp(LEAST_BYTES, MOST_BYTES)
            }
        };
        bytes as usize
    }
}

impl Write for SeriesData {
    fn write(from: &mut Merge<Self>, meta: BlockMeta, max_bytes: usize) -> Result<Option<Written>, String> {
        let mut series =
            from.map(|(shard, data)| Ok::<_, std::convert::Infallible>(BlockSeries { shard, data }));
        let written = write_metrics_within(meta, &mut series, &WriteOptions::default(), max_bytes);
        Ok(written.map_err(|e| e.to_string())?.map(|written| Written {
            n_items: written.summary.n_samples,
            bytes: written.bytes,
            summary: written.summary.into(),
        }))
    }
}

impl Write for ExemplarSeries {
    fn write(from: &mut Merge<Self>, meta: BlockMeta, max_bytes: usize) -> Result<Option<Written>, String> {
        let shards: Vec<u32> = from.pieces().map(|piece| piece.shard.number).collect();
        let mut series = from.map(|(_, series)| series);
        let options = WriteOptions::default();
        let written = write_exemplars_within(meta.block, &shards, &mut series, &options, max_bytes);
        Ok(written.map_err(|e| e.to_string())?.map(|written| Written {
            n_items: written.summary.n_rows,
            bytes: written.bytes,
            summary: FileSummary::Exemplars(written.summary),
        }))
    }
}

/// Off the async threads, since it sorts.
async fn merge_of<T: Content>(tenant: &Tenant, pieces: Vec<Piece>) -> Result<Merge<T>, FlushError> {
    let failed = |message| FlushError::Block { tenant: tenant.id.clone(), message };
    runtime::blocking(move || Merge::new(pieces)).await.map_err(failed)
}
