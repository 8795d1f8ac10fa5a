//! What a table is made of, as a number per range of time.

use std::hash::{DefaultHasher, Hash, Hasher};

use bucket::{FileEntry, Snapshot};
use model::{Metrics, TimeRange};
use wire::Standing;

/// The prints of ranges: each is made of the files that may hold samples of the range and of what is deleted from them.
/// Files never change and no name is used twice, so equal prints mean equal samples.
pub(crate) fn of(snapshot: Option<&Snapshot>, ranges: &[TimeRange]) -> Standing {
    let Some(snapshot) = snapshot else {
        return Standing { prints: vec![0; ranges.len()], ..Standing::default() };
    };
    let files: Vec<(&FileEntry, u64)> = snapshot.files().map(|file| (&**file, print_of(file))).collect();
    let print = |range: &TimeRange| {
        let concerned = files.iter().filter(|(file, _)| file.stats.may_hold(*range, &Metrics::Any));
        // In any order: a snapshot does not promise one.
        concerned.fold(0u64, |sum, (_, print)| sum.wrapping_add(*print))
    };
    let prints = ranges.iter().map(print).collect();
    Standing { open: Vec::new(), prints, table_version: Some(snapshot.version()) }
}

fn print_of(file: &FileEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    file.path.hash(&mut hasher);
    for deletion in file.deletion_ids() {
        deletion.hash(&mut hasher);
    }
    hasher.finish()
}
