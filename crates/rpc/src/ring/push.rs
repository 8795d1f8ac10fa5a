use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cluster::{Member, Ring, RingWatch};
use futures::future::join_all;
use model::{Batch, TenantId};
use wire::{Push, PushError, Pushed};

use super::Members;
use crate::Pool;
use crate::generated::firn::ErrorDetail;
use crate::generated::firn::error_detail::Kind;

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
