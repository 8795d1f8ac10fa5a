//! Deletions in the log: for exactly the files of one version, through checkpoints, and never undone by a swap.

use std::collections::BTreeSet;
use std::sync::Arc;

use bucket::{BucketError, Commit, Config, LogTable, Operation, RunTag, Snapshot};
use model::{Deletion, Matcher, MatcherOp, TimeRange};

use crate::store::TestStore;
use crate::{NOW, cut, first_path, open, open_with, paths, reload};

fn deletion(name: &str) -> Deletion {
    let matcher = |name, op, value| Matcher::new(name, op, value).unwrap();
    Deletion {
        selectors: vec![vec![
            matcher("__name__", MatcherOp::Equal, name),
            matcher("x", MatcherOp::NotRegex, "a\"b|c"),
        ]],
        range: TimeRange::new(i64::MIN, NOW + 500),
    }
}

/// How many of a file's deletions the snapshot knows.
fn marks(snapshot: &Snapshot, path: &str) -> usize {
    let file = snapshot.file(path).unwrap();
    assert_eq!(file.deletion_ids().count(), snapshot.deletions_of(file).len());
    snapshot.deletions_of(file).len()
}

fn swap(table: &LogTable, removes: Vec<String>, applied: BTreeSet<String>) -> Commit {
    let commit = Commit { txns: Vec::new(), operation: Operation::Optimize, ..cut(table, 0, 0) };
    Commit { removes, applied, ..commit }
}

#[tokio::test]
async fn a_deletion_concerns_the_files_of_its_version_and_no_later_one() {
    let store = TestStore::new();
    let table = open(&store).await;
    assert!(table.delete(deletion("a")).await.unwrap().is_none(), "there is no table");
    let first = cut(&table, 0, 1);
    table.commit(&first).await.unwrap();
    assert!(table.delete(deletion("c")).await.unwrap().is_none(), "no file can hold it");
    let deleted = table.delete(deletion("a")).await.unwrap().unwrap();
    assert_eq!(deleted.version, 2);
    let later = cut(&table, 0, 2);
    table.commit(&later).await.unwrap();
    let snapshot = reload(&store).await;
    assert_eq!((marks(&snapshot, first_path(&first)), marks(&snapshot, first_path(&later))), (1, 0));
    assert_eq!(*snapshot.deletions().next().unwrap().deletion, deletion("a"));
    assert_eq!(snapshot.n_files(), 2, "a file that is marked is still one file");
}

#[tokio::test]
async fn a_checkpoint_carries_deletions_and_places_in_runs() {
    let store = TestStore::new();
    let table = open_with(&store, Config { checkpoint_interval: 3, ..Config::default() }).await;
    let run = RunTag { run: "7".to_string(), place: 3 };
    let first = Commit { runs: vec![run.clone()], ..cut(&table, 0, 1) };
    table.commit(&first).await.unwrap();
    table.delete(deletion("a")).await.unwrap();
    table.delete(deletion("b")).await.unwrap();
    assert!(store.take_requests().iter().any(|request| request.path.ends_with("_last_checkpoint")));
    let snapshot = reload(&store).await;
    assert_eq!(*snapshot, *table.snapshot().await.unwrap().unwrap());
    assert_eq!(marks(&snapshot, first_path(&first)), 2);
    assert_eq!(snapshot.file(first_path(&first)).unwrap().run(), Some(run));
}

#[tokio::test]
async fn a_swap_without_a_deletion_that_came_meanwhile_is_void() {
    let store = TestStore::new();
    let table = open(&store).await;
    let (first, second) = (cut(&table, 0, 1), cut(&table, 0, 2));
    table.commit(&first).await.unwrap();
    table.commit(&second).await.unwrap();
    let both = vec![first_path(&first).to_string(), first_path(&second).to_string()];
    // Planned here; another process deletes before it is committed.
    let planned = swap(&table, both.clone(), BTreeSet::new());
    open(&store).await.delete(deletion("a")).await.unwrap().unwrap();
    let refused = table.commit(&planned).await.unwrap_err();
    assert!(matches!(refused, BucketError::InputGone(_)), "{refused}");
    let snapshot = reload(&store).await;
    assert_eq!(paths(&snapshot).len(), 2);
    let ids: BTreeSet<String> = snapshot.deletions().map(|deletion| deletion.id.clone()).collect();
    table.commit(&swap(&table, both[..1].to_vec(), ids.clone())).await.unwrap();
    assert_eq!(reload(&store).await.deletions().count(), 1, "one file still names it");
    table.commit(&swap(&table, both[1..].to_vec(), ids)).await.unwrap();
    let snapshot = reload(&store).await;
    assert_eq!((snapshot.deletions().count(), snapshot.n_files()), (0, 2));
}

#[tokio::test]
async fn deletions_and_commits_of_several_processes_lose_nothing() {
    let store = TestStore::new();
    let first = open(&store).await;
    first.commit(&cut(&first, 0, 1)).await.unwrap();
    let mut tasks = Vec::new();
    for process in 0..4u32 {
        let table = open(&store).await;
        let table: Arc<LogTable> = Arc::clone(&table);
        tasks.push(runtime::spawn(async move {
            for sequence in 1..6 {
                table.commit(&cut(&table, process + 1, sequence)).await.unwrap();
                table.delete(deletion("a")).await.unwrap().unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let snapshot = reload(&store).await;
    assert_eq!((snapshot.n_files(), snapshot.deletions().count()), (21, 20));
    let marks = snapshot.files().map(|file| marks(&snapshot, &file.path));
    assert_eq!(marks.max(), Some(20), "the first file is older than all deletions");
}
