use serde::{Deserialize, Serialize};

/// Settings of the distributor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes for remembering label runs, over all tenants. A series takes about 200; what does not fit is
    /// validated anew in each request.
    pub memo_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { memo_bytes: 64 << 20 }
    }
}
