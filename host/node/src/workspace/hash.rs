//! Digests of files: remembered ones where the file is unchanged, the rest hashed on several threads.
//!
//! A file that is so fresh that a later change might not show in its stamp is copied into the store as it was hashed, so
//! that tasks read what was digested. Called by the run loop (inputs), the build (sources) and `materialise`.

use super::{Files, Listed, WorkspaceError};
use crate::memo::{self, Row, Stamp};
use crate::store::{Store, StoreError};
use std::fs::File;
use std::io;
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
    let paths: Vec<PathBuf> = listed
        .listing
        .files()
        .iter()
        .map(|file| listed.root.join(&*file.path))
        .collect();
    // Sorted as text below one root is sorted as whole paths.
    let found = run(store, &paths, Some(&listed.stamps), threads, &now_ns);
    let digests = found
        .into_iter()
        .collect::<Result<Vec<Digested>, WorkspaceError>>()?;
    Ok(Files::new(store.clone(), listed, digests))
}

/// Digests the files at these absolute paths, in any order; answers in the same order.
pub fn digest_paths(
    store: &Store,
    paths: &[PathBuf],
    threads: usize,
) -> Vec<Result<Digested, WorkspaceError>> {
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|at| paths.get(*at));
    let sorted: Vec<PathBuf> = order
        .iter()
        .filter_map(|at| paths.get(*at).cloned())
        .collect();
    let mut found: Vec<_> = order
        .into_iter()
        .zip(run(store, &sorted, None, threads, &now_ns))
        .collect();
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, digested)| digested).collect()
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

type Outcome = Result<Digested, WorkspaceError>;

/// `paths` are sorted; `stamps`, where they are known already, are in the same order.
pub(super) fn run(
    store: &Store,
    paths: &[PathBuf],
    stamps: Option<&[Stamp]>,
    threads: usize,
    now_ns: &(dyn Fn() -> i64 + Sync),
) -> Vec<Outcome> {
    let by_path: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let known = memo::load(store, &by_path);
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(paths.len());
    let (mut work, mut bytes, mut rows) = (Vec::new(), 0, Vec::new());
    for (at, path) in by_path.iter().enumerate() {
        let stamp = match stamps.and_then(|stamps| stamps.get(at)) {
            Some(stamp) => *stamp,
            None => match std::fs::metadata(path) {
                // A pipe or a device has no end, and an opener of one may wait for ever.
                Ok(found) if !found.is_file() => {
                    let source =
                        io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
                    outcomes.push(Some(Err(unreadable(path, source))));
                    continue;
                }
                Ok(found) => Stamp::of(&found),
                Err(source) => {
                    outcomes.push(Some(Err(unreadable(path, source))));
                    continue;
                }
            },
        };
        let row = known.get(at).and_then(Option::as_ref);
        match row.and_then(|row| Some((row, row.digest_if(&stamp)?))) {
            Some((row, digest)) => {
                outcomes.push(Some(Ok(Digested {
                    digest,
                    stamp,
                    stored: false,
                })));
                if memo::wants_refresh(row, now_ns()) {
                    rows.push(Row::new(path, stamp, now_ns(), digest));
                }
            }
            None => {
                outcomes.push(None);
                work.push((at, *path));
                bytes += stamp.size;
            }
        }
    }
    for (at, outcome, row) in hash_all(store, &work, bytes, threads, now_ns) {
        rows.extend(row);
        if let Some(slot) = outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }
    store.memo_write(rows);
    // Every index is either remembered, failed or hashed; a thread that died leaves its files unread.
    let unread = |at: usize| {
        unreadable(
            by_path.get(at).unwrap_or(&Path::new("")),
            io::Error::other("it was not read"),
        )
    };
    outcomes
        .into_iter()
        .enumerate()
        .map(|(at, outcome)| outcome.unwrap_or_else(|| Err(unread(at))))
        .collect()
}

type Hashed = (usize, Outcome, Option<Row>);

fn hash_all(
    store: &Store,
    work: &[(usize, &Path)],
    bytes: u64,
    threads: usize,
    now_ns: &(dyn Fn() -> i64 + Sync),
) -> Vec<Hashed> {
    let by_bytes = usize::try_from(bytes / BYTES_A_THREAD).unwrap_or(usize::MAX);
    let useful = (work.len() / FILES_A_THREAD).max(by_bytes).min(work.len());
    let threads = useful.min(threads).clamp(1, MAX_THREADS);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((at, path)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (outcome, row) = match hash(store, path, now_ns) {
                Ok((digested, row)) => (Ok(digested), row),
                Err(error) => (Err(error), None),
            };
            done.push((*at, outcome, row));
        }
        done
    };
    if threads == 1 {
        return worker();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        done.extend(
            others
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .flatten(),
        );
        done
    })
}

fn hash(
    store: &Store,
    path: &Path,
    now_ns: &(dyn Fn() -> i64 + Sync),
) -> Result<(Digested, Option<Row>), WorkspaceError> {
    for _ in 0..TRIES {
        let began = now_ns();
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let before = stamp(&file, path)?;
        let settled = before.is_settled(began);
        let digest = if settled {
            crate::store::hash_file(&file).map_err(|source| unreadable(path, source))?
        } else {
            store
                .put_open_file(path, &file)
                .map_err(|error| stored(path, error))?
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
