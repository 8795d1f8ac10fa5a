use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use model::SeriesId;
use parking_lot::{RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What is known about the label runs of a tenant: each run that passed validation, and what it led to.
///
/// It is a memo and nothing else: forgetting any part of it costs time, never correctness. Decoding reads it under
/// a shared lock; what a request had to work out is added when the request has been decoded.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    table: RwLock<Table>,
}

/// The state of a [`Memo`].
///
/// Entries and bytes lie in pages: a memo that grows copies nothing, and a small one is small.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Of the limits under which the runs passed.
    generation: u64,
    /// Series in the order in which they were first seen, which is the order in which they come again.
    entries: Vec<Vec<Entry>>,
    n_entries: u32,
    /// The bytes of runs, in the order of the entries.
    arena: Arena,
    /// Entries by the hash of the raw run.
    index: HashTable<u32>,
}

/// A series as it arrives and what it leads to.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The identity in quarters, so that an entry needs no more than their alignment.
    id: [u32; 4],
    hash: RunHash,
    pub(crate) shard: u32,
    /// The entry that followed this one the last time: senders repeat their order.
    next: AtomicU32,
    /// The run as it arrived. [`NOWHERE`] in a memo of many series: those are recognised by their hashes alone, which
    /// takes a little more time and a third of the memory.
    raw: Span,
    /// The canonical run; [`NOWHERE`] when it is the run that arrived.
    canonical: Span,
}

/// The hash of a raw run. It is seeded per process, so that nobody can prepare runs that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunHash([u32; 3]);

/// Runs one behind the other, in chunks that never move. A run may be as long as a chunk.
#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
    n_bytes: usize,
}

/// Where a run lies in an [`Arena`]: its length in two bytes and then the run; chunk and offset in halves of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u32);

const NOWHERE: Span = Span(u32::MAX);

/// Chunks grow with the arena, so that a small memo takes kilobytes.
const MIN_CHUNK: usize = 2 << 10;
const MAX_CHUNK: usize = 64 << 10;
/// The longest run that is remembered.
pub(crate) const MAX_RUN: usize = MAX_CHUNK - LENGTH;
/// Bytes of a length.
const LENGTH: usize = 2;

/// Where a request stands in the order of series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    last: Last,
    /// Wrong guesses in a row.
    misses: u32,
    /// How many series to look up without guessing: a wrong guess costs cache misses.
    pause: u32,
}

/// The series before the one that is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Last {
    #[default]
    None,
    Known(u32),
    /// An index into what the request is going to add.
    New(u32),
}

/// A series that was looked up before its turn, since the order was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    /// Where its run lies in the body.
    pub(crate) at: usize,
    pub(crate) hash: RunHash,
    pub(crate) place: Option<u32>,
}

/// A series that a request had to work out, to be added to the memo.
#[derive(Debug, Clone)]
pub(crate) struct Learned {
    pub(crate) hash: RunHash,
    pub(crate) id: SeriesId,
    pub(crate) shard: u32,
    /// In the bytes that were decoded.
    pub(crate) raw: (u32, u32),
    /// In the bytes of the batch.
    pub(crate) canonical: (u32, u32),
    pub(crate) previous: Last,
}

const NONE: u32 = u32::MAX;
/// Entries in a page.
const PAGE: usize = 64;
/// Of the memo's memory, the part up to which the bytes of runs are kept: one in so many.
const BYTES_PART: usize = 12;
/// After so many wrong guesses in a row …
const MAX_MISSES: u32 = 4;
/// … so many series are looked up without guessing.
const PAUSE: u32 = 64;

impl Memo {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read()
    }

    /// Adds what a request worked out under the limits of `generation`, and says how the memo grew.
    pub(crate) fn learn(
        &self,
        generation: u64,
        max_bytes: usize,
        learned: &[Learned],
        raw: &[u8],
        canonical: &[u8],
    ) -> isize {
        let mut table = self.table.write();
        if generation < table.generation {
            return 0;
        }
        let before = table.size();
        if generation > table.generation {
            *table = Table { generation, ..Table::default() };
        }
        table.add(learned, raw, canonical, max_bytes / BYTES_PART);
        if table.size() > max_bytes {
            *table = Table { generation, ..Table::default() };
        }
        table.size() as isize - before as isize
    }

    /// Forgets everything and says how many bytes that gives back.
    pub(crate) fn forget(&self) -> usize {
        let mut table = self.table.write();
        let generation = table.generation;
        let old = std::mem::replace(&mut *table, Table { generation, ..Table::default() });
        old.size()
    }
}

