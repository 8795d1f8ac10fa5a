//! Hostile queries: tenants with a million series ask for more than there is room for, in every way there is, several at
//! the same time. Each query ends in a limit that names itself, the process keeps to its memory, and the tenant beside
//! them goes on.
//!
//! For the figures of `docs/performance.md` the binary comes from the environment: `HOSTILE_FIRN` names it,
//! `HOSTILE_SERIES` says how many series the first tenant has, and `HOSTILE_ROUNDS` how often the dashboard is loaded.

mod neighbour;
mod queries;
mod verdict;

use std::fmt::Write as _;

use system_tests::{Answer, Firn, FirnOptions, TimeSeries, WriteRequest, now_ms, post, seconds};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// Enough for the heads of 1,200,000 series, which need a third of it.
const LIMIT_MIB: u64 = 768;
/// What queries have of that beyond the process's own code, and what nobody states, such as the allocator's slack; in
/// percent.
const QUERIES_AND_SLACK_PERCENT: u64 = 14 + 22;
/// Series of one request.
const BATCH: usize = 5_000;
/// What a query of the tenant with a limit of its own may hold.
const OWN_LIMIT: u64 = 8 << 20;
/// How long hostile queries may take: a limit like the others.
const QUERY_TIMEOUT: &str = "30s";

/// Has a million series.
const HOSTILE: &str = "hostile";
/// Have a hundred thousand each; the first of them has `OWN_LIMIT`.
const OTHERS: [&str; 2] = ["hostile-b", "hostile-c"];

#[test]
fn hostile_queries_end_in_named_limits_while_a_neighbours_dashboard_goes_on() {
    let mut world = World::new();
    println!("{} series take {} MiB at the most", n_series(), world.hold("when it was loaded"));
    world.loaded_mib = world.resident();
    queries::end_in_limits(&mut world);
    println!("peak RSS {} MiB after hostile queries one by one", world.hold("one by one"));
    neighbour::goes_on(&mut world, "heads");
    // A flush of so many series takes a debug build longer than a request may wait; it goes on meanwhile.
    let flushed = (0..5).any(|_| world.firn.flush_all().is_ok());
    assert!(flushed, "not flushed after five requests");
    world.hold("after a flush");
    neighbour::goes_on(&mut world, "tables");
    println!("peak RSS {} MiB of {LIMIT_MIB}", world.hold("at the end"));
}

/// Of the first hostile tenant: a million unless the environment says otherwise.
fn n_series() -> usize {
    from_environment("HOSTILE_SERIES", 1_000_000)
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A process under a memory limit with the series of hostile tenants, all of one moment.
struct World {
    firn: Firn,
    /// When the samples were taken.
    at_ms: i64,
    /// What the process held before the first query.
    loaded_mib: u64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let overrides = dir.path().join("overrides.yaml");
        let mut limits = format!("overrides:\n  {HOSTILE}: {{query_timeout: {QUERY_TIMEOUT}}}\n");
        for (tenant, own) in OTHERS.iter().zip([format!("max_bytes_per_query: {OWN_LIMIT}, "), String::new()])
        {
            let _ = writeln!(limits, "  {tenant}: {{{own}query_timeout: {QUERY_TIMEOUT}}}");
        }
        std::fs::write(&overrides, limits).unwrap();
        let flags = [
            format!("-memory-limit={LIMIT_MIB}MiB"),
            "-multitenancy-enabled".to_string(),
            // What is asked for is in memory, and stays there until it is flushed.
            "-ingester.cut-at-memory-percent=100".to_string(),
            format!("-limits.overrides-file={}", overrides.display()),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let binary = std::env::var("HOSTILE_FIRN").unwrap_or_else(|_| FIRN.to_string());
        let firn = Firn::start(&binary, dir.path(), &FirnOptions::flags(&flags)).unwrap();
        let world = World { firn, at_ms: now_ms() - 60_000, loaded_mib: 0, _dir: dir };
        world.load(HOSTILE, n_series());
        OTHERS.iter().for_each(|tenant| world.load(tenant, n_series() / 10));
        world
    }

    /// Series of ten jobs, each with a number of its own as a label and as its value.
    fn load(&self, tenant: &str, n: usize) {
        for first in (0..n).step_by(BATCH) {
            let mut request = WriteRequest::default();
            for i in first..(first + BATCH).min(n) {
                let (job, number) = (format!("j{}", i % 10), i.to_string());
                let labels = [("__name__", "bomb"), ("job", job.as_str()), ("n", &number)];
                request.push(&TimeSeries::new(labels).sample(self.at_ms, i as f64));
            }
            self.push(tenant, &request);
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
        let mut form = format!("{}={}", when.asks_by, escaped(query));
        for (name, value) in &when.parameters {
            let _ = write!(form, "&{name}={}", escaped(value));
        }
        let headers = [("X-Scope-OrgID", tenant), ("Content-Type", "application/x-www-form-urlencoded")];
        post(&format!("{}/api/v1/{}", self.firn.url(), when.path), &headers, form.as_bytes()).unwrap()
    }

    fn now(&self) -> When {
        When { path: "query", asks_by: "query", parameters: vec![("time", seconds(self.at_ms))] }
    }

    fn an_hour_later(&self) -> When {
        When { parameters: vec![("time", seconds(self.at_ms + 3_600_000))], ..self.now() }
    }

    /// As many steps as a query may have, a second apart, from when the samples were taken.
    fn eleven_thousand_steps(&self) -> When {
        let end = self.at_ms + 10_999_000;
        let parameters =
            vec![("start", seconds(self.at_ms)), ("end", seconds(end)), ("step", "1".to_string())];
        When { path: "query_range", asks_by: "query", parameters }
    }

    /// A list of the series that match.
    fn listed(&self) -> When {
        let (start, end) = (seconds(self.at_ms - 60_000), seconds(self.at_ms + 60_000));
        When { path: "series", asks_by: "match[]", parameters: vec![("start", start), ("end", end)] }
    }

    /// The peak of RSS in MiB, which must be within the limit and a tenth.
    fn hold(&mut self, when: &str) -> u64 {
        let child = self.firn.child();
        let peak =
            child.status_kib("VmHWM").unwrap_or_else(|| panic!("{when}: it is gone:\n{}", child.output()))
                >> 10;
        let allowed = LIMIT_MIB * 11 / 10;
        assert!(peak <= allowed, "{when}: RSS was {peak} MiB, allowed are {allowed} MiB");
        peak
    }

    /// RSS now, in MiB.
    fn resident(&mut self) -> u64 {
        self.firn.child().status_kib("VmRSS").unwrap_or_default() >> 10
    }

    /// A number of the process's own metrics.
    fn metric(&self, name: &str) -> f64 {
        self.firn.metric(name).unwrap().unwrap_or(0.0)
    }
}

/// An endpoint, what the question is called there, and its times.
#[derive(Debug, Clone)]
struct When {
    path: &'static str,
    asks_by: &'static str,
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
