//! The mesh: this node's connections to other nodes, and what goes over them.
//!
//! # What is where
//!
//! | part | what |
//! |---|---|
//! | `swarm`, `behaviour` | libp2p over QUIC and TCP: transports, protocols, deadlines |
//! | `quic` | QUIC, with a look at who knocks before a handshake begins |
//! | `doors`, `limits`, `meter` | how many may connect, how fast; every number |
//! | `admission`, `hello`, `leash` | nothing but the greeting before it passed |
//! | `streams`, `frames`, `queue`, `pair`, `blob` | a pair's messages and bulk streams |
//! | `gossip` | beacons |
//! | `book`, `peers` | where nodes are, who is connected |
//! | `hub` | the loop that owns the swarm |
//!
//! # What holds
//!
//! * A peer reaches nothing, and hears nothing, before both sides let each other in; who lets in is the
//!   [`Gate`].
//! * Everything is bounded: connections, handshakes, streams, frames, queues, the address book. What takes too long is
//!   cut off. A receiver of events that does not keep up slows peers down and nothing else.
//! * The events of one peer come in order, each `Up` with its `Down`.
//! * A hidden node listens on nothing and is dialled by nobody.
//!
//! Never decides what core decides: who gets a task, whom a beacon makes interesting, which flood is one. No Kademlia (it
//! tells outsiders who is a member), no pre-shared network key (one leak is everyone's). Called by the mesh node.

mod admission;
mod behaviour;
mod blob;
mod book;
mod doors;
mod error;
mod event;
mod frames;
mod gossip;
mod hello;
mod hub;
mod join;
mod leash;
mod limits;
mod meter;
mod pair;
mod peers;
mod queue;
mod quic;
mod shared;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;

pub use blob::BlobStream;
pub use error::MeshError;
pub use event::MeshEvent;
pub use hub::PeerInfo;
pub use join::{Joining, join};
pub use limits::MeshLimits;
pub use shared::Counters;
pub(crate) use shared::offence_name;

use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use sykli_core::consent::{Beacon, Capabilities, Message};
use sykli_core::id::NodeId;
use sykli_core::profile::Profile;
use sykli_core::wire;
use tokio::sync::{mpsc, oneshot};

use crate::identity;
use crate::membership::Gate;
use frames::framed;
use hub::{Command, Hub};
use limits::{Timing, WAITING};
use queue::{Ended, Pushed};
use shared::Shared;

/// How a mesh is set up.
#[derive(Clone)]
pub struct MeshConfig {
    /// This node's key pair; an Ed25519 one.
    pub identity: Keypair,
    /// Which mesh: the last part of the gossip's topic, the same at all its nodes.
    pub mesh: String,
    /// Who is let in.
    pub gate: Gate,
    /// Ask to be let into a mesh, and do nothing else; see [`join`].
    pub joining: Option<Joining>,
    /// Deadlines, discovery, and whether it is hidden.
    pub profile: Profile,
    /// Where to listen; nowhere if the profile is hidden, whatever is said here.
    pub listen: Vec<Multiaddr>,
    /// Whom to connect to for ever, with or without `/p2p/…` at the end.
    pub known: Vec<Multiaddr>,
    /// Look for nodes by multicast, and be found.
    pub mdns: bool,
    /// Relay for members that cannot reach each other.
    pub relay_server: bool,
    /// What others may cost.
    pub limits: MeshLimits,
}

