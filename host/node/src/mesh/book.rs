//! The address book: where nodes were last seen, whom to dial again and when.
//!
//! Decides the waits: twice as long after each failure, up to the profile's, spread so that nodes that lost each other at
//! once do not meet at once again. Who is configured is dialled for ever, who was up for a good while, who was only heard
//! of a few times. Bounded: [`MAX_NODES`] nodes of [`MAX_ADDRESSES`] addresses; who is neither configured nor connected
//! makes room, the longest untouched first. Asks no clock and dials nobody: the hub does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use sykli_core::id::NodeId;

use crate::identity;

/// Most nodes in the book.
pub(super) const MAX_NODES: usize = 1024;
/// Most addresses of a node.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Most dials that one look into the book begins.
const MAX_DIALS: usize = 8;
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 512;
/// How often somebody is dialled who was only heard of, and somebody who was up.
const TRIES_HEARD: u32 = 4;
const TRIES_UP: u32 = 240;

/// Where an address is from. The greater is kept rather than the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Somebody said so, for instance over mDNS.
    Heard,
    /// The node itself says so.
    Told,
    /// It was reached there.
    Reached,
    /// The user's configuration, with or without the node's name.
    Configured {
        /// It was: the address is the user's, the node whoever answered there.
        named: bool,
    },
}

struct Known {
    address: Multiaddr,
    source: Source,
}

#[derive(Clone, Copy)]
enum Dialling {
    /// Not for now.
    Idle,
    /// From then on.
    Due(Instant),
    /// It goes on.
    Busy,
}

struct Entry {
    addresses: Vec<Known>,
    connected: bool,
    dialling: Dialling,
    /// Failures in a row.
    failures: u32,
    /// After so many it is given up; none for never.
    tries: Option<u32>,
    touched: Instant,
}

/// A configured address whose node is not known.
struct Bare {
    address: Multiaddr,
    failures: u32,
    due: Instant,
    connection: Option<ConnectionId>,
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Node(NodeId),
    /// Whoever answers there.
    Address(Multiaddr),
}

/// See the module.
pub(super) struct Book {
    own: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    bare: Vec<Bare>,
    first: Duration,
    longest: Duration,
}

impl Book {
    /// An empty one of the node `own`, with the first and the longest wait.
    pub(super) fn new(own: NodeId, (first, longest): (Duration, Duration)) -> Book {
        Book {
            own,
            entries: BTreeMap::new(),
            bare: Vec::new(),
            first,
            longest,
        }
    }

    /// An address that the user configured or asked for.
    pub(super) fn configure(&mut self, address: Multiaddr, now: Instant) {
        match split(&address) {
            (address, Some(node)) => {
                self.learn(node, address, Source::Configured { named: true }, now);
                self.want(node, now);
            }
            (address, None) if self.bare.len() < MAX_NODES => {
                if !self.bare.iter().any(|bare| bare.address == address) {
                    self.bare.push(Bare {
                        address,
                        failures: 0,
                        due: now,
                        connection: None,
                    });
                }
            }
            (_, None) => {}
        }
    }

    /// An address of a node. Kept if it is of use and there is room.
    pub(super) fn learn(&mut self, node: NodeId, address: Multiaddr, source: Source, now: Instant) {
        if node == self.own || !is_usable(&address) {
            return;
        }
        let Some(entry) = self.entry(node, now) else {
            return;
        };
        if matches!(source, Source::Configured { .. }) {
            entry.tries = None;
        }
        let addresses = &mut entry.addresses;
        if let Some(known) = addresses.iter_mut().find(|known| known.address == address) {
            known.source = known.source.max(source);
            return;
        }
        if addresses.len() >= MAX_ADDRESSES {
            let weakest = addresses
                .iter()
                .enumerate()
                .min_by_key(|(_, known)| known.source)
                .filter(|(_, known)| known.source <= source)
                .map(|(index, _)| index);
            let Some(weakest) = weakest else {
                return;
            };
            addresses.remove(weakest);
        }
        addresses.push(Known { address, source });
    }

