use std::fs;

/// What the kernel knows about this process (Linux, `man 5 proc`). What cannot be read is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStats {
    /// User and system time, in seconds.
    pub cpu_secs: f64,
    /// Memory held now.
    pub resident_bytes: u64,
    /// Files and sockets.
    pub open_fds: u64,
    /// When it started, in seconds since the Unix epoch.
    pub start_secs: f64,
}

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux that matters.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessStats {
    /// Asks the kernel.
    pub fn read() -> ProcessStats {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name in parentheses may hold spaces; fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        ProcessStats {
            cpu_secs: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
            resident_bytes: crate::resident_bytes(),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            start_secs: boot_secs() + ticks(19) / TICKS_PER_SECOND,
        }
    }
}

fn boot_secs() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime ")).unwrap_or_default();
    line.trim().parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_about_itself() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes > 100_000 && stats.open_fds > 2, "{stats:?}");
        let now = crate::Clock::system().now_ms() as f64 / 1000.0;
        assert!((now - stats.start_secs).abs() < 24.0 * 3600.0, "{stats:?}");
    }
}
