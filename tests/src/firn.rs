use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::process::{Child, wait_until};
use crate::surface::{Surface, metric};

/// A running Firn whose data lie in a folder that outlives it.
#[derive(Debug)]
pub struct Firn {
    child: Child,
    surface: Surface,
    dir: PathBuf,
}

/// The environment of a process that does not take the ports of OpenTelemetry unless a flag says so: many run side by
/// side, and these ports are one each.
pub(crate) const NO_OTLP_PORTS: [(&str, &str); 2] =
    [("FIRN_DISTRIBUTOR__OTLP_GRPC_LISTEN_ADDRESS", ""), ("FIRN_DISTRIBUTOR__OTLP_HTTP_LISTEN_ADDRESS", "")];

/// How to start it.
#[derive(Debug, Default, Clone)]
pub struct FirnOptions {
    /// Flags, such as `-ingester.wal.sync=always`. The tables lie in the folder unless `-storage.url` is among them.
    pub flags: Vec<String>,
    /// Environment, such as the fault to die of.
    pub env: Vec<(String, String)>,
}

/// What became of a start.
#[derive(Debug)]
pub enum Started {
    /// It is ready.
    Ready(Firn),
    /// It is gone.
    Died {
        /// By which signal.
        signal: Option<i32>,
        /// What it printed.
        output: String,
    },
}

impl FirnOptions {
    /// Options with these flags.
    pub fn flags(flags: &[&str]) -> FirnOptions {
        FirnOptions { flags: flags.iter().map(ToString::to_string).collect(), env: Vec::new() }
    }

    /// These options and one variable of the environment.
    pub fn with_env(mut self, name: &str, value: &str) -> FirnOptions {
        self.env.push((name.to_string(), value.to_string()));
        self
    }
}

impl Firn {
    /// Starts `binary` over `dir` and waits until it is ready or gone.
    pub fn start_or_die(binary: &str, dir: &Path, options: &FirnOptions) -> Result<Started, String> {
        // Each start has a log file of its own, since the address is read from it.
        let n = std::fs::read_dir(dir).map_or(0, Iterator::count);
        let mut command = Command::new(binary);
        if !options.flags.iter().any(|flag| flag.starts_with("-storage.url=")) {
            command.arg(format!("-storage.url={}", dir.join("tables").display()));
        }
        command
            .arg("-server.http-listen-port=0")
            .arg(format!("-storage.wal-dir={}", dir.join("wal").display()))
            .envs(NO_OTLP_PORTS)
            .args(&options.flags)
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        let mut child = Child::start(&format!("firn-{n}"), command, dir).map_err(|e| e.to_string())?;
        let Some(url) = await_ready(&mut child)? else { return Ok(died(child)) };
        Ok(Started::Ready(Firn { child, surface: Surface::of_one(&url), dir: dir.to_path_buf() }))
    }

    /// Starts `binary` over `dir` and waits until it is ready. `Err` holds what it printed if it died.
    pub fn start(binary: &str, dir: &Path, options: &FirnOptions) -> Result<Firn, String> {
        match Firn::start_or_die(binary, dir, options)? {
            Started::Ready(firn) => Ok(firn),
            Started::Died { signal, output } => Err(format!("firn died (signal {signal:?}):\n{output}")),
        }
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.surface.push
    }

    /// The port.
    pub fn address(&self) -> &str {
        self.url().trim_start_matches("http://")
    }

    /// Where its data lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The sum of all series of one of its own metrics, by the name in the exposition; `None` when there is none.
    pub fn metric(&self, name: &str) -> Result<Option<f64>, String> {
        metric(self.url(), name)
    }
}

/// What is asked of it over HTTP.
impl Deref for Firn {
    type Target = Surface;

    fn deref(&self) -> &Surface {
        &self.surface
    }
}

/// Waits until the process is ready and says where it listens; `None` when it is gone.
pub(crate) fn await_ready(child: &mut Child) -> Result<Option<String>, String> {
    let found = wait_until(Duration::from_secs(60), || match address(&child.output()) {
        Some(address) => Some(Some(address)),
        None if child.is_running() => None,
        None => Some(None),
    });
    let address = match found {
        Some(Some(address)) => address,
        Some(None) => return Ok(None),
        None => return Err(format!("no address after a minute\n{}", child.output())),
    };
    let url = format!("http://{address}");
    let ready = wait_until(Duration::from_secs(120), || match http::get(&format!("{url}/ready"), &[]) {
        Ok(answer) if answer.status == 200 => Some(true),
        _ if child.is_running() => None,
        _ => Some(false),
    });
    match ready {
        Some(true) => Ok(Some(url)),
        Some(false) => Ok(None),
        None => Err(format!("not ready after two minutes\n{}", child.output())),
    }
}

fn died(mut child: Child) -> Started {
    let signal = child.killed_by();
    Started::Died { signal, output: child.output() }
}

/// What follows `address=` in a line of logfmt, or `"address":"` in one of JSON.
fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once(" address=").or_else(|| log.split_once("\"address\":\""))?;
    let end = rest.find([' ', '"'])?;
    Some(rest[..end].to_string())
}
