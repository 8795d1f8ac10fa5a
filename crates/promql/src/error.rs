use std::fmt;

use model::{Classify, ErrorKind};

use crate::ast::Span;

/// A query that is not PromQL, and where. Prints as Prometheus prints it: `line:column: parse error: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// The offending bytes of the query.
    pub span: Span,
    place: Place,
}

/// How the position is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Line and column.
    At(usize, usize),
    /// There is no query to point into.
    Nowhere,
    /// The query is not at hand: the bytes themselves. This is how Prometheus reports a computed duration.
    Bytes,
}

impl ParseError {
    /// An error at `span` of `query`.
    pub(crate) fn new(query: &str, span: Span, message: impl Into<String>) -> ParseError {
        let place = if query.is_empty() {
            Place::Nowhere
        } else {
            let (line, column) = line_col(query, &span);
            Place::At(line, column)
        };
        ParseError { message: message.into(), span, place }
    }

    /// An error of a tree whose query is not at hand.
    pub(crate) fn of_bytes(span: Span, message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), span, place: Place::Bytes }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::At(line, column) => write!(f, "{line}:{column}: parse error: {}", self.message),
            Place::Nowhere => write!(f, "unknown position: parse error: {}", self.message),
            Place::Bytes => write!(f, "{}:{}: {}", self.span.start, self.span.end, self.message),
        }
    }
}

impl std::error::Error for ParseError {}

impl Classify for ParseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Line and column of a span's first byte, both counted from 1; the column counts bytes.
pub fn line_col(query: &str, span: &Span) -> (usize, usize) {
    let before = &query.as_bytes()[..span.start.min(query.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.len() - before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let query = "a +\n  b";
        assert_eq!(line_col(query, &Span { start: 0, end: 1 }), (1, 1));
        assert_eq!(line_col(query, &Span { start: 3, end: 4 }), (1, 4));
        assert_eq!(line_col(query, &Span { start: 6, end: 7 }), (2, 3));
        assert_eq!(line_col(query, &Span { start: 99, end: 99 }), (2, 4));
    }
}
