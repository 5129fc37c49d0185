//! Where nodes were met: kept across restarts, so that a node finds the others again without being told.
//!
//! One small file, `$data/addresses.json`, of at most [`MAX_NODES`] nodes with [`MAX_ADDRESSES`] addresses each, the
//! latest first. It is a hint: whoever answers there still has to prove who it is. What is broken is begun anew. Hidden
//! nodes are never in it. Written beside the loop, read when a node starts.

use std::path::Path;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::{Deserialize, Serialize};
use sykli_core::id::NodeId;

use crate::durable::{self, Lock};
use crate::identity;

/// Nodes that are remembered.
const MAX_NODES: usize = 256;
/// Addresses of one node.
const MAX_ADDRESSES: usize = 8;
/// The longest file that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
const FILE: &str = "addresses.json";

#[derive(Default, Serialize, Deserialize)]
struct Book {
    nodes: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    peer: String,
    addresses: Vec<String>,
}

fn read(data: &Path) -> Book {
    let bytes = durable::read(&data.join(FILE), MAX_BYTES).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// All addresses, each with its node's name at the end.
pub(super) fn known(data: &Path) -> Vec<Multiaddr> {
    let mut known = Vec::new();
    for entry in read(data).nodes.into_iter().take(MAX_NODES) {
        let Some(peer) = identity::parse(&entry.peer)
            .and_then(identity::peer_id)
            .ok()
        else {
            continue;
        };
        for address in entry.addresses.iter().take(MAX_ADDRESSES) {
            if let Ok(address) = address.parse::<Multiaddr>() {
                known.push(address.with(Protocol::P2p(peer)));
            }
        }
    }
    known
}

/// Remembers where a node is. Failing that, it has to be found anew.
pub(crate) fn remember(data: &Path, node: NodeId, addresses: &[Multiaddr]) {
    if addresses.is_empty() {
        return;
    }
    let Ok(_lock) = Lock::exclusive(&data.join("addresses.lock")) else {
        return;
    };
    let (mut book, peer) = (read(data), identity::show(node));
    let plain = addresses.iter().map(|address| {
        let parts = address.iter();
        let kept = parts.filter(|part| !matches!(part, Protocol::P2p(_)));
        kept.collect::<Multiaddr>().to_string()
    });
    let mut addresses: Vec<String> = plain.collect();
    let before = book.nodes.iter().position(|entry| entry.peer == peer);
    if let Some(before) = before.map(|at| book.nodes.remove(at)) {
        addresses.extend(before.addresses);
    }
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    addresses.truncate(MAX_ADDRESSES);
    book.nodes.insert(0, Entry { peer, addresses });
    book.nodes.truncate(MAX_NODES);
    if let Ok(bytes) = serde_json::to_vec_pretty(&book)
        && let Err(error) = durable::replace(&data.join(FILE), &bytes)
    {
        tracing::warn!(%error, "where nodes are cannot be remembered");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn the_latest_address_comes_first_and_a_broken_book_is_begun_anew() {
        let data = tempfile::tempdir().unwrap();
        let node = NodeId(
            *identity::Identity::open(data.path())
                .unwrap()
                .node_id()
                .0
                .first_chunk()
                .unwrap(),
        );
        let at = |port: u16| {
            format!("/ip4/127.0.0.1/tcp/{port}")
                .parse::<Multiaddr>()
                .unwrap()
        };
        remember(data.path(), node, &[at(1)]);
        remember(data.path(), node, &[at(2), at(1)]);
        let ports: Vec<String> = known(data.path()).iter().map(|a| a.to_string()).collect();
        assert_eq!(ports.len(), 2);
        assert!(ports[0].contains("/tcp/2/p2p/"), "{ports:?}");
        std::fs::write(data.path().join(FILE), "{").unwrap();
        assert!(known(data.path()).is_empty());
        remember(data.path(), node, &[at(3)]);
        assert_eq!(known(data.path()).len(), 1);
    }
}
