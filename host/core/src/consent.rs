//! The consent protocol: how a task gets from the node that owns it to one that runs it, and its result back.
//!
//! # Participants
//!
//! The **owner** started the run and alone holds its ledger. An **executor** runs one attempt of one task under a
//! **lease**, and hands it on to nobody. Any node can be both at once, for different tasks.
//!
//! # Goals
//!
//! - No byte of a task moves before both ends agreed, for reasons that each keeps ([`crate::policy`]).
//! - At least one execution, exactly one accepted result; nothing lost when either end dies at any step.
//! - Every wait is bounded: an end that falls silent, stalls or lies costs the other a lease, never the run.
//!
//! # Not goals
//!
//! Exactly one execution; agreement between owners; telling whether a result is right (that is verification).
//!
//! # One task's way
//!
//! ```text
//!   owner                                      executor
//!     │ ◀── Idle{capabilities} ────────────────── │    swarm only; dispatch begins with the offer
//!     │ ─── Offer{…} ───────────────────────────▶ │    its number is reserved in the owner's journal before
//!     │ ◀── Accept{have}, or Decline, or Pending ─ │   Pending: a person is asked; Accept or Decline follows
//!     │ ─── Bundle{what it lacks} ──────────────▶ │    the owner's journal has the offer before
//!     │      fetches what that did not hold        │    bulk: not in these messages
//!     │ ◀── Started ───────────────────────────── │
//!     │ ◀── Progress{…} ───────────────────────── │    each renews the lease, up to its hard end
//!     │ ◀── Completed{receipt, output} ────────── │    the executor's outbox has it before
//!     │      fetches outputs it did not hold, commits
//!     │ ─── Acked ──────────────────────────────▶ │    the owner's journal has it before; now it may be forgotten
//! ```
//!
//! # What goes in messages, and when it may
//!
//! `Bundle` follows each Accept, and says that the lease is durable at its owner: before it nothing is fetched and no guest
//! begins. Small bundles and small outputs are in these messages, in as many [`Piece`]s as it takes; what is not in them goes
//! by bulk streams. An offer itself is said while its record is still being written, where a record from before says that
//! its number may have been used ([`Record::Reserved`]): an owner that died between the two never uses that number for
//! another lease.
//!
//! Off that way: `Withdraw` (owner: the offer no longer stands; answers a late Accept too), `Cancel` (owner: stop), `Lost`
//! (executor: there will be no result of this attempt, and why), `Settled` (owner: somebody else's result, or an earlier
//! copy of this one, was accepted; forget it).
//!
//! # After a connection was lost
//!
//! Whatever was under way is said again, and means the same when heard twice. The owner sends `Resume` with the leases
//! that it believes the peer holds. The executor answers for each what is the case: `Accept` while it still lacks parts
//! of the bundle, `Started`, `Completed` from its outbox, or `Lost`. What is in its outbox it delivers unasked.
//!
//! # What is believed
//!
//! Each message names its [`LeaseKey`]; a key that is not current is answered (`Cancel` or `Settled`) and changes
//! nothing. A pure task takes the first valid completion of any of its attempts, any other only its current one's. What
//! no honest node could have said ([`Offence`]) costs the peer its connection and its place in the roster.
//!
//! Types only. [`owner`] and [`executor`] are the two state machines, [`crate::machine`] routes to them, and
//! [`crate::wire`] is how the messages look in transit.

pub mod executor;
mod meter;
pub mod owner;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::policy::{Reason, Requirements};
use crate::profile::{ArtifactLimit, ProfileKind, Stealing};
use crate::receipt::SignedClaim;

/// Most leases that one [`ToExecutor::Resume`] names; more take several.
pub const MAX_RESUMED: usize = 256;
/// Most blobs of an offer that are named one by one, the largest first; the rest is one sum.
pub const MAX_NAMED_BLOBS: usize = 64;

/// Most bytes that one [`ToOwner::Output`] holds.
pub const MAX_OUTPUT_BYTES: usize = 8 << 10;
/// Most bytes that one [`Piece`] holds.
pub const MAX_PIECE_BYTES: usize = 48 << 10;
/// Most bytes that go in messages for one lease, one way: a component and inputs that fit inline.
pub const MAX_INLINE_BYTES: u64 = 2 * crate::profile::INLINE_BYTES;
/// Most addresses that one [`Message::Acquaint`] holds.
pub const MAX_ACQUAINTANCES: usize = 64;

/// What a node says of itself when a connection begins, and again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What people call it.
    pub name: Arc<str>,
    /// Its profile, for people; the fields that matter follow.
    pub profile: ProfileKind,
    /// Its heartbeat in milliseconds: when it is silent for long.
    pub tick_ms: u64,
    /// Which way work may flow.
    pub stealing: Stealing,
    /// What may flow with it.
    pub artifacts: ArtifactLimit,
    /// Whether it can be dialled: a hidden node's absence alarms nobody.
    pub hidden: bool,
    /// Labels, its own ones (os, arch, cores) included.
    pub labels: BTreeSet<Arc<str>>,
    /// Memory for tasks, in MB.
    pub memory_mb: u64,
    /// Its engine class: sykli and wasmtime version, settings, architecture.
    pub engine: Arc<str>,
}

