use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{FileLayer, LogFile};

/// Files in memory that can die like a machine: [`MemoryFiles::crash`] drops whatever was not synced. Disks that
/// fill up, writes that stop half way and syncs that fail can be asked for too.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What the process sees.
    names: BTreeMap<PathBuf, Arc<Contents>>,
    /// What the machine will find after its death: names as of the last sync of their folder.
    synced_names: BTreeMap<PathBuf, Arc<Contents>>,
    locked: Vec<PathBuf>,
    /// Bytes that still fit on the disk.
    space: Option<u64>,
    fail_syncs: bool,
    n_syncs: u64,
}

#[derive(Debug, Default)]
struct Contents {
    bytes: Mutex<Bytes>,
}

#[derive(Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug)]
struct MemoryFile {
    contents: Arc<Contents>,
    state: Arc<Mutex<State>>,
}

struct Held {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl MemoryFiles {
    /// No files.
    pub fn new() -> MemoryFiles {
        MemoryFiles::default()
    }

    /// What another machine finds on the disk of this one after its death. Files opened here do not reach it.
    pub fn crash(&self) -> MemoryFiles {
        let state = self.state.lock();
        let survive = |contents: &Arc<Contents>| {
            let synced = contents.bytes.lock().synced.clone();
            Arc::new(Contents { bytes: Mutex::new(Bytes { seen: synced.clone(), synced }) })
        };
        let names: BTreeMap<_, _> =
            state.synced_names.iter().map(|(path, contents)| (path.clone(), survive(contents))).collect();
        MemoryFiles {
            state: Arc::new(Mutex::new(State { synced_names: names.clone(), names, ..State::default() })),
        }
    }

    /// What another process finds after this one's death: all that was written. Locks are gone.
    pub fn kill(&self) -> MemoryFiles {
        let state = self.state.lock();
        let copy = |contents: &Arc<Contents>| {
            let bytes = contents.bytes.lock();
            Arc::new(Contents {
                bytes: Mutex::new(Bytes { seen: bytes.seen.clone(), synced: bytes.synced.clone() }),
            })
        };
        let names: BTreeMap<_, _> = state.names.iter().map(|(path, c)| (path.clone(), copy(c))).collect();
        let synced_names =
            names.iter().filter(|(path, _)| state.synced_names.contains_key(*path)).map(clone_pair).collect();
        MemoryFiles { state: Arc::new(Mutex::new(State { names, synced_names, ..State::default() })) }
    }

    /// How many bytes still fit; `None` for a disk without end. What does not fit is written as far as it does.
    pub fn set_space(&self, space: Option<u64>) {
        self.state.lock().space = space;
    }

    /// Makes syncs fail, or work again.
    pub fn fail_syncs(&self, fail: bool) {
        self.state.lock().fail_syncs = fail;
    }

    /// How many files were synced.
    pub fn n_syncs(&self) -> u64 {
        self.state.lock().n_syncs
    }

    /// The files there are, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state.lock();
        state.names.iter().map(|(path, c)| (path.clone(), c.bytes.lock().seen.len())).collect()
    }

    /// Changes the bytes of a file behind the log's back; says whether the file is there.
    pub fn damage(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
        let state = self.state.lock();
        let Some(contents) = state.names.get(path) else { return false };
        let mut bytes = contents.bytes.lock();
        damage(&mut bytes.seen);
        bytes.synced = bytes.seen.clone();
        true
    }

    fn file(&self, contents: &Arc<Contents>) -> Arc<dyn LogFile> {
        Arc::new(MemoryFile { contents: Arc::clone(contents), state: Arc::clone(&self.state) })
    }
}

impl FileLayer for MemoryFiles {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_string())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let contents = Arc::new(Contents::default());
        self.state.lock().names.insert(path.to_path_buf(), Arc::clone(&contents));
        Ok(self.file(&contents))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let found = self.state.lock().names.get(path).cloned();
        found.map(|contents| self.file(&contents)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let removed = state.names.remove(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let freed = removed.bytes.lock().seen.len() as u64;
        state.space = state.space.map(|space| space + freed);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let contents = state.names.remove(from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.names.insert(to.to_path_buf(), contents);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.fail_syncs {
            return Err(io::Error::other("sync fails on purpose"));
        }
        state.synced_names.retain(|path, _| path.parent() != Some(dir));
        let now: Vec<_> =
            state.names.iter().filter(|(path, _)| path.parent() == Some(dir)).map(clone_pair).collect();
        state.synced_names.extend(now);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state.lock();
        if state.locked.iter().any(|held| held == path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked.push(path.to_path_buf());
        Ok(Box::new(Held { path: path.to_path_buf(), state: Arc::clone(&self.state) }))
    }
}

impl LogFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.state.lock();
        let mut contents = self.contents.bytes.lock();
        let growth = (offset + bytes.len()).saturating_sub(contents.seen.len());
        let fits =
            state.space.map_or(growth, |space| growth.min(usize::try_from(space).unwrap_or(usize::MAX)));
        let end = offset + bytes.len() - (growth - fits);
        if contents.seen.len() < end {
            contents.seen.resize(end, 0);
        }
        contents.seen[offset..end].copy_from_slice(&bytes[..end - offset]);
        if let Some(space) = &mut state.space {
            *space -= fits as u64;
        }
        if fits < growth { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let contents = self.contents.bytes.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = contents.seen.get(offset..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.state.lock();
        let mut contents = self.contents.bytes.lock();
        let freed = contents.seen.len().saturating_sub(len) as u64;
        state.space = state.space.map(|space| space + freed);
        contents.seen.resize(len, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.contents.bytes.lock().seen.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.fail_syncs {
            return Err(io::Error::other("sync fails on purpose"));
        }
        state.n_syncs += 1;
        let mut contents = self.contents.bytes.lock();
        contents.synced = contents.seen.clone();
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.lock().locked.retain(|path| path != &self.path);
    }
}

fn clone_pair((path, contents): (&PathBuf, &Arc<Contents>)) -> (PathBuf, Arc<Contents>) {
    (path.clone(), Arc::clone(contents))
}
