//! Beacons on ways of their own, beside the connections: in any order, twice, or not at all.
//!
//! Called when a machine publishes one. Among few nodes each hears it in its own time; in a swarm all that are as far away
//! hear it at once, so that a beacon costs three events and not one for each node.

use std::rc::Rc;

use super::check::Invariant;
use super::codec;
use super::net::ordered;
use super::scenario::Meeting;
use super::world::{Ev, World};
use crate::consent::{Beacon, Message};
use crate::machine::Event;

impl World {
    /// A node's state goes to everybody, on ways of its own.
    pub(super) fn publish(&mut self, from: usize, beacon: Beacon) {
        let bytes = match codec::transit(&Message::Beacon(beacon.clone())) {
            Ok((_, bytes)) => bytes.len() as u64,
            Err(words) => return self.check.object(Some(from), Invariant::Codec, words),
        };
        if self.scenario.meeting == Meeting::OnDemand {
            let beacon = Rc::new(beacon);
            self.stats.gossip(self.nodes.len() as u64 - 1, bytes);
            for hop in 1..=3 {
                let latency = self
                    .cast
                    .wire(from, (from + 1) % self.nodes.len())
                    .latency_ms;
                let beacon = Rc::clone(&beacon);
                self.later(hop * latency, Ev::Wave { from, hop, beacon });
            }
            return;
        }
        let (lost, twice, late) = {
            let it = &self.scenario;
            (it.gossip_lost, it.gossip_twice, it.gossip_late_ms)
        };
        for node in 0..self.nodes.len() {
            if node == from || !self.nodes[node].up || self.pair(ordered(from, node)).walls > 0 {
                continue;
            }
            let pair = self.pair(ordered(from, node));
            let latency = pair.wire.latency_ms;
            let copies = 1 + u32::from(pair.rng.chance(twice));
            for _ in 0..copies {
                let rng = &mut self.pair(ordered(from, node)).rng;
                let hops = 1 + rng.below(3);
                let after = hops * latency + rng.below(late + 1);
                if rng.chance(lost) {
                    continue;
                }
                self.stats.gossip(1, bytes);
                let beacon = Box::new(beacon.clone());
                self.later(after, Ev::Gossip { node, beacon });
            }
        }
    }

    /// A beacon reaches all that are so many hops away: which those are, differs from publisher to publisher.
    pub(super) fn wave(&mut self, from: usize, hop: u64, beacon: &Beacon) {
        for node in 0..self.nodes.len() {
            let away = (node as u64)
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(from as u64)
                % 3
                + 1;
            if node != from && away == hop {
                self.tell(node, Event::Gossip(beacon.clone()));
            }
        }
    }
}
