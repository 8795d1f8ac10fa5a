//! The syntax tree. Every node knows the bytes it came from and prints back to PromQL ([`std::fmt::Display`]).

use model::Matcher;

use crate::signature::Signature;

/// A half-open range of bytes of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after.
    pub end: usize,
}

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number; durations are numbers of seconds too.
    Number(Number),
    /// A string.
    String(String),
    /// An instant vector selector.
    Vector(VectorSelector),
    /// A range vector selector: `selector[range]`, offset and `@` are kept in the selector.
    Matrix(Box<MatrixSelector>),
    /// A subquery: `expr[range:step]`.
    Subquery(Box<Subquery>),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// A signed expression.
    Unary(UnaryOp, Box<Expr>),
    /// A binary operation.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A function call.
    Call(Call),
}

/// A number literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// Its value.
    pub value: f64,
    /// Whether it was written as a duration, and prints as one.
    pub is_duration: bool,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One string.
    String,
    /// One sample per series.
    Vector,
    /// Samples over a range per series.
    Matrix,
}

/// `name{matchers} offset … @ …`
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric's name as written before the braces, if any (it is in `matchers` too).
    pub name: Option<String>,
    /// All matchers, that of the name included.
    pub matchers: Vec<Matcher>,
    /// `offset`.
    pub offset: Option<DurationExpr>,
    /// `@`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub range_mode: RangeMode,
}

/// How samples at the borders of a range count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RangeMode {
    /// As always.
    #[default]
    Normal,
    /// `anchored`
    Anchored,
    /// `smoothed`
    Smoothed,
}

/// `selector[range]`
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// The selector; its span does not include the range.
    pub selector: VectorSelector,
    /// Where the selector stands.
    pub selector_span: Span,
    /// How far the range reaches back.
    pub range: DurationExpr,
}

/// `expr[range:step] offset … @ …`
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each step.
    pub expr: Expr,
    /// How far the range reaches back.
    pub range: DurationExpr,
    /// The step, or the engine's default.
    pub step: Option<DurationExpr>,
    /// `offset`.
    pub offset: Option<DurationExpr>,
    /// `@`.
    pub at: Option<At>,
}

/// The argument of `@`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// A duration that may be computed from the query's step and range. [`DurationExpr::Millis`] after
/// [`crate::resolve_durations`].
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// Known.
    Millis(i64),
    /// To be computed; the span is for messages.
    Computed(Box<DurationNode>, Span),
}

/// A term of a duration expression.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationNode {
    /// A number of seconds.
    Number(Number),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// A signed term.
    Unary(UnaryOp, Box<DurationNode>),
    /// `+ - * / % ^`; the span is for messages.
    Binary(BinaryOp, Box<DurationNode>, Box<DurationNode>, Span),
    /// `min_of(a, b)`
    MinOf(Box<DurationNode>, Box<DurationNode>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationNode>, Box<DurationNode>),
    /// A term in parentheses.
    Paren(Box<DurationNode>),
}

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `</`: keep the part of a histogram below a bound.
    TrimUpper,
    /// `>/`: keep the part of a histogram above a bound.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// `lhs op bool on(…) group_left(…) rhs`
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Expr,
    /// Right operand.
    pub rhs: Expr,
    /// `bool`.
    pub return_bool: bool,
    /// How vectors are matched; set when both sides are vectors.
    pub matching: Option<VectorMatching>,
}

impl Drop for Binary {
    /// One operation after the other: a chain of thousands would not fit on the stack.
    fn drop(&mut self) {
        let nothing = || Expr { kind: ExprKind::String(String::new()), span: Span::default() };
        let mut left = std::mem::replace(&mut self.lhs, nothing());
        while let ExprKind::Binary(binary) = &mut left.kind {
            left = std::mem::replace(&mut binary.lhs, nothing());
        }
    }
}

/// Operations of which each is the left side of the next: `a + b - c`.
#[derive(Debug)]
pub struct Chain<'e> {
    /// What is leftmost.
    pub first: &'e Expr,
    /// The operations from the inside out, each with the expression that it is.
    pub links: Vec<(&'e Expr, &'e Binary)>,
}

/// How the series of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// One-to-one, many-to-one, …
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `on` was used.
    pub on: bool,
    /// Labels taken from the "one" side.
    pub include: Vec<String>,
    /// `fill` / `fill_left`: the value of a missing left side.
    pub fill_left: Option<f64>,
    /// `fill` / `fill_right`: the value of a missing right side.
    pub fill_right: Option<f64>,
}

/// How many series may match on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// One-to-one.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

/// `op(param, expr) by (…)`
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The parameter of `topk`, `quantile`, ….
    pub param: Option<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether `without` was used.
    pub without: bool,
}

/// `function(args)`
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name and types of the function.
    pub func: &'static Signature,
    /// The arguments.
    pub args: Vec<Expr>,
}
