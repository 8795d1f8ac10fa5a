//! Floats by what changed in their bits (Gorilla), and chunks of them.

use crate::bits::Bits;
use crate::varbit::fits;

/// The most leading zeros that five bits can say.
const LEADING_MAX: u32 = 31;

/// A float whose successors are written as the bits that changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Xor {
    value: u64,
    /// Zeros before and behind the bits that changed last, once some have.
    window: Option<(u32, u32)>,
}

impl Xor {
    /// The first float was written as it is.
    pub(crate) fn new(first: f64) -> Xor {
        Xor { value: first.to_bits(), window: None }
    }

    /// Writes the next one.
    pub(crate) fn put(&mut self, out: &mut Bits, next: f64) {
        let changed = self.value ^ next.to_bits();
        self.value = next.to_bits();
        if changed == 0 {
            return out.put(0, 1);
        }
        let (leading, trailing) = (changed.leading_zeros().min(LEADING_MAX), changed.trailing_zeros());
        match self.window {
            Some((before, behind)) if leading >= before && trailing >= behind => {
                out.put(0b10, 2);
                out.put(changed >> behind, 64 - before - behind);
            }
            _ => {
                self.window = Some((leading, trailing));
                let n = 64 - leading - trailing;
                out.put(0b11, 2);
                out.put(u64::from(leading), 5);
                // 64 bits do not fit these six; a reader takes 0 for 64.
                out.put(u64::from(n), 6);
                out.put(changed >> trailing, n);
            }
        }
    }
}

/// The bytes of a chunk of floats. The caller gives 1 to 65,535 samples in order of time.
pub(crate) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let Some((&(first_time, first_value), rest)) = samples.split_first() else { return Vec::new() };
    let mut bytes = Vec::with_capacity(4 + 2 * samples.len());
    bytes.extend_from_slice(&(samples.len() as u16).to_be_bytes());
    let mut out = Bits::after(bytes);
    out.put_varint(first_time);
    out.put_f64(first_value);
    let (mut xor, mut time, mut step) = (Xor::new(first_value), first_time, None);
    for &(next_time, value) in rest {
        let next_step = next_time.wrapping_sub(time);
        match step {
            None => out.put_uvarint(next_step as u64),
            Some(step) => put_step_change(&mut out, next_step.wrapping_sub(step)),
        }
        (time, step) = (next_time, Some(next_step));
        xor.put(&mut out, value);
    }
    out.into_bytes()
}

/// The change of the distance in time. Prometheus's sizes are for milliseconds.
fn put_step_change(out: &mut Bits, change: i64) {
    let bits = change as u64;
    if change == 0 {
        out.put(0, 1);
    } else if fits(change, 14) {
        out.put(0b10, 2);
        out.put(bits, 14);
    } else if fits(change, 17) {
        out.put(0b110, 3);
        out.put(bits, 17);
    } else if fits(change, 20) {
        out.put(0b1110, 4);
        out.put(bits, 20);
    } else {
        out.put(0b1111, 4);
        out.put(bits, 64);
    }
}
