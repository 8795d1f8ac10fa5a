//! The querier's end: pulls jobs from every query-frontend and does them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use model::TenantIds;
use runtime::{Clock, Service, Shutdown, TraceContext};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use wire::{Meter, Query, QueryError, SelectBudget};

use super::{HEARTBEAT, OUTBOX, SILENCE_MAX};
use crate::convert::{self, Malformed, Outcome};
use crate::generated::firn;
use crate::generated::firn::from_frontend::What as Down;
use crate::generated::firn::from_querier::What as Up;
use crate::generated::firn::frontend_client::FrontendClient;
use crate::generated::firn::job::What;
use crate::generated::firn::{ErrorDetail, FromFrontend, FromQuerier};
use crate::pool::channel;
use crate::{Config, call};

/// How long a frontend that cannot be reached is left alone.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How long the frontend may take to end a stream after the last job.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Does what query-frontends have for it, as long as it lives. Told to stop, it finishes what it has.
pub struct PullWorker {
    name: String,
    frontends: Vec<(String, Channel)>,
    max_message_bytes: usize,
    doing: Doing,
    max_concurrent: usize,
}

/// What every job needs.
#[derive(Clone)]
struct Doing {
    query: Arc<dyn Query>,
    slots: Arc<Semaphore>,
    clock: Clock,
}

impl PullWorker {
    /// Pulls for `query` from the frontends at `addresses`; does at most `max_concurrent` jobs at the same time. `Err`
    /// says which address is none.
    pub fn new(
        config: &Config,
        name: &str,
        addresses: &[String],
        max_concurrent: usize,
        query: Arc<dyn Query>,
    ) -> Result<PullWorker, String> {
        let connect = |address: &String| Ok((address.clone(), channel(address, config)?));
        let frontends = addresses.iter().map(connect).collect::<Result<Vec<_>, String>>()?;
        if frontends.is_empty() {
            return Err("querier.frontend_addresses is empty: name at least one query-frontend".to_string());
        }
        let slots = Arc::new(Semaphore::new(max_concurrent));
        Ok(PullWorker {
            name: name.to_string(),
            frontends,
            max_message_bytes: config.max_message_bytes,
            doing: Doing { query, slots, clock: Clock::system() },
            max_concurrent,
        })
    }

    /// Pulls from one frontend, and again whenever the stream was lost.
    async fn follow(&self, address: &str, channel: &Channel, mut shutdown: Shutdown) {
        let mut was_reached = true;
        loop {
            let opened = tokio::select! {
                opened = self.open(channel) => opened,
                // Not even connected: nothing to finish.
                () = shutdown.wait() => return,
            };
            let is_reached = opened.is_ok();
            match opened {
                Ok((stream, inbound, ends)) => {
                    tracing::info!(frontend = address, "pulling from query-frontend");
                    if stream.run(inbound, ends, shutdown.clone()).await == Ended::Told {
                        return;
                    }
                    tracing::info!(frontend = address, "query-frontend disconnected");
                }
                // Said once, not every second.
                Err(status) if was_reached => {
                    let error = ErrorDetail::from_status(&status, address).message;
                    tracing::warn!(frontend = address, error, "query-frontend cannot be reached");
                }
                Err(_) => {}
            }
            was_reached = is_reached;
            if runtime::timeout(RECONNECT_AFTER, shutdown.wait()).await.is_some() {
                return;
            }
        }
    }

    /// Opens a stream and says who is there.
    async fn open(&self, channel: &Channel) -> Result<Opened, Status> {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let slots = self.max_concurrent.div_ceil(self.frontends.len()) as u32;
        let hello = Up::Hello(firn::Hello { name: self.name.clone(), slots });
        let _fits = outbox.try_send(FromQuerier { what: Some(hello) });
        let mut client =
            FrontendClient::new(channel.clone()).max_decoding_message_size(self.max_message_bytes);
        let inbound = client.pull(ReceiverStream::new(messages)).await?.into_inner();
        let heard = self.doing.clock.instant();
        let (ended, ends) = mpsc::channel(OUTBOX);
        let (doing, running) = (self.doing.clone(), HashMap::new());
        let next_tick = heard + HEARTBEAT;
        let stream = Stream { doing, outbox, running, heard, next_tick, drains: false, ended };
        Ok((stream, inbound, ends))
    }
}

