use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::process::{Child, free_port, wait_until};
use crate::remote_write::WriteRequest;

/// A real Prometheus, as the one whose answers Firn's are held against. It ends with the test.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    child: Child,
}

/// Everything of today's PromQL and of its storage that is off unless asked for.
const FEATURES: &str = "exemplar-storage,promql-per-step-stats,promql-experimental-functions,\
                        promql-extended-range-selectors,promql-binop-fill-modifiers";

impl Prometheus {
    /// Starts one that takes remote writes and scrapes nothing, its data in `dir`; waits until it is ready.
    pub fn start(binary: &Path, dir: &Path, flags: &[&str]) -> Result<Prometheus, String> {
        let port = free_port();
        let config = dir.join("prometheus.yml");
        fs::write(&config, "global: {}\n").map_err(|e| e.to_string())?;
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-remote-write-receiver", &format!("--enable-feature={FEATURES}")])
            .args(flags);
        let child = Child::start("prometheus", command, dir).map_err(|e| e.to_string())?;
        let url = format!("http://127.0.0.1:{port}");
        let ready = format!("{url}/-/ready");
        let is_ready = || http::get(&ready, &[]).ok().filter(|answer| answer.status == 200);
        match wait_until(Duration::from_secs(30), is_ready) {
            Some(_) => Ok(Prometheus { url, child }),
            None => Err(format!("not ready after 30 s:\n{}", child.output())),
        }
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Pushes by remote write 1.0; it must take everything.
    pub fn push(&self, request: &WriteRequest) -> Result<(), String> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let answer = http::post(&format!("{}/api/v1/write", self.url), &headers, &request.snappy())?;
        match answer.status {
            204 => Ok(()),
            status => Err(format!("Prometheus answered {status}: {}", answer.body)),
        }
    }
}
