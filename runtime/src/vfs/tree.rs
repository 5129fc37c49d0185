//! What a mount shows to begin with: directories that are asked only when touched.
//!
//! A source never changes by what a guest does, and is never asked for more than the guest touches: a task that reads
//! one file of 50,000 pays for one. Implemented here over a flat sorted index and in memory; by others over whatever
//! they have. Asked by `node.rs` alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::source::Source;

/// A directory that is asked lazily. It must answer the same whenever it is asked during a run.
pub trait DirSource: Send + Sync {
    /// All entries, in any order. Names that no guest could use (empty, `.`, `..`, with `/` or NUL, over 255 bytes) are
    /// skipped by the caller.
    ///
    /// # Errors
    /// What the host's storage says; see [`super::ReadAt::read_at`] for what becomes of it.
    fn list(&self) -> io::Result<Vec<(String, Entry)>>;

    /// The entry of this name, if there is one.
    ///
    /// # Errors
    /// As for [`DirSource::list`].
    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        Ok(self
            .list()?
            .into_iter()
            .find(|(have, _)| have == name)
            .map(|(_, entry)| entry))
    }
}

/// What a directory has under a name.
#[derive(Clone)]
pub enum Entry {
    /// A regular file.
    File {
        /// Its content.
        source: Source,
        /// Whether the host marks it executable; kept with the file, not shown to the guest (WASI has no such bit).
        executable: bool,
    },
    /// A directory.
    Dir(Arc<dyn DirSource>),
    /// A symbolic link and its target as written. One that is absolute or leads out of the mount is shown, but cannot
    /// be followed.
    Symlink(String),
}

/// Why a set of paths makes no tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The path is empty, absolute, or has a part that is empty, `.`, `..`, too long or has a NUL.
    #[error("{0:?} is no relative path of plain names")]
    BadPath(String),
    /// The path is there twice, or once as a file and once as a directory.
    #[error("{0:?} is there twice, or both a file and a directory")]
    Conflict(String),
}

/// Whether `name` can name an entry of a directory.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= super::MAX_NAME_BYTES
        && !name.contains(['/', '\0'])
}

fn is_valid_path(path: &str) -> bool {
    path.len() <= super::MAX_PATH_BYTES && path.split('/').all(is_valid_name)
}

/// Files by sorted relative path, made one at a time: what [`FlatTree`] stands on, so that a caller's own table can
/// serve as it is.
pub trait FlatIndex: Send + Sync {
    /// How many files there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The path of file `index`, `/`-separated and relative. Paths are sorted by bytes, without duplicates, and none
    /// is a directory of another.
    fn path(&self, index: usize) -> &str;
    /// The file at `index`; called only when a guest touches it or lists its directory.
    fn entry(&self, index: usize) -> Entry;
}

/// One file of a [`FlatTree`].
#[derive(Clone, Debug)]
pub struct FlatFile {
    /// Relative path, `/`-separated.
    pub path: String,
    /// Its content.
    pub source: Source,
    /// Whether the host marks it executable.
    pub executable: bool,
}

impl FlatIndex for Vec<FlatFile> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn path(&self, index: usize) -> &str {
        self.get(index).map_or("", |file| &file.path)
    }

    fn entry(&self, index: usize) -> Entry {
        match self.get(index) {
            Some(file) => Entry::File {
                source: file.source.clone(),
                executable: file.executable,
            },
            None => Entry::File {
                source: Source::empty(),
                executable: false,
            },
        }
    }
}

/// A directory over a flat sorted index: sub-directories are ranges found by binary search, nothing is copied.
#[derive(Clone)]
pub struct FlatTree {
    index: Arc<dyn FlatIndex>,
    start: usize,
    end: usize,
    /// Bytes of each path in the range that lead to this directory, its `/` included.
    prefix: usize,
}

