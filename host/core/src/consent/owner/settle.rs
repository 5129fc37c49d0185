//! How leases end: by a result that is committed, by a loss, by silence; and how a settled task's other attempts are told.
//!
//! The order of durable and said is decided here: a result is committed, then the task settled, then the executor told
//! that it may forget. Called by [`super::Owner`].

use super::lease::{Lease, LeaseState};
use super::{CRASHES_TO_QUARANTINE, Owner, Side, Then};
use crate::consent::{Claim, Forget, LostWhy, Record, RemoteOutcome, ToExecutor};
use crate::id::{LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Desk, Faults, StepKind, Token, faulty};
use crate::policy::Reason;
use crate::receipt::SignedClaim;
use crate::run::{self, Failure, Verdict};
use crate::time::Tick;

/// How long a task is not offered to a peer that declined or lost it, in milliseconds.
const COOL_DOWN_MS: u64 = 30_000;
/// How long a peer that takes nothing now is left alone, in milliseconds.
const PEER_COOL_DOWN_MS: u64 = 5_000;
/// When a result that could not be made durable is tried again, in milliseconds.
const COMMIT_AGAIN_MS: u64 = 5_000;
/// No offers for so long after one could not be made durable, in milliseconds.
const FULL_MS: u64 = 10_000;

/// The longest that a transfer is planned for, in milliseconds, whatever its size and its link are said to be.
pub(super) const MAX_TRANSFER_MS: u64 = 6 * 3_600_000;

/// A lease was heard of: it runs on, up to its hard end.
pub(super) fn renew(lease: &mut Lease, now: Tick, lease_ms: u64, faults: Faults) {
    let until = now.after_ms(lease_ms);
    lease.until = match faulty!(faults, NoHardEnd) {
        true => until,
        false => until.min(lease.hard),
    };
}

/// How long an answer may take: what the user allows, and the way there and back.
pub(super) fn answer_ms(desk: &Desk<'_>, peer: NodeId) -> u64 {
    let link = desk.link(peer);
    let way = u64::from(link.rtt_ms).saturating_add(u64::from(link.jitter_ms).saturating_mul(4));
    desk.setup
        .policy
        .consent_timeout_ms
        .saturating_add(way.saturating_mul(2))
}

/// When outputs should be here at the latest.
pub(super) fn fetch_until(desk: &Desk<'_>, peer: NodeId, bytes: u64) -> Tick {
    let link = desk.link(peer);
    let transfer = crate::policy::transfer_ms(bytes, &link).saturating_mul(4);
    let transfer = transfer.min(MAX_TRANSFER_MS);
    let lease_ms = desk.setup.profile.lease_ms();
    desk.now.after_ms(lease_ms.max(transfer))
}

impl Owner {
    pub(super) fn side(&mut self, key: &LeaseKey) -> Option<&mut Side> {
        self.runs.get_mut(&key.run)?.sides.get_mut(&key.task)
    }

    /// A record is durable. False where it is not this part's.
    pub(crate) fn persisted(&mut self, desk: &mut Desk<'_>, token: Token) -> bool {
        let Some(then) = self.waiting.remove(&token) else {
            return false;
        };
        match then {
            Then::Reserve(run, below) => self.reserved(&run, below),
            Then::Offer(key) => self.recorded(desk, &key),
            Then::Settle(key) => self.committed(desk, &key),
        }
        true
    }

    /// A record could not be made durable. False where it is not this part's.
    pub(crate) fn persist_failed(&mut self, desk: &mut Desk<'_>, token: Token) -> bool {
        let Some(then) = self.waiting.remove(&token) else {
            return false;
        };
        match then {
            // Each offer waits for its own record then.
            Then::Reserve(..) => {}
            Then::Offer(key) => {
                self.full_until = desk.now.after_ms(FULL_MS);
                self.look_at = Some(self.full_until);
                self.unrecorded(desk, &key);
            }
            Then::Settle(key) => {
                let until = desk.now.after_ms(COMMIT_AGAIN_MS);
                self.leases.update(&key, |lease| {
                    if let LeaseState::Committing(_, claim) = &lease.state {
                        lease.state = LeaseState::Uncommitted(claim.clone());
                        lease.until = until;
                    }
                });
            }
        }
        true
    }

