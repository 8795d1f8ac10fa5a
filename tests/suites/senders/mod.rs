//! Real input: real senders scrape real targets and write to Firn, and Firn answers as Prometheus does.
//!
//! Prometheus 3.15 writes everything to two Firns. One is not flushed before the first comparison and then flushed
//! whole, the other is flushed half way, so the same questions are put to the head, to blocks and to both halves.

pub(crate) mod answers;
mod fleet;
mod loadgen;
mod otlp;
mod prometheus;
mod queries;
mod sameness;
mod servers;
mod target;
mod translation;
mod vmagent;

use std::thread;
use std::time::Duration;

use serde_json::Value;
use system_tests::{get_json_with, now_ms, seconds, wait_until};

use self::answers::{Comparison, compare};
use self::fleet::{Fleet, TENANT_315};
use self::queries::{QUERIES, RANGE_STEP};

/// From when all targets are scraped to the half-way flush, and on to the questions.
const UNTIL_HALF: Duration = Duration::from_secs(30);
const UNTIL_QUESTIONS: Duration = Duration::from_secs(115);
/// Questions end this long ago, so that every sender has delivered.
const SETTLED_MS: i64 = 61_000;
/// Samples before this after the first one are not asked for: senders may have begun a little later.
const WARM_UP_MS: i64 = 5_000;

#[test]
fn real_senders_write_and_firn_answers_as_prometheus_does() {
    let Some(mut fleet) = Fleet::start() else { return };
    let begun = now_ms();
    fleet.wait_for_all_targets();
    let scraped = now_ms();
    println!("all targets are scraped after {} s", (scraped - begun) / 1000);

    thread::sleep(UNTIL_HALF);
    let flushed_half = now_ms();
    fleet.half.flush_all().unwrap();
    thread::sleep(UNTIL_QUESTIONS.saturating_sub(UNTIL_HALF));
    let window = Window { from: scraped + WARM_UP_MS, to: now_ms() - SETTLED_MS };
    println!(
        "questions about the {} s from {} to {}",
        (window.to - window.from) / 1000,
        window.from,
        window.to
    );
    assert!(window.to - window.from > 30_000);
    assert!(window.from < flushed_half && flushed_half < window.to, "flushed in the middle of what is asked");

    let truth = ask_all(&fleet.prometheus.url, None, window);
    let empty = truth.without_series();
    let n_with_series = QUERIES.len() - empty.len();
    println!("{n_with_series} of {} queries return series in Prometheus, not {empty:?}", QUERIES.len());
    assert!(QUERIES.len() >= 30 && n_with_series >= 25);

    let mut wrong = Vec::new();
    let ask = |url: &str| ask_all(url, Some(TENANT_315), window);
    wrong.extend(truth.differences("before a flush", &ask(fleet.whole.url())));
    wrong.extend(truth.differences("processes apart, before a flush", &ask(&fleet.apart.query)));
    fleet.whole.flush_all().unwrap();
    wrong.extend(truth.differences("after a flush", &ask(fleet.whole.url())));
    wrong.extend(truth.differences("half and half", &ask(fleet.half.url())));
    fleet.apart.flush_all().unwrap();
    wrong.extend(truth.differences("processes apart, after a flush", &ask(&fleet.apart.query)));
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    println!(
        "{} queries, instant and range, and {} label queries: equal before a flush, after it, half and half, \
         in one process and in six",
        QUERIES.len(),
        LABEL_QUERIES.len()
    );

    fleet.check_that_nothing_failed();
    other_senders_agree(&fleet, window);
}

/// The time that questions are about.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
}

/// All answers of one server.
struct Answers {
    /// By query and form.
    answers: Vec<(String, Result<Value, String>)>,
}

/// Paths under `/api/v1`, and a selector.
const LABEL_QUERIES: [(&str, &str); 9] = [
    ("labels", ""),
    ("labels", "up"),
    ("labels", "{job=\"node\",__name__=~\"node_cpu.*\"}"),
    ("label/__name__/values", ""),
    ("label/job/values", ""),
    ("label/mode/values", "node_cpu_seconds_total"),
    ("label/__name__/values", "{job=\"firn\"}"),
    ("series", "{__name__=~\"node_filesystem.*\"}"),
    ("series", "prometheus_http_requests_total"),
];

