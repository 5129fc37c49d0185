//! The documents that `--format json` and `ndjson` write: one type each, tagged with its schema's name. They are also
//! what the text renderers read, so text can never show what a program cannot get. The JSON schemas under
//! `docs/schema/` are generated from these types (`render/schema.rs`). It decides names and shapes only;
//! `render/convert.rs` fills them. Numbers carry their unit in their name.

mod bundle;
pub(crate) mod mesh;

pub(crate) use bundle::{BundleBlob, BundleDoc, BundleTask};

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sykli_core::id::Digest;

use super::past::{NodeDoc, RanOn, StepDoc};

/// A name that many documents share.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        name: &Arc<str>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

/// An event line as it is read back: what is beside the event is of no use to a reader.
#[derive(Debug, Deserialize)]
pub(crate) struct EventLine {
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// One event a line: `sykli.event/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EventDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.event/1"))]
    pub(crate) schema: &'static str,
    /// Milliseconds since the command began.
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Something to know that belongs to no task.
    Warning { message: String },
    /// A declared output is not where it belongs.
    Problem(RunProblem),
    /// A task crate is being built.
    BuildStarted { crate_dir: String },
    /// A line that the build printed.
    BuildOutput { crate_dir: String, line: String },
    /// A task crate's component is there. `built` is false when nothing had changed.
    BuildFinished {
        crate_dir: String,
        built: bool,
        wall_ms: u64,
    },
    /// The pipeline is expanded; tasks start from here on.
    Planned {
        run: String,
        pipeline: String,
        tasks: Vec<PlannedTask>,
    },
    /// A guest was started.
    TaskStarted {
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        task: Arc<str>,
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        label: Arc<str>,
        attempt: u32,
    },
    /// Something happened to an instance on its way to another node.
    TaskStep {
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        task: Arc<str>,
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        label: Arc<str>,
        #[serde(flatten)]
        step: StepDoc,
    },
    /// The guest said how far it is; `total` is 0 where it does not know.
    TaskProgress {
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        task: Arc<str>,
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        label: Arc<str>,
        done: u64,
        total: u64,
        message: String,
    },
    /// A line that the guest wrote.
    TaskOutput {
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        task: Arc<str>,
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        label: Arc<str>,
        stream: Stream,
        line: String,
    },
    /// A record that the guest logged.
    TaskLog {
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        task: Arc<str>,
        #[serde(with = "shared")]
        #[schemars(with = "String")]
        label: Arc<str>,
        level: String,
        message: String,
        fields: BTreeMap<String, String>,
    },
    /// An instance is settled, and its result is stored.
    TaskSettled(Instance),
    /// The run in numbers, now and then.
    Progress {
        counts: Counts,
        running: u32,
        total: u32,
    },
    /// The last line of a run.
    Finished {
        status: Status,
        exit_code: u8,
        wall_ms: u64,
        counts: Counts,
        exported: Vec<Exported>,
        /// Other nodes, with how many instances each ran.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        elsewhere: Vec<RanOn>,
    },
}

/// A declared task at the start of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PlannedTask {
    pub(crate) name: String,
    /// Instances that it expands to.
    pub(crate) instances: u32,
    /// Instances that this run wants.
    pub(crate) selected: u32,
    /// The tasks that it comes after.
    pub(crate) after: Vec<String>,
}

/// One of a guest's output streams.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Passed,
    Cached,
    Failed,
    Skipped,
    Cancelled,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Passed,
    Failed,
    TimedOut,
    Interrupted,
}

/// Instances by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) cached: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    pub(crate) cancelled: u32,
}

