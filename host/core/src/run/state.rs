//! The state of one instance, and how many are in which.
//!
//! States carry the data that only they have, so that an instance which is not running has no attempt to confuse. Used
//! by [`super`] alone; [`Counts`] is public as part of how a run ends.

use super::SettledKind;
use crate::id::{Attempt, Digest};
use crate::time::Tick;
use serde::Serialize;

/// Where an instance is in its life. Small: a run holds one for each of up to a million instances.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not part of this run.
    Outside,
    /// For its task's `after`, which the group counts, or for a place in preparation.
    Waiting,
    /// With the caller, who gathers its inputs.
    Preparing,
    /// Prepared, not cached; goes as `attempt` once a slot is free. `lost` of the attempts before say nothing about it.
    Ready {
        digest: Digest,
        attempt: Attempt,
        lost: u32,
    },
    /// Handed out: with a worker, or next for one.
    Running(Box<Running>),
    /// Done with.
    Settled(SettledKind),
}

const _: () = assert!(size_of::<State>() <= 48);

/// An attempt with a worker.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) digest: Digest,
    pub(super) attempt: Attempt,
    /// Attempts that were taken back or doubled: they count against no budget.
    pub(super) lost: u32,
    pub(super) since: Tick,
    /// Its place among all that were handed out.
    pub(super) order: u64,
    /// It was asked back: ended by that, it counts as cancelled.
    pub(super) recalled: bool,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) message: String,
}

impl Running {
    pub(super) fn new(
        digest: Digest,
        (attempt, lost): (Attempt, u32),
        since: Tick,
        order: u64,
    ) -> Running {
        Running {
            digest,
            attempt,
            lost,
            since,
            order,
            recalled: false,
            done: 0,
            total: 0,
            message: String::new(),
        }
    }
}

/// How many instances ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Executed and ended well.
    pub passed: u32,
    /// Their results were known.
    pub cached: u32,
    /// Out of attempts, or could not be prepared.
    pub failed: u32,
    /// Something that they depend on failed.
    pub skipped: u32,
    /// The run ended first.
    pub cancelled: u32,
}

impl Counts {
    /// All that have settled.
    #[must_use]
    pub fn settled(&self) -> u32 {
        self.passed + self.cached + self.failed + self.skipped + self.cancelled
    }

    /// Whether none ended otherwise than passed or cached.
    #[must_use]
    pub fn all_good(&self) -> bool {
        self.failed == 0 && self.skipped == 0 && self.cancelled == 0
    }
}

/// How many instances are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) waiting: u32,
    pub(super) preparing: u32,
    pub(super) ready: u32,
    pub(super) running: u32,
    pub(super) settled: Counts,
}

impl Tally {
    pub(super) fn enter(&mut self, state: &State) {
        if let Some(count) = self.count_mut(state) {
            *count += 1;
        }
    }

    pub(super) fn leave(&mut self, state: &State) {
        if let Some(count) = self.count_mut(state) {
            *count -= 1;
        }
    }

    fn count_mut(&mut self, state: &State) -> Option<&mut u32> {
        Some(match state {
            State::Outside => return None,
            State::Waiting => &mut self.waiting,
            State::Preparing => &mut self.preparing,
            State::Ready { .. } => &mut self.ready,
            State::Running(_) => &mut self.running,
            State::Settled(SettledKind::Passed) => &mut self.settled.passed,
            State::Settled(SettledKind::Cached) => &mut self.settled.cached,
            State::Settled(SettledKind::Failed) => &mut self.settled.failed,
            State::Settled(SettledKind::Skipped) => &mut self.settled.skipped,
            State::Settled(SettledKind::Cancelled) => &mut self.settled.cancelled,
        })
    }

    pub(super) fn unsettled(&self) -> u32 {
        self.waiting + self.preparing + self.ready + self.running
    }

    /// Those that hold prepared inputs, or soon will, without executing.
    pub(super) fn prepared_ahead(&self) -> usize {
        (self.preparing + self.ready) as usize
    }
}
