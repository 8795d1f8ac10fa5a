use std::sync::Arc;

use model::{EMPTY, FloatColumn, STALE_NAN, TimeRange};

use super::ReadError;
use super::samples::{Clip, check_len};
use crate::decimal::Decimal;

/// The float samples of a row, all of them and on their own.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatRow {
    /// The row's own timestamps, unless it refers to a timeline.
    pub(super) times: Option<Arc<[i64]>>,
    pub(super) values: Values,
    /// Indexes of cells without a value.
    pub(super) nulls: Box<[u32]>,
    /// Timestamps of stale markers.
    pub(super) stale_at: Box<[i64]>,
    /// Start timestamps of the cells, 0 for unknown; empty when the row has none.
    pub(super) starts: Box<[i64]>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// No cell has a value.
    None,
    Decimals(Decimal, Ints),
    Doubles(Box<[f64]>),
}

/// Integers in the width that the largest of them needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ints {
    /// So many times the same.
    Same(i64, usize),
    /// Above the first number.
    Bytes(i64, Box<[u8]>),
    Shorts(i64, Box<[u16]>),
    Words(i64, Box<[u32]>),
    Longs(Box<[i64]>),
}

impl FloatRow {
    /// The samples in a range and their start timestamps. `timeline` is what the row's `ts_ref` refers to.
    pub fn floats(
        &self,
        timeline: Option<&Clip>,
        range: TimeRange,
    ) -> Result<(FloatColumn, Vec<(i64, i64)>), ReadError> {
        let clip = match (timeline, &self.times) {
            (Some(clip), _) => clip.clone(),
            (None, Some(times)) => Clip::new(times, range),
            (None, None) => {
                return Err(ReadError("a row has neither timestamps nor ts_ref".to_string()));
            }
        };
        let mut values = self.values(&clip)?;
        for index in &self.nulls {
            if let Some(at) = (*index as usize).checked_sub(clip.range.start).filter(|at| *at < values.len())
            {
                values[at] = f64::from_bits(EMPTY);
            }
        }
        for ts in &self.stale_at {
            // A marker outside of the range is none of the caller's business.
            if let Ok(at) = clip.times.binary_search(ts) {
                values[at] = f64::from_bits(STALE_NAN);
            }
        }
        let starts = self.starts(&clip)?;
        Ok((FloatColumn { timeline: clip.times, values }, starts))
    }

    fn values(&self, clip: &Clip) -> Result<Vec<f64>, ReadError> {
        let range = clip.range.clone();
        match &self.values {
            Values::None => Ok(vec![f64::from_bits(EMPTY); clip.times.len()]),
            Values::Decimals(decimal, ints) => {
                check_len(ints.len(), clip.len)?;
                Ok(ints.values(decimal, range))
            }
            Values::Doubles(values) => {
                check_len(values.len(), clip.len)?;
                Ok(values[range].to_vec())
            }
        }
    }

    fn starts(&self, clip: &Clip) -> Result<Vec<(i64, i64)>, ReadError> {
        if self.starts.is_empty() {
            return Ok(Vec::new());
        }
        check_len(self.starts.len(), clip.len)?;
        let starts = clip.times.iter().copied().zip(self.starts[clip.range.clone()].iter().copied());
        Ok(starts.filter(|(_, start)| *start != 0).collect())
    }
}

impl Ints {
    pub(super) fn new(ints: &[i64]) -> Ints {
        let min = ints.iter().copied().min().unwrap_or(0);
        let max = ints.iter().copied().max().unwrap_or(0);
        let above = |int: &i64| int.wrapping_sub(min).cast_unsigned();
        match max.wrapping_sub(min).cast_unsigned() {
            0 => Ints::Same(min, ints.len()),
            1..=0xFF => Ints::Bytes(min, ints.iter().map(|int| above(int) as u8).collect()),
            0x100..=0xFFFF => Ints::Shorts(min, ints.iter().map(|int| above(int) as u16).collect()),
            0x1_0000..=0xFFFF_FFFF => Ints::Words(min, ints.iter().map(|int| above(int) as u32).collect()),
            _ => Ints::Longs(ints.into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Ints::Same(_, len) => *len,
            Ints::Bytes(_, ints) => ints.len(),
            Ints::Shorts(_, ints) => ints.len(),
            Ints::Words(_, ints) => ints.len(),
            Ints::Longs(ints) => ints.len(),
        }
    }

    fn values(&self, decimal: &Decimal, range: std::ops::Range<usize>) -> Vec<f64> {
        match self {
            Ints::Same(int, _) => vec![decimal.value(*int); range.len()],
            Ints::Bytes(min, ints) => values_of(decimal, *min, &ints[range]),
            Ints::Shorts(min, ints) => values_of(decimal, *min, &ints[range]),
            Ints::Words(min, ints) => values_of(decimal, *min, &ints[range]),
            Ints::Longs(ints) => values_of(decimal, 0, &ints[range]),
        }
    }
}

fn values_of<T: Copy + Into<i64>>(decimal: &Decimal, min: i64, ints: &[T]) -> Vec<f64> {
    let int = |int: &T| min.wrapping_add((*int).into());
    if decimal.mul == 1.0 && decimal.div == 1.0 {
        // To multiply and to divide by one changes no bit, and most rows do nothing else.
        return ints.iter().map(|v| decimal.base.wrapping_add(int(v)) as f64).collect();
    }
    ints.iter().map(|v| decimal.value(int(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ints: &[i64], decimal: Decimal) {
        let times: Arc<[i64]> = (0..ints.len() as i64).collect();
        let row = FloatRow {
            times: Some(times),
            values: Values::Decimals(decimal, Ints::new(ints)),
            nulls: Box::new([1]),
            stale_at: Box::new([2]),
            starts: (0..ints.len() as i64).map(|at| at % 2).collect(),
        };
        let (column, starts) = row.floats(None, TimeRange::new(1, 3)).unwrap();
        let value = |at: usize| decimal.value(ints[at]).to_bits();
        let bits: Vec<u64> = column.values.iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [EMPTY, STALE_NAN, value(3)]);
        assert_eq!(&*column.timeline, &[1, 2, 3]);
        assert_eq!(starts, [(1, 1), (3, 1)]);
    }

    #[test]
    fn integers_of_any_width_come_back() {
        for step in [0, 1, 200, 70_000, 5_000_000_000, i64::MAX / 5] {
            let ints: Vec<i64> = (0..5).map(|at| at * step - 7).collect();
            check(&ints, Decimal { base: 3, mul: 1.0, div: 1.0 });
            check(&ints, Decimal { base: -3, mul: 1.0, div: 1000.0 });
        }
        check(&[i64::MIN, 0, 1, i64::MAX], Decimal { base: 0, mul: 0.25, div: 1.0 });
    }
}
