//! Columns of little-endian numbers, and a reader that never reads past the end.

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at} of {len}")]
pub struct BytesError {
    /// What is wrong.
    pub what: &'static str,
    /// Where it was found.
    pub at: usize,
    /// How many bytes there are.
    pub len: usize,
}

/// Reads from the front of some bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// An error at this place.
    pub fn error(&self, what: &'static str) -> BytesError {
        BytesError { what, at: self.at, len: self.bytes.len() }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], BytesError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..n));
        let taken = taken.ok_or_else(|| self.error("the end is missing"))?;
        self.at += n;
        Ok(taken)
    }

    /// The next `n` bytes, each item of which has `size` bytes.
    pub fn column(&mut self, n: usize, size: usize) -> Result<&'a [u8], BytesError> {
        let len = n.checked_mul(size).ok_or_else(|| self.error("a column is too long"))?;
        self.take(len)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BytesError> {
        let error = self.error("the end is missing");
        self.take(N)?.try_into().map_err(|_| error)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, BytesError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, BytesError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, BytesError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, BytesError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64, BytesError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, bit for bit.
    pub fn f64(&mut self) -> Result<f64, BytesError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A number of seven bits a byte, the lowest first.
    pub fn varint(&mut self) -> Result<u64, BytesError> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if i == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number is too long"))
    }

    /// A signed number, the sign in the lowest bit.
    pub fn zigzag(&mut self) -> Result<i64, BytesError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// How many items follow, when each takes `size` bytes or more.
    pub fn count(&mut self, size: usize) -> Result<usize, BytesError> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.left() / size.max(1) => Ok(n),
            _ => Err(self.error("more items are announced than bytes are left")),
        }
    }

    /// `n` numbers.
    pub fn u32s(&mut self, n: usize) -> Result<impl Iterator<Item = u32> + use<'a>, BytesError> {
        let (items, _) = self.column(n, 4)?.as_chunks::<4>();
        Ok(items.iter().map(|item| u32::from_le_bytes(*item)))
    }

    /// `n` numbers.
    pub fn i64s(&mut self, n: usize) -> Result<Vec<i64>, BytesError> {
        let (items, _) = self.column(n, 8)?.as_chunks::<8>();
        Ok(items.iter().map(|item| i64::from_le_bytes(*item)).collect())
    }

    /// `n` numbers, bit for bit.
    pub fn f64s(&mut self, n: usize) -> Result<Vec<f64>, BytesError> {
        let (items, _) = self.column(n, 8)?.as_chunks::<8>();
        Ok(items.iter().map(|item| f64::from_le_bytes(*item)).collect())
    }

    /// Text of a length that stands before it as a varint.
    pub fn text(&mut self) -> Result<&'a str, BytesError> {
        let len = self.count(1)?;
        let error = self.error("a text is not UTF-8");
        std::str::from_utf8(self.take(len)?).map_err(|_| error)
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), BytesError> {
        if self.left() > 0 { Err(self.error("bytes are left over")) } else { Ok(()) }
    }
}

/// Appends numbers as a column.
pub fn put_i64s(out: &mut Vec<u8>, values: &[i64]) {
    for (cell, value) in cells(out, values.len()).iter_mut().zip(values) {
        *cell = value.to_le_bytes();
    }
}

/// Appends numbers as a column, bit for bit.
pub fn put_f64s(out: &mut Vec<u8>, values: &[f64]) {
    for (cell, value) in cells(out, values.len()).iter_mut().zip(values) {
        *cell = value.to_le_bytes();
    }
}

/// Appends numbers as a column.
pub(super) fn put_u32s(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u32>) {
    for (cell, value) in cells(out, values.len()).iter_mut().zip(values) {
        *cell = value.to_le_bytes();
    }
}

/// Appends `n` cells that are still 0.
pub(super) fn cells<const N: usize>(out: &mut Vec<u8>, n: usize) -> &mut [[u8; N]] {
    let from = out.len();
    out.resize(from + N * n, 0);
    out[from..].as_chunks_mut::<N>().0
}

/// Appends a number in seven bits a byte, the lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number, the sign in the lowest bit.
pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a text after its length.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
