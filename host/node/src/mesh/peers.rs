//! Who is connected: the table of connections and of the peers behind them.
//!
//! # One stream a pair
//!
//! Both nodes of a pair may dial at once, and a pair may have several connections. Its consent stream is opened by the
//! node with the smaller id, whoever dialled, on the connection that suits it best: a direct one rather than a relayed
//! one, the oldest of those. So there is no crossing and nothing to settle. The other node takes whatever comes and lets
//! a newer stream replace an older one, since the opener only opens one when it has none, or a better connection. Some
//! seconds later the opener closes the connections that are left over.
//!
//! Knows; decides only which connection is best. Called by the hub.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use sykli_core::id::NodeId;
use sykli_core::profile::{Link, ProfileKind};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::blob::Places;
use super::pair::PairNote;
use super::queue::Outgoing;
use crate::membership::Admitted;

/// How often a link is reported at least, while it is measured.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Most that wait for a peer's next round trip.
const MAX_PINGS: usize = 16;

/// A connection.
pub(super) struct Connection {
    pub peer: PeerId,
    pub node: NodeId,
    pub address: Multiaddr,
    pub relayed: bool,
    pub since: Instant,
    /// Since its greeting passed on this side: whom it was with.
    pub admitted: Option<Box<Admitted>>,
    /// The greeting passed on both sides.
    pub released: bool,
    /// Which of this node's capabilities the greeting told.
    pub told: u64,
    /// When the peer was last heard to answer.
    pub heard: Instant,
    /// Rings when this side's door is open.
    pub opened: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// The profile of who is there, once that is known.
    pub(super) fn kind(&self) -> Option<ProfileKind> {
        let admitted = self.admitted.as_ref()?;
        Some(admitted.capabilities.profile)
    }
}

/// A pair that is up, or about to be.
pub(super) struct Standing {
    /// Tells this pair from those before it.
    pub number: u64,
    pub connection: ConnectionId,
    pub outgoing: Arc<Outgoing>,
    pub notes: mpsc::Sender<PairNote>,
    pub since: Instant,
}

/// A peer with at least one connection that was greeted, or a pair whose end is still to be heard.
pub(super) struct Peer {
    pub standing: Option<Standing>,
    /// A consent stream is being opened there.
    pub opening: Option<ConnectionId>,
    /// Without a pair since then.
    pub idle_since: Instant,
    /// Rings when the last pair has said `Down`.
    pub last: Option<oneshot::Receiver<()>>,
    pub link: Link,
    reported: Option<(Link, Instant)>,
    pub outbound: Places,
    pub inbound: Places,
    pub pings: Vec<oneshot::Sender<Duration>>,
    /// Close what is left over from then on.
    pub prune: Option<Instant>,
}

impl Peer {
    /// What its end of the link is usually like, which counts until the link was measured.
    pub(super) fn expect(&mut self, theirs: Link) {
        if self.reported.is_none() {
            self.link = self.link.worse(theirs);
        }
    }

    /// A round trip in milliseconds, or a ping that was not answered.
    pub(super) fn observe(&mut self, rtt: Option<Duration>) {
        let millis = rtt.map(|rtt| {
            // Rounded up: less than one is still a round trip.
            let micros = rtt.as_micros().div_ceil(1000);
            u32::try_from(micros).unwrap_or(u32::MAX)
        });
        self.link.observe(millis);
        if let Some(rtt) = rtt {
            for waiting in self.pings.drain(..) {
                // Whoever asked may be gone.
                let _sent = waiting.send(rtt);
            }
        }
    }

    /// Waits for the next round trip, if there is room to.
    pub(super) fn await_ping(&mut self, answer: oneshot::Sender<Duration>) {
        self.pings.retain(|waiting| !waiting.is_closed());
        if self.pings.len() < MAX_PINGS {
            self.pings.push(answer);
        }
    }

    /// What its link is like, if that is news: it changed by more than a fifth, or a while has passed.
    pub(super) fn news(&mut self, now: Instant) -> Option<Link> {
        let news = match &self.reported {
            None => true,
            Some((said, at)) => {
                *said != self.link
                    && (now.saturating_duration_since(*at) >= REPORT_EVERY
                        || said.rtt_ms.abs_diff(self.link.rtt_ms) > said.rtt_ms / 5)
            }
        };
        news.then(|| {
            self.reported = Some((self.link, now));
            self.link
        })
    }
}

/// See the module.
pub(super) struct Peers {
    pub connections: HashMap<ConnectionId, Connection>,
    pub peers: BTreeMap<NodeId, Peer>,
    expected: Link,
    inbound: Arc<Semaphore>,
    outbound: Arc<Semaphore>,
    per_peer: usize,
}

