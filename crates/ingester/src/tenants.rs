//! Who has what in memory: tenants, their shards, and what a shard knows beside its head.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::{TenantId, Window};
use parking_lot::{Mutex, RwLock};
use wal::Lsn;

use crate::cut::{self, OpenWindow, Waits};
use crate::families::Families;
use crate::head::{HeadConfig, MetricCounts, ShardHead, WindowStats};

/// All tenants that this process has met.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    in_memory: HashMap<TenantId, Arc<Tenant>>,
    /// Those of which nothing is left but some numbers.
    silent: HashMap<TenantId, Rest>,
}

/// What must outlive a tenant in memory: its next record and its next cut go on where it left off.
#[derive(Debug)]
struct Rest {
    newest_ms: i64,
    shards: Box<[ShardRest]>,
}

/// The same of a shard. A sequence number is never given away twice, and neither is a series' ref as long as the log
/// may hold records that mean another series by it.
#[derive(Debug, Clone, Copy)]
struct ShardRest {
    number: u32,
    next_ref: u32,
    next_sequence: u64,
    last_lsn: Lsn,
}

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    shards: RwLock<BTreeMap<u32, Arc<Shard>>>,
    /// Timestamp of the newest sample.
    newest_ms: AtomicI64,
    n_series: AtomicU64,
    pub(crate) metric_counts: Arc<MetricCounts>,
    /// Whose turn it is to cut: one cut is in flight per shard, and shards are cut together.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) retry: Mutex<Retry>,
    pub(crate) metadata: Mutex<Families>,
}

/// When to try again after failures.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    pub(crate) n_failures: u32,
    pub(crate) not_before_ms: i64,
}

/// One shard of a tenant.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) number: u32,
    pub(crate) state: Mutex<ShardState>,
}

/// What a shard's lock protects. Decide, log and apply keep one order under it.
#[derive(Debug)]
pub(crate) struct ShardState {
    pub(crate) head: ShardHead,
    window_ms: i64,
    /// By first millisecond, what the log knows of the open windows.
    open: BTreeMap<i64, Logged>,
    /// Cuts that are not in the table yet, in order.
    pub(crate) pending: VecDeque<PendingCut>,
    pub(crate) next_sequence: u64,
    /// The shard's newest record with samples.
    pub(crate) last_lsn: Lsn,
    /// The oldest record that defines a series of the head.
    pub(crate) definitions_from: Option<Lsn>,
    /// When samples last came, by the clock.
    touched_ms: i64,
    /// Memory as it was last accounted for.
    bytes: usize,
    /// Series as they were last accounted for.
    n_series: usize,
}

#[derive(Debug, Clone, Copy)]
struct Logged {
    first_lsn: Lsn,
    late: bool,
}

/// A frozen generation on its way into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingCut {
    pub(crate) sequence: u64,
    pub(crate) window: Window,
    /// The first record with a sample of it.
    pub(crate) first_lsn: Lsn,
    /// The last record that may hold a sample of it.
    pub(crate) through_lsn: Lsn,
    /// How many shards there were.
    pub(crate) shards: u32,
}

impl Tenants {
    pub(crate) fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.known.read().in_memory.get(id).cloned()
    }

    /// The tenant; one that was silent goes on where it left off.
    pub(crate) fn get_or_create(&self, id: &TenantId, window_ms: i64) -> Arc<Tenant> {
        if let Some(tenant) = self.get(id) {
            return tenant;
        }
        let Known { in_memory, silent } = &mut *self.known.write();
        let rest = silent.remove(id);
        let new = || Arc::new(Tenant::new(id.clone(), rest, window_ms));
        Arc::clone(in_memory.entry(id.clone()).or_insert_with(new))
    }

    /// All tenants in memory, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<Arc<Tenant>> = self.known.read().in_memory.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How many are in memory, and of how many only numbers are kept.
    pub(crate) fn len(&self) -> (usize, usize) {
        let known = self.known.read();
        (known.in_memory.len(), known.silent.len())
    }

    /// Lets go of tenants that have nothing in memory, and to which nothing came since `since_ms`, but for the numbers
    /// that must outlive them.
    pub(crate) fn forget_silent(&self, since_ms: i64, total_bytes: &AtomicI64) {
        let Known { in_memory, silent } = &mut *self.known.write();
        in_memory.retain(|id, tenant| {
            // Whoever has a tenant got it under this lock: nobody can be about to push to one that only we have.
            if Arc::strong_count(tenant) > 1 || !tenant.is_silent(since_ms) {
                return true;
            }
            let rest = tenant.rest(total_bytes);
            if !rest.shards.is_empty() {
                silent.insert(id.clone(), rest);
            }
            false
        });
        if in_memory.capacity() > 64 + 4 * in_memory.len() {
            in_memory.shrink_to_fit();
        }
    }
}

