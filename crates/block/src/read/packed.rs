use std::mem::size_of_val;
use std::ops::Range;
use std::sync::Arc;

use model::{EMPTY, STALE_NAN, any_cell, is_empty_cell};

use super::ReadError;
use super::row::{FloatRow, Ints, Values};
use super::samples::{Clip, check_len};

/// Bases up to here and integers of four bytes above them are doubles without rounding, and so are their sums.
const EXACT_BASE: u64 = 1 << 52;

/// The float samples of some rows that lie near each other, packed into few allocations: what is kept between queries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FloatRows {
    /// Ascending by number.
    heads: Vec<Head>,
    /// What integers are multiplied with and divided by.
    scales: Vec<(f64, f64)>,
    bytes: Vec<u8>,
    /// Of the few rows that have more than values, ascending by number.
    besides: Vec<(u16, Besides)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Head {
    /// Added to each integer.
    base: i64,
    /// Where its cells begin.
    at: u32,
    n_cells: u32,
    number: u16,
    scale: u16,
    cells: Cells,
    has_besides: bool,
}

/// How the cells of a row lie in the bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cells {
    /// None has a value.
    Empty,
    /// All have the same.
    Same,
    Bytes,
    Shorts,
    Words,
    Longs,
    Doubles,
}

#[derive(Debug, Clone, PartialEq)]
struct Besides {
    times: Option<Arc<[i64]>>,
    nulls: Box<[u32]>,
    stale_at: Box<[i64]>,
    starts: Box<[i64]>,
}

/// One row of [`FloatRows`].
#[derive(Debug, Clone, Copy)]
pub struct PackedRow<'a> {
    rows: &'a FloatRows,
    head: &'a Head,
    besides: Option<&'a Besides>,
}

impl FloatRows {
    /// These rows and others, of which none is among them.
    pub fn with(&self, others: impl IntoIterator<Item = (u16, FloatRow)>) -> Result<FloatRows, ReadError> {
        let mut all = self.clone();
        for (number, row) in others {
            all.push(number, row)?;
        }
        all.heads.sort_unstable_by_key(|head| head.number);
        all.besides.sort_unstable_by_key(|(number, _)| *number);
        all.heads.shrink_to_fit();
        all.bytes.shrink_to_fit();
        all.besides.shrink_to_fit();
        Ok(all)
    }

