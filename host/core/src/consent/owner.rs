//! The owner's side: what of its runs is executed here, what is offered to whom, and whose result counts.
//!
//! ```text
//!             may be said          Accept        Started        Completed      outputs here    record durable
//!  Recording ───────────▶ Offered ───────▶ Held ───────▶ Running ───────▶ Fetching ───────▶ Committing ───────▶ gone
//!                           │  ▲ Pending     │              │                │
//!                           │  no answer,    │   silence beyond the lease, beyond its hard end, Lost, expelled
//!                           ▼  Decline       ▼
//!                       taken back: the task is ready again, under its next attempt
//! ```
//!
//! # Promises
//!
//! - What is acknowledged was committed before. An offer's bundle leaves after its record, the offer itself after a record
//!   that reserves its number. All of these are durable first.
//! - A task is settled once. Its other attempts, here and elsewhere, are told so.
//! - A lease ends: by its result, by silence, or at its hard end, which no message moves.
//! - A peer that lost or declined a task is not offered it while it cools down; after two losses a task stays here where
//!   it can; it moves at most [`MAX_MOVES`] times; after faults of the host on three nodes it fails.
//!
//! Routes to its parts: `place` decides where ready tasks go, `room` says which peers were not asked, `double` when a
//! second attempt begins, `messages` what is believed, `settle` ends leases, `lease` holds the table.
//! Called by [`crate::machine`]; performs nothing.

mod double;
mod lease;
mod messages;
mod place;
mod room;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::consent::meter::Meter;
use crate::consent::{Forget, Spent, ToExecutor};
use crate::id::{Attempt, LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Action, Desk, Event, Mode, Step, StepKind, Submission, Token, faulty};
use crate::policy::Requirements;
use crate::run::{self, Counts, Run, RunOutcome, RunStatus, Verdict};
use crate::snapshot::Snapshot;
use crate::time::Tick;
use lease::Leases;

/// Runs at once, finished ones included that are still shown.
pub const MAX_RUNS: usize = 256;
/// Leases at once, those included whose late result would be welcome.
pub const MAX_LEASES: usize = 65_536;
/// How often a task may be accepted by a peer.
pub const MAX_MOVES: u32 = 3;
/// After so many losses a task stays here, where it can.
pub const LOSSES_TO_STAY: u32 = 2;
/// Nodes whose sandbox died under a task before it is not run any more.
pub const CRASHES_TO_QUARANTINE: usize = 3;
/// Steps of one task that are kept.
pub const MAX_STEPS: usize = 32;
/// Tasks of one run whose steps are kept.
pub const MAX_HISTORIES: usize = 10_000;
/// Instances of a run that are prepared ahead for other nodes, for each slot here.
const PREPARE_AHEAD: u32 = 64;
/// Finished runs whose names are kept, so that late results can be answered.
const MAX_PAST: usize = 1024;

/// What the owner knows of an instance that is prepared and not settled.
#[derive(Debug)]
struct Side {
    needs: Arc<Requirements>,
    /// No attempt below this is granted: those were spent before a restart.
    fence: Attempt,
    /// The attempt that runs here.
    here: Option<Attempt>,
    moves: u32,
    losses: u32,
    crashed_on: BTreeSet<NodeId>,
    cooling: BTreeMap<NodeId, Tick>,
    /// Since when it fits no node that is known.
    homeless: Option<Tick>,
    /// It has had its second attempt beside the first.
    doubled: bool,
}

/// One run and what is known beside it.
#[derive(Debug)]
struct OwnRun {
    run: Run,
    mode: Mode,
    /// By instance: prepared, not settled.
    sides: BTreeMap<TaskId, Side>,
    /// What was offered before a restart, of tasks that are not prepared yet.
    spent: BTreeMap<TaskId, Spent>,
    steps: BTreeMap<TaskId, Vec<Step>>,
    /// By declared task: how long its last results took, in milliseconds.
    durations: BTreeMap<usize, Durations>,
    plan: Arc<crate::expand::Plan>,
    /// It was under way before a restart.
    resumed: bool,
    /// No attempt below this is offered: those may have been, before a restart.
    fence: Attempt,
    /// Attempts below this may be offered before their own record is durable.
    reserved: Attempt,
}

/// The last durations of a task, in milliseconds, in a ring.
#[derive(Debug, Default)]
struct Durations {
    ring: Vec<u64>,
    next: usize,
}

const DURATIONS: usize = 64;

impl Durations {
    fn add(&mut self, ms: u64) {
        if self.ring.len() < DURATIONS {
            self.ring.push(ms);
        } else if let Some(slot) = self.ring.get_mut(self.next) {
            *slot = ms;
        }
        self.next = (self.next + 1) % DURATIONS;
    }

