use limits::LimitsHandle;
use model::{Batch, Shards, TenantId};
use runtime::{Clock, Reservation};
use wire::Pushed;

use crate::body::{BodyError, max_body_bytes};
use crate::intake::{Buffers, Counts, DecodeError, Intake, Rules};
use crate::memo::Memo;
use crate::otlp::Scratch;
use crate::rewrite::Replica;
use crate::symbols::Symbols;
use crate::tenants::{Tenant, Tenants};
use crate::text::{Given, LineError};
use crate::{guard, remote_write, remote_write2, text};

/// Turns bodies into batches: knows the limits and what was seen before, and touches neither network nor log.
#[derive(Debug)]
pub struct Decoder {
    limits: LimitsHandle,
    shards: Shards,
    clock: Clock,
    tenants: Tenants,
    seed: u64,
}

/// A batch and the buffers to make it with, all reused from request to request.
#[derive(Default)]
pub struct Workspace {
    /// The batch. Before a decode its bytes are the decompressed body.
    pub batch: Batch,
    pub(crate) buffers: Buffers,
    /// The text body; its batch holds nothing of it but runs.
    pub text: Vec<u8>,
    symbols: Symbols,
    pub(crate) otlp: Scratch,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

/// What a decode found.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Samples that were refused here, with the first message of each reason.
    pub refused: Pushed,
    /// How much there was of everything.
    pub counts: Counts,
    /// Which of several replicas sent it, as its first series says; never when the tenant has none.
    pub replica: Option<Replica>,
    /// The first line that could not be read (text only), and how many there were.
    pub bad_lines: Option<(LineError, usize)>,
}

/// More than this is not kept for the next request.
const KEEP_BYTES: usize = 1 << 20;

impl Decoder {
    /// A decoder whose memos together take at most `memo_bytes`.
    pub fn new(limits: LimitsHandle, shards: Shards, clock: Clock, memo_bytes: usize, seed: u64) -> Decoder {
        // With no shard there would be no place for a series.
        let shards = Shards { count: shards.count.max(1), ..shards };
        Decoder { limits, shards, clock, tenants: Tenants::new(memo_bytes), seed }
    }

    /// Decodes the remote write 1.0 message in the workspace's bytes. After an error the batch is empty.
    pub fn remote_write(
        &self,
        tenant: &TenantId,
        work: &mut Workspace,
        reservation: &mut Reservation,
    ) -> Result<Decoded, DecodeError> {
        let body = std::mem::take(&mut work.batch.bytes);
        let Workspace { batch, buffers, .. } = work;
        let Batch { shards, metadata, .. } = batch;
        let outcome = self.take_in(tenant, buffers, shards, body.len(), reservation, |intake| {
            remote_write::decode(&body, intake, metadata)?;
            Ok(None)
        });
        work.batch.bytes = body;
        work.batch.bytes.extend_from_slice(&work.buffers.tail);
        self.conclude(tenant, work, outcome, Source::Batch)
    }

    /// Decodes the remote write 2.0 message in the workspace's bytes. After an error the batch is empty.
    pub fn remote_write2(
        &self,
        tenant: &TenantId,
        work: &mut Workspace,
        reservation: &mut Reservation,
    ) -> Result<Decoded, DecodeError> {
        let body = std::mem::take(&mut work.batch.bytes);
        let Workspace { batch, buffers, symbols, .. } = work;
        let Batch { shards, metadata, .. } = batch;
        let outcome = self.take_in(tenant, buffers, shards, 0, reservation, |intake| {
            let max_bytes = max_body_bytes(intake.rules.limits) as usize;
            remote_write2::decode(&body, max_bytes, symbols, intake, metadata)?;
            Ok(None)
        });
        // The batch needs nothing of the body: all runs were written out.
        work.batch.bytes = std::mem::replace(&mut work.buffers.tail, body);
        work.buffers.tail.clear();
        self.conclude(tenant, work, outcome, Source::Runs)
    }

    /// Decodes the text exposition in the workspace's text. Lines that cannot be read are left out and named.
    pub fn text(
        &self,
        tenant: &TenantId,
        work: &mut Workspace,
        reservation: &mut Reservation,
    ) -> Result<Decoded, DecodeError> {
        self.text_given(tenant, &Given::default(), work, reservation)
    }

    /// As [`Decoder::text`], with what the request says about all lines.
    pub(crate) fn text_given(
        &self,
        tenant: &TenantId,
        given: &Given,
        work: &mut Workspace,
        reservation: &mut Reservation,
    ) -> Result<Decoded, DecodeError> {
        let body = std::mem::take(&mut work.text);
        let now_ms = given.timestamp.unwrap_or_else(|| self.clock.now_ms());
        let Workspace { batch, buffers, .. } = work;
        let Batch { shards, metadata, .. } = batch;
        let outcome = self.take_in(tenant, buffers, shards, 0, reservation, |intake| {
            text::decode(&body, now_ms, &given.labels, intake, metadata)
        });
        work.text = body;
        work.batch.bytes.clear();
        work.batch.bytes.extend_from_slice(&work.buffers.tail);
        self.conclude(tenant, work, outcome, Source::Runs)
    }

