use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How tables are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Commits between two checkpoints of a table's log.
    pub checkpoint_interval: u64,
    /// How long commits stay in a log at least. A snapshot that was not confirmed for half of it is loaded anew.
    pub log_retention: PromDuration,
    /// How long a snapshot serves queries before the log is asked again.
    pub poll_interval: PromDuration,
    /// The longest a request to the object store may take.
    pub request_timeout: PromDuration,
    /// How often a commit tries to win a version before it gives up.
    pub commit_attempts: u32,
    /// How old an upload may be when it is committed. Vacuum takes older ones that no commit names.
    pub longest_upload: PromDuration,
    /// Parts of a file that are closer than this are read with one request; 0 leaves it to the kind of store.
    pub coalesce_bytes: u64,
    /// A table that nobody asked for so long is no longer held in memory.
    pub idle_timeout: PromDuration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            checkpoint_interval: 50,
            log_retention: PromDuration::secs(30 * 86_400),
            poll_interval: PromDuration::secs(10),
            request_timeout: PromDuration::secs(60),
            commit_attempts: 100,
            longest_upload: PromDuration::secs(24 * 3600),
            coalesce_bytes: 0,
            idle_timeout: PromDuration::secs(3600),
        }
    }
}

impl Config {
    /// What is wrong with the configuration.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.checkpoint_interval == 0 {
            violations.push("bucket.checkpoint_interval: must be at least 1".to_string());
        }
        // Half of it must be much longer than a commit takes, and than clocks differ.
        if self.log_retention.millis() < (10 * self.request_timeout.millis()).max(3_600_000) {
            violations.push(format!(
                "bucket.log_retention: {} is less than 1h or than ten times bucket.request_timeout",
                self.log_retention
            ));
        }
        if self.request_timeout.millis() == 0 || self.commit_attempts == 0 {
            violations
                .push("bucket.request_timeout and bucket.commit_attempts: must be at least 1".to_string());
        }
        if self.longest_upload.millis() < 10 * self.request_timeout.millis() {
            violations.push(format!(
                "bucket.longest_upload: {} is less than ten times bucket.request_timeout",
                self.longest_upload
            ));
        }
        if self.idle_timeout.millis() < 2 * self.poll_interval.millis() {
            violations.push(format!(
                "bucket.idle_timeout: {} is less than twice bucket.poll_interval",
                self.idle_timeout
            ));
        }
        violations
    }
}
