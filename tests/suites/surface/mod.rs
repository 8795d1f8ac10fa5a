//! What an operator sees: configuration, routes, logs, a stop in good order; and the README's first minute.

mod document;
mod limits;
mod paths;
mod schema;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use system_tests::{Firn, FirnOptions, TimeSeries, WriteRequest, get, get_json, now_ms, post};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

fn start(dir: &tempfile::TempDir, flags: &[&str]) -> Firn {
    Firn::start(FIRN, dir.path(), &FirnOptions::flags(flags)).unwrap()
}

#[test]
fn the_first_minute_of_the_readme_is_true() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("## Sixty seconds to a first query").unwrap();
    let script = rest.split("```").nth(1).unwrap().trim_start_matches("sh\n");
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    // The README's port and folder are the defaults; here they are the test's.
    let script = script.replace("127.0.0.1:9009", firn.address()).replace("data/tables", "tables");
    println!("{script}");
    let output =
        Command::new("sh").arg("-e").arg("-c").arg(&script).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).to_string();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let expected =
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[";
    assert!(said.contains(expected) && said.contains(",\"7\"]"), "{said}");
    assert!(said.contains("_delta_log") && said.contains("day="), "{said}");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_everything_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("firn.yaml");
    std::fs::write(
        &file,
        "limits: {defaults: {max_serie: 1}}\nserver: {http_listen_port: many}\nnonsense: 1\n",
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(FIRN).args(arguments).env("FIRN_NO_SUCH_KEY", "1").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).to_string())
    };
    let (succeeded, said) = run(&[&format!("-config.file={}", file.display())]);
    assert!(!succeeded);
    for part in ["max_serie", "http_listen_port", "nonsense", "FIRN_NO_SUCH_KEY"] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let (succeeded, said) = run(&["-server.http-lisen-port=1"]);
    assert!(!succeeded && said.contains("http-lisen-port"), "{said}");

    let print = |flags: &[&str]| {
        let output = Command::new(FIRN).args(flags).arg("--print-config").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = print(&["--memory-limit", "300MiB", "-ingester.wal.sync=always"]);
    assert!(printed.contains("memory_limit: 300MiB") && printed.contains("sync: always"), "{printed}");
    // What is printed is a configuration file that means the same.
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(print(&[&format!("-config.file={}", file.display())]), printed);
}

#[test]
fn operators_routes_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut firn = start(&dir, &["-server.log-format=json", "-server.log-level=debug"]);
    let ask = |path: &str| get(&format!("{}{path}", firn.url()), &[]).unwrap();
    for path in ["/ready", "/-/ready", "/-/healthy", "/metrics", "/config", "/services", "/log_level", "/"] {
        assert_eq!(ask(path).status, 200, "{path}");
    }
    assert!(ask("/config").body.contains("log_format: json"));
    assert!(ask("/services").body.contains("ingester => Running"), "{}", ask("/services").body);
    let metrics = ask("/metrics");
    assert!(metrics.header("content-type").is_some_and(|t| t.contains("openmetrics")));
    assert!(metrics.body.ends_with("# EOF\n"));
    let set = |level: &str| post(&format!("{}/log_level?log_level={level}", firn.url()), &[], &[]).unwrap();
    assert_eq!(set("warn").status, 200);
    assert_eq!(ask("/log_level").body, "warn\n");
    assert_eq!(set("ingester=loud").status, 400);
    for prefix in ["", "/prometheus"] {
        let info = get_json(&format!("{}{prefix}/api/v1/status/buildinfo", firn.url()), &[]).unwrap();
        assert_eq!(info["data"]["application"], "firn");
    }
    for line in firn.child().output().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(entry["level"].is_string(), "{line}");
    }
}

#[test]
fn a_stop_loses_nothing_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut firn = start(&dir, &[]);
    let base = now_ms() - 600_000;
    let url = firn.url().to_string();
    let acknowledged = AtomicUsize::new(0);
    let status = thread::scope(|scope| {
        let client = scope.spawn(|| {
            for i in 0.. {
                let mut request = WriteRequest::default();
                request.push(&TimeSeries::named("stopped", "a").sample(base + i, i as f64));
                match system_tests::push(&url, None, &request) {
                    Ok(answer) if answer.status == 204 => acknowledged.fetch_add(1, Ordering::Relaxed),
                    Ok(answer) => return answer.status,
                    Err(_) => return 0,
                };
            }
            0
        });
        while acknowledged.load(Ordering::Relaxed) < 200 && !client.is_finished() {
            thread::yield_now();
        }
        let status = firn.child().terminate();
        let last = client.join().unwrap();
        assert!([0, 503].contains(&last), "the last push was answered {last}");
        status
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", firn.child().output());
    let n = acknowledged.into_inner();
    let firn = start(&dir, &[]);
    let stored = firn.samples("stopped", base, base + n as i64 + 1).unwrap();
    let samples: Vec<(i64, u64)> = stored.into_values().flatten().collect();
    // One more may have been stored whose acknowledgement did not come.
    assert!([n, n + 1].contains(&samples.len()), "{} stored, {n} acknowledged", samples.len());
    assert!(
        samples
            .iter()
            .enumerate()
            .all(|(i, (at, bits))| *at == base + i as i64 && *bits == (i as f64).to_bits())
    );
    println!("{n} samples acknowledged before SIGTERM, all there after it");
}
