use model::{METRIC_NAME, Matcher, MatcherOp};

use super::{Parsed, Parser};
use crate::ast::{BinaryOp, RangeMode, Span, VectorSelector};
use crate::lexer::{Keyword, Token, TokenKind};
use crate::text;

const CONTEXT: &str = "label matching";

impl Parser<'_> {
    /// A selector alone, as in `match[]`.
    pub(super) fn bare_selector(&mut self) -> Parsed<VectorSelector> {
        let token = self.peek();
        if is_metric_name(token.kind) {
            self.advance();
            return self.selector(Some(token));
        }
        if token.kind == TokenKind::LeftBrace {
            return self.selector(None);
        }
        Err(self.unexpected("", ""))
    }

    /// What follows a metric's name that has been taken, or a selector that starts with its brace.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Parsed<VectorSelector> {
        let mut matchers = Vec::new();
        if self.accept(TokenKind::LeftBrace).is_some() {
            self.matchers(&mut matchers)?;
        }
        let name = name.map(|token| self.text(token).to_string());
        if let Some(name) = &name {
            matchers.push(equals_name(name));
        }
        Ok(VectorSelector { name, matchers, offset: None, at: None, range_mode: RangeMode::Normal })
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<()> {
        while self.accept(TokenKind::RightBrace).is_none() {
            matchers.push(self.matcher()?);
            match self.peek().kind {
                TokenKind::Comma => {
                    self.advance();
                }
                TokenKind::RightBrace => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \"}\"")),
            }
        }
        Ok(())
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let label = self.peek();
        let name = match label.kind {
            TokenKind::Identifier => self.text(label).to_string(),
            TokenKind::String => self.unquote(label)?,
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek().kind {
            TokenKind::Assign => MatcherOp::Equal,
            TokenKind::Op(BinaryOp::Ne) => MatcherOp::NotEqual,
            TokenKind::RegexMatch => MatcherOp::Regex,
            TokenKind::RegexNoMatch => MatcherOp::NotRegex,
            _ if label.kind == TokenKind::String => return Ok(equals_name(&name)),
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.advance();
        let value_token = self.expect(TokenKind::String, CONTEXT, "string")?;
        let value = self.unquote(value_token)?;
        let span = Span { start: label.span.start, end: value_token.span.end };
        Matcher::new(&name, op, &value).map_err(|e| self.error(span, e.to_string()))
    }

    pub(super) fn unquote(&self, token: Token) -> Parsed<String> {
        let quoted = self.text(token);
        text::unquote(quoted).map_err(|e| {
            let reason = e.message();
            self.error(token.span, format!("error unquoting string {}: {reason}", text::quote(quoted)))
        })
    }
}

fn equals_name(name: &str) -> Matcher {
    Matcher::new(METRIC_NAME, MatcherOp::Equal, name)
        .expect("a matcher without a pattern has nothing to compile")
}

/// Whether the token can be a metric's name without quotes.
pub(super) fn is_metric_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::Preprocessor(_)
        | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
        TokenKind::Keyword(word) => matches!(
            word,
            Keyword::By
                | Keyword::Without
                | Keyword::Fill
                | Keyword::FillLeft
                | Keyword::FillRight
                | Keyword::Offset
                | Keyword::Anchored
                | Keyword::Smoothed
        ),
        _ => false,
    }
}

/// Whether the token can be a label's name without quotes.
pub(super) fn is_label_name(kind: TokenKind) -> bool {
    is_metric_name(kind) || matches!(kind, TokenKind::Keyword(_) | TokenKind::Op(BinaryOp::Atan2))
}
