//! What is kept beside the entries so that none has to be searched for.
//!
//! An entry's [`Keys`] say where it stands in the [`Index`]; whoever changes an entry shifts it from its old keys to its
//! new ones. Decides nothing but which peer makes room first. Called by [`super::Roster`] alone.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use crate::id::NodeId;
use crate::rng::Rng;
use crate::time::Tick;

/// Where an entry stands. The default is nowhere, as for a peer that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// Its place among those that make room: without leases first, then by when it was heard.
    evictable: Option<(bool, Tick)>,
    cooling: Option<Tick>,
    connected: bool,
    available: bool,
    busy: bool,
    askable: bool,
}

impl Keys {
    pub(super) fn of(entry: &Entry) -> Keys {
        let place = (entry.outstanding > 0, entry.heard_at());
        Keys {
            evictable: (!entry.connected).then_some(place),
            cooling: entry.cooling(),
            connected: entry.connected,
            available: entry.is_available(),
            busy: entry.is_busy(),
            askable: entry.is_askable(),
        }
    }
}

/// All entries' keys, each in the order in which it is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    evictable: BTreeSet<((bool, Tick), NodeId)>,
    cooling: BTreeSet<(Tick, NodeId)>,
    pub(super) connected: usize,
    pub(super) busy: usize,
    /// Who would take a task.
    pub(super) available: Pool,
    /// Who can be asked for one.
    pub(super) owners: Pool,
}

impl Index {
    /// Puts a peer that stood by `before` where `after` says.
    pub(super) fn shift(&mut self, peer: NodeId, before: Keys, after: Keys) {
        if before == after {
            return;
        }
        move_in(&mut self.evictable, peer, before.evictable, after.evictable);
        move_in(&mut self.cooling, peer, before.cooling, after.cooling);
        self.connected = counted(self.connected, before.connected, after.connected);
        self.busy = counted(self.busy, before.busy, after.busy);
        self.available.set(peer, after.available);
        self.owners.set(peer, after.askable);
    }

    /// Who makes room.
    pub(super) fn first_to_go(&self) -> Option<NodeId> {
        self.evictable.first().map(|(_, peer)| *peer)
    }

    /// Who has cooled down by now.
    pub(super) fn first_to_release(&self, now: Tick) -> Option<NodeId> {
        self.cooling
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, peer)| *peer)
    }

    pub(super) fn sanity_check(&self, expected: &Index) -> Result<(), &'static str> {
        if self.evictable != expected.evictable {
            return Err("the order of making room does not agree");
        }
        if self.cooling != expected.cooling {
            return Err("who is cooling does not agree");
        }
        if (self.connected, self.busy) != (expected.connected, expected.busy) {
            return Err("the counts do not agree");
        }
        if !self.available.same_members(&expected.available) {
            return Err("who is available does not agree");
        }
        if !self.owners.same_members(&expected.owners) {
            return Err("who can be asked does not agree");
        }
        Ok(())
    }
}

fn move_in<K: Ord>(
    set: &mut BTreeSet<(K, NodeId)>,
    peer: NodeId,
    before: Option<K>,
    after: Option<K>,
) {
    if before == after {
        return;
    }
    if let Some(key) = before {
        set.remove(&(key, peer));
    }
    if let Some(key) = after {
        set.insert((key, peer));
    }
}

fn counted(count: usize, before: bool, after: bool) -> usize {
    (count + usize::from(after)).saturating_sub(usize::from(before))
}

/// A set to draw from uniformly.
///
/// Not a sorted set with a random starting point: that favours whoever stands behind a large gap, and a node may choose
/// its own name.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    members: Vec<NodeId>,
    places: BTreeMap<NodeId, usize>,
}

impl Pool {
    fn set(&mut self, peer: NodeId, member: bool) {
        if member {
            self.insert(peer);
        } else {
            self.remove(peer);
        }
    }

    fn insert(&mut self, peer: NodeId) {
        if !self.places.contains_key(&peer) {
            self.places.insert(peer, self.members.len());
            self.members.push(peer);
        }
    }

    fn remove(&mut self, peer: NodeId) {
        let Some(place) = self.places.remove(&peer) else {
            return;
        };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// At most `n` members, in an order of chance: the first steps of a Fisher–Yates shuffle, of which only the places
    /// that it touched are kept.
    pub(super) fn sample(&self, rng: &mut Rng, n: usize) -> Vec<NodeId> {
        let size = self.members.len();
        let n = n.min(size);
        let mut swapped: BTreeMap<usize, usize> = BTreeMap::new();
        let mut chosen = Vec::with_capacity(n);
        for step in 0..n {
            let pick = step + rng.below((size - step) as u64) as usize;
            let here = swapped.get(&step).copied().unwrap_or(step);
            let there = swapped.insert(pick, here).unwrap_or(pick);
            chosen.extend(self.members.get(there));
        }
        chosen
    }

    fn same_members(&self, other: &Pool) -> bool {
        let placed = self
            .places
            .iter()
            .all(|(peer, place)| self.members.get(*place) == Some(peer));
        placed
            && self.members.len() == self.places.len()
            && self.places.keys().eq(other.places.keys())
    }
}
