//! Push: decide, log, apply; then the acknowledgement.

use std::cell::RefCell;

use async_trait::async_trait;
use limits::Limits;
use model::{Batch, Metadata, ShardBatch, TenantId};
use wal::{Envelope, Lsn, WalError};
use wire::{Push, PushError, Pushed};

use crate::head::{DecideRules, Decision};
use crate::metrics::Metrics;
use crate::record::{self, Definition, Kind};
use crate::tenants::{self, Tenant};
use crate::{Ingester, Inner, SyncMode};

/// When a sender comes back after a failed write or a full memory.
const RETRY_AFTER_SECS: u64 = 5;

/// A record buffer that grew beyond this is given back.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// Buffers of a thread, so that no sample allocates.
#[derive(Default)]
struct Scratch {
    decision: Decision,
    record: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[async_trait]
impl Push for Ingester {
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        runtime::fault::point("push.received");
        let inner = &self.inner;
        self.check_open()?;
        let tenant = inner.tenants.get_or_create(tenant, inner.window_ms());
        let (pushed, newest_lsn) =
            SCRATCH.with_borrow_mut(|scratch| inner.append(&tenant, batch, scratch))?;
        let took_something =
            newest_lsn.is_some() || pushed.n_samples() + pushed.n_exemplars + batch.metadata.len() > 0;
        if inner.config.wal.sync == SyncMode::Always && took_something {
            runtime::fault::point("push.before_sync");
            let synced = match newest_lsn {
                Some(lsn) => inner.wal.sync_through(lsn).await,
                // Everything was known already, from a request whose own sync may have failed.
                None => inner.wal.sync().await,
            };
            synced.map_err(|e| inner.unavailable("sync", &e))?;
            runtime::fault::point("push.after_sync");
        }
        inner.metrics.pushed(&pushed);
        Ok(pushed)
    }
}

impl Ingester {
    fn check_open(&self) -> Result<(), PushError> {
        if self.is_stopping() {
            let message = "the ingester is stopping".to_string();
            return Err(PushError::Unavailable { message, retry_after_secs: 1 });
        }
        if let Err(over) = self.inner.memory.check() {
            Metrics::count(&self.inner.metrics.unavailable, "memory_limit");
            self.inner.pressure.notify_one();
            let message = over.to_string();
            return Err(PushError::Unavailable { message, retry_after_secs: RETRY_AFTER_SECS });
        }
        Ok(())
    }
}

impl Inner {
    /// Appends a batch shard by shard. Says which record was the last.
    fn append(
        &self,
        tenant: &Tenant,
        batch: &Batch,
        scratch: &mut Scratch,
    ) -> Result<(Pushed, Option<Lsn>), PushError> {
        let limits = self.limits.for_tenant(&tenant.id);
        let now_ms = self.clock.now_ms();
        let mut pushed = Pushed::default();
        let mut newest_lsn = self.append_metadata(tenant, &batch.metadata, now_ms, &mut scratch.record)?;
        for part in &batch.shards {
            let lsn = self.append_part(tenant, &limits, batch, part, now_ms, scratch)?;
            pushed.absorb(std::mem::take(&mut scratch.decision.pushed));
            newest_lsn = lsn.or(newest_lsn);
        }
        self.report_memory();
        if self.bytes_over() > 0 {
            self.pressure.notify_one();
        }
        Ok((pushed, newest_lsn))
    }

    fn append_part(
        &self,
        tenant: &Tenant,
        limits: &Limits,
        batch: &Batch,
        part: &ShardBatch,
        now_ms: i64,
        scratch: &mut Scratch,
    ) -> Result<Option<Lsn>, PushError> {
        let Scratch { decision, record } = scratch;
        let max_series = self.limits.ingester_share(limits.max_series);
        let max_series_per_metric = self.limits.ingester_share(limits.max_series_per_metric);
        let rules = DecideRules { max_series_per_metric, ..rules(tenant, limits, max_series, now_ms) };
        let shard = tenant.shard(part.shard, self.window_ms());
        let mut state = shard.state.lock();
        if max_series_per_metric > 0 {
            state.head.count_metrics(&tenant.metric_counts);
        }
        state.head.decide(batch, part, &rules, decision);
        self.metrics.refused_exemplars(&decision.refused_exemplars);
        runtime::fault::point("push.decided");
        if decision.is_empty() {
            return Ok(None);
        }
        encode(batch, decision, record);
        runtime::fault::point("push.encoded");
        if record.len() > record::MAX_LEN {
            return Err(self.unavailable("wal", &WalError::TooLong(record.len())));
        }
        let envelope = envelope(tenant, part.shard, Kind::Samples);
        let appended = self.wal.append(&envelope, record);
        if record.capacity() > MAX_KEPT_BUFFER {
            *record = Vec::new();
        }
        let lsn = appended.map_err(|e| self.unavailable("wal", &e))?;
        runtime::fault::point("push.logged");
        let histogram_times = decision.histograms.iter().map(|(_, sample)| sample.timestamp);
        let timestamps = decision.timestamps.iter().copied().chain(histogram_times);
        let exemplar_times = decision.exemplars.iter().map(|(_, point)| point.timestamp);
        let all_times = timestamps.clone().chain(exemplar_times);
        state.note_logged(lsn, all_times, now_ms, tenant.newest_ms(), &self.waits);
        if !decision.new_series.is_empty() {
            state.note_definition(lsn);
        }
        state.head.apply(&batch.bytes, decision);
        runtime::fault::point("push.applied");
        if let Some(newest) = timestamps.max() {
            tenant.note_newest(newest);
        }
        tenants::account(tenant, &mut state, &self.head_bytes);
        Ok(Some(lsn))
    }

