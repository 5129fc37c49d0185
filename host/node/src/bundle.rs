//! A task in one file: its manifest and every blob that it reaches, to be carried by hand and run elsewhere.
//!
//! # The file
//!
//! ```text
//! magic: b"SYKLIBDL", version: u32 (1), task: the manifest's digest, 32 bytes
//! then blobs, the manifest first:
//!   1: u8, digest: 32 bytes, size: u64, packed: u64 (bytes of its parts below, their heads included)
//!   parts of 256 KiB of content, the last one shorter: encoding: u8 (0 as it is, 1 zstd), length: u32, that many bytes
//! then the end:
//!   0: u8, BLAKE3 of everything before this field: 32 bytes
//! ```
//!
//! Integers are little-endian. Blobs come in the one order in which they are reached (manifest, input trees, component,
//! stdin, files of the trees), each once, empty ones not at all; so the same task at the same level is the same bytes.
//!
//! # What is refused
//!
//! Everything else, each with its reason: a blob that nothing reaches there, twice or missing, content that is not what
//! its digest says, a part that is longer or shorter than announced, dictionaries and vast windows, bytes behind the
//! end, any flipped bit. Nothing is decompressed past its announced size, nothing runs before all of it was verified.
//!
//! Called by `sykli bundle`.

mod own;
mod read;
mod run;
#[cfg(test)]
mod tests;
mod walk;
mod write;

use std::io;
use std::path::PathBuf;

use sykli_core::id::Digest;
use sykli_core::manifest::{Manifest, ManifestError};
use sykli_core::tree::TreeError;

use crate::store::StoreError;

pub use run::BundleRun;

const MAGIC: [u8; 8] = *b"SYKLIBDL";
const VERSION: u32 = 1;
/// What precedes the bytes of a part.
const PART_HEAD_BYTES: usize = 5;
const BLOB: u8 = 1;
const END: u8 = 0;

/// The property that fuzzing holds the reader to: any bytes are refused, or are a task with all that it needs and nothing
/// else, of which no blob is larger than the file says.
///
/// # Panics
/// Where the reader breaks it.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    let path = std::path::Path::new("x.bundle");
    // What is announced is never made room for, so the fuzzer's own bound on memory tells whether it is.
    if let Ok(bundle) = read::read(bytes, path, 64 << 20, &mut read::Sink::Nowhere) {
        assert_eq!(bundle.file_bytes, bytes.len() as u64);
        assert_eq!(bundle.manifest.digest(), bundle.task);
        assert!(bundle.content_bytes() <= 64 << 20);
    }
}

/// What is in a bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The task digest.
    pub task: Digest,
    /// The task.
    pub manifest: Manifest,
    /// In the file's order.
    pub blobs: Vec<BundleBlob>,
    /// Length of the file in bytes.
    pub file_bytes: u64,
}

impl Bundle {
    /// Length of all contents together, in bytes.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.blobs
            .iter()
            .fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

/// One blob of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleBlob {
    /// Its name.
    pub digest: Digest,
    /// Length of its content in bytes.
    pub size: u64,
    /// What it takes in the file, in bytes, without its head.
    pub packed: u64,
    /// What it is to the task.
    pub role: Role,
}

/// What a blob is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The manifest.
    Manifest,
    /// The component.
    Component,
    /// Standard input.
    Stdin,
    /// An input tree.
    Tree,
    /// A file of an input tree.
    File,
}

