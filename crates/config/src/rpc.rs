use std::time::Duration;

use runtime::PromDuration;
use serde::{Deserialize, Serialize};

/// How processes speak with each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long setting up a connection may take.
    pub connect_timeout: PromDuration,
    /// How often a connection is asked whether it still lives.
    pub keep_alive_interval: PromDuration,
    /// How long the answer to that may take before the connection is given up.
    pub keep_alive_timeout: PromDuration,
    /// How long a push may take before it is given up as unavailable.
    pub push_timeout: PromDuration,
    /// Bytes of the largest message that is taken.
    pub max_message_bytes: usize,
    /// Pushes that an ingester works on at the same time; more are refused.
    pub max_concurrent_pushes: usize,
    /// Selects that an ingester works on at the same time; more are refused.
    pub max_concurrent_selects: usize,
    /// How batches travel: `none` or `gzip`.
    pub push_compression: Compression,
    /// How samples travel back: `none` or `gzip`.
    pub select_compression: Compression,
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are: cheapest within a zone.
    #[default]
    None,
    /// Smaller, for links that cost money.
    Gzip,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            connect_timeout: PromDuration::secs(5),
            keep_alive_interval: PromDuration::secs(10),
            keep_alive_timeout: PromDuration::secs(10),
            push_timeout: PromDuration::secs(10),
            // A body of the default 32 MiB, whose labels may grow in the batch, and some air.
            max_message_bytes: 128 << 20,
            max_concurrent_pushes: 256,
            max_concurrent_selects: 256,
            push_compression: Compression::None,
            select_compression: Compression::None,
        }
    }
}

impl Config {
    /// Every rule that is broken.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("push_timeout", self.push_timeout),
        ];
        for (key, value) in durations {
            if value.0 < Duration::from_millis(100) {
                violations.push(format!("rpc.{key} is {value}, must be at least 100ms"));
            }
        }
        if self.max_message_bytes < 4 << 20 {
            violations.push(format!(
                "rpc.max_message_bytes is {}, must be at least 4194304",
                self.max_message_bytes
            ));
        }
        for (key, value) in [
            ("max_concurrent_pushes", self.max_concurrent_pushes),
            ("max_concurrent_selects", self.max_concurrent_selects),
        ] {
            if value == 0 {
                violations.push(format!("rpc.{key} must be greater than 0"));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_named() {
        assert_eq!(Config::default().violations(), Vec::<String>::new());
        let nonsense = Config {
            push_timeout: PromDuration::secs(0),
            max_message_bytes: 1,
            max_concurrent_pushes: 0,
            ..Config::default()
        };
        assert_eq!(nonsense.violations().len(), 3);
    }
}
