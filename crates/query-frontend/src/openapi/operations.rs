//! What can be asked.

/// An operation for each of its methods.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) path: &'static str,
    /// In lower case, with spaces between them.
    pub(super) methods: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) params: &'static [&'static str],
    /// The media types of a body that is no form.
    pub(super) takes: &'static str,
    pub(super) answer: Answer,
}

/// What comes back when all is well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// Prometheus's envelope with data of this schema.
    Data(&'static str),
    /// JSON of this schema as it is.
    Json(&'static str),
    /// Something of one of these media types.
    Bytes(&'static str),
    /// Nothing but this status.
    Nothing(u16),
}

use Answer::{Bytes, Data, Json, Nothing};

/// What operations are about, and who does them when roles are processes of their own.
pub(super) const TAGS: [(&str, &str); 8] = [
    ("query", "Evaluation of PromQL, by the query-frontend."),
    ("series", "Series and their labels, by the query-frontend."),
    ("raw", "Series with their samples as they are, by the query-frontend."),
    ("status", "What a process says about itself and its data, by the query-frontend."),
    ("scraping", "Targets, rules and alerts, of which Firn has none; by the query-frontend."),
    ("write", "Samples on their way in, by the distributor."),
    ("admin", "Deletion, by the compactor."),
    ("operation", "For who runs a process; by each of them unless it says otherwise."),
];

impl Operation {
    /// Whether it is of a tenant's data.
    pub(super) fn is_of_tenant(&self) -> bool {
        self.tag != "operation" && self.tag != "scraping"
    }

    const fn new(
        methods: &'static str,
        path: &'static str,
        summary: &'static str,
        params: &'static [&'static str],
        answer: Answer,
    ) -> Operation {
        Operation { path, methods, tag: "", summary, params, takes: "", answer }
    }

    const fn tag(self, tag: &'static str) -> Operation {
        Operation { tag, ..self }
    }

    const fn takes(self, takes: &'static str) -> Operation {
        Operation { takes, ..self }
    }
}

/// By URL or by form.
const fn ask(
    path: &'static str,
    summary: &'static str,
    params: &'static [&'static str],
    answer: Answer,
) -> Operation {
    Operation::new("get post", path, summary, params, answer)
}

const fn get(
    path: &'static str,
    summary: &'static str,
    params: &'static [&'static str],
    answer: Answer,
) -> Operation {
    Operation::new("get", path, summary, params, answer)
}

const fn post(path: &'static str, summary: &'static str, takes: &'static str, answer: Answer) -> Operation {
    Operation::new("post", path, summary, &[], answer).takes(takes)
}

const SEARCH: &[&str] = &[
    "search[]",
    "match[]",
    "start",
    "end",
    "limit",
    "batch_size",
    "fuzz_alg",
    "fuzz_threshold",
    "case_sensitive",
    "sort_by",
    "sort_dir",
    "include_score",
    "include_metadata",
];

const SEARCH_VALUES: &[&str] = &[
    "label",
    "search[]",
    "match[]",
    "start",
    "end",
    "limit",
    "batch_size",
    "fuzz_alg",
    "fuzz_threshold",
    "case_sensitive",
    "sort_by",
    "sort_dir",
    "include_score",
];

