use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use block::read::{Clip, FloatRow, PartRow, ReadError, RowForm, SampleRows, assemble};
use bucket::{Bucket, FileEntry, LogTable, Snapshot, Table};
use futures::{StreamExt as _, TryStreamExt as _};
use model::{
    ExemplarSeries, FloatColumn, Labels, Matcher, Metadata, SeriesData, SeriesId, TenantId, Test, TimeRange,
    is_empty_cell,
};
use runtime::{Clock, MemoryPart};
use wire::{
    LabelsRequest, Listed, MetadataRequest, SERIES_BYTES, Select, SelectBudget, SelectError, SelectRequest,
    Selected, SeriesRange, Standing, StandingRequest, StoredBlock, Taken,
};

use crate::Config;
use crate::cache::Cache;
use crate::deletes::{self, Deleted, Rest};
use crate::error::ScanError;
use crate::fetch::Fetch;
use crate::file::TableFile;
use crate::labels::{DecodedLabels, LabelGroup, PIECE_ROWS, Pieces};
use crate::room::Room;
use crate::{blocks, plan, standing};

/// How many row groups are read at once.
const GROUPS_AT_ONCE: usize = 4;
/// What labels take besides their bytes: a list's entry and the head of an allocation.
const LABELS_BYTES: u64 = 48;
/// How many batches of labels of a file are read at once.
const LABEL_BATCHES_AT_ONCE: usize = 2;

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
    config: Config,
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

/// One select on its way.
struct Query<'a> {
    scan: &'a Scan,
    table: Arc<LogTable>,
    range: TimeRange,
    within: Option<&'a SeriesRange>,
    budget: &'a SelectBudget,
    /// For what is being decoded.
    room: Room<'a>,
    fetch: Fetch,
}

/// The rows of a row group that match.
struct GroupMatch {
    file: usize,
    group: usize,
    rows: Vec<MatchedRow>,
    /// By row, the ranges whose samples are deleted.
    cuts: HashMap<usize, Vec<TimeRange>>,
}

#[derive(Clone, Copy)]
struct MatchedRow {
    row: usize,
    /// Index among the labels of the file, later among the series of the query.
    series: usize,
    ts_ref: Option<u32>,
    form: RowForm,
}

/// What matches in a file.
struct FileMatch<'a> {
    labels: Vec<Labels>,
    groups: Vec<GroupMatch>,
    /// For the labels and the rows.
    taken: Taken<'a>,
}

/// What one row brings.
enum Piece {
    Floats(FloatColumn, Vec<(i64, i64)>),
    Part(PartRow),
}

impl Piece {
    /// Takes the samples in these ranges out.
    fn cut(&mut self, ranges: &[TimeRange]) {
        match self {
            Piece::Floats(column, starts) => deletes::cut_floats(ranges, column, starts),
            Piece::Part(part) => deletes::cut_part(ranges, part),
        }
    }
}

/// What is in a row.
enum Content {
    Floats(Arc<FloatRow>),
    Part(PartRow),
}

/// Which samples of a row group are wanted.
struct Wanted {
    range: TimeRange,
    /// The part of each timeline that lies in the range.
    clips: HashMap<u32, Clip>,
}

/// The series of a query by identity.
#[derive(Default)]
struct Found {
    by_id: HashMap<SeriesId, usize>,
    series: Vec<SeriesData>,
    parts: Vec<Vec<PartRow>>,
}

