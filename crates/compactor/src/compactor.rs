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
use crate::merge::{Done, Share, Worker};
use crate::metrics::{JobLabels, Metrics};
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
    /// Tenants after a failure: how many in a row, and when to try again.
    retries: HashMap<TenantId, Retry>,
    /// When logs and files were last cleaned.
    cleaned_ms: i64,
    /// Tells a merge to end early.
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Retry {
    n_failures: u32,
    not_before_ms: i64,
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
            open_day_runs: config.open_day_files,
            max_inputs: share.max_inputs,
            max_job_bytes: config.max_job_bytes,
        };
        let stop = Arc::default();
        Compactor { config, deps, rules, share, retries: HashMap::new(), cleaned_ms: i64::MIN, stop }
    }

    /// Looks at all tables and does what is due, tenant by tenant in turn, until nothing is left to do.
    pub async fn round(&mut self) -> Result<(), CompactError> {
        let tenants = self.deps.bucket.tenants().await?;
        let mut lag_ms = 0;
        let mut n_deletions = 0;
        for tenant in &tenants {
            self.guarded(tenant, Compactor::retain).await;
        }
        let mut waiting: Vec<&TenantId> = tenants.iter().collect();
        while !waiting.is_empty() && !self.is_stopping() {
            let mut busy = Vec::new();
            for tenant in waiting {
                // A job of a tenant, then one of the next: nobody waits for a neighbour's backlog.
                if self.guarded(tenant, Compactor::work).await == Some(true) && !self.is_stopping() {
                    busy.push(tenant);
                }
            }
            waiting = busy;
        }
        for tenant in &tenants {
            let (lag, deletions) = self.observe(tenant).await.unwrap_or_default();
            lag_ms = lag_ms.max(lag);
            n_deletions += deletions;
        }
        self.deps.metrics.lag_secs.set(lag_ms as f64 / 1000.0);
        self.deps.metrics.deletions.set(n_deletions);
        self.clean_up(&tenants).await;
        let now_ms = self.deps.clock.now_ms();
        self.deps.metrics.last_round_secs.set(now_ms as f64 / 1000.0);
        self.retries.retain(|tenant, _| tenants.binary_search(tenant).is_ok());
        Ok(())
    }

    /// Runs a step for a tenant unless it waits after a failure; logs and notes a failure.
    async fn guarded<T>(
        &mut self,
        tenant: &TenantId,
        step: impl AsyncFnOnce(&Compactor, &TenantId) -> Result<T, CompactError>,
    ) -> Option<T> {
        let now_ms = self.deps.clock.now_ms();
        let retry = self.retries.get(tenant).copied().unwrap_or_default();
        if retry.not_before_ms > now_ms || self.is_stopping() {
            return None;
        }
        match step(self, tenant).await {
            Ok(done) => {
                self.retries.remove(tenant);
                Some(done)
            }
            Err(CompactError::Stopping) => None,
            Err(error) => {
                let pause_ms = self.config.retry_min.millis() << retry.n_failures.min(20);
                let pause_ms = pause_ms.min(self.config.retry_max.millis());
                let n_failures = retry.n_failures + 1;
                tracing::error!(%tenant, %error, n_failures, pause_ms, "work on tables");
                let not_before_ms = now_ms.saturating_add(pause_ms);
                self.retries.insert(tenant.clone(), Retry { n_failures, not_before_ms });
                None
            }
        }
    }

    /// Does the most urgent job of a tenant. `false`: there is none.
    async fn work(&self, tenant: &TenantId) -> Result<bool, CompactError> {
        for table in Table::ALL {
            let log = self.deps.bucket.table(tenant, table);
            let Some(snapshot) = log.snapshot().await? else { continue };
            let rules = self.rules_of(table);
            let Some(job) = plan::plan(&plan::files(&snapshot), self.deps.clock.now_ms(), &rules) else {
                continue;
            };
            return self.job(tenant, &log, &snapshot, &job).await.map(|()| true);
        }
        Ok(false)
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
            Err(error) if error.is_lost_race() => {
                tracing::debug!(%tenant, %error, "files were replaced by another");
                ("lost", Ok(()))
            }
            Err(error) => ("failed", Err(error)),
        };
        let labels = JobLabels { table: log.table().name(), kind: job.kind.as_str(), outcome: word };
        metrics.jobs.get_or_create(&labels).inc();
        result
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
            Err(error) if error.is_lost_race() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How long ago the oldest day ended that waits to be merged, and how many deletions files do not reflect yet.
    async fn observe(&self, tenant: &TenantId) -> Result<(i64, i64), CompactError> {
        let log = self.deps.bucket.table(tenant, Table::Metrics);
        let Some(snapshot) = log.snapshot().await? else { return Ok((0, 0)) };
        let now_ms = self.deps.clock.now_ms();
        let oldest = plan::waiting(&plan::files(&snapshot), now_ms, &self.rules);
        Ok((oldest.map_or(0, |end_ms| now_ms - end_ms), snapshot.deletions().count() as i64))
    }

    async fn clean_up(&mut self, tenants: &[TenantId]) {
        let now_ms = self.deps.clock.now_ms();
        if self.is_stopping()
            || now_ms < self.cleaned_ms.saturating_add(self.config.cleanup_interval.millis())
        {
            return;
        }
        self.cleaned_ms = now_ms;
        for tenant in tenants {
            self.guarded(tenant, Compactor::clean).await;
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
    fn rules_of(&self, table: Table) -> Rules {
        match table {
            Table::Metrics => self.rules.clone(),
            Table::Exemplars | Table::Metadata => Rules {
                max_job_bytes: self.rules.max_job_bytes.min(self.share.bytes / 4),
                ..self.rules.clone()
            },
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
            loop {
                // Processes that start together do not look at the same moment.
                let part = runtime::random_u64() % 1000;
                runtime::sleep(interval.mul_f64(0.75 + part as f64 / 2000.0)).await;
                if let Err(error) = self.round().await {
                    tracing::error!(%error, "look at all tables");
                }
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
