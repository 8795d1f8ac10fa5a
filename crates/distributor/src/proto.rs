/// The bytes are not a protobuf message of the expected shape. Such a body is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {at}: {what}")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in the decompressed body.
    pub at: usize,
}

/// How the bytes after a tag are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Len,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// Reads fields one after the other. Positions are those of the whole body, also inside a nested message, so
/// that a label run can be referred to by where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    /// The body up to the end of this message.
    bytes: &'a [u8],
    pos: usize,
}

/// How deep groups may nest inside what is skipped; the same as in other decoders.
const MAX_GROUPS: u32 = 100;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, pos: 0 }
    }

    #[inline]
    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    /// What is left of this message.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.pos..]
    }

    /// A message without fields, here.
    pub(crate) fn nothing(&self) -> Reader<'a> {
        Reader { bytes: &self.bytes[..self.pos], pos: self.pos }
    }

    /// What was read since `from`.
    #[inline]
    pub(crate) fn since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.pos]
    }

    /// Steps over `n` bytes that were looked at in [`Reader::rest`].
    #[inline]
    pub(crate) fn advance(&mut self, n: usize) {
        self.pos = (self.pos + n).min(self.bytes.len());
    }

    /// The next field's number and how to read it.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<(u32, Wire), Malformed> {
        let at = self.pos;
        let tag = self.varint()?;
        let number = u32::try_from(tag).map_err(|_| Malformed { what: "invalid tag", at })? >> 3;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Len,
            3 => Wire::StartGroup,
            4 => Wire::EndGroup,
            5 => Wire::Fixed32,
            _ => return Err(Malformed { what: "invalid wire type", at }),
        };
        if number == 0 {
            return Err(Malformed { what: "invalid field number 0", at });
        }
        Ok((number, wire))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.pos) {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let at = self.pos;
        let mut value = 0u64;
        for i in 0..10 {
            let byte = *self.bytes.get(at + i).ok_or(Malformed { what: "truncated number", at })?;
            value |= u64::from(byte & 0x7F) << (7 * i);
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                if i == 9 && byte > 1 {
                    break;
                }
                self.pos = at + i + 1;
                return Ok(value);
            }
        }
        Err(Malformed { what: "number longer than 64 bits", at })
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let at = self.pos;
        let bytes = self.rest().first_chunk::<8>().ok_or(Malformed { what: "truncated number", at })?;
        self.pos += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn double(&mut self, wire: Wire) -> Result<f64, Malformed> {
        self.expect(wire, Wire::Fixed64)?;
        self.fixed64().map(f64::from_bits)
    }

    pub(crate) fn int64(&mut self, wire: Wire) -> Result<i64, Malformed> {
        self.uint64(wire).map(|v| v as i64)
    }

    pub(crate) fn uint64(&mut self, wire: Wire) -> Result<u64, Malformed> {
        self.expect(wire, Wire::Varint)?;
        self.varint()
    }

    /// 32-bit numbers travel as 64 bits; what is above falls away, as in all decoders.
    pub(crate) fn uint32(&mut self, wire: Wire) -> Result<u32, Malformed> {
        self.uint64(wire).map(|v| v as u32)
    }

    pub(crate) fn sint32(&mut self, wire: Wire) -> Result<i32, Malformed> {
        let v = self.uint32(wire)?;
        Ok((v >> 1) as i32 ^ -((v & 1) as i32))
    }

    pub(crate) fn bytes(&mut self, wire: Wire) -> Result<&'a [u8], Malformed> {
        self.expect(wire, Wire::Len)?;
        let from = self.enter()?;
        let bytes = &self.bytes[from.pos..from.bytes.len()];
        self.pos = from.bytes.len();
        Ok(bytes)
    }

    /// A nested message: read it, the outer reader stands behind it already.
    #[inline]
    pub(crate) fn message(&mut self, wire: Wire) -> Result<Reader<'a>, Malformed> {
        self.expect(wire, Wire::Len)?;
        let inner = self.enter()?;
        self.pos = inner.bytes.len();
        Ok(inner)
    }

    #[inline]
    fn enter(&mut self) -> Result<Reader<'a>, Malformed> {
        let at = self.pos;
        let len = self.varint()?;
        let left = (self.bytes.len() - self.pos) as u64;
        if len > left {
            return Err(Malformed { what: "length exceeds the message", at });
        }
        Ok(Reader { bytes: &self.bytes[..self.pos + len as usize], pos: self.pos })
    }

    /// Steps over a field that nobody asked for.
    pub(crate) fn skip(&mut self, number: u32, wire: Wire) -> Result<(), Malformed> {
        self.skip_nested(number, wire, MAX_GROUPS)
    }

    fn skip_nested(&mut self, number: u32, wire: Wire, depth: u32) -> Result<(), Malformed> {
        let at = self.pos;
        match wire {
            Wire::Varint => self.varint().map(|_| ()),
            Wire::Fixed64 => self.fixed64().map(|_| ()),
            Wire::Len => self.message(wire).map(|_| ()),
            Wire::Fixed32 if self.rest().len() < 4 => Err(Malformed { what: "truncated number", at }),
            Wire::Fixed32 => {
                self.pos += 4;
                Ok(())
            }
            Wire::EndGroup => Err(Malformed { what: "end of a group that did not begin", at }),
            Wire::StartGroup if depth == 0 => Err(Malformed { what: "groups nest too deep", at }),
            Wire::StartGroup => loop {
                let (inner, wire) = self.tag()?;
                if wire != Wire::EndGroup {
                    self.skip_nested(inner, wire, depth - 1)?;
                } else if inner == number {
                    return Ok(());
                } else {
                    return Err(Malformed { what: "groups overlap", at });
                }
            },
        }
    }

    #[inline]
    fn expect(&self, wire: Wire, wanted: Wire) -> Result<(), Malformed> {
        if wire == wanted { Ok(()) } else { Err(self.malformed("field has another type than expected")) }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.pos }
    }

    /// A sample (field 2 of a series) in the two forms that senders use, or `None` for the slow way: 16 bytes,
    /// value and a timestamp of six varint bytes (2005 to 2109), or 7 bytes, when the value is 0 and therefore
    /// absent.
    #[inline]
    pub(crate) fn plain_sample(&mut self) -> Option<(i64, u64)> {
        let rest = self.rest();
        if let Some(sample) = rest.first_chunk::<18>() {
            let [0x12, 0x10, 0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, t0, t1, t2, t3, t4, t5] = *sample
            else {
                return self.plain_zero();
            };
            let timestamp = six_byte_varint([t0, t1, t2, t3, t4, t5])?;
            self.pos += 18;
            return Some((timestamp, u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7])));
        }
        self.plain_zero()
    }

    /// As [`Reader::plain_sample`], of remote write 2.0, where a start timestamp may follow.
    #[inline]
    pub(crate) fn plain_sample_with_start(&mut self) -> Option<PlainSample> {
        let rest = self.rest();
        match (rest.first_chunk::<25>(), rest.first_chunk::<16>()) {
            (Some([0x12, 0x17, 0x09, sample @ ..]), _) => {
                let [
                    v0,
                    v1,
                    v2,
                    v3,
                    v4,
                    v5,
                    v6,
                    v7,
                    0x10,
                    t0,
                    t1,
                    t2,
                    t3,
                    t4,
                    t5,
                    0x18,
                    s0,
                    s1,
                    s2,
                    s3,
                    s4,
                    s5,
                ] = *sample
                else {
                    return None;
                };
                let timestamp = six_byte_varint([t0, t1, t2, t3, t4, t5])?;
                let start = six_byte_varint([s0, s1, s2, s3, s4, s5])?;
                self.pos += 25;
                let bits = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
                Some(PlainSample { timestamp, start, bits })
            }
            (_, Some([0x12, 0x0E, 0x10, t0, t1, t2, t3, t4, t5, 0x18, s0, s1, s2, s3, s4, s5])) => {
                let timestamp = six_byte_varint([*t0, *t1, *t2, *t3, *t4, *t5])?;
                let start = six_byte_varint([*s0, *s1, *s2, *s3, *s4, *s5])?;
                self.pos += 16;
                Some(PlainSample { timestamp, start, bits: 0 })
            }
            _ => {
                let (timestamp, bits) = self.plain_sample()?;
                Some(PlainSample { timestamp, start: 0, bits })
            }
        }
    }

    #[inline]
    fn plain_zero(&mut self) -> Option<(i64, u64)> {
        let [0x12, 0x07, 0x10, t0, t1, t2, t3, t4, t5] = *self.rest().first_chunk::<9>()? else {
            return None;
        };
        let timestamp = six_byte_varint([t0, t1, t2, t3, t4, t5])?;
        self.pos += 9;
        Some((timestamp, 0))
    }
}

