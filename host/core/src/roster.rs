//! Whom this node knows: what peers say of themselves, whether they are there, what they have earned, and whom to ask next.
//!
//! Decides who is a candidate for an offer, which busy owner an idle node asks, how many leases a peer has earned, how long
//! one that let somebody down is left alone, and whether a silence is suspicious. Never judges a task (that is
//! [`crate::policy`]), connects or sends; knows nothing of its own node, whose beacons its caller keeps away. Called by
//! [`crate::machine`] and its parts.
//!
//! Bounded: at most [`MAX_PEERS`] entries, of which the unconnected one heard longest ago makes room (one that still holds
//! a lease only after all that hold none), a connected one never. Every operation takes O(log n) steps
//! ([`Roster::candidates`] once per candidate; due cool-downs are paid for by whoever began them), so a node's work does not
//! grow with its mesh.

mod entry;
mod index;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use entry::{Entry, MAX_BLOBS};

use crate::consent::{Beacon, Capabilities};
use crate::id::{Digest, NodeId};
use crate::profile::Link;
use crate::rng::Rng;
use crate::time::Tick;
use entry::Told;
use index::{Index, Keys};
use recent::Recent;

/// Most peers that are known at a time.
pub const MAX_PEERS: usize = 4096;
/// Most peers that are remembered as expelled; the oldest is forgotten first.
pub const MAX_EXPELLED: usize = 4096;
/// Most leases that a peer may hold, however well it kept its promises.
pub const MAX_HELD: u32 = 64;
/// The first cool-down after a loss, in milliseconds; each further loss in a row doubles it.
pub const COOL_FIRST_MS: u64 = 5_000;
/// The longest cool-down after a loss, in milliseconds.
pub const COOL_MOST_MS: u64 = 600_000;
/// Suspicion from which on a silence counts, in thousandths of φ: three mean intervals.
///
/// The customary threshold of 8 belongs to a model with little variance, where it comes at about twice the interval. In the
/// exponential model it would come after 18 intervals, so the threshold is scaled: 3 × 434, at which one live peer in 20
/// would be suspected. That is cheap: suspicion by itself ends no lease.
pub const SUSPECT_MILLI: u64 = 3 * PHI_MILLI_PER_INTERVAL;
/// 1000 × log₁₀ e.
const PHI_MILLI_PER_INTERVAL: u64 = 434;

/// Everybody that this node knows.
#[derive(Clone, Debug)]
pub struct Roster {
    peers: BTreeMap<NodeId, Entry>,
    index: Index,
    expelled: Recent<NodeId>,
}

impl Default for Roster {
    fn default() -> Roster {
        Roster::new()
    }
}

impl Roster {
    /// Nobody.
    #[must_use]
    pub fn new() -> Roster {
        Roster {
            peers: BTreeMap::new(),
            index: Index::default(),
            expelled: Recent::new(MAX_EXPELLED),
        }
    }

    /// A peer's connection stands. What it earned or lost earlier still counts; its next beacon is believed whatever its
    /// sequence, for it may have been restarted. Answers whether it is known now: not if it was expelled, or if all
    /// [`MAX_PEERS`] are connected.
    pub fn connected(
        &mut self,
        now: Tick,
        peer: NodeId,
        capabilities: Capabilities,
        link: Link,
        trusted: bool,
    ) -> bool {
        if !self.know(now, peer) {
            return false;
        }
        self.change(peer, |entry| entry.arrive(now, capabilities, link, trusted));
        true
    }

    /// A peer's connection is gone. It stays known, and is away since now.
    pub fn disconnected(&mut self, now: Tick, peer: NodeId) {
        self.change(peer, |entry| entry.leave(now));
    }

    /// A peer said something, whatever it was.
    pub fn heard(&mut self, now: Tick, peer: NodeId) {
        self.change(peer, |entry| entry.hear(now));
    }

    /// A peer's capabilities have changed.
    pub fn capabilities(&mut self, peer: NodeId, capabilities: Capabilities) {
        self.change(peer, |entry| entry.describe(capabilities));
    }

    /// A beacon was heard, from whomever: a sign of life of the node that it is about. False where it is passed over: one
    /// as new was heard before, its node was expelled, or there is no room for one more.
    pub fn beacon(&mut self, now: Tick, beacon: Beacon) -> bool {
        let node = beacon.node;
        if !self.know(now, node) {
            return false;
        }
        self.change(node, |entry| entry.tell(now, beacon)) == Some(Told::New)
    }