impl FlatTree {
    /// The tree of these files, in any order.
    ///
    /// # Errors
    /// When a path is no plain relative path, or two collide.
    pub fn new(mut files: Vec<FlatFile>) -> Result<FlatTree, TreeError> {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if let Some(bad) = files.iter().find(|file| !is_valid_path(&file.path)) {
            return Err(TreeError::BadPath(bad.path.clone()));
        }
        let has = |path: &str| {
            files
                .binary_search_by(|file| file.path.as_str().cmp(path))
                .is_ok()
        };
        for (file, next) in files.iter().zip(files.iter().skip(1)) {
            if file.path == next.path {
                return Err(TreeError::Conflict(file.path.clone()));
            }
        }
        for file in &files {
            if let Some((at, _)) = file
                .path
                .match_indices('/')
                .find(|(at, _)| has(file.path.get(..*at).unwrap_or("")))
            {
                return Err(TreeError::Conflict(
                    file.path.get(..at).unwrap_or("").to_owned(),
                ));
            }
        }
        Ok(FlatTree::from_index(Arc::new(files)))
    }

    /// The tree of an index that is sorted already and holds no bad path (it is not checked again: that would cost what
    /// laziness saves).
    pub fn from_index(index: Arc<dyn FlatIndex>) -> FlatTree {
        let end = index.len();
        FlatTree {
            index,
            start: 0,
            end,
            prefix: 0,
        }
    }

    /// The part of path `at` from this directory on.
    fn rest(&self, at: usize) -> &str {
        self.index.path(at).get(self.prefix..).unwrap_or("")
    }

