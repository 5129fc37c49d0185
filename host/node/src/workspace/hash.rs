//! Digests of files: remembered ones where the file is unchanged, the rest hashed on several threads.
//!
//! A file that is so fresh that a later change might not show in its stamp is copied into the store as it was hashed, so
//! that tasks read what was digested. Called by the run loop (inputs), the build (sources) and `materialise`.

use super::{Files, Listed, WorkspaceError};
use crate::memo::{self, Row, Stamp, Wanted, folder_and_name};
use crate::store::{Buffer, Store, StoreError, hash_file, hash_large_file};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use sykli_core::id::Digest;

/// The most threads that hash.
const MAX_THREADS: usize = 16;
/// Files below this many for each thread are not worth another thread.
const FILES_A_THREAD: usize = 16;
/// Bytes below this many for each thread are not, either.
const BYTES_A_THREAD: u64 = 4 << 20;
/// From this size on, a file is hashed by all threads together, so that one large file is not one thread's work.
const LARGE_BYTES: u64 = 16 << 20;
/// How often a file that changes while it is hashed is tried again.
const TRIES: u32 = 3;

/// A file's content by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// Digest of the content.
    pub digest: Digest,
    /// What the file system said when it had that content.
    pub stamp: Stamp,
    /// Whether the content was copied into the store, because a later change might not show.
    pub stored: bool,
}

/// Digests everything that was listed. Uses at most `threads` threads.
///
/// # Errors
/// When a file cannot be read, or keeps changing.
pub fn digest(store: &Store, listed: Listed, threads: usize) -> Result<Files, WorkspaceError> {
    let files = listed.listing.files();
    let path_of = |at: usize| match files.get(at) {
        Some(file) => listed.root.join(&*file.path),
        None => listed.root.clone(),
    };
    let paths = files.iter().map(|file| file.path.as_bytes());
    let wanted = by_folder(paths, |at| {
        let path = path_of(at).into_os_string();
        folder_and_name(path.as_bytes()).0.to_vec()
    });
    let job = Job {
        store,
        stamps: &listed.stamps,
        path_of: &path_of,
        threads,
        now_ns: &now_ns,
    };
    let known = job.remembered(&wanted);
    let missing: Vec<usize> = (0..files.len())
        .filter(|at| known.get(*at).is_none_or(Option::is_none))
        .collect();
    let mut hashed = job.hash_all(&missing).into_iter().peekable();
    let mut digests = Vec::with_capacity(files.len());
    for (at, (stamp, known)) in listed.stamps.iter().zip(known).enumerate() {
        digests.push(match known {
            Some(digest) => remembered(digest, *stamp),
            None => match hashed.next_if(|(of, _)| *of == at) {
                Some((_, outcome)) => outcome?,
                None => return Err(job.unread(at)),
            },
        });
    }
    Ok(Files::new(store.clone(), listed, digests))
}

/// Digests the files at these absolute paths, in any order; answers in the same order.
pub fn digest_paths(
    store: &Store,
    paths: &[PathBuf],
    threads: usize,
) -> Vec<Result<Digested, WorkspaceError>> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(paths.len());
    let mut stamps = Vec::with_capacity(paths.len());
    for path in paths {
        let found = match std::fs::metadata(path) {
            // A pipe or a device has no end, and an opener of one may wait for ever.
            Ok(found) if !found.is_file() => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            )),
            found => found,
        };
        stamps.push(found.as_ref().map(Stamp::of).unwrap_or_default());
        outcomes.push(found.err().map(|source| Err(unreadable(path, source))));
    }
    let job = Job {
        store,
        stamps: &stamps,
        path_of: &|at| paths.get(at).cloned().unwrap_or_default(),
        threads,
        now_ns: &now_ns,
    };
    let bytes = paths.iter().map(|path| path.as_os_str().as_bytes());
    let wanted = by_folder(bytes, |at| {
        let path = paths
            .get(at)
            .map_or(&[][..], |path| path.as_os_str().as_bytes());
        folder_and_name(path).0.to_vec()
    });
    let mut missing = Vec::new();
    for (at, ((outcome, known), stamp)) in outcomes
        .iter_mut()
        .zip(job.remembered(&wanted))
        .zip(&stamps)
        .enumerate()
    {
        match known {
            _ if outcome.is_some() => {}
            Some(digest) => *outcome = Some(Ok(remembered(digest, *stamp))),
            None => missing.push(at),
        }
    }
    for (at, hashed) in job.hash_all(&missing) {
        if let Some(slot) = outcomes.get_mut(at) {
            *slot = Some(hashed);
        }
    }
    outcomes
        .into_iter()
        .enumerate()
        .map(|(at, outcome)| outcome.unwrap_or_else(|| Err(job.unread(at))))
        .collect()
}

fn remembered(digest: Digest, stamp: Stamp) -> Digested {
    Digested {
        digest,
        stamp,
        stored: false,
    }
}

/// Puts files together that are in one folder. `folder_of` makes the folder's absolute path, from any of its files.
fn by_folder<'p>(
    paths: impl Iterator<Item = &'p [u8]>,
    folder_of: impl Fn(usize) -> Vec<u8>,
) -> Vec<Wanted<'p>> {
    let mut wanted: Vec<Wanted<'p>> = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut last: Option<(&[u8], usize)> = None;
    for (at, path) in paths.enumerate() {
        // Neighbours mostly share a folder.
        let same = last.and_then(|(folder, place)| Some((name_in(folder, path)?, place)));
        let (name, place) = same.unwrap_or_else(|| {
            let (folder, name) = folder_and_name(path);
            let place = *places.entry(folder).or_insert_with(|| {
                wanted.push(Wanted {
                    folder: folder_of(at),
                    names: Vec::new(),
                });
                wanted.len() - 1
            });
            last = Some((folder, place));
            (name, place)
        });
        if let Some(one) = wanted.get_mut(place) {
            one.names.push((name, at));
        }
    }
    for one in &mut wanted {
        one.names.sort_unstable();
    }
    wanted.sort_unstable_by(|a, b| a.folder.cmp(&b.folder));
    wanted
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The name of the file at `path`, if `folder` is the one that it is in.
fn name_in<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let name = path.strip_prefix(folder)?.strip_prefix(b"/")?;
    (!name.contains(&b'/')).then_some(name)
}

