use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A process that ends with the test that started it, and whose output is kept.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    name: String,
    log: PathBuf,
}

impl Child {
    /// Starts `command`; both of its outputs go to `<dir>/<name>.log`.
    pub fn start(name: &str, mut command: Command, dir: &Path) -> io::Result<Child> {
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Child { child: command.spawn()?, name: name.to_string(), log })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended; waits for a moment until it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        wait_until(Duration::from_secs(60), || self.child.try_wait().ok().flatten())
    }

    /// The signal that ended it; waits for a moment until it has ended.
    pub fn killed_by(&mut self) -> Option<i32> {
        self.exit_status()?.signal()
    }

    /// A number of KiB from `/proc/<pid>/status`, such as `VmHWM`.
    pub fn status_kib(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks it to stop (SIGTERM) and waits for it.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        let pid = self.child.id().to_string();
        let _sent = Command::new("kill").args(["-TERM", &pid]).status();
        let ended = wait_until(Duration::from_secs(60), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            self.kill();
        }
        ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            eprintln!("--- the last lines of {}:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0");
    listener.and_then(|listener| listener.local_addr()).map_or(0, |address| address.port())
}

/// As many ports that were free a moment ago, no two alike.
pub fn free_ports(n: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..n).filter_map(|_| TcpListener::bind("127.0.0.1:0").ok()).collect();
    listeners.iter().filter_map(|l| l.local_addr().ok()).map(|address| address.port()).collect()
}

/// Asks again and again until there is an answer; `None` after `limit`.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The time of the machine.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