/// A stream, what comes over it, and the ids of jobs that are done.
type Opened = (Stream, Streaming<FromFrontend>, mpsc::Receiver<u64>);

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The process stops, and everything is done.
    Told,
    /// By the frontend or the network.
    Lost,
}

/// A stream to a frontend and the jobs that came over it.
struct Stream {
    doing: Doing,
    outbox: mpsc::Sender<FromQuerier>,
    running: HashMap<u64, AbortHandle>,
    heard: Instant,
    next_tick: Instant,
    drains: bool,
    ended: mpsc::Sender<u64>,
}

/// What happens next on a stream.
enum Next {
    Message(Option<Box<FromFrontend>>),
    Ended(u64),
    Told,
    Tick,
}

impl Stream {
    async fn run(
        mut self,
        mut inbound: Streaming<FromFrontend>,
        mut ends: mpsc::Receiver<u64>,
        mut shutdown: Shutdown,
    ) -> Ended {
        let mut is_told = false;
        while !(self.drains && self.running.is_empty()) {
            let until_tick = self.next_tick.saturating_duration_since(self.doing.clock.instant());
            let next = tokio::select! {
                message = inbound.message() => Next::Message(message.ok().flatten().map(Box::new)),
                Some(id) = ends.recv() => Next::Ended(id),
                () = shutdown.wait(), if !is_told => Next::Told,
                () = runtime::sleep(until_tick) => Next::Tick,
            };
            is_told |= matches!(next, Next::Told);
            if !self.handle(next).await {
                return if is_told { Ended::Told } else { Ended::Lost };
            }
        }
        // The last words are on their way, and dropping the stream would cut them off: the frontend ends it.
        let hang_up = async { while let Ok(Some(_)) = inbound.message().await {} };
        let _patient = runtime::timeout(LAST_WORDS, hang_up).await;
        if is_told { Ended::Told } else { Ended::Lost }
    }

    /// Does what has to be done; `false` when the stream is at its end.
    async fn handle(&mut self, next: Next) -> bool {
        match next {
            Next::Message(None) => false,
            Next::Message(Some(message)) => {
                self.heard = self.doing.clock.instant();
                self.heed(*message);
                true
            }
            Next::Ended(id) => {
                self.running.remove(&id);
                true
            }
            Next::Told => {
                self.drains = true;
                self.send(Up::Draining(firn::Draining {})).await
            }
            Next::Tick => {
                let now = self.doing.clock.instant();
                self.next_tick = now + HEARTBEAT;
                let silence = now.saturating_duration_since(self.heard);
                silence < SILENCE_MAX && self.send(Up::Heartbeat(firn::Heartbeat {})).await
            }
        }
    }

    fn heed(&mut self, message: FromFrontend) {
        match message.what {
            Some(Down::Job(job)) => {
                let id = job.id;
                let task = do_job(self.doing.clone(), job, self.outbox.clone(), self.ended.clone());
                self.running.insert(id, runtime::spawn(task).abort_handle());
            }
            Some(Down::Cancel(firn::Cancel { id })) => {
                if let Some(task) = self.running.remove(&id) {
                    task.abort();
                }
            }
            Some(Down::Draining(_)) => self.drains = true,
            Some(Down::Heartbeat(_)) | None => {}
        }
    }

    async fn send(&self, what: Up) -> bool {
        let sending = self.outbox.send(FromQuerier { what: Some(what) });
        matches!(runtime::timeout(SILENCE_MAX, sending).await, Some(Ok(())))
    }
}

