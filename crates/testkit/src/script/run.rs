use model::Value;

use super::command::{CommandKind, Eval, Expected, When};
use super::{Engine, Outcome, compare, pin};

/// The middle step of a range query is compared with the instant query; the others are this far away.
const RANGE_MARGIN_MS: i64 = 60_000;

/// How a script went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The script's name.
    pub name: String,
    /// Cases with everything as expected, re-runs included.
    pub passed: usize,
    /// Cases without.
    pub failed: usize,
    /// What was checked beside results at their own time.
    pub beside: Beside,
    /// Why, in the order of the script. A script that does not read is one failure more.
    pub failures: Vec<Failure>,
}

/// What a runner that only compares results would leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Instant queries that were asked again with their time pinned by `@`.
    pub pinned: usize,
    /// Instant queries, those included, whose result was compared with the middle step of a range query.
    pub as_range: usize,
    /// Expectations of a warning, of an info, or of none.
    pub annotations: usize,
}

impl std::ops::AddAssign for Beside {
    fn add_assign(&mut self, other: Beside) {
        self.pinned += other.pinned;
        self.as_range += other.as_range;
        self.annotations += other.annotations;
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The line, counted from 1.
    pub line: usize,
    /// The query, or nothing where the script itself is wrong.
    pub expr: String,
    /// What went wrong.
    pub message: String,
}

impl Report {
    /// Whether all went well.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }

    /// The failures as `name:line: query` with what went wrong.
    pub fn failures_text(&self) -> String {
        let show = |f: &Failure| format!("{}:{}: {}\n  {}\n", self.name, f.line, f.expr, f.message);
        self.failures.iter().map(show).collect()
    }
}

/// Runs a script against an engine, which is cleared first. A failed case does not end the run.
pub fn run(name: &str, script: &str, engine: &mut dyn Engine) -> Report {
    let mut report = Report { name: name.to_string(), ..Report::default() };
    engine.clear();
    let commands = match super::parse(script) {
        Ok(commands) => commands,
        Err(error) => {
            report.failed += 1;
            let failure = Failure { line: error.line, expr: String::new(), message: error.message };
            report.failures.push(failure);
            return report;
        }
    };
    for command in commands {
        let eval = match command.kind {
            CommandKind::Clear => {
                engine.clear();
                continue;
            }
            CommandKind::Load(series) => {
                engine.load(series);
                continue;
            }
            CommandKind::Eval(eval) => eval,
        };
        match run_eval(&eval, engine, &mut report.beside) {
            Ok(()) => report.passed += 1,
            Err(message) => {
                report.failed += 1;
                report.failures.push(Failure { line: command.line, expr: eval.expr, message });
            }
        }
    }
    report
}

fn run_eval(eval: &Eval, engine: &mut dyn Engine, beside: &mut Beside) -> Result<(), String> {
    let parsed = promql::parse(&eval.expr).map_err(|e| format!("query does not parse: {e}"))?;
    let at = match (eval.when, eval.range_vector) {
        (When::Range { start, end, step }, _) => {
            let outcome = engine.range(&eval.expr, start, end, step);
            beside.annotations += eval.expectations.annotations();
            return check(eval, outcome).map(|_| ());
        }
        // The result is that of the range's end.
        (When::Instant(_), Some((_, end, _))) => end,
        (When::Instant(at), None) => at,
    };
    beside.annotations += eval.expectations.annotations();
    run_instant(eval, &eval.expr, at, engine, beside)?;
    let Some((pinned, times)) = pin::pinned(parsed, at) else { return Ok(()) };
    for time in times {
        run_instant(eval, &pinned, time, engine, beside)
            .map_err(|e| format!("as {pinned} at {time} ms: {e}"))?;
        beside.pinned += 1;
    }
    Ok(())
}

/// Asks for one moment, then for a range around it.
fn run_instant(
    eval: &Eval,
    expr: &str,
    at: i64,
    engine: &mut dyn Engine,
    beside: &mut Beside,
) -> Result<(), String> {
    let outcome = engine.instant(expr, at);
    let Some(value) = check(eval, outcome)? else { return Ok(()) };
    let is_range_vector = eval.range_vector.is_some() || matches!(eval.expected, Expected::String(_));
    if is_range_vector || pin::asks_for_context(expr) {
        return Ok(());
    }
    let compared = run_as_range(eval, expr, at, &value, engine);
    beside.as_range += usize::from(compared.map_err(|e| format!("as a range query: {e}"))?);
    Ok(())
}

/// Whether there was something to compare.
fn run_as_range(
    eval: &Eval,
    expr: &str,
    at: i64,
    instant: &Value,
    engine: &mut dyn Engine,
) -> Result<bool, String> {
    let outcome = engine.range(expr, at - RANGE_MARGIN_MS, at + RANGE_MARGIN_MS, RANGE_MARGIN_MS)?;
    if eval.expectations.ordered {
        // Range queries are ordered by labels, whatever was asked for.
        return Ok(false);
    }
    let Value::Matrix(series) = outcome.value else {
        return Err("the result is no matrix".to_string());
    };
    compare::sorted(&series)?;
    let samples = compare::moment(&series, at);
    if !matches!(instant, Value::Scalar { .. }) {
        return compare::value(eval, &Value::Vector(samples)).map(|()| true);
    }
    match samples.first().map(|sample| &sample.value) {
        Some(model::SampleValue::Float(value)) => {
            compare::value(eval, &Value::Scalar { timestamp: at, value: *value }).map(|()| true)
        }
        _ => Err("no value in the middle".to_string()),
    }
}

/// Checks what came back; the value, or nothing where a failure was expected and came.
fn check(eval: &Eval, outcome: Result<Outcome, String>) -> Result<Option<Value>, String> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(message) => return compare::failure(&eval.expectations, &message).map(|()| None),
    };
    if let Some(pattern) = &eval.expectations.fail {
        return Err(format!("query succeeded, expected it to fail with {pattern:?}"));
    }
    compare::annotations(&eval.expectations, &outcome)?;
    compare::value(eval, &outcome.value)?;
    Ok(Some(outcome.value))
}
