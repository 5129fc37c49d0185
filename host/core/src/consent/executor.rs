//! The executor's side: which offers are taken, what becomes of them, and whom to ask when there is nothing to do.
//!
//! ```text
//!   Offer ──▶ Asking ──yes──▶ Fetching ──bundle──▶ Running ──ended──▶ Recording ──durable──▶ Outbox ──Acked──▶ gone
//!     │          │ no            │ never arrives      │ no result         │ disk full           │ Settled
//!     ▼          ▼               ▼                    ▼                   ▼                     ▼
//!   Decline    Decline          Lost                 Lost                Lost                  gone
//! ```
//!
//! # Promises
//!
//! - Nothing is fetched or run that this node's user did not consent to, by policy or in person.
//! - Never more foreign guests at once than the user allows; own tasks go first.
//! - A result is durable before it is told, and kept until its owner has it or does not want it.
//! - Said again is done once: an offer, a resumption or an acknowledgement that is heard twice changes nothing.
//!
//! What only lived in memory when the node died is gone: its owner is told so when it asks. `answer` decides
//! about offers and says where leases are, `seek` whom to ask for work. Called by [`crate::machine`]; performs nothing.

mod answer;
mod seek;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::consent::meter::Meter;
use crate::consent::{Forget, LostWhy, Offence, Offer, Record, ToExecutor, ToOwner};
use crate::id::{Digest, LeaseKey, NodeId};
use crate::machine::{Action, Desk, Event, Token, faulty};
use crate::policy::{self, Reason};
use crate::profile::Stealing;
use crate::receipt::SignedClaim;
use crate::time::Tick;
use answer::lease_ms;
use seek::Seek;

/// Results that wait for their owners.
pub const MAX_OUTBOX: usize = 4096;
/// Offers that a person is asked about at once.
pub const MAX_ASKED: usize = 8;
/// Blobs of the store that are kept in mind.
pub const MAX_HELD_BLOBS: usize = 8192;
/// How often a running guest is mentioned, as a part of the lease.
const WORDS_PER_LEASE: u64 = 4;
/// The least time between two progress messages of a guest, in milliseconds.
const MIN_WORD_MS: u64 = 1_000;
/// How long an owner that is back has to name a lease whose bundle is not here, beyond the way there and back.
const NAMED_MS: u64 = 10_000;

/// A lease of another node's, by owner and key.
type Id = (NodeId, LeaseKey);

#[derive(Debug)]
enum State {
    /// A person is being asked.
    Asking,
    /// The bundle is on its way, once its owner says so.
    Fetching,
    /// The guest runs.
    Running { begun: bool },
    /// Its result is being made durable.
    Recording(Token, Box<SignedClaim>),
    /// Its result waits for its owner.
    Outbox(Box<SignedClaim>),
}

#[derive(Debug)]
struct Job {
    /// None of a result of before a restart.
    offer: Option<Arc<Offer>>,
    state: State,
    have: Vec<u8>,
    progress: (u64, u64, Arc<str>),
    /// When it is given up, or the next word is due.
    until: Tick,
    /// When its bundle is here at the latest, whatever its owner says meanwhile.
    fetch_end: Tick,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Executor {
    jobs: BTreeMap<Id, Job>,
    deadlines: BTreeSet<(Tick, NodeId, LeaseKey)>,
    tokens: BTreeMap<Token, Id>,
    /// Those of the jobs that fetch or run.
    active: u32,
    asked: usize,
    outbox: usize,
    held: BTreeSet<Digest>,
    held_order: VecDeque<Digest>,
    useless: Meter,
    seek: Seek,
}

impl Executor {
    /// An executor with results that its owners had not acknowledged when it ended.
    pub(crate) fn new(outbox: Vec<(NodeId, LeaseKey, Box<SignedClaim>)>) -> Executor {
        let mut executor = Executor::default();
        for (owner, key, claim) in outbox {
            let job = Job {
                offer: None,
                state: State::Outbox(claim),
                have: Vec::new(),
                progress: (0, 0, Arc::from("")),
                until: Tick(u64::MAX),
                fetch_end: Tick(u64::MAX),
            };
            executor.insert((owner, key), job);
        }
        executor
    }

