//! The mesh as it goes: nodes, connections and disks in virtual time, one event after the other.
//!
//! ```text
//!   queue ──▶ Ev ──▶ net, bulk, hands, chaos ──▶ tell(node, Event) ──▶ Machine ──▶ Actions ──▶ perform ──▶ queue
//!                                                     └── check, tape ──┘
//! ```
//!
//! Performing an action never tells a machine anything: it puts events into the queue, so nothing is told while it is
//! still answering. All order is (time, number), all chance is seeded: a play is its scenario and its seed. Parts: `net`
//! carries messages, `bulk` bundles and outputs, `hands` does what machines want, `chaos` is what befalls them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::bulk::Bulk;
use super::cast::Cast;
use super::chaos::Blow;
use super::check::{Check, Invariant, Violation};
use super::clock::Clock;
use super::disk::Disk;
use super::hands::Hands;
use super::liar::{Liar, Lie};
use super::net::{Net, Trip};
use super::scenario::Scenario;
use super::tape::{Line, Tape};
use super::{Report, RunReport, Setting, Stats, Trap};
use crate::consent::Beacon;
use crate::id::{Digest, RunId};
use crate::machine::{Action, Event, Fault, Machine};
use crate::policy::HostState;
use crate::rng::Rng;

/// After so many events a play has no end.
const MOST_EVENTS: u64 = 3_000_000;
/// So often in a row one machine may want to be woken at the same moment.
const MOST_WAKES: u32 = 200;
/// A machine's own checks are made each so many events.
const SANE_EVERY: u64 = 64;

/// Something that is due.
#[derive(Debug)]
pub(super) enum Ev {
    /// A machine's deadline.
    Wake { node: usize, life: u32 },
    /// A machine is told something that took a while.
    Tell {
        node: usize,
        life: u32,
        event: Box<Event>,
    },
    /// A write is over.
    Written { node: usize, life: u32, write: u64 },
    /// A guest begins, makes progress or ends.
    Guest { node: usize, life: u32, guest: u64 },
    /// On the net.
    Net(Trip),
    /// A part of a bundle or of outputs is across.
    Bulk { flow: u64, step: u64 },
    /// A beacon is heard.
    Gossip { node: usize, beacon: Box<Beacon> },
    /// A beacon is heard by all that are so far away.
    Wave {
        from: usize,
        hop: u64,
        beacon: Rc<Beacon>,
    },
    /// A liar's turn.
    Stir { node: usize },
    /// A liar says what it wanted to say later.
    Lie { node: usize, lie: Box<Lie> },
    /// A misfortune, or its end.
    Blow(Blow),
}

#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    what: Ev,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A node: a machine or a liar, and what belongs to it.
#[derive(Debug)]
pub(super) struct Node {
    /// None while it is down, and for liars.
    pub(super) machine: Option<Box<Machine>>,
    pub(super) liar: Option<Box<Liar>>,
    pub(super) up: bool,
    /// It will not come back.
    pub(super) gone: bool,
    /// Rises with each start: what was meant for an earlier life is not heard.
    pub(super) life: u32,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    pub(super) hands: Hands,
    pub(super) rng: Rng,
    /// It is killed with the so many-th word or record from now on, for so long, after so many milliseconds.
    pub(super) trap: Option<Trap>,
    /// The earliest wake-up in the queue.
    wake_at: Option<u64>,
    wakes: (u64, u32),
}

/// A run as the world sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) begun: Option<u64>,
    pub(super) ended: Option<u64>,
    pub(super) interrupted: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Rc<Scenario>,
    pub(super) cast: Rc<Cast>,
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) bulk: Bulk,
    pub(super) check: Check,
    pub(super) tape: Tape,
    pub(super) stats: Stats,
    pub(super) rng: Rng,
    pub(super) healed: bool,
    /// By script.
    pub(super) runs: Vec<Progress>,
    /// Tasks under which a sandbox has died.
    pub(super) died: std::collections::BTreeSet<(RunId, crate::id::TaskId)>,
    pub(super) fault: Option<Fault>,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    events: u64,
    actions: Vec<Action>,
    heal_at: u64,
    sane_every: u64,
}

