//! A folder of the host's as the guest's file system sees it: read lazily, links shown as links, never followed.
//!
//! Every look starts at the folder that was opened first and goes down name by name without following links, so that
//! nothing outside it is ever reached, whatever the guest or another process does meanwhile. What is neither file,
//! folder nor link (sockets, devices, pipes) is not shown. It never writes. Called by `exec`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use sykli_runtime::vfs::read_file_onto;
use sykli_runtime::{DirSource, Entry, ReadAt, Source};

/// Files kept open for the next read; a process may have about a thousand.
const MAX_OPEN_FILES: usize = 128;
/// Entries of one folder that are listed.
const MAX_ENTRIES: usize = 1_000_000;

/// A folder below (or at) the one that was opened.
pub(super) struct HostDir {
    root: Arc<Root>,
    /// Relative to the root; empty for the root itself.
    path: PathBuf,
}

struct Root {
    folder: OwnedFd,
    open: Mutex<VecDeque<Weak<HostFile>>>,
}

impl HostDir {
    /// The folder at `path`; a link there is followed, as the user named it.
    pub(super) fn open(path: &Path) -> io::Result<HostDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(HostDir {
            root: Arc::new(Root {
                folder,
                open: Mutex::default(),
            }),
            path: PathBuf::new(),
        })
    }

    fn folder(&self) -> io::Result<OwnedFd> {
        self.root.folder_at(&self.path)
    }

    fn entry(&self, folder: &OwnedFd, name: &OsStr, stat: &Stat) -> io::Result<Option<Entry>> {
        let path = self.path.join(name);
        Ok(match FileType::from_raw_mode(stat.st_mode as RawMode) {
            FileType::RegularFile => {
                let len = u64::try_from(stat.st_size).unwrap_or(0);
                let file = HostFile {
                    root: self.root.clone(),
                    path,
                    len,
                    slot: Mutex::default(),
                };
                let executable = Mode::from_raw_mode(stat.st_mode as RawMode).contains(Mode::XUSR);
                Some(Entry::File {
                    source: Source::new(Arc::new(Shared(Arc::new(file)))),
                    executable,
                })
            }
            FileType::Directory => Some(Entry::Dir(Arc::new(HostDir {
                root: self.root.clone(),
                path,
            }))),
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new())?;
                // A target that is no text cannot be shown to a guest.
                target.into_string().ok().map(Entry::Symlink)
            }
            _ => None,
        })
    }
}

impl DirSource for HostDir {
    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        let folder = self.folder()?;
        let mut entries = Vec::new();
        for found in Dir::read_from(&folder)? {
            let found = found?;
            // Names that are no text do not exist for a guest: WASI has no way to say them.
            let Ok(name) = found.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == MAX_ENTRIES {
                return Err(io::Error::other(
                    "a folder with more than a million entries",
                ));
            }
            let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed since the folder was read.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(entry) = self.entry(&folder, OsStr::new(name), &stat)? {
                entries.push((name.to_owned(), entry));
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Ok(None);
        }
        let folder = self.folder()?;
        match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.entry(&folder, OsStr::new(name), &stat),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Root {
    /// Goes down name by name; a link on the way is an error, not a way out.
    fn folder_at(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = openat(&self.folder, ".", flags, Mode::empty())?;
        for name in path.iter() {
            folder = openat(&folder, name, flags, Mode::empty())?;
        }
        Ok(folder)
    }

    fn file_at(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
        let folder = self.folder_at(path.parent().unwrap_or(Path::new("")))?;
        // Not blocking: the name may have become a pipe since it was listed.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(openat(
            &folder,
            OsStr::from_bytes(name.as_bytes()),
            flags,
            Mode::empty(),
        )?))
    }

    /// Notes that `file` is open, and closes the one that was opened longest ago where there are too many.
    fn opened(&self, file: &Arc<HostFile>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(Arc::downgrade(file));
        let oldest = if open.len() > MAX_OPEN_FILES {
            open.pop_front()
        } else {
            None
        };
        drop(open);
        if let Some(oldest) = oldest.and_then(|oldest| oldest.upgrade()) {
            oldest
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
    }
}

