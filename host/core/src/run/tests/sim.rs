//! Random runs in virtual time: random graphs, verdicts, late, repeated and invented events, interrupts, time limits,
//! workers that never answer a cancel. A model beside the machine keeps its own books and objects; one seed is one run.

use super::edge::{Spec, digest, failure, plan, task};
use crate::expand::Plan;
use crate::id::{Attempt, TaskId};
use crate::run::{
    Action, Event, PREPARE_AHEAD, Run, RunOptions, RunOutcome, RunStatus, SettledKind, Verdict,
};
use crate::time::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// SplitMix64: one word of state, so a seed is a whole run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Executing {
    task: TaskId,
    attempt: Attempt,
    /// Was cancelled, and its worker does not react.
    hung: bool,
}

struct World {
    rng: Rng,
    plan: Arc<Plan>,
    options: RunOptions,
    run: Run,
    now: Tick,
    /// Asked and not answered; may belong to instances that were settled meanwhile.
    preparing: Vec<TaskId>,
    executing: Vec<Executing>,
    prepared: BTreeSet<TaskId>,
    attempts: BTreeMap<TaskId, Attempt>,
    /// The instances for which the last thing said was final.
    final_failures: BTreeSet<TaskId>,
    settled: BTreeMap<TaskId, SettledKind>,
    history: Vec<Event>,
    interrupted: bool,
    finished: Option<RunStatus>,
    trace: blake3::Hasher,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let specs = random_tasks(&mut rng);
        let plan = plan(&specs);
        let selected = rng
            .percent(20)
            .then(|| plan.tasks.iter().map(|_| rng.percent(40)).collect());
        let options = RunOptions {
            granted: false,
            slots: rng.below(5) as u32,
            hand_ahead: rng.below(4) as u32,
            prepare_ahead: rng.below(12) as u32,
            keep_going: rng.percent(60),
            timeout_ms: rng.percent(15).then(|| rng.next() % 2000),
            selected,
        };
        World {
            run: Run::new(Arc::clone(&plan), options.clone()),
            rng,
            plan,
            options,
            now: Tick(0),
            preparing: Vec::new(),
            executing: Vec::new(),
            prepared: BTreeSet::new(),
            attempts: BTreeMap::new(),
            final_failures: BTreeSet::new(),
            settled: BTreeMap::new(),
            history: Vec::new(),
            interrupted: false,
            finished: None,
            trace: blake3::Hasher::new(),
        }
    }

    fn event(&mut self, event: Event) {
        let actions = self.run.handle(self.now, event.clone());
        self.run.sanity_check();
        self.trace
            .update(format!("{:?} {event:?} {actions:?}\n", self.now).as_bytes());
        self.interrupted |= event == Event::Interrupt;
        self.history.push(event);
        assert!(
            self.finished.is_none() || actions.is_empty(),
            "nothing follows the end"
        );
        for action in actions {
            self.perform(action);
        }
    }

    fn slots(&self) -> usize {
        self.options.slots.max(1) as usize
    }

    fn open(&self, task: TaskId) -> bool {
        !self.settled.contains_key(&task)
    }

    fn included(&self) -> impl Iterator<Item = TaskId> + '_ {
        (0..self.plan.tasks.len() as u32)
            .map(TaskId)
            .filter(|task| self.run.includes(*task))
    }

    fn perform(&mut self, action: Action) {
        assert!(self.finished.is_none(), "the end is the last action");
        match action {
            Action::Prepare { task } => {
                assert!(self.run.includes(task) && self.open(task));
                assert!(self.prepared.insert(task), "prepared once");
                assert!(
                    self.dependencies_are_good(task),
                    "nothing starts before its dependencies settled well"
                );
                self.preparing.push(task);
                let executing =
                    |task: &TaskId| self.executing.iter().any(|other| other.task == *task);
                let ahead = self
                    .prepared
                    .iter()
                    .filter(|task| self.open(**task) && !executing(task))
                    .count();
                let most = match self.options.prepare_ahead {
                    0 => PREPARE_AHEAD,
                    most => most as usize,
                };
                assert!(ahead <= most * self.slots());
            }
            Action::Execute { task, attempt } => {
                assert!(
                    self.prepared.contains(&task)
                        && !self.preparing.contains(&task)
                        && self.open(task)
                );
                let before = self
                    .attempts
                    .insert(task, attempt)
                    .map_or(0, |attempt| attempt.0);
                assert_eq!(attempt.0, before + 1, "each attempt has its own number");
                assert!(attempt.0 <= 1 + self.retries(task));
                self.executing.push(Executing {
                    task,
                    attempt,
                    hung: false,
                });
                let executing = self
                    .executing
                    .iter()
                    .filter(|executing| self.open(executing.task));
                let most = self.slots() * (1 + self.options.hand_ahead as usize);
                assert!(executing.count() <= most, "no more is handed out than may");
            }
            // Its worker answers: that it did not begin, or how it ended.
            Action::Recall { task, attempt } => {
                let is_it = |one: &Executing| one.task == task && one.attempt == attempt;
                assert!(self.executing.iter().any(is_it), "only what is handed out");
            }
            Action::Cancel { task, attempt } => {
                let hung = self.rng.percent(30);
                let at = self
                    .executing
                    .iter()
                    .position(|other| other.task == task && other.attempt == attempt);
                self.executing[at.expect("only what executes is cancelled")].hung = hung;
            }
            Action::Settled { task, state } => {
                assert!(self.run.includes(task));
                assert_eq!(self.settled.insert(task, state), None, "settled once");
                assert!(
                    state != SettledKind::Failed || self.final_failures.contains(&task),
                    "failed for a reason"
                );
            }
            Action::Finish { status } => self.finished = Some(status),
        }
    }

    fn retries(&self, task: TaskId) -> u32 {
        self.plan.pipeline.tasks[self.plan.tasks[task.index()].task].retries
    }

    fn dependencies_are_good(&self, task: TaskId) -> bool {
        let declared = &self.plan.pipeline.tasks[self.plan.tasks[task.index()].task];
        let mut before = declared
            .after
            .iter()
            .flat_map(|before| self.plan.groups[*before].instances.clone());
        before.all(|id| {
            self.settled
                .get(&TaskId(id))
                .is_some_and(|state| state.is_good())
        })
    }

    fn step(&mut self) {
        self.now = self.now.after_ms(self.rng.next() % 20);
        match self.rng.below(100) {
            0..40 => self.answer_prepare(),
            40..75 => self.answer_execute(),
            75..83 => self.replay(),
            83..88 => self.invent(),
            88..94 => self.report_progress(),
            94..99 => self.event(Event::Timeout),
            _ if self.rng.percent(10) => self.event(Event::Interrupt),
            _ => {}
        }
        let answers_left =
            !self.preparing.is_empty() || self.executing.iter().any(|executing| !executing.hung);
        if self.finished.is_none() && !answers_left {
            self.now = self
                .run
                .next_timeout()
                .expect("a run that waits for nobody has a deadline")
                .max(self.now);
            self.event(Event::Timeout);
        }
    }

    fn answer_prepare(&mut self) {
        if self.preparing.is_empty() {
            return;
        }
        let at = self.rng.below(self.preparing.len());
        let task = self.preparing.swap_remove(at);
        let event = match self.rng.below(20) {
            0 => {
                self.final_failures.insert(task);
                Event::PrepareFailed {
                    task,
                    reason: failure(),
                }
            }
            1..7 => Event::Prepared {
                task,
                digest: digest(),
                hit: true,
            },
            _ => Event::Prepared {
                task,
                digest: digest(),
                hit: false,
            },
        };
        self.event(event);
    }

    fn answer_execute(&mut self) {
        let answering: Vec<usize> = (0..self.executing.len())
            .filter(|at| !self.executing[*at].hung)
            .collect();
        let Some(at) = self.rng.pick(&answering) else {
            return;
        };
        let Executing { task, attempt, .. } = self.executing.swap_remove(at);
        let verdict = match self.rng.below(20) {
            0..14 => Verdict::Passed,
            14..17 => Verdict::Failed {
                failure: failure(),
                retryable: self.rng.percent(70),
            },
            17..19 => Verdict::NonResult { failure: failure() },
            _ => Verdict::Cancelled,
        };
        let last = attempt.0 > self.retries(task) || self.run.snapshot(self.now).stopping.is_some();
        if last
            || matches!(
                verdict,
                Verdict::Failed {
                    retryable: false,
                    ..
                }
            )
        {
            self.final_failures.insert(task);
        }
        let ran_us = self.rng.next() % 1500;
        self.event(Event::Finished {
            task,
            attempt,
            verdict,
            ran_us,
        });
    }

    /// Something that was said before is said again, unless it would now be the answer that is owed.
    fn replay(&mut self) {
        let Some(event) = self.rng.pick(&self.history) else {
            return;
        };
        match event {
            Event::Interrupt | Event::Begin | Event::Timeout => {}
            event if self.is_owed(&event) => {}
            event => self.event(event),
        }
    }

    /// An answer that nobody was asked for.
    fn invent(&mut self) {
        let task = TaskId(self.rng.below(self.plan.tasks.len() + 3) as u32);
        let attempt = Attempt(self.rng.below(6) as u32);
        let event = match self.rng.below(4) {
            0 => Event::Finished {
                task,
                attempt,
                verdict: Verdict::Passed,
                ran_us: 0,
            },
            1 => Event::Finished {
                task,
                attempt,
                verdict: Verdict::NonResult { failure: failure() },
                ran_us: 0,
            },
            2 => Event::Prepared {
                task,
                digest: digest(),
                hit: true,
            },
            _ => Event::PrepareFailed {
                task,
                reason: failure(),
            },
        };
        if !self.is_owed(&event) {
            self.event(event);
        }
    }

    fn is_owed(&self, event: &Event) -> bool {
        match event {
            Event::Prepared { task, .. } | Event::PrepareFailed { task, .. } => {
                self.preparing.contains(task)
            }
            Event::Finished { task, attempt, .. } => self
                .executing
                .iter()
                .any(|other| other.task == *task && other.attempt == *attempt),
            _ => false,
        }
    }

    fn report_progress(&mut self) {
        let Some(Executing { task, attempt, .. }) = self.rng.pick(&self.executing) else {
            return;
        };
        let attempt = if self.rng.percent(20) {
            attempt.next()
        } else {
            attempt
        };
        self.event(Event::Progress {
            task,
            attempt,
            done: 1,
            total: 2,
            message: "half".into(),
        });
    }

    fn play(mut self) -> blake3::Hash {
        self.event(Event::Begin);
        for _ in 0..20_000 {
            if self.finished.is_some() {
                self.late_answers();
                self.check_end();
                return self.trace.finalize();
            }
            self.step();
        }
        panic!("the run does not end");
    }

    fn late_answers(&mut self) {
        for task in std::mem::take(&mut self.preparing) {
            self.event(Event::Prepared {
                task,
                digest: digest(),
                hit: true,
            });
        }
        for Executing { task, attempt, .. } in std::mem::take(&mut self.executing) {
            self.event(Event::Finished {
                task,
                attempt,
                verdict: Verdict::Passed,
                ran_us: 0,
            });
        }
        self.event(Event::Interrupt);
        self.event(Event::Timeout);
    }

    fn check_end(&self) {
        let status = self.finished.expect("finished");
        let count = |kind| {
            self.settled
                .values()
                .filter(|state| **state == kind)
                .count() as u32
        };
        assert!(
            self.included().eq(self.settled.keys().copied()),
            "no instance is lost, none is invented"
        );
        assert_eq!(status.counts.settled() as usize, self.settled.len());
        assert_eq!(status.counts.failed, count(SettledKind::Failed));
        assert_eq!(status.counts.skipped, count(SettledKind::Skipped));
        let (failed, cancelled) = (status.counts.failed > 0, status.counts.cancelled > 0);
        match status.outcome {
            RunOutcome::Passed => assert!(!failed && !cancelled),
            RunOutcome::Failed => assert!(failed),
            RunOutcome::TimedOut => assert!(cancelled && self.options.timeout_ms.is_some()),
            RunOutcome::Interrupted => assert!(cancelled),
        }
        let doomed = self.depend_on_failures();
        for (task, state) in &self.settled {
            let doomed = doomed.contains(&self.plan.tasks[task.index()].task);
            match state {
                SettledKind::Passed | SettledKind::Cached | SettledKind::Failed => assert!(!doomed),
                SettledKind::Skipped => {
                    assert!(doomed, "only what depends on a failure is skipped")
                }
                SettledKind::Cancelled => assert!(
                    !matches!(status.outcome, RunOutcome::Passed)
                        && (!self.options.keep_going || !failed_only(status)),
                    "a run that keeps going cancels nothing on its own"
                ),
            }
            let stopped = status.outcome != RunOutcome::Failed || !self.options.keep_going;
            assert!(
                !doomed || stopped || *state == SettledKind::Skipped,
                "everything that depends on it is"
            );
        }
    }

    /// The declared tasks that come after one with a failed instance, directly or not.
    fn depend_on_failures(&self) -> BTreeSet<usize> {
        let failed = self
            .settled
            .iter()
            .filter(|(_, state)| **state == SettledKind::Failed);
        let failed: BTreeSet<usize> = failed
            .map(|(task, _)| self.plan.tasks[task.index()].task)
            .collect();
        let mut doomed = BTreeSet::new();
        for &index in &self.plan.order {
            let after = &self.plan.pipeline.tasks[index].after;
            if after
                .iter()
                .any(|before| failed.contains(before) || doomed.contains(before))
            {
                doomed.insert(index);
            }
        }
        doomed
    }
}