impl World {
    pub(super) fn new(scenario: &Scenario, cast: Cast, seed: u64, setting: Setting) -> World {
        let cast = Rc::new(cast);
        let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let nodes = (0..cast.parts.len()).map(|index| Node {
            machine: None,
            liar: None,
            up: false,
            gone: setting.without == Some(index),
            life: 0,
            clock: Clock {
                began: 0,
                offset: 0,
                ppm: cast.parts[index].ppm,
            },
            disk: Disk::default(),
            hands: Hands::default(),
            rng: Rng::new(rng.next_u64()),
            trap: setting.kill.filter(|trap| trap.node == index),
            wake_at: None,
            wakes: (0, 0),
        });
        let nodes: Vec<Node> = nodes.collect();
        World {
            scenario: Rc::new(scenario.clone()),
            now: 0,
            net: Net::new(rng.next_u64()),
            bulk: Bulk::default(),
            check: Check::new(Rc::clone(&cast)),
            tape: Tape::new(setting.draws),
            stats: Stats::default(),
            healed: false,
            runs: vec![Progress::default(); cast.scripts.len()],
            died: std::collections::BTreeSet::new(),
            fault: setting.fault,
            queue: BinaryHeap::new(),
            number: 0,
            events: 0,
            actions: Vec::new(),
            heal_at: scenario.heal_ms.pick(&mut rng),
            sane_every: if cast.parts.len() > 100 {
                4096
            } else {
                SANE_EVERY
            },
            rng,
            nodes,
            cast,
        }
    }

    /// What is due after `after` milliseconds.
    pub(super) fn later(&mut self, after: u64, what: Ev) {
        let due = Due {
            at: self.now.saturating_add(after),
            number: self.number,
            what,
        };
        self.number += 1;
        self.queue.push(Reverse(due));
    }

    /// Plays from the start to the end.
    pub(super) fn play(mut self) -> Report {
        self.begin(self.heal_at);
        let mut until = u64::MAX;
        while let Some(Reverse(due)) = self.queue.pop() {
            if due.at > until || self.check.violation().is_some() {
                break;
            }
            self.now = due.at;
            self.events += 1;
            self.step(due.what);
            if until == u64::MAX && self.runs.iter().all(|run| run.ended.is_some()) {
                self.heal();
                until = self.now + self.scenario.drain_ms;
            }
            if self.now > self.deadline() && until == u64::MAX {
                self.stuck();
            } else if self.events > MOST_EVENTS && self.cast.parts.len() <= 100 {
                let words = format!("{} events, and no end", self.events);
                self.check.object(None, Invariant::NoLivelock, words);
            }
        }
        self.end()
    }

    fn deadline(&self) -> u64 {
        self.heal_at + self.scenario.deadline_ms
    }

    fn step(&mut self, what: Ev) {
        match what {
            Ev::Wake { node, life } => self.wake(node, life),
            Ev::Tell { node, life, event } => {
                if self.nodes[node].life == life {
                    self.tell(node, *event);
                }
            }
            Ev::Written { node, life, write } if self.nodes[node].life == life => {
                self.written(node, write);
            }
            Ev::Guest { node, life, guest } if self.nodes[node].life == life => {
                self.guest(node, guest);
            }
            Ev::Written { .. } | Ev::Guest { .. } => {}
            Ev::Net(trip) => self.trip(trip),
            Ev::Bulk { flow, step } => self.bulk_step(flow, step),
            Ev::Gossip { node, beacon } => self.tell(node, Event::Gossip(*beacon)),
            Ev::Wave { from, hop, beacon } => self.wave(from, hop, &beacon),
            Ev::Stir { node } => self.stir(node),
            Ev::Lie { node, lie } => self.lie(node, *lie),
            Ev::Blow(blow) => self.blow(blow),
        }
    }

    /// Tells a machine, checks and performs what it wants, and sees to its next deadline.
    pub(super) fn tell(&mut self, node: usize, event: Event) {
        let it = &mut self.nodes[node];
        let Some(machine) = it.machine.as_mut() else {
            return;
        };
        self.check.told(self.now, node, &event);
        self.tape.event(self.now, node, &event);
        let now = self.now;
        self.tape
            .line_if(|| super::trace::of_event(now, node, &event));
        let mut actions = std::mem::take(&mut self.actions);
        let tick = it.clock.at(self.now);
        machine.handle_into(tick, event, &mut actions);
        if self.events.is_multiple_of(self.sane_every) {
            machine.sanity_check();
        }
        for action in actions.drain(..) {
            self.check.wants(node, &action);
            self.tape.action(self.now, node, &action);
            self.tape
                .line_if(|| super::trace::of_action(now, node, &action));
            self.spring(node, &action);
            self.perform(node, action);
        }
        self.actions = actions;
        self.check.handled(node);
        self.arm(node);
    }

    /// Puts a machine's next deadline into the queue, unless an earlier one is there.
    fn arm(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some(tick) = it
            .machine
            .as_ref()
            .and_then(|machine| machine.next_timeout())
        else {
            return;
        };
        let at = it.clock.when(tick).max(self.now);
        if it.wake_at.is_none_or(|before| at < before) {
            it.wake_at = Some(at);
            let life = it.life;
            self.later(at - self.now, Ev::Wake { node, life });
        }
    }

