//! Cut and flush: freeze what a window holds, write it for all shards, commit, confirm, let go.
//!
//! A cut that failed half way stays where it is, in memory and on the log, and is taken up again from its beginning;
//! the table's transactions tell whether it got there after all.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

use bucket::{BucketError, Commit, LogTable, Operation, Snapshot, Table};
use model::{Classify, ErrorKind, TenantId, Window};
use runtime::{Service, Shutdown, fault};
use wal::Lsn;

use crate::cut::{self, OpenWindow, Reason};
use crate::error::FlushError;
use crate::head::Frozen;
use crate::metrics::Metrics;
use crate::push::envelope;
use crate::record::{CommittedRecord, CutRecord, Kind};
use crate::tenants::{self, PendingCut, Shard, Tenant};
use crate::{Ingester, Inner};

/// Cuts windows when they are due and brings them into the tables.
#[derive(Debug)]
pub struct Flusher {
    ingester: Ingester,
    /// How long the last flush may take.
    last_within: Duration,
}

/// A process is given half a minute to stop, unless it is told otherwise.
const LAST_WITHIN: Duration = Duration::from_secs(25);

/// A frozen generation of a shard.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) shard: Arc<Shard>,
    pub(crate) cut: PendingCut,
    pub(crate) frozen: Arc<Frozen>,
}

/// What is to be flushed of a tenant.
struct Due {
    tenant: Arc<Tenant>,
    windows: Vec<(Window, Reason)>,
}

/// An open window that may be due.
struct Candidate {
    tenant: Arc<Tenant>,
    open: OpenWindow,
    reason: Option<Reason>,
}

impl Flusher {
    pub(crate) fn new(ingester: Ingester) -> Flusher {
        Flusher { ingester, last_within: LAST_WITHIN }
    }

    /// The same, whose flush before it stops may take so long. What it does not get into the tables by then, since the
    /// store is slow or away, stays on the log.
    pub fn stopping_within(self, limit: Duration) -> Flusher {
        Flusher { last_within: limit, ..self }
    }

    /// Looks at all windows once, and flushes what is due now.
    pub async fn tick(&self) {
        let inner = &self.ingester.inner;
        for Due { tenant, windows } in inner.due() {
            let flushed = inner.flush_windows(&tenant, &windows).await;
            inner.note_outcome(&tenant, flushed.err());
        }
        inner.forget_idle();
        inner.bucket.forget_idle();
        inner.release_log().await;
        inner.observe();
    }

    async fn stop(&self) {
        let inner = &self.ingester.inner;
        inner.stopping.store(true, Atomic::Relaxed);
        let limit = self.last_within;
        match runtime::timeout(limit, self.ingester.flush_all()).await {
            Some(Ok(())) => {}
            Some(Err(e)) => tracing::error!(error = %e, "flush before stopping; the rest is on the log"),
            None => {
                tracing::error!(?limit, "the flush before stopping takes too long; the rest is on the log")
            }
        }
        if let Err(e) = inner.wal.sync().await {
            tracing::error!(error = %e, "sync the log before stopping");
        }
    }
}

impl Service for Flusher {
    const NAME: &'static str = "flusher";
    type Error = Infallible;

    async fn run(self, mut shutdown: Shutdown) -> Result<(), Infallible> {
        let inner = Arc::clone(&self.ingester.inner);
        let interval = inner.config.check_interval.0;
        loop {
            let pressed = async {
                // Every push that finds memory short says so; one look in a while is enough.
                runtime::sleep(interval / 10).await;
                inner.pressure.notified().await;
            };
            tokio::select! {
                () = shutdown.wait() => break,
                () = runtime::sleep(interval) => {}
                () = pressed => {}
            }
            self.tick().await;
        }
        self.stop().await;
        Ok(())
    }
}

impl Ingester {
    pub(crate) async fn flush_all(&self) -> Result<(), FlushError> {
        let inner = &self.inner;
        let mut first_error = None;
        for tenant in inner.tenants.all() {
            if let Err(e) = inner.flush_as_asked(&tenant).await {
                first_error.get_or_insert(e);
            }
        }
        inner.release_log().await;
        inner.observe();
        first_error.map_or(Ok(()), Err)
    }

    pub(crate) async fn flush_tenant(&self, id: &TenantId) -> Result<(), FlushError> {
        let Some(tenant) = self.inner.tenants.get(id) else { return Ok(()) };
        self.inner.flush_as_asked(&tenant).await
    }
}

