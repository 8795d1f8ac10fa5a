use std::fs;

use anyhow::Context;

/// CPU and memory of another process, by `/proc`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

/// Clock ticks a second in `/proc/<pid>/stat`; 100 on every Linux that matters (`man 5 proc`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(crate) fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name in parentheses may hold spaces; fields are counted after it.
        let (_, fields) = stat.rsplit_once(") ").with_context(|| path.clone())?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
    }

    /// Peak and current resident memory, in bytes.
    pub(crate) fn rss(&self) -> anyhow::Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let kib = |key: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Ok((kib("VmHWM:") * 1024, kib("VmRSS:") * 1024))
    }
}
