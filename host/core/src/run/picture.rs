//! Takes the [`Snapshot`] of a run.

use super::state::{State, Tally};
use super::{Phase, Run};
use crate::id::TaskId;
use crate::snapshot::{FailureSnapshot, InstanceCounts, RunningSnapshot, Snapshot, TaskSnapshot};
use crate::time::Tick;
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    /// The run as it is at `now`, in time proportional to declared tasks, running instances and remembered failures.
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> Snapshot {
        let (now, stopping) = match self.phase {
            Phase::NotBegun => (self.began, None),
            Phase::Going => (now, None),
            Phase::Stopping(reason) => (now, Some(reason)),
            Phase::Finished(_) => (self.ended, None),
        };
        let waiting: BTreeSet<TaskId> = self.not_started().into_iter().collect();
        let mut waiting_of: BTreeMap<usize, u32> = BTreeMap::new();
        for task in &waiting {
            *waiting_of
                .entry(self.plan.tasks[task.index()].task)
                .or_default() += 1;
        }
        Snapshot {
            elapsed_ms: now.ms_since(self.began),
            stopping,
            status: self.finished(),
            counts: counts(&self.tally, waiting_of.values().sum()),
            tasks: self
                .plan
                .order
                .iter()
                .filter_map(|&index| {
                    let waiting = waiting_of.get(&index).copied();
                    self.task(now, index, waiting.unwrap_or(0))
                })
                .collect(),
            running: self.running_at(now, &waiting),
            failures: self.failures_so_far(),
            journeys: BTreeMap::new(),
        }
    }

    /// None for a task that is not part of the run.
    fn task(&self, now: Tick, index: usize, waiting: u32) -> Option<TaskSnapshot> {
        let group = self.groups.get(index)?;
        let counts = counts(&group.tally, waiting);
        let elapsed = |started: Tick| group.ended.unwrap_or(now).ms_since(started);
        (counts.total > 0).then(|| TaskSnapshot {
            name: self.plan.pipeline.tasks[index].name.clone(),
            index,
            state: counts.state(),
            counts,
            retried: group.retried,
            elapsed_ms: group.started.map(elapsed),
            busy_ms: group.busy_us / 1000,
        })
    }

    fn running_at(&self, now: Tick, waiting: &BTreeSet<TaskId>) -> Vec<RunningSnapshot> {
        let running = self
            .running
            .iter()
            .filter(|task| !waiting.contains(task))
            .filter_map(|&task| match &self.tasks[task.index()] {
                State::Running(running) => Some((task, running)),
                _ => None,
            });
        running
            .map(|(task, running)| RunningSnapshot {
                task,
                label: self.plan.tasks[task.index()].label.to_string(),
                digest: running.digest,
                attempt: running.attempt,
                elapsed_ms: now.ms_since(running.since),
                done: running.done,
                total: running.total,
                message: running.message.clone(),
            })
            .collect()
    }

    fn failures_so_far(&self) -> Vec<FailureSnapshot> {
        let failures = self.failures.iter();
        failures
            .map(|failed| FailureSnapshot {
                task: failed.task,
                label: self.plan.tasks[failed.task.index()].label.to_string(),
                attempts: failed.attempts,
                failure: failed.failure.clone(),
            })
            .collect()
    }
}

/// `waiting`: how many of those that are handed out have not started.
fn counts(tally: &Tally, waiting: u32) -> InstanceCounts {
    InstanceCounts {
        total: tally.unsettled() + tally.settled.settled(),
        waiting: tally.waiting,
        preparing: tally.preparing,
        ready: tally.ready + waiting,
        running: tally.running - waiting,
        settled: tally.settled,
    }
}
