use model::{Exemplar, Metadata, MetricType, push_label};
use wire::RefusalReason;

use crate::intake::{DecodeError, Found, Intake, Mark};
use crate::remote_write::{description, n_chars};

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// What a request says about all of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// For samples without a timestamp, in milliseconds; else the time of arrival.
    pub(crate) timestamp: Option<i64>,
    /// Labels of every series, in place of those of the same name.
    pub(crate) labels: Vec<(String, String)>,
}

/// The first line that could not be read, and how many there were.
type BadLines = Option<(LineError, usize)>;

/// Reads the Prometheus text exposition, with OpenMetrics' exemplars and quoted names. A sample without timestamp
/// gets `now_ms`. Lines that cannot be read are left out; good neighbours are kept.
pub(crate) fn decode(
    body: &[u8],
    now_ms: i64,
    extra_labels: &[(String, String)],
    intake: &mut Intake<'_>,
    metadata: &mut Vec<Metadata>,
) -> Result<BadLines, DecodeError> {
    let mut bad: BadLines = None;
    let mut run = Vec::new();
    let mut families = Families { max_len: intake.rules.limits.max_metadata_length as usize, current: None };
    for (i, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let number = i + 1;
        match read_line(line, &mut run) {
            Ok(Line::Empty) => {}
            Ok(Line::Comment(comment)) => families.take(comment, intake, metadata),
            Ok(Line::Sample(sample)) => {
                if !extra_labels.is_empty() {
                    run = with_labels(&run, extra_labels);
                }
                take_sample(sample, &run, number, now_ms, intake)?;
            }
            Err(what) => match &mut bad {
                Some((_, n)) => *n += 1,
                None => bad = Some((LineError { line: number, what }, 1)),
            },
        }
    }
    families.flush(intake, metadata);
    Ok(bad)
}

fn take_sample(
    sample: Sample,
    run: &[u8],
    line: usize,
    now_ms: i64,
    intake: &mut Intake<'_>,
) -> Result<(), DecodeError> {
    if intake.wants_replica() {
        intake.find_replica(run)?;
    }
    // The whole run or nothing: a prediction that ends earlier would be followed by a label.
    let found = match intake.expected(run, None) {
        Some((place, _)) => Found::Series(place),
        None => intake.look_up(run, None)?,
    };
    if let Found::Refused(fault) = &found {
        intake.counts.floats += 1;
        let message = || format!("line {line}: {}", fault.message(run));
        intake.refused.refuse(RefusalReason::InvalidLabels, 1, message);
        return Ok(());
    }
    let timestamp = sample.timestamp.unwrap_or(now_ms);
    let mark = Mark::of(intake.columns(&found));
    let exemplar = sample.exemplar.and_then(|exemplar| {
        intake.counts.exemplars += 1;
        if n_chars(&exemplar.run) > 128 {
            intake.counts.exemplars_dropped += 1;
            return None;
        }
        let labels = intake.append(&exemplar.run);
        let timestamp = exemplar.timestamp.unwrap_or(timestamp);
        Some(Exemplar { timestamp, value: exemplar.value, labels })
    });
    let columns = intake.columns(&found);
    columns.timestamps.push(timestamp);
    columns.values.push(sample.value);
    columns.exemplars.extend(exemplar);
    intake.finish(&found, mark, run)?;
    Ok(())
}

/// The labels of a run with others in place of those of the same name.
fn with_labels(run: &[u8], labels: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() + 64);
    let is_replaced = |name: &str| labels.iter().any(|(other, _)| other == name);
    for (name, value) in model::runs(run).filter(|(name, _)| !is_replaced(name)) {
        push_label(&mut out, name, value);
    }
    labels.iter().for_each(|(name, value)| push_label(&mut out, name, value));
    out
}

#[derive(Debug, PartialEq)]
enum Line<'a> {
    Empty,
    Comment(Comment<'a>),
    Sample(Sample),
}

/// What a comment says about a family; other comments say nothing.
#[derive(Debug, PartialEq)]
enum Comment<'a> {
    Other,
    Help(String, &'a str),
    Type(String, MetricType),
    Unit(String, &'a str),
}

/// A sample; its labels are in the run that was written on the way.
#[derive(Debug, PartialEq)]
struct Sample {
    value: f64,
    timestamp: Option<i64>,
    exemplar: Option<LineExemplar>,
}

#[derive(Debug, PartialEq)]
struct LineExemplar {
    run: Vec<u8>,
    value: f64,
    timestamp: Option<i64>,
}

fn read_line<'a>(line: &'a [u8], run: &mut Vec<u8>) -> Result<Line<'a>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_string())?;
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() {
        return Ok(Line::Empty);
    }
    if let Some(comment) = line.strip_prefix('#') {
        return read_comment(comment.trim_start_matches([' ', '\t'])).map(Line::Comment);
    }
    run.clear();
    read_sample(line, run).map(Line::Sample)
}

