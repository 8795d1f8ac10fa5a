//! Which files a table is made of.

use block::Day;
use bucket::{FileEntry, Snapshot};
use wire::StoredBlock;

/// The files in the order of time.
pub(crate) fn of(snapshot: Option<&Snapshot>) -> Vec<StoredBlock> {
    let Some(snapshot) = snapshot else { return Vec::new() };
    let mut blocks: Vec<StoredBlock> = snapshot.files().map(|file| block(file)).collect();
    blocks.sort_by(|a, b| (a.min_ms, a.max_ms, &a.name).cmp(&(b.min_ms, b.max_ms, &b.name)));
    blocks
}

/// Of a file whose samples the log says nothing about, the times are those of its day.
fn block(file: &FileEntry) -> StoredBlock {
    let day = file.day.map(Day::start_ms);
    let name = file.path.rsplit('/').next().unwrap_or_default();
    StoredBlock {
        name: name.strip_suffix(".parquet").unwrap_or(name).to_string(),
        min_ms: file.stats.min_time.or(day).unwrap_or(i64::MIN),
        max_ms: file.stats.max_time.or(day.map(|start| start + Day::MS - 1)).unwrap_or(i64::MAX),
        n_bytes: file.size,
        is_merged: file.run().is_some(),
    }
}
