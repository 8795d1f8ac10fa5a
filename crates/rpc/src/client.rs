use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{Batch, ExemplarSeries, Labels, Metadata, SeriesId, TenantId};
use parking_lot::Mutex;
use prost::Message as _;
use runtime::Clock;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use wire::{
    Admin, AdminError, HeadStats, HeadStatsRequest, LabelsRequest, Listed, MetadataRequest, Push, PushError,
    Pushed, Refusal, RefusalReason, Select, SelectBudget, SelectError, SelectRequest, Selected, Standing,
    StandingRequest,
};

use crate::convert;
use crate::error::is_transport;
use crate::generated::firn;
use crate::generated::firn::ErrorDetail;
use crate::metrics::CallMetrics;
use crate::pool::{ConnectionState, channel};
use crate::stream::{self, Chunk};
use crate::{Config, call};
use config::rpc::Compression;

type Grpc = firn::ingester_client::IngesterClient<Channel>;

/// A far ingester: the same traits, over gRPC.
#[derive(Clone)]
pub struct IngesterClient {
    inner: Arc<Inner>,
    metrics: Arc<CallMetrics>,
}

struct Inner {
    name: String,
    address: String,
    far: String,
    pushes: Grpc,
    selects: Grpc,
    push_timeout: Duration,
    clock: Clock,
    problem: Mutex<Option<String>>,
}

/// How long bringing everything into the tables may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a word to an ingester may take.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that the other end closed is noticed by the call that uses it; the second one has a new connection.
const ATTEMPTS: usize = 2;

impl IngesterClient {
    /// The client of the ingester at that address. Connects when it is first used.
    pub fn new(name: &str, address: &str, config: &Config) -> Result<IngesterClient, String> {
        let limit = config.max_message_bytes;
        let grpc = Grpc::new(channel(address, config)?).max_decoding_message_size(limit);
        let pushes = match config.push_compression {
            Compression::None => grpc.clone(),
            Compression::Gzip => grpc.clone().send_compressed(CompressionEncoding::Gzip),
        };
        let selects = match config.select_compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.accept_compressed(CompressionEncoding::Gzip),
        };
        Ok(IngesterClient {
            inner: Arc::new(Inner {
                name: name.to_string(),
                address: address.to_string(),
                far: format!("ingester {name} at {address}"),
                pushes,
                selects,
                push_timeout: config.push_timeout.0,
                clock: Clock::system(),
                problem: Mutex::default(),
            }),
            metrics: Arc::default(),
        })
    }

    /// The same, whose calls are counted with others'.
    pub(crate) fn counted(self, metrics: Arc<CallMetrics>) -> IngesterClient {
        IngesterClient { metrics, ..self }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Counts series that had to be pushed again.
    pub(crate) fn count_repeated(&self, n_series: usize) {
        self.metrics.repeated_series.inc_by(n_series as u64);
    }

    pub(crate) fn state(&self) -> ConnectionState {
        ConnectionState {
            member: self.inner.name.clone(),
            address: self.inner.address.clone(),
            problem: self.inner.problem.lock().clone(),
        }
    }

    /// Pushes an encoded batch that was meant for this ingester by the ring of that epoch.
    pub(crate) async fn push_bytes(
        &self,
        tenant: &TenantId,
        ring_epoch: u64,
        batch: Bytes,
    ) -> Result<Pushed, ErrorDetail> {
        let timeout = self.inner.push_timeout;
        let n_bytes = batch.len().to_string();
        let n_label_bytes = wire::bytes::labels_len_of(&batch).to_string();
        let calling = self.retried(|| async {
            let message = firn::PushRequest { ring_epoch, batch: batch.clone() };
            let mut request = call::request(message, Some(tenant), timeout);
            call::put(request.metadata_mut(), call::MESSAGE_BYTES, &n_bytes);
            call::put(request.metadata_mut(), call::LABEL_BYTES, &n_label_bytes);
            self.inner.pushes.clone().push(request).await
        });
        match runtime::timeout(timeout, calling).await {
            Some(Ok(response)) => Ok(pushed(response.into_inner())),
            Some(Err(status)) => Err(self.detail(&status)),
            None => {
                let far = &self.inner.far;
                Err(ErrorDetail::unavailable(format!(
                    "{far}: no answer within rpc.push_timeout of {timeout:?}"
                )))
            }
        }
    }

    /// Pushes bytes of [`wire::bytes::encode_batch`] that were meant for this ingester by the ring of that epoch.
    pub async fn push_encoded(
        &self,
        tenant: &TenantId,
        ring_epoch: u64,
        batch: Bytes,
    ) -> Result<Pushed, PushError> {
        Ok(self.push_bytes(tenant, ring_epoch, batch).await?)
    }

    /// Calls, and calls once more when the connection turned out to be gone.
    async fn retried<T, F>(&self, call: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut attempt = 1;
        loop {
            let called = call().await;
            let problem = called.as_ref().err().filter(|status| is_transport(status));
            self.metrics.count(&self.inner.name, if problem.is_some() { "unreachable" } else { "answered" });
            *self.inner.problem.lock() = problem.map(|status| self.detail(status).message);
            if problem.is_none() || attempt == ATTEMPTS {
                return called;
            }
            attempt += 1;
        }
    }

    fn detail(&self, status: &Status) -> ErrorDetail {
        ErrorDetail::from_status(status, &self.inner.far)
    }

    /// What is left of the query's time.
    fn time_left(&self, budget: &SelectBudget) -> Result<Duration, SelectError> {
        let Some(deadline) = budget.deadline else { return Ok(call::LONGEST) };
        let left = deadline.saturating_duration_since(self.inner.clock.instant());
        if left.is_zero() { Err(SelectError::Timeout) } else { Ok(left.min(call::LONGEST)) }
    }

    /// Asks for a stream and gives its chunks to `take`, which says what each costs. Charges the budget with what the
    /// far side says that the answer costs, and with more when more comes.
    async fn streamed<M, C, F>(
        &self,
        tenant: &TenantId,
        budget: &SelectBudget,
        message: M,
        call: impl Fn(Grpc, Request<M>) -> F,
        take: impl FnMut(C) -> Result<firn::Charge, convert::Malformed>,
    ) -> Result<firn::End, SelectError>
    where
        M: Clone,
        C: Chunk,
        F: Future<Output = Result<tonic::Response<Streaming<C>>, Status>>,
    {
        let timeout = self.time_left(budget)?;
        let answering = async {
            let ask =
                || call(self.inner.selects.clone(), call::request(message.clone(), Some(tenant), timeout));
            let response = self.retried(ask).await.map_err(|status| self.detail(&status))?;
            stream::collect(response.into_inner(), budget, &self.inner.far, take).await
        };
        match runtime::timeout(timeout, answering).await {
            Some(answered) => answered.map_err(SelectError::from),
            None => Err(SelectError::Timeout),
        }
    }

    async fn labels_streamed<C, F>(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
        call: impl Fn(Grpc, Request<firn::LabelsRequest>) -> F,
        take: impl FnMut(C) -> Result<firn::Charge, convert::Malformed>,
    ) -> Result<firn::End, SelectError>
    where
        C: Chunk,
        F: Future<Output = Result<tonic::Response<Streaming<C>>, Status>>,
    {
        let message = convert::labels_to_wire(request, name);
        self.streamed(tenant, &request.budget, message, call, take).await
    }

    async fn admin<T, F>(&self, timeout: Duration, call: impl Fn(Grpc) -> F) -> Result<(), AdminError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let calling = self.retried(|| call(self.inner.pushes.clone()));
        match runtime::timeout(timeout, calling).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(status)) => Err(self.detail(&status).into()),
            None => Err(AdminError::Unavailable(format!("{}: no answer within {timeout:?}", self.inner.far))),
        }
    }
}

