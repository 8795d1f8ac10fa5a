//! The load generator says the same in every protocol, and what Prometheus 3.15 makes of it is what Firn has.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use system_tests::{FirnOptions, now_ms, part};

use super::sameness::{Mortal, Pair, Window, folder};
use super::servers::{Server, start_prometheus};

const LOADGEN: &str = env!("CARGO_BIN_EXE_firn-loadgen-under-test");
/// Two node_exporters and a service with 60 histograms of thirteen series.
const SERIES: u64 = 2 * 507 + 60 * 13;
const SAMPLES: u64 = 20;

#[test]
fn the_load_generator_says_the_same_in_every_protocol() {
    let Some(prometheus) = part("bin/prometheus") else { return };
    let mut mortal = Mortal::start(FirnOptions::default());
    let dir = folder(&mortal, "references");
    let end = now_ms() / 1000 - 30;
    let firn = mortal.firn().url().to_string();
    let send =
        |protocol: &str, url: &str, tenant: &str, more: &[&str]| send(protocol, url, tenant, end, more);
    let everything = ["--histograms=both", "--exemplars=0.02"];

    // Prometheus refuses exemplars without samples in remote write 2.0, so what it has of 1.0 is the truth for both.
    let written = reference("written", &prometheus, &dir);
    send("rw1", &format!("{}/api/v1/write", written.url), "-", &everything);
    for protocol in ["rw1", "rw1-zstd", "rw2"] {
        send(protocol, &format!("{firn}/api/v1/push"), protocol, &everything);
    }
    let exported = reference("exported", &prometheus, &dir);
    send("otlp-http", &format!("{}/api/v1/otlp/v1/metrics", exported.url), "-", &everything);
    for (protocol, path) in
        [("otlp-http", "/otlp/v1/metrics"), ("otlp-json", "/otlp/v1/metrics"), ("otlp-grpc", "")]
    {
        send(protocol, &format!("{firn}{path}"), protocol, &everything);
    }
    let plain = reference("plain", &prometheus, &dir);
    send("rw1", &format!("{}/api/v1/write", plain.url), "-", &[]);
    send("text", &format!("{firn}/api/v1/import/prometheus"), "text", &[]);

    let pair = |what: &'static str, reference: &Server, exemplars| Pair {
        what,
        prometheus: reference.url.clone(),
        tenant: what.to_string(),
        exemplars,
    };
    let mut pairs: Vec<Pair> = ["rw1", "rw1-zstd", "rw2"].map(|what| pair(what, &written, true)).into();
    pairs.extend(["otlp-http", "otlp-json", "otlp-grpc"].map(|what| pair(what, &exported, true)));
    pairs.push(pair("text", &plain, false));
    mortal.check_through_its_life(&pairs, Window { from: (end - 600) * 1000, to: end * 1000 });
}

/// Runs it; nothing may be refused, and by its own count all was taken.
fn send(protocol: &str, url: &str, tenant: &str, end: i64, more: &[&str]) {
    let mut command = Command::new(LOADGEN);
    command
        .args(["metrics", "--json", "--targets=2", "--services=1", "--connections=2", "--metadata"])
        .arg(format!("--samples={SAMPLES}"))
        .args([format!("--protocol={protocol}"), format!("--url={url}"), format!("--end={end}")])
        .arg(format!("--tenant={tenant}"))
        .args(more);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{protocol} to {url}: {errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    let native = if more.is_empty() { 0 } else { 60 };
    assert_eq!(count("samples"), (SERIES + native) * SAMPLES, "{report}");
    assert_eq!((count("samples_in_refused_requests"), count("data_points_rejected")), (0, 0), "{report}");
    if protocol == "rw2" {
        let written = ["samples_written", "histograms_written", "exemplars_written"].map(count);
        assert_eq!(written, [SERIES * SAMPLES, native * SAMPLES, count("exemplars")], "{report}");
        assert_eq!(count("answers_without_written_counts"), 0);
    }
}

fn reference(name: &str, binary: &Path, dir: &Path) -> Server {
    let flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
    ];
    start_prometheus(name, binary, dir, &flags, |_| {
        "global: {}\nstorage: {tsdb: {out_of_order_time_window: 1h}}\n".to_string()
    })
}
