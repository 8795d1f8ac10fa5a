//! A real Prometheus with Firn as its `remote_read`: what it makes of the series is what Firn makes of them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::{
    Child, Cluster, ClusterOptions, Firn, Storage, free_port, get, get_json, now_ms, part, post, seconds,
    wait_until,
};

use super::data::{INTERVAL_MS, push};
use super::sampled::Sampled;
use super::{FIRN, start};
use crate::senders::answers::compare;

/// Five hours: two windows are in tables, the rest in the head.
const SCRAPES: i64 = 1_200;

/// Raw samples, what resets do to functions, and every kind of histogram.
const QUERIES: [&str; 24] = [
    "{__name__=~\"read_[^b].*\"}",
    "{__name__=~\"read_(counter|gauge|constant|special|ended|late)\"}[2h]",
    "{__name__=~\"read_(integers|floats|custom|custom_floats|level)\"}[1h]",
    "count by (__name__) ({job=\"read\",__name__!=\"read_both\"})",
    "rate(read_counter[10m])",
    "increase(read_counter{instance=\"a\"}[3h])",
    "resets(read_counter[4h])",
    "changes(read_gauge[1h])",
    "count_over_time(read_ended[1h])",
    "read_ended offset 30m",
    "delta(read_late[40m])",
    "avg_over_time(read_constant[5m])",
    "sum by (job) (rate(read_integers[5m])) + ignoring (x) sum by (job) (rate(read_floats[5m]))",
    "rate(read_integers[30m])",
    "increase(read_floats[2h])",
    "resets(read_integers[4h])",
    "resets(read_custom[4h])",
    "histogram_quantile(0.9, rate(read_integers[20m]))",
    "histogram_quantile(0.5, sum by (job) (rate(read_custom[20m])))",
    "histogram_fraction(0, 0.2, read_custom_floats)",
    "histogram_count(read_floats)",
    "delta(read_level[20m])",
    "histogram_avg(read_level)",
    "absent(read_nothing)",
];

/// Of a series that is now floats and now histograms. Where samples are read, and not chunks, Prometheus 3.15 loses the
/// first of them behind a seek (its `concreteSeriesIterator` takes the index before the first for the first).
const MIXED: [&str; 3] =
    ["read_both[1h]", "last_over_time(read_both[10m])", "count_over_time(read_both[2h])"];

struct Reader {
    url: String,
    child: Child,
}

#[test]
fn a_prometheus_that_reads_firn_remotely_answers_as_firn_does() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let from = now_ms() / INTERVAL_MS * INTERVAL_MS - SCRAPES * INTERVAL_MS;
    push(&firn, from, 0, SCRAPES / 2);
    firn.flush_all().unwrap();
    push(&firn, from, SCRAPES / 2, SCRAPES);

    compare_readers(&binary, dir.path(), &firn, firn.url(), from);
}

/// The series of a target lie with one ingester and those of another target with another, and the older half of each is
/// in tables: what comes over the query-frontend's queue is put together of all of them.
#[test]
fn a_prometheus_that_reads_processes_apart_remotely_answers_as_one_process_does() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let from = now_ms() / INTERVAL_MS * INTERVAL_MS - SCRAPES * INTERVAL_MS;
    push(&firn, from, 0, SCRAPES);
    push(&apart, from, 0, SCRAPES / 2);
    apart.flush_all().unwrap();
    push(&apart, from, SCRAPES / 2, SCRAPES);
    compare_readers(&binary, dir.path(), &firn, &apart.query, from);
}

/// Prometheuses that read the server at `url`, as chunks and as samples, answer as `truth` does.
fn compare_readers(binary: &Path, dir: &Path, truth: &Firn, url: &str, from: i64) {
    let streamed = Reader::start(binary, dir, "streamed", url);
    let sampled = Sampled::start(url);
    let read_whole = Reader::start(binary, dir, "sampled", sampled.url());
    let to = from + (SCRAPES - 1) * INTERVAL_MS;
    let mut wrong = Vec::new();
    for (name, reader) in [("streamed", &streamed), ("sampled", &read_whole)] {
        let mixed = if name == "streamed" { &MIXED[..] } else { &[] };
        let queries = [&QUERIES[..], mixed].concat();
        let n = differences(truth, reader, &queries, (from, to), &mut wrong, name);
        println!("{name}: {} queries, {n} values compared", queries.len());
        assert!(n > 100_000, "{name}: {n}");
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sampled.n_requests() > QUERIES.len(), "{}", sampled.n_requests());
    for reader in [&streamed, &read_whole] {
        assert!(!reader.child.output().contains("level=ERROR"), "{}", reader.child.output());
    }
}

