//! How much of a query's memory may hold what is being decoded: as much at once as leaves room for the rest.

use tokio::sync::{Semaphore, SemaphorePermit};
use wire::{SelectBudget, SelectError, Taken};

/// The most bytes that one query decodes at once.
const MOST: u64 = 16 << 20;
/// So many are decoded at once however little is left: what does not fit is refused by the budget.
const LEAST: u64 = 512 << 10;
/// In what steps bytes are counted.
const STEP: u64 = 1 << 10;

/// The room of one query.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    budget: &'a SelectBudget,
    steps: u32,
    free: Semaphore,
}

/// A part of it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _taken: Taken<'a>,
}

impl<'a> Room<'a> {
    /// A quarter of what the query may still take.
    pub(crate) fn of(budget: &'a SelectBudget) -> Room<'a> {
        let bytes = budget.bytes.left().map_or(MOST, |left| (left / 4).clamp(LEAST, MOST));
        let steps = (bytes / STEP) as u32;
        Room { budget, steps, free: Semaphore::new(steps as usize) }
    }

    /// The most bytes that are worth being decoded in one go.
    pub(crate) fn share(&self) -> u64 {
        u64::from(self.steps) * STEP / 4
    }

    /// For what is not given back before it was handed on.
    pub(crate) fn hold(&self) -> Result<Taken<'a>, SelectError> {
        self.budget.bytes.hold(0)
    }

    /// Waits until so many bytes are free; what is more than there is waits until it is alone.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Place<'_>, SelectError> {
        let steps = u32::try_from(bytes.div_ceil(STEP)).unwrap_or(u32::MAX).min(self.steps);
        let permit = self.free.acquire_many(steps).await.ok();
        Ok(Place { _permit: permit, _taken: self.budget.bytes.hold(bytes)? })
    }
}
