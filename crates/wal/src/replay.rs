use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crate::reader::SegmentReader;
use crate::{FileLayer, Lsn, Record, SegmentInfo, WalError, segment};

/// The records that were on the log when it was opened, in order.
#[derive(Debug)]
pub struct Replay {
    files: Arc<dyn FileLayer>,
    dir: PathBuf,
    all_segments: VecDeque<SegmentInfo>,
    segments: VecDeque<SegmentInfo>,
    current: Option<SegmentReader>,
    next_lsn: Option<Lsn>,
    bytes_before: u64,
    stats: ReplayStats,
}

/// What a replay has met so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayStats {
    /// Bytes in all segments.
    pub total_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Whole records.
    pub n_records: u64,
    /// Records that were damaged or missing; each costs itself.
    pub n_lost: u64,
    /// Bytes of an unfinished write that were cut off the end.
    pub torn_bytes: u64,
}

impl Replay {
    pub(crate) fn new(
        files: Arc<dyn FileLayer>,
        dir: PathBuf,
        segments: VecDeque<SegmentInfo>,
        torn_bytes: u64,
    ) -> Replay {
        let total_bytes = segments.iter().map(|segment| segment.bytes).sum();
        let stats = ReplayStats { total_bytes, torn_bytes, ..ReplayStats::default() };
        let all_segments = segments.clone();
        Replay { files, dir, all_segments, segments, current: None, next_lsn: None, bytes_before: 0, stats }
    }

    /// A replay of the same records from the beginning.
    pub fn again(&self) -> Replay {
        let (files, dir) = (Arc::clone(&self.files), self.dir.clone());
        Replay::new(files, dir, self.all_segments.clone(), self.stats.torn_bytes)
    }

    /// The next record, or `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the replay")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, WalError> {
        while self.current.is_some() || self.open_next()? {
            if self.step()? {
                let record = self.current.as_ref().and_then(SegmentReader::current);
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// What was met so far.
    pub fn stats(&self) -> ReplayStats {
        let current = self.current.as_ref();
        ReplayStats {
            read_bytes: self.bytes_before + current.map_or(0, SegmentReader::offset),
            n_lost: self.stats.n_lost + current.map_or(0, SegmentReader::n_lost),
            ..self.stats
        }
    }

    /// Moves to the next record of the current segment, or closes the segment.
    fn step(&mut self) -> Result<bool, WalError> {
        let Some(reader) = &mut self.current else { return Ok(false) };
        let found = reader.step().map_err(WalError::file("read", &self.dir))?;
        if found {
            self.stats.n_records += 1;
            return Ok(true);
        }
        self.stats.n_lost += reader.n_lost();
        self.next_lsn = Some(reader.next_lsn());
        self.bytes_before += reader.size();
        self.current = None;
        Ok(false)
    }

    fn open_next(&mut self) -> Result<bool, WalError> {
        let Some(segment) = self.segments.pop_front() else { return Ok(false) };
        let path = segment::path(&self.dir, segment.first_lsn);
        let file = self.files.open(&path).map_err(WalError::file("open", &path))?;
        // A gap between segments: the end of the one before is damaged.
        self.stats.n_lost += self.next_lsn.map_or(0, |next| segment.first_lsn.saturating_sub(next));
        self.current = Some(SegmentReader::new(file, segment.first_lsn, segment.bytes));
        Ok(true)
    }
}
