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
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Of the limits under which the runs passed.
    generation: u64,
    /// Series in the order in which they were first seen, which is the order in which they come again.
    entries: Vec<Entry>,
    /// The bytes of the runs, in the order of the entries.
    arena: Vec<u8>,
    /// From the hash of the raw run to the entry, asked only when the prediction fails.
    index: HashTable<Slot>,
}

/// A series as it arrives and what it leads to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SeriesId,
    pub(crate) shard: u32,
    raw: Span,
    /// The same as `raw` when the sender sorts.
    canonical: Span,
    /// The entry that followed this one the last time: senders repeat their order.
    next: AtomicU32,
}

type Span = (u32, u32);

/// A bucket holds 96 bits of the hash, so that a hit reads no labels and a rehash reads no entries.
#[derive(Debug, Clone, Copy)]
struct Slot {
    low: u64,
    high: u32,
    entry: u32,
}

/// The hash of a raw run. It is seeded per process, so that nobody can prepare runs that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunHash {
    low: u64,
    high: u32,
}

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
    pub(crate) raw: Span,
    /// In the bytes of the batch.
    pub(crate) canonical: Span,
    pub(crate) previous: Last,
}

const NONE: u32 = u32::MAX;
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
        table.add(learned, raw, canonical);
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
        self.arena.len()
            + self.entries.len() * size_of::<Entry>()
            + self.index.capacity() * (size_of::<Slot>() + 1)
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
        let next = self.entries.get(last as usize)?.next.load(Ordering::Relaxed);
        let guess = self.entries.get(next as usize)?;
        let run = self.bytes(guess.raw);
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
        self.follow(cursor, self.place(hash)?)
    }

    /// The series that was found in advance. Remembers that it followed the one before.
    pub(crate) fn follow(&self, cursor: &mut Cursor, place: u32) -> Option<&Entry> {
        self.link(cursor.last, place);
        cursor.last = Last::Known(place);
        self.entries.get(place as usize)
    }

    /// Finds many series at once. Each costs two cache misses; in two tight loops they overlap, where one series
    /// after the other would wait for each of them.
    pub(crate) fn find_all(&self, ahead: &mut [Ahead]) {
        for next in ahead.iter_mut() {
            next.place = self.place(next.hash);
        }
        let entries = ahead.iter().filter_map(|next| self.entries.get(next.place? as usize));
        std::hint::black_box(entries.fold(0, |sum, entry| sum ^ entry.shard));
    }

    fn place(&self, hash: RunHash) -> Option<u32> {
        let is_same = |slot: &Slot| slot.low == hash.low && slot.high == hash.high;
        self.index.find(hash.low, is_same).map(|slot| slot.entry)
    }

    fn link(&self, last: Last, next: u32) {
        // Wrong links only make wrong guesses, so relaxed is enough, and an entry of a forgotten table is no harm.
        if let Last::Known(last) = last
            && let Some(entry) = self.entries.get(last as usize)
        {
            entry.next.store(next, Ordering::Relaxed);
        }
    }

    /// The canonical run of an entry, or `None` when it is its raw run.
    #[inline]
    pub(crate) fn other_order(&self, entry: &Entry) -> Option<&[u8]> {
        (entry.canonical != entry.raw).then(|| self.bytes(entry.canonical))
    }

    /// The raw run of an entry.
    pub(crate) fn raw(&self, entry: &Entry) -> &[u8] {
        self.bytes(entry.raw)
    }

    fn bytes(&self, (from, to): Span) -> &[u8] {
        self.arena.get(from as usize..to as usize).unwrap_or_default()
    }

    fn add(&mut self, learned: &[Learned], raw: &[u8], canonical: &[u8]) {
        let mut places: Vec<u32> = Vec::with_capacity(learned.len());
        for new in learned {
            let previous = match new.previous {
                Last::New(i) => places.get(i as usize).map_or(Last::None, |place| Last::Known(*place)),
                known => known,
            };
            let place = match self.place(new.hash) {
                Some(place) => place,
                None => {
                    let raw = raw.get(new.raw.0 as usize..new.raw.1 as usize).unwrap_or_default();
                    let canonical = canonical.get(new.canonical.0 as usize..new.canonical.1 as usize);
                    self.insert(new, raw, canonical.unwrap_or_default())
                }
            };
            self.link(previous, place);
            places.push(place);
        }
    }

    fn insert(&mut self, new: &Learned, raw: &[u8], canonical: &[u8]) -> u32 {
        let place = self.entries.len() as u32;
        let raw_span = self.store(raw);
        let canonical = if raw == canonical { raw_span } else { self.store(canonical) };
        let next = AtomicU32::new(NONE);
        self.entries.push(Entry { id: new.id, shard: new.shard, raw: raw_span, canonical, next });
        let slot = Slot { low: new.hash.low, high: new.hash.high, entry: place };
        self.index.insert_unique(slot.low, slot, |slot| slot.low);
        place
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let from = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        (from, self.arena.len() as u32)
    }
}

impl RunHash {
    #[inline]
    pub(crate) fn of(raw: &[u8], seed: u64) -> RunHash {
        let hash = xxh3_128_with_seed(raw, seed);
        RunHash { low: hash as u64, high: (hash >> 64) as u32 }
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
        assert_eq!((entry.id, len), (SeriesId::of_run(b"bb"), 2));
        assert!(table.predict(&mut cursor, b"cc\x0A").is_none(), "another label follows");
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        assert!(table.find(&mut cursor, RunHash::of(b"cc", 7)).is_some());
        assert!(table.find(&mut cursor, RunHash::of(b"aa", 7)).is_some());
        let (entry, _) = table.predict(&mut cursor, b"cc").unwrap();
        assert_eq!(entry.id, SeriesId::of_run(b"cc"), "the new order was remembered");
        assert!(table.find(&mut cursor, RunHash::of(b"dd", 7)).is_none());
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
        assert_eq!(memo.read().size(), 0);
    }
}
