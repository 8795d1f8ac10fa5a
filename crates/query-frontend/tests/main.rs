//! The HTTP contract, over the real routes and a scripted querier.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod frontend;
mod raw;
mod status;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use model::{
    ExemplarPoint, ExemplarSeries, Labels, MatrixSeries, Metadata, MetricType, SampleValue, TenantIds, Value,
    VectorSample,
};
use query_frontend::routes;
use runtime::Clock;
use tower::ServiceExt;
use wire::{
    HeadStats, HeadStatsRequest, LabelsRequest, MetadataRequest, Query, QueryError, QueryRequest,
    QueryResult, QueryStats, Raw, RawRequest, SelectError, StoredBlock,
};

/// Answers with two series and remembers what it was asked; `fail` and `limit` as queries fail.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<(String, QueryRequest)>>,
    labels_asked: Mutex<Vec<LabelsRequest>>,
}

#[async_trait]
impl Query for Scripted {
    async fn query(&self, tenant: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        self.asked.lock().unwrap().push((tenant.to_string(), request.clone()));
        match request.query.as_str() {
            "long" => return Err(QueryError::Invalid(format!("1:1: parse error: {}", "ä".repeat(100_000)))),
            "nonsense" => return Err(QueryError::Invalid("1:1: parse error: nonsense".to_string())),
            "limit" => {
                let limit = SelectError::LimitExceeded { name: "max_series_per_query", limit: 1, used: 2 };
                return Err(QueryError::Select(limit));
            }
            "store" => return Err(QueryError::Select(SelectError::Unavailable("store is away".to_string()))),
            "slow" => return Err(QueryError::Timeout("expression evaluation")),
            "panic" => panic!("on purpose"),
            _ => {}
        }
        let labels = |instance: &str| Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
        let value = match request.step_ms {
            None => Value::Vector(
                ["a", "b"]
                    .map(|instance| VectorSample {
                        labels: labels(instance),
                        timestamp: request.start_ms,
                        value: SampleValue::Float(1.0),
                    })
                    .to_vec(),
            ),
            Some(step) => Value::Matrix(vec![MatrixSeries {
                labels: labels("a"),
                floats: vec![(request.start_ms, 1.0), (request.start_ms + step, f64::NAN)],
                histograms: Vec::new(),
            }]),
        };
        let warnings = (0..12).map(|i| format!("PromQL warning: number {i} (1:1)")).collect();
        Ok(QueryResult {
            value,
            warnings,
            infos: Vec::new(),
            stats: QueryStats::default(),
            held: wire::Held::default(),
        })
    }

    async fn raw(&self, _: &TenantIds, _: &RawRequest) -> Result<Raw, QueryError> {
        Err(QueryError::Internal("nobody asks".to_string()))
    }

    async fn series(&self, _tenant: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        Ok(vec![Labels::from_pairs([("__name__", "up")]), Labels::from_pairs([("__name__", "down")])])
    }

    async fn label_names(&self, _: &TenantIds, request: &LabelsRequest) -> Result<Vec<String>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        Ok(vec!["__name__".to_string(), "job".to_string()])
    }

    async fn label_values(
        &self,
        _: &TenantIds,
        name: &str,
        _: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        Ok(vec![format!("value of {name}")])
    }

    async fn exemplars(
        &self,
        _: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        self.labels_asked.lock().unwrap().push(request.clone());
        let point = |timestamp, value, trace: &str| ExemplarPoint {
            timestamp,
            value,
            labels: Labels::from_pairs([("trace_id", trace)]),
        };
        let labels = Labels::from_pairs([("__name__", "latency_bucket"), ("le", "0.5")]);
        Ok(vec![ExemplarSeries {
            labels,
            exemplars: vec![point(1500, 0.25, "a\"b"), point(2000, f64::NAN, "c")],
        }])
    }

    async fn metadata(&self, _: &TenantIds, request: &MetadataRequest) -> Result<Vec<Metadata>, QueryError> {
        let one = |family: &str, metric_type, unit: &str, help: &str| Metadata {
            family: family.to_string(),
            metric_type,
            unit: unit.to_string(),
            help: help.to_string(),
        };
        let all = [
            one("latency", MetricType::Histogram, "seconds", "How \"long\"."),
            one("latency", MetricType::GaugeHistogram, "", "old"),
            one("up", MetricType::Unknown, "", ""),
        ];
        Ok(all.into_iter().filter(|one| request.family.as_ref().is_none_or(|f| *f == one.family)).collect())
    }

    async fn head_stats(&self, _: &TenantIds, _: &HeadStatsRequest) -> Result<HeadStats, QueryError> {
        Ok(HeadStats::default())
    }

    async fn blocks(&self, _: &TenantIds) -> Result<Vec<StoredBlock>, QueryError> {
        Ok(Vec::new())
    }
}

