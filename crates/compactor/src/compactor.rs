use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bucket::{Bucket, Commit, LogTable, Operation, Snapshot, Table};
use limits::LimitsHandle;
use model::TenantId;
use runtime::{Clock, MemoryPart, PromDuration, Service, Shutdown, fault};

use crate::Config;
use crate::error::CompactError;
use crate::hurry::Hurry;
use crate::merge::{Done, Share, Worker};
use crate::metrics::{JobLabels, Metrics};
use crate::pace::Paces;
use crate::plan::{self, Job, Rules};
use crate::retain::{self, Retention};

/// What a compactor needs.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The tables.
    pub bucket: Arc<Bucket>,
    /// How long and how much is kept.
    pub limits: LimitsHandle,
    /// What merges may hold.
    pub memory: MemoryPart,
    /// Length of the windows in which the ingesters write.
    pub window: PromDuration,
    /// The time.
    pub clock: Clock,
    /// Our own metrics.
    pub metrics: Metrics,
}

/// Merges, retains and cleans the tables of all tenants, one job at a time.
#[derive(Debug)]
pub struct Compactor {
    config: Config,
    deps: Deps,
    rules: Rules,
    share: Share,
    paces: Paces,
    /// What was seen of each tenant's tables last.
    seen: HashMap<TenantId, Seen>,
    /// When logs and files were last cleaned.
    cleaned_ms: i64,
    /// Tells a merge to end early.
    stop: Arc<AtomicBool>,
    hurry: Hurry,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The versions of all tables, added up.
    versions: u64,
    /// The end of the oldest day that is to be merged.
    waiting_since_ms: Option<i64>,
    /// Deletions that files do not reflect yet.
    n_deletions: i64,
}

impl Compactor {
    /// A compactor; nothing is done before it is run.
    pub fn open(config: Config, deps: Deps) -> Compactor {
        let share = Share::of(deps.memory.limit(), config.max_inputs);
        let rules = Rules {
            day_grace_ms: config.day_grace.millis(),
            settle_ms: config.settle.millis(),
            final_after_ms: config.final_after.millis(),
            deletion_delay_ms: config.deletion_delay.millis(),
            hurry_until_ms: i64::MIN,
            open_day_runs: config.open_day_files,
            max_inputs: share.max_inputs,
            max_job_bytes: config.max_job_bytes,
        };
        let stop = Arc::default();
        let (paces, seen) = (Paces::default(), HashMap::new());
        Compactor {
            config,
            deps,
            rules,
            share,
            paces,
            seen,
            cleaned_ms: i64::MIN,
            stop,
            hurry: Hurry::default(),
        }
    }

    /// For whoever asks that deletions shall not wait.
    pub fn hurry(&self) -> Hurry {
        self.hurry.clone()
    }

    /// Looks at all tables and does what is due, tenant by tenant in turn, until nothing is left to do or it has taken
    /// an interval: retention and clean-up must not wait for merges without end. Says whether something is left.
    pub async fn round(&mut self) -> Result<bool, CompactError> {
        let tenants = self.deps.bucket.tenants().await?;
        let now_ms = self.deps.clock.now_ms();
        self.paces.keep(&tenants);
        for tenant in self.hurry.keep_since(now_ms.saturating_sub(self.rules.deletion_delay_ms)) {
            self.paces.wake(&tenant);
        }
        let due: Vec<&TenantId> = tenants.iter().filter(|tenant| self.paces.is_due(tenant, now_ms)).collect();
        for tenant in &due {
            self.guarded(tenant, Compactor::retain).await;
        }
        let mut waiting = due.clone();
        let began = self.deps.clock.instant();
        while !waiting.is_empty() && !self.is_stopping() {
            let mut busy = Vec::new();
            for tenant in waiting {
                // A job of a tenant, then one of the next: nobody waits for a neighbour's backlog.
                if self.guarded(tenant, Compactor::work).await == Some(true) {
                    busy.push(tenant);
                }
            }
            waiting = busy;
            if began.elapsed() >= self.config.interval.0 {
                break;
            }
        }
        let is_busy = !waiting.is_empty();
        self.observe(&due, &waiting).await;
        self.clean_up(&tenants).await;
        self.deps.metrics.last_round_secs.set(self.deps.clock.now_ms() as f64 / 1000.0);
        Ok(is_busy)
    }

