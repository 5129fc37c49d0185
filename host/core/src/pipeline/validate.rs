//! Judging a pipeline as a whole: cycles, outputs that collide, inputs that are really outputs.
//!
//! Works on what was read, without the project's files. [`topological`] also gives [`crate::expand`] its order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::fields::Reader;
use super::overlap::{Claim, collisions};
use super::{Pipeline, Task};
use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS};
use crate::glob::Pattern;

/// The most names of a cycle that are written out.
const MAX_CYCLE_NAMES: usize = 200;

pub(super) fn whole(reader: &mut Reader, pipeline: &Pipeline) {
    for diagnostic in cycles(&pipeline.tasks) {
        reader.report(diagnostic);
    }
    duplicate_outputs(reader, pipeline);
    let outputs = constant_outputs(pipeline);
    let owners = Owners::new(&outputs);
    for task in &pipeline.tasks {
        if reader.is_full() {
            return;
        }
        shadowed_inputs(reader, pipeline, task);
        inputs_that_are_outputs(reader, pipeline, task, &owners);
    }
}

/// The tasks so that each comes after those that it waits for, otherwise in the order of declaration.
///
/// # Errors
/// Every cycle, named.
pub(crate) fn topological(tasks: &[Task]) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let order = order(tasks);
    if order.len() == tasks.len() {
        Ok(order)
    } else {
        Err(cycles(tasks))
    }
}

/// The tasks that wait for each.
pub(crate) fn dependants(tasks: &[Task]) -> Vec<Vec<usize>> {
    let mut dependants = vec![Vec::new(); tasks.len()];
    for (index, task) in tasks.iter().enumerate() {
        for before in &task.after {
            if let Some(list) = dependants.get_mut(*before) {
                list.push(index);
            }
        }
    }
    dependants
}

/// As many tasks as are on no cycle, and behind none.
fn order(tasks: &[Task]) -> Vec<usize> {
    let dependants = dependants(tasks);
    let mut waiting: Vec<usize> = tasks.iter().map(|task| task.after.len()).collect();
    let mut ready: BinaryHeap<Reverse<usize>> = waiting
        .iter()
        .enumerate()
        .filter(|(_, count)| **count == 0)
        .map(|(index, _)| Reverse(index))
        .collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for next in dependants.get(index).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(*next) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
    }
    order
}

/// Every cycle that a walk along `after` closes, each task in at most one.
fn cycles(tasks: &[Task]) -> Vec<Diagnostic> {
    let mut done = vec![false; tasks.len()];
    for index in order(tasks) {
        if let Some(flag) = done.get_mut(index) {
            *flag = true;
        }
    }
    let mut found = Vec::new();
    for start in 0..tasks.len() {
        if found.len() < MAX_DIAGNOSTICS
            && let Some(cycle) = cycle_from(tasks, start, &mut done)
        {
            found.push(describe(tasks, &cycle));
        }
    }
    found
}

/// Walks from `start` through tasks that are not done until one comes again. Marks all that it saw as done, so that
/// every task is walked once.
fn cycle_from(tasks: &[Task], start: usize, done: &mut [bool]) -> Option<Vec<usize>> {
    let is_open = |index: usize, done: &[bool]| done.get(index) == Some(&false);
    let mut path: Vec<usize> = Vec::new();
    // Which place on the path each task has, 0 for none.
    let mut place = BTreeMap::new();
    let mut next = Some(start).filter(|index| is_open(*index, done));
    let mut cycle = None;
    while let Some(index) = next {
        if let Some(at) = place.get(&index) {
            cycle = path.get(*at..).map(<[usize]>::to_vec);
            break;
        }
        place.insert(index, path.len());
        path.push(index);
        // What is not in a topological order waits for something that is not either, unless that was walked before.
        next = tasks.get(index).and_then(|task| {
            task.after
                .iter()
                .copied()
                .find(|before| is_open(*before, done))
        });
    }
    for index in path {
        if let Some(flag) = done.get_mut(index) {
            *flag = true;
        }
    }
    cycle
}

fn describe(tasks: &[Task], cycle: &[usize]) -> Diagnostic {
    // Found against the arrows of `after`; told in the order in which they would run, from the first declared.
    let mut running: Vec<usize> = cycle.iter().rev().copied().collect();
    let first = running
        .iter()
        .enumerate()
        .min_by_key(|(_, index)| **index)
        .map_or(0, |(at, _)| at);
    running.rotate_left(first);
    let name = |index: &usize| tasks.get(*index).map_or("", |task| task.name.as_str());
    let mut names: Vec<&str> = running.iter().take(MAX_CYCLE_NAMES).map(name).collect();
    if running.len() > MAX_CYCLE_NAMES {
        names.push("…");
    }
    names.extend(running.first().map(name));
    let message = format!(
        "tasks wait for each other in a circle: {}",
        names.join(" → ")
    );
    let (head, last) = (running.first(), running.last());
    let Some(task) = head.and_then(|index| tasks.get(*index)) else {
        return Diagnostic::new("pipeline::cycle", message);
    };
    let label = format!("comes after `{}`", last.map_or("", name));
    let hint = format!(
        "one of them has to begin: take a name out of its `after`, for instance `{}` out of that of `{}`",
        last.map_or("", name),
        task.name
    );
    task.origins
        .name
        .diagnostic("pipeline::cycle", message)
        .label(label)
        .hint(hint)
}

