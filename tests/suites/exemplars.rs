//! Exemplars and descriptions of metric families, from the push to the answer and to other engines' tables: in memory,
//! after a death, in the table, and after a restart they are the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use block::Day;
use model::Labels;
use serde_json::{Value, json};
use system_tests::{
    Answer, Child, Firn, FirnOptions, TimeSeries, WriteRequest, free_port, get, get_json, now_ms, part, post,
    post_form, seconds, wait_until,
};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");
const WINDOW_MS: i64 = 2 * 3_600_000;
const METRIC: &str = "latency_seconds_bucket";

/// Each reader of the tables: its engine, its Python.
const READERS: [(&str, &str); 3] =
    [("deltalake", "duckdb2/bin/python"), ("duckdb", "duckdb1/bin/python"), ("spark", "spark/bin/python")];

/// What was pushed: series by instance, exemplar by number.
struct Pushed {
    base_ms: i64,
    instances: i64,
    exemplars: i64,
}

impl Pushed {
    fn timestamp(&self, instance: i64, i: i64) -> i64 {
        // Over two windows, so that a cut has only exemplars of one of them.
        self.base_ms + i * WINDOW_MS / self.exemplars * 2 + instance + 1
    }

    fn value(instance: i64, i: i64) -> f64 {
        [0.1, -0.0, f64::INFINITY, 1e-300, 7.0][(i % 5) as usize] * (instance + 1) as f64
    }

    fn trace(instance: i64, i: i64) -> String {
        format!("{:032x}", (instance + 1) * 1_000_003 + i)
    }