    /// The link to a peer was measured again.
    pub fn link(&mut self, peer: NodeId, link: Link) {
        self.change(peer, |entry| entry.link = link);
    }

    /// What is known of a peer.
    #[must_use]
    pub fn get(&self, peer: NodeId) -> Option<&Entry> {
        self.peers.get(&peer)
    }

    /// An offer goes to a peer.
    pub fn granted(&mut self, peer: NodeId) {
        self.change(peer, |entry| {
            entry.outstanding = entry.outstanding.saturating_add(1);
        });
    }

    /// A peer has a result of one of its leases: it has room for the next while that is taken in.
    pub fn delivered(&mut self, peer: NodeId) {
        self.change(peer, |entry| {
            entry.delivered = entry.delivered.saturating_add(1).min(entry.outstanding);
        });
    }

    /// A peer says that it has no room. It gets nothing until one of its leases ends or it says otherwise; where it has none
    /// it is left alone for so many milliseconds.
    pub fn full(&mut self, now: Tick, peer: NodeId, ms: u64) {
        self.change(peer, |entry| {
            if !entry.fill() {
                entry.cool(now, ms);
            }
        });
    }

    /// An offer ended without a lease, or a lease that is nobody's fault; whether its result was told.
    pub fn released(&mut self, peer: NodeId, delivered: bool) {
        self.change(peer, |entry| entry.end(delivered));
    }

    /// A lease ended with a result: the peer may hold one more, up to [`MAX_HELD`], and its losses in a row are forgotten.
    pub fn kept(&mut self, peer: NodeId) {
        self.change(peer, Entry::keep);
    }

    /// A lease ended without: the peer may hold half as many, at least one, and cools down for [`COOL_FIRST_MS`], doubled
    /// with each loss in a row up to [`COOL_MOST_MS`].
    pub fn lost(&mut self, now: Tick, peer: NodeId, delivered: bool) {
        self.change(peer, |entry| entry.lose(now, delivered));
    }

    /// A peer is left alone for so many milliseconds, or longer if it already is.
    pub fn cool(&mut self, now: Tick, peer: NodeId, ms: u64) {
        self.change(peer, |entry| entry.cool(now, ms));
    }

    /// Whether a peer is known to have a blob.
    #[must_use]
    pub fn has_blob(&self, peer: NodeId, blob: Digest) -> bool {
        self.get(peer).is_some_and(|entry| entry.has_blob(blob))
    }

    /// A peer has a blob. At most [`MAX_BLOBS`] are remembered of each, the one learned longest ago is forgotten first.
    pub fn learned_blob(&mut self, peer: NodeId, blob: Digest) {
        self.change(peer, |entry| entry.learn_blob(blob));
    }

    /// At most `n` peers that would take a task now, in an order of chance: connected, not cooling, not paused, with room by
    /// their beacon beyond what they were given, and with leases left that they have earned.
    ///
    /// Uniform, so that many owners do not all turn to the same few. O(n log N) steps for N peers.
    pub fn candidates(&mut self, now: Tick, rng: &mut Rng, n: usize) -> Vec<NodeId> {
        self.release_due(now);
        self.index.available.sample(rng, n)
    }

    /// Whether a peer would take one more task now: what makes it one of the [`Roster::candidates`].
    #[must_use]
    pub fn is_available(&self, peer: NodeId) -> bool {
        self.get(peer).is_some_and(Entry::is_available)
    }

    /// The node to ask for work: of two chosen by chance among those that are known to have queued tasks, the one with more
    /// of them per slot. Connected or not, but not cooling, and not hidden and away, where nobody can ask.
    ///
    /// Two, since that spreads askers almost as well as knowing all queues, without all of them turning to the longest
    /// (Mitzenmacher 2001).
    pub fn victim(&mut self, now: Tick, rng: &mut Rng) -> Option<NodeId> {
        self.release_due(now);
        let mut chosen = self.index.owners.sample(rng, 2).into_iter();
        let first = chosen.next()?;
        let Some(second) = chosen.next() else {
            return Some(first);
        };
        let load = |node| self.get(node).map_or((0, 1), Entry::queued_per_slot);
        let ((queued, slots), (more, by)) = (load(first), load(second));
        Some(if more * slots > queued * by {
            second
        } else {
            first
        })
    }

