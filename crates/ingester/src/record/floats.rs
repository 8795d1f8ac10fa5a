//! The float section: timestamps as runs, refs as differences, values in as few bytes as give back their bits.

use super::RecordError;
use super::bytes::{Bytes, RefReader, RefWriter, put_varint, put_zigzag, unzigzag, zigzag};

/// Codes below this are integers in so many bytes; the others doubles.
const FIRST_DOUBLE: u8 = 8;

pub(super) fn encode(out: &mut Vec<u8>, refs: &[u32], timestamps: &[i64], values: &[f64]) {
    debug_assert!(refs.len() == values.len() && timestamps.len() == values.len());
    put_varint(out, values.len() as u64);
    put_runs(out, timestamps);
    RefWriter::new().put_all(out, refs);
    put_values(out, values);
}

pub(super) fn decode(
    mut bytes: Bytes<'_>,
    refs: &mut Vec<u32>,
    timestamps: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<(), RecordError> {
    let n = bytes.count(1)?;
    get_runs(&mut bytes, n, timestamps)?;
    refs.reserve(n);
    let mut reader = RefReader::new();
    for _ in 0..n {
        refs.push(reader.get(&mut bytes)?);
    }
    get_values(&mut bytes, n, values)
}

/// Numbers of which many in a row are equal: `run length, zigzag difference to the run before`.
pub(super) fn put_runs(out: &mut Vec<u8>, numbers: &[i64]) {
    let mut previous = 0i64;
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        let n = 1 + rest[1..].iter().take_while(|number| **number == first).count();
        put_varint(out, n as u64);
        put_zigzag(out, first.wrapping_sub(previous));
        previous = first;
        rest = &rest[n..];
    }
}

pub(super) fn get_runs(bytes: &mut Bytes<'_>, n: usize, out: &mut Vec<i64>) -> Result<(), RecordError> {
    let end = out.len() + n;
    let mut previous = 0i64;
    while out.len() < end {
        let run = usize::try_from(bytes.varint()?).map_err(|_| RecordError::Malformed("run"))?;
        previous = previous.wrapping_add(bytes.zigzag()?);
        if run == 0 || run > end - out.len() {
            return Err(RecordError::Malformed("run"));
        }
        out.resize(out.len() + run, previous);
    }
    Ok(())
}

fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let codes_at = out.len();
    let mut at = codes_at + values.len().div_ceil(2);
    // Each value is stored as a whole word, of which only the bytes that count stay: the next one overwrites the
    // rest.
    out.resize(at + values.len() * 8 + 8, 0);
    for (i, &value) in values.iter().enumerate() {
        let (code, word, n) = shorten(value);
        out[codes_at + i / 2] |= code << (i % 2 * 4);
        out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        at += n;
    }
    out.truncate(at);
}

/// Code, bytes (the low ones of the word) and number of bytes of a value.
fn shorten(value: f64) -> (u8, u64, usize) {
    let bits = value.to_bits();
    let n_double = 8 - (bits.trailing_zeros() as usize / 8).min(7);
    let integer = value as i64;
    if (integer as f64).to_bits() == bits {
        let word = zigzag(integer);
        let n_integer = (64 - word.leading_zeros() as usize).div_ceil(8);
        if n_integer <= n_double.min(usize::from(FIRST_DOUBLE) - 1) {
            return (n_integer as u8, word, n_integer);
        }
    }
    (FIRST_DOUBLE - 1 + n_double as u8, bits >> (64 - 8 * n_double), n_double)
}

fn get_values(bytes: &mut Bytes<'_>, n: usize, out: &mut Vec<f64>) -> Result<(), RecordError> {
    let codes = bytes.take(n.div_ceil(2))?;
    let rest = bytes.rest();
    let mut at = 0;
    out.reserve(n);
    for i in 0..n {
        let code = codes[i / 2] >> (i % 2 * 4) & 0xF;
        let n_bytes = usize::from(if code < FIRST_DOUBLE { code } else { code - (FIRST_DOUBLE - 1) });
        let word = word_at(rest, at, n_bytes)?;
        at += n_bytes;
        out.push(if code < FIRST_DOUBLE {
            unzigzag(word) as f64
        } else {
            f64::from_bits(word << (64 - 8 * n_bytes))
        });
    }
    bytes.take(at).map(drop)
}

fn word_at(bytes: &[u8], at: usize, n: usize) -> Result<u64, RecordError> {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let mask = if n == 0 { 0 } else { u64::MAX >> (64 - 8 * n) };
        return Ok(u64::from_le_bytes(*word) & mask);
    }
    let tail = bytes.get(at..at + n).ok_or(RecordError::TooShort)?;
    let mut word = [0; 8];
    word[..n].copy_from_slice(tail);
    Ok(u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::STALE_NAN;

    fn check(values: &[f64]) -> usize {
        let refs: Vec<u32> = (0..values.len() as u32).map(|i| i * 7 % 1000).collect();
        let timestamps: Vec<i64> =
            (0..values.len() as i64).map(|i| 1_700_000_000_000 + i / 100 * 15_000).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &refs, &timestamps, values);
        let (mut r, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        decode(Bytes::new(&bytes), &mut r, &mut t, &mut v).unwrap();
        assert_eq!((r, t), (refs, timestamps));
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
        assert_eq!(bits(&v), bits(values));
        bytes.len()
    }

    #[test]
    fn every_value_comes_back_with_its_bits() {
        let mut values = vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e300,
            -1e-300,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN,
            f64::MAX,
            f64::EPSILON,
            9_007_199_254_740_993.0,
            9_223_372_036_854_775_808.0,
            -9_223_372_036_854_775_808.0,
            f64::from_bits(STALE_NAN),
            f64::from_bits(1),
            f64::from_bits(u64::MAX),
            123.456,
        ];
        for shift in 0..64 {
            values.extend([(1u64 << shift) as f64, -((1u64 << shift) as f64), f64::from_bits(1 << shift)]);
            values.extend([(1u64 << shift) as f64 - 1.0, f64::from_bits(u64::MAX << shift)]);
        }
        check(&values);
        for n in 0..20 {
            check(&values[..n]);
        }
    }

    #[test]
    fn a_scrape_of_neighbours_costs_its_values_and_little_more() {
        let refs: Vec<u32> = (100..1100).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &refs, &[1_700_000_000_000; 1000], &[7.0; 1000]);
        assert!(bytes.len() < 2520, "{}", bytes.len());
    }

    #[test]
    fn truncated_bytes_are_refused_and_ask_for_no_memory() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &[1, 2, 9], &[5, 5, 6], &[1.0, 0.1, 1e9]);
        for len in 0..bytes.len() {
            let (mut r, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
            assert!(decode(Bytes::new(&bytes[..len]), &mut r, &mut t, &mut v).is_err(), "{len}");
        }
        let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF, 0xFF, 0x0F, 0];
        let (mut r, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        assert!(decode(Bytes::new(&huge), &mut r, &mut t, &mut v).is_err());
        assert!(t.capacity() < 1000);
    }
}
