use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::BucketError;
use crate::action::{Line, MetaData, Protocol, Remove};
use crate::deletes::{self, TableDeletion};
use crate::file::{FileEntry, decode_path};

/// How long a tombstone is kept: as `delta.deletedFileRetentionDuration` says.
pub(crate) const TOMBSTONE_MS: i64 = 86_400_000;
/// How long a transaction is kept since it was last renewed: as `delta.setTransactionRetentionDuration` says. Every log
/// has an issuer of its own, so they would gather for ever. What takes a transaction's place after so long is a cut that
/// was committed, whose log did not learn of it, and that is taken up again after that long: its samples would be in
/// the table twice, and count once in every answer.
pub(crate) const TXN_DAYS: i64 = 90;

/// A table at a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    version: u64,
    pub(crate) protocol: Protocol,
    pub(crate) meta_data: MetaData,
    pub(crate) deletions: BTreeMap<String, TableDeletion>,
    files: BTreeSet<ByPath>,
    pub(crate) txns: HashMap<String, (i64, Option<i64>)>,
    pub(crate) tombstones: BTreeMap<String, Remove>,
}

/// A file in the order of paths, which it has no second time for that.
#[derive(Debug, Clone)]
struct ByPath(Arc<FileEntry>);

impl Borrow<str> for ByPath {
    fn borrow(&self) -> &str {
        &self.0.path
    }
}

impl Ord for ByPath {
    fn cmp(&self, other: &ByPath) -> Ordering {
        self.0.path.cmp(&other.0.path)
    }
}

impl PartialOrd for ByPath {
    fn partial_cmp(&self, other: &ByPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &ByPath) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByPath {}

impl Snapshot {
    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The files, by path.
    pub fn files(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.files.iter().map(|file| &file.0)
    }

    /// How many files there are.
    pub fn n_files(&self) -> usize {
        self.files.len()
    }

    /// The file with this path, if it belongs to the table.
    pub fn file(&self, path: &str) -> Option<&Arc<FileEntry>> {
        self.files.get(path).map(|file| &file.0)
    }

    /// The newest version of a transaction's application.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).map(|(version, _)| *version)
    }

    /// When the file with this path was removed, if that is not long ago.
    pub(crate) fn removed_ms(&self, path: &str) -> Option<i64> {
        self.tombstones.get(path).map(|remove| remove.deletion_timestamp.unwrap_or(i64::MAX / 2))
    }

    /// Forgets what need not be known any more.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.tombstones.retain(|_, remove| is_recent_tombstone(remove, now_ms));
        self.txns.retain(|_, (_, updated_ms)| is_recent_txn(*updated_ms, now_ms));
    }

    /// The table after its first commit, or as a checkpoint has it.
    pub(crate) fn first(path: &str, version: u64, lines: Vec<Line>) -> Result<Snapshot, BucketError> {
        let mut protocol = None;
        let mut meta_data = None;
        let mut rest = Vec::new();
        for mut line in lines {
            protocol = line.protocol.take().or(protocol);
            meta_data = line.meta_data.take().or(meta_data);
            rest.push(line);
        }
        let (Some(protocol), Some(meta_data)) = (protocol, meta_data) else {
            return Err(BucketError::corrupt(path, "protocol or metaData is missing"));
        };
        check_protocol(path, &protocol)?;
        check_meta_data(path, &meta_data)?;
        let mut snapshot = Snapshot {
            version,
            protocol,
            deletions: deletes::read(path, &meta_data)?,
            meta_data,
            files: BTreeSet::new(),
            txns: HashMap::new(),
            tombstones: BTreeMap::new(),
        };
        snapshot.apply(path, version, rest)?;
        Ok(snapshot)
    }

    /// Moves on to the version that these lines make. After an error the snapshot is of no use.
    pub(crate) fn apply(&mut self, path: &str, version: u64, lines: Vec<Line>) -> Result<(), BucketError> {
        for line in lines {
            self.apply_line(path, line)?;
        }
        self.version = version;
        Ok(())
    }

    fn apply_line(&mut self, path: &str, line: Line) -> Result<(), BucketError> {
        if let Some(protocol) = line.protocol {
            check_protocol(path, &protocol)?;
            self.protocol = protocol;
        }
        if let Some(meta_data) = line.meta_data {
            check_meta_data(path, &meta_data)?;
            self.deletions = deletes::read(path, &meta_data)?;
            self.meta_data = meta_data;
        }
        if let Some(txn) = line.txn {
            self.txns.insert(txn.app_id, (txn.version, txn.last_updated));
        }
        if let Some(remove) = line.remove {
            refuse_deletion_vector(path, remove.deletion_vector.is_some())?;
            let key = decode_path(&remove.path);
            self.files.remove(key.as_str());
            self.tombstones.insert(key, remove);
        }
        if let Some(add) = line.add {
            refuse_deletion_vector(path, add.deletion_vector.is_some())?;
            if add.path.starts_with('/') || add.path.contains("://") {
                return Err(unsupported(path, format!("a file outside the table ({})", add.path)));
            }
            let entry = FileEntry::of(add);
            self.tombstones.remove(&entry.path);
            self.files.replace(ByPath(Arc::new(entry)));
        }
        Ok(())
    }
}

pub(crate) fn is_recent_tombstone(remove: &Remove, now_ms: i64) -> bool {
    remove.deletion_timestamp.is_none_or(|at| at > now_ms - TOMBSTONE_MS)
}

pub(crate) fn is_recent_txn(updated_ms: Option<i64>, now_ms: i64) -> bool {
    updated_ms.is_none_or(|at| at > now_ms - TXN_DAYS * TOMBSTONE_MS)
}

fn check_protocol(path: &str, protocol: &Protocol) -> Result<(), BucketError> {
    if protocol.min_reader_version > 1 {
        return Err(unsupported(path, format!("reader version {}", protocol.min_reader_version)));
    }
    if protocol.min_writer_version > 2 {
        return Err(unsupported(path, format!("writer version {}", protocol.min_writer_version)));
    }
    let features = protocol.reader_features.iter().chain(&protocol.writer_features).flatten();
    match features.into_iter().next() {
        Some(feature) => Err(unsupported(path, format!("table feature {feature}"))),
        None => Ok(()),
    }
}

fn check_meta_data(path: &str, meta_data: &MetaData) -> Result<(), BucketError> {
    if meta_data.format.provider != "parquet" {
        return Err(unsupported(path, format!("file format {}", meta_data.format.provider)));
    }
    for (key, harmless) in [("delta.columnMapping.mode", "none"), ("delta.checkpointPolicy", "classic")] {
        let value = meta_data.configuration.get(key).and_then(Option::as_deref);
        if let Some(value) = value.filter(|value| *value != harmless) {
            return Err(unsupported(path, format!("{key} = {value}")));
        }
    }
    Ok(())
}

fn refuse_deletion_vector(path: &str, present: bool) -> Result<(), BucketError> {
    if present { Err(unsupported(path, "a deletion vector".to_string())) } else { Ok(()) }
}

fn unsupported(path: &str, feature: String) -> BucketError {
    BucketError::Unsupported { path: path.to_string(), feature }
}
