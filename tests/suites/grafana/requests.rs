//! What Grafana's data source asks, and what goes wrong when people type.

use system_tests::seconds;

use super::ask::{Ask, both, form, get};
use super::rules;
use crate::twins::{Data, STEP_MS};

/// Panels' queries: of every result type, over every kind of sample, with annotations of both kinds.
const PANELS: [&str; 24] = [
    "up",
    "sum by (code) (rate(http_requests_total[5m]))",
    "rate(http_requests_total{code=~\"4..|5..\",instance!=\"h2:80\"}[$__rate])",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "latency_native",
    "histogram_quantile(0.5, sum(rate(latency_native[5m])))",
    "histogram_avg(latency_native)",
    "{\"http.server.duration\"}",
    "sum by (\"http.route\", ünit) ({\"http.server.duration\", \"http.method\"=\"GET\"})",
    "odd_value",
    "weird",
    "sum(weird)",
    "rate(up[5m])",
    "histogram_quantile(2, latency_seconds_bucket)",
    "latency_native + up",
    "max_over_time(many[5m]) > 4.5",
    "count_values(\"value\", up)",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
    "up{instance=\"h2:80\"} offset 5m",
    "avg_over_time((up * 2)[5m:1m])",
    "absent(nothing_of_this_name)",
    "nothing_of_this_name",
    "1 / 0 + time()",
    "vector(-0.0)",
];

/// The order of the result is part of these.
const ORDERED: [&str; 4] = [
    "sort_desc(many{n=~\"n0.\"})",
    "sort(many{n=~\"n[01].\"})",
    "topk(3, sum by (code) (http_requests_total))",
    "sort_by_label_desc(many, \"n\")",
];

/// What is wrong with them stands in the answer.
const WRONG: [&str; 16] = [
    "",
    "up{",
    "up{job=\"shop\"",
    "rate(up)",
    "sum(",
    "1 +",
    "up[5m]",
    "up offset",
    "nosuchfunction(up)",
    "{}",
    "up{job=~\"(\"}",
    "\"a\" + 1",
    "up @ nonsense",
    "histogram_quantile(up)",
    "up == bool",
    "sum by (job (up)",
];

