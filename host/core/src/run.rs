//! One run of a plan: which task instance is prepared, executed, tried again, skipped, and when it all ends.
//!
//! # The machine
//!
//! A pure state machine. The caller (the node's run loop) tells what happened with [`Run::handle`], performs every
//! [`Action`] that this returns, and calls again with [`Event::Timeout`] when [`Run::next_timeout`] has come (earlier
//! calls do nothing). The same events at the same ticks always give the same actions.
//!
//! ```text
//!              all of `after` settled well        Prepared, no hit         a slot is free
//!   Waiting ─────────────────────────▶ Preparing ──────────────▶ Ready ─────────────────▶ Running{attempt}
//!      │                                   │ hit: Cached           ▲    may try again        │
//!      │ a task of `after` failed          │ PrepareFailed: Failed └─────────────────────────┤
//!      ▼                                   ▼                                                 ▼
//!   Settled{Skipped}                    Settled                               Settled{Passed, Failed, Cancelled}
//! ```
//!
//! # Promises, checked by the tests after every step
//!
//! - An instance starts only after every instance of every task in its `after` has settled as passed or cached. That is
//!   counted by declared task, so two tasks of 1,000 instances each cost two counters, not a million edges.
//! - At most `slots` instances execute; at most `prepare_ahead` × `slots` are being prepared or wait prepared.
//! - Instances of a task whose attempts are short ([`SHORT_US`]) are handed out ahead, at most `hand_ahead` × `slots` of
//!   them, so that a worker finds its next one without asking. The caller's workers take what is handed out in order, so
//!   what is behind the first `slots` has likely not started: it is shown as ready, and asked back when nothing may start.
//!   Whoever has begun meanwhile goes on.
//! - Among those that may start, the longest way to the end of the run goes first, then the lowest id.
//! - Every grant of an instance to a worker has its own [`Attempt`]. A reply that carries another, or that comes twice,
//!   or when nothing was asked, changes nothing.
//! - A failure and a non-result (time limit, fault of the host, full disk) share one budget: `retries` more attempts.
//! - A failure skips exactly what depends on it. With `keep_going` all else runs; without, nothing new starts, what
//!   runs may end, and the rest is cancelled.
//! - Interrupt and run timeout cancel what runs and everything that has not started. They wait for the cancelled to say
//!   so, at most [`CANCEL_GRACE_MS`]; a second interrupt does not wait.
//! - Each instance of the run is settled exactly once, and [`Action::Finish`] comes exactly once, last.
//!
//! Never looks at content: the task digest passes through, and whether a result is cached is the caller's answer.

mod check;
mod event;
mod grant;
mod group;
mod picture;
mod state;

use crate::expand::Plan;
use crate::id::{Attempt, Digest, TaskId};
use crate::time::Tick;
use group::Group;
use state::{Running, State, Tally};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use event::{Action, Event, Failure, RunOutcome, RunStatus, SettledKind, StopReason, Verdict};
pub use state::Counts;

/// How many instances may be in preparation or prepared, for each slot, where the options do not say. More would only
/// take memory: what is prepared waits for a slot.
pub const PREPARE_AHEAD: usize = 4;
/// A task whose attempts take less than this on average, in microseconds, is handed out ahead. What is urgent waits no
/// longer than `hand_ahead` such attempts for its slot.
pub const SHORT_US: u64 = 500;
/// How long cancelled instances are waited for, in milliseconds.
pub const CANCEL_GRACE_MS: u64 = 10_000;
/// The most failures that are remembered with their reasons; all are counted.
pub const MAX_FAILURES: usize = 100;
/// The longest failure or progress message that is remembered, in characters.
pub const MAX_MESSAGE_CHARS: usize = 1000;

