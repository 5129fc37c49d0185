//! Durable before said; one result for each task; forgotten only when nobody needs it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Held, Invariant, brief};
use crate::consent::{Forget, Record, RemoteOutcome};
use crate::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use crate::receipt::SignedClaim;
use crate::run::{SettledKind, Verdict};
use crate::sim::sign;

/// A commit: of which attempt, as what, and whether it is durable.
#[derive(Debug)]
struct Commit {
    key: LeaseKey,
    passed: bool,
    durable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    /// Every offer's record that ever became durable.
    offered: BTreeMap<LeaseKey, (NodeId, u64)>,
    /// By run: numbers below this are durably known to have been used, perhaps.
    reserved: BTreeMap<RunId, Attempt>,
    /// Every offer that was ever said.
    said: BTreeMap<LeaseKey, (NodeId, u64)>,
    committed: BTreeMap<(RunId, TaskId), Commit>,
    /// By executor.
    finished: BTreeMap<(usize, NodeId, LeaseKey), SignedClaim>,
    /// How the tasks of runs were settled, since their owner was started last.
    pub(super) settled: BTreeMap<(RunId, TaskId), SettledKind>,
    passed_here: BTreeSet<(RunId, TaskId)>,
    pub(super) failed_here: BTreeSet<(RunId, TaskId)>,
    pub(super) hits: BTreeSet<(RunId, TaskId)>,
    /// The latest attempt that was granted, here or elsewhere.
    granted: BTreeMap<(RunId, TaskId), Attempt>,
    /// Attempts that run on their owner's machine.
    here: BTreeMap<(RunId, TaskId), Attempt>,
    /// Leases that owners were done with, as their executors heard: by executor.
    released: BTreeSet<(usize, NodeId, LeaseKey)>,
}

impl Books {
    pub(super) fn forget_memory(&mut self, run: &RunId) {
        self.settled.retain(|(of, _), _| of != run);
        self.hits.retain(|(of, _)| of != run);
        self.here.retain(|(of, _), _| of != run);
        self.granted.retain(|(of, _), _| of != run);
    }

    pub(super) fn runs_here(&self, run: &RunId, task: TaskId) -> bool {
        self.here.contains_key(&(run.clone(), task))
    }
}

impl Check {
    pub(super) fn record_begun(&mut self, node: usize, record: &Record) {
        if let Record::Committed { key, claim } = record {
            self.leases.committing(node, key);
            let of = (key.run.clone(), key.task);
            if let Some(other) = self.records.committed.get(&of) {
                let words = format!("{key} after {}", other.key);
                return self.object(Some(node), Invariant::CommittedOnce, words);
            }
            self.judge_commit(node, key, claim);
            let commit = Commit {
                key: key.clone(),
                passed: claim.outcome == RemoteOutcome::Passed,
                durable: false,
            };
            self.records.committed.insert(of, commit);
        }
    }

    fn judge_commit(&mut self, node: usize, key: &LeaseKey, claim: &SignedClaim) {
        let Some(truth) = self.cast.truth(&key.run, key.task) else {
            return;
        };
        let needs = truth.needs.clone();
        let granted = self.records.offered.get(key);
        let receipt = claim.receipt(Some(sign::MESH), key);
        let signed = receipt.is_some_and(|receipt| receipt.holds(&sign::verify));
        let right = signed
            && granted.is_some_and(|(peer, nonce)| {
                let about = (claim.executor, claim.nonce, claim.task_digest);
                about == (*peer, *nonce, needs.digest)
            });
        if !right {
            let words = format!(
                "{key}: {}, signed: {signed}, granted {granted:?}",
                brief(claim)
            );
            self.object(Some(node), Invariant::RightClaim, words);
        }
        let current = self.records.granted.get(&(key.run.clone(), key.task));
        if !needs.pure && current.is_some_and(|current| *current > key.attempt) {
            let words = format!("{key}, and {current:?} was granted since");
            self.object(Some(node), Invariant::CurrentAttempt, words);
        }
    }

    pub(super) fn record_durable(&mut self, node: usize, record: &Record) {
        match record {
            Record::Reserved { run, below } => {
                let known = self.records.reserved.entry(run.clone()).or_insert(*below);
                *known = (*below).max(*known);
            }
            Record::Offered { key, peer, nonce } => {
                let fresh = self.records.offered.insert(key.clone(), (*peer, *nonce));
                if let Some(other) = fresh {
                    let words = format!("{key} for {peer} was recorded for {}", other.0);
                    self.object(Some(node), Invariant::FreshKey, words);
                }
            }
            Record::Committed { key, claim } => {
                self.promise_kept(node, claim.executor);
                if let Some(commit) = self.records.committed.get_mut(&(key.run.clone(), key.task)) {
                    commit.durable |= commit.key == *key;
                }
            }
            Record::Finished { owner, key, claim } => {
                let of = (node, *owner, key.clone());
                self.records.finished.insert(of, (**claim).clone());
            }
        }
    }

    pub(super) fn record_failed(&mut self, _node: usize, record: &Record) {
        if let Record::Committed { key, .. } = record {
            self.records.committed.remove(&(key.run.clone(), key.task));
        }
    }

