//! The ledger: what must be durable before what depends on it is said to another node.
//!
//! It lives in `$XDG_DATA_HOME/sykli/mesh.db` (SQLite, WAL, `synchronous = FULL`): a record counts when it has reached the
//! disk itself, so that neither a killed process nor a cut of power takes back what a peer was told. Records that wait are
//! committed together by one writer thread. As owner: which attempts were offered or may have been, and which results were
//! accepted, until the run is over. As executor: the outbox, results that wait until their owners have them.
//!
//! # What is promised
//!
//! - `done(true)` is called after the record is on the disk. A record that was refused, or could not be written, is
//!   answered `done(false)`; that it is not there is not promised. One of both is called for every record, once.
//! - Operations take effect in the order in which they were handed over: after a crash there is what a beginning of them
//!   makes, and all that was answered `done(true)` is in it.
//! - Numbers that were reserved stay reserved until the run is over.
//! - Attempts that were offered stay spent until the run is over ([`Spent`]); what is forgotten of them is only that they
//!   are under way.
//!
//! # What is bounded
//!
//! What waits for the writer by bytes; the outbox by [`MAX_OUTBOX`] entries, [`MAX_OUTBOX_OF_OWNER`] an owner and
//! [`OUTBOX_DAYS`] days; runs by [`MAX_RUNS`], and what is kept of a run by its tasks.
//!
//! A broken file is moved aside and begun anew, which [`Ledger::set_aside`] tells: what it held is gone, so no run that was
//! begun before is to be resumed under its name. It never decides anything and never looks into a claim. Called by the
//! loop of a mesh node.

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::db::{CommitError, DbFile, FaultKind, Layout, Writer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use sykli_core::consent::{Forget, Record, Spent};
use sykli_core::id::{Attempt, LeaseKey, NodeId, RunId};
use sykli_core::receipt::SignedClaim;
use sykli_core::wire::encode_record;

/// Results that wait for their owners, of all owners together.
pub const MAX_OUTBOX: usize = 10_000;
/// Results that wait for one owner.
pub const MAX_OUTBOX_OF_OWNER: usize = 1_000;
/// Days that a result waits for its owner.
pub const OUTBOX_DAYS: u32 = 7;
/// Runs that are not over, as far as is known: the one that was begun first is forgotten beyond it.
pub const MAX_RUNS: usize = 512;

/// Most bytes that wait for the writer thread.
const QUEUE_BYTES: usize = 8 << 20;
/// What a record weighs there beyond its bytes.
const ROW_BYTES: usize = 256;

const TABLES: &str = "
    CREATE TABLE runs (seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, fence INTEGER NOT NULL DEFAULT 1);
    CREATE TABLE offered (run TEXT NOT NULL, task INTEGER NOT NULL, attempt INTEGER NOT NULL, open INTEGER NOT NULL,
        record BLOB NOT NULL, PRIMARY KEY (run, task)) WITHOUT ROWID;
    CREATE TABLE committed (run TEXT NOT NULL, task INTEGER NOT NULL, record BLOB NOT NULL,
        PRIMARY KEY (run, task)) WITHOUT ROWID;
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY, owner BLOB NOT NULL, run TEXT NOT NULL, task INTEGER NOT NULL,
        attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, record BLOB NOT NULL, UNIQUE (owner, run, task, attempt));
    CREATE INDEX outbox_by_owner ON outbox (owner, seq);";

pub(crate) const LAYOUT: Layout = Layout {
    name: "mesh.db",
    tables: TABLES,
    table_count: 4,
    version: 2,
    pragmas: "PRAGMA synchronous = FULL;",
    durable: true,
    keep_newer: true,
    precious: true,
    upgrades: &[(1, TO_2)],
};

/// What version 1 lacks, where each offer waited for its own record. Its results were signed by nobody, which no owner takes.
const TO_2: &str = "ALTER TABLE runs ADD COLUMN fence INTEGER NOT NULL DEFAULT 1;
    DELETE FROM outbox;
    DELETE FROM committed;";

/// What can go wrong with the ledger.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The data folder cannot be used.
    #[error("the mesh's ledger cannot be used: {}: {message}", path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// What the system or the database said.
        message: String,
    },
    /// No space is left.
    #[error("no space left for the mesh's ledger: {}: {message}", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A newer sykli wrote it.
    #[error("{} was written by a newer sykli: {message}", path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Which version it has.
        message: String,
    },
}

impl LedgerError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            LedgerError::Unusable { .. } => "ledger::unusable",
            LedgerError::Full { .. } => "ledger::full",
            LedgerError::Newer { .. } => "ledger::newer",
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            LedgerError::Unusable { path, .. } => format!(
                "make {} writable for you (chmod u+rwx), or set XDG_DATA_HOME to another folder",
                path.display()
            ),
            LedgerError::Full { .. } => {
                "free some space, or set XDG_DATA_HOME to a folder on another disk".to_owned()
            }
            LedgerError::Newer { .. } => {
                "use the newer sykli, or set XDG_DATA_HOME to another folder for this one"
                    .to_owned()
            }
        }
    }

    fn of(path: &Path, error: CommitError) -> LedgerError {
        let (path, message) = (path.to_owned(), error.message);
        match error.kind {
            FaultKind::Full => LedgerError::Full { path, message },
            FaultKind::Newer => LedgerError::Newer { path, message },
            FaultKind::Unwritable | FaultKind::Busy | FaultKind::Corrupt => {
                LedgerError::Unusable { path, message }
            }
        }
    }
}

