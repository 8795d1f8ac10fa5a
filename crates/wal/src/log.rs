use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::reader::SegmentReader;
use crate::{
    Envelope, FileLayer, LogFile, Lsn, Replay, SegmentInfo, WalError, meta, record, reserve, segment,
};

/// When records are made to survive the machine. They survive the process in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before they are acknowledged.
    Always,
    /// This often.
    Interval(Duration),
    /// When the operating system likes to.
    Never,
}

/// Where the log lies and how it behaves.
#[derive(Debug, Clone)]
pub struct WalConfig {
    /// The folder.
    pub dir: PathBuf,
    /// A segment is closed when it is longer than this.
    pub segment_bytes: u64,
    /// When to sync.
    pub sync: Sync,
}

/// What the log has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Records appended.
    pub n_appended: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Appends that failed.
    pub n_failed_appends: u64,
    /// Syncs that succeeded.
    pub n_syncs: u64,
    /// Syncs that failed.
    pub n_failed_syncs: u64,
    /// Segments there are.
    pub n_segments: u64,
    /// Bytes in them.
    pub total_bytes: u64,
}

/// A log that is open. Clones are the same log.
#[derive(Clone)]
pub struct Wal {
    inner: Arc<Inner>,
}

struct Inner {
    config: WalConfig,
    files: Arc<dyn FileLayer>,
    issuer: String,
    log: Mutex<Log>,
    /// Whose turn it is to sync; the others wait for what that one achieves.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Every record below this survives the machine.
    durable_end: AtomicU64,
    poisoned: AtomicBool,
    counters: Counters,
    _lock: Box<dyn Any + Send + std::marker::Sync>,
}

#[derive(Debug, Default)]
struct Counters {
    appended: AtomicU64,
    appended_bytes: AtomicU64,
    failed_appends: AtomicU64,
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
}

/// What the lock protects.
struct Log {
    closed: VecDeque<SegmentInfo>,
    active: Active,
    next_lsn: Lsn,
    /// Closed segments with bytes that were not synced yet.
    unsynced: Vec<Arc<dyn LogFile>>,
    /// Whether segments came since the folder was synced.
    unsynced_names: bool,
    /// Whether bytes of a failed append may lie behind the end.
    litter: bool,
    scratch: Vec<u8>,
}

struct Active {
    file: Arc<dyn LogFile>,
    first_lsn: Lsn,
    len: u64,
}

impl WalConfig {
    /// A log in `dir` with segments of 64 MiB, synced every 100 ms.
    pub fn new(dir: impl Into<PathBuf>) -> WalConfig {
        let sync = Sync::Interval(Duration::from_millis(100));
        WalConfig { dir: dir.into(), segment_bytes: 64 << 20, sync }
    }
}

