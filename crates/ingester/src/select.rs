//! Select: what is in no table yet, shard by shard, and then the newest table version that is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bucket::Table;
use model::{Classify, ErrorKind, ExemplarSeries, Labels, Metadata, TenantId, TimeRange, unite};
use parking_lot::MutexGuard;
use wire::{
    HeadStats, HeadStatsRequest, LabelsRequest, Listed, MetadataRequest, Projection, Select, SelectBudget,
    SelectError, SelectRequest, SelectStats, Selected, Standing, StandingRequest,
};

use crate::Ingester;
use crate::head::{Candidates, Selecting, ShardHead};
use crate::tenants::Shard;

#[async_trait]
impl Select for Ingester {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let used_before = request.budget.samples.used();
        let mut selecting = Selecting::new(request);
        let mut n_heads = 0;
        for shard in self.shards_of(tenant) {
            let n_before = selecting.series.len();
            self.check_deadline(&request.budget)?;
            let mut candidates = selecting.candidates(&shard.state.lock().head)?;
            let step = |head: &ShardHead, candidates: &mut _| selecting.step(head, candidates);
            self.in_slices(&shard, &mut candidates, &request.budget, step).await?;
            n_heads += usize::from(selecting.series.len() > n_before);
        }
        // Read after the view was taken: what left the head before is in this version.
        let table_version = self.version(tenant, Table::Metrics).await?;
        let is_in_order = request.projection != Projection::All || selecting.series.len() < 2;
        // A series is in two shards only when their number was changed.
        let series = match n_heads < 2 && is_in_order {
            true => selecting.series,
            false => unite(selecting.series),
        };
        let n_samples = request.budget.samples.used().saturating_sub(used_before);
        let stats = SelectStats { n_samples, ..SelectStats::default() };
        Ok(Selected { series, table_version, stats })
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        let mut found = Vec::new();
        for shard in self.shards_of(tenant) {
            let LabelsRequest { selectors, range, budget, .. } = request;
            let mut candidates = shard.state.lock().head.named(selectors, budget)?;
            let step = |head: &ShardHead, candidates: &mut Candidates<'_>| {
                found.extend(head.matching(candidates, *range, budget)?);
                Ok(())
            };
            self.in_slices(&shard, &mut candidates, budget, step).await?;
        }
        found.sort_unstable();
        found.dedup();
        self.listed(tenant, Table::Metrics, found).await
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let mut names = BTreeSet::new();
        for shard in self.shards_of(tenant) {
            self.check_deadline(&request.budget)?;
            names.extend(shard.state.lock().head.label_names(&request.selectors, request.range));
        }
        self.listed(tenant, Table::Metrics, names.into_iter().collect()).await
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        let mut values = BTreeSet::new();
        for shard in self.shards_of(tenant) {
            self.check_deadline(&request.budget)?;
            values.extend(shard.state.lock().head.label_values(name, &request.selectors, request.range));
        }
        self.listed(tenant, Table::Metrics, values.into_iter().collect()).await
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        let mut found: Vec<ExemplarSeries> = Vec::new();
        for shard in self.shards_of(tenant) {
            self.check_deadline(&request.budget)?;
            let state = shard.state.lock();
            found.extend(state.head.exemplars(&request.selectors, request.range, &request.budget)?);
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.listed(tenant, Table::Exemplars, found).await
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        let families = self.metadata_of(tenant, request.family.as_deref());
        let bytes: usize = families.iter().map(|known| known.family.len() + known.help.len() + 64).sum();
        request.budget.bytes.take(bytes as u64)?;
        self.listed(tenant, Table::Metadata, families).await
    }

    async fn head_stats(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        self.count_heads(tenant, request).await
    }

    async fn standing(&self, tenant: &TenantId, _: &StandingRequest) -> Result<Standing, SelectError> {
        let mut open: Vec<TimeRange> = Vec::new();
        for shard in self.shards_of(tenant) {
            open.extend(shard.state.lock().head.held());
        }
        open.sort_unstable_by_key(|range| range.start);
        open.dedup();
        // Read after the view was taken, as in a select.
        let table_version = self.version(tenant, Table::Metrics).await?;
        Ok(Standing { open, prints: Vec::new(), table_version })
    }
}

impl Ingester {
    /// Looks at what was found of a shard slice by slice, so that whoever pushes or asks does not wait for all of it. A
    /// series is read as it is at its turn: what has left the head until then is in the version asked for afterwards.
    async fn in_slices<'b>(
        &self,
        shard: &Shard,
        candidates: &mut Candidates<'b>,
        budget: &SelectBudget,
        mut step: impl FnMut(&ShardHead, &mut Candidates<'b>) -> Result<(), SelectError>,
    ) -> Result<(), SelectError> {
        while !candidates.is_done() {
            self.check_deadline(budget)?;
            {
                let state = shard.state.lock();
                let done = step(&state.head, candidates);
                MutexGuard::unlock_fair(state);
                done?;
            }
            if !candidates.is_done() {
                runtime::yield_now().await;
            }
        }
        Ok(())
    }

    /// A list that was taken from the head just now: what left the head before is in the version it names.
    async fn listed<T>(
        &self,
        tenant: &TenantId,
        table: Table,
        items: Vec<T>,
    ) -> Result<Listed<T>, SelectError> {
        Ok(Listed { items, table_version: self.version(tenant, table).await? })
    }

    /// The newest version of the table that this process knows: to be asked for after the view was taken. What earlier
    /// processes committed is in it too, since the log is read to its end before the first answer; then there is no I/O.
    async fn version(&self, tenant: &TenantId, table: Table) -> Result<Option<u64>, SelectError> {
        let version = self.inner.bucket.table(tenant, table).version_confirmed().await;
        version.map_err(|e| match e.kind() {
            ErrorKind::Unavailable => SelectError::Unavailable(e.to_string()),
            _ => SelectError::Corrupt(e.to_string()),
        })
    }

    fn shards_of(&self, tenant: &TenantId) -> Vec<Arc<Shard>> {
        self.inner.tenants.get(tenant).map(|tenant| tenant.shards()).unwrap_or_default()
    }

    fn check_deadline(&self, budget: &SelectBudget) -> Result<(), SelectError> {
        match budget.deadline {
            Some(deadline) if self.inner.clock.instant() > deadline => Err(SelectError::Timeout),
            _ => Ok(()),
        }
    }
}
