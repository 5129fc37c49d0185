//! Bundles and outputs on their way: they share a wire, stop when its connection breaks, and go on after the next one.
//!
//! What is small goes in messages instead, cut into pieces. A flow has two ends, each of which must want it. It moves in steps, so that what shares a wire is shared, and what a
//! broken connection costs is a step. Counts what flows against what each end allowed; called by the hands.

use super::liar::Serves;
use super::net::ordered;
use super::world::{Ev, Table, World};
use crate::consent::{Claim, LostWhy, Message, Offer, Piece, ToExecutor, ToOwner};
use crate::id::{LeaseKey, NodeId};
use crate::machine::Event;

/// What goes in messages at most, and a piece of it, in bytes: less than in life, so that both ways are common.
const INLINE: u64 = 12 << 10;
const PIECE: usize = 5 << 10;
/// Steps of a flow, at most.
const STEPS: u64 = 6;
/// What one step moves at least.
const LEAST_STEP: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bundle,
    Outputs,
}

/// Which flow: what, of which lease, from whom to whom.
type FlowKey = (Kind, usize, usize, LeaseKey);

#[derive(Debug)]
struct Flow {
    of: FlowKey,
    /// What its sender has for it: all bytes, and the most that may flow.
    sender: Option<(u64, u64)>,
    /// The most that its taker takes.
    taker: Option<u64>,
    done: u64,
    /// The step that is under way; an earlier one in the queue is void.
    step: Option<u64>,
    next_step: u64,
}

/// So many bytes as pieces: one that says so where there are none.
fn pieces(bytes: u64) -> Vec<Piece> {
    let content = vec![0; bytes as usize];
    let mut pieces: Vec<Piece> = Vec::new();
    for part in content.chunks(PIECE) {
        let at = pieces.len() * PIECE;
        pieces.push(Piece {
            at: at as u64,
            of: bytes,
            bytes: part.to_vec(),
        });
    }
    if pieces.is_empty() {
        pieces.push(Piece::default());
    }
    pieces
}

/// All flows.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    flows: Table<u64, Flow>,
    by_key: Table<FlowKey, u64>,
    next: u64,
}

impl Bulk {
    fn get_or_begin(&mut self, of: FlowKey) -> u64 {
        if let Some(number) = self.by_key.get(&of) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.by_key.insert(of.clone(), number);
        let flow = Flow {
            of,
            sender: None,
            taker: None,
            done: 0,
            step: None,
            next_step: 0,
        };
        self.flows.insert(number, flow);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Flow> {
        let flow = self.flows.remove(&number)?;
        self.by_key.remove(&flow.of);
        Some(flow)
    }
}

impl World {
    pub(super) fn send_bundle(
        &mut self,
        node: usize,
        peer: NodeId,
        key: &LeaseKey,
        have: &[u8],
        (cap, inline): (u64, u64),
    ) {
        let (Some(to), Some(truth)) = (
            self.cast.index_of(&peer),
            self.cast.truth(&key.run, key.task),
        ) else {
            return;
        };
        let needs = &truth.needs;
        let known = have
            .iter()
            .filter_map(|index| needs.blobs.get(usize::from(*index)));
        let known: u64 = known.map(|blob| blob.bytes).sum();
        let bytes = (needs.component_bytes + needs.input_bytes).saturating_sub(known);
        let goes_inline = bytes <= inline.min(INLINE);
        let pieces = pieces(if goes_inline { bytes } else { 0 });
        if goes_inline {
            self.check.flows(self.now, node, to, key, bytes);
        } else {
            self.offer_flow((Kind::Bundle, node, to, key.clone()), bytes, cap);
        }
        for piece in pieces {
            let key = key.clone();
            self.say(
                node,
                peer,
                Message::ToExecutor(ToExecutor::Bundle { key, piece }),
            );
        }
    }

