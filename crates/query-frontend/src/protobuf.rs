//! Protobuf by hand, for messages that are too large or too many to build first.

/// A field's number and what its value looks like.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

/// A number with its sign in the lowest bit (`sint32`).
pub(crate) fn put_signed(out: &mut Vec<u8>, field: u64, value: i64) {
    put_number(out, field, (value << 1 ^ value >> 63) as u64);
}

pub(crate) fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// What stands before `len` bytes of a text, a message or a packed list.
pub(crate) fn put_len(out: &mut Vec<u8>, field: u64, len: usize) {
    put_varint(out, field << 3 | DELIMITED);
    put_varint(out, len as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_len(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// How long [`put_len`] and the bytes behind it are, for fields below 16.
pub(crate) fn delimited_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Doubles as a packed list, unless there are none.
pub(crate) fn put_doubles(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    if !values.is_empty() {
        put_len(out, field, 8 * values.len());
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a size that nothing of interest here has.
    Fixed,
}

/// Bytes that are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not protobuf: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The fields of a message.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field with its number, `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = take_varint(&mut self.0)?;
        let number = key >> 3;
        if number == 0 || number > 0x1FFF_FFFF {
            return Err(Malformed("a field has no valid number"));
        }
        let value = match key & 7 {
            VARINT => Value::Varint(take_varint(&mut self.0)?),
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            DELIMITED => {
                let len = take_varint(&mut self.0)?;
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            _ => return Err(Malformed("a field is of an unknown type")),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A number in groups of seven bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed("a number is cut off"))?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_announced() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(take_varint(&mut &out[..]), Ok(value));
        }
        assert!(take_varint(&mut &[0xFF; 11][..]).is_err());
    }
}
