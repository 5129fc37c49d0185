//! What waits: peers to dial again, connections that are left over, and peers that never came up.

use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use sykli_core::id::NodeId;

use super::Hub;
use crate::identity;
use crate::mesh::book::{Target, is_relayed, through};
use crate::mesh::peers::Connection;
use crate::mesh::queue::Ended;

/// Most relays that a dial without an address of its own tries.
const MAX_DETOURS: usize = 2;
/// A look so long after the one before it shows that this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(3);

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
        self.hang_up(now);
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
            .filter(|(node, peer)| {
                peer.standing.is_none()
                    && now.saturating_duration_since(peer.idle_since) >= self.patience(**node)
            })
            .map(|(node, _)| *node)
            .collect();
        for node in overdue {
            tracing::debug!(peer = %node, "a peer was greeted and opened nothing");
            self.disconnect_all(node, Ended::Disconnected);
            self.peers.part(node);
        }
    }

    /// How long a peer that was greeted may take to come up.
    fn patience(&self, node: NodeId) -> Duration {
        let all = self.peers.connections.values();
        let kinds = all.filter(|connection| connection.node == node);
        let kinds = kinds.filter_map(Connection::kind);
        let hello = kinds.map(|kind| self.timing.with(kind, &self.limits).hello);
        hello.max().unwrap_or(self.timing.hello)
    }

    /// Closes connections on which no ping was answered for as long as the profiles of the two allow. QUIC notices by
    /// itself, but has to bear the most patient profile, for its handshake knows none; TCP takes minutes.
    fn hang_up(&mut self, now: Instant) {
        let stood_still = now.saturating_duration_since(self.looked) >= STOOD_STILL;
        self.looked = now;
        if stood_still {
            // So did whoever hears the answers.
            for connection in self.peers.connections.values_mut() {
                connection.heard = now;
            }
            return;
        }
        let is_silent = |connection: &Connection| {
            let idle = connection
                .kind()
                .map(|kind| self.timing.with(kind, &self.limits).idle);
            let silent = now.saturating_duration_since(connection.heard);
            connection.released && idle.is_some_and(|idle| silent >= idle)
        };
        let all = self.peers.connections.iter();
        let silent = all.filter(|(_, connection)| is_silent(connection));
        let silent: Vec<ConnectionId> = silent.map(|(id, _)| *id).collect();
        for connection in silent {
            tracing::debug!(%connection, "nothing is heard on a connection");
            self.disconnect(connection);
        }
    }
}
