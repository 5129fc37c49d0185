//! One node of the mesh, as data in and data out: routes each event to the part that decides about it.
//!
//! # Parts
//!
//! ```text
//!   Event ──▶ Machine ──┬─▶ consent::owner     own runs: what runs here, what is offered, whose result counts
//!                       ├─▶ consent::executor  foreign tasks: what is taken, run, delivered; when to ask for work
//!                       └─▶ roster             who is there, what they can, how they kept their promises
//!   Action ◀── Desk ◀─────┘
//! ```
//!
//! **Architecture invariant:** no rule stands here. The same events at the same ticks, from the same seed, give the same
//! actions. Every table is bounded: runs, leases, foreign tasks, peers, histories.
//!
//! Called by the node's loop and by the simulator: hand over what happened, perform what comes back, in order; call with
//! [`Event::Timeout`] when [`Machine::next_timeout`] has come. An earlier call does nothing.

#[cfg(any(test, feature = "sim"))]
mod anything;
mod beacon;
mod event;
mod fault;

use std::collections::BTreeSet;
use std::sync::Arc;

#[cfg(any(test, feature = "sim"))]
pub use anything::{check_events, check_restored};
pub use event::{Action, Event, Mode, Step, StepKind, Submission, Token};
#[cfg(any(test, feature = "sim"))]
pub use fault::Fault;
pub(crate) use fault::{Faults, faulty};

use crate::consent::executor::Executor;
use crate::consent::owner::Owner;
use crate::consent::{Capabilities, Forget, Message, Offence, Record, ToExecutor, ToOwner};
use crate::id::{Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::policy::{HostState, Policy};
use crate::profile::{ArtifactLimit, Link, Profile};
use crate::receipt::SignedClaim;
use crate::rng::Rng;
use crate::roster::Roster;
use crate::run::{self, RunStatus};
use crate::snapshot::Snapshot;
use crate::time::Tick;
use beacon::Herald;

/// What a node is, by its user's configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name in the mesh.
    pub id: NodeId,
    /// The mesh that it belongs to, which receipts of its own tasks are bound to.
    pub mesh: Option<NodeId>,
    /// Checks a signature: whose, in which domain, over which bytes, which.
    pub verify: fn(NodeId, &[u8], &[u8], &[u8]) -> bool,
    /// What it says of itself.
    pub capabilities: Capabilities,
    /// What its connection allows.
    pub profile: Profile,
    /// What its user allows.
    pub policy: Policy,
    /// Guests at once, own and foreign together; 0 is taken for 1.
    pub slots: u32,
    /// Imports that its host knows; empty where that is not known.
    pub imports: BTreeSet<Arc<str>>,
    /// For its choices; differs from node to node.
    pub seed: u64,
    /// How long a task that fits no node waits for one, in milliseconds.
    pub patience_ms: u64,
}

/// One node; see the module.
#[derive(Debug)]
pub struct Machine {
    setup: Setup,
    host: HostState,
    roster: Roster,
    rng: Rng,
    next_token: u64,
    faults: Faults,
    owner: Owner,
    executor: Executor,
    herald: Herald,
}

/// What every part works with while it handles an event.
pub(crate) struct Desk<'a> {
    pub(crate) now: Tick,
    pub(crate) setup: &'a Setup,
    pub(crate) host: &'a HostState,
    pub(crate) roster: &'a mut Roster,
    pub(crate) rng: &'a mut Rng,
    pub(crate) faults: Faults,
    next_token: &'a mut u64,
    actions: &'a mut Vec<Action>,
}