struct HostFile {
    root: Arc<Root>,
    path: PathBuf,
    /// As it was when the guest first saw it.
    len: u64,
    slot: Mutex<Option<Arc<File>>>,
}

/// Only so that a read can hand the file itself to the root.
struct Shared(Arc<HostFile>);

impl Shared {
    fn file(&self) -> io::Result<Arc<File>> {
        let known = self
            .0
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(file) = known {
            return Ok(file);
        }
        let file = Arc::new(self.0.root.file_at(&self.0.path)?);
        *self.0.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.clone());
        self.0.root.opened(&self.0);
        Ok(file)
    }

    /// What was appended since the guest first saw the file is not part of its snapshot.
    fn left(&self, offset: u64) -> usize {
        usize::try_from(self.0.len.saturating_sub(offset)).unwrap_or(usize::MAX)
    }
}

impl ReadAt for Shared {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = self.left(offset).min(buf.len());
        let file = self.file()?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..wanted).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let file = self.file()?;
        read_file_onto(&file, buf, self.left(offset).min(most), offset)
    }

    fn len(&self) -> u64 {
        self.0.len
    }

    fn close(&self) {
        self.0
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(dir: &dyn DirSource) -> Vec<String> {
        dir.list()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    fn read(entry: Option<Entry>) -> Vec<u8> {
        let Some(Entry::File { source, .. }) = entry else {
            panic!("not a file")
        };
        let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
        let read = source.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn files_folders_and_links_are_shown_as_what_they_are() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("sub")).unwrap();
        fs::write(temp.path().join("sub/b"), "bb").unwrap();
        fs::write(temp.path().join("a"), "aaa").unwrap();
        fs::set_permissions(temp.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc", temp.path().join("out")).unwrap();
        let dir = HostDir::open(temp.path()).unwrap();
        assert_eq!(names(&dir), ["a", "out", "sub"]);
        assert!(matches!(
            dir.get("a").unwrap(),
            Some(Entry::File {
                executable: true,
                ..
            })
        ));
        assert_eq!(read(dir.get("a").unwrap()), b"aaa");
        assert!(
            matches!(dir.get("out").unwrap(), Some(Entry::Symlink(target)) if target == "/etc")
        );
        let Some(Entry::Dir(sub)) = dir.get("sub").unwrap() else {
            panic!("not a folder")
        };
        assert_eq!(read(sub.get("b").unwrap()), b"bb");
        for name in ["..", ".", "", "sub/b", "missing"] {
            assert!(dir.get(name).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn a_folder_that_becomes_a_link_is_no_way_out() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        fs::create_dir(temp.path().join("sub")).unwrap();
        fs::write(temp.path().join("sub/secret"), "mine").unwrap();
        let dir = HostDir::open(temp.path()).unwrap();
        let Some(Entry::Dir(sub)) = dir.get("sub").unwrap() else {
            panic!("not a folder")
        };
        let Some(Entry::File { source, .. }) = sub.get("secret").unwrap() else {
            panic!("not a file")
        };
        fs::remove_dir_all(temp.path().join("sub")).unwrap();
        symlink(outside.path(), temp.path().join("sub")).unwrap();
        assert!(sub.get("secret").is_err());
        assert!(sub.list().is_err());
        assert!(source.read_at(&mut [0; 1], 0).is_err());
    }

    #[test]
    fn more_files_than_may_be_open_can_be_read_and_appended_bytes_are_not_seen() {
        let temp = tempfile::tempdir().unwrap();
        for index in 0..MAX_OPEN_FILES + 20 {
            fs::write(temp.path().join(index.to_string()), index.to_string()).unwrap();
        }
        let dir = HostDir::open(temp.path()).unwrap();
        let entries = dir.list().unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(temp.path().join("7"))
            .unwrap()
            .write_all_at(b"tail", 1)
            .unwrap();
        for (name, entry) in entries {
            assert_eq!(read(Some(entry)), name.as_bytes());
        }
        assert_eq!(dir.root.open.lock().unwrap().len(), MAX_OPEN_FILES);
    }
}
