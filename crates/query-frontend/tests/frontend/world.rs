//! A process without a network: an ingester, its tables, a querier, and two frontends before it, of which one splits
//! and keeps.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bucket::Bucket;
use compactor::{Compactor, Deleter};
use config::query_frontend::Config;
use http_body_util::BodyExt;
use ingester::{Ingester, SyncMode};
use limits::{Limits, LimitsConfig, LimitsHandle};
use model::{
    Batch, BatchSeries, Deletion, Histogram, HistogramSample, Labels, Matcher, MatcherOp, ShardBatch, Shards,
    TenantId, TimeRange, shard_of,
};
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use querier::Querier;
use query_frontend::{Deps, Frontend, FrontendDeps, routes};
use runtime::{Clock, ManualClock, MemoryPart, PromDuration};
use scan::Scan;
use serde_json::Value;
use tower::ServiceExt;
use wal::MemoryFiles;
use wire::{Push, Query};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// A day's first millisecond.
pub(crate) const DAY: i64 = 1_795_219_200_000;
const SHARDS: Shards = Shards { count: 2, spread: 1 };

pub(crate) struct World {
    pub(crate) time: ManualClock,
    pub(crate) now_ms: i64,
    pub(crate) limits: LimitsHandle,
    pub(crate) ingester: Ingester,
    pub(crate) deleter: Deleter,
    compactor: Compactor,
    /// Splits by three hours and keeps.
    pub(crate) frontend: Router,
    /// Evaluates each query as a whole.
    pub(crate) plain: Router,
    pub(crate) registry: Registry,
}

impl World {
    pub(crate) async fn new() -> World {
        World::of(querier::Config::default(), 1000).await
    }

    /// With so many queries of a tenant that may wait.
    pub(crate) async fn of(config: querier::Config, max_waiting: usize) -> World {
        let (clock, time) = Clock::manual(DAY);
        let limits = LimitsHandle::fixed(limits());
        let store = Arc::new(InMemory::new());
        let deps = bucket::Deps { store, clock: clock.clone() };
        let bucket = Bucket::open(bucket::Config::default(), deps).await.unwrap();
        let ingester = open_ingester(&bucket, &limits, &clock).await;
        let memory = MemoryPart::unlimited("test");
        let deps = scan::Deps { bucket: Arc::clone(&bucket), memory: memory.clone(), clock: clock.clone() };
        let scan = Scan::open(scan::Config::default(), deps);
        let mut registry = Registry::default();
        let deps = querier::Deps {
            recent: Arc::new(ingester.clone()),
            stored: scan,
            limits: limits.clone(),
            memory: memory.clone(),
            max_waiting,
            clock: clock.clone(),
            registry: &mut registry,
        };
        let querier: Arc<dyn Query> = Arc::new(Querier::open(config, deps));
        let compactor = open_compactor(&bucket, &limits, &clock);
        let split = Config { split_queries_by_interval: PromDuration::secs(3 * 3600), ..Config::default() };
        let whole = Config {
            split_queries_by_interval: PromDuration::secs(0),
            cache_results: false,
            ..Config::default()
        };
        let frontend = open(split, &querier, &limits, &clock, &mut registry);
        let plain = open(whole, &querier, &limits, &clock, &mut Registry::default());
        let deleter = Deleter::new(bucket, Arc::new(ingester.clone()));
        World { time, now_ms: DAY, limits, ingester, deleter, compactor, frontend, plain, registry }
    }

    pub(crate) fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        self.time.set(self.now_ms);
    }

    /// Pushes samples; what the ingester refuses (another value for a sample that it has) is no matter here.
    pub(crate) async fn push(&self, samples: &[(Labels, i64, f64)]) {
        let mut batch = Batch::default();
        for (labels, timestamp, value) in samples {
            let part = with_series(&mut batch, labels, 1, 0);
            part.timestamps.push(*timestamp);
            part.values.push(*value);
        }
        self.ingester.push(&tenant(), &batch).await.unwrap();
    }

    /// The same with native histograms.
    pub(crate) async fn push_histograms(&self, samples: &[(Labels, i64, Histogram)]) {
        let mut batch = Batch::default();
        for (labels, timestamp, histogram) in samples {
            let (timestamp, histogram) = (*timestamp, Box::new(histogram.clone()));
            let sample = HistogramSample { timestamp, start_timestamp: 0, histogram };
            with_series(&mut batch, labels, 0, 1).histograms.push(sample);
        }
        self.ingester.push(&tenant(), &batch).await.unwrap();
    }

    pub(crate) async fn flush(&self) {
        self.ingester.flush().await.unwrap();
    }

    pub(crate) async fn compact(&mut self) {
        self.compactor.round().await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str, instance: &str, range: TimeRange) {
        let equal = |label: &str, value: &str| Matcher::new(label, MatcherOp::Equal, value).unwrap();
        let selectors = vec![vec![equal("__name__", name), equal("i", instance)]];
        self.deleter.delete_series(&tenant(), Deletion { selectors, range }).await.unwrap();
    }

    /// What both frontends answer; they must agree. Gives the answer.
    pub(crate) async fn check(&self, query: &str, start: i64, end: i64, step: i64) -> String {
        let kept = range(&self.frontend, query, start, end, step).await;
        let plain = range(&self.plain, query, start, end, step).await;
        if !alike(&kept, &plain) {
            assert_eq!(kept, plain, "{query} from {start} to {end} by {step}");
        }
        kept
    }

    /// The figure of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '{']));
        values.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

