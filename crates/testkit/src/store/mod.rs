//! An object store that fails when it is told to: refuses, forgets to say that it succeeded, or never answers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request fails and nothing happens.
    Refuse,
    /// The request succeeds and its answer is an error.
    LoseAnswer,
    /// The request is never answered and nothing happens.
    Stall,
    /// The request succeeds and is never answered.
    StallAfter,
}

/// Which requests go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// All of them.
    Everything,
    /// Puts of paths that end so.
    Put(&'static str),
    /// Puts of paths in which this occurs.
    PutIn(&'static str),
}

/// A store in front of another one.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<(On, Fault)>,
    /// How many more times; `None` is for ever.
    times: Option<usize>,
    n_faults: usize,
    n_puts: usize,
}

impl FaultyStore {
    /// A store that works until it is told otherwise.
    pub fn new(inner: Arc<dyn ObjectStore>) -> FaultyStore {
        FaultyStore { inner, plan: Arc::default() }
    }

    /// From now on these requests go wrong, `times` times or for ever.
    pub fn fail(&self, on: On, fault: Fault, times: Option<usize>) {
        let mut plan = self.plan.lock();
        plan.fault = Some((on, fault));
        plan.times = times;
    }

    /// Everything works again. What stalls goes on stalling: its caller has to give up.
    pub fn heal(&self) {
        self.plan.lock().fault = None;
    }

    /// How many requests went wrong.
    pub fn n_faults(&self) -> usize {
        self.plan.lock().n_faults
    }

    /// How many puts there were, failed ones included.
    pub fn n_puts(&self) -> usize {
        self.plan.lock().n_puts
    }

    /// The paths of all objects, whatever fails.
    pub async fn objects(&self) -> Vec<String> {
        let listed: Result<Vec<_>> = self.inner.list(None).try_collect().await;
        listed.unwrap_or_default().into_iter().map(|meta| meta.location.to_string()).collect()
    }

    fn fault_of(&self, put: Option<&Path>) -> Option<Fault> {
        let mut plan = self.plan.lock();
        plan.n_puts += usize::from(put.is_some());
        let (on, fault) = plan.fault?;
        let hit = match on {
            On::Everything => true,
            On::Put(suffix) => put.is_some_and(|path| path.as_ref().ends_with(suffix)),
            On::PutIn(part) => put.is_some_and(|path| path.as_ref().contains(part)),
        };
        if !hit {
            return None;
        }
        if let Some(times) = &mut plan.times {
            *times = times.checked_sub(1)?;
        }
        plan.n_faults += 1;
        Some(fault)
    }

    async fn guarded<T>(&self, put: Option<&Path>, request: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fault_of(put) {
            None => request.await,
            Some(Fault::Refuse) => Err(failure()),
            Some(Fault::LoseAnswer) => {
                request.await?;
                Err(failure())
            }
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::StallAfter) => {
                request.await?;
                std::future::pending().await
            }
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "fails on purpose".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.guarded(Some(location), self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.guarded(Some(location), self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.guarded(None, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.guarded(None, self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault_of(None) {
            None => self.inner.list(prefix),
            Some(Fault::Stall | Fault::StallAfter) => Box::pin(futures::stream::pending()),
            Some(_) => Box::pin(futures::stream::once(async { Err(failure()) })),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault_of(None) {
            None => self.inner.list_with_offset(prefix, offset),
            Some(Fault::Stall | Fault::StallAfter) => Box::pin(futures::stream::pending()),
            Some(_) => Box::pin(futures::stream::once(async { Err(failure()) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.guarded(None, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.guarded(None, self.inner.copy_opts(from, to, options)).await
    }
}