/// A handle of a running mesh. The mesh stops when the last one is gone.
#[derive(Clone)]
pub struct Mesh {
    node: NodeId,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Mesh {
    /// Starts a mesh. Must be called within a runtime; `events` should hold at least 64 and be read steadily.
    ///
    /// # Errors
    /// When it cannot listen where it should, or the transport cannot be set up.
    pub fn start(config: MeshConfig, events: mpsc::Sender<MeshEvent>) -> Result<Mesh, MeshError> {
        let peer = config.identity.public().to_peer_id();
        let node = identity::node_id(&peer).ok_or_else(|| MeshError::Transport {
            message: "the node's key is not an Ed25519 key".to_owned(),
        })?;
        let timing = Timing::of(&config.profile, &config.limits);
        let shared = Arc::new(Shared::default());
        let mut swarm = swarm::build(&config, timing, &shared)?;
        if !config.profile.is_hidden() {
            for address in &config.listen {
                swarm
                    .listen_on(address.clone())
                    .map_err(|error| MeshError::Listen {
                        address: address.clone(),
                        message: error.to_string(),
                    })?;
            }
        }
        let (commands, asked) = mpsc::channel(WAITING);
        let hub = Hub::new(
            config,
            node,
            swarm,
            timing,
            Arc::clone(&shared),
            events,
            asked,
        );
        tokio::spawn(hub.run());
        Ok(Mesh {
            node,
            shared,
            commands,
        })
    }

    /// What this node is called.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Queues a message for a peer. Never waits: a peer that does not take what is queued for it is disconnected.
    ///
    /// # Errors
    /// When the peer is not up, its queue is full, or the message fits into no frame. A caller whose protocol says
    /// everything again after a `Down` need not look.
    pub fn send(&self, peer: NodeId, message: &Message) -> Result<(), MeshError> {
        let queue = self.shared.queue(peer);
        let queue = queue.ok_or(MeshError::NotConnected { peer })?;
        let bytes = wire::encode(message)?;
        match queue.push(framed(&bytes)) {
            Pushed::Queued => {
                self.shared.count(|counters| counters.messages_out += 1);
                Ok(())
            }
            Pushed::Overflowed => Err(MeshError::TooSlow { peer }),
            Pushed::Closed => Err(MeshError::NotConnected { peer }),
        }
    }

    /// Bytes that can be queued for a peer; 0 where it is not up, or so many messages wait that nothing should be added
    /// that can go another way.
    #[must_use]
    pub fn room(&self, peer: NodeId) -> usize {
        self.shared.queue(peer).map_or(0, |queue| queue.room())
    }

    /// Publishes this node's beacon by gossip, signed. Passed over while the mesh has too much to do: the next beacon
    /// says more.
    pub fn publish(&self, beacon: Beacon) {
        self.ask(Command::Publish(beacon));
    }

    /// Dials a node by whatever addresses are known for it. Nothing happens if it is connected already.
    pub fn dial(&self, peer: NodeId) {
        self.ask(Command::Dial(peer));
    }

    /// Dials an address that the user wants dialled, for ever, and whoever answers there. What others say is a
    /// [`Mesh::hint`].
    pub fn dial_address(&self, address: Multiaddr) {
        self.ask(Command::DialAddress(address));
    }

    /// Somebody says that `peer` is at `address` (a `/p2p/…` at its end aside). It is dialled there a few times if it is not
    /// connected, and forgotten again if that fails.
    pub fn hint(&self, peer: NodeId, address: Multiaddr) {
        self.ask(Command::Hint(peer, address));
    }

    /// Disconnects a peer and refuses it for as long as this process lives.
    pub fn expel(&self, peer: NodeId) {
        if let Ok(id) = identity::peer_id(peer) {
            self.shared.expel(id);
        }
        // Also where the loop is too busy to hear of it: its pair ends, and its connections with that.
        if let Some(queue) = self.shared.queue(peer) {
            queue.end(Ended::Expelled);
        }
        self.ask(Command::Expel(peer));
    }

    /// Disconnects a peer. It may come back.
    pub fn disconnect(&self, peer: NodeId) {
        if let Some(queue) = self.shared.queue(peer) {
            queue.end(Ended::Disconnected);
        }
        self.ask(Command::Disconnect(peer));
    }

    /// Says to all peers that this node's capabilities are these now. Give them to the gate first, for those to come.
    pub fn capabilities_changed(&self, capabilities: Capabilities) {
        let message = Message::Capabilities(Box::new(capabilities));
        self.ask(Command::Capabilities(message));
    }

    /// Opens a bulk stream to a peer that is up.
    ///
    /// # Errors
    /// When it is not up, too many are open, or it does not take it.
    pub async fn open_blob(&self, peer: NodeId) -> Result<BlobStream, MeshError> {
        let (opened, wait) = oneshot::channel();
        self.request(Command::Blob { peer, opened }).await?;
        wait.await.map_err(|_| MeshError::Stopped)?
    }

    /// The next round trip to a peer that is up; takes up to a quarter of the profile's idle timeout and that trip.
    ///
    /// # Errors
    /// When it is not up, or goes down meanwhile.
    pub async fn ping(&self, peer: NodeId) -> Result<Duration, MeshError> {
        let (answer, wait) = oneshot::channel();
        self.request(Command::Ping { peer, answer }).await?;
        wait.await.map_err(|_| MeshError::NotConnected { peer })
    }

    /// The peers that are up.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (answer, wait) = oneshot::channel();
        if self.request(Command::Peers(answer)).await.is_err() {
            return Vec::new();
        }
        wait.await.unwrap_or_default()
    }

    /// Where it listens, relayed addresses included.
    #[must_use]
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.shared.listening()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Closes every connection and stops. Other handles ask in vain from then on.
    pub async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.request(Command::Stop(stopped)).await.is_ok() {
            // An error says that it stopped for another reason.
            let _stopped = wait.await;
        }
    }

    fn ask(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "the mesh was not asked");
        }
    }

    async fn request(&self, command: Command) -> Result<(), MeshError> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| MeshError::Stopped)
    }
}
