//! From declared tasks and the files of the project to the instances that run.
//!
//! [`plan`] matches patterns against a listing that the node made, repeats tasks as their `foreach` says, fills in
//! templates and orders everything. It looks at no file and knows no digest. What is the same in all instances of a
//! task is held once: a million instances have to fit. Callers: the node before a run, and for `plan`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::glob::Pattern;
use crate::pipeline::Pipeline;

/// The most instances of all tasks together.
pub const MAX_INSTANCES: usize = 1_000_000;
/// The most files that all tasks see together, counted once for tasks that say the same.
pub const MAX_INPUT_MATCHES: usize = 20_000_000;
/// The most that arguments, parameters and outputs of all instances may take up, in bytes, what is shared counted once.
pub const MAX_FILLED_BYTES: u64 = 1 << 30;
/// What a task whose duration was never recorded is taken to last, in milliseconds.
pub const UNKNOWN_DURATION_MS: u64 = 1;

/// A file of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileEntry {
    /// Relative to the pipeline's folder, `/` between its segments.
    pub path: Arc<str>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Files of the project, sorted by path, each once.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    files: Vec<FileEntry>,
}

impl Listing {
    /// Takes files in any order.
    #[must_use]
    pub fn new(mut files: Vec<FileEntry>) -> Listing {
        if !files.is_sorted_by(|a, b| a.path < b.path) {
            files.sort();
            files.dedup_by(|later, earlier| later.path == earlier.path);
        }
        Listing { files }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The index of the file at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<u32> {
        let index = self
            .files
            .binary_search_by(|file| (*file.path).cmp(path))
            .ok()?;
        u32::try_from(index).ok()
    }
}

/// What runs, and in which order it may.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was made from.
    pub pipeline: Arc<Pipeline>,
    /// All instances: those of one task together, tasks in [`Plan::order`]. The index is the
    /// [`TaskId`](crate::id::TaskId).
    pub tasks: Vec<Instance>,
    /// What all instances of a task have in common, by the index of the declared task.
    pub groups: Vec<Group>,
    /// The declared tasks so that each comes after those it waits for.
    pub order: Vec<usize>,
}

/// What all instances of a declared task have in common.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its instances in [`Plan::tasks`]; never empty.
    pub instances: Range<u32>,
    /// The files of the listing that its `inputs` match, as ascending indices. Shared by tasks that say the same.
    pub inputs: Arc<[u32]>,
    /// The declared tasks that wait for it, ascending.
    pub dependants: Vec<usize>,
    /// The longest way from its start to the end of the run by recorded durations, in milliseconds.
    pub priority: u64,
}

/// One run of a task.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The declared task: index into the pipeline's tasks.
    pub task: usize,
    /// Which of the task's instances, from 0.
    pub index: u32,
    /// How many instances the task has.
    pub count: u32,
    /// What it is for: a path, a value, or `arch=arm64,os=linux`. None without foreach, and for shards.
    pub item: Option<Arc<str>>,
    /// The item's index in the listing, where it is a file: that file is an input too.
    pub item_file: Option<u32>,
    /// Unique in the plan: `list`, `shrink[a.jpg]`, `render[3/16]` (from 1), `test[arm64,linux]`.
    pub label: Arc<str>,
    /// Its arguments, without the program's name.
    pub args: Arc<[Arc<str>]>,
    /// Its parameters: a canonical JSON object.
    pub params_json: Arc<str>,
    /// What is kept of what it writes.
    pub outputs: Arc<[Pattern]>,
    /// Its standard input.
    pub stdin: Option<Stdin>,
    /// [`Group::priority`] of its task.
    pub priority: u64,
}

impl Instance {
    /// The path of its item, where that is a file of the project and so an input.
    #[must_use]
    pub fn item_input(&self) -> Option<&str> {
        self.item_file.and(self.item.as_deref())
    }
}

/// Where an instance's standard input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A file of the project: its index in the listing.
    File(u32),
    /// An output of an earlier task.
    Output {
        /// The declared task: index into the pipeline's tasks.
        task: usize,
        /// The path among that task's outputs.
        path: Arc<str>,
    },
}

impl Plan {
    /// The files of the listing that an instance sees: what its task's `inputs` match, and its item.
    pub fn input_files(&self, instance: &Instance) -> impl Iterator<Item = u32> + '_ {
        let shared: &[u32] = self
            .groups
            .get(instance.task)
            .map_or(&[], |group| &group.inputs);
        let extra = instance
            .item_file
            .filter(|file| shared.binary_search(file).is_err());
        let at = extra.map_or(shared.len(), |file| {
            shared.partition_point(|other| *other < file)
        });
        let (before, after) = shared.split_at(at);
        before
            .iter()
            .copied()
            .chain(extra)
            .chain(after.iter().copied())
    }
}

/// Expands a pipeline over the files of its project. `durations` are what tasks lasted before, in milliseconds, by name.
///
/// # Errors
/// What is wrong, at most [`crate::diagnostic::MAX_DIAGNOSTICS`]: patterns that match nothing, files that are missing,
/// outputs that collide, more instances than [`MAX_INSTANCES`].
pub fn plan(
    pipeline: &Pipeline,
    listing: &Listing,
    durations: &BTreeMap<String, u64>,
) -> Result<Plan, Vec<Diagnostic>> {
    build::plan(pipeline, listing, durations)
}

mod build;
mod files;
mod fill;
mod items;

#[cfg(test)]
mod tests;
