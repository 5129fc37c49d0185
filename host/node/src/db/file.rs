//! A SQLite file: opened, shared by many readers, and replaced when it is broken.
//!
//! A connection belongs to the file that it opened. Whoever finds that file broken moves it aside under a lock and
//! everyone, in every process, goes on with a new one: nobody opens while a file is being moved, and SQLite itself
//! leaves the names alone when it closes a database that was moved. The moved file is kept (one of them) for whoever
//! wants to know. Corruption is never reported to readers: a read that fails finds nothing. Called by the store
//! (`cache.db`), the journal (`state.db`) and the ledger (`mesh.db`).

use super::{CommitError, FaultKind, lock, lock_file};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustix::fs::FlockOperation;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a process waits for another's transaction.
const BUSY: Duration = Duration::from_secs(10);
/// What is appended to the name of a broken file that was moved aside.
pub(crate) const ASIDE: &str = ".corrupt";
/// A full disk that has this much room is a broken header.
const NOT_FULL_BYTES: u64 = 64 << 20;
/// With less than this free, what cannot be written lacks space: an empty database with its log takes as much.
const FULL_BYTES: u64 = 64 << 10;
/// A log up to this long stays when the database is closed: the next one to open it reads the log in a millisecond, where
/// emptying it would cost three waits for the disk each time a short run ends.
const LOG_LEFT_BYTES: u64 = 1 << 20;

/// What makes one database differ from another.
pub(crate) struct Layout {
    /// The file's name in its folder.
    pub(crate) name: &'static str,
    /// Makes the tables, in one transaction.
    pub(crate) tables: &'static str,
    /// How many tables that makes.
    pub(crate) table_count: usize,
    /// Raised when the tables change.
    pub(crate) version: i64,
    /// Run on each new connection.
    pub(crate) pragmas: &'static str,
    /// Whether what is committed outlives the machine's loss of power: every commit waits for the disk, as `pragmas` say.
    pub(crate) durable: bool,
    /// Whether a file of a newer version is refused rather than replaced.
    pub(crate) keep_newer: bool,
    /// Whether a fault alone is no reason to replace it: what it holds is nowhere else, so SQLite itself has to find the
    /// file broken.
    pub(crate) precious: bool,
    /// From which older versions it is brought up, one step each, and how; of any other it is begun anew.
    pub(crate) upgrades: &'static [(i64, &'static str)],
}

/// A database in its folder.
pub(crate) struct DbFile {
    dir: PathBuf,
    pub(crate) path: PathBuf,
    layout: &'static Layout,
    pool: Mutex<Pool>,
    replaced: AtomicBool,
}

#[derive(Default)]
struct Pool {
    /// Device and inode of the file that the idle connections opened.
    file: Option<FileId>,
    idle: Vec<Connection>,
}

/// Device and inode.
pub(crate) type FileId = (u64, u64);

/// A connection and the file that it belongs to.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) file: FileId,
}

impl DbFile {
    /// Opens the database of this layout in `dir`, which exists; makes or replaces it where needed.
    pub(crate) fn open(dir: &Path, layout: &'static Layout) -> Result<DbFile, CommitError> {
        let file = DbFile {
            dir: dir.to_owned(),
            path: dir.join(layout.name),
            layout,
            pool: Mutex::new(Pool::default()),
            replaced: AtomicBool::new(false),
        };
        let opened = file.connect()?;
        file.put_back(opened);
        Ok(file)
    }

    /// Where a broken file was moved, if this process had to.
    pub(crate) fn set_aside(&self) -> Option<PathBuf> {
        self.replaced
            .load(Ordering::Relaxed)
            .then(|| with_suffix(&self.path, ASIDE))
    }

