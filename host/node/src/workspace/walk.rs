//! Lists the files that patterns match, without looking where none can.
//!
//! A literal costs one look-up and no listing of its folder. What may be taken, followed or must be skipped is decided
//! here; that folders are read by several threads is [`super::folders`]' business, and must not show in what is listed.
//! Called by [`super::list`]'s callers only.

use super::{WorkspaceError, folders};
use crate::memo::Stamp;
use rustix::fs::{FileType, RawMode, Stat};
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sykli_core::expand::{FileEntry, Listing};
use sykli_core::glob::Pattern;

/// The most files of one listing.
const MAX_FILES: usize = 1_000_000;
/// The most things skipped that are told of: the first ones by path, whichever thread met them.
const MAX_SKIPPED: usize = 100;
/// The longest path, in bytes, that tasks can be given.
pub(super) const MAX_PATH_BYTES: usize = sykli_core::glob::MAX_PATH_BYTES;

/// Something that lies where a pattern looks but is no file for tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its path below the project, as far as it can be shown.
    pub path: String,
    /// Why it was left out.
    pub why: Why,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A symbolic link that ends outside the project, or in a folder that is never looked into.
    LeavesProject,
    /// A symbolic link to a folder: those are not followed.
    LinkedFolder,
    /// A symbolic link that leads nowhere.
    BrokenLink,
    /// A name that is not UTF-8.
    NotUtf8,
    /// A path that is too long to be given to a task.
    TooLong,
    /// A device, a socket or a pipe.
    Special,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self.why {
            Why::LeavesProject => "is a link to a place outside the project",
            Why::LinkedFolder => "is a link to a folder, and those are not followed",
            Why::BrokenLink => "is a link that leads nowhere",
            Why::NotUtf8 => "has a name that is not UTF-8",
            Why::TooLong => "has a path that is too long",
            Why::Special => "is neither a file nor a folder",
        };
        write!(f, "{} {why}", self.path)
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The folder that was listed, without symbolic links in its path.
    pub root: PathBuf,
    /// The files that match, sorted.
    pub listing: Listing,
    /// What the file system says about each of them, in the same order.
    pub stamps: Vec<Stamp>,
    /// What was left out, sorted; only the first of it where it is much.
    pub skipped: Vec<Skipped>,
}

/// Lists the regular files below `root` that any of `patterns` matches.
///
/// # Errors
/// When `root` or a folder that has to be looked into cannot be read, or when there are too many files.
pub fn list(root: &Path, patterns: &[Pattern]) -> Result<Listed, WorkspaceError> {
    let root = root
        .canonicalize()
        .map_err(|source| unreadable(root, source))?;
    let (literals, globs): (Vec<&Pattern>, Vec<&Pattern>) =
        patterns.iter().partition(|pattern| pattern.is_literal());
    let taken = AtomicUsize::new(0);
    // A literal can be found by a glob once more.
    let most = MAX_FILES + literals.len();
    let mut walk = Walk::new(&root, &taken, most);
    for pattern in literals {
        walk.literal(pattern)?;
    }
    let mut walks = vec![walk];
    if !globs.is_empty() {
        walks.extend(folders::walk(globs, || Walk::new(&root, &taken, most))?);
    }
    let skipped: BTreeSet<Skipped> = walks
        .iter_mut()
        .flat_map(|walk| std::mem::take(&mut walk.skipped))
        .collect();
    let found = in_order(walks.into_iter().flat_map(|walk| walk.runs).collect());
    if found.len() > MAX_FILES {
        return Err(WorkspaceError::TooMany { limit: MAX_FILES });
    }
    let stamps = found.iter().map(|found| found.stamp).collect();
    let files = found.into_iter().map(|found| FileEntry {
        path: found.path,
        executable: found.executable,
    });
    Ok(Listed {
        listing: Listing::new(files.collect()),
        stamps,
        skipped: skipped.into_iter().take(MAX_SKIPPED).collect(),
        root,
    })
}

