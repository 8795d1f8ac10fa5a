use std::time::Duration;

use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How queries are split, kept, queued and logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Queries of one tenant that may wait; more are refused (Mimir's key and default).
    pub max_outstanding_requests_per_tenant: usize,
    /// How long a query waits when no querier is connected at all.
    pub querier_wait: PromDuration,
    /// How often a query whose querier died, or failed in a way that another may not, is given to another.
    pub max_retries: u32,
    /// Range queries are evaluated in parts of this length, 0 for as a whole (Mimir's key and default).
    pub split_queries_by_interval: PromDuration,
    /// Whether answers to range queries are kept.
    pub cache_results: bool,
    /// The most memory for kept answers.
    pub results_cache_bytes: u64,
    /// Queries that take at least so long are logged, 0 for none (Mimir's key).
    pub log_queries_longer_than: PromDuration,
    /// How many of the last queries `/api/v1/status/top_queries` knows, 0 for none.
    pub query_stats_last_queries: usize,
    /// It does not know those that took less.
    pub query_stats_min_duration: PromDuration,
    /// Series that are read as they are, by remote read and export.
    pub remote_read: RemoteRead,
}

/// How much of series is read as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteRead {
    /// Reads and exports that are answered at the same time; the others wait half a minute.
    pub concurrent_limit: usize,
    /// Samples of an answer that is not streamed, per query; 0 for no limit.
    pub sample_limit: u64,
    /// Bytes of a frame of a streamed answer, unless one chunk alone has more.
    pub max_bytes_in_frame: usize,
}

impl Default for RemoteRead {
    fn default() -> RemoteRead {
        // Prometheus's defaults: `storage.remote.read-concurrent-limit`, `-sample-limit`, `-max-bytes-in-frame`.
        RemoteRead { concurrent_limit: 10, sample_limit: 50_000_000, max_bytes_in_frame: 1 << 20 }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_outstanding_requests_per_tenant: 100,
            querier_wait: PromDuration::secs(5),
            max_retries: 2,
            split_queries_by_interval: PromDuration::secs(24 * 3600),
            cache_results: true,
            results_cache_bytes: 64 << 20,
            log_queries_longer_than: PromDuration::secs(10),
            // VictoriaMetrics's defaults.
            query_stats_last_queries: 20_000,
            query_stats_min_duration: PromDuration(Duration::from_millis(1)),
            remote_read: RemoteRead::default(),
        }
    }
}

/// Shorter parts cost more than they bring.
const SPLIT_MIN_MS: i64 = 60_000;
/// Lists of more are of no use, and are memory.
const LAST_QUERIES_MAX: usize = 1_000_000;

impl Config {
    /// Every rule that is broken.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.remote_read.concurrent_limit == 0 {
            violations.push("query_frontend.remote_read.concurrent_limit must be greater than 0".to_string());
        }
        if self.remote_read.max_bytes_in_frame == 0 {
            violations
                .push("query_frontend.remote_read.max_bytes_in_frame must be greater than 0".to_string());
        }
        if self.max_outstanding_requests_per_tenant == 0 {
            violations.push(
                "query_frontend.max_outstanding_requests_per_tenant must be greater than 0".to_string(),
            );
        }
        let split_ms = self.split_queries_by_interval.millis();
        if split_ms != 0 && split_ms < SPLIT_MIN_MS {
            violations.push("query_frontend.split_queries_by_interval must be 0 or at least 1m".to_string());
        }
        if self.query_stats_last_queries > LAST_QUERIES_MAX {
            violations
                .push(format!("query_frontend.query_stats_last_queries must be at most {LAST_QUERIES_MAX}"));
        }
        violations
    }
}
