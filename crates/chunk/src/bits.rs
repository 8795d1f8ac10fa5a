/// Bits on their way out, the highest first.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl Bits {
    /// A stream that goes on after whole bytes.
    pub(crate) fn after(bytes: Vec<u8>) -> Bits {
        Bits { bytes, free: 0 }
    }

    /// Writes the `n` lowest bits of `value`; `n` is 1 to 64.
    #[inline]
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        let mut left = n;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (value >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - taken)) as u8;
            }
            self.free -= taken;
            left -= taken;
        }
    }

    pub(crate) fn put_f64(&mut self, value: f64) {
        self.put(value.to_bits(), 64);
    }

    /// A number in groups of seven bits, the lowest first.
    pub(crate) fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7F | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// The same with the sign in the lowest bit.
    pub(crate) fn put_varint(&mut self, value: i64) {
        self.put_uvarint((value << 1 ^ value >> 63) as u64);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