    /// Reads. Whatever goes wrong is a miss; a broken file is replaced on the way.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        self.query(query).ok()
    }

    /// Reads, for whom "nothing" and "cannot tell" are not the same; a broken file is replaced on the way.
    pub(crate) fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CommitError> {
        let opened = self.take()?;
        match query(&opened.connection) {
            Ok(value) => {
                self.put_back(opened);
                Ok(value)
            }
            Err(error) => {
                let (fault, file) = (CommitError::of(&error), opened.file);
                drop(opened);
                tracing::debug!(%error, path = %self.path.display(), "reading failed");
                self.replace_if_broken(&fault, file);
                Err(fault)
            }
        }
    }

    /// A connection that is idle, else a new one.
    pub(crate) fn take(&self) -> Result<Opened, CommitError> {
        {
            let mut pool = lock(&self.pool);
            if let (Some(file), Some(connection)) = (pool.file, pool.idle.pop()) {
                return Ok(Opened { connection, file });
            }
        }
        self.connect()
    }

    /// Keeps a connection for whoever comes next.
    pub(crate) fn put_back(&self, opened: Opened) {
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
        let mut last = last.unwrap_or(CommitError {
            kind: FaultKind::Corrupt,
            message: "cannot open".into(),
        });
        // On a full disk the log's index fails with an error of its own, that says nothing about space.
        let full = self.room().is_some_and(|room| room < FULL_BYTES);
        if last.kind == FaultKind::Unwritable && full {
            last.kind = FaultKind::Full;
        }
        Err(last)
    }

    /// Bytes that are free where it lies.
    fn room(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.dir).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn try_connect(&self) -> Result<Opened, CommitError> {
        // Creating needs the lock alone: two processes that create at once would each see half of the other's work.
        let operation = match self.is_missing() {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::LockShared,
        };
        let _guard =
            lock_file(&self.lock_path(), operation).map_err(|error| CommitError::of_io(&error))?;
        // Another process may have made it while this one waited.
        let new = operation == FlockOperation::LockExclusive && self.is_missing();
        if new {
            self.forget_log();
            if self.layout.durable {
                self.create().map_err(|error| CommitError::of(&error))?;
            }
        }
        self.prepare(new)
    }

    /// Whether there is no file, or nothing in it.
    fn is_missing(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |found| found.len() == 0)
    }

    /// Makes the file, empty but a write-ahead log's, and waits until the disk has it: what is committed to the log, and
    /// waited for, must not depend on a file that a lost machine forgets. Where no commit is waited for, neither is this.
    fn create(&self) -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(&self.path, FLAGS)?;
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")?;
        log_ahead(&connection)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        drop(connection);
        // Where it fails, so does the first commit, which says why.
        let _ = std::fs::File::open(&self.path).and_then(|file| file.sync_all());
        Ok(())
    }

    /// Without its database a write-ahead log means nothing, and must not be played into another.
    fn forget_log(&self) {
        for suffix in ["-wal", "-shm", "-journal"] {
            remove_any(&with_suffix(&self.path, suffix));
        }
    }

    fn lock_path(&self) -> PathBuf {
        with_suffix(&self.path, ".lock")
    }

    fn prepare(&self, new: bool) -> Result<Opened, CommitError> {
        let (connection, found) = self.make(new).map_err(|error| CommitError::of(&error))?;
        if let Some(version) = found.version
            && version > self.layout.version
            && self.layout.keep_newer
        {
            return Err(CommitError {
                kind: FaultKind::Newer,
                message: format!("its version is {version}"),
            });
        }
        match file_id(&self.path) {
            Some(file)
                if found.version == Some(self.layout.version)
                    && found.tables == self.layout.table_count =>
            {
                Ok(Opened { connection, file })
            }
            _ => Err(CommitError {
                kind: FaultKind::Corrupt,
                message: match found.version {
                    Some(version) if version < self.layout.version => {
                        "it was made by an older sykli".into()
                    }
                    _ => "it is not a database of ours".into(),
                },
            }),
        }
    }

    fn make(&self, new: bool) -> rusqlite::Result<(Connection, Found)> {
        let mut connection = Connection::open_with_flags(&self.path, FLAGS)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if new && !self.layout.durable {
            // While there is nothing to lose there is no order of writes to wait for, neither of the file's beginning nor of
            // the log's, which follows no older one; and nothing to go back to, so no file is made for that.
            connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")?;
        }
        log_ahead(&connection)?;
        connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;")?;
        let mut found = stamped(&connection)?;
        if found == 0 {
            self.fill(&mut connection)?;
            found = stamped(&connection)?;
        }
        connection.execute_batch(self.layout.pragmas)?;
        if self.step(found).is_some() {
            self.upgrade(&mut connection)?;
            found = stamped(&connection)?;
        }
        // Reading the schema here also opens the log, under the lock that keeps the file in its place.
        let names: Vec<String> = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table'")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let found = Found {
            version: unstamp(found),
            tables: names.len(),
        };
        Ok((connection, found))
    }

    /// Makes the tables where no other process has done so meanwhile.
    fn fill(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if stamped(&transaction)? == 0 {
            transaction.execute_batch(self.layout.tables)?;
            transaction.pragma_update(None, "user_version", stamp(self.layout.version))?;
        }
        transaction.commit()
    }

    /// How the tables of the version that is stamped are brought up, where that is an older one.
    fn step(&self, stamped: i64) -> Option<&'static (i64, &'static str)> {
        let version = unstamp(stamped)?;
        let mut upgrades = self.layout.upgrades.iter();
        upgrades.find(|(from, _)| *from == version)
    }

    /// Brings the tables of an older version up, all steps in one transaction.
    fn upgrade(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have done it meanwhile.
        while let Some((from, sql)) = self.step(stamped(&transaction)?) {
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "user_version", stamp(from + 1))?;
        }
        transaction.commit()
    }

    /// What SQLite itself says of the file. One that it cannot even look at counts as broken.
    fn is_sound(&self) -> bool {
        let checked = Connection::open_with_flags(&self.path, FLAGS).and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let verdict: String =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(verdict == "ok" && unstamp(stamped(&connection)?) == Some(self.layout.version))
        });
        match checked {
            Ok(sound) => sound,
            // Not looked at is not found broken.
            Err(error) => CommitError::of(&error).kind != FaultKind::Corrupt,
        }
    }

    /// Moves the database aside when `fault`, met on `file`, means that it is broken. True when trying again makes sense.
    pub(crate) fn replace_if_broken(&self, fault: &CommitError, file: FileId) -> bool {
        let broken = match fault.kind {
            FaultKind::Corrupt => true,
            FaultKind::Busy | FaultKind::Newer => false,
            // A broken header can look like missing rights or a full disk. The folder tells.
            FaultKind::Unwritable => probe(&self.dir).is_ok(),
            FaultKind::Full => self.room().is_some_and(|room| room > NOT_FULL_BYTES),
        };
        broken && !(self.layout.precious && self.is_sound()) && self.move_aside(fault, file)
    }

    fn move_aside(&self, fault: &CommitError, file: FileId) -> bool {
        let Ok(_guard) = lock_file(&self.lock_path(), FlockOperation::LockExclusive) else {
            return false;
        };
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
        let aside = with_suffix(&self.path, ASIDE);
        remove_any(&aside);
        tracing::warn!(path = %self.path.display(), "a database cannot be used and is begun anew: {fault}");
        let moved = std::fs::rename(&self.path, &aside).is_ok();
        if moved {
            self.replaced.store(true, Ordering::Relaxed);
            for suffix in ["-wal", "-shm", "-journal"] {
                remove_any(&with_suffix(&self.path, suffix));
            }
        }
        moved
    }

    /// Removes the database and what was moved aside.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        let _guard = lock_file(&self.lock_path(), FlockOperation::LockExclusive)?;
        *lock(&self.pool) = Pool::default();
        for suffix in ["", "-wal", "-shm", "-journal", ASIDE] {
            remove_any(&with_suffix(&self.path, suffix));
        }
        Ok(())
    }
}

