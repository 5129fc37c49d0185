//! What the files of a project hashed to, remembered by what the file system says about them.
//!
//! A file that has the same length, times, inode and device as when it was hashed is taken to have the same content. The
//! exception is git's "racy" case: a file that was modified within the same tick of the clock as it was hashed could
//! have changed afterwards without a trace, so such a memory is not trusted. Rows live in `cache.db`, each with a
//! checksum; a wrong one is as good as none. It never opens a file. Called by `workspace`.

use crate::store::Store;
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sykli_core::id::Digest;

/// The coarsest tick that file systems take their times from: the kernel's clock tick, with room.
const TICK_NS: i64 = 20_000_000;
/// Some file systems keep whole seconds, or every second one.
const COARSE_TICK_NS: i64 = 2_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// What is older than 20 days is written again when it is used: collectors drop it after 60.
const REFRESH_NS: i64 = 20 * 24 * 3600 * SECOND_NS;
/// Rows that may be read in vain while scanning, for each one that was asked for.
const SCAN_FACTOR: usize = 4;

/// What the file system says about a file's content. Equal stamps of a file, equal contents (but see the module).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of anything about it, in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(found: &Metadata) -> Stamp {
        let ns = |secs: i64, nanos: i64| secs.saturating_mul(SECOND_NS).saturating_add(nanos);
        Stamp {
            size: found.len(),
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            ctime_ns: ns(found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
            device: found.dev(),
        }
    }

    /// The stamp of what `stat` tells of: the same as [`Stamp::of`] gives for that file.
    pub(crate) fn of_stat(found: &rustix::fs::Stat) -> Stamp {
        // The types of these fields differ between systems.
        #[allow(clippy::unnecessary_cast, reason = "not unnecessary everywhere")]
        let ns = |secs: i64, nanos| secs.saturating_mul(SECOND_NS).saturating_add(nanos as i64);
        #[allow(clippy::unnecessary_cast, reason = "not unnecessary everywhere")]
        Stamp {
            size: found.st_size as u64,
            mtime_ns: ns(found.st_mtime as i64, found.st_mtime_nsec),
            ctime_ns: ns(found.st_ctime as i64, found.st_ctime_nsec),
            inode: found.st_ino as u64,
            device: found.st_dev as u64,
        }
    }

    /// Whether a change after `now_ns` (nanoseconds since 1970) would be sure to show in this stamp.
    pub fn is_settled(&self, now_ns: i64) -> bool {
        let newest = self.mtime_ns.max(self.ctime_ns);
        let whole = self.mtime_ns % SECOND_NS == 0 && self.ctime_ns % SECOND_NS == 0;
        newest.saturating_add(if whole { COARSE_TICK_NS } else { TICK_NS }) < now_ns
    }
}

/// One remembered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The absolute path, as the system's bytes.
    pub(crate) path: Vec<u8>,
    /// What the file system said when it was hashed.
    pub(crate) stamp: Stamp,
    /// When hashing began, in nanoseconds since 1970.
    pub(crate) hashed_ns: i64,
    /// What it hashed to.
    pub(crate) digest: Digest,
}

impl Row {
    /// What is remembered of the file at `path`.
    pub(crate) fn new(path: &Path, stamp: Stamp, hashed_ns: i64, digest: Digest) -> Row {
        Row {
            path: path.as_os_str().as_bytes().to_vec(),
            stamp,
            hashed_ns,
            digest,
        }
    }

    /// The digest, when the file has `stamp` now and the memory can be trusted.
    pub(crate) fn digest_if(&self, stamp: &Stamp) -> Option<Digest> {
        (self.stamp == *stamp && stamp.is_settled(self.hashed_ns)).then_some(self.digest)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        for number in [
            self.stamp.size,
            self.stamp.mtime_ns.cast_unsigned(),
            self.stamp.ctime_ns.cast_unsigned(),
            self.stamp.inode,
            self.stamp.device,
            self.hashed_ns.cast_unsigned(),
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.digest.as_bytes());
        out
    }

    fn decode(path: &[u8], stat: &[u8], sum: &[u8]) -> Option<Row> {
        if checksum(path, stat) != sum {
            return None;
        }
        let number = |at: usize| {
            stat.get(at * 8..at * 8 + 8)?
                .try_into()
                .ok()
                .map(u64::from_le_bytes)
        };
        let stamp = Stamp {
            size: number(0)?,
            mtime_ns: number(1)?.cast_signed(),
            ctime_ns: number(2)?.cast_signed(),
            inode: number(3)?,
            device: number(4)?,
        };
        let digest = Digest(stat.get(48..)?.try_into().ok()?);
        Some(Row {
            path: path.to_vec(),
            stamp,
            hashed_ns: number(5)?.cast_signed(),
            digest,
        })
    }
}

fn checksum(path: &[u8], stat: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&(path.len() as u64).to_le_bytes())
        .update(path)
        .update(stat);
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// What is remembered of the files at `paths` (absolute, sorted), in their order.
pub(crate) fn load(store: &Store, paths: &[&Path]) -> Vec<Option<Row>> {
    let keys: Vec<&[u8]> = paths
        .iter()
        .map(|path| path.as_os_str().as_bytes())
        .collect();
    let mut rows = store
        .memo_read(|connection| read(connection, &keys))
        .unwrap_or_default();
    rows.resize(paths.len(), None);
    rows
}

