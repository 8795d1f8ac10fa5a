//! Remote read, export and federation over a real querier, whose series lie in memory.

mod mutated;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use config::query_frontend::RemoteRead;
use http_body_util::BodyExt;
use limits::LimitsHandle;
use model::{
    Counts, ExemplarSeries, FloatColumn, Histogram, HistogramPoint, Labels, Matcher, Metadata, SeriesData,
    TenantId, TimeRange,
};
use prometheus_client::registry::Registry;
use prost::Message;
use query_frontend::{Deps, routes};
use runtime::{Clock, MemoryPart};
use tower::ServiceExt;
use wire::generated::{prometheus, prometheus_read as pb};
use wire::{LabelsRequest, Listed, MetadataRequest, Select, SelectError, SelectRequest, Selected};

const NOW_MS: i64 = 100_000_000;

/// Series of one tenant, all in the head or all in the table. Remembers how many samples each answer had.
struct Shelf {
    series: Vec<SeriesData>,
    answers: Mutex<Vec<u64>>,
    /// The answer with this number fails.
    fails_at: Option<usize>,
}

impl Shelf {
    fn new(mut series: Vec<SeriesData>) -> Shelf {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Shelf { series, answers: Mutex::default(), fails_at: None }
    }

    fn matching<'a>(&'a self, selectors: &'a [Vec<Matcher>]) -> impl Iterator<Item = &'a SeriesData> {
        let passes = |series: &SeriesData, matchers: &[Matcher]| {
            matchers.iter().all(|m| m.matches(series.labels.get(&m.name).unwrap_or("")))
        };
        self.series.iter().filter(move |series| {
            selectors.is_empty() || selectors.iter().any(|matchers| passes(series, matchers))
        })
    }
}

#[async_trait]
impl Select for Shelf {
    async fn select(&self, _: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let mut answer = Selected::default();
        let mut n_samples = 0;
        for series in self.matching(std::slice::from_ref(&request.matchers)) {
            if request.within.as_ref().is_some_and(|within| !within.contains(series.labels.run())) {
                continue;
            }
            let series = clipped(series, request.range);
            let n = series.floats[0].values.len() + series.histograms.len();
            request.budget.series.take(1)?;
            request.budget.samples.take(n as u64)?;
            n_samples += n as u64;
            answer.series.push(series);
        }
        let mut answers = self.answers.lock().unwrap();
        answers.push(n_samples);
        if self.fails_at == Some(answers.len()) {
            return Err(SelectError::Unavailable("the store is away".to_string()));
        }
        Ok(answer)
    }

    async fn series(&self, _: &TenantId, request: &LabelsRequest) -> Result<Listed<Labels>, SelectError> {
        let items = self.matching(&request.selectors).map(|series| series.labels.clone()).collect();
        Ok(Listed { items, table_version: None })
    }

    async fn label_names(&self, _: &TenantId, _: &LabelsRequest) -> Result<Listed<String>, SelectError> {
        Ok(Listed { items: Vec::new(), table_version: None })
    }

    async fn label_values(
        &self,
        _: &TenantId,
        _: &str,
        _: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        Ok(Listed { items: Vec::new(), table_version: None })
    }

    async fn exemplars(
        &self,
        _: &TenantId,
        _: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        Ok(Listed { items: Vec::new(), table_version: None })
    }

    async fn metadata(&self, _: &TenantId, _: &MetadataRequest) -> Result<Listed<Metadata>, SelectError> {
        Ok(Listed { items: Vec::new(), table_version: None })
    }
}

fn clipped(series: &SeriesData, range: TimeRange) -> SeriesData {
    let samples = series.floats.iter().flat_map(FloatColumn::samples).filter(|(at, _)| range.contains(*at));
    let (times, values) = samples.unzip();
    let mut clipped = SeriesData::new(series.labels.clone());
    clipped.floats.push(FloatColumn::new(times, values));
    let points = series.histograms.iter().filter(|point| range.contains(point.timestamp));
    clipped.histograms = points.cloned().collect();
    clipped.starts = series.starts.iter().filter(|(at, _)| range.contains(*at)).copied().collect();
    clipped
}

fn up(number: usize, n_samples: i64) -> SeriesData {
    let labels = Labels::from_pairs([("__name__", "up".to_string()), ("number", format!("{number:04}"))]);
    let mut series = SeriesData::new(labels);
    let times: Vec<i64> = (0..n_samples).map(|i| NOW_MS - 1_000 * (n_samples - i)).collect();
    let values = times.iter().map(|at| (at * 7919 % 1_000) as f64 / 8.0).collect();
    series.floats.push(FloatColumn::new(times, values));
    series
}

