use runtime::{MemoryBudget, MemoryPart};

/// How a role splits what the process may use beyond its own code: percentages, 0 where it has no such use. What they
/// leave is for what nobody can state in advance: a flush's row group and file, the allocator's slack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Split {
    /// Samples and series that are in no block yet.
    pub head: u64,
    /// What the distributor remembers of label runs.
    pub memo: u64,
    /// Bodies and batches in flight.
    pub requests: u64,
    /// Samples and labels that queries hold.
    pub queries: u64,
    /// Footers, indexes and labels of blocks.
    pub cache: u64,
    /// Answers to queries that are kept.
    pub results: u64,
    /// Rows that are being merged.
    pub compaction: u64,
}

/// The uses of memory, each with its share in bytes.
#[derive(Debug, Clone)]
pub struct Shares {
    /// Samples and series that are in no block yet.
    pub head: MemoryPart,
    /// What is remembered of label runs.
    pub memo: MemoryPart,
    /// Bodies and batches in flight.
    pub requests: MemoryPart,
    /// Samples and labels that queries hold.
    pub queries: MemoryPart,
    /// Footers, indexes and labels of blocks.
    pub cache: MemoryPart,
    /// Answers to queries that are kept.
    pub results: MemoryPart,
    /// Rows that are being merged.
    pub compaction: MemoryPart,
}

impl Shares {
    /// The shares of a budget.
    pub fn of(budget: &MemoryBudget, split: Split) -> Shares {
        // A share of nothing is not "no limit": whoever uses what its role does not have is refused.
        let part = |name, percent: u64| match percent {
            0 if budget.limit() > 0 => MemoryPart::new(name, 1),
            percent => budget.part(name, percent),
        };
        Shares {
            head: part("the head", split.head),
            memo: part("the memo", split.memo),
            requests: part("requests", split.requests),
            queries: part("queries", split.queries),
            cache: part("the block cache", split.cache),
            results: part("the results cache", split.results),
            compaction: part("compaction", split.compaction),
        }
    }

    /// Those that the role has and that say what they use.
    pub(crate) fn stated(&self, split: Split) -> Vec<MemoryPart> {
        let parts = [
            (&self.head, split.head),
            (&self.requests, split.requests),
            (&self.queries, split.queries),
            (&self.cache, split.cache),
            (&self.results, split.results),
            (&self.compaction, split.compaction),
        ];
        parts.into_iter().filter(|(_, percent)| *percent > 0).map(|(part, _)| part.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_that_the_role_does_not_have_gets_nothing_unless_there_is_no_limit() {
        let split = Split { head: 50, ..Split::default() };
        let shares = Shares::of(&MemoryBudget::new(1000), split);
        assert!(shares.head.reserve(500).is_ok());
        assert!(shares.queries.reserve(2).is_err());
        assert_eq!(shares.stated(split).len(), 1);
        let unlimited = Shares::of(&MemoryBudget::unlimited(), split);
        assert!(unlimited.head.reserve(1 << 40).is_ok());
    }
}
