//! A large blob while it arrives from elsewhere: a file in `tmp/` whose beginning is verified.
//!
//! What was verified of a blob that did not arrive whole stays, with its outline beside it, and is where the next one
//! goes on: also in another process, which hashes it again before it trusts it. Only whole blobs get their name. What is
//! left of blobs that never come is bounded by number, bytes and age, and goes when the cache is collected. Two that
//! receive the same blob at once do so apart: only the first leaves something behind.
//!
//! It never verifies what is written to it (the transfer does, by the outline). Called by transfers and bundle files.

use super::read::identity;
use super::{GroupHasher, Outline, Store, StoreError};
use crate::db::lock;
use bytes::Bytes;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use sykli_core::blob::PART_BYTES;
use sykli_core::id::Digest;

/// What the file of an unfinished blob is called, before the digits of its digest.
const PREFIX: &str = "part-";
/// What the file of its outline is called, after them.
const OUTLINE: &str = ".outline";
/// Unfinished blobs that nobody is receiving: most of them, their bytes together, and how old they get.
const MAX_LEFT: usize = 64;
const MAX_LEFT_BYTES: u64 = 8 << 30;
const MAX_LEFT_SECS: u64 = 24 * 3600;

/// A blob that arrives. Dropped before it is kept, it leaves what is verified of it.
pub(crate) struct Arrival {
    store: Store,
    digest: Digest,
    path: PathBuf,
    file: File,
    /// Bytes from the beginning that are verified.
    verified: u64,
    /// Whether another one may go on where this ends.
    resumable: bool,
    kept: bool,
}

impl Store {
    /// Stores bytes whose name was verified.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn put_verified(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        debug_assert_eq!(Digest::of(&bytes), digest);
        self.put_known(digest, bytes)
    }

    /// Begins to receive a blob of which nothing is here.
    ///
    /// # Errors
    /// When no file can be made.
    pub(crate) fn arrival(&self, outline: &Outline, digest: Digest) -> Result<Arrival, StoreError> {
        self.hold();
        self.tidy_arrivals();
        let path = self.arrival_path(&digest);
        let opened = open(&path, true).and_then(|file| {
            // Whatever lies there was no beginning of this blob, or it would be resumed.
            let bytes = [&outline.size().to_le_bytes(), outline.bytes()].concat();
            file.set_len(0).ok()?;
            std::fs::write(outline_path(&path), bytes).ok()?;
            Some(file)
        });
        match opened {
            Some(file) => Ok(self.arriving(digest, path, file, true)),
            None => self.arrival_apart(digest),
        }
    }

    /// Begins to receive a blob that leaves nothing behind where it does not come.
    ///
    /// # Errors
    /// When no file can be made.
    pub(crate) fn arrival_apart(&self, digest: Digest) -> Result<Arrival, StoreError> {
        let temp = self.temp()?;
        let (file, path) = temp
            .keep()
            .map_err(|error| StoreError::io(error.file.path(), &error.error))?;
        Ok(self.arriving(digest, path, file, false))
    }

    fn arriving(&self, digest: Digest, path: PathBuf, file: File, resumable: bool) -> Arrival {
        Arrival {
            store: self.clone(),
            digest,
            path,
            file,
            verified: 0,
            resumable,
            kept: false,
        }
    }

    /// Goes on receiving a blob of which a beginning is here and right: at least one group, and not all.
    pub(crate) fn resume(&self, digest: &Digest) -> Option<(Arrival, Outline)> {
        let path = self.arrival_path(digest);
        let list = std::fs::read(outline_path(&path)).ok()?;
        let (size, list) = list.split_first_chunk()?;
        let outline = Outline::of_bytes(digest, u64::from_le_bytes(*size), list)?;
        self.hold();
        let file = open(&path, false)?;
        let verified = beginning(&file, &outline)?;
        let mut arrival = self.arriving(*digest, path, file, true);
        arrival.verified = verified;
        // A process that was killed may have left more behind than is right.
        arrival.file.set_len(verified).ok()?;
        (verified > 0 && verified < outline.size()).then_some((arrival, outline))
    }

    fn arrival_path(&self, digest: &Digest) -> PathBuf {
        self.spool_dir()
            .join(format!("{PREFIX}{}", digest.to_hex()))
    }

    /// Removes what was left of blobs that never came: the oldest first, and none that somebody is receiving.
    fn tidy_arrivals(&self) {
        let mut left: Vec<(u64, u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(self.spool_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
            if !ours || path.extension().is_some() {
                continue;
            }
            if let Ok(found) = entry.metadata() {
                left.push((found.mtime().cast_unsigned(), found.len(), path));
            }
        }
        left.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = super::now_secs().saturating_sub(MAX_LEFT_SECS);
        let mut bytes = 0;
        for (index, (written, len, path)) in left.into_iter().enumerate() {
            bytes += len;
            // One more is about to begin.
            let fits = index + 1 < MAX_LEFT && bytes <= MAX_LEFT_BYTES && written >= oldest;
            if !fits && open(&path, false).is_some() {
                remove(&path);
            }
        }
    }
}

impl Arrival {
    /// Bytes from the beginning that are verified.
    pub(crate) fn verified(&self) -> u64 {
        self.verified
    }

