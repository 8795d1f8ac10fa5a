use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cluster::{Member, Ring, RingWatch};
use futures::future::join_all;
use model::{Batch, BatchSeries, Exemplar, SeriesId, ShardBatch, TenantId};
use wire::{Push, PushError, Pushed};

use super::Members;
use crate::generated::firn::ErrorDetail;
use crate::generated::firn::error_detail::Kind;
use crate::{IngesterClient, Pool};

/// How often a batch is taken apart anew because the ring had changed.
const ATTEMPTS: usize = 3;
/// How long a push waits for the ring of which an ingester spoke.
const RING_WAIT: Duration = Duration::from_secs(2);

/// Pushes each part of a batch to the ingester that has its shard.
pub struct RingPush {
    members: Members,
}

/// What one ingester gets of a batch.
struct Share<'a> {
    member: &'a Member,
    /// Places in [`Batch::shards`].
    parts: Vec<usize>,
    with_metadata: bool,
}

impl RingPush {
    /// Pushes by the newest ring.
    pub fn new(ring: RingWatch, pool: Pool) -> RingPush {
        RingPush { members: Members { ring, pool } }
    }

    /// Pushes by one snapshot. All shares are sent at once and all answers are waited for.
    async fn push_by(&self, ring: &Ring, tenant: &TenantId, batch: &Batch) -> Result<Pushed, ErrorDetail> {
        let shares = shares(ring, tenant, batch)?;
        let sends = shares.iter().map(|share| self.send(ring, tenant, batch, share));
        let mut pushed = Pushed::default();
        let mut failed: Option<ErrorDetail> = None;
        for answer in join_all(sends).await {
            match answer {
                Ok(part) => pushed.absorb(part),
                Err(detail) if failed.as_ref().is_none_or(|worst| rank(&detail) > rank(worst)) => {
                    failed = Some(detail);
                }
                Err(_) => {}
            }
        }
        // With one replica everyone must have said yes; with more, a majority for each shard will do.
        failed.map_or(Ok(pushed), Err)
    }

    async fn send(
        &self,
        ring: &Ring,
        tenant: &TenantId,
        batch: &Batch,
        share: &Share<'_>,
    ) -> Result<Pushed, ErrorDetail> {
        let client = self.members.client(share.member).map_err(ErrorDetail::unavailable)?;
        let mut bytes = Vec::new();
        wire::bytes::encode_parts(batch, &share.parts, share.with_metadata, &mut bytes);
        let mut pushed = self.send_bytes(ring, tenant, &client, bytes).await?;
        if !pushed.unknown.is_empty() {
            let unknown = std::mem::take(&mut pushed.unknown);
            client.count_repeated(unknown.len());
            pushed
                .absorb(self.send_unknown(ring, tenant, &client, only(batch, &share.parts, unknown)).await?);
        }
        Ok(pushed)
    }

    /// Sends series that the ingester did not know by their identity, with their labels.
    async fn send_unknown(
        &self,
        ring: &Ring,
        tenant: &TenantId,
        client: &IngesterClient,
        batch: Batch,
    ) -> Result<Pushed, ErrorDetail> {
        let mut bytes = Vec::new();
        wire::bytes::encode_batch(&batch, &mut bytes);
        drop(batch);
        let pushed = self.send_bytes(ring, tenant, client, bytes).await?;
        match pushed.unknown.len() {
            0 => Ok(pushed),
            n => {
                let message = format!("{n} series are unknown to an ingester that was told their labels");
                Err(ErrorDetail::of(Kind::Internal, message))
            }
        }
    }

    async fn send_bytes(
        &self,
        ring: &Ring,
        tenant: &TenantId,
        client: &IngesterClient,
        bytes: Vec<u8>,
    ) -> Result<Pushed, ErrorDetail> {
        let limit = self.members.pool.config().max_message_bytes;
        // Some air for the message around it.
        if bytes.len() + 64 > limit {
            let n_bytes = bytes.len();
            let message =
                format!("a batch of {n_bytes} bytes is too large: rpc.max_message_bytes is {limit}");
            return Err(ErrorDetail::of(Kind::Invalid, message));
        }
        client.push_bytes(tenant, ring.epoch(), Bytes::from(bytes)).await
    }

    /// Waits until the ring is of that epoch or a later one, as an ingester has seen it.
    async fn await_epoch(&self, epoch: u64) -> bool {
        let mut ring = self.members.ring.clone();
        let newer = ring.wait_for(|ring| ring.epoch() >= epoch);
        matches!(runtime::timeout(RING_WAIT, newer).await, Some(Ok(_)))
    }
}

