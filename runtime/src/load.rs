//! What is checked before a component is compiled.

use std::io;

use thiserror::Error;

/// Why bytes are not a component that can run here.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The bytes do not begin as WebAssembly does.
    #[error("not WebAssembly: the file is {found}")]
    NotWasm {
        /// What it looks like.
        found: &'static str,
    },
    /// The bytes end too early.
    #[error("the WebAssembly file is cut off at byte {offset}")]
    Truncated {
        /// Where more was expected.
        offset: u64,
    },
    /// The bytes break the format.
    #[error("malformed WebAssembly at byte {offset}: {message}")]
    Malformed {
        /// Where.
        offset: u64,
        /// How.
        message: String,
    },
    /// It needs what no grant can give.
    #[error("imports what is not provided: {}", names.join(", "))]
    UnknownImport {
        /// Every such import.
        names: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It has no entry point of a command.
    #[error("not a command: it exports no `wasi:cli/run` (core modules: no `_start`)")]
    NotACommand,
    /// Compiling it would take too much.
    #[error("too complex to compile: {have} {what}, at most {limit} are accepted")]
    TooComplex {
        /// Of what there is too much.
        what: &'static str,
        /// How much there is.
        have: u64,
        /// How much is accepted.
        limit: u64,
    },
    /// The compiler refused it.
    #[error("cannot compile: {0}")]
    Compile(String),
    /// The core module could not be adapted to a component.
    #[error("cannot adapt the WASI preview 1 module: {0}")]
    Adapt(String),
    /// The engine for these settings cannot start.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// The bytes cannot be read.
    #[error("cannot read the component: {0}")]
    Io(#[source] io::Error),
}

impl LoadError {
    /// What a user can do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownImport { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}
