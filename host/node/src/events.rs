//! What a run tells while it goes on, and what it reports at the end.
//!
//! Plain data for renderers: no behaviour beyond small counts, no secrets (values of granted environment variables
//! never appear here), no host paths but the user's own. Made by `run`, read by the command line.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sykli_core::id::Digest;
pub use sykli_core::machine::StepKind;
pub use sykli_core::run::{Counts, RunOutcome, RunStatus, SettledKind};
pub use sykli_core::snapshot::Snapshot;
pub use sykli_runtime::LogLevel;

/// Which of a guest's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A node, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    /// Its peer id: `12D3Koo…`.
    pub id: String,
    /// What it calls itself. A peer wrote it: escape sequences are the renderer's to strip.
    pub name: String,
}

/// One thing that happened in a run, in order.
///
/// `task` is the declared name, `label` the instance's (`"shrink[3/16]"`); they are equal where a task has one instance.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// Something the user should know that belongs to no task.
    Warning {
        /// One line.
        message: String,
    },
    /// A declared output is not where it belongs: the run is no success.
    Problem(Problem),
    /// A task crate is being built, or was found up to date.
    Build(BuildEvent),
    /// The pipeline is expanded; tasks start from here on.
    Planned {
        /// Identifies this run in the journal.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// Declared tasks in the order they are shown, with their instances.
        tasks: Vec<PlannedTask>,
    },
    /// A guest was started, or is next on a thread that runs short ones.
    TaskStarted {
        /// Declared task.
        task: Arc<str>,
        /// Instance.
        label: Arc<str>,
        /// Counted from 1.
        attempt: u32,
    },
    /// Something happened to an instance on its way to another node. What runs there says so with
    /// [`StepKind::Started`], not with `TaskStarted`.
    TaskStep {
        /// Declared task.
        task: Arc<str>,
        /// Instance.
        label: Arc<str>,
        /// Which attempt it is about.
        attempt: u32,
        /// With whom.
        node: NodeRef,
        /// What.
        what: StepKind,
    },
    /// The guest said how far it is.
    TaskProgress {
        /// Declared task.
        task: Arc<str>,
        /// Instance.
        label: Arc<str>,
        /// Units done.
        done: u64,
        /// Units in all; 0 when the guest does not know.
        total: u64,
        /// The guest's own words, bounded.
        message: String,
    },
    /// The guest wrote to a standard stream. Raw bytes: escape sequences are the renderer's to strip.
    TaskOutput {
        /// Declared task.
        task: Arc<str>,
        /// Instance.
        label: Arc<str>,
        /// Which stream.
        stream: Stream,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// The guest logged a record.
    TaskLog {
        /// Declared task.
        task: Arc<str>,
        /// Instance.
        label: Arc<str>,
        /// Severity.
        level: LogLevel,
        /// The guest's message.
        message: String,
        /// Structured fields.
        fields: Vec<(String, String)>,
    },
    /// The instance is settled, and its result and journal row are committed.
    TaskSettled(Box<TaskSettled>),
    /// The whole run in numbers, at a bounded rate; the last one precedes `Finished`.
    Snapshot(Box<Snapshot>),
    /// Nothing follows.
    Finished {
        /// How the run ended.
        status: RunStatus,
    },
}

/// A declared task in [`RunEvent::Planned`]. The journal keeps it in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTask {
    /// Declared name.
    pub name: String,
    /// Instances it expands to.
    pub instances: u32,
    /// Instances of it that this run wants (all, unless a filter is set).
    pub selected: u32,
    /// Declared names of the tasks it comes after.
    pub after: Vec<String>,
}