/// The same with histograms behind the floats.
fn with_histograms(mut series: SeriesData) -> SeriesData {
    for i in 1..5u64 {
        let counts = Counts::Int { count: i, zero: i, positive: Vec::new(), negative: Vec::new() };
        let histogram = Arc::new(Histogram { counts, sum: i as f64, ..Histogram::stale() });
        let timestamp = NOW_MS + i as i64;
        series.histograms.push(HistogramPoint { timestamp, start_timestamp: 0, histogram });
    }
    series
}

fn open(shelf: &Arc<Shelf>, remote_read: RemoteRead, memory: &MemoryPart) -> Router {
    let (clock, _) = Clock::manual(NOW_MS);
    let deps = querier::Deps {
        recent: Arc::clone(shelf) as Arc<dyn Select>,
        stored: Arc::new(Shelf::new(Vec::new())),
        limits: LimitsHandle::default(),
        memory: memory.clone(),
        max_waiting: 100,
        clock: clock.clone(),
        registry: &mut Registry::default(),
    };
    let querier = Arc::new(querier::Querier::open(querier::Config::default(), deps));
    let deps = crate::status::deps(querier, false, clock);
    routes(Deps { remote_read, memory: memory.clone(), ..deps })
}

/// The status and the pieces of a body; `None` behind the piece at which it was cut off.
async fn send(routes: &Router, request: Request<Body>) -> (u16, Vec<Option<Vec<u8>>>) {
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            pieces.push(None);
            break;
        };
        pieces.push(frame.into_data().ok().map(|data| data.to_vec()));
    }
    (status, pieces)
}

async fn get(routes: &Router, path: &str) -> (u16, Vec<Option<Vec<u8>>>) {
    send(routes, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn read(routes: &Router, request: &pb::ReadRequest) -> (u16, Vec<u8>) {
    read_as(routes, request, "").await
}

/// As a reader that calls itself so.
async fn read_as(routes: &Router, request: &pb::ReadRequest, agent: &str) -> (u16, Vec<u8>) {
    let packed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let request = Request::post("/api/v1/read").header("User-Agent", agent);
    let (status, pieces) = send(routes, request.body(Body::from(packed)).unwrap()).await;
    (status, pieces.into_iter().flatten().flatten().collect())
}

fn query(number: &str) -> pb::Query {
    let equal = |name: &str, value: &str| pb::LabelMatcher {
        r#type: if value.contains('*') { 2 } else { 0 },
        name: name.to_string(),
        value: value.to_string(),
    };
    let matchers = vec![equal("__name__", "up"), equal("number", number)];
    pb::Query { start_timestamp_ms: 0, end_timestamp_ms: i64::MAX, matchers, hints: None }
}

/// Each message of a streamed answer, its checksum checked, and its length.
fn frames(mut body: &[u8]) -> Vec<(pb::ChunkedReadResponse, usize)> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let len = prost::encoding::decode_varint(&mut body).unwrap() as usize;
        let (checksum, rest) = body.split_at(4);
        let (payload, rest) = rest.split_at(len);
        assert_eq!(checksum, crc32c::crc32c(payload).to_be_bytes());
        frames.push((pb::ChunkedReadResponse::decode(payload).unwrap(), len));
        body = rest;
    }
    frames
}

fn n_samples(chunk: &pb::Chunk) -> usize {
    usize::from(u16::from_be_bytes([chunk.data[0], chunk.data[1]]))
}

fn label(run: &[u8]) -> String {
    let label = prometheus::Label::decode(run).unwrap();
    format!("{}={}", label.name, label.value)
}

#[tokio::test]
async fn a_streamed_answer_has_frames_of_one_series_in_order_none_longer_than_allowed() {
    let shelf = Arc::new(Shelf::new((0..5).map(|i| with_histograms(up(i, 2_000))).collect()));
    let max_bytes_in_frame = 2_000;
    let limits = RemoteRead { max_bytes_in_frame, ..RemoteRead::default() };
    let routes = open(&shelf, limits, &MemoryPart::unlimited("test"));
    let queries = vec![query("0003"), query(".*"), query("nothing")];
    let (status, body) = read(&routes, &pb::ReadRequest { queries, accepted_response_types: vec![1] }).await;
    assert_eq!(status, 200);
    let mut seen: Vec<(i64, String, usize)> = Vec::new();
    for (frame, len) in frames(&body) {
        assert!(len <= max_bytes_in_frame + 16, "{len}");
        let [series] = &frame.chunked_series[..] else { panic!("{} series", frame.chunked_series.len()) };
        let name = series.labels.iter().map(|run| label(run)).collect::<Vec<_>>().join(",");
        let n: usize = series.chunks.iter().map(n_samples).sum();
        assert!(series.chunks.iter().all(|chunk| (1..=120).contains(&n_samples(chunk))));
        match seen.last_mut() {
            Some((index, last, total)) if *index == frame.query_index && *last == name => *total += n,
            _ => seen.push((frame.query_index, name, n)),
        }
    }
    let of = |index, number| (index, format!("__name__=up,number={number:04}"), 2_004);
    assert_eq!(seen, [of(0, 3), of(1, 0), of(1, 1), of(1, 2), of(1, 3), of(1, 4)]);
}