    /// An offer could not be recorded. Where it was said already it is taken back, through no fault of the peer's.
    fn unrecorded(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let Some(lease) = self.leases.get(key) else {
            return;
        };
        let (peer, key_of) = (lease.peer, key.clone());
        match lease.state {
            LeaseState::Recording(_) => self.not_taken(desk, peer, key, &Reason::DiskFull),
            LeaseState::Offered | LeaseState::Pending => {
                desk.tell_executor(peer, ToExecutor::Withdraw { key: key_of });
                self.not_taken(desk, peer, key, &Reason::DiskFull);
            }
            LeaseState::Held => {
                desk.tell_executor(peer, ToExecutor::Cancel { key: key_of });
                self.not_taken(desk, peer, key, &Reason::DiskFull);
            }
            // Nobody honest gets here without its bundle.
            LeaseState::Running
            | LeaseState::Fetching(_)
            | LeaseState::Committing(..)
            | LeaseState::Uncommitted(_)
            | LeaseState::Ended => {}
        }
    }

    /// The outputs are here.
    pub(super) fn fetched(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey) {
        let Some(lease) = self.leases.get(key) else {
            return;
        };
        if lease.peer != peer {
            return;
        }
        let LeaseState::Fetching(claim) = lease.state.clone() else {
            return;
        };
        let closing = |other: &LeaseKey| self.leases.get(other).is_some_and(Lease::is_closing);
        if self.leases.of_task(key).iter().any(closing) && !faulty!(desk.faults, CommitTwice) {
            // Another attempt's result is being committed. Where that fails this one has its turn.
            let until = desk.now.after_ms(COMMIT_AGAIN_MS);
            self.leases.update(key, |lease| {
                lease.state = LeaseState::Uncommitted(claim);
                lease.until = until;
            });
            return;
        }
        self.commit(desk, key, claim);
    }

    fn commit(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, claim: Box<SignedClaim>) {
        if self.may_try_again(key, &claim) {
            return self.failed_attempt(desk, key, &claim);
        }
        let token = desk.persist(Record::Committed {
            key: key.clone(),
            claim: claim.clone(),
        });
        self.waiting.insert(token, Then::Settle(key.clone()));
        let peer = self.leases.update(key, |lease| {
            lease.state = LeaseState::Committing(token, claim);
            // Only the disk is waited for; the deadline is none.
            lease.until = Tick(u64::MAX);
            lease.peer
        });
        if faulty!(desk.faults, AckBeforeDurable)
            && let Some(peer) = peer
        {
            desk.tell_executor(peer, ToExecutor::Acked { key: key.clone() });
        }
        if faulty!(desk.faults, SettleBeforeDurable) {
            self.committed(desk, key);
        }
    }

    /// Whether a failure is not the last word: tasks with effects are tried again within their budget.
    fn may_try_again(&self, key: &LeaseKey, claim: &Claim) -> bool {
        let pure = self.leases.get(key).is_some_and(|lease| lease.needs.pure);
        let budget = self
            .runs
            .get(&key.run)
            .is_some_and(|own| own.run.has_budget(key.task));
        !pure && budget && matches!(claim.outcome, RemoteOutcome::Failed { .. })
    }

    fn failed_attempt(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, claim: &Claim) {
        if let Some(lease) = self.leases.remove(key) {
            desk.roster.kept(lease.peer);
            desk.tell_executor(lease.peer, ToExecutor::Settled { key: key.clone() });
            desk.forget(Forget::Offered { key: key.clone() });
        }
        let event = run::Event::Finished {
            task: key.task,
            attempt: key.attempt,
            verdict: verdict(&claim.outcome, true),
            ran_us: claim.wall_ms.saturating_mul(1000),
        };
        self.look = true;
        self.tell(desk, &key.run.clone(), event);
    }

