//! What a node's machine is told, and what it wants done: the words of [`super::Machine`].
//!
//! Types only, no rules. The node turns what happens into an [`Event`], hands it over, performs every [`Action`] in
//! order, and nothing else.

use std::sync::Arc;

use crate::consent::{
    Beacon, Capabilities, Forget, LostWhy, Message, Offence, Offer, Piece, Record, Spent,
};
use crate::expand::Plan;
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::policy::{HostState, Reason, Requirements};
use crate::profile::Link;
use crate::receipt::{Contradiction, SignedClaim};
use crate::run::{self, Failure, RunOptions, Verdict};

/// How far a run reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Here only.
    #[default]
    Solo,
    /// Ready tasks are offered to idle nodes.
    Mesh,
    /// And idle nodes may ask for them.
    Swarm,
}

/// A run, as it is handed to the machine.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its name.
    pub run: RunId,
    /// What is to be run.
    pub plan: Arc<Plan>,
    /// How; its slots are not looked at: all runs share the node's.
    pub options: RunOptions,
    /// How far it reaches.
    pub mode: Mode,
    /// Where it is resumed: attempts that were offered before.
    pub spent: Vec<Spent>,
    /// No attempt below this is offered: what [`crate::consent::Record::Reserved`] said last, or the first one.
    pub fence: Attempt,
}

