//! How many events a second a machine handles: one owner with a run of any size, and peers that do at once all that is
//! asked of them, so that nothing but the machine takes time.
//!
//! Measures nothing itself: its caller has the clock. Called by the driver's `--rate`.

use super::{scale, sign};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::consent::{
    Beacon, Capabilities, Claim, Message, Offer, Piece, RemoteOutcome, ToExecutor, ToOwner,
};
use crate::expand::{self, Listing, Plan};
use crate::id::{Attempt, Digest, NodeId, RunId};
use crate::machine::{Action, Event, Machine, Mode, Submission};
use crate::pipeline::{self, Format};
use crate::policy::Requirements;
use crate::profile::{Link, ProfileKind};
use crate::rng::Rng;
use crate::run::{self, RunOptions, Verdict};
use crate::time::Tick;

/// What passes between two events, in milliseconds.
const EVENT_MS: u64 = 20;
/// Peers that take work.
const PEERS: u8 = 8;

/// A run of so many tasks, ready to be driven.
#[derive(Debug)]
pub struct Rate {
    owner: Machine,
    run: RunId,
    plan: Arc<Plan>,
    needs: Arc<Requirements>,
    capabilities: Capabilities,
}

impl Rate {
    /// A run of `tasks` tasks without order among them. None where that is no pipeline.
    #[must_use]
    pub fn of(tasks: u32) -> Option<Rate> {
        let text = format!(
            "schema = \"sykli-wasm/1\"\n[task.t]\ncomponent = \"x.wasm\"\nforeach = {{ shards = {tasks} }}\n"
        );
        let pipeline = pipeline::parse(&text, Format::Toml).ok()?;
        let plan = expand::plan(&pipeline, &Listing::default(), &BTreeMap::new()).ok()?;
        let mut rng = Rng::new(1);
        let setup = scale::part(0, &mut rng).setup;
        let run = RunId::new("run0").ok()?;
        Some(Rate {
            needs: Arc::new(scale::truth(&run, 0, &mut rng).needs.as_ref().clone()),
            capabilities: setup.capabilities.clone(),
            owner: Machine::new(setup),
            run,
            plan: Arc::new(plan),
        })
    }

    /// Drives the run to its end: how many events that took.
    ///
    /// # Panics
    /// Where the run does not end.
    pub fn drive(&mut self) -> u64 {
        let mut now = Tick(1);
        let mut events = self.first();
        let mut actions = Vec::new();
        let mut count = 0;
        loop {
            let event = match events.pop_front() {
                Some(event) => event,
                None if self.owner.finished(&self.run).is_some() => return count,
                None => {
                    let next = self.owner.next_timeout();
                    assert!(next.is_some(), "a run that does not end waits for nothing");
                    now = now.max(next.unwrap_or(now));
                    Event::Timeout
                }
            };
            self.owner.handle_into(now, event, &mut actions);
            count += 1;
            // Guests are said to take time, so it has to pass: an owner believes no more than it waited.
            now = now.after_ms(EVENT_MS);
            for action in actions.drain(..) {
                self.answer(action, &mut events);
            }
        }
    }

    fn first(&self) -> VecDeque<Event> {
        let mut events = VecDeque::new();
        events.push_back(Event::Submit(Box::new(Submission {
            run: self.run.clone(),
            plan: Arc::clone(&self.plan),
            options: RunOptions::default(),
            mode: Mode::Mesh,
            spent: Vec::new(),
            fence: Attempt::FIRST,
        })));
        for peer in 1..=PEERS {
            let node = NodeId([peer; 32]);
            events.push_back(Event::Connected {
                peer: node,
                capabilities: Box::new(self.capabilities.clone()),
                link: Link::of(ProfileKind::Lan),
                trusted: true,
            });
            events.push_back(Event::Gossip(Beacon {
                node,
                sequence: 1,
                free: 64,
                queued: 0,
                slots: 64,
                paused: false,
            }));
        }
        events
    }

    fn answer(&self, action: Action, events: &mut VecDeque<Event>) {
        let run = || self.run.clone();
        match action {
            Action::Run { action, .. } => match action {
                run::Action::Prepare { task } => events.push_back(Event::Prepared {
                    run: run(),
                    task,
                    hit: false,
                    needs: Arc::clone(&self.needs),
                }),
                run::Action::Execute { task, attempt } => events.push_back(Event::Finished {
                    run: run(),
                    task,
                    attempt,
                    verdict: Verdict::Passed,
                    ran_us: 100_000,
                }),
                _ => {}
            },
            Action::Persist { token, .. } => events.push_back(Event::Persisted(token)),
            Action::Send {
                peer,
                message: Message::ToExecutor(ToExecutor::Offer(offer)),
            } => promise(peer, &offer, events),
            Action::FetchOutputs { peer, key, .. } => {
                events.push_back(Event::Fetched { peer, key });
            }
            _ => {}
        }
    }
}

/// What a peer says that does at once what is asked of it.
fn promise(peer: NodeId, offer: &Offer, events: &mut VecDeque<Event>) {
    let key = || offer.key.clone();
    let claim = Claim {
        executor: peer,
        task_digest: offer.needs.digest,
        nonce: offer.nonce,
        outcome: RemoteOutcome::Passed,
        output: Digest::of(b"output"),
        output_bytes: 100,
        fuel: 1,
        wall_ms: 100,
        stdout: Digest::of(b""),
        stderr: Digest::of(b""),
    };
    let said = [
        ToOwner::Accept {
            key: key(),
            have: Vec::new(),
        },
        ToOwner::Started { key: key() },
        ToOwner::Completed {
            key: key(),
            claim: sign::sealed(&offer.key, claim),
            outputs: Piece::default(),
        },
    ];
    events.extend(said.map(|message| Event::Received {
        peer,
        message: Message::ToOwner(message),
    }));
}
