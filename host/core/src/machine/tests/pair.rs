//! Two machines and a wire between them: performs what they want at once, or keeps it until a test lets it go, and writes
//! down what was said.
//!
//! It plays the node: records become durable, bundles arrive, guests end. Time only passes where a test says so.

use crate::consent::{
    Capabilities, Claim, LostWhy, Message, Offer, Piece, Record, RemoteOutcome, ToExecutor, ToOwner,
};
use crate::expand::{self, Listing};
use crate::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};
use crate::machine::anything;
use crate::machine::{Action, Event, Machine, Mode, Setup, Submission, Token};
use crate::pipeline::{self, Format};
use crate::policy::{ConsentMode, Policy, Requirements};
use crate::profile::{Link, Profile, ProfileKind};
use crate::run::{self, RunOptions, Verdict};
use crate::sim::sign;
use crate::time::Tick;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(super) const OWNER: usize = 0;
pub(super) const EXECUTOR: usize = 1;

pub(super) fn id(node: usize) -> NodeId {
    NodeId([u8::try_from(node).unwrap() + 1; 32])
}

pub(super) fn run_id() -> RunId {
    RunId::new("r").unwrap()
}

pub(super) fn key(task: u32, attempt: u32) -> LeaseKey {
    LeaseKey {
        run: run_id(),
        task: TaskId(task),
        attempt: Attempt(attempt),
    }
}

/// Which way work goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Dispatch,
    Steal,
}

pub(super) struct Pair {
    pub(super) now: Tick,
    pub(super) machines: Vec<Machine>,
    pub(super) setups: Vec<Setup>,
    pub(super) connected: bool,
    pub(super) trusted: bool,
    /// What was said and done, a line each.
    pub(super) log: Vec<String>,
    /// Kinds of actions that wait for the test: `reserve`, `persist`, `bundle`, `guest`, `fetch`, `deliver`, `idle`,
    /// `local`.
    pub(super) hold: BTreeSet<&'static str>,
    pub(super) held: VecDeque<(usize, Action)>,
    queue: VecDeque<(usize, Action)>,
    pub(super) fail: BTreeSet<&'static str>,
    pub(super) needs: Requirements,
    pub(super) disks: Vec<Vec<Record>>,
    pub(super) settled: BTreeMap<TaskId, run::SettledKind>,
    pub(super) tasks: u32,
    pub(super) mode: Mode,
}

pub(super) fn needs() -> Requirements {
    anything::needs(true)
}

fn setup(node: usize, profile: ProfileKind) -> Setup {
    let profile = Profile::of(profile);
    let capabilities = Capabilities {
        name: Arc::from(["owner", "executor"][node]),
        profile: profile.kind,
        tick_ms: profile.tick_ms,
        stealing: profile.stealing,
        artifacts: profile.artifacts,
        hidden: profile.is_hidden(),
        labels: BTreeSet::from([Arc::from("linux")]),
        memory_mb: 4096,
        engine: Arc::from("e1"),
    };
    Setup {
        id: id(node),
        mesh: Some(sign::MESH),
        verify: sign::verify,
        capabilities,
        profile,
        policy: Policy {
            mode: ConsentMode::Policy,
            ..Policy::default()
        },
        slots: 1,
        imports: BTreeSet::new(),
        seed: node as u64,
        patience_ms: 30_000,
    }
}

impl Pair {
    pub(super) fn of(
        profiles: [ProfileKind; 2],
        set: impl FnOnce(&mut [Setup], &mut Requirements),
    ) -> Pair {
        let mut setups: Vec<Setup> = profiles
            .into_iter()
            .enumerate()
            .map(|(node, profile)| setup(node, profile))
            .collect();
        let mut needs = needs();
        set(&mut setups, &mut needs);
        Pair {
            now: Tick(1000),
            machines: setups.iter().cloned().map(Machine::new).collect(),
            setups,
            connected: false,
            trusted: true,
            log: Vec::new(),
            hold: BTreeSet::from(["local"]),
            held: VecDeque::new(),
            queue: VecDeque::new(),
            fail: BTreeSet::new(),
            needs,
            disks: vec![Vec::new(); 2],
            settled: BTreeMap::new(),
            tasks: 2,
            mode: Mode::Swarm,
        }
    }

