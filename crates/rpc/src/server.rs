//! The far side of pushes and selects: an ingester as a gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use cluster::RingWatch;
use futures::Stream;
use model::{Batch, TenantId};
use runtime::{Clock, MemoryPart};
use tokio::sync::Semaphore;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, async_trait};
use wire::bytes::decode_batch;
use wire::{Admin, LabelsRequest, Push, Pushed, Select, SelectBudget, SelectError, StandingRequest};

use crate::answer::{self, Answer, Chunks, Held};
use crate::convert::{Malformed, SeriesOut};
use crate::generated::firn;
use crate::generated::firn::ErrorDetail;
use crate::generated::firn::error_detail::Kind;
use crate::generated::firn::ingester_server::{Ingester, IngesterServer};
use crate::guard::{self, Guard};
use crate::{Config, alone, call, convert};

/// What an ingester's service works with.
pub struct IngesterDeps {
    /// Takes batches.
    pub push: Arc<dyn Push>,
    /// Answers selects.
    pub select: Arc<dyn Select>,
    /// Flushes and observes.
    pub admin: Arc<dyn Admin>,
    /// The ring and who this ingester is on it, when it should refuse what is no longer its own.
    pub place: Option<Place>,
    /// For batches in flight.
    pub push_memory: MemoryPart,
    /// For what selects hold until it is sent.
    pub select_memory: MemoryPart,
    /// The time.
    pub clock: Clock,
}

/// Who this process is on the ring.
#[derive(Debug, Clone)]
pub struct Place {
    /// The newest snapshot.
    pub ring: RingWatch,
    /// The name among its members.
    pub instance: String,
}

/// The routes by which other processes reach this ingester.
pub fn ingester_routes(config: &Config, deps: IngesterDeps) -> Router {
    let guard = Arc::new(Guard::new(config, deps.push_memory.clone()));
    let max_selects = config.max_concurrent_selects;
    let service = Service { deps, selects: Arc::new(Semaphore::new(max_selects)), max_selects };
    let server = IngesterServer::new(service)
        .max_decoding_message_size(config.max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        // Only where the caller asks for it.
        .send_compressed(CompressionEncoding::Gzip);
    let admit = move |request, next| guard::admit(Arc::clone(&guard), request, next);
    alone(server).layer(axum::middleware::from_fn(admit))
}

struct Service {
    deps: IngesterDeps,
    selects: Arc<Semaphore>,
    max_selects: usize,
}

type Chunked<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A select that has a place.
struct Admitted<R> {
    tenant: TenantId,
    metadata: MetadataMap,
    request: R,
    /// What the query had used when it came.
    before: firn::Charge,
    held: Held,
}

impl Service {
    /// Runs `work` as part of the caller's trace and no longer than the caller waits.
    async fn within<T, E: Into<ErrorDetail>>(
        &self,
        metadata: &MetadataMap,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        let deadline = call::deadline(metadata, &self.deps.clock);
        let left = deadline.saturating_duration_since(self.deps.clock.instant());
        let work = runtime::timeout(left, work);
        let done = match call::trace(metadata) {
            Some(trace) => trace.scope(work).await,
            None => work.await,
        };
        let late = || ErrorDetail::of(Kind::Timeout, SelectError::Timeout.to_string());
        done.ok_or_else(late).and_then(|done| done.map_err(Into::into)).map_err(ErrorDetail::into_status)
    }

    /// Refuses a batch that another ingester should have, by a ring that is newer than the sender's.
    fn check_owner(&self, ring_epoch: u64, batch: &Batch) -> Result<(), Status> {
        let Some(Place { ring, instance }) = &self.deps.place else { return Ok(()) };
        let ring = Arc::clone(&ring.borrow());
        if ring_epoch >= ring.epoch() {
            return Ok(());
        }
        let Some(other) = batch.shards.iter().find(|part| !ring.owns(instance, part.shard)) else {
            return Ok(());
        };
        let (shard, ring_epoch) = (other.shard, ring.epoch());
        let message = format!("shard {shard} is not {instance}'s in epoch {ring_epoch} of the ring");
        Err(ErrorDetail { ring_epoch, ..ErrorDetail::of(Kind::WrongOwner, message) }.into_status())
    }

    /// Gives a select a place, or says that there is none.
    fn admit<M, R>(
        &self,
        request: Request<M>,
        budget: impl FnOnce(&mut M) -> Option<firn::Budget>,
        convert: impl FnOnce(M, Arc<SelectBudget>) -> Result<R, Malformed>,
    ) -> Result<Admitted<R>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        let tenant = call::tenant(&metadata)?;
        let full = |_| {
            let limit = self.max_selects;
            let message = format!("too many selects at once: rpc.max_concurrent_selects is {limit}");
            ErrorDetail::unavailable(message).into_status()
        };
        let permit = Arc::clone(&self.selects).try_acquire_owned().map_err(full)?;
        let deadline = call::deadline(&metadata, &self.deps.clock);
        let budget = convert::budget_of(budget(&mut message), deadline, &self.deps.select_memory);
        let before = answer::used(&budget);
        let request = convert(message, Arc::clone(&budget)).map_err(malformed)?;
        Ok(Admitted { tenant, metadata, request, before, held: Held { budget, deadline, _permit: permit } })
    }

    fn admit_labels(&self, request: Request<firn::LabelsRequest>) -> Result<Admitted<LabelsRequest>, Status> {
        self.admit(request, |message| message.budget.take(), convert::labels_request)
    }

    /// Sends an answer chunk by chunk, as fast as the caller takes it.
    fn send<A: Answer>(
        &self,
        answer: A,
        end: firn::End,
        before: firn::Charge,
        held: Held,
    ) -> Response<Chunked<A::Chunk>> {
        let chunks = Chunks::new(answer, end, before, held, self.deps.clock.clone());
        Response::new(Box::pin(futures::stream::iter(chunks)))
    }
}

