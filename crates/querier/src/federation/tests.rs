use std::collections::BTreeMap;

use async_trait::async_trait;
use limits::{LimitsConfig, Overrides};
use model::{FloatColumn, MatcherOp, MetricType, TimeRange};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use runtime::{Clock, MemoryPart};
use wire::{Listed, Query, QueryRequest, Raw, RawRequest, Select, SelectBudget, Selected, SeriesRange};

use super::*;
use crate::{Config, Deps, Querier};

/// Series of tenants, and who was asked for what.
#[derive(Default)]
struct World {
    series: BTreeMap<String, Vec<Labels>>,
    asked: Mutex<Vec<String>>,
}

impl World {
    fn new() -> Arc<World> {
        let up = |job: &str| Labels::from_pairs([("__name__", "up"), ("job", job)]);
        let marked = Labels::from_pairs([("__name__", "up"), ("__tenant_id__", "own"), ("job", "y")]);
        let series = [("a", vec![up("x")]), ("b", vec![up("x"), marked]), ("c", vec![])];
        let series = series.into_iter().map(|(tenant, series)| (tenant.to_string(), series)).collect();
        Arc::new(World { series, ..World::default() })
    }

    fn matching(&self, tenant: &TenantId, selectors: &[Vec<Matcher>]) -> Vec<Labels> {
        let passes = |labels: &Labels| {
            let all = |matchers: &Vec<Matcher>| {
                matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
            };
            selectors.is_empty() || selectors.iter().any(all)
        };
        self.asked.lock().push(tenant.to_string());
        self.series[tenant.as_str()].iter().filter(|labels| passes(labels)).cloned().collect()
    }

    fn listed<T: Ord>(mut items: Vec<T>) -> Result<Listed<T>, SelectError> {
        items.sort();
        items.dedup();
        Ok(Listed { items, table_version: None })
    }
}

#[async_trait]
impl Select for World {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let mut series = self.matching(tenant, std::slice::from_ref(&request.matchers));
        series.retain(|labels| request.within.as_ref().is_none_or(|within| within.contains(labels.run())));
        let value = f64::from(tenant.as_str().as_bytes()[0]);
        let data = |labels| SeriesData {
            labels,
            id: None,
            floats: vec![FloatColumn::new(vec![request.range.end], vec![value])],
            starts: vec![],
            histograms: vec![],
        };
        let series: Vec<SeriesData> = series.into_iter().map(data).collect();
        request.budget.samples.take(series.len() as u64)?;
        Ok(Selected { series, ..Selected::default() })
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        World::listed(self.matching(tenant, &request.selectors))
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let series = self.matching(tenant, &request.selectors);
        let names = series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_string()));
        World::listed(names.collect())
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let series = self.matching(tenant, &request.selectors);
        World::listed(series.iter().filter_map(|labels| labels.get(name)).map(str::to_string).collect())
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        let series = self.matching(tenant, &request.selectors);
        let items = series.into_iter().map(|labels| ExemplarSeries { labels, exemplars: vec![] }).collect();
        Ok(Listed { items, table_version: None })
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        _: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        let one = |family: &str, help: &str| Metadata {
            family: family.to_string(),
            metric_type: MetricType::Gauge,
            unit: String::new(),
            help: help.to_string(),
        };
        let items = vec![one("down", tenant.as_str()), one("up", "it answers")];
        Ok(Listed { items, table_version: None })
    }
}

/// Nothing.
struct Nothing;

#[async_trait]
impl Select for Nothing {
    async fn select(&self, _: &TenantId, _: &SelectRequest) -> Result<Selected, SelectError> {
        Ok(Selected::default())
    }

    async fn series(&self, _: &TenantId, _: &LabelsRequest) -> Result<Listed<Labels>, SelectError> {
        World::listed(vec![])
    }

    async fn label_names(&self, _: &TenantId, _: &LabelsRequest) -> Result<Listed<String>, SelectError> {
        World::listed(vec![])
    }

    async fn label_values(
        &self,
        _: &TenantId,
        _: &str,
        _: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        World::listed(vec![])
    }

    async fn exemplars(
        &self,
        _: &TenantId,
        _: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        Ok(Listed { items: vec![], table_version: None })
    }

    async fn metadata(&self, _: &TenantId, _: &MetadataRequest) -> Result<Listed<Metadata>, SelectError> {
        Ok(Listed { items: vec![], table_version: None })
    }
}

fn querier(world: &Arc<World>, config: Config, limits: LimitsHandle) -> Querier {
    let deps = Deps {
        recent: Arc::clone(world) as Arc<dyn Select>,
        stored: Arc::new(Nothing),
        limits,
        memory: MemoryPart::unlimited("test"),
        max_waiting: 100,
        clock: Clock::manual(1_000_000).0,
        registry: &mut Registry::default(),
    };
    Querier::open(config, deps)
}

fn federated() -> Config {
    let mut config = Config::default();
    config.tenant_federation.enabled = true;
    config
}

