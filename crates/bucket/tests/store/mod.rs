//! An object store in memory that counts what is asked of it and fails as told.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test binary uses some of them")]
pub(crate) enum PutFault {
    /// It happens, but the answer is lost.
    LostAnswer,
    /// It happens, the client repeats it and is told that the object exists.
    RepeatedByClient,
    /// It does not happen, and the answer is an error.
    Refused,
    /// It does not happen, and the answer is "already exists" (S3's 409).
    Busy,
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) verb: &'static str,
    pub(crate) path: String,
    pub(crate) ranges: Vec<Range<u64>>,
}

#[derive(Debug, Default)]
pub(crate) struct TestStore {
    pub(crate) inner: InMemory,
    pub(crate) requests: Mutex<Vec<Request>>,
    /// For the next puts of commits.
    pub(crate) faults: Mutex<VecDeque<PutFault>>,
}

impl TestStore {
    pub(crate) fn new() -> Arc<TestStore> {
        Arc::new(TestStore::default())
    }

    /// Forgets the requests so far and returns them.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    fn note(&self, verb: &'static str, path: &Path, ranges: &[Range<u64>]) {
        let request = Request { verb, path: path.to_string(), ranges: ranges.to_vec() };
        self.requests.lock().unwrap().push(request);
    }
}

impl fmt::Display for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStore")
    }
}

fn failed() -> Error {
    Error::Generic { store: "TestStore", source: "injected".into() }
}

#[async_trait]
impl ObjectStore for TestStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.note("put", location, &[]);
        // As over a network, others come in between.
        tokio::task::yield_now().await;
        let is_commit = location.as_ref().ends_with(".json");
        let fault = if is_commit { self.faults.lock().unwrap().pop_front() } else { None };
        let exists = || Error::AlreadyExists { path: location.to_string(), source: "injected".into() };
        match fault {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(PutFault::Refused) => Err(failed()),
            Some(PutFault::Busy) => Err(exists()),
            Some(PutFault::LostAnswer) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(failed())
            }
            Some(PutFault::RepeatedByClient) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(exists())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(object_store::GetRange::Bounded(range)) => vec![range.clone()],
            _ => Vec::new(),
        };
        self.note("get", location, &range);
        tokio::task::yield_now().await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.note("get", location, ranges);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note("list", prefix.unwrap_or(&Path::default()), &[]);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.note("list", prefix.unwrap_or(&Path::default()), &[]);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
