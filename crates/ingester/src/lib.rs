//! The ingester: takes batches into the log and the head, cuts windows and flushes them into tables, and answers for
//! what is not in a table yet.
//!
//! On the path: distributor → push → **append** (log, then head) → **cut** → **flush** → commit; querier →
//! **select**.
//!
//! Always true:
//! - a shard decides, logs and applies in one order, under one lock: only what was accepted is logged, the head
//!   changes after the write succeeded, the acknowledgement follows;
//! - what was acknowledged is on the log until a commit holds it, and readable all the while;
//! - a cut keeps its sequence number for ever, so that repeating it commits nothing;
//! - no lock is held across an await.

mod admin;
mod beside;
mod cut;
mod error;
mod families;
mod files;
mod flush;
pub mod head;
mod merge;
mod metrics;
mod push;
pub mod record;
mod release;
mod replay;
mod select;
mod stats;
mod tenants;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use limits::LimitsHandle;
use model::{Metadata, TenantId};
use runtime::{Clock, MemoryPart};
use tokio::sync::Notify;
use wal::{FileLayer, Wal, WalConfig};

use crate::cut::Waits;
use crate::tenants::Tenants;

pub use config::ingester::{Config, SyncMode, SyncModeError, WalSettings};
pub use error::{FlushError, OpenError};
pub use flush::Flusher;
pub use metrics::Metrics;
pub use record::RecordError;
pub use wal::WalSyncer;

/// The points at which a test can make the process die, in the order of the path. Those of phase `append` lie in
/// the log itself.
pub const FAULT_POINTS: &[&str] = &[
    "push.received",
    "push.decided",
    "push.encoded",
    "push.logged",
    "push.applied",
    "push.before_sync",
    "push.after_sync",
    "append.before_write",
    "append.after_write",
    "append.before_rotate",
    "append.after_rotate",
    "append.before_sync",
    "append.after_sync",
    "cut.due",
    "cut.before_log",
    "cut.after_log",
    "cut.after_freeze",
    "cut.before_sync",
    "cut.after_sync",
    "upload.before_lookup",
    "upload.before_write",
    "upload.after_write",
    "upload.before_put",
    "upload.after_put",
    "upload.before_exemplars",
    "upload.before_metadata",
    "commit.before_exemplars",
    "commit.after_exemplars",
    "commit.before_metadata",
    "commit.after_metadata",
    "commit.before",
    "commit.after",
    "commit.before_log",
    "commit.between_shards",
    "commit.after_log",
    "drop.before",
    "drop.between_shards",
    "drop.after",
    "drop.before_carry",
    "drop.after_carry",
    "drop.before_truncate",
    "drop.after_truncate",
    "replay.opened",
    "replay.definitions",
    "replay.record",
    "replay.cut",
    "replay.committed",
    "replay.applied",
    "replay.finished",
];

/// What an ingester needs.
#[derive(Debug)]
pub struct Deps {
    /// Folder of the log.
    pub wal_dir: PathBuf,
    /// Where the log's files are.
    pub files: Arc<dyn FileLayer>,
    /// Where the tables are.
    pub bucket: Arc<bucket::Bucket>,
    /// How many shards there are; the distributor's number.
    pub shards: u32,
    /// What tenants may do.
    pub limits: LimitsHandle,
    /// The time.
    pub clock: Clock,
    /// The head's share of the memory.
    pub memory: MemoryPart,
    /// Our own metrics.
    pub metrics: Metrics,
}

/// Takes samples and answers for those that are not in a table yet. Clones are the same ingester.
#[derive(Debug, Clone)]
pub struct Ingester {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    waits: Waits,
    shards: u32,
    wal: Wal,
    bucket: Arc<bucket::Bucket>,
    limits: LimitsHandle,
    clock: Clock,
    memory: MemoryPart,
    metrics: Metrics,
    tenants: Tenants,
    head_bytes: AtomicI64,
    stopping: AtomicBool,
    /// Wakes the flusher when memory runs short.
    pressure: Notify,
    /// One at a time releases the log.
    releasing: tokio::sync::Mutex<()>,
    /// One at a time counts the heads: it takes a core for as long as there are series.
    counting: Arc<tokio::sync::Mutex<()>>,
}

impl Ingester {
    /// Opens the log and replays it. What comes back is ready for pushes and selects; the services must be run for
    /// anything to be synced at its interval and flushed.
    pub async fn open(config: Config, deps: Deps) -> Result<(Ingester, Flusher, WalSyncer), OpenError> {
        if let Some(violation) = config.violations().into_iter().next() {
            return Err(OpenError::Config(violation));
        }
        let wal_config = WalConfig {
            dir: deps.wal_dir,
            segment_bytes: config.wal.segment_bytes,
            sync: for_wal(config.wal.sync),
        };
        let files = deps.files;
        let opened = runtime::blocking(move || Wal::open(wal_config, files)).await;
        let (wal, replay) = opened.map_err(OpenError::Internal)??;
        runtime::fault::point("replay.opened");
        let waits = Waits {
            grace_ms: config.cut_after_window.millis(),
            late_idle_ms: config.late_window_idle.millis(),
            late_max_ms: config.late_window_max.millis(),
        };
        let inner = Arc::new(Inner {
            config,
            waits,
            shards: deps.shards,
            wal: wal.clone(),
            bucket: deps.bucket,
            limits: deps.limits,
            clock: deps.clock,
            memory: deps.memory,
            metrics: deps.metrics,
            tenants: Tenants::default(),
            head_bytes: AtomicI64::new(0),
            stopping: AtomicBool::new(false),
            pressure: Notify::new(),
            releasing: tokio::sync::Mutex::new(()),
            counting: Arc::default(),
        });
        replay::run(&inner, replay).await?;
        inner.observe();
        let ingester = Ingester { inner };
        let flusher = Flusher::new(ingester.clone());
        Ok((ingester, flusher, WalSyncer::new(wal)))
    }

    /// Cuts all windows and brings them into the tables; returns when that is done. What failed stays in memory and
    /// on the log.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.flush_all().await
    }

    /// The log's random id, which is part of the names of transactions.
    pub fn issuer(&self) -> &str {
        self.inner.wal.issuer()
    }

    /// The descriptions of one family or of all that came lately, by family, the newest of each first.
    fn metadata_of(&self, tenant: &TenantId, family: Option<&str>) -> Vec<Metadata> {
        let tenant = self.inner.tenants.get(tenant);
        tenant.map(|tenant| tenant.metadata.lock().list(family)).unwrap_or_default()
    }

    /// Whether no more is taken.
    fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn window_ms(&self) -> i64 {
        self.config.window.millis()
    }

    /// Tells the budget what the head takes. The sum moves under many hands, so it is stated, not added.
    fn report_memory(&self) {
        let bytes = self.head_bytes.load(Ordering::Relaxed).max(0);
        self.memory.set(bytes as u64);
    }

    /// Bytes above the mark at which windows are cut early.
    fn bytes_over(&self) -> u64 {
        let limit = self.memory.limit();
        if limit == 0 {
            return 0;
        }
        let mark = limit / 100 * self.config.cut_at_memory_percent;
        let used = self.head_bytes.load(Ordering::Relaxed).max(0) as u64;
        used.saturating_sub(mark)
    }
}

fn for_wal(mode: SyncMode) -> wal::Sync {
    match mode {
        SyncMode::Always => wal::Sync::Always,
        SyncMode::Interval(interval) => wal::Sync::Interval(interval.0),
        SyncMode::Never => wal::Sync::Never,
    }
}
