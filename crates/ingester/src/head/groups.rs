//! Which series share their timestamps: the series of one (job, instance) begin in one group.

use hashbrown::HashMap;
use model::run_labels;
use xxhash_rust::xxh3::Xxh3;

use super::series::NO_REF;

/// The groups of a shard and the slots in them.
///
/// A slot belongs to a series as long as a row may hold a sample of it there, even after the series moved on.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Groups without slots, to be used again.
    vacant: Vec<u32>,
    /// Where new series of a target go.
    by_key: HashMap<u128, u32>,
    n_slots: usize,
}

#[derive(Debug, Default)]
struct Group {
    /// Ref by slot; [`NO_REF`] for a free slot.
    slots: Vec<u32>,
    free: Vec<u32>,
    /// Series whose next sample goes here.
    n_current: u32,
    /// The target whose new series come here.
    key: Option<u128>,
}

impl Groups {
    /// The group for a new series with these labels. A series with neither job nor instance is its own group.
    pub(super) fn for_run(&mut self, run: &[u8]) -> u32 {
        let Some(key) = target(run) else { return self.create() };
        if let Some(group) = self.by_key.get(&key) {
            return *group;
        }
        let group = self.create();
        self.groups[group as usize].key = Some(key);
        self.by_key.insert(key, group);
        group
    }

    /// A group without series.
    pub(super) fn create(&mut self) -> u32 {
        if let Some(group) = self.vacant.pop() {
            return group;
        }
        self.groups.push(Group::default());
        self.groups.len() as u32 - 1
    }

    /// A slot for a series.
    pub(super) fn join(&mut self, group: u32, series_ref: u32) -> u32 {
        let group = &mut self.groups[group as usize];
        group.n_current += 1;
        self.n_slots += 1;
        if let Some(slot) = group.free.pop() {
            group.slots[slot as usize] = series_ref;
            return slot;
        }
        if group.slots.len() == group.slots.capacity() {
            group.slots.reserve_exact((group.slots.len() / 4).max(1));
        }
        group.slots.push(series_ref);
        group.slots.len() as u32 - 1
    }

    /// The series' next sample goes elsewhere; the slot stays its own.
    pub(super) fn leave(&mut self, group: u32) {
        self.groups[group as usize].n_current -= 1;
    }

    /// Gives a slot back in which no row holds a sample.
    pub(super) fn free_slot(&mut self, group_at: u32, slot: u32) {
        let group = &mut self.groups[group_at as usize];
        group.slots[slot as usize] = NO_REF;
        group.free.push(slot);
        self.n_slots -= 1;
        if group.free.len() < group.slots.len() {
            return;
        }
        if let Some(key) = group.key {
            self.by_key.remove(&key);
        }
        *group = Group::default();
        self.vacant.push(group_at);
    }

    /// New series of `from`'s target go to `to` from now on.
    pub(super) fn redirect(&mut self, from: u32, to: u32) {
        if let Some(key) = self.groups[from as usize].key.take() {
            self.groups[to as usize].key = Some(key);
            self.by_key.insert(key, to);
        }
    }

    /// The number of slots, free ones included.
    pub(super) fn n_slots(&self, group: u32) -> usize {
        self.groups[group as usize].slots.len()
    }

    /// Series whose next sample goes to this group.
    pub(super) fn n_current(&self, group: u32) -> usize {
        self.groups[group as usize].n_current as usize
    }

    /// Whose slot it is.
    pub(super) fn owner(&self, group: u32, slot: usize) -> u32 {
        self.groups[group as usize].slots.get(slot).copied().unwrap_or(NO_REF)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        // Slots grow by a quarter: an eighth is free on average.
        size_of::<Group>() * self.groups.capacity()
            + 16 * (self.groups.len() - self.vacant.len())
            + self.n_slots * 9 / 2
            + self.by_key.allocation_size()
    }
}

/// The 128-bit hash of (job, instance); `None` when the series has neither.
fn target(run: &[u8]) -> Option<u128> {
    let (mut job, mut instance): (&[u8], &[u8]) = (b"", b"");
    for label in run_labels(run) {
        match label.name {
            b"job" => job = label.value,
            b"instance" => instance = label.value,
            _ => {}
        }
    }
    if job.is_empty() && instance.is_empty() {
        return None;
    }
    let mut hash = Xxh3::new();
    hash.update(job);
    hash.update(&[0xFF]);
    hash.update(instance);
    Some(hash.digest128())
}
