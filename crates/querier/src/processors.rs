//! Who computes: as many queries at a time as there are processors, each for a slice, and those that wait in turn by
//! tenant. So a tenant's short query waits for a slice of somebody's long one, however many of those there are.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::sync::atomic::{AtomicUsize, Ordering};
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
    free: usize,
    /// By tenant, in the order in which they come next.
    waiting: VecDeque<(Arc<str>, VecDeque<mpsc::SyncSender<()>>)>,
}

/// A query that computes, on a thread of its own: it has a processor from when it is made until it is dropped.
#[derive(Debug)]
pub(crate) struct Slices {
    processors: Arc<Processors>,
    tenant: Arc<str>,
    since: Mutex<Instant>,
}

impl Processors {
    /// `n` of them, at least one, each for a slice at a time.
    pub(crate) fn new(n: usize, slice: Duration, clock: Clock, handovers: Counter) -> Arc<Processors> {
        let state = Mutex::new(State { free: n.max(1), waiting: VecDeque::new() });
        Arc::new(Processors { state, n_waiting: AtomicUsize::new(0), slice, clock, handovers })
    }

    /// Waits for a processor. Not for async tasks: it would block their thread.
    pub(crate) fn enter(self: &Arc<Processors>, tenant: &Arc<str>) -> Slices {
        self.acquire(tenant);
        let since = Mutex::new(self.clock.instant());
        Slices { processors: Arc::clone(self), tenant: Arc::clone(tenant), since }
    }

    fn acquire(&self, tenant: &Arc<str>) {
        if let Some(granted) = self.queue(tenant) {
            // An error would say that the queue is gone, and then nobody competes.
            let _granted = granted.recv();
        }
    }

    /// A place in the queue; `None` when a processor was free.
    fn queue(&self, tenant: &Arc<str>) -> Option<mpsc::Receiver<()>> {
        let mut state = self.state.lock();
        if state.free > 0 {
            state.free -= 1;
            return None;
        }
        let (grant, granted) = mpsc::sync_channel(1);
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        match state.waiting.iter_mut().find(|(waiting, _)| waiting == tenant) {
            Some((_, queue)) => queue.push_back(grant),
            None => state.waiting.push_back((Arc::clone(tenant), VecDeque::from([grant]))),
        }
        Some(granted)
    }

    /// Hands a processor to the next tenant's next query.
    fn release(&self) {
        let mut state = self.state.lock();
        while let Some((tenant, mut queue)) = state.waiting.pop_front() {
            let next = queue.pop_front();
            if !queue.is_empty() {
                state.waiting.push_back((tenant, queue));
            }
            if let Some(grant) = next {
                self.n_waiting.fetch_sub(1, Ordering::Relaxed);
                if grant.send(()).is_ok() {
                    return;
                }
            }
        }
        state.free += 1;
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
        Paced {
            future: Box::pin(future),
            processors: Arc::clone(processors),
            tenant: Arc::clone(tenant),
        }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _slice = self.processors.enter(&self.tenant);
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
        self.processors.release();
        self.processors.acquire(&self.tenant);
        *since = self.processors.clock.instant();
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.processors.release();
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
        assert!(processors.queue(&busy).is_none(), "one is free");
        let mut waiting: Vec<_> = (0..3).map(|_| processors.queue(&busy).unwrap()).collect();
        let other = processors.queue(&quiet).unwrap();
        processors.release();
        assert!(waiting[0].try_recv().is_ok(), "who came first is first");
        assert!(other.try_recv().is_err());
        processors.release();
        assert!(other.try_recv().is_ok(), "the other tenant comes before the second query of the first");
        // Whoever has gone away is passed over.
        drop(waiting.remove(1));
        processors.release();
        assert!(waiting[1].try_recv().is_ok());
        processors.release();
        assert!(processors.queue(&quiet).is_none(), "it is free again");
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
