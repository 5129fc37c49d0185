//! The documents about runs that were, or go on: `history`, `report`, `status`, `task`, `logs`, `explain`. As in
//! `json.rs`, names and shapes only, numbers with their unit in their name; `render/views.rs` fills them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Counts;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeDoc {
    /// Its peer id.
    pub(crate) id: String,
    /// What it calls itself.
    pub(crate) name: String,
}

/// Another node, with how many instances it ran.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RanOn {
    pub(crate) node: NodeDoc,
    pub(crate) instances: u32,
}

/// What happened to an instance on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepName {
    /// The owner did not offer it.
    NotOffered,
    Offered,
    /// The node did not take it.
    Declined,
    /// A person there is asked.
    Pending,
    Accepted,
    Started,
    /// The node will not deliver.
    Lost,
    /// Another attempt was begun beside it.
    Doubled,
    /// Its result was accepted.
    Ran,
}

/// One such step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StepDoc {
    pub(crate) attempt: u32,
    /// With whom.
    pub(crate) node: NodeDoc,
    pub(crate) step: StepName,
    /// Why, as a stable word: `label-missing`.
    pub(crate) reason: Option<String>,
    /// The same for people.
    pub(crate) message: String,
    /// What to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hints: Vec<String>,
}

/// How a run, a task or an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Waiting,
    /// Offered to another node, which has not begun.
    Offered,
    Running,
    Passed,
    Cached,
    Failed,
    Skipped,
    Cancelled,
    /// The run's process ended before it did.
    Interrupted,
}

/// How far a run reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reach {
    Solo,
    /// Tasks are offered to idle nodes.
    Mesh,
    /// And idle nodes ask for them.
    Swarm,
}

/// Runs, the newest first: `sykli.history/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.history/1"))]
    pub(crate) schema: &'static str,
    pub(crate) runs: Vec<PastRun>,
}

/// A run in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PastRun {
    pub(crate) run: String,
    pub(crate) pipeline: String,
    /// The pipeline's file.
    pub(crate) file: String,
    pub(crate) standing: Standing,
    pub(crate) reach: Reach,
    /// Milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// None while it goes on, and where its process ended first.
    pub(crate) wall_ms: Option<u64>,
    /// Instances that it has.
    pub(crate) instances: u32,
    /// Those of them that have ended.
    pub(crate) counts: Counts,
    /// Other nodes, with how many instances each ran.
    pub(crate) elsewhere: Vec<RanOn>,
}

/// One run, task by task: `sykli.report/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReportDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.report/1"))]
    pub(crate) schema: &'static str,
    #[serde(flatten)]
    pub(crate) of: PastRun,
    /// The nodes that it met.
    pub(crate) nodes: Vec<NodeDoc>,
    pub(crate) tasks: Vec<ReportTask>,
}

/// An instance in a report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReportTask {
    #[serde(flatten)]
    pub(crate) view: TaskDocView,
    /// Why it ran where it did, where there was a choice.
    pub(crate) why: Option<String>,
    /// Nodes that it was offered to, those that declined, those that took it and did not deliver.
    pub(crate) moves: Moves,
}

/// How an instance moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Moves {
    pub(crate) offered: u32,
    pub(crate) declined: u32,
    pub(crate) accepted: u32,
    pub(crate) lost: u32,
}

/// The instances of a task: `sykli.task/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TaskDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.task/1"))]
    pub(crate) schema: &'static str,
    pub(crate) instances: Vec<TaskDocView>,
}

/// One instance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TaskDocView {
    pub(crate) run: String,
    pub(crate) task: String,
    pub(crate) label: String,
    pub(crate) standing: Standing,
    /// The node that has it or ran it; none where that is this one, or nobody yet.
    pub(crate) executor: Option<NodeDoc>,
    /// Where that node is, as far as is known.
    pub(crate) address: Option<String>,
    /// The executor had asked for work.
    pub(crate) stolen: bool,
    /// Whose task it is; none where it is this node's own.
    pub(crate) owner: Option<NodeDoc>,
    /// 0 where there was none.
    pub(crate) attempt: u32,
    /// In hundredths, where the guest says how far it is.
    pub(crate) progress_percent: Option<u8>,
    /// What it is at, as the guest says.
    pub(crate) message: Option<String>,
    pub(crate) wall_ms: u64,
    pub(crate) fuel: u64,
    /// Why it failed.
    pub(crate) failure: Option<String>,
}

/// What a task wrote: `sykli.logs/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct LogsDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.logs/1"))]
    pub(crate) schema: &'static str,
    pub(crate) run: String,
    pub(crate) instances: Vec<InstanceLogs>,
    /// Instances beyond what this document carries: ask for them by name.
    pub(crate) left_out: u64,
}

/// What an instance wrote.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct InstanceLogs {
    pub(crate) label: String,
    pub(crate) kept: Kept,
    /// Bytes that are not UTF-8 are replaced.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// How much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// All that a result keeps.
    Whole,
    /// Its end.
    End,
    /// It wrote nothing, or nothing of it is kept.
    Nothing,
}

/// Why tasks ran where they did: `sykli.explain/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ExplainDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.explain/1"))]
    pub(crate) schema: &'static str,
    pub(crate) run: String,
    pub(crate) reach: Reach,
    pub(crate) instances: Vec<ExplainInstance>,
    /// Instances beyond what this document carries: ask for them by name.
    pub(crate) left_out: u64,
}

/// Why one instance ran where it did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ExplainInstance {
    pub(crate) label: String,
    pub(crate) standing: Standing,
    /// The node that ran it; none where that was this one, or nobody.
    pub(crate) executor: Option<NodeDoc>,
    /// One line.
    pub(crate) why: String,
    pub(crate) steps: Vec<TimedStep>,
}

/// A step and when it was.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct TimedStep {
    /// Since the run began.
    pub(crate) after_ms: u64,
    #[serde(flatten)]
    pub(crate) step: StepDoc,
}

/// A run as its graph: `sykli.status/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct StatusDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.status/1"))]
    pub(crate) schema: &'static str,
    pub(crate) run: String,
    pub(crate) pipeline: String,
    pub(crate) standing: Standing,
    pub(crate) reach: Reach,
    /// Milliseconds since 1970.
    pub(crate) started_ms: u64,
    pub(crate) elapsed_ms: Option<u64>,
    /// Declared tasks, each after those that it depends on.
    pub(crate) tasks: Vec<StatusTask>,
}

/// A declared task in a status.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct StatusTask {
    pub(crate) name: String,
    pub(crate) after: Vec<String>,
    pub(crate) standing: Standing,
    /// Instances that it has.
    pub(crate) instances: u32,
    pub(crate) running: u32,
    /// Those of them that have ended.
    pub(crate) counts: Counts,
    /// The other nodes that have run some of them, or do.
    pub(crate) on: Vec<NodeDoc>,
}