impl Table {
    /// Whether what it knows holds under the limits of `generation`.
    pub(crate) fn holds(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// Bytes in use.
    pub(crate) fn size(&self) -> usize {
        self.arena.size()
            + self.entries.len() * (PAGE * size_of::<Entry>() + size_of::<Vec<Entry>>())
            + self.index.allocation_size()
    }

    /// The series that is expected next, if `rest` begins with its run and no other label follows: found without
    /// hashing, without even looking for the end of the run.
    #[inline]
    pub(crate) fn predict(&self, cursor: &mut Cursor, rest: &[u8]) -> Option<(&Entry, usize)> {
        if cursor.pause > 0 {
            cursor.pause -= 1;
            return None;
        }
        let Last::Known(last) = cursor.last else { return None };
        let next = self.entry(last)?.next.load(Ordering::Relaxed);
        let guess = self.entry(next)?;
        if guess.raw == NOWHERE {
            return None;
        }
        let run = self.arena.get(guess.raw);
        let matches = rest.starts_with(run) && rest.get(run.len()) != Some(&0x0A);
        if !matches {
            cursor.misses += 1;
            if cursor.misses >= MAX_MISSES {
                (cursor.misses, cursor.pause) = (0, PAUSE);
            }
            return None;
        }
        cursor.misses = 0;
        cursor.last = Last::Known(next);
        Some((guess, run.len()))
    }

    /// The series with this raw run, by its hash. Remembers that it followed the one before.
    pub(crate) fn find(&self, cursor: &mut Cursor, hash: RunHash) -> Option<&Entry> {
        if let Last::Known(last) = cursor.last
            && let Some(next) = self.entry(last).map(|entry| entry.next.load(Ordering::Relaxed))
            && let Some(guess) = self.entry(next).filter(|guess| guess.hash == hash)
        {
            cursor.last = Last::Known(next);
            return Some(guess);
        }
        self.follow(cursor, self.place(hash)?)
    }

    /// The series that was found in advance. Remembers that it followed the one before.
    pub(crate) fn follow(&self, cursor: &mut Cursor, place: u32) -> Option<&Entry> {
        self.link(cursor.last, place);
        cursor.last = Last::Known(place);
        self.entry(place)
    }

    /// Finds many series at once. Each costs two cache misses; in two tight loops they overlap, where one series
    /// after the other would wait for each of them.
    pub(crate) fn find_all(&self, ahead: &mut [Ahead]) {
        for next in ahead.iter_mut() {
            next.place = self.place(next.hash);
        }
        let entries = ahead.iter().filter_map(|next| self.entry(next.place?));
        std::hint::black_box(entries.fold(0, |sum, entry| sum ^ entry.shard));
    }

    #[inline]
    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize / PAGE)?.get(place as usize % PAGE)
    }

    fn place(&self, hash: RunHash) -> Option<u32> {
        let is_same = |place: &u32| self.entry(*place).is_some_and(|entry| entry.hash == hash);
        self.index.find(hash.spread(), is_same).copied()
    }

    fn link(&self, last: Last, next: u32) {
        // Wrong links only make wrong guesses, so relaxed is enough, and an entry of a forgotten table is no harm.
        if let Last::Known(last) = last
            && let Some(entry) = self.entry(last)
        {
            entry.next.store(next, Ordering::Relaxed);
        }
    }

    /// The canonical run of an entry, or `None` when it is the run that arrived.
    #[inline]
    pub(crate) fn other_order(&self, entry: &Entry) -> Option<&[u8]> {
        (entry.canonical != NOWHERE).then(|| self.arena.get(entry.canonical))
    }

    fn add(&mut self, learned: &[Learned], raw: &[u8], canonical: &[u8], bytes_up_to: usize) {
        let mut places: Vec<u32> = Vec::with_capacity(learned.len());
        for new in learned {
            let previous = match new.previous {
                Last::New(i) => places.get(i as usize).map_or(Last::None, |place| Last::Known(*place)),
                known => known,
            };
            let place = self.place(new.hash).unwrap_or_else(|| {
                let raw = raw.get(new.raw.0 as usize..new.raw.1 as usize).unwrap_or_default();
                let canonical = canonical.get(new.canonical.0 as usize..new.canonical.1 as usize);
                self.insert(new, raw, canonical.unwrap_or_default(), bytes_up_to)
            });
            self.link(previous, place);
            places.push(place);
        }
    }

    fn insert(&mut self, new: &Learned, raw: &[u8], canonical: &[u8], bytes_up_to: usize) -> u32 {
        let place = self.n_entries;
        let keeps_bytes = self.arena.size() < bytes_up_to;
        let entry = Entry {
            id: [(new.id.0 >> 96) as u32, (new.id.0 >> 64) as u32, (new.id.0 >> 32) as u32, new.id.0 as u32],
            hash: new.hash,
            shard: new.shard,
            raw: if keeps_bytes { self.arena.push(raw) } else { NOWHERE },
            canonical: if raw == canonical { NOWHERE } else { self.arena.push(canonical) },
            next: AtomicU32::new(NONE),
        };
        match self.entries.last_mut().filter(|page| page.len() < PAGE) {
            Some(page) => page.push(entry),
            None => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(entry);
                self.entries.push(page);
            }
        }
        self.n_entries += 1;
        let entries = &self.entries;
        let hash_of = |place: &u32| {
            let entry = entries.get(*place as usize / PAGE).and_then(|page| page.get(*place as usize % PAGE));
            entry.map_or(0, |entry| entry.hash.spread())
        };
        self.index.insert_unique(new.hash.spread(), place, hash_of);
        place
    }
}