    /// The result is durable: the task is settled, and its executor may forget.
    fn committed(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let Some(lease) = self.leases.remove(key) else {
            return;
        };
        let (LeaseState::Committing(_, claim) | LeaseState::Uncommitted(claim)) = lease.state
        else {
            return;
        };
        desk.roster.kept(lease.peer);
        desk.tell_executor(lease.peer, ToExecutor::Acked { key: key.clone() });
        let output = claim.output;
        self.note(desk, key, lease.peer, StepKind::Ran { output });
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        if let (RemoteOutcome::Passed, Some(instance)) =
            (&claim.outcome, own.plan.tasks.get(key.task.index()))
        {
            let ran = own.durations.entry(instance.task).or_default();
            // How long it says that it took, but not longer than it was waited for here.
            let waited = desk.now.ms_since(lease.started.unwrap_or(lease.offered));
            ran.add(claim.wall_ms.min(waited));
        }
        let Some(attempt) = own.run.attempt(key.task) else {
            return;
        };
        // The late result of a task that is ready again is taken for the attempt that it would have been.
        let granted = own.run.grant(desk.now, key.task, attempt);
        let attempt = granted.unwrap_or(attempt);
        let event = run::Event::Finished {
            task: key.task,
            attempt,
            verdict: verdict(&claim.outcome, false),
            ran_us: claim.wall_ms.saturating_mul(1000),
        };
        self.look = true;
        self.tell(desk, &key.run.clone(), event);
    }

    /// A task is settled: its other attempts are not needed, and nothing is known of it any more.
    pub(super) fn close(&mut self, desk: &mut Desk<'_>, run: &RunId, task: TaskId) {
        let any = LeaseKey {
            run: run.clone(),
            task,
            attempt: crate::id::Attempt(0),
        };
        for key in self.leases.of_task(&any) {
            // Its record is being written, or is: it decides who was first, and the loser is told when it is.
            let Some(lease) = self.leases.remove(&key) else {
                continue;
            };
            if lease.is_outstanding() {
                desk.roster.released(lease.peer, lease.is_delivered());
            }
            self.dismiss(desk, &lease, &key);
            desk.forget(Forget::Offered { key });
        }
        let Some(own) = self.runs.get_mut(run) else {
            return;
        };
        if let Some(side) = own.sides.remove(&task)
            && let Some(attempt) = side.here
        {
            self.here -= 1;
            desk.run(run, run::Action::Cancel { task, attempt });
        }
        self.look = true;
    }

    /// Tells a peer that its lease is void, in the words for where it is.
    fn dismiss(&self, desk: &mut Desk<'_>, lease: &Lease, key: &LeaseKey) {
        let (peer, key) = (lease.peer, key.clone());
        match lease.state {
            LeaseState::Recording(_) | LeaseState::Ended => {}
            LeaseState::Offered | LeaseState::Pending => {
                desk.tell_executor(peer, ToExecutor::Withdraw { key });
            }
            LeaseState::Held | LeaseState::Running => {
                let stop = Action::StopTransfer {
                    peer,
                    key: key.clone(),
                };
                desk.act(stop);
                desk.tell_executor(peer, ToExecutor::Cancel { key });
            }
            LeaseState::Fetching(_) | LeaseState::Committing(..) | LeaseState::Uncommitted(_) => {
                let stop = Action::StopTransfer {
                    peer,
                    key: key.clone(),
                };
                desk.act(stop);
                desk.tell_executor(peer, ToExecutor::Settled { key });
            }
        }
    }

