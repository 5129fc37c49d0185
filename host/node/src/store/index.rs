//! `cache.db`: opened, shared by many readers, and replaced when it is broken.
//!
//! A connection belongs to the file that it opened. Whoever finds that file broken moves it aside under `open.lock` and
//! everyone, in every process, goes on with the new one: nobody opens while a file is being moved, and SQLite itself
//! leaves the names alone when it closes a database that was moved. The moved file is kept (one of them) for whoever
//! wants to know. Never reports corruption to callers: a read that fails is a miss. Called by the rest of the store.

use super::StoreError;
use super::live::lock_file;
use crate::db::{CommitError, FaultKind, lock};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// How long a process waits for another's transaction.
const BUSY: Duration = Duration::from_secs(10);
/// Raised when the tables change. A file of another version is moved aside: it is only a cache.
const VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE blobs (digest BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL, used INTEGER NOT NULL);
    CREATE TABLE results (task BLOB NOT NULL UNIQUE, record BLOB NOT NULL, sum BLOB NOT NULL, used INTEGER NOT NULL);
    CREATE TABLE memo (path BLOB NOT NULL PRIMARY KEY, stat BLOB NOT NULL, sum BLOB NOT NULL, seen INTEGER NOT NULL)
        WITHOUT ROWID;
    PRAGMA user_version = 1;";
/// A full disk that has this much room is a broken header.
const NOT_FULL_BYTES: u64 = 64 << 20;

pub(crate) struct Index {
    dir: PathBuf,
    pub(crate) path: PathBuf,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    /// Device and inode of the file that the idle connections opened.
    file: Option<FileId>,
    idle: Vec<Connection>,
}

type FileId = (u64, u64);

/// A connection and the file that it belongs to.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) file: FileId,
}

impl Index {
    pub(crate) fn open(dir: &Path) -> Result<Index, StoreError> {
        let index = Index { dir: dir.to_owned(), path: dir.join("cache.db"), pool: Mutex::new(Pool::default()) };
        let opened = index.connect().map_err(|error| StoreError::commit(&index.path, error))?;
        index.put_back(opened);
        Ok(index)
    }

