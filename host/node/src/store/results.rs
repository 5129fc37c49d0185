//! Results of pure, successful tasks by task digest.
//!
//! A row carries a checksum over its key and its content, so that a flipped byte is a miss. A record is only worth
//! something together with the blobs that it names: [`Store::complete`] looks whether they are there, [`Store::sound`]
//! whether they are right. Whether a result may be stored at all is the caller's to know. Called by the preparation of
//! tasks (look-up) and by workers (storing).

use super::write::{Key, Op, ROW_BYTES};
use super::{SMALL_BYTES, Store, now_secs};
use crate::db::Ticket;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;
use sykli_core::id::Digest;

/// The first byte of a stored record.
const FORMAT: u8 = 1;
/// Warnings kept of one result, and the length of each in bytes.
const MAX_WARNINGS: usize = 64;
const MAX_WARNING_BYTES: usize = 4096;

/// What a task left behind, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The exit code.
    pub exit: i32,
    /// The tree of outputs.
    pub outputs: Digest,
    /// What was kept of standard output.
    pub stdout: Digest,
    /// What was kept of standard error.
    pub stderr: Digest,
    /// Fuel used.
    pub fuel: u64,
    /// Wall time of the run, in milliseconds.
    pub wall_ms: u64,
    /// The most memory it held, in bytes.
    pub peak_memory_bytes: u64,
    /// What the user should know each time the result is used.
    pub warnings: Vec<String>,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.exit.to_le_bytes());
        for digest in [&self.outputs, &self.stdout, &self.stderr] {
            out.extend(digest.as_bytes());
        }
        for number in [self.fuel, self.wall_ms, self.peak_memory_bytes] {
            out.extend(number.to_le_bytes());
        }
        for warning in self.warnings.iter().take(MAX_WARNINGS) {
            let mut end = warning.len().min(MAX_WARNING_BYTES);
            while !warning.is_char_boundary(end) {
                end -= 1;
            }
            let text = warning.get(..end).unwrap_or_default();
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
        let mut rest = bytes;
        if take::<1>(&mut rest)? != [FORMAT] {
            return None;
        }
        let mut record = Record {
            exit: i32::from_le_bytes(take(&mut rest)?),
            outputs: Digest(take(&mut rest)?),
            stdout: Digest(take(&mut rest)?),
            stderr: Digest(take(&mut rest)?),
            fuel: u64::from_le_bytes(take(&mut rest)?),
            wall_ms: u64::from_le_bytes(take(&mut rest)?),
            peak_memory_bytes: u64::from_le_bytes(take(&mut rest)?),
            warnings: Vec::new(),
        };
        while !rest.is_empty() && record.warnings.len() < MAX_WARNINGS {
            let len = u32::from_le_bytes(take(&mut rest)?) as usize;
            let (text, tail) = rest.split_at_checked(len)?;
            record
                .warnings
                .push(std::str::from_utf8(text).ok()?.to_owned());
            rest = tail;
        }
        rest.is_empty().then_some(record)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// The checksum of a row.
pub(super) fn checksum(key: &[u8], record: &[u8]) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(record);
    *hasher.finalize().as_bytes()
}

enum Row {
    Missing,
    Broken,
    Found { record: Record, used: u64 },
}

fn look_up(connection: &Connection, task: &Digest) -> rusqlite::Result<Row> {
    let key = task.as_bytes();
    let mut statement =
        connection.prepare_cached("SELECT record, sum, used FROM results WHERE task = ?1")?;
    let row = statement
        .query_row([key.as_slice()], |row| {
            let (record, sum) = (row.get_ref(0)?, row.get_ref(1)?);
            let intact =
                |record: &[u8]| sum.as_blob().is_ok_and(|sum| sum == checksum(key, record));
            Ok(
                match record
                    .as_blob()
                    .ok()
                    .filter(|record| intact(record))
                    .and_then(Record::decode)
                {
                    Some(record) => Row::Found {
                        record,
                        used: row.get::<_, i64>(2).unwrap_or(0).cast_unsigned(),
                    },
                    None => Row::Broken,
                },
            )
        })
        .optional()?;
    Ok(row.unwrap_or(Row::Missing))
}

