use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What the log needs of a file system. Tests put one in its place that forgets what was not synced.
pub trait FileLayer: fmt::Debug + Send + Sync {
    /// Makes the folder and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in the folder.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// A new, empty file; what had the name before is gone.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// A file that exists, to read and to write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in the folder survive the machine.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Holds the file for this process alone until the answer is dropped; `WouldBlock` when another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// One file of the log.
pub trait LogFile: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`. After an error any part of them may be there.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at `offset`; 0 is the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// How long the file is.
    fn size(&self) -> io::Result<u64>;

    /// Makes the file's bytes survive the machine.
    fn sync(&self) -> io::Result<()>;
}
