//! The property that fuzzing holds a machine to: whatever happens to it, in whatever order, its tables stay true and
//! bounded, it says nothing to a peer that is gone or expelled, and settles a task once.
//!
//! The bytes are a programme: an instruction each, with its operands behind it. What the machine wants done is done when
//! an instruction says so, well or badly, or never. Nothing is decided here. Called by the property test below and by the
//! fuzz target `events`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Action, Event, Machine, Mode, Setup, Submission, Token};
use crate::consent::{BlobRef, Capabilities, LostWhy, Message, Offer, Record, ToExecutor, ToOwner};
use crate::expand::{self, Listing};
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::pipeline::{self, Format};
use crate::policy::{ConsentMode, HostState, Policy, Reason, Requirements};
use crate::profile::{Link, Profile, ProfileKind};
use crate::run::{self, RunOptions, Verdict};
use crate::time::Tick;

/// Peers of the machine; more are one of these.
const PEERS: u8 = 3;
/// Tasks of its run; keys name some that are not there.
const TASKS: u32 = 4;
/// What one event may have a machine do at the most: a handful for each task, lease and peer there can be.
const MOST_ACTIONS: usize = 256;
/// The run that the golden frames are about, so that what is mutated from them is heard.
const RUN: &str = "r-7f3a";

/// Runs a programme.
///
/// # Panics
/// Where the property does not hold.
pub fn check_events(programme: &[u8]) {
    let Some(mut world) = World::new(programme) else {
        return;
    };
    while let Some(instruction) = world.tape.byte() {
        if let Some(event) = world.event(instruction) {
            world.handle(event);
        }
    }
}

/// Begins with what is left of a ledger, meets everybody and waits: a length of two bytes precedes each record.
///
/// # Panics
/// Where the property does not hold.
pub fn check_restored(ledger: &[u8]) {
    let mut tape = Tape(ledger);
    let (mut outbox, mut unfinished) = (Vec::new(), BTreeSet::new());
    while let Some(high) = tape.byte() {
        let bytes = usize::from(high) << 8 | usize::from(tape.number());
        match crate::wire::decode_record(tape.slice(bytes)) {
            Ok(Record::Finished { owner, key, claim }) => outbox.push((owner, key, claim)),
            Ok(Record::Offered { key, .. } | Record::Committed { key, .. }) => {
                unfinished.insert(key.run);
            }
            Ok(Record::Reserved { run, .. }) => {
                unfinished.insert(run);
            }
            Err(_) => {}
        }
    }
    let owners: BTreeSet<NodeId> = outbox.iter().map(|(owner, ..)| *owner).collect();
    let mut machine = Machine::restore(
        setup(ProfileKind::Lan, ConsentMode::Policy),
        outbox,
        unfinished,
    );
    machine.sanity_check();
    for owner in owners {
        let event = Event::Connected {
            peer: owner,
            capabilities: Box::new(capabilities(ProfileKind::Lan)),
            link: Link::default(),
            trusted: true,
        };
        let _ = machine.handle(Tick(1_000), event);
        machine.sanity_check();
    }
    let later = Tick(100_000_000);
    let _ = machine.handle(later, Event::Timeout);
    machine.sanity_check();
}

/// The programme, as far as it was not read.
struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> u8 {
        self.byte().unwrap_or_default()
    }

    fn slice(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The machine, and what it wants that was not answered.
struct World<'a> {
    tape: Tape<'a>,
    machine: Machine,
    now: Tick,
    run: RunId,
    connected: BTreeSet<NodeId>,
    expelled: BTreeSet<NodeId>,
    persisting: VecDeque<Token>,
    own: VecDeque<run::Action>,
    /// Foreign tasks whose bundle is wanted, or whose guest.
    foreign: VecDeque<(NodeId, Arc<Offer>, bool)>,
    fetching: VecDeque<(NodeId, LeaseKey)>,
    asked: VecDeque<(NodeId, LeaseKey)>,
    settled: BTreeMap<TaskId, run::SettledKind>,
}

fn peer(number: u8) -> NodeId {
    NodeId([1 + number % PEERS; 32])
}

fn capabilities(kind: ProfileKind) -> Capabilities {
    let profile = Profile::of(kind);
    Capabilities {
        name: Arc::from("node"),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: profile.is_hidden(),
        labels: BTreeSet::new(),
        memory_mb: 4096,
        engine: Arc::from("e1"),
    }
}

fn setup(kind: ProfileKind, mode: ConsentMode) -> Setup {
    Setup {
        id: NodeId([0xff; 32]),
        mesh: None,
        // What is signed is looked at elsewhere: here as much as possible is to be believed.
        verify: |_, _, _, _| true,
        capabilities: capabilities(kind),
        profile: Profile::of(kind),
        policy: Policy {
            mode,
            ..Policy::default()
        },
        slots: 1,
        imports: BTreeSet::new(),
        seed: 1,
        patience_ms: 30_000,
    }
}

fn kind(number: u8) -> ProfileKind {
    match number % 4 {
        0 => ProfileKind::Lan,
        1 => ProfileKind::Wan,
        2 => ProfileKind::Mobile,
        _ => ProfileKind::Hostile,
    }
}

