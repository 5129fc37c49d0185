//! Where ready tasks go: a slot here, a peer that is idle, a peer that asks.
//!
//! The most urgent go first. Runs take turns by how little of each is under way. A peer is chosen for what it has of the
//! bundle already. What is looked at for one decision is bounded, so that its cost does not grow with the run. Called by
//! [`super::Owner`].

use std::sync::Arc;

use super::lease::{Lease, LeaseState};
use super::{LOSSES_TO_STAY, MAX_LEASES, MAX_MOVES, OwnRun, Owner, Side, Then};
use crate::consent::{MAX_PIECE_BYTES, Offer, Record, ToExecutor};
use crate::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Desk, Mode, StepKind, faulty};
use crate::policy::{self, Moving, OwnSide, PeerSide, Reason, Requirements};
use crate::profile::{Link, Profile, Stealing};
use crate::roster::Entry;
use crate::run::{self, Failure};
use crate::time::Tick;

/// Ready tasks that are looked at for one decision.
pub(super) const SCAN: usize = 32;
/// Ready tasks that are looked at for a slot here: those before it may all ask for other nodes.
const SCAN_HERE: usize = 1024;
/// Idle peers that are compared for one task.
pub(super) const PEERS: usize = 8;
/// When ready tasks are looked at again because something cools down, in milliseconds.
const LOOK_AGAIN_MS: u64 = 2_000;
/// A peer that asked in vain asks again after this, in milliseconds, at the earliest.
const NO_WORK_MS: u64 = 2_000;
/// What a task is taken to last that nobody knows anything of, in milliseconds.
const ASSUMED_MS: u64 = 1_000;
/// Round trips of one task's way: offer and answer, bundle and start, result and acknowledgement.
const ROUND_TRIPS: u64 = 3;
/// The same where something is fetched by a stream, which is asked for first.
const ROUND_TRIPS_BULK: u64 = 4;

/// Numbers of attempts that a run reserves when it begins: so many offers of each of its tasks need not wait for a record.
const RESERVED: u32 = 4;

/// A task that could be offered to a peer.
struct Choice {
    run: RunId,
    task: TaskId,
    missing_bytes: u64,
}

impl Owner {
    /// Starts and offers what can be. `foreign`: foreign guests that run here.
    pub(crate) fn advance(&mut self, desk: &mut Desk<'_>, foreign: u32) {
        if self.runs.is_empty() {
            return;
        }
        self.start_here(desk, foreign);
        if self.look {
            self.look = false;
            self.dispatch(desk);
            if std::mem::take(&mut self.waited) {
                self.note_no_room(desk);
            }
            self.mind_homeless(desk);
        }
        self.double(desk, foreign);
    }

    fn start_here(&mut self, desk: &mut Desk<'_>, foreign: u32) {
        while self.here.saturating_add(foreign) < desk.setup.slots.max(1) {
            let Some((run, task)) = self.next_here(desk) else {
                return;
            };
            let Some(own) = self.runs.get_mut(&run) else {
                return;
            };
            let Some(side) = own.sides.get_mut(&task) else {
                return;
            };
            let Some(attempt) = own.run.grant(desk.now, task, side.fence) else {
                return;
            };
            side.here = Some(attempt);
            self.here += 1;
            desk.run(&run, run::Action::Execute { task, attempt });
        }
    }

    /// The most urgent task that can run here, of the run that has least under way.
    fn next_here(&self, desk: &Desk<'_>) -> Option<(RunId, TaskId)> {
        let mut runs: Vec<(&RunId, &OwnRun)> = self
            .runs
            .iter()
            .filter(|(_, own)| own.run.is_going() && own.run.ready_count() > 0)
            .collect();
        runs.sort_by_key(|(_, own)| own.run.running_count());
        runs.into_iter().find_map(|(run, own)| {
            let mut ready = own.run.ready().take(SCAN_HERE);
            let fits = |task: &TaskId| {
                let side = own.sides.get(task);
                side.is_some_and(|side| fits_here(desk, &side.needs))
            };
            Some((run.clone(), ready.find(fits)?))
        })
    }

