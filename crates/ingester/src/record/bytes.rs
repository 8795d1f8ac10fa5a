//! Integers in bytes: what all records are made of.

use super::RecordError;

/// Bytes that are read from front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(RecordError::TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordError::TooShort)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64, RecordError> {
        Ok(f64::from_bits(self.u64()?))
    }

    pub(super) fn varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed("varint"))
    }

    pub(super) fn zigzag(&mut self) -> Result<i64, RecordError> {
        Ok(unzigzag(self.varint()?))
    }

    /// A number of things that take at least one byte each (or are covered by `per_byte` to a byte), so that a
    /// malformed count cannot ask for more memory than the record is long.
    pub(super) fn count(&mut self, per_byte: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.varint()?).map_err(|_| RecordError::Malformed("count"))?;
        if count > self.rest.len().saturating_mul(per_byte) {
            return Err(RecordError::Malformed("count"));
        }
        Ok(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        let len = self.count(1)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| RecordError::Malformed("text"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(|_| RecordError::TooShort)
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes series refs one after the other, each against the one before: a series that follows its neighbour costs
/// one zero byte.
#[derive(Debug)]
pub(super) struct RefWriter {
    next: i64,
}

impl RefWriter {
    pub(super) fn new() -> RefWriter {
        RefWriter { next: 0 }
    }

    pub(super) fn put(&mut self, out: &mut Vec<u8>, series_ref: u32) {
        put_zigzag(out, i64::from(series_ref) - self.next);
        self.next = i64::from(series_ref) + 1;
    }

    pub(super) fn put_all(&mut self, out: &mut Vec<u8>, refs: &[u32]) {
        let mut rest = refs;
        while let Some(&first) = rest.first() {
            self.put(out, first);
            let n_more = rest.windows(2).take_while(|pair| pair[1] == pair[0].wrapping_add(1)).count();
            out.resize(out.len() + n_more, 0);
            self.next += n_more as i64;
            rest = &rest[1 + n_more..];
        }
    }
}

/// Reads what [`RefWriter`] wrote.
#[derive(Debug)]
pub(super) struct RefReader {
    next: i64,
}

impl RefReader {
    pub(super) fn new() -> RefReader {
        RefReader { next: 0 }
    }

    pub(super) fn get(&mut self, bytes: &mut Bytes<'_>) -> Result<u32, RecordError> {
        let series_ref = self.next.wrapping_add(bytes.zigzag()?);
        self.next = series_ref.wrapping_add(1);
        u32::try_from(series_ref).map_err(|_| RecordError::Malformed("series ref"))
    }
}
