//! Series lines: labels, then values in a shorthand of their own.

use model::{Labels, MatcherOp, STALE_NAN};

use super::command::Item;
use super::histogram::{self, Literal, signed_number};

/// The most values that one item may stand for.
const MAX_REPEATS: usize = 1_000_000;

/// Reads `metric{labels} items…`.
pub(super) fn parse(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (selector, rest) = split_labels(line)?;
    let labels = labels(selector)?;
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return Err(format!("unexpected text after the labels: {rest}"));
    }
    let mut items = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let end = item_end(rest)?;
        parse_item(&rest[..end], &mut items).map_err(|e| format!("series value {:?}: {e}", &rest[..end]))?;
        rest = rest[end..].trim_start();
    }
    Ok((labels, items))
}

/// Reads `metric{labels}@st offsets…`: offsets of start timestamps from their samples, in milliseconds.
pub(super) fn parse_starts(line: &str) -> Result<(Labels, Vec<Option<i64>>), String> {
    let (selector, rest) = split_labels(line)?;
    let labels = labels(selector)?;
    let rest = rest.strip_prefix("@st").ok_or("missing @st")?;
    let mut starts = Vec::new();
    for item in rest.split_whitespace() {
        parse_start(item, &mut starts).map_err(|e| format!("invalid @st item {item:?}: {e}"))?;
    }
    Ok((labels, starts))
}

/// Whether a line of a `load` gives start timestamps.
pub(super) fn is_starts(line: &str) -> bool {
    split_labels(line).is_ok_and(|(_, rest)| rest.starts_with("@st"))
}

/// The labels, and what follows them.
fn split_labels(line: &str) -> Result<(&str, &str), String> {
    let name_end =
        line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    if !line[name_end..].starts_with('{') {
        return Ok(line.split_at(name_end));
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices().skip(name_end) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(open) if c == '\\' && open != '`' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '}' => return Ok(line.split_at(at + 1)),
            None => {}
        }
    }
    Err("unclosed braces".to_string())
}

/// Labels are written as a selector of equalities.
fn labels(selector: &str) -> Result<Labels, String> {
    let matchers = promql::parse_selector(selector).map_err(|e| e.to_string())?;
    if let Some(other) = matchers.iter().find(|m| m.op != MatcherOp::Equal) {
        return Err(format!("a label must have a value: {other}"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name.as_str(), m.value.as_str()))))
}

/// Where the first item ends: at a space outside of double braces.
fn item_end(text: &str) -> Result<usize, String> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with("{{") {
            at += rest.find("}}").ok_or("unclosed histogram")? + 2;
        } else if let Some(c) = rest.chars().next().filter(|c| !c.is_whitespace()) {
            at += c.len_utf8();
        } else {
            return Ok(at);
        }
    }
}

fn parse_item(item: &str, items: &mut Vec<Item>) -> Result<(), String> {
    if let Some(rest) = item.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { repeats(rest)? };
        items.extend(std::iter::repeat_n(Item::Gap, count));
        return Ok(());
    }
    if item.starts_with("{{") {
        return parse_histograms(item, items);
    }
    let (value, rest) = split_number(item)?;
    if rest.is_empty() {
        items.push(Item::Float(value));
        return Ok(());
    }
    if rest.starts_with('x') {
        items.extend(std::iter::repeat_n(Item::Float(value), repeats(rest)? + 1));
        return Ok(());
    }
    let (step, rest) = split_number(rest)?;
    let mut current = value;
    for _ in 0..=repeats(rest)? {
        items.push(Item::Float(current));
        current += step;
    }
    Ok(())
}

/// `x5` is 5.
fn repeats(text: &str) -> Result<usize, String> {
    let digits = text.strip_prefix('x').ok_or_else(|| format!("expected x and a number, got {text:?}"))?;
    let count = digits.parse().map_err(|_| format!("invalid repetition in series values: {digits:?}"))?;
    if count > MAX_REPEATS {
        return Err(format!("more than {MAX_REPEATS} repetitions"));
    }
    Ok(count)
}

