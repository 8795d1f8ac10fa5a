//! One series' values in the rows of one block, as few bytes as they need and bit for bit what was pushed.
//!
//! ```text
//! column  := ""                                        every cell is empty
//!          | head [mask] body
//! head    := kind (2 bits) | masked << 2 | exponent << 3
//! mask    := one bit per row, little endian, ceil(rows / 8) bytes; present cells are 1
//! body    := CONSTANT  zigzag varint                   every present value is this integer
//!          | OFFSET    width, zigzag varint min, packed (v - min)
//!          | DELTA     width, zigzag varint first, zigzag varint least delta, packed (delta - least)
//!          | XOR       width, trailing zeros, first (8 bytes), packed (xor with the predecessor >> trailing)
//! ```
//! Integers stand for `integer / 10^exponent`, and are used only where that gives back the same bits.

use model::EMPTY;

/// The most rows that a column may have: a presence mask is a `u64`.
pub(super) const MAX_ROWS: usize = 64;

/// The hint of a column that was not decimal.
pub(super) const NOT_DECIMAL: u8 = 31;

/// Readers load eight bytes at a time, so this many must follow the last column.
pub(super) const PADDING: usize = 8;

const CONSTANT: u8 = 0;
const OFFSET: u8 = 1;
const DELTA: u8 = 2;
const XOR: u8 = 3;
const MASKED: u8 = 4;

/// Powers of ten are exact doubles up to 10^22; beyond 17 decimal digits a double is rarely a decimal.
const MAX_EXPONENT: u8 = 17;
const POWERS: [f64; 18] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];

/// Appends the column to `out`. `hint` is the exponent that the series had last.
pub(super) fn encode(cells: &[f64], hint: u8, out: &mut Vec<u8>) {
    let mut present = [0.0; MAX_ROWS];
    let mut mask = 0u64;
    let mut n = 0;
    for (row, cell) in cells.iter().enumerate() {
        let is_present = cell.to_bits() != EMPTY;
        present[n] = *cell;
        mask |= u64::from(is_present) << row;
        n += usize::from(is_present);
    }
    let values = &present[..n];
    if values.is_empty() {
        return;
    }
    let head_at = out.len();
    out.push(0);
    let mut head = 0;
    if n < cells.len() {
        head |= MASKED;
        out.extend_from_slice(&mask.to_le_bytes()[..cells.len().div_ceil(8)]);
    }
    let mut ints = [0i64; MAX_ROWS];
    head |= match decimal(values, hint, &mut ints) {
        Some(exponent) => encode_ints(&ints[..n], out) | exponent << 3,
        None => {
            encode_xor(values, out);
            XOR | NOT_DECIMAL << 3
        }
    };
    out[head_at] = head;
}

/// Writes the column's cells, as many as its rows, and says how many are not empty; `bytes` begins behind the column's
/// head and goes on past its end.
pub(super) fn decode(head: u8, bytes: &[u8], out: &mut [f64]) -> usize {
    if head & MASKED == 0 {
        decode_present(head, bytes, out);
        return out.len();
    }
    let len = out.len().div_ceil(8);
    let mask = load(bytes, 0) & (u64::MAX >> (64 - 8 * len));
    let n = mask.count_ones() as usize;
    decode_present(head, &bytes[len..], &mut out[..n]);
    spread(out, n, mask);
    n
}

fn decode_present(head: u8, bytes: &[u8], out: &mut [f64]) {
    if head & 3 == XOR {
        return decode_xor(bytes, out);
    }
    decode_ints(head & 3, bytes, out, |int| int as f64);
    let exponent = usize::from(head >> 3);
    if exponent > 0 {
        // Apart from the loop above, where each value waits for the one before it: this one is many at once.
        let power = POWERS[exponent];
        out.iter_mut().for_each(|value| *value /= power);
    }
}

/// The hint for the series' next column.
pub(super) fn hint(head: u8) -> u8 {
    head >> 3
}

