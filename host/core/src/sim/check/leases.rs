//! The conversation of owner and executor: what is offered, held, answered and resumed, as both ends heard it.
//!
//! A lease is in an owner's book from the offer on until the owner does something that says that it ended (a word to the
//! peer, a transfer stopped, a result being committed, its task settled). What a machine decides in silence is not seen
//! here, so what is checked is only what no silence excuses.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Held, Invariant, refusal};
use crate::consent::{Offer, ToExecutor, ToOwner};
use crate::id::{LeaseKey, NodeId, RunId, TaskId};
use crate::policy::Reason;
use crate::receipt::SignedClaim;

/// Restated: how often a task may be accepted, until it stays.
const MOST_MOVES: u32 = 3;
/// No task goes to a peer again within this after it declined or lost it, in milliseconds. Less than what machines keep
/// to, for their clocks differ and the last word may have been lost.
const COOL_MS: u64 = 20_000;

/// Where a lease is, as far as words tell.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Offered,
    Held,
    /// Its result was told.
    Claimed(SignedClaim),
    /// And is being committed.
    Closing(SignedClaim),
}

#[derive(Clone, Debug)]
struct Entry {
    peer: NodeId,
    stage: Stage,
    since: u64,
}

impl Entry {
    /// Its work is done: what is left costs the peer nothing.
    fn is_claimed(&self) -> bool {
        matches!(self.stage, Stage::Claimed(_) | Stage::Closing(_))
    }
}

/// What an owner has to do before the event that it was told is dealt with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    /// Say that it holds this, or that it ended.
    Resume(NodeId, LeaseKey),
    /// Answer what was late.
    Answer(NodeId, LeaseKey),
    /// Expel who contradicted itself.
    Expel(NodeId),
}

#[derive(Debug)]
pub(super) struct Books {
    pub(super) connected: Vec<BTreeSet<NodeId>>,
    pub(super) expelled: Vec<BTreeSet<NodeId>>,
    /// By executor: offers that a person said yes to.
    pub(super) consented: Vec<BTreeSet<Held>>,
    /// By executor: offers as they were heard last.
    heard: Vec<BTreeMap<Held, Box<Offer>>>,
    /// By owner.
    book: Vec<BTreeMap<LeaseKey, Entry>>,
    /// By owner: leases that ended since it was started.
    ended: Vec<BTreeSet<Held>>,
    owed: BTreeSet<Owed>,
    /// By owner and task: how often it was accepted.
    moves: BTreeMap<(RunId, TaskId), u32>,
    /// When a peer declined or lost a task.
    refused: BTreeMap<(RunId, TaskId, NodeId), u64>,
    /// By owner and peer: results that it gave.
    kept: Vec<BTreeMap<NodeId, u32>>,
}

impl Books {
    pub(super) fn new(nodes: usize) -> Books {
        let none = || vec![BTreeSet::new(); nodes];
        Books {
            connected: none(),
            expelled: none(),
            consented: vec![BTreeSet::new(); nodes],
            heard: vec![BTreeMap::new(); nodes],
            book: vec![BTreeMap::new(); nodes],
            ended: vec![BTreeSet::new(); nodes],
            owed: BTreeSet::new(),
            moves: BTreeMap::new(),
            refused: BTreeMap::new(),
            kept: vec![BTreeMap::new(); nodes],
        }
    }

    pub(super) fn crashed(&mut self, node: usize) {
        self.connected[node].clear();
        self.expelled[node].clear();
        self.consented[node].clear();
        self.heard[node].clear();
        self.book[node].clear();
        self.ended[node].clear();
        self.kept[node].clear();
        self.refused.clear();
    }

    /// What an owner that was killed does not know any more: how often its tasks moved.
    pub(super) fn forget_moves(&mut self, run: &RunId) {
        self.moves.retain(|(of, _), _| of != run);
    }

    pub(super) fn is_held(&self, node: usize, run: &RunId, task: TaskId) -> bool {
        self.of_task(node, run, task)
            .any(|(_, entry)| entry.stage != Stage::Offered)
    }

    fn of_task(
        &self,
        node: usize,
        run: &RunId,
        task: TaskId,
    ) -> impl Iterator<Item = (&LeaseKey, &Entry)> {
        let from = LeaseKey {
            run: run.clone(),
            task,
            attempt: crate::id::Attempt(0),
        };
        let run = run.clone();
        self.book[node]
            .range(from..)
            .take_while(move |(key, _)| key.run == run && key.task == task)
    }

    fn end(&mut self, node: usize, key: &LeaseKey) -> Option<Entry> {
        let entry = self.book[node].remove(key)?;
        self.ended[node].insert((entry.peer, key.clone()));
        Some(entry)
    }

