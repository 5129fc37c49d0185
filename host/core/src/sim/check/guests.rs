//! What executors run: under an accepted lease, with its bundle here, no more at once than their users allow.

use std::collections::BTreeSet;

use super::{Check, Held, Invariant};
use crate::id::{LeaseKey, NodeId};

#[derive(Debug)]
pub(super) struct Books {
    /// By executor: leases that it said it takes.
    pub(super) accepted: Vec<BTreeSet<Held>>,
    /// By executor: bundles that are here.
    pub(super) arrived: Vec<BTreeSet<Held>>,
    /// By executor: foreign guests that run.
    running: Vec<BTreeSet<Held>>,
}

impl Books {
    pub(super) fn new(nodes: usize) -> Books {
        let none = || vec![BTreeSet::new(); nodes];
        Books {
            accepted: none(),
            arrived: none(),
            running: none(),
        }
    }

    pub(super) fn crashed(&mut self, node: usize) {
        for books in [&mut self.accepted, &mut self.arrived, &mut self.running] {
            books[node].clear();
        }
    }
}

impl Check {
    pub(super) fn guest_begins(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        let held = (owner, key.clone());
        let asked =
            self.guests.accepted[node].contains(&held) && self.guests.arrived[node].contains(&held);
        let fresh = self.guests.running[node].insert(held);
        if !asked || !fresh {
            let words =
                format!("{key} of {owner}: accepted and here {asked}, not running already {fresh}");
            self.object(Some(node), Invariant::Asked, words);
        }
        let most = self.cast.parts[node].setup.policy.max_concurrent as usize;
        let running = self.guests.running[node].len();
        if running > most {
            let words = format!("{running} foreign guests, and {most} may be");
            self.object(Some(node), Invariant::Concurrency, words);
        }
    }

    pub(super) fn guest_gone(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        let held = (owner, key.clone());
        self.guests.running[node].remove(&held);
        self.guests.arrived[node].remove(&held);
        self.guests.accepted[node].remove(&held);
    }
}
