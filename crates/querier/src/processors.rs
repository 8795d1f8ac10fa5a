//! Who computes: as many queries at a time as there are processors, each for a slice, and those that wait in turn by
//! tenant. So a tenant's short query waits for a slice of somebody's long one, however many of those there are.
//!
//! What cannot be divided into slices, such as a select that goes through a head, leaves one processor to the others as
//! long as there are others.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use promql::Pace;
use runtime::Clock;

/// How long one computes while others wait: a panel of a dashboard takes about as long.
pub(crate) const SLICE: Duration = Duration::from_millis(5);

/// The processors, and who waits for one.
#[derive(Debug)]
pub(crate) struct Processors {
    state: Mutex<State>,
    /// So that nobody locks only to see that nobody waits.
    n_waiting: AtomicUsize,
    slice: Duration,
    clock: Clock,
    /// Slices that ended because somebody else waited.
    handovers: Counter,
}

#[derive(Debug)]
struct State {
    n: usize,
    free: usize,
    /// By tenant, in the order in which they come next.
    waiting: VecDeque<(Arc<str>, VecDeque<Waiting>)>,
    /// How much that is not divided is computed for each tenant.
    whole: HashMap<Arc<str>, usize>,
    /// Who computed lately, and when.
    seen: HashMap<Arc<str>, Instant>,
}

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    grant: mpsc::SyncSender<()>,
}

/// What a processor is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// To be handed over at the end of each slice.
    Sliced,
    /// For as long as it takes.
    Whole,
}

/// For how long a tenant counts as one of several after it has computed.
const LATELY: Duration = Duration::from_secs(10);

/// A query that computes, on a thread of its own: it has a processor from when it is made until it is dropped.
#[derive(Debug)]
pub(crate) struct Slices {
    processors: Arc<Processors>,
    tenant: Arc<str>,
    kind: Kind,
    since: Mutex<Instant>,
}

impl State {
    /// Whether a tenant may have a processor for that, if one is free.
    fn allows(&self, tenant: &Arc<str>, kind: Kind) -> bool {
        let is_alone = self.n == 1 || self.seen.len() <= 1;
        kind == Kind::Sliced || is_alone || self.whole.get(tenant).copied().unwrap_or(0) + 1 < self.n
    }

    fn begin(&mut self, tenant: &Arc<str>, kind: Kind) {
        self.free -= 1;
        if kind == Kind::Whole {
            *self.whole.entry(Arc::clone(tenant)).or_default() += 1;
        }
    }

    fn end(&mut self, tenant: &Arc<str>, kind: Kind) {
        self.free += 1;
        if kind == Kind::Whole
            && let Some(whole) = self.whole.get_mut(tenant)
        {
            *whole -= 1;
            if *whole == 0 {
                self.whole.remove(tenant);
            }
        }
    }

    /// The next that may have a processor; its tenant is the last to have another.
    fn next(&mut self) -> Option<(Arc<str>, Waiting)> {
        let may = |(tenant, queue): &(Arc<str>, VecDeque<Waiting>)| {
            queue.front().is_some_and(|first| self.allows(tenant, first.kind))
        };
        let at = self.waiting.iter().position(may)?;
        let (tenant, mut queue) = self.waiting.remove(at)?;
        let next = queue.pop_front()?;
        if !queue.is_empty() {
            self.waiting.push_back((Arc::clone(&tenant), queue));
        }
        Some((tenant, next))
    }
}

impl Processors {
    /// `n` of them, at least one, each for a slice at a time.
    pub(crate) fn new(n: usize, slice: Duration, clock: Clock, handovers: Counter) -> Arc<Processors> {
        let n = n.max(1);
        let (waiting, whole, seen) = (VecDeque::new(), HashMap::new(), HashMap::new());
        let state = Mutex::new(State { n, free: n, waiting, whole, seen });
        Arc::new(Processors { state, n_waiting: AtomicUsize::new(0), slice, clock, handovers })
    }

    /// Waits for a processor. Not for async tasks: it would block their thread.
    pub(crate) fn enter(self: &Arc<Processors>, tenant: &Arc<str>) -> Slices {
        self.enter_for(tenant, Kind::Sliced)
    }

    fn enter_for(self: &Arc<Processors>, tenant: &Arc<str>, kind: Kind) -> Slices {
        self.acquire(tenant, kind);
        let since = Mutex::new(self.clock.instant());
        Slices { processors: Arc::clone(self), tenant: Arc::clone(tenant), kind, since }
    }

    fn acquire(&self, tenant: &Arc<str>, kind: Kind) {
        if let Some(granted) = self.queue(tenant, kind) {
            // An error would say that the queue is gone, and then nobody competes.
            let _granted = granted.recv();
        }
    }