    /// Runs `decode` over an intake that knows what the tenant sent before.
    pub(crate) fn take_in(
        &self,
        tenant: &TenantId,
        buffers: &mut Buffers,
        columns: &mut Vec<model::ShardBatch>,
        body_len: usize,
        reservation: &mut Reservation,
        decode: impl FnOnce(&mut Intake<'_>) -> Result<Option<(LineError, usize)>, DecodeError>,
    ) -> Result<(Decoded, u64), DecodeError> {
        // In this order: what is learned may be forgotten too early, never too late.
        let generation = self.limits.generation();
        let limits = self.limits.for_tenant(tenant);
        let state = self.state(tenant);
        let table = Memo::read(&state.memo);
        let known = table.holds(generation).then_some(&*table);
        let rules = Rules { tenant, limits: &limits, shards: self.shards, seed: self.seed };
        let mut intake = Intake::new(rules, known, buffers, columns, body_len, reservation);
        let bad_lines = decode(&mut intake)?;
        let Intake { refused, counts, replica, .. } = intake;
        Ok((Decoded { refused, counts, replica, bad_lines }, generation))
    }

    pub(crate) fn conclude(
        &self,
        tenant: &TenantId,
        work: &mut Workspace,
        outcome: Result<(Decoded, u64), DecodeError>,
        source: Source,
    ) -> Result<Decoded, DecodeError> {
        let (mut decoded, generation) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                work.reset();
                return Err(error);
            }
        };
        self.learn(tenant, generation, work, source);
        let grace = self.limits.for_tenant(tenant).creation_grace_period;
        guard::drop_misplaced(&mut work.batch, self.clock.now_ms(), grace, &mut decoded.refused);
        work.buffers.drop_empty(&mut work.batch);
        Ok(decoded)
    }

    fn learn(&self, tenant: &TenantId, generation: u64, work: &Workspace, source: Source) {
        let learned = &work.buffers.learned;
        if learned.is_empty() {
            return;
        }
        let canonical = &work.batch.bytes;
        let raw = match source {
            Source::Batch => canonical,
            Source::Runs => &work.buffers.runs,
        };
        let max_bytes = self.tenants.max_bytes();
        let by = self.state(tenant).memo.learn(generation, max_bytes, learned, raw, canonical);
        self.tenants.grew(by);
    }

    pub(crate) fn state(&self, tenant: &TenantId) -> std::sync::Arc<Tenant> {
        self.tenants.get(tenant, self.clock.now_ms())
    }

    /// Bytes of what is remembered about label runs.
    pub fn memo_bytes(&self) -> usize {
        self.tenants.bytes()
    }
}

/// Where the raw runs of what was learned lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Batch,
    Runs,
}

impl Workspace {
    /// Empties everything and keeps what a usual request needs. The bytes stay where they are, so that the next
    /// body need not be zeroed before it is decompressed into them.
    pub fn reset(&mut self) {
        self.buffers.reset(&mut self.batch);
        self.symbols.clear();
        self.text.clear();
    }

    /// Gives back what only an unusual request needed.
    pub(crate) fn shrink(&mut self) {
        if self.batch.bytes.capacity() > KEEP_BYTES {
            self.batch.bytes = Vec::new();
        }
        self.text.shrink_to(KEEP_BYTES);
        self.symbols.shrink(KEEP_BYTES);
        self.buffers.shrink(KEEP_BYTES);
    }

    /// Decompresses a remote write body of at most `limit` bytes, snappy or zstd as it says itself, to where
    /// [`Decoder::remote_write`] finds it.
    pub fn unpack(
        &mut self,
        packed: &[u8],
        limit: u64,
        reservation: &mut Reservation,
    ) -> Result<(), BodyError> {
        crate::body::unpack(packed, limit, self, reservation)
    }

    /// Makes room for a body of `len` bytes and hands it out to be written.
    pub fn body_mut(&mut self, len: usize) -> &mut [u8] {
        if self.batch.bytes.len() < len {
            self.batch.bytes.resize(len, 0);
        } else {
            self.batch.bytes.truncate(len);
        }
        &mut self.batch.bytes
    }

    /// Decompresses a zstd frame into the batch's bytes, with a decompressor that is kept.
    pub(crate) fn unzstd(&mut self, packed: &[u8], len: usize) -> std::io::Result<usize> {
        if self.zstd.is_none() {
            self.zstd = Some(zstd::bulk::Decompressor::new()?);
        }
        let Some(zstd) = &mut self.zstd else { return Ok(0) };
        self.batch.bytes.clear();
        self.batch.bytes.reserve_exact(len);
        zstd.decompress_to_buffer(packed, &mut self.batch.bytes)
    }
}