    fn mean(&self) -> Option<u64> {
        let sum: u64 = self.ring.iter().fold(0, |sum, ms| sum.saturating_add(*ms));
        sum.checked_div(self.ring.len() as u64)
    }

    /// What 95 of 100 stay below.
    fn p95(&self) -> Option<u64> {
        let mut sorted = self.ring.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * 95 / 100).min(sorted.len().checked_sub(1)?))
            .copied()
    }
}

/// What follows once a record is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    Reserve(RunId, Attempt),
    Offer(LeaseKey),
    Settle(LeaseKey),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Owner {
    runs: BTreeMap<RunId, OwnRun>,
    leases: Leases,
    waiting: BTreeMap<Token, Then>,
    /// Own guests that run here.
    here: u32,
    /// Finished runs, the oldest first, and the same sorted.
    past: std::collections::VecDeque<RunId>,
    past_set: BTreeSet<RunId>,
    /// Runs of before a restart that may be resumed.
    unfinished: BTreeSet<RunId>,
    /// Something has changed that may let a ready task go elsewhere.
    look: bool,
    /// Ready tasks have waited for a while.
    waited: bool,
    /// When to look again, because something cools down or waits.
    look_at: Option<Tick>,
    /// No offers before: the disk was full.
    full_until: Tick,
    /// Running leases by when they are overdue.
    overdue: BTreeSet<(Tick, LeaseKey)>,
    /// What a run wants, kept for its room.
    buffer: Vec<run::Action>,
    /// Questions for work that there was none of.
    asked_in_vain: Meter,
}

impl Owner {
    /// An owner whose runs `unfinished` were under way when it ended.
    pub(crate) fn new(unfinished: BTreeSet<RunId>) -> Owner {
        Owner {
            unfinished,
            ..Owner::default()
        }
    }

    /// Own guests that run here.
    pub(crate) fn running_here(&self) -> u32 {
        self.here
    }

