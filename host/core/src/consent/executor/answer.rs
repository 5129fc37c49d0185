//! Which offers are taken: by policy, or by asking the person whose machine it is. What is said of a lease when its owner
//! asks, that its bundle may come, and for how long what it brings is waited for.
//!
//! Asked again where a person has said yes: what held when the question was put may not any more. Called by
//! [`super::Executor`].

use std::sync::Arc;

use super::{Executor, Id, Job, MAX_ASKED, MAX_OUTBOX, State};
use crate::consent::{LostWhy, Offer, Piece, ToOwner};
use crate::id::NodeId;
use crate::machine::{Action, Desk, faulty};
use crate::policy::{self, Consent, Host, OwnerSide, Reason};
use crate::time::Tick;

const MINUTE_MS: u64 = 60_000;
/// The longest that a bundle is waited for in one go, in milliseconds, whatever its size is said to be.
const MAX_FETCH_MS: u64 = 6 * 3_600_000;

impl Executor {
    pub(super) fn offered(&mut self, desk: &mut Desk<'_>, owner: NodeId, offer: Offer) {
        self.seek.answered(owner);
        let id = (owner, offer.key.clone());
        if self.jobs.contains_key(&id) {
            return self.resume(desk, id);
        }
        let have: Vec<u8> = offer
            .needs
            .blobs
            .iter()
            .zip(0u8..)
            .filter(|(blob, _)| self.held.contains(&blob.digest))
            .map(|(_, index)| index)
            .collect();
        let answer = self.may_accept(desk, owner, &offer, &have);
        let offer = Arc::new(offer);
        match answer {
            Err(reason) => desk.tell_owner(owner, ToOwner::Decline { key: id.1, reason }),
            Ok(Consent::Now) => self.accept(desk, id, offer, have),
            Ok(Consent::AskUser) => {
                let ask_ms = desk.setup.policy.ask_timeout_ms;
                let job = Job {
                    offer: Some(Arc::clone(&offer)),
                    state: State::Asking,
                    have,
                    progress: (0, 0, Arc::from("")),
                    until: desk.now.after_ms(ask_ms),
                    fetch_end: Tick(u64::MAX),
                };
                let key = id.1.clone();
                self.insert(id, job);
                desk.tell_owner(owner, ToOwner::Pending { key, ask_ms });
                desk.act(Action::Ask { owner, offer });
            }
        }
    }

    fn may_accept(
        &self,
        desk: &Desk<'_>,
        owner: NodeId,
        offer: &Offer,
        have: &[u8],
    ) -> Result<Consent, Reason> {
        if self.outbox >= MAX_OUTBOX || self.asked >= MAX_ASKED {
            return Err(Reason::MaxConcurrent {
                n: desk.setup.policy.max_concurrent,
            });
        }
        let missing_bytes = offer.needs.missing_bytes(|index, _| have.contains(&index));
        let entry = desk.roster.get(owner);
        let capabilities = entry.and_then(|entry| entry.capabilities.as_ref());
        let host = Host {
            profile: &desk.setup.profile,
            policy: &desk.setup.policy,
            labels: &desk.setup.capabilities.labels,
            memory_mb: desk.setup.capabilities.memory_mb,
            imports: &desk.setup.imports,
            engine: &desk.setup.capabilities.engine,
            state: desk.host,
            running: match faulty!(desk.faults, NoConcurrencyLimit) {
                true => 0,
                false => self.active.max(self.seek.own_tasks_over(desk, self.active)),
            },
        };
        let owner_side = OwnerSide {
            capabilities,
            trusted: entry.is_some_and(|entry| entry.trusted),
        };
        match policy::may_accept(&host, &owner_side, offer, missing_bytes) {
            Err(Reason::ArtifactOverCap { .. }) if faulty!(desk.faults, ExecutorIgnoresCap) => {
                Ok(Consent::Now)
            }
            Err(Reason::ConsentNever) if faulty!(desk.faults, NoConsent) => Ok(Consent::Now),
            Err(Reason::StealingDisabled) if faulty!(desk.faults, NoDirection) => Ok(Consent::Now),
            answer => answer,
        }
    }

