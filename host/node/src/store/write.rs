//! The writer of `cache.db`: what is queued becomes one transaction; what waits can be read meanwhile.
//!
//! A batch that meets a broken database is written again into the new one. A batch that cannot be written at all keeps
//! its blobs in memory, within bounds, so that the run that made them goes on; what would only spare work later is
//! dropped. Called by the database's writer thread.

use super::recent::Recent;
use super::results::{self, NewRow};
use crate::db::{CommitError, DbFile, FileId, Layout, Opened, Sink, lock};
use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// `cache.db`. What is in it is checked when used and may be lost: waiting for the disk would buy nothing.
pub(crate) const LAYOUT: Layout = Layout {
    name: "cache.db",
    tables: "
        CREATE TABLE blobs (digest BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL, used INTEGER NOT NULL);
        CREATE TABLE results (short INTEGER NOT NULL, task BLOB NOT NULL, record BLOB NOT NULL, sum BLOB NOT NULL,
            used INTEGER NOT NULL);
        CREATE INDEX results_by_short ON results (short);
        CREATE TABLE memo (folder BLOB NOT NULL, first BLOB NOT NULL, seen INTEGER NOT NULL, count INTEGER NOT NULL,
            sum BLOB NOT NULL, files BLOB NOT NULL, PRIMARY KEY (folder, first)) WITHOUT ROWID;",
    table_count: 3,
    version: 2,
    pragmas: "PRAGMA synchronous = OFF; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 8192;",
    durable: false,
    keep_newer: false,
    precious: false,
    upgrades: &[],
};
/// Pages that the writer keeps, in KiB (negative, as SQLite has it).
const WRITER_CACHE_KIB: i64 = -65_536;
/// Small blobs in memory that were read or written lately, in bytes.
const RECENT_BYTES: usize = 16 << 20;
/// Names of small blobs that this process has put, at least.
const PUT_NAMES: usize = 65_536;
/// Blobs that could not be committed are kept up to this many bytes; beyond it, putting fails.
const STRANDED_BYTES: usize = 64 << 20;
/// What a row costs beside its content, roughly.
pub(crate) const ROW_BYTES: usize = 96;

/// A task digest or a blob's.
pub(crate) type Key = [u8; 32];

/// One change of `cache.db`.
pub(crate) enum Op {
    Blob {
        key: Key,
        bytes: Bytes,
        used: u64,
        refresh: u64,
    },
    Results {
        rows: Vec<NewRow>,
        used: u64,
    },
    Touch {
        keys: Vec<Key>,
        used: u64,
    },
    DropBlob {
        key: Key,
    },
    DropResult {
        key: Key,
    },
    Memo {
        rows: Vec<crate::memo::Row>,
    },
}

/// Small blobs in memory: not yet committed ones, and lately used ones.
pub(crate) struct Small {
    state: Mutex<SmallState>,
}

struct SmallState {
    /// By digest: queued and not committed.
    pending: HashMap<Key, Bytes>,
    pending_bytes: usize,
    recent: Recent<Key, Bytes>,
    /// Blobs that this process has committed to `file`: putting them again changes nothing.
    put: Recent<Key, ()>,
    file: Option<FileId>,
    failing: Option<CommitError>,
}

impl Default for Small {
    fn default() -> Small {
        let state = SmallState {
            pending: HashMap::new(),
            pending_bytes: 0,
            recent: Recent::new(RECENT_BYTES),
            put: Recent::new(PUT_NAMES),
            file: None,
            failing: None,
        };
        Small {
            state: Mutex::new(state),
        }
    }
}

