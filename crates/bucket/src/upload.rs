use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutPayload};
use runtime::fault;

use crate::bucket::Shared;
use crate::table::LogTable;
use crate::{BucketError, NewFile};

/// Bytes of a part. S3 takes no smaller ones than 5 MiB and no more than 10,000, so a file may have 80 GB.
const PART_BYTES: usize = 8 << 20;

/// A file on its way into the store, piece by piece: it holds no more than one part in memory. It is in the store once
/// it is finished, and in the table once it is committed. One that is dropped leaves nothing that is visible.
#[derive(Debug)]
pub struct FileWriter {
    shared: Arc<Shared>,
    path: Path,
    pieces: Vec<Bytes>,
    n_pending: usize,
    n_bytes: u64,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl LogTable {
    /// Uploads a file; it belongs to the table once it is committed.
    pub async fn upload(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), BucketError> {
        fault::point("upload.begin");
        let mut writer = self.writer(file);
        let written = writer.write(bytes.into()).await;
        let outcome = match written {
            Ok(()) => writer.finish().await.map(|_| ()),
            Err(e) => {
                writer.abort().await;
                Err(e)
            }
        };
        fault::point("upload.done");
        outcome
    }

    /// Begins a file that is uploaded while it is written.
    pub fn writer(&self, file: &NewFile) -> FileWriter {
        FileWriter {
            shared: Arc::clone(&self.shared),
            path: self.object(&file.path),
            pieces: Vec::new(),
            n_pending: 0,
            n_bytes: 0,
            upload: None,
        }
    }
}

impl FileWriter {
    /// Takes the next bytes. After an error the file cannot be finished any more: abort it.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BucketError> {
        self.n_bytes += bytes.len() as u64;
        while self.n_pending + bytes.len() > PART_BYTES {
            let piece = bytes.split_to(PART_BYTES - self.n_pending);
            self.n_pending += piece.len();
            self.pieces.push(piece);
            self.put_part().await?;
        }
        if !bytes.is_empty() {
            self.n_pending += bytes.len();
            self.pieces.push(bytes);
        }
        Ok(())
    }

    /// The last bytes are there: makes the file visible and says how long it is.
    pub async fn finish(mut self) -> Result<u64, BucketError> {
        if self.upload.is_none() {
            let payload = self.take_pending();
            self.shared.put(&self.path, payload).await?;
            return Ok(self.n_bytes);
        }
        let outcome = self.complete().await;
        if outcome.is_err() {
            self.abort().await;
        }
        outcome
    }

    /// Gives the file up. What the store keeps of it nevertheless is for the bucket's life-cycle rule to take.
    pub async fn abort(mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        if let Err(error) = self.shared.limited("abort upload", &self.path, upload.abort()).await {
            tracing::warn!(%error, "parts of an upload are left in the store");
        }
    }

    async fn complete(&mut self) -> Result<u64, BucketError> {
        if self.n_pending > 0 {
            self.put_part().await?;
        }
        if let Some(upload) = &mut self.upload {
            self.shared.limited("complete upload", &self.path, upload.complete()).await?;
        }
        Ok(self.n_bytes)
    }

    async fn put_part(&mut self) -> Result<(), BucketError> {
        let payload = self.take_pending();
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let begin = self.shared.store.put_multipart_opts(&self.path, Default::default());
                none.insert(self.shared.limited("begin upload", &self.path, begin).await?)
            }
        };
        let n_bytes = payload.content_length();
        self.shared.limited("put part", &self.path, upload.put_part(payload)).await?;
        self.shared.metrics.written(n_bytes);
        Ok(())
    }

    fn take_pending(&mut self) -> PutPayload {
        self.n_pending = 0;
        self.pieces.drain(..).collect()
    }
}
