//! The samples of one group in one window: rows that are still open, and blocks of closed rows.

use model::{EMPTY, TimeRange};

use super::{MALLOC, column};

/// Rows that a group of some size collects before it compresses them.
const ROWS_PER_BLOCK: usize = 16;

/// A group with fewer series than this takes more rows per block, or the blocks' own bytes outweigh the samples.
const SMALL_GROUP: usize = 8;

/// Slots that share an entry in a block's table: offsets of their own would be an eighth of a byte per sample.
const STRETCH: usize = 32;

/// The timestamps and values of one group in one window.
///
/// A row is a timestamp with one cell per slot. At most one open row has a given timestamp, but a timestamp that
/// was closed may be opened again for other series: a series' sample at a timestamp is in one place only.
#[derive(Debug)]
pub(super) struct GroupRows {
    /// The group.
    pub group: u32,
    /// Timestamps of the open rows, in the order of arrival.
    times: Vec<i64>,
    /// Open rows one after the other, `stride` cells each.
    cells: Vec<f64>,
    stride: usize,
    /// Cells of the open rows that hold a sample.
    n_filled: usize,
    blocks: Vec<Block>,
    /// No closed row is newer.
    max_closed: i64,
}

/// Closed rows, compressed. One allocation: the timestamps, a table to find the columns by, the columns.
///
/// ```text
/// times := "" when they are evenly spaced, as those of a scraper are: nothing of the block must be read for them
/// table := stretches of 32 slots: where the first column begins (u32), the lengths of the columns (u8, or u16
///          when one is longer than 255 bytes: only a group of few series has so many rows)
/// ```
#[derive(Debug)]
pub(super) struct Block {
    pub min_time: i64,
    max_time: i64,
    data: Box<[u8]>,
    pub n_slots: u32,
    times_len: u16,
    n_rows: u8,
    /// Whether a column's length takes two bytes instead of one.
    wide: bool,
}

/// Where a column begins in its block, and its first byte: to have read it brings the column near.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    at: u32,
    head: u8,
}

/// Buffers for closing rows, shared by all groups of a shard.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    columns: Vec<u8>,
    /// Of the columns.
    lens: Vec<u16>,
    data: Vec<u8>,
}

impl GroupRows {
    /// No rows yet.
    pub(super) fn new(group: u32) -> GroupRows {
        GroupRows {
            group,
            times: Vec::new(),
            cells: Vec::new(),
            stride: 0,
            n_filled: 0,
            blocks: Vec::new(),
            max_closed: i64::MIN,
        }
    }

    /// The open row with this timestamp.
    pub(super) fn find(&self, ts: i64) -> Option<usize> {
        self.times.iter().rposition(|t| *t == ts)
    }

    /// Whether a closed row may have this timestamp.
    pub(super) fn may_be_closed(&self, ts: i64) -> bool {
        ts <= self.max_closed
    }

    /// Whether the next row must wait until the open ones are closed.
    pub(super) fn is_full(&self) -> bool {
        let limit = if self.stride < SMALL_GROUP { column::MAX_ROWS } else { ROWS_PER_BLOCK };
        self.times.len() >= limit
    }

    /// Open rows.
    pub(super) fn n_open(&self) -> usize {
        self.times.len()
    }

    /// Cells of the open rows that hold a sample.
    pub(super) fn n_filled(&self) -> usize {
        self.n_filled
    }

    /// Closed rows, in the order of closing.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Timestamps of the open rows, in no order.
    pub(super) fn open_times(&self) -> &[i64] {
        &self.times
    }

    /// A cell of an open row; a slot that joined later is empty.
    pub(super) fn cell(&self, row: usize, slot: usize) -> f64 {
        if slot < self.stride { self.cells[row * self.stride + slot] } else { f64::from_bits(EMPTY) }
    }

    /// Copies a slot's cells in the open rows from `row` on, as many as there is place for.
    pub(super) fn copy_open(&self, slot: usize, row: usize, out: &mut [f64]) {
        if slot >= self.stride {
            return out.fill(f64::from_bits(EMPTY));
        }
        let cells = self.cells[row * self.stride + slot..].iter().step_by(self.stride);
        out.iter_mut().zip(cells).for_each(|(to, cell)| *to = *cell);
    }

    /// Writes a cell of an open row. The slot must have been announced to [`GroupRows::open`] or
    /// [`GroupRows::widen`].
    pub(super) fn set(&mut self, row: usize, slot: usize, value: f64) {
        self.cells[row * self.stride + slot] = value;
        self.n_filled += 1;
    }

