//! What befalls a mesh: cuts, walls, kills, full disks, users. And the moment when all that ends.
//!
//! Drawn at the start from the scenario's ranges ([`World::begin`]), or one blow from the other. Never looks at what
//! machines do, so a machine's faults do not change what befalls it.

use super::Trap;
use super::check::Invariant;
use super::clock::exponential;
use super::net::{PairId, ordered};
use super::scenario::Meeting;
use super::world::{Ev, World, calm};
use crate::consent::{Beacon, Message};
use crate::id::{LeaseKey, NodeId};
use crate::machine::{Action, Event};
use crate::policy::HostState;

/// So many others a node of a swarm hears of, some of them twice.
const ACQUAINTANCES: u64 = 100;

/// A misfortune, or its end.
#[derive(Clone, Debug)]
pub(super) enum Blow {
    /// A node starts, the first time or again.
    Start {
        node: usize,
    },
    /// A node of a swarm hears of others.
    Discover {
        node: usize,
    },
    /// A run is submitted.
    Submit {
        script: usize,
    },
    /// Its user wants it to end.
    Interrupt {
        script: usize,
    },
    /// A connection breaks, and this one will again.
    Cut {
        pair: PairId,
    },
    /// A connection breaks, this once.
    Snap {
        pair: PairId,
    },
    /// The mesh falls apart: who is on which side is a bit of the mask.
    Wall {
        mask: u64,
        length: u64,
    },
    WallFalls {
        mask: u64,
    },
    /// A node is killed, for so long; for ever where none is said.
    Kill {
        node: usize,
        down: Option<u64>,
    },
    /// A trap is set for a node.
    Trap(Trap),
    DiskFull {
        node: usize,
        full: bool,
    },
    /// A user, or the weather, changes a machine's state.
    Mood {
        node: usize,
        host: HostState,
    },
    /// Everything is well from now on.
    Heal,
}

impl World {
    /// Puts everything that will befall the mesh into the queue.
    pub(super) fn begin(&mut self, heal_at: u64) {
        let swarm = self.scenario.meeting == Meeting::OnDemand;
        for node in 0..self.nodes.len() {
            let late = self.rng.chance(200) && !swarm;
            let after = if late {
                self.rng.below(10_000)
            } else {
                self.rng.below(300)
            };
            self.later(after, Ev::Blow(Blow::Start { node }));
            if swarm {
                self.later(5_000 + after, Ev::Blow(Blow::Discover { node }));
            }
        }
        let cast = std::rc::Rc::clone(&self.cast);
        for (index, script) in cast.scripts.iter().enumerate() {
            self.later(
                11_000 + script.begins,
                Ev::Blow(Blow::Submit { script: index }),
            );
            if let Some(at) = script.interrupted {
                self.later(11_000 + at, Ev::Blow(Blow::Interrupt { script: index }));
            }
        }
        if !swarm {
            self.draw_cuts();
            self.draw_rest(heal_at);
        }
        self.later(heal_at, Ev::Blow(Blow::Heal));
    }

    fn draw_cuts(&mut self) {
        let mean = self.scenario.cut_every_ms;
        for low in 0..self.nodes.len() {
            for high in low + 1..self.nodes.len() {
                if mean > 0 && self.cast.wire(low, high).suffers {
                    let after = exponential(&mut self.rng, mean);
                    self.later(after, Ev::Blow(Blow::Cut { pair: (low, high) }));
                }
            }
        }
    }

