//! What is said over the control socket: every document that goes in or out, version 1.
//!
//! A published format: the JSON schemas under `docs/schema/` are generated from these types, and a change that would break
//! a reader gets a new path (`/v2/…`) and a new schema name. Numbers carry their unit in their name; durations are measured
//! by the node that answers, so no clock of a reader's matters. Fields may be added: readers pass over what they do not
//! know. Plain data, no behaviour beyond what fills a document from the node's own reports; no secrets, no values of
//! environment variables. Made and read by both ends of the control socket ([`super`]) and by the command line.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sykli_core::machine::Mode;

use crate::host_state::{HostReport, Told};
use crate::isolation::Confinement;

/// A node at one moment: `GET /v1/status`, `sykli node status --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.node-status/1"))]
    pub schema: String,
    /// The version of sykli that the node runs.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its peer id: `12D3Koo…`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `lan`, `wan`, `mobile` or `hostile`.
    pub profile: String,
    /// Whether others' tasks may run here: `never`, `ask` or `policy`.
    pub consent: String,
    /// Addresses that it listens on; none for a hidden node.
    pub listening: Vec<String>,
    /// Its labels, those included that it gives itself.
    pub labels: Vec<String>,
    /// Tasks of its own at once.
    pub slots: u32,
    /// Memory for tasks, in MB.
    pub memory_mb: u64,
    /// Its user paused it: it takes no foreign task.
    pub paused: bool,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// Since it started, in milliseconds.
    pub up_ms: u64,
    /// What the machine says of itself.
    pub host: HostView,
    /// What the processes that others' tasks run in could give up; `null` where none was started yet.
    pub isolation: Option<Confinement>,
    /// Why no such process can be started; `null` where one can, as far as is known.
    pub isolation_fault: Option<String>,
    /// The nodes that it knows, those that are away included.
    pub peers: Vec<PeerView>,
    /// Its own runs that have not ended.
    pub runs: Vec<RunView>,
    /// Others' tasks that it has now.
    pub foreign: Vec<ForeignView>,
    /// Questions that wait for a person (`consent.mode = "ask"`).
    pub asks: Vec<AskInfo>,
    /// What happened since it started.
    pub counters: Counters,
}

/// The name of [`NodeStatus`]'s schema.
pub const STATUS_SCHEMA: &str = "sykli.node-status/1";

/// What the machine says of itself; `null` where it cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostView {
    /// How long nobody has touched it, in milliseconds.
    pub untouched_ms: Option<u64>,
    /// It runs on its battery.
    pub on_battery: Option<bool>,
    /// Its connection is paid for by the byte.
    pub metered: Option<bool>,
    /// Memory that tasks could have now, in MB.
    pub free_memory_mb: Option<u64>,
    /// Runnable processes a core over the last minute, in thousandths.
    pub load_per_mille: Option<u64>,
    /// Why it cannot tell, by the field's name.
    pub cannot_tell: BTreeMap<String, String>,
}

impl From<&HostReport> for HostView {
    fn from(report: &HostReport) -> HostView {
        let mut cannot_tell = BTreeMap::new();
        fn known<T: Copy>(
            told: &Told<T>,
            field: &str,
            cannot_tell: &mut BTreeMap<String, String>,
        ) -> Option<T> {
            if let Told::CannotTell(why) = told {
                cannot_tell.insert(field.to_owned(), why.to_string());
            }
            told.known()
        }
        HostView {
            untouched_ms: known(&report.untouched_ms, "untouched_ms", &mut cannot_tell),
            on_battery: known(&report.on_battery, "on_battery", &mut cannot_tell),
            metered: known(&report.metered, "metered", &mut cannot_tell),
            free_memory_mb: known(&report.free_memory_mb, "free_memory_mb", &mut cannot_tell),
            load_per_mille: known(&report.load_per_mille, "load_per_mille", &mut cannot_tell),
            cannot_tell,
        }
    }
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerView {
    /// Its peer id.
    pub id: String,
    /// What it calls itself; empty where it was never met.
    pub name: String,
    /// Its profile; empty where it was never met.
    pub profile: String,
    /// There is a connection now.
    pub connected: bool,
    /// For so long it has been connected, or away, in milliseconds.
    pub for_ms: u64,
    /// It dials out only: its being away alarms nobody.
    pub hidden: bool,
    /// A member of the mesh, or trusted by name.
    pub trusted: bool,
    /// It broke the protocol, and is not dealt with again.
    pub blocked: bool,
    /// Over a relay.
    pub relayed: bool,
    /// Addresses at which it was met.
    pub addresses: Vec<String>,
    /// Round trip, smoothed, in milliseconds.
    pub rtt_ms: Option<u32>,
    /// Tasks that it has of this node's.
    pub has_of_ours: u32,
    /// Tasks that this node has of its.
    pub has_of_theirs: u32,
    /// What it did that no honest node does.
    pub offences: u32,
}

/// All peers: `GET /v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeersDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.peers/1"))]
    pub schema: String,
    /// The peers.
    pub peers: Vec<PeerView>,
}

