use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use block::{Day, schema};
use bytes::Bytes;
use futures::StreamExt as _;
use model::TenantId;
use object_store::path::Path;
use parking_lot::RwLock;
use runtime::fault;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::MutexGuard;
use ulid::Ulid;

use crate::action::{self, Format, Line, MetaData, Protocol};
use crate::bucket::Shared;
use crate::snapshot::{Snapshot, TXN_DAYS};
use crate::{BucketError, NewFile, checkpoint};

/// Which table of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Samples.
    Metrics,
    /// Exemplars.
    Exemplars,
    /// Descriptions of metric families.
    Metadata,
}

impl Table {
    /// All tables that a tenant may have, in the order in which they are changed together: who sees a change of `metrics`
    /// finds those of the others.
    pub const ALL: [Table; 3] = [Table::Exemplars, Table::Metadata, Table::Metrics];

    /// The table's name and folder.
    pub fn name(self) -> &'static str {
        match self {
            Table::Metrics => "metrics",
            Table::Exemplars => "exemplars",
            Table::Metadata => "metadata",
        }
    }

    /// The columns in Delta's words, the partition column first: name and type in Delta's JSON.
    fn columns(self) -> Vec<(String, String)> {
        match self {
            Table::Metrics => schema::delta_columns(),
            Table::Exemplars => block::exemplars::delta_columns(),
            Table::Metadata => block::metadata::delta_columns(),
        }
    }

    /// The columns for which the log keeps minimum, maximum and null count.
    fn stats_columns(self) -> &'static [&'static str] {
        match self {
            Table::Metrics => &schema::STATS_COLUMNS,
            Table::Exemplars => &block::exemplars::STATS_COLUMNS,
            Table::Metadata => &block::metadata::STATS_COLUMNS,
        }
    }
}

/// A table of a tenant: its log replayed into memory and followed commit by commit.
#[derive(Debug)]
pub struct LogTable {
    pub(crate) shared: Arc<Shared>,
    table: Table,
    root: Path,
    log: Path,
    /// One replay or commit at a time; commits of one process do not compete.
    pub(crate) turn: tokio::sync::Mutex<()>,
    state: RwLock<State>,
    /// The newest version seen plus one, 0 for none: read without a lock.
    seen: AtomicU64,
    /// Whether the log was read to its end since this process began.
    is_confirmed: AtomicBool,
    /// When somebody last asked the bucket for this table.
    used_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    /// When the log was last read to its end; `None` before the first time.
    confirmed_ms: Option<i64>,
}

impl LogTable {
    pub(crate) fn new(shared: Arc<Shared>, tenant: &TenantId, table: Table) -> LogTable {
        let root = Path::from_iter([tenant.as_str(), table.name()]);
        LogTable {
            shared,
            table,
            log: root.clone().join("_delta_log"),
            root,
            turn: tokio::sync::Mutex::new(()),
            state: RwLock::default(),
            seen: AtomicU64::new(0),
            is_confirmed: AtomicBool::new(false),
            used_ms: AtomicI64::new(0),
        }
    }

    /// The newest version that this process has seen, without I/O; `None` when it has seen none.
    pub fn version_seen(&self) -> Option<u64> {
        self.seen.load(Ordering::Acquire).checked_sub(1)
    }

    /// The newest version that this process has seen, once it has looked: before the first answer the log is read to its
    /// end, so what was committed before this process began is in the version. From then on there is no I/O.
    pub async fn version_confirmed(&self) -> Result<Option<u64>, BucketError> {
        if !self.is_confirmed.load(Ordering::Acquire) {
            self.snapshot().await?;
        }
        Ok(self.version_seen())
    }

    /// The table as it is now: one request when nothing has changed. `None` when there is no such table.
    pub async fn snapshot(&self) -> Result<Option<Arc<Snapshot>>, BucketError> {
        let _turn = self.turn_to_read().await?;
        self.refresh().await
    }

    /// The table at this version or a later one, confirmed within the poll interval. No request where the snapshot in
    /// memory will do.
    pub async fn snapshot_at_least(
        &self,
        version: Option<u64>,
    ) -> Result<Option<Arc<Snapshot>>, BucketError> {
        let wanted = version.map_or(0, |version| version + 1);
        let at_hand = || self.confirmed_lately().filter(|known| next_version(known) >= wanted);
        if let Some(known) = at_hand() {
            return Ok(known);
        }
        let _turn = self.turn_to_read().await?;
        // Whoever had the turn before may have looked for all who wait.
        if let Some(known) = at_hand() {
            return Ok(known);
        }
        let found = self.refresh().await?;
        if next_version(&found) < wanted {
            return Err(BucketError::corrupt(&self.log, format!("version {version:?} was seen and is gone")));
        }
        Ok(found)
    }

