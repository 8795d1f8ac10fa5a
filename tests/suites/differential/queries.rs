//! A query with its times, as it is put to both servers.

use std::fmt;

use super::data::SPAN_MS;
use super::dice::Dice;
use super::grammar::{FLOATS, Grammar};
use super::tree::{Kind, Tree};

/// How often a query is one that should fail, in percent.
const BROKEN: usize = 22;

/// A query and what is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) number: u64,
    pub(super) tree: Tree,
    pub(super) form: Form,
    /// `lookback_delta`.
    lookback: Option<&'static str>,
}

/// For a time, or for times one after the other; in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Instant { at: i64 },
    Range { start: i64, end: i64, step: i64 },
}

impl Query {
    /// The query of a number; the same seed and start give the same.
    pub(super) fn generate(seed: u64, number: u64, from_ms: i64) -> Query {
        let mut dice = Dice::new(seed, number);
        let (is_range, is_broken) = (dice.percent(50), dice.percent(BROKEN));
        let budget = 1 + dice.below(7);
        let mut grammar = Grammar { dice: &mut dice, from_ms, budget };
        let tree = if is_broken { grammar.broken() } else { grammar.query(is_range) };
        let at = grammar.time();
        let form = if is_range {
            let step = dice.pick(&[15_000, 30_000, 60_000, 61_000, 300_000, 1_000, 7_500, 1_234]);
            let steps = dice.between(0, 14);
            Form::Range { start: at, end: at + steps * step + dice.pick(&[0, 0, 999]), step }
        } else {
            Form::Instant { at }
        };
        let lookback = dice.percent(5).then(|| dice.pick(&["1m", "20s", "600"]));
        Query { number, tree, form, lookback }
    }

    /// Chains of thousands of operators at a time, and of hundreds over several, numbered behind all others.
    pub(super) fn chains(from_ms: i64) -> Vec<Query> {
        let at = from_ms + SPAN_MS / 2;
        let over_several = Form::Range { start: at, end: at + 300_000, step: 60_000 };
        let all =
            [(4_000, Form::Instant { at }), (400, over_several)].into_iter().flat_map(|(operators, form)| {
                chains(operators).map(|text| (Tree::text(Kind::Vector, text), form))
            });
        let numbered = (u64::MAX - 100..).zip(all);
        numbered.map(|(number, (tree, form))| Query { number, tree, form, lookback: None }).collect()
    }

    /// The same question about another expression.
    pub(super) fn about(&self, tree: Tree) -> Query {
        Query { tree, ..self.clone() }
    }

    /// Where under `/api/v1`.
    pub(super) fn path(&self) -> &'static str {
        match self.form {
            Form::Instant { .. } => "query",
            Form::Range { .. } => "query_range",
        }
    }

    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("query", self.tree.print())];
        match self.form {
            Form::Instant { at } => parameters.push(("time", timestamp(at))),
            Form::Range { start, end, step } => {
                parameters.push(("start", timestamp(start)));
                parameters.push(("end", timestamp(end)));
                parameters.push(("step", timestamp(step)));
            }
        }
        parameters.extend(self.lookback.map(|lookback| ("lookback_delta", lookback.to_string())));
        parameters
    }
}

impl fmt::Display for Query {
    /// In a form that can be copied behind `curl <url>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} /api/v1/{}", self.number, self.path())?;
        for (name, value) in self.parameters() {
            write!(f, " --data-urlencode '{name}={}'", value.replace('\'', "'\\''"))?;
        }
        Ok(())
    }
}

/// Vectors that come together, vectors and numbers in turn, a vector that becomes less, and numbers.
fn chains(operators: usize) -> [String; 4] {
    let chain = |operator: &str, operand: &dyn Fn(usize) -> String| {
        let operands: Vec<String> = (0..=operators).map(operand).collect();
        operands.join(&format!(" {operator} "))
    };
    let plain = FLOATS.map(|name| if name.starts_with('"') { "up" } else { name });
    [
        chain("or", &|i| format!("{} offset {}s", plain[i % plain.len()], i % 50)),
        chain("+", &|i| if i % 2 == 0 { "up".to_string() } else { "1".to_string() }),
        chain("unless on (job)", &|i| format!("queue_length > {}", i % 7)),
        chain("-", &|i| format!("{i}.5")),
    ]
}

/// Seconds with a fraction where there is one.
pub(super) fn timestamp(ms: i64) -> String {
    system_tests::seconds(ms)
}

#[test]
fn the_same_seed_makes_the_same_queries_and_another_seed_makes_others() {
    let print = |seed, number| Query::generate(seed, number, 1_700_000_000_000).to_string();
    let all: std::collections::BTreeSet<String> = (0..200).map(|number| print(7, number)).collect();
    assert!((0..200).all(|number| all.contains(&print(7, number))));
    let others = (0..200).filter(|number| !all.contains(&print(8, *number))).count();
    assert!(all.len() > 150 && others > 150, "{} queries, {others} others", all.len());
}
