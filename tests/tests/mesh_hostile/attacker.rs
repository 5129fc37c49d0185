//! Peers that are not what they should be: a swarm of their own, an address of their own, and streams whose every byte the
//! test writes.
//!
//! Addresses are other ones of the loopback network than 127.0.0.1, so that what a node does to an address hits the
//! attacker and nobody else. A [`Member`] has joined by the product's own commands and greets with what they left in its
//! data folder; what it says after that is the test's. Called by the tests of this folder.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, Transport, noise, quic, tcp, yamux,
};
use libp2p_stream::{Behaviour, Control, IncomingStreams, OpenStreamError};
use sykli_core::consent::{Capabilities, Message};
use sykli_core::id::NodeId;
use sykli_core::profile::{Profile, ProfileKind};
use sykli_core::wire;
use sykli_node::identity::{self, Identity};
use sykli_node::membership::{Admitted, Gate, Membership, Refusal};
use sykli_tests::mesh::{Machine, UNWILLING};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What must happen happens within this, or the test is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Ports that are tried to dial from.
const PORTS: usize = 16;
/// The greeting's protocol.
pub(crate) const HELLO: &str = "/sykli/hello/1";
/// That of messages.
const CONSENT: &str = "/sykli/consent/1";
/// That of bulk.
const BLOB: &str = "/sykli/blob/1";

/// The node that is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) peer: PeerId,
    pub(crate) node: NodeId,
    pub(crate) tcp: Multiaddr,
    pub(crate) quic: Multiaddr,
}

impl Target {
    /// The node that runs on a machine.
    pub(crate) fn of(machine: &Machine) -> Target {
        let status = machine.json(&["node", "status", "--json"]);
        let listening = status["listening"].as_array().unwrap();
        let at = |part: &str| {
            let mut all = listening.iter().map(|address| address.as_str().unwrap());
            let found = all.find(|address| address.contains(part));
            found.unwrap().parse::<Multiaddr>().unwrap()
        };
        let peer: PeerId = machine.peer().parse().unwrap();
        Target {
            peer,
            node: identity::node_id(&peer).unwrap(),
            tcp: at("/tcp/"),
            quic: at("/quic-v1"),
        }
    }
}

/// Where a multiaddress leads to.
pub(crate) fn socket(address: &Multiaddr) -> SocketAddr {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    (Ipv4Addr::LOCALHOST, port.unwrap()).into()
}

/// An address of the loopback network.
pub(crate) fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A frame with its length before it.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// A message as it goes over a consent stream.
pub(crate) fn said(message: &Message) -> Vec<u8> {
    framed(&wire::encode(message).unwrap())
}

/// Reads a frame.
pub(crate) async fn heard(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Somebody with a connection to the node, on which nothing was said yet.
pub(crate) struct Outsider {
    pub(crate) control: Control,
    peer: PeerId,
    closed: watch::Receiver<()>,
    swarm: AbortHandle,
}

impl Drop for Outsider {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

fn swarm(own: &Keypair) -> Swarm<Behaviour> {
    let tcp = tcp::tokio::Transport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(own).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, libp2p::core::muxing::StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic::Config::new(own))
        .map(|(peer, muxer), _| (peer, libp2p::core::muxing::StreamMuxerBox::new(muxer)));
    let transport = quic
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .boxed();
    let settings =
        libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
    let peer = own.public().to_peer_id();
    Swarm::new(transport, Behaviour::new(), peer, settings)
}

impl Outsider {
    /// Connects to the node at `to`, from `from`.
    pub(crate) async fn connect(
        own: &Keypair,
        from: Ipv4Addr,
        peer: PeerId,
        to: &Multiaddr,
    ) -> Result<Outsider, String> {
        // A dial is made from the port that it listens on, which others on this machine may have taken meanwhile.
        for _ in 0..PORTS {
            match Outsider::connect_once(own, from, peer, to).await {
                Err(why) if why.contains("Address already in use") => {}
                connected => return connected,
            }
        }
        Err(format!("{PORTS} ports of this machine were in use"))
    }

    async fn connect_once(
        own: &Keypair,
        from: Ipv4Addr,
        peer: PeerId,
        to: &Multiaddr,
    ) -> Result<Outsider, String> {
        let mut swarm = swarm(own);
        let control = swarm.behaviour().new_control();
        // Dials are made from where it listens.
        let at = match to.iter().any(|part| part == Protocol::QuicV1) {
            true => format!("/ip4/{from}/udp/0/quic-v1"),
            false => format!("/ip4/{from}/tcp/0"),
        };
        swarm.listen_on(at.parse().unwrap()).unwrap();
        while !matches!(
            swarm.select_next_some().await,
            SwarmEvent::NewListenAddr { .. }
        ) {}
        let dial = DialOpts::peer_id(peer).addresses(vec![to.clone()]).build();
        swarm.dial(dial).map_err(|error| error.to_string())?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.to_string()),
                _ => {}
            }
        }
        let (closing, closed) = watch::channel(());
        let task = tokio::spawn(async move {
            while !matches!(
                swarm.select_next_some().await,
                SwarmEvent::ConnectionClosed { .. }
            ) {}
            drop(closing);
        });
        Ok(Outsider {
            control,
            peer,
            closed,
            swarm: task.abort_handle(),
        })
    }

    /// Opens a stream of any protocol.
    pub(crate) async fn open(&mut self, protocol: &'static str) -> Result<Stream, OpenStreamError> {
        let opened = self
            .control
            .open_stream(self.peer, StreamProtocol::new(protocol));
        // Over a connection that was closed before this asked, nobody answers: the swarm is gone with it.
        let answer = async {
            tokio::select! {
                biased;
                opened = opened => opened,
                _ = self.closed.changed() => {
                    Err(OpenStreamError::Io(std::io::ErrorKind::ConnectionReset.into()))
                }
            }
        };
        timeout(PATIENCE, answer).await.expect("an answer comes")
    }

    /// Writes on a stream of any protocol, as far as that is taken.
    pub(crate) async fn write(&mut self, protocol: &'static str, bytes: &[u8]) -> Stream {
        let mut stream = self.open(protocol).await.unwrap();
        // It may be cut off already.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        stream
    }

    /// Waits until the node has closed the connection.
    pub(crate) async fn is_cut_off(&mut self) {
        let closed = timeout(PATIENCE, self.closed.changed()).await;
        assert!(closed.is_ok(), "it is still connected");
    }
}

