//! The doors: how many connections there may be, in all, with one peer and from one address, how fast new ones may come,
//! and that who was expelled does not come back.
//!
//! Refuses before a handshake costs anything: of TCP when the swarm hears of it, of QUIC on the [`Porch`], which the
//! transport asks before it begins one. All counts are here, since those that libp2p-connection-limits
//! keeps grow by an entry for every peer that was ever connected, and an outsider makes a new peer with each connection.
//! Addresses of relayed connections are the relay's business and not counted. Remembers at most [`MAX_ADDRESSES`]
//! addresses; the ones without a connection make room. Never looks at who a peer is, but for the expelled. Called by the
//! swarm.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
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
use crate::db::lock;

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

impl Address {
    /// Whether it has as many connections as it may, or as many handshakes.
    fn is_full(&self, limits: &MeshLimits) -> bool {
        self.pending >= limits.pending_per_ip || self.pending + self.established >= limits.per_ip
    }
}

/// Counts connections, for the swarm.
pub(super) struct Doors(Arc<Mutex<Tally>>);

impl Doors {
    /// The doors, and the porch before them.
    pub(super) fn new(limits: MeshLimits, shared: Arc<Shared>) -> (Doors, Porch) {
        let tally = Arc::new(Mutex::new(Tally::new(limits, Arc::clone(&shared))));
        let porch = Porch {
            tally: Arc::clone(&tally),
            shared,
        };
        (Doors(tally), porch)
    }
}

/// What becomes of an attempt of which nothing but a first datagram is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// Its handshake begins.
    Begin,
    /// It has to show first that its address is its own.
    Prove,
    /// It gets no answer.
    Ignore,
}

/// Where QUIC's attempts are looked at before a handshake begins. The doors look at those that begin, and count them.
#[derive(Clone)]
pub(super) struct Porch {
    tally: Arc<Mutex<Tally>>,
    shared: Arc<Shared>,
}

impl Porch {
    /// What becomes of an attempt from an address, which is `proved` to be its own or may be made up.
    pub(super) fn judge(&self, from: IpAddr, proved: bool) -> Knock {
        let knock = lock(&self.tally).judge(network(from), proved, Instant::now());
        if knock == Knock::Ignore {
            self.shared.count(|counters| counters.denied += 1);
        }
        knock
    }

    /// An attempt was none.
    pub(super) fn failed(&self) {
        self.shared.count(|counters| counters.failed_incoming += 1);
    }
}

/// The counts.
struct Tally {
    limits: MeshLimits,
    shared: Arc<Shared>,
    visits: HashMap<ConnectionId, Visit>,
    classes: BTreeMap<Class, u32>,
    peers: HashMap<PeerId, u32>,
    addresses: BTreeMap<IpAddr, Address>,
}