/// Appends timestamps; they are integers and always present.
pub(super) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let head_at = out.len();
    out.push(0);
    out[head_at] = encode_ints(times, out);
}

/// Fills `out` with timestamps.
pub(super) fn decode_times(bytes: &[u8], out: &mut [i64]) {
    decode_ints(bytes[0] & 3, &bytes[1..], out, |int| int);
}

/// Appends a varint.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint and moves `at` behind it.
pub(super) fn read_varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// Small for small absolute values.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The opposite of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Moves the first `n` values to the rows of the mask, from the back so that none is overwritten.
fn spread(out: &mut [f64], n: usize, mask: u64) {
    let mut from = n;
    for row in (0..out.len()).rev() {
        out[row] = if mask >> row & 1 == 1 {
            from -= 1;
            out[from]
        } else {
            f64::from_bits(EMPTY)
        };
    }
}

/// The exponent at which all values are integers, which are left in `ints`.
fn decimal(values: &[f64], hint: u8, ints: &mut [i64; MAX_ROWS]) -> Option<u8> {
    if hint <= MAX_EXPONENT && all_integers(values, hint, ints) {
        return Some(reduce(hint, &mut ints[..values.len()]));
    }
    let mut exponent = 0;
    for value in values {
        while integer_at(*value, exponent).is_none() {
            exponent += 1;
            if exponent > MAX_EXPONENT {
                return None;
            }
        }
    }
    // A value may be an integer at a lower exponent only: one that is large.
    all_integers(values, exponent, ints).then_some(exponent)
}

fn all_integers(values: &[f64], exponent: u8, ints: &mut [i64; MAX_ROWS]) -> bool {
    for (int, value) in ints.iter_mut().zip(values) {
        match integer_at(*value, exponent) {
            Some(i) => *int = i,
            None => return false,
        }
    }
    true
}

fn integer_at(value: f64, exponent: u8) -> Option<i64> {
    const MAX_INTEGER: f64 = (1u64 << 61) as f64;
    const MAX_SCALED: f64 = (1u64 << 53) as f64;
    if exponent == 0 {
        let int = value as i64;
        let exact = (int as f64).to_bits() == value.to_bits() && value.abs() <= MAX_INTEGER;
        return exact.then_some(int);
    }
    let power = POWERS[usize::from(exponent)];
    let scaled = value * power;
    let int = (scaled + 0.5f64.copysign(scaled)) as i64;
    let exact = (int as f64 / power).to_bits() == value.to_bits() && scaled.abs() < MAX_SCALED;
    exact.then_some(int)
}

/// Takes back an exponent that the series no longer needs, or the deltas stay large for ever.
fn reduce(mut exponent: u8, ints: &mut [i64]) -> u8 {
    while exponent > 0 && ints.iter().all(|int| int % 10 == 0) {
        ints.iter_mut().for_each(|int| *int /= 10);
        exponent -= 1;
    }
    exponent
}

fn encode_ints(ints: &[i64], out: &mut Vec<u8>) -> u8 {
    let first = ints[0];
    let (mut min, mut max) = (first, first);
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    for pair in ints.windows(2) {
        min = min.min(pair[1]);
        max = max.max(pair[1]);
        let delta = pair[1].wrapping_sub(pair[0]);
        least = least.min(delta);
        most = most.max(delta);
    }
    if min == max {
        push_varint(out, zigzag(first));
        return CONSTANT;
    }
    let offset_width = width(max.wrapping_sub(min) as u64);
    let delta_width = width(most.wrapping_sub(least) as u64);
    if usize::from(offset_width) * ints.len() <= usize::from(delta_width) * (ints.len() - 1) + 8 {
        out.push(offset_width);
        push_varint(out, zigzag(min));
        pack(ints.iter().map(|int| int.wrapping_sub(min) as u64), offset_width, out);
        return OFFSET;
    }
    out.push(delta_width);
    push_varint(out, zigzag(first));
    push_varint(out, zigzag(least));
    let deltas = ints.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]).wrapping_sub(least) as u64);
    pack(deltas, delta_width, out);
    DELTA
}

