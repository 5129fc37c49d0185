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
use crate::glob::{self, PathError};
use crate::id::Digest;
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
        let mut writer = Writer::new(&mut out);
        writer.map(2);
        writer.text("schema");
        writer.text(TREE_SCHEMA);
        writer.text("entries");
        writer.array(self.entries.len());
        for entry in &self.entries {
            writer.array(4);
            writer.text(&entry.path);
            writer.bytes(entry.digest.as_bytes());
            writer.uint(entry.size);
            writer.bool(entry.executable);
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
        Digest::of(&self.encode())
    }
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

fn validate(entries: &[TreeEntry]) -> Result<(), TreeError> {
    if entries.len() > MAX_TREE_ENTRIES {
        return Err(TreeError::TooManyEntries {
            have: entries.len(),
        });
    }
    for entry in entries {
        check_path(&entry.path)?;
    }
    for pair in entries.windows(2) {
        match pair[0].path.cmp(&pair[1].path) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                return Err(TreeError::Duplicate {
                    path: pair[1].path.clone(),
                });
            }
            std::cmp::Ordering::Greater => {
                return Err(TreeError::NotSorted {
                    path: pair[1].path.clone(),
                });
            }
        }
    }
    check_folders(entries)?;
    check_case(entries)
}

fn find<'a>(entries: &'a [TreeEntry], path: &str) -> Option<&'a TreeEntry> {
    let at = entries
        .binary_search_by(|entry| entry.path.as_str().cmp(path))
        .ok()?;
    entries.get(at)
}

/// The folder part of a path, empty at the top.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `a/b/c` → `a/b`, `a`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder(path)), |path| Some(folder(path)))
        .take_while(|path| !path.is_empty())
}

/// No file is the folder of another. Neighbours share a folder, so only a new folder is looked at.
fn check_folders(entries: &[TreeEntry]) -> Result<(), TreeError> {
    let mut last = "";
    for entry in entries {
        let current = folder(&entry.path);
        if current == last {
            continue;
        }
        last = current;
        if let Some(file) = ancestors(&entry.path).find_map(|path| find(entries, path)) {
            return Err(TreeError::FileAndFolder {
                path: file.path.clone(),
            });
        }
    }
    Ok(())
}

/// No two files or folders differ in case only. Paths without upper case cost one look each.
fn check_case(entries: &[TreeEntry]) -> Result<(), TreeError> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut last = "";
    for entry in entries {
        let current = folder(&entry.path);
        let folders = if current == last {
            None
        } else {
            Some(ancestors(&entry.path))
        };
        last = current;
        for path in std::iter::once(entry.path.as_str()).chain(folders.into_iter().flatten()) {
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
fn exists(entries: &[TreeEntry], path: &str) -> bool {
    let inside = format!("{path}/");
    let at = entries.partition_point(|entry| entry.path < inside);
    entries
        .get(at)
        .is_some_and(|entry| entry.path.starts_with(&inside))
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
    if path.is_ascii() {
        return path
            .bytes()
            .any(|byte| byte.is_ascii_uppercase())
            .then(|| path.to_ascii_lowercase());
    }
    let lower: String = path.chars().flat_map(char::to_lowercase).collect();
    (lower != path).then_some(lower)
}

#[cfg(test)]
mod tests;