impl<'a> Query<'a> {
    fn new(scan: &'a Scan, tenant: &TenantId, range: TimeRange, budget: &'a SelectBudget) -> Query<'a> {
        let table = scan.table(tenant, Table::Metrics);
        Query { scan, table, range, within: None, budget, room: Room::of(budget), fetch: scan.fetch() }
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        min_version: Option<u64>,
    ) -> Result<Vec<SeriesData>, ScanError> {
        let files = self.open_files(min_version, model::metric_names(matchers)).await?;
        let mut found = Found::default();
        let mut groups = Vec::new();
        let matches = self.match_files(&files, matchers);
        let mut matches = std::pin::pin!(matches);
        while let Some(matched) = matches.next().await {
            let matched = matched?;
            let series = found.series_of(&matched.labels, self.budget)?;
            for mut group in matched.groups {
                group.rows.iter_mut().for_each(|row| row.series = series[row.series]);
                groups.push(group);
            }
        }
        // In order, so that the parts of a histogram that lies across two row groups stay together.
        let reads: Vec<_> = groups.iter().map(|group| self.read_group(&files, group)).collect();
        let mut reads =
            futures::stream::iter(reads).buffered(self.scan.config.concurrency.clamp(1, GROUPS_AT_ONCE));
        while let Some(pieces) = reads.next().await {
            for (series, piece) in pieces? {
                found.take(series, piece);
            }
        }
        drop(reads);
        found.finish()
    }

    /// Labels of the series that pass one of the selectors, in no order.
    async fn labels(&self, request: &LabelsRequest) -> Result<Vec<Labels>, ScanError> {
        let everything = [Vec::new()];
        let selectors = if request.selectors.is_empty() { &everything[..] } else { &request.selectors };
        let mut found = Found::default();
        for matchers in selectors {
            let files = self.open_files(request.min_table_version, model::metric_names(matchers)).await?;
            let matches = self.match_files(&files, matchers);
            let mut matches = std::pin::pin!(matches);
            while let Some(matched) = matches.next().await {
                found.series_of(&matched?.labels, self.budget)?;
            }
        }
        Ok(found.series.into_iter().map(|series| series.labels).collect())
    }

    async fn strings(
        &self,
        name: Option<&str>,
        min_version: Option<u64>,
    ) -> Result<BTreeSet<String>, ScanError> {
        let files = self.open_files(min_version, None).await?;
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

    async fn open_files(
        &self,
        min_version: Option<u64>,
        metrics: Option<&[String]>,
    ) -> Result<Vec<TableFile<'_>>, ScanError> {
        let Some(snapshot) = self.table.snapshot_at_least(min_version).await? else { return Ok(Vec::new()) };
        self.check_deadline()?;
        let entries = plan::files(&snapshot, self.range, metrics);
        let opened: Vec<_> = entries.iter().map(|entry| self.open_file(&snapshot, entry)).collect();
        futures::stream::iter(opened).buffered(self.scan.config.concurrency.max(1)).try_collect().await
    }

    async fn open_file(&self, snapshot: &Snapshot, entry: &FileEntry) -> Result<TableFile<'_>, ScanError> {
        let path = self.table.object(&entry.path);
        let mut file = TableFile::open(path, entry, &self.fetch, &self.scan.cache).await?;
        file.deleted = Deleted(snapshot.deletions_of(entry));
        Ok(file)
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
        let matched = self.match_file(0, file, &[]).await?;
        let labels = matched.labels.iter();
        let found: BTreeSet<&str> = match name {
            None => labels.flat_map(|labels| labels.iter().map(|(name, _)| name)).collect(),
            Some(name) => labels.filter_map(|labels| labels.get(name)).collect(),
        };
        Ok(found.into_iter().map(Box::from).collect())
    }

    fn match_files<'q>(
        &'q self,
        files: &'q [TableFile<'q>],
        matchers: &'q [Matcher],
    ) -> impl futures::Stream<Item = Result<FileMatch<'q>, ScanError>> + 'q {
        let matches = files.iter().enumerate().map(|(at, file)| self.match_file(at, file, matchers));
        let matches: Vec<_> = matches.collect();
        futures::stream::iter(matches).buffered(self.scan.config.concurrency.max(1))
    }

    async fn match_file(
        &self,
        at: usize,
        file: &TableFile<'_>,
        matchers: &[Matcher],
    ) -> Result<FileMatch<'_>, ScanError> {
        let meta = &file.meta;
        let columns = (meta.leaf("min_time"), meta.leaf("max_time"), meta.leaf("metric"));
        let metrics = model::metric_names(matchers);
        let taken = self.budget.bytes.hold(0)?;
        let mut matched = FileMatch { labels: Vec::new(), groups: Vec::new(), taken };
        let mut test = Test::of(matchers);
        let may_match =
            |group: &usize| plan::row_group(meta.parquet().row_group(*group), columns, self.range, metrics);
        let groups =
            meta.series.iter().copied().filter(may_match).map(|group| LabelGroup {
                group,
                rows: plan::rows(meta.parquet(), group, columns.2, metrics),
            });
        let reads = file.label_batches(groups, self.room.share()).into_iter().map(|batch| async {
            self.check_deadline()?;
            file.labels(batch, &self.room).await
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = futures::stream::iter(reads).buffered(LABEL_BATCHES_AT_ONCE);
        while let Some(DecodedLabels { groups, place }) = reads.try_next().await? {
            for (group, pieces) in groups {
                self.match_rows(file, (at, group), &pieces, &mut test, &mut matched)?;
            }
            drop(place);
        }
        Ok(matched)
    }

    /// Adds the rows of a row group that match.
    fn match_rows(
        &self,
        file: &TableFile<'_>,
        (at, group): (usize, usize),
        pieces: &Pieces,
        test: &mut Test<'_>,
        matched: &mut FileMatch<'_>,
    ) -> Result<(), ScanError> {
        let (mut rows, mut cuts) = (Vec::new(), HashMap::new());
        let mut previous: &[u8] = &[];
        let mut previous_passes = None;
        for (piece, labels) in pieces {
            for (offset, row) in (0..labels.len()).filter_map(|i| Some((i, labels.get(i)?))) {
                if !row.times.overlaps(&self.range) {
                    continue;
                }
                // The rows of one series follow each other.
                let repeated = previous_passes.filter(|_| previous == row.run);
                let is_within = || self.within.is_none_or(|within| within.contains(row.run));
                let passes = repeated.unwrap_or_else(|| test.passes(row.run) && is_within());
                (previous, previous_passes) = (row.run, Some(passes));
                if !passes {
                    continue;
                }
                let row_number = piece * PIECE_ROWS + offset;
                match file.deleted.rest(row.run, row.times, self.range) {
                    Rest::Nothing => continue,
                    Rest::Without(ranges) => drop(cuts.insert(row_number, ranges)),
                    Rest::Whole => {}
                }
                let series = matched.series(row.run)?;
                rows.push(MatchedRow { row: row_number, series, ts_ref: row.ts_ref, form: row.form });
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        matched.taken.grow((rows.len() * size_of::<MatchedRow>()) as u64)?;
        // A row group whose labels were looked at in several goes is read in one.
        match matched.groups.last_mut().filter(|last| last.group == group) {
            Some(last) => {
                last.rows.extend(rows);
                last.cuts.extend(cuts);
            }
            None => matched.groups.push(GroupMatch { file: at, group, rows, cuts }),
        }
        Ok(())
    }

    async fn read_group(
        &self,
        files: &[TableFile<'_>],
        matched: &GroupMatch,
    ) -> Result<Vec<(usize, Piece)>, ScanError> {
        self.check_deadline()?;
        let file = &files[matched.file];
        let refs: BTreeSet<u32> = matched.rows.iter().filter_map(|row| row.ts_ref).collect();
        let refs: Vec<u32> = refs.into_iter().collect();
        let kept: Vec<Option<Arc<FloatRow>>> =
            matched.rows.iter().map(|row| kept(file, matched, row)).collect();
        let missing = matched.rows.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
        let missing: Vec<MatchedRow> = missing.map(|(row, _)| *row).collect();
        let _place = self.room.take(decoding_bytes(file, matched.group, &missing)).await?;
        let (batches, timelines) =
            futures::try_join!(read_rows(file, matched.group, &missing), file.timelines(&refs))?;
        let clips = timelines.iter().map(|(number, times)| (*number, Clip::new(times, self.range))).collect();
        let wanted = Wanted { range: self.range, clips };
        let mut read = decode_rows(file, matched.group, &batches, &missing, &wanted)?.into_iter();
        let mut pieces = Vec::with_capacity(matched.rows.len());
        for (row, kept) in matched.rows.iter().zip(kept) {
            let Some(content) = kept.map(Content::Floats).or_else(|| read.next()) else { break };
            let mut piece = wanted.piece(content, row).map_err(|e| ScanError::read(&file.key, e))?;
            if let Some(ranges) = matched.cuts.get(&row.row) {
                piece.cut(ranges);
            }
            self.account(&piece)?;
            pieces.push((row.series, piece));
        }
        Ok(pieces)
    }

    fn account(&self, piece: &Piece) -> Result<(), SelectError> {
        let (samples, cells) = match piece {
            Piece::Floats(column, _) => (column.values.len() as u64, column.values.len() as u64),
            Piece::Part(part) if part.is_count() => (part.n_cells() as u64, part.n_cells() as u64),
            Piece::Part(part) => (0, part.n_cells() as u64),
        };
        self.fetch.count_samples(samples);
        self.budget.samples.take(samples)?;
        self.budget.bytes.take(cells * 8)
    }

    fn check_deadline(&self) -> Result<(), SelectError> {
        self.scan.check_deadline(self.budget)
    }
}

impl FileMatch<'_> {
    /// The index of the series with this run; rows of one series follow each other.
    fn series(&mut self, run: &[u8]) -> Result<usize, ScanError> {
        if self.labels.last().is_none_or(|last| last.run() != run) {
            self.taken.grow(LABELS_BYTES + run.len() as u64)?;
            self.labels.push(Labels::of_canonical_run(run));
        }
        Ok(self.labels.len() - 1)
    }
}

impl Found {
    /// Where each of these series is held, new ones included.
    fn series_of(&mut self, labels: &[Labels], budget: &SelectBudget) -> Result<Vec<usize>, SelectError> {
        let mut indexes = Vec::with_capacity(labels.len());
        self.by_id.reserve(labels.len());
        for labels in labels {
            let index = match self.by_id.entry(labels.id()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    budget.series.take(1)?;
                    budget.bytes.take(labels.run().len() as u64 + SERIES_BYTES)?;
                    self.series.push(SeriesData::new(labels.clone()));
                    self.parts.push(Vec::new());
                    *new.insert(self.series.len() - 1)
                }
            };
            indexes.push(index);
        }
        Ok(indexes)
    }

    fn take(&mut self, series: usize, piece: Piece) {
        match piece {
            Piece::Floats(column, starts) => {
                if column.values.iter().any(|cell| !is_empty_cell(*cell)) {
                    self.series[series].floats.push(column);
                    self.series[series].starts.extend(starts);
                }
            }
            Piece::Part(part) => self.parts[series].push(part),
        }
    }

    fn finish(mut self) -> Result<Vec<SeriesData>, ScanError> {
        for (series, parts) in self.series.iter_mut().zip(&self.parts) {
            if !parts.is_empty() {
                series.histograms =
                    assemble(parts).map_err(|e| ScanError::read(&series.labels.to_string(), e))?;
            }
            series.starts.sort_unstable();
        }
        self.series.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(self.series)
    }
}

fn kept(file: &TableFile<'_>, matched: &GroupMatch, row: &MatchedRow) -> Option<Arc<FloatRow>> {
    match row.form {
        RowForm::Floats => file.kept_row(matched.group, row.row),
        RowForm::Part => None,
    }
}

/// What it takes to decode these rows.
fn decoding_bytes(file: &TableFile<'_>, group: usize, rows: &[MatchedRow]) -> u64 {
    let parts = match rows.iter().any(|row| row.form == RowForm::Part) {
        true => &block::read::PART_COLUMNS[..],
        false => &[],
    };
    let columns = block::read::SAMPLE_COLUMNS.iter().chain(parts).copied();
    match rows.is_empty() {
        true => 0,
        false => file.meta.decoded_bytes(group, columns, rows.len()),
    }
}

async fn read_rows(
    file: &TableFile<'_>,
    group: usize,
    rows: &[MatchedRow],
) -> Result<Vec<RecordBatch>, ScanError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let with_parts = rows.iter().any(|row| row.form == RowForm::Part);
    file.sample_batches(group, rows.iter().map(|row| row.row), with_parts).await
}