struct Api {
    querier: Arc<Scripted>,
    multitenancy: bool,
}

impl Api {
    fn new() -> Api {
        Api { querier: Arc::new(Scripted::default()), multitenancy: false }
    }

    async fn send(&self, request: Request<Body>) -> (u16, String) {
        let querier = Arc::clone(&self.querier) as Arc<dyn Query>;
        let (clock, _) = Clock::manual(1_000_000);
        let deps = status::deps(querier, self.multitenancy, clock);
        let response = routes(deps).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).to_string())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

#[tokio::test]
async fn an_instant_query_answers_under_both_prefixes_and_by_both_methods() {
    let api = Api::new();
    let (status, body) = api.get("/api/v1/query?query=up&time=1.5&limit=1").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a"},"value":[1.500,"1"]}]},"warnings":["results truncated due to limit","#), "{body}");
    let form = Request::post("/prometheus/api/v1/query?time=2")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("query=up%7Bx%3D%22%C3%A4%22%7D&timeout=5s&lookback_delta=1m"))
        .unwrap();
    assert_eq!(api.send(form).await.0, 200);
    let asked = api.querier.asked.lock().unwrap();
    assert_eq!((asked[1].1.query.as_str(), asked[1].1.start_ms), ("up{x=\"ä\"}", 2000));
    assert_eq!((asked[1].1.timeout_ms, asked[1].1.lookback_ms), (Some(5000), Some(60_000)));
    assert_eq!(asked[1].0, "anonymous");
}

#[tokio::test]
async fn where_form_and_url_both_have_a_parameter_the_form_counts() {
    let api = Api::new();
    let form = |body: &'static str| {
        Request::post("/api/v1/query?query=up&time=1&timeout=3s")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap()
    };
    api.send(form("query=down&time=2")).await;
    // An empty one is as good as none, and it counts, too.
    api.send(form("query=down&time=")).await;
    let asked = api.querier.asked.lock().unwrap();
    let (first, second) = (&asked[0].1, &asked[1].1);
    assert_eq!((first.query.as_str(), first.start_ms), ("down", 2000));
    assert!(first.timeout_ms.is_some_and(|left| (2000..=3000).contains(&left)), "{:?}", first.timeout_ms);
    assert_eq!((second.query.as_str(), second.start_ms), ("down", 1_000_000));
}

#[tokio::test]
async fn a_step_is_counted_in_nanoseconds_and_evaluated_in_whole_milliseconds() {
    let api = Api::new();
    let range = |step: &str| format!("/api/v1/query_range?query=up&start=0&end=2&step={step}");
    assert_eq!(api.get(&range("0.0159")).await.0, 200);
    assert_eq!(api.querier.asked.lock().unwrap()[0].1.step_ms, Some(15));
    let (status, body) = api.get(&range("0.0001")).await;
    assert!(status == 400 && body.contains("11,000 points"), "{body}");
    let (status, body) = api.get("/api/v1/query_range?query=up&start=0&end=0&step=0.0001").await;
    assert!(status == 400 && body.contains("zero or negative"), "{body}");
}

