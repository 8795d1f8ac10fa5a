use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use limits::Fair;
use parking_lot::Mutex;
use runtime::TraceContext;
use tokio::sync::{Notify, mpsc, watch};

use crate::generated::firn;
use crate::generated::firn::{ErrorDetail, Part};
use crate::metrics::QueueMetrics;

/// A query on its way to a querier.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) tenants: String,
    pub(super) what: firn::job::What,
    /// The version of the tables that is read at least.
    pub(super) table_version: Option<u64>,
    /// When it came.
    pub(super) since: Instant,
    /// How long it had waited when a querier took it.
    pub(super) waited: Duration,
    pub(super) deadline: Instant,
    pub(super) trace: Option<TraceContext>,
    /// How often a querier took it and went away, or failed.
    pub(super) attempts: u32,
    pub(super) events: mpsc::Sender<Event>,
}

/// What becomes of a job.
#[derive(Debug)]
pub(super) enum Event {
    /// It is begun anew: what came so far does not count.
    Restarted,
    Part(Part),
    Done(firn::Done),
    Failed(ErrorDetail),
}

/// All jobs, those that wait and those that queriers have.
pub(super) struct Jobs {
    state: Mutex<State>,
    /// Something was put into the queue.
    news: Notify,
    /// Something has ended.
    ends: Notify,
    stage: watch::Sender<Stage>,
    pub(super) metrics: QueueMetrics,
}

struct State {
    waiting: Fair<Job>,
    /// By id, the link that has the job.
    taken: HashMap<u64, mpsc::Sender<u64>>,
    n_queriers: usize,
    next_id: u64,
}

/// How far the process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// No more queries come in; those that are here go on.
    Draining,
    /// Links end.
    Closed,
}

/// Why a job cannot wait.
pub(super) enum NoPlace {
    Full,
    Stopping,
}

/// Takes its job out of the queue, or from its querier, when whoever asked is gone.
pub(super) struct Ticket {
    jobs: Arc<Jobs>,
    tenants: String,
    pub(super) id: u64,
}

impl Jobs {
    pub(super) fn new(max_waiting_per_tenant: usize) -> Arc<Jobs> {
        let waiting = Fair::new(max_waiting_per_tenant);
        let state = State { waiting, taken: HashMap::new(), n_queriers: 0, next_id: 0 };
        Arc::new(Jobs {
            state: Mutex::new(state),
            news: Notify::new(),
            ends: Notify::new(),
            stage: watch::channel(Stage::Open).0,
            metrics: QueueMetrics::default(),
        })
    }

    /// Puts the job that `make` makes of its number into the queue.
    pub(super) fn enqueue(
        self: &Arc<Jobs>,
        tenants: &str,
        make: impl FnOnce(u64) -> Job,
    ) -> Result<Ticket, NoPlace> {
        if *self.stage.borrow() != Stage::Open {
            return Err(NoPlace::Stopping);
        }
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        if !state.waiting.push(tenants, make(id)) {
            self.metrics.refused.inc();
            return Err(NoPlace::Full);
        }
        self.show(&state);
        drop(state);
        self.news.notify_one();
        Ok(Ticket { jobs: Arc::clone(self), tenants: tenants.to_string(), id })
    }

    /// Waits for the next job; from now on `link` hears when nobody wants it any more.
    pub(super) async fn next(&self, link: &mpsc::Sender<u64>) -> Job {
        loop {
            let news = self.news.notified();
            if let Some(job) = self.pop(link) {
                return job;
            }
            news.await;
        }
    }

    fn pop(&self, link: &mpsc::Sender<u64>) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            let job = state.waiting.pop()?;
            // One that was given back may have lost whoever asked in the meantime.
            if !job.events.is_closed() {
                state.taken.insert(job.id, link.clone());
                self.show(&state);
                return Some(job);
            }
        }
    }

    /// A querier took the job and went away, or failed: somebody else shall have it.
    pub(super) fn give_back(&self, job: Job) {
        let mut state = self.state.lock();
        state.taken.remove(&job.id);
        let tenants = job.tenants.clone();
        state.waiting.put_back(&tenants, job);
        self.show(&state);
        drop(state);
        self.metrics.retries.inc();
        self.news.notify_one();
    }

    /// The querier is through with the job.
    pub(super) fn ended(&self, id: u64) {
        let mut state = self.state.lock();
        state.taken.remove(&id);
        self.show(&state);
        drop(state);
        self.ends.notify_waiters();
    }

    pub(super) fn n_queriers(&self) -> usize {
        self.state.lock().n_queriers
    }

    pub(super) fn querier_came(&self) {
        let mut state = self.state.lock();
        state.n_queriers += 1;
        self.show(&state);
    }

    pub(super) fn querier_left(&self) {
        let mut state = self.state.lock();
        state.n_queriers -= 1;
        self.show(&state);
    }

    /// Brings the gauges up to date.
    fn show(&self, state: &State) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.waiting.set(gauge(state.waiting.len()));
        self.metrics.taken.set(gauge(state.taken.len()));
        self.metrics.queriers.set(gauge(state.n_queriers));
    }

    /// Whether the job waits and there is nobody who could take it.
    pub(super) fn is_hopeless(&self, id: u64) -> bool {
        let state = self.state.lock();
        state.n_queriers == 0 && !state.taken.contains_key(&id)
    }

    /// Whether a querier has the job.
    pub(super) fn is_taken(&self, id: u64) -> bool {
        self.state.lock().taken.contains_key(&id)
    }

    /// How far the process is on its way out.
    pub(super) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Takes no more queries, waits until those that are here have ended, and lets the links go.
    pub(super) async fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
        loop {
            let ends = self.ends.notified();
            let is_idle = {
                let state = self.state.lock();
                state.waiting.is_empty() && state.taken.is_empty()
            };
            if is_idle {
                break;
            }
            // Looks again by itself: an end between the two lines above would be missed otherwise.
            let _again = runtime::timeout(Duration::from_millis(50), ends).await;
        }
        self.stage.send_replace(Stage::Closed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.jobs.state.lock();
        if state.waiting.remove(&self.tenants, |job| job.id == self.id).is_none()
            && let Some(link) = state.taken.remove(&self.id)
        {
            // A link whose inbox is full is about to be given up; the job's own deadline ends it then.
            let _told = link.try_send(self.id);
        }
        self.jobs.show(&state);
        drop(state);
        self.jobs.ends.notify_waiters();
    }
}
