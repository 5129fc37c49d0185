//! Why there is no result of a task of another node's.
//!
//! Each reason says what its owner is told, which is less: an owner learns whose fault it was, not what this machine looks
//! like inside. Only what the sandbox itself did wrong counts against a task. Called by `foreign`.

use std::any::Any;
use std::io;

use sykli_core::consent::LostWhy;
use sykli_core::glob::GlobError;
use sykli_core::manifest::{ManifestError, SEMANTICS_VERSION};

use crate::isolation::Lost;
use crate::store::StoreError;
use crate::worker::judge::Void;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// A part of the bundle is not in the store, or broken.
    #[error("{what} of the bundle is missing or broken")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// The blob that the offer names is no manifest.
    #[error("the manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// It is meant for another version of the runtime.
    #[error("it is for version {theirs} of the runtime's semantics, this is {SEMANTICS_VERSION}")]
    Semantics {
        /// Which.
        theirs: u32,
    },
    /// It asks for more than was offered, or than any task may have.
    #[error("it asks for more {what} than was agreed: {asked}, not {agreed}")]
    Beyond {
        /// Of what.
        what: &'static str,
        /// What the manifest says.
        asked: u64,
        /// What was said before.
        agreed: u64,
    },
    /// It asks for something that the offer did not mention.
    #[error("it asks for `{what}`, which the offer did not say")]
    NotOffered {
        /// A grant, an import, `effects`.
        what: String,
    },
    /// This node's policy does not allow a grant, perhaps not any more.
    #[error("`{grant}` is not allowed here")]
    NotAllowed {
        /// Which.
        grant: String,
    },
    /// An output pattern cannot be read.
    #[error("the output `{pattern}` {why}")]
    Pattern {
        /// Which.
        pattern: String,
        /// What is wrong with it.
        why: GlobError,
    },
    /// Its process, or that of its component's compiler, came to nothing.
    #[error(transparent)]
    Apart(#[from] Lost),
    /// Not as much room on the disk as the task may fill.
    #[error("it may write {need} bytes, and {have} are free")]
    NoRoom {
        /// What it may write.
        need: u64,
        /// What is free.
        have: u64,
    },
    /// The store cannot take what it left.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it left cannot be read back.
    #[error("what it left cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The guest's end says nothing of it.
    #[error("it {message}")]
    Void {
        /// Why not.
        why: Void,
        /// As own tasks have it.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// A panic of ours.
    #[error("a panic: {0}")]
    Panic(String),
}

impl ForeignError {
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> ForeignError {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        ForeignError::Panic(text.unwrap_or("without a message").to_owned())
    }

    /// What its owner is told.
    pub(crate) fn lost(&self) -> LostWhy {
        match self {
            ForeignError::Apart(lost) => match lost {
                // Also one that only this node cannot load: its owner finds out that it is everywhere, or does without.
                Lost::Component(_) | Lost::Missing => LostWhy::Bundle,
                Lost::Died(_) | Lost::Broken(_) => LostWhy::HostFault,
                // Nobody has run it: that says nothing of it.
                Lost::NotStarted(_) | Lost::NotGranted(_) | Lost::Stopped => LostWhy::Drained,
                Lost::Disk(_) => LostWhy::DiskFull,
            },
            ForeignError::Missing { .. }
            | ForeignError::Manifest(_)
            | ForeignError::Semantics { .. }
            | ForeignError::Beyond { .. }
            | ForeignError::NotOffered { .. }
            | ForeignError::Pattern { .. } => LostWhy::Bundle,
            // It was agreed to: this node's user has taken it back.
            ForeignError::NotAllowed { .. } => LostWhy::Drained,
            ForeignError::NoRoom { .. } | ForeignError::Store(_) | ForeignError::Unreadable(_) => {
                LostWhy::DiskFull
            }
            ForeignError::Void { why, .. } => match why {
                Void::TimedOut => LostWhy::TimedOut,
                Void::Cancelled => LostWhy::Drained,
                Void::HostFault => LostWhy::HostFault,
                Void::Disk => LostWhy::DiskFull,
            },
            ForeignError::Panic(_) => LostWhy::HostFault,
        }
    }

    /// Stable name of the kind of error.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            ForeignError::Missing { .. } => "foreign::missing",
            ForeignError::Manifest(_) => "foreign::manifest",
            ForeignError::Semantics { .. } => "foreign::semantics",
            ForeignError::Beyond { .. } => "foreign::beyond",
            ForeignError::NotOffered { .. } => "foreign::not-offered",
            ForeignError::NotAllowed { .. } => "foreign::not-allowed",
            ForeignError::Pattern { .. } => "foreign::pattern",
            ForeignError::Apart(lost) => match lost {
                Lost::Component(_) | Lost::Missing => "foreign::component",
                Lost::NotStarted(_) | Lost::NotGranted(_) => "foreign::not-isolated",
                Lost::Stopped => "foreign::stopped",
                Lost::Died(_) => "foreign::died",
                Lost::Broken(_) => "foreign::broken",
                Lost::Disk(_) => "foreign::disk",
            },
            ForeignError::NoRoom { .. } => "foreign::no-room",
            ForeignError::Store(error) => error.code(),
            ForeignError::Unreadable(_) => "foreign::unreadable",
            ForeignError::Void { code, .. } => code,
            ForeignError::Panic(_) => "foreign::panic",
        }
    }
}
