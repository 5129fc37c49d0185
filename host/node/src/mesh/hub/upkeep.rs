//! What waits: peers to dial again, connections that are left over, and peers that never came up.

use std::time::Instant;

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use sykli_core::id::NodeId;

use super::Hub;
use crate::identity;
use crate::mesh::book::{Target, is_relayed, through};
use crate::mesh::queue::Ended;

/// Most relays that a dial without an address of its own tries.
const MAX_DETOURS: usize = 2;

impl Hub {
    /// Looks after all of it.
    pub(super) fn on_tick(&mut self, now: Instant) {
        for target in self.book.due(now) {
            match target {
                Target::Node(node) => self.dial(node, now),
                Target::Address(address) => self.dial_address(address, now),
            }
        }
        self.prune(now);
        self.give_up(now);
        self.drop_fallen();
    }

    /// Dials a node by whatever is known of it.
    pub(super) fn dial(&mut self, node: NodeId, now: Instant) {
        let Ok(peer) = identity::peer_id(node) else {
            return self.book.forget(node);
        };
        if self.shared.is_expelled(&peer) {
            return self.book.forget(node);
        }
        let mut addresses = self.book.addresses(node);
        if !addresses.iter().any(|address| !is_relayed(address)) {
            addresses.extend(self.detours(peer));
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        // What fails at once is not heard of as an event.
        if self.swarm.dial(options).is_err() && self.peers.connections_of(node).is_empty() {
            self.book.failed(node, now);
        }
    }

    /// Dials whoever is at an address.
    pub(super) fn dial_address(&mut self, address: Multiaddr, now: Instant) {
        let options = DialOpts::unknown_peer_id().address(address.clone()).build();
        let connection = options.connection_id();
        self.book.dialling(&address, connection);
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%address, %error, "an address cannot be dialled");
            self.book.unanswered(connection, now);
        }
    }

    /// The ways to a node through the relays that this one is connected to.
    fn detours(&self, node: PeerId) -> Vec<Multiaddr> {
        let relays = self.peers.connections.values().filter(|connection| {
            let admitted = connection.admitted.as_ref();
            !connection.relayed && admitted.is_some_and(|admitted| admitted.relay)
        });
        relays
            .take(MAX_DETOURS)
            .map(|connection| through(connection.address.clone(), connection.peer, node))
            .collect()
    }

    /// Closes what is left over of pairs that this node opened.
    fn prune(&mut self, now: Instant) {
        let mut carriers = Vec::new();
        for (node, peer) in &mut self.peers.peers {
            // While a stream is on its way to another connection, the next look is early enough.
            if let (Some(standing), None) = (&peer.standing, peer.opening)
                && peer.prune.take_if(|at| *at <= now).is_some()
                && self.own < *node
            {
                carriers.push((*node, standing.connection));
            }
        }
        for (node, carrier) in carriers {
            let greeted = self.peers.greeted(node).map(|(id, _)| id);
            let spare: Vec<ConnectionId> = greeted.filter(|id| *id != carrier).collect();
            for connection in spare {
                self.disconnect(connection);
            }
        }
    }

    /// Closes what was greeted and never came up.
    fn give_up(&mut self, now: Instant) {
        let overdue: Vec<NodeId> = self
            .peers
            .peers
            .iter()
            .filter(|(_, peer)| {
                peer.standing.is_none()
                    && now.saturating_duration_since(peer.idle_since) >= self.timing.hello
            })
            .map(|(node, _)| *node)
            .collect();
        for node in overdue {
            tracing::debug!(peer = %node, "a peer was greeted and opened nothing");
            self.disconnect_all(node, Ended::Disconnected);
            self.peers.part(node);
        }
    }
}