    pub(super) fn fetch_failed(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        why: LostWhy,
    ) {
        let fetching = self.leases.get(key).is_some_and(|lease| {
            lease.peer == peer && matches!(lease.state, LeaseState::Fetching(_))
        });
        if fetching {
            desk.tell_executor(peer, ToExecutor::Settled { key: key.clone() });
            self.lost(desk, peer, key, Some(why));
        }
    }

    /// The executor says that there will be no result.
    pub(super) fn lost_by(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        why: LostWhy,
    ) {
        let held = self
            .leases
            .get(key)
            .is_some_and(|lease| matches!(lease.state, LeaseState::Held | LeaseState::Running));
        if !held {
            return;
        }
        let never_had = why == LostWhy::Unknown
            && self
                .leases
                .get(key)
                .is_some_and(|lease| lease.resumed && lease.state == LeaseState::Held);
        if never_had {
            return self.void(desk, peer, key);
        }
        if why == LostWhy::HostFault
            && let Some(side) = self.side(key)
        {
            side.crashed_on.insert(peer);
            if side.crashed_on.len() >= CRASHES_TO_QUARANTINE {
                return self.quarantine(desk, peer, key);
            }
        }
        self.lost(desk, peer, key, Some(why));
    }

    /// A lease that was taken up after a restart turns out to be none: the offer was recorded and never arrived, or the task
    /// is made of something else by now. Nobody is to blame, and the task may go to the same peer again.
    pub(super) fn void(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey) {
        if self.leases.remove(key).is_none() {
            return;
        }
        desk.roster.released(peer, false);
        desk.act(Action::StopTransfer {
            peer,
            key: key.clone(),
        });
        desk.forget(Forget::Offered { key: key.clone() });
        if let Some(side) = self.side(key) {
            side.moves = side.moves.saturating_sub(1);
        }
        self.take_back(desk, key);
    }

    /// Too many nodes died under it: it is the task.
    fn quarantine(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey) {
        self.lost(desk, peer, key, Some(LostWhy::HostFault));
        let failure = Failure {
            code: "task::quarantined",
            message: format!("the sandbox of {CRASHES_TO_QUARANTINE} nodes died under it"),
        };
        self.fail(desk, key, failure);
    }

    /// Fails a task that is ready, without an attempt.
    pub(super) fn fail(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, failure: Failure) {
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        let Some(attempt) = own.run.grant(desk.now, key.task, key.attempt) else {
            return;
        };
        let event = run::Event::Finished {
            task: key.task,
            attempt,
            verdict: Verdict::Failed {
                failure,
                retryable: false,
            },
            ran_us: 0,
        };
        self.tell(desk, &key.run.clone(), event);
    }

    /// An offer came to nothing: declined, unanswered, or never said.
    pub(super) fn not_taken(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        reason: &Reason,
    ) {
        if self.leases.remove(key).is_none() {
            return;
        }
        desk.roster.released(peer, false);
        desk.forget(Forget::Offered { key: key.clone() });
        if matches!(reason, Reason::MaxConcurrent { .. }) {
            // It says nothing about the task: the peer has it when it has room.
            desk.roster.full(desk.now, peer, PEER_COOL_DOWN_MS);
        } else if !faulty!(desk.faults, NoCoolDown) {
            if reason.is_about_peer() || *reason == Reason::NoAnswer {
                desk.roster.cool(desk.now, peer, PEER_COOL_DOWN_MS);
            }
            self.cool(desk.now, key, peer);
        }
        self.take_back(desk, key);
    }

