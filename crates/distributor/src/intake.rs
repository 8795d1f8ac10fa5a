use limits::Limits;
use model::{Batch, BatchSeries, SeriesId, ShardBatch, Shards, TenantId, shard_of};
use runtime::{OverBudget, Reservation};
use wire::{Pushed, RefusalReason};

use crate::canonical::{Canonicalizer, LabelFault};
use crate::memo::{Ahead, Cursor, Entry, Learned, MAX_RUN, RunHash, Table};
pub(crate) use crate::outcome::{Counts, DecodeError};
use crate::proto::Malformed;
use crate::rewrite::{self, Fate, Replica};

/// For whom and under which rules a request is decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) limits: &'a Limits,
    pub(crate) shards: Shards,
    /// Of the memo's hash.
    pub(crate) seed: u64,
}

/// Turns label runs and samples into the columns of a batch: looks each series up or works it out, and keeps
/// apart what is refused. Every protocol's decoder feeds one of these.
pub(crate) struct Intake<'a> {
    pub(crate) rules: Rules<'a>,
    /// What is known; `None` when it was learned under other limits.
    table: Option<&'a Table>,
    buffers: &'a mut Buffers,
    /// The batch's columns.
    shards: &'a mut Vec<ShardBatch>,
    /// Where the batch's bytes after the body begin.
    body_len: u32,
    cursor: Cursor,
    memory: Memory<'a>,
    /// Whether the tenant's limits change labels.
    rewrites: bool,
    wants_replica: bool,
    pub(crate) replica: Option<Replica>,
    pub(crate) counts: Counts,
    pub(crate) refused: Pushed,
}

/// Buffers that outlive a request, so that a request like the last one allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    canonicalizer: Canonicalizer,
    /// Canonical runs that are not in the body, and exemplar labels; appended to the batch's bytes in the end.
    pub(crate) tail: Vec<u8>,
    /// The labels that the tenant's rules make of a run.
    rewritten: Vec<u8>,
    /// Label runs that do not lie in one piece in the body.
    pub(crate) runs: Vec<u8>,
    /// Series to be remembered.
    pub(crate) learned: Vec<Learned>,
    /// Shard to position in the batch, [`ABSENT`] for none.
    slots: Vec<u32>,
    /// Series found before their turn, the next one last.
    ahead: Vec<Ahead>,
    /// Emptied columns.
    spare: Vec<ShardBatch>,
    /// Takes the samples of refused series.
    discard: ShardBatch,
}

/// No position in the batch, which is that of a series that is left out.
const ABSENT: u32 = u32::MAX;
/// The shard of a series that is left out.
const NO_SHARD: u32 = u32::MAX;
/// Positions in a batch have 32 bits.
const MAX_TAIL: usize = 1 << 30;

/// A series as it was found.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Series(Place),
    Refused(LabelFault),
}

/// Where a series and its samples go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    id: SeriesId,
    /// Position of the shard in the batch.
    slot: u32,
    labels: (u32, u32),
    /// Whether it was met before.
    is_known: bool,
}

/// Lengths of the columns before a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    floats: usize,
    histograms: usize,
    exemplars: usize,
}

/// The memory of the columns, taken in steps.
struct Memory<'a> {
    reservation: &'a mut Reservation,
    left: usize,
    /// Bytes of the buffers that were paid for.
    charged: usize,
}

/// Memory is taken in steps of this size, so that the shared counter is not touched for each series.
const MEMORY_STEP: usize = 1 << 20;
/// Columns may be larger than what they were decoded from: a sample of two bytes becomes sixteen in vectors that
/// grow by doubling.
const MAX_GROWTH: usize = 16;