/// How far a run reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Here only.
    #[default]
    Solo,
    /// Ready tasks are offered to idle nodes.
    Mesh,
    /// And idle nodes may ask for them.
    Swarm,
}

impl From<Mode> for Reach {
    fn from(mode: Mode) -> Reach {
        match mode {
            Mode::Solo => Reach::Solo,
            Mode::Mesh => Reach::Mesh,
            Mode::Swarm => Reach::Swarm,
        }
    }
}

/// A run of this node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// How far it reaches.
    pub reach: Reach,
    /// It goes on when the one who submitted it goes away.
    pub detached: bool,
    /// How it ended, once it has: `passed`, `failed`, `timed_out`, `interrupted`.
    pub ended: Option<String>,
    /// Since it began, until now or its end, in milliseconds.
    pub elapsed_ms: u64,
    /// Instances in all; 0 while the pipeline is not expanded.
    pub total: u32,
    /// Instances that have ended.
    pub settled: u32,
    /// Of those, failed.
    pub failed: u32,
    /// Instances that run here.
    pub here: u32,
    /// Instances that other nodes have.
    pub elsewhere: u32,
}

/// Runs that have not ended, and the last ones that have: `GET /v1/runs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunsDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.runs/1"))]
    pub schema: String,
    /// The runs, the newest first.
    pub runs: Vec<RunView>,
}

/// How far something is, as the guest says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 where that is not known.
    pub total: u64,
    /// What it is at.
    pub message: String,
}

/// A task of another node's that this one has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForeignView {
    /// Whose it is: a peer id.
    pub owner: String,
    /// What people call that node.
    pub owner_name: String,
    /// The owner's run.
    pub run: String,
    /// The instance, by its label.
    pub label: String,
    /// Counted from 1.
    pub attempt: u32,
    /// `asked`, `fetching`, `waiting`, `running` or `delivering`.
    pub state: String,
    /// Since it was accepted, in milliseconds.
    pub elapsed_ms: u64,
    /// How far it is.
    pub progress: Progress,
}

/// A question that waits for a person: may this task run here?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskInfo {
    /// Names it for `sykli node approve` and `refuse`; short, and never used again by this process.
    pub id: String,
    /// Whose task it is: a peer id.
    pub owner: String,
    /// What people call that node.
    pub owner_name: String,
    /// The owner's run.
    pub run: String,
    /// The instance, by its label.
    pub label: String,
    /// Its memory limit, in MB.
    pub memory_mb: u64,
    /// How long it may run at most, in milliseconds.
    pub timeout_ms: u64,
    /// How long it is expected to run, in milliseconds; 0 where nobody knows.
    pub estimate_ms: u64,
    /// What would be fetched for it, compressed bytes.
    pub bytes: u64,
    /// Grants that it wants.
    pub grants: Vec<String>,
    /// Labels that it asks for.
    pub labels: Vec<String>,
    /// How long the question still stands, in milliseconds.
    pub remaining_ms: u64,
}

/// The questions that wait: `GET /v1/asks`, `sykli node asks --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsksDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.asks/1"))]
    pub schema: String,
    /// The questions, the oldest first.
    pub asks: Vec<AskInfo>,
}

/// What happened since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// Connections that stood.
    pub connects: u64,
    /// Connections of others that came to nothing: refused, in excess, or given up before they were greeted.
    pub refused: u64,
    /// Offences of peers, by their kind.
    pub offences: BTreeMap<String, u64>,
    /// Foreign tasks that were accepted.
    pub accepted: u64,
    /// Foreign tasks that were declined, by the reason's code.
    pub declined: BTreeMap<String, u64>,
    /// Foreign tasks whose result was delivered.
    pub delivered: u64,
    /// Tasks of this node's that other nodes ran.
    pub ran_elsewhere: u64,
    /// Leases that ended without a result.
    pub lost: u64,
    /// Log lines that there was no room for.
    pub dropped_notices: u64,
}

