//! The far side: answers as it was told to, and remembers what it was asked. And processes to run it in, which can be
//! killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::{Batch, ExemplarSeries, Labels, Metadata, SeriesData, SeriesId, TenantId, TenantIds, TimeRange};
use parking_lot::Mutex;
use rpc::{Config, IngesterClient, IngesterDeps, Place};
use runtime::{Clock, MemoryPart, Service, Shutdown, TraceContext};
use server::Bound;
use wire::{
    Admin, AdminError, Fingerprint, HeadStats, HeadStatsRequest, LabelsRequest, Listed, MetadataRequest,
    Meter, Projection, Push, PushError, Pushed, Query, QueryError, QueryRequest, QueryResult, Raw,
    RawRequest, Select, SelectBudget, SelectError, SelectRequest, Selected, Standing, StandingRequest,
    StoredBlock,
};

pub(crate) fn tenant() -> TenantId {
    TenantId::new("team-1").unwrap()
}

/// What a call came with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) what: String,
    pub(crate) trace: Option<TraceContext>,
}

/// Answers.
#[derive(Default)]
pub(crate) struct Near {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) batches: Mutex<Vec<Batch>>,
    pub(crate) pushed: Mutex<Pushed>,
    /// The series of the head, where that matters; those without labels are taken only if they are here.
    pub(crate) known: Mutex<Option<HashSet<SeriesId>>>,
    pub(crate) push_error: Mutex<Option<PushError>>,
    pub(crate) selected: Mutex<Selected>,
    pub(crate) select_error: Mutex<Option<SelectError>>,
    pub(crate) labels: Mutex<Vec<Labels>>,
    pub(crate) strings: Mutex<Vec<String>>,
    pub(crate) exemplars: Mutex<Vec<ExemplarSeries>>,
    pub(crate) metadata: Mutex<Vec<Metadata>>,
    pub(crate) head_stats: Mutex<HeadStats>,
    pub(crate) table_version: Mutex<Option<u64>>,
    pub(crate) admin_error: Mutex<Option<AdminError>>,
    pub(crate) result: Mutex<Option<QueryResult>>,
    pub(crate) query_error: Mutex<Option<QueryError>>,
    /// Calls hang while it is true.
    pub(crate) hangs: std::sync::atomic::AtomicBool,
    /// Calls that were dropped before they were answered.
    pub(crate) canceled: AtomicUsize,
    pub(crate) running: AtomicUsize,
}

struct Running<'a>(&'a Near, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.canceled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Near {
    pub(crate) fn new() -> Arc<Near> {
        Arc::default()
    }

    async fn note(&self, what: String) {
        self.calls.lock().push(Call { what, trace: TraceContext::current() });
        self.running.fetch_add(1, Ordering::SeqCst);
        let mut running = Running(self, false);
        while self.hangs.load(Ordering::SeqCst) {
            runtime::sleep(Duration::from_millis(2)).await;
        }
        running.1 = true;
    }

    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(crate) fn whats(&self) -> Vec<String> {
        self.calls.lock().iter().map(|call| call.what.clone()).collect()
    }

    fn select_fails(&self) -> Result<(), SelectError> {
        self.select_error.lock().take().map_or(Ok(()), Err)
    }

    fn listed<T: Clone>(&self, items: &Mutex<Vec<T>>) -> Result<Listed<T>, SelectError> {
        self.select_fails()?;
        Ok(Listed { items: items.lock().clone(), table_version: *self.table_version.lock() })
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        runtime::sleep(Duration::from_millis(5)).await;
    }
    panic!("still not so: {what}");
}