/// Files of a folder are neighbours in the table, so one scan finds them all; where too much else lies between them,
/// each is looked up.
fn read(connection: &Connection, keys: &[&[u8]]) -> rusqlite::Result<Vec<Option<Row>>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut found = vec![None; keys.len()];
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Ok(found);
    };
    let mut scan = snapshot.prepare_cached(
        "SELECT path, stat, sum FROM memo WHERE path BETWEEN ?1 AND ?2 ORDER BY path",
    )?;
    let mut rows = scan.query([first, last])?;
    let mut in_vain = keys.len() * SCAN_FACTOR + 100;
    let mut at = 0;
    while let Some(row) = rows.next()? {
        let path = row.get_ref(0)?.as_blob().unwrap_or_default();
        while keys.get(at).is_some_and(|key| *key < path) {
            at += 1;
        }
        if keys.get(at).is_none_or(|key| *key != path) {
            if in_vain == 0 {
                break;
            }
            in_vain -= 1;
            continue;
        }
        if let Some(slot) = found.get_mut(at) {
            *slot = decode(row, path);
        }
    }
    if in_vain == 0 {
        let mut one =
            snapshot.prepare_cached("SELECT path, stat, sum FROM memo WHERE path = ?1")?;
        for (key, slot) in keys.iter().zip(&mut found).skip(at) {
            *slot = one
                .query_row([key], |row| Ok(decode(row, key)))
                .optional()?
                .flatten();
        }
    }
    Ok(found)
}

fn decode(row: &rusqlite::Row<'_>, path: &[u8]) -> Option<Row> {
    Row::decode(
        path,
        row.get_ref(1).ok()?.as_blob().ok()?,
        row.get_ref(2).ok()?.as_blob().ok()?,
    )
}

/// Writes rows, inside the writer's transaction.
pub(crate) fn write(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let seen = crate::store::now_secs().cast_signed();
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO memo (path, stat, sum, seen) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for row in rows {
        let stat = row.encode();
        statement.execute(params![
            row.path,
            stat,
            checksum(&row.path, &stat).as_slice(),
            seen
        ])?;
    }
    Ok(())
}

/// Whether a memory that is used should be written again, so that collectors see that it is.
pub(crate) fn wants_refresh(row: &Row, now_ns: i64) -> bool {
    now_ns.saturating_sub(row.hashed_ns) > REFRESH_NS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const HOUR_NS: i64 = 3600 * SECOND_NS;

    fn stamp(mtime_ns: i64) -> Stamp {
        Stamp {
            size: 5,
            mtime_ns,
            ctime_ns: mtime_ns,
            inode: 7,
            device: 1,
        }
    }

    fn row(mtime_ns: i64, hashed_ns: i64) -> Row {
        Row::new(
            Path::new("/p/a"),
            stamp(mtime_ns),
            hashed_ns,
            Digest::of(b"x"),
        )
    }

    #[test]
    fn a_file_modified_in_the_tick_it_was_hashed_in_is_not_trusted() {
        let at = HOUR_NS + 123;
        for (hashed_ns, trusted) in [
            (at - HOUR_NS, false),
            (at, false),
            (at + TICK_NS, false),
            (at + TICK_NS + 1, true),
            (at + HOUR_NS, true),
        ] {
            assert_eq!(
                row(at, hashed_ns).digest_if(&stamp(at)).is_some(),
                trusted,
                "hashed at {hashed_ns}"
            );
        }
    }

    #[test]
    fn whole_seconds_mean_a_coarse_clock() {
        assert_eq!(
            row(HOUR_NS, HOUR_NS + SECOND_NS).digest_if(&stamp(HOUR_NS)),
            None
        );
        assert!(
            row(HOUR_NS, HOUR_NS + 3 * SECOND_NS)
                .digest_if(&stamp(HOUR_NS))
                .is_some()
        );
    }

    #[test]
    fn any_difference_in_the_stamp_is_a_change() {
        let (at, later) = (HOUR_NS + 1, 2 * HOUR_NS);
        let known = row(at, later);
        let same = stamp(at);
        assert!(known.digest_if(&same).is_some());
        for other in [
            Stamp { size: 6, ..same },
            Stamp {
                mtime_ns: at - 1,
                ..same
            },
            Stamp {
                ctime_ns: at + 1,
                ..same
            },
            Stamp { inode: 8, ..same },
            Stamp { device: 2, ..same },
        ] {
            assert_eq!(known.digest_if(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_flipped_byte_makes_a_row_worthless() {
        let known = row(1, 2);
        let stat = known.encode();
        let sum = checksum(&known.path, &stat);
        assert_eq!(Row::decode(&known.path, &stat, &sum), Some(known.clone()));
        for at in 0..stat.len() {
            let mut bad = stat.clone();
            bad[at] ^= 1;
            assert_eq!(Row::decode(&known.path, &bad, &sum), None, "byte {at}");
        }
        assert_eq!(Row::decode(b"/p/b", &stat, &sum), None);
    }

    #[test]
    fn rows_are_found_among_neighbours_and_far_apart() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let paths: Vec<std::path::PathBuf> =
            (0..2000).map(|n| format!("/p/{n:04}").into()).collect();
        let rows = paths
            .iter()
            .map(|path| Row::new(path, stamp(1), 2, Digest::of(path.as_os_str().as_bytes())))
            .collect();
        store.memo_write(rows);
        store.flush().unwrap();
        let all: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        assert!(
            load(&store, &all)
                .iter()
                .zip(&all)
                .all(|(row, path)| row.as_ref().unwrap().path == path.as_os_str().as_bytes())
        );
        let few = [
            Path::new("/"),
            &paths[0],
            Path::new("/p/0000x"),
            &paths[1999],
            Path::new("/q"),
        ];
        let found: Vec<bool> = load(&store, &few).iter().map(Option::is_some).collect();
        assert_eq!(found, [false, true, false, true, false]);
        assert_eq!(load(&store, &[]), []);
    }
}
