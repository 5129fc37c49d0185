//! A tree: a sorted list of path → (digest, size, executable), itself a blob named by its digest.
//!
//! Trees are what tasks are given and what they leave behind. A [`Tree`] that exists is valid: paths are relative and
//! plain, sorted bytewise, each once, none is both a file and a folder, and no two differ in case only (half of the
//! file systems that a tree may be written to would merge them). Folders are implied by paths: an empty folder is not
//! part of a result, nor are times, owners or other mode bits, which no two machines agree on. The encoding is
//! canonical DAG-CBOR, so equal trees have equal digests and nothing else decodes.
//!
//! Never reads a file: the node digests contents. Called by the node (workspace layers, outputs) and by
//! [`crate::explain`].
//!
//! ```text
//! {"schema": "sykli-tree/1", "entries": [[path: text, digest: bytes(32), size: uint, executable: bool], …]}
//! ```

use crate::dagcbor::{CodecError, Reader, Writer};
use crate::glob::{self, PathError, folder_and_name, name_in};
use crate::id::Digest;
use std::borrow::Cow;
use std::collections::BTreeMap;
use thiserror::Error;

/// The first thing in an encoded tree: what it is, and which version of this format.
pub const TREE_SCHEMA: &str = "sykli-tree/1";
/// The most files of one tree.
pub const MAX_TREE_ENTRIES: usize = 1_000_000;
/// The longest component of a path, in bytes: what common file systems take.
pub const MAX_NAME_BYTES: usize = 255;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative, '/'-separated, without `.` or `..`.
    pub path: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// Whether the content may be executed: the one mode bit that is kept.
    pub executable: bool,
}

/// One file of a tree that is not made: see [`digest_of`].
#[derive(Debug, Clone, Copy)]
pub struct TreeLine<'a> {
    /// As `TreeEntry::path`.
    pub path: &'a str,
    /// As `TreeEntry::digest`.
    pub digest: &'a Digest,
    /// As `TreeEntry::size`.
    pub size: u64,
    /// As `TreeEntry::executable`.
    pub executable: bool,
}

/// What trees are made of, whoever owns it.
trait Line {
    fn line(&self) -> TreeLine<'_>;

    fn path(&self) -> &str {
        self.line().path
    }
}

impl Line for TreeEntry {
    fn line(&self) -> TreeLine<'_> {
        TreeLine {
            path: &self.path,
            digest: &self.digest,
            size: self.size,
            executable: self.executable,
        }
    }
}

impl Line for TreeLine<'_> {
    fn line(&self) -> TreeLine<'_> {
        *self
    }
}

/// A valid tree; see the module for what that means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<TreeEntry>,
}

/// Why a list of entries is not a tree, or bytes not the encoding of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The bytes are not the canonical encoding.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// More files than a tree may hold.
    #[error("{have} files, more than the {MAX_TREE_ENTRIES} that a tree may hold")]
    TooManyEntries {
        /// How many there are.
        have: usize,
    },
    /// A path that must not be in a tree.
    #[error("path {path:?} {why}")]
    BadPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: PathError,
    },
    /// A component longer than [`MAX_NAME_BYTES`].
    #[error("path {path:?} has a component of more than {MAX_NAME_BYTES} bytes")]
    LongName {
        /// The path, shortened.
        path: String,
    },
    /// An encoded tree whose paths do not ascend.
    #[error("path {path:?} is not in sorted order")]
    NotSorted {
        /// The path that is out of place.
        path: String,
    },
    /// A path that occurs twice.
    #[error("path {path:?} occurs twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A path that other paths use as a folder.
    #[error("path {path:?} is both a file and a folder")]
    FileAndFolder {
        /// The path.
        path: String,
    },
    /// Two paths that many file systems take for the same.
    #[error("paths {first:?} and {second:?} differ in case only")]
    CaseFold {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
}

impl Tree {
    /// A tree of these entries, in whatever order they come.
    ///
    /// # Errors
    /// When the entries do not form a valid tree.
    pub fn new(mut entries: Vec<TreeEntry>) -> Result<Tree, TreeError> {
        // Listings arrive sorted nearly always, and then this costs one pass.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        validate(&entries)?;
        Ok(Tree { entries })
    }

    /// The entries, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// The entries, sorted by path, without a copy.
    #[must_use]
    pub fn into_entries(self) -> Vec<TreeEntry> {
        self.entries
    }

