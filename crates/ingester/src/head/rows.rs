//! The samples of one group in one window: rows that are still open, and blocks of closed rows.

mod block;

use model::{EMPTY, TimeRange};

use super::{MALLOC, column};

pub(super) use block::{Block, Encoder, Found};

/// Rows that a group of some size collects before it compresses them.
const ROWS_PER_BLOCK: usize = 16;

/// A group with fewer series than this takes more rows per block, or the blocks' own bytes outweigh the samples.
const SMALL_GROUP: usize = 8;

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