    fn wake(&mut self, node: usize, life: u32) {
        let now = self.now;
        let it = &mut self.nodes[node];
        if it.life != life || it.wake_at != Some(now) {
            return;
        }
        it.wake_at = None;
        it.wakes = match it.wakes {
            (at, count) if at == now => (at, count + 1),
            _ => (now, 1),
        };
        if it.wakes.1 > MOST_WAKES {
            let words = format!("woken {MOST_WAKES} times at once");
            return self.check.object(Some(node), Invariant::NoLivelock, words);
        }
        let due = it
            .machine
            .as_ref()
            .and_then(|machine| machine.next_timeout());
        let due = due.is_some_and(|tick| tick <= it.clock.at(now));
        // Now and then for nothing: a spurious call must do nothing.
        if due || it.rng.chance(50) {
            self.tell(node, Event::Timeout);
        } else {
            self.arm(node);
        }
    }

    /// A node starts, for the first time or again.
    pub(super) fn start(&mut self, node: usize) {
        let part = self.cast.parts[node].clone();
        let it = &mut self.nodes[node];
        if it.gone || it.up {
            return;
        }
        it.up = true;
        it.life += 1;
        it.wake_at = None;
        it.hands = Hands::default();
        it.clock.began = self.now;
        it.clock.offset = it.rng.below(1 << 40);
        if let Some(kind) = part.liar {
            it.liar = Some(Box::new(Liar::new(part.setup.id, kind, it.rng.next_u64())));
            self.later(1000, Ev::Stir { node });
            return self.meet(node);
        }
        let mut setup = part.setup;
        setup.seed ^= it.rng.next_u64();
        let outbox = it.disk.outbox();
        for (owner, key, claim) in &outbox {
            it.hands
                .keep_outputs(*owner, key.clone(), claim.output_bytes);
        }
        let mut machine = Machine::restore(setup, outbox, it.disk.unfinished());
        machine.fault(self.fault);
        if part.stocked {
            machine.holds(stock(&self.cast));
        }
        it.machine = Some(Box::new(machine));
        self.tell(node, Event::Host(calm()));
        self.meet(node);
        let own = self
            .cast
            .scripts
            .iter()
            .position(|script| script.owner == node);
        if let Some(script) = own
            && self.runs[script].begun.is_some()
        {
            self.submit(script);
        }
    }

    fn stuck(&mut self) {
        let cast = Rc::clone(&self.cast);
        for (index, script) in cast.scripts.iter().enumerate() {
            if self.runs[index].ended.is_some() {
                continue;
            }
            let open = self.check.unsettled(&script.run);
            let mut words = format!("{} has {} tasks left:", script.run, open.len());
            for task in open.iter().take(12) {
                let where_it_is = self.check.stands(script.owner, &script.run, *task);
                let effects = if script.truth[task.index()].needs.pure {
                    ""
                } else {
                    " (with effects)"
                };
                words.push_str(&format!("\n  {task}{effects}: {where_it_is}"));
                let machine = self.nodes[script.owner].machine.as_ref();
                let steps = machine.map_or(&[][..], |machine| machine.steps(&script.run, *task));
                for step in steps.iter().rev().take(4) {
                    words.push_str(&format!(
                        "\n      {} {:?} #{} {}",
                        step.at.0, step.what, step.attempt, step.peer
                    ));
                }
            }
            return self
                .check
                .object(Some(script.owner), Invariant::Ends, words);
        }
    }

    fn end(mut self) -> Report {
        if self.runs.iter().any(|run| run.ended.is_none()) {
            self.stuck();
        }
        if self.check.violation().is_none() {
            self.leftovers();
            for node in &self.nodes {
                if let Some(machine) = &node.machine {
                    machine.sanity_check();
                }
            }
        }
        let violation: Option<Violation> = self.check.violation().cloned();
        let (hash, lines): (Digest, Vec<Line>) = self.tape.end();
        let runs = self
            .cast
            .scripts
            .iter()
            .zip(&self.runs)
            .map(|(script, run)| RunReport {
                run: script.run.clone(),
                owner: self.cast.name(script.owner).to_owned(),
                took_ms: run.ended.and_then(|ended| Some(ended - run.begun?)),
            });
        self.stats.events = self.events;
        self.stats.ended_ms = self.now;
        Report {
            scenario: self.scenario.name.clone(),
            hash,
            runs: runs.collect(),
            names: (0..self.cast.parts.len())
                .map(|node| self.cast.name(node).to_owned())
                .collect(),
            stats: self.stats,
            lines,
            violation,
            beside: Vec::new(),
        }
    }
}

/// What a node that is fine says of itself.
pub(super) fn calm() -> HostState {
    HostState {
        untouched_ms: Some(3_600_000),
        on_battery: Some(false),
        metered: Some(false),
        free_memory_mb: None,
        paused: false,
        draining: false,
    }
}

fn stock(cast: &Cast) -> Vec<Digest> {
    let each = cast.scripts.iter().flat_map(|script| {
        let declared = 0..script.plan.groups.len();
        declared.map(|task| super::cast::component(&script.run, task))
    });
    each.collect()
}

/// For a world with few entries of each kind.
pub(super) type Table<K, V> = BTreeMap<K, V>;
