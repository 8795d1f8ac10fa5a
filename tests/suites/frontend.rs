//! Queries in parts, kept answers, the lists and the log of queries, in one process and in several.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use system_tests::{
    Child, Cluster, ClusterOptions, Firn, FirnOptions, Storage, Surface, TimeSeries, WriteRequest, free_port,
    get, get_with, metric, now_ms, post_form, wait_until,
};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");
const DAY: i64 = 24 * 3_600_000;
const STEP: i64 = 600_000;

/// Ten days of two series, a sample every ten minutes, that end two days ago; all in tables. From the first sample to
/// the last.
fn fill(surface: &Surface) -> (i64, i64) {
    let end = (now_ms() - 2 * DAY) / DAY * DAY;
    let start = end - 10 * DAY;
    for day in 0..10 {
        let mut request = WriteRequest::default();
        for instance in ["a", "b"] {
            let mut series = TimeSeries::named("kept", instance);
            for i in 0..DAY / STEP {
                let at = start + day * DAY + i * STEP;
                series = series.sample(at, (at / STEP % 1000) as f64);
            }
            request.push(&series);
        }
        assert_eq!(surface.push(&request).unwrap().status, 204);
    }
    surface.flush_all().unwrap();
    (start, end - STEP)
}

/// The answer to a range query, with what was done for it.
fn ask(url: &str, query: &str, (start, end): (i64, i64), headers: &[(&str, &str)]) -> Value {
    let secs = |ms: i64| (ms / 1000).to_string();
    let (start, end, step) = (secs(start), secs(end), secs(STEP));
    let parameters = [("query", query), ("start", &start), ("end", &end), ("step", &step), ("stats", "true")];
    let answer = get_with(&format!("{url}/api/v1/query_range"), &parameters, headers).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].clone()
}

fn hits(answer: &Value) -> (u64, u64) {
    let frontend = &answer["stats"]["frontend"];
    (frontend["cacheHits"].as_u64().unwrap(), frontend["evaluations"].as_u64().unwrap())
}

fn delete(url: &str, selector: &str) {
    let answer =
        post_form(&format!("{url}/api/v1/admin/tsdb/delete_series"), &[("match[]", selector)]).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);
}

const QUERY: &str = "sum by (job) (kept)";
const NO_STORE: [(&str, &str); 1] = [("Cache-Control", "no-store")];

#[test]
fn one_process_keeps_answers_until_a_deletion_and_logs_its_queries() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["-query-frontend.log-queries-longer-than=1ms"];
    let mut firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(&flags)).unwrap();
    let range = fill(&firn);
    let url = firn.url().to_string();
    let grafana = [
        ("X-Dashboard-UID", "board-7"),
        ("X-Panel-Id", "12"),
        ("X-Datasource-Uid", "ds"),
        ("X-Grafana-Org-Id", "3"),
        ("User-Agent", "Grafana/12.1"),
    ];
    let first = ask(&url, QUERY, range, &grafana);
    assert_eq!(hits(&first), (0, 10));
    let second = ask(&url, QUERY, range, &grafana);
    assert_eq!((hits(&second), &second["result"]), ((10, 0), &first["result"]));
    assert_eq!(ask(&url, QUERY, range, &NO_STORE)["result"], first["result"]);
    assert!(metric(&url, "firn_query_frontend_results_cache_bytes").unwrap().unwrap() > 0.0);
    delete(&url, "{job=\"a\"}");
    let without = ask(&url, QUERY, range, &[]);
    assert_eq!((hits(&without), without["result"].as_array().unwrap().len()), ((0, 10), 1));
    assert_eq!(without["result"], ask(&url, QUERY, range, &NO_STORE)["result"]);
    let log = firn.child().output();
    let line = log.lines().find(|line| line.contains("slow query")).unwrap_or_else(|| panic!("{log}"));
    for field in [
        "tenant=anonymous",
        "status=200",
        "duration_ms=",
        "queue_ms=",
        "series=",
        "samples=",
        "bytes=",
        "requests=",
        "parts=10",
        "cache_hits=",
        "evaluations=",
        "dashboard=board-7",
        "panel=12",
        "datasource=ds",
        "grafana_org=3",
        "Grafana/12.1",
        "sum by (job) (kept)",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    let top = get(&format!("{url}/api/v1/status/top_queries"), &[]).unwrap().json();
    assert_eq!((&top["topByCount"][0]["query"], &top["topByCount"][0]["count"]), (&QUERY.into(), &5.into()));
}