    /// How many nodes are known to have queued tasks, cooling ones included.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.index.busy
    }

    /// How many are known, connected or not.
    #[must_use]
    pub fn known(&self) -> usize {
        self.peers.len()
    }

    /// How many are connected.
    #[must_use]
    pub fn connected_count(&self) -> usize {
        self.index.connected
    }

    /// How suspicious a peer's silence is: φ × 1000, where φ = −log₁₀ of the chance that a live peer is silent so long.
    /// 0 for who is not known, has not introduced itself, or is hidden: that one is away, and nobody is alarmed.
    ///
    /// φ-accrual (Hayashibara 2004) with the exponential model, 434 × silence ÷ mean interval. The normal model of the paper
    /// needs a variance from many samples and floating point; with a beat a minute there are few samples, and whole numbers
    /// are the same on every machine. The mean starts at the peer's tick, moves an eighth of the way to each interval, and
    /// stays between one tick and four: a burst of messages makes no later silence suspicious, and one long absence does
    /// not blind the detector.
    #[must_use]
    pub fn suspicion_milli(&self, now: Tick, peer: NodeId) -> u64 {
        let Some((silent_ms, interval_ms)) = self.get(peer).and_then(|entry| entry.silence(now))
        else {
            return 0;
        };
        silent_ms.saturating_mul(PHI_MILLI_PER_INTERVAL) / interval_ms.max(1)
    }

    /// Whether a peer has been silent for [`SUSPECT_MILLI`]: three of its intervals.
    #[must_use]
    pub fn is_suspect(&self, now: Tick, peer: NodeId) -> bool {
        self.suspicion_milli(now, peer) >= SUSPECT_MILLI
    }

    /// A peer is not dealt with any more: what is known of it goes, and what is said of it later is passed over.
    pub fn expel(&mut self, peer: NodeId) {
        self.remove(peer);
        self.expelled.learn(peer);
    }

    /// Whether a peer was expelled, as far as that is remembered ([`MAX_EXPELLED`]).
    #[must_use]
    pub fn is_expelled(&self, peer: NodeId) -> bool {
        self.expelled.knows(&peer)
    }

    /// Everybody, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Entry)> {
        self.peers.iter().map(|(peer, entry)| (*peer, entry))
    }

    /// Whether what is kept to find peers quickly agrees with what is known of each, and all bounds hold. For tests: it
    /// looks at everything.
    ///
    /// # Errors
    /// What does not agree.
    pub fn sanity_check(&self) -> Result<(), &'static str> {
        let mut expected = Index::default();
        for (peer, entry) in &self.peers {
            expected.shift(*peer, Keys::default(), Keys::of(entry));
            entry.sanity_check()?;
            if self.is_expelled(*peer) {
                return Err("an expelled peer is known");
            }
        }
        self.index.sanity_check(&expected)?;
        self.expelled.sanity_check()?;
        if self.peers.len() > MAX_PEERS {
            return Err("more peers than may be known");
        }
        Ok(())
    }

    /// Sees to it that there is an entry; false where there can be none.
    fn know(&mut self, now: Tick, peer: NodeId) -> bool {
        if self.peers.contains_key(&peer) {
            return true;
        }
        if self.is_expelled(peer) || !self.make_room() {
            return false;
        }
        let entry = Entry::new(now);
        self.index.shift(peer, Keys::default(), Keys::of(&entry));
        self.peers.insert(peer, entry);
        true
    }

    fn make_room(&mut self) -> bool {
        while self.peers.len() >= MAX_PEERS {
            let Some(peer) = self.index.first_to_go() else {
                return false;
            };
            self.remove(peer);
        }
        true
    }

    fn remove(&mut self, peer: NodeId) {
        if let Some(entry) = self.peers.remove(&peer) {
            self.index.shift(peer, Keys::of(&entry), Keys::default());
        }
    }

    fn release_due(&mut self, now: Tick) {
        while let Some(peer) = self.index.first_to_release(now) {
            self.change(peer, Entry::release);
        }
    }

    /// The only way an entry changes, so that the index always agrees.
    fn change<T>(&mut self, peer: NodeId, how: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.peers.get_mut(&peer)?;
        let before = Keys::of(entry);
        let answer = how(entry);
        self.index.shift(peer, before, Keys::of(entry));
        Some(answer)
    }
}