fn pushed(response: firn::PushResponse) -> Pushed {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut pushed = Pushed {
        n_floats: count(response.floats),
        n_histograms: count(response.histograms),
        n_exemplars: count(response.exemplars),
        refused: Vec::new(),
        unknown: response
            .unknown
            .as_chunks::<16>()
            .0
            .iter()
            .map(|id| SeriesId(u128::from_le_bytes(*id)))
            .collect(),
    };
    for firn::Refusal { reason, samples, message } in response.refused {
        let known = RefusalReason::ALL.into_iter().find(|known| known.as_str() == reason);
        // A reason that a newer release invented: the message says what it is.
        let reason = known.unwrap_or(RefusalReason::InvalidLabels);
        pushed.refused.push(Refusal { reason, n_samples: count(samples), message });
    }
    pushed
}

#[async_trait]
impl Push for IngesterClient {
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        let mut bytes = Vec::new();
        wire::bytes::encode_batch(batch, &mut bytes);
        // By no ring: whoever calls this chose the ingester otherwise.
        self.push_encoded(tenant, u64::MAX, bytes.into()).await
    }
}

#[async_trait]
impl Select for IngesterClient {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let mut series = convert::SeriesIn::default();
        let message = convert::select_to_wire(request);
        let call = |mut grpc: Grpc, request| async move { grpc.select(request).await };
        let end = self.streamed(tenant, &request.budget, message, call, |chunk| series.take(chunk)).await?;
        let stats = convert::select_stats(end.stats.unwrap_or_default());
        let malformed = |e: convert::Malformed| SelectError::Internal(format!("{}: {e}", self.inner.far));
        Ok(Selected { series: series.finish().map_err(malformed)?, table_version: end.table_version, stats })
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        let mut items = Vec::new();
        let call = |mut grpc: Grpc, request| async move { grpc.series(request).await };
        let take = |chunk: firn::SeriesResponse| {
            let mut cost = firn::Charge::default();
            for run in &chunk.labels {
                (cost.series, cost.bytes) = (cost.series + 1, cost.bytes + run.len() as u64);
                items.push(convert::labels(run)?);
            }
            Ok(cost)
        };
        let end = self.labels_streamed(tenant, "", request, call, take).await?;
        Ok(Listed { items, table_version: end.table_version })
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let mut items = Vec::new();
        let call = |mut grpc: Grpc, request| async move { grpc.label_names(request).await };
        let end =
            self.labels_streamed(tenant, "", request, call, |chunk| take_strings(chunk, &mut items)).await?;
        Ok(Listed { items, table_version: end.table_version })
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let mut items = Vec::new();
        let call = |mut grpc: Grpc, request| async move { grpc.label_values(request).await };
        let end = self
            .labels_streamed(tenant, name, request, call, |chunk| take_strings(chunk, &mut items))
            .await?;
        Ok(Listed { items, table_version: end.table_version })
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        let mut items = Vec::new();
        let call = |mut grpc: Grpc, request| async move { grpc.exemplars(request).await };
        let take = |chunk: firn::ExemplarsResponse| {
            let mut bytes = 0;
            for series in chunk.series {
                bytes += (series.labels.len() + 64 * series.exemplars.len()) as u64;
                items.push(convert::exemplars(series)?);
            }
            Ok(firn::Charge { bytes, ..firn::Charge::default() })
        };
        let end = self.labels_streamed(tenant, "", request, call, take).await?;
        Ok(Listed { items, table_version: end.table_version })
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        let mut items = Vec::new();
        let message = convert::metadata_to_wire(request);
        let call = |mut grpc: Grpc, request| async move { grpc.metadata(request).await };
        let take = |chunk: firn::MetadataResponse| {
            let mut bytes = 0;
            for family in chunk.items {
                bytes += (family.family.len() + family.unit.len() + family.help.len()) as u64;
                items.push(convert::family(family)?);
            }
            Ok(firn::Charge { bytes, ..firn::Charge::default() })
        };
        let end = self.streamed(tenant, &request.budget, message, call, take).await?;
        Ok(Listed { items, table_version: end.table_version })
    }

    async fn head_stats(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        let mut stats = HeadStats::default();
        let message = convert::head_stats_to_wire(request);
        let call = |mut grpc: Grpc, request| async move { grpc.head_stats(request).await };
        let take = |chunk: firn::HeadStatsResponse| {
            let mut bytes = 0;
            for item in chunk.items {
                bytes += item.encoded_len() as u64;
                convert::take_head_stats(&mut stats, item)?;
            }
            Ok(firn::Charge { bytes, ..firn::Charge::default() })
        };
        self.streamed(tenant, &request.budget, message, call, take).await?;
        Ok(stats)
    }

    async fn standing(&self, tenant: &TenantId, request: &StandingRequest) -> Result<Standing, SelectError> {
        let left = request.deadline.map(|at| at.saturating_duration_since(self.inner.clock.instant()));
        let timeout = left.unwrap_or(STANDING_TIMEOUT).min(STANDING_TIMEOUT);
        let ask = || {
            let request = call::request(firn::StandingRequest {}, Some(tenant), timeout);
            let mut grpc = self.inner.selects.clone();
            async move { grpc.standing(request).await }
        };
        match runtime::timeout(timeout, self.retried(ask)).await {
            Some(Ok(response)) => convert::standing(&response.into_inner())
                .map_err(|e| SelectError::Internal(format!("{}: {e}", self.inner.far))),
            Some(Err(status)) => Err(self.detail(&status).into()),
            None => Err(SelectError::Timeout),
        }
    }
}

