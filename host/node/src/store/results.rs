//! Results of pure, successful tasks by task digest.
//!
//! A row carries a checksum over its key and its content, so that a flipped byte is a miss. A record is only worth
//! something together with the blobs that it names: [`Store::complete`] looks whether they are there, [`Store::sound`]
//! whether they are right. Whether a result may be stored at all is the caller's to know. Called by the preparation of
//! tasks (look-up) and by the settling of runs (storing).
//!
//! Rows lie in the order in which they came, found by an index over the first four bytes of their task digest: an index
//! over whole digests, which are random, would be as large as the rows and touch a page of it for each insert.

use super::record::{self, Record};
use super::write::{Key, Op, ROW_BYTES};
use super::{SMALL_BYTES, Store, now_secs};
use crate::db::Ticket;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use sykli_core::id::Digest;

/// A result that is to be stored.
#[derive(Debug)]
pub struct NewResult {
    /// The task's digest.
    pub task: Digest,
    /// What it left. The blobs that it names have been put before.
    pub record: Record,
    /// Whether a look-up has just found no result of this task: there is nothing to replace.
    pub fresh: bool,
}

/// What rows of one task have in common in the index.
pub(super) fn short(key: &[u8]) -> i64 {
    key.first_chunk::<4>()
        .map_or(0, |first| i64::from(u32::from_be_bytes(*first)))
}

/// A row as it is written.
pub(crate) struct NewRow {
    pub(crate) key: Key,
    pub(crate) record: Vec<u8>,
    pub(crate) sum: Key,
    pub(crate) fresh: bool,
}

/// Inserts a row, inside the writer's transaction.
pub(crate) fn insert(connection: &Connection, row: &NewRow, used: u64) -> rusqlite::Result<()> {
    if !row.fresh {
        delete(connection, &row.key)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO results (short, task, record, sum, used) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            short(&row.key),
            row.key.as_slice(),
            row.record,
            row.sum.as_slice(),
            used.cast_signed()
        ])
        .map(|_| ())
}

/// Deletes the rows of a task.
pub(crate) fn delete(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM results WHERE short = ?1 AND task = ?2")?
        .execute(params![short(key), key.as_slice()])
        .map(|_| ())
}

/// Deletes the rows of a task that were last used at `used` or before: another process may just have put one.
pub(crate) fn delete_unused(connection: &Connection, key: &Key, used: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM results WHERE short = ?1 AND task = ?2 AND used <= ?3")?
        .execute(params![short(key), key.as_slice(), used.cast_signed()])
        .map(|_| ())
}

/// Records when the results of a task were used.
pub(crate) fn touch(connection: &Connection, keys: &[Key], used: u64) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE results SET used = ?3 WHERE short = ?1 AND task = ?2")?;
    for key in keys {
        statement.execute(params![short(key), key.as_slice(), used.cast_signed()])?;
    }
    Ok(())
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
    Found { record: Box<Record>, used: u64 },
}