    /// A word that something is done, with the outputs in it, or the first of them: the rest follows.
    pub(super) fn with_outputs(
        &self,
        node: usize,
        owner: NodeId,
        message: Message,
    ) -> Vec<Message> {
        let Message::ToOwner(ToOwner::Completed { key, claim, .. }) = message else {
            return vec![message];
        };
        let bytes = self.nodes[node].hands.outputs(owner, &key);
        let bytes = bytes.filter(|bytes| *bytes <= INLINE).unwrap_or(0);
        let mut pieces = pieces(bytes).into_iter();
        let outputs = pieces.next().unwrap_or_default();
        let more = |piece| ToOwner::Outputs {
            key: key.clone(),
            piece,
        };
        let more: Vec<ToOwner> = pieces.map(more).collect();
        let first = ToOwner::Completed {
            key,
            claim,
            outputs,
        };
        [first]
            .into_iter()
            .chain(more)
            .map(Message::ToOwner)
            .collect()
    }

    /// A piece is here; whether it was the last.
    fn took(&mut self, node: usize, of: (NodeId, LeaseKey), piece: &Piece) -> bool {
        let arriving = &mut self.nodes[node].hands.arriving;
        if piece.at == 0 {
            arriving.insert(of.clone(), 0);
        }
        match arriving.get_mut(&of) {
            Some(here) if *here == piece.at => *here += piece.bytes.len() as u64,
            _ => return false,
        }
        let whole = arriving.get(&of) == Some(&piece.of);
        if whole {
            arriving.remove(&of);
        }
        whole
    }

    /// A liar's bundle: so many times as large as it said.
    pub(super) fn send_lie(&mut self, node: usize, peer: NodeId, key: &LeaseKey, swells: u64) {
        if let Some(to) = self.cast.index_of(&peer) {
            self.offer_flow(
                (Kind::Bundle, node, to, key.clone()),
                20_000 * swells,
                u64::MAX,
            );
        }
    }

    fn offer_flow(&mut self, of: FlowKey, bytes: u64, cap: u64) {
        let number = self.bulk.get_or_begin(of);
        if let Some(flow) = self.bulk.flows.get_mut(&number) {
            flow.sender = Some((bytes, cap));
        }
        self.begin_step(number);
    }

    fn take_flow(&mut self, of: FlowKey, cap: u64) {
        let number = self.bulk.get_or_begin(of);
        if let Some(flow) = self.bulk.flows.get_mut(&number) {
            flow.taker = Some(cap);
        }
        self.begin_step(number);
    }

    pub(super) fn take_bundle(
        &mut self,
        node: usize,
        owner: NodeId,
        offer: &Offer,
        piece: &Piece,
        cap: u64,
    ) {
        let key = offer.key.clone();
        if piece.of > 0 {
            if piece.at == 0 {
                self.stop_taking(node, owner, &key);
            }
            if self.took(node, (owner, key.clone()), piece) {
                let event = match self.nodes[node].disk.full {
                    true => Event::BundleFailed {
                        owner,
                        key,
                        why: LostWhy::DiskFull,
                    },
                    false => Event::BundleArrived { owner, key },
                };
                self.tell_later(node, 1, event);
            }
            return;
        }
        if let Some(from) = self.cast.index_of(&owner) {
            self.take_flow((Kind::Bundle, from, node, offer.key.clone()), cap);
        }
    }

    /// A liar takes a bundle for the looks of it.
    pub(super) fn take_lie(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        if let Some(from) = self.cast.index_of(&owner) {
            self.take_flow((Kind::Bundle, from, node, key.clone()), u64::MAX);
        }
    }

    pub(super) fn fetch_outputs(
        &mut self,
        node: usize,
        peer: NodeId,
        key: &LeaseKey,
        (claim, piece): (&Claim, &Piece),
        cap: u64,
    ) {
        let Some(from) = self.cast.index_of(&peer) else {
            return;
        };
        self.check
            .flows(self.now, node, from, key, claim.output_bytes);
        if piece.of > 0 {
            if self.took(node, (peer, key.clone()), piece) {
                let key = key.clone();
                let event = match self.nodes[node].disk.full {
                    true => Event::FetchFailed {
                        peer,
                        key,
                        why: LostWhy::DiskFull,
                    },
                    false => Event::Fetched { peer, key },
                };
                self.tell_later(node, 1, event);
            }
            return;
        }
        self.take_flow((Kind::Outputs, from, node, key.clone()), cap);
    }

