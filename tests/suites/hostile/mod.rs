//! Hostile queries: a tenant with a million series asks for more than there is room for, in every way there is. Each
//! query ends in a limit that names itself, the process keeps to its memory, and the tenant beside it goes on.

mod neighbour;
mod queries;

use std::fmt::Write as _;

use system_tests::{Answer, Firn, FirnOptions, TimeSeries, WriteRequest, now_ms, post, seconds};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// A million unless the environment says otherwise.
fn n_series() -> usize {
    std::env::var("HOSTILE_SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// Enough for a head of a million series, of which queries have a seventh.
const LIMIT_MIB: u64 = 1_536;
/// Series of one request.
const BATCH: usize = 5_000;
/// What the hostile tenant's queries may hold.
const QUERY_BYTES: u64 = 96 << 20;

/// How long they may take.
const QUERY_TIMEOUT: &str = "20s";

const HOSTILE: &str = "hostile";

#[test]
fn hostile_queries_end_in_named_limits_while_a_neighbours_dashboard_goes_on() {
    let mut world = World::new();
    let loaded = world.hold("when it was loaded");
    println!("{} series take {loaded} MiB at the most", n_series());
    neighbour::goes_on(&mut world);
    queries::end_in_limits(&mut world);
    println!("peak RSS {} MiB", world.hold("at the end"));
}

/// A process under a memory limit with the series of a hostile tenant, all of one moment.
struct World {
    firn: Firn,
    /// When the samples were taken.
    at_ms: i64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let overrides = dir.path().join("overrides.yaml");
        let limits = format!("{{max_bytes_per_query: {QUERY_BYTES}, query_timeout: {QUERY_TIMEOUT}}}");
        let limits = format!("overrides: {{{HOSTILE}: {limits}}}");
        std::fs::write(&overrides, limits).unwrap();
        let flags = [
            format!("-memory-limit={LIMIT_MIB}MiB"),
            "-multitenancy-enabled".to_string(),
            // What is asked for is in memory, and stays there.
            "-ingester.cut-at-memory-percent=100".to_string(),
            format!("-limits.overrides-file={}", overrides.display()),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let firn = Firn::start(FIRN, dir.path(), &FirnOptions::flags(&flags)).unwrap();
        let world = World { firn, at_ms: now_ms() - 60_000, _dir: dir };
        world.load();
        world
    }

    /// Series of ten jobs, each with a number of its own as a label and as its value.
    fn load(&self) {
        let n = n_series();
        for first in (0..n).step_by(BATCH) {
            let mut request = WriteRequest::default();
            for i in first..(first + BATCH).min(n) {
                let (job, number) = (format!("j{}", i % 10), i.to_string());
                let labels = [("__name__", "bomb"), ("job", job.as_str()), ("n", &number)];
                request.push(&TimeSeries::new(labels).sample(self.at_ms, i as f64));
            }
            self.push(HOSTILE, &request);
        }
    }

    fn push(&self, tenant: &str, request: &WriteRequest) {
        let headers = [
            ("X-Scope-OrgID", tenant),
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
        ];
        let answer = post(&format!("{}/api/v1/push", self.firn.url()), &headers, &request.snappy()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// Asks by POST, since the query may be long.
    fn ask(&self, tenant: &str, query: &str, when: &When) -> Answer {
        let mut form = format!("query={}", escaped(query));
        for (name, value) in &when.parameters {
            let _ = write!(form, "&{name}={}", escaped(value));
        }
        let headers = [("X-Scope-OrgID", tenant), ("Content-Type", "application/x-www-form-urlencoded")];
        post(&format!("{}/api/v1/{}", self.firn.url(), when.path), &headers, form.as_bytes()).unwrap()
    }

    fn now(&self) -> When {
        When { path: "query", parameters: vec![("time", seconds(self.at_ms))] }
    }

    /// As many steps as a query may have, a second apart, from when the samples were taken.
    fn eleven_thousand_steps(&self) -> When {
        let end = self.at_ms + 10_999_000;
        let parameters =
            vec![("start", seconds(self.at_ms)), ("end", seconds(end)), ("step", "1".to_string())];
        When { path: "query_range", parameters }
    }

    /// The peak of RSS in MiB, which must be within the limit and a tenth.
    fn hold(&mut self, when: &str) -> u64 {
        let child = self.firn.child();
        let peak =
            child.status_kib("VmHWM").unwrap_or_else(|| panic!("{when}: it is gone:\n{}", child.output()));
        let allowed = (LIMIT_MIB << 10) * 11 / 10;
        assert!(peak <= allowed, "{when}: RSS was {peak} KiB, allowed are {allowed} KiB");
        peak >> 10
    }

    /// A number of the process's own metrics.
    fn metric(&self, name: &str) -> f64 {
        self.firn.metric(name).unwrap().unwrap_or(0.0)
    }
}

/// An endpoint, and the times of a query.
#[derive(Debug, Clone)]
struct When {
    path: &'static str,
    parameters: Vec<(&'static str, String)>,
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}
