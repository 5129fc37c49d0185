//! The journal: which runs there were, what became of each instance, and how long tasks took.
//!
//! It lives in `$XDG_STATE_HOME/sykli/state.db` (SQLite, WAL) and is what a run reports from: an instance counts as settled
//! when its row is committed. Of a run that reaches further than this machine it also keeps which nodes it met, what happened
//! to its tasks on their way there, who ran them, and what these signed for it; a solo run adds nothing. Rows of many instances are committed together by one writer thread; a commit survives the
//! death of the process at once, and the death of the machine by what SQLite's `synchronous = NORMAL` gives. A broken file
//! is moved aside and begun anew, with what the live runs of this process already said about themselves; a file of a newer
//! version is refused. Any number of processes may write at once.
//!
//! It never decides anything from what it knows, and reading never fails: what cannot be read is as if it had not been
//! written. Called by the run loop, and by `plan`, `cache why` and whatever shows past runs.

mod elsewhere;
mod live;
mod read;
mod receipts;
mod steps;
#[cfg(test)]
mod tests;
mod write;

pub use crate::db::{CommitError, CommitWatcher, FaultKind, Ticket};
pub use elsewhere::{Ends, Tally};
pub use read::{Instance, Run, RunState};
pub use receipts::Kept;
pub use steps::{NewStep, Noted, lost_code};
pub use write::{NewRun, Outcome, Said, Settled};

use crate::db::{DbFile, Layout, Writer};
use crate::events::NodeRef;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use sykli_core::id::RunId;

/// Steps that are kept of one instance.
pub const MAX_STEPS: usize = sykli_core::consent::owner::MAX_STEPS;

/// Most bytes that wait for the writer thread.
const QUEUE_BYTES: usize = 16 << 20;

pub(crate) const LAYOUT: Layout = Layout {
    name: "state.db",
    tables: "
        CREATE TABLE runs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline BLOB NOT NULL, name TEXT NOT NULL,
            started_ms INTEGER NOT NULL, finished_ms INTEGER, passed INTEGER, instances INTEGER NOT NULL,
            mode INTEGER NOT NULL DEFAULT 0, tasks TEXT, steps INTEGER NOT NULL DEFAULT 0);
        CREATE INDEX runs_of_pipeline ON runs (pipeline, seq);
        CREATE TABLE instances (run INTEGER NOT NULL, label TEXT NOT NULL, task TEXT NOT NULL, outcome INTEGER NOT NULL,
            digest BLOB, attempt INTEGER NOT NULL, wall_ms INTEGER NOT NULL, fuel INTEGER NOT NULL, failure TEXT,
            node TEXT, stolen INTEGER NOT NULL DEFAULT 0, stdout TEXT, stderr TEXT,
            PRIMARY KEY (run, label)) WITHOUT ROWID;
        CREATE TABLE durations (pipeline BLOB NOT NULL, task TEXT NOT NULL, wall_ms INTEGER NOT NULL,
            PRIMARY KEY (pipeline, task)) WITHOUT ROWID;
        CREATE TABLE nodes (run INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
            PRIMARY KEY (run, id)) WITHOUT ROWID;
        CREATE TABLE steps (run INTEGER NOT NULL, label TEXT NOT NULL, place INTEGER NOT NULL, at_ms INTEGER NOT NULL,
            attempt INTEGER NOT NULL, node TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT,
            PRIMARY KEY (run, label, place)) WITHOUT ROWID;
        CREATE TABLE receipts (run INTEGER NOT NULL, label TEXT NOT NULL, receipt BLOB NOT NULL,
            PRIMARY KEY (run, label)) WITHOUT ROWID;
        CREATE TABLE proofs (seq INTEGER PRIMARY KEY, proof BLOB NOT NULL UNIQUE);",
    table_count: 7,
    version: 3,
    pragmas: "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4096;",
    durable: false,
    keep_newer: true,
    precious: false,
    upgrades: &[(1, TO_2), (2, TO_3)],
};

/// What version 1, which knew of this machine only, lacks.
const TO_2: &str = "
    ALTER TABLE runs ADD COLUMN mode INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN tasks TEXT;
    ALTER TABLE runs ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE instances ADD COLUMN node TEXT;
    ALTER TABLE instances ADD COLUMN stolen INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE instances ADD COLUMN stdout TEXT;
    ALTER TABLE instances ADD COLUMN stderr TEXT;
    CREATE TABLE nodes (run INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (run, id)) WITHOUT ROWID;
    CREATE TABLE steps (run INTEGER NOT NULL, label TEXT NOT NULL, place INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        attempt INTEGER NOT NULL, node TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT,
        PRIMARY KEY (run, label, place)) WITHOUT ROWID;";

