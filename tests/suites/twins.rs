//! A Prometheus and a Firn that were sent the same: what one answers, the other must answer.

use std::collections::BTreeMap;
use std::path::Path;

use system_tests::{NativeHistogram, Prometheus, Surface, TimeSeries, WriteRequest, now_ms};

/// A sample of every series each quarter of a minute, for twenty minutes.
pub(crate) const STEP_MS: i64 = 15_000;
const N_SCRAPES: i64 = 80;

/// Values that are written in every way there is.
const WEIRD: [f64; 12] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -0.0,
    1e-7,
    1e21,
    0.1,
    1.0 / 3.0,
    -123_456_789.125,
    5e-324,
    f64::MAX,
    1e20,
];

const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What was sent, and when.
pub(crate) struct Data {
    /// The time of the first scrape, a whole minute.
    pub(crate) from_ms: i64,
    request: WriteRequest,
}

impl Data {
    /// Up to now, nearly.
    pub(crate) fn new() -> Data {
        let from_ms = (now_ms() - (N_SCRAPES + 4) * STEP_MS) / 60_000 * 60_000;
        let mut request = WriteRequest::default();
        for series in [requests(from_ms), odd_names(from_ms), histograms(from_ms), others(from_ms)].concat() {
            request.push(&series);
        }
        Data { from_ms, request }
    }

    /// The time of the last scrape.
    pub(crate) fn to_ms(&self) -> i64 {
        scrape(self.from_ms, N_SCRAPES - 1)
    }

    /// Sends everything to a Prometheus.
    pub(crate) fn push_to_prometheus(&self, prometheus: &Prometheus) {
        prometheus.push(&self.request).unwrap();
    }

    /// Sends everything to a Firn.
    pub(crate) fn push_to(&self, firn: &Surface) {
        let answer = firn.push(&self.request).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}

/// A Prometheus over a folder of this one.
pub(crate) fn prometheus(binary: &Path, dir: &Path, data: &Data) -> Prometheus {
    let folder = dir.join("reference");
    std::fs::create_dir_all(&folder).unwrap();
    let prometheus = Prometheus::start(binary, &folder, &[]).unwrap();
    data.push_to_prometheus(&prometheus);
    prometheus
}

fn scrape(from_ms: i64, i: i64) -> i64 {
    from_ms + i * STEP_MS
}

/// A value for each scrape.
fn scraped(series: TimeSeries, from_ms: i64, value: impl Fn(i64) -> f64) -> TimeSeries {
    (0..N_SCRAPES).fold(series, |series, i| series.sample(scrape(from_ms, i), value(i)))
}

/// A service of three instances, one of which goes away.
fn requests(from_ms: i64) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for instance in 0..3i64 {
        let name = format!("h{instance}:80");
        for (code, per_scrape) in [("200", 30.0), ("404", 1.5), ("500", 0.25)] {
            let labels = [
                ("__name__", "http_requests_total"),
                ("code", code),
                ("instance", name.as_str()),
                ("job", "shop"),
                ("method", if instance == 1 { "post" } else { "get" }),
            ];
            // Every instance starts again once.
            let counted = |i: i64| ((i + instance * 7) % 50) as f64 * per_scrape;
            all.push(scraped(TimeSeries::new(labels), from_ms, counted));
        }
        let up = TimeSeries::new([("__name__", "up"), ("instance", name.as_str()), ("job", "shop")]);
        let last = if instance == 2 { N_SCRAPES / 2 } else { N_SCRAPES };
        let up = (0..last).fold(up, |up, i| up.sample(scrape(from_ms, i), f64::from(i % 11 != 0)));
        all.push(if last < N_SCRAPES { up.bits(scrape(from_ms, last), STALE) } else { up });
    }
    all
}

/// Names and values as few senders have them.
fn odd_names(from_ms: i64) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for route in ["/", "/cart"] {
        let labels = [
            ("__name__", "http.server.duration"),
            ("http.method", "GET"),
            ("http.route", route),
            ("job", "otel"),
            ("ünit", "é"),
        ];
        all.push(scraped(TimeSeries::new(labels), from_ms, |i| i as f64 / 7.0));
    }
    let path = "a\"b\\c\n\t<&>\u{1}é😀";
    let labels = [("__name__", "odd_value"), ("job", "shop"), ("path", path)];
    all.push(scraped(TimeSeries::new(labels), from_ms, |i| i as f64));
    all
}

/// A histogram in its classic form with exemplars, and native ones.
fn histograms(from_ms: i64) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for (place, le) in ["+Inf", "0.1", "0.5", "2.5"].into_iter().enumerate() {
        let labels =
            [("__name__", "latency_seconds_bucket"), ("instance", "h0:80"), ("job", "shop"), ("le", le)];
        let share = [10.0, 2.0, 5.0, 9.0][place];
        let mut series = scraped(TimeSeries::new(labels), from_ms, |i| i as f64 * share);
        for i in (0..N_SCRAPES).step_by(9).filter(|i| i % 2 == place as i64 % 2) {
            let trace = format!("{:032x}", i * 4 + place as i64 + 1);
            let own = [("trace_id", trace.as_str())];
            series = series.exemplar(scrape(from_ms, i) + 7, share / 16.0, own);
        }
        all.push(series);
    }
    for name in ["count", "sum"] {
        let name = format!("latency_seconds_{name}");
        let labels = [("__name__", name.as_str()), ("instance", "h0:80"), ("job", "shop")];
        all.push(scraped(TimeSeries::new(labels), from_ms, |i| i as f64 * 10.0));
    }
    for instance in ["h0:80", "h1:80"] {
        let labels = [("__name__", "latency_native"), ("instance", instance), ("job", "shop")];
        let series = TimeSeries::new(labels);
        all.push((0..N_SCRAPES).fold(series, |series, i| series.histogram(scrape(from_ms, i), &native(i))));
    }
    all
}

fn native(i: i64) -> NativeHistogram {
    let n = i as f64;
    let positive = BTreeMap::from([(-3, n), (0, 2.0 * n), (1, n + 1.0), (7, 3.0)]);
    let negative = BTreeMap::from([(0, 1.0), (2, n)]);
    let zero_count = 2.0 * n;
    let count = positive.values().sum::<f64>() + negative.values().sum::<f64>() + zero_count;
    NativeHistogram {
        count,
        sum: n * 1.25 - 7.0,
        schema: 2,
        zero_threshold: 1e-9,
        zero_count,
        positive,
        negative,
        ..NativeHistogram::default()
    }
}

/// Values of every kind, and many series of one name.
fn others(from_ms: i64) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for (kind, value) in WEIRD.into_iter().enumerate() {
        let kind = format!("{kind:02}");
        all.push(scraped(TimeSeries::new([("__name__", "weird"), ("kind", &kind)]), from_ms, |_| value));
    }
    for n in 0..40 {
        let label = format!("n{n:02}");
        let labels = [("__name__", "many"), ("job", "crowd"), ("n", label.as_str())];
        all.push(scraped(TimeSeries::new(labels), from_ms, |i| ((n * 17 + i) % 41) as f64 / 8.0));
    }
    all
}