    /// The number of slots for which there are cells.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Opens a row and returns its place.
    pub(super) fn open(&mut self, ts: i64, n_slots: usize) -> usize {
        if n_slots > self.stride {
            self.widen(n_slots);
        }
        let row = self.times.len();
        let needed = (row + 1) * self.stride;
        if needed > self.cells.capacity() {
            // Doubling by rows: a series just born costs one cell, not sixteen.
            let rows = (2 * row).max(1);
            self.cells.reserve_exact(rows * self.stride - self.cells.len());
        }
        if self.times.len() == self.times.capacity() {
            self.times.reserve_exact(self.times.len().max(1));
        }
        self.cells.resize(needed, f64::from_bits(EMPTY));
        self.times.push(ts);
        row
    }

    /// Makes place for more slots in the open rows.
    pub(super) fn widen(&mut self, n_slots: usize) {
        // Groups are born whole, so the first width is exact; a group that grows will grow again.
        let stride = if self.stride == 0 { n_slots } else { n_slots + n_slots / 8 };
        let rows = self.times.len();
        if rows == 0 {
            self.cells = Vec::new();
            self.stride = stride;
            return;
        }
        let mut cells = Vec::with_capacity(rows.next_power_of_two() * stride);
        for row in 0..rows {
            cells.extend_from_slice(&self.cells[row * self.stride..(row + 1) * self.stride]);
            cells.resize((row + 1) * stride, f64::from_bits(EMPTY));
        }
        self.cells = cells;
        self.stride = stride;
    }

    /// Compresses the open rows into a block.
    pub(super) fn close(&mut self, encoder: &mut Encoder) {
        if self.times.is_empty() {
            return;
        }
        let block = encoder.encode(self);
        self.max_closed = self.max_closed.max(block.max_time);
        if self.blocks.len() == self.blocks.capacity() {
            self.blocks.reserve_exact(self.blocks.len().clamp(1, 8));
        }
        self.blocks.push(block);
        self.clear_open();
    }

    /// Forgets the open rows and keeps their memory.
    pub(super) fn clear_open(&mut self) {
        self.times.clear();
        self.cells.clear();
        self.n_filled = 0;
    }

    /// Gives the memory of the open rows back; there must be none.
    pub(super) fn release(&mut self) {
        if self.times.is_empty() {
            self.times = Vec::new();
            self.cells = Vec::new();
            self.stride = 0;
            self.blocks.shrink_to_fit();
        }
    }

    /// The value stored for the slot at `ts`, in an open or a closed row.
    pub(super) fn stored(&self, slot: usize, ts: i64) -> Option<f64> {
        if let Some(row) = self.find(ts) {
            let cell = self.cell(row, slot);
            if !model::is_empty_cell(cell) {
                return Some(cell);
            }
        }
        if !self.may_be_closed(ts) {
            return None;
        }
        self.blocks.iter().find_map(|block| block.stored(slot, ts))
    }

    /// Whether the slot has a sample, up to the granularity of a block, in the range.
    pub(super) fn has_samples(&self, slot: usize, range: TimeRange) -> bool {
        let closed = self.blocks.iter().any(|block| block.overlaps(range) && block.has(slot));
        closed
            || (0..self.times.len())
                .any(|row| range.contains(self.times[row]) && !model::is_empty_cell(self.cell(row, slot)))
    }

    /// Calls `found` for every slot with a sample.
    pub(super) fn for_each_slot(&self, mut found: impl FnMut(usize)) {
        let n_slots = self.blocks.iter().map(|block| block.n_slots as usize).max().unwrap_or(0);
        for slot in 0..n_slots.max(self.stride) {
            if self.has_samples(slot, TimeRange::ALL) {
                found(slot);
            }
        }
    }

    /// The newest sample of a slot.
    pub(super) fn newest(&self, slot: usize) -> Option<(i64, f64)> {
        let mut newest: Option<(i64, f64)> = None;
        for row in 0..self.times.len() {
            let cell = self.cell(row, slot);
            let is_newer = newest.is_none_or(|(ts, _)| ts < self.times[row]);
            if is_newer && !model::is_empty_cell(cell) {
                newest = Some((self.times[row], cell));
            }
        }
        for block in self.blocks.iter().rev() {
            let may_be_newer = newest.is_none_or(|(ts, _)| ts < block.max_time);
            if let Some(last) = may_be_newer.then(|| block.newest(slot)).flatten() {
                newest = Some(newest.filter(|(ts, _)| *ts >= last.0).unwrap_or(last));
            }
        }
        newest
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.data.len() + MALLOC).sum();
        size_of::<GroupRows>()
            + 8 * (self.times.capacity() + self.cells.capacity())
            + size_of::<Block>() * self.blocks.capacity()
            + blocks
    }

    /// Bytes of memory that change with a row: what [`GroupRows::bytes`] says without walking the blocks.
    pub(super) fn open_bytes(&self) -> usize {
        size_of::<GroupRows>()
            + 8 * (self.times.capacity() + self.cells.capacity())
            + size_of::<Block>() * self.blocks.capacity()
    }

    /// Bytes of memory of the newest block's content.
    pub(super) fn last_block_bytes(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.data.len() + MALLOC)
    }
}

