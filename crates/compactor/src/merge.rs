//! Carries out a job on the table `metrics`: reads its inputs piece by piece, uploads the outputs while they are made,
//! and swaps them with one commit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block::merge::{Merge, MergeFile, MergeOptions, MergeStats, Output, ReadRanges, SourceError};
use block::{FileSummary, WriteOptions};
use bucket::{BucketError, Commit, FileEntry, LogTable, NewFile, Operation, RunTag, Snapshot, Txn};
use bytes::Bytes;
use runtime::fault;

use crate::error::CompactError;
use crate::plan::{Job, Kind};

/// How much memory a merge may use, split over its uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) max_inputs: usize,
    pub(crate) read_bytes: usize,
    pub(crate) row_group_rows: usize,
    /// All of it together.
    pub(crate) bytes: u64,
}

impl Share {
    /// What a merge takes when nobody says how much it may.
    const UNLIMITED: u64 = 160 << 20;
    /// Of each input, beside the encoded bytes that were fetched: a batch of rows and the pages it is decoded from.
    const DECODED: u64 = 3 << 19;

    /// Splits a share of `limit` bytes, 0 for no limit, for at most so many inputs.
    pub(crate) fn of(limit: u64, max_inputs: usize) -> Share {
        let bytes = if limit == 0 { Share::UNLIMITED } else { limit.min(Share::UNLIMITED) };
        // A row group is held encoded until it is complete, beside what compresses it and a part on its way up.
        let is_small = bytes < 64 << 20;
        let row_group_rows = if is_small { 2048 } else { 8192 };
        let output = if is_small { bytes / 3 } else { 32 << 20 };
        let for_inputs = bytes - output;
        let fitting = for_inputs / (Share::DECODED + (512 << 10));
        let max_inputs = usize::try_from(fitting).unwrap_or(2).clamp(2, max_inputs.max(2));
        let each = (for_inputs / max_inputs as u64).saturating_sub(Share::DECODED);
        let read_bytes = usize::try_from(each).unwrap_or(0).clamp(256 << 10, 4 << 20);
        Share { max_inputs, read_bytes, row_group_rows, bytes }
    }
}

/// What a merge works with.
pub(crate) struct Worker<'a> {
    pub(crate) table: &'a Arc<LogTable>,
    pub(crate) share: Share,
    pub(crate) window_ms: i64,
    pub(crate) target_bytes: u64,
    /// Ends the job early.
    pub(crate) stop: &'a Arc<AtomicBool>,
}

/// What a job did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) n_inputs: usize,
    pub(crate) n_outputs: usize,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    pub(crate) n_samples: u64,
    pub(crate) rows: MergeStats,
    pub(crate) version: u64,
}

