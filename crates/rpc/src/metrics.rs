use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a process counts of its calls to others.
#[derive(Debug, Default)]
pub(crate) struct CallMetrics {
    calls: Family<CallLabels, Counter>,
    pub(crate) repeated_series: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    member: String,
    /// `answered`, errors of the far side included, or `unreachable`.
    outcome: &'static str,
}

impl CallMetrics {
    pub(crate) fn count(&self, member: &str, outcome: &'static str) {
        self.calls.get_or_create(&CallLabels { member: member.to_string(), outcome }).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rpc");
        let help = "Calls to other processes by whom was called and whether there was an answer";
        registry.register("calls", help, self.calls.clone());
        let help = "Series pushed by their identity alone that had to be pushed again with their labels";
        registry.register("repeated_series", help, self.repeated_series.clone());
    }
}

/// What a query-frontend counts of its queue.
#[derive(Debug, Default)]
pub(crate) struct QueueMetrics {
    pub(crate) waiting: Gauge,
    pub(crate) taken: Gauge,
    pub(crate) queriers: Gauge,
    pub(crate) retries: Counter,
    pub(crate) refused: Counter,
}

impl QueueMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("query_frontend");
        registry.register("queue_length", "Queries that wait for a querier", self.waiting.clone());
        registry.register("queries_at_queriers", "Queries that queriers have", self.taken.clone());
        registry.register("connected_queriers", "Queriers that pull from here", self.queriers.clone());
        let help = "Queries that were given to another querier since theirs went away";
        registry.register("retries", help, self.retries.clone());
        let help = "Queries refused since too many of their tenant were waiting";
        registry.register("queue_refusals", help, self.refused.clone());
    }
}