    /// A node is to be dialled soon, if it is not connected: it was heard of, or somebody asks for it.
    pub(super) fn want(&mut self, node: NodeId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.touched = now;
            entry.failures = 0;
            if !entry.connected && !matches!(entry.dialling, Dialling::Busy) {
                entry.dialling = Dialling::Due(now);
            }
        }
    }

    /// A node is connected, greeted or not.
    pub(super) fn connected(&mut self, node: NodeId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.connected = true;
            entry.dialling = Dialling::Idle;
            entry.touched = now;
        }
    }

    /// It was greeted: it will be missed.
    pub(super) fn up(&mut self, node: NodeId, now: Instant) {
        if let Some(entry) = self.entry(node, now) {
            entry.failures = 0;
            entry.tries = entry.tries.map(|_| TRIES_UP);
        }
    }

    /// Its last connection is gone.
    pub(super) fn lost(&mut self, node: NodeId, now: Instant) {
        self.fail(node, now, |failures| failures);
    }

    /// It could not be reached or greeted.
    pub(super) fn failed(&mut self, node: NodeId, now: Instant) {
        self.fail(node, now, |failures| failures.saturating_add(1));
    }

    /// One of the two does not want the other: nothing that a quick retry would change.
    pub(super) fn refused(&mut self, node: NodeId, now: Instant) {
        self.fail(node, now, |failures| failures.saturating_add(8));
    }

    fn fail(&mut self, node: NodeId, now: Instant, failures: impl FnOnce(u32) -> u32) {
        let (own, first, longest) = (self.own, self.first, self.longest);
        let Some(entry) = self.entries.get_mut(&node) else {
            return;
        };
        entry.connected = false;
        entry.failures = failures(entry.failures);
        let given_up = entry.tries.is_some_and(|tries| entry.failures >= tries);
        entry.dialling = match given_up || entry.addresses.is_empty() {
            true => Dialling::Idle,
            false => Dialling::Due(now + wait(own, node, entry.failures, first, longest)),
        };
    }

    /// A node that nobody may dial: only what the user configured stays.
    pub(super) fn hide(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry
                .addresses
                .retain(|known| matches!(known.source, Source::Configured { .. }));
        }
    }

    /// A node that is not to be dialled again.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.entries.remove(&node);
    }

    /// This node's own addresses changed: who was out of reach may not be any more.
    pub(super) fn moved(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if matches!(entry.dialling, Dialling::Due(_)) {
                entry.failures = 0;
                entry.dialling = Dialling::Due(now);
            }
        }
        for bare in &mut self.bare {
            bare.failures = 0;
            bare.due = now;
        }
    }

    /// Whom to dial now, a few at a time. They count as being dialled from here on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Target> {
        let mut targets = Vec::new();
        for (node, entry) in &mut self.entries {
            if targets.len() >= MAX_DIALS {
                return targets;
            }
            if matches!(entry.dialling, Dialling::Due(at) if at <= now) {
                entry.dialling = Dialling::Busy;
                targets.push(Target::Node(*node));
            }
        }
        let due = self
            .bare
            .iter()
            .filter(|bare| bare.connection.is_none() && bare.due <= now)
            .map(|bare| Target::Address(bare.address.clone()));
        targets.extend(due.take(MAX_DIALS));
        targets
    }

    /// A bare address is being dialled.
    pub(super) fn dialling(&mut self, address: &Multiaddr, connection: ConnectionId) {
        if let Some(bare) = self.bare.iter_mut().find(|bare| bare.address == *address) {
            bare.connection = Some(connection);
        }
    }

    /// Somebody answered at a bare address: it is that node's from now on.
    pub(super) fn answered(&mut self, connection: ConnectionId, node: NodeId, now: Instant) {
        let found = |bare: &Bare| bare.connection == Some(connection);
        if let Some(index) = self.bare.iter().position(found) {
            let Bare { address, .. } = self.bare.swap_remove(index);
            self.learn(node, address, Source::Configured { named: false }, now);
        }
    }

    /// Nobody answered at a bare address.
    pub(super) fn unanswered(&mut self, connection: ConnectionId, now: Instant) {
        let (own, first, longest) = (self.own, self.first, self.longest);
        let found = |bare: &&mut Bare| bare.connection == Some(connection);
        if let Some(bare) = self.bare.iter_mut().find(found) {
            bare.connection = None;
            bare.failures = bare.failures.saturating_add(1);
            bare.due = now + wait(own, own, bare.failures, first, longest);
        }
    }

    /// Another node answered at `address` than the one that it was thought to be.
    pub(super) fn mistaken(&mut self, node: NodeId, address: &Multiaddr, now: Instant) {
        let (address, _) = split(address);
        let Some(entry) = self.entries.get_mut(&node) else {
            return;
        };
        let Some(index) = entry
            .addresses
            .iter()
            .position(|known| known.address == address)
        else {
            return;
        };
        let bare = Source::Configured { named: false };
        // What the user gave a name stays: somebody else is there for now.
        if entry.addresses.get(index).map(|known| known.source)
            == Some(Source::Configured { named: true })
        {
            return;
        }
        if entry.addresses.remove(index).source == bare {
            if entry.addresses.is_empty() {
                self.entries.remove(&node);
            }
            self.configure(address, now);
        }
    }

    /// Where a node may be, the best first.
    pub(super) fn addresses(&self, node: NodeId) -> Vec<Multiaddr> {
        let Some(entry) = self.entries.get(&node) else {
            return Vec::new();
        };
        let mut known: Vec<&Known> = entry.addresses.iter().collect();
        known.sort_by_key(|known| std::cmp::Reverse(known.source));
        known
            .into_iter()
            .map(|known| known.address.clone())
            .collect()
    }

    /// The node's entry; a new one where there is room.
    fn entry(&mut self, node: NodeId, now: Instant) -> Option<&mut Entry> {
        if !self.entries.contains_key(&node) && self.entries.len() >= MAX_NODES {
            let oldest = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.tries.is_some() && !entry.connected)
                .min_by_key(|(_, entry)| entry.touched)
                .map(|(node, _)| *node)?;
            self.entries.remove(&oldest);
        }
        let entry = self.entries.entry(node).or_insert(Entry {
            addresses: Vec::new(),
            connected: false,
            dialling: Dialling::Idle,
            failures: 0,
            tries: Some(TRIES_HEARD),
            touched: now,
        });
        entry.touched = now;
        Some(entry)
    }
}