fn ids(ids: &str) -> TenantIds {
    TenantIds::parse(ids).unwrap()
}

fn of(query: &str) -> QueryRequest {
    QueryRequest {
        query: query.to_string(),
        start_ms: 1_000_000,
        end_ms: 1_000_000,
        step_ms: None,
        lookback_ms: None,
        timeout_ms: None,
        stats_per_step: false,
    }
}

fn request(selectors: &[&[(&str, MatcherOp, &str)]]) -> LabelsRequest {
    let matcher = |(name, op, value): &(&str, MatcherOp, &str)| Matcher::new(name, *op, value).unwrap();
    LabelsRequest {
        selectors: selectors.iter().map(|matchers| matchers.iter().map(matcher).collect()).collect(),
        range: TimeRange::new(0, 1_000_000),
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    }
}

/// What a query over these tenants answers, and who was asked.
async fn check(tenants: &str, query: &str) -> (String, Vec<String>) {
    let world = World::new();
    let querier = querier(&world, federated(), LimitsHandle::default());
    let answer = querier.query(&ids(tenants), &of(query)).await.unwrap();
    let asked = world.asked.lock().clone();
    (format!("{:?}", answer.value), asked)
}

#[tokio::test]
async fn the_series_of_several_tenants_carry_their_tenant() {
    let (answer, asked) = check("a|b|c", "count by (__tenant_id__) (up)").await;
    assert!(answer.contains("\"a\"") && answer.contains("\"b\"") && !answer.contains("\"c\""), "{answer}");
    assert_eq!(asked, ["a", "b", "c"]);
    let (answer, _) = check("a|b", "up{job=\"y\"}").await;
    assert!(answer.contains("original___tenant_id__") && answer.contains("own"), "{answer}");
    let (answer, _) = check("b", "up{__tenant_id__=\"own\"}").await;
    assert!(!answer.contains("original"), "one tenant's series are as they are: {answer}");
}

#[tokio::test]
async fn matchers_on_the_tenant_choose_who_is_asked() {
    for (query, expected) in [
        ("count(up{__tenant_id__=\"b\"})", vec!["b"]),
        ("count(up{__tenant_id__!=\"b\"})", vec!["a", "c"]),
        ("count(up{__tenant_id__=~\"a|c\",job=\"x\"})", vec!["a", "c"]),
        ("count(up{__tenant_id__=\"nobody\"})", vec![]),
        ("count(up{original___tenant_id__=\"own\"})", vec!["a", "b", "c"]),
    ] {
        let (_, asked) = check("a|b|c", query).await;
        assert_eq!(asked, expected, "{query}");
    }
    let (answer, _) = check("a|b|c", "count(up{original___tenant_id__=\"own\"})").await;
    let (one, _) = check("a|b|c", "count(up{job=\"y\"})").await;
    assert_eq!(answer, one);
}

#[tokio::test]
async fn lists_know_the_tenants_as_well() {
    let world = World::new();
    let querier = querier(&world, federated(), LimitsHandle::default());
    let all = ids("a|b|c");
    let series = querier.series(&all, &request(&[])).await.unwrap();
    let tenants: Vec<&str> = series.iter().filter_map(|labels| labels.get("__tenant_id__")).collect();
    assert_eq!(tenants, ["a", "b", "b"], "sorted by labels");
    let names = querier.label_names(&all, &request(&[])).await.unwrap();
    assert_eq!(names, ["__name__", "__tenant_id__", "job", "original___tenant_id__"]);
    let values =
        async |name: &str, request: LabelsRequest| querier.label_values(&all, name, &request).await.unwrap();
    assert_eq!(values("__tenant_id__", request(&[])).await, ["a", "b"], "c has nothing");
    let in_y = request(&[&[("job", MatcherOp::Equal, "y")], &[("__tenant_id__", MatcherOp::Equal, "c")]]);
    assert_eq!(values("__tenant_id__", in_y).await, ["b"]);
    assert_eq!(values("original___tenant_id__", request(&[])).await, ["own"]);
    assert_eq!(values("job", request(&[&[("__tenant_id__", MatcherOp::Equal, "a")]])).await, ["x"]);
    let exemplars = querier.exemplars(&all, &request(&[])).await.unwrap();
    assert_eq!(exemplars.len(), 3);
    assert!(exemplars.iter().all(|series| series.labels.get("__tenant_id__").is_some()));
    let everything =
        MetadataRequest { family: None, budget: SelectBudget::unlimited(), min_table_version: None };
    let described = querier.metadata(&all, &everything).await.unwrap();
    let described: Vec<(&str, &str)> =
        described.iter().map(|m| (m.family.as_str(), m.help.as_str())).collect();
    assert_eq!(described, [("down", "a"), ("down", "b"), ("down", "c"), ("up", "it answers")]);
}