/// What version 2, which kept nothing that was signed, lacks.
const TO_3: &str = "
    CREATE TABLE receipts (run INTEGER NOT NULL, label TEXT NOT NULL, receipt BLOB NOT NULL,
        PRIMARY KEY (run, label)) WITHOUT ROWID;
    CREATE TABLE proofs (seq INTEGER PRIMARY KEY, proof BLOB NOT NULL UNIQUE);";

/// What can go wrong with the journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The state folder cannot be used.
    #[error("the journal cannot be written: {}: {message}", path.display())]
    Unwritable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// No space is left.
    #[error("no space left for the journal: {}: {message}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A newer sykli wrote it.
    #[error("{} was written by a newer sykli: {message}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which version it has.
        message: String,
    },
    /// A run that was to be resumed is not there.
    #[error("there is no unfinished run {run}")]
    NoRun {
        /// Which.
        run: RunId,
    },
    /// A run that was to be resumed goes on in another process.
    #[error("the run {run} goes on in another process")]
    Running {
        /// Which.
        run: RunId,
    },
}

impl JournalError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            JournalError::Unwritable { .. } => "journal::unwritable",
            JournalError::Full { .. } => "journal::full",
            JournalError::Newer { .. } => "journal::newer",
            JournalError::NoRun { .. } => "journal::no-run",
            JournalError::Running { .. } => "journal::running",
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            JournalError::Unwritable { path, .. } => format!(
                "make {} writable for you (chmod u+rwx), or set XDG_STATE_HOME to another folder",
                path.display()
            ),
            JournalError::Full { .. } => {
                "free some space, or set XDG_STATE_HOME to a folder on another disk".to_owned()
            }
            JournalError::Newer { .. } => {
                "use the newer sykli, or set XDG_STATE_HOME to another folder for this one"
                    .to_owned()
            }
            JournalError::NoRun { .. } => {
                "`sykli history` lists the runs that there were".to_owned()
            }
            JournalError::Running { .. } => {
                "`sykli status --watch` shows it; wait until it ends, or end it there".to_owned()
            }
        }
    }

    pub(crate) fn commit(path: &Path, error: CommitError) -> JournalError {
        let (path, message) = (path.to_owned(), error.message);
        match error.kind {
            FaultKind::Full => JournalError::Full { path, message },
            FaultKind::Newer => JournalError::Newer { path, message },
            FaultKind::Unwritable | FaultKind::Busy | FaultKind::Corrupt => {
                JournalError::Unwritable { path, message }
            }
        }
    }
}

