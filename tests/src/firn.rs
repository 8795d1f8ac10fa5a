use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::process::{Child, wait_until};

/// A running Firn whose data lie in a folder that outlives it.
#[derive(Debug)]
pub struct Firn {
    child: Child,
    url: String,
}

/// How to start it.
#[derive(Debug, Default, Clone)]
pub struct FirnOptions {
    /// Flags, such as `-ingester.wal.sync=always`.
    pub flags: Vec<String>,
    /// Environment, such as the fault to die of.
    pub env: Vec<(String, String)>,
}

impl Firn {
    /// Starts `binary` over `dir` and waits until its port answers. `Err` holds what it printed if it died first.
    pub fn start(binary: &str, dir: &Path, options: &FirnOptions) -> Result<Firn, String> {
        // Each start has a log file of its own, since the address is read from it.
        let n = std::fs::read_dir(dir).map_or(0, Iterator::count);
        let mut command = Command::new(binary);
        command
            .arg("-server.http-listen-port=0")
            .arg(format!("-storage.url={}", dir.join("tables").display()))
            .arg(format!("-storage.wal-dir={}", dir.join("wal").display()))
            .args(&options.flags)
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        let mut child = Child::start(&format!("firn-{n}"), command, dir).map_err(|e| e.to_string())?;
        let found = wait_until(Duration::from_secs(30), || match address(&child.output()) {
            Some(address) => Some(Ok(address)),
            None if child.is_running() => None,
            None => Some(Err(())),
        });
        match found {
            Some(Ok(address)) => Ok(Firn { child, url: format!("http://{address}") }),
            _ => Err(child.output()),
        }
    }

    /// Waits until it is ready; `Err` holds what it printed if it died or never was.
    pub fn ready(mut self) -> Result<Firn, String> {
        let url = format!("{}/ready", self.url);
        let ready = wait_until(Duration::from_secs(120), || match http::get(&url, &[]) {
            Ok(answer) if answer.status == 200 => Some(true),
            _ if self.child.is_running() => None,
            _ => Some(false),
        });
        if ready == Some(true) { Ok(self) } else { Err(self.child.output()) }
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Pushes lines in Prometheus's text format.
    pub fn import(&self, text: &str) -> Result<Answer, String> {
        http::post(&format!("{}/api/v1/import/prometheus", self.url), &[], text.as_bytes())
    }

    /// Flushes everything into the table.
    pub fn flush(&self) -> Result<Answer, String> {
        http::post(&format!("{}/flush", self.url), &[], &[])
    }

    /// `/api/v1/query`: the result.
    pub fn query(&self, query: &str, at: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = http::get_json(&url, &[("query", query), ("time", at)])?;
        Ok(answer["data"]["result"].clone())
    }
}

fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once(" address=")?;
    let (address, _) = rest.split_once(' ')?;
    Some(address.to_string())
}