#[tokio::test]
async fn it_has_to_be_switched_on_and_has_a_bound() {
    let world = World::new();
    let refused = async |config: Config, tenants: &str| {
        let querier = querier(&world, config, LimitsHandle::default());
        querier.query(&ids(tenants), &of("up")).await.unwrap_err().to_string()
    };
    let error = refused(Config::default(), "a|b").await;
    assert!(error.contains("querier.tenant_federation.enabled") && error.contains("a|b"), "{error}");
    let mut config = federated();
    config.tenant_federation.max_tenants = 2;
    let error = refused(config, "a|b|c").await;
    assert!(error.contains("querier.tenant_federation.max_tenants of 2"), "{error}");
    assert_eq!(*world.asked.lock(), Vec::<String>::new());
}

#[tokio::test]
async fn the_strictest_limits_of_the_tenants_hold_for_all_together() {
    let with = |max_samples_per_query| Overrides {
        max_samples_per_query: Some(max_samples_per_query),
        ..Overrides::default()
    };
    let overrides =
        [("a".to_string(), with(0)), ("b".to_string(), with(2)), ("c".to_string(), with(5))].into();
    let limits = LimitsHandle::new(&LimitsConfig { overrides, ..LimitsConfig::default() }).unwrap();
    assert_eq!(strictest(&limits, &ids("a|b|c")).max_samples_per_query, 2);
    assert_eq!(strictest(&limits, &ids("a|c")).max_samples_per_query, 5);
    assert_eq!(strictest(&limits, &ids("a")).max_samples_per_query, 0);
    let querier = querier(&World::new(), federated(), limits);
    assert!(querier.query(&ids("a"), &of("up")).await.is_ok());
    let error = querier.query(&ids("a|b"), &of("up")).await.unwrap_err().to_string();
    assert!(error.contains("max_samples_per_query: 3 > 2"), "{error}");
}

fn raw(
    selectors: &[&[(&str, MatcherOp, &str)]],
    within: Option<SeriesRange>,
    max_samples: u64,
) -> RawRequest {
    let LabelsRequest { selectors, range, .. } = request(selectors);
    RawRequest { selectors, range, within, max_samples }
}

/// Series of three tenants, whose labels stand before and behind that of the tenant, and some are called like it.
fn crowd() -> Arc<World> {
    let mut world = World::default();
    for (number, tenant) in ["a", "b", "c"].into_iter().enumerate() {
        let names = ["A", "__scheme__", "__tenant_id__", "job", "zone"];
        let of = |bits: usize| {
            let set = names.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            let pairs = set.map(|(i, name)| (*name, ["1", "2"][(bits + i + number) % 2]));
            Labels::from_pairs(pairs.chain([("__name__", ["up", "down"][bits % 2])]))
        };
        world.series.insert(tenant.to_string(), (0..32).map(of).collect());
    }
    Arc::new(world)
}

#[tokio::test]
async fn groups_of_series_of_several_tenants_are_all_of_them_each_once() {
    let querier = querier(&crowd(), federated(), LimitsHandle::default());
    let all = ids("a|b|c");
    let listed = querier.series(&all, &request(&[])).await.unwrap();
    assert_eq!(listed.len(), 3 * 32);
    for size in [1, 2, 5, 64, 1000] {
        let mut read = Vec::new();
        for group in listed.chunks(size) {
            let (first, last) = (group[0].clone(), group[group.len() - 1].clone());
            let request = raw(&[&[]], Some(SeriesRange { first, last }), 0);
            let Raw::Series(series, _) = querier.raw(&all, &request).await.unwrap() else { panic!() };
            read.extend(series.into_iter().map(|series| series.labels));
        }
        assert!(read == listed, "in groups of {size}");
    }
}

#[tokio::test]
async fn series_that_pass_several_selectors_come_once_and_too_many_are_said_to_be() {
    let querier = querier(&World::new(), federated(), LimitsHandle::default());
    let selectors: [&[(&str, MatcherOp, &str)]; 2] =
        [&[("job", MatcherOp::Equal, "x")], &[("job", MatcherOp::Regex, ".+")]];
    let answer = querier.raw(&ids("b"), &raw(&selectors, None, 0)).await.unwrap();
    assert!(matches!(answer, Raw::Series(series, _) if series.len() == 2));
    let answer = querier.raw(&ids("b"), &raw(&selectors[1..], None, 1)).await.unwrap();
    assert!(matches!(answer, Raw::TooMany));
    let limit = Overrides { max_samples_per_query: Some(1), ..Overrides::default() };
    let overrides = [("b".to_string(), limit)].into();
    let limits = LimitsHandle::new(&LimitsConfig { overrides, ..LimitsConfig::default() }).unwrap();
    let querier = self::querier(&World::new(), federated(), limits);
    let refused = querier.raw(&ids("b"), &raw(&selectors[1..], None, 0)).await.unwrap_err().to_string();
    assert!(refused.contains("max_samples_per_query: 2 > 1"), "{refused}");
    let answer = querier.raw(&ids("b"), &raw(&selectors[1..], None, 100)).await.unwrap();
    assert!(matches!(answer, Raw::TooMany), "fewer series at a time are within the limit");
}
