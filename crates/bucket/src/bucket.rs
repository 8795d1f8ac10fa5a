use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::storage::Location;
use futures::{StreamExt as _, TryStreamExt as _};
use model::TenantId;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use runtime::Clock;

use crate::metrics::{Outcome, StoreMetrics};
use crate::table::{LogTable, Table};
use crate::{BucketError, Config, open_store};

/// A read of a folder costs some microseconds.
const NEAR_COALESCE_BYTES: u64 = 16 << 10;
/// A request to a bucket costs tens of milliseconds, in which it brings a megabyte or more.
const FAR_COALESCE_BYTES: u64 = 1 << 20;

/// How often a deletion is tried.
const DELETE_ATTEMPTS: u32 = 3;

/// What a bucket needs.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the objects are.
    pub store: Arc<dyn ObjectStore>,
    /// The time, for names and commit times.
    pub clock: Clock,
}

/// The tables of all tenants.
#[derive(Debug)]
pub struct Bucket {
    shared: Arc<Shared>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_name: HashMap<(TenantId, Table), Arc<LogTable>>,
    /// When idle ones were last looked for.
    swept_ms: i64,
}

impl Tables {
    /// Lets go of tables that nobody holds and nobody has asked for in a while. Whoever asks again loads them again,
    /// from their last checkpoint; nobody polls them meanwhile.
    fn sweep(&mut self, now_ms: i64, idle_ms: i64) {
        if now_ms - self.swept_ms < idle_ms / 4 {
            return;
        }
        self.swept_ms = now_ms;
        self.by_name.retain(|_, table| Arc::strong_count(table) > 1 || !table.is_idle(now_ms, idle_ms));
        if self.by_name.capacity() > 64 + 4 * self.by_name.len() {
            self.by_name.shrink_to_fit();
        }
    }
}

/// What all tables of a bucket use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) clock: Clock,
    pub(crate) metrics: StoreMetrics,
}

impl Bucket {
    /// Opens the bucket that is configured.
    pub async fn connect(
        storage: &config::storage::Config,
        mut config: Config,
        clock: Clock,
    ) -> Result<Arc<Bucket>, BucketError> {
        let store = open_store(storage, &config)?;
        if config.coalesce_bytes == 0 && matches!(storage.location(), Ok(Location::S3 { .. })) {
            config.coalesce_bytes = FAR_COALESCE_BYTES;
        }
        Bucket::open(config, Deps { store, clock }).await
    }

    /// Opens a bucket after a probe that its store does all that tables need.
    pub async fn open(config: Config, deps: Deps) -> Result<Arc<Bucket>, BucketError> {
        let shared = Arc::new(Shared {
            config,
            store: deps.store,
            clock: deps.clock,
            metrics: StoreMetrics::default(),
        });
        match shared.probe().await {
            // A log is there to keep what a full disk cannot take; a process that does not start keeps nothing.
            Err(e) if is_full(&e) => {
                tracing::error!(error = %e, "the store is full, nothing is written to it")
            }
            probed => probed?,
        }
        Ok(Arc::new(Bucket { shared, tables: Mutex::default() }))
    }

    /// Shows what is asked of the store.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// A tenant's table. Costs no request; the table comes to be with its first commit.
    pub fn table(&self, tenant: &TenantId, table: Table) -> Arc<LogTable> {
        let now_ms = self.shared.clock.now_ms();
        let mut tables = self.tables.lock();
        tables.sweep(now_ms, self.shared.config.idle_timeout.millis());
        let handle = tables
            .by_name
            .entry((tenant.clone(), table))
            .or_insert_with(|| Arc::new(LogTable::new(Arc::clone(&self.shared), tenant, table)));
        handle.touch(now_ms);
        Arc::clone(handle)
    }

    /// Lets go of tables for which nobody has asked in a while.
    pub fn forget_idle(&self) {
        self.tables.lock().sweep(self.shared.clock.now_ms(), self.shared.config.idle_timeout.millis());
    }

    /// How many tables are held in memory.
    pub fn n_held(&self) -> usize {
        self.tables.lock().by_name.len()
    }

    /// Up to how many bytes between two parts of an object one request is cheaper than two.
    pub fn coalesce_bytes(&self) -> u64 {
        match self.shared.config.coalesce_bytes {
            0 => NEAR_COALESCE_BYTES,
            bytes => bytes,
        }
    }

    /// Parts of an object, in order.
    pub async fn read(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        self.shared.ranges(path, ranges).await
    }

    /// The tenants that have a folder, sorted.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, BucketError> {
        let root = Path::from("/");
        let listing = self.shared.limited("list", &root, self.shared.store.list_with_delimiter(None)).await?;
        let mut tenants: Vec<TenantId> = listing
            .common_prefixes
            .iter()
            .filter_map(|prefix| TenantId::new(&prefix.filename()?.replace("%2A", "*")).ok())
            .collect();
        tenants.sort();
        Ok(tenants)
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.shared.store
    }
}

