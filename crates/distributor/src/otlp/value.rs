//! Attribute values as text: what a label says of a number, a list or bytes.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::Digits;

use crate::proto::{Malformed, Reader};

/// A value of an attribute that is not a string, or not a string alone.
#[derive(Debug, Clone, PartialEq, Default)]
enum Value<'a> {
    #[default]
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(Vec<Value<'a>>),
    Map(BTreeMap<Vec<u8>, Value<'a>>),
    Bytes(&'a [u8]),
}

/// How deep lists and maps may nest; the same as in other decoders.
const MAX_DEPTH: usize = 100;

/// Appends the value of an `AnyValue` message to `text`.
pub(super) fn append(message: Reader<'_>, text: &mut Vec<u8>) -> Result<(), Malformed> {
    match read(message, MAX_DEPTH)? {
        Value::Empty => {}
        Value::Text(bytes) => text.extend_from_slice(bytes),
        Value::Bool(value) => text.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => text.extend_from_slice(value.to_string().as_bytes()),
        Value::Double(value) => text.extend_from_slice(number(value).as_bytes()),
        Value::Bytes(bytes) => text.extend_from_slice(base64(bytes).as_bytes()),
        // A list with a number that JSON does not know is no text at all.
        nested @ (Value::List(_) | Value::Map(_)) => {
            let mut json = String::new();
            if write_json(&nested, &mut json) {
                text.extend_from_slice(json.as_bytes());
            }
        }
    }
    Ok(())
}

fn read(mut message: Reader<'_>, depth: usize) -> Result<Value<'_>, Malformed> {
    if depth == 0 {
        return Err(message.malformed("values nest too deep"));
    }
    let mut value = Value::Empty;
    while !message.is_done() {
        let (number, wire) = message.tag()?;
        match number {
            1 => value = Value::Text(message.bytes(wire)?),
            2 => value = Value::Bool(message.uint64(wire)? != 0),
            3 => value = Value::Int(message.int64(wire)?),
            4 => value = Value::Double(message.double(wire)?),
            5 => value = Value::List(read_list(message.message(wire)?, depth - 1)?),
            6 => value = Value::Map(read_map(message.message(wire)?, depth - 1)?),
            7 => value = Value::Bytes(message.bytes(wire)?),
            _ => message.skip(number, wire)?,
        }
    }
    Ok(value)
}

fn read_list(mut message: Reader<'_>, depth: usize) -> Result<Vec<Value<'_>>, Malformed> {
    let mut list = Vec::new();
    while !message.is_done() {
        let (number, wire) = message.tag()?;
        match number {
            1 => list.push(read(message.message(wire)?, depth)?),
            _ => message.skip(number, wire)?,
        }
    }
    Ok(list)
}

fn read_map(mut message: Reader<'_>, depth: usize) -> Result<BTreeMap<Vec<u8>, Value<'_>>, Malformed> {
    let mut map = BTreeMap::new();
    while !message.is_done() {
        let (number, wire) = message.tag()?;
        if number != 1 {
            message.skip(number, wire)?;
            continue;
        }
        let mut entry = message.message(wire)?;
        let (mut key, mut value) = (&[][..], Value::Empty);
        while !entry.is_done() {
            let (number, wire) = entry.tag()?;
            match number {
                1 => key = entry.bytes(wire)?,
                2 => value = read(entry.message(wire)?, depth)?,
                _ => entry.skip(number, wire)?,
            }
        }
        map.insert(key.to_vec(), value);
    }
    Ok(map)
}

/// A number in the shortest form that reads back, in the notation of JSON.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let mut text = String::new();
    if let Some(digits) = Digits::of(value) {
        if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
            digits.put_positional(&mut text);
        } else {
            digits.put_scientific(1, &mut text);
        }
    }
    text
}

/// False when there is a number among the values that JSON does not know.
fn write_json(value: &Value<'_>, json: &mut String) -> bool {
    match value {
        // No bytes are nothing to Prometheus where they nest.
        Value::Empty | Value::Bytes([]) => json.push_str("null"),
        Value::Text(bytes) => quote(&String::from_utf8_lossy(bytes), json),
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => json.push_str(&value.to_string()),
        Value::Double(value) if !value.is_finite() => return false,
        Value::Double(value) => json.push_str(&number(*value)),
        Value::Bytes(bytes) => quote(&base64(bytes), json),
        Value::List(list) => {
            json.push('[');
            for (i, value) in list.iter().enumerate() {
                json.push_str(if i > 0 { "," } else { "" });
                if !write_json(value, json) {
                    return false;
                }
            }
            json.push(']');
        }
        Value::Map(map) => {
            json.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                json.push_str(if i > 0 { "," } else { "" });
                quote(&String::from_utf8_lossy(key), json);
                json.push(':');
                if !write_json(value, json) {
                    return false;
                }
            }
            json.push('}');
        }
    }
    true
}

/// A JSON string as Go writes it: the two separators of lines are escaped beside what has to be.
fn quote(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                let _infallible = write!(json, "\\u{:04x}", c as u32);
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

/// The standard alphabet with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, b)| word | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let six = (word >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() { ALPHABET[six] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e300, "-2.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn bytes_become_base64_with_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn maps_and_lists_become_json_with_sorted_keys() {
        let text = Value::Text("a\"\n\u{1}\u{2028}<".as_bytes());
        let map = BTreeMap::from([(b"b".to_vec(), Value::Int(-1)), (b"a".to_vec(), text)]);
        let list =
            Value::List(vec![Value::Map(map), Value::Bytes(b""), Value::Bool(true), Value::Double(2.0)]);
        let mut json = String::new();
        assert!(write_json(&list, &mut json));
        assert_eq!(json, "[{\"a\":\"a\\\"\\n\\u0001\\u2028<\",\"b\":-1},null,true,2]");
        assert!(!write_json(&Value::List(vec![Value::Double(f64::NAN)]), &mut json));
    }
}
