//! The frontend's end of a stream to one querier.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use runtime::Clock;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use super::jobs::{Event, Job, Jobs, Stage};
use super::{HEARTBEAT, SILENCE_MAX};
use crate::generated::firn;
use crate::generated::firn::error_detail::Kind;
use crate::generated::firn::from_frontend::What as Down;
use crate::generated::firn::from_querier::What as Up;
use crate::generated::firn::{ErrorDetail, FromFrontend, FromQuerier};

/// A querier takes no more jobs than this, whatever it says.
const MAX_SLOTS: u32 = 1024;

pub(super) struct Link {
    jobs: Arc<Jobs>,
    clock: Clock,
    max_retries: u32,
    outbox: mpsc::Sender<Result<FromFrontend, Status>>,
    name: String,
    slots: u32,
    taken: HashMap<u64, Job>,
    heard: Instant,
    next_tick: Instant,
    drains: bool,
}

/// What happens next on a link.
enum Next {
    Message(Option<FromQuerier>),
    Unwanted(u64),
    Job(Job),
    Tick,
    Closing,
}

impl Link {
    pub(super) fn new(
        jobs: Arc<Jobs>,
        clock: Clock,
        max_retries: u32,
        outbox: mpsc::Sender<Result<FromFrontend, Status>>,
    ) -> Link {
        let heard = clock.instant();
        let (name, taken) = (String::new(), HashMap::new());
        let next_tick = heard + HEARTBEAT;
        Link { jobs, clock, max_retries, outbox, name, slots: 0, taken, heard, next_tick, drains: false }
    }

    /// Lives as long as the stream; then gives back what the querier had not done.
    pub(super) async fn run(mut self, mut inbound: Streaming<FromQuerier>) {
        let first = runtime::timeout(SILENCE_MAX, inbound.message()).await;
        let Some(Ok(Some(FromQuerier { what: Some(Up::Hello(hello)) }))) = first else { return };
        self.name = hello.name.chars().take(128).collect();
        self.slots = hello.slots.min(MAX_SLOTS);
        self.jobs.querier_came();
        tracing::info!(querier = self.name, slots = self.slots, "querier connected");
        let (unwanted, mut unwanted_ids) = mpsc::channel(MAX_SLOTS as usize);
        let mut stage = self.jobs.stage();
        loop {
            let next = self.next(&mut inbound, &unwanted, &mut unwanted_ids, &mut stage).await;
            if !self.handle(next).await {
                break;
            }
        }
        self.jobs.querier_left();
        tracing::info!(querier = self.name, lost = self.taken.len(), "querier disconnected");
        self.give_back().await;
    }

    async fn next(
        &self,
        inbound: &mut Streaming<FromQuerier>,
        unwanted: &mpsc::Sender<u64>,
        unwanted_ids: &mut mpsc::Receiver<u64>,
        stage: &mut watch::Receiver<Stage>,
    ) -> Next {
        let until_tick = self.next_tick.saturating_duration_since(self.clock.instant());
        let has_room = !self.drains && (self.taken.len() as u32) < self.slots;
        tokio::select! {
            message = inbound.message() => Next::Message(message.ok().flatten()),
            Some(id) = unwanted_ids.recv() => Next::Unwanted(id),
            job = self.jobs.next(unwanted), if has_room => Next::Job(job),
            _closed = stage.wait_for(|stage| *stage == Stage::Closed), if !self.drains => Next::Closing,
            () = runtime::sleep(until_tick) => Next::Tick,
        }
    }

    /// Does what has to be done; `false` when the link is at its end.
    async fn handle(&mut self, next: Next) -> bool {
        match next {
            Next::Message(Some(message)) => {
                self.heard = self.clock.instant();
                self.heed(message).await
            }
            Next::Message(None) => false,
            Next::Unwanted(id) => {
                self.taken.remove(&id).is_none() || self.send(Down::Cancel(firn::Cancel { id })).await
            }
            Next::Job(job) => self.hand_over(job).await,
            Next::Tick => {
                let now = self.clock.instant();
                self.next_tick = now + HEARTBEAT;
                let silence = now.saturating_duration_since(self.heard);
                silence < SILENCE_MAX && self.send(Down::Heartbeat(firn::Heartbeat {})).await
            }
            Next::Closing => {
                self.drains = true;
                let _told = self.send(Down::Draining(firn::Draining {})).await;
                !self.taken.is_empty()
            }
        }
    }

