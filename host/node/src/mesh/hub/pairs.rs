//! From greeted to up to down: which connection carries a pair, and what follows when it ends.

use std::sync::Arc;
use std::time::Instant;

use libp2p::swarm::{ConnectionId, Stream};
use sykli_core::consent::Message;
use sykli_core::id::NodeId;
use sykli_core::profile::Link;
use sykli_core::wire;
use tokio::sync::{mpsc, oneshot};

use super::{Hub, Note};
use crate::membership::{Admitted, Instance, Refusal};
use crate::mesh::blob::BlobStream;
use crate::mesh::event::MeshEvent;
use crate::mesh::frames::framed;
use crate::mesh::hello::Greeted;
use crate::mesh::pair::{Pair, PairNote};
use crate::mesh::peers::{Connection, Standing};
use crate::mesh::queue::{Ended, Outgoing, Pushed};
use crate::mesh::streams::Kind;

/// Notes that wait for a pair's task; a bulk stream that finds no room is dropped, and its opener tries again.
const PAIR_NOTES: usize = 16;

impl Hub {
    /// A greeting passed on this side.
    pub(super) fn admit(
        &mut self,
        id: ConnectionId,
        admitted: Box<Admitted>,
        dialler: bool,
        opened: oneshot::Sender<()>,
    ) {
        let Some(connection) = self.peers.connections.get_mut(&id) else {
            return;
        };
        let admission = &mut self.swarm.behaviour_mut().admission;
        if !admission.open(id) {
            return;
        }
        if dialler {
            // The listener's door is open: it answered.
            admission.release(id);
        }
        let (node, instance) = (connection.node, admitted.instance);
        let supersedes = admitted.supersedes;
        connection.admitted = Some(admitted);
        connection.opened = Some(opened);
        self.gate.up(node, instance);
        if supersedes {
            self.drop_others(node, instance);
        }
    }

    /// A peer was restarted, or is cloned: the connections of its other process are not its any more.
    fn drop_others(&mut self, node: NodeId, instance: Instance) {
        for id in self.peers.connections_of(node) {
            let other = self.peers.connections.get(&id).is_some_and(|connection| {
                let admitted = connection.admitted.as_ref();
                admitted.is_some_and(|admitted| admitted.instance != instance)
            });
            if other {
                self.disconnect(id);
            }
        }
    }

    /// Peers that would not be let in now: revoked, blocked, expired, cloned since.
    pub(super) fn drop_fallen(&mut self) {
        for (node, refusal) in self.gate.fallen() {
            self.refused(node, refusal.to_string());
            self.disconnect_all(node, Ended::Disconnected);
        }
    }

    /// A greeting ended. Its connection may be gone before that is heard: who was refused goes at once.
    pub(super) fn greeted(&mut self, node: NodeId, id: ConnectionId, greeted: Greeted) {
        let now = Instant::now();
        match greeted {
            Greeted::Admitted => self.both_admitted(node, id, now),
            Greeted::Refused(refusal) => {
                self.book.refused(node, now);
                self.refused(node, refusal.to_string());
                match refusal {
                    // Two processes with one identity: neither is believed.
                    Refusal::Clone => self.disconnect_all(node, Ended::Disconnected),
                    _ => self.disconnect(id),
                }
            }
            Greeted::Joined => {
                tracing::info!(peer = %node, "a node has joined the mesh");
                self.disconnect(id);
            }
            Greeted::Failed(why) => {
                tracing::debug!(peer = %node, %why, "a greeting failed");
                self.shared.count(|counters| counters.ungreeted += 1);
                self.disconnect(id);
            }
        }
    }

    fn both_admitted(&mut self, node: NodeId, id: ConnectionId, now: Instant) {
        let Some(connection) = self.peers.connections.get_mut(&id) else {
            return;
        };
        connection.released = true;
        connection.heard = now;
        self.swarm.behaviour_mut().admission.release(id);
        self.shared.count(|counters| counters.admitted += 1);
        self.book.up(node, now);
        let theirs = connection.kind();
        let peer = self.peers.meet(node, now);
        if let Some(theirs) = theirs {
            peer.expect(Link::of(theirs));
        }
        // It may be one too many, whatever carries the pair then.
        peer.prune = Some(now + self.limits.spare_lasts);
        if peer.standing.is_none() {
            peer.idle_since = now;
        }
        self.consider(node);
        // What it brought along may be about others.
        self.drop_fallen();
    }