impl Wal {
    /// Opens the log, or begins one. What it held is in the [`Replay`]; appends go behind it.
    pub fn open(config: WalConfig, files: Arc<dyn FileLayer>) -> Result<(Wal, Replay), WalError> {
        let dir = &config.dir;
        files.create_dir(dir).map_err(WalError::file("create", dir))?;
        let lock = files.lock(&dir.join("lock")).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => WalError::Locked(dir.clone()),
            _ => WalError::file("lock", dir)(e),
        })?;
        let issuer = meta::read_or_create(files.as_ref(), dir)?;
        reserve::make(files.as_ref(), dir);
        let mut segments = list_segments(files.as_ref(), &config)?;
        let newest = segments.pop_back();
        let (active, next_lsn, torn_bytes) = match newest {
            Some(newest) => reopen(files.as_ref(), &config, newest.first_lsn)?,
            None => (create_segment(files.as_ref(), &config, 1)?, 1, 0),
        };
        // What a killed process wrote and did not sync counts as durable from here on, so it has to be.
        for closed in &segments {
            let path = segment::path(dir, closed.first_lsn);
            files.open(&path).and_then(|file| file.sync()).map_err(WalError::file("sync", path))?;
        }
        active.file.sync().and_then(|()| files.sync_dir(dir)).map_err(WalError::file("sync", dir))?;
        let mut all = segments.clone();
        all.push_back(SegmentInfo { first_lsn: active.first_lsn, end_lsn: next_lsn, bytes: active.len });
        let replay = Replay::new(Arc::clone(&files), dir.clone(), all, torn_bytes);
        let log = Log {
            closed: segments,
            active,
            next_lsn,
            unsynced: Vec::new(),
            unsynced_names: false,
            litter: false,
            scratch: Vec::new(),
        };
        let inner = Inner {
            config,
            files,
            issuer,
            log: Mutex::new(log),
            turn: Arc::new(tokio::sync::Mutex::new(())),
            durable_end: AtomicU64::new(next_lsn),
            poisoned: AtomicBool::new(false),
            counters: Counters::default(),
            _lock: lock,
        };
        Ok((Wal { inner: Arc::new(inner) }, replay))
    }

    /// Appends a record with one write. After an error the log is as it was.
    pub fn append(&self, envelope: &Envelope<'_>, payload: &[u8]) -> Result<Lsn, WalError> {
        let body_crc = record::body_crc(envelope.tenant, payload);
        let appended = self.inner.append(envelope, body_crc, payload);
        let counters = &self.inner.counters;
        match appended {
            Ok(_) => {
                counters.appended.fetch_add(1, Ordering::Relaxed);
                let bytes = record::HEADER_LEN + envelope.tenant.len() + payload.len();
                counters.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(_) => {
                counters.failed_appends.fetch_add(1, Ordering::Relaxed);
            }
        }
        appended
    }

    /// Appends a record without which the log could never be shortened again: on a full disk it takes the place that
    /// was reserved for such records.
    pub fn append_vital(&self, envelope: &Envelope<'_>, payload: &[u8]) -> Result<Lsn, WalError> {
        match self.append(envelope, payload) {
            Err(WalError::Write(e))
                if reserve::give_up(self.inner.files.as_ref(), &self.inner.config.dir) =>
            {
                tracing::warn!(error = %e, "the disk is full, the log's reserve is given up");
                self.append(envelope, payload)
            }
            other => other,
        }
    }

    /// Returns when the record `lsn` and all before it survive the machine. Callers that wait at the same time
    /// share one sync.
    pub async fn sync_through(&self, lsn: Lsn) -> Result<(), WalError> {
        if self.is_durable(lsn) {
            return Ok(());
        }
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        if self.is_durable(lsn) {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        // The turn goes with the work: a caller who gives up must not let a second sync overtake this one.
        let work = move || {
            let synced = inner.sync();
            drop(turn);
            synced
        };
        runtime::blocking(work).await.map_err(WalError::Internal)?
    }

    /// Syncs everything that was appended so far.
    pub async fn sync(&self) -> Result<(), WalError> {
        let next_lsn = self.next_lsn();
        self.sync_through(next_lsn - 1).await
    }

    /// Removes the segments whose records all lie before `lsn`; the newest segment stays. Everything is synced
    /// first, so that what was carried forward cannot be lost with what is removed. Returns how many went.
    pub async fn truncate_before(&self, lsn: Lsn) -> Result<usize, WalError> {
        self.sync().await?;
        let inner = Arc::clone(&self.inner);
        runtime::blocking(move || inner.remove_before(lsn)).await.map_err(WalError::Internal)?
    }

    /// Closes the newest segment, so that it can be removed once nothing in it is needed.
    pub fn rotate(&self) -> Result<(), WalError> {
        self.inner.log.lock().rotate(&self.inner)
    }

    /// The segments, oldest first; the last one is being written.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let log = self.inner.log.lock();
        let Active { first_lsn, len, .. } = log.active;
        let active = SegmentInfo { first_lsn, end_lsn: log.next_lsn, bytes: len };
        log.closed.iter().copied().chain([active]).collect()
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.inner.log.lock().next_lsn
    }

    /// The random id that was born with this log.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// When it syncs.
    pub fn sync_mode(&self) -> Sync {
        self.inner.config.sync
    }

    /// What it has done.
    pub fn stats(&self) -> WalStats {
        let segments = self.segments();
        let counters = &self.inner.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalStats {
            n_appended: get(&counters.appended),
            appended_bytes: get(&counters.appended_bytes),
            n_failed_appends: get(&counters.failed_appends),
            n_syncs: get(&counters.syncs),
            n_failed_syncs: get(&counters.failed_syncs),
            n_segments: segments.len() as u64,
            total_bytes: segments.iter().map(|segment| segment.bytes).sum(),
        }
    }

    fn is_durable(&self, lsn: Lsn) -> bool {
        lsn < self.inner.durable_end.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Inner {
    fn append(&self, envelope: &Envelope<'_>, body_crc: u32, payload: &[u8]) -> Result<Lsn, WalError> {
        self.check_poison()?;
        let mut log = self.log.lock();
        log.clean_up()?;
        let len = (record::HEADER_LEN + envelope.tenant.len() + payload.len()) as u64;
        if log.active.len + len > self.config.segment_bytes && log.next_lsn > log.active.first_lsn {
            log.rotate(self)?;
        }
        log.write(envelope, body_crc, payload)
    }

    fn check_poison(&self) -> Result<(), WalError> {
        let poisoned = self.config.sync == Sync::Always && self.poisoned.load(Ordering::Acquire);
        if poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    /// Makes everything that is on the log now survive the machine. After a failure the kernel may have dropped
    /// the bytes and call the next sync a success, so where an acknowledgement means "survives", there is none any
    /// more.
    fn sync(&self) -> Result<(), WalError> {
        self.check_poison()?;
        let (mut files, names, end) = {
            let mut log = self.log.lock();
            let mut files = std::mem::take(&mut log.unsynced);
            files.push(Arc::clone(&log.active.file));
            (files, std::mem::take(&mut log.unsynced_names), log.next_lsn)
        };
        runtime::fault::point("append.before_sync");
        let synced = files.iter().try_for_each(|file| file.sync());
        let synced = synced.and_then(|()| if names { self.files.sync_dir(&self.config.dir) } else { Ok(()) });
        match synced {
            Ok(()) => {
                runtime::fault::point("append.after_sync");
                self.durable_end.fetch_max(end, Ordering::AcqRel);
                self.counters.syncs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(e) => {
                self.poisoned.store(true, Ordering::Release);
                self.counters.failed_syncs.fetch_add(1, Ordering::Relaxed);
                let mut log = self.log.lock();
                files.append(&mut log.unsynced);
                log.unsynced = files;
                log.unsynced_names |= names;
                Err(WalError::Sync(e.to_string()))
            }
        }
    }

    fn remove_before(&self, lsn: Lsn) -> Result<usize, WalError> {
        let mut n_removed = 0;
        loop {
            let oldest = self.log.lock().closed.front().copied().filter(|oldest| oldest.end_lsn <= lsn);
            let Some(oldest) = oldest else { break };
            let path = segment::path(&self.config.dir, oldest.first_lsn);
            match self.files.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(WalError::file("remove", path)(e));
                }
                _ => {}
            }
            self.log.lock().closed.pop_front();
            n_removed += 1;
        }
        if n_removed > 0 {
            reserve::make(self.files.as_ref(), &self.config.dir);
            self.files.sync_dir(&self.config.dir).map_err(WalError::file("sync", &self.config.dir))?;
        }
        Ok(n_removed)
    }
}

impl Log {
    fn write(&mut self, envelope: &Envelope<'_>, body_crc: u32, payload: &[u8]) -> Result<Lsn, WalError> {
        let lsn = self.next_lsn;
        record::encode(&mut self.scratch, lsn, envelope, body_crc, payload)?;
        runtime::fault::point("append.before_write");
        let written = self.active.file.write_at(self.active.len, &self.scratch);
        runtime::fault::point("append.after_write");
        if let Err(e) = written {
            self.litter = true;
            // If it cannot be cleaned up now, the next append will try before it writes.
            let _cleaned = self.clean_up();
            return Err(WalError::Write(e));
        }
        self.active.len += self.scratch.len() as u64;
        self.next_lsn += 1;
        if self.scratch.capacity() > 4 << 20 {
            self.scratch = Vec::new();
        }
        Ok(lsn)
    }

    fn clean_up(&mut self) -> Result<(), WalError> {
        if self.litter {
            self.active.file.set_len(self.active.len).map_err(WalError::Write)?;
            self.litter = false;
        }
        Ok(())
    }

    fn rotate(&mut self, inner: &Inner) -> Result<(), WalError> {
        if self.next_lsn == self.active.first_lsn {
            return Ok(());
        }
        runtime::fault::point("append.before_rotate");
        let next = create_segment(inner.files.as_ref(), &inner.config, self.next_lsn)?;
        runtime::fault::point("append.after_rotate");
        let Active { file, first_lsn, len } = std::mem::replace(&mut self.active, next);
        self.closed.push_back(SegmentInfo { first_lsn, end_lsn: self.next_lsn, bytes: len });
        self.unsynced.push(file);
        self.unsynced_names = true;
        Ok(())
    }
}

/// The segments in the folder, oldest first. Where one ends is known from where the next begins.
fn list_segments(files: &dyn FileLayer, config: &WalConfig) -> Result<VecDeque<SegmentInfo>, WalError> {
    let names = files.names(&config.dir).map_err(WalError::file("list", &config.dir))?;
    let mut first_lsns: Vec<Lsn> = names.iter().filter_map(|name| segment::first_lsn_of(name)).collect();
    first_lsns.sort_unstable();
    let mut segments = VecDeque::with_capacity(first_lsns.len());
    for (i, &first_lsn) in first_lsns.iter().enumerate() {
        let path = segment::path(&config.dir, first_lsn);
        let file = files.open(&path).map_err(WalError::file("open", &path))?;
        let bytes = file.size().map_err(WalError::file("read", &path))?;
        let end_lsn = first_lsns.get(i + 1).copied().unwrap_or(Lsn::MAX);
        segments.push_back(SegmentInfo { first_lsn, end_lsn, bytes });
    }
    Ok(segments)
}

/// Opens the newest segment to append to it: finds its end and cuts off what is torn.
fn reopen(files: &dyn FileLayer, config: &WalConfig, first_lsn: Lsn) -> Result<(Active, Lsn, u64), WalError> {
    let path = segment::path(&config.dir, first_lsn);
    let failed = |e| WalError::file("read", &path)(e);
    let file = files.open(&path).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    let mut reader = SegmentReader::new(Arc::clone(&file), first_lsn, size);
    while reader.step().map_err(failed)? {}
    let (next_lsn, valid_end) = (reader.next_lsn(), reader.valid_end());
    let torn_bytes = size - valid_end;
    if torn_bytes > 0 {
        tracing::warn!(segment = %path.display(), torn_bytes, "cut the torn end off the log");
        file.set_len(valid_end).map_err(failed)?;
    }
    let mut header = vec![0; segment::SEGMENT_HEADER_LEN as usize];
    let n = file.read_at(0, &mut header).map_err(failed)?;
    if !segment::is_header(&header[..n], first_lsn) {
        file.write_at(0, &segment::encode_header(first_lsn)).map_err(failed)?;
    }
    let len = valid_end.max(segment::SEGMENT_HEADER_LEN);
    Ok((Active { file, first_lsn, len }, next_lsn, torn_bytes))
}

fn create_segment(files: &dyn FileLayer, config: &WalConfig, first_lsn: Lsn) -> Result<Active, WalError> {
    let path = segment::path(&config.dir, first_lsn);
    let file = files.create(&path).map_err(WalError::Write)?;
    if let Err(e) = file.write_at(0, &segment::encode_header(first_lsn)) {
        // No record is in it; what remains of it is overwritten by the next attempt.
        let _removed = files.remove(&path);
        return Err(WalError::Write(e));
    }
    Ok(Active { file, first_lsn, len: segment::SEGMENT_HEADER_LEN })
}