fn ask_all(url: &str, tenant: Option<&str>, window: Window) -> Answers {
    let headers: Vec<(&str, &str)> = tenant.map(|tenant| ("X-Scope-OrgID", tenant)).into_iter().collect();
    let (from, to) = (seconds(window.from), seconds(window.to));
    let ask = |path: &str, parameters: &[(&str, &str)]| {
        let answer = get_json_with(&format!("{url}/api/v1/{path}"), parameters, &headers)?;
        Ok::<Value, String>(answer)
    };
    let mut answers = Vec::new();
    for query in QUERIES {
        let instant = ask("query", &[("query", query), ("time", &to)]);
        answers.push((format!("instant {query}"), instant));
        let range = [("query", query), ("start", from.as_str()), ("end", &to), ("step", RANGE_STEP)];
        answers.push((format!("range {query}"), ask("query_range", &range)));
    }
    for (path, selector) in LABEL_QUERIES {
        let mut parameters = vec![("start", from.as_str()), ("end", to.as_str())];
        if !selector.is_empty() {
            parameters.push(("match[]", selector));
        }
        answers.push((format!("{path} {selector}"), ask(path, &parameters)));
    }
    Answers { answers }
}

impl Answers {
    fn without_series(&self) -> Vec<&str> {
        let instant = self.answers.iter().filter(|(name, _)| name.starts_with("instant "));
        let is_empty = |answer: &Value| answer["data"]["result"].as_array().is_none_or(Vec::is_empty);
        let empty = instant.filter(|(_, answer)| answer.as_ref().is_ok_and(is_empty));
        empty.map(|(name, _)| name.as_str()).collect()
    }

    /// Where the answers of another server differ from these.
    fn differences(&self, when: &str, other: &Answers) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut n_values = 0;
        for ((name, truth), (_, found)) in self.answers.iter().zip(&other.answers) {
            let truth = truth.as_ref().unwrap_or_else(|e| panic!("Prometheus refuses {name}: {e}"));
            match found.as_ref().map_err(Clone::clone).and_then(|found| compare(truth, found)) {
                Ok(Comparison { n_compared }) => n_values += n_compared,
                Err(e) => wrong.push(format!("{when}: {name}: {e}")),
            }
        }
        println!(
            "{when}: {} of {} answers equal, {n_values} values",
            self.answers.len() - wrong.len(),
            self.answers.len()
        );
        wrong
    }
}

/// What the other senders wrote of node_exporter is what Prometheus 3.15 has of it.
fn other_senders_agree(fleet: &Fleet, window: Window) {
    let at = seconds(window.to);
    let by_name =
        "count by (__name__) ({job=\"node\",__name__=~\"node_(cpu|memory|disk|network|filesystem)_.*\"})";
    let constant = "node_memory_MemTotal_bytes{job=\"node\"}";
    let ask = |url: &str, tenant: Option<&str>, query: &str| {
        let headers: Vec<(&str, &str)> = tenant.map(|tenant| ("X-Scope-OrgID", tenant)).into_iter().collect();
        let url = format!("{url}/api/v1/query");
        get_json_with(&url, &[("query", query), ("time", &at)], &headers).unwrap()
    };
    let agree = |truth: &Value, tenant: &str, query: &str| {
        // vmagent reads 2.5276502016e+10 as 25276502016.000004, so the tolerance is needed here, too.
        let compared = compare(truth, &ask(fleet.whole.url(), Some(tenant), query));
        assert!(compared.as_ref().is_ok_and(|c| c.n_compared > 0), "{tenant}: {query}: {compared:?}");
    };
    for query in [by_name, constant] {
        let truth = ask(&fleet.prometheus.url, None, query);
        for tenant in fleet.other_tenants() {
            agree(&truth, tenant, query);
        }
    }
    // Debian's Prometheus answers for itself: what it holds is what it wrote.
    let Some(debian) = &fleet.debian_prometheus else { return };
    let rate = "sum by (mode) (rate(node_cpu_seconds_total{job=\"node\"}[20s]))";
    for query in [rate, "up", "count(up)"] {
        agree(&ask(&debian.url, None, query), fleet::TENANT_242, query);
    }
    println!("also agree: {}", fleet.other_tenants().join(", "));
}

/// Waits, saying what for when it does not come.
fn await_for(what: &str, ask: impl FnMut() -> Option<()>) {
    assert!(wait_until(Duration::from_secs(60), ask).is_some(), "waited for a minute: {what}");
}
