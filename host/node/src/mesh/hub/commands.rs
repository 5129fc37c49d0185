//! What the handles of a mesh ask of its loop.

use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use sykli_core::consent::{Beacon, Message};
use sykli_core::id::NodeId;
use sykli_core::profile::Link;
use sykli_core::wire;
use tokio::sync::oneshot;

use super::Hub;
use crate::mesh::blob::BlobStream;
use crate::mesh::error::MeshError;
use crate::mesh::queue::Ended;
use crate::mesh::streams::Kind;

/// A peer that is up, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub node: NodeId,
    /// Where it is connected.
    pub address: Multiaddr,
    /// Where else it may be.
    pub addresses: Vec<Multiaddr>,
    /// What its link is like.
    pub link: Link,
    /// Through another node.
    pub relayed: bool,
    /// For how long.
    pub up: Duration,
    /// Connections with it; more than one for some seconds at most.
    pub connections: usize,
}

/// What is asked.
pub(in crate::mesh) enum Command {
    Publish(Beacon),
    Dial(NodeId),
    DialAddress(Multiaddr),
    Hint(NodeId, Multiaddr),
    Expel(NodeId),
    Disconnect(NodeId),
    Capabilities(Message),
    Blob {
        peer: NodeId,
        opened: oneshot::Sender<Result<BlobStream, MeshError>>,
    },
    Ping {
        peer: NodeId,
        answer: oneshot::Sender<Duration>,
    },
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Stop(oneshot::Sender<()>),
}

impl Hub {
    /// One command, to its function.
    pub(super) fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Publish(beacon) => self.publish(beacon),
            Command::Dial(node) => {
                self.book.want(node, now);
                self.dial(node, now);
            }
            Command::DialAddress(address) => {
                self.book.configure(address, now);
                self.on_tick(now);
            }
            Command::Hint(node, address) => self.heard_of(node, &address, now),
            Command::Expel(node) => {
                self.book.forget(node);
                self.disconnect_all(node, Ended::Expelled);
            }
            Command::Disconnect(node) => self.disconnect_all(node, Ended::Disconnected),
            Command::Capabilities(message) => self.capabilities_changed(message),
            Command::Blob { peer, opened } => self.open_blob(peer, opened),
            Command::Ping { peer, answer } => {
                // Dropped where it is not up, which tells whoever asks.
                if let Some(peer) = self.peers.peers.get_mut(&peer) {
                    peer.await_ping(answer);
                }
            }
            Command::Peers(answer) => {
                // Whoever asked may be gone.
                let _sent = answer.send(self.infos(now));
            }
            // The loop took it before it got here.
            Command::Stop(_) => {}
        }
    }

    fn publish(&mut self, beacon: Beacon) {
        let bytes = match wire::encode(&Message::Beacon(beacon)) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::debug!(%error, "a beacon that fits no frame"),
        };
        let topic = self.topic.clone();
        let gossip = &mut self.swarm.behaviour_mut().admission.inner().gossip;
        if let Err(error) = gossip.publish(topic, bytes) {
            tracing::debug!(%error, "a beacon was not published");
        }
    }

    fn open_blob(&mut self, node: NodeId, opened: oneshot::Sender<Result<BlobStream, MeshError>>) {
        let (connection, place) = match self.blob_place(node) {
            Ok(found) => found,
            Err(error) => {
                // Whoever asked may be gone.
                let _sent = opened.send(Err(error));
                return;
            }
        };
        let Some(peer_id) = self.peers.connections.get(&connection).map(|at| at.peer) else {
            return;
        };
        let (sender, wait) = oneshot::channel();
        let streams = &mut self.swarm.behaviour_mut().admission.inner().streams;
        streams.open(peer_id, connection, Kind::Blob, sender);
        self.tasks.spawn(async move {
            let stream = match wait.await {
                Ok(Ok(stream)) => Ok(BlobStream::new(stream, place)),
                Ok(Err(error)) => Err(MeshError::Stream {
                    peer: node,
                    message: error.to_string(),
                }),
                Err(_) => Err(MeshError::NotConnected { peer: node }),
            };
            // Whoever asked may be gone.
            let _sent = opened.send(stream);
        });
    }

    fn blob_place(
        &self,
        node: NodeId,
    ) -> Result<(libp2p::swarm::ConnectionId, crate::mesh::blob::Place), MeshError> {
        let gone = MeshError::NotConnected { peer: node };
        let peer = self.peers.peers.get(&node).ok_or(gone.clone())?;
        let standing = peer.standing.as_ref().ok_or(gone)?;
        let place = peer.outbound.take();
        let place = place.ok_or(MeshError::Busy { peer: node })?;
        Ok((standing.connection, place))
    }

    fn infos(&self, now: Instant) -> Vec<PeerInfo> {
        let info = |(node, peer): (&NodeId, &crate::mesh::peers::Peer)| {
            let standing = peer.standing.as_ref()?;
            let connection = self.peers.connections.get(&standing.connection)?;
            Some(PeerInfo {
                node: *node,
                address: connection.address.clone(),
                addresses: self.book.addresses(*node),
                link: peer.link,
                relayed: connection.relayed,
                up: now.saturating_duration_since(standing.since),
                connections: self.peers.connections_of(*node).len(),
            })
        };
        self.peers.peers.iter().filter_map(info).collect()
    }
}
