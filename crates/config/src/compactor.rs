use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How tables are merged, retained and cleaned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often tables are looked at.
    pub interval: PromDuration,
    /// How long after its end a day is merged.
    pub day_grace: PromDuration,
    /// How long nothing may have come into a day that is over before it is merged.
    pub settle: PromDuration,
    /// Files at which a day is merged before it is over, or before it has settled.
    pub open_day_files: usize,
    /// How long after its last file a day that is over is merged into one sequence of files, however little is new.
    pub final_after: PromDuration,
    /// The most files, or sequences of files, that are merged at once.
    pub max_inputs: usize,
    /// The most bytes that are merged at once.
    pub max_job_bytes: u64,
    /// A merged file ends at about so many bytes.
    pub target_file_bytes: u64,
    /// How long a deletion waits for others before files are rewritten without the samples.
    pub deletion_delay: PromDuration,
    /// How often logs are cleaned and files that no version serves are deleted.
    pub cleanup_interval: PromDuration,
    /// How long a file that was replaced or removed stays in the store for queries that began before, at least.
    pub vacuum_grace: PromDuration,
    /// After a failure a tenant waits so long at first, and longer after each further one.
    pub retry_min: PromDuration,
    /// The longest such wait.
    pub retry_max: PromDuration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            interval: PromDuration::secs(60),
            day_grace: PromDuration::secs(3600),
            settle: PromDuration::secs(900),
            open_day_files: 16,
            final_after: PromDuration::secs(86_400),
            max_inputs: 48,
            max_job_bytes: 8 << 30,
            target_file_bytes: 128 << 20,
            deletion_delay: PromDuration::secs(900),
            cleanup_interval: PromDuration::secs(900),
            vacuum_grace: PromDuration::secs(900),
            retry_min: PromDuration::secs(10),
            retry_max: PromDuration::secs(600),
        }
    }
}

impl Config {
    /// Every rule that is broken.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.interval.millis() == 0 {
            violations.push("compactor.interval: must be greater than 0".to_string());
        }
        if self.max_inputs < 2 || self.open_day_files < 2 {
            let keys = "compactor.max_inputs and compactor.open_day_files";
            violations.push(format!("{keys}: must be at least 2"));
        }
        if self.target_file_bytes < 1 << 20 {
            violations.push("compactor.target_file_bytes: must be at least 1048576".to_string());
        }
        if self.max_job_bytes < self.target_file_bytes {
            violations
                .push("compactor.max_job_bytes: must be at least compactor.target_file_bytes".to_string());
        }
        // Tombstones are kept for a day.
        if self.vacuum_grace.millis() > 86_400_000 {
            violations.push(format!("compactor.vacuum_grace: {} is more than a day", self.vacuum_grace));
        }
        if self.retry_min.millis() == 0 || self.retry_max.millis() < self.retry_min.millis() {
            violations.push("compactor.retry_min: must be greater than 0 and at most retry_max".to_string());
        }
        violations
    }
}