fn decode_ints<T: Copy>(kind: u8, bytes: &[u8], out: &mut [T], of: impl Fn(i64) -> T) {
    let mut at = 1;
    match kind {
        CONSTANT => out.fill(of(unzigzag(read_varint(bytes, &mut 0)))),
        OFFSET => {
            let base = unzigzag(read_varint(bytes, &mut at));
            unpack(&bytes[at..], bytes[0], out, |packed| of(base.wrapping_add(packed as i64)));
        }
        _ => {
            let mut last = unzigzag(read_varint(bytes, &mut at));
            let least = unzigzag(read_varint(bytes, &mut at));
            let (first, rest) = out.split_at_mut(1);
            first[0] = of(last);
            unpack(&bytes[at..], bytes[0], rest, |packed| {
                last = last.wrapping_add(least.wrapping_add(packed as i64));
                of(last)
            });
        }
    }
}

fn encode_xor(values: &[f64], out: &mut Vec<u8>) {
    let xors = || values.windows(2).map(|pair| pair[0].to_bits() ^ pair[1].to_bits());
    let all = xors().fold(0, |all, xor| all | xor);
    let trailing = if all == 0 { 0 } else { all.trailing_zeros() as u8 };
    let width = width(all >> trailing);
    out.push(width);
    out.push(trailing);
    out.extend_from_slice(&values[0].to_bits().to_le_bytes());
    pack(xors().map(|xor| xor >> trailing), width, out);
}

fn decode_xor(bytes: &[u8], out: &mut [f64]) {
    let (width, trailing) = (bytes[0], bytes[1]);
    let mut last = load(bytes, 2);
    let (first, rest) = out.split_at_mut(1);
    first[0] = f64::from_bits(last);
    unpack(&bytes[10..], width, rest, |packed| {
        last ^= packed << trailing;
        f64::from_bits(last)
    });
}

fn width(value: u64) -> u8 {
    (64 - value.leading_zeros()) as u8
}

