//! Selects over the tables beside `metrics`: exemplars and descriptions of metric families.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use block::read::{EXEMPLAR_COLUMNS, ExemplarRows};
use bucket::{BucketError, FileEntry, LogTable, Table};
use futures::StreamExt as _;
use model::{
    ExemplarPoint, ExemplarSeries, Labels, Matcher, Metadata, Metrics, SeenMetadata, TenantId, TimeRange,
    passes,
};
use wire::{LabelsRequest, Listed, MetadataRequest, SelectBudget, SelectError};

use crate::cache::{Entry, FileId, Key};
use crate::deletes::Deleted;
use crate::error::ScanError;
use crate::fetch::Fetch;
use crate::file::TableFile;
use crate::{Scan, plan};

/// Files that are read at the same time.
const CONCURRENCY: usize = 4;

/// Exemplars by series.
type Found = BTreeMap<Labels, Vec<ExemplarPoint>>;

/// A select in one of these tables on its way.
struct Query<'a> {
    scan: &'a Scan,
    table: Arc<LogTable>,
    budget: &'a SelectBudget,
    fetch: Fetch,
}

impl Scan {
    pub(crate) async fn exemplars_in_table(
        &self,
        tenant: &TenantId,
        request: &LabelsRequest,
    ) -> Result<Listed<ExemplarSeries>, SelectError> {
        let query = Query::new(self, tenant, Table::Exemplars, &request.budget);
        let found = match query.exemplars(request).await {
            // Compaction replaced the file after we had planned: the newest snapshot does not name it.
            Err(ScanError::Gone(_)) => {
                query.table.snapshot().await.map_err(ScanError::from)?;
                query.exemplars(request).await?
            }
            other => other?,
        };
        self.note_memory();
        let items = found.into_iter().map(|(labels, points)| series(labels, points)).collect();
        Ok(Listed { items, table_version: query.table.version_seen() })
    }

    pub(crate) async fn metadata_in_table(
        &self,
        tenant: &TenantId,
        request: &MetadataRequest,
    ) -> Result<Listed<Metadata>, SelectError> {
        let query = Query::new(self, tenant, Table::Metadata, &request.budget);
        let found = match query.metadata(request).await {
            Err(ScanError::Gone(_)) => {
                query.table.snapshot().await.map_err(ScanError::from)?;
                query.metadata(request).await?
            }
            other => other?,
        };
        self.note_memory();
        Ok(Listed { items: newest_first(found), table_version: query.table.version_seen() })
    }
}

