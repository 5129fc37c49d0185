//! Connections between pairs of nodes: how they come about, carry messages in order, break, and are noticed to be broken.
//!
//! What was under way when a connection breaks arrives up to some message and no further, each direction on its own, as
//! with any transport that keeps order. Each end notices in its own time; what it says until then is lost. Beacons go
//! beside the connections, in any order. Decides nothing for the nodes: it dials for whoever wants to be connected.

use std::collections::VecDeque;

use super::cast::Wire;
use super::chaos::Blow;
use super::check::Invariant;
use super::codec;
use super::scenario::Meeting;
use super::tape::{Drawn, Line};
use super::world::{Ev, Table, World};
use crate::consent::{Message, ToExecutor, ToOwner};
use crate::id::NodeId;
use crate::machine::Event;
use crate::rng::Rng;

/// Two nodes, the lower index first.
pub(super) type PairId = (usize, usize);

/// How many messages of a lost connection may be heard again.
const RECENT: usize = 6;
/// A connection that nobody needs is dropped after this long, where nodes meet on demand.
const IDLE_MS: u64 = 60_000;
/// The longest between two dials, in milliseconds.
const BACK_OFF_MS: u64 = 30_000;

/// Something that is on its way on the net.
#[derive(Debug)]
pub(super) enum Trip {
    /// A dial is answered, or not.
    Dial { pair: PairId },
    /// An end learns of its connection.
    Up {
        pair: PairId,
        epoch: u32,
        high: bool,
    },
    /// An end notices that it is gone.
    Down {
        pair: PairId,
        epoch: u32,
        high: bool,
    },
    /// A message arrives.
    Arrive {
        pair: PairId,
        epoch: u32,
        from_high: bool,
        number: u32,
        message: Box<Message>,
    },
    /// Whether an idle connection is still needed.
    Sweep { pair: PairId },
}

/// One end of a pair, and the direction away from it.
#[derive(Debug, Default)]
pub(super) struct End {
    /// It takes the connection to stand.
    up: bool,
    sent: u32,
    heard: u32,
    /// What it sent arrives up to this number.
    limit: u32,
    /// When the last of it arrives.
    last: u64,
    recent: VecDeque<Message>,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) wire: Wire,
    pub(super) alive: bool,
    pub(super) epoch: u32,
    /// Walls between them.
    pub(super) walls: u32,
    pub(super) ends: [End; 2],
    /// Transfers that move now.
    pub(super) moving: u32,
    dialling: bool,
    tries: u32,
    used_at: u64,
    pub(super) rng: Rng,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) pairs: Table<PairId, Pair>,
    /// Who expelled whom, since it was started.
    pub(super) expelled: std::collections::BTreeSet<(usize, usize)>,
    seed: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Net {
        Net {
            pairs: Table::new(),
            expelled: std::collections::BTreeSet::new(),
            seed,
        }
    }

    pub(super) fn alive(&self, a: usize, b: usize) -> Option<u32> {
        let pair = self.pairs.get(&ordered(a, b))?;
        pair.alive.then_some(pair.epoch)
    }

    fn shunned(&self, (a, b): PairId) -> bool {
        self.expelled.contains(&(a, b)) || self.expelled.contains(&(b, a))
    }
}

pub(super) fn ordered(a: usize, b: usize) -> PairId {
    (a.min(b), a.max(b))
}

fn other(pair: PairId, high: bool) -> usize {
    if high { pair.1 } else { pair.0 }
}

impl World {
    pub(super) fn pair(&mut self, id: PairId) -> &mut Pair {
        let (cast, seed) = (&self.cast, self.net.seed);
        self.net.pairs.entry(id).or_insert_with(|| Pair {
            wire: cast.wire(id.0, id.1),
            alive: false,
            epoch: 0,
            walls: 0,
            ends: [End::default(), End::default()],
            moving: 0,
            dialling: false,
            tries: 0,
            used_at: 0,
            rng: Rng::new(seed ^ ((id.0 as u64) << 32 | id.1 as u64).wrapping_mul(0x9e37_79b9)),
        })
    }

