//! Whether a task may be offered to a node, and whether a node may take it: two pure functions that answer yes or why not.
//!
//! Both ends judge, each with its own policy, so the stricter of the two decides. A no is no error: the reasons are kept
//! and shown. Nothing here has state, asks a person or moves a byte. Called by [`crate::consent::owner`]
//! ([`may_offer`], [`worth_moving`]) and [`crate::consent::executor`] ([`may_accept`]).

mod judge;
mod moving;
mod reason;
#[cfg(test)]
mod tests;

pub use judge::{Consent, Host, Moving, OwnSide, OwnerSide, PeerSide, may_accept, may_offer};
pub use moving::{
    ASSUMED_REMAINING_MS, Sizes, artifact_check, inline_bytes, transfer_ms, worth_moving,
};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::consent::BlobRef;
use crate::id::Digest;

/// What a task asks of whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// The task digest.
    pub digest: Digest,
    /// What people call the instance.
    pub label: Arc<str>,
    /// Labels that a node must have.
    pub labels: Vec<Arc<str>>,
    /// Its memory limit in MB, rounded up.
    pub memory_mb: u64,
    /// Its fuel limit.
    pub fuel: u64,
    /// Its time limit in milliseconds.
    pub timeout_ms: u64,
    /// How long it is expected to run, in milliseconds; 0 where nobody knows.
    pub estimate_ms: u64,
    /// Its component, compressed bytes.
    pub component_bytes: u64,
    /// Its inputs, compressed bytes.
    pub input_bytes: u64,
    /// What its outputs are expected to be, compressed bytes; 0 where nobody knows.
    pub output_bytes: u64,
    /// The largest parts of the bundle, at most [`crate::consent::MAX_NAMED_BLOBS`]; they are counted above too.
    pub blobs: Vec<BlobRef>,
    /// What its component imports, e.g. `wasi:cli/environment@0.2`.
    pub imports: Vec<Arc<str>>,
    /// Grants it wants beyond its inputs, e.g. `net:example.org:443`, `clock`.
    pub grants: Vec<Arc<str>>,
    /// The engine class that results are comparable in, where only that one will do.
    pub engine: Option<Arc<str>>,
    /// The same everywhere: any attempt's result will do, and a second one does no harm.
    pub pure: bool,
    /// It uses a secret of the owner's: it never leaves.
    pub secret: bool,
    /// It may be offered to others.
    pub mesh: bool,
    /// Idle nodes may take it.
    pub steal: bool,
}

impl Requirements {
    /// The whole bundle, in compressed bytes.
    #[must_use]
    pub fn bundle_bytes(&self) -> u64 {
        self.component_bytes.saturating_add(self.input_bytes)
    }

    /// What a node lacks of the bundle, in compressed bytes; `has` is asked for each named blob and its index.
    #[must_use]
    pub fn missing_bytes(&self, has: impl Fn(u8, &BlobRef) -> bool) -> u64 {
        let named = self.blobs.iter().zip(0u8..);
        let known = named.filter(|(blob, index)| has(*index, blob));
        let known: u64 = known.fold(0, |sum, (blob, _)| sum.saturating_add(blob.bytes));
        self.bundle_bytes().saturating_sub(known)
    }
}