    pub(super) fn committing(&mut self, node: usize, key: &LeaseKey) {
        self.owed
            .retain(|owed| !matches!(owed, Owed::Answer(_, of) if of == key));
        if let Some(entry) = self.book[node].get_mut(key)
            && let Stage::Claimed(claim) = &entry.stage
        {
            entry.stage = Stage::Closing(claim.clone());
        }
    }

    pub(super) fn task_settled(&mut self, node: usize, run: &RunId, task: TaskId) {
        let keys: Vec<LeaseKey> = self
            .of_task(node, run, task)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.end(node, &key);
        }
    }
}

impl Check {
    pub(super) fn owner_hears(&mut self, node: usize, peer: NodeId, message: &ToOwner) {
        let shunned = self.leases.expelled[node].contains(&peer);
        let Some(key) = message.key().filter(|_| !shunned) else {
            return;
        };
        if self.leases.ended[node].contains(&(peer, key.clone())) {
            // The word before more outputs is answered.
            let wants_answer = !matches!(
                message,
                ToOwner::Decline { .. } | ToOwner::Lost { .. } | ToOwner::Outputs { .. }
            );
            if wants_answer {
                self.leases.owed.insert(Owed::Answer(peer, key.clone()));
            }
            return;
        }
        let now = self.now;
        let Some(entry) = self.leases.book[node]
            .get_mut(key)
            .filter(|entry| entry.peer == peer)
        else {
            return;
        };
        match message {
            ToOwner::Accept { .. } if entry.stage == Stage::Offered => {
                (entry.stage, entry.since) = (Stage::Held, now);
                self.moved(node, key);
            }
            // That it is full says nothing of the task.
            ToOwner::Decline {
                reason: Reason::MaxConcurrent { .. },
                ..
            } if entry.stage == Stage::Offered => drop(self.leases.end(node, key)),
            ToOwner::Decline { .. } if entry.stage == Stage::Offered => {
                self.refuses(node, peer, key)
            }
            ToOwner::Lost { .. } if entry.stage == Stage::Held => self.refuses(node, peer, key),
            ToOwner::Progress { .. } => {
                let since = entry.since;
                self.judge_age(node, peer, key, since);
            }
            ToOwner::Completed { claim, .. } => match &entry.stage {
                Stage::Held => entry.stage = Stage::Claimed((**claim).clone()),
                Stage::Claimed(known) | Stage::Closing(known) if *known != **claim => {
                    self.leases.owed.insert(Owed::Expel(peer));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn moved(&mut self, node: usize, key: &LeaseKey) {
        let moves = self
            .leases
            .moves
            .entry((key.run.clone(), key.task))
            .or_default();
        *moves += 1;
        if *moves > MOST_MOVES {
            let words = format!("{key} is accepted for the {moves}th time");
            self.object(Some(node), Invariant::Moves, words);
        }
    }

    fn refuses(&mut self, node: usize, peer: NodeId, key: &LeaseKey) {
        self.leases.end(node, key);
        let of = (key.run.clone(), key.task, peer);
        self.leases.refused.insert(of, self.now);
    }

    /// A guest cannot run for longer than its time limit, its bundle not flow for ever, and nobody be silent for longer
    /// than a lease.
    fn judge_age(&mut self, node: usize, peer: NodeId, key: &LeaseKey, since: u64) {
        let (Some(truth), Some(there)) = (
            self.cast.truth(&key.run, key.task),
            self.cast.index_of(&peer),
        ) else {
            return;
        };
        let needs = &truth.needs;
        let bytes_per_ms = self.cast.wire(node, there).bytes_per_ms;
        let transfer = 8 * (needs.component_bytes + needs.input_bytes) / bytes_per_ms;
        let lease = 2 * self.cast.parts[node].setup.profile.tick_ms;
        let most = 2 * needs.timeout_ms + 4 * lease + transfer + 60_000;
        if self.now - since > most {
            let words = format!("{key} is held by {peer} since {since}");
            self.object(Some(node), Invariant::HardEnd, words);
        }
    }

    /// A result is durable: its executor has kept its promise, whether it hears so now or later.
    pub(super) fn promise_kept(&mut self, node: usize, peer: NodeId) {
        *self.leases.kept[node].entry(peer).or_default() += 1;
    }

    pub(super) fn owner_says(&mut self, node: usize, peer: NodeId, message: &ToExecutor) {
        match message {
            ToExecutor::Offer(offer) => self.offers(node, peer, offer),
            ToExecutor::NoWork { .. } | ToExecutor::Bundle { .. } => {}
            ToExecutor::Withdraw { key } | ToExecutor::Cancel { key } => {
                self.answered(peer, key);
                if self.leases.end(node, key).is_some() {
                    let of = (key.run.clone(), key.task, peer);
                    self.leases.refused.insert(of, self.now);
                }
            }
            ToExecutor::Acked { key } => {
                self.answered(peer, key);
                if !self.committed_durably(key) {
                    self.object(Some(node), Invariant::DurableBeforeAcked, format!("{key}"));
                }
                self.leases.end(node, key);
            }
            ToExecutor::Settled { key } => {
                self.answered(peer, key);
                if self.leases.end(node, key).is_some() {
                    // A failure that is tried again was a promise kept too.
                    *self.leases.kept[node].entry(peer).or_default() += 1;
                }
            }
            ToExecutor::Resume { keys } => {
                for key in keys {
                    self.leases.owed.remove(&Owed::Resume(peer, key.clone()));
                }
            }
        }
    }

    fn offers(&mut self, node: usize, peer: NodeId, offer: &Offer) {
        let key = &offer.key;
        self.offer_said(node, key, peer, offer.nonce);
        if !self.offered_durably(key, peer, offer.nonce) && !self.reserved_durably(key) {
            self.object(
                Some(node),
                Invariant::DurableBeforeOffered,
                format!("{key} to {peer}"),
            );
        }
        self.granted(node, &key.run, key.task, key.attempt);
        let there = self
            .cast
            .index_of(&peer)
            .map(|index| &self.cast.parts[index].setup.capabilities);
        let against = there
            .and_then(|there| refusal::owner_may_not(&self.cast.parts[node], there, &offer.needs));
        if let Some(reason) = against {
            let words = format!("{key} is offered to {peer}, and {reason}");
            self.object(Some(node), Invariant::Consent, words);
        }
        let refused = self.leases.refused.get(&(key.run.clone(), key.task, peer));
        if refused.is_some_and(|at| self.now - at < COOL_MS) {
            let words = format!("{key} is offered to {peer} again after {refused:?}");
            self.object(Some(node), Invariant::CoolDown, words);
        }
        let entry = Entry {
            peer,
            stage: Stage::Offered,
            since: self.now,
        };
        self.leases.book[node].insert(key.clone(), entry);
        let outstanding = self.leases.book[node]
            .values()
            .filter(|entry| entry.peer == peer && !entry.is_claimed());
        let outstanding = outstanding.count() as u32;
        let earned = 1 + self.leases.kept[node].get(&peer).copied().unwrap_or(0);
        if outstanding > earned {
            let words = format!("{peer} has {outstanding} leases and has earned {earned}");
            self.object(Some(node), Invariant::Earned, words);
        }
    }

    /// A connection is there: what its owner holds with this peer is to be resumed.
    pub(super) fn expect_resume(&mut self, node: usize, peer: NodeId) {
        let held = self.leases.book[node].iter().filter(|(_, entry)| {
            entry.peer == peer && matches!(entry.stage, Stage::Held | Stage::Claimed(_))
        });
        let owed: Vec<Owed> = held
            .map(|(key, _)| Owed::Resume(peer, key.clone()))
            .collect();
        self.leases.owed.extend(owed);
    }

    pub(super) fn offers_are_void(&mut self, node: usize, peer: NodeId) {
        let void = self.leases.book[node]
            .iter()
            .filter(|(_, entry)| entry.peer == peer && entry.stage == Stage::Offered);
        let void: Vec<LeaseKey> = void.map(|(key, _)| key.clone()).collect();
        for key in void {
            self.leases.end(node, &key);
        }
    }

    /// An owner stopped, or could not finish, what it had under way with a peer.
    pub(super) fn drop_lease(&mut self, node: usize, peer: NodeId, key: &LeaseKey) {
        self.leases.owed.remove(&Owed::Resume(peer, key.clone()));
        self.leases.end(node, key);
    }

    pub(super) fn expelled(&mut self, node: usize, peer: NodeId) {
        let of = |entry: &Entry| entry.peer == peer && !matches!(entry.stage, Stage::Closing(_));
        let keys = self.leases.book[node].iter().filter(|(_, entry)| of(entry));
        let keys: Vec<LeaseKey> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.leases.end(node, &key);
        }
        self.leases.owed.clear();
    }

    pub(super) fn answered(&mut self, peer: NodeId, key: &LeaseKey) {
        self.leases.owed.remove(&Owed::Answer(peer, key.clone()));
        self.leases.owed.remove(&Owed::Resume(peer, key.clone()));
    }

    /// An owner wants a result's outputs.
    pub(super) fn wants_outputs(
        &mut self,
        node: usize,
        peer: NodeId,
        key: &LeaseKey,
        claim: &SignedClaim,
    ) {
        self.answered(peer, key);
        if self.leases.ended[node].remove(&(peer, key.clone())) {
            // A late result that is welcome.
            let entry = Entry {
                peer,
                stage: Stage::Claimed(claim.clone()),
                since: self.now,
            };
            self.leases.book[node].insert(key.clone(), entry);
        }
        let Some(there) = self.cast.index_of(&peer) else {
            return;
        };
        let most = refusal::most_bytes(&self.cast.parts[node], &self.cast.parts[there]);
        if claim.output_bytes > most {
            let words = format!(
                "{key}: outputs of {} bytes, and {most} may flow",
                claim.output_bytes
            );
            self.object(Some(node), Invariant::Cap, words);
        }
    }

    pub(super) fn nothing_owed(&mut self, node: usize) {
        if let Some(owed) = self.leases.owed.pop_first() {
            self.leases.owed.clear();
            let (invariant, words) = match owed {
                Owed::Resume(peer, key) => (Invariant::Resumed, format!("{key} with {peer}")),
                Owed::Answer(peer, key) => (Invariant::Answered, format!("{key} to {peer}")),
                Owed::Expel(peer) => (Invariant::LiarsGo, format!("{peer}")),
            };
            self.object(Some(node), invariant, words);
        }
    }

    pub(super) fn executor_hears(&mut self, node: usize, owner: NodeId, message: &ToExecutor) {
        match message {
            ToExecutor::Offer(offer) => {
                let held = (owner, offer.key.clone());
                self.leases.heard[node].insert(held, offer.clone());
            }
            ToExecutor::Withdraw { key }
            | ToExecutor::Cancel { key }
            | ToExecutor::Acked { key }
            | ToExecutor::Settled { key } => self.released(node, (owner, key.clone())),
            ToExecutor::NoWork { .. } | ToExecutor::Resume { .. } | ToExecutor::Bundle { .. } => {}
        }
    }

    pub(super) fn executor_says(&mut self, node: usize, owner: NodeId, message: &ToOwner) {
        match message {
            ToOwner::Accept { key, .. } => self.accepts(node, owner, key),
            ToOwner::Completed { key, claim, .. }
                if !self.finished_durably(node, owner, key, claim) =>
            {
                self.object(Some(node), Invariant::DurableBeforeTold, format!("{key}"));
            }
            _ => {}
        }
    }

    fn accepts(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        let held = (owner, key.clone());
        let Some(offer) = self.leases.heard[node].get(&held) else {
            return self.object(
                Some(node),
                Invariant::Asked,
                format!("{key} is accepted unasked"),
            );
        };
        let approved = self.leases.consented[node].contains(&held);
        let whose = self
            .cast
            .index_of(&owner)
            .map(|index| &self.cast.parts[index].setup.capabilities);
        let against = whose.and_then(|whose| {
            refusal::executor_may_not(&self.cast.parts[node], whose, offer, approved)
        });
        if let Some(reason) = against {
            let words = format!("{key} of {owner} is accepted, and {reason}");
            self.object(Some(node), Invariant::Consent, words);
        }
        self.guests.accepted[node].insert(held);
    }

    /// Bytes of a lease begin to flow, either way; `bytes` are all of them.
    pub(in crate::sim) fn flows(
        &mut self,
        now: u64,
        owner: usize,
        executor: usize,
        key: &LeaseKey,
        bytes: u64,
    ) {
        self.now = now;
        let (giver, taker) = (&self.cast.parts[owner], &self.cast.parts[executor]);
        if giver.liar.is_some() || taker.liar.is_some() {
            return;
        }
        let Some(needs) = self
            .cast
            .truth(&key.run, key.task)
            .map(|truth| truth.needs.clone())
        else {
            return;
        };
        let most = refusal::most_bytes(giver, taker);
        let against = refusal::owner_may_not(giver, &taker.setup.capabilities, &needs);
        if let Some(reason) = against {
            let words = format!("bytes of {key} flow, and {reason}");
            self.object(Some(executor), Invariant::Consent, words);
        } else if bytes > most {
            let words = format!("{bytes} bytes of {key} are to flow, and {most} may");
            self.object(Some(executor), Invariant::Cap, words);
        }
    }

    /// What a message of a peer's is, in the words of an owner's book: for those who ask why something is stuck.
    pub(in crate::sim) fn stands(&self, node: usize, run: &RunId, task: TaskId) -> String {
        let each = self.leases.of_task(node, run, task);
        let each = each.map(|(key, entry)| {
            let (peer, stage) = (self.cast.index_of(&entry.peer), &entry.stage);
            let name = peer.map_or("?", |peer| self.cast.name(peer));
            format!("#{} {stage:?} by {name} since {}", key.attempt, entry.since)
        });
        let here = self
            .records
            .runs_here(run, task)
            .then(|| "runs here".to_owned());
        let words: Vec<String> = each.chain(here).collect();
        words.join(", ")
    }
}