    /// Somebody was not let in, or did not let this node in.
    pub(super) fn refused(&mut self, peer: NodeId, why: String) {
        self.shared.count(|counters| counters.refused += 1);
        self.tell_refused(peer, why);
    }

    /// Tells of somebody who was not let in, unless too many were of late.
    pub(super) fn tell_refused(&mut self, peer: NodeId, why: String) {
        if self.refusals.take(1, Instant::now()) {
            self.tell(MeshEvent::Refused { peer, why });
        }
    }

    /// Opens a pair's stream where that is this node's part and a better connection than its present one is there.
    pub(super) fn consider(&mut self, node: NodeId) {
        if self.own > node {
            return;
        }
        let Some(best) = self.peers.best(node) else {
            return;
        };
        let Some(Connection { peer, relayed, .. }) = self.peers.connections.get(&best) else {
            return;
        };
        let (peer_id, relayed) = (*peer, *relayed);
        let present = self
            .peers
            .standing(node)
            .map(|standing| standing.connection);
        let present = present.and_then(|id| self.peers.connections.get(&id));
        // A pair moves for one reason only: off a relay.
        if present.is_some_and(|present| !present.relayed || relayed) {
            return;
        }
        let Some(peer) = self.peers.peers.get_mut(&node) else {
            return;
        };
        if peer.opening.is_some() {
            return;
        }
        peer.opening = Some(best);
        let (opened, wait) = oneshot::channel();
        let streams = &mut self.swarm.behaviour_mut().admission.inner().streams;
        streams.open(peer_id, best, Kind::Consent, opened);
        let reporting = self.reporting.clone();
        self.tasks.spawn(async move {
            let stream = match wait.await {
                Ok(opened) => opened.map_err(|error| error.to_string()),
                Err(_) => Err("the connection is gone".to_owned()),
            };
            let note = Note::Opened {
                node,
                connection: best,
                stream,
            };
            // An error says that the mesh stops.
            let _sent = reporting.send(note).await;
        });
    }

    /// A consent stream that this node opened.
    pub(super) fn opened(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        stream: Result<Stream, String>,
    ) {
        if let Some(peer) = self.peers.peers.get_mut(&node) {
            peer.opening = None;
        }
        match stream {
            Ok(stream) => self.stand(node, connection, stream),
            Err(why) => {
                tracing::debug!(peer = %node, %why, "the consent stream was not opened");
                self.disconnect(connection);
            }
        }
        self.consider(node);
    }

    /// A stream that a peer opened.
    pub(super) fn taken(&mut self, id: ConnectionId, kind: Kind, stream: Stream) {
        let known = self.peers.connections.get(&id);
        let Some(node) = known
            .filter(|connection| connection.admitted.is_some())
            .map(|connection| connection.node)
        else {
            return self.stray();
        };
        match kind {
            // Who opens it is settled; anybody else's is none.
            Kind::Consent if self.own < node => self.stray(),
            Kind::Consent => self.stand(node, id, stream),
            Kind::Blob => self.blob(node, stream),
        }
    }

    /// A stream that should not be was dropped.
    pub(super) fn stray(&mut self) {
        self.shared.count(|counters| counters.streams_dropped += 1);
    }

    fn blob(&mut self, node: NodeId, stream: Stream) {
        let sent = self.peers.peers.get(&node).and_then(|peer| {
            let standing = peer.standing.as_ref()?;
            let place = peer.inbound.take()?;
            let note = PairNote::Blob(BlobStream::new(stream, place));
            standing.notes.try_send(note).ok()
        });
        if sent.is_none() {
            self.stray();
        }
    }