impl Inner {
    async fn flush_as_asked(&self, tenant: &Arc<Tenant>) -> Result<(), FlushError> {
        let windows = tenant.open_windows().into_iter().map(|open| (open.window, Reason::Asked));
        let windows: Vec<(Window, Reason)> = windows.collect();
        let flushed = self.flush_windows(tenant, &windows).await;
        flushed.inspect_err(|e| {
            tracing::warn!(error = %e, "flush that was asked for; the rest is in memory and on the log");
        })
    }

    /// What is to be flushed now, tenant by tenant. A tenant whose last flush failed has a pause.
    fn due(&self) -> Vec<Due> {
        let now_ms = self.clock.now_ms();
        let mut tenants = self.tenants.all();
        tenants.retain(|tenant| tenant.retry.lock().not_before_ms <= now_ms);
        let mut candidates = Vec::new();
        for tenant in &tenants {
            let newest_ms = tenant.newest_ms();
            candidates.extend(tenant.open_windows().into_iter().map(|open| {
                let reason = cut::due(&open, now_ms, newest_ms, &self.waits);
                Candidate { tenant: Arc::clone(tenant), open, reason }
            }));
        }
        self.add_due_for_memory(&mut candidates, now_ms);
        self.add_due_for_log(&mut candidates);
        let windows_of = |tenant: &Arc<Tenant>| {
            let own = candidates.iter().filter(|candidate| Arc::ptr_eq(&candidate.tenant, tenant));
            own.filter_map(|candidate| Some((candidate.open.window, candidate.reason?))).collect()
        };
        let all = tenants.into_iter().map(|tenant| Due { windows: windows_of(&tenant), tenant });
        all.filter(|due| !due.windows.is_empty() || due.tenant.n_pending() > 0).collect()
    }

    fn add_due_for_memory(&self, candidates: &mut [Candidate], now_ms: i64) {
        let over = self.bytes_over();
        if over == 0 {
            return;
        }
        // A quarter of the share comes free, so that this does not happen again at once.
        let wanted = over + self.memory.limit() / 4;
        let open: Vec<OpenWindow> = candidates.iter().map(|candidate| candidate.open).collect();
        for i in cut::due_for_memory(&open, now_ms, wanted) {
            candidates[i].reason.get_or_insert(Reason::Memory);
        }
    }

    fn add_due_for_log(&self, candidates: &mut [Candidate]) {
        let segments = self.wal.segments();
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let Some(oldest) = segments.first().filter(|_| bytes > self.config.wal.max_bytes) else { return };
        for candidate in candidates.iter_mut().filter(|c| c.open.first_lsn < oldest.end_lsn) {
            candidate.reason.get_or_insert(Reason::Log);
        }
    }

    /// Brings a tenant's cuts into its table: first those that are under way, then these windows, oldest first.
    async fn flush_windows(
        &self,
        tenant: &Arc<Tenant>,
        windows: &[(Window, Reason)],
    ) -> Result<(), FlushError> {
        let _turn = tenant.turn.lock().await;
        self.metrics.flushing.inc();
        let flushed = self.flush_in_turn(tenant, windows).await;
        self.metrics.flushing.dec();
        if flushed.is_err() {
            self.metrics.flush_failures.inc();
        }
        flushed
    }

    async fn flush_in_turn(
        &self,
        tenant: &Arc<Tenant>,
        windows: &[(Window, Reason)],
    ) -> Result<(), FlushError> {
        self.finish_pending(tenant, "resumed").await?;
        for (window, reason) in windows {
            fault::point("cut.due");
            let table = self.bucket.table(&tenant.id, Table::Metrics);
            let snapshot = table.snapshot().await.map_err(store_error(tenant))?;
            let exemplars = self.exemplars_now(tenant).await?;
            self.cut(tenant, *window, [snapshot.as_deref(), exemplars.as_deref()])?;
            Metrics::count(&self.metrics.cuts, reason.as_str());
            self.finish_pending(tenant, reason.as_str()).await?;
        }
        self.commit_metadata(tenant, &[]).await
    }

