//! Every path and method of Prometheus's own document, asked of it and of Firn: the same status for the same request,
//! and a body that is what Prometheus's schema says. Where that cannot be, a rule says why.

use std::collections::BTreeMap;

use serde_json::Value;
use system_tests::{
    Cluster, ClusterOptions, Firn, FirnOptions, Prometheus, RawAnswer, Storage, Surface, TimeSeries,
    WriteRequest, get, now_ms, part, seconds, send, snappy,
};

use super::schema::Document;
use crate::twins::{Data, STEP_MS};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// What of Prometheus is off unless asked for.
const FEATURES: &str = "promql-delayed-name-removal,type-and-unit-labels,metadata-wal-records,search-api";

type Headers = Vec<(&'static str, &'static str)>;

/// A request without its method.
struct Ask {
    /// Below `/api/v1`.
    path: String,
    /// The path as the document has it.
    template: &'static str,
    /// Of the URL, or of a form.
    parameters: Vec<(&'static str, String)>,
    /// Instead of a form.
    body: Option<(Headers, Vec<u8>)>,
    rule: Option<&'static Rule>,
}

/// Where Firn answers otherwise.
struct Rule {
    name: &'static str,
    why: &'static str,
    /// Their status and ours.
    statuses: (u16, u16),
}

const RULES: [&Rule; 5] = [&SNAPSHOT, &NO_STREAM, &NO_SELECTOR, &NOT_OPEN_TELEMETRY, &REVERSED];

static SNAPSHOT: Rule = Rule {
    name: "snapshot",
    why: "tables are files that do not change and a snapshot of them would be a copy; Firn says how to make one",
    statuses: (200, 501),
};
static NO_STREAM: Rule = Rule {
    name: "no stream",
    why: "Prometheus keeps a stream open for notifications; Firn has none, and by 204 a browser knows not to ask again",
    statuses: (200, 204),
};
static NO_SELECTOR: Rule = Rule {
    name: "exemplars of nothing",
    why: "to a query without a selector Prometheus answers 204 and nothing, which is not JSON; Firn has an empty list",
    statuses: (204, 200),
};
static REVERSED: Rule = Rule {
    name: "a range that ends before it begins",
    why: "Prometheus answers with what happens to be in its head; Firn says what is wrong, as both do for queries",
    statuses: (200, 400),
};
static NOT_OPEN_TELEMETRY: Rule = Rule {
    name: "neither protobuf nor JSON",
    why: "of a media type that is not taken Firn says so with 415, as both do for remote write; Prometheus says 400",
    statuses: (400, 415),
};

/// What Firn tells beyond Prometheus: by path of the document, where, and by which key.
const MORE: [(&str, &str, &str); 7] = [
    ("/status/buildinfo", "/data", "application"),
    ("/status/buildinfo", "/data", "firnVersion"),
    ("/query", "/data/stats", "storage"),
    ("/query", "/data/stats", "frontend"),
    ("/query_range", "/data/stats", "storage"),
    ("/query_range", "/data/stats", "frontend"),
    ("/status/tsdb/blocks", "/data/blocks", "numBytes"),
];

#[test]
fn every_path_and_method_of_prometheus_is_answered_with_its_status_and_its_shape() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new();
    let features = format!("--enable-feature={FEATURES}");
    let flags = [&features, "--web.enable-admin-api", "--web.enable-otlp-receiver"];
    let prometheus = Prometheus::start(&binary, dir.path(), &flags).unwrap();
    data.push_to_prometheus(&prometheus);
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let surfaces: [(&str, &Surface, String); 2] = [
        ("one process", &firn, firn.url().to_string()),
        ("a process per role", &apart, apart.url("compactor").unwrap()),
    ];
    for (_, surface, _) in &surfaces {
        data.push_to(surface);
        surface.flush_all().unwrap();
    }
    let url = format!("{}/api/v1/openapi.yaml", prometheus.url());
    let document = Document::parse(&get(&url, &[("openapi_version", "3.2")]).unwrap().body);
    let asks = asks(&data);
    let mut tally = Tally::default();
    for (path, method, operation) in document.operations() {
        let of_path: Vec<&Ask> = asks.iter().filter(|ask| ask.template == path).collect();
        assert!(of_path.len() > 1 || path.ends_with("/live"), "nothing to ask of {path}");
        for ask in of_path {
            let theirs = match path.ends_with("/live") {
                // Its stream would not end.
                true => RawAnswer { status: 200, headers: Vec::new(), body: Vec::new() },
                false => ask.send(method, prometheus.url()).unwrap(),
            };
            for (form, surface, compactor) in &surfaces {
                let base = match path.split('/').nth(1) {
                    Some("write" | "otlp") => &surface.push,
                    Some("admin") => compactor,
                    _ => &surface.query,
                };
                let ours = ask.send(method, base).unwrap();
                if let Err(e) = tally.judge(&document, operation, ask, &theirs, &ours) {
                    tally.wrong.push(format!("{form}: {method} {}: {e}", ask.shown()));
                }
            }
        }
    }
    tally.wrong.extend(methods_beyond(&document, prometheus.url(), &surfaces[0].1.query));
    tally.conclude();
}

