//! Lines to commands.

use model::{Labels, is_stale};
use regex::Regex;

use super::command::{
    Command, CommandKind, Eval, Expectations, Expected, ExpectedSeries, Item, Pattern, When,
};
use super::histogram::signed_number;
use super::{LoadedSample, LoadedSeries, LoadedValue, nhcb, series};

/// A script that does not read, and the line where it stops to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub message: String,
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    /// The next line, counted from 0.
    at: usize,
}

/// Reads a script.
pub fn parse(script: &str) -> Result<Vec<Command>, ScriptError> {
    // A comment ends a block as an empty line does.
    let trimmed = script.split('\n').map(str::trim);
    let lines = trimmed.map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut lines = Lines { lines, at: 0 };
    let mut commands = Vec::new();
    while let Some(first) = lines.next() {
        if first.is_empty() {
            continue;
        }
        let line = lines.at;
        let kind = lines
            .command(first)
            .map_err(|message| ScriptError { line: lines.at.min(lines.lines.len()), message })?;
        commands.push(Command { line, kind });
    }
    Ok(commands)
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied();
        self.at += 1;
        line
    }

    /// The next line of the block.
    fn next_in_block(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied().filter(|line| !line.is_empty())?;
        self.at += 1;
        Some(line)
    }

    fn command(&mut self, first: &str) -> Result<CommandKind, String> {
        let (word, rest) = split_word(first);
        match word.to_ascii_lowercase().as_str() {
            "clear" if rest.is_empty() => Ok(CommandKind::Clear),
            "load" => Ok(CommandKind::Load(self.load(rest)?)),
            "load_with_nhcb" => {
                let mut series = self.load(rest)?;
                series.extend(nhcb::convert(&series)?);
                Ok(CommandKind::Load(series))
            }
            "eval" | "eval_fail" | "eval_warn" | "eval_ordered" | "eval_info" => {
                let mode = word.strip_prefix("eval_").unwrap_or_default();
                Ok(CommandKind::Eval(Box::new(self.eval(mode, rest)?)))
            }
            _ => Err(format!("invalid command {first:?}")),
        }
    }

    fn load(&mut self, step: &str) -> Result<Vec<LoadedSeries>, String> {
        let step = duration(step).map_err(|e| format!("invalid step definition {step:?}: {e}"))?;
        let mut loaded: Vec<LoadedSeries> = Vec::new();
        let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
        while let Some(line) = self.next_in_block() {
            if series::is_starts(line) {
                if pending.is_some() {
                    return Err("@st line has no following sample line".to_string());
                }
                pending = Some(series::parse_starts(line)?);
                continue;
            }
            let (labels, items) = series::parse(line)?;
            let starts = match pending.take() {
                None => vec![None; items.len()],
                Some((of, _)) if of != labels => {
                    return Err("@st metric does not match the following sample line metric".to_string());
                }
                Some((_, starts)) if starts.len() != items.len() => {
                    let (starts, items) = (starts.len(), items.len());
                    return Err(format!("@st line has {starts} values but sample line has {items}"));
                }
                Some((_, starts)) => starts,
            };
            // A series given twice in one load is the last one.
            loaded.retain(|other| other.labels != labels);
            loaded.push(LoadedSeries { labels, samples: samples(items, &starts, step) });
        }
        if pending.is_some() {
            return Err("@st line has no following sample line".to_string());
        }
        Ok(loaded)
    }

    fn eval(&mut self, mode: &str, rest: &str) -> Result<Eval, String> {
        let (kind, rest) = split_word(rest);
        let (when, expr) = match kind {
            "instant" => instant(rest)?,
            "range" => range(rest)?,
            _ => return Err("invalid evaluation command: must be instant or range".to_string()),
        };
        if expr.is_empty() {
            return Err("invalid evaluation command: no expression".to_string());
        }
        let mut expectations = Expectations::default();
        match mode {
            "ordered" => expectations.ordered = true,
            "fail" => expectations.fail = Some(Pattern::Any),
            "warn" => expectations.warn.push(Pattern::Any),
            "info" => expectations.info.push(Pattern::Any),
            _ => {}
        }
        let expected = Expected::Series(Vec::new());
        let mut eval = Eval { expr: expr.to_string(), when, expectations, expected, range_vector: None };
        while let Some(line) = self.next_in_block() {
            if eval.line(line, mode == "fail")? {
                break;
            }
        }
        eval.expectations.validate()?;
        Ok(eval)
    }
}