    /// Freezes what all shards hold of the window, each under the lock of the shard and after the log knows.
    fn cut(
        &self,
        tenant: &Tenant,
        window: Window,
        snapshots: [Option<&Snapshot>; 2],
    ) -> Result<(), FlushError> {
        for shard in tenant.shards() {
            let mut state = shard.state.lock();
            // A log that lost its newest records in a machine's death may not know its newest cuts; the tables do.
            let app_id = self.app_id(&shard, self.shards);
            let in_table = snapshots.into_iter().filter_map(|snapshot| in_table(snapshot, &app_id)).max();
            let sequence = state.next_sequence.max(in_table.map_or(0, |newest| newest + 1));
            let Some(cut) = state.plan_cut(window, sequence, self.shards) else { continue };
            let record = CutRecord {
                window_start: window.start,
                window_ms: window.length,
                sequence,
                through_lsn: cut.through_lsn,
                shards: self.shards,
            };
            fault::point("cut.before_log");
            self.wal.append_vital(&envelope(tenant, shard.number, Kind::Cut), &record.encode())?;
            fault::point("cut.after_log");
            state.freeze(cut);
            tenants::account(tenant, &mut state, &self.head_bytes);
            fault::point("cut.after_freeze");
        }
        Ok(())
    }

    /// Commits the cuts of a tenant that are under way, in their order.
    async fn finish_pending(&self, tenant: &Arc<Tenant>, reason: &'static str) -> Result<(), FlushError> {
        loop {
            let pieces = next_pieces(tenant);
            if pieces.is_empty() {
                return Ok(());
            }
            self.commit_pieces(tenant, pieces, reason).await?;
        }
    }

