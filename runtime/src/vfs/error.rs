//! What an operation of the guest's file system answers when it does not succeed: the errno-like codes of
//! `wasi:filesystem`, and nothing of the host (no path, no message of its kernel).
//!
//! Used by everything in `vfs`; `host/filesystem.rs` translates it to the interface's own type.

use thiserror::Error;

/// The result of an operation of the virtual file system.
pub type FsResult<T> = Result<T, FsError>;

/// Why an operation failed, as the guest is told. Named like the codes of `wasi:filesystem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FsError {
    /// The host may not read this file.
    #[error("permission denied")]
    Access,
    /// The handle does not allow this (not open for reading or writing), or is none of a file.
    #[error("bad descriptor")]
    BadDescriptor,
    /// The root of a mount, or `.`, cannot be moved.
    #[error("device or resource busy")]
    Busy,
    /// Renaming or linking from one mount to another.
    #[error("cross-device link")]
    CrossDevice,
    /// Something has this name already.
    #[error("file exists")]
    Exist,
    /// The file would be longer than a file can be.
    #[error("file too large")]
    FileTooLarge,
    /// Too many directory listings are held open at once.
    #[error("not enough memory")]
    InsufficientMemory,
    /// The run's output quota, or the host's disk, is full.
    #[error("no space left on device")]
    InsufficientSpace,
    /// An argument makes no sense: a NUL in a path, a directory moved into itself.
    #[error("invalid argument")]
    Invalid,
    /// The host could not read or write; the run is no result.
    #[error("input or output error")]
    Io,
    /// A directory where a file is needed.
    #[error("is a directory")]
    IsDirectory,
    /// Too many symbolic links on the way.
    #[error("too many levels of symbolic links")]
    Loop,
    /// A name of more than 255 bytes, or a path of more than 4096.
    #[error("file name too long")]
    NameTooLong,
    /// Nothing has this name.
    #[error("no such file or directory")]
    NoEntry,
    /// A file where a directory is needed.
    #[error("not a directory")]
    NotDirectory,
    /// The directory still has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// The path leads out of the directory it starts from, is absolute, or goes over a link that is.
    #[error("operation not permitted")]
    NotPermitted,
    /// The run's quota of entries is used up.
    #[error("quota exceeded")]
    Quota,
    /// The mount is read-only.
    #[error("read-only file system")]
    ReadOnly,
}
