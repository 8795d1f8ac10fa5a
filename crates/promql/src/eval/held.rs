//! What an evaluation holds: cells, which the limit of samples counts, and bytes, which are taken from somebody's room.

use std::cell::Cell as Shared;
use std::fmt;
use std::sync::Arc;

use model::ErrorKind;

use super::{EvalError, Evaluator, Sink, Vector};

/// Bytes are asked for in slices, so that most rows cost an addition and no more.
const SLICE: u64 = 8 << 10;

/// Where the bytes come from that an evaluation holds.
pub trait Room: fmt::Debug + Send + Sync {
    /// Takes so many bytes, or says why they are not to be had.
    fn take(&self, bytes: u64) -> Result<(), NoRoom>;

    /// Gives bytes back.
    fn give_back(&self, bytes: u64);
}

/// The bytes are not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoRoom {
    /// Whether it is the query's limit or the process that has no more.
    pub kind: ErrorKind,
    /// Which limit, by its key.
    pub message: String,
}

/// What is held now.
#[derive(Debug)]
pub(super) struct Held {
    max_cells: u64,
    room: Option<Arc<dyn Room>>,
    cells: Shared<u64>,
    peak_cells: Shared<u64>,
    bytes: Shared<u64>,
    /// Bytes of the room that were taken, a little more than `bytes`.
    taken: Shared<u64>,
}

/// Bytes that are held until this is dropped.
pub(crate) struct Lease<'e> {
    held: &'e Held,
    bytes: u64,
}

impl Held {
    /// Nothing yet; at most `max_cells`, 0 for any number.
    pub(super) fn new(max_cells: u64, room: Option<Arc<dyn Room>>) -> Held {
        let zero = || Shared::new(0);
        Held { max_cells, room, cells: zero(), peak_cells: zero(), bytes: zero(), taken: zero() }
    }

    /// The most cells that were held at once.
    pub(super) fn peak_cells(&self) -> u64 {
        self.peak_cells.get()
    }

    /// Accounts for cells and for bytes that stay in memory.
    pub(super) fn add(&self, cells: u64, bytes: u64) -> Result<(), EvalError> {
        let held = self.cells.get().saturating_add(cells);
        self.cells.set(held);
        self.peak_cells.set(self.peak_cells.get().max(held));
        if self.max_cells > 0 && held > self.max_cells {
            return Err(EvalError::TooManySamples);
        }
        let bytes = self.bytes.get().saturating_add(bytes);
        self.bytes.set(bytes);
        if bytes > self.taken.get() { self.take_up_to(bytes) } else { Ok(()) }
    }

    /// Takes back what is gone.
    pub(super) fn sub(&self, cells: u64, bytes: u64) {
        self.cells.set(self.cells.get().saturating_sub(cells));
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        let idle = self.taken.get().saturating_sub(self.bytes.get());
        if idle > 16 * SLICE {
            self.taken.set(self.taken.get() - idle);
            if let Some(room) = &self.room {
                room.give_back(idle);
            }
        }
    }

    fn take_up_to(&self, bytes: u64) -> Result<(), EvalError> {
        let missing = bytes - self.taken.get();
        let slice = missing.next_multiple_of(SLICE);
        if let Some(room) = &self.room {
            room.take(slice).map_err(EvalError::NoRoom)?;
        }
        self.taken.set(self.taken.get() + slice);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.give_back(self.taken.get());
        }
    }
}

impl Lease<'_> {
    /// Accounts for more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.held.add(0, bytes as u64)?;
        self.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.held.sub(0, self.bytes);
    }
}

impl Evaluator<'_> {
    /// Accounts for bytes that stay in memory.
    pub(crate) fn hold_bytes(&self, bytes: usize) -> Result<(), EvalError> {
        self.held.add(0, bytes as u64)
    }

    /// Accounts for bytes until the answer is dropped. To be asked for before they are needed, where they are many.
    pub(crate) fn lease(&self, bytes: usize) -> Result<Lease<'_>, EvalError> {
        let mut lease = Lease { held: &self.held, bytes: 0 };
        lease.grow(bytes)?;
        Ok(lease)
    }

    /// Accounts for what was added to a vector since it was last accounted for.
    pub(crate) fn account(&self, vector: &mut Vector) -> Result<(), EvalError> {
        let (cells, bytes) = vector.unaccounted();
        self.held.add(cells as u64, bytes as u64)
    }

    /// Hands out the rows of a vector that have samples, and takes back what it held. Its cells count for whoever takes
    /// them from here on; its bytes are there until the last row is handed out.
    pub(crate) fn emit(&self, mut vector: Vector, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let (cells, bytes) = vector.accounted();
        self.held.sub(cells as u64, 0);
        vector.emit_all(sink)?;
        drop(vector);
        self.held.sub(0, bytes as u64);
        Ok(())
    }

    /// Takes back what a vector held.
    pub(crate) fn release(&self, vector: Vector) {
        let (cells, bytes) = vector.accounted();
        self.held.sub(cells as u64, bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicU64);

    impl Room for Counted {
        fn take(&self, bytes: u64) -> Result<(), NoRoom> {
            if self.0.fetch_add(bytes, Ordering::Relaxed) + bytes > 1 << 20 {
                self.0.fetch_sub(bytes, Ordering::Relaxed);
                return Err(NoRoom { kind: ErrorKind::LimitExceeded, message: "no room".to_string() });
            }
            Ok(())
        }

        fn give_back(&self, bytes: u64) {
            self.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_that_was_taken_is_given_back_also_after_a_refusal() {
        let room = Arc::new(Counted::default());
        let held = Held::new(10, Some(Arc::clone(&room) as Arc<dyn Room>));
        held.add(10, 600 << 10).unwrap();
        assert!(room.0.load(Ordering::Relaxed) >= 600 << 10);
        assert_eq!(held.add(1, 0), Err(EvalError::TooManySamples));
        held.sub(5, 300 << 10);
        assert!(room.0.load(Ordering::Relaxed) < 450 << 10, "what is not used is free for others");
        assert!(matches!(held.add(0, 1 << 20), Err(EvalError::NoRoom(_))));
        assert_eq!(held.peak_cells(), 11);
        drop(held);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