    /// Whether a flow can move now, and over how many bytes.
    fn begin_step(&mut self, number: u64) {
        let Some(flow) = self.bulk.flows.get(&number) else {
            return;
        };
        let (kind, from, to, key) = flow.of.clone();
        let (Some(taker), None) = (flow.taker, flow.step) else {
            return;
        };
        if self.net.alive(from, to).is_none() {
            return;
        }
        if kind == Kind::Outputs && flow.sender.is_none() {
            return self.open_outputs(number, from, to, &key);
        }
        let Some((bytes, sender)) = flow.sender else {
            return;
        };
        if flow.done == 0 && kind == Kind::Bundle {
            self.check.flows(self.now, from, to, &key, bytes);
        }
        let cap = taker.min(sender);
        let done = flow.done;
        if bytes > cap && done >= cap {
            return self.too_much(number);
        }
        // What a liar says of its size changes.
        let most = (bytes / STEPS).max(LEAST_STEP);
        let step = bytes.min(cap).saturating_sub(done).min(most);
        let pair = self.pair(ordered(from, to));
        pair.moving += 1;
        let after = pair.wire.latency_ms + step * u64::from(pair.moving) / pair.wire.bytes_per_ms;
        let Some(flow) = self.bulk.flows.get_mut(&number) else {
            return;
        };
        flow.next_step += 1;
        flow.step = Some(step);
        let step = flow.next_step;
        self.later(after.max(1), Ev::Bulk { flow: number, step });
    }

    /// The sender looks for outputs that are asked of it.
    fn open_outputs(&mut self, number: u64, from: usize, to: usize, key: &LeaseKey) {
        let owner = self.cast.id(to);
        let there = match self.serves(from) {
            Serves::Yes => self.nodes[from].hands.outputs(owner, key),
            Serves::Never => return,
            Serves::Refuses => None,
        };
        match there {
            Some(bytes) => {
                if let Some(flow) = self.bulk.flows.get_mut(&number) {
                    flow.sender = Some((bytes, u64::MAX));
                }
                self.begin_step(number);
            }
            None => {
                self.bulk.remove(number);
                let (peer, key, why) = (self.cast.id(from), key.clone(), LostWhy::Unknown);
                self.tell_later(to, 1, Event::FetchFailed { peer, key, why });
            }
        }
    }

    pub(super) fn bulk_step(&mut self, number: u64, step: u64) {
        let Some(flow) = self.bulk.flows.get_mut(&number) else {
            return;
        };
        if flow.next_step != step {
            return;
        }
        let Some(moved) = flow.step.take() else {
            return;
        };
        flow.done += moved;
        let (kind, from, to, _) = flow.of.clone();
        let over = flow.sender.is_none_or(|(bytes, _)| flow.done >= bytes);
        self.stats.bulk_bytes += moved;
        let pair = self.pair(ordered(from, to));
        pair.moving = pair.moving.saturating_sub(1);
        if !over {
            return self.begin_step(number);
        }
        let Some(flow) = self.bulk.remove(number) else {
            return;
        };
        let (key, peer) = (flow.of.3, self.cast.id(from));
        let full = self.nodes[to].disk.full;
        let event = match kind {
            Kind::Bundle if full => Event::BundleFailed {
                owner: peer,
                key,
                why: LostWhy::DiskFull,
            },
            Kind::Bundle => Event::BundleArrived { owner: peer, key },
            Kind::Outputs if full => Event::FetchFailed {
                peer,
                key,
                why: LostWhy::DiskFull,
            },
            Kind::Outputs => Event::Fetched { peer, key },
        };
        self.tell(to, event);
    }