    /// Two on a lan, with a run of two tasks: the owner's slot takes the first, the second may go.
    pub(super) fn begun(way: Way, set: impl FnOnce(&mut [Setup], &mut Requirements)) -> Pair {
        let mut pair = Pair::of([ProfileKind::Lan; 2], set);
        pair.begin(way);
        pair
    }

    pub(super) fn begin(&mut self, way: Way) {
        match way {
            Way::Dispatch => {
                self.mode = Mode::Mesh;
                self.connect();
                self.submit(Vec::new());
            }
            Way::Steal => {
                self.mode = Mode::Swarm;
                // Nothing is offered to a peer that is not known to be idle: the peer asks.
                self.hold.insert("idle");
                self.submit(Vec::new());
                self.connect();
            }
        }
    }

    pub(super) fn submit(&mut self, spent: Vec<crate::consent::Spent>) {
        let text = format!(
            "schema = \"sykli-wasm/1\"\n[task.t]\ncomponent = \"x.wasm\"\nforeach = {{ shards = {} }}\n",
            self.tasks
        );
        let pipeline = pipeline::parse(&text, Format::Toml).unwrap();
        let plan = expand::plan(&pipeline, &Listing::default(), &BTreeMap::new()).unwrap();
        let submission = Submission {
            run: run_id(),
            plan: Arc::new(plan),
            options: RunOptions {
                keep_going: true,
                ..RunOptions::default()
            },
            mode: self.mode,
            spent,
            fence: self.fence(),
        };
        self.event(OWNER, Event::Submit(Box::new(submission)));
    }

    /// What the owner's disk says of numbers that may have been used.
    fn fence(&self) -> Attempt {
        let records = self.disks[OWNER].iter().filter_map(|record| match record {
            Record::Reserved { below, .. } => Some(*below),
            _ => None,
        });
        records.max().unwrap_or(Attempt::FIRST)
    }

    pub(super) fn connect(&mut self) {
        self.connected = true;
        for node in [OWNER, EXECUTOR] {
            let other = 1 - node;
            let event = Event::Connected {
                peer: id(other),
                capabilities: Box::new(self.setups[other].capabilities.clone()),
                link: Link::of(ProfileKind::Lan),
                trusted: self.trusted,
            };
            self.tell(node, event);
        }
        self.drain();
    }

    pub(super) fn cut(&mut self) {
        self.connected = false;
        self.log.push("--- cut".into());
        self.held
            .retain(|(_, action)| !matches!(action, Action::Send { .. }));
        for node in [OWNER, EXECUTOR] {
            self.tell(node, Event::Disconnected { peer: id(1 - node) });
        }
        self.drain();
    }

    /// The node dies: what was not durable is gone.
    pub(super) fn crash(&mut self, node: usize) {
        self.log.push(format!("--- {} dies", self.name(node)));
        self.held.retain(|(of, _)| *of != node);
        self.connected = false;
        let outbox = self.disks[node].iter().filter_map(|record| match record {
            Record::Finished { owner, key, claim } => Some((*owner, key.clone(), claim.clone())),
            _ => None,
        });
        let unfinished = self.disks[node].iter().filter_map(|record| match record {
            Record::Offered { key, .. } => Some(key.run.clone()),
            Record::Reserved { run, .. } => Some(run.clone()),
            _ => None,
        });
        self.machines[node] = Machine::restore(
            self.setups[node].clone(),
            outbox.collect(),
            unfinished.collect(),
        );
        self.event(1 - node, Event::Disconnected { peer: id(node) });
    }