impl Small {
    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        let mut state = lock(&self.state);
        match state.pending.get(key) {
            Some(bytes) => Some(bytes.clone()),
            None => state.recent.get(key),
        }
    }

    /// Notes a blob that is about to be queued; false where it is queued or committed already.
    pub(crate) fn expect(&self, key: Key, bytes: &Bytes) -> Result<bool, CommitError> {
        let mut state = lock(&self.state);
        if state.pending.contains_key(&key) || state.put.get(&key).is_some() {
            return Ok(false);
        }
        if let Some(error) = &state.failing
            && state.pending_bytes > STRANDED_BYTES
        {
            return Err(error.clone());
        }
        state.pending.insert(key, bytes.clone());
        state.pending_bytes += bytes.len() + ROW_BYTES;
        Ok(true)
    }

    /// Notes a blob that was read and found right.
    pub(crate) fn remember(&self, key: Key, bytes: &Bytes) {
        lock(&self.state)
            .recent
            .insert(key, bytes.clone(), bytes.len() + ROW_BYTES);
    }

    /// Forgets what is only remembered. What is not committed stays.
    pub(crate) fn forget(&self) {
        let mut state = lock(&self.state);
        state.recent.clear();
        state.put.clear();
    }

    /// Takes note that blobs are committed to a file. What was put into another one is not in this.
    fn settled(&self, file: Option<FileId>, keys: impl Iterator<Item = Key>) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.file != file {
            state.put.clear();
            state.file = file;
        }
        for key in keys {
            let Some(bytes) = state.pending.remove(&key) else {
                continue;
            };
            let weight = bytes.len() + ROW_BYTES;
            state.pending_bytes = state.pending_bytes.saturating_sub(weight);
            state.recent.insert(key, bytes, weight);
            state.put.insert(key, (), 1);
        }
    }

    /// Forgets that a blob was put: it turned out to be broken.
    pub(crate) fn dropped(&self, key: &Key) {
        let mut state = lock(&self.state);
        state.put.remove(key);
        state.recent.remove(key);
    }

    /// Takes note that blobs are neither committed nor queued any more.
    fn given_up(&self, keys: impl Iterator<Item = Key>) {
        let mut state = lock(&self.state);
        for key in keys {
            if let Some(bytes) = state.pending.remove(&key) {
                let weight = bytes.len() + ROW_BYTES;
                state.pending_bytes = state.pending_bytes.saturating_sub(weight);
            }
        }
    }

    fn set_failing(&self, failing: Option<CommitError>) {
        lock(&self.state).failing = failing;
    }
}

pub(crate) struct CacheSink {
    index: Arc<DbFile>,
    small: Arc<Small>,
    opened: Option<Opened>,
    stranded: Vec<Op>,
}

impl CacheSink {
    pub(crate) fn new(index: Arc<DbFile>, small: Arc<Small>) -> CacheSink {
        CacheSink {
            index,
            small,
            opened: None,
            stranded: Vec::new(),
        }
    }

    /// Only the writer walks over all of the index again and again.
    fn connect(&self) -> Result<Opened, CommitError> {
        let opened = self.index.connect()?;
        let larger = opened
            .connection
            .pragma_update(None, "cache_size", WRITER_CACHE_KIB);
        larger.map_err(|error| CommitError::of(&error))?;
        Ok(opened)
    }

    fn attempt(&mut self, ops: &[Op]) -> Result<(), CommitError> {
        let mut opened = match self.opened.take() {
            Some(opened) if self.index.is_current(opened.file) => opened,
            _ => self.connect()?,
        };
        let outcome =
            apply_all(&mut opened.connection, ops).map_err(|error| CommitError::of(&error));
        match outcome {
            Ok(()) => {
                self.opened = Some(opened);
                Ok(())
            }
            Err(fault) => {
                let file = opened.file;
                drop(opened);
                if !self.index.replace_if_broken(&fault, file) {
                    return Err(fault);
                }
                let mut opened = self.connect()?;
                apply_all(&mut opened.connection, ops).map_err(|error| CommitError::of(&error))?;
                self.opened = Some(opened);
                Ok(())
            }
        }
    }
}

/// What is being written. Where writing panics it is lost, and nobody else would say so: its blobs would count as queued
/// for ever, and could not be put again.
struct Batch<'a> {
    ops: Vec<Op>,
    small: &'a Small,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.ops.is_empty() {
            self.small.given_up(blob_keys(&self.ops));
        }
    }
}

impl Sink for CacheSink {
    type Op = Op;

