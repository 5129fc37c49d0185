//! What a guest left behind in the mounts that are collected: files new or changed, and paths gone.
//!
//! Plain data, handed to whoever stores or materialises outputs. Put together by `collect.rs`.

use std::io;

use bytes::Bytes;

use super::source::Source;
use super::spool::SpooledFile;
use crate::outcome::Refusal;

/// What became of one mount. Paths are relative to it, `/`-separated, sorted by bytes.
///
/// To apply it to what the mount was made from: remove first, then write.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The mount as the guest knows it.
    pub guest_path: String,
    /// Files made, written, or moved here. A hard link is a file of its own; a symbolic link made by the guest is the
    /// file it leads to. Directories stand only for the files in them: an empty one is not kept.
    pub files: Vec<ChangedFile>,
    /// Paths of the source that are gone, or that something of another kind took. One that was a directory stands for
    /// everything beneath it.
    pub removed: Vec<String>,
}

/// One file of [`Changes`].
#[derive(Clone, Debug)]
pub struct ChangedFile {
    /// Relative to the mount.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Whether the source marked it executable; new files are not.
    pub executable: bool,
}

/// The content of a changed file. Cloning copies no bytes.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a temporary file of the host.
    Spooled(SpooledFile),
    /// A file of a source that was moved or linked, not written.
    Unchanged(Source),
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Spooled(file) => file.len(),
            Content::Unchanged(source) => source.len(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The BLAKE3 of the content; that of a spooled file is known already.
    ///
    /// # Errors
    /// What the host's storage says, when a source has to be read for it.
    pub fn blake3(&self) -> io::Result<[u8; 32]> {
        match self {
            Content::Bytes(bytes) => Ok(blake3::hash(bytes).into()),
            Content::Spooled(file) => Ok(file.blake3()),
            Content::Unchanged(source) => source.blake3(),
        }
    }
}

/// Everything a run leaves behind; see [`super::Vfs::finish`].
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// One for each collected mount, in the order they were mounted.
    pub changes: Vec<Changes>,
    /// What was refused during the run, and what is missing from `changes`; each once, bounded.
    pub refusals: Vec<Refusal>,
    /// Bytes counted at the end, of all mounts.
    pub output_bytes: u64,
    /// Entries counted at the end, of all mounts.
    pub output_entries: u32,
}
