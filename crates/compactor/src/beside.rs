//! Carries out a job on the tables `exemplars` and `metadata`, whose files are small enough to be read whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use block::merge::{WholeFile, merge_exemplars, merge_metadata};
use block::{FileSummary, WriteOptions, WrittenRows};
use bucket::{FileEntry, Operation, Snapshot, Table};

use crate::error::CompactError;
use crate::merge::{Done, Worker, commit_of, entries, shards_of, tag_runs};
use crate::plan::Job;

impl Worker<'_> {
    /// Merges whole files into one.
    pub(crate) async fn run_whole(&self, snapshot: &Snapshot, job: &Job) -> Result<Done, CompactError> {
        let inputs = entries(snapshot, job)?;
        let bytes_before: u64 = inputs.iter().flatten().map(|file| file.size).sum();
        let mut files = Vec::new();
        for entry in inputs.iter().flatten() {
            files.push(self.whole(snapshot, entry).await?);
        }
        let shards: BTreeSet<u32> = inputs.iter().flatten().flat_map(|file| shards_of(file)).collect();
        let shards: Vec<u32> = shards.into_iter().collect();
        let file = self.table.new_file(job.day);
        let (block, table) = (file.block, self.table.table());
        let options = WriteOptions { zstd_level: 9, ..WriteOptions::default() };
        let merged = runtime::blocking(move || match table {
            Table::Metadata => merge_metadata(block, files, &options),
            _ => merge_exemplars(block, &shards, files, &options),
        });
        let merged = merged.await.map_err(CompactError::Internal)??;
        let mut commit = commit_of(self.table, snapshot, job, &inputs);
        if let Some(WrittenRows { bytes, summary }) = merged {
            let size = bytes.len();
            self.table.upload(&file, bytes).await?;
            let summary = match table {
                Table::Metadata => FileSummary::Metadata(summary),
                _ => FileSummary::Exemplars(summary),
            };
            commit.adds.push((file, size, summary));
        }
        tag_runs(&mut commit, job, &inputs);
        if commit.adds.is_empty() || !commit.applied.is_empty() {
            commit.operation = Operation::Delete;
        }
        let mut done = self.commit(&inputs, &commit).await?;
        done.bytes_read = bytes_before;
        Ok(done)
    }

    async fn whole(&self, snapshot: &Snapshot, entry: &Arc<FileEntry>) -> Result<WholeFile, CompactError> {
        let whole = std::iter::once(0..entry.size).collect::<Vec<_>>();
        let bytes = self.table.read(&entry.path, &whole).await?.pop().unwrap_or_default();
        Ok(WholeFile { name: entry.path.clone(), bytes, deletions: snapshot.deletions_of(entry) })
    }
}
