use serde::{Deserialize, Serialize};

use runtime::PromDuration;

use crate::{EnabledNames, Names, Relabelling, TranslationStrategy};

/// Declares each limit once: the set with its defaults, and the overrides that may leave any of them out.
macro_rules! limits {
    ($( $(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr; )+) => {
        /// What a tenant may do. 0 turns a limit off.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $( $(#[doc = $doc])+ pub $name: $type, )+
        }

        /// The limits in which one tenant differs from the defaults.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Overrides {
            $( $(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>, )+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $( $name: $default, )+ }
            }
        }

        impl Limits {
            /// These limits with those of `overrides` in their place.
            pub fn overridden(&self, overrides: &Overrides) -> Limits {
                let mut limits = self.clone();
                $( if let Some(value) = &overrides.$name { limits.$name = value.clone(); } )+
                limits
            }
        }

        impl Overrides {
            /// Puts those of `over` in place of these.
            pub(crate) fn merge(&mut self, over: Overrides) {
                $( if over.$name.is_some() { self.$name = over.$name; } )+
            }

            /// Those that differ from `limits`.
            pub(crate) fn differing(&self, limits: &Limits) -> Overrides {
                Overrides { $( $name: self.$name.clone().filter(|value| *value != limits.$name), )+ }
            }
        }
    };
}

