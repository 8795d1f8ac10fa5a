use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How much memory the process may use, and which part of it each of its uses may take.
///
/// The budget is enforced by asking before taking: what does not fit is refused by name.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    limit: u64,
}

/// One use of memory with its own share of the budget.
#[derive(Debug, Clone)]
pub struct MemoryPart {
    inner: Arc<Part>,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    limit: u64,
    used: AtomicU64,
    /// What it is an owner's part of.
    whole: Option<Whole>,
}

/// Memory that several owners use.
#[derive(Debug)]
struct Whole {
    part: MemoryPart,
    n_owners: Arc<AtomicUsize>,
}

/// Memory that is given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    part: MemoryPart,
    bytes: u64,
}

/// The share is used up, or as much of it as one owner may take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory for {name} is used up: {wanted} more bytes over {used} do not fit its share {limit} of memory_limit{}",
    why(.is_owners)
)]
pub struct OverBudget {
    /// What the memory is for.
    pub name: &'static str,
    /// The share, in bytes.
    pub limit: u64,
    /// In use.
    pub used: u64,
    /// Asked for.
    pub wanted: u64,
    /// Held already by the one who asks.
    pub own: u64,
    /// Whether all that is used is one owner's, and some is left for others.
    pub is_owners: bool,
}

fn why(is_owners: &bool) -> &'static str {
    if *is_owners { ", of which no tenant takes more than it leaves to others" } else { "" }
}

impl OverBudget {
    /// Whether the one who asks does not fit the share even when nobody else uses it, so that waiting is in vain.
    pub fn is_final(&self) -> bool {
        self.own.saturating_add(self.wanted) > self.limit
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes; 0 is no limit.
    pub fn new(limit: u64) -> MemoryBudget {
        MemoryBudget { limit }
    }

    /// What is left of `limit` bytes for a process that has `taken` some before it holds any data: its code, its
    /// libraries, its threads. A quarter more is set aside for code that only work touches (measured: 38 MiB of a debug
    /// build at the start, 46 after queries and flushes). 0 is no limit. However little is left, a tenth of the limit
    /// is to be worked with.
    pub fn of_process(limit: u64, taken: u64) -> MemoryBudget {
        MemoryBudget::new(limit.saturating_sub(taken + taken / 4).max(limit / 10))
    }

    /// A budget without limit.
    pub fn unlimited() -> MemoryBudget {
        MemoryBudget::new(0)
    }

    /// The limit in bytes, 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// A part that may take `percent` of the budget.
    pub fn part(&self, name: &'static str, percent: u64) -> MemoryPart {
        MemoryPart::new(name, self.limit / 100 * percent)
    }
}

impl MemoryPart {
    /// A part of `limit` bytes; 0 is no limit.
    pub fn new(name: &'static str, limit: u64) -> MemoryPart {
        MemoryPart { inner: Arc::new(Part { name, limit, used: AtomicU64::new(0), whole: None }) }
    }

    /// What one of several owners uses of it: as much as it leaves to others, if there are any.
    pub(crate) fn of_owner(&self, n_owners: &Arc<AtomicUsize>) -> MemoryPart {
        let whole = Some(Whole { part: self.clone(), n_owners: Arc::clone(n_owners) });
        let Part { name, limit, .. } = *self.inner;
        MemoryPart { inner: Arc::new(Part { name, limit, used: AtomicU64::new(0), whole }) }
    }

    /// A part without limit, for tests.
    pub fn unlimited(name: &'static str) -> MemoryPart {
        MemoryPart::new(name, 0)
    }

    /// What the memory is for.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// The share in bytes, 0 for none.
    pub fn limit(&self) -> u64 {
        self.inner.limit
    }

    /// `bytes`, or the share where that is less.
    pub fn at_most(&self, bytes: u64) -> u64 {
        if self.inner.limit == 0 { bytes } else { bytes.min(self.inner.limit) }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` until the reservation is dropped.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, OverBudget> {
        self.try_add(bytes)?;
        Ok(Reservation { part: self.clone(), bytes })
    }

    /// How much more may be taken, `None` where that is not limited.
    pub fn left(&self) -> Option<u64> {
        let Part { limit, whole, .. } = &*self.inner;
        let Some(whole) = whole else { return (*limit > 0).then(|| limit.saturating_sub(self.used())) };
        let left = whole.part.left()?;
        // Of what it takes it has to leave as much.
        Some(if whole.has_others() { left.saturating_sub(self.used()) / 2 } else { left })
    }

    /// Takes `bytes`; the caller gives them back with [`MemoryPart::sub`].
    pub fn try_add(&self, bytes: u64) -> Result<(), OverBudget> {
        let Part { name, limit, used, whole } = &*self.inner;
        if let Some(whole) = whole {
            whole.part.try_add(bytes)?;
        }
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        let own = before.saturating_add(bytes);
        let is_over = match whole {
            None => *limit > 0 && own > *limit,
            Some(whole) => whole.has_others() && whole.part.left().is_some_and(|left| own > left),
        };
        if is_over {
            self.sub(bytes);
            let is_owners = whole.is_some();
            return Err(OverBudget { name, limit: *limit, used: before, wanted: bytes, own: 0, is_owners });
        }
        Ok(())
    }

    /// Gives `bytes` back.
    pub fn sub(&self, bytes: u64) {
        self.inner.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.inner.whole {
            whole.part.sub(bytes);
        }
    }

    /// States how much is in use, for a use that knows its own size.
    pub fn set(&self, bytes: u64) {
        self.inner.used.store(bytes, Ordering::Relaxed);
    }

    /// Says whether more may be taken, without taking it.
    pub fn check(&self) -> Result<(), OverBudget> {
        let used = self.used();
        if self.inner.limit > 0 && used > self.inner.limit {
            let Part { name, limit, .. } = *self.inner;
            return Err(OverBudget { name, limit, used, wanted: 0, own: 0, is_owners: false });
        }
        Ok(())
    }
}

impl Whole {
    fn has_others(&self) -> bool {
        self.n_owners.load(Ordering::Relaxed) > 1
    }
}

impl Reservation {
    /// Takes more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), OverBudget> {
        self.part.try_add(bytes).map_err(|over| OverBudget { own: self.bytes, ..over })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.part.sub(self.bytes);
    }
}

/// The memory that this process holds now (Linux, `/proc/self/statm`, second field, in pages of 4 KiB).
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// The memory that the container may use, if it is limited (cgroup v2 `memory.max`, or v1).
pub fn container_limit() -> Option<u64> {
    let read = |path: &str| -> Option<u64> { fs::read_to_string(Path::new(path)).ok()?.trim().parse().ok() };
    let limit =
        read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
    // Version 1 says "no limit" with a number near 2^63.
    (limit < 1 << 60).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_dropped_fits_again() {
        let part = MemoryBudget::new(1000).part("query", 50);
        let first = part.reserve(400).unwrap();
        let refused = part.reserve(200).unwrap_err();
        let (name, is_owners) = ("query", false);
        assert_eq!(refused, OverBudget { name, limit: 500, used: 400, wanted: 200, own: 0, is_owners });
        assert!(!refused.is_final());
        drop(first);
        let mut whole = part.reserve(500).unwrap();
        assert!(whole.grow(1).unwrap_err().is_final());
    }
}
