//! Putting bytes in: small ones into `cache.db`, larger ones as files that appear whole or not at all.
//!
//! A larger blob is written to `tmp/` while it is hashed and then renamed to its name. Called by workers (outputs,
//! stdout, stderr, manifests, trees) and by the build of crates.

use super::write::{Key, Op, ROW_BYTES};
use super::{SMALL_BYTES, Store, StoreError};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use sykli_core::id::Digest;
use sykli_core::tree::Tree;
use sykli_runtime::vfs::{Content, Source};

const COPY_BYTES: usize = 256 * 1024;

impl Store {
    /// Stores `bytes` and returns their name. They can be read at once; [`Store::flush`] tells when they are committed.
    ///
    /// # Errors
    /// When they cannot be written (or, for small ones, when so many could not be that memory would not hold more).
    pub fn put_bytes(&self, bytes: impl Into<Bytes>) -> Result<Digest, StoreError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.put_known(digest, bytes)?;
        Ok(digest)
    }

    pub(super) fn put_known(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        let len = bytes.len() as u64;
        if len == 0 {
            return Ok(());
        }
        if len >= SMALL_BYTES {
            if !self.refresh_file(&digest, Some(len)) {
                let mut temp = self.temp()?;
                temp.write_all(&bytes)
                    .map_err(|error| self.failed(temp.path(), &error))?;
                self.keep(temp, &digest)?;
            }
            return Ok(());
        }
        let refresh = self.inner.live.fresh_since();
        let key = *digest.as_bytes();
        let expected = self.inner.small.expect(key, &bytes);
        if !expected.map_err(|error| StoreError::commit(&self.inner.index.path, error))? {
            return Ok(());
        }
        let weight = bytes.len() + ROW_BYTES;
        self.inner.writer.push(
            Op::Blob {
                key,
                bytes,
                used: super::now_secs(),
                refresh,
            },
            weight,
        );
        Ok(())
    }

    /// Stores the file at `path`: its name and its length in bytes. It is copied while it is hashed.
    ///
    /// # Errors
    /// [`StoreError::Source`] when it cannot be read, the others when it cannot be written.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let unreadable = |error: &io::Error| StoreError::Source {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let mut file = File::open(path).map_err(|error| unreadable(&error))?;
        self.put_reader(|buffer| read_some(&mut file, buffer).map_err(|error| unreadable(&error)))
    }

    /// Stores what `file`, opened from `path`, holds from where it stands on.
    pub(crate) fn put_open_file(&self, path: &Path, mut file: &File) -> Result<Digest, StoreError> {
        let unreadable = |error: io::Error| StoreError::Source {
            path: path.to_owned(),
            message: error.to_string(),
        };
        self.put_reader(|buffer| read_some(&mut file, buffer).map_err(unreadable))
            .map(|(digest, _)| digest)
    }

    /// Stores what a sandbox run wrote: its name and its length in bytes. A spooled file on the same file system is
    /// linked, not copied.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put_content(&self, content: &Content) -> Result<(Digest, u64), StoreError> {
        match content {
            Content::Bytes(bytes) => Ok((self.put_bytes(bytes.clone())?, bytes.len() as u64)),
            Content::Unchanged(source) => self.put_source(source),
            Content::Spooled(file) => {
                let digest = Digest(file.blake3());
                let (Some(path), true) = (file.path(), file.len() >= SMALL_BYTES) else {
                    let unreadable = |error: io::Error| StoreError::Source {
                        path: PathBuf::new(),
                        message: error.to_string(),
                    };
                    let mut from = file.reopen().map_err(unreadable)?;
                    return self
                        .put_reader(|buffer| read_some(&mut from, buffer).map_err(unreadable));
                };
                if !self.refresh_file(&digest, Some(file.len()))
                    && self.link(path, &digest).is_err()
                {
                    return self.put_file(path);
                }
                Ok((digest, file.len()))
            }
        }
    }

    /// Stores the content of `source`; nothing is read where its digest is known and stored already.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put_source(&self, source: &Source) -> Result<(Digest, u64), StoreError> {
        let unreadable = |error: &io::Error| StoreError::Source {
            path: PathBuf::new(),
            message: error.to_string(),
        };
        let digest = Digest(source.blake3().map_err(|error| unreadable(&error))?);
        if source.is_empty()
            || (source.len() >= SMALL_BYTES && self.refresh_file(&digest, Some(source.len())))
        {
            return Ok((digest, source.len()));
        }
        let mut offset = 0;
        self.put_reader(|buffer| {
            let read = source
                .read_at(buffer, offset)
                .map_err(|error| unreadable(&error))?;
            offset += read as u64;
            Ok(read)
        })
    }

    /// Stores a tree as the blob that it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_tree(&self, tree: &Tree) -> Result<Digest, StoreError> {
        self.put_bytes(tree.encode())
    }

    /// Whether the blob is there. Only its presence is looked at; one that is there is kept from collectors from now on.
    pub fn has(&self, digest: &Digest) -> bool {
        let key = *digest.as_bytes();
        if *digest == Digest::of(&[])
            || self.inner.small.get(&key).is_some()
            || self.refresh_file(digest, None)
        {
            return true;
        }
        match self.small_bytes(digest) {
            // Putting it again is what refreshes it.
            Some(bytes) => self.put_known(*digest, bytes).is_ok(),
            None => false,
        }
    }

    fn put_reader(
        &self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, StoreError>,
    ) -> Result<(Digest, u64), StoreError> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut filled = 0;
        // One buffer full decides: most files end within it, and small ones need no file.
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read(rest)? {
                0 => {
                    buffer.truncate(filled);
                    return Ok((self.put_bytes(buffer)?, filled as u64));
                }
                count => filled += count,
            }
        }
        let mut temp = self.temp()?;
        let mut hasher = blake3::Hasher::new();
        let mut len = 0;
        while filled > 0 {
            let part = buffer.get(..filled).unwrap_or_default();
            hasher.update(part);
            temp.write_all(part)
                .map_err(|error| self.failed(temp.path(), &error))?;
            len += filled as u64;
            filled = read(&mut buffer)?;
        }
        let digest = Digest(*hasher.finalize().as_bytes());
        if !self.refresh_file(&digest, Some(len)) {
            self.keep(temp, &digest)?;
        }
        Ok((digest, len))
    }

    /// A file to write a blob to.
    pub(super) fn temp(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        self.inner.live.fresh_since();
        let dir = self.spool_dir();
        let make = || tempfile::Builder::new().prefix("blob-").tempfile_in(&dir);
        let made = make().or_else(|error| match error.kind() {
            // The cache may be deleted at any time, also now.
            io::ErrorKind::NotFound => crate::paths::create_private(&dir)
                .map_err(|_| error)
                .and_then(|()| make()),
            _ => Err(error),
        });
        made.map_err(|error| self.failed(&dir, &error))
    }

    fn failed(&self, path: &Path, error: &io::Error) -> StoreError {
        StoreError::io(path, error)
    }

    /// Gives a written file its name.
    fn keep(&self, temp: tempfile::NamedTempFile, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let temp = temp.into_temp_path();
        in_folder(&path, || std::fs::rename(&temp, &path))
            .map_err(|error| self.failed(&path, &error))?;
        // It is not at its old name any more; there is nothing to remove.
        let _ = temp.keep();
        Ok(())
    }

    /// Links a finished file under the blob's name, replacing what is there.
    fn link(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        self.inner.live.fresh_since();
        let path = self.blob_path(digest);
        in_folder(&path, || match std::fs::hard_link(from, &path) {
            // Not the right length, or it would not have come to this.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path)?;
                std::fs::hard_link(from, &path)
            }
            outcome => outcome,
        })
    }

    /// Where a larger blob lies.
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        let (folder, name) = hex.split_at(2);
        self.inner.dir.join("blobs").join(folder).join(name)
    }

    /// Whether the blob's file is there with this length; marks it as used where the mark is old.
    pub(super) fn refresh_file(&self, digest: &Digest, len: Option<u64>) -> bool {
        let path = self.blob_path(digest);
        let fits =
            |found: &std::fs::Metadata| found.is_file() && len.is_none_or(|len| len == found.len());
        let Some(found) = std::fs::symlink_metadata(&path).ok().filter(fits) else {
            return false;
        };
        if last_use(&found) >= self.inner.live.fresh_since() {
            return true;
        }
        // Under the shared lock, so that a collector that decided before has finished before.
        let _no_gc = self.inner.live.shared();
        mark_used(&path, super::now_secs()).is_ok() && std::fs::symlink_metadata(&path).is_ok()
    }

    /// Removes a blob that is not what its name says.
    pub(super) fn discard(&self, digest: &Digest) {
        tracing::warn!(%digest, "a cached blob was broken and is dropped");
        let key: Key = *digest.as_bytes();
        let _ = std::fs::remove_file(self.blob_path(digest));
        crate::db::lock(&self.inner.files).remove(&key);
        self.inner.small.dropped(&key);
        self.inner.writer.push(Op::DropBlob { key }, ROW_BYTES);
    }
}

/// When a blob's file was last used: its access time, which every use sets, also where the system does not.
pub(super) fn last_use(found: &std::fs::Metadata) -> u64 {
    u64::try_from(found.atime().max(found.mtime())).unwrap_or(0)
}

/// Sets the access time. The modification time stays: it is how a verified file is recognised.
pub(super) fn mark_used(path: &Path, secs: u64) -> io::Result<()> {
    let times = std::fs::FileTimes::new().set_accessed(UNIX_EPOCH + Duration::from_secs(secs));
    File::options().read(true).open(path)?.set_times(times)
}

/// Runs `action`, which needs the folder of `path`, and again with the folder made where it was missing.
pub(super) fn in_folder(path: &Path, action: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match (action(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            crate::paths::create_private(folder).map_err(|_| error)?;
            action()
        }
        (outcome, _) => outcome,
    }
}

fn read_some(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