    /// A node is up: whoever can dials.
    pub(super) fn meet(&mut self, node: usize) {
        if self.scenario.meeting == Meeting::OnDemand {
            return;
        }
        for peer in 0..self.nodes.len() {
            if peer != node && self.nodes[peer].up {
                self.dial(ordered(node, peer), 0);
            }
        }
    }

    /// Somebody of a pair dials, unless that is under way.
    pub(super) fn dial(&mut self, id: PairId, after: u64) {
        if self.cast.hidden(id.0) && self.cast.hidden(id.1) {
            return;
        }
        let pair = self.pair(id);
        if !std::mem::replace(&mut pair.dialling, true) {
            let round_trip = 3 * pair.wire.latency_ms;
            self.later(after + round_trip, Ev::Net(Trip::Dial { pair: id }));
        }
    }

    /// A machine wants a connection.
    pub(super) fn dial_for(&mut self, node: usize, peer: NodeId) {
        let Some(peer) = self.cast.index_of(&peer).filter(|peer| *peer != node) else {
            return;
        };
        if !self.cast.hidden(peer) {
            let id = ordered(node, peer);
            self.pair(id).tries = 0;
            self.dial(id, 0);
        }
    }

    pub(super) fn trip(&mut self, trip: Trip) {
        match trip {
            Trip::Dial { pair } => self.dialled(pair),
            Trip::Up { pair, epoch, high } => {
                let it = self.pair(pair);
                if it.alive && it.epoch == epoch {
                    self.side_up(pair, high);
                }
            }
            Trip::Down { pair, epoch, high } => {
                let it = self.pair(pair);
                if it.epoch == epoch && !it.alive && it.ends[usize::from(high)].up {
                    self.side_down(pair, high);
                    self.redial(pair);
                }
            }
            Trip::Arrive {
                pair,
                epoch,
                from_high,
                number,
                message,
            } => {
                self.arrive(pair, epoch, from_high, number, *message);
            }
            Trip::Sweep { pair } => self.sweep(pair),
        }
    }

    fn dialled(&mut self, id: PairId) {
        let fails = if self.healed {
            0
        } else {
            self.scenario.dial_fails
        };
        let reachable = self.nodes[id.0].up && self.nodes[id.1].up && !self.net.shunned(id);
        // An end that takes the old connection to stand dials nobody, and a hidden node is dialled by nobody.
        let hidden = [self.cast.hidden(id.0), self.cast.hidden(id.1)];
        let pair = self.pair(id);
        pair.dialling = false;
        let dials = |high: usize| !pair.ends[high].up && !hidden[1 - high];
        if pair.alive || !reachable || !(dials(0) || dials(1)) {
            return;
        }
        let failed = pair.walls > 0 || pair.wire.suffers && pair.rng.chance(fails);
        if failed {
            pair.tries += 1;
            return self.redial(id);
        }
        pair.tries = 0;
        self.connect(id);
    }

    fn redial(&mut self, id: PairId) {
        let demand = self.scenario.meeting == Meeting::OnDemand;
        let pair = self.pair(id);
        if demand && (pair.tries == 0 || pair.tries > 3) {
            return;
        }
        let most = (500 << pair.tries.min(8)).min(BACK_OFF_MS);
        let after = most / 2 + pair.rng.below(most / 2 + 1);
        self.dial(id, after);
    }

    fn connect(&mut self, id: PairId) {
        for high in [false, true] {
            if self.pair(id).ends[usize::from(high)].up {
                self.side_down(id, high);
            }
        }
        let (now, replay) = (self.now, self.scenario.replay && !self.healed);
        let pair = self.pair(id);
        pair.alive = true;
        pair.epoch += 1;
        pair.used_at = now;
        for end in &mut pair.ends {
            (end.sent, end.heard, end.limit, end.last) = (0, 0, u32::MAX, now);
        }
        let (epoch, first) = (pair.epoch, pair.rng.chance(500));
        let later = pair.rng.below(pair.wire.latency_ms + 1);
        self.tape.mark(now, id.0, 2, id.1 as u64);
        self.later(
            later,
            Ev::Net(Trip::Up {
                pair: id,
                epoch,
                high: first,
            }),
        );
        self.side_up(id, !first);
        if replay {
            self.replay(id);
        }
        self.bulk_resume(id);
        if self.scenario.meeting == Meeting::OnDemand {
            self.later(IDLE_MS, Ev::Net(Trip::Sweep { pair: id }));
        }
    }

