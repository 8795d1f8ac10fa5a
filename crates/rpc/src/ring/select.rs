use async_trait::async_trait;
use cluster::RingWatch;
use futures::future::try_join_all;
use model::{ExemplarPoint, ExemplarSeries, Labels, Metadata, SeriesData, TenantId, unite};
use wire::{
    HeadStats, HeadStatsRequest, LabelsRequest, Listed, MetadataRequest, Select, SelectError, SelectRequest,
    SelectStats, Selected, Standing, StandingRequest,
};

use super::Members;
use crate::{IngesterClient, Pool};

/// Asks every ingester that may hold samples which are in no table yet. One that cannot be asked fails the query: what
/// only it holds would be missing without a word.
pub struct RingSelect {
    members: Members,
}

impl RingSelect {
    /// Asks by the newest ring.
    pub fn new(ring: RingWatch, pool: Pool) -> RingSelect {
        RingSelect { members: Members { ring, pool } }
    }

    /// Asks everyone at once.
    async fn ask<T, F>(&self, ask: impl Fn(IngesterClient) -> F) -> Result<Vec<T>, SelectError>
    where
        F: Future<Output = Result<T, SelectError>>,
    {
        let ring = self.members.snapshot();
        let readers = self.members.readers(&ring).map_err(SelectError::Unavailable)?;
        try_join_all(readers.into_iter().map(ask)).await
    }
}

#[async_trait]
impl Select for RingSelect {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let answers = self.ask(|client| async move { client.select(tenant, request).await }).await?;
        let mut stats = SelectStats::default();
        answers.iter().for_each(|answer| stats.add(answer.stats));
        // What left one head is in the version that this head names; only a snapshot of the greatest has all of it.
        let table_version = answers.iter().filter_map(|answer| answer.table_version).max();
        let series = join(answers.into_iter().map(|answer| answer.series).collect());
        Ok(Selected { series, table_version, stats })
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        Ok(union(self.ask(|client| async move { client.series(tenant, request).await }).await?))
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        Ok(union(self.ask(|client| async move { client.label_names(tenant, request).await }).await?))
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        Ok(union(self.ask(|client| async move { client.label_values(tenant, name, request).await }).await?))
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        let answers = self.ask(|client| async move { client.exemplars(tenant, request).await }).await?;
        let Listed { mut items, table_version } = gathered(answers);
        items.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut joined: Vec<ExemplarSeries> = Vec::with_capacity(items.len());
        for series in items {
            match joined.last_mut().filter(|last| last.labels == series.labels) {
                Some(last) => {
                    last.exemplars = unite_exemplars(std::mem::take(&mut last.exemplars), series.exemplars)
                }
                None => joined.push(series),
            }
        }
        Ok(Listed { items: joined, table_version })
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        let answers = self.ask(|client| async move { client.metadata(tenant, request).await }).await?;
        let Listed { mut items, table_version } = gathered(answers);
        // A tenant's descriptions lie with one ingester unless the ring has changed, so that order among several is by
        // chance; within one family the order of each answer stays.
        items.sort_by(|a, b| a.family.cmp(&b.family));
        let mut united: Vec<Metadata> = Vec::with_capacity(items.len());
        for one in items {
            let same_family = united.iter().rev().take_while(|known| known.family == one.family);
            if !same_family.into_iter().any(|known| *known == one) {
                united.push(one);
            }
        }
        Ok(Listed { items: united, table_version })
    }

    async fn head_stats(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        let answers = self.ask(|client| async move { client.head_stats(tenant, request).await }).await?;
        let unsure = HeadStats::unsure(&answers, request.top / HeadStatsRequest::SPARE);
        let mut all = added(answers);
        if !unsure.is_empty() && (1..TOLD_AT_MOST).contains(&request.top) {
            let whole =
                HeadStatsRequest { names: unsure, top: TOLD_AT_MOST, histograms: false, ..request.clone() };
            let whole = &whole;
            let answers = self.ask(|client| async move { client.head_stats(tenant, whole).await }).await?;
            all.correct(added(answers));
        }
        Ok(all)
    }

    async fn standing(&self, tenant: &TenantId, request: &StandingRequest) -> Result<Standing, SelectError> {
        let answers = self.ask(|client| async move { client.standing(tenant, request).await }).await?;
        let table_version = answers.iter().filter_map(|answer| answer.table_version).max();
        let mut open: Vec<_> = answers.into_iter().flat_map(|answer| answer.open).collect();
        open.sort_unstable_by_key(|range| range.start);
        open.dedup();
        Ok(Standing { open, prints: Vec::new(), table_version })
    }
}

/// Values of a label that an ingester tells when with fewer it is not sure which have the most series. A label of which
/// an ingester has more is counted low in the list, by at most what the last of these has there.
const TOLD_AT_MOST: usize = 1 << 16;

fn added(answers: Vec<HeadStats>) -> HeadStats {
    let mut all = HeadStats::default();
    answers.into_iter().for_each(|answer| all.absorb(answer));
    all
}

/// All items, and the greatest version.
fn gathered<T>(answers: Vec<Listed<T>>) -> Listed<T> {
    let table_version = answers.iter().filter_map(|answer| answer.table_version).max();
    Listed { items: answers.into_iter().flat_map(|answer| answer.items).collect(), table_version }
}

fn union<T: Ord>(answers: Vec<Listed<T>>) -> Listed<T> {
    let is_one = answers.len() == 1;
    let mut all = gathered(answers);
    if !is_one {
        // Sorted runs: the stable sort merges them in linear time.
        all.items.sort();
        all.items.dedup();
    }
    all
}

/// Series of several answers; one that is in several becomes one.
fn join(mut answers: Vec<Vec<SeriesData>>) -> Vec<SeriesData> {
    match answers.len() {
        1 => answers.pop().unwrap_or_default(),
        _ => unite(answers.into_iter().flatten().collect()),
    }
}

/// Exemplars of one series by time, each once.
fn unite_exemplars(mut all: Vec<ExemplarPoint>, more: Vec<ExemplarPoint>) -> Vec<ExemplarPoint> {
    all.extend(more);
    let key = |e: &ExemplarPoint| (e.timestamp, e.value.to_bits());
    all.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.labels.cmp(&b.labels)));
    all.dedup_by(|a, b| key(a) == key(b) && a.labels == b.labels);
    all
}