/// What was found.
#[derive(Default)]
struct Tally {
    n_asked: usize,
    by_rule: BTreeMap<&'static str, usize>,
    /// Bodies of Prometheus's that are not what its own document says.
    n_beyond: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn judge(
        &mut self,
        document: &Document,
        operation: &Value,
        ask: &Ask,
        theirs: &RawAnswer,
        ours: &RawAnswer,
    ) -> Result<(), String> {
        self.n_asked += 1;
        let Some(rule) = ask.rule else {
            return compare(document, operation, ask, theirs, ours, &mut self.n_beyond);
        };
        *self.by_rule.entry(rule.name).or_default() += 1;
        let found = (theirs.status, ours.status);
        if found == rule.statuses { Ok(()) } else { Err(format!("the rule {:?}: {found:?}", rule.name)) }
    }

    fn conclude(self) {
        let Tally { n_asked, by_rule, n_beyond, wrong } = self;
        println!(
            "paths: {n_asked} requests, {n_beyond} bodies of Prometheus's are not what its own document says"
        );
        for rule in RULES {
            let n = by_rule.get(rule.name).copied().unwrap_or(0);
            println!("rule {:?}, {n} requests: {}", rule.name, rule.why);
            assert!(n > 0, "no request needs the rule {:?}", rule.name);
        }
        let shown: Vec<String> = wrong.iter().take(40).cloned().collect();
        assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), shown.join("\n"));
    }
}

/// Status, media type and, where Prometheus keeps its own word, the schema of the body.
fn compare(
    document: &Document,
    operation: &Value,
    ask: &Ask,
    theirs: &RawAnswer,
    ours: &RawAnswer,
    n_beyond: &mut usize,
) -> Result<(), String> {
    let text =
        |answer: &RawAnswer| String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>();
    if theirs.status != ours.status {
        return Err(format!("{} {}, should be {} {}", ours.status, text(ours), theirs.status, text(theirs)));
    }
    let media_type = |answer: &RawAnswer| {
        let header = answer.header("content-type").unwrap_or_default();
        header.split(';').next().unwrap_or_default().to_string()
    };
    let Ok(their_body) = serde_json::from_slice::<Value>(&theirs.body) else { return Ok(()) };
    if media_type(theirs) != media_type(ours) {
        return Err(format!("{:?}, should be {:?}", media_type(ours), media_type(theirs)));
    }
    let our_body: Value = serde_json::from_slice(&ours.body).map_err(|e| format!("{e}: {}", text(ours)))?;
    let schema =
        document.answer(operation, theirs.status).and_then(|content| content.get("application/json"));
    let Some(schema) = schema.and_then(|content| content.get("schema")) else { return Ok(()) };
    if document.check(schema, &their_body, "their body").is_err() {
        *n_beyond += 1;
        return same_keys(&their_body, &our_body, "body");
    }
    document.check(schema, &without_more(ask.template, our_body), "our body")
}

/// Whether the keys of two objects and of what lies in them are the same, where both are no lists.
fn same_keys(theirs: &Value, ours: &Value, at: &str) -> Result<(), String> {
    let (Some(a), Some(b)) = (theirs.as_object(), ours.as_object()) else { return Ok(()) };
    if !a.keys().collect::<std::collections::BTreeSet<_>>().is_subset(&b.keys().collect()) {
        return Err(format!("{at}: keys {:?}, should be {:?}", b.keys(), a.keys()));
    }
    a.iter().try_for_each(|(key, value)| same_keys(value, &b[key], &format!("{at}.{key}")))
}

/// A body of ours without what only Firn tells.
fn without_more(template: &str, mut body: Value) -> Value {
    let forget = |at: Option<&mut Value>, key: &str| {
        if let Some(object) = at.and_then(Value::as_object_mut) {
            object.remove(key);
        }
    };
    for (path, place, key) in MORE {
        match body.pointer_mut(place) {
            Some(Value::Array(list)) if path == template => {
                list.iter_mut().for_each(|item| forget(item.pointer_mut("/stats"), key));
            }
            at if path == template => forget(at, key),
            _ => {}
        }
    }
    body
}

