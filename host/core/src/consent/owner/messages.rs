//! What executors say to an owner, and what is believed of it.
//!
//! Every message names a lease. One that is live moves on; one that is not is answered and changes nothing; one that
//! never was is an offence. Called by [`crate::machine`] through [`super::Owner`].

use super::lease::{Lease, LeaseState};
use super::{Owner, settle};
use crate::consent::{LostWhy, Offence, Piece, ToExecutor, ToOwner};
use crate::id::{LeaseKey, NodeId};
use crate::machine::{Action, Desk, StepKind, faulty};
use crate::policy::Reason;
use crate::receipt::{Contradiction, SignedClaim};
use crate::run;

/// The longest that a person is waited for, in milliseconds, whatever the peer says.
const MAX_ASK_MS: u64 = 120_000;
/// Progress messages of a guest are passed on up to this many bytes.
const MAX_NOTE_BYTES: usize = 256;

/// What a key means to this owner.
enum Standing {
    /// A lease of this peer's that is not taken back.
    Live,
    /// One that was: a late result may still be welcome.
    Ended,
    /// Its task is settled, or a later attempt is under way.
    Stale,
    /// The run is over, or there is none.
    Over,
    /// A run that is not resumed yet: nothing is answered.
    Unknown,
    /// No honest peer has this key.
    Forged,
}

impl Owner {
    pub(crate) fn received(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        message: ToOwner,
    ) -> Option<Offence> {
        let Some(key) = message.key().cloned() else {
            let ToOwner::Idle { free } = message else {
                return None;
            };
            let in_vain = !self.asked(desk, peer, free);
            let flood = in_vain && self.asked_in_vain.is_flood(desk.now, peer);
            return flood.then_some(Offence::Flood);
        };
        match self.standing(peer, &key) {
            Standing::Forged => return Some(Offence::NeverGranted),
            Standing::Unknown => return None,
            Standing::Over | Standing::Stale => {
                self.answer_late(desk, peer, key, &message);
                return None;
            }
            Standing::Ended => {
                if let ToOwner::Completed { claim, outputs, .. } = message {
                    return self.completed(desk, peer, &key, (claim, outputs));
                }
                self.answer_late(desk, peer, key, &message);
                return None;
            }
            Standing::Live => {}
        }
        match message {
            ToOwner::Idle { .. } => {}
            ToOwner::Accept { have, .. } => self.accepted(desk, peer, &key, have),
            ToOwner::Decline { reason, .. } => self.declined(desk, peer, &key, reason),
            ToOwner::Pending { ask_ms, .. } => self.pending(desk, peer, &key, ask_ms),
            ToOwner::Started { .. } => self.started(desk, peer, &key),
            ToOwner::Progress {
                done,
                total,
                message,
                ..
            } => self.progressed(desk, &key, (done, total), &message),
            ToOwner::Output { stderr, bytes, .. } => self.heard(desk, &key, stderr, bytes),
            ToOwner::Completed { claim, outputs, .. } => {
                return self.completed(desk, peer, &key, (claim, outputs));
            }
            ToOwner::Outputs { piece, .. } => return self.outputs(desk, peer, &key, piece),
            ToOwner::Lost { why, .. } => self.lost_by(desk, peer, &key, why),
        }
        None
    }

    fn standing(&self, peer: NodeId, key: &LeaseKey) -> Standing {
        if let Some(lease) = self.leases.get(key) {
            return match () {
                () if lease.peer != peer => Standing::Forged,
                // It was never told of this one.
                () if matches!(lease.state, LeaseState::Recording(_)) => Standing::Forged,
                () if lease.is_outstanding() => Standing::Live,
                () => Standing::Ended,
            };
        }
        let Some(own) = self.runs.get(&key.run) else {
            return match self.unfinished.contains(&key.run) {
                true => Standing::Unknown,
                // It has ended, here or before a restart, or never was.
                false => Standing::Over,
            };
        };
        if self.past_set.contains(&key.run) {
            return Standing::Over;
        }
        if key.task.index() >= own.plan.tasks.len() {
            // There may have been more instances before a restart.
            return match own.resumed {
                true => Standing::Stale,
                false => Standing::Forged,
            };
        }
        if own.run.settled(key.task).is_some() {
            return Standing::Stale;
        }
        // Not prepared again since a restart: what is known of it waits for that.
        let Some(side) = own.sides.get(&key.task) else {
            return Standing::Unknown;
        };
        if own.spent.contains_key(&key.task) {
            return Standing::Unknown;
        }
        match own.run.attempt(key.task) {
            // Below the fence it was granted before a restart.
            Some(current) if key.attempt > current && key.attempt >= side.fence.max(own.fence) => {
                Standing::Forged
            }
            _ => Standing::Stale,
        }
    }