impl<'a> Intake<'a> {
    pub(crate) fn new(
        rules: Rules<'a>,
        table: Option<&'a Table>,
        buffers: &'a mut Buffers,
        shards: &'a mut Vec<ShardBatch>,
        body_len: usize,
        reservation: &'a mut Reservation,
    ) -> Intake<'a> {
        buffers.slots.resize(rules.shards.count as usize, ABSENT);
        Intake {
            rules,
            table,
            buffers,
            shards,
            body_len: body_len as u32,
            cursor: Cursor::default(),
            memory: Memory { reservation, left: 0, charged: 0 },
            rewrites: rewrite::is_needed(rules.limits),
            wants_replica: rules.limits.accept_ha_samples,
            replica: None,
            counts: Counts::default(),
            refused: Pushed::default(),
        }
    }

    /// The series that `rest` begins with, if it is the expected one, and the length of its run. `rest` lies at
    /// `at` in the body, or not in the body at all.
    #[inline]
    pub(crate) fn expected(&mut self, rest: &[u8], at: Option<usize>) -> Option<(Place, usize)> {
        let table = self.table?;
        let (entry, len) = table.predict(&mut self.cursor, rest)?;
        Some((place_known(table, entry, at, &rest[..len], self.buffers, self.shards, self.body_len), len))
    }

    /// The series with this raw run, which lies at `at` in the body, or not in the body at all.
    pub(crate) fn look_up(&mut self, raw: &[u8], at: Option<usize>) -> Result<Found, Malformed> {
        self.counts.unexpected += 1;
        let ahead = self.buffers.ahead.pop().filter(|next| Some(next.at) == at);
        let hash = ahead.map_or_else(|| RunHash::of(raw, self.rules.seed), |next| next.hash);
        let entry = self.table.and_then(|table| match ahead {
            Some(next) => table.follow(&mut self.cursor, next.place?),
            None => table.find(&mut self.cursor, hash),
        });
        if let (Some(table), Some(entry)) = (self.table, entry) {
            let place = place_known(table, entry, at, raw, self.buffers, self.shards, self.body_len);
            return Ok(Found::Series(place));
        }
        self.work_out(raw, at, Some(hash))
    }

    /// Whether the order of the series is lost, so that it pays to look up many of them together.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.cursor.n_unguessed() > 0 && self.buffers.ahead.is_empty()
    }

    /// Looks up the series with these runs and positions before their turn, as many as will not be guessed.
    #[cold]
    pub(crate) fn look_ahead<'b>(&mut self, runs: impl Iterator<Item = (usize, &'b [u8])>) {
        let seed = self.rules.seed;
        let ahead = &mut self.buffers.ahead;
        let found = runs.map(|(at, raw)| Ahead { at, hash: RunHash::of(raw, seed), place: None });
        ahead.extend(found.take(self.cursor.n_unguessed()));
        if let Some(table) = self.table {
            table.find_all(ahead);
        }
        ahead.reverse();
    }

    /// The series that is known by this key, which stands for its labels in a protocol that does not send runs.
    #[inline]
    pub(crate) fn known(&mut self, key: RunHash) -> Option<Found> {
        let table = self.table?;
        let entry = table.find(&mut self.cursor, key)?;
        let place = place_known(table, entry, None, &[], self.buffers, self.shards, self.body_len);
        Some(Found::Series(place))
    }

    /// The series with this raw run, to be known by `key`.
    pub(crate) fn work_out_as(&mut self, raw: &[u8], key: RunHash) -> Result<Found, Malformed> {
        self.counts.unexpected += 1;
        let n_learned = self.buffers.learned.len();
        let n_runs = self.buffers.runs.len();
        let found = self.work_out(raw, None, Some(key))?;
        // Nobody will compare the bytes.
        self.buffers.runs.truncate(n_runs);
        if let Some(learned) = self.buffers.learned.get_mut(n_learned) {
            learned.raw = (0, 0);
        }
        Ok(found)
    }

    /// The series with this raw run, without a look at what is known. Remembered if it comes with its hash.
    pub(crate) fn work_out(
        &mut self,
        raw: &[u8],
        at: Option<usize>,
        hash: Option<RunHash>,
    ) -> Result<Found, Malformed> {
        if self.rewrites {
            match rewrite::rewrite(raw, self.rules.limits, &mut self.buffers.rewritten)? {
                Fate::Unchanged => {}
                Fate::Dropped => return Ok(self.leave_out(raw, at, hash)),
                Fate::Rewritten => {
                    let rewritten = std::mem::take(&mut self.buffers.rewritten);
                    let found = self.validate(&rewritten, raw, at, hash);
                    self.buffers.rewritten = rewritten;
                    return found;
                }
            }
        }
        self.validate(raw, raw, at, hash)
    }

    /// Checks `labels`, which the tenant's rules made of the raw run.
    fn validate(
        &mut self,
        labels: &[u8],
        raw: &[u8],
        at: Option<usize>,
        hash: Option<RunHash>,
    ) -> Result<Found, Malformed> {
        let buffers = &mut *self.buffers;
        if buffers.tail.len() > MAX_TAIL {
            return Err(Malformed { what: "the labels take more than 1 GiB", at: at.unwrap_or(0) });
        }
        let canonical = match buffers.canonicalizer.canonicalize(labels, self.rules.limits)? {
            Ok(canonical) => canonical,
            Err(fault) => {
                self.cursor.lost();
                return Ok(Found::Refused(fault));
            }
        };
        let id = SeriesId::of_run(canonical);
        let shard = shard_of(self.rules.tenant, canonical, self.rules.shards);
        let labels = match at {
            Some(at) if canonical == raw => (at as u32, (at + raw.len()) as u32),
            _ => store(&mut buffers.tail, canonical, self.body_len),
        };
        let hash = hash.filter(|_| raw.len().max(canonical.len()) <= MAX_RUN);
        self.remember(hash, id, shard, raw, at, labels);
        let buffers = &mut *self.buffers;
        let slot = slot_of(&mut buffers.slots, &mut buffers.spare, self.shards, shard);
        Ok(Found::Series(Place { id, slot, labels, is_known: false }))
    }

    /// A series that the tenant's rules leave out. That is remembered as well.
    fn leave_out(&mut self, raw: &[u8], at: Option<usize>, hash: Option<RunHash>) -> Found {
        let (id, labels) = (SeriesId(0), (0, 0));
        self.remember(hash, id, NO_SHARD, raw, at, labels);
        Found::Series(Place { id, slot: ABSENT, labels, is_known: false })
    }

    fn remember(
        &mut self,
        hash: Option<RunHash>,
        id: SeriesId,
        shard: u32,
        raw: &[u8],
        at: Option<usize>,
        canonical: (u32, u32),
    ) {
        let Some(hash) = hash else { return self.cursor.lost() };
        let buffers = &mut *self.buffers;
        self.counts.learned += 1;
        let previous = self.cursor.at_new(buffers.learned.len() as u32);
        let raw = match at {
            Some(at) => (at as u32, (at + raw.len()) as u32),
            None => store(&mut buffers.runs, raw, 0),
        };
        buffers.learned.push(Learned { hash, id, shard, raw, canonical, previous });
    }

    /// Whether the labels of the request's first series are still to be looked at, since they name the sender.
    #[inline]
    pub(crate) fn wants_replica(&self) -> bool {
        self.wants_replica
    }

    /// Looks at the raw run of the request's first series.
    #[cold]
    pub(crate) fn find_replica(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        self.wants_replica = false;
        self.replica = rewrite::replica(raw, self.rules.limits)?;
        Ok(())
    }

    /// The columns that take the samples of a series.
    #[inline]
    pub(crate) fn columns(&mut self, found: &Found) -> &mut ShardBatch {
        match found {
            Found::Series(place) => match self.shards.get_mut(place.slot as usize) {
                Some(columns) => columns,
                None => &mut self.buffers.discard,
            },
            Found::Refused(_) => &mut self.buffers.discard,
        }
    }

    /// Closes a series: what was added to its columns since `mark` is its own.
    pub(crate) fn finish(&mut self, found: &Found, mark: Mark, raw: &[u8]) -> Result<(), OverBudget> {
        let columns = self.columns(found);
        let n = mark.since(columns);
        let in_buffers = self.buffers.size();
        self.memory.take(2 * (in_buffers - self.memory.charged))?;
        self.memory.charged = in_buffers;
        self.counts.floats += n.floats as u64;
        self.counts.histograms += n.histograms as u64;
        match found {
            Found::Series(place) if place.slot == ABSENT => {
                self.buffers.discard.clear();
                self.counts.left_out_floats += n.floats as u64;
                self.counts.left_out_histograms += n.histograms as u64;
                self.counts.left_out_exemplars += n.exemplars as u64;
                Ok(())
            }
            Found::Series(place) if n.floats + n.histograms + n.exemplars > 0 => {
                let series = BatchSeries {
                    id: place.id,
                    labels: place.labels,
                    is_known: place.is_known,
                    n_floats: n.floats as u32,
                    n_histograms: n.histograms as u32,
                    n_exemplars: n.exemplars as u32,
                };
                self.columns(found).series.push(series);
                let size = size_of::<BatchSeries>() + n.floats * 16 + n.histograms * 128 + n.exemplars * 32;
                self.memory.take(2 * size)
            }
            Found::Series(_) => Ok(()),
            Found::Refused(fault) => {
                self.buffers.discard.clear();
                self.counts.exemplars_dropped += n.exemplars as u64;
                let n_samples = n.floats + n.histograms;
                if n_samples > 0 {
                    self.refused.refuse(RefusalReason::InvalidLabels, n_samples, || fault.message(raw));
                }
                Ok(())
            }
        }
    }

    /// Takes the memory that `n` bytes of one series may turn into, before they are read.
    pub(crate) fn expect_bytes(&mut self, n: usize) -> Result<(), OverBudget> {
        self.memory.take(n.saturating_mul(MAX_GROWTH))
    }

    /// Takes the memory that something besides the columns needs.
    pub(crate) fn take_memory(&mut self, n: usize) -> Result<(), OverBudget> {
        self.memory.take(n)
    }

    /// Bytes of the batch that were not in the body.
    #[inline]
    pub(crate) fn n_appended(&self) -> usize {
        self.buffers.tail.len()
    }

    /// Appends bytes to those of the batch and says where they lie.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> (u32, u32) {
        store(&mut self.buffers.tail, bytes, self.body_len)
    }
}

