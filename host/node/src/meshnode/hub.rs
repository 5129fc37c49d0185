//! The one loop of a mesh node: what happens → core's machine → what is to be done.
//!
//! A task of its own, never blocked: what takes time (transfers, guests, the disk, the look at the machine) runs beside
//! it and answers through `done`. That queue has no bound of its own: each answer was asked for, and core bounds what it
//! asks. Decides nothing. Called by `meshnode`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sykli_core::consent::{Message, Offer, ToExecutor};
use sykli_core::id::{LeaseKey, NodeId, RunId};
use sykli_core::machine::{Action, Event, Machine};
use sykli_core::policy::HostState;
use sykli_core::time::Tick;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::crew::Crew;
use super::expelled::Expelled;
use super::guest::Guest;
use super::inline::{Kept, Tools};
use super::owner::RunSide;
use super::permits::Permits;
use super::trail;
use super::{Command, Shared, node_ref};
use crate::control::Notice;
use crate::control::api::Counters;
use crate::events::NodeRef;
use crate::host_state::{HostProbe, HostReport};
use crate::mesh::MeshEvent;

/// How often a run's picture is drawn, at most.
const PICTURE_EVERY: Duration = Duration::from_millis(100);
/// How often the machine is asked how it is.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// The longest sleep.
const LONG: Duration = Duration::from_secs(3600);
/// After this a drained or stopping node ends whatever it still waits for.
const LINGER: Duration = Duration::from_secs(10);
/// Blobs of an offer that are looked for in the store.
const LOOKED_FOR: usize = 64;
/// Manifests up to so many bytes are rather sent than looked for: hardly any is here.
const SMALL_MANIFEST: u64 = 4 << 10;

/// What runs beside the loop tells it.
pub(super) enum Done {
    /// Something that core asked for is done.
    Core(Event),
    /// A transfer waits for its peer.
    Paused(NodeId, LeaseKey),
    /// A foreign guest has ended; with its outputs where they are small enough to go in messages.
    Ended(Event, Vec<u8>),
    /// What goes in messages of a bundle.
    Packed(NodeId, LeaseKey, Vec<u8>),
}

/// See the module.
pub(super) struct Hub {
    pub(super) shared: Arc<Shared>,
    pub(super) machine: Machine,
    pub(super) done: mpsc::UnboundedSender<Done>,
    pub(super) runs: BTreeMap<RunId, RunSide>,
    pub(super) permits: Permits,
    /// What is being fetched, either way.
    pub(super) fetching: BTreeMap<(NodeId, LeaseKey), AbortHandle>,
    pub(super) guests: BTreeMap<(NodeId, LeaseKey), Guest>,
    /// Bundles of foreign tasks that are on their way here, and since when.
    pub(super) taking: BTreeMap<(NodeId, LeaseKey), (Instant, Arc<Offer>)>,
    /// Questions that wait for a person.
    pub(super) asks: BTreeMap<(NodeId, LeaseKey), Question>,
    pub(super) next_ask: u64,
    pub(super) met: BTreeMap<NodeId, Met>,
    pub(super) expelled: Expelled,
    pub(super) counters: Counters,
    pub(super) host: HostState,
    /// What the machine said of itself last.
    pub(super) report: Option<HostReport>,
    pub(super) began: Instant,
    pub(super) now: Tick,
    pub(super) stopping: Option<Instant>,
    /// It ends by itself once nothing is under way.
    pub(super) ends_when_idle: bool,
    quiet_since: Option<Instant>,
    actions: Vec<Action>,
    /// What is done already, to be told once what is being told has been dealt with.
    pub(super) soon: VecDeque<Done>,
    /// Outputs that go with the word that they are there.
    pub(super) outgoing: Kept,
    /// Pieces whose others are still to come.
    pub(super) arriving: Kept,
    pub(super) tools: Tools,
    pub(super) crew: Crew,
}

/// Where a peer was met last.
pub(super) struct Met {
    /// What it called itself.
    pub(super) name: String,
    pub(super) address: String,
    pub(super) relayed: bool,
    pub(super) since: Tick,
}

/// A question that waits for a person.
pub(super) struct Question {
    /// By which it is answered.
    pub(super) id: u64,
    pub(super) offer: Arc<Offer>,
    pub(super) since: Instant,
}

/// What the loop hears from.
pub(super) struct Ears {
    pub(super) mesh: mpsc::Receiver<MeshEvent>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) done: mpsc::UnboundedReceiver<Done>,
    pub(super) probe: HostProbe,
}