    /// A place in the queue; `None` when a processor was free.
    fn queue(&self, tenant: &Arc<str>, kind: Kind) -> Option<mpsc::Receiver<()>> {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.seen.insert(Arc::clone(tenant), now);
        state.seen.retain(|_, seen| now.saturating_duration_since(*seen) < LATELY);
        if state.free > 0 && state.allows(tenant, kind) {
            state.begin(tenant, kind);
            return None;
        }
        let (grant, granted) = mpsc::sync_channel(1);
        let waiting = Waiting { kind, grant };
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        match state.waiting.iter_mut().find(|(waiting, _)| waiting == tenant) {
            Some((_, queue)) => queue.push_back(waiting),
            None => state.waiting.push_back((Arc::clone(tenant), VecDeque::from([waiting]))),
        }
        Some(granted)
    }

    /// Gives a processor back, and hands those that are free to the next tenants' next queries.
    fn release(&self, tenant: &Arc<str>, kind: Kind) {
        let mut state = self.state.lock();
        state.end(tenant, kind);
        while state.free > 0 {
            let Some((tenant, Waiting { kind, grant })) = state.next() else { return };
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
            // Whoever has gone away is passed over.
            if grant.send(()).is_ok() {
                state.begin(&tenant, kind);
            }
        }
    }
}

/// A future that has a processor whenever it is polled, and none while it waits for others. To be waited for on a thread
/// of its own.
pub(crate) struct Paced<F> {
    future: Pin<Box<F>>,
    processors: Arc<Processors>,
    tenant: Arc<str>,
}

impl<F: Future> Paced<F> {
    pub(crate) fn new(future: F, processors: &Arc<Processors>, tenant: &Arc<str>) -> Paced<F> {
        Paced { future: Box::pin(future), processors: Arc::clone(processors), tenant: Arc::clone(tenant) }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _whole = self.processors.enter_for(&self.tenant, Kind::Whole);
        self.future.as_mut().poll(context)
    }
}

impl Pace for Slices {
    fn tick(&self) {
        if self.processors.n_waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut since = self.since.lock();
        if self.processors.clock.instant().saturating_duration_since(*since) < self.processors.slice {
            return;
        }
        self.processors.handovers.inc();
        self.processors.release(&self.tenant, self.kind);
        self.processors.acquire(&self.tenant, self.kind);
        *since = self.processors.clock.instant();
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.processors.release(&self.tenant, self.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn of_one(slice: Duration) -> (Arc<Processors>, Counter) {
        let handovers = Counter::default();
        (Processors::new(1, slice, Clock::system(), handovers.clone()), handovers)
    }

    #[test]
    fn tenants_take_turns_whoever_has_more_queries() {
        let (processors, _) = of_one(SLICE);
        let (busy, quiet) = (tenant("busy"), tenant("quiet"));
        let queue = |tenant| processors.queue(tenant, Kind::Sliced);
        assert!(queue(&busy).is_none(), "one is free");
        let mut waiting: Vec<_> = (0..3).map(|_| queue(&busy).unwrap()).collect();
        let other = queue(&quiet).unwrap();
        processors.release(&busy, Kind::Sliced);
        assert!(waiting[0].try_recv().is_ok(), "who came first is first");
        assert!(other.try_recv().is_err());
        processors.release(&busy, Kind::Sliced);
        assert!(other.try_recv().is_ok(), "the other tenant comes before the second query of the first");
        // Whoever has gone away is passed over.
        drop(waiting.remove(1));
        processors.release(&quiet, Kind::Sliced);
        assert!(waiting[1].try_recv().is_ok());
        processors.release(&busy, Kind::Sliced);
        assert!(queue(&quiet).is_none(), "it is free again");
    }

    #[test]
    fn what_is_not_divided_leaves_a_processor_to_the_others_if_there_are_any() {
        let processors = Processors::new(2, SLICE, Clock::system(), Counter::default());
        let (busy, quiet) = (tenant("busy"), tenant("quiet"));
        let first = processors.enter_for(&busy, Kind::Whole);
        let second = processors.enter_for(&busy, Kind::Whole);
        drop(second);
        drop(processors.enter(&quiet));
        let waits = processors.queue(&busy, Kind::Whole).unwrap();
        drop(processors.enter_for(&quiet, Kind::Whole));
        assert!(waits.try_recv().is_err(), "it waits although a processor is free");
        drop(first);
        assert!(waits.try_recv().is_ok(), "it goes on when the tenant's other one has ended");
        assert_eq!(processors.state.lock().free, 1);
    }

    #[test]
    fn a_long_query_hands_over_at_the_end_of_a_slice_and_goes_on_afterwards() {
        for (slice, expected) in [(Duration::ZERO, 1), (Duration::from_secs(3600), 0)] {
            let (processors, handovers) = of_one(slice);
            let long = processors.enter(&tenant("busy"));
            long.tick();
            let short = std::thread::spawn({
                let processors = Arc::clone(&processors);
                move || drop(processors.enter(&tenant("quiet")))
            });
            while processors.n_waiting.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            long.tick();
            assert_eq!(handovers.get(), expected, "slices of {slice:?}");
            assert_eq!(processors.state.lock().free, 0, "the long one has it again, or still");
            drop(long);
            short.join().unwrap();
            assert_eq!(processors.state.lock().free, 1);
        }
    }
}