    /// The row with this number, if it is one of them.
    pub fn get(&self, number: u16) -> Option<PackedRow<'_>> {
        // Where all rows between two are there, the number says where it is.
        let guess = usize::from(number.checked_sub(self.heads.first()?.number)?);
        let head = match self.heads.get(guess).filter(|head| head.number == number) {
            Some(head) => head,
            None => {
                let at = self.heads.binary_search_by_key(&number, |head| head.number).ok()?;
                &self.heads[at]
            }
        };
        let besides = if head.has_besides { self.besides_of(number) } else { None };
        Some(PackedRow { rows: self, head, besides })
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        let of_besides = |(_, besides): &(u16, Besides)| {
            let times = besides.times.as_ref().map_or(0, |times| size_of_val(&**times));
            times
                + size_of_val(&*besides.nulls)
                + size_of_val(&*besides.stale_at)
                + size_of_val(&*besides.starts)
        };
        size_of::<FloatRows>()
            + self.heads.capacity() * size_of::<Head>()
            + self.scales.capacity() * size_of::<(f64, f64)>()
            + self.bytes.capacity()
            + self.besides.capacity() * size_of::<(u16, Besides)>()
            + self.besides.iter().map(of_besides).sum::<usize>()
    }

    fn besides_of(&self, number: u16) -> Option<&Besides> {
        let at = self.besides.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.besides[at].1)
    }

    fn push(&mut self, number: u16, row: FloatRow) -> Result<(), ReadError> {
        let too_much = |_| ReadError("more than 4 GiB of samples in one piece".to_string());
        let at = u32::try_from(self.bytes.len()).map_err(too_much)?;
        let FloatRow { times, values, nulls, stale_at, starts } = row;
        let has_besides = times.is_some() || !nulls.is_empty() || !stale_at.is_empty() || !starts.is_empty();
        if has_besides {
            self.besides.push((number, Besides { times, nulls, stale_at, starts }));
        }
        let mut head = Head { base: 0, at, n_cells: 0, number, scale: 0, cells: Cells::Empty, has_besides };
        match values {
            Values::None => {}
            Values::Doubles(doubles) => {
                head.cells = Cells::Doubles;
                head.n_cells = u32::try_from(doubles.len()).map_err(too_much)?;
                self.bytes.extend(doubles.iter().flat_map(|double| double.to_le_bytes()));
            }
            Values::Decimals(decimal, ints) => {
                head.scale = self.scale(decimal.mul, decimal.div);
                head.n_cells = u32::try_from(ints.len()).map_err(too_much)?;
                let (cells, least) = self.push_ints(&ints);
                head.cells = cells;
                head.base = decimal.base.wrapping_add(least);
            }
        }
        self.heads.push(head);
        Ok(())
    }

    /// Appends integers; returns how they lie there, and above what.
    fn push_ints(&mut self, ints: &Ints) -> (Cells, i64) {
        match ints {
            Ints::Same(int, _) => (Cells::Same, *int),
            Ints::Bytes(least, ints) => {
                self.bytes.extend_from_slice(ints);
                (Cells::Bytes, *least)
            }
            Ints::Shorts(least, ints) => {
                self.bytes.extend(ints.iter().flat_map(|int| int.to_le_bytes()));
                (Cells::Shorts, *least)
            }
            Ints::Words(least, ints) => {
                self.bytes.extend(ints.iter().flat_map(|int| int.to_le_bytes()));
                (Cells::Words, *least)
            }
            Ints::Longs(ints) => {
                self.bytes.extend(ints.iter().flat_map(|int| int.to_le_bytes()));
                (Cells::Longs, 0)
            }
        }
    }

    /// The index of a scale. There are no more scales than rows, of which a number of 16 bits tells one.
    fn scale(&mut self, mul: f64, div: f64) -> u16 {
        let is_it =
            |known: &&(f64, f64)| known.0.to_bits() == mul.to_bits() && known.1.to_bits() == div.to_bits();
        // Neighbours have the same one, mostly.
        let known = self.scales.iter().rev().take(8).position(|known| is_it(&known));
        let from_end = known.unwrap_or_else(|| {
            self.scales.push((mul, div));
            0
        });
        (self.scales.len() - 1 - from_end) as u16
    }
}