    pub(super) fn name(&self, node: usize) -> &'static str {
        ["owner", "executor"][node]
    }

    pub(super) fn event(&mut self, node: usize, event: Event) {
        self.tell(node, event);
        self.drain();
    }

    fn tell(&mut self, node: usize, event: Event) {
        let actions = self.machines[node].handle(self.now, event);
        self.machines[node].sanity_check();
        for action in actions {
            self.note(node, &action);
            self.queue.push_back((node, action));
        }
    }

    /// Performs what is wanted, first in, first out.
    fn drain(&mut self) {
        while let Some((node, action)) = self.queue.pop_front() {
            if self.hold.contains(Pair::kind(node, &action)) {
                self.held.push_back((node, action));
            } else {
                self.complete(node, action);
            }
        }
    }

    /// Lets time pass, waking whoever wants to be.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        for _ in 0..100_000 {
            let due = |node: usize| Some((self.machines[node].next_timeout()?, node));
            let next = [due(OWNER), due(EXECUTOR)].into_iter().flatten().min();
            match next {
                Some((at, node)) if at <= end => {
                    self.now = self.now.max(at);
                    self.event(node, Event::Timeout);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the machines never rest: {:#?}", self.log);
    }

    fn kind(node: usize, action: &Action) -> &'static str {
        match action {
            Action::Send {
                message: Message::Beacon(_),
                ..
            } if node == EXECUTOR => "idle",
            Action::Persist {
                record: Record::Reserved { .. },
                ..
            } => "reserve",
            Action::Persist { .. } => "persist",
            Action::SendBundle { .. } => "bundle",
            Action::StartForeign { .. } => "guest",
            Action::FetchOutputs { .. } => "fetch",
            Action::Send {
                message: Message::ToOwner(ToOwner::Accept { .. }),
                ..
            } => "accept",
            Action::Send {
                message: Message::ToOwner(_) | Message::ToExecutor(_),
                ..
            } => "deliver",
            Action::Run {
                action: run::Action::Execute { .. },
                ..
            } => "local",
            Action::Ask { .. } => "ask",
            _ => "other",
        }
    }

    /// Lets go of everything held of one kind, what that leads to included.
    pub(super) fn release(&mut self, kind: &'static str) {
        self.hold.remove(kind);
        while let Some(at) = self
            .held
            .iter()
            .position(|(node, action)| Pair::kind(*node, action) == kind)
        {
            let (node, action) = self.held.remove(at).unwrap();
            self.complete(node, action);
            self.drain();
        }
    }

    fn complete(&mut self, node: usize, action: Action) {
        let owner = id(OWNER);
        match action {
            Action::Persist { token, record } => self.persisted(node, token, record),
            Action::Send { message, .. } if self.connected => {
                let message = crate::wire::v1::decode(&crate::wire::v1::encode(&message).unwrap());
                let event = Event::Received {
                    peer: id(node),
                    message: message.unwrap(),
                };
                self.tell(1 - node, event);
            }
            Action::SendBundle { key, .. } if self.connected => {
                let piece = Piece::default();
                let message = Message::ToExecutor(ToExecutor::Bundle { key, piece });
                let peer = owner;
                self.tell(EXECUTOR, Event::Received { peer, message });
            }
            Action::TakeBundle { offer, .. } if self.connected => {
                let key = offer.key.clone();
                self.tell(EXECUTOR, Event::BundleArrived { owner, key });
            }
            Action::StartForeign { offer, .. } => {
                let key = offer.key.clone();
                self.tell(EXECUTOR, Event::ForeignStarted { owner, key });
                let outcome = match self.fail.contains("guest") {
                    true => Err(LostWhy::HostFault),
                    false => Ok(sign::sealed_in(
                        offer.mesh,
                        id(EXECUTOR),
                        &offer.key,
                        claim(&offer),
                    )),
                };
                let key = offer.key.clone();
                let event = Event::ForeignEnded {
                    owner,
                    key,
                    outcome,
                };
                self.tell(EXECUTOR, event);
            }
            Action::FetchOutputs { peer, key, .. } if self.connected => {
                let event = match self.fail.contains("fetch") {
                    true => Event::FetchFailed {
                        peer,
                        key,
                        why: LostWhy::Bundle,
                    },
                    false => Event::Fetched { peer, key },
                };
                self.tell(OWNER, event);
            }
            Action::Run { run, action } => self.run(run, action),
            _ => {}
        }
    }

    fn persisted(&mut self, node: usize, token: Token, record: Record) {
        if self.fail.contains("disk") {
            return self.tell(node, Event::PersistFailed(token));
        }
        self.disks[node].push(record);
        self.tell(node, Event::Persisted(token));
    }

    fn run(&mut self, run: RunId, action: run::Action) {
        match action {
            run::Action::Prepare { task } => {
                let needs = Arc::new(self.needs.clone());
                let event = Event::Prepared {
                    run,
                    task,
                    hit: false,
                    needs,
                };
                self.tell(OWNER, event);
            }
            run::Action::Execute { task, attempt } => {
                let event = Event::Finished {
                    run,
                    task,
                    attempt,
                    verdict: Verdict::Passed,
                    ran_us: 1000,
                };
                self.tell(OWNER, event);
            }
            run::Action::Settled { task, state } => {
                let before = self.settled.insert(task, state);
                assert_eq!(before, None, "task {task} settled twice");
            }
            _ => {}
        }
    }

    fn note(&mut self, node: usize, action: &Action) {
        let name = self.name(node);
        let line = match action {
            Action::Send {
                message: Message::Beacon(_) | Message::Capabilities(_) | Message::Acquaint(_),
                ..
            } => return,
            Action::Send { message, .. } => format!("{name} → {}", words(message)),
            Action::Persist {
                record: Record::Reserved { .. },
                ..
            } => return,
            Action::Persist { record, .. } => format!("{name}: persists {}", record_words(record)),
            Action::SendBundle { have, .. } => format!("{name}: sends the bundle, less {have:?}"),
            Action::StartForeign { .. } => format!("{name}: runs it"),
            Action::FetchOutputs { .. } => format!("{name}: fetches the outputs"),
            Action::Expel { offence, .. } => format!("{name}: expels for {offence:?}"),
            Action::KeepProof(_) => format!("{name}: keeps a proof"),
            Action::Ask { .. } => format!("{name}: asks a person"),
            Action::Unask { .. } => format!("{name}: no longer asks"),
            Action::DropForeign { .. } => format!("{name}: drops it"),
            Action::Run {
                action: run::Action::Execute { task, attempt },
                ..
            } => format!("{name}: runs {task}#{attempt} here"),
            Action::Run {
                action: run::Action::Settled { task, state },
                ..
            } => format!("{name}: {task} {state:?}").to_lowercase(),
            _ => return,
        };
        self.log.push(line);
    }

    /// The lines since the last call.
    pub(super) fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

/// What the true guest gives.
pub(super) fn claim(offer: &Offer) -> Claim {
    Claim {
        executor: id(EXECUTOR),
        task_digest: offer.needs.digest,
        nonce: offer.nonce,
        outcome: RemoteOutcome::Passed,
        output: Digest::of(b"out"),
        output_bytes: 100,
        fuel: 7,
        wall_ms: 5_000,
        stdout: Digest::of(b""),
        stderr: Digest::of(b""),
    }
}

fn words(message: &Message) -> String {
    match message {
        Message::ToOwner(message) => match message {
            ToOwner::Idle { free } => format!("Idle {free}"),
            ToOwner::Accept { key, have } => format!("Accept {key} having {have:?}"),
            ToOwner::Decline { key, reason } => format!("Decline {key}: {}", reason.code()),
            ToOwner::Pending { key, .. } => format!("Pending {key}"),
            ToOwner::Started { key } => format!("Started {key}"),
            ToOwner::Output { key, .. } => format!("Output {key}"),
            ToOwner::Progress { key, done, .. } => format!("Progress {key} {done}"),
            ToOwner::Completed { key, .. } => format!("Completed {key}"),
            ToOwner::Outputs { key, .. } => format!("Outputs {key}"),
            ToOwner::Lost { key, why } => format!("Lost {key} {why:?}"),
        },
        Message::ToExecutor(message) => match message {
            ToExecutor::Offer(offer) => format!("Offer {}", offer.key),
            ToExecutor::NoWork { .. } => "NoWork".into(),
            ToExecutor::Bundle { key, .. } => format!("Bundle {key}"),
            ToExecutor::Withdraw { key } => format!("Withdraw {key}"),
            ToExecutor::Cancel { key } => format!("Cancel {key}"),
            ToExecutor::Acked { key } => format!("Acked {key}"),
            ToExecutor::Settled { key } => format!("Settled {key}"),
            ToExecutor::Resume { keys } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                format!("Resume {}", keys.join(" "))
            }
        },
        Message::Beacon(_) => "Beacon".into(),
        Message::Capabilities(_) => "Capabilities".into(),
        Message::Acquaint(_) => "Acquaint".into(),
    }
}

fn record_words(record: &Record) -> String {
    match record {
        Record::Reserved { run, below } => format!("Reserved {run} below {below}"),
        Record::Offered { key, .. } => format!("Offered {key}"),
        Record::Committed { key, .. } => format!("Committed {key}"),
        Record::Finished { key, .. } => format!("Finished {key}"),
    }
}