impl Counts {
    /// Counts one more.
    pub(crate) fn add(&mut self, state: State) {
        match state {
            State::Passed => self.passed += 1,
            State::Cached => self.cached += 1,
            State::Failed => self.failed += 1,
            State::Skipped => self.skipped += 1,
            State::Cancelled => self.cancelled += 1,
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> u32 {
        self.passed + self.cached + self.failed + self.skipped + self.cancelled
    }

    /// What one sign for all of them says: the worst, and cached only where nothing ran.
    pub(crate) fn worst(&self) -> State {
        match self {
            Counts { failed: 1.., .. } => State::Failed,
            Counts { cancelled: 1.., .. } => State::Cancelled,
            Counts { skipped: 1.., .. } => State::Skipped,
            Counts { passed: 1.., .. } => State::Passed,
            _ => State::Cached,
        }
    }
}

/// An instance of a task that is settled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Instance {
    /// The declared task.
    #[serde(with = "shared")]
    #[schemars(with = "String")]
    pub(crate) task: Arc<str>,
    /// The instance: `shrink[3/16]`, or the task's name where it has one.
    #[serde(with = "shared")]
    #[schemars(with = "String")]
    pub(crate) label: Arc<str>,
    pub(crate) state: State,
    /// 0 where it never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u32>,
    /// Of the last attempt; the recorded time for a cached result.
    pub(crate) wall_ms: u64,
    pub(crate) fuel: u64,
    /// Task digest: `b3:` and hex.
    #[schemars(with = "Option<String>")]
    pub(crate) digest: Option<Digest>,
    /// Digest of the output tree.
    #[schemars(with = "Option<String>")]
    pub(crate) output: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// The node that ran it, where it was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<NodeDoc>,
}

/// Why a guest failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// Where the guest exited by itself.
    pub(crate) exit_code: Option<i32>,
    pub(crate) stdout_tail: String,
    pub(crate) stderr_tail: String,
    /// The wasm frames of a trap, innermost first.
    pub(crate) backtrace: Vec<String>,
}

/// A file that a run wrote into the project.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Exported {
    /// Relative to the pipeline's folder.
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

/// The whole of a run: `sykli.run/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct RunDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.run/1"))]
    pub(crate) schema: &'static str,
    pub(crate) run: String,
    pub(crate) pipeline: String,
    pub(crate) status: Status,
    pub(crate) exit_code: u8,
    pub(crate) wall_ms: u64,
    pub(crate) counts: Counts,
    /// Declared tasks, in running order.
    pub(crate) tasks: Vec<TaskSummary>,
    pub(crate) instances: Vec<Instance>,
    /// Files written into the project.
    pub(crate) exported: Vec<Exported>,
    /// Declared outputs that were up to date in the project already.
    pub(crate) unchanged: u64,
    pub(crate) warnings: Vec<String>,
    /// Declared outputs that are not where they belong: the run is no success.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<RunProblem>,
    /// Other nodes, with how many instances each ran.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) elsewhere: Vec<RanOn>,
}

/// A run that was handed to the node: `sykli.detached/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct DetachedDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.detached/1"))]
    pub(crate) schema: &'static str,
    /// Names it for `sykli status`, `report` and the control socket.
    pub(crate) run: String,
}

/// Something that went wrong and is no task's failure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RunProblem {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

/// A declared task at the end of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TaskSummary {
    pub(crate) name: String,
    /// One state for all instances: the worst.
    pub(crate) state: State,
    pub(crate) counts: Counts,
    pub(crate) wall_ms: u64,
    pub(crate) fuel: u64,
}

/// What a run would do: `sykli.plan/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PlanDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.plan/1"))]
    pub(crate) schema: &'static str,
    pub(crate) pipeline: String,
    /// Declared tasks, in running order.
    pub(crate) tasks: Vec<PlanTask>,
    pub(crate) instances: Vec<PlanInstance>,
    pub(crate) warnings: Vec<String>,
}

/// A declared task in a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PlanTask {
    pub(crate) name: String,
    pub(crate) after: Vec<String>,
    /// Whether its results can be cached.
    pub(crate) pure: bool,
    /// Instances in the cache.
    pub(crate) cached: u32,
    /// Instances that would run.
    pub(crate) would_run: u32,
    /// Instances whose inputs are not known before something else ran.
    pub(crate) unknown: u32,
}

/// An instance in a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PlanInstance {
    pub(crate) task: String,
    pub(crate) label: String,
    pub(crate) digest: Option<String>,
    #[serde(flatten)]
    pub(crate) state: PlanState,
    /// Wall time that was recorded last time.
    pub(crate) expected_ms: Option<u64>,
}

/// What would happen to an instance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PlanState {
    /// Its result is in the cache.
    Cached,
    /// It would run, and why.
    Run { reasons: Vec<String> },
    /// It depends on what these tasks give.
    Unknown { waits_for: Vec<String> },
}

