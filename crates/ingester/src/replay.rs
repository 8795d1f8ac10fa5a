//! Replay: the log makes the heads again. The same transitions as in life, in the same order per shard: samples are
//! applied, a cut freezes, a committed drops what was frozen.
//!
//! Carried definitions may stand behind records that use them, so a first pass collects those. The second pass reads
//! the log once more and hands the records to a few workers, each with its own shards, through short queues.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use model::{TenantId, Window};
use wal::{Envelope, Lsn, Record, Replay};

use crate::error::OpenError;
use crate::record::{self, CommittedRecord, CutRecord, Kind, RecordError, Samples};
use crate::tenants::{self, PendingCut, Tenant};
use crate::{Inner, record::NO_SHARD};

/// Records that may wait for a worker.
const QUEUE: usize = 64;

/// How many workers apply records.
const WORKERS: usize = 2;

/// How often progress is told, in bytes of log.
const PROGRESS_BYTES: u64 = 256 << 20;

/// A record on its way to a worker.
struct Job {
    lsn: Lsn,
    tenant: Arc<Tenant>,
    shard: u32,
    kind: Kind,
    payload: Vec<u8>,
}

/// Replays the log into the tenants of `inner`.
pub(crate) async fn run(inner: &Arc<Inner>, replay: Replay) -> Result<(), OpenError> {
    let started = inner.clock.instant();
    inner.metrics.replay_bytes.set(replay.stats().total_bytes as i64);
    inner.metrics.torn_bytes.inc_by(replay.stats().torn_bytes);
    let again = replay.again();
    let pass = Arc::clone(inner);
    blocking(move || collect_carried(&pass, replay)).await?;
    runtime::fault::point("replay.definitions");
    let stats = apply_all(inner, again).await?;
    finish(inner);
    let seconds = inner.clock.instant().duration_since(started).as_secs_f64();
    inner.metrics.replay_seconds.set(seconds);
    inner.metrics.corrupt_records.inc_by(stats.n_lost);
    if stats.total_bytes > 0 {
        tracing::info!(
            bytes = stats.total_bytes,
            records = stats.n_records,
            corrupt_records = stats.n_lost,
            torn_bytes = stats.torn_bytes,
            seconds,
            "replayed the log"
        );
    }
    runtime::fault::point("replay.finished");
    Ok(())
}

/// The first pass: definitions, sequence numbers and metadata that were carried forward.
fn collect_carried(inner: &Inner, mut replay: Replay) -> Result<(), OpenError> {
    let mut samples = Samples::default();
    while let Some(record) = replay.next()? {
        let failed = failed(record.lsn);
        if kind_of(&record).map_err(&failed)? != Kind::Carried {
            continue;
        }
        let Some(tenant) = tenant_of(inner, &record.envelope) else { continue };
        let (next_sequence, sections) = record::decode_carried(record.payload).map_err(&failed)?;
        samples.decode(sections).map_err(&failed)?;
        let shard = tenant.shard(record.envelope.shard, inner.window_ms());
        let mut state = shard.state.lock();
        state.next_sequence = state.next_sequence.max(next_sequence);
        for definition in samples.definitions() {
            state.head.define_series(definition.series_ref, definition.run, definition.flushed);
        }
    }
    Ok(())
}

/// The second pass: everything, in order per shard.
async fn apply_all(inner: &Arc<Inner>, replay: Replay) -> Result<wal::ReplayStats, OpenError> {
    let mut queues = Vec::with_capacity(WORKERS);
    let mut workers = Vec::with_capacity(WORKERS);
    for _ in 0..WORKERS {
        let (queue, jobs) = sync_channel(QUEUE);
        queues.push(queue);
        let worker = Arc::clone(inner);
        workers.push(runtime::spawn(blocking(move || apply_jobs(&worker, &jobs))));
    }
    let reader = Arc::clone(inner);
    let read = blocking(move || read_all(&reader, replay, &queues)).await;
    // A worker's error explains why the reader could not go on.
    for worker in workers {
        worker.await.map_err(|e| OpenError::Internal(e.to_string()))??;
    }
    read
}

fn read_all(
    inner: &Inner,
    mut replay: Replay,
    queues: &[SyncSender<Job>],
) -> Result<wal::ReplayStats, OpenError> {
    let mut told = 0;
    let mut tenant: Option<Arc<Tenant>> = None;
    while let Some(record) = replay.next()? {
        runtime::fault::point("replay.record");
        let kind = kind_of(&record).map_err(failed(record.lsn))?;
        let envelope = record.envelope;
        if tenant.as_ref().is_none_or(|tenant| tenant.id.as_str() != envelope.tenant) {
            tenant = tenant_of(inner, &envelope);
        }
        let Some(tenant) = &tenant else { continue };
        let worker = worker_of(&tenant.id, envelope.shard) % queues.len();
        let job = Job {
            lsn: record.lsn,
            tenant: Arc::clone(tenant),
            shard: envelope.shard,
            kind,
            payload: record.payload.to_vec(),
        };
        if queues[worker].send(job).is_err() {
            return Err(OpenError::Internal("a replay worker stopped early".to_string()));
        }
        let stats = replay.stats();
        inner.metrics.replay_read_bytes.set(stats.read_bytes as i64);
        if stats.read_bytes - told >= PROGRESS_BYTES {
            told = stats.read_bytes;
            tracing::info!(read_bytes = told, total_bytes = stats.total_bytes, "replaying the log");
        }
    }
    Ok(replay.stats())
}

