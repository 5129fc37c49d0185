//! Which processes use the store, and who may collect.
//!
//! A process that uses the store holds a lock on a file of its own in `live/`, from its first use to its end, however it
//! ends: the system drops the lock. Collecting holds `gc.lock` exclusively; beginning to use the store, and refreshing
//! the time of something that was not used for long, hold it shared. So a collector sees either the process or the fresh
//! time, and nobody sees half a collection. Called by the store's readers and writers, and by `gc`.

use crate::db::{Guard, lock_file};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Uses are only recorded anew when the last record is older than this: a run that finds everything cached, minutes
/// after the last, writes nothing. Whatever was used this long before a live process began is spared with what it uses.
pub(crate) const GRAIN_SECS: u64 = 3600;

pub(crate) struct Live {
    dir: PathBuf,
    gc_lock: PathBuf,
    active: OnceLock<Active>,
}

struct Active {
    since: u64,
    /// Held for as long as the process lives; removed by whoever collects next.
    _lock: Option<(File, Unlink)>,
}

struct Unlink(PathBuf);

impl Unlink {
    fn now(&self) {
        // A collector removes what is left behind.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Drop for Unlink {
    fn drop(&mut self) {
        self.now();
    }
}

/// The other processes that use the store.
pub(crate) struct Others {
    pub(crate) count: usize,
    /// When the first of them began, in seconds since 1970.
    pub(crate) since: Option<u64>,
}

impl Live {
    pub(crate) fn new(cache_dir: &Path) -> Live {
        Live {
            dir: cache_dir.join("live"),
            gc_lock: cache_dir.join("gc.lock"),
            active: OnceLock::new(),
        }
    }

    /// Marks this process as one that uses the store, and says from when on (seconds since 1970) recorded uses are fresh
    /// enough. Waits for a collection that is under way.
    pub(crate) fn fresh_since(&self) -> u64 {
        self.active
            .get_or_init(|| self.activate())
            .since
            .saturating_sub(GRAIN_SECS)
    }

    /// Takes the mark back while this process still goes on, for a moment. It uses the store no more.
    pub(crate) fn leave(&self) {
        let lock = self.active.get().and_then(|active| active._lock.as_ref());
        if let Some((_, unlink)) = lock {
            unlink.now();
        }
    }

    /// Since when this process uses the store, if it does.
    pub(crate) fn active_since(&self) -> Option<u64> {
        self.active.get().map(|active| active.since)
    }

    fn activate(&self) -> Active {
        let _no_gc = self.shared();
        let since = super::now_secs();
        // A folder that cannot be written cannot be collected either.
        Active {
            since,
            _lock: self.announce(since).ok(),
        }
    }

    fn announce(&self, since: u64) -> io::Result<(File, Unlink)> {
        // Locked under another name first: a visible file without a lock belongs to a process that is gone.
        let temp = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.dir)?;
        rustix::fs::flock(temp.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let unique = temp
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().replace(".new-", ""));
        let path = self.dir.join(format!(
            "{since}-{}-{}",
            std::process::id(),
            unique.unwrap_or_default()
        ));
        let file = temp.persist(&path).map_err(|error| error.error)?;
        Ok((file, Unlink(path)))
    }

    /// Keeps collectors out while it is held.
    pub(crate) fn shared(&self) -> io::Result<Guard> {
        lock_file(&self.gc_lock, FlockOperation::LockShared)
    }

    /// Keeps everyone out who would begin to use the store or refresh an old use.
    pub(crate) fn exclusive(&self) -> io::Result<Guard> {
        lock_file(&self.gc_lock, FlockOperation::LockExclusive)
    }

    /// Who else uses the store. Removes what dead processes left. Only meaningful under [`Live::exclusive`].
    pub(crate) fn others(&self) -> io::Result<Others> {
        let mut others = Others {
            count: 0,
            since: None,
        };
        let mine = self
            .active
            .get()
            .and_then(|active| active._lock.as_ref())
            .map(|(_, unlink)| unlink.0.as_path());
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if mine == Some(path.as_path()) {
                continue;
            }
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = std::fs::remove_file(&path);
                continue;
            }
            others.count += 1;
            // A name that says nothing spares everything.
            let since = name
                .split('-')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            others.since = Some(others.since.map_or(since, |known| known.min(since)));
        }
        Ok(others)
    }
}
