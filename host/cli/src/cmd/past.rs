//! What the commands about past runs share: opening the journal, and finding the run and the instances that are meant.
//! It shows nothing.

use std::path::{Path, PathBuf};

use sykli_core::diagnostic::suggestion;
use sykli_core::id::RunId;
use sykli_node::journal::{Instance, Journal, Noted, Run, RunState};
use sykli_node::views::{RunView, TaskView};

use super::{Context, locate};
use crate::args::PipelineArgs;
use crate::error::{CliError, plain_text};

/// The journal of this user's runs.
pub(super) fn journal(context: &Context) -> Result<Journal, CliError> {
    Journal::open(&context.resolved.settings.dirs.state).map_err(|error| {
        CliError::usage(error.code(), plain_text(&error.to_string())).hint(error.hint())
    })
}

/// The pipeline's file as the journal names it.
pub(super) fn pipeline_file(context: &Context, args: &PipelineArgs) -> Result<PathBuf, CliError> {
    let path = locate(&context.cwd, args)?.path;
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// The run that is meant: by its name or how that begins; else of this folder's pipeline, or else of all, one that goes
/// on or the last.
pub(super) fn chosen(
    context: &Context,
    journal: &Journal,
    asked: Option<&str>,
) -> Result<Run, CliError> {
    match asked {
        Some(name) => named(journal, name),
        None => {
            let none = PipelineArgs {
                pipeline: None,
                from: None,
            };
            let here = pipeline_file(context, &none).ok();
            here.and_then(|file| latest(journal, Some(&file)))
                .or_else(|| latest(journal, None))
                .ok_or_else(|| {
                    CliError::usage("history::no-run", "nothing has been run yet")
                        .hint("`sykli run` runs a pipeline")
                })
        }
    }
}

/// One that goes on, else the last.
fn latest(journal: &Journal, file: Option<&Path>) -> Option<Run> {
    let mut unfinished = journal.unfinished(file).into_iter();
    unfinished
        .find(|run| run.state == RunState::Running)
        .or_else(|| journal.last_run(file))
}

fn named(journal: &Journal, name: &str) -> Result<Run, CliError> {
    let list = "`sykli history` lists the runs with their names";
    let exact = RunId::new(name).ok().and_then(|id| journal.run(&id));
    if let Some(run) = exact {
        return Ok(run);
    }
    let mut found = journal.runs_named(&name.to_ascii_lowercase(), 2);
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (Some(_), false) => {
            let message = format!("several runs begin with `{name}`");
            Err(CliError::usage("history::ambiguous", message).hint(list))
        }
        (None, _) => {
            let message = format!("there is no run `{name}`");
            Err(CliError::usage("history::no-run", message).hint(list))
        }
    }
}

/// Whether this instance is meant by `wanted`, a declared name or a label.
pub(super) fn is_meant(wanted: &str, task: &str, label: &str) -> bool {
    wanted == task || wanted == label
}

/// The instances of `run` that are meant and have settled.
pub(super) fn settled(journal: &Journal, run: &Run, wanted: &str) -> Vec<Instance> {
    let all = journal.instances(&run.id);
    all.into_iter()
        .filter(|one| is_meant(wanted, &one.task, &one.label))
        .collect()
}

/// All instances of `run` that are meant, as far as the journal knows of them: settled, on their way, or not begun.
pub(super) fn views(journal: &Journal, run: &Run, wanted: &str) -> Result<Vec<TaskView>, CliError> {
    let settled = settled(journal, run, wanted);
    let task = wanted.split_once('[').map_or(wanted, |(task, _)| task);
    let planned = journal.planned(&run.id);
    let known = planned.iter().find(|one| one.name == task);
    if settled.is_empty() && known.is_none() {
        return Err(unknown(journal, run, wanted));
    }
    let mut views: Vec<TaskView> = settled
        .into_iter()
        .map(|one| TaskView::recorded(run, one))
        .collect();
    for (label, steps) in by_label(journal.steps(&run.id, None)) {
        let of = label.split_once('[').map_or(&*label, |(task, _)| task);
        let is_new = views.iter().all(|view| view.label != label);
        if is_new && is_meant(wanted, of, &label) {
            let steps: Vec<_> = steps
                .into_iter()
                .map(|step| (step.attempt, step.node, step.what))
                .collect();
            views.push(TaskView::on_its_way(run.id.as_str(), (of, &label), &steps));
        }
    }
    if views.is_empty() {
        let mut view = TaskView::on_its_way(run.id.as_str(), (task, wanted), &[]);
        let all = RunView::recorded(journal, run).tasks;
        if let Some(line) = all.iter().find(|line| line.name == task) {
            view.standing = line.standing;
        }
        views.push(view);
    }
    Ok(views)
}

/// Steps by instance, each in order.
pub(super) fn by_label(steps: Vec<Noted>) -> Vec<(String, Vec<Noted>)> {
    let mut all: Vec<(String, Vec<Noted>)> = Vec::new();
    for step in steps {
        match all.last_mut() {
            Some((label, list)) if *label == step.label => list.push(step),
            _ => all.push((step.label.clone(), vec![step])),
        }
    }
    all
}

/// Nothing of that name was part of the run.
pub(super) fn unknown(journal: &Journal, run: &Run, wanted: &str) -> CliError {
    let planned = journal.planned(&run.id);
    let known: Vec<&str> = planned.iter().map(|task| task.name.as_str()).collect();
    let message = format!("there is no task `{wanted}` in the run {}", run.id);
    let error = CliError::usage("run::unknown-task", message);
    match suggestion(wanted, known.iter().copied()) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("`sykli report` lists what it ran"),
    }
}