impl<'a> Query<'a> {
    fn new(scan: &'a Scan, tenant: &TenantId, table: Table, budget: &'a SelectBudget) -> Query<'a> {
        let fetch = scan.fetch();
        Query { scan, table: scan.table(tenant, table), budget, fetch }
    }

    async fn exemplars(&self, request: &LabelsRequest) -> Result<Found, ScanError> {
        let metrics = metrics_of(&request.selectors);
        let metrics = &Metrics::one_of(metrics.as_deref());
        let files = self.files(request.min_table_version, request.range, metrics).await?;
        let mut found = Found::new();
        let reads: Vec<_> = files.iter().map(|file| self.read_exemplars(file, request, metrics)).collect();
        let mut reads = futures::stream::iter(reads).buffered(CONCURRENCY);
        while let Some(read) = reads.next().await {
            for (labels, points) in read? {
                if !found.contains_key(&labels) {
                    self.budget.series.take(1)?;
                }
                found.entry(labels).or_default().extend(points);
            }
        }
        Ok(found)
    }

    async fn read_exemplars(
        &self,
        (entry, deleted): &(Arc<FileEntry>, Deleted),
        request: &LabelsRequest,
        metrics: &Metrics<'_>,
    ) -> Result<Vec<(Labels, Vec<ExemplarPoint>)>, ScanError> {
        let path = self.table.object(&entry.path);
        let file = TableFile::open_rows(path, entry, &self.fetch, self.scan.cache()).await?;
        let parquet = file.meta.parquet();
        let (ts, metric) = (file.meta.leaf("ts"), file.meta.leaf("metric"));
        let mut wanted = Wanted { request, deleted, budget: self.budget, found: Vec::new() };
        for (group, footer) in parquet.row_groups().iter().enumerate() {
            if !plan::row_group(footer, (ts, ts, metric), request.range, metrics) {
                continue;
            }
            self.scan.check_deadline(self.budget)?;
            let rows = plan::rows(parquet, group, metric, metrics);
            if rows.is_empty() {
                continue;
            }
            for batch in file.read(group, EXEMPLAR_COLUMNS, Some(rows)).await? {
                self.fetch.count_samples(wanted.take(&batch, file.name())?);
            }
        }
        Ok(wanted.found)
    }

    async fn metadata(&self, request: &MetadataRequest) -> Result<Vec<SeenMetadata>, ScanError> {
        let families = request.family.clone().map(|family| vec![family]);
        let names = Metrics::one_of(families.as_deref());
        let files = self.files(request.min_table_version, TimeRange::ALL, &names).await?;
        let mut found = Vec::new();
        let reads: Vec<_> = files.iter().map(|(entry, _)| self.read_metadata(entry)).collect();
        let mut reads = futures::stream::iter(reads).buffered(CONCURRENCY);
        while let Some(rows) = reads.next().await {
            self.scan.check_deadline(self.budget)?;
            for row in rows?.iter() {
                let Metadata { family, unit, help, .. } = &row.metadata;
                if request.family.as_ref().is_none_or(|wanted| wanted == family) {
                    self.budget.bytes.take((family.len() + unit.len() + help.len() + 80) as u64)?;
                    found.push(row.clone());
                }
            }
        }
        Ok(found)
    }

    async fn read_metadata(&self, entry: &FileEntry) -> Result<Arc<[SeenMetadata]>, ScanError> {
        let path = self.table.object(&entry.path);
        let key = Key::Metadata(FileId::of(&path));
        if let Some(Entry::Metadata(rows)) = self.scan.cache().get(&key) {
            return Ok(rows);
        }
        let bytes = self.fetch.range(&path, 0..entry.size).await?;
        let decoded = runtime::blocking(move || block::read_metadata(bytes)).await;
        let decoded = decoded.map_err(SelectError::Internal)?;
        let rows: Arc<[SeenMetadata]> = decoded.map_err(|e| ScanError::read(path.as_ref(), e))?.into();
        self.scan.cache().insert(key, Entry::Metadata(Arc::clone(&rows)));
        Ok(rows)
    }

    async fn files(
        &self,
        min_version: Option<u64>,
        range: TimeRange,
        names: &Metrics<'_>,
    ) -> Result<Vec<(Arc<FileEntry>, Deleted)>, BucketError> {
        let Some(snapshot) = self.table.snapshot_at_least(min_version).await? else { return Ok(Vec::new()) };
        let files = plan::files(&snapshot, range, names).into_iter();
        Ok(files.map(|entry| (Arc::clone(&entry), Deleted(snapshot.deletions_of(&entry)))).collect())
    }
}

/// Takes what is wanted out of the rows of a file, whose series follow each other.
struct Wanted<'a> {
    request: &'a LabelsRequest,
    deleted: &'a Deleted,
    budget: &'a SelectBudget,
    found: Vec<(Labels, Vec<ExemplarPoint>)>,
}