fn read_comment(comment: &str) -> Result<Comment<'_>, String> {
    let (keyword, rest) = split_word(comment);
    if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
        return Ok(Comment::Other);
    }
    let mut scan = Scan { rest };
    let family = if scan.peek() == Some('"') { scan.quoted()? } else { scan.word().to_string() };
    if family.is_empty() {
        return Err(format!("{keyword} without a metric name"));
    }
    scan.space();
    Ok(match keyword {
        "HELP" => Comment::Help(family, scan.rest),
        "UNIT" => Comment::Unit(family, scan.rest),
        _ => Comment::Type(family, metric_type(scan.rest)?),
    })
}

fn metric_type(name: &str) -> Result<MetricType, String> {
    Ok(match name {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "gaugehistogram" => MetricType::GaugeHistogram,
        "summary" => MetricType::Summary,
        "info" => MetricType::Info,
        "stateset" => MetricType::StateSet,
        "unknown" | "untyped" => MetricType::Unknown,
        other => return Err(format!("unknown metric type {other:?}")),
    })
}

/// `name{label="value", …} value [timestamp] [# {…} value [timestamp]]`; the name may be quoted inside the braces.
fn read_sample(line: &str, run: &mut Vec<u8>) -> Result<Sample, String> {
    let mut scan = Scan { rest: line };
    let name = scan.bare_name();
    if !name.is_empty() {
        push_label(run, model::METRIC_NAME, name);
    }
    scan.space();
    if scan.eat('{') {
        read_labels(&mut scan, run, name.is_empty())?;
    } else if name.is_empty() {
        return Err("no metric name".to_string());
    }
    scan.space();
    let value = read_value(scan.word())?;
    scan.space();
    let mut timestamp = None;
    if scan.peek().is_some_and(|c| c != '#') {
        let word = scan.word();
        let parsed =
            word.parse::<i64>().map_err(|_| format!("invalid timestamp {word:?}, need milliseconds"))?;
        timestamp = Some(parsed);
        scan.space();
    }
    let exemplar = if scan.eat('#') { Some(read_exemplar(&mut scan)?) } else { None };
    scan.end()?;
    Ok(Sample { value, timestamp, exemplar })
}

fn read_labels(scan: &mut Scan<'_>, run: &mut Vec<u8>, may_name: bool) -> Result<(), String> {
    let mut is_named = !may_name;
    loop {
        scan.space();
        if scan.eat('}') {
            return Ok(());
        }
        let is_quoted = scan.peek() == Some('"');
        let name = if is_quoted { scan.quoted()? } else { scan.bare_name().to_string() };
        scan.space();
        if scan.eat('=') {
            scan.space();
            let value = scan.quoted()?;
            push_label(run, &name, &value);
        } else if is_quoted && !is_named {
            push_label(run, model::METRIC_NAME, &name);
            is_named = true;
        } else {
            return Err(format!("label {name:?} has no value"));
        }
        scan.space();
        if !scan.eat(',') && scan.peek() != Some('}') {
            return Err("labels are not closed by }".to_string());
        }
    }
}

fn read_exemplar(scan: &mut Scan<'_>) -> Result<LineExemplar, String> {
    scan.space();
    if !scan.eat('{') {
        return Err("exemplar without labels".to_string());
    }
    let mut run = Vec::new();
    read_labels(scan, &mut run, false)?;
    scan.space();
    let value = read_value(scan.word())?;
    scan.space();
    let timestamp = match scan.word() {
        "" => None,
        word => {
            // OpenMetrics counts seconds.
            let seconds = word.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
            Some((seconds.ok_or_else(|| format!("invalid exemplar timestamp {word:?}"))? * 1000.0).round()
                as i64)
        }
    };
    scan.space();
    Ok(LineExemplar { run, value, timestamp })
}

fn read_value(word: &str) -> Result<f64, String> {
    if word.is_empty() {
        return Err("no value".to_string());
    }
    let value: f64 = word.parse().map_err(|_| format!("invalid value {word:?}"))?;
    // All ordinary NaNs are stored as Prometheus writes them.
    Ok(if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0001) } else { value })
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    (word, rest.trim_start_matches([' ', '\t']))
}

/// Reads a line from left to right.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn word(&mut self) -> &'a str {
        self.until(|c| c == ' ' || c == '\t')
    }

    /// A metric's or a label's name without quotes: more generous than Prometheus's letters.
    fn bare_name(&mut self) -> &'a str {
        self.until(|c| " \t{}=,\"#".contains(c))
    }

    fn until(&mut self, at: impl Fn(char) -> bool) -> &'a str {
        let (word, rest) = self.rest.split_at(self.rest.find(at).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Result<String, String> {
        if !self.eat('"') {
            return Err("expected a value in double quotes".to_string());
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[i + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => text.push(escaped),
                    // As Prometheus: an escape that does not exist stands for itself.
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err("quotes are not closed".to_string())
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("unexpected {:?} at the end", self.rest)) }
    }
}