    /// A pair's stream is there: whatever carried it before is replaced.
    fn stand(&mut self, node: NodeId, id: ConnectionId, stream: Stream) {
        let now = Instant::now();
        let Some(connection) = self.peers.connections.get(&id) else {
            return;
        };
        let Some(admitted) = connection.admitted.clone() else {
            return;
        };
        let (address, relayed) = (connection.address.clone(), connection.relayed);
        let told = connection.told;
        let peer = self.peers.meet(node, now);
        if let Some(before) = peer.standing.take() {
            before.outgoing.end(Ended::Replaced);
            self.shared.remove_queue(node, &before.outgoing);
        }
        peer.prune = Some(now + self.limits.spare_lasts);
        let outgoing = Arc::new(Outgoing::new(
            self.limits.queue_frames,
            self.limits.queue_bytes,
        ));
        let (notes, noted) = mpsc::channel(PAIR_NOTES);
        let (said, last) = oneshot::channel::<()>();
        let before = peer.last.replace(last);
        self.number += 1;
        let number = self.number;
        peer.standing = Some(Standing {
            number,
            connection: id,
            outgoing: Arc::clone(&outgoing),
            notes,
            since: now,
        });
        let up = MeshEvent::Up {
            peer: node,
            capabilities: Box::new(admitted.capabilities.clone()),
            link: peer.link,
            trusted: admitted.trusted,
            address,
            relayed,
        };
        let pair = Pair {
            peer: node,
            up,
            before,
            outgoing: Arc::clone(&outgoing),
            notes: noted,
            events: self.events.clone(),
            gate: self.gate.clone(),
            shared: Arc::clone(&self.shared),
            limits: self.limits.clone(),
            deadline: self
                .timing
                .with(admitted.capabilities.profile, &self.limits)
                .frame,
        };
        self.shared.set_queue(node, Arc::clone(&outgoing));
        self.run_pair(pair, stream, number, said);
        if told != self.told {
            self.tell_capabilities(&outgoing);
        }
        self.met(node, &admitted, relayed);
        if !relayed && admitted.relay {
            self.ask_relay(id);
        }
    }

    /// Has a pair's task run until the pair is no more, which `said` and a note tell.
    fn run_pair(&mut self, pair: Pair, stream: Stream, number: u64, said: oneshot::Sender<()>) {
        let (node, reporting) = (pair.peer, self.reporting.clone());
        self.tasks.spawn(async move {
            let ended = pair.run(stream).await;
            drop(said);
            let note = Note::Ended {
                node,
                number,
                ended,
            };
            // An error says that the mesh stops.
            let _sent = reporting.send(note).await;
        });
    }

    /// Says the own capabilities to a peer whose greeting told older ones.
    pub(super) fn tell_capabilities(&self, outgoing: &Outgoing) {
        let encoded = self.capabilities.as_ref().map(wire::encode);
        if let Some(Ok(bytes)) = encoded
            && outgoing.push(framed(&bytes)) == Pushed::Queued
        {
            self.shared.count(|counters| counters.messages_out += 1);
        }
    }

    /// What is remembered of a peer that is up.
    fn met(&mut self, node: NodeId, admitted: &Admitted, relayed: bool) {
        if admitted.capabilities.hidden {
            self.book.hide(node);
        }
        tracing::info!(peer = %node, name = %admitted.capabilities.name, relayed, "a peer is up");
    }

    /// A pair is no more. Its connection goes with it: a peer that ends the one has no use for the other.
    pub(super) fn ended(&mut self, node: NodeId, number: u64, ended: &Ended) {
        tracing::info!(peer = %node, why = %ended, "a peer is down");
        let Some(peer) = self.peers.peers.get_mut(&node) else {
            return;
        };
        let Some(standing) = peer.standing.take_if(|known| known.number == number) else {
            return;
        };
        peer.idle_since = Instant::now();
        self.shared.remove_queue(node, &standing.outgoing);
        match ended {
            Ended::Closed | Ended::Broken(_) | Ended::Replaced => {
                self.disconnect(standing.connection);
            }
            Ended::TooSlow
            | Ended::Slow
            | Ended::Offence(..)
            | Ended::Disconnected
            | Ended::Expelled
            | Ended::Stopped => self.disconnect_all(node, ended.clone()),
        }
        // The connection that ends is no longer one to choose.
        if let Some(connection) = self.peers.connections.get_mut(&standing.connection) {
            connection.released = false;
        }
        self.consider(node);
        self.peers.part(node);
    }

    /// Says that this node's capabilities are others now.
    pub(super) fn capabilities_changed(&mut self, message: Message) {
        self.told += 1;
        self.capabilities = Some(message);
        let standing = self
            .peers
            .peers
            .values()
            .filter_map(|peer| peer.standing.as_ref());
        let queues: Vec<Arc<Outgoing>> = standing
            .map(|standing| Arc::clone(&standing.outgoing))
            .collect();
        for queue in queues {
            self.tell_capabilities(&queue);
        }
    }
}
