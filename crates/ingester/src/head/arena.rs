//! Label runs, one behind the other in chunks: no allocation per series, and addresses that stay.

use std::sync::Arc;

/// Chunks grow with the arena up to this size, so that a small tenant pays kilobytes.
const MAX_CHUNK: usize = 64 << 10;
const MIN_CHUNK: usize = 2 << 10;

/// Where bytes lie in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub chunk: u32,
    pub offset: u32,
    pub len: u32,
}

/// Bytes that are only ever appended. Full chunks are shared with the frozen generations that name them.
#[derive(Debug, Default)]
pub(super) struct Arena {
    sealed: Vec<Arc<Vec<u8>>>,
    current: Vec<u8>,
    n_bytes: usize,
}

/// The chunks of an arena at some time.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<Arc<Vec<u8>>>);

impl Arena {
    /// Keeps a copy of `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Place {
        if self.current.capacity() - self.current.len() < bytes.len() {
            self.seal();
            let size = (self.n_bytes / 4).clamp(MIN_CHUNK, MAX_CHUNK).max(bytes.len());
            self.current = Vec::with_capacity(size);
        }
        let offset = self.current.len() as u32;
        self.current.extend_from_slice(bytes);
        Place { chunk: self.sealed.len() as u32, offset, len: bytes.len() as u32 }
    }

    /// The bytes at a place.
    pub(super) fn get(&self, place: Place) -> &[u8] {
        let chunk = self.sealed.get(place.chunk as usize).map_or(&self.current, |chunk| &**chunk);
        &chunk[place.offset as usize..(place.offset + place.len) as usize]
    }

    /// What is there now, to be read without the arena.
    pub(super) fn share(&mut self) -> Chunks {
        self.seal();
        Chunks(self.sealed.clone())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.n_bytes + self.current.capacity() + 8 * self.sealed.capacity()
    }

    fn seal(&mut self) {
        if !self.current.is_empty() {
            let mut chunk = std::mem::take(&mut self.current);
            chunk.shrink_to_fit();
            self.n_bytes += chunk.capacity() + 64;
            self.sealed.push(Arc::new(chunk));
        }
    }
}

impl Chunks {
    /// The bytes at a place.
    pub(super) fn get(&self, place: Place) -> &[u8] {
        &self.0[place.chunk as usize][place.offset as usize..(place.offset + place.len) as usize]
    }
}