    fn push(&self, firn: &Firn) {
        let mut request = WriteRequest::default();
        for instance in 0..self.instances {
            let name = format!("h{instance}:80");
            let labels = [("__name__", METRIC), ("instance", name.as_str()), ("job", "shop"), ("le", "0.5")];
            request.push(&TimeSeries::new(labels).sample(self.timestamp(instance, 0), instance as f64));
            for i in 0..self.exemplars {
                let trace = Pushed::trace(instance, i);
                // Not in the order of names, as senders do; each is a series of its own, as Prometheus sends them.
                let own = [("trace_id", trace.as_str()), ("span_id", "00f067aa0ba902b7"), ("a", "é\"")];
                let at = self.timestamp(instance, i);
                request.push(&TimeSeries::new(labels).exemplar(at, Pushed::value(instance, i), own));
            }
        }
        request.metadata("latency_seconds", 3, "How long it took.\nIn \"seconds\".");
        request.metadata("latency_seconds", 3, "Another release says this.");
        request.metadata("up", 2, "");
        let answer = firn.push(&request).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// What `query_exemplars` must answer for one instance.
    fn of_instance(&self, instance: i64) -> Value {
        let exemplars: Vec<Value> = (0..self.exemplars)
            .map(|i| {
                let trace = Pushed::trace(instance, i);
                json!({
                    "labels": {"a": "é\"", "span_id": "00f067aa0ba902b7", "trace_id": trace},
                    "value": text(Pushed::value(instance, i)),
                    "timestamp": self.timestamp(instance, i) as f64 / 1000.0,
                })
            })
            .collect();
        json!({"seriesLabels": self.labels(instance), "exemplars": exemplars})
    }

    fn labels(&self, instance: i64) -> Value {
        json!({"__name__": METRIC, "instance": format!("h{instance}:80"), "job": "shop", "le": "0.5"})
    }

    /// The rows of the table, by time.
    fn rows(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for instance in 0..self.instances {
            let labels = self.labels(instance);
            let pairs =
                labels.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
            let id = format!("{:032x}", Labels::from_pairs(pairs).id().0);
            for i in 0..self.exemplars {
                let at = self.timestamp(instance, i);
                let trace = Pushed::trace(instance, i);
                let row = json!({
                    "day": Day::of(at).to_string(),
                    "metric": METRIC,
                    "series_id": id,
                    "labels": labels,
                    "l_instance": format!("h{instance}:80"),
                    "l_job": "shop",
                    "ts": at,
                    "value": format!("{:016x}", Pushed::value(instance, i).to_bits()),
                    "trace_id": trace,
                    "span_id": "00f067aa0ba902b7",
                    "exemplar_labels": {"a": "é\"", "span_id": "00f067aa0ba902b7", "trace_id": trace},
                });
                rows.push(row);
            }
        }
        rows.sort_by_key(time_of);
        rows
    }
}

/// A float as the API writes it.
fn text(value: f64) -> String {
    match value {
        v if v.is_infinite() => "+Inf".to_string(),
        v if v != 0.0 && v.abs() < 1e-6 => format!("{v:e}"),
        v => v.to_string(),
    }
}

fn exemplars(firn: &Firn, query: &str, from_ms: i64, to_ms: i64) -> Value {
    let url = format!("{}/api/v1/query_exemplars", firn.url());
    let (from, to) = (seconds(from_ms), seconds(to_ms));
    let parameters = [("query", query), ("start", &from), ("end", &to)];
    let answer = get_json(&url, &parameters).unwrap();
    let posted = post_form(&url, &parameters).unwrap();
    assert_eq!(posted.json(), answer, "by POST");
    answer["data"].clone()
}

fn check(firn: &Firn, pushed: &Pushed, when: &str) {
    let (from, to) = (pushed.base_ms, pushed.base_ms + 2 * WINDOW_MS);
    let all: Vec<Value> = (0..pushed.instances).map(|instance| pushed.of_instance(instance)).collect();
    let found = exemplars(firn, METRIC, from, to);
    assert_eq!(found, Value::Array(all.clone()), "{when}");
    let two = format!("rate({METRIC}{{instance=\"h1:80\"}}[5m]) / on(x) {METRIC}{{instance=~\"h[23]:80\"}}");
    assert_eq!(
        exemplars(firn, &two, from, to),
        Value::Array(all[1..4].to_vec()),
        "{when}: of both selectors"
    );
    let one_ms = pushed.timestamp(2, 3);
    let found = exemplars(firn, METRIC, one_ms, one_ms);
    assert_eq!(found[0]["exemplars"], json!([all[2]["exemplars"][3]]), "{when}: of one millisecond");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{when}");
    assert_eq!(exemplars(firn, "nothing_like_it", from, to), json!([]), "{when}");
    check_metadata(firn, when);
}

fn check_metadata(firn: &Firn, when: &str) {
    let metadata = |query: &[(&str, &str)]| {
        get_json(&format!("{}/api/v1/metadata", firn.url()), query).unwrap()["data"].clone()
    };
    let first = json!({"type": "histogram", "unit": "", "help": "How long it took.\nIn \"seconds\"."});
    let second = json!({"type": "histogram", "unit": "", "help": "Another release says this."});
    let up = json!([{"type": "gauge", "unit": "", "help": ""}]);
    let all = metadata(&[]);
    let names: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert_eq!(names, ["latency_seconds", "up"], "{when}");
    let latency = all["latency_seconds"].as_array().unwrap();
    assert!(latency.len() == 2 && latency.contains(&first) && latency.contains(&second), "{when}: {all}");
    assert_eq!(metadata(&[("metric", "up")]), json!({"up": up}), "{when}");
    let shortened = metadata(&[("limit_per_metric", "1")]);
    assert_eq!(shortened["latency_seconds"].as_array().map(Vec::len), Some(1), "{when}");
    assert_eq!(metadata(&[("limit", "1")]).as_object().map(|data| data.len()), Some(1), "{when}");
}

#[test]
fn exemplars_and_descriptions_are_the_same_in_memory_after_a_death_and_in_every_readers_table() {
    let dir = tempfile::tempdir().unwrap();
    // Two windows that ended long ago.
    let base_ms = now_ms() / WINDOW_MS * WINDOW_MS - 4 * WINDOW_MS;
    let pushed = Pushed { base_ms, instances: 6, exemplars: 20 };
    let start = || Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let mut firn = start();
    pushed.push(&firn);
    check(&firn, &pushed, "in memory");
    firn.child().kill();
    let mut firn = start();
    check(&firn, &pushed, "after a death");
    // Sent again, as after an answer that was lost.
    pushed.push(&firn);
    check(&firn, &pushed, "sent again");
    firn.flush_all().unwrap();
    check(&firn, &pushed, "in the table");
    firn.child().kill();
    let firn = start();
    check(&firn, &pushed, "after another death");
    pushed.push(&firn);
    firn.flush_all().unwrap();
    check(&firn, &pushed, "twice in the table, once in the answer");
    drop(firn);
    read_by_others(dir.path(), &pushed);
}

/// What each reader finds in the tables.
fn read_by_others(dir: &Path, pushed: &Pushed) {
    let table = |name: &str| dir.join("tables/anonymous").join(name);
    for (engine, python) in READERS {
        let Some(python) = part(python) else { continue };
        let mut rows = read(engine, &python, &table("exemplars"));
        rows.sort_by_key(time_of);
        let n_rows = rows.len();
        rows.dedup();
        assert_eq!(rows, pushed.rows(), "{engine}");
        assert_eq!(n_rows, 2 * rows.len(), "{engine}: a repetition after the flush is another row");
        let described = read(engine, &python, &table("metadata"));
        let told: Vec<(&str, &str, &str)> = described
            .iter()
            .map(|row| (text_of(row, "family"), text_of(row, "type"), text_of(row, "help")))
            .collect();
        assert_eq!(told.len(), 3, "{engine}: {described:?}");
        assert!(told.contains(&("up", "gauge", "")), "{engine}: {told:?}");
        let seen: Vec<i64> = described.iter().filter_map(|row| row["seen_at"].as_i64()).collect();
        assert!(seen.iter().all(|at| (now_ms() - 600_000..=now_ms()).contains(at)), "{engine}: {seen:?}");
        println!("{engine}: {n_rows} exemplars, {} descriptions", described.len());
    }
}

fn time_of(row: &Value) -> Option<i64> {
    row["ts"].as_i64()
}

fn text_of<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn read(engine: &str, python: &Path, table: &Path) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers/rows.py");
    let mut command = Command::new(python);
    command.arg(script).arg(engine).arg(table).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_tenant_without_exemplars_or_descriptions_has_no_tables_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let mut request = WriteRequest::default();
    request.push(&TimeSeries::named("up", "a").sample(now_ms(), 1.0));
    assert_eq!(firn.push(&request).unwrap().status, 204);
    firn.flush_all().unwrap();
    // Asking does not make them, nor a tenant that has nothing at all.
    assert_eq!(exemplars(&firn, "up", 0, now_ms()), json!([]));
    assert_eq!(get(&format!("{}/api/v1/metadata", firn.url()), &[]).unwrap().json()["data"], json!({}));
    let folders: Vec<String> = std::fs::read_dir(dir.path().join("tables/anonymous"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, ["metrics"]);
}

#[test]
fn exemplars_beyond_their_limit_are_counted_and_fail_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = FirnOptions::flags(&["-limits.defaults.max-exemplars-per-series=5"]);
    let firn = Firn::start(FIRN, dir.path(), &options).unwrap();
    let now = now_ms();
    let mut series = TimeSeries::named(METRIC, "a").sample(now, 1.0);
    for i in 0..12 {
        series = series.exemplar(now / WINDOW_MS * WINDOW_MS + i, i as f64, [("trace_id", "t")]);
    }
    let mut request = WriteRequest::default();
    request.push(&series);
    let answer = firn.push(&request).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);
    let found = exemplars(&firn, METRIC, now - WINDOW_MS, now);
    assert_eq!(found[0]["exemplars"].as_array().map(Vec::len), Some(5));
    assert_eq!(firn.metric("firn_ingester_refused_exemplars_total").unwrap(), Some(7.0));
    assert_eq!(firn.number(&format!("count({METRIC})"), &seconds(now)).unwrap(), 1.0);
}

