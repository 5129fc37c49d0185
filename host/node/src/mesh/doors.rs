//! The doors: how many connections there may be, in all, with one peer and from one address, how fast new ones may come,
//! and that who was expelled does not come back.
//!
//! Refuses before a handshake costs anything where it can. All counts are here, since those that libp2p-connection-limits
//! keeps grow by an entry for every peer that was ever connected, and an outsider makes a new peer with each connection.
//! Addresses of relayed connections are the relay's business and not counted. Remembers at most [`MAX_ADDRESSES`]
//! addresses; the ones without a connection make room. Never looks at who a peer is, but for the expelled. Called by the
//! swarm.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::limits::MeshLimits;
use super::meter::Bucket;
use super::shared::Shared;

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

/// Why a connection was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("too many {of}")]
    TooMany {
        /// Of what.
        of: &'static str,
    },
    #[error("too many new connections from its address at once")]
    TooFast,
    #[error("it was expelled")]
    Expelled,
}

/// Which way a connection was made, and whether it is past its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    PendingIn,
    PendingOut,
    In,
    Out,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::PendingIn => "incoming handshakes",
            Class::PendingOut => "outgoing handshakes",
            Class::In => "incoming connections",
            Class::Out => "outgoing connections",
        }
    }
}

struct Visit {
    class: Class,
    peer: Option<PeerId>,
    /// Where it came from, if that counts.
    from: Option<IpAddr>,
}

struct Address {
    pending: u32,
    established: u32,
    fresh: Bucket,
}

/// Counts connections.
pub(super) struct Doors {
    limits: MeshLimits,
    shared: Arc<Shared>,
    visits: HashMap<ConnectionId, Visit>,
    classes: BTreeMap<Class, u32>,
    peers: HashMap<PeerId, u32>,
    addresses: BTreeMap<IpAddr, Address>,
}

impl Doors {
    pub(super) fn new(limits: MeshLimits, shared: Arc<Shared>) -> Doors {
        Doors {
            limits,
            shared,
            visits: HashMap::new(),
            classes: BTreeMap::new(),
            peers: HashMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    fn check(&self, class: Class) -> Result<(), Denied> {
        let most = match class {
            Class::PendingIn => self.limits.pending_incoming,
            Class::PendingOut => self.limits.pending_outgoing,
            Class::In => self.limits.established_incoming,
            Class::Out => self.limits.established_outgoing,
        };
        if self.classes.get(&class).copied().unwrap_or(0) < most {
            return Ok(());
        }
        Err(Denied::TooMany { of: class.name() })
    }

    fn count(&mut self, id: ConnectionId, visit: Visit) {
        *self.classes.entry(visit.class).or_default() += 1;
        if let Some(peer) = visit.peer {
            *self.peers.entry(peer).or_default() += 1;
        }
        self.visits.insert(id, visit);
    }

    fn knock(
        &mut self,
        id: ConnectionId,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Denied> {
        self.check(Class::PendingIn)?;
        if let Some(from) = from {
            self.knock_from(from, now)?;
        }
        let visit = Visit {
            class: Class::PendingIn,
            peer: None,
            from,
        };
        self.count(id, visit);
        Ok(())
    }

    fn knock_from(&mut self, from: IpAddr, now: Instant) -> Result<(), Denied> {
        if !self.addresses.contains_key(&from) && self.addresses.len() >= MAX_ADDRESSES {
            self.forget(now);
        }
        let MeshLimits {
            per_ip,
            pending_per_ip,
            burst_per_ip,
            rate_per_ip,
            ..
        } = self.limits;
        let address = self.addresses.entry(from).or_insert_with(|| Address {
            pending: 0,
            established: 0,
            fresh: Bucket::full(burst_per_ip, rate_per_ip, now),
        });
        if address.pending >= pending_per_ip || address.pending + address.established >= per_ip {
            let of = "connections from its address";
            return Err(Denied::TooMany { of });
        }
        if !address.fresh.take(1, now) {
            return Err(Denied::TooFast);
        }
        address.pending += 1;
        Ok(())
    }

    /// Whether a connection that is past its handshake may stay.
    fn admit(&self, peer: &PeerId, class: Class) -> Result<dummy::ConnectionHandler, Denied> {
        if self.shared.is_expelled(peer) {
            return Err(Denied::Expelled);
        }
        self.check(class)?;
        if self.peers.get(peer).copied().unwrap_or(0) >= self.limits.per_peer {
            let of = "connections with it";
            return Err(Denied::TooMany { of });
        }
        Ok(dummy::ConnectionHandler)
    }

    fn enter(&mut self, id: ConnectionId, peer: PeerId, class: Class) {
        let from = self.leave(id);
        if let Some(address) = from.and_then(|from| self.addresses.get_mut(&from)) {
            address.established += 1;
        }
        let visit = Visit {
            class,
            peer: Some(peer),
            from,
        };
        self.count(id, visit);
    }

    /// Takes a connection off all counts, and answers where it came from.
    fn leave(&mut self, id: ConnectionId) -> Option<IpAddr> {
        let Visit { class, peer, from } = self.visits.remove(&id)?;
        if let Some(count) = self.classes.get_mut(&class) {
            *count = count.saturating_sub(1);
        }
        if let Some(peer) = peer {
            let left = self.peers.get(&peer).copied().unwrap_or(0);
            match left {
                0 | 1 => self.peers.remove(&peer),
                more => self.peers.insert(peer, more - 1),
            };
        }
        if let Some(address) = from.and_then(|from| self.addresses.get_mut(&from)) {
            let count = match class {
                Class::PendingIn | Class::PendingOut => &mut address.pending,
                Class::In | Class::Out => &mut address.established,
            };
            *count = count.saturating_sub(1);
        }
        from
    }

    /// Makes room: what has no connection and has not been fast lately, or all that has none.
    fn forget(&mut self, now: Instant) {
        self.addresses.retain(|_, address| {
            address.pending + address.established > 0 || !address.fresh.is_full(now)
        });
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses
                .retain(|_, address| address.pending + address.established > 0);
        }
    }
}

/// Under which address somebody counts: a whole /64 is one customer's. None for a relayed connection.
fn counted(address: &Multiaddr) -> Option<IpAddr> {
    let relayed = address.iter().any(|part| part == Protocol::P2pCircuit);
    if relayed {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }),
        // A listener on anything else does not exist here; all of them together count as one.
        _ => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    }
}

