//! A role's own binary, as whoever runs it meets it: it explains itself, refuses what it cannot do by name, comes up,
//! and ends when it is told to.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The binary of a role, and what it needs to start.
#[derive(Debug)]
pub struct RoleBinary<'a> {
    /// Where it is.
    pub path: &'a str,
    /// Its target.
    pub role: &'a str,
    /// With what it starts, beside its port, its tables and its log.
    pub flags: &'a [&'a str],
    /// What `/ready` says once it is up: of most roles `ready`, of others what they miss.
    pub ready: &'a str,
}

/// How long it may take to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

impl RoleBinary<'_> {
    /// Checks everything. `Err` says what is not so.
    pub fn check(&self) -> Result<(), String> {
        self.explains_itself()?;
        self.refuses_another_role()?;
        self.refuses_nonsense()?;
        let dir = std::env::temp_dir().join(format!("firn-role-{}-{}", self.role, std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let lived = self.lives_and_ends(&dir);
        let _gone = fs::remove_dir_all(&dir);
        lived
    }

    fn explains_itself(&self) -> Result<(), String> {
        let help = self.run(&["--help"])?;
        let text = String::from_utf8_lossy(&help.stdout);
        let names_its_flags = ["-config.file", "-target", "-server.http-listen-port"];
        let missing = names_its_flags.into_iter().find(|flag| !text.contains(flag));
        match missing {
            _ if !help.status.success() => Err(format!("--help ended with {}", help.status)),
            Some(flag) => Err(format!("--help does not name {flag}: {text}")),
            None => Ok(()),
        }
    }

    fn refuses_another_role(&self) -> Result<(), String> {
        for flags in [&["-config.verify"][..], &["-config.verify", &format!("-target={}", self.role)]] {
            let verified = self.run(flags)?;
            if !verified.status.success() {
                return Err(format!("{flags:?} is refused: {}", String::from_utf8_lossy(&verified.stderr)));
            }
        }
        let other = if self.role == "querier" { "-target=compactor" } else { "-target=querier" };
        self.is_refused(&["-config.verify", other], &format!("which has: {}", self.role))
    }

    fn refuses_nonsense(&self) -> Result<(), String> {
        self.is_refused(&["-rpc.push-timeout=0s"], "rpc.push_timeout is 0s")?;
        self.is_refused(&["-server.no-such-key=1"], "-server.no-such-key")?;
        self.is_refused(&["-config.file=/nowhere/firn.yaml"], "/nowhere/firn.yaml")
    }

    /// Ends with an error that names `what`, without having done anything.
    fn is_refused(&self, flags: &[&str], what: &str) -> Result<(), String> {
        let refused = self.run(flags)?;
        let text = String::from_utf8_lossy(&refused.stderr);
        let is_refused = !refused.status.success() && text.contains(what);
        if is_refused { Ok(()) } else { Err(format!("{flags:?} ended with {}: {text}", refused.status)) }
    }

    fn run(&self, flags: &[&str]) -> Result<Output, String> {
        Command::new(self.path).args(flags).output().map_err(|e| format!("{}: {e}", self.path))
    }

    fn lives_and_ends(&self, dir: &Path) -> Result<(), String> {
        let log = dir.join("log");
        let out = File::create(&log).map_err(|e| e.to_string())?;
        let mut command = Command::new(self.path);
        command
            .arg("-server.http-listen-port=0")
            .arg(format!("-storage.url={}", dir.join("tables").display()))
            .arg(format!("-storage.wal-dir={}", dir.join("wal").display()))
            .args(["-distributor.otlp-grpc-listen-address=", "-distributor.otlp-http-listen-address="])
            .args(self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out);
        let child = command.spawn().map_err(|e| e.to_string())?;
        let mut process = Process { child, log };
        let address = process.until("an address", |log| {
            let (_, rest) = log.split_once(" address=")?;
            Some(rest[..rest.find(' ')?].to_string())
        })?;
        process.until("its readiness", |_| get(&address, "/ready").filter(|answer| answer == self.ready))?;
        let services = get(&address, "/services").unwrap_or_default();
        if !services.contains(&format!("{} => ", self.role)) {
            return Err(format!("/services does not name {}: {services}", self.role));
        }
        let pid = process.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().map_err(|e| e.to_string())?;
        let ended = process.end()?;
        let output = process.output();
        match ended.success() && output.contains("stopped") && !output.contains("panicked") {
            true => Ok(()),
            false => Err(format!("told to stop it ended with {ended}:\n{output}")),
        }
    }
}

/// Killed when the check is over, however it ends.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn until<T>(&mut self, what: &str, ask: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let start = Instant::now();
        loop {
            if let Some(found) = ask(&self.output()) {
                return Ok(found);
            }
            let is_gone = !matches!(self.child.try_wait(), Ok(None));
            if is_gone || start.elapsed() > PATIENCE {
                let why = if is_gone { "it is gone" } else { "it takes too long" };
                return Err(format!("waiting for {what}: {why}\n{}", self.output()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&mut self) -> Result<ExitStatus, String> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
                Ok(None) => return Err(format!("told to stop it goes on\n{}", self.output())),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What is answered to a request without a body, whatever the status.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.trim_end().to_string())
}
