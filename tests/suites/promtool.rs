//! promtool 3.15 asks Firn and a Prometheus that hold the same, and prints the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::{Cluster, ClusterOptions, Firn, FirnOptions, Prometheus, Storage, part, seconds};

use crate::twins::{self, Data, STEP_MS};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// Stands for the server in a command.
const URL: &str = "URL";

/// A promtool, and the folder it runs in.
struct Promtool {
    binary: PathBuf,
    dir: PathBuf,
}

/// What a run of it says.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Promtool {
    fn run(&self, url: &str, command: &[&str]) -> Said {
        let arguments = command.iter().map(|argument| argument.replace(URL, url));
        let output = Command::new(&self.binary).args(arguments).current_dir(&self.dir).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(url, URL);
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Said {
    /// With everything sorted whose order means nothing: instant vectors and lists of series.
    fn sorted(&self) -> (Option<i32>, BTreeSet<String>, &str) {
        let lines = match serde_json::from_str(&self.stdout) {
            Ok(Value::Array(list)) => list.iter().map(Value::to_string).collect(),
            _ => self.stdout.lines().map(str::to_string).collect(),
        };
        (self.code, lines, &self.stderr)
    }
}

#[test]
fn promtool_prints_the_same_of_firn_and_of_prometheus() {
    let (Some(server), Some(binary)) = (part("bin/prometheus"), part("bin/promtool")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let promtool = Promtool { binary, dir: dir.path().to_path_buf() };
    let data = Data::new();
    let prometheus = twins::prometheus(&server, dir.path(), &data);
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    data.push_to(&firn);
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    data.push_to(&apart);

    let commands = questions(&data);
    let commands: Vec<Vec<&str>> = commands.iter().map(|c| c.iter().map(String::as_str).collect()).collect();
    let theirs: Vec<Said> = commands.iter().map(|command| promtool.run(prometheus.url(), command)).collect();
    let n_good = theirs.iter().filter(|said| said.code == Some(0) && said.stdout.len() > 10).count();
    assert!(n_good > 40 && n_good < commands.len(), "{n_good} of {} say something", commands.len());
    let mut wrong = Vec::new();
    let mut check = |place: &str, url: &str| {
        for (command, theirs) in commands.iter().zip(&theirs) {
            let ours = promtool.run(url, command);
            if theirs.sorted() != ours.sorted() {
                wrong.push(format!("{place}: {command:?}\n  theirs {theirs:?}\n  ours   {ours:?}"));
            }
        }
    };
    check("in memory", firn.url());
    firn.flush_all().unwrap();
    check("in tables", firn.url());
    check("below a prefix", &format!("{}/prometheus", firn.url()));
    check("processes apart", &apart.query);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    println!(
        "promtool: {} commands say the same in four places, {n_good} of them with a result",
        commands.len()
    );

    promtool.checks(&[firn.url(), &apart.query, &apart.push]);
    promtool.debugs(firn.url());
    promtool.pushes(&data, &prometheus, &firn, &apart);
}

/// Commands that ask, and what goes wrong with them.
fn questions(data: &Data) -> Vec<Vec<String>> {
    let (from, to) = (seconds(data.from_ms + 8 * STEP_MS), seconds(data.to_ms()));
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut add = |words: &[&str]| commands.push(words.iter().map(ToString::to_string).collect());
    for query in [
        "up",
        "sum by (code) (rate(http_requests_total[5m]))",
        "{\"http.server.duration\"}",
        "latency_native",
        "odd_value",
        "weird",
        "many[30s]",
        "42",
        "\"text\"",
        "nothing_of_this_name",
        "up{",
        "up * on (job) group_left () http_requests_total{instance=\"h0:80\",code=~\"2..|4..\"}",
    ] {
        for format in ["promql", "json"] {
            add(&["query", "instant", "-o", format, "--time", &to, URL, query]);
            let range = ["query", "range", "-o", format, "--start", &from, "--end", &to];
            add(&[range.as_slice(), &["--step", "1m", URL, query]].concat());
            add(&[range.as_slice(), &[URL, query]].concat());
        }
    }
    for format in ["promql", "json"] {
        let times = ["-o", format, "--start", &from, "--end", &to];
        let series = [&["query", "series"], times.as_slice()].concat();
        add(&[series.as_slice(), &["--match", "up", URL]].concat());
        add(&[series.as_slice(), &["--match", "{\"http.method\"=\"GET\"}", "--match", "weird", URL]].concat());
        add(&[series.as_slice(), &["--match", "{}", URL]].concat());
        let labels = [&["query", "labels"], times.as_slice()].concat();
        add(&[labels.as_slice(), &[URL, "job"]].concat());
        add(&[labels.as_slice(), &[URL, "__name__"]].concat());
        add(&[labels.as_slice(), &["--match", "many", URL, "n"]].concat());
        add(&[labels.as_slice(), &["--match", "up{", URL, "n"]].concat());
    }
    add(&["query", "series", "--match", "many", URL]);
    add(&["query", "labels", URL, "instance"]);
    let analyze = ["query", "analyze", "--server", URL, "--type", "histogram", "--time", &to];
    for (duration, selector) in
        [("10m", "latency_seconds_bucket"), ("10m", "latency_native"), ("5m", "up"), ("1m", "nothing")]
    {
        add(&[analyze.as_slice(), &["--duration", duration, "--match", selector]].concat());
    }
    commands
}

impl Promtool {
    /// `check healthy` and `check ready`: what they print is the server's name and what it is.
    fn checks(&self, urls: &[&str]) {
        for url in urls {
            for (check, word) in [("healthy", "healthy"), ("ready", "ready")] {
                let said = self.run(url, &["check", check, "--url", URL]);
                let expected =
                    said.code == Some(0) && said.stderr.contains("SUCCESS") && said.stderr.contains(word);
                assert!(expected, "{url}: {said:?}");
            }
        }
        let nobody = self.run("http://127.0.0.1:1", &["check", "ready", "--url", URL]);
        assert_ne!(nobody.code, Some(0), "{nobody:?}");
    }

    /// `debug metrics` packs what `/metrics` says. Profiles of a Go process are not Firn's to offer, and it says so.
    fn debugs(&self, url: &str) {
        let said = self.run(url, &["debug", "metrics", URL]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let packed = fs::read(self.dir.join("debug.tar.gz")).unwrap();
        let mut unpacked = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut unpacked)
            .unwrap();
        assert!(
            unpacked.contains("metrics.txt") && unpacked.contains("\n# EOF\n"),
            "{} bytes",
            unpacked.len()
        );
        let said = self.run(url, &["debug", "pprof", URL]);
        assert_ne!(said.code, Some(0), "{said:?}");
    }

    /// `push metrics`; the samples carry their times.
    fn pushes(&self, data: &Data, prometheus: &Prometheus, firn: &Firn, apart: &Cluster) {
        let at = seconds(data.to_ms());
        let all = ["query", "instant", "-o", "json", "--time", &at, URL, "{job=\"pushed\"}"];
        let file = self.dir.join("pushed.prom");
        fs::write(&file, exposition(data.to_ms())).unwrap();
        let push = |message| {
            let flags = ["push", "metrics", "--label", "job=pushed", "--protobuf_message", message, URL];
            [flags.as_slice(), &[path(&file)]].concat()
        };
        // This promtool puts remote write 1.0 into what it announces as 2.0. Prometheus finds nothing in it, says that
        // all is well, and has nothing; Firn says what is wrong.
        let mislabelled = push("io.prometheus.write.v2.Request");
        let theirs = self.run(prometheus.url(), &mislabelled);
        assert!(
            theirs.code == Some(0) && self.run(prometheus.url(), &all).stdout.trim() == "[]",
            "{theirs:?}"
        );
        for url in [firn.url(), &apart.push] {
            let ours = self.run(url, &mislabelled);
            assert!(ours.code == Some(1) && ours.stderr.contains("415"), "{ours:?}");
        }
        let push = push("prometheus.WriteRequest");
        let theirs = self.run(prometheus.url(), &push);
        assert!(theirs.code == Some(0) && theirs.stdout.contains("SUCCESS"), "{theirs:?}");
        assert_eq!(self.run(firn.url(), &push), theirs);
        assert_eq!(self.run(&apart.push, &push), theirs);
        let theirs = self.run(prometheus.url(), &all);
        let n = theirs.sorted().1.len();
        assert_eq!(n, PUSHED, "all samples of the file: {theirs:?}");
        for url in [firn.url(), &apart.query] {
            assert_eq!(self.run(url, &all).sorted(), theirs.sorted());
        }
        println!("promtool push metrics: {n} series, the same in three servers");
    }
}

/// How many samples [`exposition`] has.
const PUSHED: usize = 10;

/// Samples of every type that the text format has.
fn exposition(at_ms: i64) -> String {
    format!(
        "# HELP pushed_total How many.\n# TYPE pushed_total counter\npushed_total{{path=\"a\\\"b\"}} 1027 {at_ms}\n\
         # TYPE pushed_gauge gauge\npushed_gauge -1.5e-7 {at_ms}\n\
         # TYPE pushed_seconds histogram\n\
         pushed_seconds_bucket{{le=\"0.5\"}} 3 {at_ms}\npushed_seconds_bucket{{le=\"+Inf\"}} 4 {at_ms}\n\
         pushed_seconds_sum 2.25 {at_ms}\npushed_seconds_count 4 {at_ms}\n\
         # TYPE pushed_size summary\npushed_size{{quantile=\"0.9\"}} NaN {at_ms}\n\
         pushed_size_sum 100 {at_ms}\npushed_size_count 9 {at_ms}\n\
         # TYPE pushed_raw untyped\npushed_raw +Inf {at_ms}\n"
    )
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}
