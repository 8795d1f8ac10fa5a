//! Deletions by matcher and time that the files of a table do not reflect yet.
//!
//! A deletion stands in the table's configuration under `firn.delete.<id>`, and every file that it concerns has its id
//! in the tag `firn.deletes`. So it takes effect with one commit, at one version, for exactly the files of that version;
//! it goes from the configuration with the last file that names it. Our readers leave the samples out; others see them
//! until the files are rewritten.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use model::{Deletion, Matcher, MatcherOp, Metrics, TimeRange};
use runtime::random_u64;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::BucketError;
use crate::action::{Line, MetaData};
use crate::commit::{Commit, Committed, Operation};
use crate::file::{FileEntry, NewFile};
use crate::snapshot::Snapshot;
use crate::table::LogTable;

const KEY: &str = "firn.delete.";
pub(crate) const TAG: &str = "firn.deletes";

/// A deletion as a table knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDeletion {
    /// Its name in the table.
    pub id: String,
    /// When it was asked for, in milliseconds.
    pub created_ms: i64,
    /// What is to be gone.
    pub deletion: Arc<Deletion>,
}

/// How a deletion is written into the configuration.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Name, operator and value of each matcher.
    selectors: Vec<Vec<(String, String, String)>>,
    start: i64,
    end: i64,
    created: i64,
}

impl LogTable {
    /// Deletes uploads that are in no commit and never will be.
    pub async fn discard<'a>(&self, files: impl IntoIterator<Item = &'a NewFile>) -> Result<(), BucketError> {
        let paths = files.into_iter().map(|file| self.object(&file.path)).collect();
        self.shared.delete(paths).await
    }

    /// Deletes samples from all files that the table has now: from this version on they are not found. `None` when the
    /// table has no file that could hold any.
    pub async fn delete(&self, deletion: Deletion) -> Result<Option<Committed>, BucketError> {
        let Some(snapshot) = self.snapshot().await? else { return Ok(None) };
        let created_ms = self.shared.clock.now_ms();
        let random = u128::from(random_u64()) << 64 | u128::from(random_u64());
        let id = Ulid::from_parts(u64::try_from(created_ms).unwrap_or(0), random).to_string();
        let deletion = TableDeletion { id, created_ms, deletion: Arc::new(deletion) };
        if !concerns_any(&deletion, &snapshot) {
            return Ok(None);
        }
        let operation = Operation::Delete;
        let commit = Commit { deletion: Some(deletion), operation, ..Commit::default() };
        self.commit(&commit).await.map(Some)
    }
}

impl Snapshot {
    /// The deletions that concern files of the table.
    pub fn deletions(&self) -> impl Iterator<Item = &TableDeletion> {
        self.deletions.values()
    }

    /// The deletion with this id.
    pub fn deletion(&self, id: &str) -> Option<&TableDeletion> {
        self.deletions.get(id)
    }

    /// What of a file is deleted.
    pub fn deletions_of(&self, file: &FileEntry) -> Vec<Arc<Deletion>> {
        file.deletion_ids().filter_map(|id| Some(Arc::clone(&self.deletion(id)?.deletion))).collect()
    }
}

impl FileEntry {
    /// The ids of the deletions that concern the file.
    pub fn deletion_ids(&self) -> impl Iterator<Item = &str> {
        self.tag(TAG).unwrap_or_default().split(',').filter(|id| !id.is_empty())
    }
}

/// Whether the deletion may concern a file of the table.
pub(crate) fn concerns_any(deletion: &TableDeletion, snapshot: &Snapshot) -> bool {
    snapshot.files().any(|file| concerns(&deletion.deletion, file))
}

