//! What a run may put into its file system, counted for all its mounts together, and what it was refused.
//!
//! Bytes and entries are counted as the guest sees them (a sparse file by its length, a hard link by its file again),
//! so that the same run meets the same limit everywhere. Memory is counted beside it: it only decides what is spooled,
//! never what succeeds. Shared by the tree and by every open file; one guest, one thread at a time.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{FsError, FsResult};
use super::spool::SpoolPlace;
use crate::outcome::Refusal;

/// What a run may put into its file system, in all mounts together, and where it is kept.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Bytes of all files written.
    pub bytes: u64,
    /// Entries made: files, directories, links.
    pub entries: u32,
    /// Where files go that are too big for memory; touched only then.
    pub spool: SpoolPlace,
}

/// How much of what is written stays in memory. It changes nothing that a guest can see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes of one file; beyond, it is spooled.
    pub(crate) file_bytes: u64,
    /// Bytes of all files together.
    pub(crate) total_bytes: u64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            file_bytes: 256 * 1024,
            total_bytes: 32 << 20,
        }
    }
}

/// The host failed while it kept a guest's files: the run is no result.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the host's storage failed under a run: {message}")]
pub struct HostError {
    /// What the host said; for its owner, never for the guest.
    pub message: String,
    /// Whether it had no space left.
    pub no_space: bool,
}

impl HostError {
    /// What `error` did to what was being done.
    pub(crate) fn new(doing: &str, error: &io::Error) -> HostError {
        HostError {
            message: format!("{doing}: {error}"),
            no_space: is_full(error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The counters of one run.
pub(crate) struct Ledger {
    limit_bytes: u64,
    limit_entries: u32,
    limit_memory: Memory,
    bytes: AtomicU64,
    entries: AtomicU32,
    memory: AtomicU64,
    listed: AtomicU64,
    bytes_refused: AtomicBool,
    entries_refused: AtomicBool,
    host_error: Mutex<Option<HostError>>,
}

/// Directory entries held by open listings at once. One listing alone may hold more.
const MAX_LISTED_ENTRIES: u64 = 1_000_000;

impl Ledger {
    pub(crate) fn new(quota: &Quota, memory: Memory) -> Arc<Ledger> {
        Arc::new(Ledger {
            limit_bytes: quota.bytes,
            limit_entries: quota.entries,
            limit_memory: memory,
            bytes: AtomicU64::new(0),
            entries: AtomicU32::new(0),
            memory: AtomicU64::new(0),
            listed: AtomicU64::new(0),
            bytes_refused: AtomicBool::new(false),
            entries_refused: AtomicBool::new(false),
            host_error: Mutex::new(None),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries.load(Relaxed)
    }

    /// Counts `new` bytes where `old` were counted before; growth beyond the limit is refused and changes nothing.
    pub(crate) fn change_bytes(&self, old: u64, new: u64) -> FsResult<()> {
        let without = self.bytes().saturating_sub(old);
        let total = without.saturating_add(new);
        if new > old && total > self.limit_bytes {
            self.refuse_bytes();
            return Err(FsError::InsufficientSpace);
        }
        self.bytes.store(total, Relaxed);
        Ok(())
    }

    pub(crate) fn refuse_bytes(&self) {
        self.bytes_refused.store(true, Relaxed);
    }

    pub(crate) fn add_entry(&self) -> FsResult<()> {
        let have = self.entries();
        if have >= self.limit_entries {
            self.entries_refused.store(true, Relaxed);
            return Err(FsError::Quota);
        }
        self.entries.store(have + 1, Relaxed);
        Ok(())
    }

    pub(crate) fn remove_entry(&self) {
        self.entries
            .store(self.entries().saturating_sub(1), Relaxed);
    }

    /// Whether one file of `len` bytes may lie in memory by its size.
    pub(crate) fn is_small(&self, len: u64) -> bool {
        len <= self.limit_memory.file_bytes
    }

    /// Whether `bytes` in all are more than the run may leave behind; noted if so.
    pub(crate) fn exceeds(&self, bytes: u64) -> bool {
        if bytes > self.limit_bytes {
            self.refuse_bytes();
        }
        bytes > self.limit_bytes
    }

    /// Whether `new` bytes may lie in memory where `old` did; if so they are counted.
    pub(crate) fn change_memory(&self, old: u64, new: u64) -> bool {
        let total = self
            .memory
            .load(Relaxed)
            .saturating_sub(old)
            .saturating_add(new);
        if new > old && total > self.limit_memory.total_bytes {
            return false;
        }
        self.memory.store(total, Relaxed);
        true
    }

    /// Counts a listing of `entries` as open until what is returned is dropped.
    pub(crate) fn hold_listing(self: &Arc<Self>, entries: usize) -> FsResult<ListingHold> {
        let entries = entries as u64;
        let held = self.listed.load(Relaxed);
        if held > 0 && held.saturating_add(entries) > MAX_LISTED_ENTRIES {
            return Err(FsError::InsufficientMemory);
        }
        self.listed.store(held + entries, Relaxed);
        Ok(ListingHold {
            ledger: self.clone(),
            entries,
        })
    }

    /// What the guest is told when reading a source failed.
    pub(crate) fn read_failed(&self, error: &io::Error) -> FsError {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return FsError::Access;
        }
        self.note_host_error("reading an input", error);
        FsError::Io
    }

    /// What the guest is told when spooling failed.
    pub(crate) fn spool_failed(&self, error: &io::Error) -> FsError {
        self.note_host_error("keeping a file that it wrote", error);
        if is_full(error) {
            FsError::InsufficientSpace
        } else {
            FsError::Io
        }
    }

    fn note_host_error(&self, doing: &str, error: &io::Error) {
        self.host_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| HostError::new(doing, error));
    }

    pub(crate) fn host_error(&self) -> Option<HostError> {
        self.host_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if self.bytes_refused.load(Relaxed) {
            refusals.push(Refusal::OutputBytes {
                limit: self.limit_bytes,
            });
        }
        if self.entries_refused.load(Relaxed) {
            refusals.push(Refusal::OutputEntries {
                limit: self.limit_entries,
            });
        }
        refusals
    }
}

/// A listing counted as open.
pub(crate) struct ListingHold {
    ledger: Arc<Ledger>,
    entries: u64,
}

impl Drop for ListingHold {
    fn drop(&mut self) {
        let held = self.ledger.listed.load(Relaxed);
        self.ledger
            .listed
            .store(held.saturating_sub(self.entries), Relaxed);
    }
}