    /// The file at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&TreeEntry> {
        find(&self.entries, path)
    }

    /// Length of all contents together, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.entries
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        const ENTRY_BYTES: usize = 48;
        let paths: usize = self.entries.iter().map(|entry| entry.path.len()).sum();
        let mut out = Vec::with_capacity(32 + paths + ENTRY_BYTES * self.entries.len());
        encode_head(&mut out, self.entries.len());
        for entry in &self.entries {
            encode_line(&mut out, &entry.line());
        }
        out
    }

    /// The tree that `bytes` encode.
    ///
    /// # Errors
    /// When they are not the canonical encoding of a valid tree.
    pub fn decode(bytes: &[u8]) -> Result<Tree, TreeError> {
        let mut reader = Reader::new(bytes);
        reader.map_of(2, "a tree of two fields")?;
        reader.exactly("schema")?;
        reader.exactly(TREE_SCHEMA)?;
        reader.exactly("entries")?;
        let count = reader.array()?;
        if count > MAX_TREE_ENTRIES {
            return Err(TreeError::TooManyEntries { have: count });
        }
        // No capacity by the announced count: memory is only taken for what was really read.
        let mut entries = Vec::new();
        for _ in 0..count {
            reader.array_of(4, "an entry of four fields")?;
            entries.push(TreeEntry {
                path: reader.text()?.to_owned(),
                digest: Digest(reader.bytes32()?),
                size: reader.uint()?,
                executable: reader.bool()?,
            });
        }
        reader.finish()?;
        validate(&entries)?;
        Ok(Tree { entries })
    }

    /// Digest of the encoding: the name of this tree as a blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_lines(&self.entries)
    }
}

/// The digest of the tree of these lines, sorted by path, without making it.
///
/// # Errors
/// When they do not form a valid tree, or are not sorted.
pub fn digest_of(lines: &[TreeLine<'_>]) -> Result<Digest, TreeError> {
    validate(lines)?;
    Ok(digest_lines(lines))
}

fn digest_lines(lines: &[impl Line]) -> Digest {
    // The encoding of a large tree is megabytes, so it is hashed as it is made.
    const PART_BYTES: usize = 64 * 1024;
    let mut hasher = blake3::Hasher::new();
    let mut part = Vec::with_capacity(PART_BYTES + 2 * glob::MAX_PATH_BYTES);
    encode_head(&mut part, lines.len());
    for line in lines {
        encode_line(&mut part, &line.line());
        if part.len() >= PART_BYTES {
            hasher.update(&part);
            part.clear();
        }
    }
    hasher.update(&part);
    Digest(*hasher.finalize().as_bytes())
}

fn encode_head(out: &mut Vec<u8>, entries: usize) {
    let mut writer = Writer::new(out);
    writer.map(2);
    writer.text("schema");
    writer.text(TREE_SCHEMA);
    writer.text("entries");
    writer.array(entries);
}

fn encode_line(out: &mut Vec<u8>, line: &TreeLine<'_>) {
    let mut writer = Writer::new(out);
    writer.array(4);
    writer.text(line.path);
    writer.bytes(line.digest.as_bytes());
    writer.uint(line.size);
    writer.bool(line.executable);
}

/// Whether `path` may stand in a tree: what [`glob::check_path`] wants, and names that a file system takes.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_path(path: &str) -> Result<(), TreeError> {
    let shortened = || path.chars().take(200).collect();
    glob::check_path(path).map_err(|why| TreeError::BadPath {
        path: shortened(),
        why,
    })?;
    if path.split('/').any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(TreeError::LongName { path: shortened() });
    }
    Ok(())
}

fn validate(entries: &[impl Line]) -> Result<(), TreeError> {
    if entries.len() > MAX_TREE_ENTRIES {
        return Err(TreeError::TooManyEntries {
            have: entries.len(),
        });
    }
    check_paths(entries)?;
    for pair in entries.windows(2) {
        let [before, after] = pair else {
            continue;
        };
        match before.path().cmp(after.path()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                return Err(TreeError::Duplicate {
                    path: after.path().to_owned(),
                });
            }
            std::cmp::Ordering::Greater => {
                return Err(TreeError::NotSorted {
                    path: after.path().to_owned(),
                });
            }
        }
    }
    check_folders(entries)?;
    check_case(entries)
}

/// [`check_path`] for each. Neighbours share a folder, so mostly a name is all that has to be looked at.
fn check_paths(entries: &[impl Line]) -> Result<(), TreeError> {
    let mut last = None;
    for entry in entries {
        let path = entry.path();
        let name = last.and_then(|folder| name_in(folder, path));
        let plain = name.is_some_and(|name| {
            !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_BYTES && !name.contains('\0')
        });
        if !plain || path.len() > glob::MAX_PATH_BYTES {
            check_path(path)?;
            last = path.rsplit_once('/').map(|(folder, _)| folder);
        }
    }
    Ok(())
}

fn find<'a, L: Line>(entries: &'a [L], path: &str) -> Option<&'a L> {
    let at = entries
        .binary_search_by(|entry| entry.path().cmp(path))
        .ok()?;
    entries.get(at)
}

fn folder(path: &str) -> &str {
    folder_and_name(path).0
}