    fn draw_rest(&mut self, heal_at: u64) {
        let scenario = std::rc::Rc::clone(&self.scenario);
        let nodes = self.nodes.len() as u64;
        let owners = self.cast.scripts.len() as u64;
        // Troubles come while there is work, most of them.
        let rng = &mut self.rng;
        let mut blows = Vec::new();
        let at = |rng: &mut crate::rng::Rng| 11_500 + exponential(rng, heal_at / 4).min(heal_at);
        for _ in 0..scenario.partitions.pick(rng) {
            let (mask, length) = (rng.next_u64(), 500 + rng.below(60_000));
            blows.push((at(rng), Blow::Wall { mask, length }));
        }
        for _ in 0..scenario.crashes.pick(rng) {
            let node = rng.below(nodes) as usize;
            let down_ms = 200 + exponential(rng, 8_000);
            let (nth, after_ms) = (rng.below(30) as u32, rng.below(6));
            let trap = Trap {
                node,
                nth,
                after_ms,
                down_ms,
            };
            let blow = match rng.chance(700) {
                true => Blow::Trap(trap),
                false => Blow::Kill {
                    node,
                    down: Some(down_ms),
                },
            };
            blows.push((at(rng), blow));
        }
        for _ in 0..scenario.vanish.pick(rng) {
            let node = (owners + rng.below((nodes - owners).max(1))) as usize;
            let down = rng.chance(400).then(|| 30_000 + rng.below(2_000_000));
            if node < nodes as usize {
                blows.push((at(rng), Blow::Kill { node, down }));
            }
        }
        for _ in 0..scenario.disk_full.pick(rng) {
            let (node, from) = (rng.below(nodes) as usize, at(rng));
            let until = from + 1_000 + rng.below(40_000);
            blows.push((from, Blow::DiskFull { node, full: true }));
            blows.push((until, Blow::DiskFull { node, full: false }));
        }
        for _ in 0..scenario.moods.pick(rng) {
            let (node, from) = (rng.below(nodes) as usize, at(rng));
            let host = HostState {
                paused: rng.chance(400),
                draining: rng.chance(200),
                on_battery: Some(rng.chance(500)),
                ..calm()
            };
            let until = from + 1_000 + rng.below(60_000);
            blows.push((from, Blow::Mood { node, host }));
            blows.push((until, Blow::Mood { node, host: calm() }));
        }
        for (after, blow) in blows {
            self.later(after, Ev::Blow(blow));
        }
    }

    pub(super) fn blow(&mut self, blow: Blow) {
        match blow {
            Blow::Start { node } => self.start(node),
            Blow::Discover { node } => self.discover(node),
            Blow::Submit { script } => self.submit(script),
            Blow::Interrupt { script } => self.interrupt(script),
            Blow::Cut { pair } if !self.healed => {
                self.cut_slowly(pair);
                let mean = self.scenario.cut_every_ms;
                let after = exponential(&mut self.pair(pair).rng, mean);
                self.later(after, Ev::Blow(Blow::Cut { pair }));
            }
            Blow::Snap { pair } => self.cut_slowly(pair),
            Blow::Wall { mask, length } if !self.healed => {
                self.wall(mask, true);
                self.later(length, Ev::Blow(Blow::WallFalls { mask }));
            }
            Blow::WallFalls { mask } => self.wall(mask, false),
            Blow::Kill { node, down } if !self.healed => self.kill(node, down),
            Blow::Trap(trap) => self.nodes[trap.node].trap = Some(trap),
            Blow::DiskFull { node, full } => self.nodes[node].disk.full = full && !self.healed,
            Blow::Mood { node, host } => {
                let host = if self.healed { calm() } else { host };
                self.tell(node, Event::Host(host));
            }
            Blow::Heal => self.heal(),
            Blow::Cut { .. } | Blow::Wall { .. } | Blow::Kill { .. } => {}
        }
    }

    /// What discovery tells a node of a swarm: that there are many others, and some of their names.
    fn discover(&mut self, node: usize) {
        for _ in 0..ACQUAINTANCES {
            let other = self.rng.below(self.nodes.len() as u64) as usize;
            let beacon = Beacon {
                node: self.cast.id(other),
                sequence: 0,
                free: 1,
                queued: 0,
                slots: 1,
                paused: false,
            };
            self.tell(node, Event::Gossip(beacon));
        }
    }

    /// A machine wants something: a trap for it comes nearer to its end.
    pub(super) fn spring(&mut self, node: usize, action: &Action) {
        let counts = match action {
            Action::Send { message, .. } => !matches!(message, Message::Beacon(_)),
            action => matches!(action, Action::Persist { .. } | Action::Run { .. }),
        };
        let Some(trap) = self.nodes[node].trap.as_mut().filter(|_| counts) else {
            return;
        };
        if trap.nth > 0 {
            trap.nth -= 1;
            return;
        }
        let (after, down) = (trap.after_ms, Some(trap.down_ms));
        self.nodes[node].trap = None;
        self.later(after, Ev::Blow(Blow::Kill { node, down }));
    }

