use super::selector::{is_label_name, is_metric_name};
use super::{Parsed, Parser};
use crate::ast::{BinaryOp, Cardinality, UnaryOp, VectorMatching};
use crate::lexer::{Keyword, TokenKind};
use crate::text;

const CONTEXT: &str = "grouping opts";

/// What may stand between an operator and its right side.
pub(super) struct Modifiers {
    pub(super) return_bool: bool,
    pub(super) matching: VectorMatching,
}

impl Parser<'_> {
    pub(super) fn binary_modifiers(&mut self) -> Parsed<Modifiers> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool)).is_some();
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.advance();
            matching.on = word == Keyword::On;
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok(Modifiers { return_bool, matching })
    }

    fn group_modifier(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        matching.cardinality = match self.peek().kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.advance();
        // Without labels the right side or a filling follows.
        if !starts_operand(self.peek().kind) || self.peek().kind == TokenKind::LeftParen {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        let TokenKind::Keyword(first) = self.peek().kind else { return Ok(()) };
        match first {
            Keyword::Fill => {
                let value = self.fill_value()?;
                (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            }
            Keyword::FillLeft => {
                matching.fill_left = Some(self.fill_value()?);
                if self.peek().kind == TokenKind::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Keyword::FillRight => {
                matching.fill_right = Some(self.fill_value()?);
                if self.peek().kind == TokenKind::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.advance();
        self.expect(TokenKind::LeftParen, "", "")?;
        let sign = self.accept_sign();
        let number = self.number()?.ok_or_else(|| self.unexpected("", ""))?;
        self.expect(TokenKind::RightParen, "", "")?;
        Ok(if sign == Some(UnaryOp::Minus) { -number.value } else { number.value })
    }

    /// `(a, b)`
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.accept(TokenKind::RightParen).is_none() {
            labels.push(self.grouping_label()?);
            match self.peek().kind {
                TokenKind::Comma => {
                    self.advance();
                }
                TokenKind::RightParen => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \")\"")),
            }
        }
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek();
        let label = match token.kind {
            TokenKind::String => self.unquote(token)?,
            kind if is_label_name(kind) => self.text(token).to_string(),
            _ => return Err(self.unexpected(CONTEXT, "label")),
        };
        self.advance();
        if !text::is_valid_label_name(&label) {
            let message = format!("invalid label name for grouping: {}", text::quote(&label));
            return Err(self.error(token.span, message));
        }
        Ok(label)
    }

    /// Takes a sign.
    pub(super) fn accept_sign(&mut self) -> Option<UnaryOp> {
        let sign = match self.peek().kind {
            TokenKind::Op(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Op(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return None,
        };
        self.advance();
        Some(sign)
    }
}

/// Whether an expression, or the filling of an operator, can begin with such a token.
pub(super) fn starts_operand(kind: TokenKind) -> bool {
    let is_sign = matches!(kind, TokenKind::Op(BinaryOp::Add | BinaryOp::Sub));
    let is_literal = matches!(kind, TokenKind::Number | TokenKind::Duration | TokenKind::String);
    is_sign
        || is_literal
        || is_metric_name(kind)
        || matches!(kind, TokenKind::LeftParen | TokenKind::LeftBrace)
}