type Outcome = Result<Digested, WorkspaceError>;

/// Files to be digested, by number.
struct Job<'a> {
    store: &'a Store,
    stamps: &'a [Stamp],
    path_of: &'a (dyn Fn(usize) -> PathBuf + Sync),
    threads: usize,
    now_ns: &'a (dyn Fn() -> i64 + Sync),
}

impl Job<'_> {
    /// The digest of each file that is remembered as it is now.
    fn remembered(&self, wanted: &[Wanted<'_>]) -> Vec<Option<Digest>> {
        let mut digests = vec![None; self.stamps.len()];
        let mut refresh = Vec::new();
        let now_ns = (self.now_ns)();
        memo::load(self.store, wanted, &mut |at, known| {
            let (Some(stamp), Some(slot)) = (self.stamps.get(at), digests.get_mut(at)) else {
                return;
            };
            *slot = known.digest_if(stamp);
            if let Some(digest) = slot.filter(|_| known.wants_refresh(now_ns)) {
                refresh.push(Row::new(&(self.path_of)(at), *stamp, now_ns, digest));
            }
        });
        self.store.memo_write(refresh);
        digests
    }

    /// Hashes files and remembers them; answers in the order of `missing`, which ascends.
    fn hash_all(&self, missing: &[usize]) -> Vec<(usize, Outcome)> {
        if missing.is_empty() {
            return Vec::new();
        }
        let size_of = |at: &usize| self.stamps.get(*at).map_or(0, |stamp| stamp.size);
        let (large, small): (Vec<usize>, Vec<usize>) = missing
            .iter()
            .partition(|at| self.threads > 1 && size_of(at) >= LARGE_BYTES);
        let bytes = small.iter().map(size_of).fold(0, u64::saturating_add);
        let by_bytes = usize::try_from(bytes / BYTES_A_THREAD).unwrap_or(usize::MAX);
        let useful = (small.len() / FILES_A_THREAD)
            .max(by_bytes)
            .min(small.len());
        let threads = useful.min(self.threads).clamp(1, MAX_THREADS);
        let next = AtomicUsize::new(0);
        let worker = || {
            let (mut done, mut buffer) = (Vec::new(), Buffer::new());
            while let Some(at) = small.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((*at, self.hash(*at, 1, &mut buffer)));
            }
            done
        };
        let mut done = if threads == 1 {
            worker()
        } else {
            std::thread::scope(|scope| {
                // Where the system gives no more threads, fewer do.
                let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
                let others: Vec<_> = (1..threads).filter_map(spawn).collect();
                let mut done = worker();
                // A thread that died leaves its files unread.
                let theirs = others.into_iter().filter_map(|thread| thread.join().ok());
                done.extend(theirs.flatten());
                done
            })
        };
        let mut buffer = Buffer::new();
        for at in large {
            done.push((at, self.hash(at, self.threads, &mut buffer)));
        }
        done.sort_unstable_by_key(|(at, _)| *at);
        let mut rows = Vec::new();
        let outcomes = done.into_iter().map(|(at, outcome)| {
            let outcome = outcome.map(|(digested, row)| {
                rows.extend(row);
                digested
            });
            (at, outcome)
        });
        let outcomes = outcomes.collect();
        self.store.memo_write(rows);
        outcomes
    }

    /// Hashes one file, if it is large with so many threads.
    fn hash(
        &self,
        at: usize,
        threads: usize,
        buffer: &mut Buffer,
    ) -> Result<(Digested, Option<Row>), WorkspaceError> {
        let path = &*(self.path_of)(at);
        for _ in 0..TRIES {
            let began = (self.now_ns)();
            let file = File::open(path).map_err(|source| unreadable(path, source))?;
            let before = stamp(&file, path)?;
            let settled = before.is_settled(began);
            let digest = if !settled {
                self.store
                    .put_open_file(path, &file)
                    .map_err(|error| stored(path, error))?
            } else if threads > 1 && before.size >= LARGE_BYTES {
                hash_large_file(&file, before.size, threads.min(MAX_THREADS))
                    .map_err(|source| unreadable(path, source))?
            } else {
                hash_file(&file, buffer).map_err(|source| unreadable(path, source))?
            };
            if stamp(&file, path)? == before {
                let row = settled.then(|| Row::new(path, before, began, digest));
                return Ok((
                    Digested {
                        digest,
                        stamp: before,
                        stored: !settled,
                    },
                    row,
                ));
            }
        }
        Err(WorkspaceError::Changing {
            path: path.to_owned(),
        })
    }

    /// Every file is either remembered, failed or hashed, unless a thread died.
    fn unread(&self, at: usize) -> WorkspaceError {
        unreadable(&(self.path_of)(at), io::Error::other("it was not read"))
    }
}

fn stamp(file: &File, path: &Path) -> Result<Stamp, WorkspaceError> {
    file.metadata()
        .map(|found| Stamp::of(&found))
        .map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> WorkspaceError {
    WorkspaceError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn stored(path: &Path, error: StoreError) -> WorkspaceError {
    match error {
        StoreError::Source { message, .. } => unreadable(path, io::Error::other(message)),
        error => WorkspaceError::Store(error),
    }
}

#[cfg(test)]
mod tests;
