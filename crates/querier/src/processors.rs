//! Who computes: as many queries at a time as there are processors, each for a slice, and those that wait in turn by
//! tenant. Queries that have computed for a short time come before those that have for a long one, but for one turn in
//! four. So a panel of a dashboard waits for a slice of somebody's long query, however many of those there are.
//!
//! What cannot be divided into slices, such as a step of a select, keeps its processor for as long as it takes. Of a
//! tenant it leaves one to the others as long as there are others; and once it has taken longer than a slice, what waits
//! goes on beside it as if one processor were free, however many there are of its kind.

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

/// How long one computes while others wait: about half of what a panel of a dashboard takes.
pub(crate) const SLICE: Duration = Duration::from_millis(2);
/// Who has computed for longer than that has a long query: a hundred times what a panel takes.
const SHORT: Duration = Duration::from_millis(200);
/// One grant in so many goes to a long query first, so that it comes to its end.
const GRANTS_PER_LONG: u64 = 4;
/// For how long a tenant counts as one of several after it has computed.
const LATELY: Duration = Duration::from_secs(10);

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
    /// Who computes in slices.
    n_sliced: usize,
    /// Who computes what is not divided, and since when.
    wholes: Vec<(Arc<str>, Instant)>,
    short: Queue,
    long: Queue,
    n_grants: u64,
    /// Who computed lately, and when.
    seen: HashMap<Arc<str>, Instant>,
}

/// Those that wait, by tenant, in the order in which they come next.
#[derive(Debug, Default)]
struct Queue(VecDeque<(Arc<str>, VecDeque<Waiting>)>);

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

/// A query that computes, on a thread of its own: it has a processor from when it is made until it is dropped.
#[derive(Debug)]
pub(crate) struct Slices {
    processors: Arc<Processors>,
    tenant: Arc<str>,
    kind: Kind,
    turn: Mutex<Turn>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    since: Instant,
    /// What the query had computed before.
    spent: Duration,
}

impl Queue {
    fn push(&mut self, tenant: &Arc<str>, waiting: Waiting) {
        match self.0.iter_mut().find(|(other, _)| other == tenant) {
            Some((_, queue)) => queue.push_back(waiting),
            None => self.0.push_back((Arc::clone(tenant), VecDeque::from([waiting]))),
        }
    }

    /// The first that may have a processor; its tenant is the last to have another.
    fn pop(&mut self, may: impl Fn(&Arc<str>, Kind) -> bool) -> Option<(Arc<str>, Waiting)> {
        let is_next = |(tenant, queue): &(Arc<str>, VecDeque<Waiting>)| {
            queue.front().is_some_and(|first| may(tenant, first.kind))
        };
        let at = self.0.iter().position(is_next)?;
        let (tenant, mut queue) = self.0.remove(at)?;
        let next = queue.pop_front()?;
        if !queue.is_empty() {
            self.0.push_back((Arc::clone(&tenant), queue));
        }
        Some((tenant, next))
    }
}

impl State {
    /// Whether one more may compute. What has overrun its slice counts for all processors but one.
    fn has_room(&self, now: Instant, slice: Duration) -> bool {
        let is_over = |(_, since): &&(Arc<str>, Instant)| now.saturating_duration_since(*since) >= slice;
        let n_over = self.wholes.iter().filter(is_over).count();
        let n_within = self.n_sliced + self.wholes.len() - n_over;
        n_within + n_over.min(self.n - 1) < self.n
    }

    fn begin(&mut self, tenant: &Arc<str>, kind: Kind, now: Instant) {
        match kind {
            Kind::Sliced => self.n_sliced += 1,
            Kind::Whole => self.wholes.push((Arc::clone(tenant), now)),
        }
    }

    fn end(&mut self, tenant: &Arc<str>, Turn { since, .. }: Turn, kind: Kind) {
        match kind {
            Kind::Sliced => self.n_sliced -= 1,
            Kind::Whole => {
                // Its own, or one of its tenant that began close to it.
                let own = |(other, began): &(Arc<str>, Instant)| other == tenant && *began <= since;
                if let Some(at) = self.wholes.iter().rposition(own) {
                    self.wholes.swap_remove(at);
                }
            }
        }
    }

    /// The next that may have a processor, if there is one.
    fn next(&mut self, now: Instant, slice: Duration) -> Option<(Arc<str>, Waiting)> {
        if !self.has_room(now, slice) {
            return None;
        }
        let State { n, wholes, short, long, seen, .. } = self;
        let is_alone = *n == 1 || seen.len() <= 1;
        let allows = |tenant: &Arc<str>, kind| {
            let own = wholes.iter().filter(|(other, _)| other == tenant).count();
            kind == Kind::Sliced || is_alone || own + 1 < *n
        };
        let next = match self.n_grants % GRANTS_PER_LONG {
            0 => long.pop(allows).or_else(|| short.pop(allows)),
            _ => short.pop(allows).or_else(|| long.pop(allows)),
        };
        self.n_grants += u64::from(next.is_some());
        next
    }
}