const QUERY: &[Operation] = &[
    ask(
        "/api/v1/query",
        "Evaluates an expression at one time",
        &["query", "time", "timeout", "limit", "lookback_delta", "stats", "nocache"],
        Data("QueryData"),
    )
    .tag("query"),
    ask(
        "/api/v1/query_range",
        "Evaluates an expression at every step of a range",
        &["query", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats", "nocache"],
        Data("QueryData"),
    )
    .tag("query"),
    ask(
        "/api/v1/query_exemplars",
        "The exemplars of the series that an expression selects",
        &["query", "start", "end"],
        Data("Exemplars"),
    )
    .tag("query"),
    ask("/api/v1/format_query", "An expression as it is written well", &["query"], Data("Text")).tag("query"),
    ask("/api/v1/parse_query", "An expression as a tree", &["query"], Data("Object")).tag("query"),
    ask("/api/v1/status/active_queries", "The queries that run now", &[], Json("ActiveQueries")).tag("query"),
    ask(
        "/api/v1/status/top_queries",
        "The queries that came most often or took longest",
        &["topN", "maxLifetime"],
        Json("TopQueries"),
    )
    .tag("query"),
];

const SERIES: &[Operation] = &[
    ask("/api/v1/series", "The series that match", &["match[]", "start", "end", "limit"], Data("LabelSets"))
        .tag("series"),
    ask("/api/v1/labels", "The names of labels", &["match[]", "start", "end", "limit"], Data("Texts"))
        .tag("series"),
    ask(
        "/api/v1/label/{name}/values",
        "The values of a label",
        &["name", "match[]", "start", "end", "limit"],
        Data("Texts"),
    )
    .tag("series"),
    ask(
        "/api/v1/metadata",
        "Type, unit and help of metrics",
        &["metric", "limit", "limit_per_metric"],
        Data("Metadata"),
    )
    .tag("series"),
    ask("/api/v1/search/metric_names", "Names of metrics that are like terms", SEARCH, Bytes(NDJSON))
        .tag("series"),
    ask("/api/v1/search/label_names", "Names of labels that are like terms", SEARCH, Bytes(NDJSON))
        .tag("series"),
    ask("/api/v1/search/label_values", "Values of a label that are like terms", SEARCH_VALUES, Bytes(NDJSON))
        .tag("series"),
    ask(
        "/api/v1/cardinality/label_names",
        "Labels of the series in memory by how many values they have",
        &["selector", "count_method", "limit"],
        Json("LabelNamesCardinality"),
    )
    .tag("series"),
    ask(
        "/api/v1/cardinality/label_values",
        "Values of labels by how many series in memory have them",
        &["label_names[]", "selector", "count_method", "limit"],
        Json("LabelValuesCardinality"),
    )
    .tag("series"),
    ask("/api/v1/cardinality/active_series", "The active series", &["selector"], Json("ActiveSeries"))
        .tag("series"),
    ask(
        "/api/v1/cardinality/active_native_histogram_metrics",
        "Metrics of native histograms by their buckets",
        &["selector"],
        Json("ActiveHistograms"),
    )
    .tag("series"),
];

const NDJSON: &str = "application/x-ndjson";

const RAW: &[Operation] = &[
    post(
        "/api/v1/read",
        "Prometheus's remote read, as samples or as streamed chunks",
        "application/x-protobuf",
        Bytes("application/x-protobuf application/x-streamed-protobuf"),
    )
    .tag("raw"),
    ask(
        "/api/v1/export",
        "Series with their samples as lines of JSON, as Arrow or as Parquet",
        &["match[]", "start", "end", "format", "max_rows_per_line"],
        Bytes("application/stream+json application/vnd.apache.arrow.stream application/vnd.apache.parquet"),
    )
    .tag("raw"),
    get(
        "/federate",
        "The newest sample of each series that matches, for a Prometheus that scrapes",
        &["match[]"],
        Bytes("text/plain application/openmetrics-text application/vnd.google.protobuf"),
    )
    .tag("raw"),
];

const STATUS: &[Operation] = &[
    get("/api/v1/status/buildinfo", "Versions", &[], Data("BuildInfo")).tag("status"),
    get("/api/v1/status/config", "The configuration without secrets", &[], Data("Configuration"))
        .tag("status"),
    get("/api/v1/status/flags", "The configuration as flags", &[], Data("TextByName")).tag("status"),
    get("/api/v1/status/runtimeinfo", "The process", &[], Data("RuntimeInfo")).tag("status"),
    get("/api/v1/status/tsdb", "Figures of the series in memory", &["limit"], Data("HeadStatus"))
        .tag("status"),
    get("/api/v1/status/tsdb/blocks", "The files of the table of metrics", &[], Data("Blocks")).tag("status"),
    get("/api/v1/status/walreplay", "How far the log has been read", &[], Data("Replay")).tag("status"),
    get(
        "/api/v1/status/self_metrics",
        "The metrics of the process as JSON",
        &["metric_name_pattern"],
        Data("MetricFamilies"),
    )
    .tag("status"),
    get("/api/v1/features", "What is here of what Prometheus may have", &[], Data("Features")).tag("status"),
    get("/api/v1/openapi.yaml", "This document", &["openapi_version"], Bytes("application/yaml"))
        .tag("operation"),
];

const SCRAPING: &[Operation] = &[
    get("/api/v1/targets", "Targets", &["scrapePool", "state"], Data("Targets")).tag("scraping"),
    get(
        "/api/v1/targets/metadata",
        "What targets say about their metrics",
        &["match_target", "metric", "limit"],
        Data("Nothing"),
    )
    .tag("scraping"),
    get(
        "/api/v1/targets/relabel_steps",
        "What a scrape pool's rules make of labels: refused, there is no scrape pool",
        &["scrapePool", "labels"],
        Data("Object"),
    )
    .tag("scraping"),
    get("/api/v1/scrape_pools", "Scrape pools", &[], Data("ScrapePools")).tag("scraping"),
    get(
        "/api/v1/scrape_pools/config",
        "The configuration of a scrape pool: refused, there is none",
        &["scrapePool"],
        Data("Configuration"),
    )
    .tag("scraping"),
    get(
        "/api/v1/rules",
        "Rules",
        &[
            "type",
            "rule_name[]",
            "rule_group[]",
            "file[]",
            "match[]",
            "exclude_alerts",
            "group_limit",
            "group_next_token",
        ],
        Data("RuleGroups"),
    )
    .tag("scraping"),
    get("/api/v1/alerts", "Alerts", &[], Data("Alerts")).tag("scraping"),
    get("/api/v1/alertmanagers", "Alertmanagers", &[], Data("Alertmanagers")).tag("scraping"),
    get("/api/v1/notifications", "Notifications", &[], Data("Nothing")).tag("scraping"),
    get("/api/v1/notifications/live", "Notifications as they come: there are none", &[], Nothing(204))
        .tag("scraping"),
];

const OTLP: &str = "application/x-protobuf application/json";

const WRITE: &[Operation] = &[
    probe("/api/v1/push"),
    post("/api/v1/push", "Remote write 1.0 and 2.0", "application/x-protobuf", Nothing(204)).tag("write"),
    probe("/api/v1/write"),
    post("/api/v1/write", "Remote write 1.0 and 2.0", "application/x-protobuf", Nothing(204)).tag("write"),
    Operation::new(
        "post",
        "/api/v1/import/prometheus",
        "Samples in Prometheus's text format",
        &["extra_label", "timestamp"],
        Nothing(204),
    )
    .takes("text/plain")
    .tag("write"),
    post("/v1/metrics", "OpenTelemetry's metrics", OTLP, Bytes(OTLP)).tag("write"),
    post("/otlp/v1/metrics", "OpenTelemetry's metrics", OTLP, Bytes(OTLP)).tag("write"),
    post("/api/v1/otlp/v1/metrics", "OpenTelemetry's metrics", OTLP, Bytes(OTLP)).tag("write"),
];

const fn probe(path: &'static str) -> Operation {
    get(path, "Which of vmagent's protocols are spoken", &["get_vm_proto_version"], Bytes("text/plain"))
        .tag("write")
}

const ADMIN: &[Operation] = &[
    Operation::new(
        "post put",
        "/api/v1/admin/tsdb/delete_series",
        "Deletes the samples of the series that match from a range of time",
        &["match[]", "start", "end"],
        Nothing(204),
    )
    .tag("admin"),
    Operation::new(
        "post put",
        "/api/v1/admin/tsdb/clean_tombstones",
        "Begins to rewrite files without what was deleted",
        &[],
        Nothing(204),
    )
    .tag("admin"),
    Operation::new(
        "post put",
        "/api/v1/admin/tsdb/snapshot",
        "Refused: tables are copied as they are",
        &["skip_head"],
        Nothing(204),
    )
    .tag("admin"),
    post("/compactor/delete_tenant", "Deletes a tenant", "", Nothing(200)).tag("admin"),
    get(
        "/compactor/delete_tenant_status",
        "Whether nothing of a deleted tenant is left",
        &[],
        Json("TenantDeletion"),
    )
    .tag("admin"),
];

const OPERATION: &[Operation] = &[
    get("/", "The version and some routes", &[], Bytes("text/plain")).tag("operation"),
    get("/ready", "Whether the process answers", &[], Bytes("text/plain")).tag("operation"),
    get("/-/ready", "Whether the process answers", &[], Bytes("text/plain")).tag("operation"),
    get("/-/healthy", "Whether the process lives", &[], Bytes("text/plain")).tag("operation"),
    get("/metrics", "The metrics of the process", &[], Bytes("application/openmetrics-text"))
        .tag("operation"),
    get("/config", "The configuration without secrets", &[], Bytes("application/yaml")).tag("operation"),
    get("/runtime_config", "The limits in force", &["mode"], Bytes("application/yaml")).tag("operation"),
    get("/services", "The services of the process", &[], Bytes("text/plain")).tag("operation"),
    get("/log_level", "The level of the logs", &[], Bytes("text/plain")).tag("operation"),
    Operation::new("post", "/log_level", "Sets the level of the logs", &["log_level"], Bytes("text/plain"))
        .tag("operation"),
    get(
        "/ring",
        "The ingesters and what they have; of roles apart",
        &[],
        Bytes("text/plain application/json"),
    )
    .tag("operation"),
    Operation::new("get post", "/flush", FLUSH, &[], Nothing(204)).tag("operation"),
    Operation::new("get post", "/ingester/flush", FLUSH, &[], Nothing(204)).tag("operation"),
    post("/shutdown", SHUTDOWN, "", Nothing(204)).tag("operation"),
    post("/ingester/shutdown", SHUTDOWN, "", Nothing(204)).tag("operation"),
];

const FLUSH: &str = "Brings what the ingester holds into the tables";
const SHUTDOWN: &str = "The ingester takes no more pushes and brings what it holds into the tables";

/// All that the document describes.
pub(super) const ALL: [&[Operation]; 8] = [QUERY, SERIES, RAW, STATUS, SCRAPING, WRITE, ADMIN, OPERATION];
