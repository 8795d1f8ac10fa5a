//! Grafana's data source, without Grafana: every request it makes, in both methods and with its headers, to a
//! Prometheus and to a Firn that hold the same. Each field of each answer is compared; where two systems cannot say
//! the same, a rule says why and what must hold instead.

mod ask;
mod compare;
mod requests;
mod rules;

use std::collections::BTreeMap;

use system_tests::{Cluster, ClusterOptions, Firn, FirnOptions, Storage, part};

use self::ask::Ask;
use self::compare::{Reply, compare};
use self::requests::Times;
use crate::twins::{self, Data};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

#[test]
fn grafana_cannot_tell_firn_from_prometheus() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new();
    let prometheus = twins::prometheus(&binary, dir.path(), &data);
    let asks = requests::all(&Times::of(&data));
    let theirs = Theirs::of(prometheus.url(), &asks);

    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    data.push_to(&firn);
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    data.push_to(&apart);

    let mut wrong = theirs.differences("in memory", firn.url(), "/api/v1");
    firn.flush_all().unwrap();
    wrong.extend(theirs.differences("in tables, below a prefix", firn.url(), "/prometheus/api/v1"));
    wrong.extend(theirs.differences("the query-frontend of processes apart", &apart.query, "/api/v1"));
    let shown: Vec<String> = wrong.iter().take(60).cloned().collect();
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), shown.join("\n"));
    theirs.print_rules();
}

/// The requests, and what Prometheus answers.
struct Theirs<'a> {
    replies: Vec<(&'a Ask, Reply)>,
}

impl<'a> Theirs<'a> {
    fn of(url: &str, asks: &'a [Ask]) -> Theirs<'a> {
        let reply = |ask: &Ask| {
            ask.ask(&format!("{url}/api/v1")).unwrap_or_else(|e| panic!("Prometheus: {}: {e}", ask.shown()))
        };
        let replies: Vec<(&Ask, Reply)> = asks.iter().map(|ask| (ask, reply(ask))).collect();
        let n_with_data = replies.iter().filter(|(_, reply)| has_data(reply)).count();
        let n_errors = replies.iter().filter(|(_, reply)| reply.status >= 400).count();
        println!(
            "Prometheus: {} requests, {n_with_data} answers with data, {n_errors} errors",
            replies.len()
        );
        assert!(replies.len() > 600 && n_with_data > 350 && n_errors > 150);
        Theirs { replies }
    }

    /// Where the answers of the server at `url` are others.
    fn differences(&self, place: &str, url: &str, prefix: &str) -> Vec<String> {
        let (mut wrong, mut n_by_rule) = (Vec::new(), 0);
        for (ask, theirs) in &self.replies {
            let shown = || format!("{place}: {}", ask.shown());
            let ours = match ask.ask(&format!("{url}{prefix}")) {
                Ok(ours) => ours,
                Err(e) => {
                    wrong.push(format!("{}: {e}", shown()));
                    continue;
                }
            };
            let equal = compare(theirs, &ours, ask.ordered);
            let verdict = match ask.rule {
                None => equal,
                Some(rule) if equal.is_ok() && !rule.by_chance => {
                    Err(format!("the rule {:?} is not needed", rule.name))
                }
                Some(rule) => {
                    n_by_rule += 1;
                    (rule.holds)(theirs, &ours)
                        .map_err(|e| format!("not even by the rule {:?}: {e}", rule.name))
                }
            };
            if let Err(e) = verdict {
                wrong.push(format!(
                    "{}\n  {e}\n  theirs {}\n  ours   {}",
                    shown(),
                    theirs.shown(),
                    ours.shown()
                ));
            }
        }
        let n_equal = self.replies.len() - n_by_rule;
        println!(
            "{place}: {n_equal} answers compared field by field, {n_by_rule} by a rule, {} differ",
            wrong.len()
        );
        wrong
    }

    /// Which rules there are, why, and for how many requests.
    fn print_rules(&self) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in self.replies.iter().filter_map(|(ask, _)| ask.rule) {
            *counts.entry(rule.name).or_default() += 1;
        }
        for rule in rules::ALL {
            let n = counts.get(rule.name).copied().unwrap_or(0);
            assert!(n > 0, "no request needs the rule {:?}", rule.name);
            println!("rule {:?}, {n} requests: {}", rule.name, rule.why);
        }
    }
}

fn has_data(reply: &Reply) -> bool {
    let json = reply.json().unwrap_or_default();
    let data = json["data"].get("result").unwrap_or(&json["data"]);
    match data {
        serde_json::Value::Array(list) => !list.is_empty(),
        other => !other.is_null(),
    }
}