fn look_up(connection: &Connection, task: &Digest) -> rusqlite::Result<Row> {
    let key = task.as_bytes();
    let mut statement = connection
        .prepare_cached("SELECT record, sum, used FROM results WHERE short = ?1 AND task = ?2")?;
    let row = statement
        .query_row(params![short(key), key.as_slice()], |row| {
            let (record, sum) = (row.get_ref(0)?, row.get_ref(1)?);
            let intact =
                |record: &[u8]| sum.as_blob().is_ok_and(|sum| sum == checksum(key, record));
            Ok(
                match record
                    .as_blob()
                    .ok()
                    .filter(|record| intact(record))
                    .and_then(record::decode)
                {
                    Some(record) => Row::Found {
                        record: Box::new(record),
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
                    Some(*record)
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

    /// Stores results, together. Nothing is done, and there is nothing to wait for, where there are none.
    pub fn put_results(&self, results: Vec<NewResult>) -> Option<Ticket> {
        if results.is_empty() {
            return None;
        }
        self.inner.live.fresh_since();
        let mut rows: Vec<NewRow> = results
            .into_iter()
            .map(|result| {
                let (key, record) = (*result.task.as_bytes(), record::encode(&result.record));
                NewRow {
                    key,
                    sum: checksum(&key, &record),
                    record,
                    fresh: result.fresh,
                }
            })
            .collect();
        // In the index's order: neighbours share its pages.
        rows.sort_unstable_by_key(|row| row.key);
        let weight = rows.iter().map(|row| row.record.len() + ROW_BYTES).sum();
        let used = now_secs();
        Some(self.inner.writer.push(Op::Results { rows, used }, weight))
    }

    /// The manifest of a task whose result is kept, or that was put as a blob.
    pub fn manifest(&self, task: &Digest, max_bytes: u64) -> Option<Bytes> {
        if let Some(bytes) = self.read(task, max_bytes) {
            return Some(bytes);
        }
        let record = self.results(&[*task]).pop().flatten()?;
        let delta = record.manifest?;
        let base = self.read(&delta.base, max_bytes)?;
        let bytes = Bytes::from(delta.apply(&base)?);
        (Digest::of(&bytes) == *task).then_some(bytes)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::super::record::Delta;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        (temp, store)
    }

    fn result(store: &Store, task: Digest, fuel: u64, fresh: bool) -> NewResult {
        let outputs = store.put_bytes(&b"tree"[..]).unwrap();
        let record = Record {
            exit: 0,
            outputs,
            stdout: Digest::of(&[]),
            stderr: Digest::of(&[]),
            fuel,
            wall_ms: 0,
            peak_memory_bytes: 0,
            manifest: None,
            warnings: Vec::new(),
            unverified: false,
        };
        NewResult {
            task,
            record,
            fresh,
        }
    }

    fn rows(store: &Store) -> i64 {
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM results", [], |row| row.get(0))
        };
        store.inner.index.read(count).unwrap()
    }

    /// Two digests that the index cannot tell apart.
    fn alike() -> [Digest; 2] {
        [Digest([5; 32]), {
            let mut other = [5; 32];
            other[31] = 6;
            Digest(other)
        }]
    }

    #[test]
    fn tasks_with_the_same_first_bytes_are_told_apart() {
        let (_temp, store) = store();
        let [one, other] = alike();
        let put = vec![result(&store, one, 1, true), result(&store, other, 2, true)];
        store.put_results(put).unwrap().wait().unwrap();
        let found = store.results(&[other, Digest([5; 32]), Digest([7; 32])]);
        let fuel: Vec<_> = found
            .iter()
            .map(|one| one.as_ref().map(|one| one.fuel))
            .collect();
        assert_eq!(fuel, [Some(2), Some(1), None]);
        store.forget(&one).wait().unwrap();
        assert!(store.results(&[one])[0].is_none());
        assert!(store.results(&[other])[0].is_some());
        assert!(store.put_results(Vec::new()).is_none());
    }

    #[test]
    fn a_result_replaces_the_one_before_it() {
        let (_temp, store) = store();
        let [task, _] = alike();
        for fuel in [1, 2, 3] {
            let put = vec![result(&store, task, fuel, fuel == 1)];
            store.put_results(put).unwrap().wait().unwrap();
            assert_eq!(
                store.results(&[task])[0].as_ref().map(|one| one.fuel),
                Some(fuel)
            );
        }
        assert_eq!(rows(&store), 1);
    }

    #[test]
    fn a_manifest_is_read_back_from_its_result_or_from_its_blob() {
        let (_temp, store) = store();
        let base = store.put_bytes(&b"shard 1 of 9"[..]).unwrap();
        assert_eq!(store.manifest(&base, 100).unwrap(), &b"shard 1 of 9"[..]);
        let task = Digest::of(b"shard 12 of 9");
        assert!(store.manifest(&task, 100).is_none());
        let mut new = result(&store, task, 1, true);
        new.record.manifest = Some(Delta::between(base, b"shard 1 of 9", b"shard 12 of 9"));
        // A result whose difference belongs to another task says nothing.
        let mut wrong = result(&store, Digest([1; 32]), 1, true);
        wrong.record.manifest.clone_from(&new.record.manifest);
        let put = store.put_results(vec![new, wrong]).unwrap();
        put.wait().unwrap();
        assert_eq!(store.manifest(&task, 100).unwrap(), &b"shard 12 of 9"[..]);
        assert!(store.manifest(&Digest([1; 32]), 100).is_none());
    }

    #[test]
    fn a_blob_that_is_committed_is_not_written_again() {
        let (_temp, store) = store();
        let digest = store.put_bytes(&b"some bytes"[..]).unwrap();
        store.flush().unwrap();
        let before = store.inner.writer.barrier().sequence();
        assert_eq!(store.put_bytes(&b"some bytes"[..]).unwrap(), digest);
        assert_eq!(
            store.inner.writer.barrier().sequence(),
            before,
            "nothing was queued"
        );
    }
}