    /// A commit may fight with a failing store for minutes; whoever reads is told so sooner.
    async fn turn_to_read(&self) -> Result<MutexGuard<'_, ()>, BucketError> {
        let limit = self.shared.config.request_timeout;
        let turn = runtime::timeout(limit.0, self.turn.lock()).await;
        let waits =
            || format!("a commit of this process has been waiting for the store for longer than {limit}");
        turn.ok_or_else(|| self.shared.unavailable("read the log", &self.log, waits()))
    }

    /// A name and a number for a file that is about to be written.
    pub fn new_file(&self, day: Day) -> NewFile {
        let now_ms = u64::try_from(self.shared.clock.now_ms()).unwrap_or(0);
        let random = u128::from(runtime::random_u64()) << 64 | u128::from(runtime::random_u64());
        let id = Ulid::from_parts(now_ms, random);
        // 48 bits of time and 15 of chance, as many as a positive INT64 has room for.
        let block = (now_ms & 0xFFFF_FFFF_FFFF) << 15 | u64::try_from(random >> 113).unwrap_or(0);
        NewFile { path: format!("day={day}/{id}.parquet"), block: block.cast_signed(), day }
    }

    /// Where a file of the table lies in the store.
    pub fn object(&self, path: &str) -> Path {
        path.split('/').fold(self.root.clone(), |parent, part| parent.join(part))
    }

    /// A whole file of the table; `None` when vacuum took it.
    pub async fn read_file(&self, path: &str) -> Result<Option<Bytes>, BucketError> {
        self.shared.get(&self.object(path)).await
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Parts of a file of the table, in order.
    pub async fn read(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        self.shared.ranges(&self.object(path), ranges).await
    }

    /// The table's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn touch(&self, now_ms: i64) {
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn is_idle(&self, now_ms: i64, idle_ms: i64) -> bool {
        now_ms - self.used_ms.load(Ordering::Relaxed) > idle_ms
    }

    /// Reads the log to its end. The caller has the turn.
    pub(crate) async fn refresh(&self) -> Result<Option<Arc<Snapshot>>, BucketError> {
        let known = {
            let state = self.state.read();
            state.confirmed_ms.filter(|at| !self.is_stale(*at)).and(state.snapshot.clone())
        };
        let found = match known {
            Some(snapshot) => Some(self.catch_up(snapshot).await?),
            None => self.load().await?,
        };
        self.publish(found.clone());
        Ok(found)
    }

    /// The snapshot in memory if there is one that is not too old to be trusted. The caller has the turn.
    pub(crate) fn trusted(&self) -> Option<Arc<Snapshot>> {
        let state = self.state.read();
        let confirmed_ms = state.confirmed_ms?;
        if self.is_stale(confirmed_ms) { None } else { state.snapshot.clone() }
    }

    pub(crate) fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        self.seen.fetch_max(next_version(&snapshot), Ordering::AcqRel);
        self.is_confirmed.store(true, Ordering::Release);
        let mut state = self.state.write();
        state.snapshot = snapshot;
        state.confirmed_ms = Some(self.shared.clock.now_ms());
    }

    /// Takes the published snapshot's place, so that it can change without a copy when no reader holds it. A reader
    /// that comes meanwhile waits for the turn.
    pub(crate) fn take(&self) -> Option<Arc<Snapshot>> {
        let mut state = self.state.write();
        state.confirmed_ms = None;
        state.snapshot.take()
    }

    /// Puts version 0, or finds that another did.
    pub(crate) async fn create(&self) -> Result<Arc<Snapshot>, BucketError> {
        let lines = self.first_lines()?;
        let bytes = action::render(&lines).map_err(|e| BucketError::corrupt(&self.log, e))?;
        self.shared.put_if_absent(&self.commit_path(0), bytes).await?;
        let found = self.load().await?;
        found.ok_or_else(|| BucketError::NotFound(self.commit_path(0).to_string()))
    }

    pub(crate) fn commit_path(&self, version: u64) -> Path {
        self.log.clone().join(format!("{version:020}.json"))
    }

    /// Applies the commits after `snapshot`, one request each and one that finds the end.
    pub(crate) async fn catch_up(&self, mut snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>, BucketError> {
        let before = snapshot.version();
        loop {
            let version = snapshot.version() + 1;
            let path = self.commit_path(version);
            let Some(bytes) = self.shared.get(&path).await? else {
                if snapshot.version() > before {
                    Arc::make_mut(&mut snapshot).expire(self.shared.clock.now_ms());
                }
                return Ok(snapshot);
            };
            let lines = action::parse(path.as_ref(), &bytes)?;
            drop(self.take());
            Arc::make_mut(&mut snapshot).apply(path.as_ref(), version, lines)?;
        }
    }

    /// Writes a checkpoint of the snapshot and points to it.
    pub(crate) async fn checkpoint(&self, snapshot: &Arc<Snapshot>) -> Result<(), BucketError> {
        let version = snapshot.version();
        let path = self.checkpoint_path(version);
        let now_ms = self.shared.clock.now_ms();
        let source = Arc::clone(snapshot);
        let encoded = runtime::blocking(move || checkpoint::encode(&source, now_ms)).await;
        let encoded = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(e)) => return Err(BucketError::corrupt(path, e)),
            Err(e) => return Err(BucketError::corrupt(path, e)),
        };
        self.shared.put(&path, encoded.bytes).await?;
        fault::point("commit.checkpoint");
        self.shared.put(&self.pointer_path(), encoded.pointer.to_string().into_bytes()).await
    }

    fn confirmed_lately(&self) -> Option<Option<Arc<Snapshot>>> {
        let state = self.state.read();
        let age_ms = self.shared.clock.now_ms() - state.confirmed_ms?;
        let fresh = age_ms <= self.shared.config.poll_interval.millis();
        fresh.then(|| state.snapshot.clone())
    }

    /// After log clean-up a put of an old "next" version would succeed into the hole, so what was not confirmed for
    /// half the retention is not trusted.
    pub(crate) fn is_stale(&self, confirmed_ms: i64) -> bool {
        let half_ms = self.shared.config.log_retention.millis() / 2;
        self.shared.clock.now_ms() - confirmed_ms > half_ms
    }

    async fn load(&self) -> Result<Option<Arc<Snapshot>>, BucketError> {
        let mut listing = match self.pointer().await? {
            Some(version) => self.list(version).await?,
            None => Listing::default(),
        };
        if listing.checkpoint.is_none() {
            listing = self.list(0).await?;
        }
        let Some(newest) = listing.newest() else { return Ok(None) };
        let mut snapshot = match listing.checkpoint {
            Some(version) => self.read_checkpoint(version).await?,
            None if listing.has_foreign_checkpoint => {
                let feature = "a multi-part or V2 checkpoint".to_string();
                return Err(BucketError::Unsupported { path: self.log.to_string(), feature });
            }
            None => self.read_first().await?,
        };
        let missing = snapshot.version() + 1..newest + 1;
        let mut commits = futures::stream::iter(missing)
            .map(|version| async move { (version, self.read_commit(version).await) })
            .buffered(8);
        while let Some((version, lines)) = commits.next().await {
            snapshot.apply(self.commit_path(version).as_ref(), version, lines?)?;
        }
        drop(commits);
        self.catch_up(Arc::new(snapshot)).await.map(Some)
    }

    async fn read_first(&self) -> Result<Snapshot, BucketError> {
        let lines = self.read_commit(0).await?;
        Snapshot::first(self.commit_path(0).as_ref(), 0, lines)
    }

    async fn read_commit(&self, version: u64) -> Result<Vec<Line>, BucketError> {
        let path = self.commit_path(version);
        let Some(bytes) = self.shared.get(&path).await? else {
            return Err(BucketError::corrupt(&path, "the commit is missing"));
        };
        action::parse(path.as_ref(), &bytes)
    }

    async fn read_checkpoint(&self, version: u64) -> Result<Snapshot, BucketError> {
        let path = self.checkpoint_path(version);
        let Some(bytes) = self.shared.get(&path).await? else {
            return Err(BucketError::corrupt(&path, "the checkpoint is missing"));
        };
        checkpoint::decode(path.as_ref(), version, &bytes)
    }

    /// The version that `_last_checkpoint` names; one that does not parse names none.
    async fn pointer(&self) -> Result<Option<u64>, BucketError> {
        #[derive(Deserialize)]
        struct Pointer {
            version: u64,
        }
        let bytes = self.shared.get(&self.pointer_path()).await?;
        Ok(bytes.and_then(|bytes| Some(serde_json::from_slice::<Pointer>(&bytes).ok()?.version)))
    }

    /// What the log holds from a version on.
    async fn list(&self, from: u64) -> Result<Listing, BucketError> {
        let offset = self.log.clone().join(format!("{from:020}"));
        let mut listing = Listing::default();
        for object in self.shared.list_after(&self.log, &offset).await? {
            listing.add(object.location.filename().unwrap_or_default());
        }
        Ok(listing)
    }

    pub(crate) fn checkpoint_path(&self, version: u64) -> Path {
        self.log.clone().join(format!("{version:020}.checkpoint.parquet"))
    }

    fn pointer_path(&self) -> Path {
        self.log.clone().join("_last_checkpoint")
    }

    fn first_lines(&self) -> Result<Vec<Line>, BucketError> {
        let now_ms = self.shared.clock.now_ms();
        let columns = self.table.columns();
        let fields: Vec<String> = columns
            .iter()
            .map(|(name, kind)| {
                format!(r#"{{"name":"{name}","type":{kind},"nullable":true,"metadata":{{}}}}"#)
            })
            .collect();
        let configuration = [
            ("delta.dataSkippingStatsColumns", self.table.stats_columns().join(",")),
            ("delta.checkpointInterval", self.shared.config.checkpoint_interval.to_string()),
            ("delta.logRetentionDuration", interval(self.shared.config.log_retention.0)),
            ("delta.deletedFileRetentionDuration", "interval 1 days".to_string()),
            ("delta.setTransactionRetentionDuration", format!("interval {TXN_DAYS} days")),
        ];
        let meta_data = MetaData {
            id: random_uuid(),
            name: Some(self.table.name().to_string()),
            description: None,
            format: Format { provider: "parquet".to_string(), options: Default::default() },
            schema_string: format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(",")),
            partition_columns: vec!["day".to_string()],
            configuration: configuration.map(|(key, value)| (key.to_string(), Some(value))).into(),
            created_time: Some(now_ms),
        };
        let protocol = Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        };
        Ok(vec![
            Line { commit_info: Some(commit_info("CREATE TABLE", now_ms)), ..Line::default() },
            Line { protocol: Some(protocol), ..Line::default() },
            Line { meta_data: Some(meta_data), ..Line::default() },
        ])
    }
}

