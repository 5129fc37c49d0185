//! The content-addressed store and the result cache, in `$XDG_CACHE_HOME/sykli`.
//!
//! # What is where
//!
//! | file | what |
//! |---|---|
//! | `cache.db` | SQLite (WAL): small blobs (< [`SMALL_BYTES`]), results by task digest, remembered digests of files |
//! | `blobs/ab/cdef…` | larger blobs, one file each, named by their digest |
//! | `tmp/` | files being written; renamed into `blobs/` when whole |
//! | `live/` | one locked file for each process that uses the store |
//! | `code/` | compiled code, kept by the runtime |
//! | `gc.lock`, `cache.db.lock` | who may collect, who may move a broken `cache.db` aside |
//!
//! # What holds
//!
//! * Nothing read is trusted: a blob is hashed before its first byte is used, a result row carries its own checksum, and
//!   a file that SQLite cannot read is moved aside and made anew. Whatever is wrong is a *miss*, so reading has no error.
//! * Writing can fail, in two ways that callers treat apart: the disk is full ([`StoreError::Full`], which costs the task
//!   that wrote), or the folder cannot be used ([`StoreError::Unwritable`], which the user must mend).
//! * Any number of processes may use one folder, and any of them may be killed at any moment: a file becomes visible by
//!   `rename`, a row by a transaction. Nothing is synced to the disk: what a power cut tears is a miss.
//! * [`Store::gc`] never takes what a live process put or used.
//!
//! It never decides what may be cached (the caller stores results of pure, successful tasks only) and keeps nothing that
//! could not be computed again. Called by the run loop, its workers, and the `cache` commands.

mod arrive;
mod blobs;
mod gc;
mod hash;
mod layer;
mod live;
mod outline;
mod read;
mod recent;
mod record;
mod results;
mod upkeep;
mod write;

pub(crate) use arrive::Arrival;
pub use gc::GcReport;
pub(crate) use hash::{Buffer, hash_file, hash_large_file};
pub use layer::{InputFault, InputFaults};
pub(crate) use outline::{GroupHasher, Outline, Tracer, group_bytes, group_count};
pub(crate) use read::Lent;
pub(crate) use recent::Recent;
pub use record::{Delta, Record};
pub use results::NewResult;
pub use upkeep::{Cleared, KindStats, Stats, VerifyReport};

pub use crate::db::{CommitError, FaultKind, Ticket};

use crate::db::{DbFile, Writer, probe};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Blobs below this many bytes live in `cache.db`, the others as files: a file costs a folder entry and two system calls
/// to open, a row of more than a few pages makes the database slow.
pub const SMALL_BYTES: u64 = 16 * 1024;
/// Most bytes that wait for the writer thread, committed together at the latest.
const QUEUE_BYTES: usize = 32 << 20;
/// Opened blob files and verified names that are remembered in a process.
const OPEN_FILES: usize = 128;
const VERIFIED_NAMES: usize = 65_536;
/// Entries of decoded trees that are remembered in a process.
const TREE_ENTRIES: usize = 500_000;

/// What can go wrong when something is written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The cache folder cannot be written.
    #[error("the cache cannot be written: {}: {message}", path.display())]
    Unwritable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// No space is left, or a quota is used up.
    #[error("no space left for the cache: {}: {message}", path.display())]
    Full {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A file that was to be stored could not be read.
    #[error("cannot read {}: {message}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The whole cache was to be removed while others use it.
    #[error("{processes} running sykli process(es) use the cache {}", path.display())]
    InUse {
        /// The cache folder.
        path: PathBuf,
        /// How many processes.
        processes: usize,
    },
}

impl StoreError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Unwritable { .. } => "cache::unwritable",
            StoreError::Full { .. } => "cache::full",
            StoreError::Source { .. } => "cache::source",
            StoreError::InUse { .. } => "cache::in-use",
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            StoreError::Unwritable { path, .. } => format!(
                "make {} a folder that you own and can write (chmod u+rwx), or set XDG_CACHE_HOME to another one",
                path.display()
            ),
            StoreError::Full { .. } => {
                "free some space, for instance with `sykli cache gc`, or set XDG_CACHE_HOME to a \
                                        folder on another disk"
                    .to_owned()
            }
            StoreError::Source { .. } => {
                "see that the file exists and that you may read it".to_owned()
            }
            StoreError::InUse { .. } => {
                "wait until they end, or use `sykli cache gc`, which spares what they use"
                    .to_owned()
            }
        }
    }

    /// Whether this is the disk's fault and thereby a non-result of the task that wrote, not a verdict on it.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Full { .. })
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> StoreError {
        StoreError::commit(path, CommitError::of_io(error))
    }

    pub(crate) fn commit(path: &Path, error: CommitError) -> StoreError {
        let (path, message) = (path.to_owned(), error.message);
        match error.kind {
            FaultKind::Full => StoreError::Full { path, message },
            FaultKind::Unwritable | FaultKind::Busy | FaultKind::Corrupt | FaultKind::Newer => {
                StoreError::Unwritable { path, message }
            }
        }
    }
}

