//! The digested files of a project, and the part of them that one task sees.
//!
//! A layer is a list of indices: nothing is copied for it, and no file is opened before a guest reads it. Called by the
//! preparation of tasks.

use super::{Digested, Listed, Skipped};
use crate::db::lock;
use crate::memo::Stamp;
use crate::store::{InputFault, InputFaults, Store};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use sykli_core::expand::Listing;
use sykli_core::id::Digest;
use sykli_core::tree::{self, Tree, TreeEntry, TreeError, TreeLine};
use sykli_runtime::vfs::{Entry, FlatIndex, FlatTree, ReadAt, Source, read_file_onto};

/// The files of a project, listed and digested. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    listed: Listed,
    digests: Vec<Digested>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Files({} in {})",
            self.inner.digests.len(),
            self.inner.listed.root.display()
        )
    }
}

impl Files {
    pub(super) fn new(store: Store, listed: Listed, digests: Vec<Digested>) -> Files {
        Files {
            inner: Arc::new(Inner {
                store,
                listed,
                digests,
            }),
        }
    }

    /// The listing that indices of files refer to.
    pub fn listing(&self) -> &Listing {
        &self.inner.listed.listing
    }

    /// The folder that was listed, without symbolic links in its path.
    pub fn root(&self) -> &Path {
        &self.inner.listed.root
    }

    /// What was left out of the listing.
    pub fn skipped(&self) -> &[Skipped] {
        &self.inner.listed.skipped
    }

    /// The digest of the file at an index of the listing.
    pub fn digested(&self, file: u32) -> Option<&Digested> {
        self.inner.digests.get(file as usize)
    }

    /// The content of the file at an index of the listing; a file that changed meanwhile is noted in `faults` and reads
    /// as an error.
    pub fn source(&self, file: u32, faults: &InputFaults) -> Option<Source> {
        self.inner.source(file, faults)
    }

    /// The tree of these files: ascending indices of the listing, as `Plan::input_files` gives them.
    ///
    /// # Errors
    /// When names collide or cannot be part of a tree.
    pub fn tree(&self, files: impl IntoIterator<Item = u32>) -> Result<Tree, TreeError> {
        let entries = files.into_iter().filter_map(|file| {
            let entry = self.inner.listed.listing.files().get(file as usize)?;
            let digested = self.digested(file)?;
            Some(TreeEntry {
                path: entry.path.to_string(),
                digest: digested.digest,
                size: digested.stamp.size,
                executable: entry.executable,
            })
        });
        Tree::new(entries.collect())
    }

    /// The digest of [`Files::tree`], without making it.
    ///
    /// # Errors
    /// When names collide or cannot be part of a tree.
    pub fn tree_digest(&self, files: impl IntoIterator<Item = u32>) -> Result<Digest, TreeError> {
        let files = files.into_iter();
        let mut lines = Vec::with_capacity(files.size_hint().0);
        lines.extend(files.filter_map(|file| {
            let entry = self.inner.listed.listing.files().get(file as usize)?;
            let digested = self.digested(file)?;
            Some(TreeLine {
                path: &entry.path,
                digest: &digested.digest,
                size: digested.stamp.size,
                executable: entry.executable,
            })
        }));
        tree::digest_of(&lines)
    }

    /// The same files as a folder that is read lazily.
    pub fn folder(&self, files: impl IntoIterator<Item = u32>, faults: &InputFaults) -> FlatTree {
        let known = self.inner.digests.len();
        let files = files
            .into_iter()
            .filter(|file| (*file as usize) < known)
            .collect();
        FlatTree::from_index(Arc::new(Layer {
            files,
            of: Arc::clone(&self.inner),
            faults: faults.clone(),
        }))
    }
}

impl Inner {
    fn source(&self, file: u32, faults: &InputFaults) -> Option<Source> {
        let entry = self.listed.listing.files().get(file as usize)?;
        let digested = self.digests.get(file as usize)?;
        if digested.stored {
            return Some(
                self.store
                    .source(digested.digest, digested.stamp.size, faults),
            );
        }
        Some(Source::new(Arc::new(ProjectFile {
            path: self.listed.root.join(&*entry.path),
            digest: *digested.digest.as_bytes(),
            stamp: digested.stamp,
            faults: faults.clone(),
            open: Mutex::new(None),
        })))
    }
}

struct Layer {
    files: Vec<u32>,
    of: Arc<Inner>,
    faults: InputFaults,
}

impl FlatIndex for Layer {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn path(&self, index: usize) -> &str {
        let file = self
            .files
            .get(index)
            .and_then(|file| self.of.listed.listing.files().get(*file as usize));
        file.map_or("", |file| &file.path)
    }

    fn entry(&self, index: usize) -> Entry {
        let file = self.files.get(index).copied().unwrap_or(u32::MAX);
        let executable = self
            .of
            .listed
            .listing
            .files()
            .get(file as usize)
            .is_some_and(|file| file.executable);
        let source = self
            .of
            .source(file, &self.faults)
            .unwrap_or_else(Source::empty);
        Entry::File { source, executable }
    }
}

/// A file of the project, read in place for as long as it is what was digested.
struct ProjectFile {
    path: PathBuf,
    digest: [u8; 32],
    stamp: Stamp,
    faults: InputFaults,
    open: Mutex<Option<Arc<File>>>,
}

impl ProjectFile {
    fn opened(&self) -> io::Result<Arc<File>> {
        let mut open = lock(&self.open);
        if let Some(file) = &*open {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(&self.path)?);
        *open = Some(Arc::clone(&file));
        Ok(file)
    }

    fn read(&self, into: impl FnOnce(&File) -> io::Result<usize>) -> io::Result<usize> {
        let file = self.opened()?;
        let count = into(&file)?;
        // After the read: a change before or during it shows in the stamp now.
        if Stamp::of(&file.metadata()?) != self.stamp || count == 0 {
            return Err(io::Error::other("it changed after it was digested"));
        }
        Ok(count)
    }

    /// How much there is to read from there.
    fn rest(&self, offset: u64) -> usize {
        usize::try_from(self.stamp.size.saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    fn noted(&self, read: io::Result<usize>) -> io::Result<usize> {
        read.inspect_err(|_| self.faults.note(InputFault::Changed(self.path.clone())))
    }
}

impl ReadAt for ProjectFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let want = self.rest(offset).min(buf.len());
        let Some(part) = buf.get_mut(..want).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        self.noted(self.read(|file| file.read_at(part, offset)))
    }

    fn read_onto(&self, buf: &mut Vec<u8>, most: usize, offset: u64) -> io::Result<usize> {
        let before = buf.len();
        let read = match self.rest(offset).min(most) {
            0 => Ok(0),
            want => self.noted(self.read(|file| read_file_onto(file, buf, want, offset))),
        };
        // What was read of a file that turns out to be another is nothing.
        buf.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    fn len(&self) -> u64 {
        self.stamp.size
    }

    fn blake3(&self) -> Option<[u8; 32]> {
        Some(self.digest)
    }

    fn close(&self) {
        *lock(&self.open) = None;
    }
}
