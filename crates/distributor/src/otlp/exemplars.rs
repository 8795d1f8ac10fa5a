//! Exemplars: their labels are the ids of trace and span, and the attributes that did not make it into the series.

use super::labels::{Attributes, push_label};
use crate::proto::{Malformed, Reader};
use crate::remote_write::{MAX_EXEMPLAR_CHARS, stored};

/// An exemplar of a point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example {
    pub(super) timestamp: i64,
    pub(super) value: f64,
    /// Where its labels lie among those of the point.
    pub(super) labels: (usize, usize),
}

/// Reads an exemplar and appends its labels. `None` for one without a value, or with labels that are not text.
pub(super) fn read(
    mut message: Reader<'_>,
    body: &[u8],
    labels: &mut Vec<u8>,
) -> Result<Option<Example>, Malformed> {
    let (mut nanos, mut value, mut trace, mut span) = (0, None, &[][..], &[][..]);
    let mut attributes = Attributes::default();
    while !message.is_done() {
        let (number, wire) = message.tag()?;
        match number {
            2 => nanos = message.double(wire)?.to_bits(),
            3 => value = Some(message.double(wire)?),
            4 => span = message.bytes(wire)?,
            5 => trace = message.bytes(wire)?,
            6 => value = Some(message.double(wire)?.to_bits() as i64 as f64),
            7 => attributes.read(message.message(wire)?)?,
            _ => message.skip(number, wire)?,
        }
    }
    let Some(value) = value else { return Ok(None) };
    let from = labels.len();
    if !write_labels(trace, span, &attributes, body, labels) {
        labels.truncate(from);
        return Ok(None);
    }
    let (timestamp, value) = ((nanos as i64).div_euclid(1_000_000), stored(value.to_bits()));
    Ok(Some(Example { timestamp, value, labels: (from, labels.len()) }))
}

/// Labels in the order of their names. Attributes that would make them too long are all left out.
fn write_labels(
    trace: &[u8],
    span: &[u8],
    attributes: &Attributes,
    body: &[u8],
    labels: &mut Vec<u8>,
) -> bool {
    let (trace, span) = (hex(trace), hex(span));
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::with_capacity(2 + attributes.len());
    let ids: [(&[u8], &str); 2] = [(b"trace_id", &trace), (b"span_id", &span)];
    pairs.extend(ids.iter().filter(|(_, id)| !id.is_empty()).map(|(name, id)| (*name, id.as_bytes())));
    let n_ids = pairs.len();
    pairs.extend(attributes.iter(body));
    let mut n_chars = 0;
    for (name, value) in &pairs {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return false;
        };
        n_chars += name.chars().count() + value.chars().count();
    }
    if n_chars > MAX_EXEMPLAR_CHARS {
        pairs.truncate(n_ids);
    }
    pairs.sort_by_key(|(name, _)| *name);
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        push_label(labels, name, value);
    }
    true
}

/// An id in hexadecimal; nothing for one that is all zeros, which means none.
fn hex(id: &[u8]) -> String {
    if id.iter().all(|b| *b == 0) {
        return String::new();
    }
    id.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}
