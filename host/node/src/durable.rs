//! Small files that must survive a power cut: written under another name, synced, renamed, and their folder synced.
//!
//! A file is there whole or not at all, and only this user can read it. It never decides what a file means. Called by
//! `identity` and `membership`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FlockOperation;

/// Puts `bytes` in the place of whatever is at `path`.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder(path)?;
    written(folder, bytes)?
        .persist(path)
        .map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Puts `bytes` at `path` unless something is there; whether it did.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let folder = folder(path)?;
    match written(folder, bytes)?.persist_noclobber(path) {
        Ok(_) => sync_folder(folder).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Takes the file at `path` away; nothing to do where there is none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(folder(path)?),
    }
}

/// The bytes at `path`, `None` where there is nothing.
///
/// # Errors
/// Also when there are more than `max`.
pub(crate) fn read(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        let message = format!("it is longer than the {max} bytes that it may have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(bytes))
}

fn folder(path: &Path) -> io::Result<&Path> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "a file in no folder");
    path.parent().ok_or_else(none)
}

/// A file of `bytes` without its name yet, on the disk. Its mode is 0600 from the start.
fn written(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Keeps other processes from changing the same files while it is held; the system lets go when the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock file at `path`; each holder writes a few small files and lets go.
    pub(crate) fn exclusive(path: &Path) -> io::Result<Lock> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(Lock { _file: file })
    }
}

/// Which file is at a path: a replaced file has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, i64, i64, u64)>);

impl Stamp {
    /// Of what is at `path` now.
    pub(crate) fn of(path: &Path) -> Stamp {
        let found = std::fs::metadata(path).ok();
        Stamp(found.map(|of| (of.ino(), of.mtime(), of.mtime_nsec(), of.len())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        assert_eq!(read(&path, 9).unwrap(), None);
        replace(&path, b"one").unwrap();
        let first = Stamp::of(&path);
        replace(&path, b"two").unwrap();
        assert_ne!(Stamp::of(&path), first);
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_there_is_not_overwritten_by_create_and_not_read_beyond_its_cap() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"first");
        assert!(read(&path, 4).is_err());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