impl Processors {
    /// `n` of them, at least one, each for a slice at a time.
    pub(crate) fn new(n: usize, slice: Duration, clock: Clock, handovers: Counter) -> Arc<Processors> {
        let state = State {
            n: n.max(1),
            n_sliced: 0,
            wholes: Vec::new(),
            short: Queue::default(),
            long: Queue::default(),
            // The first is none of those that go to long queries first.
            n_grants: 1,
            seen: HashMap::new(),
        };
        Arc::new(Processors {
            state: Mutex::new(state),
            n_waiting: AtomicUsize::new(0),
            slice,
            clock,
            handovers,
        })
    }

    /// Waits for a processor. Not for async tasks: it would block their thread.
    pub(crate) fn enter(self: &Arc<Processors>, tenant: &Arc<str>) -> Slices {
        self.enter_for(tenant, Kind::Sliced, Duration::ZERO)
    }

    fn enter_for(self: &Arc<Processors>, tenant: &Arc<str>, kind: Kind, spent: Duration) -> Slices {
        let granted = self.queue(tenant, kind, spent);
        self.wait(&granted);
        let turn = Mutex::new(Turn { since: self.clock.instant(), spent });
        Slices { processors: Arc::clone(self), tenant: Arc::clone(tenant), kind, turn }
    }

    /// A place in the queue, whose turn may come at once.
    fn queue(&self, tenant: &Arc<str>, kind: Kind, spent: Duration) -> mpsc::Receiver<()> {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.seen.insert(Arc::clone(tenant), now);
        state.seen.retain(|_, seen| now.saturating_duration_since(*seen) < LATELY);
        let granted = self.put(&mut state, tenant, kind, spent);
        self.grant(&mut state, now);
        granted
    }

    fn put(&self, state: &mut State, tenant: &Arc<str>, kind: Kind, spent: Duration) -> mpsc::Receiver<()> {
        let (grant, granted) = mpsc::sync_channel(1);
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        let queue = if spent < SHORT { &mut state.short } else { &mut state.long };
        queue.push(tenant, Waiting { kind, grant });
        granted
    }

    /// Gives processors that are free to the next tenants' next queries.
    fn grant(&self, state: &mut State, now: Instant) {
        while let Some((tenant, Waiting { kind, grant })) = state.next(now, self.slice) {
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
            // Whoever has gone away is passed over.
            if grant.send(()).is_ok() {
                state.begin(&tenant, kind, now);
            }
        }
    }

    /// Waits for a turn. What is not divided may overrun its slice meanwhile, and nobody says so: hence it looks.
    fn wait(&self, granted: &mpsc::Receiver<()>) {
        while granted.recv_timeout(self.slice.max(SLICE)) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.grant(&mut self.state.lock(), self.clock.instant());
        }
    }

    /// Gives a processor back.
    fn release(&self, tenant: &Arc<str>, turn: Turn, kind: Kind) {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.end(tenant, turn, kind);
        self.grant(&mut state, now);
    }
}

impl Turn {
    /// What the query has computed until now.
    fn spent_at(self, now: Instant) -> Duration {
        self.spent + now.saturating_duration_since(self.since)
    }
}

/// A future that has a processor whenever it is polled, and none while it waits for others. To be waited for on a thread
/// of its own.
pub(crate) struct Paced<F> {
    future: Pin<Box<F>>,
    processors: Arc<Processors>,
    tenant: Arc<str>,
    spent: Duration,
}

impl<F: Future> Paced<F> {
    pub(crate) fn new(future: F, processors: &Arc<Processors>, tenant: &Arc<str>) -> Paced<F> {
        let (processors, tenant) = (Arc::clone(processors), Arc::clone(tenant));
        Paced { future: Box::pin(future), processors, tenant, spent: Duration::ZERO }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let whole = self.processors.enter_for(&self.tenant, Kind::Whole, self.spent);
        let polled = self.future.as_mut().poll(context);
        self.spent = whole.spent();
        polled
    }
}

impl Slices {
    fn spent(&self) -> Duration {
        self.turn.lock().spent_at(self.processors.clock.instant())
    }
}

