//! What a reader asks for: `prometheus.ReadRequest`, decoded by hand so that hostile bytes cost no more than they are
//! long.

use model::{Matcher, MatcherOp, TimeRange};

use crate::protobuf::{Fields, Malformed, Value, take_varint};

/// The most queries of a request, and matchers of a query. Prometheus sends one query with a few.
const QUERIES_MAX: usize = 1_000;
const MATCHERS_MAX: usize = 1_000;

/// A request for series.
#[derive(Debug, Default)]
pub struct ReadRequest {
    /// What is asked for.
    pub queries: Vec<ReadQuery>,
    /// The forms of answers that the reader takes, the best first, by number.
    pub accepted: Vec<u64>,
}

/// Which series in which time.
#[derive(Debug, Clone)]
pub struct ReadQuery {
    /// First and last millisecond of interest.
    pub range: TimeRange,
    /// All must pass.
    pub matchers: Vec<Matcher>,
}

/// The request makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ReadRequestError {
    /// Not a message at all.
    #[error("the body is not a prometheus.ReadRequest: {0}")]
    Malformed(&'static str),
    /// A matcher that is none.
    #[error("{0}")]
    Matcher(String),
    /// Too much at once.
    #[error("the request has more than {max} {what}: send fewer at a time")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
}

impl From<Malformed> for ReadRequestError {
    fn from(malformed: Malformed) -> ReadRequestError {
        ReadRequestError::Malformed(malformed.0)
    }
}

impl ReadRequest {
    /// Decodes the message.
    pub fn decode(bytes: &[u8]) -> Result<ReadRequest, ReadRequestError> {
        let mut request = ReadRequest::default();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(query)) => {
                    push(&mut request.queries, ReadQuery::decode(query)?, "queries", QUERIES_MAX)?;
                }
                (2, Value::Varint(form)) => push(&mut request.accepted, form, "response types", QUERIES_MAX)?,
                (2, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let form = take_varint(&mut packed)?;
                        push(&mut request.accepted, form, "response types", QUERIES_MAX)?;
                    }
                }
                (1 | 2, _) => return Err(wrong_type()),
                _ => {}
            }
        }
        Ok(request)
    }
}

impl ReadQuery {
    fn decode(bytes: &[u8]) -> Result<ReadQuery, ReadRequestError> {
        let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Varint(ms)) => start = ms as i64,
                (2, Value::Varint(ms)) => end = ms as i64,
                (3, Value::Bytes(matcher)) => {
                    push(&mut matchers, decode_matcher(matcher)?, "matchers in a query", MATCHERS_MAX)?;
                }
                // 4 is what the query will do with the samples; all of them are sent whatever it is.
                (1..=3, _) => return Err(wrong_type()),
                _ => {}
            }
        }
        Ok(ReadQuery { range: TimeRange::new(start, end), matchers })
    }
}

fn decode_matcher(bytes: &[u8]) -> Result<Matcher, ReadRequestError> {
    let (mut op, mut name, mut value) = (0, "", "");
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Value::Varint(number)) => op = number,
            (2, Value::Bytes(bytes)) => name = text(bytes)?,
            (3, Value::Bytes(bytes)) => value = text(bytes)?,
            (1..=3, _) => return Err(wrong_type()),
            _ => {}
        }
    }
    let op = match op {
        0 => MatcherOp::Equal,
        1 => MatcherOp::NotEqual,
        2 => MatcherOp::Regex,
        3 => MatcherOp::NotRegex,
        other => return Err(ReadRequestError::Matcher(format!("invalid matcher type {other}"))),
    };
    Matcher::new(name, op, value).map_err(|e| ReadRequestError::Matcher(e.to_string()))
}

fn text(bytes: &[u8]) -> Result<&str, ReadRequestError> {
    std::str::from_utf8(bytes).map_err(|_| ReadRequestError::Malformed("a text is not UTF-8"))
}

fn wrong_type() -> ReadRequestError {
    ReadRequestError::Malformed("a field has a value of another type")
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str, max: usize) -> Result<(), ReadRequestError> {
    if list.len() == max {
        return Err(ReadRequestError::TooMany { what, max });
    }
    list.push(item);
    Ok(())
}
