use super::number::{is_out_of_range, to_millis};
use super::{Parsed, Parser};
use crate::ast::{BinaryOp, DurationExpr, DurationNode, Number, Span, UnaryOp};
use crate::lexer::{Preprocessor, TokenKind};

/// What an error inside of a duration says: where, and what was expected.
type Context<'c> = (&'c str, &'c str);

/// A term and the number of levels in it.
struct Term {
    node: DurationNode,
    /// What Prometheus takes for its place: parentheses around what is computed are not of it, nor is the name of
    /// `min_of`; what closes a parenthesis never is.
    span: Span,
    height: usize,
}

impl Parser<'_> {
    /// A duration between brackets: literals must be positive, computed ones are checked when they are known.
    pub(super) fn range_duration(&mut self, context: &str, expected: &str) -> Parsed<DurationExpr> {
        let term = self.duration_expr(0, (context, expected))?;
        if let DurationNode::Number(number) = &term.node
            && number.value <= 0.0
        {
            return Err(self.error(term.span, "duration must be greater than 0"));
        }
        Ok(term.finish())
    }

    /// The duration of `offset`. Operators after a bare term do not belong to it: `foo offset 2 ^ 2` is
    /// `(foo offset 2) ^ 2`; after a parenthesis without a sign they do.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationExpr> {
        let context = ("offset", "number, duration, step(), or range()");
        let signs = self.signs_ahead();
        let is_paren = self.peek_at(signs).kind == TokenKind::LeftParen;
        let term = if signs > 1 {
            // `--5 * 3` is one duration; without its signs, which cancel out, only parentheses say so.
            self.duration_expr(0, context)?.in_parens()
        } else if signs == 0 && is_paren {
            self.duration_expr(0, context)?
        } else {
            let start = self.peek().span.start;
            let sign = self.accept_sign();
            let in_paren = self.peek_at(1).span.start;
            // Of a literal that is too large, its sign is to blame.
            let blamed = sign.map(|_| Span { start, end: start + 1 });
            let term = self.duration_primary(context, blamed)?;
            match (sign, &term.node) {
                // A plus before a parenthesis is forgotten, and where that began.
                (Some(UnaryOp::Plus), DurationNode::Paren(inner)) => {
                    let is_number = matches!(**inner, DurationNode::Number(_));
                    let start = if is_number { in_paren } else { term.span.start };
                    Term { span: Span { start, ..term.span }, ..term }
                }
                (sign, _) => self.signed_duration(sign, start, term)?,
            }
        };
        Ok(term.finish())
    }

    fn signs_ahead(&self) -> usize {
        let is_sign = |kind| matches!(kind, TokenKind::Op(BinaryOp::Add | BinaryOp::Sub));
        (0..2).take_while(|ahead| is_sign(self.peek_at(*ahead).kind)).count()
    }

    fn duration_expr(&mut self, min: u8, context: Context<'_>) -> Parsed<Term> {
        self.enter()?;
        let mut left = self.duration_operand(context)?;
        while let TokenKind::Op(op) = self.peek().kind
            && is_arithmetic(op)
            && op.precedence() >= min
        {
            let op_span = self.advance().span;
            let right = self.duration_expr(op.right_precedence(), context)?;
            self.refuse_zero(op, op_span, &right.node)?;
            let span = Span { start: left.span.start, end: right.span.end };
            let height = left.height.max(right.height);
            let node = DurationNode::Binary(op, Box::new(left.node), Box::new(right.node), span);
            left = self.term(node, span, height)?;
        }
        self.leave();
        Ok(left)
    }

    fn refuse_zero(&self, op: BinaryOp, span: Span, divisor: &DurationNode) -> Parsed<()> {
        let is_zero = matches!(divisor, DurationNode::Number(number) if number.value == 0.0);
        match op {
            BinaryOp::Div if is_zero => Err(self.error(span, "division by zero")),
            BinaryOp::Mod if is_zero => Err(self.error(span, "modulo by zero")),
            _ => Ok(()),
        }
    }

    fn duration_operand(&mut self, context: Context<'_>) -> Parsed<Term> {
        let start = self.peek().span.start;
        let Some(sign) = self.accept_sign() else { return self.duration_primary(context, None) };
        let term = self.duration_expr(BinaryOp::Pow.precedence(), context)?;
        match (sign, &term.node) {
            (UnaryOp::Minus, _) | (_, DurationNode::Number(_)) => {
                self.signed_duration(Some(sign), start, term)
            }
            // A plus before what is computed is forgotten.
            (UnaryOp::Plus, _) => Ok(term),
        }
    }

    fn signed_duration(&mut self, sign: Option<UnaryOp>, start: usize, term: Term) -> Parsed<Term> {
        let Some(sign) = sign else { return Ok(term) };
        let span = Span { start, end: term.span.end };
        if let DurationNode::Number(number) = term.node {
            let value = if sign == UnaryOp::Minus { -number.value } else { number.value };
            let node = DurationNode::Number(Number { value, ..number });
            return Ok(Term { node, span, height: term.height });
        }
        self.term(DurationNode::Unary(sign, Box::new(term.node)), span, term.height)
    }

    fn duration_primary(&mut self, context: Context<'_>, blamed: Option<Span>) -> Parsed<Term> {
        let token = self.peek();
        if let Some(number) = self.number()? {
            if is_out_of_range(number.value) {
                return Err(self.error(blamed.unwrap_or(token.span), "duration out of range"));
            }
            return self.term(DurationNode::Number(number), token.span, 0);
        }
        match token.kind {
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.duration_expr(0, context)?;
                self.expect(TokenKind::RightParen, context.0, context.1)?;
                let start = match inner.node {
                    DurationNode::Number(_) => token.span.start,
                    _ => inner.span.start,
                };
                let span = Span { start, end: inner.span.end };
                self.term(DurationNode::Paren(Box::new(inner.node)), span, inner.height)
            }
            TokenKind::Preprocessor(Preprocessor::Step) => self.constant(DurationNode::Step, context),
            TokenKind::Preprocessor(Preprocessor::Range) => self.constant(DurationNode::Range, context),
            TokenKind::Preprocessor(Preprocessor::MinOf) => self.of_two(DurationNode::MinOf, context),
            TokenKind::Preprocessor(Preprocessor::MaxOf) => self.of_two(DurationNode::MaxOf, context),
            _ => Err(self.unexpected(context.0, context.1)),
        }
    }

    /// `step()`, `range()`
    fn constant(&mut self, node: DurationNode, context: Context<'_>) -> Parsed<Term> {
        let name = self.advance();
        self.expect(TokenKind::LeftParen, context.0, context.1)?;
        self.expect(TokenKind::RightParen, context.0, context.1)?;
        self.term(node, self.span_from(name.span.start), 0)
    }

    /// `min_of(a, b)`, `max_of(a, b)`
    fn of_two(
        &mut self,
        make: fn(Box<DurationNode>, Box<DurationNode>) -> DurationNode,
        context: Context<'_>,
    ) -> Parsed<Term> {
        self.advance();
        self.expect(TokenKind::LeftParen, context.0, context.1)?;
        let left = self.duration_expr(0, context)?;
        self.expect(TokenKind::Comma, context.0, context.1)?;
        let right = self.duration_expr(0, context)?;
        self.expect(TokenKind::RightParen, context.0, context.1)?;
        let height = left.height.max(right.height);
        let span = Span { start: left.span.start, end: right.span.end };
        self.term(make(Box::new(left.node), Box::new(right.node)), span, height)
    }

    fn term(&self, node: DurationNode, span: Span, below: usize) -> Parsed<Term> {
        let height = below + 1;
        if height > super::MAX_DEPTH {
            return Err(self.too_deep(span, "query_depth", super::MAX_DEPTH));
        }
        Ok(Term { node, span, height })
    }
}

impl Term {
    fn in_parens(self) -> Term {
        match self.node {
            DurationNode::Binary(..) => Term { node: DurationNode::Paren(Box::new(self.node)), ..self },
            node => Term { node, ..self },
        }
    }

    fn finish(self) -> DurationExpr {
        match self.node {
            DurationNode::Number(number) => DurationExpr::Millis(to_millis(number.value)),
            node => DurationExpr::Computed(Box::new(node), self.span),
        }
    }
}

fn is_arithmetic(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
    )
}
