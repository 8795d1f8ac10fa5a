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
use wire::{Push, PushError, Pushed};

use crate::Config;
use crate::answer::{Outcome, Problem};
use crate::body::{self, BodyError, Content, TextEncoding, Version, max_body_bytes};
use crate::decoder::{Decoded, Decoder, Workspace};
use crate::election::TooManyGroups;
use crate::metrics::{Metrics, Via};
use crate::rewrite::Replica;
use crate::text::Given;

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
    pub(crate) decoder: Decoder,
    push: Arc<dyn Push>,
    pub(crate) limits: LimitsHandle,
    pub(crate) clock: Clock,
    memory: MemoryPart,
    pub(crate) metrics: Metrics,
    /// Workspaces of requests that are done.
    idle: Mutex<Vec<Workspace>>,
}

/// More idle workspaces than this are dropped.
const MAX_IDLE: usize = 16;
/// Bodies from this size on are decoded off the threads that serve connections. Decoding runs at about 1 GB/s when the
/// series are known and at 100 MB/s when they are new: a smaller body holds up its neighbours for 10 ms at most.
pub(crate) const OFF_THREAD_BYTES: u64 = 1 << 20;

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

    /// Takes a remote write request.
    pub(crate) async fn remote_write(
        self: &Arc<Self>,
        tenant: &TenantId,
        content: Content,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Outcome, Problem> {
        let limits = self.limits.for_tenant(tenant);
        let (packed, reservation) = self.receive(tenant, &limits, Via::of(content), headers, body).await?;
        let (work, decoded, _reservation) = if body::announced(&packed) < OFF_THREAD_BYTES {
            self.unpack_and_decode(tenant, &limits, content.version, &packed, reservation)?
        } else {
            let (this, tenant, limits) = (Arc::clone(self), tenant.clone(), Arc::clone(&limits));
            runtime::blocking(move || {
                this.unpack_and_decode(&tenant, &limits, content.version, &packed, reservation)
            })
            .await
            .map_err(PushError::Internal)??
        };
        if !self.is_elected(tenant, &limits, decoded.replica.as_ref())? {
            self.metrics.deduplicated(&decoded.counts);
            self.give_back(work);
            return Ok(Outcome::deduplicated(&decoded.counts));
        }
        let counts = decoded.counts;
        let pushed = self.push_on(tenant, &limits, work, decoded).await?;
        Ok(Outcome::of_samples(&pushed, &counts, content.version))
    }

    fn unpack_and_decode(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        version: Version,
        packed: &[u8],
        mut reservation: Reservation,
    ) -> Result<(Workspace, Decoded, Reservation), Problem> {
        let mut work = self.workspace();
        let start = self.clock.instant();
        body::unpack(packed, max_body_bytes(limits), &mut work, &mut reservation)?;
        let n_bytes = work.batch.bytes.len();
        let decoded = match version {
            Version::One => self.decoder.remote_write(tenant, &mut work, &mut reservation)?,
            Version::Two => self.decoder.remote_write2(tenant, &mut work, &mut reservation)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.decoded(n_bytes, seconds, &decoded.counts, self.decoder.memo_bytes());
        Ok((work, decoded, reservation))
    }

    /// Takes a text exposition.
    pub(crate) async fn import_text(
        self: &Arc<Self>,
        tenant: &TenantId,
        encoding: TextEncoding,
        given: Given,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Outcome, Problem> {
        let limits = self.limits.for_tenant(tenant);
        let (packed, reservation) = self.receive(tenant, &limits, Via::Text, headers, body).await?;
        // Of gzip as a rule a tenth of the text.
        let is_large = match encoding {
            TextEncoding::Plain => packed.len() as u64 >= OFF_THREAD_BYTES,
            TextEncoding::Gzip => packed.len() as u64 >= OFF_THREAD_BYTES / 10,
        };
        let (work, mut decoded, _reservation) = if is_large {
            let (this, tenant, limits) = (Arc::clone(self), tenant.clone(), Arc::clone(&limits));
            let decode =
                move || this.unpack_and_decode_text(&tenant, &limits, encoding, &given, &packed, reservation);
            runtime::blocking(decode).await.map_err(PushError::Internal)??
        } else {
            self.unpack_and_decode_text(tenant, &limits, encoding, &given, &packed, reservation)?
        };
        if !self.is_elected(tenant, &limits, decoded.replica.as_ref())? {
            self.metrics.deduplicated(&decoded.counts);
            self.give_back(work);
            return Ok(Outcome::deduplicated(&decoded.counts));
        }
        let bad_lines = decoded.bad_lines.take();
        if let Some((_, n)) = &bad_lines {
            self.metrics.refused_lines(*n);
        }
        let pushed = self.push_on(tenant, &limits, work, decoded).await?;
        Ok(Outcome::of_lines(&pushed, bad_lines))
    }

    fn unpack_and_decode_text(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        encoding: TextEncoding,
        given: &Given,
        packed: &[u8],
        mut reservation: Reservation,
    ) -> Result<(Workspace, Decoded, Reservation), Problem> {
        let mut work = self.workspace();
        let start = self.clock.instant();
        match encoding {
            TextEncoding::Plain => {
                reservation.grow(packed.len() as u64).map_err(BodyError::from)?;
                work.text.extend_from_slice(packed);
            }
            TextEncoding::Gzip => {
                body::gunzip(packed, max_body_bytes(limits), &mut work, &mut reservation)?;
            }
        }
        let n_bytes = work.text.len();
        let decoded = self.decoder.text_given(tenant, given, &mut work, &mut reservation)?;
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.decoded(n_bytes, seconds, &decoded.counts, self.decoder.memo_bytes());
        Ok((work, decoded, reservation))
    }

    /// Receives a body whose tenant may send now and whose size is within the limits.
    pub(crate) async fn receive(
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

    /// Whether this replica's samples are taken; those of a sender that is none always are.
    pub(crate) fn is_elected(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        replica: Option<&Replica>,
    ) -> Result<bool, Problem> {
        let Some(Replica { cluster, name }) = replica else { return Ok(true) };
        let (timeout, max_groups) = (limits.ha_failover_timeout.millis(), limits.ha_max_clusters);
        let state = self.decoder.state(tenant);
        let mut elections = state.elections.lock();
        let elected = elections.is_elected(cluster, name, self.clock.now_ms(), timeout, max_groups);
        elected
            .map_err(|TooManyGroups| Problem::TooManyClusters { cluster: cluster.clone(), limit: max_groups })
    }

    /// Refuses a tenant that is over its rate, before anything is read.
    fn admit(&self, tenant: &TenantId, limits: &Limits) -> Result<(), Problem> {
        let (rate, burst) = (limits.ingestion_rate, limits.ingestion_burst_size);
        if rate <= 0.0 {
            return Ok(());
        }
        let state = self.decoder.state(tenant);
        let share = self.limits.distributor_share(rate);
        let admitted = state.rate.lock().admit(self.clock.now_ms(), share, burst);
        admitted.map_err(|wait_ms| Problem::RateLimited { rate, burst, wait_ms })
    }

    /// Pushes what was decoded and says what is stored and what was refused, here and behind.
    pub(crate) async fn push_on(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        work: Workspace,
        decoded: Decoded,
    ) -> Result<Pushed, Problem> {
        let Decoded { mut refused, counts, .. } = decoded;
        let n_left_out = counts.left_out_floats + counts.left_out_histograms;
        let n_samples = counts.floats + counts.histograms - n_left_out;
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
        Ok(refused)
    }

    fn spend(&self, tenant: &TenantId, limits: &Limits, n_samples: u64) {
        let (rate, burst) = (limits.ingestion_rate, limits.ingestion_burst_size);
        if rate > 0.0 {
            let state = self.decoder.state(tenant);
            let share = self.limits.distributor_share(rate);
            state.rate.lock().spend(self.clock.now_ms(), share, burst, n_samples as f64);
        }
    }

    pub(crate) fn workspace(&self) -> Workspace {
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
