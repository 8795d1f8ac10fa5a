use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a hit in the cache to the longest query that is allowed.
const DURATIONS: [f64; 12] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// What the frontend counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) queries: Family<Outcome, Counter>,
    pub(crate) seconds: Histogram,
    pub(crate) active: Gauge,
    pub(crate) split: Counter,
    pub(crate) parts: Counter,
    pub(crate) whole_after_all: Counter,
    pub(crate) slow: Counter,
}

/// How a query ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// `success`, `canceled` when the client left, or the kind of the error.
    pub(crate) outcome: &'static str,
}

/// What the cache of results counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheMetrics {
    pub(crate) requests: Counter,
    pub(crate) hits: Counter,
    pub(crate) outdated: Counter,
    pub(crate) skipped: Counter,
    pub(crate) stored: Counter,
    pub(crate) too_large: Counter,
    pub(crate) evicted: Counter,
    pub(crate) entries: Gauge,
    pub(crate) bytes: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics {
            queries: Family::default(),
            seconds: Histogram::new(DURATIONS),
            active: Gauge::default(),
            split: Counter::default(),
            parts: Counter::default(),
            whole_after_all: Counter::default(),
            slow: Counter::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry, cache: &CacheMetrics, joined: &Counter) {
        let registry = registry.sub_registry_with_prefix("query_frontend");
        registry.register("queries", "Queries by how they ended", self.queries.clone());
        registry.register("query_duration_seconds", "How long queries took", self.seconds.clone());
        registry.register("queries_active", "Queries that are being answered", self.active.clone());
        registry.register("queries_split", "Range queries evaluated in parts", self.split.clone());
        registry.register("query_parts", "Parts that were evaluated", self.parts.clone());
        let help = "Queries evaluated as a whole since only that tells what there is to say about the result";
        registry.register("queries_whole_after_all", help, self.whole_after_all.clone());
        let help = "Evaluations that were shared by equal queries";
        registry.register("evaluations_shared", help, joined.clone());
        registry.register("slow_queries", "Queries over log_queries_longer_than", self.slow.clone());
        cache.register(registry);
    }
}

impl CacheMetrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("results_cache");
        registry.register("requests", "Parts of queries that were looked for", self.requests.clone());
        registry.register("hits", "Parts that were found, as a whole or to some extent", self.hits.clone());
        let help = "Kept answers that were no longer good: their data had changed";
        registry.register("outdated", help, self.outdated.clone());
        registry.register("skipped", "Queries that were not looked for", self.skipped.clone());
        registry.register("stored", "Answers that were kept", self.stored.clone());
        registry.register("too_large", "Answers too large to be kept", self.too_large.clone());
        registry.register("evicted", "Answers that made way for others", self.evicted.clone());
        registry.register("entries", "Answers that are kept", self.entries.clone());
        registry.register("bytes", "Memory that kept answers take", self.bytes.clone());
    }
}
