//! Start timestamps beside the samples of a chunk: as long as they stay the same, the first one is all that is written.

use crate::bits::Bits;
use crate::varbit::put_int;

/// What has been written of them.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// Of the sample before.
    start: i64,
    /// From it to the sample before that one.
    distance: i64,
    is_first_known: bool,
    /// The first sample whose start was another one; from there on each has one.
    changed_at: u8,
}

impl Starts {
    /// Writes the start of the sample at `index`, which is below 127, behind it.
    pub(crate) fn put(&mut self, out: &mut Bits, index: usize, (time, time_before): (i64, i64), start: i64) {
        if index == 0 {
            if start != 0 {
                out.put_varint(time.wrapping_sub(start));
                self.is_first_known = true;
            }
        } else if self.changed_at > 0 || start != self.start {
            let distance = time_before.wrapping_sub(start);
            put_int(out, distance.wrapping_sub(self.distance));
            self.distance = distance;
            if self.changed_at == 0 {
                self.changed_at = index as u8;
            }
        }
        self.start = start;
    }

    /// The byte that tells what there is.
    pub(crate) fn header(&self) -> u8 {
        u8::from(self.is_first_known) << 7 | self.changed_at
    }
}
