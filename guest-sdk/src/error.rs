//! What can go wrong in the helpers: one small enum, each message one line that names the file or the param. Written by
//! hand, so that a task crate compiles no macro crate for it. Returned by every other module of this crate.

use std::fmt;
use std::io;

/// What the helpers of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a helper of this crate. Its text already holds its cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, written or listed.
    Io {
        /// What was tried: `read`, `write`, `list`, …
        action: &'static str,
        /// The path, as the task sees it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Some text is not the JSON that was expected, or a value cannot be written as JSON.
    Json {
        /// The file or the param.
        what: String,
        /// Why, with line and column where there are any.
        source: serde_json::Error,
    },
    /// The pipeline gives no param of this name.
    MissingParam(String),
    /// A path that is not relative, or that climbs with `..`.
    Path(String),
    /// A pipeline names two tasks alike.
    DuplicateTask(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                action,
                path,
                source,
            } => write!(out, "failed to {action} {path}: {source}"),
            Error::Json { what, source } => write!(out, "{what}: {source}"),
            Error::MissingParam(key) => write!(
                out,
                "param `{key}` is missing: add `params = {{ {key} = … }}`"
            ),
            Error::Path(path) => write!(out, "path `{path}` must be relative and without `..`"),
            Error::DuplicateTask(name) => write!(out, "task `{name}` is declared twice"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Json { source, .. } => Some(source),
            Error::MissingParam(_) | Error::Path(_) | Error::DuplicateTask(_) => None,
        }
    }
}