/// A node's state as it tells it to others: small, signed by the mesh, said on its tick and on change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Whom it is about.
    pub node: NodeId,
    /// Rises with each beacon of that node: an older one heard later is passed over.
    pub sequence: u64,
    /// Foreign tasks that it would take now.
    pub free: u32,
    /// Tasks of its own that wait for a slot and may be stolen.
    pub queued: u32,
    /// Its own slots: how fast its queue shrinks by itself.
    pub slots: u32,
    /// It takes nothing new: paused, draining, or somebody uses the machine.
    pub paused: bool,
}

/// A part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// Its name.
    pub digest: Digest,
    /// Its compressed size in bytes.
    pub bytes: u64,
}

/// Some of what goes in messages for a lease: blobs in the frames of a transfer ([`crate::blob`]), one after the other, cut
/// wherever a message is full. Nothing (`of` is 0) where all of it goes by bulk streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub at: u64,
    /// How many bytes there are in all.
    pub of: u64,
    /// At most [`MAX_PIECE_BYTES`].
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Whether an honest node may send it where `cap` bytes may flow: it says no more than may be, and holds no more than it
    /// says.
    #[must_use]
    pub fn is_sound(&self, cap: u64) -> bool {
        let end = self.at.saturating_add(self.bytes.len() as u64);
        self.of <= MAX_INLINE_BYTES.min(cap) && end <= self.of
    }
}

/// A task on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The lease that is offered.
    pub key: LeaseKey,
    /// Bound into the receipt, so that one of another lease cannot pass for this one's.
    pub nonce: u64,
    /// What it asks for.
    pub needs: Arc<Requirements>,
    /// The owner's condition on a node's free memory, in MB.
    pub min_memory_mb: u64,
    /// How long the lease runs without a word, in milliseconds.
    pub lease_ms: u64,
    /// The mesh that the receipt is to be bound to: the owner's, where it belongs to one.
    pub mesh: Option<NodeId>,
}

/// What an executor's run of a task came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteOutcome {
    /// It ended well.
    Passed,
    /// The guest failed; the same everywhere.
    Failed {
        /// Stable and public, such as `task::exit`.
        code: Arc<str>,
        /// For people.
        message: Arc<str>,
    },
}

/// What an executor says came out of a lease. [`crate::receipt`] is how it signs for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who says so.
    pub executor: NodeId,
    /// The task digest.
    pub task_digest: Digest,
    /// The offer's nonce.
    pub nonce: u64,
    /// What it came to.
    pub outcome: RemoteOutcome,
    /// The digest of the output tree.
    pub output: Digest,
    /// The outputs' compressed size in bytes, with what it wrote on its streams.
    pub output_bytes: u64,
    /// The digest of what is kept of its standard output.
    pub stdout: Digest,
    /// The digest of what is kept of its standard error.
    pub stderr: Digest,
    /// Fuel used.
    pub fuel: u64,
    /// How long it ran, in milliseconds.
    pub wall_ms: u64,
}

/// Why an executor has no result for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostWhy {
    /// It knows nothing of it: it was restarted, or never had it.
    Unknown,
    /// The sandbox died under it: this counts against the task.
    HostFault,
    /// It ran into its time limit.
    TimedOut,
    /// No space left.
    DiskFull,
    /// The bundle did not arrive, or was more than agreed.
    Bundle,
    /// Its user stopped it.
    Drained,
}

/// From an executor to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToOwner {
    /// It has room, and asks for work.
    Idle {
        /// How many tasks it would take.
        free: u32,
    },
    /// It takes the lease.
    Accept {
        /// Which.
        key: LeaseKey,
        /// Which of the offer's named blobs it has already, by index.
        have: Vec<u8>,
    },
    /// It does not.
    Decline {
        /// Which.
        key: LeaseKey,
        /// Why not.
        reason: Reason,
    },
    /// A person is being asked.
    Pending {
        /// Which.
        key: LeaseKey,
        /// How long that may take, in milliseconds.
        ask_ms: u64,
    },
    /// The guest runs.
    Started {
        /// Which.
        key: LeaseKey,
    },
    /// How far the guest is.
    Progress {
        /// Which.
        key: LeaseKey,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
        /// What it is at.
        message: Arc<str>,
    },
    /// What the guest has written since, for people who watch: as much as the link bears, no more than is said here. All of
    /// it comes with the result.
    Output {
        /// Which.
        key: LeaseKey,
        /// On standard error; otherwise on standard output.
        stderr: bool,
        /// At most [`MAX_OUTPUT_BYTES`].
        bytes: Vec<u8>,
    },
    /// There is a result.
    Completed {
        /// Which.
        key: LeaseKey,
        /// What it is.
        claim: Box<SignedClaim>,
        /// Its outputs, or the first of them. The machine leaves it empty: its node puts them in.
        outputs: Piece,
    },
    /// More of the outputs of the result before.
    Outputs {
        /// Which.
        key: LeaseKey,
        /// What.
        piece: Piece,
    },
    /// There will be none.
    Lost {
        /// Which.
        key: LeaseKey,
        /// Why.
        why: LostWhy,
    },
}

