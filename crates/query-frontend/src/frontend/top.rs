//! The last queries, and which of them came most often or took longest.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::TenantIds;
use parking_lot::Mutex;

use super::asked::Asked;

/// The last queries up to a number, within a bound of memory.
#[derive(Debug)]
pub(crate) struct Top {
    capacity: usize,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    records: VecDeque<Record>,
    /// Each question once, and how many of the records are of it.
    questions: HashMap<Arc<Question>, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Record {
    question: Arc<Question>,
    at_ms: i64,
    secs: f64,
}

/// Queries that count as the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    tenants: TenantIds,
    pub(crate) query: Arc<str>,
    pub(crate) range_secs: i64,
}

/// What there is to say about a question.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub(crate) question: Arc<Question>,
    pub(crate) count: u64,
    pub(crate) sum_secs: f64,
}

/// The most bytes of questions.
const BYTES_MAX: usize = 8 << 20;

impl Top {
    /// Remembers the last so many.
    pub(crate) fn new(capacity: usize) -> Top {
        Top { capacity, last: Mutex::default() }
    }

    /// How many are remembered.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn add(&self, asked: &Asked, at_ms: i64, secs: f64) {
        if self.capacity == 0 {
            return;
        }
        let question = Question {
            tenants: asked.tenants.clone(),
            query: Arc::clone(&asked.query),
            range_secs: asked.range_secs(),
        };
        let mut last = self.last.lock();
        let question = last.known(question);
        last.records.push_back(Record { question, at_ms, secs });
        while last.records.len() > self.capacity || last.bytes > BYTES_MAX {
            last.forget_first();
        }
    }

    /// What these tenants asked since then.
    pub(crate) fn since(&self, since_ms: i64, tenants: &TenantIds) -> Vec<Ranked> {
        let last = self.last.lock();
        let mut ranked: HashMap<&Arc<Question>, (u64, f64)> = HashMap::new();
        for record in last.records.iter().filter(|record| record.at_ms >= since_ms) {
            let theirs = record.question.tenants.all();
            if theirs.iter().all(|tenant| tenants.all().contains(tenant)) {
                let (count, sum_secs) = ranked.entry(&record.question).or_default();
                *count += 1;
                *sum_secs += record.secs;
            }
        }
        let all = ranked.into_iter();
        all.map(|(question, (count, sum_secs))| Ranked { question: Arc::clone(question), count, sum_secs })
            .collect()
    }
}

impl Last {
    /// The question as it is known, with one more record.
    fn known(&mut self, question: Question) -> Arc<Question> {
        let known = self.questions.get_key_value(&question).map(|(known, _)| Arc::clone(known));
        let known = known.unwrap_or_else(|| {
            self.bytes += question.bytes();
            Arc::new(question)
        });
        *self.questions.entry(Arc::clone(&known)).or_default() += 1;
        known
    }

    fn forget_first(&mut self) {
        let Some(Record { question, .. }) = self.records.pop_front() else { return };
        let Some(n_records) = self.questions.get_mut(&question) else { return };
        *n_records -= 1;
        if *n_records == 0 {
            self.questions.remove(&question);
            self.bytes -= question.bytes();
        }
    }
}

impl Question {
    fn bytes(&self) -> usize {
        size_of::<Question>() + self.query.len() + 128
    }
}

impl Ranked {
    pub(crate) fn average_secs(&self) -> f64 {
        self.sum_secs / self.count.max(1) as f64
    }
}

/// The first `n` by a figure, the greatest first.
pub(crate) fn first_by(mut all: Vec<Ranked>, n: usize, figure: impl Fn(&Ranked) -> f64) -> Vec<Ranked> {
    let order = |one: &Ranked| {
        (Reverse(ordered(figure(one))), Arc::clone(&one.question.query), one.question.range_secs)
    };
    all.sort_by_cached_key(order);
    all.truncate(n);
    all
}

/// Bits in the order of the numbers; all are positive.
fn ordered(figure: f64) -> u64 {
    figure.max(0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &str) -> TenantIds {
        TenantIds::parse(ids).unwrap()
    }

    fn shown(ranked: &[Ranked]) -> Vec<(String, u64)> {
        ranked.iter().map(|one| (one.question.query.to_string(), one.count)).collect()
    }

    #[test]
    fn questions_are_ranked_by_count_average_and_sum_and_seen_by_those_who_asked() {
        let top = Top::new(100);
        for (query, at_ms, secs) in
            [("often", 10, 1.0), ("often", 20, 1.0), ("often", 30, 1.0), ("long", 30, 2.0)]
        {
            top.add(&Asked::of(&ids("a"), query), at_ms, secs);
        }
        top.add(&Asked::of(&ids("b"), "foreign"), 30, 9.0);
        let all = top.since(0, &ids("a"));
        let by = |figure: fn(&Ranked) -> f64| shown(&first_by(all.clone(), 1, figure));
        assert_eq!(by(|one| one.count as f64), [("often".to_string(), 3)]);
        assert_eq!(by(Ranked::average_secs), [("long".to_string(), 1)]);
        assert_eq!(by(|one| one.sum_secs), [("often".to_string(), 3)]);
        assert_eq!(shown(&first_by(top.since(25, &ids("a")), 5, |one| one.sum_secs)).len(), 2);
        assert_eq!(shown(&top.since(0, &ids("b"))), [("foreign".to_string(), 1)]);
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked() {
        let top = Top::new(1_000_000);
        for i in 0..10_000 {
            top.add(&Asked::of(&ids("a"), &format!("{i}{}", "x".repeat(2000))), i, 1.0);
        }
        let last = top.last.lock();
        assert!(last.bytes <= BYTES_MAX && last.questions.len() < 5000);
        assert_eq!(last.questions.len(), last.records.len());
        drop(last);
        let few = Top::new(3);
        for i in 0..10 {
            few.add(&Asked::of(&ids("a"), if i % 2 == 0 { "even" } else { "odd" }), i, 1.0);
        }
        assert_eq!(few.since(0, &ids("a")).iter().map(|one| one.count).sum::<u64>(), 3);
    }
}
