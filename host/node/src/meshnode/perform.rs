//! What core wants done, done: each action is handed to whoever does it. Nothing here waits.
//!
//! Decides nothing. Called by the loop, for each action in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sykli_core::consent::{Forget, Message, Record, ToOwner};
use sykli_core::id::{LeaseKey, NodeId, RunId, TaskId};
use sykli_core::machine::{Action, Event, Step, StepKind, Token};
use sykli_core::receipt::SignedClaim;
use sykli_core::run;

use super::Done;
use super::hub::Hub;
use super::hub::Question;
use super::run::FromNode;
use crate::control::Notice;
use crate::transfer::What;

impl Hub {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Run { run, action } => self.for_run(&run, action),
            Action::Send { peer, message } => {
                self.count(peer, &message);
                match message {
                    Message::ToOwner(ToOwner::Completed { key, claim, .. }) => {
                        self.say_completed(peer, key, claim);
                    }
                    message => self.tell(peer, &message),
                }
            }
            Action::Publish(beacon) => self.shared.mesh.publish(beacon),
            Action::Told { run, task, step } => self.told(&run, task, step),
            Action::Heard {
                run,
                task,
                stderr,
                bytes,
            } => {
                if let Some(side) = self.runs.get_mut(&run) {
                    side.heard(task, stderr, bytes);
                }
            }
            Action::Persist { token, record } => self.persist(token, record),
            Action::Forget(what) => self.forget(what),
            Action::Dial { peer } => self.shared.mesh.dial(peer),
            Action::Expel { peer, offence } => self.expel(peer, offence),
            // Kept on a best effort: the peer is expelled all the same.
            Action::KeepProof(proof) => drop(self.shared.journal.keep_proof(&proof)),
            Action::SendBundle {
                peer,
                key,
                have,
                cap,
                inline,
            } => self.send_bundle((peer, key), &have, (cap, inline)),
            Action::TakeBundle {
                owner,
                offer,
                piece,
                cap,
            } => self.take_bundle(owner, offer, piece, cap),
            Action::StartForeign {
                owner,
                offer,
                inline,
            } => self.start_foreign(owner, offer, inline),
            Action::DropForeign { owner, key } => self.drop_foreign(owner, &key),
            Action::Ask { owner, offer } => self.ask(owner, offer),
            Action::Unask { owner, key } => {
                if let Some(asked) = self.asks.remove(&(owner, key)) {
                    self.shared.notices.say(Notice::Settled {
                        id: asked.id.to_string(),
                        how: "no longer asked".to_owned(),
                    });
                }
            }
            Action::FetchOutputs {
                peer,
                key,
                claim,
                piece,
                cap,
            } => self.fetch_outputs((peer, key), &claim, piece, cap),
            Action::StopTransfer { peer, key } => {
                self.stop_fetching(peer, &key);
                self.arriving.take(&(peer, key.clone()));
                self.permits.withdraw(peer, &key, What::Bundle);
            }
        }
    }

    /// What is answered to offers, for the log and the counters.
    fn count(&mut self, peer: NodeId, message: &Message) {
        match message {
            Message::ToOwner(ToOwner::Accept { .. }) => self.counters.accepted += 1,
            Message::ToOwner(ToOwner::Decline { key, reason }) => {
                let declined = &mut self.counters.declined;
                *declined.entry(reason.code().to_owned()).or_default() += 1;
                self.shared.notices.say(Notice::Declined {
                    label: key.to_string(),
                    owner: self.named(peer).name.to_string(),
                    why: reason.code().to_owned(),
                });
            }
            _ => {}
        }
    }

    fn for_run(&mut self, id: &RunId, action: run::Action) {
        if let run::Action::Settled { task, .. } = &action {
            self.permits.withdraw_task(id, *task);
        }
        // The last picture is there before the last word.
        if matches!(action, run::Action::Finish { .. }) {
            self.draw(true);
        }
        let Some(side) = self.runs.get_mut(id) else {
            return;
        };
        side.perform(action);
        if side.is_over() {
            self.runs.remove(id);
        }
    }

    fn told(&mut self, run: &RunId, task: TaskId, step: Step) {
        let peer = self.named(step.peer);
        match &step.what {
            StepKind::Ran { .. } => self.counters.ran_elsewhere += 1,
            StepKind::Lost { .. } => self.counters.lost += 1,
            _ => {}
        }
        if let Some(side) = self.runs.get_mut(run) {
            side.moved(task, &step.what);
            let step = Box::new(step);
            side.say(FromNode::Step { task, step, peer });
        }
    }

    fn persist(&mut self, token: Token, record: Record) {
        // The run has the result at hand when it hears that its task is settled.
        if let Record::Committed { key, claim } = &record {
            self.result(key, claim);
        }
        let done = self.done.clone();
        self.shared.ledger.persist(record, move |durable| {
            let event = match durable {
                true => Event::Persisted(token),
                false => Event::PersistFailed(token),
            };
            // Nobody listens only when the node has ended.
            let _ = done.send(Done::Core(event));
        });
    }

    fn result(&self, key: &LeaseKey, claim: &SignedClaim) {
        let by = self.named(claim.executor);
        if let Some(side) = self.runs.get(&key.run) {
            let receipt = claim.receipt(self.shared.house, key);
            let receipt = receipt.map(|receipt| receipt.encode().into());
            side.say(FromNode::Result {
                task: key.task,
                claim: Box::new(claim.claim.clone()),
                receipt,
                by,
            });
        }
    }

    fn forget(&mut self, what: Forget) {
        if let Forget::Finished { owner, key } = &what {
            self.counters.delivered += 1;
            self.permits.withdraw(*owner, key, What::Outputs);
            self.outgoing.take(&(*owner, key.clone()));
        }
        self.shared.ledger.forget(what);
    }

    fn ask(&mut self, owner: NodeId, offer: Arc<sykli_core::consent::Offer>) {
        self.next_ask += 1;
        let id = self.next_ask;
        let info = self.question(id, owner, &offer, Duration::ZERO);
        self.shared.notices.say(Notice::Asked(Box::new(info)));
        let key = offer.key.clone();
        let since = Instant::now();
        self.asks
            .insert((owner, key), Question { id, offer, since });
    }
}
