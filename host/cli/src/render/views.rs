//! The one place where past and running runs, as the node tells of them, become the documents of `past.rs`; and why a task
//! ran where it did, in one line. It reads no journal and decides no colours. Called by the commands about runs.

use std::time::{SystemTime, UNIX_EPOCH};

use sykli_core::machine::StepKind;
use sykli_node::journal::{Noted, Run, RunState, Tally};
use sykli_node::views::{self, RunView, Sum, TaskView};

use super::convert::{self, node, ran_on};
use super::escape::clean;
use super::json::Counts;
use super::past::{Moves, PastRun, Reach, Standing, StatusDoc, StatusTask, TaskDocView};
use super::reasons;
use super::text::plural;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, convert::millis)
}

/// How it stands.
pub(crate) fn standing(standing: views::Standing) -> Standing {
    match standing {
        views::Standing::Waiting => Standing::Waiting,
        views::Standing::Offered => Standing::Offered,
        views::Standing::Running => Standing::Running,
        views::Standing::Passed => Standing::Passed,
        views::Standing::Cached => Standing::Cached,
        views::Standing::Failed => Standing::Failed,
        views::Standing::Skipped => Standing::Skipped,
        views::Standing::Cancelled => Standing::Cancelled,
        views::Standing::Interrupted => Standing::Interrupted,
    }
}

/// How far a run reached.
pub(crate) fn reach(reach: views::Reach) -> Reach {
    match reach {
        views::Reach::Solo => Reach::Solo,
        views::Reach::Mesh => Reach::Mesh,
        views::Reach::Swarm => Reach::Swarm,
    }
}

fn counts(sum: &Sum) -> Counts {
    Counts {
        passed: sum.passed,
        cached: sum.cached,
        failed: sum.failed,
        skipped: sum.skipped,
        cancelled: sum.cancelled,
    }
}

/// A run in a list.
pub(crate) fn past_run(run: &Run, tally: Tally) -> PastRun {
    PastRun {
        run: run.id.to_string(),
        pipeline: run.name.clone(),
        file: run.pipeline.display().to_string(),
        standing: match run.state {
            RunState::Running => Standing::Running,
            RunState::Passed => Standing::Passed,
            RunState::Failed => Standing::Failed,
            RunState::Interrupted => Standing::Interrupted,
        },
        reach: reach(run.mode.into()),
        started_ms: run.started_ms,
        wall_ms: run
            .finished_ms
            .map(|end| end.saturating_sub(run.started_ms)),
        instances: run.instances,
        counts: convert::counts(tally.counts),
        elsewhere: ran_on(tally.elsewhere),
    }
}

/// One instance.
pub(crate) fn task(view: TaskView) -> TaskDocView {
    let percent = |done: u64, total: u64| {
        let hundredths = u128::from(done.min(total)) * 100 / u128::from(total);
        u8::try_from(hundredths).unwrap_or(100)
    };
    TaskDocView {
        run: view.run,
        task: view.task,
        label: view.label,
        standing: standing(view.standing),
        executor: view.executor.map(node),
        address: view.address,
        stolen: view.stolen,
        owner: view.owner.map(node),
        attempt: view.attempt,
        progress_percent: (view.total > 0).then(|| percent(view.done, view.total)),
        message: Some(view.message).filter(|text| !text.is_empty()),
        wall_ms: view.wall_ms,
        fuel: view.fuel,
        failure: view.failure,
    }
}

/// A run as its graph.
pub(crate) fn status(view: RunView) -> StatusDoc {
    let tasks = view.tasks.into_iter().map(|task| StatusTask {
        name: task.name,
        after: task.after,
        standing: standing(task.standing),
        instances: task.sum.total,
        running: task.sum.running,
        counts: counts(&task.sum),
        on: task.on.into_iter().map(node).collect(),
    });
    StatusDoc {
        schema: "sykli.status/1",
        run: view.run,
        pipeline: view.pipeline,
        standing: standing(view.standing),
        reach: reach(view.reach),
        started_ms: view.started_ms,
        elapsed_ms: view.elapsed_ms,
        tasks: tasks.collect(),
    }
}

/// How an instance moved.
pub(crate) fn moves(steps: &[Noted]) -> Moves {
    let mut moves = Moves::default();
    for step in steps {
        let count = match step.what {
            StepKind::Offered { .. } => &mut moves.offered,
            StepKind::Declined(_) => &mut moves.declined,
            StepKind::Accepted => &mut moves.accepted,
            StepKind::Lost { .. } => &mut moves.lost,
            StepKind::NotOffered(_)
            | StepKind::Pending
            | StepKind::Started
            | StepKind::Doubled
            | StepKind::Ran { .. } => continue,
        };
        *count += 1;
    }
    moves
}

/// Why an instance ran where it did, where there was a choice.
pub(crate) fn why(reach: views::Reach, view: &TaskView, steps: &[Noted]) -> Option<String> {
    if reach == views::Reach::Solo && steps.is_empty() && view.executor.is_none() {
        return None;
    }
    let lost = moves(steps).lost;
    let after = match lost {
        0 => String::new(),
        _ => format!(", after it was lost {}", plural(lost.into(), "time")),
    };
    if let Some(on) = &view.executor {
        let name = clean(&on.name);
        return Some(match (view.standing, view.stolen) {
            (views::Standing::Offered, _) => format!("{name} was asked{after}"),
            (_, true) => format!("{name} asked for work{after}"),
            (_, false) => format!("{name} took it{after}"),
        });
    }
    let settled_here = matches!(
        view.standing,
        views::Standing::Passed | views::Standing::Failed
    );
    let refused = steps.iter().rev().find(|step| {
        matches!(
            step.what,
            StepKind::NotOffered(_) | StepKind::Declined(_) | StepKind::Lost { .. }
        )
    });
    let mut nodes: Vec<&str> = steps.iter().map(|step| step.node.id.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    match refused {
        Some(last) => {
            let said = reasons::of(&last.what, &last.node.name).message;
            Some(match nodes.len() {
                1 => said,
                many => format!("none of {many} nodes ran it; at last: {said}"),
            })
        }
        None if settled_here => Some("a slot was free here first".to_owned()),
        None => None,
    }
}

/// The line for an instance where nothing was chosen.
pub(crate) fn no_choice(reach: views::Reach, standing: views::Standing) -> String {
    match (standing, reach) {
        (views::Standing::Cached, _) => "its result was known: nothing ran".to_owned(),
        (views::Standing::Skipped, _) => "something before it failed: nothing ran".to_owned(),
        (views::Standing::Cancelled, _) => "the run ended before it did".to_owned(),
        (views::Standing::Waiting, _) => "it has not begun".to_owned(),
        (_, views::Reach::Solo) => {
            "the run stayed on this machine: `sykli run --mesh` offers tasks to other nodes"
                .to_owned()
        }
        (_, views::Reach::Mesh | views::Reach::Swarm) => "no other node was asked".to_owned(),
    }
}