    /// Reads. Whatever goes wrong is a miss; a broken file is replaced on the way.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let opened = self.take().ok()?;
        match query(&opened.connection) {
            Ok(value) => {
                self.put_back(opened);
                Some(value)
            }
            Err(error) => {
                let (fault, file) = (CommitError::of(&error), opened.file);
                drop(opened);
                tracing::debug!(%error, "reading the cache failed");
                self.replace_if_broken(&fault, file);
                None
            }
        }
    }

    fn take(&self) -> Result<Opened, CommitError> {
        {
            let mut pool = lock(&self.pool);
            if let (Some(file), Some(connection)) = (pool.file, pool.idle.pop()) {
                return Ok(Opened { connection, file });
            }
        }
        self.connect()
    }

    fn put_back(&self, opened: Opened) {
        let mut pool = lock(&self.pool);
        if pool.file != Some(opened.file) {
            pool.idle.clear();
            pool.file = Some(opened.file);
        }
        pool.idle.push(opened.connection);
    }

    /// Whether the file behind `file` is still the one at our path.
    pub(crate) fn is_current(&self, file: FileId) -> bool {
        let current = file_id(&self.path) == Some(file);
        if !current {
            let mut pool = lock(&self.pool);
            if pool.file == Some(file) {
                *pool = Pool::default();
            }
        }
        current
    }

    /// Opens the database, making or replacing it where needed.
    pub(crate) fn connect(&self) -> Result<Opened, CommitError> {
        let mut last = None;
        // A second time after what was broken has been moved, a third for one that another process made meanwhile.
        for _ in 0..3 {
            let found = file_id(&self.path);
            match self.try_connect() {
                Ok(opened) => return Ok(opened),
                Err(fault) => {
                    let replaced = match found.or_else(|| file_id(&self.path)) {
                        Some(file) => self.replace_if_broken(&fault, file),
                        // The folder itself may have been deleted under us.
                        None => crate::paths::create_private(&self.dir).is_ok(),
                    };
                    last = Some(fault);
                    if !replaced {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or(CommitError { kind: FaultKind::Corrupt, message: "cannot open".into() }))
    }

    fn try_connect(&self) -> Result<Opened, CommitError> {
        // Creating needs the lock alone: two processes that create at once would each see half of the other's work.
        let missing = std::fs::metadata(&self.path).map_or(true, |found| found.len() == 0);
        let operation = if missing { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        let _guard = lock_file(&self.dir.join("open.lock"), operation).map_err(|error| CommitError::of_io(&error))?;
        if missing {
            self.forget_log();
        }
        self.prepare().map_err(|error| CommitError::of(&error))
    }

    /// Without its database a write-ahead log means nothing, and must not be played into another.
    fn forget_log(&self) {
        if std::fs::metadata(&self.path).map_or(true, |found| found.len() == 0) {
            for suffix in ["-wal", "-shm", "-journal"] {
                remove_any(&with_suffix(&self.path, suffix));
            }
        }
    }

    fn prepare(&self) -> rusqlite::Result<Opened> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(32);
        let _: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        // Contents are checked when used and may be lost; waiting for the disk would buy nothing.
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;")?;
        let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        if version(&connection)? == 0 {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if version(&transaction)? == 0 {
                transaction.execute_batch(SCHEMA)?;
            }
            transaction.commit()?;
        }
        // Reading through the schema here also opens the log, under the lock that keeps the file in its place.
        let found: i64 = version(&connection)?;
        let columns: Vec<String> = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let file = file_id(&self.path);
        match file {
            Some(file) if found == VERSION && columns.len() == 3 => Ok(Opened { connection, file }),
            _ => Err(rusqlite::Error::InvalidQuery),
        }
    }

    /// Moves the database aside when `fault`, met on `file`, means that it is broken. True when trying again makes sense.
    pub(crate) fn replace_if_broken(&self, fault: &CommitError, file: FileId) -> bool {
        let broken = match fault.kind {
            FaultKind::Corrupt => true,
            FaultKind::Busy => false,
            // A broken header can look like missing rights or a full disk. The folder tells.
            FaultKind::Unwritable => super::probe(&self.dir).is_ok(),
            FaultKind::Full => rustix::fs::statvfs(&self.dir)
                .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) > NOT_FULL_BYTES),
        };
        broken && self.move_aside(file)
    }

    fn move_aside(&self, file: FileId) -> bool {
        let Ok(_guard) = lock_file(&self.dir.join("open.lock"), FlockOperation::LockExclusive) else { return false };
        {
            let mut pool = lock(&self.pool);
            if pool.file == Some(file) {
                *pool = Pool::default();
            }
        }
        if file_id(&self.path) != Some(file) {
            // Somebody else already did.
            return true;
        }
        let aside = with_suffix(&self.path, ".corrupt");
        remove_any(&aside);
        tracing::warn!(path = %self.path.display(), "the cache's database was broken and is made anew");
        let moved = std::fs::rename(&self.path, &aside).is_ok();
        if moved {
            for suffix in ["-wal", "-shm", "-journal"] {
                remove_any(&with_suffix(&self.path, suffix));
            }
        }
        moved
    }

    /// Removes the database and what was moved aside.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        let _guard = lock_file(&self.dir.join("open.lock"), FlockOperation::LockExclusive)?;
        *lock(&self.pool) = Pool::default();
        for suffix in ["", "-wal", "-shm", "-journal", ".corrupt"] {
            remove_any(&with_suffix(&self.path, suffix));
        }
        Ok(())
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes whatever is there: where a file of ours should be, anything else is in the way.
fn remove_any(path: &Path) {
    if std::fs::remove_file(path).is_err() {
        // Missing, or a folder; if it cannot be removed the next step fails and says so.
        let _ = std::fs::remove_dir_all(path);
    }
}
