//! What is written and counted about each query when it has ended.

use std::sync::Arc;
use std::time::Instant;

use model::Classify;
use wire::{QueryError, QueryResult, QueryStats};

use super::active::Entry;
use super::asked::Asked;
use super::metrics::Outcome;
use super::{Inner, Work};
use crate::error;

/// Watches one query. Dropped before its end, the client has left.
pub(super) struct Watch {
    inner: Arc<Inner>,
    asked: Arc<Asked>,
    since: Instant,
    ended: Option<Ended>,
    _entry: Entry,
}

/// How a query ended.
struct Ended {
    outcome: &'static str,
    status: u16,
    error: Option<String>,
    stats: QueryStats,
    work: Work,
}

impl Watch {
    pub(super) fn start(inner: &Arc<Inner>, asked: Asked) -> Watch {
        let asked = Arc::new(asked);
        let entry = inner.active.enter(Arc::clone(&asked));
        inner.metrics.active.inc();
        Watch { inner: Arc::clone(inner), asked, since: inner.clock.instant(), ended: None, _entry: entry }
    }

    pub(super) fn end(&mut self, result: &Result<QueryResult, QueryError>, work: Work) {
        self.ended = Some(match result {
            Ok(result) => {
                let stats = QueryStats { samples_per_step: Vec::new(), ..result.stats.clone() };
                Ended { outcome: "success", status: 200, error: None, stats, work }
            }
            Err(e) => Ended {
                outcome: error::type_of(e.kind()),
                status: error::status_of(e.kind()).as_u16(),
                error: Some(e.to_string()),
                stats: QueryStats::default(),
                work,
            },
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let ended = self.ended.take().unwrap_or_else(|| Ended {
            outcome: "canceled",
            status: error::status_of(model::ErrorKind::Canceled).as_u16(),
            error: Some("the client left".to_string()),
            stats: QueryStats::default(),
            work: Work::default(),
        });
        let inner = &self.inner;
        let secs = inner.clock.instant().saturating_duration_since(self.since).as_secs_f64();
        inner.metrics.active.dec();
        inner.metrics.seconds.observe(secs);
        inner.metrics.queries.get_or_create(&Outcome { outcome: ended.outcome }).inc();
        if secs * 1000.0 >= inner.config.query_stats_min_duration.millis() as f64 {
            inner.top.add(&self.asked, inner.clock.now_ms(), secs);
        }
        let threshold_ms = inner.config.log_queries_longer_than.millis();
        let is_slow = threshold_ms > 0 && secs * 1000.0 >= threshold_ms as f64;
        if is_slow {
            inner.metrics.slow.inc();
            write(tracing::Level::INFO, "slow query", &self.asked, &ended, secs);
        } else {
            write(tracing::Level::DEBUG, "query", &self.asked, &ended, secs);
        }
    }
}

/// One line per query.
fn write(level: tracing::Level, message: &str, asked: &Asked, ended: &Ended, secs: f64) {
    let Ended { status, stats, work, .. } = ended;
    let asker = &asked.asker;
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                tenant = %asked.tenants,
                status,
                duration_ms = (secs * 1000.0) as u64,
                queue_ms = (stats.queue_secs * 1000.0) as u64,
                series = stats.n_series,
                samples = stats.select.n_samples,
                bytes = stats.select.n_bytes,
                requests = stats.select.n_requests,
                parts = work.n_parts,
                cache_hits = work.n_hits,
                evaluations = work.n_evaluated,
                start = asked.start_ms,
                end = asked.end_ms,
                step = asked.step_ms.unwrap_or(0),
                query = &*asked.query,
                error = ended.error.as_deref().map(error::shortened),
                dashboard = asker.dashboard,
                panel = asker.panel,
                datasource = asker.datasource,
                grafana_org = asker.grafana_org,
                user_agent = asker.user_agent,
                remote_addr = asker.remote_addr,
                "{message}"
            )
        };
    }
    match level {
        tracing::Level::INFO => line!(tracing::Level::INFO),
        _ => line!(tracing::Level::DEBUG),
    }
}