    /// What was said on the lost connection may be heard again on this one.
    fn replay(&mut self, id: PairId) {
        for high in [false, true] {
            let pair = self.pair(id);
            let recent: Vec<Message> = pair.ends[usize::from(high)]
                .recent
                .iter()
                .cloned()
                .collect();
            for message in recent {
                if self.pair(id).rng.chance(300) {
                    self.carry(other(id, high), other(id, !high), message);
                }
            }
        }
    }

    fn side_up(&mut self, id: PairId, high: bool) {
        let (node, peer) = (other(id, high), other(id, !high));
        let pair = self.pair(id);
        pair.ends[usize::from(high)].up = true;
        let link = pair.wire.link();
        let name = self.cast.name(peer).to_owned();
        self.tape
            .note(self.now, node, || format!("connected to {name}"));
        let setup = &self.cast.parts[peer].setup;
        let event = Event::Connected {
            peer: setup.id,
            capabilities: Box::new(setup.capabilities.clone()),
            link,
            trusted: true,
        };
        self.tell(node, event);
    }

    fn side_down(&mut self, id: PairId, high: bool) {
        let (node, peer) = (other(id, high), other(id, !high));
        self.pair(id).ends[usize::from(high)].up = false;
        let name = self.cast.name(peer).to_owned();
        self.tape.note(self.now, node, || format!("lost {name}"));
        let peer = self.cast.id(peer);
        self.tell(node, Event::Disconnected { peer });
    }

    /// A connection breaks; each end notices after one of these delays.
    pub(super) fn cut(&mut self, id: PairId, notice: [u64; 2]) {
        let now = self.now;
        let pair = self.pair(id);
        if !pair.alive {
            return;
        }
        pair.alive = false;
        pair.moving = 0;
        let epoch = pair.epoch;
        for end in &mut pair.ends {
            end.limit = end.heard + pair.rng.below(u64::from(end.sent - end.heard) + 1) as u32;
        }
        self.stats.cuts += 1;
        self.tape.mark(now, id.0, 3, id.1 as u64);
        self.bulk_break(id);
        for (high, after) in [(false, notice[0]), (true, notice[1])] {
            self.later(
                after,
                Ev::Net(Trip::Down {
                    pair: id,
                    epoch,
                    high,
                }),
            );
        }
    }

    pub(super) fn cut_slowly(&mut self, id: PairId) {
        let span = self.scenario.notice_ms;
        let pair = self.pair(id);
        let notice = [span.pick(&mut pair.rng), span.pick(&mut pair.rng)];
        self.cut(id, notice);
    }

    /// A node was killed: it notices nothing any more, and its peers do sooner or later.
    pub(super) fn cut_off(&mut self, node: usize) {
        let mine = |id: &PairId| id.0 == node || id.1 == node;
        let ids: Vec<PairId> = self.net.pairs.keys().copied().filter(mine).collect();
        for id in ids {
            self.cut_slowly(id);
            self.pair(id).ends[usize::from(id.1 == node)].up = false;
        }
        self.net.expelled.retain(|(who, _)| *who != node);
    }

    /// A node wants nothing more to do with another.
    pub(super) fn expel(&mut self, node: usize, peer: NodeId) {
        let Some(peer) = self.cast.index_of(&peer) else {
            return;
        };
        self.net.expelled.insert((node, peer));
        self.stats.expelled += 1;
        let id = ordered(node, peer);
        self.cut(id, [0, 0]);
    }

    /// A machine says something.
    pub(super) fn say(&mut self, node: usize, peer: NodeId, message: Message) {
        let Some(peer) = self.cast.index_of(&peer) else {
            return;
        };
        self.carry(node, peer, message);
    }