    /// Late: the peer is told, so that it stops and forgets.
    fn answer_late(&self, desk: &mut Desk<'_>, peer: NodeId, key: LeaseKey, message: &ToOwner) {
        if faulty!(desk.faults, LateUnanswered) {
            return;
        }
        let answer = match message {
            ToOwner::Accept { .. } | ToOwner::Pending { .. } => ToExecutor::Withdraw { key },
            ToOwner::Started { .. } | ToOwner::Progress { .. } => ToExecutor::Cancel { key },
            ToOwner::Completed { .. } => ToExecutor::Settled { key },
            ToOwner::Idle { .. }
            | ToOwner::Decline { .. }
            | ToOwner::Output { .. }
            // The word before it was answered.
            | ToOwner::Outputs { .. }
            | ToOwner::Lost { .. } => return,
        };
        desk.tell_executor(peer, answer);
    }

    fn accepted(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey, have: Vec<u8>) {
        let (now, faults) = (desk.now, desk.faults);
        let link = desk.link(peer);
        let lease_ms = desk.setup.profile.lease_ms();
        let first = self.leases.update(key, |lease| {
            let first = matches!(lease.state, LeaseState::Offered | LeaseState::Pending);
            if !first && lease.state != LeaseState::Held {
                return None;
            }
            lease.missing_bytes = lease.needs.missing_bytes(|index, _| have.contains(&index));
            lease.state = LeaseState::Held;
            if first {
                let transfer =
                    crate::policy::transfer_ms(lease.needs.bundle_bytes(), &link).saturating_mul(4);
                let transfer = transfer.min(settle::MAX_TRANSFER_MS);
                let most = transfer
                    .saturating_add(lease.needs.timeout_ms)
                    .saturating_add(lease_ms.saturating_mul(2));
                lease.hard = now.after_ms(most);
            }
            settle::renew(lease, now, lease_ms, faults);
            Some(first)
        });
        let Some(Some(first)) = first else {
            return;
        };
        self.learn(desk, peer, key, |index| have.contains(&index));
        if first {
            if let Some(side) = self.side(key) {
                side.moves += 1;
            }
            self.note(desk, key, peer, StepKind::Accepted);
            self.watch_overdue(desk, key);
        }
        self.send_bundle(desk, key, have);
    }

    /// Has the bundle leave, in messages where it is small; not before the offer's record is durable.
    pub(super) fn send_bundle(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, have: Vec<u8>) {
        let Some(lease) = self.leases.get(key) else {
            return;
        };
        let (peer, missing_bytes) = (lease.peer, lease.missing_bytes);
        if !lease.recorded && !faulty!(desk.faults, BundleBeforeDurable) {
            self.leases.update(key, |lease| lease.awaits = Some(have));
            return;
        }
        // It is asked again when it is back.
        if !desk.connected(peer) {
            return;
        }
        let inline = desk.inline(peer);
        desk.act(Action::SendBundle {
            peer,
            key: key.clone(),
            have,
            cap: desk.cap(peer),
            inline: if missing_bytes <= inline { inline } else { 0 },
        });
    }

    /// Keeps in mind which of the named blobs of a lease's offer the peer has.
    fn learn(&self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey, has: impl Fn(u8) -> bool) {
        let needs = self.leases.get(key).map(|lease| &lease.needs);
        for (blob, index) in needs
            .into_iter()
            .flat_map(|needs| needs.blobs.iter().zip(0u8..))
        {
            if has(index) {
                desk.roster.learned_blob(peer, blob.digest);
            }
        }
    }