impl Eval {
    /// Takes a line of the block; true if it is the last.
    fn line(&mut self, line: &str, old_fail: bool) -> Result<bool, String> {
        if old_fail && let Some(text) = line.strip_prefix("expected_fail_message") {
            self.expectations.fail = Some(Pattern::Exact(text.trim().to_string()));
            return Ok(true);
        }
        if old_fail && let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            self.expectations.fail = Some(pattern_of("regex", pattern.trim())?);
            return Ok(true);
        }
        if let Some(rest) = line.strip_prefix("expect range vector") {
            let times = range(&format!("{rest} -"))?.0;
            let When::Range { start, end, step } = times else {
                return Err(format!("invalid range vector definition {line:?}"));
            };
            self.range_vector = Some((start, end, step));
            return Ok(false);
        }
        if let Some(quoted) = line.strip_prefix("expect string") {
            self.expected = Expected::String(string_literal(quoted.trim())?);
            return Ok(false);
        }
        if split_word(line).0 == "expect" {
            self.expectations.line(split_word(line).1)?;
            return Ok(false);
        }
        if let Ok(value) = signed_number(line) {
            self.expected = Expected::Scalar(value);
            return Ok(true);
        }
        let (labels, items) = series::parse(line)?;
        let is_instant = matches!(self.when, When::Instant(_)) && self.range_vector.is_none();
        if is_instant && items.len() != 1 {
            return Err("an instant evaluation has one value per series; \
                        for more, say `expect range vector`"
                .to_string());
        }
        if let Expected::Series(all) = &mut self.expected {
            all.retain(|other| other.labels != labels);
            all.push(ExpectedSeries { labels, items });
        }
        Ok(false)
    }
}

impl Expectations {
    fn line(&mut self, rest: &str) -> Result<(), String> {
        let (mode, rest) = split_word(rest);
        let pattern = match rest.split_once(':') {
            _ if rest.is_empty() => Pattern::Any,
            Some((kind, text)) => pattern_of(kind, text.trim())?,
            None => return Err(format!("invalid expect statement: {rest:?}")),
        };
        match mode {
            "ordered" => self.ordered = true,
            "fail" if self.fail.is_some() => {
                return Err("invalid expect lines, multiple expect fail lines are not allowed".to_string());
            }
            "fail" => self.fail = Some(pattern),
            "warn" => self.warn.push(pattern),
            "info" => self.info.push(pattern),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            _ => return Err(format!("invalid expected error/annotation type {mode:?}")),
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), String> {
        if self.no_info && !self.info.is_empty() {
            return Err("invalid expect lines, info and no_info cannot be used together".to_string());
        }
        if self.no_warn && !self.warn.is_empty() {
            return Err("invalid expect lines, warn and no_warn cannot be used together".to_string());
        }
        Ok(())
    }
}

fn pattern_of(kind: &str, text: &str) -> Result<Pattern, String> {
    match kind {
        "msg" => Ok(Pattern::Exact(text.to_string())),
        "regex" => Regex::new(text).map(Pattern::Regex).map_err(|e| format!("invalid regex {text}: {e}")),
        _ => Err(format!("invalid token {kind:?}: expected msg or regex")),
    }
}

/// `at <time> <expr>`
fn instant(rest: &str) -> Result<(When, &str), String> {
    let (at, rest) = keyed_duration(rest, "at")?;
    Ok((When::Instant(at), rest))
}

/// `from <time> to <time> step <duration> <expr>`
fn range(rest: &str) -> Result<(When, &str), String> {
    let (start, rest) = keyed_duration(rest, "from")?;
    let (end, rest) = keyed_duration(rest, "to")?;
    let (step, rest) = keyed_duration(rest, "step")?;
    if end < start {
        return Err("invalid test definition, end timestamp is before start timestamp".to_string());
    }
    if step == 0 {
        return Err("invalid test definition, step is zero".to_string());
    }
    Ok((When::Range { start, end, step }, rest))
}

fn keyed_duration<'a>(rest: &'a str, key: &str) -> Result<(i64, &'a str), String> {
    let (word, rest) = split_word(rest);
    if word != key {
        return Err(format!("invalid evaluation command: expected {key:?}, got {word:?}"));
    }
    let (text, rest) = split_word(rest);
    let millis = duration(text).map_err(|e| format!("invalid timestamp definition {text:?}: {e}"))?;
    Ok((millis, rest))
}

fn duration(text: &str) -> Result<i64, String> {
    promql::parse_duration_millis(text)
}

/// The first word, and the rest without the space before it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A string in quotes is a query of its own.
fn string_literal(quoted: &str) -> Result<String, String> {
    match promql::parse(quoted).map(|expr| expr.kind) {
        Ok(promql::ast::ExprKind::String(text)) => Ok(text),
        _ => Err("a quoted string literal is required".to_string()),
    }
}

fn samples(items: Vec<Item>, starts: &[Option<i64>], step: i64) -> Vec<LoadedSample> {
    let mut samples = Vec::with_capacity(items.len());
    let mut timestamp = 0;
    for (item, start) in items.into_iter().zip(starts) {
        let value = match item {
            Item::Gap => None,
            Item::Float(value) => Some(LoadedValue::Float(value)),
            Item::Histogram { histogram, .. } if is_stale(histogram.sum) => {
                Some(LoadedValue::Float(histogram.sum))
            }
            Item::Histogram { histogram, .. } => Some(LoadedValue::Histogram(*histogram)),
        };
        let start_timestamp = start.map_or(0, |offset| timestamp + offset);
        samples.extend(value.map(|value| LoadedSample { timestamp, start_timestamp, value }));
        timestamp += step;
    }
    samples
}