/// `first × 2^failures`, at most `longest`, between three quarters and all of it: each pair of nodes has its own share.
fn wait(own: NodeId, node: NodeId, failures: u32, first: Duration, longest: Duration) -> Duration {
    let whole = first
        .saturating_mul(1 << failures.min(16))
        .min(longest.max(first));
    let mixed = own.0.iter().chain(node.0.iter().rev()).enumerate();
    let spread = mixed.fold(failures, |sum, (index, byte)| {
        sum.wrapping_mul(31)
            .wrapping_add(u32::from(*byte))
            .rotate_left(u32::try_from(index % 7).unwrap_or(0))
    });
    whole - whole / 4 * (spread % 256) / 256
}

/// An address without its last `/p2p/…`, and the node that this names.
pub(super) fn split(address: &Multiaddr) -> (Multiaddr, Option<NodeId>) {
    let mut rest = address.clone();
    match rest.pop() {
        Some(Protocol::P2p(peer)) => (rest, identity::node_id(&peer)),
        _ => (address.clone(), None),
    }
}

/// Whether an address can be dialled from here at all.
fn is_usable(address: &Multiaddr) -> bool {
    if address.len() > MAX_ADDRESS_BYTES {
        return false;
    }
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    let port = match parts.next() {
        Some(Protocol::Tcp(port)) => port != 0,
        Some(Protocol::Udp(port)) => port != 0 && parts.next() == Some(Protocol::QuicV1),
        _ => false,
    };
    host && port
}

/// Whether an address means the machine that says it.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Whether an address leads through a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address of `node` through a relay, which is at `address`.
pub(super) fn through(address: Multiaddr, relay: PeerId, node: PeerId) -> Multiaddr {
    address
        .with(Protocol::P2p(relay))
        .with(Protocol::P2pCircuit)
        .with(Protocol::P2p(node))
}

#[cfg(test)]
mod tests;
