use serde::{Deserialize, Serialize};

/// How tables are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most bytes kept of footers, page indexes, labels, what matches them, timelines and rows of floats.
    pub cache_bytes: u64,
    /// How many files a query reads at once.
    pub concurrency: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { cache_bytes: 64 * 1024 * 1024, concurrency: 8 }
    }
}