impl Wanted<'_> {
    /// Says how many exemplars were taken.
    fn take(&mut self, batch: &RecordBatch, path: &str) -> Result<u64, ScanError> {
        let broken = |e| ScanError::read(path, e);
        let rows = ExemplarRows::new(batch).map_err(broken)?;
        let (mut run, mut previous) = (Vec::new(), Vec::new());
        let mut is_selected = None;
        let mut n_taken = 0;
        for row in (0..rows.len()).filter(|row| self.request.range.contains(rows.timestamp(*row))) {
            rows.series_run(row, &mut run).map_err(broken)?;
            let known = is_selected.filter(|_| run == previous);
            let selected = known.unwrap_or_else(|| is_any(&self.request.selectors, &run));
            is_selected = Some(selected);
            previous.clone_from(&run);
            if !selected || self.deleted.takes(&run, rows.timestamp(row)) {
                continue;
            }
            let labels = rows.labels(row).map_err(broken)?;
            self.budget.samples.take(1)?;
            self.budget.bytes.take(labels.run().len() as u64 + 64)?;
            let point = ExemplarPoint { timestamp: rows.timestamp(row), value: rows.value(row), labels };
            self.push(&run, point)?;
            n_taken += 1;
        }
        Ok(n_taken)
    }

    fn push(&mut self, run: &[u8], point: ExemplarPoint) -> Result<(), SelectError> {
        match self.found.last_mut().filter(|(labels, _)| labels.run() == run) {
            Some((_, points)) => points.push(point),
            None => {
                self.budget.bytes.take(run.len() as u64 + 64)?;
                self.found.push((Labels::of_canonical_run(run), vec![point]));
            }
        }
        Ok(())
    }
}

fn is_any(selectors: &[Vec<Matcher>], run: &[u8]) -> bool {
    selectors.is_empty() || selectors.iter().any(|matchers| passes(matchers, run))
}

/// The only metric names that one of the selectors can match, if they all say so.
fn metrics_of(selectors: &[Vec<Matcher>]) -> Option<Vec<String>> {
    if selectors.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    for matchers in selectors {
        names.extend_from_slice(model::metric_names(matchers)?);
    }
    Some(names)
}

/// The exemplars of a series by time, each once.
fn series(labels: Labels, mut exemplars: Vec<ExemplarPoint>) -> ExemplarSeries {
    let key = |point: &ExemplarPoint| (point.timestamp, point.value.to_bits());
    exemplars.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.labels.cmp(&b.labels)));
    exemplars.dedup_by(|a, b| key(a) == key(b) && a.labels == b.labels);
    ExemplarSeries { labels, exemplars }
}

/// By family, the newest description first, each once.
fn newest_first(mut rows: Vec<SeenMetadata>) -> Vec<Metadata> {
    rows.sort_by(|a, b| a.metadata.family.cmp(&b.metadata.family).then(b.seen_ms.cmp(&a.seen_ms)));
    let mut items: Vec<Metadata> = Vec::with_capacity(rows.len());
    for SeenMetadata { metadata, .. } in rows {
        let of_family = items.iter().rev().take_while(|known| known.family == metadata.family);
        if !of_family.into_iter().any(|known| *known == metadata) {
            items.push(metadata);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MatcherOp, MetricType};

    #[test]
    fn names_prune_only_when_every_selector_names_some() {
        let is = |name: &str| vec![Matcher::new("__name__", MatcherOp::Equal, name).unwrap()];
        let any = vec![Matcher::new("job", MatcherOp::Equal, "x").unwrap()];
        assert_eq!(metrics_of(&[is("a"), is("b")]), Some(vec!["a".to_string(), "b".to_string()]));
        assert_eq!(metrics_of(&[is("a"), any]), None);
        assert_eq!(metrics_of(&[]), None);
    }

    #[test]
    fn a_description_is_there_once_by_its_newest_sight() {
        let row = |family: &str, help: &str, seen_ms| SeenMetadata {
            metadata: Metadata {
                family: family.to_string(),
                metric_type: MetricType::Gauge,
                unit: String::new(),
                help: help.to_string(),
            },
            seen_ms,
        };
        let rows = vec![row("b", "x", 1), row("a", "old", 1), row("a", "new", 2), row("a", "old", 3)];
        let found: Vec<(String, String)> =
            newest_first(rows).into_iter().map(|one| (one.family, one.help)).collect();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(found, [pair("a", "old"), pair("a", "new"), pair("b", "x")]);
    }
}