impl Memory<'_> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<(), OverBudget> {
        if n > self.left {
            let step = n.max(MEMORY_STEP);
            self.reservation.grow(step as u64)?;
            self.left += step;
        }
        self.left -= n;
        Ok(())
    }
}

impl Mark {
    #[inline]
    pub(crate) fn of(columns: &ShardBatch) -> Mark {
        Mark {
            floats: columns.values.len(),
            histograms: columns.histograms.len(),
            exemplars: columns.exemplars.len(),
        }
    }

    /// Whether nothing was added to the columns since.
    #[inline]
    pub(crate) fn is_end_of(self, columns: &ShardBatch) -> bool {
        let Mark { floats, histograms, exemplars } = self;
        columns.values.len() == floats
            && columns.histograms.len() == histograms
            && columns.exemplars.len() == exemplars
    }

    fn since(self, columns: &ShardBatch) -> Mark {
        Mark {
            floats: columns.values.len() - self.floats,
            histograms: columns.histograms.len() - self.histograms,
            exemplars: columns.exemplars.len() - self.exemplars,
        }
    }

    /// Takes back what was added to the columns since.
    pub(crate) fn undo(self, columns: &mut ShardBatch) {
        columns.timestamps.truncate(self.floats);
        columns.values.truncate(self.floats);
        columns.start_timestamps.truncate(self.floats);
        columns.histograms.truncate(self.histograms);
        columns.exemplars.truncate(self.exemplars);
    }
}