/// A task of a run of this node's, live: `GET /v1/tasks/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.task-live/1"))]
    pub schema: String,
    /// The run: the newest one that has this task.
    pub run: String,
    /// The declared task.
    pub task: String,
    /// Its instances that execute or are on their way, the first [`MAX_INSTANCES`].
    pub instances: Vec<InstanceView>,
    /// Instances that are not listed.
    pub more: u32,
}

/// Instances that a [`TaskView`] lists.
pub const MAX_INSTANCES: usize = 1000;

/// An instance, live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceView {
    /// Its label.
    pub label: String,
    /// In one word: `waiting`, `offered`, `sending`, `running`, `fetching`, `passed`, `cached`, `failed`, `skipped`,
    /// `cancelled`.
    pub state: String,
    /// Counted from 1; 0 before the first.
    pub attempt: u32,
    /// Who has it, or who made its result; absent where nobody does yet.
    pub executor: Option<ExecutorView>,
    /// The executor asked for it, instead of being offered it.
    pub stolen: bool,
    /// Since this attempt began, in milliseconds.
    pub elapsed_ms: u64,
    /// How far it is.
    pub progress: Progress,
    /// What happened to it on its way, in order, the last ones.
    pub steps: Vec<StepView>,
}

/// Who runs an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorView {
    /// Its peer id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where it was met; empty for this node itself.
    pub address: String,
    /// It is this node.
    pub here: bool,
}

/// One thing that happened to an instance on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// The peer that it is about; empty where it is about none.
    pub peer: String,
    /// What, in one word: `offered`, `declined`, `accepted`, `started`, `lost`, `reclaimed`, `completed`, ….
    pub what: String,
    /// Why, for people; empty where there is no reason.
    pub why: String,
}

/// A run to be made: `POST /v1/runs`. The answer is one JSON event a line (`sykli.event/1`), as `--format ndjson` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The pipeline's file; absolute. It names the run in the journal.
    pub path: String,
    /// The project's folder, which the pipeline's paths are relative to; absolute.
    pub root: String,
    /// The pipeline's text, for one that comes from standard input; otherwise the node reads the file.
    pub text: Option<String>,
    /// How far the run reaches.
    pub reach: Reach,
    /// Go on with the last run of this pipeline that did not end.
    #[serde(default)]
    pub resume: bool,
    /// Only what matches.
    #[serde(default)]
    pub filter: Option<String>,
    /// Run everything again.
    #[serde(default)]
    pub no_cache: bool,
    /// After a failure, still run what does not depend on it.
    #[serde(default)]
    pub keep_going: bool,
    /// Bound on the whole run, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The variables that its tasks are granted, as they are set where the run was asked for.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The run goes on when this connection ends; otherwise it is interrupted then.
    #[serde(default)]
    pub detach: bool,
}

/// A line in a stream of lines for what came too fast for its reader, or was too long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Lines that are missing here.
    pub skipped: u64,
}

/// A line of a task's output: `GET /v1/logs/TASK`, one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// The instance, by its label.
    pub label: String,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The line, bytes that are not UTF-8 replaced. Not cleaned: whoever shows it does that.
    pub text: String,
}

/// `POST /v1/pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Whether foreign tasks wait from now on.
    pub on: bool,
}

/// `POST /v1/stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// At once; otherwise when what it has is finished.
    #[serde(default)]
    pub now: bool,
}

/// `POST /v1/asks/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whether the task may run here.
    pub yes: bool,
}

/// `POST /v1/peers`: what is wanted of a peer, for as long as this process lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "wish", rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerWish {
    /// Connect to an address.
    Dial {
        /// A multiaddr.
        address: String,
    },
    /// Trust it as a member is trusted.
    Trust {
        /// Its peer id.
        peer: String,
    },
    /// Refuse it.
    Block {
        /// Its peer id.
        peer: String,
    },
    /// Refuse it no longer.
    Unblock {
        /// Its peer id.
        peer: String,
    },
    /// End its connections; it may come back.
    Disconnect {
        /// Its peer id.
        peer: String,
    },
}

/// How long a peer took to answer: `POST /v1/ping/PEER`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.pong/1"))]
    pub schema: String,
    /// Its peer id.
    pub peer: String,
    /// Round trip, in microseconds.
    pub rtt_us: u64,
    /// Over a relay.
    pub relayed: bool,
}

/// Why something was not done. Any answer of status 400 and above has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.control-error/1"))]
    pub schema: String,
    /// Stable name of the kind of error.
    pub code: String,
    /// One line.
    pub message: String,
    /// Ways out.
    pub hints: Vec<String>,
}