/// A number at the start, with or without a sign, and the rest.
fn split_number(text: &str) -> Result<(f64, &str), String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = text.len() - unsigned.len();
    for (word, value) in [("stale", f64::from_bits(STALE_NAN)), ("NaN", f64::NAN)] {
        if unsigned.len() >= word.len() && unsigned.is_char_boundary(word.len()) {
            let (head, tail) = unsigned.split_at(word.len());
            if head.eq_ignore_ascii_case(word) {
                return Ok((value, tail));
            }
        }
    }
    if unsigned.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("inf")) {
        let value = if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
        return Ok((value, &unsigned[3..]));
    }
    let bytes = unsigned.as_bytes();
    let mut end = 0;
    while let Some(b) = bytes.get(end) {
        let after_exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        let is_part = match b {
            b'0'..=b'9' | b'.' | b'_' | b'e' | b'E' => true,
            b'+' | b'-' => after_exponent,
            _ => false,
        };
        if !is_part {
            break;
        }
        end += 1;
    }
    Ok((signed_number(&text[..sign + end])?, &unsigned[end..]))
}

fn parse_histograms(item: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let (first, rest) = split_histogram(item)?;
    if rest.is_empty() {
        items.push(finish(&first));
        return Ok(());
    }
    if rest.starts_with('x') {
        items.extend(std::iter::repeat_n(finish(&first), repeats(rest)? + 1));
        return Ok(());
    }
    let (subtract, tail) = match rest.split_at(1) {
        ("+", tail) => (false, tail),
        ("-", tail) => (true, tail),
        _ => return Err(format!("unexpected text after a histogram: {rest:?}")),
    };
    let (step, rest) = split_histogram(tail)?;
    let mut current = Literal { hint_given: step.hint_given, ..first };
    for i in 0..=repeats(rest)? {
        if i > 0 {
            advance(&mut current, &step, subtract)?;
        }
        items.push(finish(&current));
    }
    Ok(())
}

fn advance(current: &mut Literal, step: &Literal, subtract: bool) -> Result<(), String> {
    let (from, to) = (step.histogram.schema, current.histogram.schema);
    if to > from {
        return Err(format!("error combining histograms: cannot merge from schema {from} to {to}"));
    }
    let combined = if subtract {
        current.histogram.sub(&step.histogram)
    } else {
        current.histogram.add(&step.histogram)
    };
    combined.map(|_| ()).map_err(|e| e.to_string())
}

fn split_histogram(text: &str) -> Result<(Literal, &str), String> {
    let body = text.strip_prefix("{{").ok_or("expected a histogram")?;
    let (body, rest) = body.split_once("}}").ok_or("unclosed histogram")?;
    Ok((histogram::parse(body)?, rest))
}

fn finish(literal: &Literal) -> Item {
    let histogram = Box::new(literal.histogram.clone().into_model());
    Item::Histogram { histogram, hint_given: literal.hint_given }
}

fn parse_start(item: &str, starts: &mut Vec<Option<i64>>) -> Result<(), String> {
    if let Some(rest) = item.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { repeats(rest)? };
        starts.extend(std::iter::repeat_n(None, count));
        return Ok(());
    }
    let (first, rest) = split_duration(item)?;
    if rest.is_empty() {
        starts.push(Some(first));
        return Ok(());
    }
    let (step, rest) = if rest.starts_with('x') { (0, rest) } else { split_duration(rest)? };
    let mut current = first;
    for _ in 0..=repeats(rest)? {
        starts.push(Some(current));
        current += step;
    }
    Ok(())
}

/// A duration at the start, with or without a sign, in milliseconds, and the rest.
fn split_duration(text: &str) -> Result<(i64, &str), String> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| c == 'x' || !c.is_ascii_alphanumeric()).unwrap_or(unsigned.len());
    let millis = promql::parse_duration_millis(&unsigned[..end])?;
    Ok((if negative { -millis } else { millis }, &unsigned[end..]))
}
