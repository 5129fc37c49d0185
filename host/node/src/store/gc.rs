//! Collecting: what was used least lately goes first, until the cache is as small as it was asked to be.
//!
//! A blob is used whenever something that reaches it is used: a result is used no later than its manifest, its tree and
//! what is in it. So in the order of those times a blob never goes before the results that need it. What live processes
//! put or used is spared: they hold a lock from their first use on, and everything used since the first of them began
//! stays (and an hour before that, the grain in which uses are recorded). A collector that is killed leaves a cache with
//! fewer things in it, no broken one. Called by `sykli cache gc` and after runs.

use super::blobs::last_use;
use super::live::GRAIN_SECS;
use super::record;
use super::results::checksum;
use super::write::{Key, ROW_BYTES};
use super::{Store, StoreError, now_secs};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sykli_core::id::Digest;

/// Remembered digests of files go when they were not asked for in so long.
const MEMO_SECS: u64 = 60 * 24 * 3600;
/// A temporary file of a process that is gone, or one that has been written to for so long.
const TEMP_SECS: u64 = 24 * 3600;
/// Rows deleted in one transaction: other processes write in between.
const ROWS_AT_ONCE: usize = 1000;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes before.
    pub before_bytes: u64,
    /// Bytes that were removed.
    pub freed_bytes: u64,
    /// Blobs and compiled components that were removed.
    pub removed_blobs: u64,
    /// Results that were removed.
    pub removed_results: u64,
    /// Things that would have gone but are spared for running processes.
    pub spared: u64,
}

/// Something that can be removed.
struct Item {
    used: u64,
    bytes: u64,
    what: What,
}

enum What {
    Result(Key),
    Row(Key),
    File(PathBuf),
    Code(PathBuf),
}

impl What {
    /// At the same time a result goes before what it needs.
    fn rank(&self) -> u8 {
        match self {
            What::Result(_) => 0,
            _ => 1,
        }
    }
}

impl Store {
    /// Removes what was used least lately until at most `max_bytes` are left, and what dead processes left behind.
    ///
    /// # Errors
    /// When the folder cannot be read or locked.
    pub fn gc(&self, max_bytes: u64) -> Result<GcReport, StoreError> {
        let dir = &self.inner.dir;
        let fail = |error: &std::io::Error| StoreError::io(dir, error);
        // What this process has put must be seen as used. A failure keeps it from being seen, not from being in memory.
        let _ = self.flush();
        let _alone = self.inner.live.exclusive().map_err(|error| fail(&error))?;
        let others = self.inner.live.others().map_err(|error| fail(&error))?;
        let first = others
            .since
            .into_iter()
            .chain(self.inner.live.active_since())
            .min();
        let spare_from = first.map_or(u64::MAX, |since| since.saturating_sub(GRAIN_SECS));
        remove_temps(
            &self.spool_dir(),
            first
                .unwrap_or_else(now_secs)
                .saturating_sub(if first.is_some() { 1 } else { 0 }),
        );

        let mut items = self.items();
        items.sort_by_key(|item| (item.used, item.what.rank()));
        let mut report = GcReport {
            before_bytes: items.iter().map(|item| item.bytes).sum(),
            ..GcReport::default()
        };
        let mut left = report.before_bytes;
        let mut rows = Vec::new();
        for item in items {
            if left <= max_bytes {
                break;
            }
            if item.used >= spare_from {
                report.spared += 1;
                continue;
            }
            match &item.what {
                What::Result(_) | What::Row(_) => rows.push(item),
                What::File(path) | What::Code(path) => {
                    if std::fs::remove_file(path).is_err() {
                        continue;
                    }
                    report.removed_blobs += 1;
                    report.freed_bytes += item.bytes;
                    left = left.saturating_sub(item.bytes);
                    continue;
                }
            }
            left = left.saturating_sub(rows.last().map_or(0, |item| item.bytes));
        }
        self.remove_rows(&rows, &mut report);
        self.forget_memory();
        Ok(report)
    }

    fn forget_memory(&self) {
        self.inner.small.forget();
        crate::db::lock(&self.inner.trees).clear();
        crate::db::lock(&self.inner.files).clear();
    }

    fn remove_rows(&self, rows: &[Item], report: &mut GcReport) {
        for part in rows.chunks(ROWS_AT_ONCE) {
            let removed = self.inner.index.read(|connection| {
                let transaction = connection.unchecked_transaction()?;
                for item in part {
                    match &item.what {
                        What::Result(key) => {
                            super::results::delete_unused(&transaction, key, item.used)?
                        }
                        What::Row(key) => {
                            delete(&transaction, "DELETE FROM blobs WHERE digest = ?1", key)?
                        }
                        What::File(_) | What::Code(_) => {}
                    }
                }
                transaction.commit()
            });
            if removed.is_some() {
                let results = part
                    .iter()
                    .filter(|item| matches!(item.what, What::Result(_)))
                    .count() as u64;
                report.removed_results += results;
                report.removed_blobs += part.len() as u64 - results;
                report.freed_bytes += part.iter().map(|item| item.bytes).sum::<u64>();
            }
        }
        self.inner.index.read(|connection| {
            let oldest = now_secs().saturating_sub(MEMO_SECS).cast_signed();
            connection.execute("DELETE FROM memo WHERE seen < ?1", params![oldest])?;
            if rows.is_empty() {
                return Ok(());
            }
            connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        });
    }

