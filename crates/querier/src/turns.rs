//! Who is evaluated next: a bounded number of queries at once, of each tenant and of all together, the tenants in turn.
//!
//! While several tenants have queries running, none takes more turns than it leaves: so there is one for whoever comes,
//! however many queries of how many tenants take long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use limits::Fair;
use model::TenantId;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use runtime::Clock;
use tokio::sync::oneshot;
use wire::QueryError;

/// Lets queries in.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    max_waiting: usize,
    clock: Clock,
    state: Mutex<State>,
    metrics: TurnMetrics,
}

#[derive(Debug)]
struct State {
    n_running: usize,
    /// Running queries of each tenant that has any.
    running: HashMap<TenantId, u32>,
    waiting: Fair<Waiting>,
    next_id: u64,
}

/// A query that waits, with its tenants and how many queries each may have running, 0 for any number.
#[derive(Debug)]
struct Waiting {
    id: u64,
    tenants: Vec<(TenantId, u32)>,
    call: oneshot::Sender<Turn>,
}

/// A query's turn; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    tenants: Vec<(TenantId, u32)>,
}

/// Takes its query out of the queue when whoever asked is gone.
struct Ticket<'a> {
    turns: &'a Turns,
    owner: String,
    id: u64,
}

#[derive(Debug)]
struct TurnMetrics {
    waiting: Gauge,
    refused: Counter,
    waited: Histogram,
}

impl Turns {
    /// At most `limit` queries at once, and at most `max_waiting` of one tenant waiting.
    pub(crate) fn new(limit: usize, max_waiting: usize, clock: Clock, registry: &mut Registry) -> Turns {
        let state =
            State { n_running: 0, running: HashMap::new(), waiting: Fair::new(max_waiting), next_id: 0 };
        let metrics = TurnMetrics {
            waiting: Gauge::default(),
            refused: Counter::default(),
            waited: Histogram::new([0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0]),
        };
        let registry = registry.sub_registry_with_prefix("querier");
        registry.register("queue_length", "Queries that wait for their turn", metrics.waiting.clone());
        let help = "Queries refused since too many of their tenant were waiting";
        registry.register("queue_refusals", help, metrics.refused.clone());
        registry.register("queue_seconds", "How long queries waited for their turn", metrics.waited.clone());
        Turns { inner: Arc::new(Inner { limit, max_waiting, clock, state: Mutex::new(state), metrics }) }
    }

    /// Waits for a turn of all these tenants, each with its own bound. Says how long that took. The queries of one
    /// owner come in order, owners in turn; one that has as many running as it may is passed over until it has fewer.
    pub(crate) async fn take(&self, tenants: Vec<(TenantId, u32)>) -> Result<(Turn, Duration), QueryError> {
        let since = self.inner.clock.instant();
        let (ticket, called) = self.enqueue(tenants)?;
        self.call_next();
        let turn = called.await.map_err(|_| QueryError::Internal("a turn was lost".to_string()))?;
        drop(ticket);
        let waited = self.waited(since);
        self.inner.metrics.waited.observe(waited.as_secs_f64());
        Ok((turn, waited))
    }

    fn enqueue(
        &self,
        tenants: Vec<(TenantId, u32)>,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Turn>), QueryError> {
        let names: Vec<&str> = tenants.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let owner = names.join("|");
        let (call, called) = oneshot::channel();
        let mut state = self.inner.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        // Who need not wait is not refused, however few may wait.
        let is_free = state.n_running < self.inner.limit && state.waiting.is_empty();
        let waiting = Waiting { id, tenants, call };
        let may_run = || {
            let n_free = self.inner.limit - state.n_running;
            may_run(&state.running, state.n_running, n_free, &waiting.tenants)
        };
        if is_free && may_run() {
            state.waiting.put_back(&owner, waiting);
        } else if !state.waiting.push(&owner, waiting) {
            self.inner.metrics.refused.inc();
            let limit = self.inner.max_waiting;
            return Err(QueryError::TooManyRequests(format!(
                "too many outstanding requests: {limit} queries of the tenant are waiting \
                 (query_frontend.max_outstanding_requests_per_tenant)"
            )));
        }
        self.show(&state);
        Ok((Ticket { turns: self, owner, id }, called))
    }

