//! Guests: they begin, tell how far they are, and come to what the truth about their task is, wherever they run.
//!
//! Called by [`super::hands`] for what machines want run, and by the world when a guest's next step is due. What a guest
//! comes to is never decided here: it is the cast's.

use std::sync::Arc;

use super::cast::Truth;
use super::hands::failure;
use super::sign;
use super::world::{Ev, World};
use crate::consent::{Claim, LostWhy, Offer, RemoteOutcome};
use crate::id::{Attempt, Digest, NodeId, RunId, TaskId};
use crate::machine::Event;
use crate::receipt::SignedClaim;
use crate::run::Verdict;

/// A running guest tells how far it is each so many milliseconds.
const BEAT_MS: u64 = 5_000;

/// Whose task a guest runs.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Own {
        run: RunId,
        task: TaskId,
        attempt: Attempt,
    },
    Foreign {
        owner: NodeId,
        offer: Arc<Offer>,
    },
}

/// What a guest will come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    Fails,
    Dies,
    Cancelled,
}

#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) task: Task,
    fate: Fate,
    began: Option<u64>,
    ends: u64,
    /// Its next step; an earlier one in the queue is void.
    due: u64,
    duration_ms: u64,
}

impl World {
    pub(super) fn begin_guest(&mut self, node: usize, task: Task, fate: Fate, duration_ms: u64) {
        let due = self.now + 1 + self.nodes[node].rng.below(4);
        let it = &mut self.nodes[node];
        let (number, life) = (it.hands.next, it.life);
        it.hands.next += 1;
        let guest = Guest {
            task,
            fate,
            began: None,
            ends: due + duration_ms,
            due,
            duration_ms,
        };
        it.hands.guests.insert(number, guest);
        self.later(
            due - self.now,
            Ev::Guest {
                node,
                life,
                guest: number,
            },
        );
    }

    pub(super) fn start_foreign(&mut self, node: usize, owner: NodeId, offer: Arc<Offer>) {
        let key = offer.key.clone();
        let whose = self.cast.index_of(&owner).filter(|index| {
            self.cast
                .script(&key.run)
                .is_some_and(|script| script.owner == *index)
        });
        let truth: Option<Truth> = whose
            .and_then(|_| self.cast.truth(&key.run, key.task))
            .cloned();
        let (fate, duration_ms) = match &truth {
            Some(truth) if truth.faulty && self.died.insert((key.run.clone(), key.task)) => {
                (Fate::Dies, truth.duration_ms / 2)
            }
            Some(truth) if truth.fails => (Fate::Fails, truth.duration_ms),
            Some(truth) => (Fate::Passes, truth.duration_ms),
            // A liar's.
            None => (Fate::Passes, offer.needs.estimate_ms.min(60_000)),
        };
        self.note(node, Some((&key.run, key.task)), || {
            format!("runs {}#{}", key.task, key.attempt)
        });
        self.begin_guest(node, Task::Foreign { owner, offer }, fate, duration_ms);
    }

    /// A guest's next step.
    pub(super) fn guest(&mut self, node: usize, number: u64) {
        let now = self.now;
        let Some(guest) = self.nodes[node].hands.guests.get_mut(&number) else {
            return;
        };
        if guest.due != now {
            return;
        }
        if now >= guest.ends && (guest.began.is_some() || guest.fate == Fate::Cancelled) {
            return self.guest_ends(node, number);
        }
        let first = guest.began.is_none();
        let began = *guest.began.get_or_insert(now);
        guest.due = guest.ends.min(now + BEAT_MS).max(now + 1);
        let (after, task) = (guest.due - now, guest.task.clone());
        let (done, total) = (now - began, guest.duration_ms);
        let life = self.nodes[node].life;
        self.later(
            after,
            Ev::Guest {
                node,
                life,
                guest: number,
            },
        );
        let message = Arc::from("at it");
        let event = match task {
            Task::Own { .. } if first => return,
            Task::Own { run, task, attempt } => Event::Progress {
                run,
                task,
                attempt,
                done,
                total,
                message,
            },
            Task::Foreign { owner, offer } if first => Event::ForeignStarted {
                owner,
                key: offer.key.clone(),
            },
            Task::Foreign { owner, offer } => {
                let key = offer.key.clone();
                Event::ForeignProgress {
                    owner,
                    key,
                    done,
                    total,
                    message,
                }
            }
        };
        self.tell(node, event);
    }

