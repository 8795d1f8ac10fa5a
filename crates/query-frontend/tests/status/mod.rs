//! What the process and its heads are asked: status, features, cardinality, search.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use config::query_frontend::RemoteRead;
use http_body_util::BodyExt;
use limits::{Limits, LimitsConfig, LimitsHandle};
use model::{ExemplarSeries, Labels, Metadata, MetricType, TenantIds};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use query_frontend::{Deps, Frontend, FrontendDeps, Process, routes};
use runtime::{Clock, MemoryPart};
use server::SharedRegistry;
use tower::ServiceExt;
use wire::{
    Distinct, HeadStats, HeadStatsRequest, HeadTotals, HistogramStats, LabelStats, LabelsRequest,
    MetadataRequest, Query, QueryError, QueryRequest, QueryResult, Raw, RawRequest, SelectError, StoredBlock,
};

const NOW_MS: i64 = 10_000_000;

pub(crate) fn deps(querier: Arc<dyn Query>, multitenancy: bool, clock: Clock) -> Deps {
    let limits = LimitsHandle::new(&LimitsConfig::default()).unwrap();
    let memory = MemoryPart::unlimited("test");
    let frontend = Frontend::open(
        query_frontend::Config::default(),
        FrontendDeps {
            querier: Arc::clone(&querier),
            limits: limits.clone(),
            memory: memory.clone(),
            cache_memory: memory.clone(),
            clock: clock.clone(),
            registry: &mut Registry::default(),
        },
    );
    Deps {
        querier,
        frontend,
        multitenancy,
        limits,
        process: Arc::new(process()),
        clock,
        memory,
        lookback_ms: 300_000,
        remote_read: RemoteRead::default(),
    }
}

fn process() -> Process {
    Process {
        config: "target: all\nstorage:\n  s3:\n    secret_access_key: <hidden>\n".to_string(),
        flags: vec![("server.http-listen-port".to_string(), "9009".to_string())],
        memory_limit: 0,
        in_force: Arc::new(|| (true, Some(5000))),
        corruptions: Arc::new(|| 3),
        registry: registry(),
    }
}

/// A metric of each kind.
fn registry() -> SharedRegistry {
    let shared = SharedRegistry::new();
    shared.with(|registry| {
        let (counter, gauge): (Counter, Gauge) = (Counter::default(), Gauge::default());
        let histogram = Histogram::new([0.5, 2.5]);
        counter.inc_by(3);
        gauge.set(-1);
        [0.25, 1.0, 9.0].into_iter().for_each(|seconds| histogram.observe(seconds));
        let byes = Family::<Vec<(String, String)>, Counter>::default();
        byes.get_or_create(&vec![("why".to_string(), "a\"b\\c\n".to_string())]).inc();
        registry.register("wakes", "How often it woke", counter);
        registry.register("mood", "How it is", gauge);
        registry.register("sleep_seconds", "How long it slept", histogram);
        registry.register("byes", "Why it went", byes);
    });
    shared
}

/// Ingesters with some names and figures. A label called `away` cannot be asked about.
#[derive(Default)]
struct Heads {
    labels_asked: Mutex<Vec<LabelsRequest>>,
    heads_asked: Mutex<Vec<HeadStatsRequest>>,
}

#[async_trait]
impl Query for Heads {
    async fn query(&self, _: &TenantIds, _: &QueryRequest) -> Result<QueryResult, QueryError> {
        Err(QueryError::Internal("nobody asks".to_string()))
    }

    async fn raw(&self, _: &TenantIds, _: &RawRequest) -> Result<Raw, QueryError> {
        Err(QueryError::Internal("nobody asks".to_string()))
    }

    async fn series(&self, _: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        Ok(vec![Labels::from_pairs([("__name__", "up"), ("job", "a\"b")])])
    }