/// What a node may say of itself.
pub(crate) fn capabilities(name: &str) -> Capabilities {
    let profile = Profile::of(ProfileKind::Lan);
    Capabilities {
        name: name.into(),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: false,
        labels: BTreeSet::new(),
        memory_mb: 1024,
        engine: "none".into(),
    }
}

/// A node that was let into the mesh, and does not keep to its rules.
pub(crate) struct Member {
    pub(crate) machine: Machine,
    identity: Identity,
    pub(crate) gate: Gate,
}

/// A member that was greeted: its stream of messages, and those that the node opens for bulk.
pub(crate) struct Pair {
    pub(crate) outsider: Outsider,
    pub(crate) messages: Stream,
    pub(crate) bulk: IncomingStreams,
}

impl Member {
    /// Joins the mesh of `issuer`, whose node runs, by the product's own commands.
    pub(crate) fn join(issuer: &Machine, name: &str) -> Member {
        let machine = Machine::new(name, UNWILLING);
        issuer.admit(&machine);
        let identity = Identity::existing(&machine.data()).unwrap().unwrap();
        let gate = gate(&machine, &identity);
        Member {
            machine,
            identity,
            gate,
        }
    }

    /// Another process of the same node, as when its key was copied.
    pub(crate) fn clone_of(&self) -> Gate {
        gate(&self.machine, &self.identity)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.identity.node_id()
    }

    /// Connects, greets, and is up.
    pub(crate) async fn enter(&self, target: &Target, from: Ipv4Addr) -> Result<Pair, String> {
        self.enter_as(&self.gate, target, from).await
    }

    /// The same as one of several processes.
    pub(crate) async fn enter_as(
        &self,
        gate: &Gate,
        target: &Target,
        from: Ipv4Addr,
    ) -> Result<Pair, String> {
        let own = self.identity.keypair();
        let mut outsider = Outsider::connect(own, from, target.peer, &target.quic).await?;
        let accept = |control: &mut Control, protocol| {
            let streams = control.accept(StreamProtocol::new(protocol));
            streams.expect("nobody else takes them")
        };
        let mut theirs = accept(&mut outsider.control, CONSENT);
        let bulk = accept(&mut outsider.control, BLOB);
        greet(&mut outsider, gate, target.node)
            .await
            .map_err(|refusal| refusal.to_string())?;
        // The one with the smaller id opens it.
        let messages = match self.node() < target.node {
            true => outsider
                .open(CONSENT)
                .await
                .map_err(|error| error.to_string())?,
            false => {
                let next = timeout(PATIENCE, theirs.next()).await;
                next.ok().flatten().ok_or("no stream comes")?.1
            }
        };
        Ok(Pair {
            outsider,
            messages,
            bulk,
        })
    }
}

impl Pair {
    /// Says something, as far as that is taken.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = self.messages.write_all(bytes).await;
        let _ = self.messages.flush().await;
    }
}

fn gate(machine: &Machine, identity: &Identity) -> Gate {
    let membership = Membership::open(&machine.data(), identity, BTreeSet::new()).unwrap();
    membership.gate(capabilities(machine.name())).unwrap()
}

/// Greets as an honest node does. A connection that ends meanwhile is a refusal as well.
pub(crate) async fn greet(
    outsider: &mut Outsider,
    gate: &Gate,
    to: NodeId,
) -> Result<Admitted, Refusal> {
    let gone = Refusal::Malformed;
    let mut stream = outsider.open(HELLO).await.map_err(|_| gone)?;
    let hello = framed(&gate.hello(to));
    stream.write_all(&hello).await.map_err(|_| gone)?;
    stream.flush().await.map_err(|_| gone)?;
    let reply = timeout(PATIENCE, heard(&mut stream)).await;
    let reply = reply.expect("an answer comes").map_err(|_| gone)?;
    let admitted = gate.conclude(to, &reply)?;
    stream.write_all(&framed(&[])).await.map_err(|_| gone)?;
    stream.close().await.map_err(|_| gone)?;
    Ok(admitted)
}
