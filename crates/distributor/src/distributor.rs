use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use limits::{Limits, LimitsHandle};
use model::{Shards, TenantId};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use runtime::{Clock, MemoryPart, Reservation};
use wire::{Push, Pushed};

use crate::Config;
use crate::answer::Problem;
use crate::body::{self, BodyError, Sender, TextEncoding};
use crate::decoder::{Decoded, Decoder, Workspace};
use crate::metrics::{Metrics, Via};

/// What the distributor works with.
pub struct Deps {
    /// Where batches go.
    pub push: Arc<dyn Push>,
    /// What tenants may do.
    pub limits: LimitsHandle,
    /// The time.
    pub clock: Clock,
    /// How series are spread.
    pub shards: Shards,
    /// For request bodies and batches in flight.
    pub memory: MemoryPart,
}

/// Takes what senders bring, checks it, and pushes it on.
pub struct Distributor {
    decoder: Decoder,
    push: Arc<dyn Push>,
    limits: LimitsHandle,
    clock: Clock,
    memory: MemoryPart,
    pub(crate) metrics: Metrics,
    /// Workspaces of requests that are done.
    idle: Mutex<Vec<Workspace>>,
}

/// More idle workspaces than this are dropped.
const MAX_IDLE: usize = 16;
/// No body is larger than this: positions in a batch have 32 bits, and it may hold a body up to four times
/// (exemplar labels of two bytes become six).
const MAX_BODY_BYTES: u64 = 512 << 20;

impl Distributor {
    /// A distributor. It has no life of its own: it works when it is called.
    pub fn open(config: &Config, deps: Deps, registry: &mut Registry) -> Arc<Distributor> {
        let Deps { push, limits, clock, shards, memory } = deps;
        let memo_bytes = usize::try_from(config.memo_bytes).unwrap_or(usize::MAX);
        let seed = runtime::random_u64();
        let decoder = Decoder::new(limits.clone(), shards, clock.clone(), memo_bytes, seed);
        let metrics = Metrics::new(registry);
        Arc::new(Distributor { decoder, push, limits, clock, memory, metrics, idle: Mutex::default() })
    }

    /// Takes a remote write 1.0 request.
    pub(crate) async fn remote_write(
        &self,
        tenant: &TenantId,
        sender: Sender,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(), Problem> {
        let via = if sender == Sender::VmagentZstd { Via::RemoteWriteZstd } else { Via::RemoteWrite };
        let limits = self.limits.for_tenant(tenant);
        let (packed, mut reservation) = self.receive(tenant, &limits, via, headers, body).await?;
        let mut work = self.workspace();
        let start = self.clock.instant();
        body::unpack(&packed, max_body_bytes(&limits), &mut work, &mut reservation)?;
        let n_bytes = work.batch.bytes.len();
        let decoded = self.decoder.remote_write(tenant, &mut work, &mut reservation)?;
        drop(packed);
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.decoded(n_bytes, seconds, &decoded.counts, self.decoder.memo_bytes());
        self.push_on(tenant, &limits, work, decoded).await
    }

    /// Takes a text exposition.
    pub(crate) async fn import_text(
        &self,
        tenant: &TenantId,
        encoding: TextEncoding,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(), Problem> {
        let limits = self.limits.for_tenant(tenant);
        let (packed, mut reservation) = self.receive(tenant, &limits, Via::Text, headers, body).await?;
        let mut work = self.workspace();
        let start = self.clock.instant();
        match encoding {
            TextEncoding::Plain => {
                reservation.grow(packed.len() as u64).map_err(BodyError::from)?;
                work.text.extend_from_slice(&packed);
            }
            TextEncoding::Gzip => {
                body::gunzip(&packed, max_body_bytes(&limits), &mut work, &mut reservation)?;
            }
        }
        drop(packed);
        let n_bytes = work.text.len();
        let decoded = self.decoder.text(tenant, &mut work, &mut reservation)?;
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.decoded(n_bytes, seconds, &decoded.counts, self.decoder.memo_bytes());
        self.push_on(tenant, &limits, work, decoded).await
    }

    /// Receives a body whose tenant may send now and whose size is within the limits.
    async fn receive(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        via: Via,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, Reservation), Problem> {
        self.admit(tenant, limits)?;
        let limit = max_body_bytes(limits);
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let announced: u64 = announced.unwrap_or(0);
        if announced > limit {
            return Err(BodyError::TooLarge { limit }.into());
        }
        let mut reservation = self.memory.reserve(announced).map_err(BodyError::from)?;
        let packed = collect(body, announced, limit, &mut reservation).await?;
        self.metrics.arrived(via, packed.len());
        Ok((packed, reservation))
    }

    /// Refuses a tenant that is over its rate, before anything is read.
    fn admit(&self, tenant: &TenantId, limits: &Limits) -> Result<(), Problem> {
        let (rate, burst) = (limits.ingestion_rate, limits.ingestion_burst_size);
        if rate <= 0.0 {
            return Ok(());
        }
        let state = self.decoder.state(tenant);
        let admitted = state.rate.lock().admit(self.clock.now_ms(), rate, burst);
        admitted.map_err(|wait_ms| Problem::RateLimited { rate, burst, wait_ms })
    }

    async fn push_on(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        work: Workspace,
        decoded: Decoded,
    ) -> Result<(), Problem> {
        let Decoded { mut refused, counts, bad_lines } = decoded;
        let n_samples = counts.floats + counts.histograms;
        self.spend(tenant, limits, n_samples);
        let batch = &work.batch;
        let pushed = if batch.shards.is_empty() && batch.metadata.is_empty() {
            Ok(Pushed::default())
        } else {
            self.push.push(tenant, batch).await
        };
        self.give_back(work);
        // What was refused here is counted whatever happened behind: it is not coming back.
        let stored = pushed.inspect_err(|_| self.metrics.refused_samples(&refused))?;
        refused.absorb(stored);
        self.metrics.refused_samples(&refused);
        if let Some((_, n)) = &bad_lines {
            self.metrics.refused_lines(*n);
        }
        Problem::of(&refused, bad_lines).map_or(Ok(()), Err)
    }

    fn spend(&self, tenant: &TenantId, limits: &Limits, n_samples: u64) {
        let (rate, burst) = (limits.ingestion_rate, limits.ingestion_burst_size);
        if rate > 0.0 {
            let state = self.decoder.state(tenant);
            state.rate.lock().spend(self.clock.now_ms(), rate, burst, n_samples as f64);
        }
    }

    fn workspace(&self) -> Workspace {
        self.idle.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, mut work: Workspace) {
        work.reset();
        work.shrink();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(work);
        }
    }
}

fn max_body_bytes(limits: &Limits) -> u64 {
    if limits.max_body_bytes == 0 { MAX_BODY_BYTES } else { limits.max_body_bytes.min(MAX_BODY_BYTES) }
}

/// Reads the body, which may be larger than announced, or not announced at all. What was announced is reserved.
async fn collect(
    mut body: Body,
    announced: u64,
    limit: u64,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut all: Vec<u8> = Vec::new();
    let mut n = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Problem::Interrupted(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let before = n.max(announced);
        n += data.len() as u64;
        if n > limit {
            return Err(BodyError::TooLarge { limit }.into());
        }
        reservation.grow(n.max(announced) - before).map_err(BodyError::from)?;
        match &first {
            // A small body is one frame, which needs no copy.
            None => first = Some(data),
            Some(head) => {
                if all.is_empty() {
                    all.reserve(announced.max(n) as usize);
                    all.extend_from_slice(head);
                }
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(if all.is_empty() { first.unwrap_or_default() } else { all.into() })
}
