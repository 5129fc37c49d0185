//! What must never happen, whatever the mesh suffers: books that are kept beside the machines, and objections.
//!
//! The world tells what each machine is told ([`Check::told`]), wants ([`Check::wants`]) and has been told in full
//! ([`Check::handled`]), what became durable, and which bytes flow. The first thing that must not be is kept as a
//! [`Violation`]. Nothing is taken from the machines' own state, and rules are stated again rather than called.
//!
//! Parts: `records` (durable before said, one result each), `leases` (the conversation of owner and executor), `guests`
//! (what executors run), `refusal` (what may not flow).

mod guests;
mod leases;
mod records;
mod refusal;

use std::fmt;
use std::rc::Rc;

use super::cast::Cast;
use crate::consent::{Claim, Message, Record};
use crate::id::{LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Event};
use crate::run::{self, SettledKind};
use crate::sim::sign;

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A task of a run is settled once.
    SettledOnce,
    /// A task of a run has one accepted result.
    CommittedOnce,
    /// A task is settled by a result that is durable, or that ran here.
    DurableBeforeSettled,
    /// A result is acknowledged once it is durable.
    DurableBeforeAcked,
    /// What is offered was recorded, or that its number may have been used.
    DurableBeforeOffered,
    /// A bundle leaves once its offer was recorded.
    DurableBeforeBundle,
    /// A result is told once it is durable.
    DurableBeforeTold,
    /// A result is forgotten once its owner has it, or does not want it.
    KeptUntilAcked,
    /// An accepted result is of that task, lease and node, and signed by it.
    RightClaim,
    /// A task with effects takes its current attempt's result only.
    CurrentAttempt,
    /// A task with effects is under way once.
    EffectsOnce,
    /// A key is granted once.
    FreshKey,
    /// Nothing is offered, accepted or moved that either end refuses.
    Consent,
    /// No more bytes flow than either end allows.
    Cap,
    /// Nobody talks to whom it expelled.
    Shunned,
    /// Messages go to connected peers.
    Connected,
    /// Honest nodes are not expelled.
    HonestStay,
    /// Who gives two different results for a lease is expelled.
    LiarsGo,
    /// No more foreign guests than the policy says.
    Concurrency,
    /// Foreign guests run under an accepted lease, with their bundle here, once.
    Asked,
    /// A peer holds no more leases than it has earned.
    Earned,
    /// A task that was declined or lost is not offered to the same peer at once.
    CoolDown,
    /// A task is accepted by peers a few times only.
    Moves,
    /// Nothing keeps a lease beyond its hard end.
    HardEnd,
    /// After a connection was lost, what is held is resumed.
    Resumed,
    /// What is late is answered.
    Answered,
    /// A run ends as the truth about its tasks has it.
    RightEnd,
    /// After the troubles every run ends.
    Ends,
    /// After the last run nothing is left: no guest, no result that waits for an owner who is there.
    NothingLeft,
    /// Time goes on.
    NoLivelock,
    /// What is said is heard as it was said.
    Codec,
    /// A machine's own tables agree.
    Sane,
}

/// What happened that must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in the world's milliseconds.
    pub at_ms: u64,
    /// At which node; empty where it is the mesh's.
    pub node: String,
    /// What.
    pub invariant: Invariant,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            at_ms,
            node,
            invariant,
            detail,
        } = self;
        write!(f, "{invariant:?} at {at_ms} ms, {node}: {detail}")
    }
}

/// The books; see the module.
#[derive(Debug)]
pub(super) struct Check {
    cast: Rc<Cast>,
    now: u64,
    first: Option<Violation>,
    records: records::Books,
    leases: leases::Books,
    guests: guests::Books,
}

impl Check {
    pub(super) fn new(cast: Rc<Cast>) -> Check {
        let nodes = cast.parts.len();
        Check {
            cast,
            now: 0,
            first: None,
            records: records::Books::default(),
            leases: leases::Books::new(nodes),
            guests: guests::Books::new(nodes),
        }
    }

    pub(super) fn violation(&self) -> Option<&Violation> {
        self.first.as_ref()
    }

