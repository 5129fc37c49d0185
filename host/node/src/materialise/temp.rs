//! Temporary files in the project folder: written under a name of their own, renamed to where they belong, and swept away
//! when the process that wrote them was killed. Called by `materialise`; it decides nothing about outputs.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// Names tried for a temporary file.
const TRIES: u32 = 16;
const PREFIX: &str = ".sykli-";
const SUFFIX: &str = ".tmp";

/// Removes the temporary files in `folder` that nobody writes any more: their lock went with their process.
pub(super) fn sweep(folder: &OwnedFd) {
    let Ok(entries) = Dir::read_from(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_ok_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !ours {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let left = rustix::fs::openat(folder, name, flags, Mode::empty())
            .and_then(|file| flock(&file, FlockOperation::NonBlockingLockExclusive));
        if left.is_ok() {
            // What cannot be removed is in nobody's way.
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        }
    }
}

/// A file under another name in the folder where it belongs; removed unless it is renamed.
pub(super) struct Temp<'a> {
    folder: &'a OwnedFd,
    name: String,
    pub(super) file: File,
    renamed: bool,
}

impl<'a> Temp<'a> {
    /// An empty file, locked for as long as it is written.
    pub(super) fn create(folder: &'a OwnedFd, executable: bool) -> Result<Temp<'a>, Errno> {
        // As any program would make it: what the user's mask allows.
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut last = Errno::EXIST;
        for try_number in 0..TRIES {
            let name = format!(
                "{PREFIX}{}-{}{SUFFIX}",
                std::process::id(),
                unique(try_number)
            );
            match rustix::fs::openat(folder, &name, flags, mode) {
                Ok(fd) => {
                    let file = File::from(fd);
                    // Another process may have swept it away before it was locked.
                    let ours = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
                        && rustix::fs::fstat(&file).is_ok_and(|found| found.st_nlink > 0);
                    if !ours {
                        continue;
                    }
                    return Ok(Temp {
                        folder,
                        name,
                        file,
                        renamed: false,
                    });
                }
                Err(error) => last = error,
            }
            if last != Errno::EXIST {
                break;
            }
        }
        Err(last)
    }

    /// Puts it in its place.
    pub(super) fn rename(mut self, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(self.folder, &self.name, self.folder, name)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // It failed already, and that is what is told.
            let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// A number that other temporary files of this moment do not have.
fn unique(try_number: u32) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}{try_number:x}", now.as_nanos())
}
