//! The loop of a mesh: one task that owns the swarm, and hands each thing that happens to the part that knows it.
//!
//! Three kinds of things happen: the swarm's events ([`swarm_events`], [`protocols`]), what tasks of the mesh report
//! ([`Note`], [`pairs`]), and what its handles ask ([`commands`]). Once a second it looks after what waits
//! ([`upkeep`]). Nothing here blocks or waits for a receiver: what takes time has its own task, all of which end with the
//! loop. Decides what a transport must (which connection, when to dial again); the protocol's decisions are core's.

mod commands;
mod pairs;
mod protocols;
mod swarm_events;
mod upkeep;

pub(super) use commands::Command;
pub use commands::PeerInfo;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::gossipsub::IdentTopic;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p::{PeerId, Swarm};
use sykli_core::consent::Message;
use sykli_core::id::NodeId;
use sykli_core::profile::{Discovery, Link};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::MeshConfig;
use super::behaviour::Outer;
use super::book::Book;
use super::event::MeshEvent;
use super::gossip::{self, Judge};
use super::hello::Greeted;
use super::join::Joining;
use super::limits::{MeshLimits, Timing, WAITING};
use super::meter::Bucket;
use super::peers::Peers;
use super::queue::Ended;
use super::shared::Shared;
use crate::membership::{Admitted, Gate};

/// How often the loop looks after what waits.
const TICK: Duration = Duration::from_secs(1);
/// Refusals that are told at once, one a second after that: outsiders fill nobody's log. All are counted.
const REFUSALS: u32 = 32;
/// How long what is queued for peers may take, when the node stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long closing every connection may take.
const CLOSING: Duration = Duration::from_secs(2);

/// What the mesh's own tasks report.
pub(super) enum Note {
    /// A greeting passed on this side: open the door, and ring when it is.
    Admit {
        connection: ConnectionId,
        admitted: Box<Admitted>,
        dialler: bool,
        opened: oneshot::Sender<()>,
    },
    /// A greeting ended.
    Greeted {
        node: NodeId,
        connection: ConnectionId,
        greeted: Greeted,
    },
    /// A consent stream was opened, or not.
    Opened {
        node: NodeId,
        connection: ConnectionId,
        stream: Result<Stream, String>,
    },
    /// A pair is no more.
    Ended {
        node: NodeId,
        number: u64,
        ended: Ended,
    },
}

/// See the module.
pub(super) struct Hub {
    swarm: Swarm<Outer>,
    own: NodeId,
    gate: Gate,
    /// Instead of greeting: asking to be let into a mesh.
    joining: Option<Joining>,
    /// Whether to ask relays for a place: not where everybody is on one network.
    wants_relay: bool,
    /// Whether what it listens on is reachable as it is: a relay's.
    announces: bool,
    limits: MeshLimits,
    timing: Timing,
    topic: IdentTopic,
    shared: Arc<Shared>,
    events: mpsc::Sender<MeshEvent>,
    commands: mpsc::Receiver<Command>,
    notes: mpsc::Receiver<Note>,
    reporting: mpsc::Sender<Note>,
    tasks: JoinSet<()>,
    peers: Peers,
    book: Book,
    judge: Judge,
    /// How often it is told that somebody was refused.
    refusals: Bucket,
    /// How often the own capabilities changed, and how they are now, once they did.
    told: u64,
    capabilities: Option<Message>,
    /// The next pair's number.
    number: u64,
    /// When it last looked after what waits.
    looked: Instant,
}

impl Hub {
    /// A loop that is not running yet.
    pub(super) fn new(
        config: MeshConfig,
        own: NodeId,
        swarm: Swarm<Outer>,
        timing: Timing,
        shared: Arc<Shared>,
        events: mpsc::Sender<MeshEvent>,
        commands: mpsc::Receiver<Command>,
    ) -> Hub {
        let (reporting, notes) = mpsc::channel(WAITING);
        let limits = config.limits;
        let now = Instant::now();
        let mut book = Book::new(own, timing.redial);
        for address in config.known {
            book.configure(address, now);
        }
        Hub {
            swarm,
            own,
            gate: config.gate,
            joining: config.joining,
            wants_relay: config.profile.discovery == Discovery::Known,
            announces: config.relay_server,
            timing,
            topic: gossip::topic(&config.mesh),
            shared,
            events,
            commands,
            notes,
            reporting,
            tasks: JoinSet::new(),
            peers: Peers::new(
                Link::of(config.profile.kind),
                limits.blobs,
                limits.blobs_per_peer,
            ),
            limits,
            book,
            judge: Judge::default(),
            refusals: Bucket::full(REFUSALS, 1, now),
            told: 0,
            capabilities: None,
            number: 0,
            looked: now,
        }
    }

    /// Runs until it is asked to stop, or until nobody is left who could ask.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(note) = self.notes.recv() => self.on_note(note),
                command = self.commands.recv() => match command {
                    Some(Command::Stop(stopped)) => break Some(stopped),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        };
        self.close().await;
        if let Some(stopped) = stopped {
            // Whoever asked may not wait.
            let _sent = stopped.send(());
        }
    }

    /// Tells every peer by closing its connections, so that none has to find out by silence.
    async fn close(&mut self) {
        for (_, queue) in self.shared.queues() {
            queue.end(Ended::Stopped);
        }
        let last_words = async {
            while !self.tasks.is_empty() {
                tokio::select! {
                    _ = self.tasks.join_next() => {}
                    _ = self.swarm.select_next_some() => {}
                    // Nobody takes notes any more, but whoever makes one must not wait for that.
                    _ = self.notes.recv() => {}
                }
            }
        };
        let _said = tokio::time::timeout(LAST_WORDS, last_words).await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error says that it is gone already.
            let _gone = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _closed = tokio::time::timeout(CLOSING, closing).await;
        self.tasks.shutdown().await;
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Admit {
                connection,
                admitted,
                dialler,
                opened,
            } => self.admit(connection, admitted, dialler, opened),
            Note::Greeted {
                node,
                connection,
                greeted,
            } => self.greeted(node, connection, greeted),
            Note::Opened {
                node,
                connection,
                stream,
            } => self.opened(node, connection, stream),
            Note::Ended {
                node,
                number,
                ended,
            } => self.ended(node, number, &ended),
        }
    }

    /// Tells something that may be dropped when nobody keeps up, since the next such thing says as much.
    fn tell(&self, event: MeshEvent) {
        if self.events.try_send(event).is_err() {
            self.shared.count(|counters| counters.events_dropped += 1);
        }
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        // False where it is gone already.
        let _was_there = self.swarm.close_connection(connection);
    }

    /// Closes whatever there is with a node, its pair first, so that the reason is the one that is told.
    fn disconnect_all(&mut self, node: NodeId, why: Ended) {
        if let Some(standing) = self.peers.standing(node) {
            standing.outgoing.end(why);
        }
        for connection in self.peers.connections_of(node) {
            self.disconnect(connection);
        }
    }
}