    /// The first index in `from..end` whose rest does not satisfy `below`.
    fn partition(&self, from: usize, below: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (from, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if below(self.rest(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The sub-directory `name` whose files begin at `start`.
    fn child(&self, name: &str, start: usize) -> FlatTree {
        let end = self.partition(start, |rest| is_below(rest, name));
        FlatTree {
            index: self.index.clone(),
            start,
            end,
            prefix: self.prefix + name.len() + 1,
        }
    }
}

/// Whether `rest` lies in the directory `name`.
fn is_below(rest: &str, name: &str) -> bool {
    rest.strip_prefix(name)
        .is_some_and(|tail| tail.starts_with('/'))
}

impl DirSource for FlatTree {
    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        let mut entries = Vec::new();
        let mut at = self.start;
        while at < self.end {
            let rest = self.rest(at);
            if let Some((name, _)) = rest.split_once('/') {
                let dir = self.child(name, at);
                at = dir.end;
                entries.push((name.to_owned(), Entry::Dir(Arc::new(dir))));
            } else {
                entries.push((rest.to_owned(), self.index.entry(at)));
                at += 1;
            }
        }
        Ok(entries)
    }

    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        // A path of several parts is no entry of this directory, though it begins one of the sorted paths.
        if !is_valid_name(name) {
            return Ok(None);
        }
        let at = self.partition(self.start, |rest| rest < name);
        if at < self.end && self.rest(at) == name {
            return Ok(Some(self.index.entry(at)));
        }
        // `name-x` and `name.x` sort between `name` and `name/…`.
        let at = self.partition(at, |rest| sorts_before_dir(rest, name));
        if at < self.end && is_below(self.rest(at), name) {
            return Ok(Some(Entry::Dir(Arc::new(self.child(name, at)))));
        }
        Ok(None)
    }
}

/// Whether `rest` sorts before `name` + `/`.
fn sorts_before_dir(rest: &str, name: &str) -> bool {
    rest.bytes().lt(name.bytes().chain(std::iter::once(b'/')))
}

/// A directory in memory, put together entry by entry: an empty place to write to, or a frame that mounts others.
#[derive(Clone, Default)]
pub struct MemDir(BTreeMap<String, Entry>);

impl MemDir {
    /// An empty directory.
    pub fn new() -> MemDir {
        MemDir::default()
    }

    /// With this entry, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, entry: Entry) -> MemDir {
        self.0.insert(name.into(), entry);
        self
    }

    /// With this file.
    #[must_use]
    pub fn file(self, name: impl Into<String>, content: impl Into<bytes::Bytes>) -> MemDir {
        self.with(
            name,
            Entry::File {
                source: Source::bytes(content),
                executable: false,
            },
        )
    }

    /// With this directory.
    #[must_use]
    pub fn dir(self, name: impl Into<String>, dir: impl DirSource + 'static) -> MemDir {
        self.with(name, Entry::Dir(Arc::new(dir)))
    }
}

impl DirSource for MemDir {
    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        Ok(self
            .0
            .iter()
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect())
    }

    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        Ok(self.0.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flat(paths: &[&str]) -> Result<FlatTree, TreeError> {
        FlatTree::new(
            paths
                .iter()
                .map(|path| FlatFile {
                    path: (*path).to_owned(),
                    source: Source::bytes(path.to_string()),
                    executable: false,
                })
                .collect(),
        )
    }

    fn names(dir: &dyn DirSource) -> Vec<String> {
        let mut names: Vec<String> = dir
            .list()
            .unwrap()
            .into_iter()
            .map(|(name, entry)| {
                if matches!(entry, Entry::Dir(_)) {
                    name + "/"
                } else {
                    name
                }
            })
            .collect();
        names.sort();
        names
    }

    fn dir(tree: &dyn DirSource, name: &str) -> Arc<dyn DirSource> {
        match tree.get(name).unwrap().unwrap() {
            Entry::Dir(dir) => dir,
            _ => panic!("{name} is no directory"),
        }
    }

    #[test]
    fn names_that_sort_around_a_slash_are_found() {
        let tree = flat(&["a-b", "a.c", "a/x", "a/y/z", "a0", "b/a/x", "b-/q"]).unwrap();
        assert_eq!(names(&tree), ["a-b", "a.c", "a/", "a0", "b-/", "b/"]);
        assert_eq!(names(&*dir(&tree, "a")), ["x", "y/"]);
        assert_eq!(names(&*dir(&*dir(&tree, "a"), "y")), ["z"]);
        assert_eq!(names(&*dir(&tree, "b")), ["a/"]);
        assert_eq!(names(&*dir(&tree, "b-")), ["q"]);
        for missing in ["", "a-", "c", "A", "a/x", "x", "a0/"] {
            assert!(tree.get(missing).unwrap().is_none(), "{missing}");
        }
        for there in ["a-b", "a.c", "a0"] {
            match tree.get(there).unwrap() {
                Some(Entry::File { source, .. }) => assert_eq!(source.as_bytes().unwrap(), there),
                _ => panic!("{there}"),
            }
        }
    }

    #[test]
    fn every_path_is_found_by_get_as_by_list() {
        let mut paths = Vec::new();
        for a in ["a", "a-", "a.b", "aa", "b"] {
            for b in ["x", "x-y", "x.z", "xx"] {
                paths.push(format!("{a}/{b}"));
                paths.push(format!("{a}{b}"));
            }
        }
        let tree = flat(&paths.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        for path in &paths {
            let (at, name) = match path.split_once('/') {
                Some((first, name)) => (dir(&tree, first), name),
                None => (Arc::new(tree.clone()) as Arc<dyn DirSource>, path.as_str()),
            };
            assert!(
                matches!(at.get(name).unwrap(), Some(Entry::File { .. })),
                "{path}"
            );
            assert!(names(&*at).iter().any(|have| have == name), "{path}");
        }
    }

    #[test]
    fn bad_sets_of_paths_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "./a", "a/../b", "..", "a\0b"] {
            assert_eq!(
                flat(&["ok", bad]).err(),
                Some(TreeError::BadPath(bad.to_owned())),
                "{bad:?}"
            );
        }
        assert!(flat(&[&"x".repeat(256)]).is_err());
        assert_eq!(
            flat(&["a", "a"]).err(),
            Some(TreeError::Conflict("a".to_owned()))
        );
        assert_eq!(
            flat(&["a", "a-b", "a/b"]).err(),
            Some(TreeError::Conflict("a".to_owned()))
        );
        assert!(flat(&[]).unwrap().list().unwrap().is_empty());
    }
}