    /// Own tasks that are ready: they go before foreign ones.
    pub(crate) fn ready_here(&self) -> u32 {
        let ready = self.runs.values().map(|own| own.run.ready_count());
        u32::try_from(ready.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Ready tasks are looked at again by then.
    fn look_by(&mut self, at: Tick) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// Something outside has changed that may let tasks go.
    pub(crate) fn look_again(&mut self) {
        self.look = true;
    }

    pub(crate) fn finished(&self, run: &RunId) -> Option<RunStatus> {
        self.runs.get(run)?.run.finished()
    }

    pub(crate) fn steps(&self, run: &RunId, task: TaskId) -> &[Step] {
        let steps = self.runs.get(run).and_then(|own| own.steps.get(&task));
        steps.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn snapshot(&self, run: &RunId, now: Tick) -> Option<Snapshot> {
        let own = self.runs.get(run)?;
        let mut snapshot = own.run.snapshot(now);
        let told = own.steps.iter().map(|(task, steps)| (*task, steps.clone()));
        snapshot.journeys = told.collect();
        Some(snapshot)
    }

    pub(crate) fn next_timeout(&self) -> Option<Tick> {
        let runs = self.runs.values().filter_map(|own| own.run.next_timeout());
        let overdue = self.overdue.first().map(|(at, _)| *at);
        runs.chain(self.leases.next_deadline())
            .chain(self.look_at)
            .chain(overdue)
            .min()
    }

    /// What is about own runs; what is not comes back.
    pub(crate) fn own(&mut self, desk: &mut Desk<'_>, event: Event) -> Result<(), Event> {
        match event {
            Event::Submit(submission) => self.submit(desk, *submission),
            Event::Prepared {
                run,
                task,
                hit,
                needs,
            } => self.prepared(desk, &run, task, hit, needs),
            Event::PrepareFailed { run, task, reason } => {
                self.tell(desk, &run, run::Event::PrepareFailed { task, reason });
            }
            Event::Finished {
                run,
                task,
                attempt,
                verdict,
                ran_us,
            } => self.finished_here(desk, &run, task, attempt, verdict, ran_us),
            Event::Progress {
                run,
                task,
                attempt,
                done,
                total,
                message,
            } => {
                let message = message.to_string();
                let progress = run::Event::Progress {
                    task,
                    attempt,
                    done,
                    total,
                    message,
                };
                self.tell(desk, &run, progress);
            }
            Event::Interrupt { run } => self.tell(desk, &run, run::Event::Interrupt),
            Event::Fetched { peer, key } => self.fetched(desk, peer, &key),
            Event::FetchFailed { peer, key, why } => self.fetch_failed(desk, peer, &key, why),
            other => return Err(other),
        }
        Ok(())
    }

    fn submit(&mut self, desk: &mut Desk<'_>, submission: Submission) {
        let Submission {
            run,
            plan,
            mut options,
            mode,
            spent,
            fence,
        } = submission;
        if self.runs.contains_key(&run) {
            return;
        }
        if !self.has_room() {
            let (outcome, counts) = (RunOutcome::Failed, Counts::default());
            let status = RunStatus { outcome, counts };
            return desk.run(&run, run::Action::Finish { status });
        }
        options.granted = true;
        options.slots = desk.setup.slots.max(1);
        if mode != Mode::Solo {
            options.prepare_ahead = options.prepare_ahead.max(PREPARE_AHEAD);
        }
        let resumed = self.unfinished.remove(&run) || !spent.is_empty();
        let spent = match faulty!(desk.faults, SpentDropped) {
            true => BTreeMap::new(),
            false => spent.into_iter().map(|known| (known.task, known)).collect(),
        };
        let forgets = (
            faulty!(desk.faults, SpentDropped),
            faulty!(desk.faults, FenceDropped),
        );
        let fence = match forgets {
            (false, false) => fence.max(Attempt::FIRST),
            _ => Attempt::FIRST,
        };
        let own = OwnRun {
            run: Run::new(Arc::clone(&plan), options),
            mode,
            sides: BTreeMap::new(),
            spent,
            steps: BTreeMap::new(),
            durations: BTreeMap::new(),
            plan,
            resumed,
            fence,
            reserved: Attempt::FIRST,
        };
        if self.past_set.remove(&run) {
            self.past.retain(|past| *past != run);
        }
        self.runs.insert(run.clone(), own);
        if mode != Mode::Solo {
            self.reserve(desk, &run, fence);
        }
        self.tell(desk, &run, run::Event::Begin);
    }

    /// Whether another run can be held. A finished one makes room.
    fn has_room(&mut self) -> bool {
        if self.runs.len() < MAX_RUNS {
            return true;
        }
        let mut runs = self.runs.iter();
        let done = runs.find(|(_, own)| own.run.finished().is_some());
        let done = done.map(|(run, _)| run.clone());
        done.is_some_and(|run| self.runs.remove(&run).is_some())
    }

    fn prepared(
        &mut self,
        desk: &mut Desk<'_>,
        run: &RunId,
        task: TaskId,
        hit: bool,
        needs: Arc<Requirements>,
    ) {
        let digest = needs.digest;
        self.tell(desk, run, run::Event::Prepared { task, digest, hit });
        let Some(own) = self.runs.get_mut(run) else {
            return;
        };
        let spent = own.spent.remove(&task);
        if own.run.settled(task).is_some() || own.run.attempt(task).is_none() {
            if let Some(known) = spent {
                self.settled_before(desk, run, &known);
            }
            return;
        }
        let next = spent.as_ref().map(|known| known.attempt.next());
        let side = Side {
            needs: Arc::clone(&needs),
            fence: next.unwrap_or(Attempt::FIRST),
            here: None,
            moves: 0,
            losses: 0,
            crashed_on: BTreeSet::new(),
            cooling: BTreeMap::new(),
            homeless: None,
            doubled: false,
        };
        own.sides.entry(task).or_insert(side);
        self.look = true;
        if let Some(known) = spent
            && let Some(holder) = known.open
        {
            let key = LeaseKey {
                run: run.clone(),
                task,
                attempt: known.attempt,
            };
            self.reopen(desk, key, holder, needs);
        }
    }

    /// A task's result was committed before a restart, and its executor perhaps not told.
    fn settled_before(&self, desk: &mut Desk<'_>, run: &RunId, known: &Spent) {
        if let Some((peer, _)) = known.open {
            let key = LeaseKey {
                run: run.clone(),
                task: known.task,
                attempt: known.attempt,
            };
            desk.tell_executor(peer, ToExecutor::Settled { key });
        }
    }

    /// An attempt on this machine has ended. What the node says of it is durable already.
    fn finished_here(
        &mut self,
        desk: &mut Desk<'_>,
        run: &RunId,
        task: TaskId,
        attempt: Attempt,
        verdict: Verdict,
        ran_us: u64,
    ) {
        let Some(own) = self.runs.get_mut(run) else {
            return;
        };
        let Some(side) = own.sides.get_mut(&task) else {
            return;
        };
        if side.here != Some(attempt) {
            return;
        }
        side.here = None;
        self.here -= 1;
        self.look = true;
        if matches!(verdict, Verdict::Passed)
            && let Some(instance) = own.plan.tasks.get(task.index())
        {
            own.durations
                .entry(instance.task)
                .or_default()
                .add(ran_us / 1000);
        }
        // A second attempt elsewhere may be current by now; a pure task takes any that passed.
        let Some(current) = own.run.attempt(task) else {
            return;
        };
        let welcome = attempt == current || side.needs.pure && matches!(verdict, Verdict::Passed);
        if welcome {
            let event = run::Event::Finished {
                task,
                attempt: current,
                verdict,
                ran_us,
            };
            self.tell(desk, run, event);
        }
    }

    /// Tells a run, and does what it wants.
    fn tell(&mut self, desk: &mut Desk<'_>, run: &RunId, event: run::Event) {
        let Some(own) = self.runs.get_mut(run) else {
            return;
        };
        let mut actions = std::mem::take(&mut self.buffer);
        own.run.handle_into(desk.now, event, &mut actions);
        self.follow(desk, run, &mut actions);
        self.buffer = actions;
    }

    /// Passes on what a run wants; what is about attempts elsewhere is done here.
    fn follow(&mut self, desk: &mut Desk<'_>, run: &RunId, actions: &mut Vec<run::Action>) {
        let mut ended = Vec::new();
        for action in actions.drain(..) {
            match action {
                run::Action::Settled { task, .. } => {
                    desk.run(run, action);
                    self.close(desk, run, task);
                }
                run::Action::Cancel { task, attempt } => {
                    let side = self.runs.get(run).and_then(|own| own.sides.get(&task));
                    match side.and_then(|side| side.here) {
                        Some(here) => desk.run(
                            run,
                            run::Action::Cancel {
                                task,
                                attempt: here,
                            },
                        ),
                        None => ended.push((task, attempt)),
                    }
                }
                run::Action::Finish { .. } => {
                    desk.run(run, action);
                    desk.forget(Forget::Run { run: run.clone() });
                    self.over(run);
                }
                action => desk.run(run, action),
            }
        }
        for (task, attempt) in ended {
            // Elsewhere nobody is waited for: the lease is void, and a late answer is answered.
            let event = run::Event::Finished {
                task,
                attempt,
                verdict: Verdict::Cancelled,
                ran_us: 0,
            };
            if let Some(own) = self.runs.get_mut(run) {
                let mut more = Vec::new();
                own.run.handle_into(desk.now, event, &mut more);
                self.follow(desk, run, &mut more);
            }
        }
    }

    fn over(&mut self, run: &RunId) {
        if self.past_set.insert(run.clone()) {
            self.past.push_back(run.clone());
        }
        while self.past.len() > MAX_PAST {
            if let Some(oldest) = self.past.pop_front() {
                self.past_set.remove(&oldest);
            }
        }
    }

    /// Notes a step for people, and tells it.
    fn note(&mut self, desk: &mut Desk<'_>, key: &LeaseKey, peer: NodeId, what: StepKind) {
        let Some(own) = self.runs.get_mut(&key.run) else {
            return;
        };
        if own.steps.len() >= MAX_HISTORIES && !own.steps.contains_key(&key.task) {
            return;
        }
        let steps = own.steps.entry(key.task).or_default();
        // What keeps a task from a peer is found again at each look.
        let before = match what {
            StepKind::NotOffered(_) => steps.iter().rev().find(|step| step.peer == peer),
            _ => steps.last().filter(|last| last.peer == peer),
        };
        let again = before.is_some_and(|before| before.what == what);
        if steps.len() >= MAX_STEPS || again {
            return;
        }
        let step = Step {
            at: desk.now,
            attempt: key.attempt,
            peer,
            what,
        };
        steps.push(step.clone());
        desk.act(Action::Told {
            run: key.run.clone(),
            task: key.task,
            step,
        });
    }

    /// Deadlines that have come.
    pub(crate) fn timeout(&mut self, desk: &mut Desk<'_>) {
        let due: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, own)| own.run.next_timeout().is_some_and(|at| at <= desk.now))
            .map(|(run, _)| run.clone())
            .collect();
        for run in due {
            self.tell(desk, &run, run::Event::Timeout);
        }
        while let Some(key) = self.leases.due(desk.now) {
            self.expired(desk, &key);
        }
        if self.look_at.is_some_and(|at| at <= desk.now) {
            self.look_at = None;
            self.look = true;
            self.waited = true;
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn sanity_check(&self) {
        self.leases.sanity_check();
        assert!(self.runs.len() <= MAX_RUNS, "runs");
        assert!(self.leases.len() <= MAX_LEASES, "leases");
        let here = self
            .runs
            .values()
            .flat_map(|own| own.sides.values())
            .filter(|side| side.here.is_some())
            .count();
        assert_eq!(here, self.here as usize, "guests here");
        for (key, lease) in self.leases.iter() {
            let Some(own) = self.runs.get(&key.run) else {
                panic!("a lease of no run: {key}");
            };
            assert!(
                own.sides.contains_key(&key.task),
                "a lease of a task: {key}"
            );
            if lease.current {
                assert_eq!(own.run.attempt(key.task), Some(key.attempt), "{key}");
            }
            if let lease::LeaseState::Recording(token) = &lease.state {
                assert!(self.waiting.contains_key(token), "{key}");
            }
        }
    }
}
