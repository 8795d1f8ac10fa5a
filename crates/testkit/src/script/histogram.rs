//! Histogram literals: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use model::{BucketSpan, ResetHint};
use promql::histogram::FloatHistogram;

/// A literal, and whether it names its reset hint.
#[derive(Debug, Clone)]
pub(super) struct Literal {
    pub(super) histogram: FloatHistogram,
    pub(super) hint_given: bool,
}

/// The buckets of one side as written.
#[derive(Default)]
struct Side {
    offset: i32,
    buckets: Vec<f64>,
}

/// Reads what stands between the double braces.
pub(super) fn parse(body: &str) -> Result<Literal, String> {
    let mut histogram = FloatHistogram::empty(0);
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut seen: Vec<String> = Vec::new();
    for (key, value) in fields(body)? {
        if seen.contains(&key) {
            return Err(format!("duplicate key \"{key}\" in histogram"));
        }
        match key.as_str() {
            "schema" => histogram.schema = integer(value)?,
            "sum" => histogram.sum = signed_number(value)?,
            "count" => histogram.count = signed_number(value)?,
            "z_bucket" => histogram.zero_count = signed_number(value)?,
            "z_bucket_w" => histogram.zero_threshold = signed_number(value)?,
            "custom_values" => histogram.custom_values = list(value)?,
            "buckets" => positive.buckets = list(value)?,
            "offset" => positive.offset = integer(value)?,
            "n_buckets" => negative.buckets = list(value)?,
            "n_offset" => negative.offset = integer(value)?,
            "counter_reset_hint" => histogram.reset_hint = reset_hint(value)?,
            _ => return Err(format!("bad histogram descriptor found: {key:?}")),
        }
        seen.push(key);
    }
    (histogram.positive_spans, histogram.positive) = positive.place()?;
    (histogram.negative_spans, histogram.negative) = negative.place()?;
    Ok(Literal { histogram, hint_given: seen.iter().any(|key| key == "counter_reset_hint") })
}

impl Side {
    fn place(self) -> Result<(Vec<BucketSpan>, Vec<f64>), String> {
        if self.buckets.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let length = u32::try_from(self.buckets.len()).map_err(|_| "too many buckets".to_string())?;
        Ok((vec![BucketSpan { offset: self.offset, length }], self.buckets))
    }
}

/// The `key:value` pairs; a value in brackets may hold spaces.
fn fields(body: &str) -> Result<Vec<(String, &str)>, String> {
    let mut fields = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':').ok_or("missing `:` for histogram descriptor")?;
        let end = if tail.starts_with('[') {
            tail.find(']').ok_or("unclosed bucket list")? + 1
        } else {
            tail.find(char::is_whitespace).unwrap_or(tail.len())
        };
        fields.push((key.to_ascii_lowercase(), &tail[..end]));
        rest = tail[end..].trim_start();
    }
    Ok(fields)
}

fn reset_hint(text: &str) -> Result<ResetHint, String> {
    match text.to_ascii_lowercase().as_str() {
        "unknown" => Ok(ResetHint::Unknown),
        "reset" => Ok(ResetHint::Yes),
        "not_reset" => Ok(ResetHint::No),
        "gauge" => Ok(ResetHint::Gauge),
        _ => Err(format!("error parsing counter_reset_hint: unknown value {text}")),
    }
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("not a bucket list: {text}"))?;
    inner.split_whitespace().map(signed_number).collect()
}

fn integer(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("not an integer: {text}"))
}

/// A number with or without a sign.
pub(super) fn signed_number(text: &str) -> Result<f64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = promql::parse_number(digits).ok_or_else(|| format!("not a number: {text}"))?;
    Ok(if negative { -value } else { value })
}