/// Methods that the document does not have: refused by both, or taken by Firn where it reads by GET and POST alike.
fn methods_beyond(document: &Document, theirs: &str, ours: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, method, _) in document.operations() {
        known.entry(path).or_default().push(method);
    }
    for (path, known) in known.iter().filter(|(path, _)| !path.ends_with("/live")) {
        for method in ["get", "post", "put", "delete"].into_iter().filter(|method| !known.contains(method)) {
            let path = path.replace("{name}", "job");
            let status = |url: &str| {
                send(&method.to_uppercase(), &format!("{url}/api/v1{path}"), &[], &[]).unwrap().status
            };
            let reads_alike = known.contains(&"get")
                && method == "post"
                && ["/metadata", "/label/job/values"].contains(&path.as_str());
            match (status(theirs), status(ours)) {
                (405, 405) => {}
                (405, 200) if reads_alike => {}
                other => wrong.push(format!("{method} {path}: {other:?}")),
            }
        }
    }
    wrong
}

impl Ask {
    fn send(&self, method: &str, base: &str) -> Result<RawAnswer, String> {
        let url = format!("{base}/api/v1{}", self.path);
        let encoded: Vec<String> =
            self.parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let encoded = encoded.join("&");
        let method = method.to_uppercase();
        match &self.body {
            Some((headers, body)) => send(&method, &url, headers, body),
            None if method == "POST" && !encoded.is_empty() => {
                let form = [("Content-Type", "application/x-www-form-urlencoded")];
                send(&method, &url, &form, encoded.as_bytes())
            }
            None => send(&method, &format!("{url}?{encoded}"), &[], &[]),
        }
    }

    fn shown(&self) -> String {
        format!("{} {:?}", self.path, self.parameters)
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Requests that can be answered and such that cannot, for every path.
fn asks(data: &Data) -> Vec<Ask> {
    let (from, to) = (seconds(data.from_ms + 8 * STEP_MS), seconds(data.to_ms()));
    let mut asks = Vec::new();
    let mut add = |template: &'static str, all: &[&[(&'static str, &str)]]| {
        for parameters in all {
            let parameters = parameters.iter().map(|(name, value)| (*name, value.to_string())).collect();
            let rule = rule_of(template, &parameters);
            asks.push(Ask {
                path: template.replace("{name}", "job"),
                template,
                parameters,
                body: None,
                rule,
            });
        }
    };
    let at = ("time", to.as_str());
    let (start, end) = (("start", from.as_str()), ("end", to.as_str()));
    let none: &[(&str, &str)] = &[];
    add(
        "/query",
        &[
            none,
            &[("query", "up"), at],
            &[("query", "latency_native"), at],
            &[("query", "many[1m]"), at, ("limit", "2"), ("stats", "all")],
            &[("query", "1"), at],
            &[("query", "\"x\""), at],
            &[("query", "up{")],
            &[("query", "up"), ("time", "then")],
            &[("query", "sum(latency_native + up)"), at, ("stats", "true")],
            &[("query", "label_replace(up, \"a\", \"b\", \"c\", \"(\")"), at],
        ],
    );
    add(
        "/query_range",
        &[
            none,
            &[("query", "rate(many[1m])"), start, end, ("step", "15"), ("stats", "all")],
            &[("query", "latency_native"), start, end, ("step", "1m")],
            &[("query", "up"), start, end],
            &[("query", "up"), start, end, ("step", "0.0001")],
            &[("query", "up[5m]"), start, end, ("step", "15")],
        ],
    );
    add(
        "/query_exemplars",
        &[
            none,
            &[("query", "latency_seconds_bucket"), start, end],
            &[("query", "1"), start, end],
            &[("query", "up"), ("start", "x")],
        ],
    );
    for path in ["/format_query", "/parse_query"] {
        add(path, &[none, &[("query", "sum(up)by(job)")], &[("query", "sum(")]]);
    }
    for path in ["/labels", "/label/{name}/values", "/series"] {
        add(
            path,
            &[
                none,
                &[("match[]", "up"), start, end],
                &[("match[]", "nothing")],
                &[("match[]", "{}")],
                &[("match[]", "up"), ("limit", "x")],
                &[("match[]", "up"), ("start", &to), ("end", &from)],
            ],
        );
    }
    for path in ["/search/metric_names", "/search/label_names", "/search/label_values"] {
        add(
            path,
            &[
                none,
                &[("search[]", "htp"), ("label", "job"), ("include_score", "true")],
                &[("search[]", "shop"), ("label", "job"), ("limit", "-1")],
                &[("label", "job"), ("fuzz_alg", "x")],
            ],
        );
    }
    add("/metadata", &[none, &[("metric", "up")], &[("limit", "x")], &[("limit_per_metric", "1")]]);
    add("/scrape_pools", &[none, &[("x", "y")]]);
    add("/scrape_pools/config", &[none, &[("scrapePool", "shop")]]);
    add(
        "/targets",
        &[none, &[("state", "active")], &[("state", "DROPPED")], &[("state", "x")], &[("scrapePool", "x")]],
    );
    add(
        "/targets/metadata",
        &[none, &[("limit", "x")], &[("match_target", "{job=\"x\"}")], &[("match_target", "{")]],
    );
    let pool = ("scrapePool", "shop");
    add(
        "/targets/relabel_steps",
        &[
            none,
            &[pool],
            &[pool, ("labels", "{}")],
            &[pool, ("labels", "null")],
            &[pool, ("labels", "x")],
            &[pool, ("labels", "{\"a\":1}")],
        ],
    );
    add("/rules", &[none, &[("type", "alert")], &[("type", "x")], &[("group_limit", "x")]]);
    add("/alerts", &[none, &[("x", "y")]]);
    add("/alertmanagers", &[none, &[("x", "y")]]);
    for path in
        ["/status/config", "/status/runtimeinfo", "/status/buildinfo", "/status/flags", "/status/walreplay"]
    {
        add(path, &[none, &[("x", "y")]]);
    }
    add("/status/tsdb", &[none, &[("limit", "3")], &[("limit", "0")], &[("limit", "10001")]]);
    add("/status/tsdb/blocks", &[none, &[("x", "y")]]);
    let pattern = "metric_name_pattern";
    add(
        "/status/self_metrics",
        &[none, &[(pattern, ".*_seconds")], &[(pattern, "nothing")], &[(pattern, "(")], &[(pattern, ".+")]],
    );
    add("/notifications", &[none, &[("x", "y")]]);
    add("/notifications/live", &[none]);
    add("/features", &[none, &[("x", "y")]]);
    add(
        "/admin/tsdb/delete_series",
        &[none, &[("match[]", "nothing")], &[("match[]", "{")], &[("match[]", "nothing"), ("end", "x")]],
    );
    add("/admin/tsdb/clean_tombstones", &[none, &[("x", "y")]]);
    add("/admin/tsdb/snapshot", &[none, &[("skip_head", "maybe")]]);
    asks.extend(bodies());
    asks
}

