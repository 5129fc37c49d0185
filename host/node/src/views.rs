//! A run and its tasks as somebody asks for them from outside: from the journal for what is over, from a node's control
//! socket for what goes on. One form for both, as plain data that can be sent and read.
//!
//! It decides no words and no colours: the command line does. Made here and by the mesh node, read by the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sykli_core::id::NodeId;
use sykli_core::machine::{Mode, StepKind};
use sykli_core::snapshot::{InstanceCounts, Snapshot, TaskState};

use crate::events::{NodeRef, PlannedTask};
use crate::journal::{Ends, Instance, Journal, Outcome, Run, RunState};

/// How a run, a task or an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not begun.
    Waiting,
    /// Offered to another node, which has not begun.
    Offered,
    /// It goes on.
    Running,
    /// It ran and passed.
    Passed,
    /// Its result was known.
    Cached,
    /// It failed.
    Failed,
    /// Something before it failed.
    Skipped,
    /// The run ended first.
    Cancelled,
    /// The run's process ended before it did.
    Interrupted,
}

/// How far a run reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// This machine.
    Solo,
    /// Ready tasks are offered to idle nodes.
    Mesh,
    /// And idle nodes may ask for them.
    Swarm,
}

impl From<Mode> for Reach {
    fn from(mode: Mode) -> Reach {
        match mode {
            Mode::Solo => Reach::Solo,
            Mode::Mesh => Reach::Mesh,
            Mode::Swarm => Reach::Swarm,
        }
    }
}

/// Instances by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// In all.
    pub total: u32,
    /// Under way.
    pub running: u32,
    /// Passed.
    pub passed: u32,
    /// From the cache.
    pub cached: u32,
    /// Failed.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
    /// Cancelled.
    pub cancelled: u32,
}

impl Sum {
    fn add(&mut self, ends: &Ends) {
        let count = match ends.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Cached => &mut self.cached,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
        };
        *count = count.saturating_add(ends.instances);
    }

    fn of(counts: &InstanceCounts) -> Sum {
        Sum {
            total: counts.total,
            running: counts.running,
            passed: counts.settled.passed,
            cached: counts.settled.cached,
            failed: counts.settled.failed,
            skipped: counts.settled.skipped,
            cancelled: counts.settled.cancelled,
        }
    }

    /// Those that have ended.
    #[must_use]
    pub fn settled(&self) -> u32 {
        let ends = [
            self.passed,
            self.cached,
            self.failed,
            self.skipped,
            self.cancelled,
        ];
        ends.into_iter().fold(0, u32::saturating_add)
    }

    /// All have ended, and what comes after them may begin.
    fn is_good(&self) -> bool {
        self.passed.saturating_add(self.cached) >= self.total
    }

    /// The one word for them.
    fn standing(&self) -> Standing {
        match () {
            () if self.settled() == 0 && self.running == 0 => Standing::Waiting,
            () if self.settled() < self.total => Standing::Running,
            () if self.failed > 0 => Standing::Failed,
            () if self.cancelled > 0 => Standing::Cancelled,
            () if self.skipped > 0 => Standing::Skipped,
            () if self.passed > 0 => Standing::Passed,
            () => Standing::Cached,
        }
    }
}

/// A declared task of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLine {
    /// Its name.
    pub name: String,
    /// The tasks that it comes after.
    pub after: Vec<String>,
    /// Its instances in one word.
    pub standing: Standing,
    /// Its instances.
    pub sum: Sum,
    /// The other nodes that have run some of them, or do.
    pub on: Vec<NodeRef>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its name.
    pub run: String,
    /// Its pipeline's name.
    pub pipeline: String,
    /// How it stands.
    pub standing: Standing,
    /// How far it reaches.
    pub reach: Reach,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// How long it took, or has taken so far, in milliseconds. None where that is not known.
    pub elapsed_ms: Option<u64>,
    /// Its declared tasks, each after those that it depends on.
    pub tasks: Vec<TaskLine>,
}

