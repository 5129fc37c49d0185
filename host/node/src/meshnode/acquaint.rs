//! How members find each other: a node tells those it trusts where the others are that it is connected to.
//!
//! Hints alone: whoever answers at an address has to prove who it is, and is let in or not as ever. Hidden nodes are in no
//! such list, and strangers get none. So that a large mesh does not become everybody with everybody, a node dials by hints
//! only while it has fewer than [`ENOUGH`] peers. It decides nothing about tasks. Called by the loop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use sykli_core::consent::{MAX_ACQUAINTANCES, Message};
use sykli_core::id::NodeId;

use super::hub::Hub;
use super::{Shared, book};
use crate::identity;

/// Peers beyond which nobody is dialled for a hint: up to here beacons go straight to peers.
const ENOUGH: usize = 48;
/// How long a peer has to say where it listens, before others are told.
const INTRODUCTION: Duration = Duration::from_secs(1);
/// Addresses of one node that are passed on.
const ADDRESSES: usize = 4;

impl Hub {
    /// A trusted peer is here: where it is will be remembered, it is told of the others, and they of it.
    pub(super) fn introduce(&self, newcomer: NodeId) {
        let shared = Arc::clone(&self.shared);
        let roster = self.machine.roster().iter();
        let open = roster.filter(|(_, entry)| entry.connected && entry.trusted);
        let (hidden, seen): (Vec<_>, Vec<_>) = open.partition(|(_, entry)| entry.is_hidden());
        let names = |list: Vec<(NodeId, _)>| list.into_iter().map(|(node, _)| node).collect();
        let (hidden, seen): (BTreeSet<NodeId>, BTreeSet<NodeId>) = (names(hidden), names(seen));
        tokio::spawn(async move {
            tokio::time::sleep(INTRODUCTION).await;
            introduce(&shared, newcomer, (&hidden, &seen)).await;
        });
    }

    /// A peer says where others are.
    pub(super) fn hinted(&self, peer: NodeId, addresses: &[Arc<str>]) {
        let roster = self.machine.roster();
        let trusted = roster.get(peer).is_some_and(|entry| entry.trusted);
        if !trusted || roster.connected_count() >= ENOUGH {
            return;
        }
        for address in addresses {
            let Some((node, address)) = split(address) else {
                continue;
            };
            let known = roster.get(node);
            let met = known.is_some_and(|entry| entry.connected) || roster.is_expelled(node);
            if node != self.shared.me && !met {
                self.shared.mesh.hint(node, address);
            }
        }
    }
}

async fn introduce(
    shared: &Arc<Shared>,
    newcomer: NodeId,
    (hidden, seen): (&BTreeSet<NodeId>, &BTreeSet<NodeId>),
) {
    let peers = shared.mesh.peers().await;
    let addresses = |node: NodeId| {
        let peer = peers.iter().find(|peer| peer.node == node);
        peer.map_or(&[][..], |peer| peer.addresses.as_slice())
    };
    let own = addresses(newcomer).to_vec();
    if !hidden.contains(&newcomer) && !own.is_empty() {
        let kept = Arc::clone(shared);
        let known = own.clone();
        let remember = move || book::remember(&kept.data, newcomer, &known);
        // It fails only by a panic or at the end of the node.
        let _ = tokio::task::spawn_blocking(remember).await;
        let hint = Message::Acquaint(hints(newcomer, &own));
        for other in seen.union(hidden).filter(|other| **other != newcomer) {
            // Who is gone meanwhile needs no hint.
            let _ = shared.mesh.send(*other, &hint);
        }
    }
    let others = seen.iter().filter(|other| **other != newcomer);
    let mut all: Vec<Arc<str>> = others
        .flat_map(|other| hints(*other, addresses(*other)))
        .collect();
    all.truncate(MAX_ACQUAINTANCES);
    if !all.is_empty() {
        let _ = shared.mesh.send(newcomer, &Message::Acquaint(all));
    }
}

/// The addresses of a node, each with its name at the end.
fn hints(node: NodeId, addresses: &[Multiaddr]) -> Vec<Arc<str>> {
    let Ok(peer) = identity::peer_id(node) else {
        return Vec::new();
    };
    let plain = |address: &&Multiaddr| !address.iter().any(|part| part == Protocol::P2pCircuit);
    let named = addresses.iter().filter(plain).map(|address| {
        let parts = address.iter();
        let bare: Multiaddr = parts
            .filter(|part| !matches!(part, Protocol::P2p(_)))
            .collect();
        bare.with(Protocol::P2p(peer)).to_string().into()
    });
    named.take(ADDRESSES).collect()
}

/// The node and the whole address of a hint.
fn split(hint: &str) -> Option<(NodeId, Multiaddr)> {
    let address: Multiaddr = hint.parse().ok()?;
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some((identity::node_id(&peer)?, address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_hint_names_its_node_and_goes_through_nobody() {
        let data = tempfile::tempdir().unwrap();
        let node = identity::Identity::open(data.path()).unwrap().node_id();
        let relayed = format!(
            "/ip4/127.0.0.1/tcp/1/p2p/{}/p2p-circuit",
            identity::show(node)
        );
        let addresses = ["/ip4/127.0.0.1/tcp/1", &relayed].map(|text| text.parse().unwrap());
        let hints = hints(node, &addresses);
        assert_eq!(hints.len(), 1);
        let (named, address) = split(&hints[0]).unwrap();
        assert_eq!(named, node);
        assert!(address.to_string().starts_with("/ip4/127.0.0.1/tcp/1/p2p/"));
        assert_eq!(split("/ip4/127.0.0.1/tcp/1"), None, "of nobody");
        assert_eq!(split("nonsense"), None);
    }
}