fn apply_jobs(inner: &Inner, jobs: &Receiver<Job>) -> Result<(), OpenError> {
    let mut samples = Samples::default();
    while let Ok(job) = jobs.recv() {
        apply(inner, &job, &mut samples).map_err(failed(job.lsn))?;
        runtime::fault::point("replay.applied");
    }
    Ok(())
}

fn apply(inner: &Inner, job: &Job, samples: &mut Samples) -> Result<(), RecordError> {
    match job.kind {
        Kind::Samples => {
            samples.decode(&job.payload)?;
            apply_samples(inner, job, samples);
        }
        Kind::Cut => {
            let cut = CutRecord::decode(&job.payload)?;
            if cut.window_ms != inner.window_ms() {
                return Err(RecordError::OtherWindow { ms: cut.window_ms });
            }
            apply_cut(inner, job, &cut);
            runtime::fault::point("replay.cut");
        }
        Kind::Committed => {
            let committed = CommittedRecord::decode(&job.payload)?;
            with_state(inner, job, |state| state.drop_cut(committed.sequence));
            runtime::fault::point("replay.committed");
        }
        Kind::Carried => with_state(inner, job, |state| state.note_definition(job.lsn)),
        Kind::Metadata => {
            let rows = record::decode_metadata(&job.payload, inner.clock.now_ms())?;
            let mut families = job.tenant.metadata.lock();
            let before = families.bytes();
            for row in rows {
                families.put(&row.metadata, row.seen_ms, job.lsn);
            }
            tenants::account_families(before, &families, &inner.head_bytes);
        }
    }
    Ok(())
}

fn apply_samples(inner: &Inner, job: &Job, samples: &Samples) {
    let now_ms = inner.clock.now_ms();
    let timestamps = samples.timestamps.iter().copied();
    let timestamps = timestamps.chain(samples.histograms.iter().map(|(_, sample)| sample.timestamp));
    let n_undefined = with_state(inner, job, |state| {
        for definition in samples.definitions() {
            state.head.define_series(definition.series_ref, definition.run, definition.flushed);
            state.note_definition(job.lsn);
        }
        let all_times = timestamps.clone().chain(samples.exemplars.iter().map(|(_, point)| point.timestamp));
        state.note_logged(job.lsn, all_times, now_ms, job.tenant.newest_ms(), &inner.waits);
        let newest_ref = samples.all_refs().max();
        if let Some(newest_ref) = newest_ref {
            state.head.skip_refs(newest_ref.saturating_add(1));
        }
        let Samples { refs, timestamps, values, starts, histograms, exemplars, .. } = samples;
        state.head.append_replayed(refs, timestamps, values, starts, now_ms)
            + state.head.append_replayed_histograms(histograms, now_ms)
            + state.head.append_replayed_exemplars(exemplars, now_ms)
    });
    if let Some(newest) = timestamps.max() {
        job.tenant.note_newest(newest);
    }
    inner.metrics.replay_unknown_refs.inc_by(n_undefined as u64);
    inner.metrics.replay_samples.inc_by((samples.values.len() + samples.histograms.len()) as u64);
}

fn apply_cut(inner: &Inner, job: &Job, cut: &CutRecord) {
    let window = Window { start: cut.window_start, length: cut.window_ms };
    with_state(inner, job, |state| {
        state.next_sequence = state.next_sequence.max(cut.sequence + 1);
        if let Some(planned) = state.plan_cut(window, cut.sequence, cut.shards) {
            state.freeze(PendingCut { through_lsn: cut.through_lsn, ..planned });
        }
    });
}

fn with_state<T>(inner: &Inner, job: &Job, change: impl FnOnce(&mut tenants::ShardState) -> T) -> T {
    let shard = job.tenant.shard(job.shard, inner.window_ms());
    let mut state = shard.state.lock();
    let changed = change(&mut state);
    tenants::account(&job.tenant, &mut state, &inner.head_bytes);
    changed
}

/// What is frozen now has no committed record; the first flush will ask the table.
fn finish(inner: &Inner) {
    let mut n_pending = 0;
    for tenant in inner.tenants.all() {
        for shard in tenant.shards() {
            let mut state = shard.state.lock();
            state.finish_replay();
            n_pending += state.pending.len();
            tenants::account(&tenant, &mut state, &inner.head_bytes);
        }
    }
    inner.metrics.pending_cuts.set(n_pending as i64);
    inner.report_memory();
}

fn kind_of(record: &Record<'_>) -> Result<Kind, RecordError> {
    Kind::of(record.envelope.kind, record.envelope.version)
}

/// The tenant of a record. An id that is none cannot have been written by us.
fn tenant_of(inner: &Inner, envelope: &Envelope<'_>) -> Option<Arc<Tenant>> {
    match TenantId::new(envelope.tenant) {
        Ok(id) => Some(inner.tenants.get_or_create(&id, inner.window_ms())),
        Err(e) => {
            tracing::warn!(error = %e, "skip a record of the log");
            None
        }
    }
}

/// All records of a shard go to one worker, and those of the whole tenant to one.
fn worker_of(tenant: &TenantId, shard: u32) -> usize {
    let tenant =
        tenant.as_str().bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    if shard == NO_SHARD { tenant } else { tenant.wrapping_add(shard as usize) }
}

fn failed(lsn: Lsn) -> impl Fn(RecordError) -> OpenError {
    move |source| OpenError::Record { lsn, source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    runtime::blocking(work).await.map_err(OpenError::Internal)?
}