/// One instance of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// The run.
    pub run: String,
    /// The declared task.
    pub task: String,
    /// The instance: `shrink[3/16]`, or the task's name where it has one.
    pub label: String,
    /// How it stands.
    pub standing: Standing,
    /// The node that has it or ran it; none where that is this one, or nobody yet.
    pub executor: Option<NodeRef>,
    /// Where that node is, as far as is known.
    pub address: Option<String>,
    /// The executor had asked for work, rather than been offered it.
    pub stolen: bool,
    /// Whose task it is; none where it is this node's own.
    pub owner: Option<NodeRef>,
    /// Which attempt; 0 where there was none.
    pub attempt: u32,
    /// Units done, as the guest says.
    pub done: u64,
    /// Units in all, as the guest says; 0 where it does not.
    pub total: u64,
    /// What it is at, as the guest says.
    pub message: String,
    /// How long it ran, or has run so far, in milliseconds.
    pub wall_ms: u64,
    /// Fuel used, once it has ended.
    pub fuel: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

impl RunView {
    /// What the journal knows of a run. Of one that goes on: what has settled, and as running what nothing stands in the way
    /// of any more.
    #[must_use]
    pub fn recorded(journal: &Journal, run: &Run) -> RunView {
        let ends = journal.ends(&run.id);
        let mut planned = journal.planned(&run.id);
        if planned.is_empty() {
            planned = bare(&ends);
        }
        let mut tasks = lines(planned, &ends);
        if run.state == RunState::Running {
            under_way(&mut tasks);
        }
        RunView {
            run: run.id.to_string(),
            pipeline: run.name.clone(),
            standing: standing_of(run.state),
            reach: run.mode.into(),
            started_ms: run.started_ms,
            elapsed_ms: run
                .finished_ms
                .map(|end| end.saturating_sub(run.started_ms)),
            tasks,
        }
    }

    /// A run that goes on, from core's picture of it: `tasks` as they were planned, `name` for the nodes in its journeys.
    #[must_use]
    pub fn live(
        (run, pipeline, reach): (&str, &str, Mode),
        started_ms: u64,
        tasks: &[PlannedTask],
        picture: &Snapshot,
        name: &dyn Fn(&NodeId) -> NodeRef,
    ) -> RunView {
        let standing = match picture.status {
            None => Standing::Running,
            Some(status) => match status.outcome {
                sykli_core::run::RunOutcome::Passed => Standing::Passed,
                sykli_core::run::RunOutcome::Interrupted => Standing::Interrupted,
                sykli_core::run::RunOutcome::Failed | sykli_core::run::RunOutcome::TimedOut => {
                    Standing::Failed
                }
            },
        };
        let after: BTreeMap<&str, &PlannedTask> = tasks
            .iter()
            .map(|task| (task.name.as_str(), task))
            .collect();
        let mut on = holders(picture, name);
        let lines = picture.tasks.iter().map(|task| TaskLine {
            name: task.name.clone(),
            after: after
                .get(task.name.as_str())
                .map_or_else(Vec::new, |planned| planned.after.clone()),
            standing: of_state(task.state),
            sum: Sum::of(&task.counts),
            on: on.remove(task.name.as_str()).unwrap_or_default(),
        });
        RunView {
            run: run.to_owned(),
            pipeline: pipeline.to_owned(),
            standing,
            reach: reach.into(),
            started_ms,
            elapsed_ms: Some(picture.elapsed_ms),
            tasks: lines.collect(),
        }
    }
}

/// The nodes that hold a running instance, by declared task.
fn holders<'a>(
    picture: &'a Snapshot,
    name: &dyn Fn(&NodeId) -> NodeRef,
) -> BTreeMap<&'a str, Vec<NodeRef>> {
    let mut on = BTreeMap::<&str, Vec<NodeRef>>::new();
    for running in &picture.running {
        let steps = picture.journeys.get(&running.task);
        let last = steps.into_iter().flatten().rev().find(|step| {
            step.attempt == running.attempt
                && matches!(step.what, StepKind::Accepted | StepKind::Started)
        });
        let task = running
            .label
            .split_once('[')
            .map_or(running.label.as_str(), |(task, _)| task);
        if let Some(step) = last {
            let (list, node) = (on.entry(task).or_default(), name(&step.peer));
            if !list.contains(&node) {
                list.push(node);
            }
        }
    }
    on
}

