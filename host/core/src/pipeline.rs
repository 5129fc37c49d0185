//! What a pipeline says: its tasks, fully resolved, with every default filled in.
//!
//! [`parse`] takes the text of a `sykli.toml` (or the same document as JSON) and answers with a [`Pipeline`] that is
//! right in itself: names are known, there is no cycle, two tasks do not write the same file. What depends on the
//! files of the project is [`crate::expand`]'s. Nothing here opens a file; paths are text.

mod document;
mod fields;
pub(crate) mod overlap;
mod parse;
mod task;
pub(crate) mod validate;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::glob::Pattern;
use crate::template::Template;

pub use document::Origin;

/// The `schema` that this version reads.
pub const SCHEMA: &str = "sykli-wasm/1";

/// The longest document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// The most tasks a pipeline declares. A chain can be no longer, so this bounds the depth too.
pub const MAX_TASKS: usize = 10_000;
/// The most `after` entries of all tasks together.
pub const MAX_EDGES: usize = 100_000;
/// The most entries of any one list or table.
pub const MAX_ENTRIES: usize = 100_000;
/// The longest name of a task or matrix key, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest name of a pipeline, in bytes.
pub const MAX_PIPELINE_NAME_BYTES: usize = 128;
/// The longest foreach value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;
/// The most keys of a matrix.
pub const MAX_MATRIX_KEYS: usize = 32;
/// The deepest that tables and lists in `params` may be nested.
pub const MAX_NESTING: usize = 64;
/// The most retries.
pub const MAX_RETRIES: u32 = 100;
/// The most memory, in bytes: all that 32-bit addresses reach.
pub const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// The most output, in bytes.
pub const MAX_OUTPUT_BYTES: u64 = 1 << 40;
/// The longest time limit, in milliseconds: 30 days.
pub const MAX_TIMEOUT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// The most fuel: what a signed 64-bit counter holds.
pub const MAX_FUEL: u64 = i64::MAX as u64;
/// The largest quorum.
pub const MAX_QUORUM: u32 = 100;

/// The notation of a pipeline document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As people write it.
    Toml,
    /// As programs write it.
    Json,
}

/// A pipeline that is right in itself.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `pipeline.name`; `pipeline` where it has none.
    pub name: String,
    /// In the order of declaration. The graph that [`Task::after`] makes has no cycle.
    pub tasks: Vec<Task>,
}

/// A declared task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Unique; 1 to [`MAX_NAME_BYTES`] of ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// What runs.
    pub program: Program,
    /// Which files of the project it sees under `/in`.
    pub inputs: Vec<Pattern>,
    /// The file that is its standard input: one of the project, or `<task>/<path>` for an output of a task in `after`.
    pub stdin: Option<Template>,
    /// What is kept of what it writes to `/out`; patterns, once filled in.
    pub outputs: Vec<Template>,
    /// Whether its outputs are written into the project folder. They flow to later tasks in any case.
    pub export: bool,
    /// The tasks whose outputs it sees under `/in/<name>/`: indices into [`Pipeline::tasks`], ascending, none twice.
    pub after: Vec<usize>,
    /// What it is repeated for.
    pub foreach: Option<Foreach>,
    /// Its arguments, without the program's name.
    pub args: Vec<Template>,
    /// Its parameters as they were written, placeholders and all.
    pub params: BTreeMap<String, serde_json::Value>,
    /// The same as one canonical JSON object (sorted keys, no white space) to be filled in with
    /// [`crate::template::Escape::Json`].
    pub params_json: Template,
    /// Environment variables whose values the pipeline says itself.
    pub env: BTreeMap<String, String>,
    /// What it may use up.
    pub limits: Limits,
    /// What it may see beyond its inputs.
    pub grants: Grants,
    /// Where it may run.
    pub place: Place,
    /// How many more attempts a failure is given.
    pub retries: u32,
    /// How exact floating point is.
    pub floats: Floats,
    /// Where it says so.
    pub origins: Box<Origins>,
}

impl Task {
    /// The bytes of the pipeline's text that name it; none in a JSON document.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.origins.name.span()
    }
}

/// Where a task's parts stand in the document, for diagnostics that come later than parsing.
#[derive(Clone, Debug)]
pub struct Origins {
    /// Its name.
    pub name: Origin,
    /// Its component or crate.
    pub program: Origin,
    /// Each of its inputs.
    pub inputs: Vec<Origin>,
    /// Each of its outputs.
    pub outputs: Vec<Origin>,
    /// Its foreach; its name where it has none.
    pub foreach: Origin,
    /// Its stdin; its name where it has none.
    pub stdin: Origin,
}

