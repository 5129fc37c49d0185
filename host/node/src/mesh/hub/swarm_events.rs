//! What the swarm says of connections and listeners.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};

use super::Hub;
use crate::identity;
use crate::mesh::admission::AdmissionEvent;
use crate::mesh::behaviour::OuterEvent;
use crate::mesh::book::{Source, split};
use crate::mesh::event::MeshEvent;
use crate::mesh::peers::Connection;
use crate::mesh::queue::Ended;

impl Hub {
    /// One event, to the part that knows it.
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<OuterEvent>) {
        match event {
            SwarmEvent::Behaviour(OuterEvent::Mdns(event)) => self.on_mdns(event),
            SwarmEvent::Behaviour(OuterEvent::Admission(event)) => self.on_admission(event),
            SwarmEvent::Behaviour(OuterEvent::Doors(never) | OuterEvent::Memory(never)) => {
                match never {}
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.on_established(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed { connection_id, .. } => self.on_closed(connection_id),
            SwarmEvent::OutgoingConnectionError {
                peer_id,
                connection_id,
                error,
            } => self.on_unreached(peer_id, connection_id, &error),
            SwarmEvent::IncomingConnectionError { error, .. } => self.on_not_incoming(&error),
            SwarmEvent::NewListenAddr { address, .. } => {
                if self.announces {
                    self.swarm.add_external_address(address.clone());
                }
                self.shared.listens(address.clone());
                self.book.moved(Instant::now());
                self.tell(MeshEvent::Listening { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.shared.listens_no_more(&address);
                self.book.moved(Instant::now());
            }
            SwarmEvent::ListenerClosed { addresses, .. } => {
                for address in &addresses {
                    self.shared.listens_no_more(address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has trouble");
            }
            _ => {}
        }
    }

    fn on_admission(&mut self, event: AdmissionEvent<crate::mesh::behaviour::InnerEvent>) {
        match event {
            AdmissionEvent::Inner(event) => self.on_protocol(event),
            AdmissionEvent::Hello {
                connection,
                stream,
                dialler,
            } => self.greet(connection, stream, dialler),
            AdmissionEvent::Opened { connection } => {
                let known = self.peers.connections.get_mut(&connection);
                if let Some(opened) = known.and_then(|known| known.opened.take()) {
                    // An error says that the greeting ran out of time meanwhile.
                    let _sent = opened.send(());
                }
            }
            AdmissionEvent::Dropped { peer, dialler, why } => {
                self.shared.count(|counters| counters.ungreeted += 1);
                tracing::debug!(%peer, %why, "a connection is given up");
                if let Some(node) = identity::node_id(&peer).filter(|_| dialler) {
                    self.tell_refused(node, why.to_string());
                }
            }
            AdmissionEvent::Stray => self.stray(),
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        self.shared.count(|counters| counters.connects += 1);
        let now = Instant::now();
        let Some(node) = identity::node_id(&peer) else {
            // Not an Ed25519 key: no node of ours.
            return self.disconnect(id);
        };
        let (address, _) = split(endpoint.get_remote_address());
        let relayed = endpoint.is_relayed();
        self.book.answered(id, node, now);
        if endpoint.is_dialer() && !relayed {
            self.book.learn(node, address.clone(), Source::Reached, now);
        }
        self.book.connected(node, now);
        let connection = Connection {
            peer,
            node,
            address,
            relayed,
            since: now,
            admitted: None,
            released: false,
            told: self.told,
            heard: now,
            opened: None,
        };
        self.peers.connections.insert(id, connection);
    }

    fn on_closed(&mut self, id: ConnectionId) {
        let Some(connection) = self.peers.connections.remove(&id) else {
            return;
        };
        let (node, now) = (connection.node, Instant::now());
        if let Some(admitted) = &connection.admitted {
            self.gate.down(node, admitted.instance);
        }
        if let Some(standing) = self.peers.standing(node)
            && standing.connection == id
        {
            // Its stream ends by itself, unless it was the one that hung.
            standing
                .outgoing
                .end(Ended::Broken("it was closed".to_owned()));
        }
        let left = self.peers.connections_of(node).is_empty();
        if left {
            match connection.admitted {
                Some(_) => self.book.lost(node, now),
                None => self.book.failed(node, now),
            }
        }
        self.consider(node);
        self.peers.part(node);
    }

    fn on_unreached(&mut self, peer: Option<PeerId>, id: ConnectionId, error: &DialError) {
        self.shared.count(|counters| counters.failed_outgoing += 1);
        let now = Instant::now();
        self.book.unanswered(id, now);
        let Some(node) = peer.as_ref().and_then(identity::node_id) else {
            return;
        };
        tracing::debug!(peer = %node, %error, "a peer was not reached");
        if let DialError::WrongPeerId { address, .. } = error {
            self.book.mistaken(node, address, now);
        }
        if self.peers.connections_of(node).is_empty() {
            self.book.failed(node, now);
        }
    }

    fn on_not_incoming(&mut self, error: &ListenError) {
        match error {
            ListenError::Denied { .. } => self.shared.count(|counters| counters.denied += 1),
            _ => self.shared.count(|counters| counters.failed_incoming += 1),
        }
        tracing::debug!(%error, "somebody did not get in");
    }
}