fn rule_of(template: &str, parameters: &Vec<(&'static str, String)>) -> Option<&'static Rule> {
    let has = |name: &str, value: &str| parameters.iter().any(|(n, v)| *n == name && v == value);
    match template {
        "/admin/tsdb/snapshot" if parameters.is_empty() => Some(&SNAPSHOT),
        "/notifications/live" => Some(&NO_STREAM),
        "/query_exemplars" if has("query", "1") => Some(&NO_SELECTOR),
        "/labels" | "/label/{name}/values" | "/series" => {
            let time = |name: &str| {
                let found = parameters.iter().find(|(n, _)| *n == name);
                found.and_then(|(_, value)| value.parse::<f64>().ok())
            };
            time("start").zip(time("end")).is_some_and(|(start, end)| end < start).then_some(&REVERSED)
        }
        _ => None,
    }
}

/// Requests of samples and for samples.
fn bodies() -> Vec<Ask> {
    let mut write = WriteRequest::default();
    write.push(&TimeSeries::named("written", "here").sample(now_ms(), 1.0));
    let protobuf = || vec![("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let text = || vec![("Content-Type", "text/plain")];
    let json = || vec![("Content-Type", "application/json")];
    let plain = || vec![("Content-Type", "application/x-protobuf")];
    let nonsense = b"nonsense".to_vec();
    let all = [
        ("/write", protobuf(), write.snappy(), None),
        ("/write", protobuf(), nonsense.clone(), None),
        ("/write", protobuf(), snappy(b"nonsense"), None),
        ("/write", text(), write.snappy(), None),
        ("/otlp/v1/metrics", json(), b"{}".to_vec(), None),
        ("/otlp/v1/metrics", json(), nonsense.clone(), None),
        ("/otlp/v1/metrics", plain(), nonsense.clone(), None),
        ("/otlp/v1/metrics", text(), nonsense.clone(), Some(&NOT_OPEN_TELEMETRY)),
        ("/read", protobuf(), snappy(b""), None),
        ("/read", protobuf(), nonsense, None),
        ("/read", protobuf(), snappy(b"nonsense"), None),
    ];
    let ask = |(template, headers, body, rule): (&'static str, _, _, Option<&'static Rule>)| Ask {
        path: template.to_string(),
        template,
        parameters: Vec::new(),
        body: Some((headers, body)),
        rule,
    };
    all.into_iter().map(ask).collect()
}
