//! What a log no longer needs.

use std::collections::BTreeMap;

use object_store::path::Path;

use crate::BucketError;
use crate::table::LogTable;

/// What a log consists of, by version.
#[derive(Debug, Default)]
struct LogFiles {
    /// When each commit was written.
    commits: BTreeMap<u64, i64>,
    checkpoints: BTreeMap<u64, i64>,
}

impl LogTable {
    /// Deletes commits and checkpoints that are older than the log's retention and that no version within it needs.
    /// Says how many objects went.
    ///
    /// Versions go from the oldest on, so what is left is always without a hole; and whoever has not looked at the log
    /// for half the retention loads it anew before he commits, so that nobody puts a version into the place of one that
    /// is gone.
    pub async fn clean_log(&self) -> Result<usize, BucketError> {
        let retention_ms = self.shared.config.log_retention.millis();
        let expired_before_ms = self.shared.clock.now_ms() - retention_ms;
        let files = self.log_files().await?;
        let Some(base) = files.base(expired_before_ms) else { return Ok(0) };
        let commits = files.commits.range(..base).map(|(version, _)| self.commit_path(*version));
        let checkpoints = files.checkpoints.range(..base).map(|(version, _)| self.checkpoint_path(*version));
        // A checkpoint without its commits serves as well as with them, the other way round it is a hole.
        let (commits, checkpoints): (Vec<Path>, Vec<Path>) = (commits.collect(), checkpoints.collect());
        let n_deleted = commits.len() + checkpoints.len();
        for chunk in commits.chunks(100) {
            self.shared.delete(chunk.to_vec()).await?;
        }
        self.shared.delete(checkpoints).await?;
        if n_deleted > 0 {
            tracing::info!(table = %self.root(), n_deleted, oldest_version = base, "log cleaned");
        }
        Ok(n_deleted)
    }

    async fn log_files(&self) -> Result<LogFiles, BucketError> {
        let mut files = LogFiles::default();
        let log = self.log().clone();
        for object in self.shared.list_after(&log, &log).await? {
            let name = object.location.filename().unwrap_or_default();
            let Some((digits, kind)) = name.split_once('.') else { continue };
            let Some(version) = digits.parse().ok().filter(|_| digits.len() == 20) else { continue };
            let written_ms = object.last_modified.timestamp_millis();
            match kind {
                "json" => drop(files.commits.insert(version, written_ms)),
                "checkpoint.parquet" => drop(files.checkpoints.insert(version, written_ms)),
                // Another writer's checkpoint in parts: what depends on it is not for us to judge.
                _ => continue,
            }
        }
        Ok(files)
    }
}

impl LogFiles {
    /// The checkpoint that the log shall begin with: the newest one from which every version within the retention can
    /// be had.
    fn base(&self, expired_before_ms: i64) -> Option<u64> {
        let newest = *self.commits.last_key_value()?.0;
        let is_kept = |written_ms: &i64| *written_ms >= expired_before_ms;
        let first_kept = self.commits.iter().find(|(_, written_ms)| is_kept(written_ms));
        let first_kept = first_kept.map_or(newest, |(version, _)| *version);
        // A checkpoint whose own commits are missing after it would begin a log with a hole.
        let is_whole = |from: u64| {
            let after = self.commits.range(from + 1..).map(|(version, _)| *version);
            after.eq(from + 1..=newest)
        };
        let mut bases = self.checkpoints.range(..=first_kept).rev();
        bases.find(|(version, _)| is_whole(**version)).map(|(version, _)| *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(commits: &[(u64, i64)], checkpoints: &[u64]) -> Option<u64> {
        let checkpoints = checkpoints.iter().map(|version| (*version, 0)).collect();
        LogFiles { commits: commits.iter().copied().collect(), checkpoints }.base(100)
    }

    #[test]
    fn a_log_begins_with_the_newest_checkpoint_that_all_kept_versions_can_be_had_from() {
        let old: Vec<(u64, i64)> = (0..=10u64).map(|version| (version, version.cast_signed() * 20)).collect();
        // Versions 5 and later are kept, and 5 is had from the checkpoint at 4.
        assert_eq!(base(&old, &[2, 4, 8]), Some(4));
        assert_eq!(base(&old, &[5]), Some(5));
        assert_eq!(base(&old, &[8]), None);
        assert_eq!(base(&old, &[]), None);
        assert_eq!(base(&[], &[4]), None);
    }

    #[test]
    fn when_all_is_old_the_newest_checkpoint_is_kept_with_what_follows() {
        let old: Vec<(u64, i64)> = (0..=10).map(|version| (version, 1)).collect();
        assert_eq!(base(&old, &[4, 8]), Some(8));
        let with_hole: Vec<(u64, i64)> = old.iter().copied().filter(|(version, _)| *version != 9).collect();
        assert_eq!(base(&with_hole, &[4, 8]), None);
    }
}