impl Worker<'_> {
    /// Carries out the job as it was planned on this snapshot.
    pub(crate) async fn run(&self, snapshot: &Snapshot, job: &Job) -> Result<Done, CompactError> {
        fault::point("compactor.planned");
        let inputs = entries(snapshot, job)?;
        let read = Arc::new(AtomicU64::new(0));
        let merge = self.open(snapshot, &inputs, job.kind, &read).await?;
        fault::point("compactor.opened");
        let (commit, rows) = self.outputs(snapshot, job, &inputs, merge).await?;
        let done = self.commit(&inputs, &commit).await?;
        Ok(Done { bytes_read: read.load(Ordering::Relaxed), rows, ..done })
    }

    /// Swaps the inputs for what was made of them, unless another was faster.
    pub(crate) async fn commit(
        &self,
        inputs: &[Vec<Arc<FileEntry>>],
        commit: &Commit,
    ) -> Result<Done, CompactError> {
        fault::point("compactor.before_commit");
        let committed = self.table.commit(commit).await;
        fault::point("compactor.after_commit");
        let is_lost = match &committed {
            Ok(committed) => committed.already,
            Err(error) => matches!(error, BucketError::InputGone(_)),
        };
        if is_lost {
            // Its transaction is not in the table, so nobody knows these files. Vacuum takes what is left of them.
            let files = commit.adds.iter().map(|(file, ..)| file);
            if let Err(error) = self.table.discard(files).await {
                tracing::debug!(%error, "outputs of a lost merge stay until vacuum takes them");
            }
        }
        let committed = committed?;
        if committed.already {
            return Err(CompactError::Overtaken);
        }
        let n_samples = commit.adds.iter().map(|(_, _, summary)| n_samples(summary)).sum();
        Ok(Done {
            n_inputs: commit.removes.len(),
            n_outputs: commit.adds.len(),
            bytes_before: inputs.iter().flatten().map(|file| file.size).sum(),
            bytes_after: commit.adds.iter().map(|(_, size, _)| *size as u64).sum(),
            n_samples,
            version: committed.version,
            ..Done::default()
        })
    }

    async fn open(
        &self,
        snapshot: &Snapshot,
        inputs: &[Vec<Arc<FileEntry>>],
        kind: Kind,
        read: &Arc<AtomicU64>,
    ) -> Result<Merge, CompactError> {
        let shards: BTreeSet<u32> = inputs.iter().flatten().flat_map(|file| shards_of(file)).collect();
        let options = MergeOptions {
            window_ms: self.window_ms,
            write: WriteOptions {
                zstd_level: 9,
                row_group_rows: self.share.row_group_rows,
                ..WriteOptions::default()
            },
            // A file that is rewritten keeps its place in its run, so it stays one.
            target_bytes: match kind {
                Kind::Merge => usize::try_from(self.target_bytes).unwrap_or(usize::MAX),
                Kind::Rewrite => usize::MAX,
            },
            read_bytes: self.share.read_bytes,
            shards: shards.into_iter().collect(),
        };
        let file = |entry: &Arc<FileEntry>| MergeFile {
            name: entry.path.clone(),
            size: entry.size,
            source: Box::new(Source {
                table: Arc::clone(self.table),
                path: entry.path.clone(),
                stop: Arc::clone(self.stop),
                read: Arc::clone(read),
            }),
            deletions: snapshot.deletions_of(entry),
        };
        let runs = inputs.iter().map(|run| run.iter().map(file).collect()).collect();
        let opened = runtime::blocking(move || Merge::open(runs, options)).await;
        Ok(opened.map_err(CompactError::Internal)??)
    }

    /// Makes and uploads the outputs; what comes back is ready to be committed.
    async fn outputs(
        &self,
        snapshot: &Snapshot,
        job: &Job,
        inputs: &[Vec<Arc<FileEntry>>],
        mut merge: Merge,
    ) -> Result<(Commit, MergeStats), CompactError> {
        let mut commit = commit_of(self.table, snapshot, job, inputs);
        loop {
            let file = self.table.new_file(job.day);
            let block = file.block;
            let (back, more) = on_thread(merge, move |merge| merge.begin_file(block)).await?;
            merge = back;
            if !more {
                break;
            }
            merge = self.output(file, merge, &mut commit).await?;
            fault::point("compactor.uploaded");
        }
        tag_runs(&mut commit, job, inputs);
        if commit.adds.is_empty() || !commit.applied.is_empty() {
            commit.operation = Operation::Delete;
        }
        Ok((commit, merge.stats()))
    }

    async fn output(
        &self,
        file: NewFile,
        mut merge: Merge,
        commit: &mut Commit,
    ) -> Result<Merge, CompactError> {
        let mut writer = self.table.writer(&file);
        loop {
            let step = on_thread(merge, Merge::advance).await;
            let (back, output) = match step {
                Ok(step) => step,
                Err(e) => {
                    writer.abort().await;
                    return Err(e);
                }
            };
            merge = back;
            let (bytes, end) = match output {
                Output::Piece(bytes) => (bytes, None),
                Output::End(bytes, summary) => (bytes, Some(summary)),
            };
            if let Err(e) = writer.write(bytes.into()).await {
                writer.abort().await;
                return Err(e.into());
            }
            match end {
                None => {}
                Some(None) => {
                    writer.abort().await;
                    return Ok(merge);
                }
                Some(Some(summary)) => {
                    let size = writer.finish().await?;
                    commit.adds.push((file, usize::try_from(size).unwrap_or(usize::MAX), summary.into()));
                    return Ok(merge);
                }
            }
        }
    }
}