/// Decodes the rows that were read, and keeps those with floats for the next query.
fn decode_rows(
    file: &TableFile<'_>,
    group: usize,
    batches: &[RecordBatch],
    rows: &[MatchedRow],
    wanted: &Wanted,
) -> Result<Vec<Content>, ScanError> {
    let broken = |e| ScanError::read(&file.key, e);
    let mut decoded = Vec::with_capacity(rows.len());
    let mut rows = rows.iter();
    for batch in batches {
        let samples = SampleRows::new(batch, wanted.range).map_err(broken)?;
        for (at, row) in (0..batch.num_rows()).zip(rows.by_ref()) {
            let content = wanted.decode(&samples, at, row).map_err(broken)?;
            if let Content::Floats(floats) = &content {
                file.keep_row(group, row.row, floats);
            }
            decoded.push(content);
        }
    }
    if rows.next().is_some() {
        let reason = "a row group has fewer rows than its footer says".to_string();
        return Err(ScanError::Corrupt { path: file.key.to_string(), reason });
    }
    Ok(decoded)
}

impl Wanted {
    fn decode(&self, samples: &SampleRows<'_>, at: usize, row: &MatchedRow) -> Result<Content, ReadError> {
        Ok(match row.form {
            RowForm::Floats => Content::Floats(Arc::new(samples.float_row(at)?)),
            RowForm::Part => Content::Part(samples.part(at, self.clip_of(row)?)?),
        })
    }

    fn piece(&self, content: Content, row: &MatchedRow) -> Result<Piece, ReadError> {
        Ok(match content {
            Content::Part(part) => Piece::Part(part),
            Content::Floats(floats) => {
                let (column, starts) = floats.floats(self.clip_of(row)?, self.range)?;
                Piece::Floats(column, starts)
            }
        })
    }

    fn clip_of(&self, row: &MatchedRow) -> Result<Option<&Clip>, ReadError> {
        let missing = |number: u32| ReadError(format!("timeline {number} is missing"));
        row.ts_ref.map(|number| self.clips.get(&number).ok_or_else(|| missing(number))).transpose()
    }
}
