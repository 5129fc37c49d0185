//! What an address of QUIC's looks like: `/ip4/…/udp/…/quic-v1`, perhaps with `/p2p/…` at its end.
//!
//! Pure. Called by the transport and its listeners.

use std::net::SocketAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Where that is, and who is said to be there; `None` for an address of another kind.
pub(super) fn parse(address: &Multiaddr) -> Option<(SocketAddr, Option<PeerId>)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let (Protocol::Udp(port), Protocol::QuicV1) = (parts.next()?, parts.next()?) else {
        return None;
    };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    parts
        .next()
        .is_none()
        .then_some((SocketAddr::new(ip, port), peer))
}

/// The address of a socket.
pub(super) fn format(at: SocketAddr) -> Multiaddr {
    Multiaddr::empty()
        .with(at.ip().into())
        .with(Protocol::Udp(at.port()))
        .with(Protocol::QuicV1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["127.0.0.1:4242", "[::1]:1"] {
            let at: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(&format(at)), Some((at, None)));
            let peer = PeerId::random();
            let named = format(at).with(Protocol::P2p(peer));
            assert_eq!(parse(&named), Some((at, Some(peer))));
        }
    }

    #[test]
    fn addresses_of_another_kind_are_left_to_others() {
        let peer = PeerId::random();
        for text in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1/udp/1/quic",
            "/dns/example.org/udp/1/quic-v1",
            &format!("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(parse(&text.parse().unwrap()), None, "{text}");
        }
    }
}
