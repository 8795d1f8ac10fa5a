//! Regular expressions as Prometheus means them: the syntax and the messages are those of Go's `regexp`, which differ
//! from Rust's in what `\d`, `\w` and `\b` are, in how braces and brackets are read, and in what is an error.

mod text;

use regex::{Regex, RegexBuilder};

use self::text::{class_char, escaped_char, is_posix, named_class, push_code, push_literal};
use crate::matcher::MatcherError;

/// The most repetitions that braces may ask for, those inside of each other multiplied.
const REPEAT_MAX: u64 = 1000;

/// Characters of a pattern that an error shows: enough to know it by.
const SHOWN: usize = 200;

/// A pattern in Rust's syntax.
pub(crate) fn translated(pattern: &str) -> Result<String, MatcherError> {
    translate(pattern, pattern)
}

/// Compiles a pattern put between `^(?s:` and `)$`, which is how Prometheus relabels: a parenthesis of the pattern
/// may close that of the frame.
pub fn compile_framed(pattern: &str, size_limit: usize) -> Result<Regex, MatcherError> {
    let framed = format!("^(?s:{pattern})$");
    build(pattern, &translate(&framed, &framed)?, size_limit)
}

/// Compiles what was translated.
pub(crate) fn build(pattern: &str, translated: &str, size_limit: usize) -> Result<Regex, MatcherError> {
    let built = RegexBuilder::new(translated).size_limit(size_limit).dfa_size_limit(size_limit).build();
    built.map_err(|e| {
        // The first lines draw the pattern; the last says what is wrong with it.
        let reason = e.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        error(reason, pattern)
    })
}

fn error(reason: &str, fragment: &str) -> MatcherError {
    let cut = fragment.char_indices().nth(SHOWN).map(|(end, _)| &fragment[..end]);
    let (shown, rest) = cut.map_or((fragment, ""), |cut| (cut, "…"));
    MatcherError(format!("error parsing regexp: {reason}: `{shown}{rest}`"))
}

/// The same pattern in Rust's syntax.
fn translate(pattern: &str, whole: &str) -> Result<String, MatcherError> {
    let mut translator = Translator {
        whole,
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        groups: vec![Group::default()],
        last_repeat: None,
    };
    while !translator.rest.is_empty() {
        translator.step()?;
    }
    if translator.groups.len() > 1 {
        return Err(error("missing closing )", whole));
    }
    Ok(translator.out)
}

struct Translator<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
    groups: Vec<Group>,
    /// What was left of the pattern at a repetition operator, if that was the last thing.
    last_repeat: Option<&'a str>,
}

/// An open parenthesis.
#[derive(Default)]
struct Group {
    /// How often the operand before is repeated by braces; `None` where nothing can be repeated.
    operand: Option<u64>,
    /// The most that anything in the group is repeated.
    repeats: u64,
}

impl<'a> Translator<'a> {
    fn step(&mut self) -> Result<(), MatcherError> {
        let last_repeat = self.last_repeat.take();
        let Some(first) = self.rest.chars().next() else { return Ok(()) };
        match first {
            '(' if self.rest.starts_with("(?") => self.special_group(),
            '(' => {
                self.open("(");
                self.skip(1);
                Ok(())
            }
            '|' => {
                self.group().operand = None;
                self.copy(1);
                Ok(())
            }
            ')' => self.close(),
            '^' | '$' | '.' => {
                self.copy(1);
                self.operand(1);
                Ok(())
            }
            '[' => self.class(),
            '*' | '+' | '?' => self.repeat(&self.rest[1..], None, last_repeat),
            '{' => match braces(self.rest) {
                Some((bounds, after)) => self.repeat(after, Some(bounds), last_repeat),
                None => self.literal('{', 1),
            },
            '\\' => self.escape(),
            c => self.literal(c, c.len_utf8()),
        }
    }

    fn group(&mut self) -> &mut Group {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }

    fn skip(&mut self, n: usize) {
        self.rest = &self.rest[n..];
    }

    fn copy(&mut self, n: usize) {
        self.out.push_str(&self.rest[..n]);
        self.skip(n);
    }

    /// Something that may be repeated has been written.
    fn operand(&mut self, repeats: u64) {
        let group = self.group();
        group.operand = Some(repeats);
        group.repeats = group.repeats.max(repeats);
    }

    fn literal(&mut self, c: char, n: usize) -> Result<(), MatcherError> {
        push_literal(&mut self.out, c);
        self.skip(n);
        self.operand(1);
        Ok(())
    }

    fn open(&mut self, text: &str) {
        self.out.push_str(text);
        self.groups.push(Group::default());
    }

    fn close(&mut self) -> Result<(), MatcherError> {
        if self.groups.len() < 2 {
            return Err(error("unexpected )", self.whole));
        }
        let inside = self.groups.pop().map_or(1, |group| group.repeats.max(1));
        self.copy(1);
        self.operand(inside);
        Ok(())
    }

