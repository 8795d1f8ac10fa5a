use std::path::{Path, PathBuf};

use crate::Lsn;

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 20;

const MAGIC: &[u8; 7] = b"FIRNWAL";
const VERSION: u8 = 1;
const SUFFIX: &str = ".wal";

/// A segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The LSN of its first record.
    pub first_lsn: Lsn,
    /// The LSN that follows its last record.
    pub end_lsn: Lsn,
    /// Its length.
    pub bytes: u64,
}

/// The file of the segment that begins with `first_lsn`.
pub(crate) fn path(dir: &Path, first_lsn: Lsn) -> PathBuf {
    dir.join(format!("{first_lsn:020}{SUFFIX}"))
}

/// The first LSN of the segment in the file of this name; `None` for other files.
pub(crate) fn first_lsn_of(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 {
        return None;
    }
    digits.parse().ok()
}

pub(crate) fn encode_header(first_lsn: Lsn) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&first_lsn.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether `bytes` begin with the header of the segment that begins with `first_lsn`.
pub(crate) fn is_header(bytes: &[u8], first_lsn: Lsn) -> bool {
    bytes.starts_with(&encode_header(first_lsn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_segment_tells_its_first_lsn() {
        let path = path(Path::new("wal"), 4711);
        assert_eq!(path, Path::new("wal/00000000000000004711.wal"));
        assert_eq!(first_lsn_of("00000000000000004711.wal"), Some(4711));
        assert_eq!(first_lsn_of("meta"), None);
        assert_eq!(first_lsn_of("x.wal"), None);
    }
}
