//! How a request is taken in, whatever brought it: memory, limits, decompression, decode, push.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use limits::Limits;
use model::TenantId;
use runtime::Reservation;
use wire::{PushError, Pushed, RefusalReason};

use super::Points;
use crate::answer::Problem;
use crate::body::{self, BodyError, max_body_bytes};
use crate::decoder::{Decoded, Workspace};
use crate::distributor::{Distributor, OFF_THREAD_BYTES};
use crate::metrics::Via;

/// How a message is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
    /// Protobuf in a frame of gRPC.
    Grpc,
}

/// What became of a request that could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Data points that were refused.
    pub(super) n_rejected: usize,
    /// Why; may tell something when nothing was refused.
    pub(super) message: String,
}

/// A small packed body is mostly this many times larger.
const USUAL_RATIO: u64 = 8;

impl Distributor {
    /// Takes a request of the metrics service.
    pub(super) async fn otlp(
        self: &Arc<Self>,
        tenant: &TenantId,
        (form, packing): (Form, Packing),
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Taken, Problem> {
        let limits = self.limits.for_tenant(tenant);
        let via = match form {
            Form::Protobuf => Via::OtlpProtobuf,
            Form::Json => Via::OtlpJson,
            Form::Grpc => Via::OtlpGrpc,
        };
        let (packed, reservation) = self.receive(tenant, &limits, via, headers, body).await?;
        let ratio = if packing == Packing::Plain { 1 } else { USUAL_RATIO };
        let n_bytes = packed.len() as u64 * ratio;
        let (this, id, rules) = (Arc::clone(self), tenant.clone(), Arc::clone(&limits));
        let decode = move || this.decode_otlp(&id, &rules, (form, packing), &packed, reservation);
        let (work, decoded, points, _reservation) = match n_bytes < OFF_THREAD_BYTES {
            true => decode()?,
            false => runtime::blocking(decode).await.map_err(PushError::Internal)??,
        };
        let refused_here = decoded.refused.n_refused();
        let pushed = self.push_on(tenant, &limits, work, decoded).await?;
        Ok(Taken::of(&pushed, points, refused_here))
    }

    fn decode_otlp(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        (form, packing): (Form, Packing),
        body: &Bytes,
        mut reservation: Reservation,
    ) -> Result<(Workspace, Decoded, Points, Reservation), Problem> {
        let mut work = self.workspace();
        let start = self.clock.instant();
        let (packed, packing) = match form {
            Form::Grpc => super::grpc::message(body, packing)?,
            _ => (&body[..], packing),
        };
        unpack(packed, packing, max_body_bytes(limits), &mut work, &mut reservation)?;
        let n_bytes = work.text.len();
        if form == Form::Json {
            work.otlp_from_json(&mut reservation)?;
        }
        let (decoded, points) = self.decoder.otlp(tenant, &mut work, &mut reservation)?;
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.decoded(n_bytes, seconds, &decoded.counts, self.decoder.memo_bytes());
        Ok((work, decoded, points, reservation))
    }
}

/// Unpacks a message into the workspace's text.
fn unpack(
    packed: &[u8],
    packing: Packing,
    limit: u64,
    work: &mut Workspace,
    reservation: &mut Reservation,
) -> Result<(), BodyError> {
    match packing {
        Packing::Gzip => body::gunzip(packed, limit, work, reservation),
        Packing::Zstd => {
            body::unpack_zstd(packed, limit, work, reservation)?;
            std::mem::swap(&mut work.batch.bytes, &mut work.text);
            Ok(())
        }
        Packing::Plain => {
            reservation.grow(packed.len() as u64)?;
            work.text.clear();
            work.text.extend_from_slice(packed);
            Ok(())
        }
    }
}

impl Taken {
    /// What the sender is told after a push. What was refused behind was counted in samples, of which a point may
    /// become several: no more points are said to be rejected than there were.
    fn of(pushed: &Pushed, points: Points, refused_here: usize) -> Taken {
        // An exemplar never fails its point.
        let refused = || pushed.refused.iter().filter(|r| r.reason != RefusalReason::InvalidExemplar);
        let n_samples: usize = refused().map(|refusal| refusal.n_samples).sum();
        let behind = n_samples.saturating_sub(refused_here).min(points.received - points.refused);
        let reasons: Vec<&str> = refused().map(|refusal| refusal.message.as_str()).collect();
        Taken { n_rejected: points.refused + behind, message: reasons.join("; ") }
    }
}
