//! Closed rows.

use model::{EMPTY, TimeRange};

use super::GroupRows;
use crate::head::column;

/// Slots that share an entry in a block's table: offsets of their own would be an eighth of a byte per sample.
const STRETCH: usize = 32;

/// Closed rows, compressed. One allocation: the timestamps, a table to find the columns by, the columns.
///
/// ```text
/// times := "" when they are evenly spaced, as those of a scraper are: nothing of the block must be read for them
/// table := stretches of 32 slots: where the first column begins (u32), the lengths of the columns (u8, or u16
///          when one is longer than 255 bytes: only a group of few series has so many rows)
/// ```
#[derive(Debug)]
pub(in crate::head) struct Block {
    pub min_time: i64,
    pub(super) max_time: i64,
    pub(super) data: Box<[u8]>,
    pub n_slots: u32,
    times_len: u16,
    n_rows: u8,
    /// Whether a column's length takes two bytes instead of one.
    pub(super) wide: bool,
}

/// Where a column begins in its block, and its first byte: to have read it brings the column near.
#[derive(Debug, Clone, Copy)]
pub(in crate::head) struct Found {
    at: u32,
    head: u8,
}

/// Buffers for closing rows, shared by all groups of a shard.
#[derive(Debug, Default)]
pub(in crate::head) struct Encoder {
    columns: Vec<u8>,
    /// Of the columns.
    lens: Vec<u16>,
    data: Vec<u8>,
}

impl Block {
    /// Rows.
    pub(in crate::head) fn n_rows(&self) -> usize {
        usize::from(self.n_rows)
    }

    /// Whether a row may lie in the range.
    pub(in crate::head) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(&TimeRange::new(self.min_time, self.max_time))
    }

    /// Appends the timestamps, ascending.
    pub(in crate::head) fn times(&self, out: &mut Vec<i64>) {
        let start = out.len();
        out.resize(start + self.n_rows(), 0);
        self.fill_times(&mut out[start..]);
    }

    fn fill_times(&self, out: &mut [i64]) {
        if self.times_len > 0 {
            return column::decode_times(&self.data, out);
        }
        let step = (self.max_time - self.min_time) / (i64::from(self.n_rows) - 1).max(1);
        for (row, time) in (0..).zip(out) {
            *time = self.min_time + row * step;
        }
    }

    /// Whether the slot has a sample.
    pub(in crate::head) fn has(&self, slot: usize) -> bool {
        self.find(slot).is_some()
    }

    /// Appends the slot's cells.
    pub(in crate::head) fn cells(&self, slot: usize, out: &mut Vec<f64>) {
        let start = out.len();
        out.resize(start + self.n_rows(), f64::from_bits(EMPTY));
        if let Some(found) = self.find(slot) {
            self.decode(found, &mut out[start..]);
        }
    }

    /// A byte of what [`Block::find`] looks at for the slot. To have asked several blocks for it costs less waiting for
    /// memory than to look into one after the other.
    #[inline]
    pub(in crate::head) fn touch(&self, slot: usize) -> u8 {
        let width = if self.wide { 2 } else { 1 };
        let at = usize::from(self.times_len) + slot / STRETCH * (4 + STRETCH * width);
        self.data.get(at).copied().unwrap_or_default()
    }

    /// The slot's column; `None` when all of its cells are empty.
    #[inline]
    pub(in crate::head) fn find(&self, slot: usize) -> Option<Found> {
        if slot >= self.n_slots as usize {
            return None;
        }
        let table = usize::from(self.times_len);
        let width = if self.wide { 2 } else { 1 };
        let at = table + slot / STRETCH * (4 + STRETCH * width);
        let first = [self.data[at], self.data[at + 1], self.data[at + 2], self.data[at + 3]];
        let (lens, nth) = (&self.data[at + 4..], slot % STRETCH);
        let (len, before) = match self.wide {
            true => (lens[2 * nth] | lens[2 * nth + 1], sum_pairs(lens, nth)),
            false => (lens[nth], sum_bytes(lens, nth)),
        };
        let columns = table + table_len(self.n_slots as usize, width);
        if len == 0 {
            return None;
        }
        let at = columns + before + u32::from_le_bytes(first) as usize;
        Some(Found { at: at as u32, head: self.data[at] })
    }

    /// Writes the cells of a column that was found here, one per row, and says how many are not empty.
    #[inline]
    pub(in crate::head) fn decode(&self, found: Found, out: &mut [f64]) -> usize {
        column::decode(found.head, &self.data[found.at as usize + 1..], out)
    }

    pub(super) fn stored(&self, slot: usize, ts: i64) -> Option<f64> {
        if ts < self.min_time || ts > self.max_time {
            return None;
        }
        let found = self.find(slot)?;
        let mut times = [0; column::MAX_ROWS];
        let times = &mut times[..self.n_rows()];
        self.fill_times(times);
        let row = times.binary_search(&ts).ok()?;
        let mut cells = [0.0; column::MAX_ROWS];
        self.decode(found, &mut cells[..self.n_rows()]);
        Some(cells[row]).filter(|cell| !model::is_empty_cell(*cell))
    }

    pub(super) fn newest(&self, slot: usize) -> Option<(i64, f64)> {
        let found = self.find(slot)?;
        let mut cells = [0.0; column::MAX_ROWS];
        let cells = &mut cells[..self.n_rows()];
        self.decode(found, cells);
        let row = cells.iter().rposition(|cell| !model::is_empty_cell(*cell))?;
        if row + 1 == self.n_rows() {
            return Some((self.max_time, cells[row]));
        }
        let mut times = [0; column::MAX_ROWS];
        self.fill_times(&mut times[..self.n_rows()]);
        Some((times[row], cells[row]))
    }
}

