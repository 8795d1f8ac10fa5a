//! Every limit that a query can hit names itself: the rows of the configuration's page are gone through, so that none is
//! forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use system_tests::{Answer, Firn, FirnOptions, TimeSeries, WriteRequest, get_with, now_ms, seconds};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// The first limit of the page that is about queries; those before are about writes and have a test of their own.
const FIRST: &str = "max_series_per_query";

/// A limit, a value that is soon hit, what hits it, and the status.
struct Case {
    limit: &'static str,
    value: &'static str,
    path: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    status: u16,
}

const fn case(
    limit: &'static str,
    value: &'static str,
    path: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    status: u16,
) -> Case {
    Case { limit, value, path, parameters, status }
}

/// Stand for times of the data.
const FROM: &str = "FROM";
const TO: &str = "TO";

const EVERYTHING: &[(&str, &str)] = &[("query", "many"), ("start", FROM), ("end", TO), ("step", "1")];

const CASES: [Case; 19] = [
    case("max_series_per_query", "3", "query_range", EVERYTHING, 422),
    case("max_series_per_query", "3", "query", &[("query", "sum(many)")], 422),
    case("max_series_per_query", "3", "series", &[("match[]", "many")], 422),
    case("max_samples_per_query", "5", "query_range", EVERYTHING, 422),
    case("max_samples_per_query", "1000", "query", &[("query", "max_over_time(vector(1)[1h:1s])")], 422),
    case("max_bytes_per_query", "1000", "query_range", EVERYTHING, 422),
    case("max_bytes_per_query", "1000", "export", &[("match[]", "many")], 422),
    case("cardinality_analysis_enabled", "false", "cardinality/label_names", &[], 400),
    case("cardinality_analysis_max_results", "5", "cardinality/label_names", &[("limit", "6")], 400),
    case("max_search_results", "5", "search/metric_names", &[("limit", "6")], 400),
    case("query_timeout", "50ms", "query", &[("query", SLOW)], 503),
    case("max_query_length", "5m", "query", &[("query", "max_over_time(many[6m])")], 422),
    case(
        "max_query_length",
        "5m",
        "query_range",
        &[("query", "many"), ("start", "0"), ("end", "301"), ("step", "1")],
        422,
    ),
    case("max_query_expression_size_bytes", "6", "query", &[("query", "1 + 1 + 1")], 422),
    case("max_regex_matchers_per_query", "1", "query", &[("query", "many{a=~\"x.*\",b=~\"y.*\"}")], 422),
    case("enabled_promql_experimental_functions", "''", "query", &[("query", "info(many)")], 400),
    case("enabled_promql_experimental_functions", "''", "query", &[("query", "limitk(1, many)")], 400),
    case("enabled_promql_extended_range_selectors", "''", "query", &[("query", "many smoothed")], 400),
    case("enabled_promql_binop_fill_modifiers", "''", "query", &[("query", "many + fill(0) many")], 400),
];

/// Takes seconds, and the memory of some steps.
const SLOW: &str = "count_over_time((vector(1) + vector(2) * vector(3) ^ vector(2))[40d:1s])";

/// Limits that refuse nothing.
const REFUSING_NOTHING: [(&str, &str); 5] = [
    ("max_query_parallelism", "what is more waits, until query_timeout"),
    ("align_queries_with_step", "changes the steps"),
    ("cache_results", "says what is kept"),
    ("cache_unaligned_requests", "says what is kept"),
    ("max_cache_freshness", "says what is kept"),
];

#[test]
fn every_limit_that_a_query_hits_names_itself() {
    let rows = rows();
    let known: BTreeSet<&str> =
        CASES.iter().map(|case| case.limit).chain(REFUSING_NOTHING.iter().map(|(limit, _)| *limit)).collect();
    let written: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(known, written, "every limit of queries is looked at");

    let dir = tempfile::tempdir().unwrap();
    let mut overrides = String::from("overrides:\n");
    for (i, Case { limit, value, .. }) in CASES.iter().enumerate() {
        overrides += &format!("  t{i}: {{{limit}: {value}}}\n");
    }
    let file = dir.path().join("overrides.yaml");
    fs::write(&file, overrides).unwrap();
    let flags = ["-multitenancy-enabled=true", &format!("-limits.overrides-file={}", file.display())];
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(&flags)).unwrap();
    let now = now_ms();
    let mut request = WriteRequest::default();
    for i in 0..40 {
        let series = TimeSeries::named("many", &i.to_string());
        request.push(&(0..30).fold(series, |series, k| series.sample(now - 30_000 + 1000 * k, k as f64)));
    }
    for i in 0..CASES.len() {
        assert_eq!(firn.push_as(&format!("t{i}"), &request).unwrap().status, 204);
    }
    for (i, case) in CASES.iter().enumerate() {
        let answer = ask(&firn, &format!("t{i}"), case, now);
        assert_eq!(answer.status, case.status, "{} {}: {}", case.limit, case.path, answer.body);
        assert!(answer.body.contains(case.limit), "{} is not in {}", case.limit, answer.body);
        let shown: String = answer.body.trim().chars().take(180).collect();
        println!("{}: {} {} {shown}", case.limit, case.path, answer.status);
    }
    // A time that the request itself asks for is no limit of the tenant.
    let asked = case("", "", "query", &[("query", SLOW), ("timeout", "50ms")], 503);
    let answer = ask(&firn, "another", &asked, now);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer.body.contains("parameter timeout") && answer.body.contains("query timed out in"),
        "{}",
        answer.body
    );
    let several = ask(&firn, "a|b", &case("", "", "query", &[("query", "1")], 400), now);
    assert!(
        several.status == 400 && several.body.contains("querier.tenant_federation.enabled"),
        "{}",
        several.body
    );
}

fn ask(firn: &Firn, tenant: &str, case: &Case, now: i64) -> Answer {
    let (from, to) = (seconds(now - 30_000), seconds(now));
    let parameters: Vec<(&str, &str)> = case
        .parameters
        .iter()
        .map(|(name, value)| match *value {
            FROM => (*name, from.as_str()),
            TO => (*name, to.as_str()),
            value => (*name, value),
        })
        .collect();
    let url = format!("{}/api/v1/{}", firn.url(), case.path);
    get_with(&url, &parameters, &[("X-Scope-OrgID", tenant)]).unwrap()
}

/// The limits of queries, as the page has them.
fn rows() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let limits = page.lines().filter_map(|line| line.strip_prefix("| `limits.defaults."));
    let limits = limits.filter_map(|rest| Some(rest.split_once('`')?.0.to_string()));
    limits.skip_while(|limit| limit != FIRST).collect()
}
