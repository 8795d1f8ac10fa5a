//! Numbers in as few bits as their magnitude needs: a prefix of ones says which size follows.

use crate::bits::Bits;

/// Sizes in bits behind prefixes of 1, 2, … ones and a zero.
const SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Whether `value` has a place in `n` bits, where the highest place is the positive one: −(2ⁿ⁻¹−1) to 2ⁿ⁻¹.
pub(crate) fn fits(value: i64, n: u32) -> bool {
    let half = 1i64 << (n - 1);
    -(half - 1) <= value && value <= half
}

pub(crate) fn put_int(out: &mut Bits, value: i64) {
    put(out, value as u64, |n| fits(value, n));
}

pub(crate) fn put_uint(out: &mut Bits, value: u64) {
    put(out, value, |n| value.leading_zeros() >= 64 - n);
}

fn put(out: &mut Bits, value: u64, fits: impl Fn(u32) -> bool) {
    if value == 0 {
        return out.put(0, 1);
    }
    for (n_ones, size) in (1..).zip(SIZES) {
        if fits(size) {
            out.put((1 << (n_ones + 1)) - 2, n_ones + 1);
            return out.put(value, size);
        }
    }
    out.put(0xFF, 8);
    out.put(value, 64);
}
