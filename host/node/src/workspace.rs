//! The files of a project as a run sees them: listed by pattern, digested, and given to tasks as folders.
//!
//! [`list`] walks only the folders that patterns can match in, on several threads, and never `.git`, `.sykli` or an
//! unnamed `target`. A symbolic link to a file is followed when it ends inside the project; everything else that is no regular
//! file is skipped with a [`Skipped`] value. [`digest`] hashes what changed, on several threads, and remembers the rest
//! by stamp. A [`Files`] then hands out layers: trees for manifests, and lazy folders for the sandbox. A file that changes
//! after it was digested is noticed when it is read and makes the reading run no result.
//!
//! It never writes below the project and decides nothing about which task sees which file. Called by the run loop and by
//! `plan`.

mod files;
mod folders;
mod hash;
mod queue;
mod walk;

pub use files::Files;
pub use hash::{Digested, digest, digest_paths};
pub use walk::{Listed, Skipped, Why, list};

use std::io;
use std::path::PathBuf;

/// What can be wrong with a project's files.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A folder or file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file kept changing while it was hashed.
    #[error("{} changes while it is read", path.display())]
    Changing {
        /// The path.
        path: PathBuf,
    },
    /// More files than a run takes.
    #[error("more than {limit} files match")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// The files do not form a valid tree (two names that differ in case only, a name that no other system takes).
    #[error("the input files cannot be given to a task: {0}")]
    Tree(#[from] sykli_core::tree::TreeError),
    /// A file that was just written could not be copied into the store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl WorkspaceError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            WorkspaceError::Unreadable { .. } => "workspace::unreadable",
            WorkspaceError::Changing { .. } => "workspace::changing",
            WorkspaceError::TooMany { .. } => "workspace::too-many-files",
            WorkspaceError::Tree(_) => "workspace::names",
            WorkspaceError::Store(error) => error.code(),
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        let hint = match self {
            WorkspaceError::Unreadable { .. } => "see that it exists and that you may read it",
            WorkspaceError::Changing { .. } => "wait until whatever writes it has finished",
            WorkspaceError::TooMany { .. } => "narrow the patterns of `inputs` and `foreach`",
            WorkspaceError::Tree(_) => "rename one of the files, or leave it out of `inputs`",
            WorkspaceError::Store(error) => return error.hint(),
        };
        hint.to_owned()
    }
}