fn malformed(error: Malformed) -> Status {
    ErrorDetail::of(Kind::Invalid, error.to_string()).into_status()
}

fn end(table_version: Option<u64>) -> firn::End {
    firn::End { table_version, stats: None }
}

fn push_response(pushed: Pushed) -> firn::PushResponse {
    let refusal = |refusal: wire::Refusal| firn::Refusal {
        reason: refusal.reason.as_str().to_string(),
        samples: refusal.n_samples as u64,
        message: refusal.message,
    };
    firn::PushResponse {
        floats: pushed.n_floats as u64,
        histograms: pushed.n_histograms as u64,
        exemplars: pushed.n_exemplars as u64,
        refused: pushed.refused.into_iter().map(refusal).collect(),
        unknown: pushed.unknown.iter().flat_map(|id| id.0.to_le_bytes()).collect::<Vec<u8>>().into(),
    }
}

#[async_trait]
impl Ingester for Service {
    type SelectStream = Chunked<firn::SelectResponse>;
    type SeriesStream = Chunked<firn::SeriesResponse>;
    type LabelNamesStream = Chunked<firn::StringsResponse>;
    type LabelValuesStream = Chunked<firn::StringsResponse>;
    type ExemplarsStream = Chunked<firn::ExemplarsResponse>;
    type MetadataStream = Chunked<firn::MetadataResponse>;
    type HeadStatsStream = Chunked<firn::HeadStatsResponse>;

    async fn push(
        &self,
        request: Request<firn::PushRequest>,
    ) -> Result<Response<firn::PushResponse>, Status> {
        let (metadata, _, firn::PushRequest { ring_epoch, batch }) = request.into_parts();
        let tenant = call::tenant(&metadata)?;
        let decoded = decode_batch(&batch).map_err(|e| malformed(e.into()))?;
        drop(batch);
        self.check_owner(ring_epoch, &decoded)?;
        let pushed = self.within(&metadata, self.deps.push.push(&tenant, &decoded)).await?;
        Ok(Response::new(push_response(pushed)))
    }

    async fn select(
        &self,
        request: Request<firn::SelectRequest>,
    ) -> Result<Response<Self::SelectStream>, Status> {
        let Admitted { tenant, metadata, request, before, held } =
            self.admit(request, |message| message.budget.take(), convert::select_request)?;
        let selected = self.within(&metadata, self.deps.select.select(&tenant, &request)).await?;
        let stats = Some(convert::select_stats_to_wire(selected.stats));
        let end = firn::End { table_version: selected.table_version, stats };
        Ok(self.send(SeriesOut::new(selected.series), end, before, held))
    }