    fn interrupt(&mut self, script: usize) {
        self.runs[script].interrupted = true;
        let (owner, run) = (
            self.cast.scripts[script].owner,
            self.cast.scripts[script].run.clone(),
        );
        self.tell(owner, Event::Interrupt { run });
    }

    fn wall(&mut self, mask: u64, stands: bool) {
        for low in 0..self.nodes.len() {
            for high in low + 1..self.nodes.len() {
                let apart = (mask >> (low % 64)) & 1 != (mask >> (high % 64)) & 1;
                let id = ordered(low, high);
                let pair = self.pair(id);
                match (apart, stands) {
                    (false, _) => {}
                    (true, true) => {
                        pair.walls += 1;
                        self.cut_slowly(id);
                    }
                    (true, false) => {
                        pair.walls = pair.walls.saturating_sub(1);
                        self.dial(id, 0);
                    }
                }
            }
        }
    }

    fn kill(&mut self, node: usize, down: Option<u64>) {
        let it = &mut self.nodes[node];
        if !it.up {
            return;
        }
        it.up = false;
        self.stats.kills += 1;
        it.life += 1;
        it.gone = down.is_none();
        it.machine = None;
        it.liar = None;
        let records = it.disk.crash(&mut it.rng);
        self.tape.mark(self.now, node, 4, down.unwrap_or(0));
        self.note(node, None, || "is killed".into());
        for record in records {
            match record {
                Ok(record) => self.check.durable(self.now, node, &record),
                Err(record) => self.check.not_durable(node, &record),
            }
        }
        self.check.crashed(node);
        self.bulk_crash(node);
        self.cut_off(node);
        if let Some(down) = down {
            self.later(down, Ev::Blow(Blow::Start { node }));
        }
    }

    /// From now on nothing bad happens, and what can stand again does.
    pub(super) fn heal(&mut self) {
        if std::mem::replace(&mut self.healed, true) {
            return;
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.full = false;
            self.tell(node, Event::Host(calm()));
        }
        let ids: Vec<PairId> = self.net.pairs.keys().copied().collect();
        for id in ids {
            self.pair(id).walls = 0;
            if self.scenario.meeting == Meeting::Everybody {
                self.dial(id, 0);
            }
        }
    }

    /// What must not be left when everything is over and everybody has had time to say so.
    pub(super) fn leftovers(&mut self) {
        for node in 0..self.nodes.len() {
            let fresh = self.nodes[node].clock.began + 120_000 > self.now;
            if self.nodes[node].machine.is_none() || fresh {
                continue;
            }
            let guests = self.nodes[node].hands.foreign_owners();
            let left = guests
                .filter(|(owner, key)| self.is_there(node, *owner, key))
                .count();
            let outbox = self.nodes[node].disk.outbox();
            let waiting = outbox
                .iter()
                .filter(|(owner, key, _)| self.is_there(node, *owner, key));
            let waiting: Vec<String> = waiting.map(|(_, key, _)| key.to_string()).collect();
            if left > 0 || !waiting.is_empty() {
                let words = format!(
                    "{left} foreign guests, and results of {}",
                    waiting.join(", ")
                );
                self.check.object(Some(node), Invariant::NothingLeft, words);
            }
        }
    }

    /// Whether an owner is honest, up and connected, and was there when the run of this lease ended. One that was started
    /// since knows nothing of it, and cannot tell it from a run that is yet to be resumed.
    fn is_there(&self, node: usize, owner: NodeId, key: &LeaseKey) -> bool {
        let script = self
            .cast
            .scripts
            .iter()
            .position(|script| script.run == key.run);
        let ended = script.and_then(|script| self.runs[script].ended);
        self.cast.index_of(&owner).is_some_and(|owner| {
            let it = &self.nodes[owner];
            let knows = ended.is_some_and(|ended| it.clock.began <= ended);
            it.machine.is_some() && knows && self.net.alive(node, owner).is_some()
        })
    }
}
