//! What a run is told, what it answers, and how it and its instances end: the words of [`super::Run`].
//!
//! Types only, no rules.

use super::Counts;
use crate::id::{Attempt, Digest, TaskId};
use serde::Serialize;

/// Why an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable and public, such as `task::exit`.
    pub code: &'static str,
    /// One line, a lower-case fragment.
    pub message: String,
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ended well, and its outputs are stored.
    Passed,
    /// The guest failed.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether another attempt could end otherwise.
        retryable: bool,
    },
    /// The attempt says nothing about the task: time limit, fault of the host, full disk.
    NonResult {
        /// Why.
        failure: Failure,
    },
    /// It was ended as [`Action::Cancel`] asked.
    Cancelled,
}

/// What the caller tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The run begins; nothing starts before.
    Begin,
    /// The answer to [`Action::Prepare`].
    Prepared {
        /// The instance.
        task: TaskId,
        /// Its task digest.
        digest: Digest,
        /// Whether its result is known and at hand.
        hit: bool,
    },
    /// The other answer to [`Action::Prepare`]: it cannot run.
    PrepareFailed {
        /// The instance.
        task: TaskId,
        /// Why.
        reason: Failure,
    },
    /// The answer to [`Action::Execute`].
    Finished {
        /// The instance.
        task: TaskId,
        /// Which attempt says so.
        attempt: Attempt,
        /// What it came to.
        verdict: Verdict,
        /// How long it ran, in microseconds; without the time that it waited for a worker.
        ran_us: u64,
    },
    /// How far an attempt is.
    Progress {
        /// The instance.
        task: TaskId,
        /// Which attempt says so.
        attempt: Attempt,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
        /// What it is at.
        message: String,
    },
    /// The user wants it to end.
    Interrupt,
    /// [`Run::next_timeout`](super::Run::next_timeout) has come, or may have.
    Timeout,
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Gather the inputs, compute the task digest, look for a cached result. Answer: `Prepared` or `PrepareFailed`.
    Prepare {
        /// The instance.
        task: TaskId,
    },
    /// Run it, after those handed out before it. Answer: `Finished`, with this attempt.
    Execute {
        /// The instance.
        task: TaskId,
        /// The number that its answer must carry.
        attempt: Attempt,
    },
    /// Do not begin an attempt; one that has begun goes on. Its `Finished` is still expected.
    Recall {
        /// The instance.
        task: TaskId,
        /// The attempt that was handed out.
        attempt: Attempt,
    },
    /// End an attempt early, or do not begin it. Its `Finished` is still expected.
    Cancel {
        /// The instance.
        task: TaskId,
        /// The attempt that runs.
        attempt: Attempt,
    },
    /// Final for this instance: it is neither prepared nor executed again.
    Settled {
        /// The instance.
        task: TaskId,
        /// How it ended.
        state: SettledKind,
    },
    /// The run is over; nothing follows.
    Finish {
        /// How it ended.
        status: RunStatus,
    },
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettledKind {
    /// Executed, and ended well.
    Passed,
    /// Its result was known.
    Cached,
    /// Out of attempts, or could not be prepared.
    Failed,
    /// Something that it depends on failed.
    Skipped,
    /// The run ended first.
    Cancelled,
}

impl SettledKind {
    /// Whether what depends on it may run.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, SettledKind::Passed | SettledKind::Cached)
    }

    /// The word for it, as serde writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SettledKind::Passed => "passed",
            SettledKind::Cached => "cached",
            SettledKind::Failed => "failed",
            SettledKind::Skipped => "skipped",
            SettledKind::Cancelled => "cancelled",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunStatus {
    /// The one word.
    pub outcome: RunOutcome,
    /// How its instances ended.
    pub counts: Counts,
}

/// The one word for how a run ended, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every instance passed or was cached.
    Passed,
    /// At least one failed.
    Failed,
    /// The run's time limit cancelled at least one.
    TimedOut,
    /// The user's interrupt cancelled at least one.
    Interrupted,
}

impl RunOutcome {
    /// The word for it, as serde writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RunOutcome::Passed => "passed",
            RunOutcome::Failed => "failed",
            RunOutcome::TimedOut => "timed-out",
            RunOutcome::Interrupted => "interrupted",
        }
    }
}

/// Why nothing new starts any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// An instance failed, and the run does not keep going.
    Failure,
    /// The user's interrupt.
    Interrupt,
    /// The run's time limit.
    Timeout,
}

impl StopReason {
    /// Whether what already runs is cancelled too.
    pub(super) fn cancels(self) -> bool {
        self != StopReason::Failure
    }
}
