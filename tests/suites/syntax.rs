//! `format_query` and `parse_query` beside those of a real Prometheus, over every expression of its own test scripts.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use system_tests::{Child, Firn, FirnOptions, free_port, get, part, post_form, shared, wait_until};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

const FEATURES: &str =
    "promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers";

#[test]
fn queries_are_parsed_and_formatted_as_prometheus_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(binary), Some(scripts)) = (part("bin/prometheus"), shared("conformance/promqltest")) else {
        return;
    };
    let (prometheus, _child) = start_prometheus(&binary, dir.path());
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let queries = queries(&scripts);
    assert!(queries.len() > 1000, "{} queries", queries.len());
    let (mut n_equal, mut different) = (0, Vec::new());
    for query in &queries {
        for endpoint in ["format_query", "parse_query"] {
            let ask =
                |url: &str| post_form(&format!("{url}/api/v1/{endpoint}"), &[("query", query)]).unwrap();
            let (theirs, ours) = (ask(&prometheus), ask(firn.url()));
            // A tree with a NaN is one that Prometheus cannot say.
            if theirs.status == 500 || theirs.body.is_empty() || !theirs.body.starts_with('{') {
                continue;
            }
            let data = |body: &str| serde_json::from_str::<Value>(body).unwrap()["data"].clone();
            match (ours.status, theirs.status) {
                (200, 200) if data(&ours.body) == data(&theirs.body) => n_equal += 1,
                (400, 400) => {}
                _ => different.push(format!("{endpoint} {query}\n  {}\n  {}", ours.body, theirs.body)),
            }
        }
    }
    println!("syntax: {} queries, {n_equal} trees and texts equal to Prometheus's", queries.len());
    let shown = different.iter().take(5).cloned().collect::<Vec<String>>().join("\n");
    assert!(different.is_empty(), "{} differ:\n{shown}", different.len());
    assert!(n_equal > queries.len(), "most queries parse");
}

/// The expressions of all scripts, each also wrapped until it does not fit on a line.
fn queries(scripts: &std::path::Path) -> BTreeSet<String> {
    let mut queries = BTreeSet::new();
    let files = fs::read_dir(scripts).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|e| e == "test")) {
        for line in fs::read_to_string(file).unwrap().lines().map(str::trim) {
            let instant = line.strip_prefix("eval instant at ").and_then(|rest| rest.split_once(' '));
            let range = line.strip_prefix("eval range from ").and_then(|rest| {
                let (_, rest) = rest.split_once(" step ")?;
                rest.split_once(' ')
            });
            let Some((_, query)) = instant.or(range) else { continue };
            let (query, pad) = (query.trim(), "p".repeat(90));
            queries.insert(query.to_string());
            queries.insert(format!("({query}) + on (a, b) group_left (c) sum without (x) ({pad})"));
            queries.insert(format!("topk(5, -(({query}) > bool ignoring () avg({pad})))"));
            queries.insert(format!("max_over_time((({query}) / {pad})[1h:5m] offset 2m)"));
        }
    }
    queries
}

fn start_prometheus(binary: &std::path::Path, dir: &std::path::Path) -> (String, Child) {
    let port = free_port();
    let config = dir.join("prometheus.yml");
    fs::write(&config, "global: {}\n").unwrap();
    let mut command = Command::new(binary);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!("--enable-feature={FEATURES}"));
    let child = Child::start("prometheus", command, dir).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let is_ready = || get(&format!("{url}/-/ready"), &[]).ok().filter(|answer| answer.status == 200);
    wait_until(Duration::from_secs(30), is_ready).unwrap();
    (url, child)
}