    async fn series(
        &self,
        request: Request<firn::LabelsRequest>,
    ) -> Result<Response<Self::SeriesStream>, Status> {
        let Admitted { tenant, metadata, request, before, held } = self.admit_labels(request)?;
        let listed = self.within(&metadata, self.deps.select.series(&tenant, &request)).await?;
        Ok(self.send(answer::labels(listed.items), end(listed.table_version), before, held))
    }

    async fn label_names(
        &self,
        request: Request<firn::LabelsRequest>,
    ) -> Result<Response<Self::LabelNamesStream>, Status> {
        let Admitted { tenant, metadata, request, before, held } = self.admit_labels(request)?;
        let listed = self.within(&metadata, self.deps.select.label_names(&tenant, &request)).await?;
        Ok(self.send(answer::strings(listed.items), end(listed.table_version), before, held))
    }

    async fn label_values(
        &self,
        mut request: Request<firn::LabelsRequest>,
    ) -> Result<Response<Self::LabelValuesStream>, Status> {
        let name = std::mem::take(&mut request.get_mut().name);
        let Admitted { tenant, metadata, request, before, held } = self.admit_labels(request)?;
        let listing = self.deps.select.label_values(&tenant, &name, &request);
        let listed = self.within(&metadata, listing).await?;
        Ok(self.send(answer::strings(listed.items), end(listed.table_version), before, held))
    }

    async fn exemplars(
        &self,
        request: Request<firn::LabelsRequest>,
    ) -> Result<Response<Self::ExemplarsStream>, Status> {
        let Admitted { tenant, metadata, request, before, held } = self.admit_labels(request)?;
        let listed = self.within(&metadata, self.deps.select.exemplars(&tenant, &request)).await?;
        Ok(self.send(answer::exemplars(listed.items), end(listed.table_version), before, held))
    }

    async fn metadata(
        &self,
        request: Request<firn::MetadataRequest>,
    ) -> Result<Response<Self::MetadataStream>, Status> {
        let convert = |message, budget| Ok(convert::metadata_request(message, budget));
        let Admitted { tenant, metadata, request, before, held } =
            self.admit(request, |message| message.budget.take(), convert)?;
        let listed = self.within(&metadata, self.deps.select.metadata(&tenant, &request)).await?;
        Ok(self.send(answer::metadata(listed.items), end(listed.table_version), before, held))
    }

    async fn head_stats(
        &self,
        request: Request<firn::HeadStatsRequest>,
    ) -> Result<Response<Self::HeadStatsStream>, Status> {
        let Admitted { tenant, metadata, request, before, held } =
            self.admit(request, |message| message.budget.take(), convert::head_stats_request)?;
        let stats = self.within(&metadata, self.deps.select.head_stats(&tenant, &request)).await?;
        Ok(self.send(answer::head_stats(stats), end(None), before, held))
    }

    async fn standing(
        &self,
        request: Request<firn::StandingRequest>,
    ) -> Result<Response<firn::StandingResponse>, Status> {
        let (metadata, _, _) = request.into_parts();
        let tenant = call::tenant(&metadata)?;
        let asked = StandingRequest::default();
        let standing = self.within(&metadata, self.deps.select.standing(&tenant, &asked)).await?;
        Ok(Response::new(convert::standing_to_wire(&standing)))
    }

    async fn flush(
        &self,
        request: Request<firn::FlushRequest>,
    ) -> Result<Response<firn::FlushResponse>, Status> {
        let (metadata, _, firn::FlushRequest { tenant }) = request.into_parts();
        let tenant = tenant.map(|id| call::tenant_id(&id)).transpose()?;
        self.within(&metadata, self.deps.admin.flush(tenant.as_ref())).await?;
        Ok(Response::new(firn::FlushResponse {}))
    }

    async fn observe(
        &self,
        request: Request<firn::ObserveRequest>,
    ) -> Result<Response<firn::ObserveResponse>, Status> {
        let (metadata, _, firn::ObserveRequest { tenant, table_version }) = request.into_parts();
        let tenant = call::tenant_id(&tenant)?;
        self.within(&metadata, self.deps.admin.observe(&tenant, table_version)).await?;
        Ok(Response::new(firn::ObserveResponse {}))
    }
}