impl Block {
    /// Rows.
    pub(super) fn n_rows(&self) -> usize {
        usize::from(self.n_rows)
    }

    /// Whether a row may lie in the range.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(&TimeRange::new(self.min_time, self.max_time))
    }

    /// Appends the timestamps, ascending.
    pub(super) fn times(&self, out: &mut Vec<i64>) {
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
    pub(super) fn has(&self, slot: usize) -> bool {
        self.find(slot).is_some()
    }

    /// Appends the slot's cells.
    pub(super) fn cells(&self, slot: usize, out: &mut Vec<f64>) {
        let start = out.len();
        out.resize(start + self.n_rows(), f64::from_bits(EMPTY));
        if let Some(found) = self.find(slot) {
            self.decode(found, &mut out[start..]);
        }
    }

    /// The slot's column; `None` when all of its cells are empty.
    #[inline]
    pub(super) fn find(&self, slot: usize) -> Option<Found> {
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
    pub(super) fn decode(&self, found: Found, out: &mut [f64]) -> usize {
        column::decode(found.head, &self.data[found.at as usize + 1..], out)
    }

    fn stored(&self, slot: usize, ts: i64) -> Option<f64> {
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

    fn newest(&self, slot: usize) -> Option<(i64, f64)> {
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
    pub(super) fn bytes(&self) -> usize {
        self.columns.capacity() + self.data.capacity() + 2 * self.lens.capacity()
    }

    fn encode(&mut self, rows: &GroupRows) -> Block {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n_slots: usize, rows: &[i64], value: impl Fn(usize, i64) -> f64) -> GroupRows {
        let mut group = GroupRows::new(0);
        for ts in rows {
            let row = group.open(*ts, n_slots);
            (0..n_slots).for_each(|slot| group.set(row, slot, value(slot, *ts)));
        }
        group
    }

    #[test]
    fn rows_that_arrived_out_of_order_are_closed_in_order() {
        let mut rows = group(9, &[30, 10, 20], |slot, ts| slot as f64 + ts as f64);
        rows.close(&mut Encoder::default());
        let mut times = Vec::new();
        rows.blocks()[0].times(&mut times);
        assert_eq!(times, [10, 20, 30]);
        let mut cells = Vec::new();
        rows.blocks()[0].cells(8, &mut cells);
        assert_eq!(cells, [18.0, 28.0, 38.0]);
        assert_eq!(rows.newest(8), Some((30, 38.0)));
        assert_eq!(rows.stored(8, 20), Some(28.0));
        assert_eq!(rows.stored(8, 21), None);
        assert_eq!(rows.stored(9, 20), None);
    }

    #[test]
    fn timestamps_come_back_evenly_spaced_or_not() {
        for times in [
            &[7][..],
            &[-5, 10],
            &[0, 15, 30, 45],
            &[0, 15, 31, 45],
            &[i64::MIN, 0, i64::MAX],
            &[i64::MIN, i64::MAX],
            &[i64::MAX - 2, i64::MAX - 1, i64::MAX],
        ] {
            let mut rows = group(2, times, |_, _| 1.0);
            rows.close(&mut Encoder::default());
            let mut back = Vec::new();
            rows.blocks()[0].times(&mut back);
            assert_eq!(back, times);
            assert!(times.iter().all(|ts| rows.stored(1, *ts) == Some(1.0)));
        }
    }

    fn noise(slot: usize, ts: i64) -> f64 {
        f64::from_bits((slot as u64 * 7919 + ts as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2)
    }

    fn check_noise(n_slots: usize, n_rows: i64, wide: bool) {
        let times: Vec<i64> = (0..n_rows).collect();
        let mut rows = group(n_slots, &times, noise);
        rows.close(&mut Encoder::default());
        assert_eq!(rows.blocks()[0].wide, wide);
        for slot in 0..n_slots {
            let mut cells = Vec::new();
            rows.blocks()[0].cells(slot, &mut cells);
            let wanted: Vec<f64> = times.iter().map(|ts| noise(slot, *ts)).collect();
            assert_eq!(cells, wanted);
        }
    }

    #[test]
    fn every_column_of_a_block_is_found() {
        for n_slots in [1, 31, 32, 33, 1000] {
            check_noise(n_slots, 16, false);
        }
        check_noise(3, 64, true);
        check_noise(40, 64, true);
    }

    #[test]
    fn a_slot_that_joins_later_has_empty_cells_before() {
        let mut rows = group(2, &[1, 2], |_, _| 1.0);
        let row = rows.open(3, 20);
        rows.set(row, 19, 5.0);
        assert!(model::is_empty_cell(rows.cell(0, 19)));
        assert_eq!(rows.cell(1, 1), 1.0);
        rows.close(&mut Encoder::default());
        assert_eq!(rows.stored(19, 3), Some(5.0));
        assert_eq!(rows.stored(19, 2), None);
        assert_eq!(rows.stored(0, 2), Some(1.0));
    }
}
