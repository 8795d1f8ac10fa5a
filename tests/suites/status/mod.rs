//! What Firn says about itself and its heads, beside a real Prometheus that was sent the same: in one process, and in
//! one per role with two ingesters.

mod admin;
mod cardinality;
mod process;
mod search;
mod stats;
mod tsdb;

use std::path::Path;

use system_tests::{
    Chance, Cluster, ClusterOptions, Firn, FirnOptions, NativeHistogram, Prometheus, Storage, Surface,
    TimeSeries, WriteRequest, now_ms, part,
};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// What Prometheus has that is off unless asked for, and Firn has always.
const FEATURES: &str =
    "promql-delayed-name-removal,type-and-unit-labels,st-storage,metadata-wal-records,search-api";

/// A Prometheus, and every form of Firn, with the same series.
struct Twins {
    prometheus: Prometheus,
    firn: Firn,
    cluster: Cluster,
    data: Data,
    _dir: tempfile::TempDir,
}

/// What was sent.
struct Data {
    newest_ms: i64,
    series: Vec<TimeSeries>,
}

impl Twins {
    /// Starts them; `None` where there is no Prometheus.
    fn start() -> Option<Twins> {
        let binary = part("bin/prometheus")?;
        let dir = tempfile::tempdir().unwrap();
        let (prometheus, firn, cluster) = (start(&binary, dir.path()), firn(dir.path()), cluster(dir.path()));
        let data = Data::new();
        prometheus.push(&data.request()).unwrap();
        let surfaces: [&Surface; 2] = [&firn, &cluster];
        for surface in surfaces {
            let answer = surface.push(&data.request()).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.body);
        }
        Some(Twins { prometheus, firn, cluster, data, _dir: dir })
    }

    /// The forms of Firn, by name.
    fn firns(&self) -> [(&'static str, &Surface); 2] {
        [("one process", &self.firn), ("a process per role", &self.cluster)]
    }
}

fn start(binary: &Path, dir: &Path) -> Prometheus {
    let features = format!("--enable-feature={FEATURES}");
    let flags = [&features, "--web.enable-admin-api", "--web.enable-otlp-receiver"];
    Prometheus::start(binary, dir, &flags).unwrap()
}

fn firn(dir: &Path) -> Firn {
    let dir = dir.join("firn");
    std::fs::create_dir_all(&dir).unwrap();
    Firn::start(FIRN, &dir, &FirnOptions::default()).unwrap()
}

fn cluster(dir: &Path) -> Cluster {
    let options = ClusterOptions::over(Storage::Folder(dir.join("tables"))).with_ingesters(2);
    Cluster::start(FIRN, &dir.join("cluster"), &options).unwrap()
}

impl Data {
    /// Some hundred series over many targets, whose names are made to be searched for.
    fn new() -> Data {
        let newest_ms = now_ms() - 60_000;
        let words = ["http", "request", "requests", "total", "node", "cpu", "seconds", "Größe", "up", "UP"];
        let mut chance = Chance::new(11);
        let mut series = Vec::new();
        for i in 0..90 {
            let n_words = 1 + chance.below(3);
            let picked = (0..n_words).map(|_| words[chance.below(words.len() as u64) as usize]);
            let name = picked.collect::<Vec<_>>().join("_");
            let (job, n_hosts) = (format!("job-{}", i % 7), 1 + chance.below(6));
            for host in 0..n_hosts {
                let (host, id) = (format!("host-{host}:9100"), format!("{i}"));
                let labels = [("__name__", name.as_str()), ("id", &id), ("instance", &host), ("job", &job)];
                let at = newest_ms - 15_000 * chance.below(20) as i64;
                series.push(TimeSeries::new(labels).sample(at - 60_000, 1.0).sample(at, f64::from(i)));
            }
        }
        series.push(TimeSeries::named("at_the_end", "x").sample(newest_ms, 1.0));
        // A length that takes more than a byte.
        let long = "v".repeat(300);
        series.push(TimeSeries::new([("__name__", "long"), ("zz_value", &long)]).sample(newest_ms - 5, 1.0));
        series.extend(histograms(newest_ms));
        Data { newest_ms, series }
    }

    fn request(&self) -> WriteRequest {
        let mut request = WriteRequest::default();
        for series in &self.series {
            request.push(series);
        }
        request
    }

    fn n_series(&self) -> usize {
        self.series.len()
    }
}

/// Two series of three and four buckets, whose older histograms have more.
fn histograms(newest_ms: i64) -> Vec<TimeSeries> {
    let histogram = |n_buckets: i32| NativeHistogram {
        count: f64::from(n_buckets),
        sum: 1.0,
        schema: 1,
        zero_threshold: 1e-9,
        positive: (1..n_buckets).map(|i| (i, 1.0)).collect(),
        negative: [(3, 1.0)].into_iter().collect(),
        ..NativeHistogram::default()
    };
    let series = |host: &str, n_buckets: i32| {
        let labels = [("__name__", "latency"), ("instance", host), ("job", "histograms")];
        let series = TimeSeries::new(labels).histogram(newest_ms - 30_000, &histogram(6));
        series.histogram(newest_ms - 10_000, &histogram(n_buckets))
    };
    vec![series("a", 3), series("b", 4)]
}
