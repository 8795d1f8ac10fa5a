use std::sync::Arc;

use block::read::{FloatRow, LabelRows};
use model::{Metadata, SeenMetadata};
use quick_cache::Weighter;

use crate::file::FileMeta;

/// What is kept between queries. Files never change, so nothing is ever out of date.
///
/// Rows have half of the bytes to themselves: a query over many samples must not drive out the footers and labels
/// that every query starts from.
pub(crate) struct Cache {
    rows: Half,
    others: Half,
}

type Half = quick_cache::sync::Cache<Key, Entry, Bytes>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Footer and page index of a file.
    Meta(Arc<str>),
    /// Labels of a file's row group, by piece of rows.
    Labels(Arc<str>, usize, usize),
    /// A timeline of a file.
    Timeline(Arc<str>, u32),
    /// A row of a file's row group.
    Row(Arc<str>, usize, usize),
    /// The descriptions in a file of the table `metadata`.
    Metadata(Arc<str>),
    /// The label names of a file.
    Names(Arc<str>),
    /// The values of a label in a file.
    Values(Arc<str>, Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Meta(Arc<FileMeta>),
    Labels(Arc<LabelRows>),
    Timeline(Arc<[i64]>),
    Row(Arc<FloatRow>),
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
            Entry::Timeline(times) => times.len() * 8,
            Entry::Row(row) => row.size(),
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

impl Cache {
    /// A cache of so many bytes.
    pub(crate) fn of_bytes(bytes: u64) -> Cache {
        let half = |bytes: u64, entry_bytes: u64| {
            let items = usize::try_from(bytes / entry_bytes).unwrap_or(usize::MAX).clamp(64, 1 << 20);
            Half::with_weighter(items, bytes, Bytes)
        };
        // A row is 120 samples in one to eight bytes each; half of the others are timelines and small pages of labels.
        Cache { rows: half(bytes / 2, 512), others: half(bytes - bytes / 2, 16_384) }
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
        if matches!(key, Key::Row(..)) { &self.rows } else { &self.others }
    }
}
