//! One select on its way: which files, which rows of them, and what is in these.

use std::collections::BTreeSet;
use std::sync::Arc;

use bucket::{FileEntry, LogTable, Snapshot, Table};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use model::{Labels, Matcher, Metrics, SeriesData, TenantId, Test, TimeRange};
use wire::{LabelsRequest, Projection, SelectBudget, SelectError, SeriesRange, Taken};

use crate::cache::{Entry, Key};
use crate::deletes::Deleted;
use crate::error::ScanError;
use crate::fetch::Fetch;
use crate::file::TableFile;
use crate::found::{FillError, Found, GroupRead};
use crate::labels::{DecodedLabels, LabelGroup};
use crate::matched::{GroupMatch, Growing, Matching, Projector, Question};
use crate::room::Room;
use crate::rows::GroupRows;
use crate::{Scan, plan};

/// How many row groups are read at once.
const GROUPS_AT_ONCE: usize = 4;
/// How many batches of labels of a file are read at once.
const LABEL_BATCHES_AT_ONCE: usize = 2;
/// After so many rows whoever else has work gets the processor.
const ROWS_AT_ONCE: usize = 16 * 1024;

/// One select on its way.
pub(crate) struct Query<'a> {
    scan: &'a Scan,
    pub(crate) table: Arc<LogTable>,
    range: TimeRange,
    pub(crate) within: Option<&'a SeriesRange>,
    pub(crate) projection: &'a Projection,
    budget: &'a SelectBudget,
    /// For what is being decoded.
    room: Room<'a>,
    pub(crate) fetch: Fetch,
}

/// Which series are wanted.
struct Asked<'q> {
    matchers: &'q [Matcher],
    /// Whether what matches is worth being kept: it is asked for again when a dashboard is.
    is_kept: bool,
}