impl Desk<'_> {
    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// To a peer, where it is connected and not expelled.
    pub(crate) fn send(&mut self, peer: NodeId, message: Message) {
        if self.connected(peer) && !self.roster.is_expelled(peer) {
            self.actions.push(Action::Send { peer, message });
        }
    }

    pub(crate) fn tell_owner(&mut self, peer: NodeId, message: ToOwner) {
        self.send(peer, Message::ToOwner(message));
    }

    pub(crate) fn tell_executor(&mut self, peer: NodeId, message: ToExecutor) {
        self.send(peer, Message::ToExecutor(message));
    }

    pub(crate) fn connected(&self, peer: NodeId) -> bool {
        self.roster.get(peer).is_some_and(|entry| entry.connected)
    }

    /// The link to a peer, as far as it was measured.
    pub(crate) fn link(&self, peer: NodeId) -> Link {
        let entry = self.roster.get(peer);
        entry.map(|entry| entry.link).unwrap_or_default()
    }

    /// The most compressed bytes that may flow for one task with a peer, both directions together.
    pub(crate) fn cap(&self, peer: NodeId) -> u64 {
        let capabilities = self
            .roster
            .get(peer)
            .and_then(|entry| entry.capabilities.as_ref());
        let theirs = capabilities.map_or(u64::MAX, |theirs| theirs.artifacts.most_bytes());
        self.setup
            .policy
            .max_artifact_bytes
            .min(self.setup.profile.artifacts.most_bytes())
            .min(theirs)
    }

    /// The most bytes that go in messages for one lease, one way.
    pub(crate) fn inline(&self, peer: NodeId) -> u64 {
        let entry = self.roster.get(peer);
        let theirs = entry.and_then(|entry| entry.capabilities.as_ref());
        let theirs = theirs.map_or(ArtifactLimit::Unlimited, |theirs| theirs.artifacts);
        crate::policy::inline_bytes([self.setup.profile.artifacts, theirs]).min(self.cap(peer))
    }

    pub(crate) fn persist(&mut self, record: Record) -> Token {
        let token = Token(*self.next_token);
        *self.next_token += 1;
        self.actions.push(Action::Persist { token, record });
        token
    }

    pub(crate) fn forget(&mut self, what: Forget) {
        self.actions.push(Action::Forget(what));
    }

    pub(crate) fn run(&mut self, run: &RunId, action: run::Action) {
        self.actions.push(Action::Run {
            run: run.clone(),
            action,
        });
    }
}

impl Machine {
    /// A node that has nothing to do yet.
    #[must_use]
    pub fn new(setup: Setup) -> Machine {
        Machine::restore(setup, Vec::new(), BTreeSet::new())
    }

    /// A node that was here before: with the results that their owners had not acknowledged, and its own runs that were
    /// begun and are not over. Those may be resumed, so what peers say of them is left open until then; what they say of
    /// any other that is not known is answered as if it were over.
    #[must_use]
    pub fn restore(
        setup: Setup,
        outbox: Vec<(NodeId, LeaseKey, Box<SignedClaim>)>,
        unfinished: BTreeSet<RunId>,
    ) -> Machine {
        Machine {
            host: HostState::default(),
            roster: Roster::new(),
            rng: Rng::new(setup.seed),
            next_token: 0,
            faults: Faults::default(),
            owner: Owner::new(unfinished),
            executor: Executor::new(outbox),
            herald: Herald::default(),
            setup,
        }
    }

    /// Takes in what happened and says what to do about it.
    #[must_use = "an action that is not performed leaves tasks waiting"]
    pub fn handle(&mut self, now: Tick, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.handle_into(now, event, &mut actions);
        actions
    }

    /// As [`Machine::handle`], appending to a buffer of the caller's.
    pub fn handle_into(&mut self, now: Tick, event: Event, actions: &mut Vec<Action>) {
        if let Event::Host(host) = &event {
            self.host = *host;
        }
        let mut desk = Desk {
            now,
            setup: &self.setup,
            host: &self.host,
            roster: &mut self.roster,
            rng: &mut self.rng,
            faults: self.faults,
            next_token: &mut self.next_token,
            actions,
        };
        let newcomer = match &event {
            Event::Connected { peer, .. } => Some(*peer),
            _ => None,
        };
        let (owner, executor) = (&mut self.owner, &mut self.executor);
        let offence = route(owner, executor, &mut desk, event);
        if let Some((peer, offence)) = offence {
            expel(owner, executor, &mut desk, peer, offence);
        }
        owner.advance(&mut desk, executor.running());
        executor.advance(&mut desk, owner.running_here() + owner.ready_here());
        self.herald.advance(&mut desk, owner, executor);
        if let Some(peer) = newcomer {
            self.herald.greet(&mut desk, peer);
        }
    }

