use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use model::TenantId;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use parking_lot::Mutex;
use runtime::Clock;

use crate::table::{LogTable, Table};
use crate::{BucketError, Config};

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
    tables: Mutex<HashMap<(TenantId, Table), Arc<LogTable>>>,
}

/// What all tables of a bucket use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) clock: Clock,
}

impl Bucket {
    /// Opens a bucket after a probe that its store honours conditional puts.
    pub async fn open(config: Config, deps: Deps) -> Result<Arc<Bucket>, BucketError> {
        let shared = Arc::new(Shared { config, store: deps.store, clock: deps.clock });
        shared.probe().await?;
        Ok(Arc::new(Bucket { shared, tables: Mutex::new(HashMap::new()) }))
    }

    /// A tenant's table. Costs no request; the table comes to be with its first commit.
    pub fn table(&self, tenant: &TenantId, table: Table) -> Arc<LogTable> {
        let mut tables = self.tables.lock();
        let handle = tables
            .entry((tenant.clone(), table))
            .or_insert_with(|| Arc::new(LogTable::new(Arc::clone(&self.shared), tenant, table)));
        Arc::clone(handle)
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

impl Shared {
    /// Puts an object only if it is absent. `Ok(false)`: something is or was in the way.
    pub(crate) async fn put_if_absent(&self, path: &Path, bytes: Vec<u8>) -> Result<bool, BucketError> {
        let options = PutMode::Create.into();
        let put = async {
            match self.store.put_opts(path, PutPayload::from(bytes), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(object_store::Error::Precondition { .. }) => Ok(false),
                Err(e) => Err(e),
            }
        };
        self.limited("put", path, put).await
    }

    pub(crate) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), BucketError> {
        self.limited("put", path, self.store.put(path, PutPayload::from(bytes))).await.map(|_| ())
    }

    /// The object, or `None` if there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<bytes::Bytes>, BucketError> {
        let get = async { self.store.get(path).await?.bytes().await };
        match self.limited("get", path, get).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BucketError::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The names in a folder that come after `offset`.
    pub(crate) async fn list_after(&self, folder: &Path, offset: &Path) -> Result<Vec<Path>, BucketError> {
        let listing = self.store.list_with_offset(Some(folder), offset).map_ok(|meta| meta.location);
        match self.limited("list", folder, listing.try_collect::<Vec<_>>()).await {
            Err(BucketError::NotFound(_)) => Ok(Vec::new()),
            other => other,
        }
    }

    async fn limited<T>(
        &self,
        operation: &'static str,
        path: &Path,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, BucketError> {
        let limit = self.config.request_timeout;
        match runtime::timeout(limit.0, request).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(e)) => Err(BucketError::store(operation, path, e)),
            None => Err(BucketError::Unavailable {
                operation,
                path: path.to_string(),
                reason: format!("no answer within {limit}"),
            }),
        }
    }

    /// A store that lets a second conditional put pass would lose commits without a word.
    async fn probe(&self) -> Result<(), BucketError> {
        let path = Path::from(format!("__firn/probe/{:016x}", runtime::random_u64()));
        let first = self.put_if_absent(&path, b"1".to_vec()).await?;
        let second = self.put_if_absent(&path, b"2".to_vec()).await?;
        let kept = self.get(&path).await?;
        self.limited("delete", &path, self.store.delete(&path)).await?;
        let honoured = first && !second && kept.as_deref() == Some(b"1");
        if honoured { Ok(()) } else { Err(BucketError::NoConditionalPut) }
    }
}