    /// Logs and keeps the descriptions that are news.
    fn append_metadata(
        &self,
        tenant: &Tenant,
        metadata: &[Metadata],
        now_ms: i64,
        record: &mut Vec<u8>,
    ) -> Result<Option<Lsn>, PushError> {
        if metadata.is_empty() {
            return Ok(None);
        }
        let mut families = tenant.metadata.lock();
        let news = families.news(metadata, now_ms);
        if news.is_empty() {
            return Ok(None);
        }
        record.clear();
        let rows: Vec<(&Metadata, i64)> = news.iter().map(|family| (*family, now_ms)).collect();
        record::put_metadata(record, &rows);
        let envelope = envelope(tenant, record::NO_SHARD, Kind::Metadata);
        let lsn = self.wal.append(&envelope, record).map_err(|e| self.unavailable("wal", &e))?;
        let before = families.bytes();
        for family in news {
            families.put(family, now_ms, lsn);
        }
        tenants::account_families(before, &families, &self.head_bytes);
        Ok(Some(lsn))
    }

    fn unavailable(&self, reason: &'static str, error: &WalError) -> PushError {
        Metrics::count(&self.metrics.unavailable, reason);
        match error {
            WalError::TooLong(_) => PushError::Invalid(error.to_string()),
            _ => PushError::Unavailable { message: error.to_string(), retry_after_secs: RETRY_AFTER_SECS },
        }
    }
}

/// The envelope of our records.
pub(crate) fn envelope(tenant: &Tenant, shard: u32, kind: Kind) -> Envelope<'_> {
    Envelope { tenant: tenant.id.as_str(), shard, kind: kind as u8, version: record::VERSION }
}

/// What the tenant's limits say now. 0 is no limit; of series, `max_series` is what this ingester may have.
fn rules(tenant: &Tenant, limits: &Limits, max_series: u64, now_ms: i64) -> DecideRules {
    let out_of_order_ms = limits.out_of_order_window.millis();
    let grace_ms = limits.creation_grace_period.millis();
    let left = max_series.saturating_sub(tenant.n_series());
    DecideRules {
        now_ms,
        min_time: if out_of_order_ms == 0 {
            i64::MIN
        } else {
            tenant.newest_ms().saturating_sub(out_of_order_ms)
        },
        max_time: if grace_ms == 0 { i64::MAX } else { now_ms.saturating_add(grace_ms) },
        series_allowance: if max_series == 0 {
            usize::MAX
        } else {
            usize::try_from(left).unwrap_or(usize::MAX)
        },
        max_series: limits.max_series,
        max_series_per_metric: 0,
        out_of_order_window_ms: out_of_order_ms as u64,
        creation_grace_period_ms: grace_ms as u64,
        max_exemplars_per_series: limits.max_exemplars_per_series,
    }
}

/// Replaces `out` with the record of a decision.
fn encode(batch: &Batch, decision: &Decision, out: &mut Vec<u8>) {
    out.clear();
    let definitions = decision.new_series.iter().map(|new| Definition {
        series_ref: new.series_ref,
        run: batch.bytes.get(new.labels.0 as usize..new.labels.1 as usize).unwrap_or_default(),
        flushed: None,
    });
    record::put_definitions(out, definitions);
    record::put_floats(out, &decision.refs, &decision.timestamps, &decision.values, &decision.starts);
    record::put_histograms(out, &decision.histograms);
    record::put_exemplars(out, &decision.exemplars);
}
