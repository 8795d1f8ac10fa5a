//! The tables beside `metrics`: exemplars and descriptions of a cut, committed before its samples.
//!
//! A cut finds in the table of exemplars by its transactions whether it got there, as in `metrics`. Descriptions are
//! compared with what their table says; they stay on the log until it holds them, so they never hold up samples.

use std::sync::Arc;

use block::{Day, FileSummary, WriteOptions, WrittenRows, read_metadata};
use bucket::{Commit, LogTable, Operation, Snapshot, Table, Txn};
use runtime::fault;

use crate::Inner;
use crate::error::FlushError;
use crate::flush::{Piece, in_table, store_error};
use crate::tenants::Tenant;

impl Inner {
    /// Brings the exemplars of these cuts into their table, those that are there already left out.
    pub(crate) async fn commit_exemplars(&self, tenant: &Tenant, pieces: &[Piece]) -> Result<(), FlushError> {
        let with_exemplars = pieces.iter().filter(|piece| piece.frozen.has_exemplars());
        let mut missing: Vec<Piece> = with_exemplars.cloned().collect();
        let Some(window) = missing.first().map(|piece| piece.cut.window) else { return Ok(()) };
        let table = self.bucket.table(&tenant.id, Table::Exemplars);
        let snapshot = table.snapshot().await.map_err(store_error(tenant))?;
        missing.retain(|piece| !self.is_in(snapshot.as_deref(), piece));
        if missing.is_empty() {
            return Ok(());
        }
        let txns = self.txns(&missing);
        let files = self.upload_exemplars(tenant, &table, window, missing).await?;
        if files.adds.is_empty() {
            return Ok(());
        }
        let (size, n_exemplars) = (files.n_bytes, files.n_items);
        let commit = Commit {
            runs: files.runs(),
            adds: files.adds,
            txns,
            operation: Operation::Write,
            ..Commit::default()
        };
        fault::point("commit.before_exemplars");
        let committed = table.commit(&commit).await.map_err(store_error(tenant))?;
        fault::point("commit.after_exemplars");
        self.metrics.exemplar_bytes.inc_by(size);
        tracing::debug!(tenant = %tenant.id, n_exemplars, version = committed.version, "exemplars committed");
        Ok(())
    }

    /// Brings the descriptions that its table does not hold yet into it. `pieces` are the cuts with which this happens.
    pub(crate) async fn commit_metadata(&self, tenant: &Tenant, pieces: &[Piece]) -> Result<(), FlushError> {
        if !tenant.metadata.lock().is_waiting() {
            return Ok(());
        }
        let table = self.bucket.table(&tenant.id, Table::Metadata);
        let snapshot = table.snapshot().await.map_err(store_error(tenant))?;
        let is_compared = tenant.metadata.lock().is_compared;
        if !is_compared {
            self.compare_metadata(tenant, &table, snapshot.as_deref()).await?;
        }
        let waiting = tenant.metadata.lock().waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut missing = pieces.to_vec();
        missing.retain(|piece| !self.is_in(snapshot.as_deref(), piece));
        let file = table.new_file(Day::of(self.clock.now_ms()));
        let written = block::write_metadata(file.block, waiting.clone(), &WriteOptions::default());
        let failed = |message| FlushError::Block { tenant: tenant.id.clone(), message };
        let Some(WrittenRows { bytes, summary }) = written.map_err(|e| failed(e.to_string()))? else {
            return Ok(());
        };
        fault::point("upload.before_metadata");
        let size = bytes.len();
        table.upload(&file, bytes).await.map_err(store_error(tenant))?;
        let commit = Commit {
            adds: vec![(file, size, FileSummary::Metadata(summary))],
            txns: self.txns(&missing),
            operation: Operation::Write,
            ..Commit::default()
        };
        fault::point("commit.before_metadata");
        let committed = table.commit(&commit).await;
        let mut families = tenant.metadata.lock();
        // Whatever the table says next time: this commit may be in it although it failed.
        families.is_compared = committed.as_ref().is_ok_and(|committed| !committed.already);
        if families.is_compared {
            families.note_in_table(&waiting);
        }
        drop(families);
        fault::point("commit.after_metadata");
        committed.map(drop).map_err(store_error(tenant))
    }

    /// Finds out which descriptions the table holds.
    async fn compare_metadata(
        &self,
        tenant: &Tenant,
        table: &LogTable,
        snapshot: Option<&Snapshot>,
    ) -> Result<(), FlushError> {
        let failed = |message| FlushError::Block { tenant: tenant.id.clone(), message };
        for file in snapshot.iter().flat_map(|snapshot| snapshot.files()) {
            let bytes = table.read_file(&file.path).await.map_err(store_error(tenant))?;
            let bytes = bytes.ok_or_else(|| failed(format!("{} is gone", file.path)))?;
            let rows = runtime::blocking(move || read_metadata(bytes)).await.map_err(failed)?;
            let rows = rows.map_err(|e| failed(format!("{}: {e}", file.path)))?;
            tenant.metadata.lock().note_in_table(&rows);
        }
        tenant.metadata.lock().is_compared = true;
        Ok(())
    }

    /// The transactions of these cuts.
    pub(crate) fn txns(&self, pieces: &[Piece]) -> Vec<Txn> {
        let of = |piece: &Piece| Txn {
            app_id: self.app_id(&piece.shard, piece.cut.shards),
            version: piece.cut.sequence.cast_signed(),
        };
        pieces.iter().map(of).collect()
    }

    /// Whether the table knows the cut.
    pub(crate) fn is_in(&self, snapshot: Option<&Snapshot>, piece: &Piece) -> bool {
        let newest = in_table(snapshot, &self.app_id(&piece.shard, piece.cut.shards));
        newest.is_some_and(|newest| newest >= piece.cut.sequence)
    }

    /// The table of exemplars as it is now; no request for a tenant that has none.
    pub(crate) async fn exemplars_now(&self, tenant: &Tenant) -> Result<Option<Arc<Snapshot>>, FlushError> {
        let table = self.bucket.table(&tenant.id, Table::Exemplars);
        match table.version_confirmed().await.map_err(store_error(tenant))? {
            Some(_) => table.snapshot().await.map_err(store_error(tenant)),
            None => Ok(None),
        }
    }
}
