use std::fmt::Write;

use limits::Limits;
use model::{METRIC_NAME, push_label};

use crate::proto::{Malformed, Reader, Wire};

/// Turns label runs as they arrive into canonical runs. Holds the buffers it needs for that.
#[derive(Debug, Default)]
pub(crate) struct Canonicalizer {
    /// Label by label: where name and value lie in the run.
    labels: Vec<(Span, Span)>,
    /// The canonical run.
    run: Vec<u8>,
}

type Span = (u32, u32);

/// Why a series was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelFault {
    NoName,
    NotUtf8,
    EmptyLabelName,
    Duplicate(String),
    TooMany { n: usize, limit: u32 },
    NameTooLong { name: String, limit: u32 },
    ValueTooLong { name: String, len: usize, limit: u32 },
}

impl Canonicalizer {
    /// The canonical form of a raw run: sorted, without empty values. The outer error concerns the whole body,
    /// the inner one this series.
    pub(crate) fn canonicalize(
        &mut self,
        raw: &[u8],
        limits: &Limits,
    ) -> Result<Result<&[u8], LabelFault>, Malformed> {
        self.read(raw)?;
        Ok(self.check_and_write(raw, limits).map(|()| &self.run[..]))
    }

    fn read(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        self.labels.clear();
        let mut reader = Reader::new(raw);
        while !reader.is_done() {
            let (_, wire) = reader.tag()?;
            self.labels.push(read_label(reader.message(wire)?)?);
        }
        Ok(())
    }

    fn check_and_write(&mut self, raw: &[u8], limits: &Limits) -> Result<(), LabelFault> {
        // An absent label and an empty value are the same.
        self.labels.retain(|(_, value)| value.0 < value.1);
        self.labels.sort_unstable_by_key(|(name, _)| slice(raw, *name));
        let limit = limits.max_label_names_per_series;
        if limit > 0 && self.labels.len() > limit as usize {
            return Err(LabelFault::TooMany { n: self.labels.len(), limit });
        }
        self.run.clear();
        let text = Text::of(raw);
        let mut last: Option<&[u8]> = None;
        let mut has_name = false;
        for (name, value) in &self.labels {
            if last == Some(slice(raw, *name)) {
                let name = String::from_utf8_lossy(slice(raw, *name));
                return Err(LabelFault::Duplicate(name.into_owned()));
            }
            let (name, value) = check_label(text.get(*name), text.get(*value), limits)?;
            has_name |= name == METRIC_NAME;
            push_label(&mut self.run, name, value);
            last = Some(name.as_bytes());
        }
        if has_name { Ok(()) } else { Err(LabelFault::NoName) }
    }
}

/// A run whose parts are asked for as text. One check of the whole is cheaper than one of each part, and as a rule it
/// passes: the bytes between the parts are tags and lengths below 128.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    raw: &'a [u8],
    whole: Option<&'a str>,
}

impl<'a> Text<'a> {
    fn of(raw: &'a [u8]) -> Text<'a> {
        Text { raw, whole: std::str::from_utf8(raw).ok() }
    }

    fn get(self, span: Span) -> Result<&'a str, LabelFault> {
        match self.whole.and_then(|whole| whole.get(span.0 as usize..span.1 as usize)) {
            Some(part) => Ok(part),
            None => std::str::from_utf8(slice(self.raw, span)).map_err(|_| LabelFault::NotUtf8),
        }
    }
}

fn check_label<'a>(
    name: Result<&'a str, LabelFault>,
    value: Result<&'a str, LabelFault>,
    limits: &Limits,
) -> Result<(&'a str, &'a str), LabelFault> {
    let name = name?;
    if name.is_empty() {
        return Err(LabelFault::EmptyLabelName);
    }
    let limit = limits.max_label_name_length;
    if limit > 0 && name.len() > limit as usize {
        return Err(LabelFault::NameTooLong { name: name.to_string(), limit });
    }
    let value = value?;
    let limit = limits.max_label_value_length;
    if limit > 0 && value.len() > limit as usize {
        return Err(LabelFault::ValueTooLong { name: name.to_string(), len: value.len(), limit });
    }
    Ok((name, value))
}