impl<'a> PackedRow<'a> {
    /// Its own timestamps, unless it refers to a timeline.
    pub fn own_times(&self) -> Option<&'a Arc<[i64]>> {
        self.besides.and_then(|besides| besides.times.as_ref())
    }

    /// Appends the cells at the timestamps of `clip`, and the start timestamps that are known of them.
    pub fn append(
        &self,
        clip: &Clip,
        cells: &mut Vec<f64>,
        starts: &mut Vec<(i64, i64)>,
    ) -> Result<(), ReadError> {
        let first = cells.len();
        self.append_values(clip, cells)?;
        let Some(besides) = self.besides else { return Ok(()) };
        let appended = &mut cells[first..];
        for index in &besides.nulls {
            let at = (*index as usize).checked_sub(clip.range.start);
            if let Some(cell) = at.and_then(|at| appended.get_mut(at)) {
                *cell = f64::from_bits(EMPTY);
            }
        }
        for timestamp in &besides.stale_at {
            // A marker outside of the range is none of the caller's business.
            let at = clip.times.binary_search(timestamp).ok();
            if let Some(cell) = at.and_then(|at| appended.get_mut(at)) {
                *cell = f64::from_bits(STALE_NAN);
            }
        }
        if !besides.starts.is_empty() {
            check_len(besides.starts.len(), clip.len)?;
            let known = clip.times.iter().copied().zip(besides.starts[clip.range.clone()].iter().copied());
            starts.extend(known.filter(|(_, start)| *start != 0));
        }
        Ok(())
    }

    /// Whether one of these cells, which were appended, may be empty.
    pub fn has_empty(&self, appended: &[f64]) -> bool {
        (self.besides.is_some() || self.head.cells == Cells::Empty) && any_cell(appended, is_empty_cell)
    }

    fn append_values(&self, clip: &Clip, cells: &mut Vec<f64>) -> Result<(), ReadError> {
        let head = self.head;
        if head.cells == Cells::Empty {
            cells.resize(cells.len() + clip.times.len(), f64::from_bits(EMPTY));
            return Ok(());
        }
        check_len(head.n_cells as usize, clip.len)?;
        let base = head.base;
        match head.cells {
            Cells::Empty => {}
            Cells::Same => cells.resize(cells.len() + clip.times.len(), self.value(base)),
            Cells::Bytes => self.extend(cells, self.cells_of::<1>(&clip.range), |[byte]| u32::from(byte)),
            Cells::Shorts => {
                self.extend(cells, self.cells_of::<2>(&clip.range), |bytes| {
                    u32::from(u16::from_le_bytes(bytes))
                });
            }
            Cells::Words => {
                self.extend(cells, self.cells_of::<4>(&clip.range), u32::from_le_bytes);
            }
            Cells::Longs => {
                let ints = self.cells_of::<8>(&clip.range).iter();
                cells.extend(ints.map(|bytes| self.value(base.wrapping_add(i64::from_le_bytes(*bytes)))));
            }
            Cells::Doubles => {
                cells.extend(self.cells_of::<8>(&clip.range).iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
        }
        Ok(())
    }

    /// The cells of `N` bytes in this range.
    fn cells_of<const N: usize>(&self, range: &Range<usize>) -> &[[u8; N]] {
        let at = self.head.at as usize;
        self.rows.bytes[at + range.start * N..at + range.end * N].as_chunks().0
    }

    /// Appends the values of integers of four bytes at most.
    #[inline(always)]
    fn extend<const N: usize>(&self, cells: &mut Vec<f64>, ints: &[[u8; N]], int: impl Fn([u8; N]) -> u32) {
        let base = self.head.base;
        let (mul, div) = self.scale();
        if base.unsigned_abs() > EXACT_BASE {
            cells.extend(ints.iter().map(|bytes| self.value(base.wrapping_add(i64::from(int(*bytes))))));
            return;
        }
        // Sums of doubles are as exact here as sums of integers, and several are made at once.
        let base = base as f64;
        let sum = |bytes: &[u8; N]| base + f64::from(int(*bytes));
        if mul == 1.0 && div == 1.0 {
            // To multiply and to divide by one changes no bit, and most rows do nothing else.
            cells.extend(ints.iter().map(sum));
        } else if mul == 1.0 {
            cells.extend(ints.iter().map(|bytes| sum(bytes) / div));
        } else {
            cells.extend(ints.iter().map(|bytes| sum(bytes) * mul / div));
        }
    }

    fn value(&self, int: i64) -> f64 {
        let (mul, div) = self.scale();
        int as f64 * mul / div
    }

    fn scale(&self) -> (f64, f64) {
        self.rows.scales.get(usize::from(self.head.scale)).copied().unwrap_or((1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use model::TimeRange;

    fn row(values: Values, n: i64) -> FloatRow {
        let besides = n % 2 == 0;
        FloatRow {
            times: Some((0..10).collect()),
            values,
            nulls: if besides { Box::new([1, 7]) } else { Box::default() },
            stale_at: if besides { Box::new([7]) } else { Box::default() },
            starts: if besides { (0..10).map(|at| at % 2).collect() } else { Box::default() },
        }
    }

    fn bits(cells: &[f64]) -> Vec<u64> {
        cells.iter().map(|cell| cell.to_bits()).collect()
    }

    /// Rows of every width and scale.
    fn rows() -> Vec<FloatRow> {
        let mut all = vec![
            row(Values::None, 1),
            row(Values::Doubles([0.0, -0.0, f64::NAN, 1e300, 5e-324, 1.5, 2.5, 3.5, 4.5, 5.5].into()), 0),
        ];
        for step in [0, 1, 20, 7_000, 400_000_000, 5_000_000_000, i64::MAX / 10] {
            for (base, mul, div) in [
                (0, 1.0, 1.0),
                (3, 1.0, 1.0),
                (-7 * step, 1.0, 1000.0),
                (1 << 60, 0.25, 1.0),
                (i64::MIN, 1e-3, 1.0),
            ] {
                let ints: Vec<i64> = (0..10).map(|at| at * step - 7).collect();
                let n = all.len() as i64;
                all.push(row(Values::Decimals(Decimal { base, mul, div }, Ints::new(&ints)), n));
            }
        }
        all
    }

    #[test]
    fn a_packed_row_has_the_samples_that_the_row_had() {
        let all = rows();
        let numbered = all.iter().enumerate().map(|(at, row)| (at as u16 * 3 + 5, row.clone()));
        let (first, second): (Vec<_>, Vec<_>) = numbered.partition(|(number, _)| number % 2 == 0);
        let packed = FloatRows::default().with(first).unwrap().with(second).unwrap();
        for (at, row) in all.iter().enumerate() {
            for range in [TimeRange::ALL, TimeRange::new(1, 3), TimeRange::new(7, 7), TimeRange::new(20, 30)]
            {
                let (column, expected_starts) = row.floats(None, range).unwrap();
                let found = packed.get(at as u16 * 3 + 5).unwrap();
                let clip = Clip::new(found.own_times().unwrap(), range);
                let (mut cells, mut starts) = (vec![1.0], vec![(0, 0)]);
                found.append(&clip, &mut cells, &mut starts).unwrap();
                assert_eq!(bits(&cells[1..]), bits(&column.values), "row {at} in {range:?}");
                assert_eq!(starts[1..], expected_starts);
                let is_any_empty = column.values.iter().any(|cell| is_empty_cell(*cell));
                assert_eq!(found.has_empty(&cells[1..]), is_any_empty, "row {at} in {range:?}");
            }
            assert!(packed.get(at as u16 * 3 + 4).is_none());
        }
        assert!(packed.get(0).is_none() && packed.get(u16::MAX).is_none());
    }

    #[test]
    fn a_packed_row_of_small_integers_takes_little_more_than_a_byte_a_sample() {
        let ints: Vec<i64> = (0..120).map(|at| 1_000_000 + at % 200).collect();
        let decimal = Decimal { base: 0, mul: 1.0, div: 1.0 };
        let row = |_| FloatRow {
            times: None,
            values: Values::Decimals(decimal, Ints::new(&ints)),
            nulls: Box::default(),
            stale_at: Box::default(),
            starts: Box::default(),
        };
        let packed = FloatRows::default().with((0..1000).map(|number| (number, row(number)))).unwrap();
        assert!(packed.size() < 1000 * (120 + 25) + 500, "{}", packed.size());
    }

    #[test]
    fn a_row_with_other_cells_than_timestamps_is_refused() {
        let ints = Values::Decimals(Decimal { base: 0, mul: 1.0, div: 1.0 }, Ints::new(&[1, 2, 3]));
        let packed = FloatRows::default().with([(1, row(ints, 1))]).unwrap();
        let clip = Clip::new(&(0..10).collect(), TimeRange::ALL);
        let refused = packed.get(1).unwrap().append(&clip, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(refused.to_string().contains("3 elements for 10 timestamps"), "{refused}");
    }
}