    async fn label_names(&self, _: &TenantIds, request: &LabelsRequest) -> Result<Vec<String>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        Ok(["__name__", "instance", "job"].map(str::to_string).to_vec())
    }

    async fn label_values(
        &self,
        _: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        match name {
            "away" => Err(SelectError::Unavailable("ingester-1 is away".to_string()).into()),
            "__name__" => Ok(["cpu", "up", "up_total"].map(str::to_string).to_vec()),
            _ => Ok(vec![]),
        }
    }

    async fn exemplars(&self, _: &TenantIds, _: &LabelsRequest) -> Result<Vec<ExemplarSeries>, QueryError> {
        Ok(vec![])
    }

    async fn metadata(&self, _: &TenantIds, _: &MetadataRequest) -> Result<Vec<Metadata>, QueryError> {
        let one = |help: &str| Metadata {
            family: "up".to_string(),
            metric_type: MetricType::Gauge,
            unit: String::new(),
            help: help.to_string(),
        };
        Ok(vec![one("new"), one("old")])
    }

    async fn head_stats(
        &self,
        tenants: &TenantIds,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, QueryError> {
        self.heads_asked.lock().unwrap().push(request.clone());
        if tenants.to_string() == "nobody" {
            return Ok(HeadStats::default());
        }
        let label = |name: &str, n_bytes, top: &[(&str, u64)]| LabelStats {
            name: name.to_string(),
            n_series: top.iter().map(|(_, n)| n).sum(),
            n_bytes,
            values: Distinct::of((0..top.len() as u64).collect()),
            top: top.iter().map(|(value, n)| (value.to_string(), *n)).collect(),
        };
        let totals = HeadTotals { n_series: 7, n_columns: 9, oldest_ms: Some(1000), newest_ms: Some(2000) };
        let labels = vec![
            label("__name__", 70, &[("up", 4), ("cpu", 3)]),
            label("instance", 90, &[("h1", 2), ("h2", 2), ("h3", 1)]),
            label("job", 80, &[("a", 6), ("b", 1)]),
        ];
        let histograms = vec![HistogramStats {
            metric: "latency".to_string(),
            n_series: 2,
            n_buckets: 7,
            min_buckets: 3,
            max_buckets: 4,
        }];
        Ok(HeadStats { totals, labels, histograms })
    }

    async fn blocks(&self, tenants: &TenantIds) -> Result<Vec<StoredBlock>, QueryError> {
        let block = |name: &str, is_merged| StoredBlock {
            name: name.to_string(),
            min_ms: 1000,
            max_ms: 2000,
            n_bytes: 77,
            is_merged,
        };
        match tenants.to_string().as_str() {
            "nobody" => Ok(Vec::new()),
            _ => Ok(vec![block("01FRESH", false), block("01MERGED", true)]),
        }
    }
}

struct World {
    heads: Arc<Heads>,
    limits: Limits,
    multitenancy: bool,
}

impl World {
    fn new() -> World {
        World { heads: Arc::default(), limits: Limits::default(), multitenancy: false }
    }

    async fn send(&self, request: Request<Body>) -> (u16, Option<String>, String) {
        let config = LimitsConfig { defaults: self.limits.clone(), ..LimitsConfig::default() };
        let deps = Deps {
            limits: LimitsHandle::new(&config).unwrap(),
            ..deps(Arc::clone(&self.heads) as Arc<dyn Query>, self.multitenancy, Clock::manual(NOW_MS).0)
        };
        let response = routes(deps).oneshot(request).await.unwrap();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.map(|kind| kind.to_str().unwrap().to_string());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8_lossy(&body).to_string())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn check(&self, path: &str, status: u16, wanted: &str) {
        let got = self.get(&format!("/api/v1{path}")).await;
        assert_eq!(got, (status, wanted.to_string()), "{path}");
    }
}