/// Where name and value of a label lie; the last of each counts, an absent one is empty.
fn read_label(mut reader: Reader<'_>) -> Result<(Span, Span), Malformed> {
    let (mut name, mut value) = ((0, 0), (0, 0));
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 => name = span(&mut reader, wire)?,
            2 => value = span(&mut reader, wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok((name, value))
}

fn span(reader: &mut Reader<'_>, wire: Wire) -> Result<Span, Malformed> {
    let len = reader.bytes(wire)?.len();
    Ok(((reader.pos() - len) as u32, reader.pos() as u32))
}

fn slice(raw: &[u8], (from, to): Span) -> &[u8] {
    &raw[from as usize..to as usize]
}

/// Appends the label messages of a run in the order of arrival, in plain encoding. False when one is not UTF-8.
pub(crate) fn normalize(raw: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
    let mut reader = Reader::new(raw);
    while !reader.is_done() {
        let (_, wire) = reader.tag()?;
        let (name, value) = read_label(reader.message(wire)?)?;
        let text = |span| std::str::from_utf8(slice(raw, span));
        let (Ok(name), Ok(value)) = (text(name), text(value)) else {
            return Ok(false);
        };
        push_label(out, name, value);
    }
    Ok(true)
}

impl LabelFault {
    /// The refusal in words: limit, value and series.
    pub(crate) fn message(&self, raw: &[u8]) -> String {
        let what = match self {
            LabelFault::NoName => "series has no metric name".to_string(),
            LabelFault::NotUtf8 => "series has a label that is not UTF-8".to_string(),
            LabelFault::EmptyLabelName => "series has a label with an empty name".to_string(),
            LabelFault::Duplicate(name) => format!("series has the label {name:?} more than once"),
            LabelFault::TooMany { n, limit } => {
                format!("series has {n} labels, the limit max_label_names_per_series is {limit}")
            }
            LabelFault::NameTooLong { name, limit } => format!(
                "series has a label name of {} bytes, the limit max_label_name_length is {limit}",
                name.len()
            ),
            LabelFault::ValueTooLong { name, len, limit } => format!(
                "series has a value of {len} bytes for the label {name:?}, the limit max_label_value_length is {limit}"
            ),
        };
        format!("{what}: {}", describe(raw))
    }
}

/// The most that a message says about a series.
const MAX_DESCRIPTION: usize = 512;
/// The most that a message says about one name or value.
const MAX_PART: usize = 64;

/// The labels of a raw run as a person would write them, as far as they can be read.
pub(crate) fn describe(raw: &[u8]) -> String {
    let mut text = "{".to_string();
    let mut reader = Reader::new(raw);
    while !reader.is_done() && text.len() < MAX_DESCRIPTION {
        let Ok((name, value)) = next_label(&mut reader) else { break };
        let comma = if text.len() > 1 { ", " } else { "" };
        let (name, value) = (lossy(slice(raw, name)), lossy(slice(raw, value)));
        let _infallible = write!(text, "{comma}{name}={value:?}");
    }
    text.push_str(if reader.is_done() { "}" } else { ", …" });
    text
}

fn next_label(reader: &mut Reader<'_>) -> Result<(Span, Span), Malformed> {
    let (_, wire) = reader.tag()?;
    read_label(reader.message(wire)?)
}

fn lossy(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_PART)]).into_owned();
    if bytes.len() > MAX_PART {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn run(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut run = Vec::new();
        for (name, value) in labels {
            push_label(&mut run, name, value);
        }
        run
    }

    fn check(labels: &[(&str, &str)]) -> Result<Vec<u8>, LabelFault> {
        let limits = Limits {
            max_label_names_per_series: 3,
            max_label_name_length: 10,
            max_label_value_length: 5,
            ..Limits::default()
        };
        let mut canonicalizer = Canonicalizer::default();
        canonicalizer.canonicalize(&run(labels), &limits).unwrap().map(<[u8]>::to_vec)
    }

    #[test]
    fn any_order_becomes_the_canonical_order_and_empty_values_go() {
        let labels = [("job", "a"), ("__name__", "up"), ("zone", ""), ("", ""), ("az", "1")];
        let canonical = Labels::from_pairs([("__name__", "up"), ("az", "1"), ("job", "a")]);
        assert_eq!(check(&labels).unwrap(), canonical.run());
    }

    #[test]
    fn each_rule_has_its_refusal() {
        assert_eq!(check(&[("job", "a")]), Err(LabelFault::NoName));
        assert_eq!(check(&[("__name__", ""), ("job", "a")]), Err(LabelFault::NoName));
        assert_eq!(check(&[("__name__", "up"), ("", "a")]), Err(LabelFault::EmptyLabelName));
        let twice = [("__name__", "up"), ("job", "a"), ("job", "a")];
        assert_eq!(check(&twice), Err(LabelFault::Duplicate("job".to_string())));
        let many = [("__name__", "up"), ("a", "1"), ("b", "1"), ("c", "1")];
        assert_eq!(check(&many), Err(LabelFault::TooMany { n: 4, limit: 3 }));
        let long_name = check(&[("__name__", "up"), ("abcdefghijk", "1")]);
        assert_eq!(long_name, Err(LabelFault::NameTooLong { name: "abcdefghijk".to_string(), limit: 10 }));
        let long_value = check(&[("__name__", "up"), ("a", "123456")]);
        assert_eq!(long_value, Err(LabelFault::ValueTooLong { name: "a".to_string(), len: 6, limit: 5 }));
    }

    #[test]
    fn bytes_that_are_not_utf8_refuse_the_series_not_the_body() {
        let mut raw = run(&[("__name__", "up"), ("a", "xy")]);
        let last = raw.len() - 1;
        raw[last] = 0xFF;
        let mut canonicalizer = Canonicalizer::default();
        let outcome = canonicalizer.canonicalize(&raw, &Limits::default()).unwrap();
        assert_eq!(outcome, Err(LabelFault::NotUtf8));
        assert_eq!(describe(&raw), "{__name__=\"up\", a=\"x\u{FFFD}\"}");
    }

    #[test]
    fn a_message_names_limit_value_and_series_and_stays_short() {
        let raw = run(&[("__name__", "up"), ("path", &"x".repeat(5000))]);
        let fault = LabelFault::ValueTooLong { name: "path".to_string(), len: 5000, limit: 2048 };
        let message = fault.message(&raw);
        assert!(message.contains("max_label_value_length is 2048"), "{message}");
        assert!(message.contains("5000 bytes") && message.contains("__name__=\"up\""), "{message}");
        assert!(message.len() < 400, "{message}");
        let raw = run(&vec![("label", "value"); 1000]);
        assert!(LabelFault::NoName.message(&raw).len() < 700);
    }
}