/// What matches in a file.
struct FileMatch<'a> {
    file: usize,
    groups: Vec<Arc<GroupMatch>>,
    _taken: Taken<'a>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(
        scan: &'a Scan,
        tenant: &TenantId,
        range: TimeRange,
        budget: &'a SelectBudget,
    ) -> Query<'a> {
        Query {
            scan,
            table: scan.table(tenant, Table::Metrics),
            range,
            within: None,
            projection: &Projection::All,
            budget,
            room: Room::of(budget),
            fetch: scan.fetch(),
        }
    }

    pub(crate) async fn select(
        &self,
        matchers: &[Matcher],
        min_version: Option<u64>,
    ) -> Result<Vec<SeriesData>, ScanError> {
        let files = self.open_files(min_version, &Metrics::of(matchers)).await?;
        let mut found = Found::new(self.budget, self.range, self.projection);
        // A part of the series is asked for once: the next question is about the next part.
        let asked = Asked { matchers, is_kept: self.within.is_none() };
        let mut reads = Vec::new();
        let mut matches = std::pin::pin!(self.match_files(&files, &asked));
        while let Some(matched) = matches.next().await {
            let matched = matched?;
            let deleted = &files[matched.file].deleted;
            for group in &matched.groups {
                reads.extend(found.place(matched.file, deleted, group)?);
            }
        }
        self.fill(&files, &reads, &mut found).await?;
        found.finish()
    }

    /// Labels of the series that pass one of the selectors, in no order.
    pub(crate) async fn labels(&self, request: &LabelsRequest) -> Result<Vec<Labels>, ScanError> {
        let everything = [Vec::new()];
        let selectors = if request.selectors.is_empty() { &everything[..] } else { &request.selectors };
        let mut found = Found::new(self.budget, self.range, self.projection);
        for matchers in selectors {
            let files = self.open_files(request.min_table_version, &Metrics::of(matchers)).await?;
            let asked = Asked { matchers, is_kept: false };
            let mut matches = std::pin::pin!(self.match_files(&files, &asked));
            while let Some(matched) = matches.next().await {
                let matched = matched?;
                for group in &matched.groups {
                    found.place(matched.file, &files[matched.file].deleted, group)?;
                }
            }
        }
        Ok(found.into_series().into_iter().map(|series| series.labels).collect())
    }

    /// Label names, or the values of one label, from the rows that list them.
    pub(crate) async fn strings(
        &self,
        name: Option<&str>,
        min_version: Option<u64>,
    ) -> Result<BTreeSet<String>, ScanError> {
        let files = self.open_files(min_version, &Metrics::Any).await?;
        let mut found = BTreeSet::new();
        let lists: Vec<_> = files.iter().map(|file| self.strings_of(file, name)).collect();
        let lists = futures::stream::iter(lists);
        let mut lists = lists.buffered(self.scan.config.concurrency.max(1));
        while let Some(list) = lists.next().await {
            self.check_deadline()?;
            for text in list?.iter().filter(|text| !found.contains(&***text)).collect::<Vec<_>>() {
                self.budget.bytes.take(text.len() as u64 + 48)?;
                found.insert(text.to_string());
            }
        }
        Ok(found)
    }

    async fn strings_of(
        &self,
        file: &TableFile<'_>,
        name: Option<&str>,
    ) -> Result<Arc<[Box<str>]>, ScanError> {
        if file.deleted.is_empty() {
            return match name {
                None => file.label_names().await,
                Some(name) => file.label_values(name).await,
            };
        }
        // The rows that list labels do not know which series are deleted.
        let matched = self.match_file(0, file, &Asked { matchers: &[], is_kept: false }).await?;
        let unlimited = SelectBudget::unlimited();
        let mut left = Found::new(&unlimited, self.range, self.projection);
        for group in &matched.groups {
            left.place(0, &file.deleted, group)?;
        }
        let left = left.into_series();
        let labels = left.iter().map(|series| &series.labels);
        let found: BTreeSet<&str> = match name {
            None => labels.flat_map(|labels| labels.iter().map(|(name, _)| name)).collect(),
            Some(name) => labels.filter_map(|labels| labels.get(name)).collect(),
        };
        Ok(found.into_iter().map(Box::from).collect())
    }

    /// The files that may matter, in the order of time.
    async fn open_files(
        &self,
        min_version: Option<u64>,
        metrics: &Metrics<'_>,
    ) -> Result<Vec<TableFile<'_>>, ScanError> {
        let Some(snapshot) = self.table.snapshot_at_least(min_version).await? else { return Ok(Vec::new()) };
        self.check_deadline()?;
        let mut entries = plan::files(&snapshot, self.range, metrics);
        entries.sort_by_key(|entry| entry.stats.min_time);
        let opened: Vec<_> = entries.iter().map(|entry| self.open_file(&snapshot, entry)).collect();
        futures::stream::iter(opened).buffered(self.scan.config.concurrency.max(1)).try_collect().await
    }

    async fn open_file(&self, snapshot: &Snapshot, entry: &FileEntry) -> Result<TableFile<'_>, ScanError> {
        let path = self.table.object(&entry.path);
        let mut file = TableFile::open(path, entry, &self.fetch, self.scan.cache()).await?;
        file.deleted = Deleted(snapshot.deletions_of(entry));
        Ok(file)
    }

    fn match_files<'q>(
        &'q self,
        files: &'q [TableFile<'q>],
        asked: &'q Asked<'q>,
    ) -> impl Stream<Item = Result<FileMatch<'q>, ScanError>> + 'q {
        let matches = files.iter().enumerate().map(|(at, file)| self.match_file(at, file, asked));
        let matches: Vec<_> = matches.collect();
        futures::stream::iter(matches).buffered(self.scan.config.concurrency.max(1))
    }

    /// What matches in a file at any time, in those row groups that may have something of the range.
    async fn match_file(
        &self,
        at: usize,
        file: &TableFile<'_>,
        asked: &Asked<'_>,
    ) -> Result<FileMatch<'_>, ScanError> {
        let meta = &file.meta;
        let columns = (meta.leaf("min_time"), meta.leaf("max_time"), meta.leaf("metric"));
        let metrics = &Metrics::of(asked.matchers);
        // Deletions are by labels that may not be wanted.
        let projection = if file.deleted.is_empty() { self.projection } else { &Projection::All };
        let question = asked.is_kept.then(|| Question::of(asked.matchers, projection));
        let mut found: Vec<(usize, Option<Arc<GroupMatch>>)> = Vec::new();
        for group in &meta.series {
            if plan::row_group(meta.parquet().row_group(*group), columns, self.range, metrics) {
                found.push((*group, question.and_then(|question| file.kept_match(*group, question))));
            }
        }
        let mut taken = self.budget.bytes.hold(0)?;
        let mut new = Vec::new().into_iter();
        if found.iter().any(|(_, kept)| kept.is_none()) {
            let missing = found.iter().filter(|(_, kept)| kept.is_none()).map(|(group, _)| *group);
            let rows = |group| plan::rows(meta.parquet(), group, columns.2, metrics);
            let missing = missing.map(|group| LabelGroup { group, rows: rows(group) }).collect();
            let (test, projector) = (Test::of(asked.matchers), Projector::new(projection));
            let mut matching = Matching { test, projector, within: self.within };
            new = self.match_groups(file, missing, &mut matching, &mut taken).await?.into_iter();
        }
        let mut groups = Vec::with_capacity(found.len());
        for (group, kept) in found {
            let matched = match kept {
                Some(matched) => matched,
                None => {
                    let Some(matched) = new.next().map(Arc::new) else { continue };
                    if let Some(question) = question {
                        file.keep_match(group, question, &matched);
                    }
                    matched
                }
            };
            groups.push(matched);
        }
        Ok(FileMatch { file: at, groups, _taken: taken })
    }

    /// What matches in each of these row groups, whose labels are looked at for that.
    async fn match_groups(
        &self,
        file: &TableFile<'_>,
        groups: Vec<LabelGroup>,
        matching: &mut Matching<'_>,
        taken: &mut Taken<'_>,
    ) -> Result<Vec<GroupMatch>, ScanError> {
        let mut growing: Vec<Growing> = groups.iter().map(|group| Growing::new(group.group)).collect();
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let reads = file.label_batches(groups, self.room.share()).into_iter().map(|batch| async {
            self.check_deadline()?;
            file.labels(batch, &self.room).await
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = futures::stream::iter(reads).buffered(LABEL_BATCHES_AT_ONCE);
        while let Some(DecodedLabels { groups, place }) = reads.try_next().await? {
            for (group, pieces) in groups {
                let Some(growing) = growing.iter_mut().find(|growing| growing.group() == group) else {
                    continue;
                };
                let before = growing.size();
                growing.add(&pieces, matching);
                taken.grow((growing.size() - before) as u64)?;
            }
            drop(place);
        }
        Ok(growing.into_iter().map(Growing::finish).collect())
    }

    /// Reads row groups in the order of time, so that the samples of a series and the parts of a histogram that lies
    /// across two row groups stay together.
    async fn fill(
        &self,
        files: &[TableFile<'_>],
        reads: &[GroupRead],
        found: &mut Found<'_>,
    ) -> Result<(), ScanError> {
        let rows: Vec<_> = reads.iter().map(|read| self.rows(&files[read.file], read)).collect();
        let rows = futures::stream::iter(rows);
        let mut rows = rows.buffered(self.scan.config.concurrency.clamp(1, GROUPS_AT_ONCE));
        let mut n_rows = 0;
        for read in reads {
            let Some(rows) = rows.try_next().await? else { break };
            let n_samples = found.fill(read, rows).map_err(|error| match error {
                FillError::Read(e) => ScanError::read(files[read.file].name(), e),
                FillError::Select(e) => e.into(),
            })?;
            self.fetch.count_samples(n_samples);
            n_rows += read.rows.len();
            if n_rows >= ROWS_AT_ONCE {
                n_rows = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn rows(&self, file: &TableFile<'_>, read: &GroupRead) -> Result<GroupRows<'_>, ScanError> {
        self.check_deadline()?;
        match file.kept_rows(read) {
            Some(rows) => Ok(rows),
            None => file.rows(read, self.range, &self.room).await,
        }
    }

    fn check_deadline(&self) -> Result<(), SelectError> {
        self.scan.check_deadline(self.budget)
    }
}

impl TableFile<'_> {
    fn kept_match(&self, group: usize, question: Question) -> Option<Arc<GroupMatch>> {
        match self.cache.get(&Key::Match(self.id, group, question)) {
            Some(Entry::Match(matched)) => Some(matched),
            _ => None,
        }
    }

    fn keep_match(&self, group: usize, question: Question, matched: &Arc<GroupMatch>) {
        self.cache.insert(Key::Match(self.id, group, question), Entry::Match(Arc::clone(matched)));
    }
}