/// Puts runs, and so all files, in order; a file that was found twice is kept once.
fn in_order(mut runs: Vec<Vec<Found>>) -> Vec<Found> {
    runs.sort_by(|a, b| {
        a.first()
            .map(|one| &one.path)
            .cmp(&b.first().map(|one| &one.path))
    });
    let apart = runs.windows(2).all(|pair| match pair {
        [before, after] => before.last().map(|one| &one.path) < after.first().map(|one| &one.path),
        _ => true,
    });
    let mut found = Vec::with_capacity(runs.iter().map(Vec::len).sum());
    runs.into_iter().for_each(|run| found.extend(run));
    if !apart {
        // Links and literals lie anywhere among the others.
        found.sort_by(|a: &Found, b| a.path.cmp(&b.path));
        found.dedup_by(|later, earlier| later.path == earlier.path);
    }
    found
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> WorkspaceError {
    WorkspaceError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// A file that is listed.
pub(super) struct Found {
    path: Arc<str>,
    stamp: Stamp,
    executable: bool,
}

/// What the file system says that something is.
pub(super) struct Seen {
    kind: FileType,
    executable: bool,
    stamp: Stamp,
}

impl From<&Metadata> for Seen {
    fn from(found: &Metadata) -> Seen {
        let mode = found.permissions().mode();
        Seen {
            kind: FileType::from_raw_mode(mode as RawMode),
            executable: mode & 0o100 != 0,
            stamp: Stamp::of(found),
        }
    }
}

impl From<&Stat> for Seen {
    fn from(found: &Stat) -> Seen {
        let mode = found.st_mode as RawMode;
        Seen {
            kind: FileType::from_raw_mode(mode),
            executable: mode & 0o100 != 0,
            stamp: Stamp::of_stat(found),
        }
    }
}

/// What one thread of a walk found so far.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    /// Files in order, and where it can be had with no other file between the first and the last of a run.
    runs: Vec<Vec<Found>>,
    /// The first [`MAX_SKIPPED`] of what this thread left out: those of all threads hold the first of all.
    skipped: BTreeSet<Skipped>,
    /// How many files were taken by all threads, and how many may be.
    taken: &'a AtomicUsize,
    most: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, taken: &'a AtomicUsize, most: usize) -> Walk<'a> {
        Walk {
            root,
            runs: Vec::new(),
            skipped: BTreeSet::new(),
            taken,
            most,
        }
    }

    /// A missing literal is the plan's to complain about.
    fn literal(&mut self, pattern: &Pattern) -> Result<(), WorkspaceError> {
        let Some(path) = pattern
            .as_literal()
            .filter(|path| !pattern.skips_path(path))
        else {
            return Ok(());
        };
        let absolute = self.root.join(path);
        let Ok(real) = absolute.canonicalize() else {
            if std::fs::symlink_metadata(&absolute).is_ok() {
                self.skip(path.to_owned(), Why::BrokenLink);
            }
            return Ok(());
        };
        if real == absolute {
            match std::fs::metadata(&absolute) {
                Ok(found) => self.take_alone(path.into(), &Seen::from(&found)),
                Err(source) => Err(unreadable(&absolute, source)),
            }
        } else {
            self.link(path.to_owned(), &absolute, &[pattern])
        }
    }

    /// Follows a link to a file, if it ends where patterns may look.
    pub(super) fn link(
        &mut self,
        path: String,
        absolute: &Path,
        patterns: &[&Pattern],
    ) -> Result<(), WorkspaceError> {
        let matched = |path: &str| patterns.iter().any(|pattern| pattern.matches(path));
        let (Ok(real), Ok(found)) = (absolute.canonicalize(), std::fs::metadata(absolute)) else {
            if matched(&path) {
                self.skip(path, Why::BrokenLink);
            }
            return Ok(());
        };
        if found.is_dir() {
            if patterns
                .iter()
                .any(|pattern| pattern.may_match_below(&path))
            {
                self.skip(path, Why::LinkedFolder);
            }
            return Ok(());
        }
        if !matched(&path) {
            return Ok(());
        }
        let inside = real.strip_prefix(self.root).ok().and_then(Path::to_str);
        match inside.filter(|real| patterns.iter().any(|pattern| !pattern.skips_path(real))) {
            Some(_) => self.take_alone(path.into(), &Seen::from(&found)),
            None => {
                self.skip(path, Why::LeavesProject);
                Ok(())
            }
        }
    }

    /// Takes something that is in no run with others.
    fn take_alone(&mut self, path: Arc<str>, seen: &Seen) -> Result<(), WorkspaceError> {
        let mut run = Vec::new();
        self.take(&mut run, path, seen)?;
        self.keep(run);
        Ok(())
    }

    /// Adds a file to a run, if it is one that tasks can be given.
    pub(super) fn take(
        &mut self,
        run: &mut Vec<Found>,
        path: Arc<str>,
        seen: &Seen,
    ) -> Result<(), WorkspaceError> {
        match seen.kind {
            FileType::Directory => {}
            FileType::RegularFile if path.len() > MAX_PATH_BYTES => {
                self.skip(path.to_string(), Why::TooLong);
            }
            FileType::RegularFile => {
                if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most {
                    return Err(WorkspaceError::TooMany { limit: MAX_FILES });
                }
                run.push(Found {
                    path,
                    stamp: seen.stamp,
                    executable: seen.executable,
                });
            }
            _ => self.skip(path.to_string(), Why::Special),
        }
        Ok(())
    }

    /// Keeps a run that is complete.
    pub(super) fn keep(&mut self, run: Vec<Found>) {
        if !run.is_empty() {
            self.runs.push(run);
        }
    }

    pub(super) fn skip(&mut self, path: String, why: Why) {
        self.skipped.insert(Skipped { path, why });
        if self.skipped.len() > MAX_SKIPPED {
            self.skipped.pop_last();
        }
    }
}

#[cfg(test)]
mod tests;
