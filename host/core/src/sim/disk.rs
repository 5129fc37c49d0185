//! What survives a node's crash: its records and its local results, and what is on its way to the disk.
//!
//! Called by the world: [`Disk::begin`] when a machine wants something durable, [`Disk::end`] when that is so, and
//! [`Disk::crash`], after which each write under way turned out durable or not. Never looks at what a record means.

use std::collections::{BTreeMap, BTreeSet};

use crate::consent::{Forget, Record, Spent};
use crate::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use crate::machine::Token;
use crate::receipt::SignedClaim;
use crate::rng::Rng;

/// A write under way.
#[derive(Clone, Debug)]
struct Write {
    token: Token,
    record: Record,
    /// It was forgotten before it was written.
    moot: bool,
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// With whom, where the lease is under way.
    offered: BTreeMap<LeaseKey, Option<(NodeId, u64)>>,
    /// Numbers of attempts that may have been used.
    reserved: BTreeMap<RunId, Attempt>,
    committed: BTreeMap<(RunId, TaskId), Box<SignedClaim>>,
    finished: BTreeMap<(NodeId, LeaseKey), Box<SignedClaim>>,
    /// Tasks whose attempt on this machine passed.
    results: BTreeSet<(RunId, TaskId)>,
    writes: BTreeMap<u64, Write>,
    next: u64,
    /// When the last write that was begun will be durable.
    pub(super) busy_until: u64,
    pub(super) full: bool,
}

impl Disk {
    /// A write is under way; its number is for [`Disk::end`].
    pub(super) fn begin(&mut self, token: Token, record: Record) -> u64 {
        let number = self.next;
        self.next += 1;
        let write = Write {
            token,
            record,
            moot: false,
        };
        self.writes.insert(number, write);
        number
    }

    /// A write is over: what it was, and whether it is durable.
    pub(super) fn end(&mut self, number: u64) -> Option<(Token, Result<Record, Record>)> {
        let write = self.writes.remove(&number)?;
        if self.full {
            return Some((write.token, Err(write.record)));
        }
        self.put(&write);
        Some((write.token, Ok(write.record)))
    }

    /// Power is gone: each write under way turns out durable or not.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Vec<Result<Record, Record>> {
        self.busy_until = 0;
        let writes = std::mem::take(&mut self.writes);
        let ended = writes.into_values().map(|write| {
            if self.full || rng.chance(500) {
                return Err(write.record);
            }
            self.put(&write);
            Ok(write.record)
        });
        ended.collect()
    }

    fn put(&mut self, write: &Write) {
        match write.record.clone() {
            // What was forgotten meanwhile is spent all the same.
            Record::Offered { key, peer, nonce } => {
                let open = (!write.moot).then_some((peer, nonce));
                self.offered.insert(key, open);
            }
            _ if write.moot => {}
            Record::Reserved { run, below } => {
                let known = self.reserved.entry(run).or_insert(below);
                *known = below.max(*known);
            }
            Record::Committed { key, claim } => {
                self.committed.insert((key.run, key.task), claim);
            }
            Record::Finished { owner, key, claim } => {
                self.finished.insert((owner, key), claim);
            }
        }
    }

    pub(super) fn forget(&mut self, what: &Forget) {
        let fits = |record: &Record| match (what, record) {
            (Forget::Offered { key }, Record::Offered { key: other, .. }) => key == other,
            (
                Forget::Finished { owner, key },
                Record::Finished {
                    owner: whose,
                    key: other,
                    ..
                },
            ) => owner == whose && key == other,
            (Forget::Run { run }, Record::Offered { key, .. } | Record::Committed { key, .. }) => {
                *run == key.run
            }
            (Forget::Run { run }, Record::Reserved { run: other, .. }) => run == other,
            _ => false,
        };
        for write in self.writes.values_mut() {
            write.moot |= fits(&write.record);
        }
        match what {
            Forget::Offered { key } => {
                if let Some(open) = self.offered.get_mut(key) {
                    *open = None;
                }
            }
            Forget::Finished { owner, key } => drop(self.finished.remove(&(*owner, key.clone()))),
            Forget::Run { run } => {
                self.offered.retain(|key, _| key.run != *run);
                self.reserved.remove(run);
                self.committed.retain(|(of, _), _| of != run);
                self.results.retain(|(of, _)| of != run);
            }
        }
    }

    /// An attempt on this machine passed.
    pub(super) fn keep_result(&mut self, run: &RunId, task: TaskId) {
        self.results.insert((run.clone(), task));
    }

    /// Whether a task's result is here, and failed where it did.
    pub(super) fn knows(&self, run: &RunId, task: TaskId) -> Option<Option<&SignedClaim>> {
        let of = (run.clone(), task);
        match self.committed.get(&of) {
            Some(claim) => Some(Some(claim)),
            None => self.results.contains(&of).then_some(None),
        }
    }

    /// What a run is resumed with: of each task its highest attempt.
    pub(super) fn spent(&self, run: &RunId) -> Vec<Spent> {
        let mut spent: BTreeMap<TaskId, Spent> = BTreeMap::new();
        for (key, open) in self.offered.iter().filter(|(key, _)| key.run == *run) {
            // Keys are in the order of attempts.
            let known = Spent {
                task: key.task,
                attempt: key.attempt,
                open: *open,
            };
            spent.insert(key.task, known);
        }
        spent.into_values().collect()
    }

    /// No attempt of a run below this is offered again.
    pub(super) fn fence(&self, run: &RunId) -> Attempt {
        self.reserved.get(run).copied().unwrap_or(Attempt::FIRST)
    }

    /// Runs that were begun and are not over.
    pub(super) fn unfinished(&self) -> std::collections::BTreeSet<RunId> {
        let offered = self.offered.keys().map(|key| &key.run);
        offered.chain(self.reserved.keys()).cloned().collect()
    }

    /// Results that wait for their owners.
    pub(super) fn outbox(&self) -> Vec<(NodeId, LeaseKey, Box<SignedClaim>)> {
        let each = self.finished.iter();
        each.map(|((owner, key), claim)| (*owner, key.clone(), claim.clone()))
            .collect()
    }
}