    /// Writes content at its place.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let wrote = self.file.write_all_at(bytes, offset);
        wrote.map_err(|error| StoreError::io(&self.path, &error))
    }

    /// Notes that everything before `end` is written and right.
    pub(crate) fn verified_to(&mut self, end: u64) {
        self.verified = end;
    }

    /// Gives the blob its name: all of it is written and right.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn keep(mut self) -> Result<(), StoreError> {
        let to = self.store.blob_path(&self.digest);
        let moved = super::blobs::in_folder(&to, || std::fs::rename(&self.path, &to));
        moved.map_err(|error| StoreError::io(&to, &error))?;
        self.kept = true;
        if self.resumable {
            let _ = std::fs::remove_file(outline_path(&self.path));
        }
        // This process has just hashed it: its first use need not do so again.
        if let Some(identity) = identity(&self.file, &self.digest) {
            lock(&self.store.inner.verified).insert(identity, (), 1);
        }
        Ok(())
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let useful = self.resumable && self.verified > 0;
        if !useful || self.file.set_len(self.verified).is_err() {
            remove(&self.path);
        }
    }
}

/// How much of the file is right, in whole groups.
fn beginning(file: &File, outline: &Outline) -> Option<u64> {
    let len = file.metadata().ok()?.len().min(outline.size());
    let mut hasher = GroupHasher::new(outline.size(), 0);
    let mut buffer = vec![0; PART_BYTES];
    let mut right = 0;
    while hasher.at() < len {
        let most = usize::try_from(hasher.left_of_group().min(len - hasher.at())).ok()?;
        let most = most.min(buffer.len());
        let part = buffer.get_mut(..most)?;
        file.read_exact_at(part, hasher.at()).ok()?;
        match hasher.update(part) {
            Some((began, value)) if outline.is_group(began, &value) => right = hasher.at(),
            Some(_) => break,
            None => {}
        }
    }
    Some(right)
}

/// The file of an unfinished blob, for this one alone; `None` where somebody else has it.
fn open(path: &Path, make: bool) -> Option<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
        .ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Whoever had it may have given it its name, or removed it, before it was ours.
    let (mine, there) = (file.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
    ((mine.dev(), mine.ino()) == (there.dev(), there.ino())).then_some(file)
}

fn outline_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OUTLINE);
    name.into()
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(outline_path(path));
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::store::Tracer;
    use sykli_runtime::vfs::Source;

    const PART: usize = PART_BYTES;

    fn blob(len: usize) -> (Vec<u8>, Digest, Outline) {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 / 5) as u8).collect();
        let digest = Digest::of(&bytes);
        let mut tracer = Tracer::new(Source::bytes(bytes.clone()));
        while !tracer.step(&mut [0; 65_536]).unwrap() {}
        let outline = tracer.finish(&digest).unwrap();
        let list = outline.bytes().to_vec();
        let outline = Outline::of_bytes(&digest, len as u64, &list).unwrap();
        (bytes, digest, outline)
    }

    fn files(store: &Store) -> usize {
        std::fs::read_dir(store.spool_dir()).unwrap().count()
    }

    #[test]
    fn what_is_verified_stays_and_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, digest, outline) = blob(3 * PART + 9);
        {
            let store = Store::open(dir.path()).unwrap();
            let mut arrival = store.arrival(&outline, digest).unwrap();
            arrival.write(&bytes[..2 * PART], 0).unwrap();
            arrival.verified_to(PART as u64);
        }
        let store = Store::open(dir.path()).unwrap();
        let (mut arrival, found) = store.resume(&digest).unwrap();
        assert_eq!((arrival.verified(), &found), (PART as u64, &outline));
        assert!(store.resume(&digest).is_none(), "one at a time");
        arrival.write(&bytes[PART..], PART as u64).unwrap();
        assert!(!store.has(&digest), "not before it is kept");
        arrival.keep().unwrap();
        assert_eq!(store.read(&digest, u64::MAX).unwrap(), bytes);
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn a_beginning_that_is_not_right_is_not_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (mut bytes, digest, outline) = blob(3 * PART);
        bytes[PART + 1] ^= 1;
        let mut arrival = store.arrival(&outline, digest).unwrap();
        arrival.write(&bytes, 0).unwrap();
        arrival.verified_to(2 * PART as u64);
        drop(arrival);
        let (arrival, _) = store.resume(&digest).unwrap();
        assert_eq!(arrival.verified(), PART as u64, "as far as it is right");
        drop(arrival);
        let path = store.arrival_path(&digest);
        std::fs::write(&path, b"something else").unwrap();
        assert!(store.resume(&digest).is_none());
    }

    #[test]
    fn nothing_verified_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (bytes, digest, outline) = blob(2 * PART);
        let mut first = store.arrival(&outline, digest).unwrap();
        let mut second = store.arrival(&outline, digest).unwrap();
        first.write(&bytes[..9], 0).unwrap();
        second.write(&bytes, 0).unwrap();
        second.verified_to(PART as u64);
        drop((first, second));
        assert_eq!(
            files(&store),
            0,
            "the second was apart and leaves nothing either"
        );
    }

    #[test]
    fn what_is_left_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for n in 0..2 * MAX_LEFT {
            std::fs::write(store.spool_dir().join(format!("{PREFIX}{n:064x}")), b"x").unwrap();
        }
        let (_, digest, outline) = blob(2 * PART);
        let arrival = store.arrival(&outline, digest).unwrap();
        assert!(files(&store) <= MAX_LEFT + 1, "{}", files(&store));
        drop(arrival);
    }
}