    pub(super) fn object(
        &mut self,
        node: Option<usize>,
        invariant: Invariant,
        detail: impl Into<String>,
    ) {
        let node = node.map_or(String::new(), |node| self.cast.name(node).to_owned());
        self.first.get_or_insert_with(|| Violation {
            at_ms: self.now,
            node,
            invariant,
            detail: detail.into(),
        });
    }

    /// A machine is about to be told.
    pub(super) fn told(&mut self, now: u64, node: usize, event: &Event) {
        self.now = now;
        match event {
            Event::Received { peer, message } => match message {
                Message::ToOwner(message) => self.owner_hears(node, *peer, message),
                Message::ToExecutor(message) => self.executor_hears(node, *peer, message),
                Message::Beacon(_) | Message::Capabilities(_) | Message::Acquaint(_) => {}
            },
            Event::Connected { peer, .. } => {
                self.leases.connected[node].insert(*peer);
                self.expect_resume(node, *peer);
            }
            Event::Disconnected { peer } => {
                self.leases.connected[node].remove(peer);
                self.offers_are_void(node, *peer);
            }
            Event::Finished {
                run,
                task,
                attempt,
                verdict,
                ..
            } => {
                self.local_ended(node, run, *task, *attempt, verdict);
            }
            Event::PrepareFailed { run, task, .. } => {
                self.records.failed_here.insert((run.clone(), *task));
            }
            Event::Prepared {
                run,
                task,
                hit: true,
                ..
            } => {
                self.records.hits.insert((run.clone(), *task));
            }
            Event::Decided {
                owner,
                key,
                yes: true,
            } => {
                self.leases.consented[node].insert((*owner, key.clone()));
            }
            Event::BundleArrived { owner, key } => {
                self.guests.arrived[node].insert((*owner, key.clone()));
            }
            Event::ForeignEnded { owner, key, .. } => self.guest_gone(node, *owner, key),
            Event::FetchFailed { peer, key, .. } => self.drop_lease(node, *peer, key),
            _ => {}
        }
    }

    /// A machine wants something; it was not done yet.
    pub(super) fn wants(&mut self, node: usize, action: &Action) {
        match action {
            Action::Send { peer, message } => self.says(node, *peer, message),
            Action::Run { run, action } => self.runs(node, run, action),
            Action::Persist { record, .. } => self.record_begun(node, record),
            Action::Forget(what) => self.forgets(node, what),
            Action::Expel { peer, .. } => {
                let honest = self
                    .cast
                    .index_of(peer)
                    .is_some_and(|peer| self.cast.parts[peer].liar.is_none());
                if honest {
                    self.object(Some(node), Invariant::HonestStay, format!("{action:?}"));
                }
                self.leases.expelled[node].insert(*peer);
                self.expelled(node, *peer);
            }
            Action::KeepProof(proof) if !proof.holds(&sign::verify) => {
                self.object(Some(node), Invariant::RightClaim, format!("{proof:?}"));
            }
            Action::StartForeign { owner, offer, .. } => {
                self.guest_begins(node, *owner, &offer.key)
            }
            Action::DropForeign { owner, key } => self.guest_gone(node, *owner, key),
            Action::SendBundle { peer, key, .. } => {
                self.answered(*peer, key);
                self.bundle_leaves(node, *peer, key);
            }
            Action::FetchOutputs {
                peer, key, claim, ..
            } => self.wants_outputs(node, *peer, key, claim),
            Action::StopTransfer { peer, key } => self.drop_lease(node, *peer, key),
            _ => {}
        }
    }

    /// Everything that a machine wanted after one event was seen.
    pub(super) fn handled(&mut self, node: usize) {
        self.nothing_owed(node);
    }

