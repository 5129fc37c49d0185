//! A fake node: feeds events, checks the whole state after each, and keeps the actions until they are expected.

use crate::expand::{self, Listing, Plan};
use crate::id::{Attempt, Digest, TaskId};
use crate::pipeline::{self, Format};
use crate::run::{Action, Event, Failure, Run, RunOptions, RunOutcome, SettledKind, Verdict};
use crate::time::Tick;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub(super) const SLOTS: u32 = 2;

/// A declared task of a test's pipeline.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) after: Vec<String>,
    pub(super) shards: u32,
    pub(super) retries: u32,
    pub(super) ms: u64,
}

pub(super) fn task(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        after: Vec::new(),
        shards: 1,
        retries: 0,
        ms: 1,
    }
}

impl Spec {
    pub(super) fn after(mut self, names: &[&str]) -> Spec {
        self.after = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(super) fn shards(self, shards: u32) -> Spec {
        Spec { shards, ..self }
    }

    pub(super) fn retries(self, retries: u32) -> Spec {
        Spec { retries, ..self }
    }

    pub(super) fn ms(self, ms: u64) -> Spec {
        Spec { ms, ..self }
    }
}

/// The plan of these tasks, by the way a user's goes: as a document that is parsed and expanded.
pub(super) fn plan(tasks: &[Spec]) -> Arc<Plan> {
    let mut text = String::from("schema = \"sykli-wasm/1\"\n");
    for task in tasks {
        let Spec {
            name,
            after,
            shards,
            retries,
            ..
        } = task;
        write!(
            text,
            "[task.{name}]\ncomponent = \"x.wasm\"\nretries = {retries}\nafter = {after:?}\n"
        )
        .unwrap();
        if *shards > 1 {
            writeln!(text, "foreach = {{ shards = {shards} }}").unwrap();
        }
    }
    let durations: BTreeMap<String, u64> = tasks
        .iter()
        .map(|task| (task.name.clone(), task.ms))
        .collect();
    let pipeline = pipeline::parse(&text, Format::Toml).unwrap();
    Arc::new(expand::plan(&pipeline, &Listing::default(), &durations).unwrap())
}

pub(super) fn digest() -> Digest {
    Digest([7; 32])
}

pub(super) fn failure() -> Failure {
    Failure {
        code: "task::exit",
        message: "exit code 1".into(),
    }
}

pub(super) struct Edge {
    pub(super) run: Run,
    pub(super) now: Tick,
    plan: Arc<Plan>,
    actions: Vec<Action>,
    /// When each instance was last handed out: attempts here begin at once.
    handed_out: BTreeMap<TaskId, Tick>,
}

impl Edge {
    pub(super) fn of(tasks: &[Spec]) -> Edge {
        Edge::of_with(tasks, |_| {})
    }

    pub(super) fn of_with(tasks: &[Spec], set: impl FnOnce(&mut RunOptions)) -> Edge {
        let plan = plan(tasks);
        let mut options = RunOptions {
            slots: SLOTS,
            ..RunOptions::default()
        };
        set(&mut options);
        let run = Run::new(Arc::clone(&plan), options);
        run.sanity_check();
        Edge {
            run,
            now: Tick(0),
            plan,
            actions: Vec::new(),
            handed_out: BTreeMap::new(),
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        let actions = self.run.handle(self.now, event);
        for action in &actions {
            if let Action::Execute { task, .. } = action {
                self.handed_out.insert(*task, self.now);
            }
        }
        self.actions.extend(actions);
        self.run.sanity_check();
    }

    pub(super) fn id(&self, label: &str) -> TaskId {
        let at = self
            .plan
            .tasks
            .iter()
            .position(|instance| &*instance.label == label);
        TaskId(u32::try_from(at.unwrap()).unwrap())
    }

    pub(super) fn begin(&mut self) {
        self.event(Event::Begin);
    }

    pub(super) fn hit(&mut self, label: &str) {
        self.event(Event::Prepared {
            task: self.id(label),
            digest: digest(),
            hit: true,
        });
    }

    pub(super) fn miss(&mut self, label: &str) {
        self.event(Event::Prepared {
            task: self.id(label),
            digest: digest(),
            hit: false,
        });
    }

    /// The first attempt ends like this.
    pub(super) fn pass(&mut self, label: &str) {
        self.verdict(label, 1, Verdict::Passed);
    }

    pub(super) fn fail(&mut self, label: &str) {
        self.verdict(
            label,
            1,
            Verdict::Failed {
                failure: failure(),
                retryable: true,
            },
        );
    }

    pub(super) fn verdict(&mut self, label: &str, attempt: u32, verdict: Verdict) {
        let task = self.id(label);
        let began = self.handed_out.get(&task).copied().unwrap_or(self.now);
        self.event(Event::Finished {
            task,
            attempt: Attempt(attempt),
            verdict,
            ran_us: self.now.ms_since(began) * 1000,
        });
    }

    /// The actions since the last time, one line each.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.actions)
            .into_iter()
            .map(|action| self.line(action))
            .collect()
    }

    pub(super) fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.take(), lines);
    }

    fn line(&self, action: Action) -> String {
        let label = |task: TaskId| &*self.plan.tasks[task.index()].label;
        match action {
            Action::Prepare { task } => format!("prepare {}", label(task)),
            Action::Execute { task, attempt } => format!("execute {} {attempt}", label(task)),
            Action::Recall { task, attempt } => format!("recall {} {attempt}", label(task)),
            Action::Cancel { task, attempt } => format!("cancel {} {attempt}", label(task)),
            Action::Settled { task, state } => format!("{} {}", label(task), settled(state)),
            Action::Finish { status } => format!("finish {}", outcome(status.outcome)),
        }
    }
}

fn settled(state: SettledKind) -> &'static str {
    match state {
        SettledKind::Passed => "passed",
        SettledKind::Cached => "cached",
        SettledKind::Failed => "failed",
        SettledKind::Skipped => "skipped",
        SettledKind::Cancelled => "cancelled",
    }
}

fn outcome(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Passed => "passed",
        RunOutcome::Failed => "failed",
        RunOutcome::TimedOut => "timed-out",
        RunOutcome::Interrupted => "interrupted",
    }
}

impl Drop for Edge {
    /// The edge must end empty: an action that no test expected is a bug.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                self.take(),
                Vec::<String>::new(),
                "actions that were not expected"
            );
        }
    }
}
