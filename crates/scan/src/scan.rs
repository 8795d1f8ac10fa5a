use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bucket::{Bucket, LogTable, Table};
use model::{ExemplarSeries, Labels, Metadata, TenantId};
use runtime::{Clock, MemoryPart};
use wire::{
    LabelsRequest, Listed, MetadataRequest, Select, SelectBudget, SelectError, SelectRequest, Selected,
    Standing, StandingRequest, StoredBlock,
};

use crate::Config;
use crate::cache::Cache;
use crate::error::ScanError;
use crate::fetch::Fetch;
use crate::select::Query;
use crate::{blocks, standing};

/// What a scan needs.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The tables.
    pub bucket: Arc<Bucket>,
    /// The share of memory that the cache may take, if it is less than the configuration says.
    pub memory: MemoryPart,
    /// For deadlines.
    pub clock: Clock,
}

/// Reads the tables of all tenants.
pub struct Scan {
    pub(crate) config: Config,
    bucket: Arc<Bucket>,
    memory: MemoryPart,
    clock: Clock,
    cache: Cache,
}

impl Scan {
    /// A scan over the tables of a bucket.
    pub fn open(config: Config, deps: Deps) -> Arc<Scan> {
        let share = deps.memory.limit();
        let bytes = if share == 0 { config.cache_bytes } else { config.cache_bytes.min(share) };
        Arc::new(Scan {
            config,
            bucket: deps.bucket,
            memory: deps.memory,
            clock: deps.clock,
            cache: Cache::of_bytes(bytes),
        })
    }
}

#[async_trait]
impl Select for Scan {
    async fn select(&self, tenant: &TenantId, request: &SelectRequest) -> Result<Selected, SelectError> {
        let mut query = Query::new(self, tenant, request.range, &request.budget);
        query.within = request.within.as_ref();
        query.projection = &request.projection;
        let series = match query.select(&request.matchers, request.min_table_version).await {
            // Compaction replaced the file after we had planned: the newest snapshot does not name it.
            Err(ScanError::Gone(_)) => {
                query.table.snapshot().await.map_err(ScanError::from)?;
                query.select(&request.matchers, request.min_table_version).await?
            }
            other => other?,
        };
        self.note_memory();
        Ok(Selected { series, table_version: query.table.version_seen(), stats: query.fetch.stats() })
    }

    async fn series(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<Labels>, SelectError> {
        let query = Query::new(self, tenant, request.range, &request.budget);
        let mut found = match query.labels(request).await {
            Err(ScanError::Gone(_)) => {
                query.table.snapshot().await.map_err(ScanError::from)?;
                query.labels(request).await?
            }
            other => other?,
        };
        self.note_memory();
        found.sort();
        Ok(Listed { items: found, table_version: query.table.version_seen() })
    }

    async fn label_names(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        if request.selectors.is_empty() {
            return self.strings(tenant, request, None).await;
        }
        let Listed { items: series, table_version } = self.series(tenant, request).await?;
        let names: BTreeSet<&str> =
            series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(Listed { items: names.into_iter().map(str::to_string).collect(), table_version })
    }

    async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        request: &LabelsRequest,
    ) -> Result<Listed<String>, SelectError> {
        if request.selectors.is_empty() {
            return self.strings(tenant, request, Some(name)).await;
        }
        let Listed { items: series, table_version } = self.series(tenant, request).await?;
        let values: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(Listed { items: values.into_iter().map(str::to_string).collect(), table_version })
    }

    async fn exemplars(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        self.exemplars_in_table(tenant, request).await
    }

    async fn metadata(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        self.metadata_in_table(tenant, request).await
    }

    async fn standing(&self, tenant: &TenantId, request: &StandingRequest) -> Result<Standing, SelectError> {
        let table = self.table(tenant, Table::Metrics);
        let snapshot = table.snapshot_at_least(request.min_table_version).await.map_err(ScanError::from)?;
        Ok(standing::of(snapshot.as_deref(), &request.ranges))
    }

    async fn blocks(
        &self,
        tenant: &TenantId,
        min_table_version: Option<u64>,
    ) -> Result<Vec<StoredBlock>, SelectError> {
        let table = self.table(tenant, Table::Metrics);
        let snapshot = table.snapshot_at_least(min_table_version).await.map_err(ScanError::from)?;
        Ok(blocks::of(snapshot.as_deref()))
    }
}

impl Scan {
    /// A tenant's table.
    pub(crate) fn table(&self, tenant: &TenantId, table: Table) -> Arc<LogTable> {
        self.bucket.table(tenant, table)
    }

    /// Reads for one query.
    pub(crate) fn fetch(&self) -> Fetch {
        Fetch::new(Arc::clone(&self.bucket))
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Tells the budget what the cache takes.
    pub(crate) fn note_memory(&self) {
        self.memory.set(self.cache.weight());
    }

    pub(crate) fn check_deadline(&self, budget: &SelectBudget) -> Result<(), SelectError> {
        let now: Instant = self.clock.instant();
        match budget.deadline {
            Some(deadline) if now >= deadline => Err(SelectError::Timeout),
            _ => Ok(()),
        }
    }

    /// Label names, or the values of one label, from the rows that list them.
    async fn strings(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
        name: Option<&str>,
    ) -> Result<Listed<String>, SelectError> {
        let query = Query::new(self, tenant, request.range, &request.budget);
        let found = match query.strings(name, request.min_table_version).await {
            Err(ScanError::Gone(_)) => {
                query.table.snapshot().await.map_err(ScanError::from)?;
                query.strings(name, request.min_table_version).await?
            }
            other => other?,
        };
        self.note_memory();
        Ok(Listed { items: found.into_iter().collect(), table_version: query.table.version_seen() })
    }
}