impl Tally {
    fn new(limits: MeshLimits, shared: Arc<Shared>) -> Tally {
        Tally {
            limits,
            shared,
            visits: HashMap::new(),
            classes: BTreeMap::new(),
            peers: HashMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// What [`Tally::knock`] would say, and counts nothing. Where it has become busy, for an address or in all, an address
    /// is to be proved: who makes addresses up uses up nobody else's share.
    fn judge(&mut self, from: IpAddr, proved: bool, now: Instant) -> Knock {
        let pending = self.classes.get(&Class::PendingIn).copied().unwrap_or(0);
        let mut busy = pending >= self.limits.pending_incoming / 4;
        if let Some(address) = self.addresses.get_mut(&from) {
            if address.is_full(&self.limits) || !address.fresh.has(1, now) {
                return Knock::Ignore;
            }
            busy |= !address.fresh.has(self.limits.burst_per_ip / 2, now);
        }
        match (self.check(Class::PendingIn), proved || !busy) {
            (Err(_), _) => Knock::Ignore,
            (Ok(()), true) => Knock::Begin,
            (Ok(()), false) => Knock::Prove,
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
            burst_per_ip,
            rate_per_ip,
            ..
        } = self.limits;
        let address = self.addresses.entry(from).or_insert_with(|| Address {
            pending: 0,
            established: 0,
            fresh: Bucket::full(burst_per_ip, rate_per_ip, now),
        });
        if address.is_full(&self.limits) {
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
        Protocol::Ip6(ip) => Some(network(IpAddr::V6(ip))),
        // A listener on anything else does not exist here; all of them together count as one.
        _ => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    }
}

fn network(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(ip) = ip else {
        return ip;
    };
    match ip.to_ipv4_mapped() {
        Some(ip) => IpAddr::V4(ip),
        None => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
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
        lock(&self.0)
            .knock(id, counted(from), Instant::now())
            .map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        lock(&self.0)
            .admit(&peer, Class::In)
            .map_err(ConnectionDenied::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut tally = lock(&self.0);
        tally
            .check(Class::PendingOut)
            .map_err(ConnectionDenied::new)?;
        if peer.is_some_and(|peer| tally.shared.is_expelled(&peer)) {
            return Err(ConnectionDenied::new(Denied::Expelled));
        }
        let visit = Visit {
            class: Class::PendingOut,
            peer: None,
            from: None,
        };
        tally.count(id, visit);
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
        lock(&self.0)
            .admit(&peer, Class::Out)
            .map_err(ConnectionDenied::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        let mut tally = lock(&self.0);
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let class = match event.endpoint.is_dialer() {
                    true => Class::Out,
                    false => Class::In,
                };
                tally.enter(event.connection_id, event.peer_id, class);
            }
            FromSwarm::ConnectionClosed(event) => drop(tally.leave(event.connection_id)),
            FromSwarm::ListenFailure(event) => drop(tally.leave(event.connection_id)),
            FromSwarm::DialFailure(event) => drop(tally.leave(event.connection_id)),
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

    fn tally() -> Tally {
        let limits = MeshLimits {
            per_ip: 4,
            per_peer: 2,
            pending_per_ip: 2,
            burst_per_ip: 6,
            rate_per_ip: 1,
            ..MeshLimits::default()
        };
        Tally::new(limits, Arc::new(Shared::default()))
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
        let (mut tally, now) = (tally(), Instant::now());
        tally.knock(id(1), ip(1), now).unwrap();
        tally.knock(id(2), ip(1), now).unwrap();
        assert!(denied(tally.knock(id(3), ip(1), now)), "handshakes");
        tally.knock(id(3), ip(2), now).unwrap();
        for number in [1, 2] {
            tally.enter(id(number), PeerId::random(), Class::In);
        }
        for number in [4, 5] {
            tally.knock(id(number), ip(1), now).unwrap();
            tally.enter(id(number), PeerId::random(), Class::In);
        }
        assert!(denied(tally.knock(id(6), ip(1), now)), "in all");
        tally.leave(id(1));
        tally.knock(id(6), ip(1), now).unwrap();
    }

    #[test]
    fn an_address_is_slowed_down_and_recovers() {
        let (mut tally, now) = (tally(), Instant::now());
        for number in 0..6 {
            tally.knock(id(number), ip(1), now).unwrap();
            tally.leave(id(number));
        }
        assert_eq!(tally.knock(id(7), ip(1), now), Err(Denied::TooFast));
        let later = now + Duration::from_secs(1);
        tally.knock(id(7), ip(1), later).unwrap();
    }

    #[test]
    fn a_peer_has_few_connections_and_the_expelled_none() {
        let (mut tally, peer) = (tally(), PeerId::random());
        for number in 0..2 {
            tally.admit(&peer, Class::In).unwrap();
            tally.enter(id(number), peer, Class::In);
        }
        assert!(tally.admit(&peer, Class::Out).is_err());
        assert!(tally.admit(&PeerId::random(), Class::Out).is_ok());
        tally.leave(id(0));
        assert!(tally.admit(&peer, Class::Out).is_ok());
        tally.shared.expel(peer);
        let refused = tally.admit(&peer, Class::In).err();
        assert_eq!(refused, Some(Denied::Expelled));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut tally, now) = (tally(), Instant::now());
        for number in 0..u32::try_from(3 * MAX_ADDRESSES).unwrap() {
            let connection = id(number as usize);
            let from = Some(IpAddr::V4(Ipv4Addr::from(number)));
            tally.knock(connection, from, now).unwrap();
            tally.enter(connection, PeerId::random(), Class::In);
            tally.leave(connection);
            assert!(tally.addresses.len() <= MAX_ADDRESSES);
        }
        assert!(tally.visits.is_empty() && tally.peers.is_empty());
    }

    #[test]
    fn what_may_be_made_up_is_proved_where_it_is_busy() {
        let (mut tally, now) = (tally(), Instant::now());
        let from = ip(1).unwrap();
        let judged = |tally: &mut Tally, proved| tally.judge(from, proved, now);
        assert_eq!(judged(&mut tally, false), Knock::Begin, "nothing is known");
        for number in 0..4 {
            tally.knock(id(number), ip(1), now).unwrap();
            tally.leave(id(number));
        }
        assert_eq!(judged(&mut tally, false), Knock::Prove, "half of its burst");
        assert_eq!(judged(&mut tally, true), Knock::Begin);
        for number in 4..6 {
            tally.knock(id(number), ip(1), now).unwrap();
            tally.leave(id(number));
        }
        assert_eq!(judged(&mut tally, true), Knock::Ignore, "all of it");
        for number in 0..tally.limits.pending_incoming {
            let another = Some(IpAddr::V4(Ipv4Addr::from(number)));
            let full = tally.limits.pending_incoming - 1;
            let unknown = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
            let expected = match number {
                number if number < tally.limits.pending_incoming / 4 => Knock::Begin,
                _ => Knock::Prove,
            };
            assert_eq!(tally.judge(unknown, false, now), expected, "{number}");
            tally.knock(id(number as usize), another, now).unwrap();
            if number == full {
                assert_eq!(tally.judge(unknown, true, now), Knock::Ignore);
            }
        }
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