impl Entry {
    /// The identity.
    #[inline]
    pub(crate) fn id(&self) -> SeriesId {
        SeriesId(self.id.into_iter().fold(0, |id, quarter| id << 32 | u128::from(quarter)))
    }
}

impl Arena {
    /// Keeps a copy of a run of at most [`MAX_RUN`] bytes.
    fn push(&mut self, run: &[u8]) -> Span {
        let length = LENGTH + run.len();
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= length;
        if !self.chunks.last().is_some_and(has_room) {
            let size = (self.n_bytes / 4).clamp(MIN_CHUNK, MAX_CHUNK).max(length);
            self.n_bytes += size;
            self.chunks.push(Vec::with_capacity(size));
        }
        let chunk = self.chunks.len() as u32 - 1;
        let Some(last) = self.chunks.last_mut() else { return NOWHERE };
        let offset = last.len() as u32;
        last.extend_from_slice(&(run.len() as u16).to_le_bytes());
        last.extend_from_slice(run);
        Span(chunk << 16 | offset)
    }

    #[inline]
    fn get(&self, Span(at): Span) -> &[u8] {
        let chunk = self.chunks.get((at >> 16) as usize);
        let kept = chunk.and_then(|chunk| chunk.get((at & 0xFFFF) as usize..));
        let run = kept.and_then(|kept| {
            let (length, rest) = kept.split_first_chunk::<LENGTH>()?;
            rest.get(..u16::from_le_bytes(*length) as usize)
        });
        run.unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.n_bytes + self.chunks.len() * size_of::<Vec<u8>>()
    }
}

impl RunHash {
    /// The hash that a protocol without runs made itself.
    #[inline]
    pub(crate) fn of_key([low, high]: [u64; 2]) -> RunHash {
        RunHash([low as u32, (low >> 32) as u32, high as u32])
    }

    #[inline]
    pub(crate) fn of(raw: &[u8], seed: u64) -> RunHash {
        let hash = xxh3_128_with_seed(raw, seed);
        RunHash([hash as u32, (hash >> 32) as u32, (hash >> 64) as u32])
    }

