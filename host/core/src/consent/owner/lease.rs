//! One lease as its owner sees it, and the table of all of them with their deadlines.
//!
//! The table keeps its three indices (by key, by peer, by deadline) in step; it decides nothing. Called by
//! [`super::Owner`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{LeaseKey, NodeId};
use crate::machine::Token;
use crate::policy::Requirements;
use crate::receipt::SignedClaim;
use crate::time::Tick;

/// Where a lease is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseState {
    /// Its record is being made durable, and nothing was said yet: its number is not reserved.
    Recording(Token),
    /// Offered; the answer is awaited.
    Offered,
    /// The peer asks a person.
    Pending,
    /// Accepted; the bundle flows, or the peer was not heard of since a restart.
    Held,
    /// The guest runs.
    Running,
    /// The peer has a result; its outputs are being fetched.
    Fetching(Box<SignedClaim>),
    /// The outputs are here; the record of the result is being made durable.
    Committing(Token, Box<SignedClaim>),
    /// That failed; it is tried again.
    Uncommitted(Box<SignedClaim>),
    /// Taken back. Of a pure task a late result is still welcome.
    Ended,
}

/// One attempt at a peer's.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) peer: NodeId,
    pub(super) nonce: u64,
    pub(super) needs: Arc<Requirements>,
    pub(super) state: LeaseState,
    /// Whether its attempt is its task's current one.
    pub(super) current: bool,
    /// The peer had asked for work.
    pub(super) asked: bool,
    /// Taken up after a restart: whether the peer ever had it, and what its task was made of then, is not known.
    pub(super) resumed: bool,
    /// Its record is durable. Before that no bundle leaves.
    pub(super) recorded: bool,
    /// The peer has accepted before that, and has these of the offer's named blobs.
    pub(super) awaits: Option<Vec<u8>>,
    /// Compressed bytes of the bundle that the peer lacked, as far as is known.
    pub(super) missing_bytes: u64,
    pub(super) offered: Tick,
    pub(super) started: Option<Tick>,
    /// When it runs out unless it is renewed.
    pub(super) until: Tick,
    /// No renewal goes beyond this.
    pub(super) hard: Tick,
}

impl Lease {
    /// Whether the peer holds it: it has consented, and has not been told otherwise.
    pub(super) fn is_held(&self) -> bool {
        matches!(
            self.state,
            LeaseState::Held | LeaseState::Running | LeaseState::Fetching(_)
        )
    }

    /// Whether a result of it is being accepted.
    pub(super) fn is_closing(&self) -> bool {
        matches!(
            self.state,
            LeaseState::Committing(..) | LeaseState::Uncommitted(_)
        )
    }

    /// Whether its peer has told its result, which is being taken in.
    pub(super) fn is_delivered(&self) -> bool {
        self.is_closing() || matches!(self.state, LeaseState::Fetching(_))
    }

    /// Whether it still counts as one of the peer's outstanding leases.
    pub(super) fn is_outstanding(&self) -> bool {
        self.state != LeaseState::Ended
    }
}

/// All leases of a node's own tasks.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<LeaseKey, Lease>,
    by_peer: BTreeMap<NodeId, BTreeSet<LeaseKey>>,
    deadlines: BTreeSet<(Tick, LeaseKey)>,
}

impl Leases {
    pub(super) fn get(&self, key: &LeaseKey) -> Option<&Lease> {
        self.all.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn insert(&mut self, key: LeaseKey, lease: Lease) {
        self.by_peer
            .entry(lease.peer)
            .or_default()
            .insert(key.clone());
        if lease.is_outstanding() {
            self.deadlines.insert((lease.until, key.clone()));
        }
        self.all.insert(key, lease);
    }

    /// Changes a lease; the deadline's index follows.
    pub(super) fn update<T>(
        &mut self,
        key: &LeaseKey,
        change: impl FnOnce(&mut Lease) -> T,
    ) -> Option<T> {
        let lease = self.all.get_mut(key)?;
        let before = lease.until;
        let value = change(lease);
        if lease.until != before || !lease.is_outstanding() {
            self.deadlines.remove(&(before, key.clone()));
        }
        if lease.is_outstanding() {
            self.deadlines.insert((lease.until, key.clone()));
        }
        Some(value)
    }

    pub(super) fn remove(&mut self, key: &LeaseKey) -> Option<Lease> {
        let lease = self.all.remove(key)?;
        self.deadlines.remove(&(lease.until, key.clone()));
        if let Some(keys) = self.by_peer.get_mut(&lease.peer) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_peer.remove(&lease.peer);
            }
        }
        Some(lease)
    }

    /// The keys of a peer's leases.
    pub(super) fn of_peer(&self, peer: NodeId) -> Vec<LeaseKey> {
        self.by_peer
            .get(&peer)
            .map_or(Vec::new(), |keys| keys.iter().cloned().collect())
    }

    /// The keys of a task's leases.
    pub(super) fn of_task(&self, of: &LeaseKey) -> Vec<LeaseKey> {
        let from = LeaseKey {
            attempt: crate::id::Attempt(0),
            ..of.clone()
        };
        self.all
            .range(from..)
            .take_while(|(key, _)| key.run == of.run && key.task == of.task)
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A lease whose deadline has come.
    pub(super) fn due(&self, now: Tick) -> Option<LeaseKey> {
        let (at, key) = self.deadlines.first()?;
        (*at <= now).then(|| key.clone())
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LeaseKey, &Lease)> {
        self.all.iter()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn sanity_check(&self) {
        let by_peer: usize = self.by_peer.values().map(BTreeSet::len).sum();
        assert_eq!(by_peer, self.all.len(), "leases by peer");
        let outstanding = self.all.values().filter(|lease| lease.is_outstanding());
        assert_eq!(
            outstanding.count(),
            self.deadlines.len(),
            "leases with a deadline"
        );
        for (at, key) in &self.deadlines {
            assert_eq!(self.all.get(key).map(|lease| lease.until), Some(*at));
        }
    }
}