    fn says(&mut self, node: usize, peer: NodeId, message: &Message) {
        if self.leases.expelled[node].contains(&peer) {
            self.object(
                Some(node),
                Invariant::Shunned,
                format!("{message:?} to {peer}"),
            );
        } else if !self.leases.connected[node].contains(&peer) {
            self.object(
                Some(node),
                Invariant::Connected,
                format!("{message:?} to {peer}"),
            );
        }
        match message {
            Message::ToOwner(message) => self.executor_says(node, peer, message),
            Message::ToExecutor(message) => self.owner_says(node, peer, message),
            Message::Beacon(_) | Message::Capabilities(_) | Message::Acquaint(_) => {}
        }
    }

    fn runs(&mut self, node: usize, run: &RunId, action: &run::Action) {
        match action {
            run::Action::Execute { task, attempt } => self.local_begins(node, run, *task, *attempt),
            run::Action::Settled { task, state } => self.settles(node, run, *task, *state),
            _ => {}
        }
    }

    /// A node was killed: what it had in memory is gone.
    pub(super) fn crashed(&mut self, node: usize) {
        self.leases.crashed(node);
        self.guests.crashed(node);
        let lost: Vec<RunId> = self
            .cast
            .scripts
            .iter()
            .filter(|script| script.owner == node)
            .map(|script| script.run.clone())
            .collect();
        for run in lost {
            self.leases.forget_moves(&run);
            self.records.forget_memory(&run);
        }
    }

    /// How a run's tasks should have ended; `None` where the run was interrupted, or ended on its first failure.
    pub(super) fn expected(&self, run: &RunId) -> Vec<Option<SettledKind>> {
        let Some(script) = self.cast.script(run) else {
            return Vec::new();
        };
        let plan = &script.plan;
        let mut doomed = vec![false; plan.groups.len()];
        let fails = |task: usize| script.truth[task].fails;
        for &declared in &plan.order {
            let after = &plan.pipeline.tasks[declared].after;
            doomed[declared] = after.iter().any(|before| {
                let instances = plan.groups[*before].instances.clone();
                doomed[*before] || instances.into_iter().any(|id| fails(id as usize))
            });
        }
        let whole = script.interrupted.is_none()
            && (script.keep_going || !script.truth.iter().any(|truth| truth.fails));
        let each = plan.tasks.iter().enumerate().map(|(task, instance)| {
            whole.then(|| match () {
                () if doomed[instance.task] => SettledKind::Skipped,
                () if fails(task) => SettledKind::Failed,
                () => SettledKind::Passed,
            })
        });
        each.collect()
    }

    /// A run is over.
    pub(super) fn run_ended(&mut self, now: u64, node: usize, run: &RunId) {
        self.now = now;
        for (task, expected) in self.expected(run).into_iter().enumerate() {
            let task = TaskId(task as u32);
            let Some(state) = self.records.settled.get(&(run.clone(), task)).copied() else {
                return self.object(
                    Some(node),
                    Invariant::RightEnd,
                    format!("{run}/{task} was not settled"),
                );
            };
            let same = expected.is_none_or(|expected| match state {
                SettledKind::Cached => expected == SettledKind::Passed,
                state => expected == state,
            });
            if !same {
                let words = format!("{run}/{task} is {state:?}, and should be {expected:?}");
                return self.object(Some(node), Invariant::RightEnd, words);
            }
        }
    }

    /// Where the tasks of a run stand that are not settled.
    pub(super) fn unsettled(&self, run: &RunId) -> Vec<TaskId> {
        let count = self
            .cast
            .script(run)
            .map_or(0, |script| script.truth.len() as u32);
        let open = |task: &TaskId| !self.records.settled.contains_key(&(run.clone(), *task));
        (0..count).map(TaskId).filter(open).collect()
    }

    pub(super) fn durable(&mut self, now: u64, node: usize, record: &Record) {
        self.now = now;
        self.record_durable(node, record);
    }

    pub(super) fn not_durable(&mut self, node: usize, record: &Record) {
        self.record_failed(node, record);
    }
}

/// A claim in a few words.
fn brief(claim: &Claim) -> String {
    format!(
        "{:?} of {} with nonce {} by {}",
        claim.outcome, claim.task_digest, claim.nonce, claim.executor
    )
}

/// An executor's lease: keys are unique at their owner only.
type Held = (NodeId, LeaseKey);
