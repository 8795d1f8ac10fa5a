use std::sync::Arc;

use block::read::{FloatRow, LabelRows};
use quick_cache::Weighter;

use crate::file::FileMeta;

/// What is kept between queries. Files never change, so nothing is ever out of date.
pub(crate) type Cache = quick_cache::sync::Cache<Key, Entry, Bytes>;

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
        };
        // Key, hash table and allocations.
        held as u64 + 160
    }
}

/// A cache of so many bytes.
pub(crate) fn of_bytes(bytes: u64) -> Cache {
    // Nearly all entries are rows: 120 samples in one to eight bytes each.
    let items = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(64, 1 << 20);
    Cache::with_weighter(items, bytes, Bytes)
}