/// From an owner to an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToExecutor {
    /// Will you take this?
    Offer(Box<Offer>),
    /// There is nothing to take; not before so many milliseconds.
    NoWork {
        /// When to ask again at the earliest.
        retry_ms: u64,
    },
    /// The lease is durable, and here is what you lack of its bundle, or the first of it; or fetch it.
    Bundle {
        /// Which.
        key: LeaseKey,
        /// What.
        piece: Piece,
    },
    /// The offer no longer stands.
    Withdraw {
        /// Which.
        key: LeaseKey,
    },
    /// Stop; the result is not wanted.
    Cancel {
        /// Which.
        key: LeaseKey,
    },
    /// The result is accepted and durable.
    Acked {
        /// Which.
        key: LeaseKey,
    },
    /// The result is not needed: the task is settled, or this attempt is not its current one.
    Settled {
        /// Which.
        key: LeaseKey,
    },
    /// The leases that you hold, as far as I know.
    Resume {
        /// At most [`MAX_RESUMED`].
        keys: Vec<LeaseKey>,
    },
}

/// Everything that goes over a pair's consent stream, and the status beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the owner of a task.
    ToOwner(ToOwner),
    /// To its executor.
    ToExecutor(ToExecutor),
    /// A node's state.
    Beacon(Beacon),
    /// A node's capabilities have changed.
    Capabilities(Box<Capabilities>),
    /// Where other nodes of the mesh may be found, as the transport writes it: at most [`MAX_ACQUAINTANCES`]. Hints, and
    /// the transport's alone: whoever answers there has to prove who it is.
    Acquaint(Vec<Arc<str>>),
}

impl ToOwner {
    /// The lease that it is about.
    #[must_use]
    pub fn key(&self) -> Option<&LeaseKey> {
        match self {
            ToOwner::Idle { .. } => None,
            ToOwner::Accept { key, .. }
            | ToOwner::Decline { key, .. }
            | ToOwner::Pending { key, .. }
            | ToOwner::Started { key }
            | ToOwner::Progress { key, .. }
            | ToOwner::Output { key, .. }
            | ToOwner::Completed { key, .. }
            | ToOwner::Outputs { key, .. }
            | ToOwner::Lost { key, .. } => Some(key),
        }
    }
}

/// What no honest node does: it costs the peer its connection, and it is not dealt with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Bytes that are no message.
    Malformed,
    /// A claim that names another node, task or nonce than the lease.
    ForeignClaim,
    /// A claim that its executor did not sign, for this mesh and this lease.
    Forged,
    /// Two claims for one lease that differ.
    Equivocation,
    /// A key that the owner never granted to it.
    NeverGranted,
    /// More messages than its share, again and again.
    Flood,
    /// More bytes than were agreed.
    Oversize,
}

/// What the owner's journal knows of a task's attempts when a run is resumed. Attempts that were offered are spent, however
/// they ended: a number that was said once never means another lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The instance.
    pub task: TaskId,
    /// Its highest attempt that was offered.
    pub attempt: Attempt,
    /// To whom and with which nonce, where that lease was under way.
    pub open: Option<(NodeId, u64)>,
}

/// What must be durable before what depends on it is said. The node writes it and answers with its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Owner: attempts of a run below this may have been offered, whatever other records say. Restored as
    /// [`crate::machine::Submission::fence`].
    Reserved {
        /// The run.
        run: RunId,
        /// The first number that has not been.
        below: Attempt,
    },
    /// Owner: an attempt is offered. Restored as [`Spent`].
    Offered {
        /// The lease.
        key: LeaseKey,
        /// To whom.
        peer: NodeId,
        /// Its nonce.
        nonce: u64,
    },
    /// Owner: a result is accepted. From here on it is the task's only one.
    Committed {
        /// The lease that gave it.
        key: LeaseKey,
        /// The claim.
        claim: Box<SignedClaim>,
    },
    /// Executor: a result that waits until its owner has it. Restored as an outbox entry.
    Finished {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// What is claimed.
        claim: Box<SignedClaim>,
    },
}

/// A record that may go; nothing waits for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// The lease ended without a result. Its attempt stays spent until the run is over.
    Offered {
        /// Which.
        key: LeaseKey,
    },
    /// The owner has it, or does not want it.
    Finished {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// A run is over: nothing of its leases matters any more.
    Run {
        /// Which.
        run: RunId,
    },
}