fn of_state(state: TaskState) -> Standing {
    match state {
        TaskState::Waiting => Standing::Waiting,
        TaskState::Running => Standing::Running,
        TaskState::Passed => Standing::Passed,
        TaskState::Cached => Standing::Cached,
        TaskState::Failed => Standing::Failed,
        TaskState::Skipped => Standing::Skipped,
        TaskState::Cancelled => Standing::Cancelled,
    }
}

fn standing_of(state: RunState) -> Standing {
    match state {
        RunState::Running => Standing::Running,
        RunState::Passed => Standing::Passed,
        RunState::Failed => Standing::Failed,
        RunState::Interrupted => Standing::Interrupted,
    }
}

/// Declared tasks of which only their instances are known: without edges, by name.
fn bare(ends: &[Ends]) -> Vec<PlannedTask> {
    let mut counts = BTreeMap::<&str, u32>::new();
    for one in ends {
        *counts.entry(&one.task).or_default() += one.instances;
    }
    let tasks = counts.into_iter().map(|(name, instances)| PlannedTask {
        name: name.to_owned(),
        instances,
        selected: instances,
        after: Vec::new(),
    });
    tasks.collect()
}

fn lines(planned: Vec<PlannedTask>, ends: &[Ends]) -> Vec<TaskLine> {
    let mut by_task = BTreeMap::<&str, (Sum, Vec<NodeRef>)>::new();
    for one in ends {
        let (sum, on) = by_task.entry(&one.task).or_default();
        sum.add(one);
        if let Some(node) = one.node.as_ref().filter(|node| !on.contains(node)) {
            on.push(node.clone());
        }
    }
    let lines = planned.into_iter().filter(|task| task.selected > 0);
    let lines = lines.map(|task| {
        let (mut sum, on) = by_task.remove(task.name.as_str()).unwrap_or_default();
        sum.total = task.selected.max(sum.settled());
        TaskLine {
            standing: sum.standing(),
            sum,
            on,
            name: task.name,
            after: task.after,
        }
    });
    lines.collect()
}

/// The journal hears of a task when it ends. In a run that goes on, one whose turn has come has begun or is about to.
fn under_way(tasks: &mut [TaskLine]) {
    let good: BTreeSet<String> = tasks
        .iter()
        .filter(|task| task.sum.is_good())
        .map(|task| task.name.clone())
        .collect();
    let known: BTreeSet<String> = tasks.iter().map(|task| task.name.clone()).collect();
    for task in tasks.iter_mut() {
        // What was not selected stands in nobody's way.
        let ready = |name: &String| good.contains(name) || !known.contains(name);
        if task.standing == Standing::Waiting && task.after.iter().all(ready) {
            task.standing = Standing::Running;
        }
    }
}

impl TaskView {
    /// What the journal knows of an instance that has settled.
    #[must_use]
    pub fn recorded(run: &Run, one: Instance) -> TaskView {
        let standing = match one.outcome {
            Outcome::Passed => Standing::Passed,
            Outcome::Cached => Standing::Cached,
            Outcome::Failed => Standing::Failed,
            Outcome::Skipped => Standing::Skipped,
            Outcome::Cancelled => Standing::Cancelled,
        };
        TaskView {
            run: run.id.to_string(),
            task: one.task,
            label: one.label,
            standing,
            executor: one.node,
            address: None,
            stolen: one.stolen,
            owner: None,
            attempt: one.attempt,
            done: 0,
            total: 0,
            message: String::new(),
            wall_ms: one.wall_ms,
            fuel: one.fuel,
            failure: one.failure,
        }
    }

    /// An instance that has not settled, as far as its steps tell: the nodes that were asked, and the one that has it.
    #[must_use]
    pub fn on_its_way(
        run: &str,
        (task, label): (&str, &str),
        steps: &[(u32, NodeRef, StepKind)],
    ) -> TaskView {
        let last = steps.last();
        let standing = match last.map(|(_, _, what)| what) {
            Some(StepKind::Offered { .. } | StepKind::Pending) => Standing::Offered,
            Some(StepKind::Accepted | StepKind::Started) => Standing::Running,
            _ => Standing::Waiting,
        };
        let has = last.filter(|_| standing != Standing::Waiting);
        TaskView {
            run: run.to_owned(),
            task: task.to_owned(),
            label: label.to_owned(),
            standing,
            executor: has.map(|(_, node, _)| node.clone()),
            address: None,
            stolen: false,
            owner: None,
            attempt: last.map_or(0, |(attempt, ..)| *attempt),
            done: 0,
            total: 0,
            message: String::new(),
            wall_ms: 0,
            fuel: 0,
            failure: None,
        }
    }
}