/// How a plan is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// How many instances execute at once; 0 is taken for 1.
    pub slots: u32,
    /// How many instances of short tasks are handed out beyond the slots, for each slot; 0 for none.
    pub hand_ahead: u32,
    /// How many instances may be in preparation or prepared, for each slot; 0 for [`PREPARE_AHEAD`].
    pub prepare_ahead: u32,
    /// Nothing executes by itself: the caller grants what is ready, here or elsewhere, with [`Run::grant`].
    pub granted: bool,
    /// Whether a failure leaves what does not depend on it running.
    pub keep_going: bool,
    /// How long the run may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The instances that are wanted, by [`TaskId`]; all without. What they depend on runs too.
    pub selected: Option<Vec<bool>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    NotBegun,
    Going,
    Stopping(StopReason),
    Finished(RunStatus),
}

/// A failure as it is remembered.
#[derive(Debug, Clone)]
struct Failed {
    task: TaskId,
    attempts: u32,
    failure: Failure,
}

/// The order in which things start: longest way to the end first, then lowest id.
type Rank = (Reverse<u64>, TaskId);

/// One run of a plan; see the module.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    slots: usize,
    /// Instances that may be handed out at once, waiting ones included.
    most_handed_out: usize,
    most_prepared: usize,
    granted: bool,
    keep_going: bool,
    timeout_ms: Option<u64>,
    phase: Phase,
    began: Tick,
    ended: Tick,
    deadline: Option<Tick>,
    /// By [`TaskId`].
    tasks: Vec<State>,
    /// By declared task.
    groups: Vec<Group>,
    tally: Tally,
    /// Declared tasks that may be prepared and have instances left, ranked by their first instance.
    eligible: BTreeMap<Rank, usize>,
    ready: BTreeSet<Rank>,
    /// Handed out and not ended. The first `slots` of them by [`Running::order`] execute.
    running: BTreeSet<TaskId>,
    handed_out: u64,
    failures: Vec<Failed>,
}

impl Run {
    /// A run that has not begun.
    #[must_use]
    pub fn new(plan: Arc<Plan>, options: RunOptions) -> Run {
        let (groups, tasks) = group::build(&plan, options.selected.as_deref());
        let waiting = groups.iter().map(|group| group.tally.waiting).sum();
        let slots = options.slots.max(1) as usize;
        let prepare_ahead = match options.prepare_ahead {
            0 => PREPARE_AHEAD,
            ahead => ahead as usize,
        };
        Run {
            plan,
            slots,
            most_handed_out: slots.saturating_mul(1 + options.hand_ahead as usize),
            most_prepared: slots.saturating_mul(prepare_ahead),
            granted: options.granted,
            keep_going: options.keep_going,
            timeout_ms: options.timeout_ms,
            phase: Phase::NotBegun,
            began: Tick(0),
            ended: Tick(0),
            deadline: None,
            tasks,
            groups,
            tally: Tally {
                waiting,
                ..Tally::default()
            },
            eligible: BTreeMap::new(),
            ready: BTreeSet::new(),
            running: BTreeSet::new(),
            handed_out: 0,
            failures: Vec::new(),
        }
    }

    /// Takes in what happened and says what to do about it. Events that do not fit (late, twice, unknown) do nothing.
    #[must_use = "an action that is not performed leaves the run waiting for its answer"]
    pub fn handle(&mut self, now: Tick, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.handle_into(now, event, &mut actions);
        actions
    }

    /// As [`Run::handle`], appending to a buffer of the caller's.
    pub fn handle_into(&mut self, now: Tick, event: Event, actions: &mut Vec<Action>) {
        match event {
            _ if matches!(self.phase, Phase::Finished(_)) => return,
            Event::Begin => self.begin(now),
            Event::Prepared { task, digest, hit } => self.prepared(now, task, digest, hit, actions),
            Event::PrepareFailed { task, reason } => {
                self.prepare_failed(now, task, reason, actions)
            }
            Event::Finished {
                task,
                attempt,
                verdict,
                ran_us,
            } => self.attempt_finished(now, (task, attempt), verdict, ran_us, actions),
            Event::Progress {
                task,
                attempt,
                done,
                total,
                message,
            } => {
                self.progress(task, attempt, done, total, &message);
            }
            Event::Interrupt => self.stop_or_force(now, StopReason::Interrupt, actions),
            Event::Timeout if self.deadline.is_some_and(|deadline| deadline <= now) => {
                self.stop_or_force(now, StopReason::Timeout, actions);
            }
            Event::Timeout => {}
        }
        self.advance(now, actions);
    }

