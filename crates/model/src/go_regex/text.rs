//! Characters and classes of characters in a pattern.

use regex::Regex;

use super::error;
use crate::matcher::MatcherError;

/// `\d`, `\W`, `\pL`, `\p{Greek}` and the like, and what follows.
pub(super) fn named_class(text: &str) -> Result<Option<(String, &str)>, MatcherError> {
    let Some(rest) = text.strip_prefix('\\') else { return Ok(None) };
    let Some(letter) = rest.chars().next() else { return Ok(None) };
    let class = match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'p' | 'P' => return unicode_class(text).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((class.to_string(), &rest[1..])))
}

fn unicode_class(text: &str) -> Result<(String, &str), MatcherError> {
    let name = &text[2..];
    let end = match name.chars().next() {
        Some('{') => name.find('}').map(|at| at + 1),
        Some(c) => Some(c.len_utf8()),
        None => Some(0),
    };
    let Some(end) = end else { return Err(error("invalid character class range", text)) };
    let (class, after) = text.split_at(2 + end);
    // Rust knows more names, and properties by them.
    let is_known = !class.contains(['=', ':']) && Regex::new(class).is_ok();
    if !is_known {
        return Err(error("invalid character class range", class));
    }
    Ok((class.to_string(), after))
}

pub(super) fn class_char<'a>(text: &'a str, whole: &str) -> Result<(char, &'a str), MatcherError> {
    match text.chars().next() {
        None => Err(error("missing closing ]", whole)),
        Some('\\') => escaped_char(text),
        Some(c) => Ok((c, &text[c.len_utf8()..])),
    }
}

/// A backslash and what it makes a character of.
pub(super) fn escaped_char(text: &str) -> Result<(char, &str), MatcherError> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else {
        return Err(error("trailing backslash at end of expression", ""));
    };
    let rest = chars.as_str();
    let plain = match c {
        'a' => '\x07',
        'f' => '\x0C',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0B',
        'x' => return hexadecimal(text),
        '0'..='7' if c == '0' || rest.starts_with(|c| ('0'..='7').contains(&c)) => {
            return Ok(octal(&text[1..]));
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(error("invalid escape sequence", &text[..text.len() - rest.len()])),
    };
    Ok((plain, rest))
}

/// Up to three octal digits.
fn octal(digits: &str) -> (char, &str) {
    let n = digits.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let value = digits[..n].bytes().fold(0, |value, digit| value * 8 + u32::from(digit - b'0'));
    (char::from_u32(value).unwrap_or('\0'), &digits[n..])
}

/// `\x{…}` or `\x` and two digits.
fn hexadecimal(text: &str) -> Result<(char, &str), MatcherError> {
    let rest = &text[2..];
    let invalid = |end: usize| error("invalid escape sequence", &text[..end.min(text.len())]);
    if let Some(inner) = rest.strip_prefix('{') {
        let n = inner.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(inner.len());
        let value = u32::from_str_radix(&inner[..n], 16).ok().and_then(char::from_u32);
        return match (value, inner[n..].strip_prefix('}')) {
            (Some(c), Some(after)) => Ok((c, after)),
            _ => Err(invalid(3 + n + inner[n..].chars().next().map_or(0, char::len_utf8))),
        };
    }
    let n = rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
    if n < 2 {
        let seen: usize = rest.chars().take(2).map(char::len_utf8).sum();
        return Err(invalid(2 + seen));
    }
    let value = u32::from_str_radix(&rest[..2], 16).ok().and_then(char::from_u32);
    value.map(|c| (c, &rest[2..])).ok_or_else(|| invalid(4))
}

pub(super) fn is_posix(name: &str) -> bool {
    let names = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    names.contains(&name.strip_prefix('^').unwrap_or(name))
}

pub(super) fn push_literal(out: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        push_code(out, c);
    } else {
        out.push(c);
    }
}

/// A character by its number, which stands for itself everywhere.
pub(super) fn push_code(out: &mut String, c: char) {
    out.push_str(&format!(r"\x{{{:X}}}", c as u32));
}
