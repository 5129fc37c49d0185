//! Which runs are alive: a locked file for each, for as long as its process lives.
//!
//! How others tell a run that goes on from one whose process was killed. Nothing else depends on it. Called by the
//! journal.

use super::Journal;
use crate::db::lock;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use sykli_core::id::RunId;

/// How often a file is tried that somebody else is just looking at.
const TRIES: usize = 100;

impl Journal {
    /// Marks a new run as alive for as long as this process lives.
    pub(super) fn announce(&self, id: &RunId) {
        let path = self.live_path(id.as_str());
        let made = File::options().create_new(true).write(true).open(&path);
        // Without it the run would be listed as interrupted while it goes on; nothing else depends on it.
        if let Some(file) = made.ok().filter(is_locked) {
            self.keep(id, file, path);
        }
    }

    /// The same for a run whose process is gone. False where another process has it.
    pub(super) fn take_over(&self, id: &RunId) -> bool {
        let path = self.live_path(id.as_str());
        for _ in 0..TRIES {
            let opened = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path);
            let Ok(file) = opened else {
                // As for a new run: it goes on, and is listed as interrupted.
                return true;
            };
            // Whoever found it dead may have removed it in between: then the lock says nothing to others.
            if is_locked(&file) && is_there(&file, &path) {
                self.keep(id, file, path);
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Whether a process has this run. What a dead one left is removed.
    pub(super) fn is_alive(&self, id: &RunId) -> bool {
        let path = self.live_path(id.as_str());
        let Ok(file) = File::open(&path) else {
            return false;
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            return true;
        }
        // Still locked: nobody takes it over meanwhile.
        if is_there(&file, &path) {
            let _ = std::fs::remove_file(&path);
        }
        false
    }

    /// The run has ended.
    pub(super) fn release(&self, id: &RunId) {
        if let Some((file, path)) = lock(&self.inner.live).remove(id.as_str()) {
            // Someone who asks between the two sees a run that was interrupted, for as long as a commit takes.
            let _ = std::fs::remove_file(path);
            drop(file);
        }
    }

    fn keep(&self, id: &RunId, file: File, path: PathBuf) {
        lock(&self.inner.live).insert(id.as_str().to_owned(), (file, path));
    }

    fn live_path(&self, id: &str) -> PathBuf {
        self.inner.dir.join("live").join(id)
    }
}

fn is_locked(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Whether the name still means this file.
fn is_there(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}
