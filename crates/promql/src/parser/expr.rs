use super::binary::starts_operand;
use super::number::{parse_duration, parse_number};
use super::selector::is_metric_name;
use super::{MAX_CHAIN, Node, Parsed, Parser};
use crate::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, DurationExpr, Expr, ExprKind, MatrixSelector, Number,
    RangeMode, Span, Subquery, UnaryOp,
};
use crate::lexer::{Keyword, Preprocessor, Token, TokenKind};
use crate::signature::Signature;
use crate::text;

impl Parser<'_> {
    /// An expression of operators that bind at least as tightly as `min`.
    pub(super) fn expr(&mut self, min: u8) -> Parsed {
        self.enter()?;
        let mut left = self.operand()?;
        while let TokenKind::Op(op) = self.peek().kind
            && op.precedence() >= min
        {
            left = self.binary(op, left)?;
        }
        self.leave();
        Ok(left)
    }

    fn binary(&mut self, op: BinaryOp, left: Node) -> Parsed {
        self.advance();
        let modifiers = self.binary_modifiers()?;
        let right = self.expr(op.right_precedence())?;
        // The operations of a chain are at one level.
        let in_chain = matches!(left.expr.kind, ExprKind::Binary(_));
        let height = right.height.max(left.height - usize::from(in_chain));
        let links = left.links + 1;
        let span = Span { start: left.expr.span.start, end: right.expr.span.end };
        if links > MAX_CHAIN {
            let message = format!(
                "chain of more than {MAX_CHAIN} operators (fixed limit query_chain of {MAX_CHAIN}), put parts of it \
                 in parentheses or into queries of their own"
            );
            return Err(self.error(span, message));
        }
        let binary = Binary {
            op,
            lhs: left.expr,
            rhs: right.expr,
            return_bool: modifiers.return_bool,
            matching: Some(modifiers.matching),
        };
        Ok(Node { links, ..self.node(Expr { kind: ExprKind::Binary(Box::new(binary)), span }, height)? })
    }

    /// An expression without binary operators outside of brackets, and all that clings to it.
    fn operand(&mut self) -> Parsed {
        let start = self.peek().span.start;
        if let Some(sign) = self.accept_sign() {
            return self.signed(sign, start);
        }
        let mut node = self.primary()?;
        loop {
            node = match self.peek().kind {
                TokenKind::LeftBracket => self.range(node)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(node)?,
                TokenKind::Keyword(Keyword::Anchored) => self.range_mode(node, RangeMode::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.range_mode(node, RangeMode::Smoothed)?,
                TokenKind::At => self.at_modifier(node)?,
                _ => return Ok(node),
            };
        }
    }

    /// A sign binds like `*`: `-2^2` is −4, `-2*3` is (−2)*3. Signed literals are literals.
    fn signed(&mut self, sign: UnaryOp, start: usize) -> Parsed {
        let mut operand = self.expr(BinaryOp::Pow.precedence())?;
        if let ExprKind::Number(number) = &mut operand.expr.kind {
            if sign == UnaryOp::Minus {
                number.value = -number.value;
            }
            operand.expr.span.start = start;
            return Ok(operand);
        }
        let span = Span { start, end: operand.expr.span.end };
        let height = operand.height;
        self.node(Expr { kind: ExprKind::Unary(sign, Box::new(operand.expr)), span }, height)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => self.number_literal(),
            TokenKind::String => self.string_literal(),
            TokenKind::LeftParen => self.paren(),
            TokenKind::LeftBrace => self.vector(None),
            TokenKind::Aggregate(op) if self.is_aggregation() => self.aggregate(op),
            TokenKind::Identifier | TokenKind::Preprocessor(_)
                if self.peek_at(1).kind == TokenKind::LeftParen =>
            {
                self.call()
            }
            kind if is_metric_name(kind) => {
                self.advance();
                self.vector(Some(token))
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    fn vector(&mut self, name: Option<Token>) -> Parsed {
        let start = name.map_or(self.peek().span.start, |token| token.span.start);
        let selector = self.selector(name)?;
        self.node(Expr { kind: ExprKind::Vector(selector), span: self.span_from(start) }, 0)
    }

    fn number_literal(&mut self) -> Parsed {
        let span = self.peek().span;
        let number = self.number()?.ok_or_else(|| self.unexpected("", ""))?;
        self.node(Expr { kind: ExprKind::Number(number), span }, 0)
    }

    /// Takes a number or a duration, if there is one.
    pub(super) fn number(&mut self) -> Parsed<Option<Number>> {
        let token = self.peek();
        let text = self.text(token);
        let number = match token.kind {
            TokenKind::Number => {
                let value = parse_number(text).ok_or_else(|| {
                    let is_float = text.parse::<f64>().is_ok();
                    let reason = if is_float { "value out of range" } else { "invalid syntax" };
                    self.error(
                        token.span,
                        format!(
                            "error parsing number: strconv.ParseFloat: parsing {}: {reason}",
                            text::quote(text)
                        ),
                    )
                })?;
                Number { value, is_duration: false }
            }
            TokenKind::Duration => {
                let value = parse_duration(text).map_err(|message| self.error(token.span, message))?;
                Number { value, is_duration: true }
            }
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(number))
    }

    fn string_literal(&mut self) -> Parsed {
        let token = self.advance();
        let value = self.unquote(token)?;
        self.node(Expr { kind: ExprKind::String(value), span: token.span }, 0)
    }

    fn paren(&mut self) -> Parsed {
        let open = self.advance();
        let inner = self.expr(0)?;
        self.expect(TokenKind::RightParen, "", "")?;
        let span = self.span_from(open.span.start);
        self.node(Expr { kind: ExprKind::Paren(Box::new(inner.expr)), span }, inner.height)
    }

    fn is_aggregation(&self) -> bool {
        matches!(
            self.peek_at(1).kind,
            TokenKind::LeftParen | TokenKind::Keyword(Keyword::By) | TokenKind::Keyword(Keyword::Without)
        )
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed {
        let name = self.advance();
        self.aggregations += 1;
        let mut modifier = self.aggregate_modifier()?;
        let (mut args, height) = self.arguments()?;
        self.aggregations -= 1;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
            // Prometheus looks for one before it counts the arguments, and so meets what cannot be read behind them.
            if modifier.is_none() && self.peek().kind == TokenKind::Error {
                return Err(self.unexpected("", ""));
            }
        }
        let span = self.span_from(name.span.start);
        let wanted = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        let given = args.len();
        let (Some(expr), true) = (args.pop(), given == wanted) else {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
            );
            return Err(self.error(span, message));
        };
        let (grouping, without) = modifier.unwrap_or_default();
        let aggregate = Aggregate { op, expr, param: args.pop(), grouping, without };
        self.node(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span }, height)
    }

    fn aggregate_modifier(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        let without = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some((self.grouping_labels()?, without)))
    }

    fn call(&mut self) -> Parsed {
        let name = self.advance();
        let (args, height) = self.arguments()?;
        let text = self.text(name);
        let func = Signature::find(text).ok_or_else(|| {
            let message = format!("unknown function with name {}", text::quote(text));
            self.error(name.span, message)
        })?;
        let span = self.span_from(name.span.start);
        self.node(Expr { kind: ExprKind::Call(Call { func, args }), span }, height)
    }

    /// `(a, b)`, and how high the highest is.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let (mut args, mut height) = (Vec::new(), 0);
        if self.accept(TokenKind::RightParen).is_some() {
            return Ok((args, height));
        }
        loop {
            let arg = self.expr(0)?;
            height = height.max(arg.height);
            args.push(arg.expr);
            let Some(comma) = self.accept(TokenKind::Comma) else { break };
            let next = self.peek().kind;
            if !starts_operand(next) && !matches!(next, TokenKind::Error | TokenKind::Eof) {
                return Err(self.error(comma.span, "trailing commas not allowed in function call args"));
            }
        }
        self.expect(TokenKind::RightParen, "", "")?;
        Ok((args, height))
    }

    /// `[range]` or `[range:step]`
    fn range(&mut self, node: Node) -> Parsed {
        let open = self.advance();
        let range =
            self.range_duration("subquery or range selector", "number, duration, step(), or range()")?;
        match self.peek().kind {
            TokenKind::RightBracket => self.advance(),
            TokenKind::Colon => {
                self.advance();
                return self.subquery(node, range);
            }
            _ => return Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        };
        let brackets = self.span_from(open.span.start);
        let ExprKind::Vector(selector) = node.expr.kind else {
            return Err(self.error(brackets, "ranges only allowed for vector selectors"));
        };
        if selector.offset.is_some() {
            return Err(self.error(brackets, "no offset modifiers allowed before range"));
        }
        if selector.at.is_some() {
            return Err(self.error(brackets, "no @ modifiers allowed before range"));
        }
        let span = Span { start: node.expr.span.start, end: brackets.end };
        let matrix = MatrixSelector { selector, selector_span: node.expr.span, range };
        self.node(Expr { kind: ExprKind::Matrix(Box::new(matrix)), span }, 0)
    }

    fn subquery(&mut self, node: Node, range: DurationExpr) -> Parsed {
        let mut step = None;
        if self.peek().kind != TokenKind::RightBracket {
            let expected = "number, duration, step(), range(), or \"]\"";
            step = Some(self.range_duration("subquery selector", expected)?);
        }
        self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
        let span = self.span_from(node.expr.span.start);
        let subquery = Subquery { expr: node.expr, range, step, offset: None, at: None };
        self.node(Expr { kind: ExprKind::Subquery(Box::new(subquery)), span }, node.height)
    }

    fn offset(&mut self, mut node: Node) -> Parsed {
        self.advance();
        let offset = self.offset_duration()?;
        let start = node.expr.span.start;
        let slot = match &mut node.expr.kind {
            ExprKind::Vector(selector) => &mut selector.offset,
            ExprKind::Matrix(matrix) => &mut matrix.selector.offset,
            ExprKind::Subquery(subquery) => &mut subquery.offset,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector \
                               selector or a subquery";
                return Err(self.error(node.expr.span, message));
            }
        };
        if slot.is_some() {
            return Err(self.error(node.expr.span, "offset may not be set multiple times"));
        }
        // No offset at all, so that another may follow.
        *slot = (offset != DurationExpr::Millis(0)).then_some(offset);
        node.expr.span = self.span_from(start);
        Ok(node)
    }

    fn range_mode(&mut self, mut node: Node, mode: RangeMode) -> Parsed {
        self.advance();
        let name = if mode == RangeMode::Anchored { "anchored" } else { "smoothed" };
        let start = node.expr.span.start;
        let slot = match &mut node.expr.kind {
            ExprKind::Vector(selector) => &mut selector.range_mode,
            ExprKind::Matrix(matrix) => &mut matrix.selector.range_mode,
            ExprKind::Subquery(_) => {
                return Err(
                    self.error(node.expr.span, format!("{name} modifier is not supported for subqueries"))
                );
            }
            _ => return Err(self.error(node.expr.span, format!("{name} modifier not implemented"))),
        };
        if *slot != RangeMode::Normal && *slot != mode {
            let message = "anchored and smoothed modifiers cannot be used together";
            return Err(self.error(node.expr.span, message));
        }
        *slot = mode;
        node.expr.span = self.span_from(start);
        Ok(node)
    }

    fn at_modifier(&mut self, mut node: Node) -> Parsed {
        self.advance();
        let at = self.at_argument(node.expr.span)?;
        let start = node.expr.span.start;
        let slot = match &mut node.expr.kind {
            ExprKind::Vector(selector) => &mut selector.at,
            ExprKind::Matrix(matrix) => &mut matrix.selector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector \
                               or a subquery";
                return Err(self.error(node.expr.span, message));
            }
        };
        if slot.is_some() {
            return Err(self.error(node.expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        node.expr.span = self.span_from(start);
        Ok(node)
    }

    fn at_argument(&mut self, span: Span) -> Parsed<At> {
        let at = match self.peek().kind {
            TokenKind::Preprocessor(Preprocessor::Start) => At::Start,
            TokenKind::Preprocessor(Preprocessor::End) => At::End,
            _ => return self.at_timestamp(span),
        };
        self.advance();
        self.expect(TokenKind::LeftParen, "@", "timestamp")?;
        self.expect(TokenKind::RightParen, "@", "timestamp")?;
        Ok(at)
    }

    fn at_timestamp(&mut self, span: Span) -> Parsed<At> {
        let sign = self.accept_sign();
        let number = self.number()?.ok_or_else(|| self.unexpected("@", "timestamp"))?;
        let seconds = if sign == Some(UnaryOp::Minus) { -number.value } else { number.value };
        // The bounds of 64 bits, both excluded; a NaN is in no range.
        if !(seconds > i64::MIN as f64 && seconds < i64::MAX as f64) {
            let shown = if seconds.is_infinite() {
                format!("{}Inf", if seconds > 0.0 { '+' } else { '-' })
            } else {
                format!("{seconds:.6}")
            };
            return Err(self.error(span, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok(At::Timestamp((seconds * 1000.0).round() as i64))
    }
}