    pub(super) fn carry(&mut self, from: usize, to: usize, message: Message) {
        let (message, bytes) = match codec::transit(&message) {
            Ok(heard) => heard,
            Err(words) => return self.check.object(Some(from), Invariant::Codec, words),
        };
        self.stats
            .sent(self.now, (from, to), &message, bytes.len() as u64);
        self.tape.bytes(self.now, from, &bytes);
        let (now, id, keeps) = (self.now, ordered(from, to), self.scenario.replay);
        let breaks = if self.healed {
            0
        } else {
            self.scenario.cut_at_words
        };
        let high = from == id.1;
        let pair = self.pair(id);
        pair.used_at = now;
        let end = &mut pair.ends[usize::from(high)];
        if keeps {
            end.recent.truncate(RECENT - 1);
            end.recent.push_front(message.clone());
        }
        if !pair.alive {
            return self.draw(from, to, &message, true);
        }
        let wire = pair.wire;
        let mut after = wire.latency_ms + pair.rng.below(wire.jitter_ms + 1);
        after += bytes.len() as u64 / wire.bytes_per_ms;
        while pair.rng.chance(wire.loss) {
            after += 2 * wire.latency_ms + 200;
        }
        let end = &mut pair.ends[usize::from(high)];
        end.last = end.last.max(now + after);
        let number = end.sent;
        end.sent += 1;
        let (at, epoch) = (end.last, pair.epoch);
        let message = Box::new(message);
        let breaks = pair.wire.suffers && pair.rng.chance(breaks);
        let trip = Trip::Arrive {
            pair: id,
            epoch,
            from_high: high,
            number,
            message,
        };
        self.later(at - now, Ev::Net(trip));
        if breaks {
            self.later(at - now, Ev::Blow(Blow::Snap { pair: id }));
        }
    }

    fn arrive(&mut self, id: PairId, epoch: u32, from_high: bool, number: u32, message: Message) {
        let (from, to) = (other(id, from_high), other(id, !from_high));
        let pair = self.pair(id);
        let arrives = pair.epoch == epoch
            && number < pair.ends[usize::from(from_high)].limit
            && pair.ends[usize::from(!from_high)].up;
        if !arrives {
            return self.draw(from, to, &message, true);
        }
        pair.ends[usize::from(from_high)].heard = number + 1;
        self.draw(from, to, &message, false);
        self.stats.heard(self.now, (from, to), &message);
        if self.nodes[to].liar.is_some() {
            return self.liar_hears(to, from, &message);
        }
        let peer = self.cast.id(from);
        self.tell(to, Event::Received { peer, message });
    }

    fn draw(&mut self, from: usize, to: usize, message: &Message, lost: bool) {
        let at = self.now;
        self.tape.line(|| Line {
            at,
            task: key_of(message).map(|key| (key.run.clone(), key.task)),
            what: Drawn::Arrow {
                from,
                to,
                text: super::trace::short(message),
                lost,
            },
        });
    }

    fn sweep(&mut self, id: PairId) {
        let used_at = self.pair(id).used_at;
        if !self.pair(id).alive {
            return;
        }
        let needed = self.works_for(id.0, id.1) || self.works_for(id.1, id.0);
        let idle = self.now - used_at;
        if idle < IDLE_MS || needed {
            let after = IDLE_MS.saturating_sub(idle).max(1000);
            return self.later(after, Ev::Net(Trip::Sweep { pair: id }));
        }
        let latency = self.pair(id).wire.latency_ms;
        self.cut(id, [0, latency]);
    }
}

/// The lease that a message is about.
pub(super) fn key_of(message: &Message) -> Option<&crate::id::LeaseKey> {
    match message {
        Message::ToOwner(message) => ToOwner::key(message),
        Message::ToExecutor(message) => match message {
            ToExecutor::Offer(offer) => Some(&offer.key),
            ToExecutor::Bundle { key, .. }
            | ToExecutor::Withdraw { key }
            | ToExecutor::Cancel { key }
            | ToExecutor::Acked { key }
            | ToExecutor::Settled { key } => Some(key),
            ToExecutor::NoWork { .. } | ToExecutor::Resume { .. } => None,
        },
        Message::Beacon(_) | Message::Capabilities(_) | Message::Acquaint(_) => None,
    }
}