    fn commit(&mut self, ops: &mut Vec<Op>) -> Result<(), CommitError> {
        let small = Arc::clone(&self.small);
        let mut batch = Batch {
            ops: std::mem::take(&mut self.stranded),
            small: &small,
        };
        batch.ops.append(ops);
        let outcome = self.attempt(&batch.ops);
        let mut all = std::mem::take(&mut batch.ops);
        if outcome.is_ok() {
            let file = self.opened.as_ref().map(|opened| opened.file);
            self.small.settled(file, blob_keys(&all));
            all.clear();
        } else {
            tracing::debug!(?outcome, "the cache could not be written");
            all.retain(|op| matches!(op, Op::Blob { .. }));
        }
        self.stranded = all;
        self.small.set_failing(outcome.as_ref().err().cloned());
        outcome
    }
}

fn blob_keys(ops: &[Op]) -> impl Iterator<Item = Key> {
    ops.iter().filter_map(|op| match op {
        Op::Blob { key, .. } => Some(*key),
        _ => None,
    })
}

fn apply_all(connection: &mut Connection, ops: &[Op]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for op in ops {
        apply(&transaction, op)?;
    }
    transaction.commit()
}

fn apply(connection: &Connection, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::Blob {
            key,
            bytes,
            used,
            refresh,
        } => {
            // What is there already is only touched where its time is old: most puts of a known blob write nothing.
            connection
                .prepare_cached(
                    "INSERT INTO blobs (digest, bytes, used) VALUES (?1, ?2, ?3)
                     ON CONFLICT (digest) DO UPDATE SET bytes = excluded.bytes, used = excluded.used WHERE used < ?4",
                )?
                .execute(params![key.as_slice(), bytes.as_ref(), used.cast_signed(), refresh.cast_signed()])?;
        }
        Op::Results { rows, used } => {
            for row in rows {
                results::insert(connection, row, *used)?;
            }
        }
        Op::Touch { keys, used } => results::touch(connection, keys, *used)?,
        Op::DropBlob { key } => {
            connection
                .prepare_cached("DELETE FROM blobs WHERE digest = ?1")?
                .execute([key.as_slice()])?;
        }
        Op::DropResult { key } => results::delete(connection, key)?,
        Op::Memo { rows } => crate::memo::write(connection, rows)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_blob_is_expected_once_and_again_when_it_broke_or_its_file_is_another() {
        let (small, bytes) = (Small::default(), Bytes::from_static(b"bytes"));
        let [one, other] = [[1; 32], [2; 32]];
        let file = Some((1, 1));
        assert!(small.expect(one, &bytes).unwrap());
        assert!(!small.expect(one, &bytes).unwrap(), "it is queued");
        small.settled(file, [one].into_iter());
        assert!(!small.expect(one, &bytes).unwrap(), "it is committed");
        small.dropped(&one);
        assert!(small.get(&one).is_none());
        assert!(small.expect(one, &bytes).unwrap(), "it was broken");
        small.settled(file, [one].into_iter());
        assert!(small.expect(other, &bytes).unwrap());
        small.settled(Some((1, 2)), [other].into_iter());
        assert!(small.expect(one, &bytes).unwrap(), "the file is a new one");
        assert!(!small.expect(other, &bytes).unwrap());
        small.forget();
        assert!(small.expect(other, &bytes).unwrap(), "a collector was here");
    }

    #[test]
    fn a_blob_whose_writing_panicked_can_be_put_again() {
        let (small, key) = (Small::default(), [1; 32]);
        let bytes = Bytes::from_static(b"bytes");
        assert!(small.expect(key, &bytes).unwrap());
        let op = Op::Blob {
            key,
            bytes: bytes.clone(),
            used: 0,
            refresh: 0,
        };
        let write = || {
            let _batch = Batch {
                ops: vec![op],
                small: &small,
            };
            panic!("a test's own");
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        assert!(small.get(&key).is_none());
        assert_eq!(lock(&small.state).pending_bytes, 0);
        assert!(small.expect(key, &bytes).unwrap(), "it is not queued");
    }
}
