//! A read-only picture of a run, for whoever shows it: a line, a live view, a document.
//!
//! Made by [`crate::run::Run::snapshot`] in time and space proportional to the declared tasks, what is running and the
//! remembered failures, never to the instances. Holds no clock: every duration was measured between ticks that the
//! caller gave. How it looks is the renderer's matter.

use std::collections::BTreeMap;

use crate::id::{Attempt, Digest, TaskId};
use crate::machine::Step;
use crate::run::{Counts, Failure, RunStatus, StopReason};
use serde::Serialize;

/// A run at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Since the run began, until now or its end.
    pub elapsed_ms: u64,
    /// Why nothing new starts any more, once that is so.
    pub stopping: Option<StopReason>,
    /// How it ended, once it has.
    pub status: Option<RunStatus>,
    /// All instances of the run.
    pub counts: InstanceCounts,
    /// The declared tasks that are part of the run, each after those it depends on.
    pub tasks: Vec<TaskSnapshot>,
    /// What executes now, by id.
    pub running: Vec<RunningSnapshot>,
    /// The first failures, in the order in which they happened. `counts.failed` says how many there are in all.
    pub failures: Vec<FailureSnapshot>,
    /// What happened to tasks on their way to other nodes; empty for a run that stays here.
    #[serde(skip)]
    pub journeys: BTreeMap<TaskId, Vec<Step>>,
}

/// How many instances are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct InstanceCounts {
    /// In all.
    pub total: u32,
    /// Not yet looked at.
    pub waiting: u32,
    /// Their inputs are being gathered.
    pub preparing: u32,
    /// Wait for a slot.
    pub ready: u32,
    /// Execute.
    pub running: u32,
    /// Have ended.
    #[serde(flatten)]
    pub settled: Counts,
}

/// A declared task at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskSnapshot {
    /// Its name.
    pub name: String,
    /// Its index in the pipeline.
    pub index: usize,
    /// Its instances in one word.
    pub state: TaskState,
    /// Its instances.
    pub counts: InstanceCounts,
    /// Attempts beyond the first, of all instances together.
    pub retried: u32,
    /// From when its first instance was taken up until now, or until its last one settled. None before.
    pub elapsed_ms: Option<u64>,
    /// Time of all attempts that have ended, together.
    pub busy_ms: u64,
}

/// The instances of a declared task in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// None has been taken up.
    Waiting,
    /// Some have, not all have ended.
    Running,
    /// All ended well, at least one of them by executing.
    Passed,
    /// All results were known.
    Cached,
    /// All have ended, at least one failed.
    Failed,
    /// All have ended, none failed, at least one was skipped.
    Skipped,
    /// All have ended, none failed or was skipped, at least one was cancelled.
    Cancelled,
}

/// An instance that executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningSnapshot {
    /// Its id.
    pub task: TaskId,
    /// Its label.
    pub label: String,
    /// Its task digest.
    pub digest: Digest,
    /// Which attempt it is.
    pub attempt: Attempt,
    /// How long this attempt has taken so far.
    pub elapsed_ms: u64,
    /// Units done, as the guest says.
    pub done: u64,
    /// Units in all, as the guest says; 0 where it does not.
    pub total: u64,
    /// What it is at, as the guest says.
    pub message: String,
}

/// A failed instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureSnapshot {
    /// Its id.
    pub task: TaskId,
    /// Its label.
    pub label: String,
    /// How many attempts it had; 0 where it could not be prepared.
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(flatten)]
    pub failure: Failure,
}

impl InstanceCounts {
    /// The one word for instances that stand like this.
    #[must_use]
    pub fn state(&self) -> TaskState {
        let settled = &self.settled;
        match () {
            () if self.waiting == self.total && self.total > 0 => TaskState::Waiting,
            () if settled.settled() < self.total => TaskState::Running,
            () if settled.failed > 0 => TaskState::Failed,
            () if settled.skipped > 0 => TaskState::Skipped,
            () if settled.cancelled > 0 => TaskState::Cancelled,
            () if settled.passed > 0 => TaskState::Passed,
            () => TaskState::Cached,
        }
    }
}