/// The journal of this user's runs. Cheap to clone; the last clone to go commits what is still queued.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    // Dropped first: its thread uses what follows.
    writer: Writer<write::Op>,
    db: Arc<DbFile>,
    /// A locked file for each run of this process that has not finished: how others tell it from a killed one.
    live: Mutex<BTreeMap<String, (File, PathBuf)>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `state_dir`, which is made (0700) where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be used, or a newer version wrote the file.
    pub fn open(state_dir: &Path) -> Result<Journal, JournalError> {
        let unwritable = |path: &Path, message: String| JournalError::Unwritable {
            path: path.to_owned(),
            message,
        };
        for part in [state_dir.to_owned(), state_dir.join("live")] {
            // The path is named already.
            crate::paths::create_private(&part).map_err(|error| {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                unwritable(&part, why.unwrap_or_else(|| error.to_string()))
            })?;
        }
        let db = DbFile::open(state_dir, &LAYOUT)
            .map_err(|error| JournalError::commit(state_dir, error))?;
        let db = Arc::new(db);
        let writer = Writer::start(
            "sykli-journal",
            QUEUE_BYTES,
            write::JournalSink::new(Arc::clone(&db)),
        )
        .map_err(|error| unwritable(state_dir, error.to_string()))?;
        let inner = Inner {
            dir: state_dir.to_owned(),
            writer,
            db,
            live: Mutex::default(),
        };
        Ok(Journal {
            inner: Arc::new(inner),
        })
    }

    /// Where a broken journal was moved, if this process had to: worth a warning.
    pub fn set_aside(&self) -> Option<PathBuf> {
        self.inner.db.set_aside()
    }

    /// Has `watcher` told after each commit, on the writer thread: the highest [`Ticket::sequence`] that is settled, and
    /// why the batch failed if it did. There is one watcher; it must not block for long.
    pub fn watch(&self, watcher: Option<CommitWatcher>) {
        self.inner.writer.watch(watcher);
    }

    /// Begins a run and waits until that is committed.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn begin_run(&self, run: NewRun) -> Result<RunId, JournalError> {
        let (id, ticket) = self.start_run(run);
        self.begun(&ticket)?;
        Ok(id)
    }

    /// As [`Journal::begin_run`], but waits for nothing: it has begun once [`Journal::begun`] says so of the ticket.
    pub fn start_run(&self, run: NewRun) -> (RunId, Ticket) {
        let id = new_id(run.started);
        self.announce(&id);
        let ticket = self.push_begin(&id, run);
        (id, ticket)
    }

    /// Waits until the run of this ticket is committed.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn begun(&self, ticket: &Ticket) -> Result<(), JournalError> {
        let begun = ticket.wait();
        begun.map_err(|error| JournalError::commit(&self.inner.dir, error))
    }

    /// Goes on with a run whose process ended before it did: what settles from here on is recorded under its name.
    ///
    /// # Errors
    /// When there is no such run, it has ended, or another process has it; or when nothing can be written.
    pub fn resume_run(&self, id: &RunId, run: NewRun) -> Result<(), JournalError> {
        let found = self.run(id).filter(|found| found.finished_ms.is_none());
        if found.is_none() {
            return Err(JournalError::NoRun { run: id.clone() });
        }
        if !self.take_over(id) {
            return Err(JournalError::Running { run: id.clone() });
        }
        let ticket = self.push_begin(id, run);
        self.begun(&ticket)
    }

    fn push_begin(&self, id: &RunId, run: NewRun) -> Ticket {
        let op = write::Op::Begin {
            id: id.clone(),
            run: Arc::new(run),
        };
        self.inner.writer.push(op, 512)
    }

    /// Records what became of instances of `run`. The ticket is for all of them.
    pub fn settle(&self, run: &RunId, settled: Vec<Settled>) -> Ticket {
        let weight = settled.iter().map(Settled::weight).sum();
        self.inner.writer.push(
            write::Op::Settle {
                run: run.clone(),
                settled,
            },
            weight,
        )
    }

    /// Records what happened to tasks of `run` on their way to other nodes, in order. Beyond [`MAX_STEPS`] of one instance
    /// nothing more of it is kept.
    pub fn note(&self, run: &RunId, steps: Vec<NewStep>) -> Ticket {
        let weight = steps.iter().map(NewStep::weight).sum();
        let run = run.clone();
        self.inner
            .writer
            .push(write::Op::Steps { run, steps }, weight)
    }

    /// Records which nodes a run has met. A name that is told again replaces the one before.
    pub fn met(&self, run: &RunId, nodes: Vec<NodeRef>) -> Ticket {
        let weight = nodes.len() * 256;
        let run = run.clone();
        self.inner
            .writer
            .push(write::Op::Met { run, nodes }, weight)
    }

    /// Ends a run.
    pub fn finish_run(&self, run: &RunId, passed: bool, at: SystemTime) -> Ticket {
        let ticket = self.inner.writer.push(
            write::Op::Finish {
                run: run.clone(),
                passed,
                at_ms: millis(at),
            },
            128,
        );
        self.release(run);
        ticket
    }

    /// Commits what is queued, for a process that ends without dropping this. Whether it may: a log that has grown long is
    /// emptied by closing the database.
    pub(crate) fn rest(&self) -> bool {
        // Whoever had to know has waited for its ticket.
        let _ = self.inner.writer.barrier().wait();
        !self.inner.db.has_long_log()
    }

    /// Waits until everything recorded so far is committed.
    ///
    /// # Errors
    /// When it could not be.
    pub fn flush(&self) -> Result<(), JournalError> {
        self.inner
            .writer
            .barrier()
            .wait()
            .map_err(|error| JournalError::commit(&self.inner.dir, error))
    }
}

pub(crate) fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A name that sorts by time: 48 bits of milliseconds, then 80 that nobody else has, in Crockford's base 32.
fn new_id(at: SystemTime) -> RunId {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let random = {
        // The standard library's hash keys are random for each process and differ with each use.
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        let first = hasher.finish();
        hasher.write_u128(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
        (u128::from(first) << 64) | u128::from(hasher.finish())
    };
    let value = (u128::from(millis(at).cast_unsigned()) << 80) | (random & ((1 << 80) - 1));
    let digit = |place: u32| {
        DIGITS
            .get((value >> (place * 5)) as usize & 31)
            .copied()
            .unwrap_or(b'0')
    };
    let text: String = (0..26)
        .rev()
        .map(|place| char::from(digit(place)))
        .collect();
    // 26 letters and digits always name a run.
    RunId::new(text).unwrap_or_else(|_| unreachable!("26 letters and digits"))
}