    pub(super) fn offered_durably(&self, key: &LeaseKey, peer: NodeId, nonce: u64) -> bool {
        self.records.offered.get(key) == Some(&(peer, nonce))
    }

    /// Whether it is durable that a number may have been used.
    pub(super) fn reserved_durably(&self, key: &LeaseKey) -> bool {
        let below = self.records.reserved.get(&key.run);
        below.is_some_and(|below| key.attempt < *below)
    }

    /// An offer is said: a number that was said once never means another lease.
    pub(super) fn offer_said(&mut self, node: usize, key: &LeaseKey, peer: NodeId, nonce: u64) {
        let before = self.records.said.insert(key.clone(), (peer, nonce));
        if before.is_some_and(|before| before != (peer, nonce)) {
            let words = format!("{key} is offered to {peer}, and was to {before:?}");
            self.object(Some(node), Invariant::FreshKey, words);
        }
    }

    /// A bundle leaves, or may be fetched.
    pub(super) fn bundle_leaves(&mut self, node: usize, peer: NodeId, key: &LeaseKey) {
        let granted = self.records.offered.get(key);
        if granted.is_none_or(|(known, _)| *known != peer) {
            let words = format!("{key} for {peer}, granted {granted:?}");
            self.object(Some(node), Invariant::DurableBeforeBundle, words);
        }
    }

    pub(super) fn committed_durably(&self, key: &LeaseKey) -> bool {
        let commit = self.records.committed.get(&(key.run.clone(), key.task));
        commit.is_some_and(|commit| commit.durable && commit.key == *key)
    }

    pub(super) fn finished_durably(
        &self,
        node: usize,
        owner: NodeId,
        key: &LeaseKey,
        claim: &SignedClaim,
    ) -> bool {
        self.records.finished.get(&(node, owner, key.clone())) == Some(claim)
    }

    pub(super) fn released(&mut self, node: usize, (owner, key): Held) {
        self.records.released.insert((node, owner, key));
    }

    pub(super) fn forgets(&mut self, node: usize, what: &Forget) {
        let Forget::Finished { owner, key } = what else {
            return;
        };
        let of = (node, *owner, key.clone());
        // What never became durable is no result.
        let was_durable = self.records.finished.remove(&of).is_some();
        let shunned = self.leases.expelled[node].contains(owner);
        if was_durable && !shunned && !self.records.released.contains(&of) {
            let words = format!("{key} of {owner} is forgotten, and its owner did not say so");
            self.object(Some(node), Invariant::KeptUntilAcked, words);
        }
    }

    pub(super) fn granted(&mut self, node: usize, run: &RunId, task: TaskId, attempt: Attempt) {
        let of = (run.clone(), task);
        let effects = self
            .cast
            .truth(run, task)
            .is_some_and(|truth| !truth.needs.pure);
        if effects && (self.records.here.contains_key(&of) || self.leases.is_held(node, run, task))
        {
            let words = format!("{run}/{task}#{attempt} is granted while another attempt runs");
            self.object(Some(node), Invariant::EffectsOnce, words);
        }
        let latest = self.records.granted.entry(of).or_insert(attempt);
        *latest = (*latest).max(attempt);
    }

    pub(super) fn local_begins(
        &mut self,
        node: usize,
        run: &RunId,
        task: TaskId,
        attempt: Attempt,
    ) {
        self.granted(node, run, task, attempt);
        self.records.here.insert((run.clone(), task), attempt);
    }

    pub(super) fn local_ended(
        &mut self,
        _node: usize,
        run: &RunId,
        task: TaskId,
        attempt: Attempt,
        verdict: &Verdict,
    ) {
        let of = (run.clone(), task);
        if self.records.here.get(&of) == Some(&attempt) {
            self.records.here.remove(&of);
        }
        match verdict {
            Verdict::Passed => drop(self.records.passed_here.insert(of)),
            Verdict::Failed { .. } => drop(self.records.failed_here.insert(of)),
            Verdict::NonResult { .. } | Verdict::Cancelled => {}
        }
    }

    pub(super) fn settles(&mut self, node: usize, run: &RunId, task: TaskId, state: SettledKind) {
        let of = (run.clone(), task);
        if let Some(before) = self.records.settled.insert(of.clone(), state) {
            let words = format!("{run}/{task} is {state:?} after {before:?}");
            return self.object(Some(node), Invariant::SettledOnce, words);
        }
        let commit = self
            .records
            .committed
            .get(&of)
            .filter(|commit| commit.durable);
        let good = match state {
            SettledKind::Passed => {
                self.records.passed_here.contains(&of) || commit.is_some_and(|commit| commit.passed)
            }
            SettledKind::Cached => self.records.hits.contains(&of),
            SettledKind::Failed => {
                let known = self.records.failed_here.contains(&of);
                known || commit.is_some_and(|commit| !commit.passed)
            }
            SettledKind::Skipped | SettledKind::Cancelled => true,
        };
        if !good {
            let words = format!("{run}/{task} is {state:?}, and nothing durable says so");
            self.object(Some(node), Invariant::DurableBeforeSettled, words);
        }
        self.leases.task_settled(node, run, task);
    }
}
