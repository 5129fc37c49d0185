//! What is decided about bytes before they are compiled: whether they are a command that can run here, what they need,
//! and whether compiling them is affordable.
//!
//! Everything is read from the bytes by a parser; nothing here compiles or runs. Compile time is bounded by what is
//! counted here ([`inspect`] and [`cost`]: functions, locals, blocks, types, total size), because a compiler cannot be interrupted: some
//! hundred kilobytes of the wrong shape take minutes. A core module of WASI preview 1 is adapted to a component.

use std::borrow::Cow;
use std::io;

use thiserror::Error;

use crate::engine::EngineError;
use crate::imports;

mod adapt;
mod cost;
mod inspect;

pub(crate) use inspect::{Inspected, Shape};

/// Why bytes are not a component that can run here.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The bytes do not begin as WebAssembly does.
    #[error("not WebAssembly: this is {found}")]
    NotWasm {
        /// What it looks like.
        found: &'static str,
    },
    /// The bytes end too early.
    #[error(
        "the WebAssembly file is cut off: it ends at byte {offset}, in the middle of a section"
    )]
    Truncated {
        /// Where it ends.
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
    #[error("not a command: nothing in it can be run ({})", if *core { "it exports no `_start`" } else { "it exports no `wasi:cli/run`" })]
    NotACommand {
        /// Whether it is a core module.
        core: bool,
    },
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
    Engine(#[from] EngineError),
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
            Self::NotWasm { .. } => {
                Some("build for the target wasm32-wasip2, or name the crate instead".to_owned())
            }
            Self::Truncated { .. } => Some("build or download it again".to_owned()),
            Self::NotACommand { core: false } => Some(
                "build a binary (with `fn main`), not a library: commands export `wasi:cli/run`"
                    .to_owned(),
            ),
            Self::NotACommand { core: true } => Some(
                "build a program with a `main` for wasm32-wasip2 or wasm32-wasip1, not a library"
                    .to_owned(),
            ),
            Self::TooComplex { .. } => {
                Some("build it optimised, or split it into several components".to_owned())
            }
            _ => None,
        }
    }
}

/// A count that may not pass its limit.
#[derive(Clone, Copy, Default)]
struct Budget(u64);

impl Budget {
    fn add(&mut self, more: u64, limit: u64, what: &'static str) -> Result<(), LoadError> {
        self.0 = self.0.saturating_add(more);
        Self::at_most(self.0, limit, what)
    }

    fn spent(self) -> u64 {
        self.0
    }

    fn at_most(have: u64, limit: u64, what: &'static str) -> Result<(), LoadError> {
        if have > limit {
            Err(LoadError::TooComplex { what, have, limit })
        } else {
            Ok(())
        }
    }
}

/// What is known of a component besides its code; kept beside it in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Interfaces it imports, as it names them.
    pub(crate) imports: Vec<String>,
    /// Whether it was adapted from a core module.
    pub(crate) adapted: bool,
    /// The name under which it exports `wasi:cli/run`.
    pub(crate) run: String,
}

impl Description {
    /// One line each: `adapted` or `component`, the run export, then the imports.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = if self.adapted { "adapted" } else { "component" };
        let lines = [kind, &self.run]
            .into_iter()
            .chain(self.imports.iter().map(String::as_str));
        lines.collect::<Vec<_>>().join("\n").into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let adapted = match lines.next()? {
            "adapted" => true,
            "component" => false,
            _ => return None,
        };
        let run = lines.next()?.to_owned();
        Some(Self {
            imports: lines.map(str::to_owned).collect(),
            adapted,
            run,
        })
    }
}

/// Checks `bytes` and gives the component to compile: themselves, or what they were adapted to.
///
/// # Errors
/// When they are no command that can run here.
pub(crate) fn prepare(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, Description), LoadError> {
    let inspected = inspect::inspect(bytes)?;
    inspect::validate(bytes)?;
    let (bytes, inspected, adapted) = match inspected.shape {
        Shape::Component => (Cow::Borrowed(bytes), inspected, false),
        Shape::Module => {
            imports::check_module(&inspected)?;
            let component = adapt::adapt(bytes)?;
            // An entry of another type than the adapter's, say: it does not look at what it fits together.
            inspect::validate(&component).map_err(|misfit| LoadError::Adapt(misfit.to_string()))?;
            let inspected = inspect::inspect(&component)?;
            (Cow::Owned(component), inspected, true)
        }
    };
    imports::check_component(&inspected.imports)?;
    let run = inspected
        .run
        .ok_or(LoadError::NotACommand { core: false })?;
    Ok((
        bytes,
        Description {
            imports: inspected.imports,
            adapted,
            run,
        },
    ))
}

/// The compiler's refusal of what is valid: a feature that is off, or a bound of its own.
pub(crate) fn refused(error: &wasmtime::Error) -> LoadError {
    LoadError::Compile(one_line(&format!("{error:#}")))
}

/// The linker's refusal: an interface is known, but not as this component uses it.
pub(crate) fn unlinkable(error: &wasmtime::Error) -> LoadError {
    LoadError::UnknownImport {
        names: vec![one_line(&format!("{error:#}"))],
        hint: Some("it uses a function that its interface does not have in WASI 0.2: build it with a current toolchain".to_owned()),
    }
}

/// At most some hundred characters, without line breaks.
fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > 400 {
        line.truncate(line.floor_char_boundary(400));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_description_survives_its_encoding() {
        for (adapted, imports) in [
            (true, vec![]),
            (
                false,
                vec!["wasi:io/poll@0.2.6".to_owned(), "a:b/c".to_owned()],
            ),
        ] {
            let description = Description {
                imports,
                adapted,
                run: "wasi:cli/run@0.2.0".to_owned(),
            };
            assert_eq!(
                Description::decode(&description.encode()),
                Some(description)
            );
        }
        assert_eq!(Description::decode(b""), None);
        assert_eq!(Description::decode(b"other\nrun"), None);
    }
}