/// `a/b/c` → `a/b`, `a`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder(path)), |path| Some(folder(path)))
        .take_while(|path| !path.is_empty())
}

/// No file is the folder of another. Neighbours share a folder, so only a new folder is looked at.
fn check_folders(entries: &[impl Line]) -> Result<(), TreeError> {
    let mut last = "";
    for entry in entries {
        if name_in(last, entry.path()).is_some() {
            continue;
        }
        last = folder(entry.path());
        if let Some(file) = ancestors(entry.path()).find_map(|path| find(entries, path)) {
            return Err(TreeError::FileAndFolder {
                path: file.path().to_owned(),
            });
        }
    }
    Ok(())
}

/// No two files or folders differ in case only. Where two paths do, they do so first as two names in one folder, so
/// folders are looked at one by one, and not at all where no name has upper case.
fn check_case(entries: &[impl Line]) -> Result<(), TreeError> {
    let mut open: Vec<Siblings<'_>> = vec![Siblings::default()];
    let mut inside = "";
    let mut clash = false;
    for entry in entries {
        let path = entry.path();
        if name_in(inside, path).is_none() {
            while open.len() > 1 && !within(path, inside) {
                clash |= open.pop().is_some_and(|folder| folder.clash());
                inside = folder(inside);
            }
            // The folders on the way to it that are new.
            let mut start = if inside.is_empty() {
                0
            } else {
                inside.len() + 1
            };
            while let Some(end) = path.get(start..).and_then(|rest| rest.find('/')) {
                if let (Some(parent), Some(name)) = (open.last_mut(), path.get(start..start + end))
                {
                    parent.add(name);
                }
                open.push(Siblings::default());
                inside = path.get(..start + end).unwrap_or_default();
                start += end + 1;
            }
        }
        if let (Some(siblings), Some(name)) = (open.last_mut(), name_in(inside, path)) {
            siblings.add(name);
        }
    }
    if clash || open.iter().any(Siblings::clash) {
        return first_clash(entries);
    }
    Ok(())
}

/// Whether `path` is somewhere inside `folder`.
fn within(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
}

/// What is in one folder.
#[derive(Default)]
struct Siblings<'a> {
    names: Vec<&'a str>,
    mixed: bool,
}

impl<'a> Siblings<'a> {
    fn add(&mut self, name: &'a str) {
        self.mixed |= has_upper_case(name);
        self.names.push(name);
    }

    /// Whether two of the names, which all differ, are the same in lower case.
    fn clash(&self) -> bool {
        if !self.mixed {
            return false;
        }
        let lower = |name: &&'a str| lower_case(name).map_or(Cow::Borrowed(*name), Cow::Owned);
        let mut folded: Vec<Cow<'a, str>> = self.names.iter().map(lower).collect();
        folded.sort_unstable();
        folded.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Which two paths differ in case only, in the order of the entries.
fn first_clash(entries: &[impl Line]) -> Result<(), TreeError> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut last = "";
    for entry in entries {
        let folders = if name_in(last, entry.path()).is_some() {
            None
        } else {
            last = folder(entry.path());
            Some(ancestors(entry.path()))
        };
        for path in std::iter::once(entry.path()).chain(folders.into_iter().flatten()) {
            let Some(lower) = lower_case(path) else {
                continue;
            };
            match folded.get(&lower) {
                Some(other) if *other != path => return Err(case_fold(other, path)),
                Some(_) => {}
                None if exists(entries, &lower) => return Err(case_fold(&lower, path)),
                None => drop(folded.insert(lower, path)),
            }
        }
    }
    Ok(())
}

/// Whether `path` is a file of the entries, or a folder that one of them implies.
fn exists(entries: &[impl Line], path: &str) -> bool {
    let inside = format!("{path}/");
    let at = entries.partition_point(|entry| *entry.path() < *inside);
    entries
        .get(at)
        .is_some_and(|entry| entry.path().starts_with(&inside))
        || find(entries, path).is_some()
}

fn case_fold(first: &str, second: &str) -> TreeError {
    TreeError::CaseFold {
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

/// The path in lower case, where that is another. Character by character: a case-insensitive file system does not
/// know where a word ends either.
fn lower_case(path: &str) -> Option<String> {
    if !has_upper_case(path) {
        return None;
    }
    if path.is_ascii() {
        return Some(path.to_ascii_lowercase());
    }
    Some(path.chars().flat_map(char::to_lowercase).collect())
}

fn has_upper_case(text: &str) -> bool {
    // Without a way out in between, this is done for many bytes at once.
    let (upper, all) = text.bytes().fold((false, 0), |(upper, all), byte| {
        (upper | byte.is_ascii_uppercase(), all | byte)
    });
    upper || (!all.is_ascii() && text.chars().any(|c| !c.to_lowercase().eq([c])))
}

#[cfg(test)]
mod tests;