impl DbFile {
    /// Whether the log is one that closing the database empties.
    pub(crate) fn has_long_log(&self) -> bool {
        let log = with_suffix(&self.path, "-wal");
        std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_LEFT_BYTES)
    }
}

impl Drop for DbFile {
    fn drop(&mut self) {
        if self.has_long_log() {
            for connection in &lock(&self.pool).idle {
                // Where it fails the log is emptied by whoever next writes enough.
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
            }
        }
    }
}

/// How every connection opens the file.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn log_ahead(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
        row.get::<_, String>(0)
    })?;
    Ok(())
}

struct Found {
    /// None where the number is none of ours.
    version: Option<i64>,
    tables: usize,
}

/// A version with its own complement: a damaged number must not pass for a newer version, which nobody may replace.
fn stamp(version: i64) -> i64 {
    ((!version & 0x7fff) << 16) | (version & 0x7fff)
}

fn unstamp(stamped: i64) -> Option<i64> {
    let version = stamped & 0x7fff;
    (stamp(version) == stamped).then_some(version)
}

fn stamped(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether files can be made in `dir`: the difference between a broken database and a folder that nobody can use.
pub(crate) fn probe(dir: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = tempfile::Builder::new()
        .prefix(".probe-")
        .tempfile_in(dir)?;
    file.write_all(&[0; 4096])
}

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|found| (found.dev(), found.ino()))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const fn layout(version: i64) -> Layout {
        Layout {
            name: "test.db",
            tables: "CREATE TABLE one (number INTEGER NOT NULL);",
            table_count: 1,
            version,
            pragmas: "PRAGMA synchronous = NORMAL;",
            durable: false,
            keep_newer: true,
            precious: false,
            upgrades: &[],
        }
    }

    static OLD: Layout = layout(1);
    static NEW: Layout = layout(2);

    #[test]
    fn what_makes_a_file_without_waiting_goes_on_as_the_layout_says() {
        let temp = tempfile::tempdir().unwrap();
        let made = DbFile::open(temp.path(), &OLD).unwrap();
        let first = made.take().unwrap();
        let second = made.connect().unwrap();
        for opened in [first, second] {
            let asked = |pragma: &str| {
                let row = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
                opened.connection.query_row(pragma, [], row).unwrap()
            };
            assert_eq!(asked("PRAGMA synchronous"), 1.into());
            assert_eq!(asked("PRAGMA journal_mode"), "wal".to_owned().into());
        }
        assert!(!temp.path().join("test.db-journal").exists());
    }

    #[test]
    fn a_database_of_an_older_version_is_called_that_and_begun_anew() {
        let temp = tempfile::tempdir().unwrap();
        let old = DbFile::open(temp.path(), &OLD).unwrap();
        let wrote = old.read(|connection| connection.execute("INSERT INTO one VALUES (1)", []));
        assert_eq!(wrote, Some(1));
        drop(old);
        let new = DbFile {
            dir: temp.path().to_owned(),
            path: temp.path().join(NEW.name),
            layout: &NEW,
            pool: Mutex::default(),
            replaced: AtomicBool::new(false),
        };
        let fault = new.try_connect().err().unwrap();
        assert_eq!(fault.to_string(), "it was made by an older sykli");
        new.put_back(new.connect().unwrap());
        let rows = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM one", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(new.read(rows), Some(0));
        assert!(new.set_aside().unwrap().exists());
        let refused = DbFile::open(temp.path(), &OLD).err().unwrap();
        assert_eq!(refused.kind, FaultKind::Newer);
    }
}
