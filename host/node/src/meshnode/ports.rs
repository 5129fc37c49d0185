//! The ports that this node was given last, asked for again at its next start: where others met it, they find it.
//!
//! For addresses that name no port (`/udp/0/…`). One small file, `$data/ports.json`; a port that is taken meanwhile is no
//! obstacle, the system gives another. Called when a node starts, and by the loop when it listens.

use std::collections::BTreeMap;
use std::path::Path;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::durable;

const FILE: &str = "ports.json";
/// The longest file that is read, in bytes.
const MAX_BYTES: usize = 4096;

/// `udp` and `tcp` to the port.
type Ports = BTreeMap<String, u16>;

fn read(data: &Path) -> Ports {
    let bytes = durable::read(&data.join(FILE), MAX_BYTES).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// These addresses, with the ports of last time where they name none.
pub(super) fn again(data: &Path, listen: &[Multiaddr]) -> Vec<Multiaddr> {
    let ports = read(data);
    let last = |kind: &str| ports.get(kind).copied().unwrap_or_default();
    let again = |address: &Multiaddr| {
        let parts = address.iter().map(|part| match part {
            Protocol::Udp(0) => Protocol::Udp(last("udp")),
            Protocol::Tcp(0) => Protocol::Tcp(last("tcp")),
            other => other,
        });
        parts.collect()
    };
    listen.iter().map(again).collect()
}

/// Notes where this node listens.
pub(super) fn remember(data: &Path, address: &Multiaddr) {
    // Through a relay, it is the relay's.
    if address.iter().any(|part| part == Protocol::P2pCircuit) {
        return;
    }
    let given = address.iter().find_map(|part| match part {
        Protocol::Udp(port) => Some(("udp", port)),
        Protocol::Tcp(port) => Some(("tcp", port)),
        _ => None,
    });
    let Some((kind, port)) = given else { return };
    let mut ports = read(data);
    if ports.insert(kind.to_owned(), port) == Some(port) {
        return;
    }
    if let Ok(bytes) = serde_json::to_vec(&ports)
        && let Err(error) = durable::replace(&data.join(FILE), &bytes)
    {
        tracing::warn!(%error, "this node's ports cannot be remembered");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn ports_are_asked_for_again_where_none_is_named() {
        let data = tempfile::tempdir().unwrap();
        let listen: Vec<Multiaddr> = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/7"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(again(data.path(), &listen), listen);
        remember(
            data.path(),
            &"/ip4/127.0.0.1/udp/4242/quic-v1".parse().unwrap(),
        );
        remember(data.path(), &"/ip4/127.0.0.1/tcp/4343".parse().unwrap());
        let asked: Vec<String> = again(data.path(), &listen)
            .iter()
            .map(Multiaddr::to_string)
            .collect();
        assert_eq!(
            asked,
            ["/ip4/0.0.0.0/udp/4242/quic-v1", "/ip4/0.0.0.0/tcp/7"]
        );
    }
}
