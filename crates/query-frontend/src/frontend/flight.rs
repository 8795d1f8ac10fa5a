//! Equal evaluations at the same time, done once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use model::TenantId;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use wire::{QueryError, QueryResult};

use super::steps::Steps;

/// Two evaluations with the same of these have the same result: `print` stands for the data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FlightKey {
    pub(crate) tenant: TenantId,
    pub(crate) query: Arc<str>,
    pub(crate) lookback_ms: Option<i64>,
    pub(crate) steps: Steps,
    pub(crate) print: u64,
}

/// The result, or an error for whoever takes it first.
type Landed = Result<Arc<QueryResult>, Arc<Mutex<Option<QueryError>>>>;
type Flight = BoxFuture<'static, Landed>;

/// Evaluations that are on their way.
#[derive(Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<FlightKey, WeakShared<Flight>>>,
    /// How often one was joined.
    pub(crate) joined: Counter,
}

impl Flights {
    /// Waits for the evaluation with this key, begun by `start` unless it is on its way already. It goes on as long as
    /// one of those who wait for it is there. An error is for one of them: it may be about the one who began, whose
    /// time was over; the others evaluate for themselves.
    pub(crate) async fn join<F>(
        &self,
        key: FlightKey,
        start: impl Fn() -> F,
    ) -> Result<Arc<QueryResult>, QueryError>
    where
        F: Future<Output = Result<QueryResult, QueryError>> + Send + 'static,
    {
        let (flight, is_joined) = self.board(key, &start);
        match flight.await {
            Ok(result) => Ok(result),
            Err(error) if !is_joined => {
                let error = error.lock().take();
                Err(error.unwrap_or_else(|| QueryError::Internal("an evaluation has no error".to_string())))
            }
            Err(_) => start().await.map(Arc::new),
        }
    }

    fn board<F>(&self, key: FlightKey, start: &impl Fn() -> F) -> (Shared<Flight>, bool)
    where
        F: Future<Output = Result<QueryResult, QueryError>> + Send + 'static,
    {
        let mut by_key = self.by_key.lock();
        // Those that nobody waits for any more.
        by_key.retain(|_, flight| flight.upgrade().is_some());
        if let Some(flight) = by_key.get(&key).and_then(WeakShared::upgrade) {
            self.joined.inc();
            return (flight, true);
        }
        let evaluating = start();
        let landing = async move {
            let result = evaluating.await;
            result.map(Arc::new).map_err(|error| Arc::new(Mutex::new(Some(error))))
        };
        let flight = landing.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            by_key.insert(key, weak);
        }
        (flight, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Value;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot;
    use wire::QueryStats;

    fn key(print: u64) -> FlightKey {
        let steps = Steps { first: 0, last: 10, step: 10 };
        FlightKey { tenant: TenantId::anonymous(), query: "up".into(), lookback_ms: None, steps, print }
    }

    fn result() -> QueryResult {
        let value = Value::Matrix(Vec::new());
        QueryResult {
            value,
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: QueryStats::default(),
            held: wire::Held::default(),
        }
    }

    #[tokio::test]
    async fn equal_evaluations_are_one_that_outlives_whoever_began_it() {
        let flights = Arc::new(Flights::default());
        let n_started = Arc::new(AtomicU32::new(0));
        let (go, gate) = oneshot::channel::<()>();
        let gate = gate.shared();
        let join = |print: u64| {
            let (flights, n_started, gate) = (Arc::clone(&flights), Arc::clone(&n_started), gate.clone());
            async move {
                let start = || {
                    n_started.fetch_add(1, Ordering::Relaxed);
                    let gate = gate.clone();
                    async move { gate.await.map(|()| result()).map_err(|_| QueryError::Canceled) }
                };
                flights.join(key(print), start).await
            }
        };
        let mut first = Box::pin(join(1));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(join(1));
        assert!(futures::poll!(&mut second).is_pending());
        let mut other = Box::pin(join(2));
        assert!(futures::poll!(&mut other).is_pending());
        assert_eq!(n_started.load(Ordering::Relaxed), 2, "other data are another evaluation");
        drop(first);
        go.send(()).unwrap();
        assert!(second.await.is_ok() && other.await.is_ok());
        assert_eq!((n_started.load(Ordering::Relaxed), flights.joined.get()), (2, 1));
    }

    #[tokio::test]
    async fn an_error_is_for_the_one_who_began_and_others_try_themselves() {
        let flights = Flights::default();
        let n_started = AtomicU32::new(0);
        let start = || {
            let attempt = n_started.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                if attempt == 0 { Err(QueryError::Timeout("query execution")) } else { Ok(result()) }
            }
        };
        let (first, second) = tokio::join!(flights.join(key(1), start), flights.join(key(1), start));
        assert!(matches!(first, Err(QueryError::Timeout(_))) && second.is_ok());
        assert!(flights.join(key(1), start).await.is_ok(), "nothing of a failed one is left");
        assert_eq!(n_started.load(Ordering::Relaxed), 3);
    }
}