/// How long the answer to what is open may take: it is at hand.
const STANDING_TIMEOUT: Duration = Duration::from_secs(10);

fn take_strings(
    chunk: firn::StringsResponse,
    items: &mut Vec<String>,
) -> Result<firn::Charge, convert::Malformed> {
    let bytes = chunk.items.iter().map(|item| item.len() as u64).sum();
    items.extend(chunk.items);
    Ok(firn::Charge { bytes, ..firn::Charge::default() })
}

#[async_trait]
impl Admin for IngesterClient {
    async fn flush(&self, tenant: Option<&TenantId>) -> Result<(), AdminError> {
        let named = tenant.map(|tenant| tenant.as_str().to_string());
        let call = |mut grpc: Grpc| {
            let request = call::request(firn::FlushRequest { tenant: named.clone() }, tenant, FLUSH_TIMEOUT);
            async move { grpc.flush(request).await }
        };
        self.admin(FLUSH_TIMEOUT, call).await
    }

    async fn observe(&self, tenant: &TenantId, table_version: u64) -> Result<(), AdminError> {
        let call = |mut grpc: Grpc| {
            let message = firn::ObserveRequest { tenant: tenant.as_str().to_string(), table_version };
            let request = call::request(message, Some(tenant), OBSERVE_TIMEOUT);
            async move { grpc.observe(request).await }
        };
        self.admin(OBSERVE_TIMEOUT, call).await
    }
}
