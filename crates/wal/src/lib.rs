//! The write-ahead log: a sequence of records that outlives the process, and with a sync the machine.
//!
//! On the path: push → ingester → **log** → head. It knows tenants and shards as words on an envelope and nothing
//! of what is inside; `docs/format/wal.md` draws the bytes.
//!
//! Always true:
//! - when [`Wal::append`] returns `Ok`, the kernel has the whole record; when it returns an error, the log ends
//!   where it ended before;
//! - LSNs grow by one from record to record, and replay yields records in that order;
//! - a damaged record costs itself and is counted; a torn tail is cut and counted; neither stops a replay;
//! - a segment is removed only when its owner said so, oldest first, and after a sync.

mod disk;
mod error;
mod files;
mod log;
mod memory_files;
mod meta;
mod reader;
mod record;
mod replay;
mod reserve;
mod segment;
mod syncer;

pub use disk::DiskFiles;
pub use error::WalError;
pub use files::{FileLayer, LogFile};
pub use log::{Sync, Wal, WalConfig, WalStats};
pub use memory_files::MemoryFiles;
pub use record::{Envelope, HEADER_LEN, Record};
pub use replay::{Replay, ReplayStats};
pub use segment::SegmentInfo;
pub use syncer::WalSyncer;

/// The position of a record: 1 for the first one of a log, one more for each that follows.
pub type Lsn = u64;
