use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use runtime::fault;

use super::dir_upload::DirUpload;

/// A folder as an object store that is still there after the power was cut: an object is synced before it becomes
/// visible, and its folder before the put is acknowledged. Reads are [`LocalFileSystem`]'s.
#[derive(Debug)]
pub struct DirStore {
    inner: LocalFileSystem,
    root: PathBuf,
}

impl DirStore {
    /// The folder `root`, created where it is missing.
    pub fn open(root: &FilePath) -> io::Result<Arc<DirStore>> {
        create_synced(root)?;
        let inner = LocalFileSystem::new_with_prefix(root).map_err(io::Error::other)?;
        Ok(Arc::new(DirStore { inner, root: root.to_path_buf() }))
    }

    async fn put_synced(&self, location: &Path, payload: PutPayload, create: bool) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let written = runtime::blocking(move || write(&target, &payload, create)).await;
        let outcome = written.unwrap_or_else(|reason| Err(io::Error::other(reason)));
        match outcome {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: e.into() })
            }
            Err(e) => Err(Error::Generic { store: "DirStore", source: e.into() }),
        }
    }
}

impl fmt::Display for DirStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DirStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Overwrite => self.put_synced(location, payload, false).await,
            PutMode::Create => self.put_synced(location, payload, true).await,
            PutMode::Update(_) => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(DirUpload::begin(self.inner.path_to_filesystem(location)?).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Where a kill is rehearsed, by what is written.
struct Points {
    staged: &'static str,
    synced: &'static str,
    visible: &'static str,
}

impl Points {
    fn of(target: &FilePath) -> Points {
        let is_commit = target.extension().is_some_and(|extension| extension == "json");
        if is_commit {
            Points { staged: "commit.staged", synced: "commit.synced", visible: "commit.visible" }
        } else {
            Points { staged: "upload.staged", synced: "upload.synced", visible: "upload.visible" }
        }
    }
}

fn write(target: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let folder = target.parent().ok_or_else(|| io::Error::other("an object without a folder"))?;
    create_synced(folder)?;
    let points = Points::of(target);
    let staged = staging_path(target);
    if let Err(e) = stage(&staged, payload, &points) {
        let _ignored = fs::remove_file(&staged);
        return Err(e);
    }
    make_visible(&staged, target, create)
}

/// Gives a staged file its name, for good. With `create` only if nothing has that name.
pub(super) fn make_visible(staged: &FilePath, target: &FilePath, create: bool) -> io::Result<()> {
    let outcome = if create { fs::hard_link(staged, target) } else { fs::rename(staged, target) };
    if create || outcome.is_err() {
        // A leftover is ignored by readers, so failing to remove it does not matter.
        let _ignored = fs::remove_file(staged);
    }
    outcome?;
    fault::point(Points::of(target).visible);
    let folder = target.parent().ok_or_else(|| io::Error::other("an object without a folder"))?;
    File::open(folder)?.sync_all()
}

fn stage(staged: &FilePath, payload: &PutPayload, points: &Points) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(staged)?;
    for part in payload {
        file.write_all(part)?;
    }
    fault::point(points.staged);
    file.sync_all()?;
    fault::point(points.synced);
    Ok(())
}

/// `name#digits`: the form of name that [`LocalFileSystem`] leaves out of listings.
pub(super) fn staging_path(target: &FilePath) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!("#{}", runtime::random_u64()));
    target.with_file_name(name)
}

/// Creates a folder and those above it, each synced into the one above.
pub(super) fn create_synced(folder: &FilePath) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    create_synced(above)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => File::open(above)?.sync_all(),
    }
}
