//! A run whose instances are granted by its caller, here or on other nodes: what is ready, taking it, giving it back.
//!
//! An attempt that is taken back says nothing about its task, so it counts against no budget; its number is spent all
//! the same, so that what it says later is recognised. Called by [`crate::consent::owner`]; never chooses.

use super::state::State;
use super::{Action, Phase, Run, SettledKind};
use crate::id::{Attempt, Digest, TaskId};
use crate::time::Tick;

impl Run {
    /// What may start, the most urgent first: the longest way to the end of the run, then the lowest id.
    pub fn ready(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.ready.iter().map(|(_, task)| *task)
    }

    /// How many may start.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// How many are under way, here and elsewhere.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Whether new attempts may begin.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.phase == Phase::Going
    }

    /// Whether an instance has settled, and how.
    #[must_use]
    pub fn settled(&self, task: TaskId) -> Option<SettledKind> {
        match self.tasks.get(task.index()) {
            Some(State::Settled(kind)) => Some(*kind),
            _ => None,
        }
    }

    /// The attempt that an instance is at: the one that runs, or the next one; none where it is not prepared.
    #[must_use]
    pub fn attempt(&self, task: TaskId) -> Option<Attempt> {
        match self.tasks.get(task.index())? {
            State::Ready { attempt, .. } => Some(*attempt),
            State::Running(running) => Some(running.attempt),
            _ => None,
        }
    }

    /// Whether a failure of the attempt that runs would be tried again, were it of a kind that is.
    #[must_use]
    pub fn has_budget(&self, task: TaskId) -> bool {
        let Some(State::Running(running)) = self.tasks.get(task.index()) else {
            return false;
        };
        let retries = self.groups[self.plan.tasks[task.index()].task].retries;
        self.is_going() && running.attempt.0.saturating_sub(running.lost) <= retries
    }

    /// Takes an instance that is ready; its attempt is `at_least` as high. None where it is not, or nothing may start.
    pub fn grant(&mut self, now: Tick, task: TaskId, at_least: Attempt) -> Option<Attempt> {
        let &State::Ready {
            digest,
            attempt,
            lost,
        } = self.tasks.get(task.index())?
        else {
            return None;
        };
        if !self.is_going() {
            return None;
        }
        let granted = attempt.max(at_least);
        let lost = lost.saturating_add(granted.0 - attempt.0);
        let priority = self.group_mut(task).priority;
        self.ready.remove(&(std::cmp::Reverse(priority), task));
        self.start(now, task, digest, (granted, lost));
        Some(granted)
    }

    /// An attempt came to nothing, through no fault of the task: it is ready again, under the next number. Where nothing
    /// starts any more it is cancelled.
    pub fn take_back(
        &mut self,
        now: Tick,
        task: TaskId,
        attempt: Attempt,
        actions: &mut Vec<Action>,
    ) {
        let Some((digest, lost)) = self.current(task, attempt) else {
            return;
        };
        if self.is_going() {
            self.running.remove(&task);
            self.make_ready(task, digest, (attempt.next(), lost.saturating_add(1)));
        } else {
            self.settle(now, task, SettledKind::Cancelled, actions);
        }
        self.advance(now, actions);
    }

    /// As [`Run::take_back`], without spending the attempt's number: a fault that tests put in.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn take_back_unfenced(&mut self, now: Tick, task: TaskId, attempt: Attempt) {
        if let Some((digest, lost)) = self.current(task, attempt) {
            self.running.remove(&task);
            self.make_ready(task, digest, (attempt, lost));
            self.advance(now, &mut Vec::new());
        }
    }

    /// Begins a second attempt beside the one that runs: that one is not current any more.
    pub fn double(&mut self, task: TaskId, attempt: Attempt) -> Option<Attempt> {
        self.current(task, attempt)?;
        if !self.is_going() {
            return None;
        }
        let Some(State::Running(running)) = self.tasks.get_mut(task.index()) else {
            return None;
        };
        running.attempt = attempt.next();
        running.lost = running.lost.saturating_add(1);
        Some(running.attempt)
    }

    /// Digest and spent attempts of an instance whose running attempt this is.
    fn current(&self, task: TaskId, attempt: Attempt) -> Option<(Digest, u32)> {
        match self.tasks.get(task.index())? {
            State::Running(running) if running.attempt == attempt => {
                Some((running.digest, running.lost))
            }
            _ => None,
        }
    }
}