/// The store. Cheap to clone; the last clone to go commits what is still queued.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    // Dropped first: its thread uses what follows.
    writer: Writer<write::Op>,
    index: Arc<DbFile>,
    small: Arc<write::Small>,
    live: live::Live,
    verified: Mutex<recent::Recent<read::Identity, ()>>,
    files: Mutex<recent::Recent<[u8; 32], Arc<std::fs::File>>>,
    trees: Mutex<recent::Recent<[u8; 32], Arc<sykli_core::tree::Tree>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `cache_dir`, which is made (0700) where it is missing. A broken `cache.db` is moved aside.
    ///
    /// # Errors
    /// When the folder cannot be made, is not this user's, or cannot be written.
    pub fn open(cache_dir: &Path) -> Result<Store, StoreError> {
        let dir = cache_dir.to_owned();
        for part in [
            dir.clone(),
            dir.join("blobs"),
            dir.join("tmp"),
            dir.join("live"),
            dir.join("code"),
        ] {
            crate::paths::create_private(&part).map_err(|error| StoreError::Unwritable {
                path: part,
                message: without_path(error),
            })?;
        }
        // Making the database shows as much.
        if dir.join(write::LAYOUT.name).exists() {
            probe(&dir).map_err(|error| StoreError::io(&dir, &error))?;
        }
        let small = Arc::new(write::Small::default());
        let index =
            DbFile::open(&dir, &write::LAYOUT).map_err(|error| StoreError::commit(&dir, error))?;
        let index = Arc::new(index);
        let sink = write::CacheSink::new(Arc::clone(&index), Arc::clone(&small));
        let writer = Writer::start("sykli-cache", QUEUE_BYTES, sink)
            .map_err(|error| StoreError::io(&dir, &error))?;
        Ok(Store {
            inner: Arc::new(Inner {
                live: live::Live::new(&dir),
                writer,
                index,
                small,
                verified: Mutex::new(recent::Recent::new(VERIFIED_NAMES)),
                files: Mutex::new(recent::Recent::new(OPEN_FILES)),
                trees: Mutex::new(recent::Recent::new(TREE_ENTRIES)),
                dir,
            }),
        })
    }

    /// Where the runtime may keep compiled code: counted and collected with the rest.
    pub fn code_dir(&self) -> PathBuf {
        self.inner.dir.join("code")
    }

    /// Where spooled files should be written: on the same file system, so that keeping one is a link, not a copy. Call
    /// [`Store::hold`] before writing there.
    pub fn spool_dir(&self) -> PathBuf {
        self.inner.dir.join("tmp")
    }

    /// Marks this process as one that uses the store: from now on no collector takes what it spools, puts or uses. The
    /// first look-up or put does the same.
    pub fn hold(&self) {
        self.inner.live.fresh_since();
    }

    /// Commits what is queued and takes back the mark of [`Store::hold`], for a process that ends without dropping this.
    /// Whether it may: a log that has grown long is emptied by closing the database.
    pub(crate) fn rest(&self) -> bool {
        // Whoever had to know has waited for its ticket.
        let _ = self.inner.writer.barrier().wait();
        self.inner.live.leave();
        !self.inner.index.has_long_log()
    }

    /// Waits until everything put so far is committed.
    ///
    /// # Errors
    /// When it could not be. What was put is still readable by this process, within bounds.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner
            .writer
            .barrier()
            .wait()
            .map_err(|error| StoreError::commit(&self.inner.dir, error))
    }
}

fn without_path(error: crate::paths::PathsError) -> String {
    match error {
        crate::paths::PathsError::Unusable { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Seconds since 1970: the grain in which use is recorded.
pub(crate) fn now_secs() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