/// Why a task is not offered, or not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node lacks a label that the task or the owner's policy asks for.
    LabelMissing {
        /// Which.
        label: Arc<str>,
    },
    /// The node only takes tasks that ask for this label, and the task does not.
    LabelNotAsked {
        /// Which.
        label: Arc<str>,
    },
    /// Less memory than it takes, in MB.
    MemoryBelow {
        /// What it takes.
        need: u64,
        /// What there is.
        have: u64,
    },
    /// More than may flow, in compressed bytes.
    ArtifactOverCap {
        /// What would flow.
        bytes: u64,
        /// What may.
        cap: u64,
    },
    /// As many foreign tasks as the node takes.
    MaxConcurrent {
        /// How many.
        n: u32,
    },
    /// More leases than this peer has earned.
    LeaseCap {
        /// How many it may hold.
        n: u32,
    },
    /// The profile or the run does not let work flow this way.
    StealingDisabled,
    /// The node's host does not know an import.
    UnknownImport {
        /// Which.
        name: Arc<str>,
    },
    /// The node does not grant this to foreign tasks.
    GrantRefused {
        /// Which.
        grant: Arc<str>,
    },
    /// Another engine class than the task needs.
    EngineMismatch,
    /// The peer is not trusted with this.
    NotTrusted,
    /// The node takes no foreign work at all.
    ConsentNever,
    /// A person said no, or nothing in time.
    UserDeclined,
    /// Somebody is using the machine.
    UserInputActive,
    /// It runs on its battery.
    OnBattery,
    /// Its connection is paid for by the byte.
    Metered,
    /// Its user paused it.
    Paused,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// The task uses a secret.
    SecretsStay,
    /// The task says that it stays.
    StaysHere,
    /// It was moved as often as a task may be.
    MovedTooOften,
    /// This peer lost or declined it lately.
    CoolingDown,
    /// Moving it costs more than waiting for a slot here.
    NotWorthIt,
    /// No answer in time.
    NoAnswer,
    /// The disk is full.
    DiskFull,
    /// By its word it has no room for a foreign task: it is busy, or takes none at all.
    NoRoom,
}

/// How a node's user wants foreign work to be consented to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsentMode {
    /// Nothing is taken.
    #[default]
    Never,
    /// A person is asked for each offer.
    Ask,
    /// The policy decides.
    Policy,
}

impl ConsentMode {
    /// The word for it in settings and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConsentMode::Never => "never",
            ConsentMode::Ask => "ask",
            ConsentMode::Policy => "policy",
        }
    }
}

/// What a node's user allows: for what it takes, and for where its own tasks go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How foreign work is consented to.
    pub mode: ConsentMode,
    /// Foreign tasks at once.
    pub max_concurrent: u32,
    /// As executor: only tasks that ask for these labels. As owner: only nodes that have them.
    pub require_labels: BTreeSet<Arc<str>>,
    /// As executor: only while so much memory is free. As owner: only nodes where it is. In MB.
    pub min_memory_mb: u64,
    /// The most compressed bytes that may flow for one task, both directions together.
    pub max_artifact_bytes: u64,
    /// How long an offer waits for its answer, in milliseconds.
    pub consent_timeout_ms: u64,
    /// How long a person has to answer, in milliseconds.
    pub ask_timeout_ms: u64,
    /// Grants that foreign tasks may have, as they are written in offers.
    pub grants: BTreeSet<Arc<str>>,
    /// When foreign work is welcome.
    pub when: When,
}

impl Default for Policy {
    /// Takes nothing until its user says otherwise; then two tasks at once, of any size, with no grants, while nobody
    /// needs the machine's battery or its metered connection.
    fn default() -> Policy {
        Policy {
            mode: ConsentMode::Never,
            max_concurrent: 2,
            require_labels: BTreeSet::new(),
            min_memory_mb: 0,
            max_artifact_bytes: u64::MAX,
            consent_timeout_ms: 1_000,
            ask_timeout_ms: 60_000,
            grants: BTreeSet::new(),
            when: When::default(),
        }
    }
}

/// Conditions on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Nobody has touched it for so long, in milliseconds; 0 for no matter.
    pub idle_for_ms: u64,
    /// Also on battery.
    pub on_battery: bool,
    /// Also on a metered connection.
    pub metered: bool,
}

/// What the machine says of itself; `None` where it cannot tell, which counts as no obstacle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// How long nobody has touched it, in milliseconds.
    pub untouched_ms: Option<u64>,
    /// It runs on its battery.
    pub on_battery: Option<bool>,
    /// Its connection is paid for by the byte.
    pub metered: Option<bool>,
    /// Memory that tasks could have now, in MB.
    pub free_memory_mb: Option<u64>,
    /// Its user paused it.
    pub paused: bool,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
}