/// Whether a folder's disk has no room (`ENOSPC`). The folder's own conditional put is ours and needs no proof.
fn is_full(error: &BucketError) -> bool {
    let no_space = std::io::Error::from(std::io::ErrorKind::StorageFull).to_string();
    matches!(error, BucketError::Unavailable { reason, .. } if reason.contains("os error 28") || reason.contains(&no_space))
}

impl Shared {
    /// Puts an object only if it is absent. `Ok(false)`: something is or was in the way.
    pub(crate) async fn put_if_absent(&self, path: &Path, bytes: Vec<u8>) -> Result<bool, BucketError> {
        let options = PutMode::Create.into();
        let n_bytes = bytes.len();
        let put = async {
            match self.store.put_opts(path, PutPayload::from(bytes), options).await {
                Ok(_) => {
                    self.metrics.written(n_bytes);
                    Ok(true)
                }
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(object_store::Error::Precondition { .. }) => Ok(false),
                Err(e) => Err(e),
            }
        };
        self.limited("put if absent", path, put).await
    }

    pub(crate) async fn put(&self, path: &Path, bytes: impl Into<PutPayload>) -> Result<(), BucketError> {
        let payload: PutPayload = bytes.into();
        let n_bytes = payload.content_length();
        self.limited("put", path, self.store.put(path, payload)).await?;
        self.metrics.written(n_bytes);
        Ok(())
    }

    /// The object, or `None` if there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, BucketError> {
        let get = async { self.store.get(path).await?.bytes().await };
        let bytes = found(self.limited("get", path, get).await)?;
        self.metrics.read(bytes.as_ref().map_or(0, Bytes::len));
        Ok(bytes)
    }

    pub(crate) async fn ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BucketError> {
        let parts = self.limited("read", path, self.store.get_ranges(path, ranges)).await?;
        self.metrics.read(parts.iter().map(Bytes::len).sum());
        Ok(parts)
    }

    /// The objects of a folder that come after `offset`, in the order of their names.
    pub(crate) async fn list_after(
        &self,
        folder: &Path,
        offset: &Path,
    ) -> Result<Vec<ObjectMeta>, BucketError> {
        let listing = self.store.list_with_offset(Some(folder), offset);
        let listed = self.limited("list", folder, listing.try_collect::<Vec<_>>()).await;
        let mut objects = found(listed)?.unwrap_or_default();
        // Folders of this machine come in no order.
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// Deletes objects; one that is not there is as good as deleted.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Result<(), BucketError> {
        // As many as one request to S3 takes, so that the time limit means the same for few and for many.
        for chunk in paths.chunks(1000) {
            let mut attempt = 1;
            while let Err(e) = self.delete_once(chunk).await {
                if attempt == DELETE_ATTEMPTS {
                    return Err(e);
                }
                // S3 takes a list of deletions by POST, which nobody repeats for us.
                runtime::sleep(Duration::from_millis(100 << attempt)).await;
                attempt += 1;
            }
        }
        Ok(())
    }

    async fn delete_once(&self, paths: &[Path]) -> Result<(), BucketError> {
        let Some(first) = paths.first() else { return Ok(()) };
        let locations = futures::stream::iter(paths.to_vec()).map(Ok).boxed();
        let deletions = self.store.delete_stream(locations).filter_map(async |deleted| match deleted {
            Err(object_store::Error::NotFound { .. }) => None,
            other => Some(other.map(|_| ())),
        });
        self.limited("delete", first, deletions.try_collect::<()>()).await
    }

    /// One request with what it costs in time, and its error with its name.
    pub(crate) async fn limited<T>(
        &self,
        operation: &'static str,
        path: &Path,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, BucketError> {
        let limit = self.config.request_timeout;
        let start = self.clock.instant();
        let answered = runtime::timeout(limit.0, request).await;
        let outcome = match &answered {
            Some(Ok(_)) => Outcome::Done,
            Some(Err(object_store::Error::NotFound { .. })) => Outcome::NotFound,
            Some(Err(_)) => Outcome::Failed,
            None => Outcome::TimedOut,
        };
        self.metrics.asked(operation, outcome, self.clock.instant().saturating_duration_since(start));
        match answered {
            Some(Ok(value)) => Ok(value),
            Some(Err(e)) => Err(BucketError::store(&*self.store, operation, path, &e)),
            None => Err(self.unavailable(operation, path, format!("no answer within {limit}"))),
        }
    }

    pub(crate) fn unavailable(
        &self,
        operation: &'static str,
        path: &Path,
        reason: impl Into<String>,
    ) -> BucketError {
        let (store, path) = (self.store.to_string(), path.to_string());
        BucketError::Unavailable { store, operation, path, reason: reason.into() }
    }
}

/// `None` for what is not there.
fn found<T>(outcome: Result<T, BucketError>) -> Result<Option<T>, BucketError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(BucketError::NotFound(_)) => Ok(None),
        Err(e) => Err(e),
    }
}
