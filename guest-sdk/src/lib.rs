//! What a sykli task written in Rust may want beyond `std`: to say how far it is, to log with fields, to read its params
//! and its shard, and to reach its inputs and outputs by short names. A task is an ordinary binary crate:
//!
//! ```
//! use sykli_guest::{inputs, outputs, progress, testing::Fake};
//!
//! fn task() -> sykli_guest::Result<()> {
//!     let files = inputs::list("texts/")?;
//!     let mut words = 0;
//!     for (done, file) in files.iter().enumerate() {
//!         progress(done as u64, files.len() as u64, file);
//!         words += inputs::read_string(file)?.split_whitespace().count();
//!     }
//!     outputs::json("words.json", &words)
//! }
//!
//! // fn main() -> std::process::ExitCode { sykli_guest::run(task) }
//!
//! // The same function in a native test, without a WebAssembly runtime:
//! let host = Fake::new().input("texts/a.txt", "one two").input("texts/b/c.txt", "three").enter();
//! task().unwrap();
//! assert_eq!(host.output("words.json").unwrap(), b"3\n");
//! assert_eq!(host.progress().len(), 2);
//! ```
//!
//! # Where such a component runs
//!
//! [`progress()`], [`log`], [`params`], [`param`], [`shard`], [`item`], [`attempt`] and [`name`] are imports of
//! `sykli:task/host`. **A component that imports an interface runs only where that interface is provided**: under sykli
//! it does, under `wasmtime run` it is refused by name before it starts. A component imports only what its code reaches:
//! a task that calls none of these eight (that uses `std` alone, or also [`inputs`], [`outputs`], [`run`]) imports
//! nothing but WASI and runs under any WASI 0.2 runtime. How to go without:
//!
//! | instead of | plain `std` |
//! |---|---|
//! | `params` | `args = ["--width", "320"]` in the pipeline and `std::env::args()` |
//! | `item()`, `shard()` | `args = ["{item}", "{index}", "{count}"]` and `std::env::args()` |
//! | `log::info` | `eprintln!`: standard error is kept and shown as well |
//! | `progress` | nothing: only the bar is lost |
//!
//! # What it never does
//!
//! It starts no thread, keeps no state between calls, reads no environment variable, and has no effect that a pure
//! task could observe: the same task digest gives the same output with and without it.

mod error;
mod host;
pub mod inputs;
pub mod log;
pub mod outputs;
pub mod pipeline;
mod shard;
#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
pub mod testing;

pub use error::{Error, Result};
pub use pipeline::Pipeline;
pub use shard::Shard;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

/// Says that `done` of `total` units are finished; the unit is the task's own, and `total` is 0 where it is not known.
/// `message` is one line about what is being done. Cheap to call often: the executor shows the last of many.
///
/// ```
/// let host = sykli_guest::testing::Fake::new().enter();
/// sykli_guest::progress(3, 12, "row 3");
/// assert_eq!(host.progress()[0].message, "row 3");
/// ```
pub fn progress(done: u64, total: u64, message: impl AsRef<str>) {
    host::progress(done, total, message.as_ref());
}

/// The task's `params`, as the type that it expects.
///
/// # Errors
/// [`Error::Json`] where they do not fit the type; the message names the field.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Params { width: u32, #[serde(default)] grey: bool }
///
/// let _host = sykli_guest::testing::Fake::new().param("width", 320).enter();
/// let params: Params = sykli_guest::params().unwrap();
/// assert_eq!((params.width, params.grey), (320, false));
/// ```
pub fn params<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&host::params()).map_err(|source| Error::Json {
        what: "params".to_owned(),
        source,
    })
}

/// One of the task's `params`.
///
/// # Errors
/// [`Error::MissingParam`] where there is none of that name, [`Error::Json`] where it does not fit the type.
///
/// ```
/// let _host = sykli_guest::testing::Fake::new().param("width", 320).enter();
/// let width: u32 = sykli_guest::param("width").unwrap();
/// assert_eq!(width, 320);
/// assert!(sykli_guest::param::<u32>("height").unwrap_err().to_string().contains("height"));
/// ```
pub fn param<T: DeserializeOwned>(key: &str) -> Result<T> {
    let mut all: serde_json::Map<String, serde_json::Value> = params()?;
    let value = all
        .remove(key)
        .ok_or_else(|| Error::MissingParam(key.to_owned()))?;
    serde_json::from_value(value).map_err(|source| Error::Json {
        what: format!("param `{key}`"),
        source,
    })
}

/// One of the task's `params`, or `default` where the pipeline does not give it.
///
/// # Errors
/// [`Error::Json`] where it is given and does not fit the type.
///
/// ```
/// let _host = sykli_guest::testing::Fake::new().enter();
/// assert_eq!(sykli_guest::param_or("top", 20).unwrap(), 20);
/// ```
pub fn param_or<T: DeserializeOwned>(key: &str, default: T) -> Result<T> {
    match param(key) {
        Err(Error::MissingParam(_)) => Ok(default),
        other => other,
    }
}

/// Which part of a fanned-out task this instance is; 0 of 1 where the task is not fanned out.
#[must_use]
pub fn shard() -> Shard {
    host::shard()
}

/// The item of the pipeline's `foreach` that this instance is for: with `foreach = { glob = … }` a path that
/// [`inputs::read`] takes as it is.
#[must_use]
pub fn item() -> Option<String> {
    host::item()
}

/// Which attempt this is, from 1. Always 1 for a pure task, which must not see what does not determine its result.
#[must_use]
pub fn attempt() -> u32 {
    host::attempt()
}

/// The task's name in the pipeline.
#[must_use]
pub fn name() -> String {
    host::name()
}

/// Runs a task's function as a whole program: what it returns as an error is written to standard error as one line,
/// `error: …`, and the exit code is 1.
///
/// ```
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     sykli_guest::run(|| -> sykli_guest::Result<()> { Ok(()) })
/// }
/// ```
pub fn run<E: Display>(task: impl FnOnce() -> std::result::Result<(), E>) -> ExitCode {
    match task() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to hear of it where standard error is gone too.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
