use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the querier counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) queries: Counter,
    pub(crate) failures: Counter,
    pub(crate) samples: Counter,
    pub(crate) store_requests: Counter,
    pub(crate) store_bytes: Counter,
    pub(crate) evaluating: Gauge,
    pub(crate) computing: Gauge,
    pub(crate) handovers: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("querier");
        registry.register("queries", "Queries evaluated", metrics.queries.clone());
        registry.register("query_failures", "Queries without a result", metrics.failures.clone());
        registry.register("query_samples", "Samples selected by queries", metrics.samples.clone());
        registry.register(
            "store_requests",
            "Object store requests of queries",
            metrics.store_requests.clone(),
        );
        registry.register("store_read_bytes", "Object store bytes of queries", metrics.store_bytes.clone());
        registry.register(
            "handovers",
            "Slices of computing that ended because another query waited",
            metrics.handovers.clone(),
        );
        registry.register("queries_evaluating", "Queries being evaluated", metrics.evaluating.clone());
        let help = "Threads that select or compute for a query, whether or not somebody still waits for it";
        registry.register("queries_computing", help, metrics.computing.clone());
        metrics
    }
}