    fn declined(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey, reason: Reason) {
        let open = self
            .leases
            .get(key)
            .is_some_and(|lease| matches!(lease.state, LeaseState::Offered | LeaseState::Pending));
        if open {
            self.note(desk, key, peer, StepKind::Declined(reason.clone()));
            self.not_taken(desk, peer, key, &reason);
        }
    }

    fn pending(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey, ask_ms: u64) {
        let until = desk
            .now
            .after_ms(ask_ms.min(MAX_ASK_MS))
            .after_ms(settle::answer_ms(desk, peer));
        let asked = self.leases.update(key, |lease| {
            let asked = lease.state == LeaseState::Offered;
            if asked {
                lease.state = LeaseState::Pending;
                lease.until = until;
            }
            asked
        });
        if asked == Some(true) {
            self.note(desk, key, peer, StepKind::Pending);
        }
    }

    fn started(&mut self, desk: &mut Desk<'_>, peer: NodeId, key: &LeaseKey) {
        let (now, faults) = (desk.now, desk.faults);
        let lease_ms = desk.setup.profile.lease_ms();
        let begun = self.leases.update(key, |lease| {
            if !matches!(lease.state, LeaseState::Held | LeaseState::Running) {
                return false;
            }
            settle::renew(lease, now, lease_ms, faults);
            let begun = lease.state == LeaseState::Held;
            lease.state = LeaseState::Running;
            lease.started.get_or_insert(now);
            begun
        });
        if begun == Some(true) {
            self.learn(desk, peer, key, |_| true);
            self.note(desk, key, peer, StepKind::Started);
            self.watch_overdue(desk, key);
        }
    }

    fn progressed(
        &mut self,
        desk: &mut Desk<'_>,
        key: &LeaseKey,
        (done, total): (u64, u64),
        message: &str,
    ) {
        let (now, faults) = (desk.now, desk.faults);
        let lease_ms = desk.setup.profile.lease_ms();
        let current = self.leases.update(key, |lease| {
            // Before it has accepted, and once it has a result, nothing that it says moves the deadline.
            let runs = matches!(lease.state, LeaseState::Held | LeaseState::Running);
            if runs {
                settle::renew(lease, now, lease_ms, faults);
            }
            lease.current && runs
        });
        if current == Some(true) {
            let mut end = message.len().min(MAX_NOTE_BYTES);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            let message = message.get(..end).unwrap_or_default().to_owned();
            let progress = run::Event::Progress {
                task: key.task,
                attempt: key.attempt,
                done,
                total,
                message,
            };
            self.tell(desk, &key.run.clone(), progress);
        }
    }

    /// What a guest wrote, of an attempt that runs. It renews nothing: words are not progress.
    fn heard(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, stderr: bool, bytes: Vec<u8>) {
        let lease = self.leases.get(key);
        if lease.is_some_and(|lease| lease.current && lease.state == LeaseState::Running) {
            desk.act(Action::Heard {
                run: key.run.clone(),
                task: key.task,
                stderr,
                bytes,
            });
        }
    }

