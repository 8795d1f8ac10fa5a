use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use block::FileSummary;
use runtime::fault;

use crate::action::{self, Line, Remove, TxnAction};
use crate::deletes::{self, TableDeletion};
use crate::file::{RunTag, add_of};
use crate::snapshot::Snapshot;
use crate::table::{LogTable, commit_info};
use crate::vacuum::upload_ms;
use crate::{BucketError, NewFile};

/// After so many failures of the store in a row a commit gives up.
const STORE_FAILURES: u32 = 5;
/// So many times the longest request is how much older a file may become between the last look and its commit.
const LAST_LOOK: i64 = 4;

/// A transaction: the sequence of a cut under the name of its issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Txn {
    /// `<shard>/<shards>/<issuer>`.
    pub app_id: String,
    /// The sequence.
    pub version: i64,
}

/// What a commit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation {
    /// New samples.
    #[default]
    Write,
    /// The same samples in other files.
    Optimize,
    /// Samples go.
    Delete,
}

/// One change of a table.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Files that were uploaded, with their size and summary.
    pub adds: Vec<(NewFile, usize, FileSummary)>,
    /// Paths of files that go. All must still be in the table.
    pub removes: Vec<String>,
    /// What makes a repetition recognisable.
    pub txns: Vec<Txn>,
    /// What it is for.
    pub operation: Operation,
    /// Of each add, its place in a sequence of files that follow each other in the order of a block (tag `firn.run`);
    /// empty when the adds stand each by itself.
    pub runs: Vec<RunTag>,
    /// The deletions, by id, that the adds are without already. A file that another deletion concerns is not replaced
    /// by them: what it deletes would come back.
    pub applied: BTreeSet<String>,
    /// Samples that are to be gone from all files that the table has when this is committed.
    pub deletion: Option<TableDeletion>,
}

/// A change that is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// A version that holds the change.
    pub version: u64,
    /// The transactions were there before, by other files: those of this commit are not in the table and can be
    /// deleted.
    pub already: bool,
}

/// The lines of a commit for one version.
#[derive(Default)]
struct Prepared {
    version: Option<u64>,
    lines: Vec<Line>,
    bytes: Vec<u8>,
}

enum Decision {
    AlreadyThere,
    Write,
}

/// What became of one attempt.
enum Attempt {
    Won,
    Lost,
    /// The store failed; the version is still free as far as can be seen.
    Unknown(BucketError),
}