fn selector(matchers: &[model::Matcher]) -> String {
    matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn asked_of_heads(tenant: &str, request: &HeadStatsRequest) -> String {
    let HeadStatsRequest { selectors, active_since_ms, names, top, histograms, .. } = request;
    let selectors: Vec<String> = selectors.iter().map(|matchers| selector(matchers)).collect();
    format!("head_stats {tenant} {selectors:?} {active_since_ms:?} {names:?} {top} {histograms}")
}

fn asked(what: &str, tenant: &str, request: &LabelsRequest) -> String {
    let selectors: Vec<String> = request.selectors.iter().map(|matchers| selector(matchers)).collect();
    let LabelsRequest { range: TimeRange { start, end }, limit, min_table_version, .. } = request;
    format!("{what} {tenant} {selectors:?} {start} {end} {limit} {min_table_version:?}")
}

#[async_trait]
impl Push for Near {
    async fn push(&self, tenant: &TenantId, batch: &Batch) -> Result<Pushed, PushError> {
        self.note(format!("push {tenant}")).await;
        if let Some(error) = self.push_error.lock().take() {
            return Err(error);
        }
        self.batches.lock().push(batch.clone());
        let mut pushed = self.pushed.lock().clone();
        if let Some(known) = &mut *self.known.lock() {
            for series in batch.shards.iter().flat_map(|part| &part.series) {
                if batch.labels(series).is_empty() && !known.contains(&series.id) {
                    pushed.unknown.push(series.id);
                } else {
                    pushed.n_floats += series.n_floats as usize;
                    known.insert(series.id);
                }
            }
        }
        Ok(pushed)
    }
}

/// What a head would charge.
pub(crate) fn charge(series: &[SeriesData], budget: &SelectBudget) -> Result<(), SelectError> {
    for one in series {
        let floats: usize = one.floats.iter().map(|column| column.samples().count()).sum();
        budget.series.take(1)?;
        budget.samples.take((floats + one.histograms.len()) as u64)?;
        budget.bytes.take((one.labels.run().len() + 64 * floats + 4096 * one.histograms.len()) as u64)?;
    }
    Ok(())
}

#[async_trait]
impl Select for Near {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let (matchers, TimeRange { start, end }) = (selector(&request.matchers), request.range);
        let SelectRequest { min_table_version, projection, .. } = request;
        let what = format!("select {tenant} {matchers} {start} {end} {min_table_version:?}");
        let what = if *projection == Projection::All { what } else { format!("{what} {projection:?}") };
        self.note(what).await;
        self.select_fails()?;
        let selected = self.selected.lock().clone();
        charge(&selected.series, &request.budget)?;
        Ok(selected)
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        self.note(asked("series", tenant.as_str(), request)).await;
        self.listed(&self.labels)
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        self.note(asked("label_names", tenant.as_str(), request)).await;
        self.listed(&self.strings)
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        self.note(asked(&format!("label_values {name}"), tenant.as_str(), request)).await;
        self.listed(&self.strings)
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        self.note(asked("exemplars", tenant.as_str(), request)).await;
        self.listed(&self.exemplars)
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        self.note(format!("metadata {tenant} {:?}", request.family)).await;
        self.listed(&self.metadata)
    }

    async fn standing(&self, tenant: &TenantId, _: &StandingRequest) -> Result<Standing, SelectError> {
        self.note(format!("standing {tenant}")).await;
        self.select_fails()?;
        let open = vec![TimeRange::new(-7, 0), TimeRange::new(5, i64::MAX)];
        Ok(Standing { open, prints: Vec::new(), table_version: *self.table_version.lock() })
    }

    async fn head_stats(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        self.note(asked_of_heads(tenant.as_str(), request)).await;
        self.select_fails()?;
        Ok(self.head_stats.lock().clone())
    }
}

#[async_trait]
impl Admin for Near {
    async fn flush(&self, tenant: Option<&TenantId>) -> Result<(), AdminError> {
        self.note(format!("flush {tenant:?}")).await;
        self.admin_error.lock().take().map_or(Ok(()), Err)
    }