/// What a commit changes of the deletions: marks of files, and the configuration.
pub(crate) fn lines(commit: &Commit, snapshot: &Snapshot) -> Vec<Line> {
    let mut lines = Vec::new();
    if commit.deletion.is_none() && snapshot.deletions.is_empty() {
        return lines;
    }
    let mut named = BTreeSet::new();
    let removed: HashSet<&String> = commit.removes.iter().collect();
    for file in snapshot.files().filter(|file| !removed.contains(&file.path)) {
        named.extend(file.deletion_ids());
        let new = commit.deletion.as_ref().filter(|new| concerns(&new.deletion, file));
        if let Some(new) = new {
            named.insert(&new.id);
            let mut add = file.add();
            let ids: Vec<&str> = file.deletion_ids().chain([new.id.as_str()]).collect();
            add.tags.get_or_insert_default().insert(TAG.to_string(), Some(ids.join(",")));
            lines.push(Line::of_add(add));
        }
    }
    let mut configuration = snapshot.meta_data.configuration.clone();
    configuration.retain(|key, _| key.strip_prefix(KEY).is_none_or(|id| named.contains(id)));
    if let Some(new) = commit.deletion.as_ref().filter(|new| named.contains(new.id.as_str())) {
        configuration.insert(format!("{KEY}{}", new.id), Some(store(new)));
    }
    if configuration != snapshot.meta_data.configuration {
        let meta_data = MetaData { configuration, ..snapshot.meta_data.clone() };
        lines.push(Line { meta_data: Some(meta_data), ..Line::default() });
    }
    lines
}

/// The deletions in a table's configuration.
pub(crate) fn read(path: &str, meta_data: &MetaData) -> Result<BTreeMap<String, TableDeletion>, BucketError> {
    let mut deletions = BTreeMap::new();
    for (key, value) in &meta_data.configuration {
        let Some((id, value)) = key.strip_prefix(KEY).zip(value.as_deref()) else { continue };
        let feature = || format!("the deletion {key} = {value}");
        let deletion = load(id, value)
            .ok_or_else(|| BucketError::Unsupported { path: path.to_string(), feature: feature() })?;
        deletions.insert(id.to_string(), deletion);
    }
    Ok(deletions)
}

fn concerns(deletion: &Deletion, file: &FileEntry) -> bool {
    let in_metrics = |matchers: &Vec<Matcher>| file.stats.may_hold(deletion.range, &Metrics::of(matchers));
    deletion.selectors.iter().any(in_metrics)
}

fn store(deletion: &TableDeletion) -> String {
    let matcher = |m: &Matcher| (m.name.clone(), operator(m.op).to_string(), m.value.clone());
    let selectors = deletion.deletion.selectors.iter();
    let stored = Stored {
        selectors: selectors.map(|matchers| matchers.iter().map(matcher).collect()).collect(),
        start: deletion.deletion.range.start,
        end: deletion.deletion.range.end,
        created: deletion.created_ms,
    };
    // Strings and numbers always serialize.
    serde_json::to_string(&stored).unwrap_or_default()
}

fn load(id: &str, text: &str) -> Option<TableDeletion> {
    let stored: Stored = serde_json::from_str(text).ok()?;
    let matcher = |(name, op, value): &(String, String, String)| {
        let op = OPERATORS.into_iter().find(|known| operator(*known) == op)?;
        Matcher::new(name, op, value).ok()
    };
    let selector = |matchers: &Vec<_>| matchers.iter().map(matcher).collect::<Option<Vec<_>>>();
    let selectors = stored.selectors.iter().map(selector).collect::<Option<Vec<_>>>()?;
    let deletion = Deletion { selectors, range: TimeRange::new(stored.start, stored.end) };
    Some(TableDeletion { id: id.to_string(), created_ms: stored.created, deletion: Arc::new(deletion) })
}

const OPERATORS: [MatcherOp; 4] =
    [MatcherOp::Equal, MatcherOp::NotEqual, MatcherOp::Regex, MatcherOp::NotRegex];

fn operator(op: MatcherOp) -> &'static str {
    match op {
        MatcherOp::Equal => "=",
        MatcherOp::NotEqual => "!=",
        MatcherOp::Regex => "=~",
        MatcherOp::NotRegex => "!~",
    }
}
