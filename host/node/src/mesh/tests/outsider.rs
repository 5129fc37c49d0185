//! Somebody with a swarm of its own: what it does is written by hand, stream by stream.

use std::collections::BTreeSet;

use futures::{AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, Transport, noise, tcp, yamux};
use libp2p_stream::{Control, OpenStreamError};
use sykli_core::id::NodeId;
use sykli_core::profile::{Profile, ProfileKind};
use sykli_core::wire::MAX_FRAME_BYTES;
use tokio::sync::mpsc;

use super::{PATIENCE, capabilities};
use crate::identity::{self, Identity};
use crate::membership::{Admitted, Gate, Refusal};
use crate::mesh::frames::{framed, read_frame, write_framed};

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Bare {
    streams: libp2p_stream::Behaviour,
}

/// An outsider that is connected to a node.
pub(super) struct Outsider {
    control: Control,
    target: NodeId,
    peer: PeerId,
    gate: Gate,
    closed: mpsc::Receiver<()>,
}

impl Outsider {
    /// Connects `own` to the node at `address`. Its gate trusts that node.
    pub(super) async fn connect(own: &Identity, target: NodeId, address: Multiaddr) -> Outsider {
        let noise = noise::Config::new(own.keypair()).unwrap();
        let transport = tcp::tokio::Transport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .boxed();
        let streams = libp2p_stream::Behaviour::new();
        let control = streams.new_control();
        let peer = own.keypair().public().to_peer_id();
        let settings =
            libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
        let mut swarm = Swarm::new(transport, Bare { streams }, peer, settings);
        swarm.dial(address).unwrap();
        let (says, mut connected) = mpsc::channel(1);
        let (closing, closed) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => says.try_send(()).unwrap(),
                    SwarmEvent::ConnectionClosed { .. }
                    | SwarmEvent::OutgoingConnectionError { .. } => return drop(closing),
                    _ => {}
                }
            }
        });
        connected.recv().await.unwrap();
        let profile = Profile::of(ProfileKind::Lan);
        let membership = super::membership(own, BTreeSet::from([target]));
        let gate = membership.gate(capabilities(&profile, "outsider")).unwrap();
        Outsider {
            control,
            target,
            peer: identity::peer_id(target).unwrap(),
            gate,
            closed,
        }
    }

    /// Opens a stream of any protocol.
    pub(super) async fn open(&mut self, protocol: &'static str) -> Result<Stream, OpenStreamError> {
        let protocol = StreamProtocol::new(protocol);
        let opened = self.control.open_stream(self.peer, protocol);
        tokio::time::timeout(PATIENCE, opened).await.unwrap()
    }

    /// Greets as a member does.
    pub(super) async fn greet(&mut self) -> Result<Admitted, Refusal> {
        let mut stream = self.open("/sykli/hello/1").await.unwrap();
        let hello = framed(&self.gate.hello(self.target));
        write_framed(&mut stream, &hello, PATIENCE).await.unwrap();
        let reply = read_frame(&mut stream, MAX_FRAME_BYTES, PATIENCE).await;
        let reply = reply.unwrap().unwrap();
        let admitted = self.gate.conclude(self.target, &reply)?;
        write_framed(&mut stream, &framed(&[]), PATIENCE)
            .await
            .unwrap();
        stream.close().await.unwrap();
        Ok(admitted)
    }

    /// Waits until the connection is closed.
    pub(super) async fn is_cut_off(&mut self) {
        let closed = tokio::time::timeout(PATIENCE, self.closed.recv()).await;
        assert!(closed.is_ok(), "the outsider is still connected");
    }
}