    /// Gives turns to those who may have one.
    fn call_next(&self) {
        while let Some((call, turn)) = self.next() {
            // Whoever is gone meanwhile drops its turn, and the next one is called then.
            let _gone = call.send(turn);
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut state = self.inner.state.lock();
        if state.n_running >= self.inner.limit {
            return None;
        }
        let State { n_running, running, waiting, .. } = &mut *state;
        let n_free = self.inner.limit - *n_running;
        let Waiting { tenants, call, .. } =
            waiting.pop_where(|next| may_run(running, *n_running, n_free, &next.tenants))?;
        state.n_running += 1;
        for (tenant, _) in &tenants {
            *state.running.entry(tenant.clone()).or_default() += 1;
        }
        self.show(&state);
        Some((call, Turn { turns: self.clone(), tenants }))
    }

    fn release(&self, tenants: &[(TenantId, u32)]) {
        let mut state = self.inner.state.lock();
        state.n_running -= 1;
        for (tenant, _) in tenants {
            if let Some(n) = state.running.get_mut(tenant) {
                *n -= 1;
                if *n == 0 {
                    state.running.remove(tenant);
                }
            }
        }
    }

    fn waited(&self, since: Instant) -> Duration {
        self.inner.clock.instant().saturating_duration_since(since)
    }

    fn show(&self, state: &State) {
        self.inner.metrics.waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
    }
}

/// Whether each of the tenants may have one more query running.
fn may_run(
    running: &HashMap<TenantId, u32>,
    n_running: usize,
    n_free: usize,
    tenants: &[(TenantId, u32)],
) -> bool {
    let has_room = |(tenant, limit): &(TenantId, u32)| {
        let own = running.get(tenant).copied().unwrap_or(0);
        let is_alone = n_running == own as usize;
        (*limit == 0 || own < *limit) && (is_alone || (own as usize) < n_free)
    };
    tenants.iter().all(has_room)
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.release(&self.tenants);
        self.turns.call_next();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.inner.state.lock();
        let _called = state.waiting.remove(&self.owner, |waiting| waiting.id == self.id);
        self.turns.show(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn turns(limit: usize, max_waiting: usize) -> Turns {
        Turns::new(limit, max_waiting, Clock::system(), &mut Registry::default())
    }

    fn of(tenant: &str, limit: u32) -> Vec<(TenantId, u32)> {
        vec![(TenantId::new(tenant).unwrap(), limit)]
    }

    fn now(turns: &Turns, tenant: &str, limit: u32) -> Option<Turn> {
        turns.take(of(tenant, limit)).now_or_never().map(|taken| taken.unwrap().0)
    }

    #[test]
    fn a_tenant_waits_for_itself_and_not_for_others() {
        let turns = turns(2, 10);
        let first = now(&turns, "a", 1).unwrap();
        assert!(now(&turns, "a", 1).is_none());
        let _other = now(&turns, "b", 1).unwrap();
        drop(first);
        let _next = now(&turns, "a", 1).unwrap();
        assert!(now(&turns, "c", 0).is_none(), "all turns are taken");
    }

    #[test]
    fn no_tenant_takes_more_turns_than_it_leaves_unless_it_is_alone() {
        let turns = turns(8, 10);
        let take = |tenant| std::iter::from_fn(|| now(&turns, tenant, 0)).collect::<Vec<Turn>>();
        let mut first = take("a");
        assert_eq!(first.len(), 8);
        first.truncate(6);
        let (second, third) = (take("b"), take("c"));
        assert_eq!((second.len(), third.len()), (1, 1), "two are free");
        drop(first);
        assert_eq!(take("a").len(), 3, "and three stay free");
    }

    #[tokio::test]
    async fn tenants_take_turns_however_many_queries_one_of_them_has() {
        let turns = turns(1, 10);
        let running = now(&turns, "a", 0).unwrap();
        let mut busy: Vec<_> = (0..3).map(|_| Box::pin(turns.take(of("a", 0)))).collect();
        for waiting in &mut busy {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        let mut other = Box::pin(turns.take(of("b", 0)));
        assert!(other.as_mut().now_or_never().is_none());
        drop(running);
        let (first, _) = busy.remove(0).await.unwrap();
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        let (second, _) = other.now_or_never().expect("it is the other tenant's turn").unwrap();
        assert!(busy[0].as_mut().now_or_never().is_none());
        drop(second);
        assert!(busy[0].as_mut().now_or_never().is_some());
    }

    #[test]
    fn too_many_that_wait_are_refused_by_name_and_who_leaves_makes_room() {
        let turns = turns(1, 1);
        let running = now(&turns, "a", 0).unwrap();
        let mut waiting = Box::pin(turns.take(of("a", 0)));
        assert!(waiting.as_mut().now_or_never().is_none());
        let refused = turns.take(of("a", 0)).now_or_never().unwrap().unwrap_err().to_string();
        assert!(refused.contains("query_frontend.max_outstanding_requests_per_tenant"), "{refused}");
        assert!(turns.take(of("b", 0)).now_or_never().is_none(), "another tenant may wait");
        drop(waiting);
        let mut waiting = Box::pin(turns.take(of("a", 0)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running);
        drop(waiting);
        assert!(now(&turns, "c", 1).is_some(), "nothing is left of those who left");
        assert!(turns.inner.state.lock().running.is_empty());
    }
}