    /// `(?P<name>`, `(?flags)`, `(?flags:`
    fn special_group(&mut self) -> Result<(), MatcherError> {
        let rest = self.rest;
        for start in ["(?P<", "(?<"] {
            let Some(named) = rest.strip_prefix(start) else { continue };
            let Some(end) = named.find('>') else { return Err(error("invalid named capture", rest)) };
            let is_valid = !named[..end].is_empty()
                && named[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !is_valid {
                return Err(error("invalid named capture", &rest[..start.len() + end + 1]));
            }
            self.open(&rest[..start.len() + end + 1]);
            self.skip(start.len() + end + 1);
            return Ok(());
        }
        let (mut is_negative, mut saw_flag) = (false, false);
        for (i, c) in rest.char_indices().skip(2) {
            let end = i + c.len_utf8();
            match c {
                'i' | 'm' | 's' | 'U' => saw_flag = true,
                '-' if !is_negative => (is_negative, saw_flag) = (true, false),
                ':' | ')' if !is_negative || saw_flag => {
                    match (c, &rest[..end]) {
                        (':', text) => self.open(text),
                        // Without flags it is nothing.
                        (_, "(?)") => {}
                        (_, text) => self.out.push_str(text),
                    }
                    self.skip(end);
                    return Ok(());
                }
                _ => return Err(error("invalid or unsupported Perl syntax", &rest[..end])),
            }
        }
        Err(error("invalid or unsupported Perl syntax", rest))
    }

    /// An operator that repeats what is before it. `after` is what follows the operator.
    fn repeat(
        &mut self,
        after: &'a str,
        bounds: Option<Bounds>,
        last_repeat: Option<&'a str>,
    ) -> Result<(), MatcherError> {
        let before = self.rest;
        let plain = &before[..before.len() - after.len()];
        if bounds.as_ref().is_some_and(|bounds| !bounds.is_valid()) {
            return Err(error("invalid repeat count", plain));
        }
        let after = after.strip_prefix('?').unwrap_or(after);
        let operator = &before[..before.len() - after.len()];
        if let Some(last) = last_repeat {
            let stacked = &last[..last.len() - after.len()];
            return Err(error("invalid nested repetition operator", stacked));
        }
        let Some(inside) = self.group().operand else {
            return Err(error("missing argument to repetition operator", operator));
        };
        let mut repeats = inside;
        if let Some(bounds) = bounds {
            let times = bounds.max.unwrap_or(bounds.min);
            repeats = if times == 0 { 1 } else { inside.saturating_mul(times) };
            if repeats > REPEAT_MAX {
                return Err(error("invalid repeat count", operator));
            }
        }
        self.out.push_str(operator);
        self.operand(repeats);
        self.last_repeat = Some(before);
        self.rest = after;
        Ok(())
    }

    /// What begins with a backslash outside of brackets.
    fn escape(&mut self) -> Result<(), MatcherError> {
        let rest = self.rest;
        let second = rest[1..].chars().next();
        let same = match second {
            Some('A') => Some(r"\A"),
            Some('z') => Some(r"\z"),
            Some('b') => Some(r"(?-u:\b)"),
            Some('B') => Some(r"(?-u:\B)"),
            Some('C') => return Err(error("invalid escape sequence", r"\C")),
            Some('Q') => return self.quoted(),
            _ => None,
        };
        if let Some(same) = same {
            self.out.push_str(same);
            self.skip(2);
            self.operand(1);
            return Ok(());
        }
        if let Some((class, after)) = named_class(rest)? {
            self.out.push_str(&class);
            self.rest = after;
            self.operand(1);
            return Ok(());
        }
        let (c, after) = escaped_char(rest)?;
        self.literal(c, rest.len() - after.len())
    }

    /// `\Q … \E`
    fn quoted(&mut self) -> Result<(), MatcherError> {
        let text = &self.rest[2..];
        let (text, after) = text.split_once(r"\E").unwrap_or((text, ""));
        for c in text.chars() {
            push_literal(&mut self.out, c);
            self.operand(1);
        }
        self.rest = after;
        Ok(())
    }

    /// `[…]`, written anew: Rust reads `[`, `&&`, `--` and `~~` in it as operators.
    fn class(&mut self) -> Result<(), MatcherError> {
        let whole = self.rest;
        let mut rest = &whole[1..];
        self.out.push('[');
        if let Some(after) = rest.strip_prefix('^') {
            self.out.push('^');
            rest = after;
        }
        let mut is_first = true;
        while is_first || !rest.starts_with(']') {
            is_first = false;
            if let Some(named) = rest.strip_prefix("[:")
                && let Some(end) = named.find(":]")
            {
                let name = &rest[..end + 4];
                if !is_posix(&named[..end]) {
                    return Err(error("invalid character class range", name));
                }
                self.out.push_str(name);
                rest = &rest[end + 4..];
                continue;
            }
            if let Some((class, after)) = named_class(rest)? {
                self.out.push_str(&class);
                rest = after;
                continue;
            }
            let range = rest;
            let (low, after) = class_char(rest, whole)?;
            rest = after;
            push_code(&mut self.out, low);
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                let (high, after) = class_char(&rest[1..], whole)?;
                rest = after;
                if high < low {
                    let range = &range[..range.len() - rest.len()];
                    return Err(error("invalid character class range", range));
                }
                self.out.push('-');
                push_code(&mut self.out, high);
            }
        }
        self.out.push(']');
        self.rest = &rest[1..];
        self.operand(1);
        Ok(())
    }
}

