//! `/features`: what is here of what Prometheus 3.15 may have, by its categories and names. What it has of the
//! discovery of targets, of templates and of an interface for browsers is left out: Firn has nothing of that kind.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use limits::{EnabledNames, Limits};
use model::TenantIds;
use promql::Signature;

use crate::error::ApiError;
use crate::http::Deps;
use crate::json;

type Category = BTreeMap<&'static str, bool>;

/// What does not depend on a tenant.
const FIXED: [(&str, &[(&str, bool)]); 7] = [
    (
        "api",
        &[
            ("admin", true),
            ("exclude_alerts", false),
            ("label_values_match", true),
            ("lifecycle", false),
            ("openapi_3.1", true),
            ("openapi_3.2", false),
            ("otlp_write_receiver", true),
            ("query_stats", true),
            ("query_warnings", true),
            ("remote_write_receiver", true),
            ("search", true),
            ("search_fuzz_alg_jarowinkler", true),
            ("search_fuzz_alg_subsequence", true),
            ("time_range_labels", true),
            ("time_range_series", true),
        ],
    ),
    ("otlp_receiver", &[("delta_conversion", false)]),
    ("prometheus", &[("agent_mode", false), ("auto_reload_config", false), ("server_mode", true)]),
    (
        "promql",
        &[
            ("at_modifier", true),
            ("bool", true),
            ("by", true),
            ("delayed_name_removal", true),
            ("duration_expr", true),
            ("group_left", true),
            ("group_right", true),
            ("ignoring", true),
            ("negative_offset", true),
            ("offset", true),
            ("on", true),
            ("per_query_lookback_delta", true),
            ("per_step_stats", true),
            ("subqueries", true),
            ("type_and_unit_labels", true),
            ("without", true),
        ],
    ),
    ("rules", &[("concurrent_rule_eval", false), ("keep_firing_for", false), ("query_offset", false)]),
    (
        "scrape",
        &[
            ("extra_scrape_metrics", false),
            ("openmetrics2", false),
            ("start_timestamp_zero_ingestion", false),
            ("type_and_unit_labels", false),
        ],
    ),
    (
        "tsdb",
        &[
            ("delayed_compaction", false),
            ("exemplar_storage", true),
            ("histograms_st_encoding", false),
            ("isolation", false),
            ("metadata_wal_records", true),
            ("native_histograms", true),
            ("st_storage", true),
            ("use_uncached_io", false),
            ("xor2_encoding", false),
        ],
    ),
];

/// Operators, those between matchers and `@` among them, as Prometheus lists them.
const OPERATORS: [&str; 21] = [
    "!=", "!~", "%", "*", "+", "-", "/", "</", "<", "<=", "==", "=~", ">", ">/", ">=", "@", "^", "and",
    "atan2", "or", "unless",
];

/// Aggregations, and whether Prometheus counts them as experiments.
const AGGREGATIONS: [(&str, bool); 14] = [
    ("avg", false),
    ("bottomk", false),
    ("count", false),
    ("count_values", false),
    ("group", false),
    ("limit_ratio", true),
    ("limitk", true),
    ("max", false),
    ("min", false),
    ("quantile", false),
    ("stddev", false),
    ("stdvar", false),
    ("sum", false),
    ("topk", false),
];

/// `/features`, for the tenant of the request.
pub(crate) async fn features(State(deps): State<Deps>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let features = of(&limits_of(&deps, &tenants));
    Ok(json::success(|out| {
        out.object(|out| {
            for (category, names) in &features {
                out.key(category).object(|out| {
                    for (name, is_there) in names {
                        out.key(name).bool(*is_there);
                    }
                });
            }
        });
    }))
}

fn limits_of(deps: &Deps, tenants: &TenantIds) -> Limits {
    let first = tenants.all().first().map(|tenant| (*deps.limits.for_tenant(tenant)).clone());
    first.unwrap_or_default()
}

fn of(limits: &Limits) -> BTreeMap<&'static str, Category> {
    let mut features: BTreeMap<&'static str, Category> =
        FIXED.into_iter().map(|(category, names)| (category, names.iter().copied().collect())).collect();
    let promql = features.entry("promql").or_default();
    for name in ["anchored", "smoothed"] {
        promql.insert(name, has(&limits.enabled_promql_extended_range_selectors, name));
    }
    for name in ["fill", "fill_left", "fill_right"] {
        promql.insert(name, has(&limits.enabled_promql_binop_fill_modifiers, name));
    }
    let experiments = &limits.enabled_promql_experimental_functions;
    let functions = Signature::all().iter();
    let functions = functions.map(|one| (one.name, !one.experimental || has(experiments, one.name)));
    features.insert("promql_functions", functions.collect());
    let operators = OPERATORS.into_iter().map(|name| (name, true));
    let aggregations = AGGREGATIONS.into_iter();
    let aggregations =
        aggregations.map(|(name, is_experiment)| (name, !is_experiment || has(experiments, name)));
    features.insert("promql_operators", operators.chain(aggregations).collect());
    let otlp = features.entry("otlp_receiver").or_default();
    otlp.insert("native_delta_ingestion", limits.otel_native_delta_ingestion);
    features
}

fn has(enabled: &EnabledNames, name: &str) -> bool {
    enabled.names().is_none_or(|names| names.iter().any(|known| known == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregations_and_operators_that_are_listed_are_in_the_language() {
        for (name, _) in AGGREGATIONS {
            let parameter = match name {
                "bottomk" | "limit_ratio" | "limitk" | "quantile" | "topk" => "1, ",
                "count_values" => "\"x\", ",
                _ => "",
            };
            let query = format!("{name}({parameter}up)");
            assert!(promql::parse(&query).is_ok(), "{query}");
        }
        for name in OPERATORS {
            let query = match name {
                "=~" | "!~" => format!("up{{job{name}\"x\"}}"),
                "@" => "up @ 1".to_string(),
                _ => format!("up {name} up"),
            };
            assert!(promql::parse(&query).is_ok(), "{query}");
        }
    }

    #[test]
    fn what_a_tenant_may_not_use_is_not_there() {
        let check = |limits: &Limits, category: &str, name: &str, wanted: bool| {
            assert_eq!(of(limits)[category].get(name), Some(&wanted), "{category} {name}");
        };
        let all = Limits::default();
        check(&all, "promql_functions", "info", true);
        check(&all, "promql_operators", "limitk", true);
        check(&all, "promql", "smoothed", true);
        let some = Limits {
            enabled_promql_experimental_functions: ["limitk"].into_iter().collect(),
            enabled_promql_extended_range_selectors: ["anchored"].into_iter().collect(),
            enabled_promql_binop_fill_modifiers: [""].into_iter().collect(),
            otel_native_delta_ingestion: true,
            ..Limits::default()
        };
        check(&some, "promql_functions", "info", false);
        check(&some, "promql_functions", "rate", true);
        check(&some, "promql_operators", "limitk", true);
        check(&some, "promql_operators", "limit_ratio", false);
        check(&some, "promql", "anchored", true);
        check(&some, "promql", "smoothed", false);
        check(&some, "promql", "fill", false);
        check(&some, "otlp_receiver", "native_delta_ingestion", true);
    }
}
