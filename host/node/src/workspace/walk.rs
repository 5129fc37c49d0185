//! Lists the files that patterns match, without looking where none can.
//!
//! A literal costs one look-up and no listing of its folder. Called by [`super::list`]'s callers only.

use super::WorkspaceError;
use crate::memo::Stamp;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use sykli_core::expand::{FileEntry, Listing};
use sykli_core::glob::Pattern;

/// The most files of one listing.
const MAX_FILES: usize = 1_000_000;
/// The most things skipped that are told of.
const MAX_SKIPPED: usize = 100;
/// The longest path, in bytes, that tasks can be given.
const MAX_PATH_BYTES: usize = sykli_core::glob::MAX_PATH_BYTES;

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
    /// What was left out, sorted; not all of it where it is much.
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
    let mut walk = Walk {
        root: &root,
        found: BTreeMap::new(),
        skipped: Vec::new(),
    };
    let (literals, globs): (Vec<&Pattern>, Vec<&Pattern>) =
        patterns.iter().partition(|pattern| pattern.is_literal());
    for pattern in literals {
        walk.literal(pattern)?;
    }
    let mut folders = vec![(String::new(), globs)];
    while let Some((folder, patterns)) = folders.pop() {
        walk.folder(&folder, &patterns, &mut folders)?;
    }
    let (mut files, mut stamps) = (
        Vec::with_capacity(walk.found.len()),
        Vec::with_capacity(walk.found.len()),
    );
    for (path, (stamp, executable)) in walk.found {
        files.push(FileEntry {
            path: path.into(),
            executable,
        });
        stamps.push(stamp);
    }
    let mut skipped = walk.skipped;
    skipped.sort();
    skipped.dedup();
    Ok(Listed {
        listing: Listing::new(files),
        stamps,
        skipped,
        root,
    })
}

fn unreadable(path: &Path, source: std::io::Error) -> WorkspaceError {
    WorkspaceError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

struct Walk<'a> {
    root: &'a Path,
    found: BTreeMap<String, (Stamp, bool)>,
    skipped: Vec<Skipped>,
}

impl Walk<'_> {
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
                Ok(found) => self.take(path.to_owned(), &found),
                Err(source) => Err(unreadable(&absolute, source)),
            }
        } else {
            self.link(path.to_owned(), &absolute, &[pattern])
        }
    }

    fn folder<'p>(
        &mut self,
        folder: &str,
        patterns: &[&'p Pattern],
        folders: &mut Vec<(String, Vec<&'p Pattern>)>,
    ) -> Result<(), WorkspaceError> {
        if patterns.is_empty() {
            return Ok(());
        }
        let absolute = self.root.join(folder);
        let entries = match std::fs::read_dir(&absolute) {
            Ok(entries) => entries,
            // The base of a pattern need not be there: the plan says that the pattern matches nothing.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound) => return Ok(()),
            Err(source) => return Err(unreadable(&absolute, source)),
        };
        for entry in entries {
            let entry = entry.map_err(|source| unreadable(&absolute, source))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.skip(join(folder, &name.to_string_lossy()), Why::NotUtf8);
                continue;
            };
            let path = join(folder, name);
            let kind = entry
                .file_type()
                .map_err(|source| unreadable(&entry.path(), source))?;
            if kind.is_dir() {
                let inside: Vec<&Pattern> = patterns
                    .iter()
                    .copied()
                    .filter(|pattern| !pattern.skips(name) && pattern.may_match_below(&path))
                    .collect();
                if path.len() >= MAX_PATH_BYTES {
                    self.skip(path, Why::TooLong);
                } else if !inside.is_empty() {
                    folders.push((path, inside));
                }
            } else if kind.is_symlink() {
                self.link(path, &entry.path(), patterns)?;
            } else if patterns.iter().any(|pattern| pattern.matches(&path)) {
                match entry.metadata() {
                    Ok(found) => self.take(path, &found)?,
                    // Gone since the folder was listed.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(source) => return Err(unreadable(&entry.path(), source)),
                }
            }
        }
        Ok(())
    }

    /// Follows a link to a file, if it ends where patterns may look.
    fn link(
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
            Some(_) => self.take(path, &found),
            None => {
                self.skip(path, Why::LeavesProject);
                Ok(())
            }
        }
    }

    fn take(&mut self, path: String, found: &Metadata) -> Result<(), WorkspaceError> {
        if found.is_dir() {
            return Ok(());
        }
        if !found.is_file() {
            self.skip(path, Why::Special);
        } else if path.len() > MAX_PATH_BYTES {
            self.skip(path, Why::TooLong);
        } else if self.found.len() >= MAX_FILES {
            return Err(WorkspaceError::TooMany { limit: MAX_FILES });
        } else {
            let executable = found.permissions().mode() & 0o100 != 0;
            self.found.insert(path, (Stamp::of(found), executable));
        }
        Ok(())
    }

    fn skip(&mut self, path: String, why: Why) {
        if self.skipped.len() < MAX_SKIPPED {
            self.skipped.push(Skipped { path, why });
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}