    /// Foreign guests that run here or are about to.
    pub(crate) fn running(&self) -> u32 {
        self.active
    }

    /// How many foreign tasks this node would take now. `own`: tasks of its own that run or wait.
    pub(crate) fn free(&self, desk: &Desk<'_>, own: u32) -> u32 {
        let consent = desk.setup.policy.mode != policy::ConsentMode::Never;
        let open = !desk.host.paused && !desk.host.draining;
        if !consent || !open || desk.setup.profile.stealing == Stealing::Disabled {
            return 0;
        }
        let most = desk
            .setup
            .policy
            .max_concurrent
            .min(desk.setup.slots.max(1).saturating_sub(own));
        most.saturating_sub(self.active)
    }

    pub(crate) fn holds(&mut self, blobs: impl IntoIterator<Item = Digest>) {
        for blob in blobs {
            if self.held.insert(blob) {
                self.held_order.push_back(blob);
            }
            while self.held.len() > MAX_HELD_BLOBS {
                if let Some(oldest) = self.held_order.pop_front() {
                    self.held.remove(&oldest);
                }
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Tick> {
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        let deadline = deadline.filter(|at| *at < Tick(u64::MAX));
        [deadline, self.seek.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn insert(&mut self, id: Id, job: Job) {
        self.remove(&id);
        match job.state {
            State::Asking => self.asked += 1,
            State::Fetching | State::Running { .. } => self.active += 1,
            State::Recording(..) | State::Outbox(_) => self.outbox += 1,
        }
        self.deadlines.insert((job.until, id.0, id.1.clone()));
        self.jobs.insert(id, job);
    }

    fn remove(&mut self, id: &Id) -> Option<Job> {
        let job = self.jobs.remove(id)?;
        match job.state {
            State::Asking => self.asked -= 1,
            State::Fetching | State::Running { .. } => self.active -= 1,
            State::Recording(..) | State::Outbox(_) => self.outbox -= 1,
        }
        self.deadlines.remove(&(job.until, id.0, id.1.clone()));
        Some(job)
    }

    /// Changes a job; counts and deadlines follow.
    fn change(&mut self, id: &Id, change: impl FnOnce(&mut Job)) {
        if let Some(mut job) = self.remove(id) {
            change(&mut job);
            self.insert(id.clone(), job);
        }
    }

    pub(crate) fn received(
        &mut self,
        desk: &mut Desk<'_>,
        owner: NodeId,
        message: ToExecutor,
    ) -> Option<Offence> {
        let useful = match message {
            ToExecutor::Offer(offer) => {
                self.offered(desk, owner, *offer);
                true
            }
            ToExecutor::NoWork { retry_ms } => {
                self.seek.no_work(desk, owner, retry_ms);
                true
            }
            ToExecutor::Bundle { key, piece } => {
                if !piece.is_sound(desk.cap(owner)) {
                    return Some(Offence::Oversize);
                }
                self.bundle(desk, (owner, key), piece)
            }
            ToExecutor::Withdraw { key } | ToExecutor::Cancel { key } => {
                self.drop_job(desk, (owner, key))
            }
            ToExecutor::Acked { key } | ToExecutor::Settled { key } => {
                self.drop_job(desk, (owner, key))
            }
            ToExecutor::Resume { keys } => {
                for key in keys.into_iter().take(crate::consent::MAX_RESUMED) {
                    self.resume(desk, (owner, key));
                }
                true
            }
        };
        // Messages about nothing are harmless, and a few are to be expected.
        (!useful && self.useless.is_flood(desk.now, owner)).then_some(Offence::Flood)
    }

    /// Ends whatever is under way for a lease. False where nothing was.
    fn drop_job(&mut self, desk: &mut Desk<'_>, id: Id) -> bool {
        let Some(job) = self.remove(&id) else {
            return false;
        };
        let (owner, key) = id;
        match job.state {
            State::Asking => desk.act(Action::Unask { owner, key }),
            State::Fetching | State::Running { .. } => {
                desk.act(Action::DropForeign { owner, key });
            }
            State::Recording(..) | State::Outbox(_) => {
                desk.act(Action::DropForeign {
                    owner,
                    key: key.clone(),
                });
                desk.forget(Forget::Finished { owner, key });
            }
        }
        true
    }

    /// An owner is here, perhaps again: what was finished meanwhile is delivered, what runs is mentioned.
    pub(crate) fn connected(&mut self, desk: &mut Desk<'_>, owner: NodeId) {
        if !faulty!(desk.faults, NoRedelivery) {
            for id in self.of_owner(owner) {
                let fetching = self
                    .jobs
                    .get(&id)
                    .is_some_and(|job| matches!(job.state, State::Fetching));
                // The owner names what it still knows of; a bundle flows only then. That it was accepted may not have
                // reached it: what it does not name it has taken back.
                if fetching {
                    let rtt_ms = u64::from(desk.link(owner).rtt_ms);
                    let named = NAMED_MS.saturating_add(rtt_ms.saturating_mul(4));
                    let named = desk.now.after_ms(named);
                    self.change(&id, |job| job.until = job.until.min(named));
                    continue;
                }
                let until = desk.now.after_ms(desk.setup.profile.lease_ms());
                self.change(&id, |job| {
                    if matches!(job.state, State::Outbox(_)) {
                        job.until = until;
                    }
                });
                self.resume(desk, id);
            }
        }
        self.seek.connected(desk, owner);
    }

    /// A lost connection ends only what nobody has consented to yet.
    pub(crate) fn disconnected(&mut self, desk: &mut Desk<'_>, owner: NodeId) {
        for id in self.of_owner(owner) {
            if self
                .jobs
                .get(&id)
                .is_some_and(|job| matches!(job.state, State::Asking))
            {
                self.drop_job(desk, id);
            }
        }
        self.seek.disconnected(owner);
    }

    pub(crate) fn expelled(&mut self, desk: &mut Desk<'_>, owner: NodeId) {
        for id in self.of_owner(owner) {
            self.drop_job(desk, id);
        }
        self.seek.disconnected(owner);
    }

    fn of_owner(&self, owner: NodeId) -> Vec<Id> {
        self.jobs
            .range((owner, LeaseKey::least())..)
            .map(|(id, _)| id)
            .take_while(|id| id.0 == owner)
            .cloned()
            .collect()
    }

    /// What is about foreign tasks.
    pub(crate) fn foreign(&mut self, desk: &mut Desk<'_>, event: Event) {
        match event {
            Event::BundleArrived { owner, key } => self.arrived(desk, (owner, key)),
            Event::BundleFailed { owner, key, why } => self.failed(desk, &(owner, key), why),
            Event::ForeignStarted { owner, key } => {
                let id = (owner, key.clone());
                let first = self
                    .jobs
                    .get(&id)
                    .is_some_and(|job| matches!(job.state, State::Running { begun: false }));
                if first {
                    let until = desk.now.after_ms(self.word_ms(desk, &id));
                    self.change(&id, |job| {
                        job.state = State::Running { begun: true };
                        job.until = until;
                    });
                    desk.tell_owner(owner, ToOwner::Started { key });
                }
            }
            Event::ForeignProgress {
                owner,
                key,
                done,
                total,
                message,
            } => self.progressed(desk, (owner, key), (done, total, message)),
            Event::ForeignOutput {
                owner,
                key,
                stderr,
                bytes,
            } => {
                let id = (owner, key.clone());
                let runs = self
                    .jobs
                    .get(&id)
                    .is_some_and(|job| matches!(job.state, State::Running { begun: true }));
                if runs {
                    desk.tell_owner(owner, ToOwner::Output { key, stderr, bytes });
                }
            }
            Event::ForeignEnded {
                owner,
                key,
                outcome,
            } => self.ended(desk, (owner, key), outcome),
            Event::Decided { owner, key, yes } => self.decided(desk, (owner, key), yes),
            _ => {}
        }
    }

    fn arrived(&mut self, desk: &mut Desk<'_>, id: Id) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let (State::Fetching, Some(offer)) = (&job.state, job.offer.clone()) else {
            return;
        };
        self.holds(offer.needs.blobs.iter().map(|blob| blob.digest));
        let until = desk.now.after_ms(self.word_ms(desk, &id));
        self.change(&id, |job| {
            job.state = State::Running { begun: false };
            job.until = until;
        });
        let owner = id.0;
        let inline = desk.inline(owner);
        desk.act(Action::StartForeign {
            owner,
            offer,
            inline,
        });
    }

    fn failed(&mut self, desk: &mut Desk<'_>, id: &Id, why: LostWhy) {
        let fetching = self
            .jobs
            .get(id)
            .is_some_and(|job| matches!(job.state, State::Fetching));
        if fetching {
            self.remove(id);
            let (owner, key) = id.clone();
            desk.tell_owner(owner, ToOwner::Lost { key, why });
        }
    }

    fn progressed(&mut self, desk: &mut Desk<'_>, id: Id, progress: (u64, u64, Arc<str>)) {
        let word_ms = self.word_ms(desk, &id);
        let due = |job: &Job| {
            let said = Tick(job.until.0.saturating_sub(word_ms));
            desk.now.ms_since(said) >= MIN_WORD_MS
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if !matches!(job.state, State::Running { begun: true }) {
            return;
        }
        job.progress = progress;
        if due(job) {
            self.say_progress(desk, &id);
        }
    }

    fn say_progress(&mut self, desk: &mut Desk<'_>, id: &Id) {
        let until = desk.now.after_ms(self.word_ms(desk, id));
        let mut said = None;
        self.change(id, |job| {
            job.until = until;
            said = Some(job.progress.clone());
        });
        if let Some((done, total, message)) = said {
            let key = id.1.clone();
            let progress = ToOwner::Progress {
                key,
                done,
                total,
                message,
            };
            desk.tell_owner(id.0, progress);
        }
    }

    fn ended(&mut self, desk: &mut Desk<'_>, id: Id, outcome: Result<Box<SignedClaim>, LostWhy>) {
        let running = self
            .jobs
            .get(&id)
            .is_some_and(|job| matches!(job.state, State::Running { .. }));
        if !running {
            return;
        }
        let (owner, key) = id.clone();
        self.seek.look();
        match outcome {
            Err(why) => {
                self.remove(&id);
                desk.tell_owner(owner, ToOwner::Lost { key, why });
            }
            Ok(claim) => {
                let token = desk.persist(Record::Finished {
                    owner,
                    key,
                    claim: claim.clone(),
                });
                self.tokens.insert(token, id.clone());
                self.change(&id, |job| {
                    job.state = State::Recording(token, claim);
                    job.until = Tick(u64::MAX);
                });
                if faulty!(desk.faults, TellBeforeDurable) {
                    self.durable(desk, token, &id);
                }
            }
        }
    }

    /// A record is durable. False where it is not this part's.
    pub(crate) fn persisted(&mut self, desk: &mut Desk<'_>, token: Token) -> bool {
        let Some(id) = self.tokens.remove(&token) else {
            return false;
        };
        self.durable(desk, token, &id);
        true
    }

    fn durable(&mut self, desk: &mut Desk<'_>, token: Token, id: &Id) {
        let Some(job) = self.jobs.get(id) else {
            // Its owner did not want it meanwhile.
            let (owner, key) = id.clone();
            return desk.forget(Forget::Finished { owner, key });
        };
        // An owner that lies may have taken a lease back and granted it again meanwhile.
        let claim = match &job.state {
            State::Recording(recorded, claim) if *recorded == token => claim.clone(),
            _ => return,
        };
        let until = desk.now.after_ms(desk.setup.profile.lease_ms());
        self.change(id, |job| {
            job.state = State::Outbox(claim);
            job.until = until;
        });
        self.resume(desk, id.clone());
        if faulty!(desk.faults, ForgetWhenTold) {
            self.drop_job(desk, id.clone());
        }
    }

    /// A record could not be made durable. False where it is not this part's.
    pub(crate) fn persist_failed(&mut self, desk: &mut Desk<'_>, token: Token) -> bool {
        let Some(id) = self.tokens.remove(&token) else {
            return false;
        };
        let awaited = self.jobs.get(&id).is_some_and(
            |job| matches!(&job.state, State::Recording(recorded, _) if *recorded == token),
        );
        if awaited && self.drop_job(desk, id.clone()) {
            let (owner, key) = id;
            let why = LostWhy::DiskFull;
            desk.tell_owner(owner, ToOwner::Lost { key, why });
        }
        true
    }

    /// How long a guest may run without a word of it.
    fn word_ms(&self, desk: &Desk<'_>, id: &Id) -> u64 {
        let offer = self.jobs.get(id).and_then(|job| job.offer.as_ref());
        let lease = offer.map_or(desk.setup.profile.lease_ms(), |offer| lease_ms(desk, offer));
        (lease / WORDS_PER_LEASE).max(MIN_WORD_MS)
    }

    /// Deadlines that have come.
    pub(crate) fn timeout(&mut self, desk: &mut Desk<'_>) {
        while let Some((at, owner, key)) = self.deadlines.first().cloned()
            && at <= desk.now
        {
            let id = (owner, key.clone());
            match self.jobs.get(&id).map(|job| &job.state) {
                Some(State::Asking) => {
                    self.drop_job(desk, id);
                    let reason = Reason::UserDeclined;
                    desk.tell_owner(owner, ToOwner::Decline { key, reason });
                }
                Some(State::Fetching) => {
                    self.drop_job(desk, id);
                    let why = LostWhy::Bundle;
                    desk.tell_owner(owner, ToOwner::Lost { key, why });
                }
                Some(State::Running { .. }) => self.say_progress(desk, &id),
                // Only the disk's answer ends this wait.
                Some(State::Recording(..)) => {
                    self.change(&id, |job| job.until = Tick(u64::MAX));
                }
                // Its owner was perhaps not ready to say what becomes of it: it is told again, now and then.
                Some(State::Outbox(_)) => {
                    let until = desk.now.after_ms(desk.setup.profile.lease_ms());
                    self.change(&id, |job| job.until = until);
                    self.resume(desk, id);
                }
                None => {
                    self.deadlines.remove(&(at, owner, key));
                }
            }
        }
    }

    /// Asks for work where there is room. `own`: tasks of this node's that run or wait.
    pub(crate) fn advance(&mut self, desk: &mut Desk<'_>, own: u32) {
        let free = self.free(desk, own);
        self.seek.advance(desk, free, own);
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn sanity_check(&self) {
        let count = |which: fn(&State) -> bool| {
            let jobs = self.jobs.values();
            jobs.filter(|job| which(&job.state)).count()
        };
        assert_eq!(count(|s| matches!(s, State::Asking)), self.asked, "asked");
        assert!(self.asked <= MAX_ASKED, "questions");
        let active = count(|s| matches!(s, State::Fetching | State::Running { .. }));
        assert_eq!(active, self.active as usize, "active");
        assert!(self.outbox <= MAX_OUTBOX + active, "outbox");
        assert_eq!(self.deadlines.len(), self.jobs.len(), "deadlines");
        assert!(self.held.len() <= MAX_HELD_BLOBS, "blobs");
    }
}