    fn completed(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        (claim, outputs): (Box<SignedClaim>, Piece),
    ) -> Option<Offence> {
        if !outputs.is_sound(desk.cap(peer)) {
            return Some(Offence::Oversize);
        }
        let lease = self.leases.get(key)?;
        let granted = claim.executor == peer && claim.nonce == lease.nonce;
        if let Some(offence) = unbound(desk, lease, granted, key, &claim) {
            // The right lease: before the restart the task was made of something else, or the mesh was another.
            if lease.resumed && granted {
                desk.tell_executor(peer, ToExecutor::Settled { key: key.clone() });
                self.void(desk, peer, key);
                return None;
            }
            return Some(offence);
        }
        match &lease.state {
            LeaseState::Fetching(known)
            | LeaseState::Committing(_, known)
            | LeaseState::Uncommitted(known) => return second(desk, key, known, &claim),
            LeaseState::Held | LeaseState::Running | LeaseState::Ended => {}
            // It was offered and not taken: nothing can have been run under it.
            LeaseState::Offered | LeaseState::Pending | LeaseState::Recording(_) => {
                return Some(Offence::NeverGranted);
            }
        }
        // Nor without its bundle, which has not left.
        if !lease.recorded && !faulty!(desk.faults, BundleBeforeDurable) {
            return Some(Offence::NeverGranted);
        }
        let stale = !lease.current && !lease.needs.pure;
        if stale && !faulty!(desk.faults, NoFence) {
            desk.tell_executor(peer, ToExecutor::Settled { key: key.clone() });
            return None;
        }
        let bytes = claim.output_bytes.saturating_add(lease.missing_bytes);
        let cap = desk.cap(peer);
        if bytes > cap && !faulty!(desk.faults, OwnerIgnoresCap) {
            desk.tell_executor(peer, ToExecutor::Settled { key: key.clone() });
            self.lost(desk, peer, key, Some(LostWhy::Bundle));
            return None;
        }
        if lease.state == LeaseState::Ended {
            // It was counted as lost; now it counts again, until its result does.
            desk.roster.granted(peer);
        }
        self.fetch(desk, peer, key, (claim, outputs));
        None
    }

    /// More of a result's outputs, of one that is being taken in.
    fn outputs(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        piece: Piece,
    ) -> Option<Offence> {
        let cap = desk.cap(peer);
        // What begins comes with the word that it is done.
        if piece.at == 0 || !piece.is_sound(cap) {
            return Some(Offence::Oversize);
        }
        if let LeaseState::Fetching(claim) = &self.leases.get(key)?.state {
            desk.act(Action::FetchOutputs {
                peer,
                key: key.clone(),
                claim: claim.clone(),
                piece,
                cap,
            });
        }
        None
    }

    /// The outputs are wanted; where a lost connection ended that, wanted again.
    fn fetch(
        &mut self,
        desk: &mut Desk<'_>,
        peer: NodeId,
        key: &LeaseKey,
        (claim, piece): (Box<SignedClaim>, Piece),
    ) {
        let until = settle::fetch_until(desk, peer, claim.output_bytes);
        let first = self.leases.update(key, |lease| {
            let first = !lease.is_delivered();
            // The end is set when the result is first told of: fetching it again moves nothing.
            if first {
                lease.hard = until;
            }
            lease.state = LeaseState::Fetching(claim.clone());
            lease.until = until.min(lease.hard);
            first
        });
        if first == Some(true) {
            desk.roster.delivered(peer);
            self.look = true;
        }
        let cap = desk.cap(peer);
        desk.act(Action::FetchOutputs {
            peer,
            key: key.clone(),
            claim,
            piece,
            cap,
        });
    }

    /// A peer is here, perhaps again: what it holds is resumed.
    pub(crate) fn connected(&mut self, desk: &mut Desk<'_>, peer: NodeId) {
        self.look = true;
        self.count_again(desk, peer);
        if faulty!(desk.faults, NoResume) {
            return;
        }
        let (now, faults) = (desk.now, desk.faults);
        let lease_ms = desk.setup.profile.lease_ms();
        let mut resumed = Vec::new();
        for key in self.leases.of_peer(peer) {
            let fetching = self.leases.update(&key, |lease| {
                if matches!(lease.state, LeaseState::Held | LeaseState::Running) {
                    settle::renew(lease, now, lease_ms, faults);
                }
                match &lease.state {
                    LeaseState::Fetching(claim) => Some(Some(claim.clone())),
                    LeaseState::Held | LeaseState::Running => Some(None),
                    _ => None,
                }
            });
            match fetching {
                Some(Some(Some(claim))) => self.fetch(desk, peer, &key, (claim, Piece::default())),
                Some(Some(None)) => resumed.push(key),
                _ => {}
            }
        }
        for keys in resumed.chunks(crate::consent::MAX_RESUMED) {
            let keys = keys.to_vec();
            desk.tell_executor(peer, ToExecutor::Resume { keys });
        }
    }

