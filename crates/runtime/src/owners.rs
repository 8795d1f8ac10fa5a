use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Clock, MemoryPart};

/// Memory that owners share, of which none takes more than it leaves to the others: however much many of them ask for,
/// whoever comes next finds some. One that has been alone for a while may take all of it.
#[derive(Debug, Clone)]
pub struct SharedMemory {
    whole: MemoryPart,
    clock: Clock,
    owners: Arc<Mutex<HashMap<Arc<str>, Owner>>>,
    n_owners: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Owner {
    part: MemoryPart,
    seen_ms: i64,
}

/// For how long an owner counts after it was last seen: a dashboard that somebody has open asks more often.
const LATELY_MS: i64 = 600_000;
/// Owners that are remembered; anybody can think of names.
const OWNERS_MAX: usize = 4096;

impl SharedMemory {
    /// This memory, shared.
    pub fn new(whole: MemoryPart, clock: Clock) -> SharedMemory {
        SharedMemory { whole, clock, owners: Arc::default(), n_owners: Arc::default() }
    }

    /// What an owner uses of it.
    pub fn of(&self, owner: &str) -> MemoryPart {
        let now_ms = self.clock.now_ms();
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get_mut(owner) {
            owner.seen_ms = now_ms;
            return owner.part.clone();
        }
        let is_here = |owner: &Owner| now_ms - owner.seen_ms < LATELY_MS || owner.part.used() > 0;
        owners.retain(|_, owner| is_here(owner));
        let part = self.whole.of_owner(&self.n_owners);
        if owners.len() < OWNERS_MAX {
            owners.insert(owner.into(), Owner { part: part.clone(), seen_ms: now_ms });
        }
        self.n_owners.store(owners.len(), Ordering::Relaxed);
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(limit: u64) -> (SharedMemory, MemoryPart) {
        let whole = MemoryPart::new("queries", limit);
        (SharedMemory::new(whole.clone(), Clock::system()), whole)
    }

    #[test]
    fn who_is_alone_takes_all_and_who_is_not_leaves_as_much() {
        let (shared, whole) = shared(1000);
        let first = shared.of("a");
        assert_eq!((first.left(), first.reserve(1000).is_ok()), (Some(1000), true));
        let second = shared.of("b");
        let held = first.reserve(500).unwrap();
        let refused = first.reserve(1).unwrap_err().to_string();
        assert!(refused.contains("memory_limit") && refused.contains("leaves to others"), "{refused}");
        assert_eq!((first.left(), second.left()), (Some(0), Some(250)));
        let _held = second.reserve(250).unwrap();
        assert!(second.reserve(1).is_err());
        assert!(shared.of("c").reserve(125).is_ok(), "there is some for the next one");
        drop(held);
        assert_eq!((whole.used(), second.left()), (250, Some(250)), "what is given back is for everybody");
    }

    #[test]
    fn an_owner_is_the_same_whenever_it_comes() {
        let (shared, whole) = shared(1000);
        shared.of("b");
        let _held = shared.of("a").reserve(400).unwrap();
        assert!(shared.of("a").reserve(200).is_err(), "in two parts it is as much");
        assert_eq!(whole.used(), 400, "nothing stays of what was refused");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let (clock, time) = Clock::manual(0);
        let shared = SharedMemory::new(MemoryPart::new("queries", 1000), clock);
        drop(shared.of("gone"));
        time.set(LATELY_MS);
        assert!(shared.of("a").reserve(1000).is_ok());
        for i in 0..2 * OWNERS_MAX {
            drop(shared.of(&i.to_string()));
        }
        assert!(shared.owners.lock().unwrap().len() <= OWNERS_MAX);
    }
}