#[tokio::test]
async fn there_are_no_rules_but_wrong_ways_to_ask_for_them() {
    let right = ["", "?type=Alert", "?type=record&group_limit=1&exclude_alerts=T&match[]=up"];
    for query in right {
        let (status, body) = Api::new().get(&format!("/api/v1/rules{query}")).await;
        assert_eq!((status, body.as_str()), (200, r#"{"status":"success","data":{"groups":[]}}"#), "{query}");
    }
    let wrong = [
        ("?type=x", r#"invalid parameter \"type\": not supported value \"x\""#),
        ("?exclude_alerts=x", r#"strconv.ParseBool: parsing \"x\": invalid syntax"#),
        ("?group_limit=0", "group_limit needs to be greater than 0"),
        ("?group_limit=5000000000", r#"strconv.ParseInt: parsing \"5000000000\": value out of range"#),
        ("?group_next_token=a", "group_limit needs to be present"),
        ("?group_next_token=a&group_limit=1", "invalid group_next_token 'a'. were rule groups changed?"),
        ("?match[]=%7B%7D", "at least one non-empty matcher"),
    ];
    for (query, expected) in wrong {
        let (status, body) = Api::new().get(&format!("/api/v1/rules{query}")).await;
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.contains(r#""errorType":"bad_data""#) && body.contains(expected), "{query}: {body}");
    }
    let (status, body) = Api::new().get("/api/v1/targets/metadata?limit=x").await;
    assert!(status == 400 && body.contains("limit must be a number"), "{body}");
}

#[tokio::test]
async fn a_query_without_a_time_is_about_now() {
    let api = Api::new();
    api.get("/api/v1/query?query=up").await;
    assert_eq!(api.querier.asked.lock().unwrap()[0].1.start_ms, 1_000_000);
}

#[tokio::test]
async fn at_most_ten_warnings_are_shown() {
    let (_, body) = Api::new().get("/api/v1/query_range?query=up&start=0&end=60&step=15").await;
    assert_eq!(body.matches("PromQL warning").count(), 10);
    assert!(body.contains(r#""values":[[0,"1"],[15,"NaN"]]"#), "{body}");
}

#[tokio::test]
async fn stats_are_shown_when_asked_for() {
    let api = Api::new();
    let (_, without) = api.get("/api/v1/query?query=up").await;
    let (_, with) = api.get("/api/v1/query?query=up&stats=all").await;
    assert!(!without.contains("totalQueryableSamples") && with.contains("totalQueryableSamples"));
    assert!(api.querier.asked.lock().unwrap()[1].1.stats_per_step);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let cases = [
        ("/query?query=up&time=yesterday", r#"invalid parameter \"time\""#),
        ("/query?query=up&limit=-1", r#"invalid parameter \"limit\": limit must be non-negative"#),
        (
            "/query?query=up&limit=1.5&time=x",
            r#"invalid parameter \"limit\": strconv.Atoi: parsing \"1.5\": invalid syntax"#,
        ),
        ("/query?query=up&lookback_delta=x", "error parsing lookback delta duration: cannot parse"),
        ("/query?query=up&timeout=x", r#"invalid parameter \"timeout\""#),
        ("/query?query=nonsense", r#"invalid parameter \"query\": 1:1: parse error: nonsense"#),
        ("/query_range?query=up&end=1&step=1", r#"invalid parameter \"start\""#),
        ("/query_range?query=up&start=2&end=1&step=1", "end timestamp must not be before start"),
        ("/query_range?query=up&start=0&end=1&step=0", "zero or negative"),
        ("/query_range?query=up&start=0&end=11001&step=1", "11,000 points"),
        ("/series", "no match[] parameter provided"),
        ("/series?match[]=%7B%7D", "at least one non-empty matcher"),
        ("/series?match[]=sum(up)", r#"invalid parameter \"match[]\""#),
        ("/labels?start=2&end=1", r#"invalid parameter \"end\""#),
        ("/query_exemplars", "parse error: no expression found in input"),
        ("/query_exemplars?query=up{", "1:4: parse error: unexpected end of input inside braces"),
        ("/query_exemplars?query=up&start=x", r#"invalid parameter \"start\""#),
        ("/query_exemplars?query=up&start=2&end=1", "end timestamp must not be before start timestamp"),
        ("/metadata?limit=x", "limit must be a number"),
        ("/metadata?limit_per_metric=1.5", "limit_per_metric must be a number"),
    ];
    for (path, expected) in cases {
        let (status, body) = Api::new().get(&format!("/api/v1{path}")).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.starts_with(r#"{"status":"error","errorType":"bad_data""#), "{path}: {body}");
        assert!(body.contains(expected), "{path}: {body}");
    }
}

#[tokio::test]
async fn an_error_says_who_has_to_act() {
    let cases = [
        ("limit", 422, "execution", "max_series_per_query"),
        ("store", 503, "unavailable", "store is away"),
        ("slow", 503, "timeout", "timed out"),
    ];
    for (query, expected, error_type, message) in cases {
        let (status, body) = Api::new().get(&format!("/api/v1/query?query={query}")).await;
        assert_eq!(status, expected, "{body}");
        assert!(body.contains(&format!(r#""errorType":"{error_type}""#)) && body.contains(message), "{body}");
    }
}

#[tokio::test]
async fn an_error_does_not_echo_a_megabyte() {
    let (status, body) = Api::new().get("/api/v1/query?query=long").await;
    assert_eq!(status, 400);
    assert!(body.contains("1:1: parse error: ää") && body.len() < 1200, "{} bytes", body.len());
}

#[tokio::test]
async fn label_queries_pass_on_selectors_and_times() {
    let api = Api::new();
    let (status, body) =
        api.get("/api/v1/series?match[]=up&match[]=%7Bjob%3D%22x%22%7D&start=1&end=2&limit=1").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""data":[{"__name__":"up"}],"warnings":["results truncated"#), "{body}");
    let asked = api.querier.labels_asked.lock().unwrap()[0].clone();
    assert_eq!((asked.selectors.len(), asked.range.start, asked.range.end), (2, 1000, 2000));
    let (_, names) = api.get("/api/v1/labels?limit=0").await;
    assert_eq!(names, r#"{"status":"success","data":["__name__","job"]}"#);
    let (_, values) = api.get("/api/v1/label/U__a_2e_b/values").await;
    assert_eq!(values, r#"{"status":"success","data":["value of a.b"]}"#);
}

#[tokio::test]
async fn exemplars_are_asked_for_by_every_selector_of_an_expression() {
    let api = Api::new();
    let data = concat!(
        r#"[{"seriesLabels":{"__name__":"latency_bucket","le":"0.5"},"exemplars":["#,
        r#"{"labels":{"trace_id":"a\"b"},"value":"0.25","timestamp":1.500},"#,
        r#"{"labels":{"trace_id":"c"},"value":"NaN","timestamp":2}]}]"#
    );
    let expected = (200, format!(r#"{{"status":"success","data":{data}}}"#));
    let query = "query=rate(a%5B5m%5D)%2Fon()%20b%7Bx%3D%22y%22%7D&start=1.5&end=2";
    assert_eq!(api.get(&format!("/api/v1/query_exemplars?{query}")).await, expected);
    let form = Request::post("/prometheus/api/v1/query_exemplars")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(query))
        .unwrap();
    assert_eq!(api.send(form).await, expected);
    let asked = api.querier.labels_asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].range.start, asked[0].range.end), (2, 1500, 2000));
    let mut selectors: Vec<Vec<String>> =
        asked[0].selectors.iter().map(|all| all.iter().map(ToString::to_string).collect()).collect();
    selectors.iter_mut().for_each(|all| all.sort());
    let expected = [vec![r#"__name__="a""#], vec![r#"__name__="b""#, r#"x="y""#]];
    assert_eq!(selectors, expected);
}

#[tokio::test]
async fn an_expression_without_a_selector_has_no_exemplars_and_asks_nobody() {
    let api = Api::new();
    let (status, body) = api.get("/api/v1/query_exemplars?query=1%2B1").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"success","data":[]}"#));
    assert!(api.querier.labels_asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn descriptions_are_shown_by_family_within_both_limits() {
    let latency = r#"{"type":"histogram","unit":"seconds","help":"How \"long\"."}"#;
    let old = r#"{"type":"gaugehistogram","unit":"","help":"old"}"#;
    let up = r#""up":[{"type":"unknown","unit":"","help":""}]"#;
    let all = format!(r#""latency":[{latency},{old}],{up}"#);
    let cases = [
        ("", all.clone()),
        ("?limit=-1&limit_per_metric=-1", all.clone()),
        ("?limit_per_metric=0", all),
        ("?limit=0", String::new()),
        ("?limit=1", format!(r#""latency":[{latency},{old}]"#)),
        ("?limit_per_metric=1", format!(r#""latency":[{latency}],{up}"#)),
        ("?metric=up", up.to_string()),
        ("?metric=down", String::new()),
    ];
    for (query, expected) in cases {
        let (status, body) = Api::new().get(&format!("/api/v1/metadata{query}")).await;
        assert_eq!(
            (status, body),
            (200, format!(r#"{{"status":"success","data":{{{expected}}}}}"#)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_label_name_that_is_not_utf8_is_refused_like_any_other_parameter() {
    let (status, body) = Api::new().get("/api/v1/label/%ff/values").await;
    assert_eq!(status, 400, "{body}");
    assert!(body.starts_with(r#"{"status":"error","errorType":"bad_data","error":"label name: "#), "{body}");
}

#[tokio::test]
async fn tenants_are_taken_from_the_header() {
    let mut api = Api::new();
    api.multitenancy = true;
    assert_eq!(api.get("/api/v1/query?query=up").await.0, 401);
    let request = |tenant: &str| {
        Request::get("/api/v1/query?query=up").header("X-Scope-OrgID", tenant).body(Body::empty()).unwrap()
    };
    assert_eq!(api.send(request("team-1")).await.0, 200);
    assert_eq!(api.send(request("a/b")).await.0, 400);
    assert_eq!(api.querier.asked.lock().unwrap()[0].0, "team-1");
}

#[tokio::test]
async fn answers_are_compressed_on_request_and_preflights_are_answered() {
    let api = Api::new();
    let deps = status::deps(Arc::clone(&api.querier) as Arc<dyn Query>, false, Clock::system());
    let request = Request::get("/api/v1/query_range?query=up&start=0&end=60&step=15")
        .header(header::ACCEPT_ENCODING, "gzip")
        .header(header::ORIGIN, "https://grafana.example")
        .body(Body::empty());
    let response = routes(deps).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://grafana.example");
    let preflight = Request::options("/api/v1/query").body(Body::empty()).unwrap();
    assert_eq!(api.send(preflight).await.0, 204);
}
