//! A node's hands: they do what its machine wants, take the time that it takes, and tell how it went.
//!
//! Preparing, running guests, writing records, asking a person. What a guest comes to is the cast's truth, wherever it
//! runs. Everything here is lost in a crash; what is not is [`super::disk`]'s.

use std::sync::Arc;

use super::chaos::Blow;
use super::guests::{Fate, Guest, Task};
use super::tape::{Drawn, Line, key_of};
use super::world::{Ev, Table, World};
use crate::consent::{Forget, Record, RemoteOutcome};
use crate::id::{LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Event, Submission, Token};
use crate::run::{self, Failure, RunOptions};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hands {
    pub(super) guests: Table<u64, Guest>,
    pub(super) next: u64,
    /// Outputs that wait to be fetched, and how many bytes they are.
    outputs: Table<(NodeId, LeaseKey), u64>,
    /// What comes in messages, by whose it is: how much of it is here.
    pub(super) arriving: Table<(NodeId, LeaseKey), u64>,
    /// Questions to the person.
    asked: std::collections::BTreeSet<(NodeId, LeaseKey)>,
}

impl Hands {
    pub(super) fn keep_outputs(&mut self, owner: NodeId, key: LeaseKey, bytes: u64) {
        self.outputs.insert((owner, key), bytes);
    }

    pub(super) fn outputs(&self, owner: NodeId, key: &LeaseKey) -> Option<u64> {
        self.outputs.get(&(owner, key.clone())).copied()
    }

    fn foreign(&self, owner: NodeId, key: &LeaseKey) -> Option<u64> {
        let it = self.guests.iter().find(|(_, guest)| match &guest.task {
            Task::Foreign {
                owner: whose,
                offer,
            } => *whose == owner && offer.key == *key,
            Task::Own { .. } => false,
        });
        it.map(|(number, _)| *number)
    }

    /// The foreign guests that run, by owner.
    pub(super) fn foreign_owners(&self) -> impl Iterator<Item = (NodeId, &LeaseKey)> {
        self.guests.values().filter_map(|guest| match &guest.task {
            Task::Foreign { owner, offer } => Some((*owner, &offer.key)),
            Task::Own { .. } => None,
        })
    }
}

