use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::process::{Child, wait_until};
use crate::remote_write::WriteRequest;

/// A running Firn whose data lie in a folder that outlives it.
#[derive(Debug)]
pub struct Firn {
    child: Child,
    url: String,
    dir: PathBuf,
}

/// How to start it.
#[derive(Debug, Default, Clone)]
pub struct FirnOptions {
    /// Flags, such as `-ingester.wal.sync=always`.
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

/// Raw samples as a query shows them: by series, timestamp and bits. Of a histogram, the bits of its count.
pub type Samples = BTreeMap<String, Vec<(i64, u64)>>;

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
        command
            .arg("-server.http-listen-port=0")
            .arg(format!("-storage.url={}", dir.join("tables").display()))
            .arg(format!("-storage.wal-dir={}", dir.join("wal").display()))
            .args(&options.flags)
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        let mut child = Child::start(&format!("firn-{n}"), command, dir).map_err(|e| e.to_string())?;
        let found = wait_until(Duration::from_secs(60), || match address(&child.output()) {
            Some(address) => Some(Some(address)),
            None if child.is_running() => None,
            None => Some(None),
        });
        let address = match found {
            Some(Some(address)) => address,
            Some(None) => return Ok(died(child)),
            None => return Err(format!("no address after a minute\n{}", child.output())),
        };
        let url = format!("http://{address}");
        let ready = wait_until(Duration::from_secs(120), || match http::get(&format!("{url}/ready"), &[]) {
            Ok(answer) if answer.status == 200 => Some(true),
            _ if child.is_running() => None,
            _ => Some(false),
        });
        match ready {
            Some(true) => Ok(Started::Ready(Firn { child, url, dir: dir.to_path_buf() })),
            Some(false) => Ok(died(child)),
            None => Err(format!("not ready after two minutes\n{}", child.output())),
        }
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
        &self.url
    }

    /// The port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Where its data lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Pushes lines in Prometheus's text format.
    pub fn import(&self, text: &str) -> Result<Answer, String> {
        http::post(&format!("{}/api/v1/import/prometheus", self.url), &[], text.as_bytes())
    }

    /// Pushes by remote write, as Prometheus does.
    pub fn push(&self, request: &WriteRequest) -> Result<Answer, String> {
        push(&self.url, None, request)
    }

    /// Pushes by remote write as this tenant.
    pub fn push_as(&self, tenant: &str, request: &WriteRequest) -> Result<Answer, String> {
        push(&self.url, Some(tenant), request)
    }

    /// Sends bytes to the remote write endpoint with the headers of a remote write.
    pub fn push_bytes(&self, bytes: &[u8]) -> Result<Answer, String> {
        let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
        http::post(&format!("{}/api/v1/push", self.url), &headers, bytes)
    }

    /// Flushes everything into the table.
    pub fn flush(&self) -> Result<Answer, String> {
        flush(&self.url)
    }

    /// Flushes, which must succeed.
    pub fn flush_all(&self) -> Result<(), String> {
        match self.flush()? {
            answer if (200..300).contains(&answer.status) => Ok(()),
            answer => Err(format!("/flush answered {}: {}", answer.status, answer.body)),
        }
    }

    /// `/api/v1/query`: the result.
    pub fn query(&self, query: &str, at: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = http::get_json(&url, &[("query", query), ("time", at)])?;
        Ok(answer["data"]["result"].clone())
    }

    /// The single number that a query answers.
    pub fn number(&self, query: &str, at: &str) -> Result<f64, String> {
        let result = self.query(query, at)?;
        let text = result[0]["value"][1].as_str();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{query} answered {result}"))
    }

    /// The raw samples of a selector, from `from_ms` to `to_ms`, both included.
    pub fn samples(&self, selector: &str, from_ms: i64, to_ms: i64) -> Result<Samples, String> {
        let range = to_ms - from_ms + 1;
        let result = self.query(&format!("{selector}[{range}ms]"), &seconds(to_ms))?;
        let mut samples = Samples::new();
        for series in result.as_array().into_iter().flatten() {
            let labels: BTreeMap<String, Value> =
                serde_json::from_value(series["metric"].clone()).map_err(|e| e.to_string())?;
            let list = samples.entry(serde_json::to_string(&labels).unwrap_or_default()).or_default();
            for pair in series["values"].as_array().into_iter().flatten() {
                list.push((millis(&pair[0])?, parse(&pair[1])?));
            }
            for pair in series["histograms"].as_array().into_iter().flatten() {
                list.push((millis(&pair[0])?, parse(&pair[1]["count"])?));
            }
            list.sort_unstable();
        }
        Ok(samples)
    }

    /// The sum of all series of one of its own metrics, by the name in the exposition; `None` when there is none.
    pub fn metric(&self, name: &str) -> Result<Option<f64>, String> {
        let text = http::get(&format!("{}/metrics", self.url), &[])?.body;
        let mut sum = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            if series.split('{').next() == Some(name) {
                *sum.get_or_insert(0.0) += value.parse::<f64>().unwrap_or(f64::NAN);
            }
        }
        Ok(sum)
    }
}

/// Pushes by remote write to the Firn at `url`.
pub fn push(url: &str, tenant: Option<&str>, request: &WriteRequest) -> Result<Answer, String> {
    let mut headers = vec![
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ("User-Agent", "Prometheus/3.15.0"),
    ];
    headers.extend(tenant.map(|tenant| ("X-Scope-OrgID", tenant)));
    http::post(&format!("{url}/api/v1/push"), &headers, &request.snappy())
}

/// Flushes the Firn at `url`.
pub fn flush(url: &str) -> Result<Answer, String> {
    http::post(&format!("{url}/flush"), &[], &[])
}

/// Milliseconds as the API takes times.
pub fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

fn millis(value: &Value) -> Result<i64, String> {
    let secs = value.as_f64().ok_or_else(|| format!("{value} is no time"))?;
    Ok((secs * 1000.0).round() as i64)
}

fn parse(value: &Value) -> Result<u64, String> {
    let number: Option<f64> = value.as_str().and_then(|text| text.parse().ok());
    number.map(f64::to_bits).ok_or_else(|| format!("{value} is no number"))
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
