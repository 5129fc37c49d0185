//! What the protocols behind the wall say, and the greeting before it: one function each.

use std::time::Instant;

use libp2p::core::Multiaddr;
use libp2p::gossipsub;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p::{identify, mdns, ping};
use sykli_core::consent::Offence;
use sykli_core::id::NodeId;

use super::{Hub, Note};
use crate::identity;
use crate::mesh::behaviour::InnerEvent;
use crate::mesh::book::{MAX_ADDRESSES, Source, is_loopback, is_relayed, split};
use crate::mesh::event::MeshEvent;
use crate::mesh::gossip::Verdict;
use crate::mesh::hello::{Greeted, Greeting};
use crate::mesh::pair::PairNote;
use crate::mesh::queue::Ended;
use crate::mesh::streams::InboundStream;

/// Most relays that this node keeps a place at.
const MAX_RELAYS: usize = 2;
/// Most of what one multicast answer names that is looked at.
const MAX_HEARD: usize = 64;

impl Hub {
    /// One event of a protocol, to its function.
    pub(super) fn on_protocol(&mut self, event: InnerEvent) {
        match event {
            InnerEvent::Streams(InboundStream {
                connection,
                kind,
                stream,
            }) => self.taken(connection, kind, stream),
            InnerEvent::Gossip(event) => self.on_gossip(event),
            InnerEvent::Ping(event) => self.on_ping(event),
            InnerEvent::Identify(event) => self.on_identify(event),
            InnerEvent::RelayClient(event) => tracing::debug!(?event, "relay"),
            InnerEvent::RelayServer(event) => tracing::debug!(?event, "relaying"),
            InnerEvent::Dcutr(event) => tracing::debug!(?event, "hole punching"),
            InnerEvent::AutonatClient(event) => tracing::debug!(?event, "reachability"),
            InnerEvent::AutonatServer(event) => tracing::debug!(?event, "reachability of a peer"),
        }
    }

    /// A connection's first stream: the greeting gets a task of its own.
    pub(super) fn greet(&mut self, connection: ConnectionId, stream: Stream, dialler: bool) {
        let Some(known) = self.peers.connections.get_mut(&connection) else {
            return;
        };
        // The gate says whatever is so from now on.
        known.told = self.told;
        let greeting = Greeting {
            gate: self.gate.clone(),
            joining: self.joining.clone(),
            peer: known.node,
            connection,
            // Until the door is open, the wall gives less where the handshake was quick.
            timeout: self.timing.longest.hello,
            notes: self.reporting.clone(),
        };
        let (node, reporting) = (known.node, self.reporting.clone());
        self.tasks.spawn(async move {
            let greeted: Greeted = greeting.run(stream, dialler).await;
            let note = Note::Greeted {
                node,
                connection,
                greeted,
            };
            // An error says that the mesh stops.
            let _sent = reporting.send(note).await;
        });
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message {
            propagation_source,
            message_id,
            message,
        } = event
        else {
            return;
        };
        let shared = &self.shared;
        let expelled = |author: &libp2p::PeerId| shared.is_expelled(author);
        let verdict = self.judge.judge(&message, expelled, Instant::now());
        let gossip = &mut self.swarm.behaviour_mut().admission.inner().gossip;
        // False where the message was forgotten meanwhile; nothing is passed on then.
        let _known = gossip.report_message_validation_result(
            &message_id,
            &propagation_source,
            verdict.acceptance(),
        );
        match verdict {
            Verdict::Take(beacon) => {
                self.shared.count(|counters| counters.gossip_in += 1);
                self.tell(MeshEvent::Gossip(beacon));
            }
            Verdict::Pass => self.shared.count(|counters| counters.gossip_dropped += 1),
            Verdict::Offence(offence) => {
                self.shared.count(|counters| counters.gossip_dropped += 1);
                if let Some(node) = identity::node_id(&propagation_source) {
                    self.offended(node, offence);
                }
            }
        }
    }

    fn offended(&mut self, node: NodeId, offence: Offence) {
        let why = "by gossip".to_owned();
        self.disconnect_all(node, Ended::Offence(offence, why));
    }

    fn on_ping(&mut self, event: ping::Event) {
        let now = Instant::now();
        let id = event.connection;
        let Some(connection) = self.peers.connections.get_mut(&id) else {
            return;
        };
        let node = connection.node;
        let rtt = event.result.ok();
        if rtt.is_some() {
            connection.heard = now;
        }
        let Some(peer) = self.peers.peers.get_mut(&node) else {
            return;
        };
        let carries = |carrier: ConnectionId| carrier == id;
        if !peer
            .standing
            .as_ref()
            .is_some_and(|standing| carries(standing.connection))
        {
            return;
        }
        peer.observe(rtt);
        if let Some(link) = peer.news(now)
            && let Some(standing) = &peer.standing
        {
            // Where it finds no room, the next one says as much.
            let _sent = standing.notes.try_send(PairNote::Measured(link));
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received {
            connection_id,
            info,
            ..
        } = event
        else {
            return;
        };
        let Some(connection) = self.peers.connections.get(&connection_id) else {
            return;
        };
        let hidden = connection
            .admitted
            .as_ref()
            .is_none_or(|admitted| admitted.capabilities.hidden);
        if hidden {
            return;
        }
        let (node, now) = (connection.node, Instant::now());
        let nearby = is_loopback(&connection.address);
        for address in info.listen_addrs.into_iter().take(MAX_ADDRESSES) {
            let (address, named) = split(&address);
            let its_own = named.is_none_or(|named| named == node);
            // Its loopback is not ours, unless it is on this machine.
            if its_own && (nearby || !is_loopback(&address)) {
                self.book.learn(node, address, Source::Told, now);
            }
        }
    }

    /// Multicast gives hints whom to dial, nothing more: the greeting decides.
    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else {
            return;
        };
        let now = Instant::now();
        for (peer, address) in found.into_iter().take(MAX_HEARD) {
            let Some(node) = identity::node_id(&peer) else {
                continue;
            };
            self.heard_of(node, &address, now);
        }
    }

    /// Somebody says where a node is.
    pub(super) fn heard_of(&mut self, node: NodeId, address: &Multiaddr, now: Instant) {
        let peer = identity::peer_id(node);
        if peer.is_ok_and(|peer| !self.shared.is_expelled(&peer)) {
            let (address, _) = split(address);
            self.book.learn(node, address, Source::Heard, now);
            self.book.want(node, now);
        }
    }

    /// Asks a peer that relays for a place there, where this node is not known to be reachable.
    pub(super) fn ask_relay(&mut self, id: ConnectionId) {
        let listening = self.shared.listening();
        let relays = listening
            .iter()
            .filter(|address| is_relayed(address))
            .count();
        let reachable = self
            .swarm
            .external_addresses()
            .any(|address| !is_relayed(address));
        if !self.wants_relay || reachable || relays >= MAX_RELAYS {
            return;
        }
        let Some(connection) = self.peers.connections.get(&id) else {
            return;
        };
        let address: Multiaddr = connection
            .address
            .clone()
            .with(Protocol::P2p(connection.peer))
            .with(Protocol::P2pCircuit);
        if let Err(error) = self.swarm.listen_on(address) {
            tracing::debug!(%error, "a relay was not asked");
        }
    }
}