/// They parse, and cannot be evaluated.
const IMPOSSIBLE: [&str; 4] = [
    "up * on (job) group_left () http_requests_total{instance=\"h0:80\",code=~\"2..|4..\"}",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(\")",
    "label_join(up, \"\", \",\", \"job\")",
    "count_values(\"\", up)",
];

/// Times as clients spell them.
pub(super) struct Times {
    from: String,
    to: String,
    /// Float seconds, not on a scrape.
    between: String,
    rfc3339: String,
    rfc3339_elsewhere: String,
    /// Whole seconds, as the data source asks for labels.
    labels: [(&'static str, String); 2],
}

impl Times {
    pub(super) fn of(data: &Data) -> Times {
        let (from, to) = (data.from_ms + 20 * STEP_MS, data.to_ms());
        let whole = |ms: i64| (ms / 1000).to_string();
        let zoned = |ms: i64, hours: i64| {
            let at = ms + hours * 3_600_000;
            let zone = if hours == 0 { "Z".to_string() } else { format!("{hours:+03}:00") };
            format!("{}{zone}", civil(at))
        };
        Times {
            from: whole(from),
            to: whole(to),
            between: seconds(to - 7_219),
            rfc3339: zoned(to - 7_219, 0),
            rfc3339_elsewhere: zoned(to - 7_219, 2),
            labels: [("start", whole(data.from_ms)), ("end", whole(to))],
        }
    }
}

/// `2026-11-21T16:00:00.000`
fn civil(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let day = block::Day::of(days * 86_400_000);
    let (secs, rest) = (of_day / 1000, of_day % 1000);
    format!("{day}T{:02}:{:02}:{:02}.{rest:03}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// Everything, in the order in which Grafana meets it.
pub(super) fn all(times: &Times) -> Vec<Ask> {
    [start(times), panels(times), spellings(times), labels(times), people(times), wires(times)].concat()
}

/// A data source is saved and tested, the editor opens.
fn start(times: &Times) -> Vec<Ask> {
    let range = [("start", times.from.as_str()), ("end", &times.to)];
    let probe = [&[("query", "test")], range.as_slice()].concat();
    let mut asks = both("query", &[("query", "1+1"), ("time", "4")]);
    asks.extend([
        get("status/buildinfo", &[]).except(&rules::BUILD_INFO),
        get("rules", &[]),
        get("rules", &[("type", "alert")]),
        get("rules", &[("type", "record"), ("group_limit", "40"), ("exclude_alerts", "true")]),
        get("alerts", &[]),
        get("metadata", &[]),
        get("metadata", &[("limit", "40000")]),
        get("metadata", &[("metric", "up"), ("limit_per_metric", "1")]),
        get("query_exemplars", &probe),
        form("query_exemplars", &probe),
    ]);
    asks
}

/// Dashboards.
fn panels(times: &Times) -> Vec<Ask> {
    let mut asks = Vec::new();
    for query in PANELS.iter().chain(&ORDERED) {
        let query = query.replace("$__rate", "1m");
        let instant = [("query", query.as_str()), ("time", &times.to)];
        asks.extend(both("query", &instant).into_iter().map(|ask| match ORDERED.contains(&query.as_str()) {
            true => ask.ordered(),
            false => ask,
        }));
        for (step, timeout) in [("15", "60s"), ("60", "60"), ("7.5", "1m")] {
            let range = [
                ("query", query.as_str()),
                ("start", &times.from),
                ("end", &times.to),
                ("step", step),
                ("timeout", timeout),
            ];
            asks.extend(both("query_range", &range));
        }
    }
    for query in
        ["latency_seconds_bucket", "histogram_quantile(0.9, rate(latency_seconds_bucket{le!=\"0.5\"}[5m]))"]
    {
        let exemplars = [("query", query), ("start", &times.from), ("end", &times.to)];
        asks.extend(both("query_exemplars", &exemplars));
    }
    for query in
        ["up[2m]", "latency_native[1m]", "many[20s] offset 1m", "\"text\"", "42.5", "\"é\\n\"", "-Inf"]
    {
        asks.extend(both("query", &[("query", query), ("time", &times.between)]));
    }
    asks
}

/// The same said in other ways.
fn spellings(times: &Times) -> Vec<Ask> {
    let mut asks = Vec::new();
    let sum = "sum by (job) (http_requests_total)";
    for at in [&times.between, &times.rfc3339, &times.rfc3339_elsewhere, "-1.5", "1e9", "0", "4.0005"] {
        asks.extend(both("query", &[("query", "time()"), ("time", at)]));
        asks.extend(both("query", &[("query", sum), ("time", at)]));
    }
    let from = times.from.as_str();
    for (end, step) in
        [(&times.between, "15s"), (&times.rfc3339, "1m30s"), (&times.to, "12.3456"), (&times.to, "1e2")]
    {
        asks.extend(both("query_range", &[("query", sum), ("start", from), ("end", end), ("step", step)]));
    }
    asks.extend(both(
        "query_range",
        &[("query", "time()"), ("start", from), ("end", from), ("step", "0.001")],
    ));
    let to = times.to.as_str();
    for (name, value) in [
        ("limit", "0"),
        ("limit", "40000"),
        ("limit", "+2"),
        ("lookback_delta", "1s"),
        ("lookback_delta", "600"),
        ("lookback_delta", "0"),
        ("timeout", "30s"),
        ("timeout", "2.5"),
    ] {
        let instant = [("query", "many"), ("time", times.between.as_str()), (name, value)];
        let range = [("query", "many"), ("start", from), ("end", to), ("step", "60"), (name, value)];
        // Which are left of an instant vector is not defined.
        if value != "+2" {
            asks.extend(both("query", &instant));
        }
        asks.extend(both("query_range", &range));
    }
    asks.extend(both("query", &[("query", "sort_by_label(many, \"n\")"), ("time", to), ("limit", "2")]));
    asks.extend(both("query", &[("query", "many[1m]"), ("time", to), ("limit", "2")]));
    asks.extend(both(
        "query",
        &[("query", "42"), ("time", to), ("limit", "1"), ("timeout", ""), ("stats", "")],
    ));
    for stats in ["true", "all", "yes"] {
        for query in ["sum(http_requests_total)", "rate(many[1m])"] {
            let range = [("query", query), ("start", from), ("end", to), ("step", "60"), ("stats", stats)];
            // Of what was kept there is nothing to count.
            let anew = |ask: Ask| ask.with("Cache-Control", "no-store").except(&rules::STATS);
            asks.extend(both("query_range", &range).into_iter().map(anew));
            let instant = [("query", query), ("time", to), ("stats", stats)];
            asks.extend(both("query", &instant).into_iter().map(|ask| ask.except(&rules::STATS)));
        }
    }
    asks.push(get("query", &[("query", "up")]).except(&rules::NOW));
    asks
}

/// Variables, and the query builder.
fn labels(times: &Times) -> Vec<Ask> {
    let mut asks = Vec::new();
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&'static str, String)> {
        let more = more.iter().map(|(name, value)| (*name, value.to_string()));
        times.labels.iter().cloned().chain(more).collect()
    };
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("limit", "40000")],
        &[("limit", "0")],
        &[("limit", "3")],
        &[("limit", "40000"), ("match[]", "{__name__=~\".*requests.*\"}")],
        &[("match[]", "{\"http.server.duration\"}")],
        &[("match[]", "{\"http.method\"=\"GET\",job!=\"\"}")],
        &[("match[]", "up"), ("match[]", "many{n=\"n07\"}"), ("limit", "0")],
        &[("match[]", "nothing_of_this_name")],
    ];
    let names =
        ["job", "__name__", "instance", "U__http_2e_method", "http.method", "U___fc_nit", "%C3%BCnit", "no"];
    for case in cases {
        let parameters = with(case);
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (*n, v.as_str())).collect();
        asks.extend(both("labels", &parameters));
        let is_limited = case.contains(&("limit", "3"));
        asks.extend(names.iter().map(|name| {
            let ask = get(&format!("label/{name}/values"), &parameters);
            if is_limited { ask.except(&rules::LABELS_LIMIT) } else { ask }
        }));
        if !case.iter().any(|(name, _)| *name == "match[]") {
            continue;
        }
        asks.extend(both("series", &parameters));
    }
    // Names that are escaped wrongly are names; so is one of every character.
    for name in [
        "U__",
        "U__a_",
        "U__a_zz_",
        "U__a_10ffff_",
        "U__a__b",
        "U__a_+41_",
        "U__a_41_",
        "a%20b",
        "%F0%9F%98%80",
    ] {
        asks.push(get(&format!("label/{name}/values"), &[]));
    }
    asks.extend(both("labels", &[]));
    asks.extend(both("series", &[("match[]", "up")]));
    let spelled = [("start", times.from.as_str()), ("end", &times.rfc3339_elsewhere), ("match[]", "many")];
    asks.extend(both("series", &spelled));
    let long_ago = [("start", "1"), ("end", "2"), ("match[]", "up")];
    asks.extend(both("series", &long_ago));
    let series = [("match[]", "many"), ("limit", "5")];
    asks.extend(both("series", &series));
    asks
}

/// Typing errors, and values out of bounds.
fn people(times: &Times) -> Vec<Ask> {
    let (from, to) = (times.from.as_str(), times.to.as_str());
    let mut asks = Vec::new();
    for query in WRONG {
        asks.extend(both("query", &[("query", query), ("time", to)]));
        asks.extend(both("query_range", &[("query", query), ("start", from), ("end", to), ("step", "15")]));
        asks.extend(both("query_exemplars", &[("query", query), ("start", from), ("end", to)]));
    }
    for query in IMPOSSIBLE {
        asks.extend(both("query", &[("query", query), ("time", to)]));
        asks.extend(both("query_range", &[("query", query), ("start", from), ("end", to), ("step", "15")]));
    }
    let good =
        [("query", "up"), ("start", from), ("end", to), ("step", "15"), ("time", to), ("match[]", "up")];
    let wrong = [
        ("time", "yesterday"),
        ("time", "2026-13-01T00:00:00Z"),
        ("start", "x"),
        ("start", ""),
        ("end", "-"),
        ("end", "1"),
        ("step", "0"),
        ("step", "-5"),
        ("step", "5x"),
        ("step", ""),
        ("step", "1e30"),
        ("timeout", "soon"),
        ("lookback_delta", "far"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "1.5"),
        ("limit", "99999999999999999999"),
        ("match[]", "{}"),
        ("match[]", "{job=~\".*\"}"),
        ("match[]", "sum(up)"),
        ("match[]", "up{"),
        ("match[]", ""),
    ];
    for (name, value) in wrong {
        let parameters: Vec<(&str, &str)> =
            good.iter().filter(|(other, _)| *other != name).copied().chain([(name, value)]).collect();
        let is_reversed = (name, value) == ("end", "1");
        for path in ["query", "query_range", "series", "labels", "query_exemplars"] {
            let by_rule = is_reversed && ["series", "labels"].contains(&path);
            asks.extend(both(path, &parameters).into_iter().map(|ask| match by_rule {
                true => ask.except(&rules::REVERSED),
                false => ask,
            }));
        }
        let values = get("label/job/values", &parameters);
        asks.push(if is_reversed { values.except(&rules::REVERSED) } else { values });
    }
    let tiny = [("query", "up"), ("start", to), ("end", to), ("step", "0.0001")];
    asks.extend(both("query_range", &tiny).into_iter().map(|ask| ask.except(&rules::TINY_STEP)));
    for parameters in [("limit", "x"), ("limit_per_metric", "1.5")] {
        asks.push(get("metadata", &[parameters]));
    }
    for parameters in [
        ("type", "all"),
        ("exclude_alerts", "perhaps"),
        ("group_limit", "0"),
        ("group_limit", "x"),
        ("group_next_token", "abc"),
        ("match[]", "{}"),
        ("match[]", "up{"),
    ] {
        asks.push(get("rules", &[parameters]));
    }
    asks.push(get("rules", &[("group_limit", "1"), ("group_next_token", "abc")]));
    asks.extend(both("series", &[]));
    asks.extend(both("query", &[]));
    asks.extend(both("format_query", &[("query", "sum(up)by(job)")]));
    asks.extend(both("format_query", &[("query", "sum(")]));
    asks.extend(both("parse_query", &[("query", "up{")]));
    asks.extend(
        both("query_exemplars", &[("query", "1+1")]).into_iter().map(|ask| ask.except(&rules::NO_SELECTOR)),
    );
    asks
}

/// What HTTP brings: methods, headers, browsers, sizes.
fn wires(times: &Times) -> Vec<Ask> {
    let instant = [("query", "up"), ("time", times.to.as_str())];
    // A variable of which all values are chosen.
    let everyone: Vec<String> = (0..4000).map(|i| format!("h{i}:80")).collect();
    let long = format!("up{{instance=~\"{}\"}}", everyone.join("|"));
    let origin = "https://grafana.example";
    let mut asks = vec![
        get("query", &instant).bare(),
        get("query", &instant).with("Accept-Encoding", "br, gzip"),
        get("query", &instant).with("Accept-Encoding", "identity"),
        get("query", &instant).with("Accept", "text/html, */*;q=0.1"),
        get("query", &instant).with("Origin", origin),
        get("query", &[("query", "up{")]).with("Origin", origin),
        get("nothing", &[]),
        get("query", &[]).by("OPTIONS"),
        get("label/job/values", &[]).by("OPTIONS").with("Origin", origin),
        get("query_range", &[])
            .by("OPTIONS")
            .with("Origin", origin)
            .with("Access-Control-Request-Method", "POST")
            .with("Access-Control-Request-Headers", "content-type"),
        get("query", &instant).by("DELETE"),
        form("query", &instant).by("PUT"),
        form("query", &instant).with("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
        form("query", &instant).with("Content-Type", "text/plain"),
        form("query", &instant).with_query(&[("query", "1"), ("time", "7")]),
        form("query", &[("query", "up")]).with_query(&[("time", times.to.as_str())]),
        form("series", &[("match[]", "up")]).with_query(&[("match[]", "weird")]),
        form("query", &[("query", &long), ("time", &times.to)]),
        get("query", &instant).by("HEAD").except(&rules::HEAD),
        form("label/job/values", &[]).except(&rules::BY_POST),
        form("metadata", &[]).except(&rules::BY_POST),
    ];
    for path in ["labels", "label/job/values", "status/buildinfo", "rules", "metadata"] {
        let ask = get(path, &[]).with("Origin", origin);
        asks.push(if path == "status/buildinfo" { ask.except(&rules::BUILD_INFO) } else { ask });
    }
    asks
}
