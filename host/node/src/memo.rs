//! What the files of a project hashed to, remembered by what the file system says about them.
//!
//! A file that has the same length, times, inode and device as when it was hashed is taken to have the same content. The
//! exception is git's "racy" case: a file that was modified within the same tick of the clock as it was hashed could
//! have changed afterwards without a trace, so such a memory is not trusted. `cache.db` keeps the files of a folder in
//! blocks (`block.rs`), each with a checksum; a wrong one is as good as none. A block is changed inside a transaction that
//! began by locking the database, so that no process loses what another one remembered. It never opens a file. Called by
//! `workspace`, and by the store's writer.

mod block;

use crate::store::Store;
use block::{Block, Entry};
use rusqlite::{Connection, params};
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
const DAY_NS: i64 = 24 * 3600 * SECOND_NS;
/// What is older than 20 days is written again when it is used: collectors drop it after 60.
const REFRESH_NS: i64 = 20 * DAY_NS;
/// So what is older than this was not used for long, and goes when its block is written.
const FORGET_NS: i64 = 60 * DAY_NS;
/// Blocks that may be passed in vain while scanning, for each folder that was asked for.
const SCAN_FACTOR: usize = 4;
/// Up to this many folders, and names of a folder, are looked up one by one.
const FEW: usize = 4;

/// What the file system says about a file's content. Equal stamps of a file, equal contents (but see the module).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// What is remembered of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// What the file system said when it was hashed.
    pub(crate) stamp: Stamp,
    /// When hashing began, in nanoseconds since 1970.
    pub(crate) hashed_ns: i64,
    /// What it hashed to.
    pub(crate) digest: Digest,
}

impl Known {
    /// The digest, when the file has `stamp` now and the memory can be trusted.
    pub(crate) fn digest_if(&self, stamp: &Stamp) -> Option<Digest> {
        (self.stamp == *stamp && stamp.is_settled(self.hashed_ns)).then_some(self.digest)
    }

    /// Whether a memory that is used should be written again, so that collectors see that it is.
    pub(crate) fn wants_refresh(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.hashed_ns) > REFRESH_NS
    }
}

/// Something to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The absolute path, as the system's bytes.
    pub(crate) path: Vec<u8>,
    known: Known,
}

impl Row {
    /// What is to be remembered of the file at `path`.
    pub(crate) fn new(path: &Path, stamp: Stamp, hashed_ns: i64, digest: Digest) -> Row {
        Row {
            path: path.as_os_str().as_bytes().to_vec(),
            known: Known {
                stamp,
                hashed_ns,
                digest,
            },
        }
    }
}

/// The folder of an absolute path, and the name in it.
pub(crate) fn folder_and_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => {
            let (folder, name) = path.split_at(at);
            (folder, name.get(1..).unwrap_or_default())
        }
        None => (&[], path),
    }
}

/// Files of one folder that are asked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The absolute path of the folder, as [`folder_and_name`] cuts it.
    pub(crate) folder: Vec<u8>,
    /// Names, sorted, each with a number to answer with.
    pub(crate) names: Vec<(&'a [u8], usize)>,
}