/// A Prometheus that stores exemplars, scrapes itself and sends everything on.
fn start_prometheus(dir: &Path, firn: &Firn) -> Option<(Child, String)> {
    let binary = part("bin/prometheus")?;
    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{address}']}}]}}]\n\
         remote_write:\n\
         - url: {}/api/v1/push\n\
         \x20 send_exemplars: true\n\
         \x20 metadata_config: {{send: true, send_interval: 1s}}\n",
        firn.url()
    );
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(binary);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"]);
    let child = Child::start("prometheus", command, dir).unwrap();
    let url = format!("http://{address}");
    let ready = || get(&format!("{url}/-/ready"), &[]).is_ok_and(|answer| answer.status == 200).then_some(());
    wait_until(Duration::from_secs(60), ready).unwrap();
    Some((child, url))
}

#[test]
fn exemplars_and_metadata_that_prometheus_sends_are_answered_as_prometheus_answers_them() {
    let dir = tempfile::tempdir().unwrap();
    let firn_dir = dir.path().join("firn");
    std::fs::create_dir(&firn_dir).unwrap();
    let firn = Firn::start(FIRN, &firn_dir, &FirnOptions::default()).unwrap();
    let Some((_prometheus, url)) = start_prometheus(dir.path(), &firn) else { return };
    // Prometheus sends on nothing that is older than its own start.
    let base_ms = now_ms() + 1_000;
    let mut request = WriteRequest::default();
    for le in ["+Inf", "0.5", "1"] {
        let labels = [("__name__", METRIC), ("instance", "h:80"), ("job", "shop"), ("le", le)];
        let mut series = TimeSeries::new(labels);
        for i in 0..20 {
            series = series.sample(base_ms + i * 1000, i as f64);
            // Zero without a sign: remote write leaves a value of zero out, and with it the sign.
            let (trace, value) = (Pushed::trace(0, i), Pushed::value(0, i) + 0.0);
            let own = [("span_id", "00f067aa0ba902b7"), ("trace_id", trace.as_str())];
            series = series.exemplar(base_ms + i * 1000 + i % 3, value, own);
        }
        // Without labels, as an example may be.
        series = series.exemplar(base_ms + 20_000, 1.0, []);
        request.push(&series);
    }
    let answer = push(&format!("{url}/api/v1/write"), &request);
    assert_eq!(answer.status, 204, "{}", answer.body);
    let (from, to) = (seconds(base_ms), seconds(base_ms + 30_000));
    let narrow = (seconds(base_ms + 5_000), seconds(base_ms + 8_001));
    let asked = [
        ("query_exemplars", vec![("query", METRIC), ("start", from.as_str()), ("end", to.as_str())]),
        (
            "query_exemplars",
            vec![("query", METRIC), ("start", narrow.0.as_str()), ("end", narrow.1.as_str())],
        ),
        (
            "query_exemplars",
            vec![
                (
                    "query",
                    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket{le!=\"1\"}[5m])))",
                ),
                ("start", from.as_str()),
            ],
        ),
        ("query_exemplars", vec![("query", "nothing_like_it")]),
        ("metadata", vec![]),
        ("metadata", vec![("metric", "go_goroutines")]),
        ("metadata", vec![("metric", "nothing_like_it")]),
    ];
    let ask = |url: &str, (path, query): &(&str, Vec<(&str, &str)>)| {
        get_json(&format!("{url}/api/v1/{path}"), query).unwrap()["data"].clone()
    };
    let differing = || {
        let pairs = asked.iter().map(|one| (one, ask(&url, one), ask(firn.url(), one)));
        pairs.into_iter().find(|(_, theirs, ours)| theirs != ours).map(|found| format!("{found:?}"))
    };
    let has_all = || {
        let of = |path: &str| get_json(&format!("{url}/api/v1/{path}"), &[]).unwrap()["data"].clone();
        let n_families = of("metadata").as_object().map_or(0, |families| families.len());
        (n_families > 100).then_some(())
    };
    wait_until(Duration::from_secs(60), has_all).unwrap();
    let is_same = || differing().is_none().then_some(());
    assert!(wait_until(Duration::from_secs(60), is_same).is_some(), "{:?}", differing());
    let before: Vec<Value> = asked.iter().map(|one| ask(firn.url(), one)).collect();
    firn.flush_all().unwrap();
    for (one, before) in asked.iter().zip(before) {
        let mut after = ask(firn.url(), one);
        // Prometheus scrapes itself and goes on sending: a family may have come meanwhile.
        if let (Some(after), Some(before)) = (after.as_object_mut(), before.as_object()) {
            after.retain(|family, _| before.contains_key(family));
        }
        assert_eq!(after, before, "in the table: {one:?}");
    }
}

/// Pushes to another receiver.
fn push(url: &str, request: &WriteRequest) -> Answer {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    post(url, &headers, &request.snappy()).unwrap()
}