    /// Runs a step for a tenant unless it waits after a failure; logs and notes a failure.
    async fn guarded<T>(
        &mut self,
        tenant: &TenantId,
        step: impl AsyncFnOnce(&Compactor, &TenantId) -> Result<T, CompactError>,
    ) -> Option<T> {
        let now_ms = self.deps.clock.now_ms();
        if !self.paces.is_due(tenant, now_ms) || self.is_stopping() {
            return None;
        }
        match step(self, tenant).await {
            Ok(done) => return Some(done),
            Err(CompactError::Stopping) => {}
            Err(error) => {
                if let Some(file) = error.corrupt_file() {
                    self.paces.note_unreadable(tenant, file.to_string());
                }
                let pauses = (self.config.retry_min.millis(), self.config.retry_max.millis());
                let (n_failures, pause_ms) = self.paces.note_failure(tenant, now_ms, pauses);
                tracing::error!(%tenant, %error, n_failures, pause_ms, "work on tables");
            }
        }
        None
    }

    /// Does the most urgent job of each table of a tenant. `false`: there is none. Neither a table that always has
    /// something to do nor one that fails keeps the others waiting.
    async fn work(&self, tenant: &TenantId) -> Result<bool, CompactError> {
        let (mut is_busy, mut first_error) = (false, None);
        for table in Table::ALL {
            match self.work_on(tenant, table).await {
                Ok(has_worked) => is_busy |= has_worked,
                Err(CompactError::Stopping) => return Err(CompactError::Stopping),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(is_busy), Err)
    }

    async fn work_on(&self, tenant: &TenantId, table: Table) -> Result<bool, CompactError> {
        let log = self.deps.bucket.table(tenant, table);
        let Some(snapshot) = log.snapshot().await? else { return Ok(false) };
        let mut files = plan::files(&snapshot);
        files.retain(|file| self.paces.is_readable(tenant, &file.path));
        let job = plan::plan(&files, self.deps.clock.now_ms(), &self.rules_of(tenant, table));
        let Some(job) = job else { return Ok(false) };
        self.job(tenant, &log, &snapshot, &job).await.map(|()| true)
    }

    async fn job(
        &self,
        tenant: &TenantId,
        log: &Arc<LogTable>,
        snapshot: &Snapshot,
        job: &Job,
    ) -> Result<(), CompactError> {
        let metrics = &self.deps.metrics;
        let share = self.deps.memory.at_most(self.share.bytes);
        let _reserved = self.deps.memory.reserve(share)?;
        let worker = Worker {
            table: log,
            share: self.share,
            window_ms: self.deps.window.millis(),
            target_bytes: self.config.target_file_bytes,
            stop: &self.stop,
        };
        let began = self.deps.clock.instant();
        metrics.running.inc();
        let outcome = match log.table() {
            Table::Metrics => worker.run(snapshot, job).await,
            Table::Exemplars | Table::Metadata => worker.run_whole(snapshot, job).await,
        };
        metrics.running.dec();
        let (word, result) = match outcome {
            Ok(done) => {
                self.count(&done);
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let Done { n_inputs, n_outputs, bytes_before, bytes_after, n_samples, version, .. } = done;
                let (table, kind) = (log.table().name(), job.kind.as_str());
                tracing::info!(
                    %tenant, table, day = %job.day, kind, n_inputs, n_outputs, bytes_before, bytes_after,
                    n_samples, version, took_ms, "files replaced"
                );
                ("done", Ok(()))
            }
            Err(error) if self.is_lost_race(log, snapshot, job, &error).await => {
                tracing::debug!(%tenant, %error, "files were replaced by another");
                ("lost", Ok(()))
            }
            Err(error) => ("failed", Err(error)),
        };
        let labels = JobLabels { table: log.table().name(), kind: job.kind.as_str(), outcome: word };
        metrics.jobs.get_or_create(&labels).inc();
        result
    }

    /// Whether another changed the inputs meanwhile, so that there is something else to do now. Where they are as they
    /// were the failure is one.
    async fn is_lost_race(
        &self,
        log: &LogTable,
        snapshot: &Snapshot,
        job: &Job,
        error: &CompactError,
    ) -> bool {
        if matches!(error, CompactError::Overtaken) {
            return true;
        }
        let Ok(Some(tip)) = log.snapshot().await else { return false };
        let is_same = |path: &String| tip.file(path).is_some() && tip.file(path) == snapshot.file(path);
        error.is_about_inputs() && !job.inputs.iter().flatten().all(is_same)
    }

    fn count(&self, done: &Done) {
        let metrics = &self.deps.metrics;
        metrics.read_bytes.inc_by(done.bytes_read);
        metrics.written_bytes.inc_by(done.bytes_after);
        metrics.samples.inc_by(done.n_samples);
        metrics.copied_rows.inc_by(done.rows.copied_rows);
        metrics.decoded_rows.inc_by(done.rows.decoded_rows);
    }

    /// Removes what is too old or too much.
    async fn retain(&self, tenant: &TenantId) -> Result<(), CompactError> {
        let limits = self.deps.limits.for_tenant(tenant);
        let retention = Retention {
            period_ms: limits.compactor_blocks_retention_period.millis(),
            bytes: limits.compactor_blocks_retention_bytes,
        };
        if retention == Retention::default() {
            return Ok(());
        }
        let now_ms = self.deps.clock.now_ms();
        let mut sizes = BTreeMap::new();
        let mut tables = Vec::new();
        // Descriptions are as good as the newest sample that they describe, whenever they were seen.
        for table in [Table::Metrics, Table::Exemplars] {
            let log = self.deps.bucket.table(tenant, table);
            let Some(snapshot) = log.snapshot().await? else { continue };
            retain::add_sizes(&snapshot, &mut sizes);
            tables.push((log, snapshot));
        }
        let first_kept = retain::first_kept(&sizes, retention.bytes);
        for (log, snapshot) in tables {
            let mut removes = retain::too_old(&snapshot, now_ms, retention.period_ms);
            removes.extend(first_kept.map(|first| retain::before(&snapshot, first)).unwrap_or_default());
            removes.sort();
            removes.dedup();
            self.remove(tenant, &log, removes).await?;
        }
        Ok(())
    }

    async fn remove(
        &self,
        tenant: &TenantId,
        log: &LogTable,
        removes: Vec<String>,
    ) -> Result<(), CompactError> {
        if removes.is_empty() {
            return Ok(());
        }
        let n_files = removes.len();
        fault::point("compactor.retain");
        let commit = Commit { removes, operation: Operation::Delete, ..Commit::default() };
        match log.commit(&commit).await.map_err(CompactError::from) {
            Ok(committed) => {
                self.deps.metrics.retired_files.inc_by(n_files as u64);
                let (table, version) = (log.table().name(), committed.version);
                tracing::info!(%tenant, table, n_files, version, "files removed by retention");
                Ok(())
            }
            // Planned anew in the next round.
            Err(error) if error.is_about_inputs() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says how far behind the tables of these tenants are, and notes of those that are not busy still that they have
    /// been looked at.
    async fn observe(&mut self, tenants: &[&TenantId], busy: &[&TenantId]) {
        let now_ms = self.deps.clock.now_ms();
        for tenant in tenants {
            if !self.paces.is_due(tenant, now_ms) {
                continue;
            }
            match self.seen(tenant).await {
                Ok(seen) => {
                    if !busy.contains(tenant) {
                        let interval_ms = self.config.interval.millis();
                        self.paces.note_look(tenant, seen.versions, now_ms, interval_ms);
                    }
                    self.seen.insert((*tenant).clone(), seen);
                }
                Err(error) => tracing::warn!(%tenant, %error, "look at tables"),
            }
        }
        let lag = |seen: &Seen| seen.waiting_since_ms.map_or(0, |since_ms| now_ms - since_ms);
        let lag_ms = self.seen.values().map(lag).max().unwrap_or(0);
        self.deps.metrics.lag_secs.set(lag_ms as f64 / 1000.0);
        self.deps.metrics.deletions.set(self.seen.values().map(|seen| seen.n_deletions).sum());
    }

    async fn seen(&self, tenant: &TenantId) -> Result<Seen, CompactError> {
        let mut seen = Seen::default();
        for table in Table::ALL {
            let log = self.deps.bucket.table(tenant, table);
            seen.versions += log.version_seen().map_or(0, |version| version + 1);
            if table != Table::Metrics {
                continue;
            }
            let Some(snapshot) = log.snapshot_at_least(None).await? else { continue };
            let now_ms = self.deps.clock.now_ms();
            seen.waiting_since_ms = plan::waiting(&plan::files(&snapshot), now_ms, &self.rules);
            seen.n_deletions = snapshot.deletions().count() as i64;
        }
        Ok(seen)
    }

    async fn clean_up(&mut self, tenants: &[TenantId]) {
        let now_ms = self.deps.clock.now_ms();
        if self.is_stopping()
            || now_ms < self.cleaned_ms.saturating_add(self.config.cleanup_interval.millis())
        {
            return;
        }
        self.cleaned_ms = now_ms;
        self.seen.retain(|tenant, _| tenants.binary_search(tenant).is_ok());
        for tenant in tenants {
            if self.is_stopping() {
                return;
            }
            if let Err(error) = self.clean(tenant).await {
                tracing::warn!(%tenant, %error, "clean up; tried again with the next round");
            }
        }
    }

    async fn clean(&self, tenant: &TenantId) -> Result<(), CompactError> {
        let longest_query = self.deps.limits.for_tenant(tenant).query_timeout;
        // A query may begin on a snapshot that is a poll interval old, and ask its tables one after the other.
        let grace_ms = self.config.vacuum_grace.millis().max(2 * longest_query.millis()).min(86_400_000);
        let grace = PromDuration(std::time::Duration::from_millis(u64::try_from(grace_ms).unwrap_or(0)));
        for table in Table::ALL {
            let log = self.deps.bucket.table(tenant, table);
            if log.snapshot().await?.is_none() {
                continue;
            }
            fault::point("compactor.clean");
            let n_log_files = log.clean_log().await?;
            self.deps.metrics.cleaned_log_files.inc_by(n_log_files as u64);
            let vacuumed = log.vacuum(grace).await?;
            self.deps.metrics.vacuumed_bytes.inc_by(vacuumed.n_bytes);
        }
        Ok(())
    }

    /// Files of the tables beside `metrics` are read whole.
    fn rules_of(&self, tenant: &TenantId, table: Table) -> Rules {
        let rules = Rules { hurry_until_ms: self.hurry.until_ms(tenant), ..self.rules.clone() };
        match table {
            Table::Metrics => rules,
            Table::Exemplars | Table::Metadata => {
                Rules { max_job_bytes: rules.max_job_bytes.min(self.share.bytes / 4), ..rules }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Service for Compactor {
    const NAME: &'static str = "compactor";
    type Error = Infallible;

    async fn run(mut self, mut shutdown: Shutdown) -> Result<(), Infallible> {
        let stop = Arc::clone(&self.stop);
        let interval = self.config.interval.0;
        let work = async move {
            let mut is_busy = false;
            loop {
                if !is_busy {
                    // Processes that start together do not look at the same moment.
                    let part = runtime::random_u64() % 1000;
                    let pause = interval.mul_f64(0.75 + part as f64 / 2000.0);
                    let _asked = runtime::timeout(pause, self.hurry.asked()).await;
                }
                is_busy = self.round().await.unwrap_or_else(|error| {
                    tracing::error!(%error, "look at all tables");
                    false
                });
                if self.is_stopping() {
                    return;
                }
            }
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            () = &mut work => return Ok(()),
            () = shutdown.wait() => {}
        }
        // A merge notices with its next read; what it has uploaded is named by no commit.
        stop.store(true, Ordering::Relaxed);
        let _ended = runtime::timeout(std::time::Duration::from_secs(5), work).await;
        Ok(())
    }
}