impl Tenant {
    fn new(id: TenantId, rest: Option<Rest>, window_ms: i64) -> Tenant {
        let newest_ms = rest.as_ref().map_or(i64::MIN, |rest| rest.newest_ms);
        let shards = rest.map(|rest| rest.shards).unwrap_or_default();
        let shards = shards.iter().map(|rest| (rest.number, Arc::new(Shard::of(rest, window_ms))));
        Tenant {
            id,
            shards: RwLock::new(shards.collect()),
            newest_ms: AtomicI64::new(newest_ms),
            n_series: AtomicU64::new(0),
            metric_counts: Arc::default(),
            turn: tokio::sync::Mutex::new(()),
            retry: Mutex::new(Retry::default()),
            metadata: Mutex::new(Families::default()),
        }
    }

    pub(crate) fn shard(&self, number: u32, window_ms: i64) -> Arc<Shard> {
        if let Some(shard) = self.shards.read().get(&number) {
            return Arc::clone(shard);
        }
        let mut shards = self.shards.write();
        let new = || Arc::new(Shard { number, state: Mutex::new(ShardState::new(window_ms)) });
        Arc::clone(shards.entry(number).or_insert_with(new))
    }

    /// All shards, by number.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.read().values().cloned().collect()
    }

    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn note_newest(&self, timestamp: i64) {
        self.newest_ms.fetch_max(timestamp, Ordering::Relaxed);
    }

    pub(crate) fn n_series(&self) -> u64 {
        self.n_series.load(Ordering::Relaxed)
    }

    /// Whether there is nothing in memory and nothing came since `since_ms`.
    fn is_silent(&self, since_ms: i64) -> bool {
        self.n_series() == 0
            && self.metadata.lock().is_empty()
            && self.shards.read().values().all(|shard| shard.state.lock().is_spent(since_ms))
    }

    /// What must outlive a silent tenant, whose memory is no longer accounted for.
    fn rest(&self, total_bytes: &AtomicI64) -> Rest {
        let rest = |(number, shard): (&u32, &Arc<Shard>)| {
            let mut state = shard.state.lock();
            total_bytes.fetch_sub(std::mem::take(&mut state.bytes) as i64, Ordering::Relaxed);
            let ShardState { next_sequence, last_lsn, .. } = *state;
            ShardRest { number: *number, next_ref: state.head.next_ref(), next_sequence, last_lsn }
        };
        Rest { newest_ms: self.newest_ms(), shards: self.shards.read().iter().map(rest).collect() }
    }

    /// The open windows over all shards, oldest first.
    pub(crate) fn open_windows(&self) -> Vec<OpenWindow> {
        let mut windows: BTreeMap<i64, OpenWindow> = BTreeMap::new();
        for shard in self.shards() {
            for open in shard.state.lock().open_windows() {
                windows
                    .entry(open.window.start)
                    .and_modify(|merged| {
                        merged.opened_ms = merged.opened_ms.min(open.opened_ms);
                        merged.touched_ms = merged.touched_ms.max(open.touched_ms);
                        merged.late &= open.late;
                        merged.first_lsn = merged.first_lsn.min(open.first_lsn);
                        merged.bytes += open.bytes;
                    })
                    .or_insert(open);
            }
        }
        windows.into_values().collect()
    }

    /// How many cuts are not in the table yet.
    pub(crate) fn n_pending(&self) -> usize {
        self.shards().iter().map(|shard| shard.state.lock().pending.len()).sum()
    }
}

impl Shard {
    /// A shard that goes on where it left off.
    fn of(rest: &ShardRest, window_ms: i64) -> Shard {
        let mut state = ShardState::new(window_ms);
        state.head.skip_refs(rest.next_ref);
        (state.next_sequence, state.last_lsn) = (rest.next_sequence, rest.last_lsn);
        Shard { number: rest.number, state: Mutex::new(state) }
    }
}

impl ShardState {
    fn new(window_ms: i64) -> ShardState {
        ShardState {
            head: ShardHead::new(HeadConfig { window_ms }),
            window_ms,
            open: BTreeMap::new(),
            pending: VecDeque::new(),
            next_sequence: 1,
            last_lsn: 0,
            definitions_from: None,
            touched_ms: i64::MIN,
            bytes: 0,
            n_series: 0,
        }
    }