#[async_trait]
impl Push for RingPush {
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        for _ in 0..ATTEMPTS {
            let ring = self.members.snapshot();
            match self.push_by(&ring, tenant, batch).await {
                Ok(pushed) => return Ok(pushed),
                // Samples are idempotent, so the parts that were taken may go again.
                Err(detail) if detail.kind() == Kind::WrongOwner => {
                    if !self.await_epoch(detail.ring_epoch).await {
                        return Err(ErrorDetail::unavailable(detail.message).into());
                    }
                }
                Err(detail) => return Err(detail.into()),
            }
        }
        Err(ErrorDetail::unavailable("the ring changes faster than a batch can be sent").into())
    }
}

/// Who gets what. Descriptions of metric families go to the ingester that has the tenant's own shard.
fn shares<'a>(ring: &'a Ring, tenant: &TenantId, batch: &Batch) -> Result<Vec<Share<'a>>, ErrorDetail> {
    let nobody = |shard: u32| {
        let (epoch, shards) = (ring.epoch(), ring.shards().count);
        ErrorDetail::unavailable(format!(
            "no ingester has shard {shard} of {shards} in epoch {epoch} of the ring"
        ))
    };
    let mut shares: Vec<Share<'a>> = Vec::new();
    for (i, part) in batch.shards.iter().enumerate() {
        let mut has_owner = false;
        for member in ring.replicas(part.shard) {
            has_owner = true;
            share_of(&mut shares, member).parts.push(i);
        }
        if !has_owner {
            return Err(nobody(part.shard));
        }
    }
    if !batch.metadata.is_empty() {
        let shard = ring.shard_of_tenant(tenant);
        let owner = ring.leader(shard).ok_or_else(|| nobody(shard))?;
        share_of(&mut shares, owner).with_metadata = true;
    }
    Ok(shares)
}

/// Of some parts of a batch, what these series bring.
fn only(batch: &Batch, parts: &[usize], series: Vec<SeriesId>) -> Batch {
    let wanted: HashSet<SeriesId> = series.into_iter().collect();
    let mut only = Batch::default();
    for part in parts.iter().filter_map(|part| batch.shards.get(*part)) {
        let columns = only_of_part(batch, part, &wanted, &mut only.bytes);
        if !columns.series.is_empty() {
            only.shards.push(columns);
        }
    }
    only
}

fn only_of_part(
    batch: &Batch,
    part: &ShardBatch,
    wanted: &HashSet<SeriesId>,
    bytes: &mut Vec<u8>,
) -> ShardBatch {
    let mut keep = |run: &[u8]| {
        let from = bytes.len() as u32;
        bytes.extend_from_slice(run);
        (from, bytes.len() as u32)
    };
    let mut only = ShardBatch { shard: part.shard, ..ShardBatch::default() };
    let (mut float_at, mut histogram_at, mut exemplar_at) = (0, 0, 0);
    for series in &part.series {
        let floats = float_at..float_at + series.n_floats as usize;
        let histograms = histogram_at..histogram_at + series.n_histograms as usize;
        let exemplars = exemplar_at..exemplar_at + series.n_exemplars as usize;
        (float_at, histogram_at, exemplar_at) = (floats.end, histograms.end, exemplars.end);
        if !wanted.contains(&series.id) {
            continue;
        }
        only.series.push(BatchSeries { labels: keep(batch.labels(series)), is_known: false, ..*series });
        only.timestamps.extend(part.timestamps.get(floats.clone()).unwrap_or_default());
        only.values.extend(part.values.get(floats.clone()).unwrap_or_default());
        only.start_timestamps.extend(part.start_timestamps.get(floats).unwrap_or_default());
        only.histograms.extend_from_slice(part.histograms.get(histograms).unwrap_or_default());
        let exemplars = part.exemplars.get(exemplars).unwrap_or_default().iter();
        only.exemplars
            .extend(exemplars.map(|e| Exemplar { labels: keep(batch.exemplar_labels(e)), ..e.clone() }));
    }
    only
}

fn share_of<'s, 'a>(shares: &'s mut Vec<Share<'a>>, member: &'a Member) -> &'s mut Share<'a> {
    let known = shares.iter().position(|share| share.member.name == member.name);
    let at = known.unwrap_or_else(|| {
        shares.push(Share { member, parts: Vec::new(), with_metadata: false });
        shares.len() - 1
    });
    &mut shares[at]
}

/// Which of several failures the sender is told: one after which it comes again rather than one after which it drops
/// the batch, since other parts of the same batch may be taken then.
fn rank(detail: &ErrorDetail) -> u32 {
    match detail.kind() {
        Kind::WrongOwner => 3,
        Kind::Invalid => 0,
        Kind::Internal => 1,
        _ => 2,
    }
}