    async fn commit_pieces(
        &self,
        tenant: &Arc<Tenant>,
        pieces: Vec<Piece>,
        reason: &'static str,
    ) -> Result<(), FlushError> {
        let table = self.bucket.table(&tenant.id, Table::Metrics);
        fault::point("upload.before_lookup");
        let snapshot = table.snapshot().await.map_err(store_error(tenant))?;
        let is_there = |piece: &Piece| self.is_in(snapshot.as_deref(), piece);
        let (there, missing): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(is_there);
        if !there.is_empty() {
            self.metrics.repeated_commits.inc();
            let version = snapshot.as_ref().map_or(0, |snapshot| snapshot.version());
            self.settle(tenant, there, version).await;
        }
        if missing.is_empty() {
            return Ok(());
        }
        // A sequence number that the table knows must never be given away again, so the log knows it for good first.
        fault::point("cut.before_sync");
        self.wal.sync().await?;
        fault::point("cut.after_sync");
        match self.write_and_commit(tenant, &table, &missing, reason).await {
            Ok(version) => {
                self.settle(tenant, missing, version).await;
                Ok(())
            }
            // The next look at the table tells which; those are settled and the rest is written anew.
            Err(FlushError::Store { source: BucketError::PartlyCommitted { .. }, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn write_and_commit(
        &self,
        tenant: &Tenant,
        table: &LogTable,
        pieces: &[Piece],
        reason: &'static str,
    ) -> Result<u64, FlushError> {
        self.commit_exemplars(tenant, pieces).await?;
        if let Err(e) = self.commit_metadata(tenant, pieces).await {
            tracing::warn!(error = %e, "descriptions of metric families stay on the log");
        }
        let window = pieces.first().map_or(Window { start: 0, length: 1 }, |piece| piece.cut.window);
        let files = self.upload_samples(tenant, table, window, pieces.to_vec()).await?;
        if files.adds.is_empty() {
            return Ok(table.version_seen().unwrap_or(0));
        }
        let (n_files, size, n_samples) = (files.adds.len(), files.n_bytes, files.n_items);
        let commit = Commit {
            runs: files.runs(),
            adds: files.adds,
            txns: self.txns(pieces),
            operation: Operation::Write,
            ..Commit::default()
        };
        fault::point("commit.before");
        let committed = table.commit(&commit).await.map_err(store_error(tenant))?;
        fault::point("commit.after");
        self.metrics.commits.inc();
        self.metrics.block_bytes.inc_by(size);
        self.metrics.newest_commit_secs.set(self.clock.now_ms() as f64 / 1000.0);
        tracing::info!(
            tenant = %tenant.id,
            window_start_ms = window.start,
            shards = pieces.len(),
            samples = n_samples,
            files = n_files,
            bytes = size,
            version = committed.version,
            reason,
            "cut committed"
        );
        Ok(committed.version)
    }

    /// Logs that the cuts are in the table, and lets go of them.
    async fn settle(&self, tenant: &Tenant, pieces: Vec<Piece>, table_version: u64) {
        fault::point("commit.before_log");
        for piece in &pieces {
            let record = CommittedRecord { sequence: piece.cut.sequence, table_version };
            let logged = self
                .wal
                .append_vital(&envelope(tenant, piece.shard.number, Kind::Committed), &record.encode());
            // Without the record a replay makes the cut again, finds it in the table, and lets go of it then.
            if let Err(e) = logged {
                tracing::warn!(tenant = %tenant.id, error = %e, "log a committed cut");
            }
            fault::point("commit.between_shards");
        }
        fault::point("commit.after_log");
        let idle_before_ms = tenant.newest_ms().saturating_sub(self.window_ms());
        fault::point("drop.before");
        for Piece { shard, cut, frozen } in pieces {
            drop(frozen);
            let mut state = shard.state.lock();
            state.drop_cut(cut.sequence);
            state.head.forget_idle(idle_before_ms);
            tenants::account(tenant, &mut state, &self.head_bytes);
            drop(state);
            fault::point("drop.between_shards");
        }
        self.report_memory();
        fault::point("drop.after");
    }

    /// Forgets series without samples here, beside what each cut forgets: those of tenants that fell silent, and when
    /// memory is short all of them. Otherwise a memory full of series would stay full, since a tenant whose pushes are
    /// refused has no newer samples by which its series could count as idle.
    fn forget_idle(&self) {
        let is_short = self.bytes_over() > 0;
        let wait_ms = self.window_ms() + self.waits.grace_ms;
        let silent_since_ms = self.clock.now_ms().saturating_sub(wait_ms);
        for tenant in self.tenants.all() {
            let mut families = tenant.metadata.lock();
            let before = families.bytes();
            families.forget_idle(silent_since_ms);
            tenants::account_families(before, &families, &self.head_bytes);
            drop(families);
            for shard in tenant.shards() {
                let mut state = shard.state.lock();
                if state.head.n_series() > 0 && (is_short || state.is_silent(silent_since_ms)) {
                    state.head.forget_idle(i64::MAX);
                    tenants::account(&tenant, &mut state, &self.head_bytes);
                }
            }
        }
        self.tenants.forget_silent(silent_since_ms, &self.head_bytes);
        self.report_memory();
    }

    fn note_outcome(&self, tenant: &Tenant, error: Option<FlushError>) {
        let mut retry = tenant.retry.lock();
        let Some(error) = error else {
            retry.n_failures = 0;
            return;
        };
        let pause = self.config.retry_min.millis() << retry.n_failures.min(20);
        retry.n_failures += 1;
        retry.not_before_ms = self.clock.now_ms() + pause.min(self.config.retry_max.millis());
        let known = matches!(error.kind(), ErrorKind::Unavailable);
        tracing::error!(error = %error, retries = retry.n_failures, will_retry = true, known, "flush");
    }

    /// Copies what others know into the metrics.
    pub(crate) fn observe(&self) {
        let tenants = self.tenants.all();
        let metrics = &self.metrics;
        let (in_memory, silent) = self.tenants.len();
        metrics.tenants.set(in_memory as i64);
        metrics.silent_tenants.set(silent as i64);
        metrics.series.set(tenants.iter().map(|tenant| tenant.n_series() as i64).sum());
        metrics.pending_cuts.set(tenants.iter().map(|tenant| tenant.n_pending() as i64).sum());
        metrics.head_bytes.set(self.head_bytes.load(Atomic::Relaxed));
        metrics.wal.set(&self.wal.stats());
        self.report_memory();
    }

    /// The name under which a shard's cuts are known to the table.
    pub(crate) fn app_id(&self, shard: &Shard, shards: u32) -> String {
        format!("{}/{}/{}", shard.number, shards, self.wal.issuer())
    }
}

/// The cuts that are next: of each shard its oldest, if it is of the same window as the oldest of all.
fn next_pieces(tenant: &Tenant) -> Vec<Piece> {
    let mut fronts = Vec::new();
    for shard in tenant.shards() {
        let state = shard.state.lock();
        let Some(cut) = state.pending.front().copied() else { continue };
        let Some(frozen) = state.head.frozen(cut.sequence) else { continue };
        drop(state);
        fronts.push(Piece { shard, cut, frozen });
    }
    let oldest: Option<(Lsn, Window)> =
        fronts.iter().map(|piece| (piece.cut.through_lsn, piece.cut.window)).min();
    fronts.retain(|piece| oldest.is_some_and(|(_, window)| piece.cut.window == window));
    fronts
}

pub(crate) fn in_table(snapshot: Option<&Snapshot>, app_id: &str) -> Option<Lsn> {
    snapshot?.txn(app_id).map(i64::cast_unsigned)
}

pub(crate) fn store_error(tenant: &Tenant) -> impl FnOnce(BucketError) -> FlushError {
    let tenant = tenant.id.clone();
    move |source| FlushError::Store { tenant, source }
}