/// Tells `found` of each wanted file that is remembered, with its number. `wanted` is sorted by folder.
pub(crate) fn load(store: &Store, wanted: &[Wanted<'_>], found: &mut dyn FnMut(usize, &Known)) {
    // A database that breaks half-way has told what was right until then.
    store.memo_read(|connection| read(connection, wanted, found));
}

/// Folders of a project are neighbours in the table, so one scan finds them all; where too much else lies between them,
/// each is looked up.
fn read(
    connection: &Connection,
    wanted: &[Wanted<'_>],
    found: &mut dyn FnMut(usize, &Known),
) -> rusqlite::Result<()> {
    let snapshot = connection.unchecked_transaction()?;
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
        return Ok(());
    };
    let mut at = 0;
    if wanted.len() > FEW {
        let mut scan = snapshot.prepare_cached(
            "SELECT first, sum, files, folder FROM memo WHERE folder BETWEEN ?1 AND ?2 ORDER BY folder, first",
        )?;
        let mut rows = scan.query([&first.folder, &last.folder])?;
        let mut in_vain = wanted.len() * SCAN_FACTOR;
        loop {
            let Some(row) = rows.next()? else {
                return Ok(());
            };
            let folder = row.get_ref(3)?.as_blob().unwrap_or_default();
            while wanted.get(at).is_some_and(|one| *one.folder < *folder) {
                at += 1;
            }
            match wanted.get(at).filter(|one| one.folder == folder) {
                Some(one) => tell(row, one, found)?,
                None if in_vain == 0 => break,
                None => in_vain -= 1,
            }
        }
    }
    for one in wanted.get(at..).unwrap_or_default() {
        read_folder(&snapshot, one, found)?;
    }
    Ok(())
}

fn read_folder(
    connection: &Connection,
    wanted: &Wanted<'_>,
    found: &mut dyn FnMut(usize, &Known),
) -> rusqlite::Result<()> {
    if wanted.names.len() > FEW {
        let mut all = connection.prepare_cached(
            "SELECT first, sum, files FROM memo WHERE folder = ?1 ORDER BY first",
        )?;
        let mut rows = all.query([&wanted.folder])?;
        while let Some(row) = rows.next()? {
            tell(row, wanted, found)?;
        }
        return Ok(());
    }
    let mut one = connection.prepare_cached(BLOCK_OF)?;
    for name in &wanted.names {
        let alone = Wanted {
            folder: wanted.folder.clone(),
            names: vec![*name],
        };
        let mut rows = one.query(params![wanted.folder, name.0])?;
        if let Some(row) = rows.next()? {
            tell(row, &alone, found)?;
        }
    }
    Ok(())
}

/// The block of a folder that a name belongs into.
const BLOCK_OF: &str = "SELECT first, sum, files FROM memo WHERE folder = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";

/// Tells of what is wanted and in the block that a row holds.
fn tell(
    row: &rusqlite::Row<'_>,
    wanted: &Wanted<'_>,
    found: &mut dyn FnMut(usize, &Known),
) -> rusqlite::Result<()> {
    let Some(block) = block_of(row, &wanted.folder)? else {
        return Ok(());
    };
    let names = &wanted.names;
    let mut at = names.partition_point(|(name, _)| *name < block.first);
    for entry in block.entries() {
        while names.get(at).is_some_and(|(name, _)| *name < entry.name) {
            at += 1;
        }
        while let Some((_, number)) = names.get(at).filter(|(name, _)| *name == entry.name) {
            found(*number, &entry.known());
            at += 1;
        }
        if at == names.len() {
            break;
        }
    }
    Ok(())
}

/// The block in a row of `first, sum, files`, if it is what was written.
fn block_of<'r>(row: &'r rusqlite::Row<'_>, folder: &[u8]) -> rusqlite::Result<Option<Block<'r>>> {
    let blob = |at| {
        row.get_ref(at)
            .map(|value| value.as_blob().unwrap_or_default())
    };
    Ok(Block::checked(folder, blob(0)?, blob(1)?, blob(2)?))
}

/// Writes rows, inside the writer's transaction.
pub(crate) fn write(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut fresh: Vec<(&[u8], Entry<'_>)> = Vec::with_capacity(rows.len());
    let stats: Vec<_> = rows.iter().map(|row| block::encode(&row.known)).collect();
    for (row, stat) in rows.iter().zip(&stats) {
        let (folder, name) = folder_and_name(&row.path);
        fresh.push((folder, Entry { name, stat }));
    }
    // Stable: of a file that was hashed twice, the later stays.
    fresh.sort_by(|(a, one), (b, other)| (a, one.name).cmp(&(b, other.name)));
    for group in fresh.chunk_by(|(a, _), (b, _)| a == b) {
        let entries: Vec<Entry<'_>> = group.iter().map(|(_, entry)| *entry).collect();
        if let Some((folder, _)) = group.first() {
            write_folder(connection, folder, &entries)?;
        }
    }
    Ok(())
}

/// Merges entries of a folder, sorted by name, into its blocks.
fn write_folder(
    connection: &Connection,
    folder: &[u8],
    mut fresh: &[Entry<'_>],
) -> rusqlite::Result<()> {
    let seen = crate::store::now_secs().cast_signed();
    let oldest_ns = seen.saturating_mul(SECOND_NS).saturating_sub(FORGET_NS);
    let firsts: Vec<Vec<u8>> = connection
        .prepare_cached("SELECT first FROM memo WHERE folder = ?1 ORDER BY first")?
        .query_map([folder], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut read = connection.prepare_cached(BLOCK_OF)?;
    let mut write = connection.prepare_cached(
        "INSERT OR REPLACE INTO memo (folder, first, seen, count, sum, files) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    while let Some(next) = fresh.first() {
        let after = firsts.partition_point(|first| **first <= *next.name);
        let here = match firsts.get(after) {
            Some(end) => fresh.partition_point(|entry| *entry.name < **end),
            None => fresh.len(),
        };
        let (now, later) = fresh.split_at(here);
        fresh = later;
        // The lowest block of a folder begins with nothing, so that every name has one to belong into.
        let first = after.checked_sub(1).and_then(|at| firsts.get(at));
        let first = first.map_or(&[][..], Vec::as_slice);
        let mut rows = read.query(params![folder, first])?;
        let row = rows.next()?;
        let old = match row {
            Some(row) => block_of(row, folder)?,
            None => None,
        };
        let made = block::merged(folder, first, old.as_ref(), now, oldest_ns);
        drop(rows);
        for one in made {
            write.execute(params![
                folder,
                one.first,
                seen,
                one.count,
                one.sum.as_slice(),
                one.files
            ])?;
        }
    }
    Ok(())
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

    fn known(mtime_ns: i64, hashed_ns: i64) -> Known {
        Known {
            stamp: stamp(mtime_ns),
            hashed_ns,
            digest: Digest::of(b"x"),
        }
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
                known(at, hashed_ns).digest_if(&stamp(at)).is_some(),
                trusted,
                "hashed at {hashed_ns}"
            );
        }
    }

    #[test]
    fn whole_seconds_mean_a_coarse_clock() {
        assert_eq!(
            known(HOUR_NS, HOUR_NS + SECOND_NS).digest_if(&stamp(HOUR_NS)),
            None
        );
        assert!(
            known(HOUR_NS, HOUR_NS + 3 * SECOND_NS)
                .digest_if(&stamp(HOUR_NS))
                .is_some()
        );
    }

    #[test]
    fn any_difference_in_the_stamp_is_a_change() {
        let (at, later) = (HOUR_NS + 1, 2 * HOUR_NS);
        let known = known(at, later);
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

    fn rows(paths: &[String], hashed_ns: i64) -> Vec<Row> {
        let one = |path: &String| {
            let digest = Digest::of(path.as_bytes());
            Row::new(Path::new(path), stamp(1), hashed_ns, digest)
        };
        paths.iter().map(one).collect()
    }

    /// For each path whether it is remembered, and as what.
    fn found(store: &Store, paths: &[String]) -> Vec<Option<Known>> {
        let mut order: Vec<(&[u8], &[u8], usize)> = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let (folder, name) = folder_and_name(path.as_bytes());
            order.push((folder, name, number));
        }
        order.sort();
        let wanted: Vec<Wanted<'_>> = order
            .chunk_by(|a, b| a.0 == b.0)
            .map(|group| Wanted {
                folder: group[0].0.to_vec(),
                names: group.iter().map(|(_, name, at)| (*name, *at)).collect(),
            })
            .collect();
        let mut all = vec![None; paths.len()];
        load(store, &wanted, &mut |at, known| {
            all[at] = Some(known.clone())
        });
        all
    }

    fn assert_remembered(store: &Store, paths: &[String]) {
        for (path, known) in paths.iter().zip(found(store, paths)) {
            let digest = known.map(|known| known.digest);
            assert_eq!(digest, Some(Digest::of(path.as_bytes())), "{path}");
        }
    }

    fn keep(store: &Store, rows: Vec<Row>) {
        store.memo_write(rows);
        store.flush().unwrap();
    }

    const NOW: i64 = i64::MAX / 2;

    #[test]
    fn files_are_found_among_neighbours_and_far_apart() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let many = |folder: &'static str| (0..2000).map(move |n| format!("{folder}/{n:04}"));
        let folders = (0..1000).map(|n| format!("/p/q{n:03}/a"));
        let paths: Vec<String> = many("/p").chain(many("/p/x")).chain(folders).collect();
        keep(&store, rows(&paths, NOW));
        assert_remembered(&store, &paths);
        let few = [
            "/",
            "/p/0000",
            "/p/0000x",
            "/p/1999",
            "/p/2",
            "/p/q999/a",
            "/q",
        ];
        let few: Vec<String> = few.map(str::to_owned).to_vec();
        let there: Vec<bool> = found(&store, &few).iter().map(Option::is_some).collect();
        assert_eq!(there, [false, true, false, true, false, true, false]);
        let apart: Vec<String> = (0..8).map(|n| format!("/p/q{:03}/a", n * 140)).collect();
        assert_remembered(&store, &apart);
        assert_eq!(found(&store, &[]), []);
    }

    #[test]
    fn what_comes_later_joins_what_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let paths: Vec<String> = (0..3000).map(|n| format!("/p/{n:04}")).collect();
        for step in 0..7 {
            let part: Vec<String> = paths.iter().skip(step).step_by(7).cloned().collect();
            keep(&store, rows(&part, NOW));
        }
        assert_remembered(&store, &paths);
        let changed = Row::new(Path::new("/p/1500"), stamp(3), NOW, Digest::of(b"new"));
        keep(&store, vec![changed]);
        let known = found(&store, &["/p/1500".to_owned()]).remove(0).unwrap();
        assert_eq!((known.stamp, known.digest), (stamp(3), Digest::of(b"new")));
        assert_remembered(&store, &paths[..1500]);
        let blocks: i64 = store
            .memo_read(|connection| {
                connection.query_row("SELECT max(count) FROM memo", [], |row| row.get(0))
            })
            .unwrap();
        assert!(blocks <= block::MAX_FILES.try_into().unwrap(), "{blocks}");
    }

    #[test]
    fn two_processes_remember_side_by_side() {
        let temp = tempfile::tempdir().unwrap();
        let stores = [
            Store::open(temp.path()).unwrap(),
            Store::open(temp.path()).unwrap(),
        ];
        let paths: Vec<String> = (0..1000).map(|n| format!("/p/{n:04}")).collect();
        std::thread::scope(|scope| {
            for (at, store) in stores.iter().enumerate() {
                let paths = &paths;
                scope.spawn(move || {
                    for part in paths.chunks(50).skip(at).step_by(2) {
                        keep(store, rows(part, NOW));
                    }
                });
            }
        });
        assert_remembered(&stores[0], &paths);
        assert_remembered(&stores[1], &paths);
    }

    #[test]
    fn a_broken_block_is_forgotten_and_made_anew() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let paths: Vec<String> = (0..10).map(|n| format!("/p/{n}")).collect();
        keep(&store, rows(&paths, NOW));
        store.memo_read(|connection| {
            connection.execute(
                "UPDATE memo SET files = substr(files, 1, length(files) - 1) || x'77'",
                [],
            )
        });
        assert_eq!(found(&store, &paths), vec![None; 10]);
        keep(&store, rows(&paths[3..5], NOW));
        let there: Vec<bool> = found(&store, &paths).iter().map(Option::is_some).collect();
        assert_eq!(there.iter().filter(|there| **there).count(), 2);
        assert_remembered(&store, &paths[3..5]);
    }

    #[test]
    fn what_was_not_used_for_long_goes_when_its_block_is_written() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let now_ns = crate::store::now_secs().cast_signed() * SECOND_NS;
        let paths: Vec<String> = (0..3).map(|n| format!("/p/{n}")).collect();
        keep(&store, rows(&paths[..1], now_ns - FORGET_NS - DAY_NS));
        keep(&store, rows(&paths[1..2], now_ns - FORGET_NS + DAY_NS));
        keep(&store, rows(&paths[2..], now_ns));
        let there: Vec<bool> = found(&store, &paths).iter().map(Option::is_some).collect();
        assert_eq!(there, [false, true, true]);
    }
}