/// The end of one instance.
#[derive(Clone, Debug)]
pub struct TaskSettled {
    /// Declared task.
    pub task: Arc<str>,
    /// Instance.
    pub label: Arc<str>,
    /// How it ended.
    pub state: SettledKind,
    /// Attempts made; 0 where it never ran.
    pub attempts: u32,
    /// Wall time of the last attempt (the recorded one for a cached result), milliseconds.
    pub wall_ms: u64,
    /// Fuel of the last attempt (the recorded one for a cached result).
    pub fuel: u64,
    /// Task digest, where it got as far as having one.
    pub digest: Option<Digest>,
    /// Digest of the output tree, where it passed.
    pub output: Option<Digest>,
    /// Why it failed.
    pub failure: Option<FailureReport>,
    /// One line each: dropped outputs, refused wishes of a guest that went on nevertheless.
    pub warnings: Vec<String>,
    /// The node that ran it; none where it was this one, or nobody.
    pub node: Option<NodeRef>,
    /// That node had asked for work, rather than been offered it.
    pub stolen: bool,
}

/// Why an instance failed, for a person and for a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureReport {
    /// Stable, e.g. `"task::exit"`, `"task::trap"`, `"task::memory"`.
    pub code: String,
    /// One line.
    pub message: String,
    /// Ways out, each able to be pasted or followed.
    pub hints: Vec<String>,
    /// The guest's exit code, where it exited by itself.
    pub exit_code: Option<i32>,
    /// The end of standard output, lossily decoded.
    pub stdout_tail: String,
    /// The end of standard error, lossily decoded.
    pub stderr_tail: String,
    /// The wasm frames of a trap, innermost first.
    pub backtrace: Vec<String>,
}

/// Something that went wrong and is no task's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable name of the kind of problem, e.g. `"export::full"`.
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// What can be done.
    pub hint: String,
}

/// How a whole run went.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Identifies this run in the journal.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// How it ended, and how many instances ended how.
    pub status: RunStatus,
    /// From the request to the last commit.
    pub wall: Duration,
    /// One entry a declared task, in the order of [`RunEvent::Planned`].
    pub tasks: Vec<TaskReport>,
    /// One entry a settled instance, by task, then index.
    pub instances: Vec<InstanceReport>,
    /// What failed, in the order it did.
    pub failures: Vec<(Arc<str>, FailureReport)>,
    /// Files written into the project folder, relative, sorted.
    pub exported: Vec<String>,
    /// Declared outputs that were up to date in the project folder already.
    pub unchanged: u64,
    /// One line each, bounded.
    pub warnings: Vec<String>,
    /// Declared outputs that are not where they belong.
    pub problems: Vec<Problem>,
}

/// A declared task at the end of a run.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// Declared name.
    pub name: String,
    /// Its instances by how they ended.
    pub counts: Counts,
    /// Summed over its instances, milliseconds.
    pub wall_ms: u64,
    /// Summed over its instances.
    pub fuel: u64,
}

/// An instance at the end of a run.
#[derive(Clone, Debug)]
pub struct InstanceReport {
    /// Declared task.
    pub task: Arc<str>,
    /// Instance.
    pub label: Arc<str>,
    /// How it ended.
    pub state: SettledKind,
    /// Task digest.
    pub digest: Option<Digest>,
    /// Digest of the output tree.
    pub output: Option<Digest>,
    /// Wall time, milliseconds.
    pub wall_ms: u64,
    /// Fuel.
    pub fuel: u64,
    /// The node that ran it; none where it was this one, or nobody.
    pub node: Option<NodeRef>,
}

/// What building task crates tells while it goes on.
#[derive(Clone, Debug)]
pub enum BuildEvent {
    /// Cargo was started for this crate (its folder, relative to the project).
    Started {
        /// Folder.
        crate_dir: String,
    },
    /// A line that cargo printed.
    Line {
        /// Folder.
        crate_dir: String,
        /// One line of cargo's standard error.
        line: String,
    },
    /// The crate's component is there.
    Finished {
        /// Folder.
        crate_dir: String,
        /// False when nothing had changed and cargo was not asked.
        built: bool,
        /// Time it took, milliseconds.
        wall_ms: u64,
    },
}