/// Who committed what, and a number that tells this commit from every other.
pub(crate) fn commit_info(operation: &str, now_ms: i64) -> serde_json::Value {
    json!({
        "timestamp": now_ms,
        "operation": operation,
        "engineInfo": concat!("firn/", env!("CARGO_PKG_VERSION")),
        "firnCommit": random_uuid(),
    })
}

/// The newest files of a log by kind.
#[derive(Debug, Default)]
struct Listing {
    newest_commit: Option<u64>,
    checkpoint: Option<u64>,
    has_foreign_checkpoint: bool,
}

impl Listing {
    fn add(&mut self, name: &str) {
        let Some((digits, rest)) = name.split_once('.') else { return };
        let is_version = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let Some(version) = digits.parse().ok().filter(|_| is_version) else { return };
        match rest {
            "json" => self.newest_commit = self.newest_commit.max(Some(version)),
            "checkpoint.parquet" => self.checkpoint = self.checkpoint.max(Some(version)),
            other => self.has_foreign_checkpoint |= other.starts_with("checkpoint."),
        }
    }

    fn newest(&self) -> Option<u64> {
        self.newest_commit.max(self.checkpoint)
    }
}

/// A duration as Delta writes it.
fn interval(duration: Duration) -> String {
    match duration.as_secs() {
        secs if secs.is_multiple_of(86_400) => format!("interval {} days", secs / 86_400),
        secs => format!("interval {secs} seconds"),
    }
}

fn next_version(snapshot: &Option<Arc<Snapshot>>) -> u64 {
    snapshot.as_ref().map_or(0, |snapshot| snapshot.version() + 1)
}

/// A random UUID (version 4), the form in which Delta names tables.
fn random_uuid() -> String {
    let (a, b) = (runtime::random_u64(), runtime::random_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xFFFF,
        a & 0xFFF,
        b >> 48 & 0x3FFF | 0x8000,
        b & 0xFFFF_FFFF_FFFF,
    )
}