    async fn observe(&self, tenant: &TenantId, table_version: u64) -> Result<(), AdminError> {
        self.note(format!("observe {tenant} {table_version}")).await;
        self.admin_error.lock().take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Query for Near {
    async fn query(&self, tenants: &TenantIds, request: &QueryRequest) -> Result<QueryResult, QueryError> {
        self.note(format!("query {tenants} {}", request.query)).await;
        if let Some(error) = self.query_error.lock().take() {
            return Err(error);
        }
        Ok(self.result.lock().clone().unwrap())
    }

    async fn fingerprints(
        &self,
        tenant: &TenantId,
        request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        self.note(format!("fingerprints {tenant} {} {parts:?}", request.query)).await;
        let print = |part: &TimeRange| Fingerprint {
            until_ms: part.end,
            print: part.start.unsigned_abs(),
            table_version: Some(part.start.unsigned_abs() % 3).filter(|version| *version > 0),
        };
        Ok(parts.iter().map(|part| (part.start < 0).then(|| print(part))).collect())
    }

    async fn series(&self, tenants: &TenantIds, request: &LabelsRequest) -> Result<Vec<Labels>, QueryError> {
        self.note(asked("series", &tenants.to_string(), request)).await;
        Ok(self.labels.lock().clone())
    }

    async fn label_names(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        self.note(asked("label_names", &tenants.to_string(), request)).await;
        Ok(self.strings.lock().clone())
    }

    async fn label_values(
        &self,
        tenants: &TenantIds,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Vec<String>, QueryError> {
        self.note(asked(&format!("label_values {name}"), &tenants.to_string(), request)).await;
        Ok(self.strings.lock().clone())
    }

    async fn exemplars(
        &self,
        tenants: &TenantIds,
        request: &LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, QueryError> {
        self.note(asked("exemplars", &tenants.to_string(), request)).await;
        Ok(self.exemplars.lock().clone())
    }

    async fn metadata(
        &self,
        tenants: &TenantIds,
        request: &MetadataRequest,
    ) -> Result<Vec<Metadata>, QueryError> {
        self.note(format!("metadata {tenants} {:?}", request.family)).await;
        Ok(self.metadata.lock().clone())
    }

    async fn raw(&self, tenants: &TenantIds, request: &RawRequest) -> Result<Raw, QueryError> {
        let selectors: Vec<String> = request.selectors.iter().map(|matchers| selector(matchers)).collect();
        let RawRequest { range: TimeRange { start, end }, within, max_samples, .. } = request;
        self.note(format!("raw {tenants} {selectors:?} {start} {end} {within:?} {max_samples}")).await;
        if *max_samples == 1 {
            return Ok(Raw::TooMany);
        }
        Ok(Raw::Series(self.selected.lock().series.clone(), wire::Held::default()))
    }

    async fn head_stats(
        &self,
        tenants: &TenantIds,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, QueryError> {
        self.note(asked_of_heads(&tenants.to_string(), request)).await;
        Ok(self.head_stats.lock().clone())
    }

    /// One for each string.
    async fn blocks(&self, tenants: &TenantIds) -> Result<Vec<StoredBlock>, QueryError> {
        self.note(format!("blocks {tenants}")).await;
        let block = |(i, name): (i64, &String)| StoredBlock {
            name: name.clone(),
            min_ms: -i,
            max_ms: i64::MAX - i,
            n_bytes: i.unsigned_abs(),
            is_merged: i % 2 == 0,
        };
        Ok((0..).zip(self.strings.lock().iter()).map(block).collect())
    }
}

/// Something that runs by itself, as a process does: its tasks and connections die with it.
pub(crate) struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    pub(crate) address: String,
}

impl Process {
    /// A process without a port.
    pub(crate) fn start() -> Process {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        Process { runtime: Some(runtime), address: String::new() }
    }

    /// A process that answers on a port, 0 for a free one.
    pub(crate) async fn serve(
        port: u16,
        routes: impl Future<Output = axum::Router> + Send + 'static,
    ) -> Process {
        let mut process = Process::start();
        let serving = process.spawn(async move {
            let config = server::Config { http_listen_port: port, ..server::Config::default() };
            let bound = Bound::bind(&config).await.unwrap();
            let address = bound.address().to_string();
            let (handle, shutdown) = Shutdown::new();
            let serve = bound.serve(routes.await);
            runtime::spawn(async move {
                let _until_killed = handle;
                serve.run(shutdown).await
            });
            address
        });
        process.address = serving.await.unwrap();
        process
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.as_ref().unwrap().spawn(future)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Everything ends at once, connections included.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn deps(near: &Arc<Near>) -> IngesterDeps {
    IngesterDeps {
        push: Arc::clone(near) as Arc<dyn Push>,
        select: Arc::clone(near) as Arc<dyn Select>,
        admin: Arc::clone(near) as Arc<dyn Admin>,
        place: None,
        push_memory: MemoryPart::unlimited("requests"),
        select_memory: MemoryPart::unlimited("query"),
        clock: Clock::system(),
    }
}

/// An ingester in a process of its own.
pub(crate) async fn ingester(near: &Arc<Near>, config: &Config) -> Process {
    ingester_at(0, config, deps(near), None).await
}

pub(crate) async fn ingester_at(
    port: u16,
    config: &Config,
    deps: IngesterDeps,
    place: Option<Place>,
) -> Process {
    let config = config.clone();
    Process::serve(port, async move { rpc::ingester_routes(&config, IngesterDeps { place, ..deps }) }).await
}

pub(crate) fn client(process: &Process, config: &Config) -> IngesterClient {
    IngesterClient::new("ingester-0", &process.address, config).unwrap()
}

pub(crate) fn budget_of(series: u64, samples: u64, bytes: u64, time: Option<Duration>) -> Arc<SelectBudget> {
    Arc::new(SelectBudget {
        series: Meter::new("max_series_per_query", series),
        samples: Meter::new("max_samples_per_query", samples),
        bytes: Meter::new("max_bytes_per_query", bytes),
        deadline: time.map(|time| Clock::system().instant() + time),
    })
}

pub(crate) fn select_all(budget: &Arc<SelectBudget>) -> SelectRequest {
    SelectRequest {
        matchers: vec![],
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: Arc::clone(budget),
        min_table_version: None,
    }
}

/// Everything about heads.
pub(crate) fn all_heads() -> HeadStatsRequest {
    HeadStatsRequest {
        selectors: vec![],
        active_since_ms: None,
        names: vec![],
        top: 10,
        histograms: false,
        budget: SelectBudget::unlimited(),
    }
}

pub(crate) fn all_labels() -> LabelsRequest {
    LabelsRequest {
        selectors: vec![],
        range: TimeRange::ALL,
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    }
}