#[test]
fn a_client_that_leaves_stops_its_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let (_, end) = fill(&firn);
    // So many steps within steps that it would take minutes.
    let query = "max_over_time(max_over_time(kept[1d:1s])[1d:1s])".replace('[', "%5B").replace(']', "%5D");
    let request =
        format!("GET /api/v1/query?query={query}&time={} HTTP/1.1\r\nHost: firn\r\n\r\n", end / 1000);
    let mut connection = TcpStream::connect(firn.address()).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let computing = || firn.metric("firn_querier_queries_computing").unwrap().unwrap_or(0.0);
    let active = || get(&format!("{}/api/v1/status/active_queries", firn.url()), &[]).unwrap().json();
    let within =
        |until: &dyn Fn() -> bool| wait_until(Duration::from_secs(20), || until().then_some(())).is_some();
    assert!(
        within(&|| computing() == 1.0 && active()["data"].as_array().unwrap().len() == 1),
        "{}",
        active()
    );
    let shown = active();
    assert!(shown["data"][0]["query"].as_str().unwrap().starts_with("max_over_time"), "{shown}");
    assert!(shown["data"][0]["duration"].as_str().unwrap().ends_with('s'), "{shown}");
    drop(connection);
    assert!(within(&|| computing() == 0.0), "a thread still computes for nobody");
    assert_eq!(active()["data"], Value::Array(Vec::new()));
    let canceled = get(&format!("{}/metrics", firn.url()), &[]).unwrap().body;
    assert!(canceled.contains("firn_query_frontend_queries_total{outcome=\"canceled\"} 1"), "{canceled}");
}

#[test]
fn more_queries_than_may_wait_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["-querier.max-concurrent=1", "-query-frontend.max-outstanding-requests-per-tenant=1"];
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(&flags)).unwrap();
    let (_, end) = fill(&firn);
    let query = "max_over_time(max_over_time(kept[1d:1s])[1d:1s])".replace('[', "%5B").replace(']', "%5D");
    let request =
        format!("GET /api/v1/query?query={query}&time={} HTTP/1.1\r\nHost: firn\r\n\r\n", end / 1000);
    let mut connections = Vec::new();
    let count = |name: &str| firn.metric(name).unwrap().unwrap_or(0.0);
    for (running, waiting) in [(1.0, 0.0), (1.0, 1.0)] {
        let mut connection = TcpStream::connect(firn.address()).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        connections.push(connection);
        let is_there = || {
            let figures = (count("firn_querier_queries_evaluating"), count("firn_querier_queue_length"));
            (figures == (running, waiting)).then_some(())
        };
        assert!(wait_until(Duration::from_secs(20), is_there).is_some(), "{running} {waiting}");
    }
    let ask = |tenant: &str| {
        let parameters = [("query", "up"), ("timeout", "500ms")];
        get_with(&format!("{}/api/v1/query", firn.url()), &parameters, &[("X-Scope-OrgID", tenant)]).unwrap()
    };
    let refused = ask("anonymous");
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.body.contains("query_frontend.max_outstanding_requests_per_tenant"), "{}", refused.body);
    let other = ask("other");
    assert_eq!(other.status, 503, "another tenant waits for its own turn: {}", other.body);
    assert!(other.body.contains("query queue"), "{}", other.body);
}

/// Another query-frontend of the cluster.
fn second_frontend(dir: &Path, port: u16) -> Child {
    let mut command = Command::new(FIRN);
    command
        .arg(format!("-config.file={}", dir.join("cluster/firn.yaml").display()))
        .arg("-target=query-frontend")
        .arg(format!("-server.http-listen-port={port}"));
    Child::start("query-frontend-2", command, dir).unwrap()
}

#[test]
fn a_deletion_is_not_hidden_by_what_another_frontend_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("tables")))
        .with_ingesters(2)
        .with_frontend(&format!("127.0.0.1:{port}"));
    let cluster = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let _second = second_frontend(dir.path(), port);
    let other = format!("http://127.0.0.1:{port}");
    let ready = || get(&format!("{other}/ready"), &[]).is_ok_and(|answer| answer.status == 200).then_some(());
    assert!(wait_until(Duration::from_secs(60), ready).is_some(), "no querier came to the second frontend");
    let range = fill(&cluster);
    let urls = [cluster.query.clone(), other];
    let mut answers = Vec::new();
    for url in &urls {
        let first = ask(url, QUERY, range, &[]);
        let second = ask(url, QUERY, range, &[]);
        assert_eq!((hits(&first), hits(&second)), ((0, 10), (10, 0)), "{url} keeps for itself");
        assert_eq!(first["result"], second["result"]);
        answers.push(first["result"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    delete(&cluster.url("compactor").unwrap(), "{job=\"a\"}");
    for url in &urls {
        let answer = ask(url, QUERY, range, &[]);
        assert_eq!((hits(&answer).0, answer["result"].as_array().unwrap().len()), (0, 1), "{url}");
        assert_eq!(answer["result"], ask(url, QUERY, range, &NO_STORE)["result"]);
    }
    // A sample that comes late is there at once, in every answer.
    let mut late = WriteRequest::default();
    late.push(&TimeSeries::named("kept", "late").sample(range.0 + DAY, 5.0));
    assert_eq!(cluster.push(&late).unwrap().status, 204);
    for url in &urls {
        let answer = ask(url, QUERY, range, &[]);
        assert_eq!(answer["result"].as_array().unwrap().len(), 2, "{url}");
    }
    cluster.flush_all().unwrap();
    for url in &urls {
        let (first, second) = (ask(url, QUERY, range, &[]), ask(url, QUERY, range, &[]));
        assert_eq!((hits(&second), &second["result"]), ((10, 0), &first["result"]), "{url}");
    }
}