/// What a task runs: paths relative to the pipeline's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A WASI component, or a core wasip1 module.
    Component(String),
    /// The folder of a Rust crate that is built to a component.
    Crate(String),
    /// The folder of a Rust crate whose test binary is the component.
    Tests(String),
}

impl Program {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Program::Component(path) | Program::Crate(path) | Program::Tests(path) => path,
        }
    }
}

/// What a task is repeated for: one instance each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreach {
    /// Each file of the project that matches.
    Glob(Pattern),
    /// Each of so many shares, at least 1.
    Shards(u32),
    /// Each value; at least one, none twice.
    Values(Vec<String>),
    /// Each combination of one value per key; at least one key, at least one value each, none twice.
    Matrix(BTreeMap<String, Vec<String>>),
}

/// What an instance may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// About one per instruction.
    pub fuel: u64,
    /// All its memories together, in bytes.
    pub memory_bytes: u64,
    /// In milliseconds.
    pub timeout_ms: u64,
    /// All that it writes to `/out` and `/tmp`, in bytes.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel: 1_000_000_000_000,
            memory_bytes: 1 << 30,
            timeout_ms: 10 * 60 * 1000,
            output_bytes: 1 << 30,
        }
    }
}

/// What an instance may see beyond its inputs. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// Names of the user's environment variables that are passed on.
    pub env: Vec<String>,
    /// `host` or `host:port`, each.
    pub net: Vec<String>,
    /// Real clocks.
    pub clock: bool,
    /// Real randomness.
    pub random: bool,
}

impl Grants {
    /// Whether the same manifest always gives the same result. The values of environment variables are in the
    /// manifest, so they take nothing from that.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        self.net.is_empty() && !self.clock && !self.random
    }
}

/// Where an instance may run, once there is somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What a node must have.
    pub labels: Vec<String>,
    /// Whether it may be offered to other nodes when a run uses them.
    pub mesh: bool,
    /// Whether an idle node may take it over when a run allows that.
    pub steal: bool,
    /// How a result from elsewhere is checked.
    pub verify: Verify,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            labels: Vec::new(),
            mesh: true,
            steal: true,
            verify: Verify::Audit,
        }
    }
}

/// How a result from another node is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Not at all.
    None,
    /// Now and then, by running it again.
    Audit,
    /// By so many nodes that agree, at least 2.
    Quorum(u32),
    /// By running it again here, always.
    Local,
}

/// How exact floating point is across machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Floats {
    /// The bit patterns of NaNs may differ between architectures.
    #[default]
    Fast,
    /// The same bits everywhere, at a price.
    Portable,
}

/// Reads a pipeline and checks all that can be known without the project's files.
///
/// # Errors
/// What is wrong, at most [`crate::diagnostic::MAX_DIAGNOSTICS`], in the order of the document; never none.
pub fn parse(text: &str, format: Format) -> Result<Pipeline, Vec<Diagnostic>> {
    parse::pipeline(text, format)
}

impl Pipeline {
    /// The patterns whose files have to be listed before [`crate::expand::plan`]: inputs, foreach globs and standard
    /// inputs.
    #[must_use]
    pub fn workspace_patterns(&self) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for task in &self.tasks {
            patterns.extend(task.inputs.iter().cloned());
            if let Some(Foreach::Glob(pattern)) = &task.foreach {
                patterns.push(pattern.clone());
            }
            let stdin = task.stdin.as_ref().and_then(Template::as_constant);
            patterns.extend(
                stdin
                    .filter(|path| !self.is_output_path(task, path))
                    .and_then(|path| Pattern::literal(path).ok()),
            );
        }
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// The task in `task.after` whose output a path under `/in` names, if it does.
    pub(crate) fn output_owner<'a>(&self, task: &Task, path: &'a str) -> Option<(usize, &'a str)> {
        let (first, rest) = path.split_once('/')?;
        let owner = task.after.iter().find(|index| {
            self.tasks
                .get(**index)
                .is_some_and(|task| task.name == first)
        })?;
        Some((*owner, rest))
    }

    fn is_output_path(&self, task: &Task, path: &str) -> bool {
        self.output_owner(task, path).is_some()
    }
}

#[cfg(test)]
mod tests;
