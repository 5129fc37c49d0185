//! The guest's file system as plain data: what is mounted, and what a run changed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::outcome::Refusal;

/// Random access to immutable bytes.
pub trait ReadAt: Send + Sync {
    /// Reads at `offset`; fewer bytes than asked only at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The immutable content of one file.
#[derive(Clone)]
pub struct Source(Arc<dyn ReadAt>);

impl Source {
    /// From anything readable.
    #[must_use]
    pub fn new(reader: Arc<dyn ReadAt>) -> Self {
        Self(reader)
    }
    /// From memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Arc::new(InMemory(bytes.into())))
    }
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }
    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
    /// Reads at `offset`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
}

struct InMemory(Bytes);

impl ReadAt for InMemory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        let rest = self.0.get(start..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(n)
    }
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A folder, asked lazily.
pub trait DirSource: Send + Sync {
    /// All entries, sorted by name.
    fn list(&self) -> io::Result<Vec<(String, Entry)>>;
    /// One entry.
    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        Ok(self
            .list()?
            .into_iter()
            .find(|(n, _)| n == name)
            .map(|(_, e)| e))
    }
}

/// What a folder holds.
pub enum Entry {
    /// A file.
    File {
        /// Its content.
        source: Source,
        /// Whether it is executable.
        executable: bool,
    },
    /// A folder.
    Dir(Arc<dyn DirSource>),
    /// A link and where it points.
    Symlink(String),
}

/// What may be done to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    ReadOnly,
    /// Reading and writing to a private copy.
    ReadWrite,
}

/// One folder of the guest's.
pub struct Mount {
    /// Where the guest sees it.
    pub guest_path: String,
    /// What is there.
    pub dir: Arc<dyn DirSource>,
    /// What may be done to it.
    pub access: Access,
    /// Whether changes are collected.
    pub collect: bool,
}

/// What a run changed in one mount.
#[derive(Debug)]
pub struct Changes {
    /// The mount.
    pub guest_path: String,
    /// New or changed files.
    pub files: Vec<ChangedFile>,
    /// Removed files.
    pub removed: Vec<String>,
}

/// One new or changed file.
#[derive(Debug)]
pub struct ChangedFile {
    /// Relative path.
    pub path: String,
    /// What is in it.
    pub content: Content,
    /// Whether it is executable.
    pub executable: bool,
}

/// The content of a changed file.
#[derive(Debug)]
pub enum Content {
    /// Kept in memory.
    Bytes(Bytes),
}

/// The state of the file system of one run.
pub struct Vfs {
    _mounts: Vec<Mount>,
}

/// What is left of a file system after a run.
#[derive(Debug, Default)]
pub struct Collected {
    /// One item per mount with `collect`.
    pub changes: Vec<Changes>,
    /// What was refused.
    pub refusals: Vec<Refusal>,
    /// Bytes in the files written.
    pub output_bytes: u64,
    /// Entries created.
    pub output_entries: u32,
}

/// Bounds on what a run writes.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: u32,
    /// Where large files are kept while written.
    pub spool_dir: Arc<std::path::Path>,
}

impl Vfs {
    /// A file system of these mounts.
    #[must_use]
    pub fn new(mounts: Vec<Mount>, _quota: Quota) -> Self {
        Self { _mounts: mounts }
    }
    /// Ends it.
    #[must_use]
    pub fn finish(self) -> Collected {
        Collected::default()
    }
}
