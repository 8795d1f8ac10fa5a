//! Files that no version serves any more.

use object_store::ObjectMeta;
use object_store::path::Path;
use runtime::PromDuration;
use ulid::Ulid;

use crate::BucketError;
use crate::snapshot::{Snapshot, TOMBSTONE_MS};
use crate::table::LogTable;

/// What a vacuum took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files that a commit had removed.
    pub n_removed: usize,
    /// Uploads that were never committed.
    pub n_orphans: usize,
    /// Their bytes.
    pub n_bytes: u64,
}

/// Times by which a file is judged, in milliseconds.
struct Now {
    now_ms: i64,
    grace_ms: i64,
    longest_upload_ms: i64,
}

enum Verdict {
    Keep,
    Removed,
    Orphan,
}

impl LogTable {
    /// Deletes files that were removed from the table longer than `grace` ago, and uploads older than
    /// `bucket.longest_upload` that no commit names. `grace` is what the longest query takes and the longest that a
    /// snapshot serves without being confirmed; a day at most, since tombstones are not kept for longer.
    ///
    /// Everything below a folder whose name begins with `_` or `.` is spared, and so is every file that is not named
    /// as Firn names its files: another writer's upload has no age that we could know.
    pub async fn vacuum(&self, grace: PromDuration) -> Result<Vacuumed, BucketError> {
        let grace_ms = grace.millis();
        if grace_ms > TOMBSTONE_MS {
            let feature = format!("a grace of {grace}, longer than a day,");
            return Err(BucketError::Unsupported { path: self.root().to_string(), feature });
        }
        // Listed first: what is committed after the listing is in the snapshot.
        let objects = self.shared.list_after(self.root(), self.root()).await?;
        let Some(snapshot) = self.snapshot().await? else { return Ok(Vacuumed::default()) };
        let longest_upload_ms = self.shared.config.longest_upload.millis();
        let now = Now { now_ms: self.shared.clock.now_ms(), grace_ms, longest_upload_ms };
        let mut vacuumed = Vacuumed::default();
        let mut doomed = Vec::new();
        for object in objects {
            match self.verdict(&snapshot, &object, &now) {
                Verdict::Keep => continue,
                Verdict::Removed => vacuumed.n_removed += 1,
                Verdict::Orphan => vacuumed.n_orphans += 1,
            }
            vacuumed.n_bytes += object.size;
            doomed.push(object.location);
        }
        self.shared.delete(doomed).await?;
        if vacuumed != Vacuumed::default() {
            let Vacuumed { n_removed, n_orphans, n_bytes } = vacuumed;
            tracing::info!(table = %self.root(), n_removed, n_orphans, n_bytes, "vacuumed");
        }
        Ok(vacuumed)
    }

    fn verdict(&self, snapshot: &Snapshot, object: &ObjectMeta, now: &Now) -> Verdict {
        let Some(path) = self.relative(&object.location) else { return Verdict::Keep };
        if path.split('/').any(|part| part.starts_with(['_', '.'])) || snapshot.file(&path).is_some() {
            return Verdict::Keep;
        }
        match snapshot.removed_ms(&path) {
            Some(at) if at + now.grace_ms < now.now_ms => Verdict::Removed,
            Some(_) => Verdict::Keep,
            None if is_older(&path, object, now) => Verdict::Orphan,
            None => Verdict::Keep,
        }
    }

    /// The path of an object below the table's root.
    fn relative(&self, object: &Path) -> Option<String> {
        let parts: Vec<String> =
            object.prefix_match(self.root())?.map(|part| part.as_ref().to_string()).collect();
        Some(parts.join("/"))
    }
}

/// Whether an upload began longer ago than the longest one takes, by its name and by the store.
fn is_older(path: &str, object: &ObjectMeta, now: &Now) -> bool {
    let before_ms = now.now_ms - now.longest_upload_ms;
    let named_ms = upload_ms(path);
    named_ms.is_some_and(|at| at < before_ms) && object.last_modified.timestamp_millis() < before_ms
}

/// When the upload of a file of ours began: its name says it.
pub(crate) fn upload_ms(path: &str) -> Option<i64> {
    let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
    let id: Ulid = name.parse().ok()?;
    i64::try_from(id.timestamp_ms()).ok()
}