    fn accept(&mut self, desk: &mut Desk<'_>, id: Id, offer: Arc<Offer>, have: Vec<u8>) {
        let fetch_ms = fetch_ms(desk, id.0, &offer, &have);
        let job = Job {
            offer: Some(Arc::clone(&offer)),
            state: State::Fetching,
            have: have.clone(),
            progress: (0, 0, Arc::from("")),
            until: desk.now.after_ms(fetch_ms),
            // One connection may be lost on the way.
            fetch_end: desk.now.after_ms(fetch_ms.saturating_mul(2)),
        };
        let (owner, key) = id.clone();
        self.insert(id, job);
        // The bundle comes, or may be fetched, once the owner says so.
        desk.tell_owner(owner, ToOwner::Accept { key, have });
    }

    /// The owner says that the lease is durable, and sends what goes in messages. False where nothing waits for that: it was
    /// said before, or of a lease that this node does not have, which its owner then hears.
    pub(super) fn bundle(&mut self, desk: &mut Desk<'_>, id: Id, piece: Piece) -> bool {
        let Some(job) = self.jobs.get(&id) else {
            let (owner, key) = id;
            let why = LostWhy::Unknown;
            desk.tell_owner(owner, ToOwner::Lost { key, why });
            return false;
        };
        let (State::Fetching, Some(offer)) = (&job.state, job.offer.clone()) else {
            return false;
        };
        let owner = id.0;
        // The wait begins with the word, up to its end.
        if piece.at == 0 {
            self.wait_anew(desk, &id);
        }
        let cap = desk.cap(owner);
        desk.act(Action::TakeBundle {
            owner,
            offer,
            piece,
            cap,
        });
        true
    }

    /// A bundle is waited for from now on, up to the end of all waiting for it.
    fn wait_anew(&mut self, desk: &Desk<'_>, id: &Id) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        if let Some(offer) = &job.offer {
            let until = desk.now.after_ms(fetch_ms(desk, id.0, offer, &job.have));
            self.change(id, |job| job.until = until.min(job.fetch_end));
        }
    }

    /// Says where a lease is, as if it had just come there.
    pub(super) fn resume(&mut self, desk: &mut Desk<'_>, id: Id) {
        let (owner, key) = id.clone();
        let Some(job) = self.jobs.get(&id) else {
            let why = LostWhy::Unknown;
            return desk.tell_owner(owner, ToOwner::Lost { key, why });
        };
        match &job.state {
            State::Asking => {
                let ask_ms = job.until.ms_since(desk.now);
                desk.tell_owner(owner, ToOwner::Pending { key, ask_ms });
            }
            State::Fetching => {
                let have = job.have.clone();
                desk.tell_owner(owner, ToOwner::Accept { key, have });
                self.wait_anew(desk, &id);
            }
            State::Running { .. } | State::Recording(..) => {
                desk.tell_owner(owner, ToOwner::Started { key });
            }
            State::Outbox(claim) => {
                let (claim, outputs) = (claim.clone(), Piece::default());
                let completed = ToOwner::Completed {
                    key,
                    claim,
                    outputs,
                };
                desk.tell_owner(owner, completed);
            }
        }
    }

    pub(super) fn decided(&mut self, desk: &mut Desk<'_>, id: Id, yes: bool) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if !matches!(job.state, State::Asking) {
            return;
        }
        let (offer, have) = (job.offer.clone(), job.have.clone());
        self.remove(&id);
        let Some(offer) = offer else {
            return;
        };
        // What was true when the person was asked may not be any more.
        let answer = match yes {
            false => Err(Reason::UserDeclined),
            true => self.may_accept(desk, id.0, &offer, &have),
        };
        match answer {
            Ok(_) => self.accept(desk, id, offer, have),
            Err(reason) => desk.tell_owner(id.0, ToOwner::Decline { key: id.1, reason }),
        }
    }
}

/// How long a bundle may take, in milliseconds: as long as a lease runs without a word, or as the link is expected to.
fn fetch_ms(desk: &Desk<'_>, owner: NodeId, offer: &Offer, have: &[u8]) -> u64 {
    let missing = offer.needs.missing_bytes(|index, _| have.contains(&index));
    let transfer = policy::transfer_ms(missing, &desk.link(owner)).saturating_mul(4);
    lease_ms(desk, offer).max(transfer.min(MAX_FETCH_MS))
}

/// How long an offer's lease runs without a word: the owner's measure, within reason.
pub(super) fn lease_ms(desk: &Desk<'_>, offer: &Offer) -> u64 {
    let own = desk.setup.profile.lease_ms();
    offer
        .lease_ms
        .clamp(MINUTE_MS.min(own), own.saturating_mul(20))
}
