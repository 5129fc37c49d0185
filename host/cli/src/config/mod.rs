//! Settings: raw values from flags, variables and files in, fully resolved [`Settings`] out.
//!
//! Precedence: flag > `SYKLI_*` variable > user file > project file > default, where the project file can only narrow:
//! the narrower value holds, and what cannot narrow is refused there with its line. `keys.rs` is the table of all
//! settings, `file.rs` reads TOML, `resolve.rs` decides, `mesh.rs` turns the values that are about other machines into
//! what a node is set up with. Nothing beyond this module looks at the environment for a setting. Called by `main` once,
//! and by the `config` command.

mod file;
mod keys;
mod mesh;
mod resolve;
mod value;

use std::path::PathBuf;

use clap::ValueEnum;
use sykli_node::paths::Dirs;

pub(crate) use mesh::mesh;
pub(crate) use resolve::{Flags, Resolved, check_files, resolve, strange_variables};
pub(crate) use value::{parse_duration_ms, parse_fuel, parse_size};

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// Where the stream is a terminal and nothing forbids it
    #[default]
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One document
    Json,
    /// One event a line
    Ndjson,
}

impl Format {
    /// Whether a program reads the output.
    pub(crate) fn is_machine(self) -> bool {
        self != Format::Text
    }
}

/// Everything that was settled before a command starts. No option, no string to interpret.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Guests at once.
    pub(crate) jobs: u32,
    pub(crate) color: ColorWhen,
    pub(crate) format: Format,
    /// What `cache gc` keeps to, bytes.
    pub(crate) cache_max_bytes: u64,
    /// What a task may ask for at most.
    pub(crate) ceilings: Ceilings,
    pub(crate) dirs: Dirs,
}

/// What a task may ask for at most on this machine; `u64::MAX` where nothing was set.
///
/// Ceilings and not defaults: a default that differed between machines would give the same task different digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceilings {
    pub(crate) fuel: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) output_bytes: u64,
}

/// Where the settings files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) user: PathBuf,
    /// The project's, where a project was found.
    pub(crate) project: Option<PathBuf>,
}