fn pack(values: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    let width = u32::from(width);
    if width == 0 {
        return;
    }
    let (mut word, mut used) = (0u64, 0u32);
    for value in values {
        word |= value << used;
        used += width;
        if used >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            used -= 64;
            // What of the value did not fit; a shift by 64 would be none.
            word = if used == 0 { 0 } else { value >> (width - used) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// As many values from each load as eight bytes are sure to hold, wherever in their first byte the values begin.
fn unpack<T>(bytes: &[u8], width: u8, out: &mut [T], mut map: impl FnMut(u64) -> T) {
    match width {
        0 => out.iter_mut().for_each(|slot| *slot = map(0)),
        1..=8 => unpack_by::<8, T>(bytes, width, out, map),
        9..=16 => unpack_by::<4, T>(bytes, width, out, map),
        17..=29 => unpack_by::<2, T>(bytes, width, out, map),
        30..=57 => unpack_by::<1, T>(bytes, width, out, map),
        _ => unpack_wide(bytes, usize::from(width), out, map),
    }
}

#[inline(always)]
fn unpack_by<const N: usize, T>(bytes: &[u8], width: u8, out: &mut [T], mut map: impl FnMut(u64) -> T) {
    let mask = u64::MAX >> (64 - width);
    let step = N * usize::from(width);
    let mut bit = 0;
    let (chunks, rest) = out.as_chunks_mut::<N>();
    for chunk in chunks {
        let mut word = load(bytes, bit / 8) >> (bit % 8);
        for slot in chunk {
            *slot = map(word & mask);
            word >>= width;
        }
        bit += step;
    }
    if !rest.is_empty() {
        let mut word = load(bytes, bit / 8) >> (bit % 8);
        for slot in rest {
            *slot = map(word & mask);
            word >>= width;
        }
    }
}

fn unpack_wide<T>(bytes: &[u8], width: usize, out: &mut [T], mut map: impl FnMut(u64) -> T) {
    let mask = u64::MAX >> (64 - width);
    for (i, slot) in out.iter_mut().enumerate() {
        let (byte, shift) = (i * width / 8, i * width % 8);
        let mut value = load(bytes, byte) >> shift;
        if shift > 0 && shift + width > 64 {
            value |= u64::from(bytes[byte + 8]) << (64 - shift);
        }
        *slot = map(value & mask);
    }
}

/// Eight bytes as a number.
#[inline(always)]
pub(super) fn load(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::STALE_NAN;
    use proptest::prelude::*;

    fn check(cells: &[f64], hint_before: u8) -> usize {
        let mut bytes = vec![0xAA];
        encode(cells, hint_before, &mut bytes);
        let len = bytes.len() - 1;
        let after = bytes.get(1).map_or(0, |head| hint(*head));
        bytes.extend([0xBB; PADDING]);
        if len == 0 {
            assert!(cells.iter().all(|cell| cell.to_bits() == EMPTY));
            return 0;
        }
        let mut back = vec![1.5; cells.len()];
        let n = decode(bytes[1], &bytes[2..], &mut back);
        let bits = |cells: &[f64]| cells.iter().map(|cell| cell.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(cells));
        assert_eq!(n, cells.iter().filter(|cell| cell.to_bits() != EMPTY).count());
        assert!(after == NOT_DECIMAL || after <= MAX_EXPONENT);
        len
    }

    #[test]
    fn typical_columns_take_few_bytes() {
        let counter: Vec<f64> = (0..16).map(|i| 1_000_000.0 + f64::from(i * 37)).collect();
        let seconds: Vec<f64> = (0..16).map(|i| (12_345 + i * 3) as f64 / 100.0).collect();
        assert_eq!(check(&[0.0; 16], 0), 2);
        assert!(check(&counter, 0) <= 8);
        assert!(check(&seconds, 0) <= 8);
        assert!(check(&seconds, 2) <= 8);
        assert_eq!(check(&[f64::from_bits(EMPTY); 16], 0), 0);
    }

    #[test]
    fn a_series_that_loses_its_decimals_does_not_keep_their_exponent() {
        let whole: Vec<f64> = (0..16).map(f64::from).collect();
        assert_eq!(check(&whole, 3), check(&whole, 0));
    }

    fn cell() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (-1000i64..1000).prop_map(|i| i as f64),
            4 => (-1_000_000i64..1_000_000, 0i32..6).prop_map(|(m, e)| m as f64 / 10f64.powi(e)),
            2 => any::<u64>().prop_map(f64::from_bits),
            2 => any::<i64>().prop_map(|i| i as f64),
            1 => prop::sample::select(vec![
                0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324,
                f64::from_bits(STALE_NAN), f64::from_bits(EMPTY), f64::NAN, 0.1 + 0.2, 1e22, 1e-7,
            ]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_is_encoded_comes_back_bit_for_bit(
            cells in prop::collection::vec(cell(), 1..=MAX_ROWS), hint in 0u8..=31,
        ) {
            check(&cells, hint);
        }

        #[test]
        fn columns_of_one_kind_come_back_bit_for_bit(
            first in any::<i32>(), steps in prop::collection::vec(0i64..5000, 1..16), exponent in 0i32..8,
            holes in any::<u16>(),
        ) {
            let mut at = i64::from(first);
            let cells: Vec<f64> = steps.iter().enumerate().map(|(i, step)| {
                at += step;
                if holes >> i & 1 == 1 { f64::from_bits(EMPTY) } else { at as f64 / 10f64.powi(exponent) }
            }).collect();
            check(&cells, 0);
        }

        #[test]
        fn timestamps_come_back(times in prop::collection::vec(any::<i64>(), 1..=MAX_ROWS)) {
            let mut bytes = Vec::new();
            encode_times(&times, &mut bytes);
            bytes.extend([0; PADDING]);
            let mut back = vec![0; times.len()];
            decode_times(&bytes, &mut back);
            prop_assert_eq!(back, times);
        }
    }
}
