//! What the handles of a mesh and its loop both see: whom a message can be queued for, who is expelled, where the mesh
//! listens, and the counters.
//!
//! Every lock is held for a few instructions, never across a wait. Decides nothing. Called by the handle, the loop and
//! its tasks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use libp2p::{Multiaddr, PeerId};
use sykli_core::consent::Offence;
use sykli_core::id::NodeId;
use sykli_core::roster::MAX_EXPELLED;

use super::queue::Outgoing;
use crate::db::lock;

/// What happened so far, for `status` and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were established, either way.
    pub connects: u64,
    /// Attempts of others that failed before they were established, for whatever reason but [`Counters::denied`].
    pub failed_incoming: u64,
    /// Attempts of this node that failed.
    pub failed_outgoing: u64,
    /// Connections that a limit refused.
    pub denied: u64,
    /// Greetings that passed.
    pub admitted: u64,
    /// Greetings that ended with a refusal.
    pub refused: u64,
    /// Connections that did not greet in time, or lost their place before they did.
    pub ungreeted: u64,
    /// Peers that were cut off since they took or gave a frame too slowly.
    pub slow: u64,
    /// Streams that were dropped: over a limit, or opened by the wrong side.
    pub streams_dropped: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages queued.
    pub messages_out: u64,
    /// Messages of a kind that only newer versions know.
    pub unknown: u64,
    /// Beacons received by gossip.
    pub gossip_in: u64,
    /// Beacons received by gossip that were not passed on.
    pub gossip_dropped: u64,
    /// Events that found no room at the receiver and were dropped, since newer ones say the same.
    pub events_dropped: u64,
    /// What peers did that no honest node does, by kind.
    pub offences: BTreeMap<&'static str, u64>,
}

/// An offence's name in [`Counters::offences`].
pub(crate) fn offence_name(offence: Offence) -> &'static str {
    match offence {
        Offence::Malformed => "malformed",
        Offence::ForeignClaim => "foreign-claim",
        Offence::Forged => "forged",
        Offence::Equivocation => "equivocation",
        Offence::NeverGranted => "never-granted",
        Offence::Flood => "flood",
        Offence::Oversize => "oversize",
    }
}

/// Whom nobody connects to again; the oldest of more than [`MAX_EXPELLED`] are forgotten.
#[derive(Default)]
struct Expelled {
    set: HashSet<PeerId>,
    order: VecDeque<PeerId>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Shared {
    queues: Mutex<HashMap<NodeId, Arc<Outgoing>>>,
    expelled: Mutex<Expelled>,
    listening: Mutex<Vec<Multiaddr>>,
    counters: Mutex<Counters>,
}

impl Shared {
    /// Where messages to a peer go, if it is up.
    pub(super) fn queue(&self, peer: NodeId) -> Option<Arc<Outgoing>> {
        lock(&self.queues).get(&peer).cloned()
    }

    /// All of them.
    pub(super) fn queues(&self) -> Vec<(NodeId, Arc<Outgoing>)> {
        let queues = lock(&self.queues);
        queues
            .iter()
            .map(|(peer, queue)| (*peer, Arc::clone(queue)))
            .collect()
    }

    /// From now on they go there.
    pub(super) fn set_queue(&self, peer: NodeId, queue: Arc<Outgoing>) {
        lock(&self.queues).insert(peer, queue);
    }

    /// No longer there.
    pub(super) fn remove_queue(&self, peer: NodeId, queue: &Arc<Outgoing>) {
        let mut queues = lock(&self.queues);
        if queues
            .get(&peer)
            .is_some_and(|known| Arc::ptr_eq(known, queue))
        {
            queues.remove(&peer);
        }
    }

    /// It never comes back.
    pub(super) fn expel(&self, peer: PeerId) {
        let mut expelled = lock(&self.expelled);
        if !expelled.set.insert(peer) {
            return;
        }
        expelled.order.push_back(peer);
        if expelled.order.len() > MAX_EXPELLED
            && let Some(oldest) = expelled.order.pop_front()
        {
            expelled.set.remove(&oldest);
        }
    }

    /// Whether it must not come back.
    pub(super) fn is_expelled(&self, peer: &PeerId) -> bool {
        lock(&self.expelled).set.contains(peer)
    }

    /// Where the mesh listens.
    pub(super) fn listening(&self) -> Vec<Multiaddr> {
        lock(&self.listening).clone()
    }

    /// It listens there too.
    pub(super) fn listens(&self, address: Multiaddr) {
        let mut listening = lock(&self.listening);
        if !listening.contains(&address) {
            listening.push(address);
        }
    }

    /// It no longer listens there.
    pub(super) fn listens_no_more(&self, address: &Multiaddr) {
        lock(&self.listening).retain(|known| known != address);
    }

    /// Counts.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut lock(&self.counters));
    }

    /// Counts an offence.
    pub(super) fn count_offence(&self, offence: Offence) {
        self.count(|counters| {
            *counters.offences.entry(offence_name(offence)).or_default() += 1;
        });
    }

    /// What was counted.
    pub(super) fn counters(&self) -> Counters {
        lock(&self.counters).clone()
    }
}
