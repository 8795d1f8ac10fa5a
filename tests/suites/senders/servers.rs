//! The servers of others: how they are started, and what their metrics say.

use std::fs;
use std::path::Path;
use std::process::Command;

use system_tests::{Child, free_port, get};

use super::await_for;

/// A server and where it answers.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) child: Child,
}

impl Server {
    /// Its own metrics.
    pub(super) fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.url), &[]).unwrap().body
    }
}

/// Starts a Prometheus whose configuration may name its own address.
pub(super) fn start_prometheus(
    name: &str,
    binary: &Path,
    dir: &Path,
    flags: &[&str],
    config: impl Fn(&str) -> String,
) -> Server {
    serve(name, dir, |port| {
        let address = format!("127.0.0.1:{port}");
        let file = dir.join(format!("{name}.yml"));
        fs::write(&file, config(&address)).unwrap();
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join(name).display()))
            .arg(format!("--web.listen-address={address}"))
            .args(flags);
        command
    })
}

/// Starts a server on a free port and waits until it answers.
pub(super) fn serve(name: &str, dir: &Path, command: impl Fn(u16) -> Command) -> Server {
    let port = free_port();
    let mut child = Child::start(name, command(port), dir).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    await_for(name, || {
        assert!(child.is_running(), "{name} died:\n{}", child.output());
        get(&format!("{url}/metrics"), &[]).is_ok_and(|answer| answer.status == 200).then_some(())
    });
    Server { url, child }
}

/// The address in a URL.
pub(super) fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_string()
}

/// The sum of all series of a metric in an exposition; with labels in `name`, of those that begin so.
pub(super) fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', ','])));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