/// The outputs that are exported and the same in every instance.
fn constant_outputs(pipeline: &Pipeline) -> Vec<(usize, usize, Pattern)> {
    let mut outputs = Vec::new();
    for (task_index, task) in pipeline
        .tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.export)
    {
        for (output_index, output) in task.outputs.iter().enumerate() {
            if let Some(Ok(pattern)) = output.as_constant().map(Pattern::new) {
                outputs.push((task_index, output_index, pattern));
            }
        }
    }
    outputs
}

fn duplicate_outputs(reader: &mut Reader, pipeline: &Pipeline) {
    let outputs = constant_outputs(pipeline);
    let claims: Vec<Claim<'_>> = outputs
        .iter()
        .map(|(task, tag, pattern)| Claim {
            task: *task,
            owner: *task,
            pattern,
            tag: *tag,
        })
        .collect();
    for (first, second) in collisions(&claims, MAX_DIAGNOSTICS) {
        if let (Some(first), Some(second)) = (claims.get(first), claims.get(second)) {
            // Told of the one that was declared later.
            let (first, second) = if first.task <= second.task {
                (first, second)
            } else {
                (second, first)
            };
            report_duplicate(reader, pipeline, first, second);
        }
    }
}

fn report_duplicate(
    reader: &mut Reader,
    pipeline: &Pipeline,
    first: &Claim<'_>,
    second: &Claim<'_>,
) {
    let (Some(one), Some(other)) = (
        pipeline.tasks.get(first.task),
        pipeline.tasks.get(second.task),
    ) else {
        return;
    };
    let Some(at) = other.origins.outputs.get(second.tag) else {
        return;
    };
    let message = if first.pattern == second.pattern {
        format!(
            "tasks `{}` and `{}` both write `{}`",
            one.name, other.name, first.pattern
        )
    } else {
        format!(
            "`{}` of task `{}` can be `{}` of task `{}`",
            second.pattern, other.name, first.pattern, one.name
        )
    };
    let diagnostic = at
        .diagnostic("pipeline::duplicate-output", message)
        .label("written twice");
    reader.report(diagnostic.hint("give each task files of its own").hint(
        "or, for what only later tasks read: `export = false` keeps it out of the project folder",
    ));
}

/// `/in/<task>/` is where a task in `after` shows its outputs: no file of the project can be there too.
fn shadowed_inputs(reader: &mut Reader, pipeline: &Pipeline, task: &Task) {
    for (pattern, at) in task.inputs.iter().zip(&task.origins.inputs) {
        let first = pattern.as_literal().unwrap_or(pattern.base());
        let first = first_segment(first);
        let names_folder = pattern.as_literal().is_none_or(|path| path.contains('/'));
        let mut after = task
            .after
            .iter()
            .filter_map(|index| pipeline.tasks.get(*index));
        if names_folder && after.any(|before| before.name == first) {
            reader.report(at.diagnostic("pipeline::shadowed-input", shadow_message(&task.name, first)).label("hidden").hint(
                format!("rename the task or the folder; what `{first}` wrote needs no input: it is in `/in/{first}/`"),
            ));
        }
    }
}

pub(crate) fn shadow_message(task: &str, folder: &str) -> String {
    format!(
        "task `{task}` sees the outputs of `{folder}` in `/in/{folder}/`, where the folder `{folder}` would be too"
    )
}

fn inputs_that_are_outputs(
    reader: &mut Reader,
    pipeline: &Pipeline,
    task: &Task,
    outputs: &Owners<'_>,
) {
    for (input, at) in task.inputs.iter().zip(&task.origins.inputs) {
        let Some(path) = input.as_literal() else {
            continue;
        };
        if let Some(owner) = outputs.of(path).and_then(|index| pipeline.tasks.get(index)) {
            reader.report(input_is_output(task, &owner.name, path, at));
        }
    }
}

/// Finds the task that writes a path without asking every one.
struct Owners<'a> {
    literals: BTreeMap<&'a str, usize>,
    /// Patterns by the first segment of their base, `""` for those that have none.
    globs: BTreeMap<&'a str, Vec<(&'a Pattern, usize)>>,
}

impl<'a> Owners<'a> {
    fn new(outputs: &'a [(usize, usize, Pattern)]) -> Owners<'a> {
        let mut owners = Owners {
            literals: BTreeMap::new(),
            globs: BTreeMap::new(),
        };
        for (task, _, pattern) in outputs {
            match pattern.as_literal() {
                Some(path) => {
                    owners.literals.entry(path).or_insert(*task);
                }
                None => owners
                    .globs
                    .entry(first_segment(pattern.base()))
                    .or_default()
                    .push((pattern, *task)),
            }
        }
        owners
    }

    fn of(&self, path: &str) -> Option<usize> {
        if let Some(task) = self.literals.get(path) {
            return Some(*task);
        }
        let candidates = [first_segment(path), ""]
            .into_iter()
            .filter_map(|key| self.globs.get(key));
        candidates
            .flatten()
            .find(|(pattern, _)| pattern.matches(path))
            .map(|(_, task)| *task)
    }
}

fn first_segment(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// A file that a task writes cannot be an input at the same time: whether it is there already must not matter.
pub(crate) fn input_is_output(
    task: &Task,
    owner: &str,
    path: &str,
    at: &super::Origin,
) -> Diagnostic {
    let message = format!(
        "the input `{path}` of task `{}` is written by task `{owner}`",
        task.name
    );
    let diagnostic = at
        .diagnostic("pipeline::input-is-output", message)
        .label("an output");
    if owner == task.name {
        return diagnostic
            .hint("a task cannot read what it writes itself: give the output another name");
    }
    diagnostic.hint(format!(
        "write `after = [\"{owner}\"]` and read it at `/in/{owner}/{path}`"
    ))
}