/// What a task asks for that any peer has.
pub(super) fn needs(pure: bool) -> Requirements {
    Requirements {
        digest: Digest::of(b"task"),
        label: Arc::from("t"),
        labels: Vec::new(),
        memory_mb: 64,
        fuel: 1_000_000,
        timeout_ms: 60_000,
        estimate_ms: 0,
        component_bytes: 1000,
        input_bytes: 500,
        output_bytes: 0,
        blobs: vec![BlobRef {
            digest: Digest::of(b"component"),
            bytes: 1000,
        }],
        imports: Vec::new(),
        grants: Vec::new(),
        engine: None,
        pure,
        secret: false,
        mesh: true,
        steal: true,
    }
}

fn why(number: u8) -> LostWhy {
    const ALL: [LostWhy; 6] = [
        LostWhy::Unknown,
        LostWhy::HostFault,
        LostWhy::TimedOut,
        LostWhy::DiskFull,
        LostWhy::Bundle,
        LostWhy::Drained,
    ];
    ALL[usize::from(number) % ALL.len()]
}

impl<'a> World<'a> {
    /// A swarm's node with a run of its own; its first bytes say which.
    fn new(programme: &'a [u8]) -> Option<World<'a>> {
        let mut tape = Tape(programme);
        let (profile, mode) = (kind(tape.byte()?), tape.byte()?);
        let consent = match mode & 1 {
            0 => ConsentMode::Policy,
            _ => ConsentMode::Ask,
        };
        let text = format!(
            "schema = \"sykli-wasm/1\"\n[task.t]\ncomponent = \"x.wasm\"\nforeach = {{ shards = {TASKS} }}\n"
        );
        let pipeline = pipeline::parse(&text, Format::Toml).ok()?;
        let plan = expand::plan(&pipeline, &Listing::default(), &BTreeMap::new()).ok()?;
        let run = RunId::new(RUN).ok()?;
        let submission = Submission {
            run: run.clone(),
            plan: Arc::new(plan),
            options: RunOptions {
                keep_going: mode & 2 == 0,
                ..RunOptions::default()
            },
            mode: if mode & 4 == 0 {
                Mode::Swarm
            } else {
                Mode::Mesh
            },
            spent: Vec::new(),
            fence: Attempt::FIRST,
        };
        let mut world = World {
            tape,
            machine: Machine::new(setup(profile, consent)),
            now: Tick(1_000),
            run,
            connected: BTreeSet::new(),
            expelled: BTreeSet::new(),
            persisting: VecDeque::new(),
            own: VecDeque::new(),
            foreign: VecDeque::new(),
            fetching: VecDeque::new(),
            asked: VecDeque::new(),
            settled: BTreeMap::new(),
        };
        world.handle(Event::Submit(Box::new(submission)));
        Some(world)
    }

    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.now, event);
        assert!(actions.len() <= MOST_ACTIONS, "{} actions", actions.len());
        for action in actions {
            self.note(action);
        }
        self.machine.sanity_check();
    }

    fn note(&mut self, action: Action) {
        match action {
            Action::Send { peer, message } => {
                assert!(self.connected.contains(&peer), "{message:?} to nobody");
                assert!(!self.expelled.contains(&peer), "{message:?} to an expelled");
            }
            Action::Persist { token, .. } => self.persisting.push_back(token),
            Action::Expel { peer, .. } => {
                self.expelled.insert(peer);
            }
            Action::TakeBundle { owner, offer, .. } => {
                self.foreign.push_back((owner, offer, false));
            }
            Action::StartForeign { owner, offer, .. } => {
                self.foreign.push_back((owner, offer, true))
            }
            Action::DropForeign { owner, key } => {
                self.foreign
                    .retain(|(whose, offer, _)| (*whose, &offer.key) != (owner, &key));
            }
            Action::FetchOutputs { peer, key, .. } => self.fetching.push_back((peer, key)),
            Action::Ask { owner, offer } => self.asked.push_back((owner, offer.key.clone())),
            Action::Run { action, .. } => match action {
                run::Action::Settled { task, state } => {
                    let before = self.settled.insert(task, state);
                    assert_eq!(before, None, "{task:?} is settled again, as {state:?}");
                }
                action => self.own.push_back(action),
            },
            _ => {}
        }
    }

    fn key(&mut self) -> LeaseKey {
        let number = self.tape.number();
        LeaseKey {
            run: self.run.clone(),
            task: TaskId(u32::from(number) % (TASKS + 1)),
            attempt: Attempt(1 + u32::from(number >> 4) % 4),
        }
    }

    /// What happens next; nothing where the instruction answers a wish that nobody has.
    fn event(&mut self, instruction: u8) -> Option<Event> {
        let peer = peer(self.tape.number());
        Some(match instruction % 16 {
            0 => self.later(),
            1 => self.connect(peer),
            2 => {
                self.connected.remove(&peer);
                Event::Disconnected { peer }
            }
            3 => self.heard(peer, Self::word_to_owner)?,
            4 => self.heard(peer, Self::word_to_executor)?,
            5 => self.heard(peer, Self::framed)?,
            6 => Event::Persisted(self.persisting.pop_front()?),
            7 => Event::PersistFailed(self.persisting.pop_front()?),
            8 => self.own_work()?,
            9 => self.foreign_work()?,
            10 => {
                let (peer, key) = self.fetching.pop_front()?;
                Event::Fetched { peer, key }
            }
            11 => {
                let (peer, key) = self.fetching.pop_front()?;
                let why = why(self.tape.number());
                Event::FetchFailed { peer, key, why }
            }
            12 => {
                let (owner, key) = self.asked.pop_front()?;
                let yes = self.tape.number() & 1 == 0;
                Event::Decided { owner, key, yes }
            }
            13 => Event::Host(HostState {
                paused: self.tape.number() & 1 == 1,
                draining: self.tape.number() & 1 == 1,
                ..HostState::default()
            }),
            14 => Event::Interrupt {
                run: self.run.clone(),
            },
            _ => Event::Measured {
                peer,
                link: Link::of(kind(self.tape.number())),
            },
        })
    }

    fn later(&mut self) -> Event {
        let number = u64::from(self.tape.number());
        // From a millisecond to some minutes.
        self.now = Tick(self.now.0 + (1 << (number % 18)));
        Event::Timeout
    }

    fn connect(&mut self, peer: NodeId) -> Event {
        let number = self.tape.number();
        self.connected.insert(peer);
        Event::Connected {
            peer,
            capabilities: Box::new(capabilities(kind(number))),
            link: Link::of(kind(number)),
            trusted: number & 4 == 0,
        }
    }

    /// What a peer says; one that is not connected says nothing.
    fn heard(&mut self, peer: NodeId, say: fn(&mut Self) -> Option<Message>) -> Option<Event> {
        let message = say(self)?;
        let hears = self.connected.contains(&peer);
        hears.then_some(Event::Received { peer, message })
    }

    /// A frame of any bytes that is one.
    fn framed(&mut self) -> Option<Message> {
        let bytes = usize::from(self.tape.number()) * 4;
        crate::wire::decode(self.tape.slice(bytes)).ok()
    }

    fn word_to_owner(&mut self) -> Option<Message> {
        let key = self.key();
        let number = self.tape.number();
        Some(Message::ToOwner(match number % 6 {
            0 => ToOwner::Idle {
                free: u32::from(number >> 4),
            },
            1 => ToOwner::Accept { key, have: vec![] },
            2 => ToOwner::Decline {
                key,
                reason: Reason::Paused,
            },
            3 => ToOwner::Pending { key, ask_ms: 1_000 },
            4 => ToOwner::Started { key },
            _ => ToOwner::Lost {
                key,
                why: why(number),
            },
        }))
    }

    fn word_to_executor(&mut self) -> Option<Message> {
        let key = self.key();
        let number = self.tape.number();
        Some(Message::ToExecutor(match number % 7 {
            0 => ToExecutor::Offer(Box::new(Offer {
                key,
                nonce: u64::from(number),
                needs: Arc::new(needs(number & 8 == 0)),
                min_memory_mb: 0,
                lease_ms: 60_000,
                mesh: None,
            })),
            1 => ToExecutor::NoWork { retry_ms: 1_000 },
            2 => ToExecutor::Withdraw { key },
            3 => ToExecutor::Cancel { key },
            4 => ToExecutor::Acked { key },
            5 => ToExecutor::Settled { key },
            _ => ToExecutor::Resume { keys: vec![key] },
        }))
    }

    /// Answers what the run wants done here.
    fn own_work(&mut self) -> Option<Event> {
        let run = self.run.clone();
        let number = self.tape.number();
        match self.own.pop_front()? {
            run::Action::Prepare { task } => Some(Event::Prepared {
                run,
                task,
                hit: number & 7 == 7,
                needs: Arc::new(needs(number & 1 == 0)),
            }),
            run::Action::Execute { task, attempt } => Some(Event::Finished {
                run,
                task,
                attempt,
                verdict: Verdict::Passed,
                ran_us: 1_000,
            }),
            _ => None,
        }
    }

    /// Goes on with a foreign task.
    fn foreign_work(&mut self) -> Option<Event> {
        let (owner, offer, begins) = self.foreign.pop_front()?;
        let key = offer.key.clone();
        let number = self.tape.number();
        Some(match (begins, number % 3) {
            (false, 0) => {
                let why = why(number);
                Event::BundleFailed { owner, key, why }
            }
            (false, _) => Event::BundleArrived { owner, key },
            (true, 0) => {
                self.foreign.push_back((owner, offer, true));
                Event::ForeignStarted { owner, key }
            }
            (true, _) => Event::ForeignEnded {
                owner,
                key,
                outcome: Err(why(number)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_happens_a_machine_stays_true(
            programme in proptest::collection::vec(any::<u8>(), 0..2_000)
        ) {
            check_events(&programme);
        }

        #[test]
        fn whatever_is_left_of_a_ledger_a_machine_begins(
            ledger in proptest::collection::vec(any::<u8>(), 0..2_000)
        ) {
            check_restored(&ledger);
        }
    }
}