/// Names a record that is being made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What the caller tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run begins.
    Submit(Box<Submission>),
    /// The answer to [`run::Action::Prepare`].
    Prepared {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// Whether its result is known and at hand.
        hit: bool,
        /// What it asks for, its digest included.
        needs: Arc<Requirements>,
    },
    /// The other answer: it cannot run.
    PrepareFailed {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// Why.
        reason: Failure,
    },
    /// The answer to [`run::Action::Execute`]: an attempt on this machine.
    Finished {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// What it came to.
        verdict: Verdict,
        /// How long it ran, in microseconds.
        ran_us: u64,
    },
    /// How far an attempt on this machine is.
    Progress {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
        /// What it is at.
        message: Arc<str>,
    },
    /// The user wants a run to end.
    Interrupt {
        /// Which.
        run: RunId,
    },
    /// A peer's connection stands, and its hello was in order.
    Connected {
        /// Who.
        peer: NodeId,
        /// What it says of itself.
        capabilities: Box<Capabilities>,
        /// The link's estimates.
        link: Link,
        /// A member whom this node trusts; a stranger otherwise.
        trusted: bool,
    },
    /// It is gone.
    Disconnected {
        /// Who.
        peer: NodeId,
    },
    /// The link to a peer was measured again.
    Measured {
        /// Who.
        peer: NodeId,
        /// The estimates.
        link: Link,
    },
    /// A message of a connected peer.
    Received {
        /// Who.
        peer: NodeId,
        /// What.
        message: Message,
    },
    /// A beacon about a node, from whomever it was heard.
    Gossip(Beacon),
    /// A peer did what no honest one does, below the protocol.
    Offended {
        /// Who.
        peer: NodeId,
        /// What.
        offence: Offence,
    },
    /// A record is durable.
    Persisted(Token),
    /// It could not be made so.
    PersistFailed(Token),
    /// Executor: the bundle of a lease has arrived whole and verified.
    BundleArrived {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// Executor: it will not. A lost connection alone is no failure: the transfer goes on after the next one.
    BundleFailed {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// Why.
        why: LostWhy,
    },
    /// Executor: a foreign guest has begun.
    ForeignStarted {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// Executor: how far a foreign guest is.
    ForeignProgress {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
        /// What it is at.
        message: Arc<str>,
    },
    /// Executor: what a foreign guest has written, for whoever watches it at its owner's.
    ForeignOutput {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// On standard error; otherwise on standard output.
        stderr: bool,
        /// At most [`crate::consent::MAX_OUTPUT_BYTES`].
        bytes: Vec<u8>,
    },
    /// Executor: a foreign guest has ended; with a claim where there is a result.
    ForeignEnded {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// What it came to.
        outcome: Result<Box<SignedClaim>, LostWhy>,
    },
    /// Executor: the person who was asked has answered.
    Decided {
        /// Whose offer.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
        /// Yes.
        yes: bool,
    },
    /// Owner: a result's outputs are here, verified and stored.
    Fetched {
        /// From whom.
        peer: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// Owner: they will not be: wrong, too many bytes, or gone at the peer's.
    FetchFailed {
        /// From whom.
        peer: NodeId,
        /// Which.
        key: LeaseKey,
        /// Why.
        why: LostWhy,
    },
    /// The machine's state has changed.
    Host(HostState),
    /// [`super::Machine::next_timeout`] has come, or may have.
    Timeout,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// As a solo run wants it; `Execute` and `Cancel` are about this machine only.
    Run {
        /// The run.
        run: RunId,
        /// What.
        action: run::Action,
    },
    /// To a connected peer, after what was sent to it before.
    Send {
        /// To whom.
        peer: NodeId,
        /// What.
        message: Message,
    },
    /// To everybody, by gossip.
    Publish(Beacon),
    /// For people: something happened to a task on its way. It is kept too, see [`super::Machine::steps`].
    Told {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// What happened.
        step: Step,
    },
    /// For people: what a guest elsewhere has written.
    Heard {
        /// The run.
        run: RunId,
        /// The instance.
        task: TaskId,
        /// On standard error; otherwise on standard output.
        stderr: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// Make this durable, then say [`Event::Persisted`]. Before that nothing that depends on it is said or done.
    Persist {
        /// For the answer.
        token: Token,
        /// What.
        record: Record,
    },
    /// This record may go.
    Forget(Forget),
    /// Connect to a peer, if it can be; no answer is waited for.
    Dial {
        /// To whom.
        peer: NodeId,
    },
    /// End the connection, and take no other from this peer.
    Expel {
        /// Whom.
        peer: NodeId,
        /// For what.
        offence: Offence,
    },
    /// Owner: keep a proof of what a peer did; it is expelled for that, too.
    KeepProof(Box<Contradiction>),
    /// Owner: send the bundle of an accepted lease, less what the peer has; go on where it stopped.
    SendBundle {
        /// To whom.
        peer: NodeId,
        /// Which.
        key: LeaseKey,
        /// Named blobs of the offer that the peer has, by index.
        have: Vec<u8>,
        /// The most compressed bytes that may flow.
        cap: u64,
        /// The most that go in messages; 0 where it is known to be more.
        inline: u64,
    },
    /// Executor: take a piece of the bundle of a lease; with the last of them all that it lacks, by streams what is not in
    /// them. A first piece begins it anew. Answer: `BundleArrived` or `BundleFailed`.
    TakeBundle {
        /// From whom.
        owner: NodeId,
        /// Which, and what it asks for.
        offer: Arc<Offer>,
        /// What came in a message.
        piece: Piece,
        /// The most compressed bytes that may flow.
        cap: u64,
    },
    /// Executor: run it. Answers: `ForeignStarted`, then `ForeignEnded`.
    StartForeign {
        /// Whose.
        owner: NodeId,
        /// What.
        offer: Arc<Offer>,
        /// The most bytes of outputs that go with the word that it is done.
        inline: u64,
    },
    /// Executor: give up on a lease, whatever is under way for it: transfer, guest, outputs that wait.
    DropForeign {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// Executor: ask the person. Answer: `Decided`.
    Ask {
        /// Whose.
        owner: NodeId,
        /// What.
        offer: Arc<Offer>,
    },
    /// Executor: the question no longer stands.
    Unask {
        /// Whose.
        owner: NodeId,
        /// Which.
        key: LeaseKey,
    },
    /// Owner: bring a result's outputs here, by streams what is not in its pieces. A first piece begins it anew. Answer:
    /// `Fetched` or `FetchFailed`.
    FetchOutputs {
        /// From whom.
        peer: NodeId,
        /// Which.
        key: LeaseKey,
        /// What it claims.
        claim: Box<SignedClaim>,
        /// What came in a message.
        piece: Piece,
        /// The most compressed bytes that may flow.
        cap: u64,
    },
    /// Owner: a transfer is not wanted any more, either way.
    StopTransfer {
        /// With whom.
        peer: NodeId,
        /// Which.
        key: LeaseKey,
    },
}

/// Something that happened to a task on its way, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: crate::time::Tick,
    /// Which attempt; none where it is about the task.
    pub attempt: Attempt,
    /// With whom.
    pub peer: NodeId,
    /// What.
    pub what: StepKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It was not offered.
    NotOffered(Reason),
    /// It was offered.
    Offered {
        /// The peer had asked for work: it is stolen, not dispatched.
        asked: bool,
    },
    /// The peer said no.
    Declined(Reason),
    /// The peer asks a person.
    Pending,
    /// The peer took it.
    Accepted,
    /// The peer runs it.
    Started,
    /// The peer will not deliver, after so many milliseconds.
    Lost {
        /// Why: what it said, or nothing where it was not heard of.
        why: Option<LostWhy>,
        /// Since the offer.
        after_ms: u64,
    },
    /// A second attempt was begun beside it.
    Doubled,
    /// Its result was accepted.
    Ran {
        /// The output's digest.
        output: Digest,
    },
}