    /// When [`Event::Timeout`] is wanted.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Tick> {
        let parts = [
            self.owner.next_timeout(),
            self.executor.next_timeout(),
            self.herald.next_timeout(),
        ];
        parts.into_iter().flatten().min()
    }

    /// How a run ended, once it has.
    #[must_use]
    pub fn finished(&self, run: &RunId) -> Option<RunStatus> {
        self.owner.finished(run)
    }

    /// What happened to a task on its way to other nodes, the oldest first; nothing where it never left.
    #[must_use]
    pub fn steps(&self, run: &RunId, task: TaskId) -> &[Step] {
        self.owner.steps(run, task)
    }

    /// A run as it is at `now`.
    #[must_use]
    pub fn snapshot(&self, run: &RunId, now: Tick) -> Option<Snapshot> {
        self.owner.snapshot(run, now)
    }

    /// Foreign tasks that this node has taken and not ended.
    #[must_use]
    pub fn foreign(&self) -> u32 {
        self.executor.running()
    }

    /// Who is there.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Blobs that are in this node's store, so that it does not ask for them. The latest are kept in mind.
    pub fn holds(&mut self, blobs: impl IntoIterator<Item = Digest>) {
        self.executor.holds(blobs);
    }

    /// Puts a fault in, or takes it out.
    #[cfg(any(test, feature = "sim"))]
    pub fn fault(&mut self, fault: Option<Fault>) {
        self.faults.fault = fault;
        if fault == Some(Fault::OutboxNotRead) {
            self.executor = Executor::new(Vec::new());
        }
    }

    /// Checks that all tables agree with each other and are within their bounds.
    ///
    /// # Panics
    /// Where they do not.
    #[cfg(any(test, feature = "sim"))]
    pub fn sanity_check(&self) {
        assert_eq!(self.roster.sanity_check(), Ok(()));
        self.owner.sanity_check();
        self.executor.sanity_check();
    }
}

/// Each event to its part. An offence is the peer's.
fn route(
    owner: &mut Owner,
    executor: &mut Executor,
    desk: &mut Desk<'_>,
    event: Event,
) -> Option<(NodeId, Offence)> {
    match event {
        Event::Connected {
            peer,
            capabilities,
            link,
            trusted,
        } => {
            // Where the roster is full nobody is dealt with who is not in it.
            if !desk
                .roster
                .connected(desk.now, peer, *capabilities, link, trusted)
            {
                return None;
            }
            owner.connected(desk, peer);
            executor.connected(desk, peer);
        }
        Event::Disconnected { peer } => {
            desk.roster.disconnected(desk.now, peer);
            owner.disconnected(desk, peer);
            executor.disconnected(desk, peer);
        }
        Event::Measured { peer, link } => desk.roster.link(peer, link),
        Event::Received { peer, message } => {
            if !desk.connected(peer) || desk.roster.is_expelled(peer) {
                return None;
            }
            desk.roster.heard(desk.now, peer);
            let offence = received(owner, executor, desk, peer, message);
            return offence.map(|offence| (peer, offence));
        }
        Event::Gossip(beacon) => {
            if beacon.node != desk.setup.id {
                desk.roster.beacon(desk.now, beacon);
            }
        }
        Event::Offended { peer, offence } => return Some((peer, offence)),
        Event::Persisted(token) => {
            let _ = owner.persisted(desk, token) || executor.persisted(desk, token);
        }
        Event::PersistFailed(token) => {
            let _ = owner.persist_failed(desk, token) || executor.persist_failed(desk, token);
        }
        Event::Host(_) => {}
        Event::Timeout => {
            owner.timeout(desk);
            executor.timeout(desk);
        }
        event => match owner.own(desk, event) {
            Ok(()) => {}
            Err(event) => executor.foreign(desk, event),
        },
    }
    None
}

fn received(
    owner: &mut Owner,
    executor: &mut Executor,
    desk: &mut Desk<'_>,
    peer: NodeId,
    message: Message,
) -> Option<Offence> {
    match message {
        Message::ToOwner(message) => return owner.received(desk, peer, message),
        Message::ToExecutor(message) => return executor.received(desk, peer, message),
        Message::Beacon(beacon) => {
            if beacon.node != desk.setup.id && desk.roster.beacon(desk.now, beacon) {
                owner.look_again();
            }
        }
        // Whom to dial is not decided here.
        Message::Acquaint(_) => {}
        Message::Capabilities(capabilities) => {
            desk.roster.capabilities(peer, *capabilities);
            owner.look_again();
        }
    }
    None
}

fn expel(
    owner: &mut Owner,
    executor: &mut Executor,
    desk: &mut Desk<'_>,
    peer: NodeId,
    offence: Offence,
) {
    if !faulty!(desk.faults, TalksToExpelled) {
        desk.roster.disconnected(desk.now, peer);
        desk.roster.expel(peer);
    }
    desk.act(Action::Expel { peer, offence });
    owner.expelled(desk, peer);
    executor.expelled(desk, peer);
}

#[cfg(test)]
mod tests;
