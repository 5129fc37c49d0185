//! When a lease takes so long that a second attempt beside it is worth it, and beginning one here.
//!
//! Only of pure tasks, once a task, and in a slot that has nothing else to do. Called by [`super::Owner`].

use super::place::{fits_here, way_ms};
use super::{Durations, Owner};
use crate::id::LeaseKey;
use crate::machine::{Desk, StepKind, faulty};
use crate::run;
use crate::time::Tick;

/// No second attempt beside one that has run for less, in milliseconds.
const MIN_OVERDUE_MS: u64 = 2_000;
/// A straggler takes more than so many times what 95 of 100 take.
const OVERDUE_TIMES: u64 = 2;

impl Owner {
    /// When a lease that is held should have ended, judged by others of its task.
    pub(super) fn watch_overdue(&mut self, desk: &Desk<'_>, key: &LeaseKey) {
        if let Some(at) = self.overdue_at(desk, key) {
            self.overdue.insert((at, key.clone()));
        }
    }

    /// When a lease that is held counts as overdue: judged by what others of its task took, or by what was expected. Whose
    /// peer is away is overdue at once.
    fn overdue_at(&self, desk: &Desk<'_>, key: &LeaseKey) -> Option<Tick> {
        let own = self.runs.get(&key.run)?;
        let lease = self.leases.get(key)?;
        let instance = own.plan.tasks.get(key.task.index())?;
        if !desk.connected(lease.peer) {
            return Some(desk.now);
        }
        let known = own.durations.get(&instance.task);
        let usual = known
            .and_then(Durations::p95)
            .unwrap_or(lease.needs.estimate_ms);
        let patience = usual.saturating_mul(OVERDUE_TIMES).max(MIN_OVERDUE_MS);
        if let Some(started) = lease.started {
            return Some(started.after_ms(patience));
        }
        let way = way_ms(lease.missing_bytes, &desk.link(lease.peer));
        let way = way.saturating_mul(OVERDUE_TIMES);
        Some(lease.offered.after_ms(patience).after_ms(way))
    }

    /// Begins a second attempt here beside one that is overdue elsewhere, where a slot has nothing else to do.
    pub(super) fn double(&mut self, desk: &mut Desk<'_>, foreign: u32) {
        while let Some((at, key)) = self.overdue.first().cloned()
            && at <= desk.now
        {
            self.overdue.remove(&(at, key.clone()));
            if !self.may_double(desk, &key) {
                continue;
            }
            // The usual time may be longer by now than it was when this was set down.
            let later = self.overdue_at(desk, &key);
            let busy = self.here.saturating_add(foreign) >= desk.setup.slots.max(1);
            if busy || later.is_some_and(|later| later > desk.now) {
                let again = desk.now.after_ms(MIN_OVERDUE_MS);
                self.overdue
                    .insert((later.map_or(again, |later| later.max(again)), key));
                continue;
            }
            self.double_here(desk, &key);
        }
    }

    fn may_double(&self, desk: &Desk<'_>, key: &LeaseKey) -> bool {
        let held = self
            .leases
            .get(key)
            .is_some_and(|lease| lease.current && lease.is_held());
        let side = self
            .runs
            .get(&key.run)
            .and_then(|own| own.sides.get(&key.task));
        let repeatable = side.is_some_and(|side| {
            !side.doubled
                && fits_here(desk, &side.needs)
                && (side.needs.pure || faulty!(desk.faults, DoublesEffects))
        });
        held && repeatable
    }

    fn double_here(&mut self, desk: &mut Desk<'_>, key: &LeaseKey) {
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        let Some(attempt) = own.run.double(key.task, key.attempt) else {
            return;
        };
        if let Some(side) = own.sides.get_mut(&key.task) {
            side.doubled = true;
            side.here = Some(attempt);
        }
        self.here += 1;
        let peer = self.leases.update(key, |lease| {
            lease.current = false;
            lease.peer
        });
        if let Some(peer) = peer {
            self.note(desk, key, peer, StepKind::Doubled);
        }
        let task = key.task;
        desk.run(&key.run, run::Action::Execute { task, attempt });
    }
}
