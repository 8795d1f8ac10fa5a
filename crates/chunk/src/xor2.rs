//! Chunks of floats whose times and values share their control bits, with start timestamps.

use crate::bits::Bits;
use crate::starts::Starts;

/// Where the byte about start timestamps lies: behind the number of samples.
const HEADER_AT: usize = 2;

/// The most leading zeros that five bits can say.
const LEADING_MAX: u32 = 31;

/// Floats as what changed in their bits. A stale marker has a sign of its own and changes nothing.
#[derive(Debug, Default)]
struct Values {
    value: u64,
    window: Option<(u32, u32)>,
}

impl Values {
    /// Bits that are not those of the value before.
    fn changed(&self, next: f64) -> u64 {
        self.value ^ next.to_bits()
    }

    /// A value whose distance in time is not that of the value before.
    fn put(&mut self, out: &mut Bits, next: f64) {
        match self.changed(next) {
            _ if is_stale(next) => out.put(0b111, 3),
            0 => out.put(0, 1),
            changed => self.put_changed(out, changed, (0b10, 2), (0b110, 3)),
        }
    }

    /// What changed, behind the sign for the window of the change before or that for a new one.
    fn put_changed(&mut self, out: &mut Bits, changed: u64, known: (u64, u32), new: (u64, u32)) {
        self.value ^= changed;
        let (leading, trailing) = (changed.leading_zeros().min(LEADING_MAX), changed.trailing_zeros());
        if let Some((before, behind)) = self.window
            && leading >= before
            && trailing >= behind
        {
            out.put(known.0, known.1);
            return out.put(changed >> behind, 64 - before - behind);
        }
        self.window = Some((leading, trailing));
        let n = 64 - leading - trailing;
        out.put(new.0, new.1);
        out.put(u64::from(leading), 5);
        // 64 bits do not fit these six; a reader takes 0 for 64.
        out.put(u64::from(n), 6);
        out.put(changed >> trailing, n);
    }
}

/// The bytes of a chunk of 1 to 127 samples in order of time, with their start timestamps, 0 for unknown.
pub(crate) fn encode(samples: &[(i64, f64)], starts: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 3 * samples.len());
    bytes.extend_from_slice(&(samples.len() as u16).to_be_bytes());
    bytes.push(0);
    let mut out = Bits::after(bytes);
    let (mut values, mut told) = (Values::default(), Starts::default());
    let (mut time_before, mut step) = (0i64, 0i64);
    for (index, (&(time, value), start)) in samples.iter().zip(starts).enumerate() {
        let next_step = time.wrapping_sub(time_before);
        match index {
            0 => {
                out.put_varint(time);
                out.put_f64(value);
                // A stale marker is not what the next value is compared with.
                values.value = if is_stale(value) { 0 } else { value.to_bits() };
            }
            1 => {
                out.put_uvarint(next_step as u64);
                values.put(&mut out, value);
            }
            _ => put_joint(&mut out, &mut values, next_step.wrapping_sub(step), value),
        }
        told.put(&mut out, index, (time, time_before), *start);
        (time_before, step) = (time, next_step);
    }
    let mut bytes = out.into_bytes();
    if let Some(header) = bytes.get_mut(HEADER_AT) {
        *header = told.header();
    }
    bytes
}

/// How much the distance in time changed, and the value.
fn put_joint(out: &mut Bits, values: &mut Values, change: i64, value: f64) {
    let fits = |n: u32| (-(1i64 << (n - 1))..1i64 << (n - 1)).contains(&change);
    if change == 0 {
        return match values.changed(value) {
            _ if is_stale(value) => out.put(0b11111, 5),
            0 => out.put(0, 1),
            changed => {
                out.put(0b10, 2);
                values.put_changed(out, changed, (0, 1), (1, 1));
            }
        };
    }
    if fits(13) {
        out.put(0b110, 3);
        out.put(change as u64, 13);
    } else if fits(20) {
        out.put(0b1110, 4);
        out.put(change as u64, 20);
    } else {
        out.put(0b11110, 5);
        out.put(change as u64, 64);
    }
    values.put(out, value);
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == model::STALE_NAN
}