/// A float sample of remote write 2.0 as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainSample {
    pub(crate) timestamp: i64,
    /// 0 for none.
    pub(crate) start: i64,
    pub(crate) bits: u64,
}

#[inline]
fn six_byte_varint([a, b, c, d, e, f]: [u8; 6]) -> Option<i64> {
    let word = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    if word & 0x8080_8080_8080 != 0x0080_8080_8080 {
        return None;
    }
    let value = (word & 0x7F)
        | (word >> 1 & 0x7F << 7)
        | (word >> 2 & 0x7F << 14)
        | (word >> 3 & 0x7F << 21)
        | (word >> 4 & 0x7F << 28)
        | (word >> 5 & 0x7F << 35);
    Some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_timestamp_is_the_slow_timestamp() {
        for timestamp in [1i64 << 35, 1_795_251_153_981, (1 << 42) - 1, 0x255_5555_5555, 1 << 41] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(timestamp as u64, &mut bytes);
            assert_eq!(six_byte_varint(bytes[..].try_into().unwrap()), Some(timestamp));
            assert_eq!(Reader::new(&bytes).varint(), Ok(timestamp as u64));
        }
        assert_eq!(six_byte_varint([0x80, 0x80, 0x80, 0x80, 0x80, 0x80]), None);
        assert_eq!(six_byte_varint([0x80, 0x80, 0x80, 0x80, 0x01, 0x10]), None);
    }

    #[test]
    fn numbers_end_after_64_bits() {
        let max = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(Reader::new(&max).varint(), Ok(u64::MAX));
        let over = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert!(Reader::new(&over).varint().is_err());
        assert!(Reader::new(&max[..9]).varint().is_err());
    }

    #[test]
    fn groups_are_skipped_and_must_match() {
        let mut good = Reader::new(&[0x4B, 0x08, 0x01, 0x53, 0x54, 0x4C]);
        let (number, wire) = good.tag().unwrap();
        assert_eq!(good.skip(number, wire), Ok(()));
        assert!(good.is_done());
        let mut bad = Reader::new(&[0x4B, 0x54]);
        let (number, wire) = bad.tag().unwrap();
        assert!(bad.skip(number, wire).is_err());
        let deep = vec![0x4B; 200];
        let mut deep = Reader::new(&deep);
        let (number, wire) = deep.tag().unwrap();
        assert!(deep.skip(number, wire).is_err());
    }
}