    /// More than was agreed: whoever takes it is told.
    fn too_much(&mut self, number: u64) {
        let Some(flow) = self.bulk.remove(number) else {
            return;
        };
        let (kind, from, to, key) = flow.of;
        let (peer, why) = (self.cast.id(from), LostWhy::Bundle);
        let event = match kind {
            Kind::Bundle => Event::BundleFailed {
                owner: peer,
                key,
                why,
            },
            Kind::Outputs => Event::FetchFailed { peer, key, why },
        };
        self.tell_later(to, 1, event);
    }

    fn flows_of(&self, fits: impl Fn(&FlowKey) -> bool) -> Vec<u64> {
        let each = self.bulk.flows.iter().filter(|(_, flow)| fits(&flow.of));
        each.map(|(number, _)| *number).collect()
    }

    /// An owner wants no transfer of a lease any more, either way.
    pub(super) fn stop_transfer(&mut self, node: usize, peer: NodeId, key: &LeaseKey) {
        let Some(there) = self.cast.index_of(&peer) else {
            return;
        };
        if let Some(number) = self
            .bulk
            .by_key
            .get(&(Kind::Outputs, there, node, key.clone()))
            .copied()
        {
            self.end_flow(number);
        }
        if let Some(number) = self
            .bulk
            .by_key
            .get(&(Kind::Bundle, node, there, key.clone()))
            .copied()
        {
            self.halt(number);
            let taken = self.bulk.flows.get_mut(&number).is_some_and(|flow| {
                flow.sender = None;
                flow.taker.is_some()
            });
            if !taken {
                self.end_flow(number);
            }
        }
    }

    /// An executor takes no bundle of a lease any more.
    pub(super) fn stop_taking(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        let from = self.cast.index_of(&owner);
        let number = from.and_then(|from| {
            self.bulk
                .by_key
                .get(&(Kind::Bundle, from, node, key.clone()))
        });
        if let Some(number) = number.copied() {
            self.end_flow(number);
        }
    }

    fn end_flow(&mut self, number: u64) {
        self.halt(number);
        self.bulk.remove(number);
    }

    /// Stops the step that is under way.
    fn halt(&mut self, number: u64) {
        let Some(flow) = self.bulk.flows.get_mut(&number) else {
            return;
        };
        if flow.step.take().is_some() {
            let id = ordered(flow.of.1, flow.of.2);
            let pair = self.pair(id);
            pair.moving = pair.moving.saturating_sub(1);
        }
    }

    /// A connection broke: its steps are lost, the rest waits.
    pub(super) fn bulk_break(&mut self, id: (usize, usize)) {
        for number in self.flows_of(|of| ordered(of.1, of.2) == id) {
            if let Some(flow) = self.bulk.flows.get_mut(&number) {
                flow.step = None;
            }
        }
    }

    pub(super) fn bulk_resume(&mut self, id: (usize, usize)) {
        for number in self.flows_of(|of| ordered(of.1, of.2) == id) {
            self.begin_step(number);
        }
    }

    /// A node was killed: what it sent or took it does no more. What others take from it waits for them to give up.
    pub(super) fn bulk_crash(&mut self, node: usize) {
        for number in self.flows_of(|of| of.1 == node || of.2 == node) {
            self.halt(number);
            let Some(flow) = self.bulk.flows.get_mut(&number) else {
                continue;
            };
            if flow.of.1 == node {
                flow.sender = None;
            }
            if flow.of.2 == node {
                (flow.taker, flow.done) = (None, 0);
            }
            if flow.sender.is_none() && flow.taker.is_none() {
                self.bulk.remove(number);
            }
        }
    }

    pub(super) fn moves_between(&self, a: usize, b: usize) -> bool {
        self.bulk
            .by_key
            .keys()
            .any(|of| ordered(of.1, of.2) == ordered(a, b))
    }
}