    /// A lease that was held ends without a result.
    pub(super) fn lost(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        why: Option<LostWhy>,
    ) {
        let Some(mut lease) = self.leases.remove(key) else {
            return;
        };
        let after_ms = desk.now.ms_since(lease.offered);
        if lease.state == LeaseState::Ended {
            return;
        }
        let consented = lease.is_held();
        let current = lease.current;
        if consented {
            desk.roster.lost(desk.now, peer, lease.is_delivered());
            self.note(desk, key, peer, StepKind::Lost { why, after_ms });
        } else {
            desk.roster.released(peer, lease.is_delivered());
        }
        desk.act(Action::StopTransfer {
            peer,
            key: key.clone(),
        });
        if consented
            && why != Some(LostWhy::Drained)
            && let Some(side) = self.side(key)
        {
            side.losses += 1;
        }
        // A pure task's result is as good when it is late.
        let welcome = lease.needs.pure || faulty!(desk.faults, NoFence);
        if welcome && consented && why.is_none() {
            lease.state = LeaseState::Ended;
            lease.current = false;
            self.leases.insert(key.clone(), lease);
        } else {
            desk.forget(Forget::Offered { key: key.clone() });
        }
        if !faulty!(desk.faults, NoCoolDown) {
            self.cool(desk.now, key, peer);
        }
        if current {
            self.take_back(desk, key);
        }
    }

    fn cool(&mut self, now: Tick, key: &LeaseKey, peer: NodeId) {
        if let Some(side) = self.side(key) {
            side.cooling.retain(|_, until| *until > now);
            side.cooling.insert(peer, now.after_ms(COOL_DOWN_MS));
        }
    }

    /// The task is ready again, under its next attempt.
    fn take_back(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        self.look = true;
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        let mut actions = Vec::new();
        if faulty!(desk.faults, SameAttempt) {
            #[cfg(any(test, feature = "sim"))]
            own.run.take_back_unfenced(desk.now, key.task, key.attempt);
        } else {
            own.run
                .take_back(desk.now, key.task, key.attempt, &mut actions);
        }
        self.follow(desk, &key.run.clone(), &mut actions);
    }

    /// A lease's deadline has come.
    pub(super) fn expired(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let Some(lease) = self.leases.get(key) else {
            return;
        };
        let (peer, state) = (lease.peer, lease.state.clone());
        let never = match state {
            LeaseState::Offered | LeaseState::Pending => faulty!(desk.faults, NoOfferTimeout),
            LeaseState::Held | LeaseState::Running => faulty!(desk.faults, NoExpiry),
            _ => false,
        };
        if never {
            self.leases
                .update(key, |lease| lease.until = Tick(u64::MAX));
            return;
        }
        match state {
            LeaseState::Offered | LeaseState::Pending => {
                desk.tell_executor(peer, ToExecutor::Withdraw { key: key.clone() });
                self.note(desk, key, peer, StepKind::Declined(Reason::NoAnswer));
                self.not_taken(desk, peer, key, &Reason::NoAnswer);
            }
            LeaseState::Held | LeaseState::Running => {
                desk.tell_executor(peer, ToExecutor::Cancel { key: key.clone() });
                self.lost(desk, peer, key, None);
            }
            LeaseState::Fetching(_) => self.lost(desk, peer, key, None),
            LeaseState::Uncommitted(claim) => {
                self.leases
                    .update(key, |lease| lease.state = LeaseState::Fetching(claim));
                self.fetched(desk, peer, key);
            }
            // Only the disk's answer ends these.
            LeaseState::Recording(_) | LeaseState::Committing(..) | LeaseState::Ended => {
                self.leases
                    .update(key, |lease| lease.until = Tick(u64::MAX));
            }
        }
    }
}

fn verdict(outcome: &RemoteOutcome, retryable: bool) -> Verdict {
    match outcome {
        RemoteOutcome::Passed => Verdict::Passed,
        RemoteOutcome::Failed { code, message } => Verdict::Failed {
            failure: Failure {
                code: known_code(code),
                message: message.to_string(),
            },
            retryable,
        },
    }
}

/// A peer's word for a failure, where it is one of ours.
fn known_code(code: &str) -> &'static str {
    const CODES: [&str; 8] = [
        "task::exit",
        "task::fuel",
        "task::limit",
        "task::memory",
        "task::output-missing",
        "task::output-names",
        "task::stdin-missing",
        "task::trap",
    ];
    CODES
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or("task::failed")
}
