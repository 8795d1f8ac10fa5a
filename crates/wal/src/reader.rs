use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::record::{HEADER_LEN, Header, MARK};
use crate::segment::SEGMENT_HEADER_LEN;
use crate::{LogFile, Lsn, Record};

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;

/// Reads the records of one segment and steps over what is damaged.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn LogFile>,
    /// Nothing is read from here on.
    size: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are behind us.
    start: usize,
    /// Where in the file `buffer[start]` lies.
    offset: u64,
    /// The LSN that the next record should have.
    next_lsn: Lsn,
    n_lost: u64,
    /// Where the last record ended whose header was whole.
    valid_end: u64,
    /// The header of the current record, and where in `buffer` its body lies.
    found: Option<(Header, Range<usize>)>,
}

impl SegmentReader {
    /// A reader of the records of a segment that begins with `first_lsn`, up to `size`.
    pub(crate) fn new(file: Arc<dyn LogFile>, first_lsn: Lsn, size: u64) -> SegmentReader {
        let offset = SEGMENT_HEADER_LEN.min(size);
        SegmentReader {
            file,
            size,
            buffer: Vec::new(),
            start: 0,
            offset,
            next_lsn: first_lsn,
            n_lost: 0,
            valid_end: offset,
            found: None,
        }
    }

    /// Moves to the next whole record; `false` at the end.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        self.found = self.advance()?;
        Ok(self.found.is_some())
    }

    /// The record that the last step moved to.
    pub(crate) fn current(&self) -> Option<Record<'_>> {
        let (header, body) = self.found.as_ref()?;
        Some(header.record(&self.buffer[body.clone()]))
    }

    /// How long the segment is.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The LSN that follows the last record seen.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// Records that were damaged, or are missing between others.
    pub(crate) fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Where the last record ends; what lies behind it is torn. Known once `next` has said `None`.
    pub(crate) fn valid_end(&self) -> u64 {
        self.valid_end
    }

    /// Where we are in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn advance(&mut self) -> io::Result<Option<(Header, Range<usize>)>> {
        while let Some(header) = self.find_header()? {
            let body = self.start + HEADER_LEN..self.start + header.record_len();
            self.n_lost += header.lsn - self.next_lsn;
            self.next_lsn = header.lsn + 1;
            self.valid_end = self.valid_end.max(self.offset + header.record_len() as u64);
            if header.fits(&self.buffer[body.clone()]) {
                self.skip(header.record_len());
                return Ok(Some((header, body)));
            }
            // Bytes may be missing from the body, and what follows lie within the length that the header names:
            // later, when more is appended, as much as now.
            self.skip(HEADER_LEN);
            self.n_lost += 1;
        }
        Ok(None)
    }

    /// Moves to the next header that checks out and whose record lies within the segment, and fetches that record.
    fn find_header(&mut self) -> io::Result<Option<Header>> {
        while self.fetch(HEADER_LEN)? {
            let remaining = self.size - self.offset;
            let header = Header::decode(&self.buffer[self.start..])
                .filter(|header| header.lsn >= self.next_lsn && header.record_len() as u64 <= remaining);
            if let Some(header) = header {
                return Ok(self.fetch(header.record_len())?.then_some(header));
            }
            let rest = &self.buffer[self.start + 1..];
            let to_mark = rest.windows(MARK.len()).position(|bytes| bytes == MARK);
            // Without a mark in sight, the last bytes may still be the beginning of one.
            let step = to_mark.unwrap_or(rest.len() - (MARK.len() - 1));
            self.skip(1 + step);
        }
        Ok(None)
    }

    /// Makes at least `n` bytes available; `false` if the segment ends before.
    fn fetch(&mut self, n: usize) -> io::Result<bool> {
        if self.buffer.len() - self.start >= n {
            return Ok(true);
        }
        if self.size - self.offset < n as u64 {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        while self.buffer.len() < n {
            let at = self.offset + self.buffer.len() as u64;
            let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
            let have = self.buffer.len();
            self.buffer.resize(have + left.min(CHUNK.max(n - have)), 0);
            let read = self.file.read_at(at, &mut self.buffer[have..])?;
            self.buffer.truncate(have + read);
            if read == 0 {
                self.size = at;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn skip(&mut self, n: usize) {
        self.start += n;
        self.offset += n as u64;
    }
}