impl World {
    /// Does what a machine wants, or sees to it that it is done in time.
    pub(super) fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Run { run, action } => self.perform_run(node, &run, action),
            Action::Send { peer, message } => {
                for message in self.with_outputs(node, peer, message) {
                    self.say(node, peer, message);
                }
            }
            Action::Publish(beacon) => self.publish(node, beacon),
            // The checks read a machine's steps themselves, and guests of a simulation write nothing.
            Action::Told { .. } | Action::Heard { .. } => {}
            Action::Persist { token, record } => self.write(node, token, record),
            Action::Forget(what) => {
                if let Forget::Finished { owner, key } = &what {
                    self.nodes[node]
                        .hands
                        .outputs
                        .remove(&(*owner, key.clone()));
                }
                self.nodes[node].disk.forget(&what);
            }
            Action::Dial { peer } => self.dial_for(node, peer),
            Action::Expel { peer, .. } => {
                self.note(node, None, || format!("expels {peer}"));
                self.expel(node, peer);
            }
            Action::KeepProof(proof) => self.note(node, None, || {
                format!("keeps a proof against {}", proof.executor())
            }),
            Action::SendBundle {
                peer,
                key,
                have,
                cap,
                inline,
            } => self.send_bundle(node, peer, &key, &have, (cap, inline)),
            Action::TakeBundle {
                owner,
                offer,
                piece,
                cap,
            } => self.take_bundle(node, owner, &offer, &piece, cap),
            Action::StartForeign { owner, offer, .. } => self.start_foreign(node, owner, offer),
            Action::DropForeign { owner, key } => self.drop_foreign(node, owner, &key),
            Action::Ask { owner, offer } => self.ask(node, owner, offer.key.clone()),
            Action::Unask { owner, key } => {
                self.nodes[node].hands.asked.remove(&(owner, key));
            }
            Action::FetchOutputs {
                peer,
                key,
                claim,
                piece,
                cap,
            } => {
                self.fetch_outputs(node, peer, &key, (&claim, &piece), cap);
            }
            Action::StopTransfer { peer, key } => self.stop_transfer(node, peer, &key),
        }
    }

    fn perform_run(&mut self, node: usize, run: &RunId, action: run::Action) {
        match action {
            run::Action::Prepare { task } => {
                let after = 1 + self.nodes[node].rng.below(3);
                let event = self.preparation(node, run, task);
                self.tell_later(node, after, event);
            }
            run::Action::Execute { task, attempt } => {
                let run = run.clone();
                let Some(truth) = self.cast.truth(&run, task).cloned() else {
                    return;
                };
                self.note(node, Some((&run, task)), || {
                    format!("runs {task}#{attempt}")
                });
                let fate = if truth.fails {
                    Fate::Fails
                } else {
                    Fate::Passes
                };
                self.begin_guest(
                    node,
                    Task::Own { run, task, attempt },
                    fate,
                    truth.duration_ms,
                );
            }
            run::Action::Cancel { task, attempt } => self.cancel_own(node, run, task, attempt),
            // Attempts begin at once here.
            run::Action::Recall { .. } => {}
            run::Action::Settled { task, state } => {
                self.note(node, Some((run, task)), || {
                    format!("{task} {state:?}").to_lowercase()
                });
            }
            run::Action::Finish { status } => {
                self.note(node, None, || {
                    format!("{run} {:?}", status.outcome).to_lowercase()
                });
                let script = self
                    .cast
                    .scripts
                    .iter()
                    .position(|script| script.run == *run);
                if let Some(progress) = script.and_then(|script| self.runs.get_mut(script)) {
                    progress.ended = Some(self.now);
                }
                self.check.run_ended(self.now, node, run);
            }
        }
    }

    pub(super) fn note(
        &mut self,
        node: usize,
        task: Option<(&RunId, TaskId)>,
        text: impl FnOnce() -> String,
    ) {
        let at = self.now;
        self.tape.line(|| Line {
            at,
            task: task.map(|(run, task)| (run.clone(), task)),
            what: Drawn::Note { node, text: text() },
        });
    }

    pub(super) fn tell_later(&mut self, node: usize, after: u64, event: Event) {
        let (life, event) = (self.nodes[node].life, Box::new(event));
        self.later(after, Ev::Tell { node, life, event });
    }

    /// A run begins, or goes on after its owner was started again.
    pub(super) fn submit(&mut self, script: usize) {
        let cast = std::rc::Rc::clone(&self.cast);
        let Some(it) = cast.scripts.get(script) else {
            return;
        };
        let (up, progress) = (self.nodes[it.owner].up, &mut self.runs[script]);
        if progress.ended.is_some() {
            return;
        }
        if !up {
            // Its user waits until the machine is there.
            if progress.begun.is_none() {
                self.later(500, Ev::Blow(Blow::Submit { script }));
            }
            return;
        }
        progress.begun.get_or_insert(self.now);
        let disk = &self.nodes[it.owner].disk;
        let (spent, fence) = (disk.spent(&it.run), disk.fence(&it.run));
        self.note(it.owner, None, || {
            format!("submits {} ({} spent)", it.run, spent.len())
        });
        let options = RunOptions {
            keep_going: it.keep_going,
            ..RunOptions::default()
        };
        let submission = Submission {
            run: it.run.clone(),
            plan: Arc::clone(&it.plan),
            options,
            mode: it.mode,
            spent,
            fence,
        };
        self.tell(it.owner, Event::Submit(Box::new(submission)));
        if self.runs[script].interrupted {
            let run = it.run.clone();
            self.tell(it.owner, Event::Interrupt { run });
        }
    }

    /// What preparing a task comes to: a result that is known, a failure that is known, or what it asks for.
    fn preparation(&self, node: usize, run: &RunId, task: TaskId) -> Event {
        let run = run.clone();
        let known = self.nodes[node].disk.knows(&run, task);
        if let Some(Some(claim)) = known
            && claim.outcome != RemoteOutcome::Passed
        {
            return Event::PrepareFailed {
                run,
                task,
                reason: failure(),
            };
        }
        let needs = self
            .cast
            .truth(&run, task)
            .map(|truth| Arc::clone(&truth.needs));
        match needs {
            Some(needs) => Event::Prepared {
                run,
                task,
                hit: known.is_some(),
                needs,
            },
            None => Event::PrepareFailed {
                run,
                task,
                reason: failure(),
            },
        }
    }

    fn write(&mut self, node: usize, token: Token, record: Record) {
        let slowest = self.cast.parts[node].disk_ms;
        let it = &mut self.nodes[node];
        let mut after = 1 + it.rng.below(slowest);
        if it.rng.chance(30) {
            after += it.rng.below(120);
        }
        // A journal is written in order, unless the scenario has it otherwise.
        let done = match self.scenario.disorder {
            true => self.now + after,
            false => it.disk.busy_until.max(self.now + after),
        };
        it.disk.busy_until = done;
        let (life, write) = (it.life, it.disk.begin(token, record));
        self.later(done - self.now, Ev::Written { node, life, write });
    }

    pub(super) fn written(&mut self, node: usize, write: u64) {
        let Some((token, ended)) = self.nodes[node].disk.end(write) else {
            return;
        };
        match ended {
            Ok(record) => {
                self.check.durable(self.now, node, &record);
                let task = key_of(&record).map(|key| (&key.run, key.task));
                self.note(node, task, || durable(&record));
                self.tell(node, Event::Persisted(token));
            }
            Err(record) => {
                self.check.not_durable(node, &record);
                self.tell(node, Event::PersistFailed(token));
            }
        }
    }

    fn drop_foreign(&mut self, node: usize, owner: NodeId, key: &LeaseKey) {
        let hands = &mut self.nodes[node].hands;
        if let Some(number) = hands.foreign(owner, key) {
            hands.guests.remove(&number);
        }
        hands.outputs.remove(&(owner, key.clone()));
        hands.arriving.remove(&(owner, key.clone()));
        self.stop_taking(node, owner, key);
    }

    fn ask(&mut self, node: usize, owner: NodeId, key: LeaseKey) {
        let it = &mut self.nodes[node];
        it.hands.asked.insert((owner, key.clone()));
        // Two of ten never answer.
        if it.rng.chance(800) {
            let (after, yes) = (200 + it.rng.below(30_000), it.rng.chance(700));
            self.tell_later(node, after, Event::Decided { owner, key, yes });
        }
    }

    pub(super) fn works_for(&self, executor: usize, owner: usize) -> bool {
        let owner_id = self.cast.id(owner);
        let mut guests = self.nodes[executor].hands.foreign_owners();
        guests.any(|(owner, _)| owner == owner_id) || self.moves_between(executor, owner)
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        code: "task::exit",
        message: "exit code 1".into(),
    }
}

fn durable(record: &Record) -> String {
    let (word, key) = match record {
        Record::Reserved { run, below } => return format!("[reserved {run} below {below}]"),
        Record::Offered { key, .. } => ("offered", key),
        Record::Committed { key, .. } => ("committed", key),
        Record::Finished { key, .. } => ("finished", key),
    };
    format!("[{word} {}#{}]", key.task, key.attempt)
}