/// `{n}`, `{n,}`, `{n,m}`; what cannot be a number is too big.
#[derive(Debug, PartialEq)]
struct Bounds {
    min: u64,
    /// `None` for any number.
    max: Option<u64>,
}

impl Bounds {
    fn is_valid(&self) -> bool {
        let max = self.max.unwrap_or(self.min);
        self.min <= REPEAT_MAX && max <= REPEAT_MAX && self.min <= max
    }
}

/// The bounds at the beginning of a text and what follows; without both numbers in order a brace is a brace.
fn braces(text: &str) -> Option<(Bounds, &str)> {
    let (min, rest) = integer(text.strip_prefix('{')?)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((Bounds { min, max: Some(min) }, rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((Bounds { min, max: None }, rest));
    }
    let (max, rest) = integer(rest)?;
    Some((Bounds { min, max: Some(max) }, rest.strip_prefix('}')?))
}

fn integer(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u64::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: &str) -> Result<Regex, String> {
        let translated = translated(pattern).map_err(|e| e.0)?;
        build(pattern, &format!("^(?s:{translated})$"), 1 << 20).map_err(|e| e.0)
    }

    #[test]
    fn a_pattern_matches_what_it_matches_in_go() {
        for (pattern, matches, others) in [
            (r"\d+", &["12"][..], &["٣", "x"][..]),
            (r"\w\b.\B.", &["a-!"], &["ü-!"]),
            (r"[\w-]+", &["a-b"], &["ü"]),
            (r"a{,5}", &["a{,5}"], &["aaa"]),
            (r"x{", &["x{"], &["x"]),
            (r"[a&&b]+", &["a&b"], &["c"]),
            (r"[[]", &["["], &["]"]),
            (r"[]a]", &["]", "a"], &["b"]),
            (r"[^]a]", &["b", "\n"], &["]"]),
            (r"\Qa.b\E.", &["a.bx"], &["axbx"]),
            (r"\x{48}\x49\052\0", &["HI*\0"], &["HI"]),
            (r"(?i)straSSe", &["STRASSE"], &["x"]),
            (r"(?P<n>a)|(?:b)(?s-i:.)", &["a", "b\n"], &["c"]),
            (r"a.c", &["a\nc"], &["ac"]),
            (r"[[:digit:][:^space:]]x", &["1x"], &[" x"]),
            (r"\pL\p{Greek}", &["xλ"], &["1λ"]),
            (r"a\-b\_c", &["a-b_c"], &["a"]),
            (r"[+--]", &["+", ",", "-"], &["."]),
        ] {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            for text in matches {
                assert!(regex.is_match(text), "{pattern} should match {text:?}");
            }
            for text in others {
                assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
            }
        }
    }

    #[test]
    fn an_error_says_what_go_says() {
        for (pattern, reason, fragment) in [
            ("(", "missing closing )", "("),
            ("a)", "unexpected )", "a)"),
            ("*", "missing argument to repetition operator", "*"),
            ("a|+?", "missing argument to repetition operator", "+?"),
            ("a**", "invalid nested repetition operator", "**"),
            ("a+{2}b", "invalid nested repetition operator", "+{2}"),
            ("a{1001}", "invalid repeat count", "{1001}"),
            ("a{2,1}", "invalid repeat count", "{2,1}"),
            ("((a{10}){10}){11}", "invalid repeat count", "{11}"),
            ("[z-a]", "invalid character class range", "z-a"),
            ("x[a", "missing closing ]", "[a"),
            ("[[:nope:]]", "invalid character class range", "[:nope:]"),
            (r"\p{Nope}", "invalid character class range", r"\p{Nope}"),
            (r"\q", "invalid escape sequence", r"\q"),
            (r"\8", "invalid escape sequence", r"\8"),
            (r"\xZ1", "invalid escape sequence", r"\xZ1"),
            ("a\\", "trailing backslash at end of expression", ""),
            ("(?P<a-b>x)", "invalid named capture", "(?P<a-b>"),
            ("(?z)", "invalid or unsupported Perl syntax", "(?z"),
            ("(?=x)", "invalid or unsupported Perl syntax", "(?="),
        ] {
            let expected = format!("error parsing regexp: {reason}: `{fragment}`");
            assert_eq!(compile(pattern).map(|_| ()), Err(expected), "{pattern}");
        }
    }

    #[test]
    fn a_frame_may_be_closed_from_inside() {
        let regex = compile_framed("a)(b", 1 << 20).map_err(|e| e.0);
        assert!(regex.is_ok_and(|regex| regex.is_match("ab")));
        assert!(compile_framed("(", 1 << 20).is_err());
    }
}