impl Drop for Stream {
    /// Nobody hears the results of what is still running.
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// Does a job and sends what it came to.
async fn do_job(doing: Doing, job: firn::Job, outbox: mpsc::Sender<FromQuerier>, ended: mpsc::Sender<u64>) {
    let id = job.id;
    let trace = TraceContext::parse(&job.traceparent, &job.tracestate);
    let answering = doing.answer(job);
    let outcome = match trace {
        Some(trace) => trace.scope(answering).await,
        None => answering.await,
    };
    let done = match outcome {
        Ok(outcome) => {
            let (mut outgoing, query) = convert::disassemble(outcome);
            while let Some(part) = outgoing.part(id) {
                let _lost = outbox.send(FromQuerier { what: Some(Up::Part(part)) }).await;
            }
            firn::Done { id, error: None, query }
        }
        Err(error) => firn::Done { id, error: Some(error.into()), query: None },
    };
    let _lost = outbox.send(FromQuerier { what: Some(Up::Done(done)) }).await;
    let _lost = ended.send(id).await;
}

impl Doing {
    /// Waits for a slot and asks the querier, both within the job's time.
    async fn answer(&self, job: firn::Job) -> Result<Outcome, QueryError> {
        let timeout = Duration::from_millis(job.timeout_ms).min(call::LONGEST);
        let deadline = self.clock.instant() + timeout;
        let slot = runtime::timeout(timeout, self.slots.acquire()).await;
        let Some(Ok(_slot)) = slot else { return Err(QueryError::Timeout("query queue")) };
        let left = deadline.saturating_duration_since(self.clock.instant());
        match runtime::timeout(left, self.ask(job, left, deadline)).await {
            Some(answered) => answered,
            None => Err(QueryError::Timeout("query execution")),
        }
    }

    async fn ask(&self, job: firn::Job, left: Duration, deadline: Instant) -> Result<Outcome, QueryError> {
        let tenants = TenantIds::parse(&job.tenants).map_err(|e| QueryError::Internal(e.to_string()))?;
        let what = job.what.ok_or_else(|| QueryError::Internal("a job without a question".to_string()))?;
        let labels = |request: firn::LabelsRequest| {
            convert::labels_request(request, budget(deadline)).map_err(malformed)
        };
        let query = &self.query;
        Ok(match what {
            What::Fingerprints(request) => {
                let tenant = tenants.only().ok_or_else(|| {
                    QueryError::Internal("what several tenants' answers rest on is not known".to_string())
                })?;
                let (request, parts) = convert::fingerprints_request(request).map_err(malformed)?;
                Outcome::Fingerprints(query.fingerprints(tenant, &request, &parts).await?)
            }
            What::Query(request) => {
                let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                let mut request = convert::query_request(request);
                request.timeout_ms = Some(request.timeout_ms.map_or(left_ms, |asked| asked.min(left_ms)));
                Outcome::Query(query.query_from(&tenants, &request, job.min_table_version).await?)
            }
            What::Series(request) => Outcome::Labels(query.series(&tenants, &labels(request)?).await?),
            What::LabelNames(request) => {
                Outcome::Strings(query.label_names(&tenants, &labels(request)?).await?)
            }
            What::LabelValues(request) => {
                let name = request.name.clone();
                Outcome::Strings(query.label_values(&tenants, &name, &labels(request)?).await?)
            }
            What::Exemplars(request) => {
                Outcome::Exemplars(query.exemplars(&tenants, &labels(request)?).await?)
            }
            What::Metadata(request) => {
                let request = convert::metadata_request(request, budget(deadline));
                Outcome::Metadata(query.metadata(&tenants, &request).await?)
            }
            What::Raw(request) => {
                let request = convert::raw_request(&request).map_err(malformed)?;
                Outcome::Raw(query.raw(&tenants, &request).await?)
            }
            What::HeadStats(request) => {
                let request = convert::head_stats_request(request, budget(deadline)).map_err(malformed)?;
                Outcome::HeadStats(Box::new(query.head_stats(&tenants, &request).await?))
            }
            What::Blocks(firn::BlocksRequest {}) => Outcome::Blocks(query.blocks(&tenants).await?),
        })
    }
}

/// The querier has its own limits; of the frontend's it only knows the time.
fn budget(deadline: Instant) -> Arc<SelectBudget> {
    Arc::new(SelectBudget {
        series: Meter::new("max_series_per_query", 0),
        samples: Meter::new("max_samples_per_query", 0),
        bytes: Meter::new("max_bytes_per_query", 0),
        deadline: Some(deadline),
    })
}

fn malformed(error: Malformed) -> QueryError {
    QueryError::Internal(format!("a query-frontend's question makes no sense: {error}"))
}

impl Service for PullWorker {
    const NAME: &'static str = "pull";
    type Error = Infallible;

    async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let follow = |(address, channel)| self.follow(address, channel, shutdown.clone());
        join_all(self.frontends.iter().map(|(address, channel)| (address.as_str(), channel)).map(follow))
            .await;
        Ok(())
    }
}
