//! Getting bytes out: hashed before the first of them is used, and only once a process where the file stays the same.
//!
//! A blob that is not what its name says is dropped and counts as missing. Larger blobs are read in place, at an offset,
//! through few descriptors; they are never loaded whole. Called through the sources that tasks' inputs are made of, and
//! by everything that reads trees and manifests.

use super::hash::{Buffer, hash_file};
use super::{InputFault, InputFaults, SMALL_BYTES, Store};
use bytes::Bytes;
use rusqlite::OptionalExtension;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::{Arc, OnceLock};
use sykli_core::id::Digest;
use sykli_core::tree::Tree;
use sykli_runtime::vfs::{ReadAt, Source, read_file_onto};

use crate::db::lock;

/// A blob for another process.
pub(crate) enum Lent {
    /// A small one.
    Bytes(Bytes),
    /// The file of a larger one, open for reading.
    File(Arc<File>),
}

/// A file that was hashed and found right: digest, length, modification time, device and inode.
pub(crate) type Identity = ([u8; 32], u64, i64, i64, u64, u64);

impl Store {
    /// The blob, verified; `None` where it is missing or broken.
    pub fn get(&self, digest: &Digest) -> Option<Source> {
        if *digest == Digest::of(&[]) {
            return Some(Source::empty());
        }
        if let Some(bytes) = self.small_bytes(digest) {
            return Some(Source::bytes(bytes));
        }
        let len = self.verified_file(digest)?.metadata().ok()?.len();
        Some(self.source(*digest, len, &InputFaults::default()))
    }

    /// The whole blob in memory, verified; `None` where it is missing, broken, or larger than `max_bytes`.
    pub fn read(&self, digest: &Digest, max_bytes: u64) -> Option<Bytes> {
        let source = self
            .get(digest)
            .filter(|source| source.len() <= max_bytes)?;
        if let Some(bytes) = source.as_bytes() {
            return Some(bytes.clone());
        }
        let mut bytes = vec![0; usize::try_from(source.len()).ok()?];
        source.read_exact_at(&mut bytes, 0).ok()?;
        Some(bytes.into())
    }

    /// The blob as something that is looked for when it is first read. One that is missing then is noted in `faults` and
    /// reads as an error.
    pub fn source(&self, digest: Digest, size: u64, faults: &InputFaults) -> Source {
        if size == 0 {
            return Source::empty();
        }
        let content = OnceLock::new();
        Source::new(Arc::new(Blob {
            store: self.clone(),
            digest,
            size,
            faults: faults.clone(),
            content,
        }))
    }

    /// The blob as it can be handed to another process; `None`, noted in `faults`, where it is missing or broken.
    pub(crate) fn lend(&self, digest: &Digest, faults: &InputFaults) -> Option<Lent> {
        let found = match self.small_bytes(digest) {
            Some(bytes) => Some(Lent::Bytes(bytes)),
            None if *digest == Digest::of(&[]) => Some(Lent::Bytes(Bytes::new())),
            None => self.verified_file(digest).map(Lent::File),
        };
        if found.is_none() {
            faults.note(InputFault::BlobLost(*digest));
        }
        found
    }

    /// The tree, verified and decoded; `None` where it is missing or broken. Lately used ones are remembered.
    pub fn tree(&self, digest: &Digest) -> Option<Arc<Tree>> {
        /// The largest tree that is decoded, in bytes.
        const MAX_TREE_BYTES: u64 = 1 << 30;
        if let Some(tree) = lock(&self.inner.trees).get(digest.as_bytes()) {
            return Some(tree);
        }
        let bytes = self.read(digest, MAX_TREE_BYTES)?;
        let tree = Arc::new(Tree::decode(&bytes).ok()?);
        lock(&self.inner.trees).insert(
            *digest.as_bytes(),
            Arc::clone(&tree),
            tree.entries().len() + 1,
        );
        Some(tree)
    }

    /// A small blob, verified.
    pub(super) fn small_bytes(&self, digest: &Digest) -> Option<Bytes> {
        let key = *digest.as_bytes();
        if let Some(bytes) = self.inner.small.get(&key) {
            return Some(bytes);
        }
        let found: Option<Vec<u8>> = self
            .inner
            .index
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1")?;
                statement
                    .query_row([key.as_slice()], |row| row.get(0))
                    .optional()
            })
            .flatten();
        let Some(found) = found else {
            // Somebody else dropped it: it can be put again.
            self.inner.small.dropped(&key);
            return None;
        };
        let bytes = Bytes::from(found);
        if Digest::of(&bytes) != *digest {
            self.discard(digest);
            return None;
        }
        self.inner.small.remember(key, &bytes);
        Some(bytes)
    }

    /// The blob's file, hashed if this process has not yet seen it as it is.
    pub(super) fn verified_file(&self, digest: &Digest) -> Option<Arc<File>> {
        let key = *digest.as_bytes();
        if let Some(file) = lock(&self.inner.files).get(&key) {
            return Some(file);
        }
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = File::options()
            .read(true)
            .custom_flags(no_follow)
            .open(self.blob_path(digest))
            .ok()?;
        let identity = identity(&file, digest)?;
        if lock(&self.inner.verified).get(&identity).is_none() {
            if hash_file(&file, &mut Buffer::new()).ok()? != *digest {
                self.discard(digest);
                return None;
            }
            lock(&self.inner.verified).insert(identity, (), 1);
        }
        let file = Arc::new(file);
        lock(&self.inner.files).insert(key, Arc::clone(&file), 1);
        Some(file)
    }
}

pub(super) fn identity(file: &File, digest: &Digest) -> Option<Identity> {
    let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((
        *digest.as_bytes(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.dev(),
        found.ino(),
    ))
}

/// A blob that is looked for when it is first read.
struct Blob {
    store: Store,
    digest: Digest,
    size: u64,
    faults: InputFaults,
    content: OnceLock<Bytes>,
}

impl Blob {
    fn lost(&self) -> io::Error {
        self.faults.note(InputFault::BlobLost(self.digest));
        io::Error::other(format!("{} is not in the cache any more", self.digest))
    }

    fn read_file(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let want = self.rest(offset).min(buf.len());
        let Some(part) = buf.get_mut(..want).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        self.there(self.file()?.read_at(part, offset)?)
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let found = self.store.verified_file(&self.digest);
        found.ok_or_else(|| self.lost())
    }

    /// How much there is to read from there.
    fn rest(&self, offset: u64) -> usize {
        usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    /// What was read before the end.
    fn there(&self, read: usize) -> io::Result<usize> {
        match read {
            0 => Err(self.lost()),
            count => Ok(count),
        }
    }
}

impl ReadAt for Blob {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.size >= SMALL_BYTES {
            return self.read_file(buf, offset);
        }
        let bytes = match self.content.get() {
            Some(bytes) => bytes,
            None => {
                let found = self
                    .store
                    .small_bytes(&self.digest)
                    .filter(|found| found.len() as u64 == self.size);
                let found = found.ok_or_else(|| self.lost())?;
                self.content.get_or_init(|| found)
            }
        };
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..))
            .unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let most = self.rest(offset).min(most);
        if most > 0 && self.size >= SMALL_BYTES {
            let file = self.file()?;
            return self.there(read_file_onto(&file, buf, most, offset)?);
        }
        let before = buf.len();
        buf.resize(before + most, 0);
        let read = self.read_at(buf.get_mut(before..).unwrap_or_default(), offset);
        buf.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn as_bytes(&self) -> Option<&Bytes> {
        self.content.get()
    }

    fn blake3(&self) -> Option<[u8; 32]> {
        Some(*self.digest.as_bytes())
    }
}
