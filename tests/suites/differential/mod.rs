//! Thousands of queries by chance, put to a real Prometheus 3.15 and to Firn over the same remote-written data, must
//! have the same answers: from the head, after a flush from blocks, and half and half.
//!
//! `DIFFERENTIAL_SEED` and `DIFFERENTIAL_QUERIES` choose others and more; `DIFFERENTIAL_ONLY` is the
//! number of the one query to put, and with `DIFFERENTIAL_HEAD_ONLY` nothing is flushed.

mod broken;
mod compare;
mod coverage;
mod data;
mod dice;
mod families;
mod grammar;
mod opentelemetry;
mod operators;
mod queries;
mod rules;
mod servers;
mod shrink;
mod tree;
mod varied;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use system_tests::Answer;

use self::compare::{Difference, Terms, What, compare, largest};
use self::coverage::Coverage;
use self::queries::{Form, Query};
use self::rules::{Case, PER_THOUSAND, RULES};
use self::servers::{Servers, ask};

const SEED: u64 = 315;
const QUERIES: u64 = 5_500;
/// Queries on their way at once: one core works for the truth, one for Firn.
const AT_ONCE: usize = 4;
/// How often Prometheus is asked again whether it meant what it said.
const ASKED_AGAIN: usize = 12;
/// So many differences are shown whole.
const SHOWN: usize = 40;

#[test]
fn thousands_of_queries_by_chance_are_answered_as_prometheus_answers_them() {
    let seed = from_env("DIFFERENTIAL_SEED").unwrap_or(SEED);
    let Some(servers) = Servers::start(seed) else { return };
    let numbers = match from_env("DIFFERENTIAL_ONLY") {
        Some(number) => number..number + 1,
        None => 0..from_env("DIFFERENTIAL_QUERIES").unwrap_or(QUERIES),
    };
    println!("differential: seed {seed}, queries {numbers:?}, data from {}", servers.from_ms);
    let chains = if numbers.end - numbers.start > 1 { Query::chains(servers.from_ms) } else { Vec::new() };
    let generated = numbers.map(|number| Query::generate(seed, number, servers.from_ms));
    let queries: Vec<Query> = generated.chain(chains).collect();
    let began = Instant::now();
    let truths = each(&queries, |_, query| ask(&servers.truth, query));
    let mut coverage = Coverage::default();
    queries.iter().zip(&truths).for_each(|(query, truth)| coverage.count(query, truth));
    println!("differential: Prometheus has answered after {:?}", began.elapsed());
    report(&coverage);

    let mut findings = Findings::default();
    let mut check = |when: &str, url: &str| {
        let answers = each(&queries, |i, query| judge(&servers.truth, url, query, &truths[i]));
        let wrong = findings.add(when, &queries, answers);
        println!("differential: {when}: {wrong} unexplained, {:?} in all", began.elapsed());
    };
    check("before a flush", servers.whole.url());
    if env::var_os("DIFFERENTIAL_HEAD_ONLY").is_none() {
        check("half and half", servers.half.url());
        servers.whole.flush_all().unwrap();
        check("after a flush", servers.whole.url());
    }

    findings.print(&servers);
    assert!(findings.unexplained.is_empty(), "{} unexplained differences", findings.unexplained.len());
    if queries.len() as u64 >= QUERIES {
        findings.check_rules(&queries);
        let (succeeding, failing) = coverage.missing();
        assert!(succeeding.is_empty(), "in no query that succeeds: {succeeding:?}");
        assert!(failing.is_empty(), "in no query that fails: {failing:?}");
    }
}

fn from_env(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|e| panic!("{name}={value}: {e}")))
}

fn report(coverage: &Coverage) {
    println!(
        "differential: {} queries succeed, {} of them with series and {} with annotations; {} fail, in {} ways",
        coverage.n_succeeded,
        coverage.with_series,
        coverage.with_annotations,
        coverage.n_failed,
        coverage.errors.len()
    );
    if env::var_os("DIFFERENTIAL_ERRORS").is_some() {
        coverage.errors.iter().for_each(|(error, n)| println!("{n:6} {error}"));
    }
}

