use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::dir::{create_synced, make_visible, staging_path};

/// A file that is written part by part and becomes visible when it is whole.
#[derive(Debug)]
pub(super) struct DirUpload {
    target: PathBuf,
    staged: PathBuf,
    file: Arc<File>,
    end: u64,
    is_complete: bool,
}

impl DirUpload {
    pub(super) async fn begin(target: PathBuf) -> Result<DirUpload> {
        off_thread(move || {
            let folder = target.parent().ok_or_else(|| io::Error::other("an object without a folder"))?;
            create_synced(folder)?;
            let staged = staging_path(&target);
            let file = Arc::new(File::options().write(true).create_new(true).open(&staged)?);
            Ok(DirUpload { target, staged, file, end: 0, is_complete: false })
        })
        .await
    }
}

#[async_trait]
impl MultipartUpload for DirUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, mut at) = (Arc::clone(&self.file), self.end);
        self.end += data.content_length() as u64;
        Box::pin(off_thread(move || {
            for part in &data {
                file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, staged, target) = (Arc::clone(&self.file), self.staged.clone(), self.target.clone());
        off_thread(move || {
            file.sync_all()?;
            make_visible(&staged, &target, false)
        })
        .await?;
        self.is_complete = true;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.clone();
        off_thread(move || std::fs::remove_file(staged)).await
    }
}

impl Drop for DirUpload {
    fn drop(&mut self) {
        if !self.is_complete {
            // Readers ignore what is left, so failing to remove it does not matter.
            let _ignored = std::fs::remove_file(&self.staged);
        }
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = runtime::blocking(work).await;
    let outcome = done.unwrap_or_else(|reason| Err(io::Error::other(reason)));
    outcome.map_err(|e| Error::Generic { store: "DirStore", source: e.into() })
}