impl NetworkBehaviour for Doors {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.knock(id, counted(from), Instant::now())
            .map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer, Class::In).map_err(ConnectionDenied::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.check(Class::PendingOut)
            .map_err(ConnectionDenied::new)?;
        if peer.is_some_and(|peer| self.shared.is_expelled(&peer)) {
            return Err(ConnectionDenied::new(Denied::Expelled));
        }
        let visit = Visit {
            class: Class::PendingOut,
            peer: None,
            from: None,
        };
        self.count(id, visit);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer, Class::Out).map_err(ConnectionDenied::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let class = match event.endpoint.is_dialer() {
                    true => Class::Out,
                    false => Class::In,
                };
                self.enter(event.connection_id, event.peer_id, class);
            }
            FromSwarm::ConnectionClosed(event) => drop(self.leave(event.connection_id)),
            FromSwarm::ListenFailure(event) => drop(self.leave(event.connection_id)),
            FromSwarm::DialFailure(event) => drop(self.leave(event.connection_id)),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::time::Duration;

    fn doors() -> Doors {
        let limits = MeshLimits {
            per_ip: 4,
            per_peer: 2,
            pending_per_ip: 2,
            burst_per_ip: 6,
            rate_per_ip: 1,
            ..MeshLimits::default()
        };
        Doors::new(limits, Arc::new(Shared::default()))
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    fn denied(result: Result<(), Denied>) -> bool {
        matches!(result, Err(Denied::TooMany { .. }))
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let (mut doors, now) = (doors(), Instant::now());
        doors.knock(id(1), ip(1), now).unwrap();
        doors.knock(id(2), ip(1), now).unwrap();
        assert!(denied(doors.knock(id(3), ip(1), now)), "handshakes");
        doors.knock(id(3), ip(2), now).unwrap();
        for number in [1, 2] {
            doors.enter(id(number), PeerId::random(), Class::In);
        }
        for number in [4, 5] {
            doors.knock(id(number), ip(1), now).unwrap();
            doors.enter(id(number), PeerId::random(), Class::In);
        }
        assert!(denied(doors.knock(id(6), ip(1), now)), "in all");
        doors.leave(id(1));
        doors.knock(id(6), ip(1), now).unwrap();
    }

    #[test]
    fn an_address_is_slowed_down_and_recovers() {
        let (mut doors, now) = (doors(), Instant::now());
        for number in 0..6 {
            doors.knock(id(number), ip(1), now).unwrap();
            doors.leave(id(number));
        }
        assert_eq!(doors.knock(id(7), ip(1), now), Err(Denied::TooFast));
        let later = now + Duration::from_secs(1);
        doors.knock(id(7), ip(1), later).unwrap();
    }

    #[test]
    fn a_peer_has_few_connections_and_the_expelled_none() {
        let (mut doors, peer) = (doors(), PeerId::random());
        for number in 0..2 {
            doors.admit(&peer, Class::In).unwrap();
            doors.enter(id(number), peer, Class::In);
        }
        assert!(doors.admit(&peer, Class::Out).is_err());
        assert!(doors.admit(&PeerId::random(), Class::Out).is_ok());
        doors.leave(id(0));
        assert!(doors.admit(&peer, Class::Out).is_ok());
        doors.shared.expel(peer);
        let refused = doors.admit(&peer, Class::In).err();
        assert_eq!(refused, Some(Denied::Expelled));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut doors, now) = (doors(), Instant::now());
        for number in 0..u32::try_from(3 * MAX_ADDRESSES).unwrap() {
            let connection = id(number as usize);
            let from = Some(IpAddr::V4(Ipv4Addr::from(number)));
            doors.knock(connection, from, now).unwrap();
            doors.enter(connection, PeerId::random(), Class::In);
            doors.leave(connection);
            assert!(doors.addresses.len() <= MAX_ADDRESSES);
        }
        assert!(doors.visits.is_empty() && doors.peers.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| counted(&text.parse().unwrap());
        assert_eq!(
            of("/ip6/2001:db8:1:2:3::1/tcp/1"),
            of("/ip6/2001:db8:1:2:ffff::2/udp/1/quic-v1")
        );
        assert_ne!(
            of("/ip6/2001:db8:1:2::1/tcp/1"),
            of("/ip6/2001:db8:1:3::1/tcp/1")
        );
        assert_eq!(of("/ip6/::ffff:10.0.0.1/tcp/1"), of("/ip4/10.0.0.1/tcp/9"));
        let relayed =
            "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWGQPDvZ5JZ2oSVJ5UPQuJmJUPGrTcbJsNsC7a4m1SAv3Y";
        assert!(of(&format!("{relayed}/p2p-circuit")).is_none());
    }
}