impl Peers {
    /// Nobody. A link is `expected` to be like that before it was measured; `blobs` bulk streams may be open each way,
    /// `per_peer` of them with one peer.
    pub(super) fn new(expected: Link, blobs: usize, per_peer: usize) -> Peers {
        Peers {
            connections: HashMap::new(),
            peers: BTreeMap::new(),
            expected,
            inbound: Arc::new(Semaphore::new(blobs)),
            outbound: Arc::new(Semaphore::new(blobs)),
            per_peer,
        }
    }

    /// A peer's entry, made when it is missing.
    pub(super) fn meet(&mut self, node: NodeId, now: Instant) -> &mut Peer {
        let (link, per_peer) = (self.expected, self.per_peer);
        let (inbound, outbound) = (&self.inbound, &self.outbound);
        self.peers.entry(node).or_insert_with(|| Peer {
            standing: None,
            opening: None,
            idle_since: now,
            last: None,
            link,
            reported: None,
            outbound: Places::new(outbound, per_peer),
            // A stream that ends is gone at its opener first: half as many more are on their way out here.
            inbound: Places::new(inbound, per_peer + per_peer.div_ceil(2)),
            pings: Vec::new(),
            prune: None,
        })
    }

    /// The pair with a peer.
    pub(super) fn standing(&self, node: NodeId) -> Option<&Standing> {
        self.peers.get(&node)?.standing.as_ref()
    }

    /// The greeted connection that suits a pair best.
    pub(super) fn best(&self, node: NodeId) -> Option<ConnectionId> {
        self.greeted(node)
            .min_by_key(|(id, connection)| (connection.relayed, connection.since, *id))
            .map(|(id, _)| id)
    }

    /// The connections with a peer that were greeted on both sides.
    pub(super) fn greeted(
        &self,
        node: NodeId,
    ) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.connections
            .iter()
            .filter(move |(_, connection)| connection.node == node && connection.released)
            .map(|(id, connection)| (*id, connection))
    }

    /// All connections with a node.
    pub(super) fn connections_of(&self, node: NodeId) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.node == node)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Removes a peer's entry that nothing is left of.
    pub(super) fn part(&mut self, node: NodeId) {
        let needed = self
            .peers
            .get(&node)
            .is_some_and(|peer| peer.standing.is_some())
            || self
                .connections
                .values()
                .any(|connection| connection.node == node && connection.admitted.is_some());
        if !needed {
            self.peers.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::identity::{self, Identity};

    fn peers() -> Peers {
        Peers::new(Link::default(), 4, 2)
    }

    fn connection(node: NodeId, relayed: bool, since: Instant) -> Connection {
        Connection {
            peer: identity::peer_id(node).unwrap(),
            node,
            address: Multiaddr::empty(),
            relayed,
            since,
            admitted: None,
            released: true,
            told: 0,
            heard: since,
            opened: None,
        }
    }

    #[test]
    fn a_direct_connection_is_better_than_a_relayed_one_and_an_old_one_than_a_new_one() {
        let (mut peers, now) = (peers(), Instant::now());
        let node = Identity::generate().unwrap().node_id();
        let id = ConnectionId::new_unchecked;
        let later = now + Duration::from_secs(1);
        peers.connections.insert(id(1), connection(node, true, now));
        assert_eq!(peers.best(node), Some(id(1)));
        peers
            .connections
            .insert(id(2), connection(node, false, later));
        assert_eq!(peers.best(node), Some(id(2)));
        peers
            .connections
            .insert(id(3), connection(node, false, now));
        assert_eq!(peers.best(node), Some(id(3)));
        if let Some(oldest) = peers.connections.get_mut(&id(3)) {
            oldest.released = false;
        }
        assert_eq!(peers.best(node), Some(id(2)));
    }

    #[test]
    fn a_link_is_news_when_it_changed_or_a_while_has_passed() {
        let (mut peers, now) = (peers(), Instant::now());
        let peer = peers.meet(Identity::generate().unwrap().node_id(), now);
        let steady = Some(Duration::from_millis(10));
        peer.observe(steady);
        assert!(peer.news(now).is_some());
        peer.observe(steady);
        assert!(peer.news(now).is_none(), "hardly changed");
        assert!(peer.news(now + REPORT_EVERY).is_some());
        peer.observe(Some(Duration::from_millis(100)));
        assert!(peer.news(now + REPORT_EVERY).is_some(), "changed");
    }

    #[test]
    fn blob_places_are_a_peers_and_everybodys() {
        let (mut peers, now) = (peers(), Instant::now());
        let nodes: Vec<NodeId> = (0..3)
            .map(|_| Identity::generate().unwrap().node_id())
            .collect();
        let mut held = Vec::new();
        for node in &nodes[..2] {
            let peer = peers.meet(*node, now);
            held.extend([peer.outbound.take(), peer.outbound.take()]);
            assert!(peer.outbound.take().is_none(), "its own are taken");
        }
        assert!(held.iter().all(Option::is_some));
        assert!(peers.meet(nodes[2], now).outbound.take().is_none());
        held.pop();
        assert!(peers.meet(nodes[2], now).outbound.take().is_some());
    }
}
