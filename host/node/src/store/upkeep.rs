//! What the `cache` commands do beside collecting: count, verify, remove everything.
//!
//! Only files of ours are ever touched: what else lies in the cache folder stays. Called by `sykli cache`.

use super::gc::{digest_of, for_each_file};
use super::hash::{Buffer, hash_file};
use super::record;
use super::results::checksum;
use super::write::{Op, ROW_BYTES};
use super::{Store, StoreError};
use std::fs::File;
use std::path::Path;
use sykli_core::id::Digest;

/// How many of a kind, and how many bytes they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindStats {
    /// How many.
    pub count: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// What is in the cache, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blobs kept as files.
    pub large_blobs: KindStats,
    /// Blobs kept in the database.
    pub small_blobs: KindStats,
    /// Results of tasks.
    pub results: KindStats,
    /// Remembered digests of project files.
    pub memo: KindStats,
    /// Compiled components.
    pub code: KindStats,
    /// Files being written, or left by processes that were killed.
    pub temporary: KindStats,
    /// Bytes of the database's files, whatever is in them.
    pub database_bytes: u64,
    /// A database that was found broken and moved aside.
    pub set_aside_bytes: u64,
    /// Processes that use the cache now, this one left out.
    pub processes: u64,
}

impl Stats {
    /// Bytes on disk of everything together.
    pub fn total_bytes(&self) -> u64 {
        let files = [self.large_blobs, self.code, self.temporary]
            .iter()
            .map(|kind| kind.bytes)
            .sum::<u64>();
        files + self.database_bytes + self.set_aside_bytes
    }
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs whose content was compared with their name.
    pub blobs: u64,
    /// Results whose checksum and blobs were looked at.
    pub results: u64,
    /// Blobs that were not what their name says; dropped.
    pub broken_blobs: u64,
    /// Results that were broken or had lost a blob; dropped.
    pub broken_results: u64,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Bytes on disk.
    pub bytes: u64,
    /// Blobs of either kind.
    pub blobs: u64,
    /// Results.
    pub results: u64,
}

impl Store {
    /// Counts what is there.
    pub fn stats(&self) -> Stats {
        // What is still queued is not there yet; that it cannot be written shows elsewhere.
        let _ = self.flush();
        let mut stats = Stats::default();
        let tables = self.inner.index.read(|connection| {
            let kind = |sql: &str| {
                connection.query_row(sql, [], |row| {
                    let (count, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
                    Ok(KindStats {
                        count: count.cast_unsigned(),
                        bytes: bytes.cast_unsigned(),
                    })
                })
            };
            Ok([
                kind("SELECT count(*), coalesce(sum(length(bytes)), 0) FROM blobs")?,
                kind("SELECT count(*), coalesce(sum(length(record)), 0) FROM results")?,
                kind("SELECT coalesce(sum(count), 0), coalesce(sum(length(folder) + length(files)), 0) FROM memo")?,
            ])
        });
        [stats.small_blobs, stats.results, stats.memo] = tables.unwrap_or_default();
        stats.large_blobs = count(&self.inner.dir.join("blobs"));
        stats.code = count(&self.code_dir());
        stats.temporary = count(&self.spool_dir());
        let size = |suffix: &str| {
            let path = self.inner.dir.join(format!("cache.db{suffix}"));
            std::fs::symlink_metadata(path).map_or(0, |found| found.len())
        };
        stats.database_bytes = ["", "-wal", "-shm"].into_iter().map(size).sum();
        stats.set_aside_bytes = size(crate::db::ASIDE);
        let live = &self.inner.live;
        stats.processes = live
            .exclusive()
            .and_then(|_alone| live.others())
            .map_or(0, |others| others.count as u64);
        stats
    }

    /// Reads everything and drops what is broken.
    pub fn verify(&self) -> VerifyReport {
        let _ = self.flush();
        self.inner.small.forget();
        let mut report = VerifyReport::default();
        self.verify_rows(&mut report);
        let mut buffer = Buffer::new();
        for_each_file(&self.inner.dir.join("blobs"), &mut |path, _| {
            let Some(digest) = digest_of(path) else {
                return;
            };
            report.blobs += 1;
            if File::open(path)
                .and_then(|file| hash_file(&file, &mut buffer))
                .is_ok_and(|found| found == digest)
            {
                return;
            }
            report.broken_blobs += 1;
            self.discard(&digest);
        });
        // Results last: those that lost a blob above are found incomplete.
        let _ = self.flush();
        self.inner.small.forget();
        crate::db::lock(&self.inner.trees).clear();
        self.verify_results(&mut report);
        let _ = self.flush();
        report
    }

    fn verify_rows(&self, report: &mut VerifyReport) {
        let broken = self.inner.index.read(|connection| {
            let mut broken = Vec::new();
            let mut statement = connection.prepare("SELECT digest, bytes, rowid FROM blobs")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                report.blobs += 1;
                let (digest, bytes) = (row.get_ref(0)?.as_blob(), row.get_ref(1)?.as_blob());
                let right = matches!((digest, bytes), (Ok(digest), Ok(bytes)) if digest == Digest::of(bytes).as_bytes());
                if !right {
                    broken.push(row.get::<_, i64>(2)?);
                }
            }
            Ok(broken)
        });
        let broken = broken.unwrap_or_default();
        report.broken_blobs += broken.len() as u64;
        self.inner.index.read(|connection| {
            for row in &broken {
                connection.execute("DELETE FROM blobs WHERE rowid = ?1", [row])?;
            }
            Ok(())
        });
    }