/// Says what time it is, in milliseconds since 1970: only the outbox's age is told by it.
type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// What this node must not forget of its leases. Dropping it commits what is still queued.
pub struct Ledger {
    dir: PathBuf,
    // Dropped first: its thread uses what follows.
    writer: Writer<write::Op>,
    db: Arc<DbFile>,
    clock: Clock,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger in `data`, which is made (0700) where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be used, or a newer version wrote the file.
    pub fn open(data: &Path) -> Result<Ledger, LedgerError> {
        let clock = || crate::journal::millis(SystemTime::now());
        Ledger::open_as(data, &LAYOUT, Box::new(clock))
    }

    fn open_as(data: &Path, layout: &'static Layout, clock: Clock) -> Result<Ledger, LedgerError> {
        let unusable = |message: String| LedgerError::Unusable {
            path: data.to_owned(),
            message,
        };
        let is_new = !data.join(layout.name).exists();
        crate::paths::create_private(data).map_err(|error| unusable(error.to_string()))?;
        let db = DbFile::open(data, layout).map_err(|error| LedgerError::of(data, error))?;
        if is_new {
            keep_names(data);
        }
        let db = Arc::new(db);
        let sink = write::LedgerSink::new(Arc::clone(&db));
        let writer = Writer::start("sykli-ledger", QUEUE_BYTES, sink)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Ledger {
            dir: data.to_owned(),
            writer,
            db,
            clock,
        })
    }

    /// Where a broken ledger was moved, if this process had to: worth a warning, and reason not to resume what was begun
    /// before.
    pub fn set_aside(&self) -> Option<PathBuf> {
        self.db.set_aside()
    }

    /// Makes a record durable, then calls `done`: on the writer thread, so it must neither block for long nor call back
    /// here. False where it could not be made durable. Waits first while too much is queued.
    pub fn persist(&self, record: Record, done: impl FnOnce(bool) + Send + 'static) {
        let done = write::Done::new(done);
        let bytes = match encode_record(&record) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, "a record does not fit the ledger");
                return done.tell(false);
            }
        };
        let weight = bytes.len() + ROW_BYTES;
        let at_ms = (self.clock)();
        let op = write::Op::Put {
            record: Box::new(record),
            bytes,
            at_ms,
            done,
        };
        self.writer.push(op, weight);
    }

    /// Has a record go; nothing waits for that. One that could not be forgotten is found again after a restart, which
    /// the protocol bears.
    pub fn forget(&self, what: Forget) {
        self.writer.push(write::Op::Forget(what), ROW_BYTES);
    }

    /// Waits until everything handed over so far is settled.
    ///
    /// # Errors
    /// When the last of it could not be written.
    pub fn flush(&self) -> Result<(), LedgerError> {
        let settled = self.writer.barrier().wait();
        settled.map_err(|error| LedgerError::of(&self.dir, error))
    }

    /// Executor: results that wait for their owners, the oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn outbox(&self) -> Result<Vec<(NodeId, LeaseKey, Box<SignedClaim>)>, LedgerError> {
        let since = oldest((self.clock)());
        self.read(|connection| read::outbox(connection, since))
    }

    /// Owner: what was offered of a run, by task. A run must not go on where this cannot be told.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn spent(&self, run: &RunId) -> Result<Vec<Spent>, LedgerError> {
        self.read(|connection| read::spent(connection, run))
    }

    /// Owner: the first attempt of a run that was never offered, as far as its number tells: those below may have been.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn fence(&self, run: &RunId) -> Result<Attempt, LedgerError> {
        self.read(|connection| read::fence(connection, run))
    }

    /// Owner: results of a run that were accepted, by task. A task that is not among them has none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn committed(&self, run: &RunId) -> Result<Vec<(LeaseKey, Box<SignedClaim>)>, LedgerError> {
        self.read(|connection| read::committed(connection, run))
    }

    /// Owner: runs of which something is kept, the oldest first. Whether one is still under way in another process the
    /// journal knows.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn runs(&self) -> Result<Vec<RunId>, LedgerError> {
        self.read(read::runs)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let found = self.db.query(query);
        found.map_err(|error| LedgerError::of(&self.dir, error))
    }
}

/// The time before which a result in the outbox is too old.
fn oldest(now_ms: i64) -> i64 {
    now_ms.saturating_sub(i64::from(OUTBOX_DAYS) * 24 * 60 * 60 * 1000)
}

/// A new file is only kept once its folder, and the one above it, say so on the disk.
fn keep_names(data: &Path) {
    for folder in [Some(data), data.parent()].into_iter().flatten() {
        // Some file systems know no such thing; there the first commit is as good as it gets.
        let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
}