#[tokio::test]
async fn start_timestamps_are_sent_to_readers_who_say_that_they_know_them_and_to_no_others() {
    let mut series = with_histograms(up(0, 130));
    series.starts = series.floats[0].samples().take(120).map(|(at, _)| (at, NOW_MS - 500_000)).collect();
    series.histograms.iter_mut().for_each(|point| point.start_timestamp = 7);
    let shelf = Arc::new(Shelf::new(vec![series]));
    let routes = open(&shelf, RemoteRead::default(), &MemoryPart::unlimited("test"));
    let queries = vec![query("0000")];
    let request = pb::ReadRequest { queries, accepted_response_types: vec![1] };
    for (agent, wanted) in [
        ("Prometheus/3.15.0", [4, 1, 5]),
        ("Prometheus/3.14.0-rc.0", [4, 1, 5]),
        ("Prometheus/4.0.0", [4, 1, 5]),
        ("Prometheus/3.13.1", [1, 1, 2]),
        ("Prometheus/2.42.0+ds", [1, 1, 2]),
        ("Prometheus/", [1, 1, 2]),
        ("Thanos/3.15.0", [1, 1, 2]),
        ("", [1, 1, 2]),
    ] {
        let (status, body) = read_as(&routes, &request, agent).await;
        assert_eq!(status, 200, "{agent}");
        let frames = frames(&body);
        let chunks = frames.iter().flat_map(|(frame, _)| &frame.chunked_series).flat_map(|one| &one.chunks);
        assert_eq!(chunks.map(|chunk| chunk.r#type).collect::<Vec<_>>(), wanted, "{agent}");
    }
}

#[tokio::test]
async fn an_answer_of_samples_has_all_of_them_for_each_query_and_a_limit_for_each() {
    let series: Vec<SeriesData> = (0..3).map(|i| with_histograms(up(i, 9_000))).collect();
    let shelf = Arc::new(Shelf::new(series.clone()));
    let memory = MemoryPart::unlimited("test");
    let limits = RemoteRead { sample_limit: 3 * 9_004, ..RemoteRead::default() };
    let routes = open(&shelf, limits, &memory);
    let queries = vec![query(".*"), query("nothing"), query("0001")];
    let request = pb::ReadRequest { queries, accepted_response_types: Vec::new() };
    let (status, body) = read(&routes, &request).await;
    assert_eq!(status, 200);
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let response = pb::ReadResponse::decode(&bytes[..]).unwrap();
    let counts: Vec<usize> = response.results.iter().map(|result| result.timeseries.len()).collect();
    assert_eq!(counts, [3, 0, 1]);
    for (one, expected) in response.results[0].timeseries.iter().zip(&series) {
        let sample = |bytes: &Vec<u8>| prometheus::Sample::decode(&bytes[..]).unwrap();
        let samples: Vec<(i64, f64)> =
            one.samples.iter().map(sample).map(|sample| (sample.timestamp, sample.value)).collect();
        assert_eq!(samples, expected.floats[0].samples().collect::<Vec<_>>());
        let times = |bytes: &Vec<u8>| prometheus::Histogram::decode(&bytes[..]).unwrap().timestamp;
        let histograms: Vec<i64> = one.histograms.iter().map(times).collect();
        assert_eq!(histograms, (1..5).map(|i| NOW_MS + i).collect::<Vec<_>>());
    }
    assert_eq!(memory.used(), 0, "nothing is held when all is sent");
    let limits = RemoteRead { sample_limit: 3 * 9_004 - 1, ..RemoteRead::default() };
    let (status, body) = read(&open(&shelf, limits, &memory), &request).await;
    let said = String::from_utf8_lossy(&body);
    assert!(status == 400 && said.contains("exceeded sample limit (27011)"), "{status} {said}");
}

#[tokio::test]
async fn a_large_answer_is_read_in_pages_and_memory_is_held_for_one_at_a_time() {
    let shelf = Arc::new(Shelf::new((0..400).map(|i| up(i, 1_000)).collect()));
    let memory = MemoryPart::unlimited("test");
    let routes = open(&shelf, RemoteRead::default(), &memory);
    let (status, pieces) = get(&routes, "/api/v1/export?match[]=up").await;
    assert_eq!(status, 200);
    let whole: Vec<u8> = pieces.iter().flatten().flatten().copied().collect();
    let whole = String::from_utf8(whole).unwrap();
    let numbers: Vec<&str> =
        whole.lines().map(|line| line.split("\"number\":\"").nth(1).unwrap().get(..4).unwrap()).collect();
    assert_eq!(numbers, (0..400).map(|i| format!("{i:04}")).collect::<Vec<_>>());
    let answers = shelf.answers.lock().unwrap().clone();
    let largest = answers.iter().max().copied().unwrap();
    assert!(answers.len() > 3 && largest <= 1 << 18, "{answers:?}");
    assert_eq!(answers.iter().sum::<u64>(), 400_000, "each is read once");
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn a_series_longer_than_a_page_is_a_page_of_its_own() {
    let shelf = Arc::new(Shelf::new(vec![up(0, 300_000), up(1, 10), up(2, 300_000)]));
    let routes = open(&shelf, RemoteRead::default(), &MemoryPart::unlimited("test"));
    let (_, pieces) = get(&routes, "/api/v1/export?match[]=up&max_rows_per_line=200000").await;
    let whole: Vec<u8> = pieces.iter().flatten().flatten().copied().collect();
    assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 5);
    assert_eq!(shelf.answers.lock().unwrap().iter().sum::<u64>(), 600_010);
}

#[tokio::test]
async fn what_goes_wrong_first_has_a_status_and_what_goes_wrong_later_cuts_the_answer_off() {
    let away = |fails_at| {
        let series = (0..400).map(|i| up(i, 1_000)).collect();
        let shelf = Arc::new(Shelf { fails_at: Some(fails_at), ..Shelf::new(series) });
        open(&shelf, RemoteRead::default(), &MemoryPart::unlimited("test"))
    };
    let (status, pieces) = get(&away(1), "/api/v1/export?match[]=up").await;
    let said = String::from_utf8(pieces[0].clone().unwrap()).unwrap();
    assert!(status == 503 && said.contains("the store is away"), "{said}");
    let (status, pieces) = get(&away(3), "/api/v1/export?match[]=up").await;
    assert_eq!(status, 200);
    assert!(pieces.len() > 1 && pieces.last() == Some(&None), "{} pieces", pieces.len());
}

#[tokio::test]
async fn a_read_without_memory_is_refused_by_name() {
    let shelf = Arc::new(Shelf::new((0..400).map(|i| up(i, 1_000)).collect()));
    let memory = MemoryPart::new("queries", 10_000);
    let routes = open(&shelf, RemoteRead::default(), &memory);
    let (status, pieces) = get(&routes, "/api/v1/export?match[]=up").await;
    let said = String::from_utf8(pieces[0].clone().unwrap()).unwrap();
    assert!(status == 503 && said.contains("the memory for queries is used up"), "{status} {said}");
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn the_newest_samples_of_the_lookback_are_federated() {
    let mut old = up(7, 10);
    old.floats = vec![FloatColumn::new(vec![NOW_MS - 300_001], vec![1.0])];
    let shelf = Arc::new(Shelf::new(vec![up(0, 10), up(1, 3), old]));
    let routes = open(&shelf, RemoteRead::default(), &MemoryPart::unlimited("test"));
    let (status, pieces) = get(&routes, "/federate?match[]=up&match[]=%7Bnumber%3D%220001%22%7D").await;
    let text = String::from_utf8(pieces.into_iter().flatten().flatten().collect()).unwrap();
    let newest = NOW_MS - 1_000;
    let value = (newest * 7919 % 1_000) as f64 / 8.0;
    let line = |number| format!("up{{number=\"{number}\",instance=\"\"}} {value} {newest}\n");
    assert_eq!((status, text), (200, format!("# TYPE up untyped\n{}{}", line("0000"), line("0001"))));
}

#[tokio::test]
async fn answers_end_well_when_they_are_compressed() {
    let shelf = Arc::new(Shelf::new((0..50).map(|i| up(i, 10)).collect()));
    let routes = open(&shelf, RemoteRead::default(), &MemoryPart::unlimited("test"));
    for path in ["/federate?match[]=up", "/api/v1/export?match[]=up"] {
        let request = Request::get(path).header("Accept-Encoding", "gzip").body(Body::empty()).unwrap();
        let (status, pieces) = send(&routes, request).await;
        assert!(status == 200 && !pieces.is_empty() && pieces.iter().all(Option::is_some), "{path}");
    }
}