    fn verify_results(&self, report: &mut VerifyReport) {
        type Row = (i64, Vec<u8>, Vec<u8>, Vec<u8>);
        let rows: Vec<Row> = self
            .inner
            .index
            .read(|connection| {
                let mut statement =
                    connection.prepare("SELECT rowid, task, record, sum FROM results")?;
                let rows = statement.query_map([], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?;
                rows.collect::<rusqlite::Result<Vec<Row>>>()
            })
            .unwrap_or_default();
        for (row, key, record, sum) in rows {
            report.results += 1;
            let intact = sum == checksum(&key, &record);
            if intact && record::decode(&record).is_some_and(|record| self.sound(&record)) {
                continue;
            }
            report.broken_results += 1;
            self.inner.index.read(|connection| {
                connection.execute("DELETE FROM results WHERE rowid = ?1", [row])
            });
        }
    }

    /// Removes everything that is ours. What other processes still write afterwards is theirs.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while other processes use the cache, and when the folder cannot be read or locked.
    pub fn clear(&self) -> Result<Cleared, StoreError> {
        let stats = self.stats();
        let dir = &self.inner.dir;
        let fail = |error: &std::io::Error| StoreError::io(dir, error);
        let _alone = self.inner.live.exclusive().map_err(|error| fail(&error))?;
        let others = self.inner.live.others().map_err(|error| fail(&error))?;
        if others.count > 0 {
            return Err(StoreError::InUse {
                path: dir.clone(),
                processes: others.count,
            });
        }
        // Through the writer, so that nothing queued comes after.
        self.inner.index.remove().map_err(|error| fail(&error))?;
        for part in ["blobs", "code", "tmp"] {
            let path = dir.join(part);
            remove_contents(&path).map_err(|error| StoreError::io(&path, &error))?;
        }
        self.inner.small.forget();
        crate::db::lock(&self.inner.trees).clear();
        crate::db::lock(&self.inner.files).clear();
        // A fresh database at once: what follows in this process finds one, and its absence is no surprise.
        self.inner
            .writer
            .push(Op::DropResult { key: [0; 32] }, ROW_BYTES);
        self.flush()?;
        Ok(Cleared {
            bytes: stats.total_bytes(),
            blobs: stats.large_blobs.count + stats.small_blobs.count,
            results: stats.results.count,
        })
    }
}

fn count(dir: &Path) -> KindStats {
    let mut kind = KindStats::default();
    for_each_file(dir, &mut |_, found| {
        kind.count += 1;
        kind.bytes += found.len();
    });
    kind
}

fn remove_contents(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
