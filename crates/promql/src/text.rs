//! Quoted strings, as Go reads and writes them.
//!
//! A PromQL string is bytes: `"\xff"` is legal and is not UTF-8. Such a byte is kept as a character of
//! [`INVALID_BYTES`], a private range that no metric uses, so that strings stay `String`s, print back to what
//! was written, and can be refused where UTF-8 is asked for ([`is_valid_label_name`]).

use std::ops::RangeInclusive;

/// The characters that stand for the bytes 0x80 to 0xFF where they are not part of UTF-8.
const INVALID_BYTES: RangeInclusive<u32> = 0x10_FE80..=0x10_FEFF;

/// What a character of [`INVALID_BYTES`] exceeds its byte by.
const INVALID_BYTE_BASE: u32 = 0x10_FE00;

/// Why a quoted string does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnquoteError {
    /// It ends within an escape sequence.
    Unterminated,
    /// `\q`
    UnknownEscape(char),
    /// `\xg0`
    IllegalCharacter(char),
    /// `\ud800`, `\400`
    InvalidCodePoint,
}

impl UnquoteError {
    /// In the words of Prometheus.
    pub(crate) fn message(&self) -> String {
        let name = |c: char| format!("U+{:04X} '{c}'", u32::from(c));
        match self {
            UnquoteError::Unterminated => "escape sequence not terminated".to_string(),
            UnquoteError::UnknownEscape(c) => format!("unknown escape sequence {}", name(*c)),
            UnquoteError::IllegalCharacter(c) => format!("illegal character {} in escape sequence", name(*c)),
            UnquoteError::InvalidCodePoint => "escape sequence is an invalid Unicode code point".to_string(),
        }
    }
}

/// Reads one escape sequence; `rest` starts after the backslash. Returns its bytes and its length.
pub(crate) fn escape(rest: &str, quote: char, out: &mut Vec<u8>) -> Result<usize, UnquoteError> {
    let first = rest.chars().next().ok_or(UnquoteError::Unterminated)?;
    let (digits_at, digits, base, max) = match first {
        'a' => return simple(7, out),
        'b' => return simple(8, out),
        'f' => return simple(12, out),
        'n' => return simple(b'\n', out),
        'r' => return simple(b'\r', out),
        't' => return simple(b'\t', out),
        'v' => return simple(11, out),
        '\\' => return simple(b'\\', out),
        c if c == quote => return simple(c as u8, out),
        '0'..='7' => (0, 3, 8, 255),
        'x' => (1, 2, 16, 255),
        'u' => (1, 4, 16, 0x10_FFFF),
        'U' => (1, 8, 16, 0x10_FFFF),
        c => return Err(UnquoteError::UnknownEscape(c)),
    };
    let mut value: u64 = 0;
    let mut chars = rest[digits_at..].chars();
    for _ in 0..digits {
        let c = chars.next().ok_or(UnquoteError::Unterminated)?;
        let digit = c.to_digit(base).ok_or(UnquoteError::IllegalCharacter(c))?;
        value = value * u64::from(base) + u64::from(digit);
    }
    if value > max {
        return Err(UnquoteError::InvalidCodePoint);
    }
    match (max, u32::try_from(value).ok().and_then(char::from_u32)) {
        (255, _) => out.push(value as u8),
        (_, Some(c)) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        (_, None) => return Err(UnquoteError::InvalidCodePoint),
    }
    Ok(digits_at + digits)
}

fn simple(byte: u8, out: &mut Vec<u8>) -> Result<usize, UnquoteError> {
    out.push(byte);
    Ok(1)
}

/// The string of a quoted one, quotes included, in any of the three styles.
pub(crate) fn unquote(quoted: &str) -> Result<String, UnquoteError> {
    let quote = quoted.chars().next().filter(|_| quoted.len() >= 2).ok_or(UnquoteError::Unterminated)?;
    let body = &quoted[1..quoted.len() - 1];
    if quote == '`' {
        return Ok(body.to_string());
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let len = escape(&rest[at + 1..], quote, &mut bytes)?;
        rest = &rest[at + 1 + len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(keep_invalid(&bytes))
}

fn keep_invalid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let stand_ins = chunk.invalid().iter().map(|b| INVALID_BYTE_BASE + u32::from(*b));
        text.extend(stand_ins.filter_map(char::from_u32));
    }
    text
}

/// The string in double quotes, escaped as Go's `%q` does.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if INVALID_BYTES.contains(&u32::from(c)) => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c) - INVALID_BYTE_BASE));
            }
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c == '\u{feff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character stands for a byte that is not part of UTF-8.
pub fn is_invalid_byte(c: char) -> bool {
    INVALID_BYTES.contains(&u32::from(c))
}

/// The string for a reader who knows UTF-8 only: bytes that are none become replacement characters.
pub fn as_utf8(text: &str) -> String {
    let shown = |c: char| if INVALID_BYTES.contains(&u32::from(c)) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

/// Whether a label may have this name: anything in UTF-8 but the empty name.
pub fn is_valid_label_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| INVALID_BYTES.contains(&u32::from(c)))
}

/// Whether a label's name needs no quotes.
pub(crate) fn is_plain_label_name(name: &str) -> bool {
    is_identifier(name, |b| b == b'_' || b.is_ascii_alphabetic())
}

/// Whether a metric's name can stand before the braces.
pub(crate) fn is_plain_metric_name(name: &str) -> bool {
    is_identifier(name, |b| b == b'_' || b == b':' || b.is_ascii_alphabetic())
}

fn is_identifier(name: &str, is_start: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(&is_start) && bytes.all(|b| b.is_ascii_digit() || is_start(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_reads_as_in_go() {
        let cases = [
            (r#""a\a\b\f\n\r\t\v\\\"""#, "a\u{7}\u{8}\u{c}\n\r\t\u{b}\\\""),
            (r"'\'\u00e9\U0001F600'", "'é😀"),
            (r#""\xc3\xa9\303\251""#, "éé"),
            (r"`\n'`", "\\n'"),
            (r#""""#, ""),
        ];
        for (quoted, text) in cases {
            assert_eq!(unquote(quoted).as_deref(), Ok(text), "{quoted}");
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_prints_back_as_it_was_written() {
        let text = unquote(r#""a\xc5z""#).unwrap();
        assert_eq!(quote(&text), r#""a\xc5z""#);
        assert!(!is_valid_label_name(&text));
        assert!(is_valid_label_name("a z") && !is_valid_label_name(""));
    }

    #[test]
    fn quoting_reads_back() {
        for text in ["", "a\"b\\c", "\n\t\r\u{7}\u{8}\u{b}\u{c}\u{1}\u{7f}", "é\u{85}\u{feff}😀"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Ok(text));
        }
    }
}