    /// When [`Event::Timeout`] is wanted.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Tick> {
        self.deadline
    }

    /// How the run ended, once it has.
    #[must_use]
    pub fn finished(&self) -> Option<RunStatus> {
        match self.phase {
            Phase::Finished(status) => Some(status),
            _ => None,
        }
    }

    /// Whether an instance is part of the run: selected, or something selected depends on it.
    #[must_use]
    pub fn includes(&self, task: TaskId) -> bool {
        self.tasks
            .get(task.index())
            .is_some_and(|state| !matches!(state, State::Outside))
    }

    fn begin(&mut self, now: Tick) {
        if self.phase != Phase::NotBegun {
            return;
        }
        self.phase = Phase::Going;
        self.began = now;
        self.deadline = self.timeout_ms.map(|ms| now.after_ms(ms));
        for index in 0..self.groups.len() {
            if self.groups[index].waits_for == 0 {
                self.release(index);
            }
        }
    }

    /// Everything that the instances of a declared task wait for has settled well. Nothing to do where they are not
    /// part of the run, or where it has stopped and they are settled.
    fn release(&mut self, index: usize) {
        let group = &self.groups[index];
        if group.unsettled > 0 {
            let first = TaskId(group.instances.start);
            self.eligible
                .insert((Reverse(group.priority), first), index);
        }
    }

    /// Starts what may start, and ends the run when nothing is left.
    fn advance(&mut self, now: Tick, actions: &mut Vec<Action>) {
        if self.phase == Phase::Going {
            while let Some(&(_, task)) = self.ready.first()
                && !self.granted
                && self.may_hand_out(task)
            {
                self.ready.pop_first();
                self.execute(now, task, actions);
            }
            while self.tally.prepared_ahead() < self.most_prepared
                && let Some(task) = self.next_eligible()
            {
                self.group_mut(task).started.get_or_insert(now);
                self.set(task, State::Preparing);
                actions.push(Action::Prepare { task });
            }
        }
        if self.phase != Phase::NotBegun && self.tally.unsettled() == 0 {
            self.finish(now, actions);
        }
    }

    /// Whether a slot is free, or will be so soon that it should find its next instance waiting.
    fn may_hand_out(&self, task: TaskId) -> bool {
        let group = &self.groups[self.plan.tasks[task.index()].task];
        self.running.len() < self.slots
            || (self.running.len() < self.most_handed_out && group.is_short())
    }

    fn execute(&mut self, now: Tick, task: TaskId, actions: &mut Vec<Action>) {
        if let State::Ready {
            digest,
            attempt,
            lost,
        } = self.tasks[task.index()]
        {
            self.start(now, task, digest, (attempt, lost));
            actions.push(Action::Execute { task, attempt });
        }
    }

    fn start(&mut self, now: Tick, task: TaskId, digest: Digest, attempt: (Attempt, u32)) {
        self.running.insert(task);
        self.handed_out += 1;
        let running = Running::new(digest, attempt, now, self.handed_out);
        self.set(task, State::Running(Box::new(running)));
    }

    /// The next instance to prepare. Instances outside the run are passed over once each.
    fn next_eligible(&mut self) -> Option<TaskId> {
        while let Some(entry) = self.eligible.first_entry() {
            let group = &mut self.groups[*entry.get()];
            while group.next < group.instances.end {
                let task = TaskId(group.next);
                group.next += 1;
                if matches!(self.tasks[task.index()], State::Waiting) {
                    return Some(task);
                }
            }
            entry.remove();
        }
        None
    }

    fn prepared(
        &mut self,
        now: Tick,
        task: TaskId,
        digest: Digest,
        hit: bool,
        actions: &mut Vec<Action>,
    ) {
        if !matches!(self.state(task), Some(State::Preparing)) {
            return;
        }
        if hit {
            self.settle(now, task, SettledKind::Cached, actions);
        } else {
            self.make_ready(task, digest, (Attempt::FIRST, 0));
        }
    }

    fn make_ready(&mut self, task: TaskId, digest: Digest, (attempt, lost): (Attempt, u32)) {
        let priority = self.group_mut(task).priority;
        self.ready.insert((Reverse(priority), task));
        let ready = State::Ready {
            digest,
            attempt,
            lost,
        };
        self.set(task, ready);
    }

    fn prepare_failed(
        &mut self,
        now: Tick,
        task: TaskId,
        reason: Failure,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.state(task), Some(State::Preparing)) {
            self.fail(now, task, 0, reason, actions);
        }
    }

    fn attempt_finished(
        &mut self,
        now: Tick,
        (task, attempt): (TaskId, Attempt),
        verdict: Verdict,
        ran_us: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(State::Running(running)) = self.state(task) else {
            return;
        };
        if running.attempt != attempt {
            return;
        }
        let (digest, recalled, lost) = (running.digest, running.recalled, running.lost);
        let group = self.group_mut(task);
        group.busy_us = group.busy_us.saturating_add(ran_us);
        group.ended_attempts += 1;
        let budget_left = attempt.0.saturating_sub(lost) <= group.retries;
        let cancelling =
            recalled || matches!(self.phase, Phase::Stopping(reason) if reason.cancels());
        let (failure, retryable) = match verdict {
            Verdict::Passed => return self.settle(now, task, SettledKind::Passed, actions),
            Verdict::Failed { failure, retryable } => (failure, retryable),
            _ if cancelling => return self.settle(now, task, SettledKind::Cancelled, actions),
            Verdict::NonResult { failure } => (failure, true),
            // Nobody asked for it: something went wrong at the worker's.
            Verdict::Cancelled => (
                Failure {
                    code: "task::cancelled",
                    message: "the attempt was given up".into(),
                },
                true,
            ),
        };
        if retryable && budget_left && self.phase == Phase::Going {
            self.group_mut(task).retried += 1;
            self.running.remove(&task);
            self.make_ready(task, digest, (attempt.next(), lost));
        } else {
            self.fail(now, task, attempt.0, failure, actions);
        }
    }

    fn progress(&mut self, task: TaskId, attempt: Attempt, done: u64, total: u64, message: &str) {
        if let Some(State::Running(running)) = self.tasks.get_mut(task.index())
            && running.attempt == attempt
        {
            running.done = done;
            running.total = total;
            running.message = shorten(message);
        }
    }

    fn fail(
        &mut self,
        now: Tick,
        task: TaskId,
        attempts: u32,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        if self.failures.len() < MAX_FAILURES {
            let failure = Failure {
                message: shorten(&failure.message),
                ..failure
            };
            self.failures.push(Failed {
                task,
                attempts,
                failure,
            });
        }
        self.settle(now, task, SettledKind::Failed, actions);
        self.skip_dependants(now, task, actions);
        if !self.keep_going && self.phase == Phase::Going {
            self.stop(now, StopReason::Failure, actions);
        }
    }

    /// Skips every instance that depends on a failed one. None of them has started: they wait for all of its task.
    fn skip_dependants(&mut self, now: Tick, task: TaskId, actions: &mut Vec<Action>) {
        let mut pending = vec![self.plan.tasks[task.index()].task];
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut self.groups[index].dependants_skipped, true) {
                continue;
            }
            for at in 0..self.groups[index].dependants.len() {
                let dependant = self.groups[index].dependants[at];
                self.settle_waiting(now, dependant, SettledKind::Skipped, actions);
                pending.push(dependant);
            }
        }
    }

    fn settle_waiting(
        &mut self,
        now: Tick,
        index: usize,
        kind: SettledKind,
        actions: &mut Vec<Action>,
    ) {
        for id in self.groups[index].instances.clone() {
            if matches!(self.tasks[id as usize], State::Waiting) {
                self.settle(now, TaskId(id), kind, actions);
            }
        }
    }

    fn stop_or_force(&mut self, now: Tick, reason: StopReason, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping(reason) if reason.cancels() => {
                for task in std::mem::take(&mut self.running) {
                    self.settle(now, task, SettledKind::Cancelled, actions);
                }
            }
            _ => self.stop(now, reason, actions),
        }
    }

    /// Nothing new starts; everything that has not started is cancelled, and what runs where the reason says so.
    fn stop(&mut self, now: Tick, reason: StopReason, actions: &mut Vec<Action>) {
        if self.phase == Phase::NotBegun {
            self.began = now;
        }
        self.phase = Phase::Stopping(reason);
        if reason.cancels() {
            self.deadline = Some(now.after_ms(CANCEL_GRACE_MS));
        }
        let ended = if reason.cancels() {
            self.running.iter().copied().collect()
        } else {
            self.not_started()
        };
        for task in ended {
            if let State::Running(running) = &mut self.tasks[task.index()] {
                running.recalled = true;
                let attempt = running.attempt;
                actions.push(match reason.cancels() {
                    true => Action::Cancel { task, attempt },
                    false => Action::Recall { task, attempt },
                });
            }
        }
        self.eligible.clear();
        self.ready.clear();
        for id in 0..self.tasks.len() {
            if matches!(
                self.tasks[id],
                State::Waiting | State::Preparing | State::Ready { .. }
            ) {
                self.settle(now, TaskId(id as u32), SettledKind::Cancelled, actions);
            }
        }
    }

    /// What is handed out beyond the slots, in the order in which it would start: as far as this machine was told.
    fn not_started(&self) -> Vec<TaskId> {
        let order = |task: &TaskId| match &self.tasks[task.index()] {
            State::Running(running) => running.order,
            _ => 0,
        };
        if self.granted || self.running.len() <= self.slots {
            return Vec::new();
        }
        let mut all: Vec<TaskId> = self.running.iter().copied().collect();
        all.sort_unstable_by_key(order);
        all.split_off(self.slots)
    }

    /// Final for one instance, and where it was the last of its task, the way free for those after it.
    fn settle(&mut self, now: Tick, task: TaskId, kind: SettledKind, actions: &mut Vec<Action>) {
        self.running.remove(&task);
        self.set(task, State::Settled(kind));
        actions.push(Action::Settled { task, state: kind });
        let index = self.plan.tasks[task.index()].task;
        let group = &mut self.groups[index];
        group.unsettled -= 1;
        if group.unsettled > 0 {
            return;
        }
        group.ended = Some(now);
        if !group.tally.settled.all_good() {
            return;
        }
        for at in 0..group.dependants.len() {
            let dependant = self.groups[index].dependants[at];
            self.groups[dependant].waits_for -= 1;
            if self.groups[dependant].waits_for == 0 {
                self.release(dependant);
            }
        }
    }

    fn finish(&mut self, now: Tick, actions: &mut Vec<Action>) {
        let counts = self.tally.settled;
        let outcome = match self.phase {
            Phase::Stopping(StopReason::Interrupt) if counts.cancelled > 0 => {
                RunOutcome::Interrupted
            }
            Phase::Stopping(StopReason::Timeout) if counts.cancelled > 0 => RunOutcome::TimedOut,
            _ if counts.all_good() => RunOutcome::Passed,
            _ => RunOutcome::Failed,
        };
        let status = RunStatus { outcome, counts };
        self.phase = Phase::Finished(status);
        self.ended = now;
        self.deadline = None;
        actions.push(Action::Finish { status });
    }

    fn state(&self, task: TaskId) -> Option<&State> {
        self.tasks.get(task.index())
    }

    fn group_mut(&mut self, task: TaskId) -> &mut Group {
        &mut self.groups[self.plan.tasks[task.index()].task]
    }

    /// The one place where a state changes, so that the counts cannot drift from the states.
    fn set(&mut self, task: TaskId, state: State) {
        let old = std::mem::replace(&mut self.tasks[task.index()], state);
        let new = &self.tasks[task.index()];
        let group = &mut self.groups[self.plan.tasks[task.index()].task];
        for tally in [&mut self.tally, &mut group.tally] {
            tally.leave(&old);
            tally.enter(new);
        }
    }
}

fn shorten(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;