/// A valid pipeline: `sykli.validate/1`. An invalid one gives a `sykli.error/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ValidateDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.validate/1"))]
    pub(crate) schema: &'static str,
    pub(crate) valid: bool,
    pub(crate) file: String,
    pub(crate) pipeline: String,
    pub(crate) tasks: Vec<ValidTask>,
    /// Instances of all tasks, as the project's files are now.
    pub(crate) instances: u32,
}

/// A task of a valid pipeline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ValidTask {
    pub(crate) name: String,
    pub(crate) pure: bool,
    pub(crate) instances: u32,
    pub(crate) after: Vec<String>,
}

/// Why tasks are, or are not, in the cache: `sykli.cache-why/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WhyDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.cache-why/1"))]
    pub(crate) schema: &'static str,
    pub(crate) pipeline: String,
    pub(crate) instances: Vec<WhyInstance>,
}

/// Why one instance is, or is not, in the cache.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WhyInstance {
    pub(crate) task: String,
    pub(crate) label: String,
    pub(crate) cached: bool,
    /// Task digest now.
    pub(crate) digest: Option<String>,
    /// Task digest when it last ran.
    pub(crate) previous: Option<String>,
    pub(crate) reasons: Vec<String>,
}

/// What the cache holds: `sykli.cache-stats/1`. `gc` and `clear` print it too, with what they removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CacheDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.cache-stats/1"))]
    pub(crate) schema: &'static str,
    pub(crate) dir: String,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
    pub(crate) results: u64,
    /// Compiled components.
    pub(crate) compiled: u64,
    pub(crate) compiled_bytes: u64,
    /// Size of the cache's database files.
    pub(crate) database_bytes: u64,
    /// Everything together, on disk.
    pub(crate) total_bytes: u64,
    /// The bound that `gc` keeps to.
    pub(crate) max_bytes: u64,
    /// Other processes that use the cache now.
    pub(crate) processes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<Removed>,
}

/// What a `gc` or `clear` removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Removed {
    pub(crate) results: u64,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

/// What was built: `sykli.build/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BuildDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.build/1"))]
    pub(crate) schema: &'static str,
    pub(crate) crates: Vec<Built>,
}

/// A task crate's component.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Built {
    pub(crate) crate_dir: String,
    pub(crate) component: String,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    /// False when nothing had changed.
    pub(crate) built: bool,
    pub(crate) wall_ms: u64,
}

/// How an `exec` went: `sykli.exec/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ExecDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.exec/1"))]
    pub(crate) schema: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) failure: Option<Failure>,
    /// What the guest wrote, bytes that are not UTF-8 replaced.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Bytes beyond what this document carries.
    pub(crate) dropped_bytes: u64,
    pub(crate) written: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) fuel: u64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) wall_ms: u64,
}

/// Files that a command made: `sykli.created/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CreatedDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.created/1"))]
    pub(crate) schema: &'static str,
    pub(crate) files: Vec<String>,
}

/// The settings in force: `sykli.config/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ConfigDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.config/1"))]
    pub(crate) schema: &'static str,
    pub(crate) settings: Vec<Setting>,
}

/// One setting.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
    /// `default`, `project file`, `user file`, `variable` or `flag`.
    pub(crate) origin: String,
    /// The file and line, or the variable.
    pub(crate) place: Option<String>,
}

/// What `doctor` found: `sykli.doctor/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct DoctorDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.doctor/1"))]
    pub(crate) schema: &'static str,
    pub(crate) version: String,
    /// No check failed.
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<Check>,
}

/// One thing that `doctor` looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) state: CheckState,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckState {
    Ok,
    /// Works, but less than it could.
    Warning,
    /// Something does not work.
    Failed,
}

/// What went wrong: `sykli.error/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.error/1"))]
    pub(crate) schema: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// What a tool printed that failed for us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    pub(crate) exit_code: u8,
    /// Every problem in the text that the user wrote, with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<ProblemDoc>,
}

/// One problem in a text that the user wrote.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ProblemDoc {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    pub(crate) file: Option<String>,
    /// From 1.
    pub(crate) line: Option<usize>,
    /// In characters, from 1.
    pub(crate) column: Option<usize>,
}