/// The sum of the first `n` bytes, eight at a time; what lies behind them is read and left out.
fn sum_bytes(bytes: &[u8], n: usize) -> usize {
    const EVEN: u64 = 0x00FF_00FF_00FF_00FF;
    let sum = |word: u64| {
        let pairs = (word & EVEN) + (word >> 8 & EVEN);
        (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
    };
    let whole: usize = (0..n / 8).map(|i| sum(column::load(bytes, 8 * i))).sum();
    let rest = n % 8;
    if rest == 0 { whole } else { whole + sum(column::load(bytes, n - rest) & !(u64::MAX << (8 * rest))) }
}

/// The sum of the first `n` numbers of two bytes.
fn sum_pairs(bytes: &[u8], n: usize) -> usize {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs[..n].iter().map(|pair| usize::from(u16::from_le_bytes(*pair))).sum()
}

/// Bytes of the table that finds the columns.
fn table_len(n_slots: usize, width: usize) -> usize {
    4 * n_slots.div_ceil(STRETCH) + n_slots * width
}

impl Encoder {
    /// Bytes of memory.
    pub(in crate::head) fn bytes(&self) -> usize {
        self.columns.capacity() + self.data.capacity() + 2 * self.lens.capacity()
    }

    pub(super) fn encode(&mut self, rows: &GroupRows) -> Block {
        let n_rows = rows.times.len();
        let mut order = [0usize; column::MAX_ROWS];
        let order = &mut order[..n_rows];
        order.iter_mut().enumerate().for_each(|(i, row)| *row = i);
        order.sort_by_key(|row| rows.times[*row]);
        let mut times = [0; column::MAX_ROWS];
        for (time, row) in times.iter_mut().zip(&*order) {
            *time = rows.times[*row];
        }
        let times = &times[..n_rows];

        self.encode_columns(rows, order);
        // Slots that never got a sample in these rows need no entry when they are the last ones.
        while self.lens.last() == Some(&0) {
            self.lens.pop();
        }
        let wide = self.lens.iter().any(|len| *len > u16::from(u8::MAX));
        self.data.clear();
        if !is_even(times) {
            column::encode_times(times, &mut self.data);
        }
        let times_len = self.data.len() as u16;
        let mut offset = 0;
        for lens in self.lens.chunks(STRETCH) {
            self.data.extend_from_slice(&u32::to_le_bytes(offset));
            for len in lens {
                offset += u32::from(*len);
                let bytes = len.to_le_bytes();
                self.data.extend_from_slice(if wide { &bytes } else { &bytes[..1] });
            }
        }
        self.data.extend_from_slice(&self.columns);
        self.data.extend_from_slice(&[0; column::PADDING]);
        Block {
            min_time: times[0],
            max_time: times[n_rows - 1],
            n_slots: self.lens.len() as u32,
            n_rows: n_rows as u8,
            times_len,
            wide,
            data: self.data.as_slice().into(),
        }
    }

    /// Columns eight slots at a time, so that each cache line of a row is read once.
    fn encode_columns(&mut self, rows: &GroupRows, order: &[usize]) {
        self.columns.clear();
        self.lens.clear();
        let n_rows = order.len();
        let mut tile = [[0.0; column::MAX_ROWS]; 8];
        for first in (0..rows.stride).step_by(8) {
            let n = (rows.stride - first).min(8);
            for (i, row) in order.iter().enumerate() {
                let from = row * rows.stride + first;
                for (lane, cell) in tile.iter_mut().zip(&rows.cells[from..from + n]) {
                    lane[i] = *cell;
                }
            }
            for (k, lane) in tile[..n].iter().enumerate() {
                let start = self.columns.len();
                let before = rows.blocks.last().and_then(|block| block.find(first + k));
                let hint = before.map_or(0, |found| column::hint(found.head));
                column::encode(&lane[..n_rows], hint, &mut self.columns);
                self.lens.push((self.columns.len() - start) as u16);
            }
        }
    }
}

/// Whether timestamps are evenly spaced; they ascend, and what lies between two of them fits.
fn is_even(times: &[i64]) -> bool {
    let mut steps = times.windows(2).map(|pair| pair[1].checked_sub(pair[0]));
    let first = steps.next().unwrap_or(Some(0));
    let is_in_reach = times[times.len() - 1].checked_sub(times[0]).is_some();
    is_in_reach && first.is_some() && steps.all(|step| step == first)
}