impl Buffers {
    /// Takes back the columns of a batch that is done with, and empties everything.
    pub(crate) fn reset(&mut self, batch: &mut Batch) {
        for mut columns in batch.shards.drain(..) {
            if let Some(slot) = self.slots.get_mut(columns.shard as usize) {
                *slot = ABSENT;
            }
            columns.clear();
            self.spare.push(columns);
        }
        batch.metadata.clear();
        self.discard.clear();
        self.tail.clear();
        self.runs.clear();
        self.learned.clear();
        self.ahead.clear();
    }

    /// Bytes of what grows while a request is decoded.
    fn size(&self) -> usize {
        self.tail.len() + self.runs.len() + self.learned.len() * size_of::<Learned>()
    }

    /// Takes the columns out of the batch that got no series.
    pub(crate) fn drop_empty(&mut self, batch: &mut Batch) {
        let (slots, spare) = (&mut self.slots, &mut self.spare);
        batch.shards.retain_mut(|columns| {
            let is_empty = columns.series.is_empty();
            if is_empty {
                if let Some(slot) = slots.get_mut(columns.shard as usize) {
                    *slot = ABSENT;
                }
                spare.push(std::mem::take(columns));
            }
            !is_empty
        });
    }

    /// Gives memory back that only an unusual request needs.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.tail.shrink_to(keep);
        self.runs.shrink_to(keep);
        self.learned.shrink_to(keep / size_of::<Learned>());
        for columns in self.spare.iter_mut().chain([&mut self.discard]) {
            columns.series.shrink_to(keep / size_of::<BatchSeries>());
            columns.timestamps.shrink_to(keep / 8);
            columns.values.shrink_to(keep / 8);
            columns.start_timestamps.shrink_to(keep / 8);
            columns.histograms.shrink_to(keep / 64);
            columns.exemplars.shrink_to(keep / 64);
        }
    }
}

#[inline]
fn place_known(
    table: &Table,
    entry: &Entry,
    at: Option<usize>,
    raw: &[u8],
    buffers: &mut Buffers,
    shards: &mut Vec<ShardBatch>,
    body_len: u32,
) -> Place {
    let labels = match (table.other_order(entry), at) {
        (None, Some(at)) => (at as u32, (at + raw.len()) as u32),
        (None, None) => store(&mut buffers.tail, raw, body_len),
        (Some(canonical), _) => store(&mut buffers.tail, canonical, body_len),
    };
    let slot = slot_of(&mut buffers.slots, &mut buffers.spare, shards, entry.shard);
    Place { id: entry.id(), slot, labels, is_known: true }
}

#[inline]
fn slot_of(slots: &mut [u32], spare: &mut Vec<ShardBatch>, shards: &mut Vec<ShardBatch>, shard: u32) -> u32 {
    // The shard of what is left out.
    let Some(slot) = slots.get_mut(shard as usize) else { return ABSENT };
    if *slot == ABSENT {
        *slot = shards.len() as u32;
        let columns = spare.pop().unwrap_or_default();
        shards.push(ShardBatch { shard, ..columns });
    }
    *slot
}

fn store(bytes: &mut Vec<u8>, run: &[u8], offset: u32) -> (u32, u32) {
    let from = offset + bytes.len() as u32;
    bytes.extend_from_slice(run);
    (from, offset + bytes.len() as u32)
}
