//! Meshes on the loopback: two or three in one process, and outsiders with a swarm or a socket of their own.
//!
//! Waiting is for events, each wait bounded by [`PATIENCE`]; a deadline under test is a short one of the configuration.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod attack;
mod link;
mod outsider;
mod ways;

use std::collections::BTreeSet;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use sykli_core::consent::{Capabilities, Message, ToOwner};
use sykli_core::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use sykli_core::profile::{Profile, ProfileKind};
use tokio::sync::mpsc;

use super::{Mesh, MeshConfig, MeshEvent, MeshLimits};
use crate::identity::{self, Identity};
use crate::membership::{Gate, Membership};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// `count` identities, the smallest id first.
fn identities(count: usize) -> Vec<Identity> {
    let mut all: Vec<Identity> = (0..count).map(|_| Identity::generate().unwrap()).collect();
    all.sort_by_key(Identity::node_id);
    all
}

fn capabilities(profile: &Profile, name: &str) -> Capabilities {
    Capabilities {
        name: name.into(),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: profile.is_hidden(),
        labels: BTreeSet::from(["os=linux".into()]),
        memory_mb: 1024,
        engine: "test".into(),
    }
}

fn gate_of(own: &Identity, profile: &Profile, trusted: &[&Identity]) -> Gate {
    let trusted = trusted.iter().map(|identity| identity.node_id()).collect();
    membership(own, trusted)
        .gate(capabilities(profile, "node"))
        .unwrap()
}

/// A membership in a folder of its own.
fn membership(own: &Identity, trusted: BTreeSet<NodeId>) -> Membership {
    let folder = tempfile::tempdir().unwrap().keep();
    Membership::open(&folder, own, trusted).unwrap()
}

/// A node on a lan that trusts `trusted`.
fn config(own: &Identity, trusted: &[&Identity], listen: &str) -> MeshConfig {
    let profile = Profile::of(ProfileKind::Lan);
    MeshConfig {
        identity: own.keypair().clone(),
        mesh: "test".to_owned(),
        gate: gate_of(own, &profile, trusted),
        joining: None,
        profile,
        listen: vec![listen.parse().unwrap()],
        known: Vec::new(),
        mdns: false,
        relay_server: false,
        limits: MeshLimits {
            redial_first: Duration::from_millis(1),
            ..MeshLimits::default()
        },
    }
}

/// A running mesh and what it says.
struct Node {
    mesh: Mesh,
    id: NodeId,
    events: mpsc::Receiver<MeshEvent>,
}

impl Node {
    fn start(config: MeshConfig) -> Node {
        let (sender, events) = mpsc::channel(1024);
        let mesh = Mesh::start(config, sender).unwrap();
        let id = mesh.node();
        Node { mesh, id, events }
    }

    async fn next(&mut self) -> MeshEvent {
        let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        next.unwrap_or_else(|_| panic!("{}: nothing happens", self.id))
            .unwrap()
    }

    /// Waits for what `pick` picks; other events are passed over.
    async fn until<T>(&mut self, mut pick: impl FnMut(MeshEvent) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await) {
                return picked;
            }
        }
    }

    /// Its address with its name, once it listens.
    async fn address(&mut self) -> Multiaddr {
        let address = self
            .until(|event| match event {
                MeshEvent::Listening { address } => Some(address),
                _ => None,
            })
            .await;
        named(address, self.id)
    }

    async fn up(&mut self, peer: NodeId) -> Capabilities {
        self.until(|event| match event {
            MeshEvent::Up {
                peer: up,
                capabilities,
                ..
            } => {
                assert_eq!(up, peer);
                Some(*capabilities)
            }
            _ => None,
        })
        .await
    }

    async fn down(&mut self, peer: NodeId) {
        self.until(|event| {
            matches!(event, MeshEvent::Down { peer: down } if down == peer).then_some(())
        })
        .await;
    }

    async fn message(&mut self) -> (NodeId, Message) {
        self.until(|event| match event {
            MeshEvent::Message { peer, message } => Some((peer, message)),
            MeshEvent::Down { peer } => panic!("{peer} went down"),
            _ => None,
        })
        .await
    }

    async fn refused(&mut self) -> NodeId {
        self.until(|event| match event {
            MeshEvent::Refused { peer, .. } => Some(peer),
            MeshEvent::Up { peer, .. } => panic!("{peer} is up"),
            _ => None,
        })
        .await
    }
}

/// Looks again and again until something holds that no event tells of.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let look = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, look).await;
    held.unwrap_or_else(|_| panic!("never: {what}"));
}

fn named(address: Multiaddr, node: NodeId) -> Multiaddr {
    address.with(Protocol::P2p(identity::peer_id(node).unwrap()))
}

/// Two nodes that are up, the one with the smaller id first; the second dialled.
async fn pair(listen: &str, change: impl Fn(&mut MeshConfig)) -> (Node, Node) {
    let ids = identities(2);
    let [a, b] = &ids[..] else { panic!() };
    let (mut first, mut second) = (config(a, &[b], listen), config(b, &[a], listen));
    change(&mut first);
    change(&mut second);
    let mut first = Node::start(first);
    second.known = vec![first.address().await];
    let mut second = Node::start(second);
    first.up(second.id).await;
    second.up(first.id).await;
    (first, second)
}

fn key(attempt: u32) -> LeaseKey {
    LeaseKey {
        run: RunId::new("r".repeat(64)).unwrap(),
        task: TaskId(7),
        attempt: Attempt(attempt),
    }
}

fn progress(done: u64, message: &str) -> Message {
    Message::ToOwner(ToOwner::Progress {
        key: key(1),
        done,
        total: 0,
        message: message.into(),
    })
}