/// Works on a merge off the async threads.
async fn on_thread<T: Send + 'static>(
    mut merge: Merge,
    step: impl FnOnce(&mut Merge) -> Result<T, block::merge::MergeError> + Send + 'static,
) -> Result<(Merge, T), CompactError> {
    let work = move || step(&mut merge).map(|outcome| (merge, outcome));
    Ok(runtime::blocking(work).await.map_err(CompactError::Internal)??)
}

pub(crate) fn entries(snapshot: &Snapshot, job: &Job) -> Result<Vec<Vec<Arc<FileEntry>>>, CompactError> {
    let entry = |path: &String| {
        let found = snapshot.file(path).cloned();
        found.ok_or_else(|| BucketError::InputGone(path.clone()).into())
    };
    job.inputs.iter().map(|run| run.iter().map(entry).collect()).collect()
}

/// The change without its adds.
pub(crate) fn commit_of(
    table: &LogTable,
    snapshot: &Snapshot,
    job: &Job,
    inputs: &[Vec<Arc<FileEntry>>],
) -> Commit {
    let applied = inputs.iter().flatten().flat_map(|file| file.deletion_ids().map(str::to_string));
    // The lane makes a repetition recognisable; that inputs are still there is looked at besides.
    let lane = format!("compact/{}/{}", table.table().name(), job.day);
    Commit {
        removes: inputs.iter().flatten().map(|file| file.path.clone()).collect(),
        txns: vec![Txn { app_id: lane, version: (snapshot.version() + 1).cast_signed() }],
        operation: Operation::Optimize,
        applied: applied.collect(),
        ..Commit::default()
    }
}

pub(crate) fn tag_runs(commit: &mut Commit, job: &Job, inputs: &[Vec<Arc<FileEntry>>]) {
    commit.runs = match job.kind {
        Kind::Rewrite => inputs.iter().flatten().filter_map(|file| file.run()).collect(),
        Kind::Merge => {
            let Some((first, ..)) = commit.adds.first() else { return };
            let run = first.block.to_string();
            (0..commit.adds.len()).map(|place| RunTag { run: run.clone(), place: place as u32 }).collect()
        }
    };
}

fn n_samples(summary: &FileSummary) -> u64 {
    match summary {
        FileSummary::Metrics(summary) => summary.n_samples,
        FileSummary::Exemplars(summary) | FileSummary::Metadata(summary) => summary.n_rows,
    }
}

pub(crate) fn shards_of(file: &FileEntry) -> Vec<u32> {
    let shards = file.tag("firn.shards").unwrap_or_default().split(',');
    shards.filter_map(|shard| shard.parse().ok()).collect()
}

/// Reads an input from the store, on the thread that merges.
struct Source {
    table: Arc<LogTable>,
    path: String,
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
}

impl ReadRanges for Source {
    fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, SourceError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Box::new(CompactError::Stopping));
        }
        let bytes = runtime::wait(self.table.read(&self.path, ranges))?;
        let n: usize = bytes.iter().map(Bytes::len).sum();
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_split_so_that_it_suffices() {
        for (limit, n) in [(0, 48), (160 << 20, 48), (100 << 20, 12), (24 << 20, 48), (4 << 20, 48), (1, 2)] {
            let share = Share::of(limit, n);
            let inputs = share.max_inputs as u64 * (share.read_bytes as u64 + Share::DECODED);
            assert!(share.max_inputs >= 2 && share.read_bytes >= 256 << 10);
            assert!(share.max_inputs == 2 || inputs <= share.bytes, "{limit}: {share:?}");
        }
        assert_eq!(Share::of(0, 12).max_inputs, 12);
    }
}
