use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How queries are evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a sample counts as current when nothing newer came.
    pub lookback_delta: PromDuration,
    /// Step of subqueries that name none.
    pub default_evaluation_interval: PromDuration,
    /// How many queries are evaluated at once; the others wait their turn within their own timeout.
    pub max_concurrent: usize,
    /// Queries over several tenants.
    pub tenant_federation: TenantFederation,
    /// The query-frontends that this querier works for, each as `host:port`.
    pub frontend_addresses: Vec<String>,
}

/// Queries that name several tenants, `a|b`, in `X-Scope-OrgID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantFederation {
    /// Whether there are any.
    pub enabled: bool,
    /// The most tenants of one query, 0 for no limit.
    pub max_tenants: usize,
}

impl Default for TenantFederation {
    fn default() -> TenantFederation {
        // Off, as in Mimir: a gateway that knows nothing of it would let a client read what it adds to the header.
        TenantFederation { enabled: false, max_tenants: 100 }
    }
}

impl Default for Config {
    fn default() -> Config {
        // Prometheus's defaults: `query.lookback-delta`, `global.evaluation_interval`, `query.max-concurrency`.
        Config {
            lookback_delta: PromDuration::secs(300),
            default_evaluation_interval: PromDuration::secs(60),
            max_concurrent: 20,
            tenant_federation: TenantFederation::default(),
            frontend_addresses: Vec::new(),
        }
    }
}

impl Config {
    /// Every rule that is broken.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.lookback_delta.millis() == 0 {
            violations.push("querier.lookback_delta must be greater than 0".to_string());
        }
        if self.default_evaluation_interval.millis() == 0 {
            violations.push("querier.default_evaluation_interval must be greater than 0".to_string());
        }
        if self.max_concurrent == 0 {
            violations.push("querier.max_concurrent must be greater than 0".to_string());
        }
        violations
    }
}