    /// Offers ready tasks to idle peers.
    fn dispatch(&mut self, desk: &mut Desk<'_>) {
        if desk.now < self.full_until {
            return;
        }
        let reaching: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, own)| own.mode != Mode::Solo && own.run.is_going())
            .map(|(run, _)| run.clone())
            .collect();
        let mut waits = false;
        for run in reaching {
            waits |= self.dispatch_run(desk, &run);
        }
        if waits {
            let at = desk.now.after_ms(LOOK_AGAIN_MS);
            self.look_by(at);
        }
    }

    /// True where tasks are left that may go later.
    fn dispatch_run(&mut self, desk: &mut Desk<'_>, run: &RunId) -> bool {
        let Some(own) = self.runs.get(run) else {
            return false;
        };
        let ready: Vec<TaskId> = own.run.ready().take(SCAN).collect();
        if ready.is_empty() {
            return false;
        }
        let mut peers = desk.roster.candidates(desk.now, desk.rng, PEERS);
        for (place, task) in ready.into_iter().enumerate() {
            if peers.is_empty() {
                return true;
            }
            let Some((peer, missing)) = self.best_peer(desk, &peers, run, task, place) else {
                continue;
            };
            if !self.offer(desk, run, task, peer, (missing, false)) {
                return true;
            }
            peers.retain(|peer| desk.roster.is_available(*peer));
        }
        true
    }

    /// The peer that lacks least of a task that it may be offered. Why the others may not is noted.
    fn best_peer(
        &mut self,
        desk: &mut Desk<'_>,
        peers: &[NodeId],
        run: &RunId,
        task: TaskId,
        place: usize,
    ) -> Option<(NodeId, u64)> {
        let mut best: Option<(u64, NodeId)> = None;
        let mut refused = Vec::new();
        for peer in peers {
            match self.may_offer(desk, *peer, run, task, (place, false)) {
                Ok(missing) => {
                    best = Some(best.map_or((missing, *peer), |b| b.min((missing, *peer))))
                }
                Err(reason) => refused.push((*peer, reason)),
            }
        }
        if best.is_none() {
            let attempt = self.runs.get(run)?.run.attempt(task)?;
            for (peer, reason) in refused {
                if reason != Reason::CoolingDown {
                    let key = LeaseKey {
                        run: run.clone(),
                        task,
                        attempt,
                    };
                    self.note(desk, &key, peer, StepKind::NotOffered(reason));
                }
            }
        }
        best.map(|(missing, peer)| (peer, missing))
    }

    /// Whether a ready task may go to a peer; what that lacks of it. `place`: how many wait before it; whether it asked.
    pub(super) fn may_offer(
        &self,
        desk: &Desk<'_>,
        peer: NodeId,
        run: &RunId,
        task: TaskId,
        (place, asked): (usize, bool),
    ) -> Result<u64, Reason> {
        let own = self.runs.get(run).ok_or(Reason::StaysHere)?;
        let side = own.sides.get(&task).ok_or(Reason::StaysHere)?;
        let entry = desk.roster.get(peer).ok_or(Reason::NotTrusted)?;
        let capabilities = entry.capabilities.as_ref().ok_or(Reason::NotTrusted)?;
        let stays = side.losses >= LOSSES_TO_STAY && fits_here(desk, &side.needs);
        if (side.moves >= MAX_MOVES || stays) && !faulty!(desk.faults, NoMoveLimit) {
            return Err(Reason::MovedTooOften);
        }
        if side
            .cooling
            .get(&peer)
            .is_some_and(|until| *until > desk.now)
            && !faulty!(desk.faults, NoCoolDown)
        {
            return Err(Reason::CoolingDown);
        }
        if desk.roster.is_suspect(desk.now, peer) {
            return Err(Reason::NoAnswer);
        }
        let missing_bytes = missing(desk, peer, &side.needs);
        let moving = Moving {
            missing_bytes,
            output_bytes: side.needs.output_bytes,
            asked,
        };
        let may_hold = match faulty!(desk.faults, NoLeaseCap) {
            true => u32::MAX,
            false => entry.may_hold,
        };
        let peer_side = PeerSide {
            capabilities,
            trusted: entry.trusted,
            outstanding: entry.outstanding,
            may_hold,
        };
        let own_side = OwnSide {
            profile: &desk.setup.profile,
            policy: &desk.setup.policy,
        };
        match policy::may_offer(&own_side, &peer_side, &side.needs, moving) {
            Err(Reason::ArtifactOverCap { .. }) if faulty!(desk.faults, OwnerIgnoresCap) => {}
            Err(Reason::StealingDisabled) if faulty!(desk.faults, NoDirection) => {}
            answer => answer?,
        }
        let bytes = missing_bytes.saturating_add(side.needs.output_bytes);
        let transfer = way_ms(bytes, &entry.link);
        let remaining = self.remaining_ms(desk, own, task, place);
        if fits_here(desk, &side.needs) && !policy::worth_moving(transfer, remaining) {
            return Err(Reason::NotWorthIt);
        }
        Ok(missing_bytes)
    }

    /// How long until a task would begin here, in milliseconds: running it takes as long here as elsewhere.
    fn remaining_ms(&self, desk: &Desk<'_>, own: &OwnRun, task: TaskId, place: usize) -> u64 {
        let each = estimate_ms(own, task).unwrap_or(ASSUMED_MS);
        let turn = u64::try_from(place).unwrap_or(u64::MAX).saturating_add(1);
        each.saturating_mul(turn) / u64::from(desk.setup.slots.max(1))
    }

    /// A run begins: has the numbers of its first attempts reserved, from `fence` on.
    pub(super) fn reserve(&mut self, desk: &mut Desk<'_>, run: &RunId, fence: Attempt) {
        let run = run.clone();
        let below = Attempt(fence.0.saturating_add(RESERVED));
        let token = desk.persist(Record::Reserved {
            run: run.clone(),
            below,
        });
        self.waiting.insert(token, Then::Reserve(run, below));
    }

    /// Attempts below may be offered before their own record is durable, from now on.
    pub(super) fn reserved(&mut self, run: &RunId, below: Attempt) {
        if let Some(own) = self.runs.get_mut(run) {
            own.reserved = below;
        }
    }

    /// Grants a task to a peer and has that recorded; the offer follows when it is, or at once where its number is reserved.
    /// False where it cannot be. With what the peer lacks of it, and whether it had asked for work.
    fn offer(
        &mut self,
        desk: &mut Desk<'_>,
        run: &RunId,
        task: TaskId,
        peer: NodeId,
        (missing_bytes, asked): (u64, bool),
    ) -> bool {
        if self.leases.len() >= MAX_LEASES {
            return false;
        }
        let Some(own) = self.runs.get_mut(run) else {
            return false;
        };
        let Some(side) = own.sides.get_mut(&task) else {
            return false;
        };
        let Some(attempt) = own.run.grant(desk.now, task, side.fence.max(own.fence)) else {
            return false;
        };
        let may_be_said = attempt < own.reserved;
        side.homeless = None;
        let key = LeaseKey {
            run: run.clone(),
            task,
            attempt,
        };
        let nonce = desk.rng.next_u64();
        let token = desk.persist(Record::Offered {
            key: key.clone(),
            peer,
            nonce,
        });
        let lease = Lease {
            peer,
            nonce,
            needs: Arc::clone(&side.needs),
            state: LeaseState::Recording(token),
            current: true,
            asked,
            resumed: false,
            recorded: false,
            awaits: None,
            missing_bytes,
            offered: desk.now,
            started: None,
            until: Tick(u64::MAX),
            hard: Tick(u64::MAX),
        };
        desk.roster.granted(peer);
        self.leases.insert(key.clone(), lease);
        self.waiting.insert(token, Then::Offer(key.clone()));
        if may_be_said || faulty!(desk.faults, OfferBeforeDurable) {
            self.say_offer(desk, &key);
        }
        true
    }

    /// An offer's record is durable: now it may be said, and where it was said before, its bundle may leave.
    pub(super) fn recorded(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let awaits = self.leases.update(key, |lease| {
            lease.recorded = true;
            lease.awaits.take()
        });
        self.say_offer(desk, key);
        if let Some(Some(have)) = awaits {
            self.send_bundle(desk, key, have);
        }
    }

    /// Now it may be said.
    fn say_offer(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let Some(lease) = self.leases.get(key) else {
            return;
        };
        if !matches!(lease.state, LeaseState::Recording(_)) {
            return;
        }
        let (peer, asked) = (lease.peer, lease.asked);
        let offer = Offer {
            key: key.clone(),
            nonce: lease.nonce,
            needs: Arc::clone(&lease.needs),
            min_memory_mb: desk.setup.policy.min_memory_mb,
            lease_ms: desk.setup.profile.lease_ms(),
            mesh: desk.setup.mesh,
        };
        if !desk.connected(peer) || desk.roster.is_expelled(peer) {
            return self.not_taken(desk, peer, key, &Reason::NoAnswer);
        }
        let until = desk.now.after_ms(super::settle::answer_ms(desk, peer));
        let now = desk.now;
        self.leases.update(key, |lease| {
            lease.state = LeaseState::Offered;
            lease.offered = now;
            lease.until = until;
        });
        self.note(desk, key, peer, StepKind::Offered { asked });
        desk.tell_executor(peer, ToExecutor::Offer(Box::new(offer)));
    }

    /// A peer asks for work. Whether it is given some.
    pub(super) fn asked(&mut self, desk: &mut Desk<'_>, peer: NodeId, free: u32) -> bool {
        let mut given = 0;
        if desk.now >= self.full_until {
            while given < free {
                let Some(choice) = self.best_task(desk, peer) else {
                    break;
                };
                let missing = choice.missing_bytes;
                if !self.offer(desk, &choice.run, choice.task, peer, (missing, true)) {
                    break;
                }
                given += 1;
            }
        }
        if given == 0 {
            let retry_ms = NO_WORK_MS;
            desk.tell_executor(peer, ToExecutor::NoWork { retry_ms });
        }
        given > 0
    }

    /// The task that a peer which asks is given: of the run with least under way, the most urgent of those of which it
    /// lacks least.
    fn best_task(&self, desk: &Desk<'_>, peer: NodeId) -> Option<Choice> {
        let mut runs: Vec<(&RunId, &OwnRun)> = self
            .runs
            .iter()
            .filter(|(_, own)| own.mode == Mode::Swarm && own.run.is_going())
            .collect();
        runs.sort_by_key(|(_, own)| own.run.running_count());
        runs.into_iter().find_map(|(run, own)| {
            let choices = own
                .run
                .ready()
                .take(SCAN)
                .enumerate()
                .filter_map(|(place, task)| {
                    let missing_bytes =
                        self.may_offer(desk, peer, run, task, (place, true)).ok()?;
                    Some(Choice {
                        run: run.clone(),
                        task,
                        missing_bytes,
                    })
                });
            choices.min_by_key(|choice| choice.missing_bytes)
        })
    }

    /// Own tasks that wait and that peers may take.
    pub(crate) fn stealable(&self, desk: &Desk<'_>) -> u32 {
        if desk.setup.profile.stealing != Stealing::Full {
            return 0;
        }
        let waiting = self
            .runs
            .values()
            .filter(|own| own.mode == Mode::Swarm && own.run.is_going())
            .map(|own| own.run.ready_count());
        u32::try_from(waiting.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// A lease of before a restart: its task is granted again under the same attempt, and its peer asked.
    pub(super) fn reopen(
        &mut self,
        desk: &mut Desk<'_>,
        key: LeaseKey,
        (peer, nonce): (NodeId, u64),
        needs: Arc<Requirements>,
    ) {
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        if own.run.grant(desk.now, key.task, key.attempt) != Some(key.attempt) {
            return;
        }
        let lease_ms = desk.setup.profile.lease_ms();
        let hard = desk
            .now
            .after_ms(needs.timeout_ms.saturating_add(lease_ms.saturating_mul(2)));
        let lease = Lease {
            peer,
            nonce,
            missing_bytes: needs.bundle_bytes(),
            needs,
            state: LeaseState::Held,
            current: true,
            asked: false,
            resumed: true,
            recorded: true,
            awaits: None,
            offered: desk.now,
            started: None,
            until: desk.now.after_ms(lease_ms).min(hard),
            hard,
        };
        if let Some(side) = own.sides.get_mut(&key.task) {
            side.moves += 1;
        }
        self.leases.insert(key.clone(), lease);
        desk.roster.granted(peer);
        if desk.connected(peer) {
            desk.tell_executor(peer, ToExecutor::Resume { keys: vec![key] });
        } else {
            desk.act(Action::Dial { peer });
        }
    }

    /// Tasks that fit neither this node nor any peer that is here are waited for, not for ever.
    fn mind_homeless(&mut self, desk: &mut Desk<'_>) {
        let mut due = Vec::new();
        let mut next: Option<Tick> = None;
        for (run, own) in &mut self.runs {
            let ready: Vec<TaskId> = own.run.ready().take(SCAN).collect();
            for task in ready {
                let Some(side) = own.sides.get_mut(&task) else {
                    continue;
                };
                if fits_here(desk, &side.needs) || fits_a_peer(desk, &side.needs) {
                    side.homeless = None;
                    continue;
                }
                let since = *side.homeless.get_or_insert(desk.now);
                let patience_ms = desk.setup.patience_ms.max(absence_ms(desk, &side.needs));
                let until = since.after_ms(patience_ms);
                if until <= desk.now {
                    due.push((run.clone(), task, Arc::clone(&side.needs)));
                } else {
                    next = Some(next.map_or(until, |known| known.min(until)));
                }
            }
        }
        if let Some(next) = next {
            self.look_by(next);
        }
        for (run, task, needs) in due {
            let labels: Vec<&str> = needs.labels.iter().map(AsRef::as_ref).collect();
            let failure = Failure {
                code: "mesh::no-eligible-node",
                message: format!("no node can run it: it asks for {}", labels.join(", ")),
            };
            let attempt = Attempt::FIRST;
            self.fail(desk, &LeaseKey { run, task, attempt }, failure);
        }
    }
}

/// What a task's way to a peer and back costs beyond running it, in milliseconds.
pub(super) fn way_ms(bytes: u64, link: &Link) -> u64 {
    let trips = match bytes <= MAX_PIECE_BYTES as u64 {
        true => ROUND_TRIPS,
        false => ROUND_TRIPS_BULK,
    };
    policy::transfer_ms(bytes, link)
        .saturating_add(u64::from(link.rtt_ms).saturating_mul(trips))
        .saturating_add(u64::from(link.jitter_ms).saturating_mul(trips))
}

/// Whether this node has what a task asks for.
pub(super) fn fits_here(desk: &Desk<'_>, needs: &Requirements) -> bool {
    let labels = &desk.setup.capabilities.labels;
    needs.labels.iter().all(|label| labels.contains(label))
}

/// Whether a peer that is here has what a task asks for, busy or not.
fn fits_a_peer(desk: &Desk<'_>, needs: &Requirements) -> bool {
    let mut there = desk.roster.iter().filter(|(_, entry)| entry.connected);
    needs.mesh && there.any(|(_, entry)| fits(entry, needs))
}

/// For how long a peer that has what a task asks for may be away before nobody waits for it: nobody may dial a hidden node,
/// and a hostile link may take minutes to stand again. In milliseconds, of the one whose profile allows the most.
fn absence_ms(desk: &Desk<'_>, needs: &Requirements) -> u64 {
    let away = desk.roster.iter().filter(|(peer, entry)| {
        entry.away_since.is_some() && !desk.roster.is_expelled(*peer) && fits(entry, needs)
    });
    let grace = away.filter_map(|(_, entry)| {
        let there = entry.capabilities.as_ref()?;
        let grace = Profile::of(there.profile).absence_grace_ms;
        Some(grace.unwrap_or(there.tick_ms))
    });
    grace.max().filter(|_| needs.mesh).unwrap_or(0)
}

fn fits(entry: &Entry, needs: &Requirements) -> bool {
    entry.capabilities.as_ref().is_some_and(|there| {
        let mut labels = needs.labels.iter();
        labels.all(|label| there.labels.contains(label)) && needs.memory_mb <= there.memory_mb
    })
}

/// Compressed bytes of a task's bundle that a peer lacks, as far as is known here.
fn missing(desk: &Desk<'_>, peer: NodeId, needs: &Requirements) -> u64 {
    needs.missing_bytes(|_, blob| desk.roster.has_blob(peer, blob.digest))
}

/// How long a task is expected to run: as others of it did, else as was said.
fn estimate_ms(own: &OwnRun, task: TaskId) -> Option<u64> {
    let instance = own.plan.tasks.get(task.index())?;
    let ran = own
        .durations
        .get(&instance.task)
        .and_then(super::Durations::mean);
    let said = own
        .sides
        .get(&task)
        .map(|side: &Side| side.needs.estimate_ms);
    ran.or(said.filter(|ms| *ms > 0))
}