/// Puts together what several comments say about a family, as long as they follow each other.
struct Families {
    max_len: usize,
    current: Option<Metadata>,
}

impl Families {
    fn take(&mut self, comment: Comment<'_>, intake: &mut Intake<'_>, out: &mut Vec<Metadata>) {
        match comment {
            Comment::Other => {}
            Comment::Help(family, help) => {
                self.of(family, intake, out).help = help.replace("\\n", "\n").replace("\\\\", "\\");
            }
            Comment::Type(family, metric_type) => self.of(family, intake, out).metric_type = metric_type,
            Comment::Unit(family, unit) => self.of(family, intake, out).unit = unit.to_string(),
        }
    }

    fn of(&mut self, family: String, intake: &mut Intake<'_>, out: &mut Vec<Metadata>) -> &mut Metadata {
        if self.current.as_ref().is_none_or(|current| current.family != family) {
            self.flush(intake, out);
        }
        self.current.get_or_insert_with(|| Metadata {
            family,
            metric_type: MetricType::Unknown,
            unit: String::new(),
            help: String::new(),
        })
    }

    fn flush(&mut self, intake: &mut Intake<'_>, out: &mut Vec<Metadata>) {
        let Some(m) = self.current.take() else { return };
        intake.counts.metadata += 1;
        let (family, help, unit) = (m.family.as_bytes(), m.help.as_bytes(), m.unit.as_bytes());
        match description(m.metric_type, family, help, unit, self.max_len) {
            Some(metadata) => out.push(metadata),
            None => intake.counts.metadata_dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Vec<(String, String)>, Sample), String> {
        let mut run = Vec::new();
        match read_line(line.as_bytes(), &mut run)? {
            Line::Sample(sample) => {
                Ok((model::runs(&run).map(|(n, v)| (n.to_string(), v.to_string())).collect(), sample))
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    fn plain(value: f64, timestamp: Option<i64>) -> Sample {
        Sample { value, timestamp, exemplar: None }
    }

    #[test]
    fn samples_are_read_in_all_their_spellings() {
        let up = [("__name__", "up")];
        let labelled = [("__name__", "up"), ("job", "a b"), ("x", "q\"\\\n")];
        for (line, labels, sample) in [
            ("up 1", &up[..], plain(1.0, None)),
            ("  up\t1e3 \r", &up, plain(1000.0, None)),
            ("up 1 1700000000000", &up, plain(1.0, Some(1_700_000_000_000))),
            ("up -Inf -5", &up, plain(f64::NEG_INFINITY, Some(-5))),
            (r#"up{job="a b",x="q\"\\\n"} 2"#, &labelled, plain(2.0, None)),
            (r#"up { job = "a b" , x="q\"\\\n", } 2"#, &labelled, plain(2.0, None)),
            (r#"{"up", "job"="a b", x="q\"\\\n"} 2"#, &labelled, plain(2.0, None)),
            ("up{} 1", &up, plain(1.0, None)),
        ] {
            assert_eq!(read(line), Ok((pairs(labels), sample)), "{line}");
        }
        assert_eq!(read("up NaN").unwrap().1.value.to_bits(), 0x7ff8_0000_0000_0001);
        let (_, sample) = read("up 1 5 # {trace_id=\"x\"} 0.5 1.5").unwrap();
        let exemplar = sample.exemplar.unwrap();
        assert_eq!((sample.timestamp, exemplar.value, exemplar.timestamp), (Some(5), 0.5, Some(1500)));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (line, why) in [
            ("up", "no value"),
            ("up x", "invalid value"),
            ("up 1 x", "invalid timestamp"),
            ("up 1 1.5", "need milliseconds"),
            ("up 1 2 3", "unexpected \"3\""),
            ("up{job=\"a} 1", "quotes are not closed"),
            ("up{job=\"a\"", "labels are not closed"),
            ("up{job} 1", "label \"job\" has no value"),
            ("up{job=a} 1", "double quotes"),
            ("{job=\"a\"", "labels are not closed"),
            ("1", "no value"),
            ("= 1", "no metric name"),
            ("up{a=\"1\",\"b\"} 1", "label \"b\" has no value"),
            ("up 1 # x", "exemplar without labels"),
            ("# TYPE up thing", "unknown metric type"),
            ("# HELP", "without a metric name"),
        ] {
            let refusal = read(line).unwrap_err();
            assert!(refusal.contains(why), "{line}: {refusal}");
        }
    }
}