    /// Notes that the record `lsn` holds samples or exemplars with these timestamps.
    pub(crate) fn note_logged(
        &mut self,
        lsn: Lsn,
        timestamps: impl Iterator<Item = i64> + Clone,
        now_ms: i64,
        newest_ms: i64,
        waits: &Waits,
    ) {
        self.last_lsn = lsn;
        self.touched_ms = now_ms;
        let mut known: Option<Window> = None;
        for timestamp in timestamps {
            if known.is_some_and(|window| window.start <= timestamp && timestamp < window.end()) {
                continue;
            }
            let window = Window::of(timestamp, self.window_ms);
            let late = || cut::is_late(window, now_ms, newest_ms, waits);
            self.open.entry(window.start).or_insert_with(|| Logged { first_lsn: lsn, late: late() });
            known = Some(window);
        }
    }

    /// Whether nothing came since `since_ms`.
    pub(crate) fn is_silent(&self, since_ms: i64) -> bool {
        self.touched_ms < since_ms
    }

    /// Whether nothing is held, nothing is under way and nothing came since `since_ms`.
    fn is_spent(&self, since_ms: i64) -> bool {
        let is_held = self.head.n_series() > 0 || !self.head.windows().is_empty();
        !is_held && self.open.is_empty() && self.pending.is_empty() && self.is_silent(since_ms)
    }

    pub(crate) fn note_definition(&mut self, lsn: Lsn) {
        self.definitions_from.get_or_insert(lsn);
    }

    pub(crate) fn open_windows(&self) -> Vec<OpenWindow> {
        let of = |stats: &WindowStats| {
            let logged = self.open.get(&stats.window_start);
            OpenWindow {
                window: Window { start: stats.window_start, length: self.window_ms },
                opened_ms: stats.opened_ms,
                touched_ms: stats.touched_ms,
                late: logged.is_some_and(|logged| logged.late),
                first_lsn: logged.map_or(self.last_lsn, |logged| logged.first_lsn),
                bytes: stats.bytes as u64,
            }
        };
        self.head.windows().iter().map(of).collect()
    }

    /// After a replay: what was logged of a window but is not in the head (repeated, or of series that are no longer
    /// defined) needs no cut.
    pub(crate) fn finish_replay(&mut self) {
        self.head.finish_replay();
        let held: Vec<i64> = self.head.windows().iter().map(|stats| stats.window_start).collect();
        self.open.retain(|start, _| held.contains(start));
    }

    /// What a cut of the window would be, if there is something to cut.
    pub(crate) fn plan_cut(&self, window: Window, sequence: u64, shards: u32) -> Option<PendingCut> {
        let logged = self.open.get(&window.start)?;
        Some(PendingCut { sequence, window, first_lsn: logged.first_lsn, through_lsn: self.last_lsn, shards })
    }

    /// Freezes what is open of the window, after the log knows.
    pub(crate) fn freeze(&mut self, cut: PendingCut) {
        self.next_sequence = self.next_sequence.max(cut.sequence + 1);
        let had_samples = self.head.freeze(cut.window.start, cut.sequence);
        self.open.remove(&cut.window.start);
        if had_samples {
            self.pending.push_back(cut);
        }
    }

    /// Lets go of a cut that is in the table.
    pub(crate) fn drop_cut(&mut self, sequence: u64) {
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.pending.retain(|cut| cut.sequence != sequence);
        self.head.drop_frozen(sequence);
    }

    /// The oldest record with a sample that is in no committed cut.
    pub(crate) fn first_needed(&self) -> Option<Lsn> {
        let open = self.open.values().map(|logged| logged.first_lsn);
        open.chain(self.pending.iter().map(|cut| cut.first_lsn)).min()
    }
}

/// Accounts for descriptions that changed; `total_bytes` is over all tenants.
pub(crate) fn account_families(before: usize, families: &Families, total_bytes: &AtomicI64) {
    total_bytes.fetch_add(families.bytes() as i64 - before as i64, Ordering::Relaxed);
}

/// Accounts for a shard whose state changed; `total_bytes` is over all tenants.
pub(crate) fn account(tenant: &Tenant, state: &mut ShardState, total_bytes: &AtomicI64) -> i64 {
    let n_series = state.head.n_series();
    if n_series != state.n_series {
        // Wrapping: fewer series subtract.
        tenant.n_series.fetch_add((n_series as u64).wrapping_sub(state.n_series as u64), Ordering::Relaxed);
        state.n_series = n_series;
    }
    let bytes = state.head.bytes();
    let more = bytes as i64 - state.bytes as i64;
    state.bytes = bytes;
    total_bytes.fetch_add(more, Ordering::Relaxed) + more
}