impl Pace for Slices {
    fn tick(&self) {
        let processors = &self.processors;
        if processors.n_waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut turn = self.turn.lock();
        let now = processors.clock.instant();
        if now.saturating_duration_since(turn.since) < processors.slice {
            return;
        }
        let spent = turn.spent_at(now);
        let granted = {
            let mut state = processors.state.lock();
            // It waits before it gives its processor back: where nobody else comes before it, it goes on.
            let granted = processors.put(&mut state, &self.tenant, self.kind, spent);
            state.end(&self.tenant, *turn, self.kind);
            processors.grant(&mut state, now);
            granted
        };
        if granted.try_recv().is_err() {
            processors.handovers.inc();
            processors.wait(&granted);
        }
        *turn = Turn { since: processors.clock.instant(), spent };
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.processors.release(&self.tenant, *self.turn.lock(), self.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn of(n: usize, slice: Duration) -> Arc<Processors> {
        Processors::new(n, slice, Clock::system(), Counter::default())
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// Somebody who waits, and is told when a processor is there.
    struct Waits<'p>(&'p Processors, Arc<str>, mpsc::Receiver<()>);

    impl Waits<'_> {
        fn has_come(&self) -> bool {
            self.2.try_recv().is_ok()
        }

        fn goes(self) {
            let turn = Turn { since: Instant::now(), spent: Duration::ZERO };
            self.0.release(&self.1, turn, Kind::Sliced);
        }
    }

    fn wait<'p>(processors: &'p Processors, name: &str, spent: Duration) -> Waits<'p> {
        Waits(processors, tenant(name), processors.queue(&tenant(name), Kind::Sliced, spent))
    }

    #[test]
    fn tenants_take_turns_whoever_has_more_queries() {
        let processors = of(1, HOUR);
        let wait = |name| wait(&processors, name, Duration::ZERO);
        let running = wait("busy");
        assert!(running.has_come(), "one is free");
        let mut waiting: Vec<_> = (0..3).map(|_| wait("busy")).collect();
        let other = wait("quiet");
        running.goes();
        assert!(waiting[0].has_come() && !other.has_come(), "who came first is first");
        waiting.remove(0).goes();
        assert!(other.has_come(), "the other tenant comes before the second query of the first");
        // Whoever has gone away is passed over.
        drop(waiting.remove(0));
        other.goes();
        assert!(waiting[0].has_come());
        waiting.remove(0).goes();
        assert!(wait("quiet").has_come(), "it is free again");
    }

    #[test]
    fn short_queries_come_before_long_ones_which_have_one_turn_in_four() {
        let processors = of(1, HOUR);
        let mut running = wait(&processors, "a", Duration::ZERO);
        assert!(running.has_come());
        let mut long: Vec<_> = (0..4).map(|_| wait(&processors, "a", SHORT)).collect();
        let mut short: Vec<_> = (0..12).map(|_| wait(&processors, "b", Duration::ZERO)).collect();
        let mut order = String::new();
        for _ in 0..8 {
            running.goes();
            let is_long = long[0].has_come();
            order.push(if is_long { 'l' } else { 's' });
            running = if is_long { long.remove(0) } else { short.remove(0) };
            assert!(is_long || running.has_come());
        }
        assert_eq!(order.matches('l').count(), 2, "{order}");
    }

    #[test]
    fn what_is_not_divided_leaves_a_processor_to_the_others_if_there_are_any() {
        let processors = of(2, HOUR);
        let (busy, quiet) = (tenant("busy"), tenant("quiet"));
        let whole = |tenant| processors.enter_for(tenant, Kind::Whole, Duration::ZERO);
        let first = whole(&busy);
        drop(whole(&busy));
        drop(processors.enter(&quiet));
        let waits = processors.queue(&busy, Kind::Whole, Duration::ZERO);
        drop(whole(&quiet));
        assert!(waits.try_recv().is_err(), "it waits although a processor is free");
        drop(first);
        assert!(waits.try_recv().is_ok(), "it goes on when the tenant's other one has ended");
        assert_eq!(processors.state.lock().wholes.len(), 1);
    }

    #[test]
    fn however_many_overrun_their_slices_one_goes_on_beside_them() {
        let processors = of(2, Duration::ZERO);
        let whole = |name| processors.enter_for(&tenant(name), Kind::Whole, Duration::ZERO);
        let _overrun = ["a", "b", "c"].map(whole);
        let beside = processors.enter(&tenant("d"));
        let waits = wait(&processors, "d", Duration::ZERO);
        assert!(!waits.has_come(), "but one at a time");
        drop(beside);
        assert!(waits.has_come());
    }

    #[test]
    fn a_long_query_hands_over_at_the_end_of_a_slice_and_goes_on_afterwards() {
        for (slice, expected) in [(Duration::ZERO, 1), (HOUR, 0)] {
            let processors = of(1, slice);
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
            assert_eq!(processors.handovers.get(), expected, "slices of {slice:?}");
            assert_eq!(processors.state.lock().n_sliced, 1, "the long one has it again, or still");
            drop(long);
            short.join().unwrap();
            assert_eq!(processors.state.lock().n_sliced, 0);
        }
    }
}
