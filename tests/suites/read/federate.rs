//! A real Prometheus scrapes `/federate` as a target, once as lines and once as protobuf, and has what Firn has.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use system_tests::{
    Child, Firn, NativeHistogram, TimeSeries, WriteRequest, free_port, get, get_json, now_ms,
};
use system_tests::{part, seconds, send, wait_until};

use super::start;
use crate::senders::answers::compare;

const STALE: u64 = 0x7ff0_0000_0000_0002;

/// How each scraper asks, and what it stores of what Firn has.
const SCRAPERS: [(&str, &str, &str); 2] = [
    ("lines", "PrometheusText0.0.4", "{__name__=~\"fed_float|fed_special|fed_custom_.+\"}"),
    (
        "protobuf",
        "PrometheusProto",
        "{__name__=~\"fed_float|fed_special|fed_native|fed_level|fed_custom_.+\"}",
    ),
];

#[test]
fn a_prometheus_that_scrapes_federate_stores_what_firn_has() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let at = now_ms() - 20_000;
    push(&firn, at);
    let scrapers: Vec<Scraper> = SCRAPERS
        .iter()
        .map(|(name, protocol, _)| Scraper::start(&binary, dir.path(), name, protocol, &firn))
        .collect();
    let mut stored = Vec::new();
    for (scraper, (name, _, selector)) in scrapers.iter().zip(SCRAPERS) {
        scraper.await_series();
        let at = seconds(at);
        // What became classic is compared series by series; the rest is as Firn answers it.
        let same = selector.replace("|fed_custom_.+", "");
        let truth = ask(firn.url(), &same, &at);
        let compared =
            compare(&truth, &ask(&scraper.url, &same, &at)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let classic = ask(&scraper.url, "{__name__=~\"fed_custom_.+\"}", &at);
        stored.push((name, compared.n_compared, values(&classic)));
        for absent in ["fed_stale", "fed_old"] {
            assert!(values(&ask(&scraper.url, absent, &at)).is_empty(), "{name}: {absent}");
        }
    }
    let native = ask(&scrapers[0].url, "fed_native or fed_level", &seconds(at));
    assert!(values(&native).is_empty(), "lines cannot say native histograms: {native}");
    println!("federated: {stored:?}");
    assert!(stored.iter().all(|(_, n, _)| *n >= 3));
    let expected = ["0.1: 3", "2.5: 7", "+Inf: 8", "sum: 12.5", "count: 8"];
    for (name, _, classic) in &stored {
        assert_eq!(classic, &expected, "{name}");
    }
}

/// Bounds with counts, of the classic series.
fn values(answer: &Value) -> Vec<String> {
    let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let mut values: Vec<(f64, String)> = Vec::new();
    for series in result {
        let value = series["value"][1].as_str().unwrap_or("a histogram").to_string();
        let metric = &series["metric"];
        let name = metric["__name__"]
            .as_str()
            .unwrap_or_default()
            .rsplit('_')
            .next()
            .unwrap_or_default()
            .to_string();
        match metric["le"].as_str() {
            Some(bound) => {
                let at = if bound == "+Inf" { 1e9 } else { bound.parse().unwrap() };
                // Prometheus writes a whole bound with a fraction in one of its formats.
                values.push((at, format!("{bound}: {value}")));
            }
            None => values.push((if name == "sum" { 2e9 } else { 3e9 }, format!("{name}: {value}"))),
        }
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.into_iter().map(|(_, text)| text).collect()
}

fn push(firn: &Firn, at: i64) {
    let native = |is_float, reset_hint| NativeHistogram {
        is_float,
        count: 6.0,
        sum: 4.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive: [(-1, 2.0), (3, 1.0)].into(),
        negative: [(0, 2.0)].into(),
        custom_values: Vec::new(),
        reset_hint,
    };
    let custom = NativeHistogram {
        count: 8.0,
        sum: 12.5,
        schema: -53,
        positive: [(0, 3.0), (1, 4.0), (2, 1.0)].into(),
        custom_values: vec![0.1, 2.5],
        ..NativeHistogram::default()
    };
    let named = |name: &str| TimeSeries::named(name, "federated");
    let mut request = WriteRequest::default();
    request
        .push(
            &TimeSeries::new([
                ("__name__", "fed_float"),
                ("instance", "h:1"),
                ("job", "federated"),
                ("text", "a\"b\\c\nd"),
            ])
            .sample(at, 1e9),
        )
        .push(&named("fed_float").sample(at - 1, 1.0).sample(at, -1.5))
        .push(&named("fed_special").sample(at, f64::INFINITY))
        .push(&named("fed_stale").sample(at - 10, 1.0).bits(at, STALE))
        .push(&named("fed_old").sample(at - 600_000, 1.0))
        .push(
            &TimeSeries::new([("__name__", "fed_native"), ("job", "federated"), ("kind", "integer")])
                .histogram(at, &native(false, 0)),
        )
        .push(
            &TimeSeries::new([("__name__", "fed_native"), ("job", "federated"), ("kind", "float")])
                .histogram(at, &native(true, 0)),
        )
        .push(&named("fed_level").histogram(at, &native(false, 3)))
        .push(&named("fed_custom").histogram(at, &custom));
    assert_eq!(firn.push(&request).unwrap().status, 204);
}

fn ask(url: &str, query: &str, at: &str) -> Value {
    get_json(&format!("{url}/api/v1/query"), &[("query", query), ("time", at)]).unwrap()
}

struct Scraper {
    url: String,
    _child: Child,
}

impl Scraper {
    fn start(binary: &Path, dir: &Path, name: &str, protocol: &str, firn: &Firn) -> Scraper {
        let port = free_port();
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: firn\n  \
             metrics_path: /federate\n  honor_labels: true\n  scrape_native_histograms: true\n  \
             scrape_protocols: [{protocol}]\n  \
             params: {{'match[]': ['{{job=\"federated\"}}', '{{__name__=~\"fed_(native|float)\"}}']}}\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            firn.address()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = Child::start(name, command, &dir).unwrap();
        Scraper { url: format!("http://127.0.0.1:{port}"), _child: child }
    }

    /// Waits for a scrape that went well.
    fn await_series(&self) {
        let up = || {
            let query = [("query", "up{job=\"firn\"} == 1")];
            let answer = get_json(&format!("{}/api/v1/query", self.url), &query).ok()?;
            answer["data"]["result"].as_array().filter(|result| !result.is_empty()).map(|_| ())
        };
        if wait_until(Duration::from_secs(30), up).is_none() {
            let targets = get(&format!("{}/api/v1/targets", self.url), &[]).map(|answer| answer.body);
            panic!("no scrape went well: {targets:?}");
        }
    }
}

#[test]
fn federation_says_what_is_wrong_in_a_line_and_serves_both_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    push(&firn, now_ms());
    let ask = |path: &str| send("GET", &format!("{}{path}", firn.url()), &[], &[]).unwrap();
    let text = |body: &[u8]| String::from_utf8_lossy(body).to_string();
    let refused = ask("/federate?match[]=%7B%7D");
    assert_eq!(refused.status, 400, "{}", text(&refused.body));
    assert!(refused.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let nothing = ask("/federate");
    assert_eq!((nothing.status, nothing.body.len()), (200, 0));
    let one = ask("/federate?match[]=fed_special");
    let prefixed = ask("/prometheus/federate?match[]=fed_special");
    assert_eq!(text(&one.body), text(&prefixed.body));
    assert!(
        text(&one.body)
            .starts_with("# TYPE fed_special untyped\nfed_special{job=\"federated\",instance=\"\"} +Inf ")
    );
}