limits! {
    /// Active series over all shards. Off by default: the memory limit stands behind it.
    max_series: u64 = 0;
    /// Active series of one metric, over all shards.
    max_series_per_metric: u64 = 0;
    /// Labels of one series, its name included (Mimir's default).
    max_label_names_per_series: u32 = 30;
    /// Bytes of a label's name (Mimir's default).
    max_label_name_length: u32 = 1024;
    /// Bytes of a label's value (Mimir's default).
    max_label_value_length: u32 = 2048;
    /// Bytes of the name, help and unit of a metric family's description (Mimir's default). A longer help or
    /// unit is cut, a family with a longer name is left out.
    max_metadata_length: u32 = 1024;
    /// Bytes of a request body, as received and as announced decompressed; never more than 512 MiB.
    max_body_bytes: u64 = 32 << 20;
    /// Changes or drops series as they arrive, before any limit is looked at; Prometheus's rules.
    metric_relabel_configs: Relabelling = Relabelling::default();
    /// Takes samples of one of several replicas only, if they name themselves with the two labels below.
    accept_ha_samples: bool = false;
    /// The label that names a group of replicas (Mimir's default).
    ha_cluster_label: String = "cluster".to_string();
    /// The label that names a replica; it is not stored (Mimir's default).
    ha_replica_label: String = "__replica__".to_string();
    /// Groups of replicas of the tenant (Mimir's default).
    ha_max_clusters: u32 = 100;
    /// For how long the elected replica may be silent before another one takes its place (Mimir's default).
    ha_failover_timeout: PromDuration = PromDuration::secs(30);
    /// Samples a second that all distributors together take over time.
    ingestion_rate: f64 = 0.0;
    /// Samples that may come at once above the rate (Mimir's default).
    ingestion_burst_size: f64 = 200_000.0;
    /// How much older than the tenant's newest sample a sample may be. Off by default: senders deliver backlogs
    /// late and in any order, so anything within retention is taken.
    out_of_order_window: PromDuration = PromDuration::secs(0);
    /// How far ahead of the clock a sample may be (Mimir's and Prometheus's value).
    creation_grace_period: PromDuration = PromDuration::secs(600);
    /// Buckets of a native histogram. Exponential ones with more are merged to a coarser schema, custom ones
    /// are refused.
    max_native_histogram_buckets: u32 = 0;
    /// How names of OpenTelemetry become names of metrics and labels.
    otel_translation_strategy: TranslationStrategy = TranslationStrategy::UnderscoreEscapingWithSuffixes;
    /// Resource attributes that become labels of every series of their resource.
    promote_otel_resource_attributes: Names = Names::default();
    /// Makes labels of all resource attributes but the ignored ones.
    promote_all_otel_resource_attributes: bool = false;
    /// Resource attributes that do not become labels when all others do.
    ignore_otel_resource_attributes: Names = Names::default();
    /// Keeps `service.name`, `service.namespace` and `service.instance.id` as labels of `target_info`.
    otel_keep_identifying_resource_attributes: bool = false;
    /// Makes labels (`otel_scope_…`) of name, version, schema address and attributes of the instrumentation scope.
    otel_promote_scope_metadata: bool = false;
    /// Stores explicit histograms as native histograms with custom buckets.
    otel_convert_histograms_to_nhcb: bool = false;
    /// Takes points of delta temporality as they are. Off, such points are refused.
    otel_native_delta_ingestion: bool = false;
    /// Puts `key` before a label name that would begin with one underscore.
    otel_label_name_underscore_sanitization: bool = true;
    /// Keeps several underscores in a row in label names.
    otel_label_name_preserve_underscores: bool = true;
    /// Exemplars of one series in one window (one per scrape of every 15 s). More are dropped and counted; the samples
    /// that came with them are kept.
    max_exemplars_per_series: u32 = 480;
    /// How long samples are kept (Mimir's name). Files whose newest sample is older are removed; 0 keeps all.
    compactor_blocks_retention_period: PromDuration = PromDuration::secs(0);
    /// Bytes that the tables of the tenant may take in the store. When they take more, the oldest days go first; the
    /// newest day is kept whatever its size.
    compactor_blocks_retention_bytes: u64 = 0;
    /// Series that one query may select.
    max_series_per_query: u64 = 0;
    /// Samples that one query may hold (the default of Prometheus's `--query.max-samples`).
    max_samples_per_query: u64 = 50_000_000;
    /// Bytes of samples and labels that one query may hold.
    max_bytes_per_query: u64 = 0;
    /// Whether the tenant may ask what makes its series (Mimir's key).
    cardinality_analysis_enabled: bool = true;
    /// Items that one answer about that may list (Mimir's key and default).
    cardinality_analysis_max_results: u32 = 500;
    /// Results that one search for names may ask for (the default of Prometheus's `--web.search.max-limit`).
    max_search_results: u32 = 10_000;
    /// How long a query may take (the default of Prometheus's `--query.timeout`).
    query_timeout: PromDuration = PromDuration::secs(120);
    /// How long a range a query may ask for.
    max_query_length: PromDuration = PromDuration::secs(0);
    /// Bytes of the text of one query (Mimir's name): its tree takes some fifty times as much.
    max_query_expression_size_bytes: u64 = 1 << 20;
    /// Matchers with regular expressions that one query may have: each is compiled, which takes up to a mebibyte.
    max_regex_matchers_per_query: u32 = 200;
    /// Experimental functions and aggregations that queries may use: `all`, or names (Mimir's name; there none is on).
    enabled_promql_experimental_functions: EnabledNames = EnabledNames::all();
    /// Experimental modifiers of range selectors, `anchored` and `smoothed`, that queries may use.
    enabled_promql_extended_range_selectors: EnabledNames = EnabledNames::all();
    /// Experimental modifiers of binary operators, `fill`, `fill_left` and `fill_right`, that queries may use.
    enabled_promql_binop_fill_modifiers: EnabledNames = EnabledNames::all();
    /// Queries of one tenant that are evaluated at the same time (Mimir's `max_query_parallelism`).
    max_query_parallelism: u32 = 14;
    /// Puts start and end of range queries on multiples of their step (Mimir's name and default).
    align_queries_with_step: bool = false;
    /// Whether answers of range queries are kept for queries to come.
    cache_results: bool = true;
    /// Also those of range queries whose start is no multiple of their step (Mimir's name and default).
    cache_unaligned_requests: bool = false;
    /// Of steps younger than this no answer is kept (Mimir's name and default).
    max_cache_freshness: PromDuration = PromDuration::secs(600);
}