impl Store {
    /// The results of these tasks, in their order; `None` where there is none, or a broken one. What is found is kept
    /// from collectors from now on. Results put by this process are found once they are committed.
    pub fn results(&self, tasks: &[Digest]) -> Vec<Option<Record>> {
        let fresh = self.inner.live.fresh_since();
        let mut stale = Vec::new();
        let rows = self.inner.index.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            tasks
                .iter()
                .map(|task| look_up(&snapshot, task))
                .collect::<rusqlite::Result<Vec<Row>>>()
        });
        let mut found = Vec::with_capacity(tasks.len());
        for (task, row) in tasks.iter().zip(rows.into_iter().flatten()) {
            found.push(match row {
                Row::Missing => None,
                Row::Broken => {
                    self.forget(task);
                    None
                }
                Row::Found { record, used } => {
                    if used < fresh {
                        stale.push(*task.as_bytes());
                    }
                    Some(record)
                }
            });
        }
        found.resize(tasks.len(), None);
        if !stale.is_empty() {
            self.touch(stale);
        }
        found
    }

    /// Records that results were used. The caller then looks whether their blobs are there: a collector that decided
    /// before has finished by now.
    fn touch(&self, keys: Vec<Key>) {
        let _no_gc = self.inner.live.shared();
        let weight = keys.len() * 32 + ROW_BYTES;
        // A time that cannot be recorded costs, at worst, a result that is collected early.
        let _ = self
            .inner
            .writer
            .push(
                Op::Touch {
                    keys,
                    used: now_secs(),
                },
                weight,
            )
            .wait();
    }

    /// Stores the result of `task`. The blobs that it names must have been put before.
    pub fn put_result(&self, task: &Digest, record: &Record) -> Ticket {
        self.inner.live.fresh_since();
        let (key, record) = (*task.as_bytes(), record.encode());
        let (sum, weight) = (checksum(&key, &record), record.len() + ROW_BYTES);
        self.inner.writer.push(
            Op::Result {
                key,
                record,
                sum,
                used: now_secs(),
            },
            weight,
        )
    }

    /// Drops the result of `task`: it is a miss from now on.
    pub fn forget(&self, task: &Digest) -> Ticket {
        self.inner.writer.push(
            Op::DropResult {
                key: *task.as_bytes(),
            },
            ROW_BYTES,
        )
    }

    /// Whether everything that `record` names is there, at its length. Contents are not read (but for the tree's): they
    /// are verified when they are used.
    pub fn complete(&self, record: &Record) -> bool {
        self.check(record, &|digest, size| match size {
            Some(size) if size >= SMALL_BYTES => self.is_file(digest, size),
            _ => self
                .small_bytes(digest)
                .is_some_and(|bytes| size.is_none_or(|size| size == bytes.len() as u64)),
        })
    }

    /// Whether everything that `record` names is there and is what its name says. Costs reading what this process has
    /// not verified yet.
    pub fn sound(&self, record: &Record) -> bool {
        self.check(record, &|digest, size| match size {
            Some(size) if size >= SMALL_BYTES => {
                self.is_file(digest, size) && self.verified_file(digest).is_some()
            }
            _ => self
                .small_bytes(digest)
                .is_some_and(|bytes| size.is_none_or(|size| size == bytes.len() as u64)),
        })
    }

    fn check(&self, record: &Record, there: &dyn Fn(&Digest, Option<u64>) -> bool) -> bool {
        let empty = Digest::of(&[]);
        for stream in [&record.stdout, &record.stderr] {
            let found =
                *stream == empty || there(stream, None) || self.verified_file(stream).is_some();
            if !found {
                return false;
            }
        }
        let Some(tree) = self.tree(&record.outputs) else {
            return false;
        };
        let mut seen = BTreeSet::new();
        tree.entries().iter().all(|entry| {
            entry.size == 0 || !seen.insert(entry.digest) || there(&entry.digest, Some(entry.size))
        })
    }

    fn is_file(&self, digest: &Digest, size: u64) -> bool {
        std::fs::symlink_metadata(self.blob_path(digest))
            .is_ok_and(|found| found.is_file() && found.len() == size)
    }
}

impl Store {
    /// Reads the memo's table; `None` where that fails.
    pub(crate) fn memo_read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        self.inner.index.read(query)
    }

    /// Queues rows of the memo.
    pub(crate) fn memo_write(&self, rows: Vec<crate::memo::Row>) {
        if !rows.is_empty() {
            let weight = rows.iter().map(|row| row.path.len() + ROW_BYTES).sum();
            self.inner.writer.push(Op::Memo { rows }, weight);
        }
    }
}
