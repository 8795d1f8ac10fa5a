use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How queries wait for a querier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Queries of one tenant that may wait; more are refused (Mimir's key and default).
    pub max_outstanding_requests_per_tenant: usize,
    /// How long a query waits when no querier is connected at all.
    pub querier_wait: PromDuration,
    /// How often a query whose querier died is given to another.
    pub max_retries: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_outstanding_requests_per_tenant: 100,
            querier_wait: PromDuration::secs(5),
            max_retries: 2,
        }
    }
}

impl Config {
    /// Every rule that is broken.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.max_outstanding_requests_per_tenant == 0 {
            violations.push(
                "query_frontend.max_outstanding_requests_per_tenant must be greater than 0".to_string(),
            );
        }
        violations
    }
}
