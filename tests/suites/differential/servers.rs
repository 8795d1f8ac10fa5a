//! The servers that are compared, with the same data in each.

use std::process::Command;
use std::time::Duration;

use system_tests::{
    Answer, Child, Firn, FirnOptions, free_port, get, now_ms, part, post, post_form, wait_until,
};

use super::data::{MINUTE_MS, SPAN_MS, Slab, slabs};
use super::queries::Query;

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// Every feature of the language. `type-and-unit-labels` is none: what operators and functions do with `__type__` and
/// `__unit__` does not depend on it, and is compared with series that are sent with these labels. It does two other
/// things. Receivers make these labels of metadata, so that series have other names than in Firn, which keeps metadata
/// beside them; and the info about doubtful counters judges by the label instead of the name, which no test of
/// Prometheus's own corpus expects. With it on, there would be a difference wherever a counter is looked at.
const FEATURES: &str = "--enable-feature=promql-experimental-functions,promql-delayed-name-removal,\
                        promql-extended-range-selectors,promql-binop-fill-modifiers,promql-per-step-stats,\
                        st-storage,use-start-timestamps,exemplar-storage,metadata-wal-records";

/// Nothing is cut unless the test asks for it.
const FIRN_FLAGS: [&str; 1] = ["-ingester.cut-after-window=12h"];

/// The truth, and Firns with their data in several places.
pub(super) struct Servers {
    pub(super) truth: String,
    /// Everything in the head until it is flushed.
    pub(super) whole: Firn,
    /// Flushed half way.
    pub(super) half: Firn,
    /// When the data begin.
    pub(super) from_ms: i64,
    _prometheus: Child,
    _dirs: [tempfile::TempDir; 3],
}

impl Servers {
    /// `None` where Prometheus is not installed.
    pub(super) fn start(seed: u64) -> Option<Servers> {
        let binary = part("bin/prometheus")?;
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let port = free_port();
        let config = dirs[0].path().join("prometheus.yml");
        std::fs::write(&config, "{}\n").unwrap();
        let mut command = Command::new(&binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dirs[0].path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-remote-write-receiver", "--web.enable-otlp-receiver", FEATURES]);
        let mut prometheus = Child::start("prometheus", command, dirs[0].path()).unwrap();
        let truth = format!("http://127.0.0.1:{port}");
        let is_ready =
            || get(&format!("{truth}/-/ready"), &[]).is_ok_and(|answer| answer.status == 200).then_some(());
        let ready = wait_until(Duration::from_secs(60), is_ready);
        assert!(ready.is_some() && prometheus.is_running(), "{}", prometheus.output());
        let options = FirnOptions::flags(&FIRN_FLAGS);
        let whole = Firn::start(FIRN, dirs[1].path(), &options).unwrap();
        let half = Firn::start(FIRN, dirs[2].path(), &options).unwrap();
        let from_ms = now_ms() / MINUTE_MS * MINUTE_MS - SPAN_MS - 5 * MINUTE_MS;
        let servers = Servers { truth, whole, half, from_ms, _prometheus: prometheus, _dirs: dirs };
        servers.fill(&slabs(seed, from_ms));
        Some(servers)
    }

    fn fill(&self, slabs: &[Slab]) {
        for (i, slab) in slabs.iter().enumerate() {
            for url in [&self.truth, self.whole.url(), self.half.url()] {
                send(url, slab);
            }
            if i == slabs.len() / 2 {
                self.half.flush_all().unwrap();
            }
        }
    }
}

fn send(url: &str, slab: &Slab) {
    let headers = [
        ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "2.0.0"),
    ];
    let answer = post(&format!("{url}/api/v1/write"), &headers, &slab.write).unwrap();
    assert!((200..300).contains(&answer.status), "{url}: {} {}", answer.status, answer.body);
    let headers = [("Content-Type", "application/x-protobuf")];
    let answer = post(&format!("{url}/api/v1/otlp/v1/metrics"), &headers, &slab.export).unwrap();
    assert_eq!(answer.status, 200, "{url}: {}", answer.body);
}

/// Puts a query to a server.
pub(super) fn ask(url: &str, query: &Query) -> Answer {
    let parameters = query.parameters();
    let form: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match post_form(&format!("{url}/api/v1/{}", query.path()), &form) {
        Ok(answer) => answer,
        Err(e) => panic!("{url} does not answer {query}: {e}"),
    }
}
