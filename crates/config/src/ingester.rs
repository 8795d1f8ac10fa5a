use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use runtime::{PromDuration, parse_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the ingester behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The write-ahead log.
    pub wal: WalSettings,
    /// Length of a window; divides a day.
    pub window: PromDuration,
    /// A window is cut when the clock or the tenant's newest sample is this far past its end.
    pub cut_after_window: PromDuration,
    /// A window that is touched later than that is cut when it had no sample for this long.
    pub late_window_idle: PromDuration,
    /// Such a window is cut after this long in any case.
    pub late_window_max: PromDuration,
    /// How often windows are looked at.
    pub check_interval: PromDuration,
    /// Windows are cut early when the head takes more than this share of its memory, in percent.
    pub cut_at_memory_percent: u64,
    /// The first pause after a failed flush; each further one is twice as long.
    pub retry_min: PromDuration,
    /// The longest pause after a failed flush.
    pub retry_max: PromDuration,
}

/// How the log behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalSettings {
    /// `always`, `interval(100ms)` or `never`.
    pub sync: SyncMode,
    /// Bytes after which a segment is closed.
    pub segment_bytes: u64,
    /// When the log is longer than this, the windows that hold its oldest samples are cut early. Not a bound: what no
    /// table holds stays on the log, so while the store is down the log grows past it.
    pub max_bytes: u64,
}

/// When acknowledged samples are made to survive the machine; the process they survive always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Before they are acknowledged.
    Always,
    /// This often.
    Interval(PromDuration),
    /// When the operating system likes to.
    Never,
}

/// A sync mode that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sync mode: write always, interval(100ms) or never")]
pub struct SyncModeError(String);

impl Default for Config {
    fn default() -> Config {
        Config {
            wal: WalSettings::default(),
            window: PromDuration::secs(2 * 3600),
            cut_after_window: PromDuration::secs(30 * 60),
            late_window_idle: PromDuration::secs(10 * 60),
            late_window_max: PromDuration::secs(30 * 60),
            check_interval: PromDuration::secs(5),
            cut_at_memory_percent: 75,
            retry_min: PromDuration::secs(1),
            retry_max: PromDuration::secs(60),
        }
    }
}

impl Default for WalSettings {
    fn default() -> WalSettings {
        WalSettings {
            sync: SyncMode::Interval(PromDuration(Duration::from_millis(100))),
            segment_bytes: 64 << 20,
            max_bytes: 8 << 30,
        }
    }
}

impl Config {
    /// Everything that makes no sense, with its key below `ingester`.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let window = self.window.millis();
        if window < 60_000 || 86_400_000 % window != 0 {
            violations.push(format!("window is {}, must divide a day and be at least 1m", self.window));
        }
        if self.wal.segment_bytes < 1 << 16 {
            violations
                .push(format!("wal.segment_bytes is {}, must be at least 65536", self.wal.segment_bytes));
        }
        if self.wal.max_bytes < 2 * self.wal.segment_bytes {
            violations.push("wal.max_bytes must be at least twice wal.segment_bytes".to_string());
        }
        if !(10..=100).contains(&self.cut_at_memory_percent) {
            violations.push(format!(
                "cut_at_memory_percent is {}, must be between 10 and 100",
                self.cut_at_memory_percent
            ));
        }
        for (key, duration) in [("check_interval", self.check_interval), ("retry_min", self.retry_min)] {
            if duration.is_zero() {
                violations.push(format!("{key} must be longer than 0"));
            }
        }
        violations
    }
}

impl FromStr for SyncMode {
    type Err = SyncModeError;

    fn from_str(text: &str) -> Result<SyncMode, SyncModeError> {
        let invalid = || SyncModeError(text.to_string());
        match text {
            "always" => Ok(SyncMode::Always),
            "never" => Ok(SyncMode::Never),
            _ => {
                let inside = text.strip_prefix("interval(").and_then(|rest| rest.strip_suffix(')'));
                let interval = parse_duration(inside.ok_or_else(invalid)?).map_err(|_| invalid())?;
                if interval.is_zero() {
                    Err(invalid())
                } else {
                    Ok(SyncMode::Interval(PromDuration(interval)))
                }
            }
        }
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncMode::Always => f.write_str("always"),
            SyncMode::Interval(interval) => write!(f, "interval({interval})"),
            SyncMode::Never => f.write_str("never"),
        }
    }
}

impl Serialize for SyncMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SyncMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SyncMode, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_mode_reads_back_as_it_is_written() {
        for text in ["always", "never", "interval(100ms)", "interval(1m30s)"] {
            assert_eq!(text.parse::<SyncMode>().unwrap().to_string(), text);
        }
        for bad in ["", "sometimes", "interval", "interval()", "interval(0)", "interval(5)", "interval(1s"] {
            assert!(bad.parse::<SyncMode>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_named() {
        assert_eq!(Config::default().violations(), Vec::<String>::new());
        let nonsense = Config {
            window: PromDuration::secs(7 * 3600),
            check_interval: PromDuration::secs(0),
            cut_at_memory_percent: 0,
            ..Config::default()
        };
        assert_eq!(nonsense.violations().len(), 3);
    }
}