/// Puts a series with so many floats and histograms into a batch; gives its shard's part.
fn with_series<'b>(
    batch: &'b mut Batch,
    labels: &Labels,
    n_floats: u32,
    n_histograms: u32,
) -> &'b mut ShardBatch {
    let from = batch.bytes.len() as u32;
    batch.bytes.extend_from_slice(labels.run());
    let labels_at = (from, batch.bytes.len() as u32);
    let shard = shard_of(&tenant(), labels.run(), SHARDS);
    let at = batch.shards.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
        batch.shards.push(ShardBatch { shard, ..ShardBatch::default() });
        batch.shards.len() - 1
    });
    let part = &mut batch.shards[at];
    let id = labels.id();
    let series =
        BatchSeries { id, labels: labels_at, is_known: false, n_floats, n_histograms, n_exemplars: 0 };
    part.series.push(series);
    part
}

/// Whether two answers are equal, or say the same but for the rounding of sums.
fn alike(a: &str, b: &str) -> bool {
    let parsed = |text: &str| text.split_once(' ').and_then(|(_, body)| serde_json::from_str(body).ok());
    a == b
        || parsed(a)
            .zip(parsed(b))
            .is_some_and(|(x, y)| a.split(' ').next() == b.split(' ').next() && are_alike(&x, &y))
}

fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| are_alike(a, b)))
        }
        (Value::String(x), Value::String(y)) if x != y => {
            let numbers = x.parse::<f64>().ok().zip(y.parse::<f64>().ok());
            numbers.is_some_and(|(x, y)| (x - y).abs() <= 1e-12 * x.abs().max(y.abs()))
        }
        (a, b) => a == b,
    }
}

pub(crate) fn limits() -> Limits {
    Limits { creation_grace_period: PromDuration::secs(0), ..Limits::default() }
}

/// Puts other limits in place.
pub(crate) fn replace(handle: &LimitsHandle, limits: Limits) {
    handle.replace(&LimitsConfig { defaults: limits, ..LimitsConfig::default() }).unwrap();
}

pub(crate) fn tenant() -> TenantId {
    TenantId::anonymous()
}

pub(crate) fn series(name: &str, instance: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("i", instance)])
}

/// The body of an answer, its status before it.
pub(crate) async fn range(routes: &Router, query: &str, start: i64, end: i64, step: i64) -> String {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let secs = |ms: i64| ms as f64 / 1000.0;
    let (start, end, step) = (secs(start), secs(end), secs(step));
    get(routes, &format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}"), &[]).await
}

pub(crate) async fn get(routes: &Router, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

pub(crate) fn open(
    config: Config,
    querier: &Arc<dyn Query>,
    limits: &LimitsHandle,
    clock: &Clock,
    registry: &mut Registry,
) -> Router {
    let frontend = Frontend::open(
        config,
        FrontendDeps {
            querier: Arc::clone(querier),
            limits: limits.clone(),
            memory: MemoryPart::unlimited("queries"),
            cache_memory: MemoryPart::unlimited("results"),
            clock: clock.clone(),
            registry,
        },
    );
    let deps = crate::status::deps(Arc::clone(querier), false, clock.clone());
    routes(Deps { frontend, ..deps })
}

async fn open_ingester(bucket: &Arc<Bucket>, limits: &LimitsHandle, clock: &Clock) -> Ingester {
    let mut config = ingester::Config::default();
    config.wal.sync = SyncMode::Never;
    let deps = ingester::Deps {
        wal_dir: "wal".into(),
        files: Arc::new(MemoryFiles::new()),
        bucket: Arc::clone(bucket),
        shards: SHARDS.count,
        limits: limits.clone(),
        clock: clock.clone(),
        memory: MemoryPart::unlimited("head"),
        metrics: ingester::Metrics::register(&mut Registry::default()),
    };
    let (ingester, _flusher, _syncer) = Ingester::open(config, deps).await.unwrap();
    ingester
}

fn open_compactor(bucket: &Arc<Bucket>, limits: &LimitsHandle, clock: &Clock) -> Compactor {
    let deps = compactor::Deps {
        bucket: Arc::clone(bucket),
        limits: limits.clone(),
        memory: MemoryPart::unlimited("compaction"),
        window: PromDuration::secs(7200),
        clock: clock.clone(),
        metrics: compactor::Metrics::register(&mut Registry::default()),
    };
    Compactor::open(compactor::Config::default(), deps)
}