/// Does something with each query, several at once; the results are in the order of the queries.
fn each<T: Send>(queries: &[Query], work: impl Fn(usize, &Query) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(query) = queries.get(i) else { return };
                    let result = work(i, query);
                    done.lock().unwrap().insert(i, result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

/// What became of a query.
struct Judgement {
    found: Answer,
    truth: Answer,
    difference: Option<Difference>,
    /// Whether numbers were equal only beside the operands.
    by_operand: bool,
    /// Whether Prometheus gave another answer when it was asked again.
    is_one_of_many: bool,
}

fn judge(truth_url: &str, url: &str, query: &Query, truth: &Answer) -> Judgement {
    let mut judgement = judge_once(truth_url, truth, ask(url, query), query);
    if let Some(Difference { what, .. }) = judgement.difference {
        judgement.is_one_of_many = (0..ASKED_AGAIN).any(|_| {
            let again = judge_once(truth_url, truth, ask(truth_url, query), query);
            let is_note = |what| what == What::Annotations;
            again.difference.is_some_and(|difference| is_note(difference.what) == is_note(what))
        });
    }
    judgement
}

fn judge_once(truth_url: &str, truth: &Answer, found: Answer, query: &Query) -> Judgement {
    let mut terms = Terms { operand: 0.0, ordered: is_ordered(query), annotated: true };
    let mut difference = compare(truth, &found, terms).err();
    if difference.as_ref().is_some_and(|d| d.what == What::Annotations) {
        // What else differs matters more.
        terms.annotated = false;
        difference = compare(truth, &found, terms).err().or(difference);
    }
    let mut by_operand = false;
    if difference.as_ref().is_some_and(|d| d.what == What::Numbers) {
        terms.operand = largest_operand(truth_url, query);
        difference = compare(truth, &found, terms).err();
        by_operand = difference.is_none();
    }
    Judgement { found, truth: truth.clone(), difference, by_operand, is_one_of_many: false }
}

/// Range queries and raw samples are sorted by labels, and some functions are there to sort.
fn is_ordered(query: &Query) -> bool {
    let text = query.tree.print();
    let sorts = ["sort(", "sort_desc(", "sort_by_label", "topk(", "bottomk(", "limitk(", "limit_ratio("];
    matches!(query.form, Form::Range { .. })
        || query.tree.kind == tree::Kind::Range
        || sorts.iter().any(|word| text.starts_with(word))
}

fn largest_operand(truth_url: &str, query: &Query) -> f64 {
    let operands = query.tree.all().into_iter().flat_map(tree::Tree::operands);
    let mut largest_yet = 0.0f64;
    for operand in operands {
        let mut query = query.about(operand.clone());
        if let (Form::Range { end, .. }, tree::Kind::Range) = (query.form, operand.kind) {
            query.form = Form::Instant { at: end };
        }
        largest_yet = largest_yet.max(largest(&ask(truth_url, &query)));
    }
    largest_yet
}

/// All that differed.
#[derive(Default)]
struct Findings {
    unexplained: Vec<Finding>,
    explained: BTreeMap<&'static str, usize>,
    /// The queries with an answer that a rule explains.
    by_rule: BTreeSet<u64>,
    by_operand: usize,
}

struct Finding {
    when: String,
    query: Query,
    judgement: Judgement,
}

impl Findings {
    /// Says how many are unexplained.
    fn add(&mut self, when: &str, queries: &[Query], judgements: Vec<Judgement>) -> usize {
        let before = self.unexplained.len();
        for (query, judgement) in queries.iter().zip(judgements) {
            self.by_operand += usize::from(judgement.by_operand);
            let Some(difference) = &judgement.difference else { continue };
            let Judgement { truth, found, is_one_of_many, .. } = &judgement;
            let text = &query.tree.print();
            let case = Case { text, truth, found, difference, is_one_of_many: *is_one_of_many };
            match RULES.iter().find(|rule| (rule.explains)(&case)) {
                Some(rule) => {
                    *self.explained.entry(rule.name).or_default() += 1;
                    self.by_rule.insert(query.number);
                }
                None => {
                    self.unexplained.push(Finding { when: when.to_string(), query: query.clone(), judgement })
                }
            }
        }
        self.unexplained.len() - before
    }

    fn print(&self, servers: &Servers) {
        println!("differential: {} answers are equal only beside their operands", self.by_operand);
        for rule in &RULES {
            let n = self.explained.get(rule.name).copied().unwrap_or(0);
            println!("differential: {n} explained by \"{}\": {}", rule.name, rule.reason);
        }
        let mut shown = BTreeSet::new();
        for finding in &self.unexplained {
            if !shown.insert(finding.query.number) {
                println!("DIFFERENT {}: #{}, too", finding.when, finding.query.number);
            } else if shown.len() <= SHOWN {
                shrink::show(finding, servers);
            } else {
                println!("DIFFERENT {}: {}", finding.when, finding.query);
            }
        }
    }

    /// Rules fire, and not often.
    fn check_rules(&self, queries: &[Query]) {
        for rule in &RULES {
            assert!(self.explained.contains_key(rule.name), "the rule \"{}\" explains nothing", rule.name);
        }
        let (n, all) = (self.by_rule.len(), queries.len());
        println!("differential: {n} of {all} queries have an answer that differs by rule");
        assert!(n * 1000 <= all * PER_THOUSAND, "{n} of {all} queries have an answer that differs by rule");
    }
}