/// Of counters and histograms that began again and again, and of such that never said when they began.
#[test]
fn start_timestamps_travel_to_a_prometheus_in_chunks() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let from = now_ms() / INTERVAL_MS * INTERVAL_MS - 400 * INTERVAL_MS;
    for half in [0..200, 200..400] {
        let headers = [("Content-Type", "application/json")];
        let body = started(from, half.clone()).to_string();
        let url = format!("{}/api/v1/otlp/v1/metrics", firn.url());
        let answer = post(&url, &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        if half.start == 0 {
            firn.flush_all().unwrap();
        }
    }
    let features = "--enable-feature=promql-experimental-functions,st-storage,use-start-timestamps";
    let reader = Reader::start_with(&binary, dir.path(), "started", firn.url(), &[features]);
    let queries = [
        "start_timestamp(read_started_total)",
        "start_timestamp(read_waited)",
        "start_timestamp(read_ever_total)",
        "read_waited",
        "rate(read_started_total[10m])",
        "increase(read_waited[5m])",
        "resets(read_started_total[1h])",
    ];
    let to = from + 399 * INTERVAL_MS;
    let mut wrong = Vec::new();
    let n = differences(&firn, &reader, &queries, (from, to), &mut wrong, "started");
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(n > 200, "{n}");
    // Not all the same, and not all unknown.
    let starts = |query: &str| {
        let (from, to) = (seconds(from), seconds(to));
        let parameters = [("query", query), ("start", from.as_str()), ("end", &to), ("step", "15")];
        let answer = get_json(&format!("{}/api/v1/query_range", reader.url), &parameters).unwrap();
        let values = answer["data"]["result"][0]["values"].as_array().unwrap().clone();
        values.iter().map(|one| one[1].to_string()).collect::<std::collections::BTreeSet<String>>().len()
    };
    assert_eq!(
        (starts("start_timestamp(read_started_total)"), starts("start_timestamp(read_waited)")),
        (8, 8)
    );
    println!("started: {} queries, {n} values compared", queries.len());
}

/// Scrapes as OpenTelemetry tells them; everything begins again each fifty of them.
fn started(from: i64, scrapes: std::ops::Range<i64>) -> Value {
    let nanos = |ms: i64| format!("{ms}000000");
    let begin = |i: i64| nanos(from - 7_000 + i / 50 * 50 * INTERVAL_MS);
    let at = |i: i64| nanos(from + i * INTERVAL_MS);
    let sum = |i: i64| json!({"startTimeUnixNano": begin(i), "timeUnixNano": at(i), "asDouble": i % 50 * 3});
    let ever = |i: i64| json!({"timeUnixNano": at(i), "asDouble": i});
    let histogram = |i: i64| {
        let n = i % 50;
        json!({
            "startTimeUnixNano": begin(i), "timeUnixNano": at(i), "count": (3 * n).to_string(), "sum": n as f64,
            "scale": 1, "zeroCount": n.to_string(),
            "positive": {"offset": 2, "bucketCounts": [n.to_string(), n.to_string()]}
        })
    };
    let all = |point: &dyn Fn(i64) -> Value| scrapes.clone().map(point).collect::<Vec<Value>>();
    let counter = |name: &str, points: Vec<Value>| json!({"name": name, "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points}});
    let waited = json!({"aggregationTemporality": 2, "dataPoints": all(&histogram)});
    let metrics = json!([
        counter("read_started", all(&sum)),
        counter("read_ever", all(&ever)),
        {"name": "read_waited", "exponentialHistogram": waited}
    ]);
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})
}

impl Reader {
    fn start(binary: &Path, dir: &Path, name: &str, url: &str) -> Reader {
        Reader::start_with(binary, dir, name, url, &[])
    }

    fn start_with(binary: &Path, dir: &Path, name: &str, url: &str, flags: &[&str]) -> Reader {
        let port = free_port();
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        let config = dir.join("prometheus.yml");
        fs::write(&config, format!("remote_read: [{{url: \"{url}/api/v1/read\", read_recent: true}}]\n"))
            .unwrap();
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(flags);
        let child = Child::start(name, command, &dir).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let is_ready = || get(&format!("{url}/-/ready"), &[]).ok().filter(|answer| answer.status == 200);
        wait_until(Duration::from_secs(30), is_ready).unwrap();
        Reader { url, child }
    }
}

/// How many values agree; those that do not go to `wrong`.
fn differences(
    firn: &Firn,
    reader: &Reader,
    queries: &[&str],
    (from, to): (i64, i64),
    wrong: &mut Vec<String>,
    name: &str,
) -> usize {
    let mut n_compared = 0;
    let (instant, early) = (seconds(to), seconds(from + 3_600_000));
    for query in queries {
        let mut asked: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for at in [&instant, &early] {
            asked.push(("query", vec![("query", *query), ("time", at)]));
        }
        if !query.ends_with(']') {
            let range = vec![("query", *query), ("start", &early), ("end", &instant), ("step", "97")];
            asked.push(("query_range", range));
        }
        for (path, parameters) in asked {
            let ask = |url: &str| -> Result<Value, String> {
                get_json(&format!("{url}/api/v1/{path}"), &parameters)
            };
            let truth = ask(firn.url()).unwrap_or_else(|e| panic!("Firn refuses {query}: {e}"));
            match ask(&reader.url).and_then(|found| compare(&truth, &found)) {
                Ok(compared) => n_compared += compared.n_compared,
                Err(e) => wrong.push(format!("{name}: {path} {query} {parameters:?}: {e}")),
            }
        }
    }
    n_compared
}