/// Why a bundle cannot be packed, or a file is none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("failed to read {}: {message}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The file cannot be written.
    #[error("failed to write {}: {message}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// It does not begin as a bundle does.
    #[error("it is no bundle")]
    NotABundle,
    /// A version that is not known here.
    #[error("it is a bundle of version {0}, which is not known here")]
    Version(u32),
    /// It ends too soon.
    #[error("it ends in the middle, at byte {at}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// Bytes follow its end.
    #[error("bytes follow its end")]
    Trailing,
    /// The whole is not what its checksum says.
    #[error("it is damaged: its checksum is another")]
    Checksum,
    /// A byte that is neither a blob's nor the end's first.
    #[error("at byte {at} there is neither a blob nor the end")]
    Mark {
        /// Where.
        at: u64,
    },
    /// A blob that is not reached there.
    #[error("nothing of the task reaches {0} there")]
    Unreached(Digest),
    /// A blob that was there before.
    #[error("{0} is in it twice")]
    Twice(Digest),
    /// A blob that should be there.
    #[error("{0} is missing")]
    Missing(Digest),
    /// A blob that is longer than it may be, or of another length than the tree says.
    #[error("{digest} cannot be {size} bytes long")]
    Size {
        /// Which.
        digest: Digest,
        /// The announced length.
        size: u64,
    },
    /// A part that is not what it announces.
    #[error("a part of {0} is not what it announces")]
    Part(Digest),
    /// Content that has another name.
    #[error("the content of {0} is something else")]
    Content(Digest),
    /// Its first blob is no manifest.
    #[error("it is not a task's: {0}")]
    Manifest(#[from] ManifestError),
    /// An input tree is none.
    #[error("an input tree is none: {0}")]
    Tree(#[from] TreeError),
    /// More content than is wanted here.
    #[error("it unpacks to more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// A blob that cannot be had for packing.
    #[error("{0} cannot be packed: it is not there, or changed meanwhile")]
    Source(Digest),
    /// The task's inputs are not known yet.
    #[error("{0}")]
    NotReady(String),
    /// A name that means several instances.
    #[error("`{name}` is {count} instances: name one")]
    Several {
        /// As asked.
        name: String,
        /// How many.
        count: usize,
        /// Some of them.
        some: Vec<String>,
    },
    /// It needs another version of the runtime's semantics.
    #[error("it is for version {0} of the sandbox's semantics")]
    Semantics(u32),
    /// It asks for more than it was given.
    #[error("it asks for {}", .0.join(", "))]
    Grants(Vec<String>),
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BundleError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            BundleError::Unreadable { .. } => "bundle::unreadable",
            BundleError::Unwritable { .. } => "bundle::unwritable",
            BundleError::NotABundle => "bundle::not-a-bundle",
            BundleError::Version(_) => "bundle::version",
            BundleError::Truncated { .. } => "bundle::truncated",
            BundleError::Trailing => "bundle::trailing",
            BundleError::Checksum => "bundle::checksum",
            BundleError::Mark { .. } => "bundle::malformed",
            BundleError::Unreached(_) => "bundle::unreached",
            BundleError::Twice(_) => "bundle::twice",
            BundleError::Missing(_) => "bundle::missing",
            BundleError::Size { .. } => "bundle::size",
            BundleError::Part(_) => "bundle::part",
            BundleError::Content(_) => "bundle::content",
            BundleError::Manifest(_) => "bundle::manifest",
            BundleError::Tree(_) => "bundle::tree",
            BundleError::TooLarge { .. } => "bundle::too-large",
            BundleError::Source(_) => "bundle::source",
            BundleError::NotReady(_) => "bundle::not-ready",
            BundleError::Several { .. } => "bundle::several",
            BundleError::Semantics(_) => "bundle::semantics",
            BundleError::Grants(_) => "bundle::grants",
            BundleError::Store(error) => error.code(),
        }
    }

    /// What the user can do.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            BundleError::Unreadable { .. } => "check the path, and that you may read it",
            BundleError::Unwritable { .. } => {
                "check the folder, its permissions and the disk's space"
            }
            BundleError::NotABundle => "name a file that `sykli bundle pack` wrote",
            BundleError::Version(_) => "run it with the sykli that packed it, or a newer one",
            BundleError::TooLarge { .. } => {
                "raise cache.max_size, where what it holds is unpacked to"
            }
            BundleError::Source(_) => "pack again when nothing writes the inputs any more",
            BundleError::NotReady(_) => {
                "`sykli run` makes what it comes after, `sykli build` its crate"
            }
            BundleError::Semantics(_) => "pack it again with this version of sykli",
            BundleError::Grants(_) => "give it that with --grant, where you trust who made it",
            BundleError::Several { some, .. } => {
                return vec![format!("for instance {}", some.join(", "))];
            }
            BundleError::Store(error) => return vec![error.hint()],
            _ => "it is damaged or not made by sykli: get it again",
        };
        vec![hint.to_owned()]
    }

    /// What the system says of a file that is being read.
    fn read(path: &std::path::Path, error: &io::Error) -> BundleError {
        BundleError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }

    fn write(path: &std::path::Path, error: &io::Error) -> BundleError {
        BundleError::Unwritable {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }
}