    /// Everything that can be removed, each with the time when it was last used.
    fn items(&self) -> Vec<Item> {
        let mut used: HashMap<Key, u64> = HashMap::new();
        let mut items = self.result_items(&mut used);
        let blobs = self.inner.index.read(|connection| {
            let mut statement =
                connection.prepare("SELECT digest, length(bytes), used FROM blobs")?;
            let rows = statement.query_map([], |row| {
                let key: Vec<u8> = row.get(0)?;
                Ok((key, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        for (key, bytes, own) in blobs.into_iter().flatten() {
            let Ok(key) = Key::try_from(key) else {
                continue;
            };
            let reached = used.get(&key).copied().unwrap_or(0);
            let bytes = bytes.cast_unsigned() + ROW_BYTES as u64;
            items.push(Item {
                used: reached.max(own.cast_unsigned()),
                bytes,
                what: What::Row(key),
            });
        }
        for_each_file(&self.inner.dir.join("blobs"), &mut |path, found| {
            let reached = digest_of(path)
                .and_then(|digest| used.get(digest.as_bytes()).copied())
                .unwrap_or(0);
            items.push(Item {
                used: reached.max(last_use(found)),
                bytes: found.len(),
                what: What::File(path.to_owned()),
            });
        });
        for_each_file(&self.code_dir(), &mut |path, found| {
            items.push(Item {
                used: last_use(found),
                bytes: found.len(),
                what: What::Code(path.to_owned()),
            });
        });
        items
    }

    /// The results, and into `used` when each blob that they reach was last needed.
    fn result_items(&self, used: &mut HashMap<Key, u64>) -> Vec<Item> {
        let mut reach = |key: &Key, time: u64| {
            let entry = used.entry(*key).or_insert(time);
            *entry = (*entry).max(time);
        };
        let mut items = Vec::new();
        for (key, record, time) in self.inner.index.read(all_results).unwrap_or_default() {
            let bytes = (record.len() + ROW_BYTES) as u64;
            items.push(Item {
                used: time,
                bytes,
                what: What::Result(key),
            });
            let Some(record) = record::decode(&record) else {
                continue;
            };
            // The manifest is in the record as its difference from another, or the blob that the task digest names.
            let base = record.manifest.as_ref().map(|delta| delta.base.as_bytes());
            let named = [
                &key,
                record.outputs.as_bytes(),
                record.stdout.as_bytes(),
                record.stderr.as_bytes(),
            ];
            for digest in named.into_iter().chain(base) {
                reach(digest, time);
            }
            for entry in self
                .tree(&record.outputs)
                .iter()
                .flat_map(|tree| tree.entries())
            {
                reach(entry.digest.as_bytes(), time);
            }
        }
        items
    }
}

fn delete(connection: &Connection, sql: &str, key: &Key) -> rusqlite::Result<()> {
    connection
        .prepare_cached(sql)?
        .execute([key.as_slice()])
        .map(|_| ())
}

/// Every intact result: its key, its record and when it was last used.
pub(super) fn all_results(connection: &Connection) -> rusqlite::Result<Vec<(Key, Vec<u8>, u64)>> {
    let mut statement = connection.prepare("SELECT task, record, sum, used FROM results")?;
    let rows = statement.query_map([], |row| {
        let (key, record): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let sum: Vec<u8> = row.get(2)?;
        let intact = sum == checksum(&key, &record);
        Ok(Key::try_from(key)
            .ok()
            .filter(|_| intact)
            .zip(Some((record, row.get::<_, i64>(3)?.cast_unsigned()))))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows
        .into_iter()
        .flatten()
        .map(|(key, (record, used))| (key, record, used))
        .collect())
}

/// The digest that a blob's file name spells.
pub(super) fn digest_of(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    format!("b3:{folder}{name}").parse().ok()
}

/// Calls `visit` for every regular file below `dir`, two levels deep, links not followed.
pub(super) fn for_each_file(dir: &Path, visit: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    visit_below(dir, 2, visit);
}

fn visit_below(dir: &Path, depth: u32, visit: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(found) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_file() {
            visit(&path, &found);
        } else if found.is_dir() && depth > 0 {
            visit_below(&path, depth - 1, visit);
        }
    }
}

/// Removes temporary files that nobody writes any more: those older than the first process that lives.
fn remove_temps(dir: &Path, before: u64) {
    let ancient = now_secs().saturating_sub(TEMP_SECS);
    for_each_file(dir, &mut |path, found| {
        if u64::try_from(found.mtime()).is_ok_and(|written| written <= before || written < ancient)
        {
            let _ = std::fs::remove_file(path);
        }
    });
}
