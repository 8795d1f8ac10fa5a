use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bucket::Bucket;
use bytes::Bytes;
use object_store::path::Path;
use wire::SelectStats;

use crate::error::ScanError;

/// Reads for one query and counts.
#[derive(Debug)]
pub(crate) struct Fetch {
    bucket: Arc<Bucket>,
    n_requests: AtomicU64,
    n_bytes: AtomicU64,
    n_samples: AtomicU64,
}

impl Fetch {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Fetch {
        Fetch { bucket, n_requests: 0.into(), n_bytes: 0.into(), n_samples: 0.into() }
    }

    pub(crate) async fn range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, ScanError> {
        let parts = self.ranges(path, std::slice::from_ref(&range)).await?;
        Ok(parts.into_iter().next().unwrap_or_default())
    }

    /// The bytes of each range, in order.
    pub(crate) async fn ranges(&self, path: &Path, wanted: &[Range<u64>]) -> Result<Vec<Bytes>, ScanError> {
        if wanted.iter().any(|range| range.start > range.end) {
            let reason = "the footer points to nowhere".to_string();
            return Err(ScanError::Corrupt { path: path.to_string(), reason });
        }
        let merged = self.merged(wanted);
        self.count(merged.len() as u64, merged.iter().map(|range| range.end - range.start).sum());
        let parts = self.bucket.read(path, &merged).await?;
        let cut = |range: &Range<u64>| {
            let at = merged.partition_point(|part| part.end < range.end);
            let (part, bytes) = merged.get(at).zip(parts.get(at))?;
            let (from, to) = (range.start.checked_sub(part.start)?, range.end.checked_sub(part.start)?);
            (to <= bytes.len() as u64).then(|| bytes.slice(from as usize..to as usize))
        };
        let short =
            || ScanError::Corrupt { path: path.to_string(), reason: "the file is cut short".to_string() };
        wanted.iter().map(|range| cut(range).ok_or_else(short)).collect()
    }

    /// The ranges that are read when these are asked for.
    pub(crate) fn merged(&self, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        merge(wanted, self.bucket.coalesce_bytes())
    }

    pub(crate) fn count_samples(&self, n: u64) {
        self.n_samples.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> SelectStats {
        SelectStats {
            n_samples: self.n_samples.load(Ordering::Relaxed),
            n_requests: self.n_requests.load(Ordering::Relaxed),
            n_bytes: self.n_bytes.load(Ordering::Relaxed),
        }
    }

    fn count(&self, requests: u64, bytes: u64) {
        self.n_requests.fetch_add(requests, Ordering::Relaxed);
        self.n_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Ranges that are closer than `gap` as one: a request costs more than the bytes between them.
fn merge(wanted: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted = wanted.to_vec();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        assert_eq!(merge(&[100_000..100_010, 0..5, 7..9], 2), [0..9, 100_000..100_010]);
        assert_eq!(merge(&[0..100, 10..20, 200_000..200_001], 0), [0..100, 200_000..200_001]);
    }
}