fn bad_data(message: &str) -> String {
    format!(r#"{{"status":"error","errorType":"bad_data","error":"{message}"}}"#)
}

#[tokio::test]
async fn the_configuration_and_the_flags_are_shown_as_texts() {
    let world = World::new();
    let yaml = r"target: all\nstorage:\n  s3:\n    secret_access_key: <hidden>\n";
    world
        .check("/status/config", 200, &format!(r#"{{"status":"success","data":{{"yaml":"{yaml}"}}}}"#))
        .await;
    let flags = r#"{"status":"success","data":{"server.http-listen-port":"9009"}}"#;
    world.check("/status/flags", 200, flags).await;
}

#[tokio::test]
async fn runtime_information_has_every_key_that_prometheus_has() {
    let retention = runtime::parse_duration("15d").map(runtime::PromDuration).unwrap();
    let limits = Limits {
        compactor_blocks_retention_period: retention,
        compactor_blocks_retention_bytes: 10 << 30,
        ..Limits::default()
    };
    let world = World { limits, ..World::new() };
    let (status, body) = world.get("/api/v1/status/runtimeinfo").await;
    assert_eq!(status, 200, "{body}");
    for key in
        ["startTime", "CWD", "hostname", "serverTime", "GOMAXPROCS", "GOGC", "GODEBUG", "goroutineCount"]
    {
        assert!(body.contains(&format!("\"{key}\":")), "{key} is missing in {body}");
    }
    for part in [
        r#""serverTime":"1970-01-01T02:46:40Z""#,
        r#""reloadConfigSuccess":true,"lastConfigTime":"1970-01-01T00:00:05Z","corruptionCount":3"#,
        r#""GOMEMLIMIT":9223372036854775807"#,
        r#""storageRetention":"15d or 10GiB""#,
    ] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
}

#[tokio::test]
async fn the_status_of_the_heads_lists_the_greatest_first_and_equal_ones_by_name() {
    let world = World::new();
    let wanted = concat!(
        r#"{"status":"success","data":{"headStats":{"numSeries":7,"numLabelPairs":7,"chunkCount":9,"minTime":1000,"maxTime":2000},"#,
        r#""seriesCountByMetricName":[{"name":"up","value":4},{"name":"cpu","value":3}],"#,
        r#""labelValueCountByLabelName":[{"name":"instance","value":3},{"name":"__name__","value":2}],"#,
        r#""memoryInBytesByLabelName":[{"name":"instance","value":90},{"name":"job","value":80}],"#,
        r#""seriesCountByLabelValuePair":[{"name":"job=a","value":6},{"name":"__name__=up","value":4}]}}"#
    );
    world.check("/status/tsdb?limit=2", 200, wanted).await;
    world.check("/status/tsdb?limit=0", 400, &bad_data("limit must be a positive number")).await;
    world.check("/status/tsdb?limit=ten", 400, &bad_data("limit must be a positive number")).await;
    world.check("/status/tsdb?limit=10001", 400, &bad_data("limit must not exceed 10000")).await;
    assert_eq!(world.heads.heads_asked.lock().unwrap().len(), 1, "what is wrong asks nobody");
}

#[tokio::test]
async fn a_tenant_without_series_has_an_empty_head() {
    let world = World { multitenancy: true, ..World::new() };
    let request = Request::get("/prometheus/api/v1/status/tsdb").header("X-Scope-OrgID", "nobody");
    let (status, _, body) = world.send(request.body(Body::empty()).unwrap()).await;
    let head =
        r#""minTime":9223372036854775807,"maxTime":-9223372036854775808},"seriesCountByMetricName":[],"#;
    assert!(status == 200 && body.contains(head), "{body}");
    assert_eq!(world.get("/api/v1/status/tsdb").await.0, 401);
}

#[tokio::test]
async fn features_are_there_or_not_by_category_and_name() {
    let (status, body) = World::new().get("/api/v1/features").await;
    assert!(
        status == 200 && body.starts_with(r#"{"status":"success","data":{"api":{"admin":true,"#),
        "{body}"
    );
    for part in [r#""promql_operators":{"!=":true,"#, r#""histogram_quantile":true"#, r#""search":true"#] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
    let (_, buildinfo) = World::new().get("/api/v1/status/buildinfo").await;
    assert!(buildinfo.contains(r#""version":"3.15.0""#) && !buildinfo.contains("features"), "{buildinfo}");
}

#[tokio::test]
async fn cardinality_is_told_in_the_form_of_mimir() {
    let world = World::new();
    let names = r#"{"label_values_count_total":7,"label_names_count":3,"cardinality":[{"label_name":"instance","label_values_count":3},{"label_name":"__name__","label_values_count":2}]}"#;
    world.check("/cardinality/label_names?limit=2", 200, names).await;
    let values = concat!(
        r#"{"series_count_total":7,"labels":["#,
        r#"{"label_name":"__name__","label_values_count":2,"series_count":7,"cardinality":[{"label_value":"up","series_count":4}]},"#,
        r#"{"label_name":"job","label_values_count":2,"series_count":7,"cardinality":[{"label_value":"a","series_count":6}]},"#,
        r#"{"label_name":"instance","label_values_count":3,"series_count":5,"cardinality":[{"label_value":"h1","series_count":2}]}]}"#
    );
    world.check("/cardinality/label_values?limit=1&label_names[]=job&label_names[]=x", 200, values).await;
    let series = r#"{"data":[{"__name__":"up","job":"a\"b"}]}"#;
    world.check("/cardinality/active_series?selector=up", 200, series).await;
    let histograms = r#"{"data":[{"metric":"latency","series_count":2,"bucket_count":7,"avg_bucket_count":3.5,"min_bucket_count":3,"max_bucket_count":4}]}"#;
    world.check("/cardinality/active_native_histogram_metrics?selector=up", 200, histograms).await;
    let form = Request::post("/prometheus/api/v1/cardinality/label_names")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("selector=up&count_method=active&limit=0"))
        .unwrap();
    let (_, kind, body) = world.send(form).await;
    let empty = r#"{"label_values_count_total":7,"label_names_count":3,"cardinality":[]}"#;
    assert_eq!((kind.as_deref(), body.as_str()), (Some("application/json"), empty));
    let asked = world.heads.heads_asked.lock().unwrap();
    let active = Some(NOW_MS - 20 * 60_000);
    let since: Vec<Option<i64>> = asked.iter().map(|request| request.active_since_ms).collect();
    assert_eq!(since, [None, None, active, active]);
    assert_eq!(
        (asked[1].names.join(","), asked[3].selectors[0][0].to_string()),
        ("job,x".to_string(), "__name__=\"up\"".to_string())
    );
    assert_eq!(world.heads.labels_asked.lock().unwrap()[0].range.start, NOW_MS - 20 * 60_000);
}

#[tokio::test]
async fn questions_about_cardinality_that_are_wrong_are_refused_in_plain_text() {
    let world = World::new();
    for (path, wanted) in [
        ("label_names?selector=up&selector=down", "multiple 'selector' params are not allowed\n"),
        ("label_names?limit=1&limit=2", "multiple 'limit' params are not allowed\n"),
        ("label_names?limit=-1", "'limit' param cannot be less than '0'\n"),
        (
            "label_names?limit=501",
            "'limit' param cannot be greater than '500' (limit cardinality_analysis_max_results)\n",
        ),
        ("label_names?limit=x", "strconv.Atoi: parsing \"x\": invalid syntax\n"),
        (
            "label_names?count_method=all",
            "invalid 'count_method' param 'all'. valid options are: [active,inmemory]\n",
        ),
        ("label_values", "'label_names[]' param is required\n"),
        ("label_values?label_names[]=", "invalid 'label_names' param ''\n"),
        ("active_series", "missing 'selector' parameter\n"),
        ("active_native_histogram_metrics", "missing 'selector' parameter\n"),
    ] {
        world.check(&format!("/cardinality/{path}"), 400, wanted).await;
    }
    let (status, body) = world.get("/api/v1/cardinality/label_names?selector=%7B").await;
    assert!(status == 400 && body.starts_with("failed to parse selector: 1:2: parse error"), "{body}");
    let off = Limits { cardinality_analysis_enabled: false, ..Limits::default() };
    let off = World { limits: off, ..World::new() };
    for path in ["label_names", "label_values", "active_series", "active_native_histogram_metrics"] {
        let wanted = "cardinality analysis is disabled for the tenant: anonymous (limit cardinality_analysis_enabled)\n";
        off.check(&format!("/cardinality/{path}"), 400, wanted).await;
    }
}

#[tokio::test]
async fn the_files_of_a_table_are_blocks() {
    let world = World::new();
    let block = |name: &str, level: u32| {
        format!(
            "{{\"ulid\":\"{name}\",\"minTime\":1000,\"maxTime\":2001,\"stats\":{{\"numBytes\":77}},\
             \"compaction\":{{\"level\":{level},\"sources\":[\"{name}\"]}},\"version\":1}}"
        )
    };
    let (fresh, merged) = (block("01FRESH", 1), block("01MERGED", 2));
    let wanted = format!("{{\"status\":\"success\",\"data\":{{\"blocks\":[{fresh},{merged}]}}}}");
    world.check("/status/tsdb/blocks", 200, &wanted).await;
}

#[tokio::test]
async fn the_metrics_of_the_process_are_told_as_families_of_protobuf() {
    let world = World::new();
    let wanted = concat!(
        r#"{"status":"success","data":["#,
        r#"{"name":"firn_byes_total","help":"Why it went.","type":"COUNTER","metric":["#,
        r#"{"label":[{"name":"why","value":"a\"b\\c\n"}],"counter":{"value":1}}]},"#,
        r#"{"name":"firn_mood","help":"How it is.","type":"GAUGE","metric":[{"gauge":{"value":-1}}]},"#,
        r#"{"name":"firn_sleep_seconds","help":"How long it slept.","type":"HISTOGRAM","metric":[{"histogram":"#,
        r#"{"sampleCount":"3","sampleSum":10.25,"bucket":[{"cumulativeCount":"1","upperBound":0.5},"#,
        r#"{"cumulativeCount":"2","upperBound":2.5}]}}]},"#,
        r#"{"name":"firn_wakes_total","help":"How often it woke.","type":"COUNTER","metric":[{"counter":{"value":3}}]}"#,
        r#"]}"#
    );
    world.check("/status/self_metrics", 200, wanted).await;
    let mood = r#"{"status":"success","data":[{"name":"firn_mood","help":"How it is.","type":"GAUGE","metric":[{"gauge":{"value":-1}}]}]}"#;
    world.check("/status/self_metrics?metric_name_pattern=firn_m.%2B", 200, mood).await;
    world
        .check("/status/self_metrics?metric_name_pattern=mood", 200, r#"{"status":"success","data":[]}"#)
        .await;
    let wrong = bad_data("invalid metric_name_pattern: error parsing regexp: missing closing ): `(`");
    world.check("/status/self_metrics?metric_name_pattern=(", 400, &wrong).await;
}

#[tokio::test]
async fn a_search_is_answered_in_lines() {
    let world = World::new();
    let end = |has_more| format!("{{\"status\":\"success\",\"has_more\":{has_more}}}\n");
    let check = async |path: &str, lines: &[&str], has_more: bool| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        world.check(&format!("/search/{path}"), 200, &(lines + &end(has_more))).await;
    };
    check("metric_names", &[r#"{"results":[{"name":"cpu"},{"name":"up"},{"name":"up_total"}]}"#], false)
        .await;
    check(
        "metric_names?limit=2&sort_by=alpha&sort_dir=dsc",
        &[r#"{"results":[{"name":"up_total"},{"name":"up"}]}"#],
        true,
    )
    .await;
    check(
        "metric_names?batch_size=1&search[]=UP&case_sensitive=false&include_score=true&include_metadata=1",
        &[
            r#"{"results":[{"name":"up","score":1,"type":"gauge","help":"new"}]}"#,
            r#"{"results":[{"name":"up_total","score":1}]}"#,
        ],
        false,
    )
    .await;
    // "total" behind three of eight characters, and the name that begins with the term before it.
    check(
        "metric_names?fuzz_alg=jarowinkler&search[]=total&search[]=cp&sort_by=score&include_score=t",
        &[r#"{"results":[{"name":"cpu","score":1},{"name":"up_total","score":0.09999999999999998}]}"#],
        false,
    )
    .await;
    check("metric_names?search[]=nothing", &[r#"{"results":[]}"#], false).await;
    check("label_names?search[]=in", &[r#"{"results":[{"name":"instance"}]}"#], false).await;
    check("label_values?label=job", &[r#"{"results":[]}"#], false).await;
    let (_, kind, _) =
        world.send(Request::post("/api/v1/search/label_names").body(Body::empty()).unwrap()).await;
    assert_eq!(kind.as_deref(), Some("application/x-ndjson; charset=utf-8"));
    let asked = world.heads.labels_asked.lock().unwrap();
    assert_eq!((asked[0].range.start, asked[0].range.end), (NOW_MS - 3_600_000, NOW_MS));
    assert_eq!((asked[0].limit, asked[1].limit, asked[2].limit), (101, 0, 0));
}

#[tokio::test]
async fn a_search_that_cannot_be_done_says_why_in_one_object() {
    let world = World::new();
    for (query, wanted) in [
        ("start=2&end=1", "end timestamp must not be before start timestamp"),
        ("start=x", r#"invalid time value for 'start': cannot parse \"x\" to a valid timestamp"#),
        ("match[]={}", "match[] must contain at least one non-empty matcher"),
        ("fuzz_threshold=101", r#"invalid fuzz_threshold \"101\": must be 0-100"#),
        ("fuzz_alg=x", r#"unsupported fuzz_alg \"x\": must be one of [subsequence jarowinkler]"#),
        ("case_sensitive=yes", r#"invalid case_sensitive \"yes\": must be boolean"#),
        ("include_score=2", r#"invalid include_score \"2\": must be boolean"#),
        ("sort_dir=asc", "sort_dir is only valid when sort_by is set"),
        ("sort_by=score&sort_dir=asc&search[]=x", "sort_dir is not supported for sort_by=score"),
        ("sort_by=alpha&sort_dir=up", r#"invalid sort_dir \"up\": must be \"asc\" or \"dsc\""#),
        ("sort_by=score", "sort_by=score requires search[] to be set"),
        ("sort_by=size", r#"invalid sort_by \"size\" for label_values: must be \"alpha\" or \"score\""#),
        ("limit=0", r#"invalid limit \"0\": must be a positive integer"#),
        ("limit=10001", "limit 10001 exceeds the configured maximum (10000, see limits: max_search_results)"),
        ("batch_size=-1", r#"invalid batch_size \"-1\": must be a positive integer"#),
        ("", r#"missing required parameter \"label\""#),
    ] {
        let path = format!("/search/label_values?{}", query.replace('{', "%7B").replace('}', "%7D"));
        world.check(&path, 400, &bad_data(wanted)).await;
    }
    let many = "search[]=x&".repeat(33);
    let wanted = bad_data("too many search[] terms: got 33, maximum is 32");
    world.check(&format!("/search/label_names?{many}"), 400, &wanted).await;
    let (status, body) = world.get("/api/v1/search/label_values?label=away").await;
    assert!(status == 503 && body.contains("ingester-1 is away"), "{body}");
}