fn failed_only(status: RunStatus) -> bool {
    status.outcome == RunOutcome::Failed
}

fn random_tasks(rng: &mut Rng) -> Vec<Spec> {
    let count = 1 + rng.below(8);
    let density = rng.below(60);
    let mut specs: Vec<Spec> = Vec::new();
    for n in 0..count {
        let earlier: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        let after: Vec<&str> = earlier
            .iter()
            .map(String::as_str)
            .filter(|_| rng.percent(density))
            .collect();
        let shards = if rng.percent(50) {
            1
        } else {
            1 + rng.below(7) as u32
        };
        let spec = task(&format!("t{n}")).after(&after).shards(shards);
        specs.push(spec.retries(rng.below(4) as u32).ms(rng.next() % 100));
    }
    specs
}

#[test]
fn random_runs_keep_every_promise() {
    let mut ends = BTreeMap::new();
    for seed in 0..3000 {
        let world = World::new(seed);
        let keep_going = world.options.keep_going;
        let plan = Arc::clone(&world.plan);
        // The panic inside says what is wrong, the one here for which seed.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
        assert!(
            outcome.is_ok(),
            "seed {seed}, {} instances, keep going: {keep_going}",
            plan.tasks.len()
        );
        *ends.entry(keep_going).or_insert(0) += 1;
    }
    assert_eq!(
        ends.len(),
        2,
        "both ways of dealing with failures were seen"
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..100 {
        assert_eq!(
            World::new(seed).play(),
            World::new(seed).play(),
            "seed {seed}"
        );
    }
    assert_ne!(World::new(1).play(), World::new(2).play());
}