impl LogTable {
    /// Commits a change, or finds that it was committed. Creates the table if need be. After an error the change may
    /// still be in the table: commit it again, its transactions tell.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, BucketError> {
        let _turn = self.turn.lock().await;
        let mut snapshot = self.tip_or_created().await?;
        let mut prepared = Prepared::default();
        let mut failures = 0;
        for attempt in 0..self.shared.config.commit_attempts {
            self.check_age(commit)?;
            if let Decision::AlreadyThere = decide(&snapshot, commit)? {
                let by_others = commit.adds.iter().any(|(file, ..)| snapshot.file(&file.path).is_none());
                return Ok(Committed { version: snapshot.version(), already: by_others });
            }
            // What was not looked at for long could lead a put into the place of a version that is gone.
            if self.trusted().is_none() {
                snapshot = self.tip_or_created().await?;
                continue;
            }
            // The same bytes again for the same version: a put that came through after all is recognised by them.
            if prepared.version != Some(snapshot.version() + 1) {
                prepared = self.prepare(commit, &snapshot)?;
            }
            match self.attempt(snapshot.version() + 1, &prepared.bytes).await {
                Attempt::Won => return self.finish(snapshot, prepared.lines).await,
                Attempt::Lost => failures = 0,
                Attempt::Unknown(e) if failures + 1 >= STORE_FAILURES => return Err(e),
                Attempt::Unknown(_) => failures += 1,
            }
            back_off(attempt.max(failures * 2)).await;
            // A failure here counts like one of the put; the next attempt looks again.
            if let Ok(Some(newer)) = self.refresh().await {
                snapshot = newer;
            }
        }
        Err(BucketError::Contended(self.shared.config.commit_attempts))
    }

    /// Vacuum takes an upload that no commit has named for long. Such a file must not get into the table.
    fn check_age(&self, commit: &Commit) -> Result<(), BucketError> {
        let config = &self.shared.config;
        let youngest_ms =
            config.longest_upload.millis() - LAST_LOOK.saturating_mul(config.request_timeout.millis());
        let before_ms = self.shared.clock.now_ms().saturating_sub(youngest_ms);
        let mut paths = commit.adds.iter().map(|(file, ..)| &file.path);
        match paths.find(|path| upload_ms(path).is_some_and(|at| at < before_ms)) {
            Some(path) => {
                Err(BucketError::UploadTooOld { path: path.clone(), longest: config.longest_upload })
            }
            None => Ok(()),
        }
    }

    async fn tip_or_created(&self) -> Result<Arc<Snapshot>, BucketError> {
        if let Some(known) = self.trusted() {
            return Ok(known);
        }
        match self.refresh().await? {
            Some(found) => Ok(found),
            None => {
                let created = self.create().await?;
                self.publish(Some(Arc::clone(&created)));
                Ok(created)
            }
        }
    }

    /// Puts the version if it is free. An error does not mean that it was not put, and "already exists" does not mean
    /// that another put it: what is there decides.
    async fn attempt(&self, version: u64, bytes: &[u8]) -> Attempt {
        let path = self.commit_path(version);
        fault::point("commit.begin");
        let outcome = self.shared.put_if_absent(&path, bytes.to_vec()).await;
        fault::point("commit.put");
        if let Ok(true) = outcome {
            return Attempt::Won;
        }
        match self.shared.get(&path).await {
            Ok(Some(there)) if there == bytes => Attempt::Won,
            Ok(Some(_)) => Attempt::Lost,
            Ok(None) => Attempt::Unknown(outcome.err().unwrap_or_else(|| {
                let reason = "the store says that the version exists and does not show it";
                self.shared.unavailable("put if absent", &path, reason)
            })),
            Err(e) => Attempt::Unknown(outcome.err().unwrap_or(e)),
        }
    }

    async fn finish(&self, mut snapshot: Arc<Snapshot>, lines: Vec<Line>) -> Result<Committed, BucketError> {
        let version = snapshot.version() + 1;
        drop(self.take());
        let next = Arc::make_mut(&mut snapshot);
        next.apply(self.commit_path(version).as_ref(), version, lines)?;
        next.expire(self.shared.clock.now_ms());
        self.publish(Some(Arc::clone(&snapshot)));
        fault::point("commit.done");
        if version.is_multiple_of(self.shared.config.checkpoint_interval) {
            // The commit stands whatever becomes of its checkpoint; the next one is due soon.
            if let Err(error) = self.checkpoint(&snapshot).await {
                tracing::warn!(%error, table = %self.root(), version, "checkpoint failed");
            }
        }
        Ok(Committed { version, already: false })
    }

    fn prepare(&self, commit: &Commit, snapshot: &Snapshot) -> Result<Prepared, BucketError> {
        let lines = self.lines(commit, snapshot);
        let bytes = action::render(&lines).map_err(|e| BucketError::corrupt(self.root(), e))?;
        Ok(Prepared { version: Some(snapshot.version() + 1), lines, bytes })
    }

    fn lines(&self, commit: &Commit, snapshot: &Snapshot) -> Vec<Line> {
        let now_ms = self.shared.clock.now_ms();
        let (name, data_change) = match commit.operation {
            Operation::Write => ("WRITE", true),
            Operation::Optimize => ("OPTIMIZE", false),
            Operation::Delete => ("DELETE", true),
        };
        let mut lines = vec![Line { commit_info: Some(commit_info(name, now_ms)), ..Line::default() }];
        lines.extend(commit.txns.iter().map(|txn| {
            Line::of_txn(TxnAction {
                app_id: txn.app_id.clone(),
                version: txn.version,
                last_updated: Some(now_ms),
            })
        }));
        lines.extend(commit.removes.iter().map(|path| {
            Line::of_remove(Remove {
                path: path.clone(),
                deletion_timestamp: Some(now_ms),
                data_change,
                extended_file_metadata: None,
                partition_values: None,
                size: None,
                deletion_vector: None,
            })
        }));
        lines.extend(commit.adds.iter().enumerate().map(|(at, (file, size, summary))| {
            let mut add = add_of(file, *size, now_ms, data_change, summary);
            if let Some(run) = commit.runs.get(at) {
                add.tags.get_or_insert_default().insert(RunTag::NAME.to_string(), Some(run.to_string()));
            }
            Line::of_add(add)
        }));
        lines.extend(deletes::lines(commit, snapshot));
        lines
    }
}

/// Whether the change can and must be written on top of this snapshot.
fn decide(snapshot: &Snapshot, commit: &Commit) -> Result<Decision, BucketError> {
    let is_present = |txn: &&Txn| snapshot.txn(&txn.app_id).is_some_and(|version| version >= txn.version);
    let present: Vec<Txn> = commit.txns.iter().filter(is_present).cloned().collect();
    if !present.is_empty() && present.len() == commit.txns.len() {
        return Ok(Decision::AlreadyThere);
    }
    if !present.is_empty() {
        return Err(BucketError::PartlyCommitted { present });
    }
    if let Some(deletion) = &commit.deletion
        && (snapshot.deletion(&deletion.id).is_some() || !deletes::concerns_any(deletion, snapshot))
    {
        return Ok(Decision::AlreadyThere);
    }
    for path in &commit.removes {
        let Some(file) = snapshot.file(path) else { return Err(BucketError::InputGone(path.clone())) };
        let is_applied = file.deletion_ids().all(|id| commit.applied.contains(id));
        if !commit.adds.is_empty() && !is_applied {
            return Err(BucketError::InputGone(format!("{path} without its later deletions")));
        }
    }
    Ok(Decision::Write)
}

/// The first attempts follow at once, later ones after a random wait that grows to a quarter of a second.
async fn back_off(attempt: u32) {
    if attempt > 1 {
        let longest_ms = 1u64 << attempt.min(8);
        runtime::sleep(Duration::from_millis(runtime::random_u64() % longest_ms)).await;
    }
}