impl Hub {
    pub(super) fn new(
        shared: Arc<Shared>,
        machine: Machine,
        done: mpsc::UnboundedSender<Done>,
        permits: Permits,
    ) -> Hub {
        Hub {
            shared,
            machine,
            done,
            runs: BTreeMap::new(),
            permits,
            fetching: BTreeMap::new(),
            guests: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            taking: BTreeMap::new(),
            met: BTreeMap::new(),
            expelled: Expelled::default(),
            counters: Counters::default(),
            host: HostState::default(),
            report: None,
            began: Instant::now(),
            now: Tick(0),
            stopping: None,
            ends_when_idle: false,
            quiet_since: None,
            actions: Vec::new(),
            soon: VecDeque::new(),
            outgoing: Kept::default(),
            arriving: Kept::default(),
            tools: Tools::default(),
            crew: Crew::default(),
        }
    }

    /// Runs until the node is stopped.
    pub(super) async fn serve(mut self, mut ears: Ears) {
        let mut probing = tokio::time::interval(PROBE_EVERY);
        probing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (looked, mut looks) = mpsc::channel::<HostReport>(1);
        let probe = Arc::new(Mutex::new(ears.probe));
        loop {
            let wait = self.wait();
            tokio::select! {
                Some(event) = ears.mesh.recv() => self.on_mesh(event),
                Some(command) = ears.commands.recv() => self.command(command),
                Some(done) = ears.done.recv() => self.done(done),
                Some(report) = looks.recv() => self.looked(report),
                _ = probing.tick() => {
                    let (probe, looked) = (Arc::clone(&probe), looked.clone());
                    tokio::task::spawn_blocking(move || {
                        let mut probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
                        // Where the last one is still unread, this one says nothing new.
                        let _ = looked.try_send(probe.look(SystemTime::now()));
                    });
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.tick();
            if self.is_over() {
                break;
            }
        }
        for guest in self.guests.values() {
            guest.cancel();
        }
        self.shared.mesh.stop().await;
    }

    /// Deadlines that have come, and pictures that are due.
    fn tick(&mut self) {
        self.read_clock();
        if self.machine.next_timeout().is_some_and(|at| at <= self.now) {
            self.feed(Event::Timeout);
        }
        self.draw(false);
    }

    fn read_clock(&mut self) {
        self.now = Tick(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    fn wait(&mut self) -> Duration {
        self.read_clock();
        let deadline = self.machine.next_timeout().map_or(LONG, |at| {
            Duration::from_millis(at.ms_since(self.now).max(1))
        });
        let picture = match self.runs.values().any(RunSide::is_stale) {
            true => PICTURE_EVERY,
            false => LONG,
        };
        let ending = match self.stopping.is_some() || self.ends_when_idle {
            true => PICTURE_EVERY,
            false => LONG,
        };
        deadline.min(picture).min(ending)
    }

    /// Whether a node that is to end may: what it has promised is kept, or was waited for long enough.
    fn is_over(&mut self) -> bool {
        let quiet = self.guests.is_empty() && self.fetching.is_empty() && self.runs.is_empty();
        if let Some(since) = self.stopping {
            return quiet || since.elapsed() >= LINGER;
        }
        // What was taken and has not come yet is waited for too.
        if !self.ends_when_idle || !quiet || self.machine.foreign() > 0 {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert_with(Instant::now);
        // Results of owners that are away are delivered after the next start.
        let roster = self.machine.roster();
        let is_there = |owner| roster.get(owner).is_some_and(|entry| entry.connected);
        since.elapsed() >= LINGER || !self.permits.is_awaited(is_there)
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.read_clock();
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle_into(self.now, event, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
        for run in self.runs.values_mut() {
            run.changed();
        }
        while let Some(done) = self.soon.pop_front() {
            self.done(done);
        }
    }

    /// Gives each run its picture, at a bounded rate.
    pub(super) fn draw(&mut self, now: bool) {
        for (id, run) in &mut self.runs {
            if (now || run.is_due(PICTURE_EVERY))
                && let Some(snapshot) = self.machine.snapshot(id, self.now)
            {
                run.draw(snapshot);
            }
        }
    }

    /// What runs beside the loop has ended.
    fn done(&mut self, done: Done) {
        let event = match done {
            Done::Core(event) => event,
            Done::Paused(peer, key) => {
                self.fetching.remove(&(peer, key));
                return;
            }
            Done::Packed(peer, key, frames) => return self.packed(peer, &key, &frames),
            Done::Ended(event, outputs) => {
                if let Event::ForeignEnded { owner, key, .. } = &event
                    && self.guests.contains_key(&(*owner, key.clone()))
                {
                    self.outgoing.put((*owner, key.clone()), outputs);
                }
                event
            }
        };
        trail::done(&event);
        match &event {
            Event::BundleArrived { owner: peer, key }
            | Event::BundleFailed {
                owner: peer, key, ..
            }
            | Event::Fetched { peer, key }
            | Event::FetchFailed { peer, key, .. } => {
                self.fetching.remove(&(*peer, key.clone()));
                self.taking.remove(&(*peer, key.clone()));
            }
            Event::ForeignEnded {
                owner,
                key,
                outcome,
            } => self.guest_ended(*owner, key, outcome),
            _ => {}
        }
        let started = match &event {
            Event::ForeignStarted { owner, key } => Some((*owner, key.clone())),
            _ => None,
        };
        self.feed(event);
        // People hear of it after its owner.
        if let Some(id) = started {
            self.tell_started(&id);
        }
    }

    fn looked(&mut self, report: HostReport) {
        let state = report.state(self.host.paused, self.host.draining);
        self.report = Some(report);
        self.set_host(state);
    }

    pub(super) fn set_host(&mut self, state: HostState) {
        if state != self.host {
            self.host = state;
            self.feed(Event::Host(state));
        }
    }

    fn on_mesh(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Up {
                peer,
                capabilities,
                link,
                trusted,
                address,
                relayed,
            } => {
                let address = super::status::readable(&address);
                self.shared.notices.say(Notice::Up {
                    peer: capabilities.name.to_string(),
                    address: address.clone(),
                });
                self.read_clock();
                let since = self.now;
                let roster = self.machine.roster();
                if self.met.len() >= sykli_core::roster::MAX_PEERS {
                    self.met.retain(|node, _| roster.get(*node).is_some());
                }
                self.met.insert(
                    peer,
                    Met {
                        name: capabilities.name.to_string(),
                        address,
                        relayed,
                        since,
                    },
                );
                self.feed(Event::Connected {
                    peer,
                    capabilities,
                    link,
                    trusted,
                });
                if trusted {
                    self.introduce(peer);
                }
            }
            MeshEvent::Down { peer } => {
                let by = self.named(peer);
                self.shared.notices.say(Notice::Down {
                    peer: by.name.to_string(),
                });
                self.feed(Event::Disconnected { peer });
            }
            MeshEvent::Measured { peer, link } => self.feed(Event::Measured { peer, link }),
            MeshEvent::Message { peer, message } => self.received(peer, message),
            MeshEvent::Gossip(beacon) => self.feed(Event::Gossip(beacon)),
            MeshEvent::Offended { peer, offence } => self.feed(Event::Offended { peer, offence }),
            MeshEvent::Blob { peer, stream } => super::serve::spawn(
                &self.shared,
                self.permits.clone(),
                peer,
                stream,
                self.done.clone(),
            ),
            MeshEvent::Refused { peer, why } => {
                let peer = self.named(peer).id;
                self.shared.notices.say(Notice::Refused { peer, why });
            }
            MeshEvent::Listening { address } => {
                let (shared, at) = (Arc::clone(&self.shared), address.clone());
                tokio::task::spawn_blocking(move || super::ports::remember(&shared.data, &at));
                let address = address.to_string();
                self.shared.notices.say(Notice::Listening { address });
            }
        }
    }

    /// A message; what is in the store of an offer's parts is found out before it is judged.
    fn received(&mut self, peer: NodeId, message: Message) {
        trail::heard(peer, &message);
        if let Message::ToExecutor(ToExecutor::Offer(offer)) = &message {
            let named = offer.needs.blobs.iter().take(LOOKED_FOR);
            let manifest = offer.needs.digest;
            let held: Vec<_> = named
                .filter(|blob| blob.digest != manifest || blob.bytes > SMALL_MANIFEST)
                .map(|blob| blob.digest)
                .filter(|digest| self.shared.store.has(digest))
                .collect();
            self.machine.holds(held);
        }
        if let Message::Acquaint(addresses) = &message {
            self.hinted(peer, addresses);
        }
        self.feed(Event::Received { peer, message });
    }

    /// A peer by the name that it gave itself.
    pub(super) fn named(&self, peer: NodeId) -> NodeRef {
        let entry = self.machine.roster().get(peer);
        let name = entry.and_then(|entry| entry.capabilities.as_ref());
        node_ref(peer, name.map_or("", |known| &known.name))
    }
}