    /// The table takes its place from the low bits and its tag from the high ones.
    fn spread(self) -> u64 {
        u64::from(self.0[1]) << 32 | u64::from(self.0[0])
    }
}

impl Cursor {
    /// Says that the series just resolved will be added as the `i`th new one.
    pub(crate) fn at_new(&mut self, i: u32) -> Last {
        std::mem::replace(&mut self.last, Last::New(i))
    }

    /// How many of the next series will be looked up without guessing.
    #[inline]
    pub(crate) fn n_unguessed(&self) -> usize {
        self.pause as usize
    }

    /// Says that the series just met is not worth remembering.
    pub(crate) fn lost(&mut self) {
        self.last = Last::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(raw: &'static [u8], at: u32, previous: Last) -> Learned {
        let span = (at, at + raw.len() as u32);
        let hash = RunHash::of(raw, 7);
        Learned { hash, id: SeriesId::of_run(raw), shard: 1, raw: span, canonical: span, previous }
    }

    #[test]
    fn a_repeated_order_is_predicted_and_another_order_is_found() {
        let memo = Memo::default();
        let bytes = b"aabbcc";
        let new =
            [learned(b"aa", 0, Last::None), learned(b"bb", 2, Last::New(0)), learned(b"cc", 4, Last::New(1))];
        assert!(memo.learn(1, 1 << 20, &new, bytes, bytes) > 0);
        let table = memo.read();
        let mut cursor = Cursor::default();
        assert!(table.predict(&mut cursor, b"aabbcc").is_none());
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        let (entry, len) = table.predict(&mut cursor, b"bb\x12").unwrap();
        assert_eq!((entry.id(), len), (SeriesId::of_run(b"bb"), 2));
        assert!(table.predict(&mut cursor, b"cc\x0A").is_none(), "another label follows");
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        assert!(table.find(&mut cursor, RunHash::of(b"cc", 7)).is_some());
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        let (entry, _) = table.predict(&mut cursor, b"cc").unwrap();
        assert_eq!(entry.id(), SeriesId::of_run(b"cc"), "the new order was remembered");
        assert!(table.find(&mut cursor, RunHash::of(b"dd", 7)).is_none());
    }

    #[test]
    fn a_memo_of_many_series_keeps_no_bytes_and_knows_them_by_their_hashes() {
        let memo = Memo::default();
        let new = [learned(b"aa", 0, Last::None), learned(b"bb", 2, Last::New(0))];
        assert!(memo.learn(1, 1 << 20, &new[..1], b"aabb", b"aabb") > 0);
        let table = &mut *memo.table.write();
        table.add(&new[1..], b"aabb", b"aabb", 0);
        table.link(Last::Known(0), 1);
        let mut cursor = Cursor::default();
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        assert!(table.predict(&mut cursor, b"bb").is_none(), "there are no bytes to compare");
        assert_eq!(cursor.misses, 0, "which is not a wrong guess");
        let entry = table.find(&mut cursor, RunHash::of(b"bb", 7)).unwrap();
        assert_eq!(entry.id(), SeriesId::of_run(b"bb"));
        assert!(table.other_order(entry).is_none());
        assert_eq!(size_of::<Entry>(), 44);
    }

    #[test]
    fn other_limits_and_a_full_memo_forget_everything() {
        let memo = Memo::default();
        let new = [learned(b"aa", 0, Last::None)];
        memo.learn(1, 1 << 20, &new, b"aa", b"aa");
        assert!(!memo.read().holds(2));
        memo.learn(2, 1 << 20, &[], b"", b"");
        assert!(memo.read().holds(2));
        assert!(memo.read().find(&mut Cursor::default(), RunHash::of(b"aa", 7)).is_none());
        assert_eq!(
            memo.learn(1, 1 << 20, &new, b"aa", b"aa"),
            0,
            "what was judged by older limits is not kept"
        );
        memo.learn(2, 10, &new, b"aa", b"aa");
        assert_eq!(memo.read().n_entries, 0);
    }
}
