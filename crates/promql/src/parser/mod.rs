//! Tokens to a tree: a Pratt parser over the grammar of Prometheus 3.15, then its type check.
//!
//! Messages are Prometheus's, since people and dashboards know them. The first error ends the parse.

mod binary;
mod check;
mod duration;
mod expr;
mod number;
mod selector;
#[cfg(test)]
mod tests;

use model::Matcher;

use crate::ast::{Expr, Span};
use crate::error::ParseError;
use crate::lexer::{self, Token, TokenKind};
use crate::text;

pub(crate) use number::is_out_of_range;
pub use number::{parse_duration_millis, parse_number};

/// The most levels a tree may have. Printer and evaluator recurse by level: with this bound neither overflows the
/// stack of a worker thread, whatever the query. A chain of operators is one level: nobody recurses along it.
pub const MAX_DEPTH: usize = 200;

/// The most operators of a chain, `a + b - c`. Each looks at what those before it have left, so that the work grows
/// with the square.
pub const MAX_CHAIN: usize = 5_000;

/// The most brackets, signs and right sides that may be open at once: what the parser recurses by.
const MAX_NESTING: usize = 100;

type Parsed<T = Node> = Result<T, ParseError>;

/// An expression and the number of levels in it.
#[derive(Debug)]
struct Node {
    expr: Expr,
    height: usize,
    /// The operators of the chain that it is.
    links: usize,
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    lex_error: Option<ParseError>,
    at: usize,
    depth: usize,
    /// How many aggregations are open: an error inside of one says so.
    aggregations: usize,
}

/// Parses and checks a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query);
    if parser.peek().kind == TokenKind::Eof {
        let nowhere = Span { start: 0, end: 0 };
        return Err(ParseError::new(query, nowhere, "no expression found in input"));
    }
    let mut expr = parser.expr(0)?.expr;
    parser.expect_end()?;
    check::check(query, &mut expr)?;
    Ok(expr)
}

/// Parses a selector as `match[]` takes it: a metric's name, matchers, or both. Whether it selects anything but
/// everything is left to the caller.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(query);
    let selector = parser.bare_selector()?;
    parser.expect_end()?;
    Ok(selector.matchers)
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Parser<'a> {
        let tokens = lexer::tokenize(query);
        Parser { query, tokens: tokens.list, lex_error: tokens.error, at: 0, depth: 0, aggregations: 0 }
    }

    fn expect_end(&mut self) -> Parsed<()> {
        if self.peek().kind != TokenKind::Eof {
            return Err(self.unexpected("", ""));
        }
        Ok(())
    }

    fn peek(&self) -> Token {
        self.peek_at(0)
    }

    /// The token `ahead` of the current one; behind the last there is only the last.
    fn peek_at(&self, ahead: usize) -> Token {
        let last = self.tokens.len() - 1;
        self.tokens[(self.at + ahead).min(last)]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Takes the next token if it is of this kind.
    fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.advance())
    }

    /// Takes the next token, which must be of this kind.
    fn expect(&mut self, kind: TokenKind, context: &str, expected: &str) -> Parsed<Token> {
        self.accept(kind).ok_or_else(|| self.unexpected(context, expected))
    }

    fn text(&self, token: Token) -> &'a str {
        &self.query[token.span.start..token.span.end]
    }

    /// Where the last token ended.
    fn last_end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span.end
    }

    fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.last_end() }
    }

    fn node(&self, expr: Expr, below: usize) -> Parsed {
        let height = below + 1;
        if height > MAX_DEPTH {
            return Err(self.too_deep(expr.span, "query_depth", MAX_DEPTH));
        }
        Ok(Node { expr, height, links: 0 })
    }

    /// The limits are those of the stack, so that no tenant can have others.
    fn too_deep(&self, span: Span, limit: &str, value: usize) -> ParseError {
        let message =
            format!("expression is nested more than {value} levels deep (fixed limit {limit} of {value})");
        self.error(span, message)
    }

    /// Goes one level down; the caller comes back up by itself when it succeeds.
    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.too_deep(self.peek().span, "query_nesting", MAX_NESTING));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, span, message)
    }

    /// The error of a next token that cannot stand here.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        if let (TokenKind::Error, Some(error)) = (token.kind, &self.lex_error) {
            return error.clone();
        }
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        let mut message = format!("unexpected {}", self.describe(token));
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        }
        self.error(token.span, message)
    }

    fn describe(&self, token: Token) -> String {
        let text = self.text(token);
        let quoted = || if text.chars().count() > 10 { short_quote(text) } else { text::quote(text) };
        match token.kind {
            TokenKind::Eof => "end of input".to_string(),
            TokenKind::Identifier => format!("identifier {}", text::quote(text)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", text::quote(text)),
            TokenKind::Number => format!("number {}", quoted()),
            TokenKind::Duration => format!("duration {}", quoted()),
            TokenKind::String => format!("string {}", quoted()),
            TokenKind::Op(_) | TokenKind::At | TokenKind::RegexMatch | TokenKind::RegexNoMatch => {
                format!("<op:{text}>")
            }
            TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
            TokenKind::Keyword(_) => format!("<{text}>"),
            _ => quoted(),
        }
    }
}

/// The first ten characters, quoted.
fn short_quote(text: &str) -> String {
    let head: String = text.chars().take(10).collect();
    format!("{}...", text::quote(&head))
}
