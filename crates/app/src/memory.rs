use runtime::{MemoryBudget, MemoryPart};

/// The uses of memory and their shares of what the process may use beyond its own code. What the percentages leave
/// is for what nobody can state in advance: a flush's row group and file, the allocator's slack.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    /// Samples and series that are in no block yet.
    pub(crate) head: MemoryPart,
    /// What the distributor remembers of label runs.
    pub(crate) memo: MemoryPart,
    /// Bodies and batches in flight.
    pub(crate) requests: MemoryPart,
    /// Samples and labels that queries hold.
    pub(crate) queries: MemoryPart,
    /// Footers, indexes and labels of blocks.
    pub(crate) cache: MemoryPart,
}

impl Shares {
    pub(crate) fn of(budget: &MemoryBudget) -> Shares {
        Shares {
            head: budget.part("the head", 36),
            memo: budget.part("the memo", 6),
            requests: budget.part("requests", 12),
            queries: budget.part("queries", 16),
            cache: budget.part("the block cache", 6),
        }
    }

    /// Those that say what they use.
    pub(crate) fn all(&self) -> Vec<MemoryPart> {
        [&self.head, &self.requests, &self.queries, &self.cache].map(Clone::clone).to_vec()
    }
}