/// A piece of what a running task writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The instance.
    pub label: Arc<str>,
    /// Which stream.
    pub stream: crate::events::Stream,
    /// Raw bytes: escape sequences are the renderer's to strip.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_core::id::{Attempt, Digest, TaskId};
    use sykli_core::machine::Step;
    use sykli_core::run::Counts;
    use sykli_core::snapshot::{RunningSnapshot, TaskSnapshot};
    use sykli_core::time::Tick;

    fn counts(total: u32, running: u32, passed: u32) -> InstanceCounts {
        InstanceCounts {
            total,
            running,
            settled: Counts {
                passed,
                ..Counts::default()
            },
            ..InstanceCounts::default()
        }
    }

    fn task(name: &str, index: usize, counts: InstanceCounts) -> TaskSnapshot {
        TaskSnapshot {
            name: name.to_owned(),
            index,
            state: counts.state(),
            counts,
            retried: 0,
            elapsed_ms: None,
            busy_ms: 0,
        }
    }

    /// `build` has begun on one node after another declined it; a second attempt of it is long gone.
    fn picture() -> Snapshot {
        let step = |attempt, peer, what| Step {
            at: Tick(1),
            attempt: Attempt(attempt),
            peer: NodeId([peer; 32]),
            what,
        };
        let running = RunningSnapshot {
            task: TaskId(1),
            label: "build[1/2]".to_owned(),
            digest: Digest::of(b""),
            attempt: Attempt(2),
            elapsed_ms: 5,
            done: 0,
            total: 0,
            message: String::new(),
        };
        let steps = vec![
            step(1, 8, StepKind::Accepted),
            step(2, 9, StepKind::Accepted),
            step(2, 9, StepKind::Started),
        ];
        Snapshot {
            elapsed_ms: 70,
            stopping: None,
            status: None,
            counts: counts(3, 1, 1),
            tasks: vec![
                task("lint", 0, counts(1, 0, 1)),
                task("build", 1, counts(2, 1, 0)),
            ],
            running: vec![running],
            failures: Vec::new(),
            journeys: [(TaskId(1), steps)].into(),
        }
    }

    #[test]
    fn a_run_that_goes_on_names_the_node_that_has_the_attempt() {
        let planned = [PlannedTask {
            name: "build".to_owned(),
            instances: 2,
            selected: 2,
            after: vec!["lint".to_owned()],
        }];
        let name = |node: &NodeId| NodeRef {
            id: node.to_string(),
            name: format!("node-{}", node.0[0]),
        };
        let view = RunView::live(("r", "p", Mode::Swarm), 3, &planned, &picture(), &name);
        assert_eq!(
            (view.standing, view.elapsed_ms),
            (Standing::Running, Some(70))
        );
        let build = &view.tasks[1];
        assert_eq!(
            (build.standing, &build.after[..]),
            (Standing::Running, &["lint".to_owned()][..])
        );
        assert_eq!(build.on.len(), 1);
        assert_eq!(build.on[0].name, "node-9");
        assert_eq!(view.tasks[0].standing, Standing::Passed);
        assert!(view.tasks[0].on.is_empty());
        let text = serde_json::to_string(&view).unwrap_or_default();
        assert_eq!(serde_json::from_str::<RunView>(&text).ok(), Some(view));
    }

    #[test]
    fn a_task_on_its_way_stands_where_its_last_step_left_it() {
        let node = NodeRef {
            id: "1".to_owned(),
            name: "dave".to_owned(),
        };
        let at = |what: StepKind| {
            TaskView::on_its_way("r", ("build", "build"), &[(2, node.clone(), what)])
        };
        let offered = at(StepKind::Pending);
        assert_eq!((offered.standing, offered.attempt), (Standing::Offered, 2));
        assert_eq!(at(StepKind::Started).executor, Some(node.clone()));
        let lost = at(StepKind::Lost {
            why: None,
            after_ms: 1,
        });
        assert_eq!((lost.standing, lost.executor), (Standing::Waiting, None));
    }
}
