//! Text to tokens. A token is a kind and a span; the text stays in the query.
//!
//! Inside braces words are labels, inside brackets only duration expressions may stand, elsewhere words may be
//! keywords: the lexer follows the brackets itself, so the parser sees one flat list of tokens, cut off by the
//! first lexical error.

use crate::ast::{AggregateOp, BinaryOp, Span};
use crate::error::ParseError;
use crate::text;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// The end of the query.
    Eof,
    /// Where the lexer gave up; [`Tokens::error`] says why.
    Error,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    RegexMatch,
    /// `!~`
    RegexNoMatch,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// A name without a colon.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    /// `@`
    At,
    /// A binary operator, signs included.
    Op(BinaryOp),
    /// The name of an aggregation.
    Aggregate(AggregateOp),
    /// A word with a meaning.
    Keyword(Keyword),
    /// A word with a meaning before a parenthesis.
    Preprocessor(Preprocessor),
}

/// Words with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Bool,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Anchored,
    Smoothed,
}

/// Words that `@`, durations and functions share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// All tokens of a query; the last is `Eof` or `Error`.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) list: Vec<Token>,
    pub(crate) error: Option<ParseError>,
}

/// Where the lexer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Anywhere else.
    Statement,
    /// Between braces.
    Braces,
    /// Between brackets, before the first number: only duration expressions.
    Duration,
}

const DIGITS: &str = "0123456789";
const HEX_DIGITS: &str = "0123456789abcdefABCDEF";

struct Lexer<'a> {
    query: &'a str,
    pos: usize,
    start: usize,
    mode: Mode,
    parens: usize,
    in_brackets: bool,
    colon_seen: bool,
    duration_seen: bool,
    list: Vec<Token>,
}

type Lexed<T = ()> = Result<T, String>;

/// Cuts a query into tokens.
pub(crate) fn tokenize(query: &str) -> Tokens {
    let mut lexer = Lexer {
        query,
        pos: 0,
        start: 0,
        mode: Mode::Statement,
        parens: 0,
        in_brackets: false,
        colon_seen: false,
        duration_seen: false,
        list: Vec::new(),
    };
    let error = lexer.run().err().map(|message| {
        let span = Span { start: lexer.start, end: query.len() };
        lexer.list.push(Token { kind: TokenKind::Error, span });
        ParseError::new(query, span, message)
    });
    Tokens { list: lexer.list, error }
}