    /// Leases of before a restart were taken up when the roster did not know their peer: they count all the same.
    fn count_again(&self, desk: &mut Desk<'_>, peer: NodeId) {
        let keys = self.leases.of_peer(peer);
        let leases: Vec<&Lease> = keys.iter().filter_map(|key| self.leases.get(key)).collect();
        let count = |which: fn(&Lease) -> bool| {
            let so_many = leases.iter().filter(|lease| which(lease)).count();
            u32::try_from(so_many).unwrap_or(u32::MAX)
        };
        let entry = desk.roster.get(peer);
        let (held, done) = entry.map_or((0, 0), |entry| (entry.outstanding, entry.delivered));
        for _ in held..count(Lease::is_outstanding) {
            desk.roster.granted(peer);
        }
        for _ in done..count(Lease::is_delivered) {
            desk.roster.delivered(peer);
        }
    }

    /// A connection alone ends no lease: offers are void, what is held has the profile's grace.
    pub(crate) fn disconnected(&mut self, desk: &mut Desk<'_>, peer: NodeId) {
        self.look = true;
        let now = desk.now;
        let hidden = desk
            .roster
            .get(peer)
            .and_then(|entry| entry.capabilities.as_ref())
            .is_some_and(|capabilities| capabilities.hidden);
        let grace = match (desk.setup.profile.absence_grace_ms, hidden) {
            (Some(ms), false) => Some(now.after_ms(ms)),
            _ => None,
        };
        for key in self.leases.of_peer(peer) {
            let offered = self.leases.update(&key, |lease| {
                if lease.is_held()
                    && let Some(grace) = grace
                {
                    lease.until = lease.until.min(grace);
                }
                matches!(lease.state, LeaseState::Offered | LeaseState::Pending)
            });
            if offered == Some(true) {
                self.not_taken(desk, peer, &key, &Reason::NoAnswer);
            } else {
                self.watch_overdue(desk, &key);
            }
        }
    }

    /// A peer did what no honest one does: nothing of it is believed any more.
    pub(crate) fn expelled(&mut self, desk: &mut Desk<'_>, peer: NodeId) {
        for key in self.leases.of_peer(peer) {
            match self.leases.get(&key).map(|lease| &lease.state) {
                // The record of its result may be durable already: that one stands.
                Some(LeaseState::Committing(..) | LeaseState::Uncommitted(_)) | None => {}
                Some(LeaseState::Ended) => {
                    self.leases.remove(&key);
                }
                Some(_) => {
                    self.lost(desk, peer, &key, None);
                    self.leases.remove(&key);
                }
            }
        }
    }
}

/// What makes a claim none of this lease's. `granted`: it names the peer and the nonce that the lease was granted with.
fn unbound(
    desk: &Desk<'_>,
    lease: &Lease,
    granted: bool,
    key: &LeaseKey,
    claim: &SignedClaim,
) -> Option<Offence> {
    let ours = granted && claim.task_digest == lease.needs.digest;
    if !ours && !faulty!(desk.faults, ClaimUnchecked) {
        return Some(Offence::ForeignClaim);
    }
    let receipt = claim.receipt(desk.setup.mesh, key);
    let signed = receipt.is_some_and(|receipt| receipt.holds(&desk.setup.verify));
    let forged = !signed && !faulty!(desk.faults, SignatureUnchecked);
    forged.then_some(Offence::Forged)
}

/// A result of a lease that has one. Where the two say different things, both are kept: they are a proof.
fn second(
    desk: &mut Desk<'_>,
    key: &LeaseKey,
    known: &SignedClaim,
    claim: &SignedClaim,
) -> Option<Offence> {
    if known == claim || faulty!(desk.faults, EquivocationIgnored) {
        return None;
    }
    let mesh = desk.setup.mesh;
    let both = known.receipt(mesh, key).zip(claim.receipt(mesh, key));
    if let Some(proof) = both.and_then(|(a, b)| Contradiction::between(a, b)) {
        desk.act(Action::KeepProof(Box::new(proof)));
    }
    Some(Offence::Equivocation)
}
