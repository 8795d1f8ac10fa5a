use std::sync::Arc;

use block::read::{FloatRows, LabelRows};
use model::{Metadata, SeenMetadata};
use object_store::path::Path;
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use xxhash_rust::xxh3::xxh3_128;

use crate::file::FileMeta;
use crate::matched::{GroupMatch, Question};

/// What is kept between queries. Files never change, so nothing is ever out of date.
///
/// Rows have half of the bytes to themselves: a query over many samples must not drive out the footers and labels
/// that every query starts from.
pub(crate) struct Cache {
    rows: Half,
    others: Half,
}

type Half = quick_cache::sync::Cache<Key, Entry, Bytes>;

/// A part of a half that has a lock of its own takes so many bytes at least: nothing larger is kept.
const SHARD_BYTES: u64 = 8 << 20;

/// A file, known by the hash of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId(u128);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Footer and page index of a file.
    Meta(FileId),
    /// Labels of a file's row group, by piece of rows.
    Labels(FileId, usize, usize),
    /// What matches in a file's row group.
    Match(FileId, usize, Question),
    /// A timeline of a file.
    Timeline(FileId, u32),
    /// Rows of a file's row group, by piece.
    Rows(FileId, usize, u32),
    /// The descriptions in a file of the table `metadata`.
    Metadata(FileId),
    /// The label names of a file.
    Names(FileId),
    /// The values of a label in a file.
    Values(FileId, Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Meta(Arc<FileMeta>),
    Labels(Arc<LabelRows>),
    Match(Arc<GroupMatch>),
    Timeline(Arc<[i64]>),
    Rows(Arc<FloatRows>),
    Strings(Arc<[Box<str>]>),
    Metadata(Arc<[SeenMetadata]>),
}

/// Weighs entries by the memory they hold.
#[derive(Debug, Clone)]
pub(crate) struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _key: &Key, entry: &Entry) -> u64 {
        let held = match entry {
            Entry::Meta(meta) => meta.size(),
            Entry::Labels(rows) => rows.size(),
            Entry::Match(matched) => matched.size(),
            Entry::Timeline(times) => times.len() * 8,
            Entry::Rows(rows) => rows.size(),
            Entry::Strings(strings) => strings.iter().map(|s| s.len() + 16).sum(),
            Entry::Metadata(rows) => rows.iter().map(size_of_row).sum(),
        };
        // Key, hash table and allocations.
        held as u64 + 160
    }
}

fn size_of_row(row: &SeenMetadata) -> usize {
    let Metadata { family, unit, help, .. } = &row.metadata;
    size_of::<SeenMetadata>() + family.len() + unit.len() + help.len() + 48
}

impl FileId {
    pub(crate) fn of(path: &Path) -> FileId {
        FileId(xxh3_128(path.as_ref().as_bytes()))
    }
}

impl Cache {
    /// A cache of so many bytes.
    pub(crate) fn of_bytes(bytes: u64) -> Cache {
        // Pieces of rows, timelines, and what matches in a row group: some thousand bytes each, as a rule.
        Cache { rows: half(bytes / 2), others: half(bytes - bytes / 2) }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        self.half_of(key).get(key)
    }

    pub(crate) fn insert(&self, key: Key, entry: Entry) {
        self.half_of(&key).insert(key, entry);
    }

    /// Bytes of memory held.
    pub(crate) fn weight(&self) -> u64 {
        self.rows.weight() + self.others.weight()
    }

    fn half_of(&self, key: &Key) -> &Half {
        if matches!(key, Key::Rows(..)) { &self.rows } else { &self.others }
    }
}

fn half(bytes: u64) -> Half {
    let items = usize::try_from(bytes / 8192).unwrap_or(usize::MAX).clamp(64, 1 << 20);
    let shards = (bytes / SHARD_BYTES).clamp(1, 16) as usize;
    let options =
        OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes).shards(shards).build();
    match options {
        Ok(options) => {
            let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
            Half::with_options(options, Bytes, hasher, lifecycle)
        }
        Err(_) => Half::with_weighter(items, bytes, Bytes),
    }
}