    /// Heeds what the querier says.
    async fn heed(&mut self, message: FromQuerier) -> bool {
        match message.what {
            Some(Up::Part(part)) => {
                if let Some(job) = self.taken.get(&part.id) {
                    // Whoever asked may be gone; then word of it is on its way.
                    let _gone = job.events.send(Event::Part(part)).await;
                }
            }
            Some(Up::Done(done)) => self.end(done).await,
            Some(Up::Draining(_)) => self.drains = true,
            Some(Up::Hello(_) | Up::Heartbeat(_)) | None => {}
        }
        !(self.drains && self.taken.is_empty())
    }

    async fn end(&mut self, mut done: firn::Done) {
        let Some(job) = self.taken.remove(&done.id) else { return };
        let event = match done.error.take() {
            Some(detail) if may_differ_elsewhere(&detail) && job.attempts < self.max_retries => {
                return self.retry(job, detail).await;
            }
            Some(detail) => Event::Failed(detail),
            None => {
                if let Some(stats) = done.query.as_mut().and_then(|query| query.stats.as_mut()) {
                    stats.queue_secs += job.waited.as_secs_f64();
                }
                Event::Done(done)
            }
        };
        let _gone = job.events.send(event).await;
        self.jobs.ended(job.id);
    }

    /// Another querier, or the same a little later, may have more luck.
    async fn retry(&self, mut job: Job, detail: ErrorDetail) {
        job.attempts += 1;
        let (id, attempt) = (job.id, job.attempts);
        if job.events.send(Event::Restarted).await.is_ok() {
            tracing::debug!(
                querier = self.name,
                id,
                attempt,
                error = detail.message,
                "query given to another querier"
            );
            self.jobs.give_back(job);
        } else {
            self.jobs.ended(id);
        }
    }

    async fn hand_over(&mut self, mut job: Job) -> bool {
        let now = self.clock.instant();
        let left = job.deadline.saturating_duration_since(now);
        job.waited = now.saturating_duration_since(job.since);
        let trace = job.trace.clone();
        let message = firn::Job {
            id: job.id,
            tenants: job.tenants.clone(),
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1),
            traceparent: trace.as_ref().map(|trace| trace.traceparent().to_string()).unwrap_or_default(),
            tracestate: trace.as_ref().map(|trace| trace.tracestate().to_string()).unwrap_or_default(),
            what: Some(job.what.clone()),
            min_table_version: job.table_version,
        };
        self.taken.insert(job.id, job);
        self.send(Down::Job(message)).await
    }

    /// Sends; `false` when the querier takes nothing any more.
    async fn send(&self, what: Down) -> bool {
        let sending = self.outbox.send(Ok(FromFrontend { what: Some(what) }));
        matches!(runtime::timeout(SILENCE_MAX, sending).await, Some(Ok(())))
    }

    /// The querier is gone: others shall have its jobs, as long as they are not lost with everyone.
    async fn give_back(self) {
        for (id, mut job) in self.taken {
            job.attempts += 1;
            if job.attempts > self.max_retries {
                let (n, name) = (job.attempts, &self.name);
                let message = format!(
                    "queriers went away or failed {n} times while they had the query, the last one was {name}"
                );
                let _gone = job.events.send(Event::Failed(ErrorDetail::unavailable(message))).await;
                self.jobs.ended(id);
            } else if job.events.send(Event::Restarted).await.is_ok() {
                self.jobs.give_back(job);
            } else {
                self.jobs.ended(id);
            }
        }
    }
}

/// Whether an error says nothing about the query or its data: what is answered with 5xx, but for what takes as long
/// or is as damaged anywhere else.
fn may_differ_elsewhere(detail: &ErrorDetail) -> bool {
    matches!(detail.kind(), Kind::Unavailable | Kind::Internal)
}