    fn guest_ends(&mut self, node: usize, number: u64) {
        let Some(guest) = self.nodes[node].hands.guests.remove(&number) else {
            return;
        };
        let ran_ms = self.now - guest.began.unwrap_or(self.now);
        match guest.task {
            Task::Own { run, task, attempt } => {
                let verdict = match guest.fate {
                    Fate::Passes => Verdict::Passed,
                    Fate::Fails => Verdict::Failed {
                        failure: failure(),
                        retryable: false,
                    },
                    Fate::Dies => Verdict::NonResult { failure: failure() },
                    Fate::Cancelled => Verdict::Cancelled,
                };
                if verdict == Verdict::Passed {
                    self.nodes[node].disk.keep_result(&run, task);
                }
                let ran_us = ran_ms * 1000;
                self.tell(
                    node,
                    Event::Finished {
                        run,
                        task,
                        attempt,
                        verdict,
                        ran_us,
                    },
                );
            }
            Task::Foreign { owner, offer } => {
                let key = offer.key.clone();
                let outcome = self.foreign_outcome(node, owner, &offer, guest.fate, ran_ms);
                self.tell(
                    node,
                    Event::ForeignEnded {
                        owner,
                        key,
                        outcome,
                    },
                );
            }
        }
    }

    fn foreign_outcome(
        &mut self,
        node: usize,
        owner: NodeId,
        offer: &Offer,
        fate: Fate,
        wall_ms: u64,
    ) -> Result<Box<SignedClaim>, LostWhy> {
        let outcome = match fate {
            Fate::Passes => RemoteOutcome::Passed,
            Fate::Fails => {
                let failure = failure();
                RemoteOutcome::Failed {
                    code: failure.code.into(),
                    message: failure.message.into(),
                }
            }
            Fate::Dies | Fate::Cancelled => return Err(LostWhy::HostFault),
        };
        if self.nodes[node].disk.full {
            return Err(LostWhy::DiskFull);
        }
        let key = &offer.key;
        let output_bytes = self
            .cast
            .truth(&key.run, key.task)
            .map_or(100, |truth| truth.output_bytes);
        self.nodes[node]
            .hands
            .keep_outputs(owner, key.clone(), output_bytes);
        let claim = Claim {
            executor: self.cast.id(node),
            task_digest: offer.needs.digest,
            nonce: offer.nonce,
            outcome,
            output: output_of(offer.needs.digest),
            output_bytes,
            fuel: wall_ms * 1000,
            wall_ms,
            stdout: Digest::of(b""),
            stderr: Digest::of(b""),
        };
        Ok(sign::sealed(key, claim))
    }

    pub(super) fn cancel_own(&mut self, node: usize, run: &RunId, task: TaskId, attempt: Attempt) {
        let after = self.nodes[node].rng.below(50);
        let it = &mut self.nodes[node];
        let (now, life) = (self.now, it.life);
        let found = it
            .hands
            .guests
            .iter_mut()
            .find(|(_, guest)| match &guest.task {
                Task::Own {
                    run: of,
                    task: which,
                    attempt: n,
                } => of == run && *which == task && *n == attempt,
                Task::Foreign { .. } => false,
            });
        if let Some((number, guest)) = found {
            guest.fate = Fate::Cancelled;
            (guest.ends, guest.due) = (now + after, now + after);
            let guest = *number;
            self.later(after, Ev::Guest { node, life, guest });
        }
    }
}

/// The true output of a task: the same wherever it runs.
fn output_of(task: Digest) -> Digest {
    let mut bytes = task.0.to_vec();
    bytes.extend_from_slice(b"out");
    Digest::of(&bytes)
}