impl Lexer<'_> {
    fn run(&mut self) -> Lexed {
        loop {
            self.skip_blank();
            if self.peek().is_none() {
                return self.finish();
            }
            match self.mode {
                Mode::Braces => self.in_braces()?,
                Mode::Duration => self.in_duration()?,
                Mode::Statement => self.statement()?,
            }
        }
    }

    fn finish(&mut self) -> Lexed {
        let open = match self.mode {
            Mode::Braces => Some("unexpected end of input inside braces"),
            Mode::Duration => Some("unexpected end of input in duration expression"),
            Mode::Statement if self.parens > 0 => Some("unclosed left parenthesis"),
            Mode::Statement if self.in_brackets => Some("unclosed left bracket"),
            Mode::Statement => None,
        };
        if let Some(message) = open {
            return Err(message.to_string());
        }
        self.emit(TokenKind::Eof);
        Ok(())
    }

    fn statement(&mut self) -> Lexed {
        let Some(c) = self.next() else { return Ok(()) };
        let kind = match c {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Op(BinaryOp::Mul),
            '/' => TokenKind::Op(BinaryOp::Div),
            '%' => TokenKind::Op(BinaryOp::Mod),
            '+' => TokenKind::Op(BinaryOp::Add),
            '-' => TokenKind::Op(BinaryOp::Sub),
            '^' => TokenKind::Op(BinaryOp::Pow),
            '@' => TokenKind::At,
            '=' => match self.peek() {
                Some('=') => self.take(TokenKind::Op(BinaryOp::Eq)),
                Some('~') => return Err("unexpected character after '=': '~'".to_string()),
                _ => TokenKind::Assign,
            },
            '!' => match self.peek() {
                Some('=') => self.take(TokenKind::Op(BinaryOp::Ne)),
                other => return Err(format!("unexpected character after '!': {}", show(other))),
            },
            '<' => match self.peek() {
                Some('=') => self.take(TokenKind::Op(BinaryOp::Le)),
                Some('/') => self.take(TokenKind::Op(BinaryOp::TrimUpper)),
                _ => TokenKind::Op(BinaryOp::Lt),
            },
            '>' => match self.peek() {
                Some('=') => self.take(TokenKind::Op(BinaryOp::Ge)),
                Some('/') => self.take(TokenKind::Op(BinaryOp::TrimLower)),
                _ => TokenKind::Op(BinaryOp::Gt),
            },
            '(' => return self.open_paren(),
            ')' => return self.close_paren(),
            '{' => {
                self.mode = Mode::Braces;
                TokenKind::LeftBrace
            }
            '[' => return self.open_bracket(),
            ']' if !self.in_brackets => return Err("unexpected right bracket ']'".to_string()),
            ']' => {
                self.in_brackets = false;
                TokenKind::RightBracket
            }
            '"' | '\'' | '`' => return self.string(c),
            c if starts_number(c, self.peek()) => return self.number_or_duration(),
            c if is_alpha(c) || c == ':' => return self.word(c),
            c => return Err(format!("unexpected character: {}", show(Some(c)))),
        };
        self.emit(kind);
        Ok(())
    }

    fn open_paren(&mut self) -> Lexed {
        self.parens += 1;
        self.emit(TokenKind::LeftParen);
        Ok(())
    }

    fn close_paren(&mut self) -> Lexed {
        if self.parens == 0 {
            // Reported behind the parenthesis, as Prometheus does.
            self.start = self.pos;
            return Err("unexpected right parenthesis ')'".to_string());
        }
        self.parens -= 1;
        self.emit(TokenKind::RightParen);
        Ok(())
    }

    fn open_bracket(&mut self) -> Lexed {
        if self.in_brackets {
            return Err("unexpected left bracket '['".to_string());
        }
        self.in_brackets = true;
        self.colon_seen = false;
        self.mode = Mode::Duration;
        self.emit(TokenKind::LeftBracket);
        Ok(())
    }

    fn in_duration(&mut self) -> Lexed {
        let Some(c) = self.next() else { return Ok(()) };
        let kind = match c {
            ']' => {
                self.in_brackets = false;
                self.mode = Mode::Statement;
                TokenKind::RightBracket
            }
            ':' if !self.duration_seen => {
                self.start = self.pos;
                return Err("unexpected colon before duration in duration expression".to_string());
            }
            ':' if self.colon_seen => {
                self.start = self.pos;
                return Err("unexpected repeated colon in duration expression".to_string());
            }
            ':' => {
                self.colon_seen = true;
                TokenKind::Colon
            }
            '(' => return self.open_paren(),
            ')' => return self.close_paren(),
            '+' => TokenKind::Op(BinaryOp::Add),
            '-' => TokenKind::Op(BinaryOp::Sub),
            '*' => TokenKind::Op(BinaryOp::Mul),
            '/' => TokenKind::Op(BinaryOp::Div),
            '%' => TokenKind::Op(BinaryOp::Mod),
            '^' => TokenKind::Op(BinaryOp::Pow),
            ',' => TokenKind::Comma,
            c if starts_number(c, self.peek()) => {
                self.duration_seen = true;
                self.mode = Mode::Statement;
                return self.number_or_duration();
            }
            c => match self.duration_word(c) {
                // A step may only follow where there was a number, as in Prometheus.
                Some(word) => TokenKind::Preprocessor(word),
                None => {
                    return Err(format!("unexpected character in duration expression: {}", show(Some(c))));
                }
            },
        };
        self.emit(kind);
        Ok(())
    }

    /// One of the words that duration expressions know; digits are no part of it.
    fn duration_word(&mut self, first: char) -> Option<Preprocessor> {
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        self.skip_while(is_alpha);
        match self.text().to_ascii_lowercase().as_str() {
            "step" => Some(Preprocessor::Step),
            "range" => Some(Preprocessor::Range),
            "max_of" => Some(Preprocessor::MaxOf),
            "min_of" => Some(Preprocessor::MinOf),
            _ => None,
        }
    }

    fn in_braces(&mut self) -> Lexed {
        let Some(c) = self.next() else { return Ok(()) };
        let kind = match c {
            ',' => TokenKind::Comma,
            '=' if self.peek() == Some('~') => self.take(TokenKind::RegexMatch),
            '=' => TokenKind::Assign,
            '!' => match self.next() {
                Some('~') => TokenKind::RegexNoMatch,
                Some('=') => TokenKind::Op(BinaryOp::Ne),
                other => {
                    let c = show(other);
                    return Err(format!("unexpected character after '!' inside braces: {c}"));
                }
            },
            '"' | '\'' | '`' => return self.string(c),
            '{' => return Err("unexpected left brace '{'".to_string()),
            '}' => {
                self.mode = Mode::Statement;
                TokenKind::RightBrace
            }
            c if is_alpha(c) => {
                self.skip_while(is_alphanumeric);
                TokenKind::Identifier
            }
            c => return Err(format!("unexpected character inside braces: {}", show(Some(c)))),
        };
        self.emit(kind);
        Ok(())
    }

    fn word(&mut self, first: char) -> Lexed {
        if self.in_brackets {
            return self.word_in_brackets(first);
        }
        self.skip_while(|c| is_alphanumeric(c) || c == ':');
        let word = self.text().to_ascii_lowercase();
        let kind = match keyword(&word) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.before_paren() =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.emit(kind);
        Ok(())
    }

    fn word_in_brackets(&mut self, first: char) -> Lexed {
        if first == ':' && !self.colon_seen {
            self.colon_seen = true;
            self.emit(TokenKind::Colon);
            return Ok(());
        }
        if first == ':' {
            return Err("unexpected colon ':'".to_string());
        }
        let Some(word) = self.duration_word(first) else {
            return Err(format!("unexpected character: {}, expected ':'", show(Some(first))));
        };
        self.emit(TokenKind::Preprocessor(word));
        Ok(())
    }

    fn string(&mut self, quote: char) -> Lexed {
        loop {
            match self.next() {
                None if quote == '`' => return Err("unterminated raw string".to_string()),
                None => return Err("unterminated quoted string".to_string()),
                Some('\n') if quote != '`' => return Err("unterminated quoted string".to_string()),
                Some('\\') if quote != '`' => {
                    let rest = &self.query[self.pos..];
                    let len = text::escape(rest, quote, &mut Vec::new()).map_err(|e| e.message())?;
                    self.pos += len;
                }
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(TokenKind::String);
        Ok(())
    }

    fn number_or_duration(&mut self) -> Lexed {
        self.pos = self.start;
        if self.scan_number() {
            self.emit(TokenKind::Number);
            return Ok(());
        }
        if self.scan_duration() {
            self.emit(TokenKind::Duration);
            return Ok(());
        }
        Err(format!("bad number or duration syntax: {}", text::quote(self.text())))
    }

    /// Goes over what may be a number; whether it is one is seen when it is read. As in Prometheus a point that comes
    /// first, or behind a zero that does, is not counted: `0..5` is a number as far as this goes, `1..5` is none. An `e`
    /// is an exponent among hexadecimal digits too, unless it follows one that is none.
    fn scan_number(&mut self) -> bool {
        let is_hex = self.accept("0") && self.accept("xX");
        let digits = if is_hex { HEX_DIGITS } else { DIGITS };
        if is_hex {
            self.accept("_");
        }
        self.accept(".");
        self.accept(digits);
        let (mut dot, mut exponent) = (false, false);
        while let Some(c) = self.peek().filter(|c| digits.contains(*c) || "._eE".contains(*c)) {
            match c {
                '.' => {
                    self.pos += 1;
                    if std::mem::replace(&mut dot, true) || self.accept("_.") || is_hex {
                        return false;
                    }
                }
                'e' | 'E' => {
                    self.pos += 1;
                    if std::mem::replace(&mut exponent, true) {
                        return false;
                    }
                    self.accept("+-");
                    if !self.is_followed_well() {
                        return false;
                    }
                }
                '_' => {
                    self.pos += 1;
                    if !self.is_followed_well() {
                        return false;
                    }
                }
                _ => self.skip_while(|c| digits.contains(c)),
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Whether an exponent or an underscore may end here; what may not follow it is passed.
    fn is_followed_well(&mut self) -> bool {
        !self.accept("._eE") && self.peek().is_some()
    }

    /// Goes over the rest of a duration whose first digits have been passed.
    fn scan_duration(&mut self) -> bool {
        let mut units = "smhdwy";
        loop {
            if !self.accept(units) {
                return false;
            }
            self.accept("s");
            units = "smhdw";
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                break;
            }
            self.skip_while(|c| c.is_ascii_digit());
        }
        let next = self.peek().filter(|c| is_alphanumeric(*c));
        self.pos += next.map_or(0, char::len_utf8);
        next.is_none()
    }

    fn accept(&mut self, set: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| set.contains(c));
        if accepted {
            self.pos += 1;
        }
        accepted
    }

    fn before_paren(&self) -> bool {
        self.rest().trim_start_matches(is_space).starts_with('(')
    }

    fn skip_blank(&mut self) {
        loop {
            self.skip_while(is_space);
            if self.peek() != Some('#') {
                break;
            }
            self.skip_while(|c| c != '\n' && c != '\r');
        }
        self.start = self.pos;
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.pos += rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    }

    fn take(&mut self, kind: TokenKind) -> TokenKind {
        self.pos += 1;
        kind
    }

    fn emit(&mut self, kind: TokenKind) {
        self.list.push(Token { kind, span: Span { start: self.start, end: self.pos } });
        self.start = self.pos;
    }

    fn text(&self) -> &str {
        &self.query[self.start..self.pos]
    }

    fn rest(&self) -> &str {
        &self.query[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }
}

/// The token of a lower-case word with a meaning.
fn keyword(word: &str) -> Option<TokenKind> {
    if let Some(op) = AggregateOp::find(word) {
        return Some(TokenKind::Aggregate(op));
    }
    Some(match word {
        "and" => TokenKind::Op(BinaryOp::And),
        "or" => TokenKind::Op(BinaryOp::Or),
        "unless" => TokenKind::Op(BinaryOp::Unless),
        "atan2" => TokenKind::Op(BinaryOp::Atan2),
        "inf" | "nan" => TokenKind::Number,
        "bool" => TokenKind::Keyword(Keyword::Bool),
        "by" => TokenKind::Keyword(Keyword::By),
        "without" => TokenKind::Keyword(Keyword::Without),
        "on" => TokenKind::Keyword(Keyword::On),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "start" => TokenKind::Preprocessor(Preprocessor::Start),
        "end" => TokenKind::Preprocessor(Preprocessor::End),
        "step" => TokenKind::Preprocessor(Preprocessor::Step),
        "range" => TokenKind::Preprocessor(Preprocessor::Range),
        "max_of" => TokenKind::Preprocessor(Preprocessor::MaxOf),
        "min_of" => TokenKind::Preprocessor(Preprocessor::MinOf),
        _ => return None,
    })
}

/// Whether a word in any case cannot stand for a metric without braces.
pub(crate) fn is_reserved_metric_name(name: &str) -> bool {
    match keyword(&name.to_ascii_lowercase()) {
        None | Some(TokenKind::Aggregate(_) | TokenKind::Preprocessor(_)) => false,
        Some(TokenKind::Op(op)) => op == BinaryOp::Atan2,
        Some(TokenKind::Keyword(word)) => matches!(
            word,
            Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
        ),
        Some(_) => true,
    }
}

/// Whether a word in any case is a number.
pub(crate) fn is_number_word(word: &str) -> bool {
    word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan")
}

/// As Go quotes a character; the end of the input is none, which Go shows as a replacement.
fn show(c: Option<char>) -> String {
    match c.unwrap_or(char::REPLACEMENT_CHARACTER) {
        '\'' => "'\\''".to_string(),
        c => {
            let quoted = text::quote(&c.to_string());
            format!("'{}'", if c == '"' { "\"" } else { &quoted[1..quoted.len() - 1] })
        }
    }
}

fn starts_number(c: char, next: Option<char>) -> bool {
    c.is_ascii_digit() || (c == '.' && next.is_some_and(|c| c.is_ascii_digit()))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let tokens = tokenize(query);
        let found: Vec<String> = tokens
            .list
            .iter()
            .map(|t| format!("{:?}:{}", t.kind, &query[t.span.start..t.span.end]))
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        check(
            "1 .5 2. 1e-3 0xFf 1_000 5m 1h30m 1ms Inf",
            "Number:1 Number:.5 Number:2. Number:1e-3 Number:0xFf Number:1_000 Duration:5m Duration:1h30m \
             Duration:1ms Number:Inf Eof:",
        );
        for bad in ["1.2.3", "1..5", "1e", "5mm3x", "1__0", "3foo", "0xfg", "1e+", "0x1e", "0x1.5"] {
            let tokens = tokenize(bad);
            assert_eq!(tokens.list.last().map(|t| t.kind), Some(TokenKind::Error), "{bad}");
        }
        // What they mean is seen when they are read.
        for odd in ["0x", "0..5", ".1.2", "0.1.2", "0x1e5", "0x1e+5", "00.1"] {
            check(odd, &format!("Number:{odd} Eof:"));
        }
    }

    #[test]
    fn fill_is_a_metric_unless_a_parenthesis_follows() {
        check(
            "fill + fill (0) fill_left",
            "Identifier:fill Op(Add):+ Keyword(Fill):fill LeftParen:( Number:0 RightParen:) \
             Identifier:fill_left Eof:",
        );
    }

    #[test]
    fn comments_and_words_in_braces_are_no_keywords() {
        check(
            "{by=~\"a\"} # sum\n </ 1",
            "LeftBrace:{ Identifier:by RegexMatch:=~ String:\"a\" RightBrace:} Op(TrimUpper):</ Number:1 Eof:",
        );
    }
}
