//! Making a plan: order, inputs, instances, and the last checks that need the project's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::Files;
use super::fill::{Budget, Filler};
use super::items::Items;
use super::{Group, Instance, Listing, MAX_INSTANCES, Plan, Stdin, UNKNOWN_DURATION_MS};
use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, quote};
use crate::pipeline::overlap::{Claim, collisions};
use crate::pipeline::validate::{dependants, shadow_message, topological};
use crate::pipeline::{Foreach, Pipeline, Task};

pub(super) fn plan(
    pipeline: &Pipeline,
    listing: &Listing,
    durations: &BTreeMap<String, u64>,
) -> Result<Plan, Vec<Diagnostic>> {
    let order = topological(&pipeline.tasks)?;
    let mut builder = Builder {
        pipeline,
        files: Files::new(pipeline, listing),
        instances: Vec::new(),
        budget: Budget::default(),
        found: Vec::new(),
    };
    let mut groups = empty_groups(pipeline, &order, durations);
    for index in &order {
        if let (Some(task), Some(group)) = (pipeline.tasks.get(*index), groups.get_mut(*index)) {
            builder.task(*index, task, group);
        }
        if builder.found.len() >= MAX_DIAGNOSTICS || builder.budget.is_spent() {
            break;
        }
    }
    if builder.found.is_empty() {
        builder.duplicate_outputs(&groups);
    }
    if !builder.found.is_empty() {
        builder.found.truncate(MAX_DIAGNOSTICS);
        return Err(builder.found);
    }
    Ok(Plan {
        pipeline: Arc::new(pipeline.clone()),
        tasks: builder.instances,
        groups,
        order,
    })
}

/// Groups without instances: who waits for whom, and how urgent each is.
fn empty_groups(
    pipeline: &Pipeline,
    order: &[usize],
    durations: &BTreeMap<String, u64>,
) -> Vec<Group> {
    let no_files: Arc<[u32]> = Arc::new([]);
    let mut groups: Vec<Group> = dependants(&pipeline.tasks)
        .into_iter()
        .map(|dependants| Group {
            instances: 0..0,
            inputs: Arc::clone(&no_files),
            dependants,
            priority: 0,
        })
        .collect();
    for index in order.iter().rev() {
        let Some(task) = pipeline.tasks.get(*index) else {
            continue;
        };
        let own = durations
            .get(&task.name)
            .copied()
            .unwrap_or(UNKNOWN_DURATION_MS);
        let rest = groups
            .get(*index)
            .into_iter()
            .flat_map(|group| &group.dependants);
        let longest = rest
            .filter_map(|next| groups.get(*next))
            .map(|group| group.priority)
            .max()
            .unwrap_or(0);
        if let Some(group) = groups.get_mut(*index) {
            group.priority = own.saturating_add(longest);
        }
    }
    groups
}

struct Builder<'a> {
    pipeline: &'a Pipeline,
    files: Files<'a>,
    instances: Vec<Instance>,
    budget: Budget,
    found: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn task(&mut self, index: usize, task: &Task, group: &mut Group) {
        let before = self.found.len();
        match self.files.inputs(task) {
            Ok(inputs) => group.inputs = inputs,
            Err(mut found) => self.found.append(&mut found),
        }
        let Some(items) = self.items(task) else {
            return;
        };
        self.shadowed(task, &group.inputs);
        if let Items::Files { files, .. } = &items {
            self.shadowed(task, files);
        }
        let count = items.count();
        let total = self.instances.len().saturating_add(count as usize);
        if total > MAX_INSTANCES {
            let message = format!(
                "with task `{}` the pipeline has {total} instances, more than {MAX_INSTANCES}",
                task.name
            );
            self.found.push(
                task.origins
                    .foreach
                    .diagnostic("pipeline::too-large", message)
                    .label("too many"),
            );
            return;
        }
        if self.found.len() > before {
            return;
        }
        let start = self.instances.len();
        self.repeat(index, task, &items, count, group.priority);
        // Bounded by MAX_INSTANCES.
        group.instances = u32::try_from(start).unwrap_or(u32::MAX)
            ..u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
    }

    fn items<'t>(&mut self, task: &'t Task) -> Option<Items<'t>> {
        Some(match &task.foreach {
            None => Items::Once,
            Some(Foreach::Shards(count)) => Items::Shards(*count),
            Some(Foreach::Values(values)) => Items::Values(values),
            Some(Foreach::Matrix(keys)) => {
                let product = keys
                    .values()
                    .try_fold(1usize, |product, values| product.checked_mul(values.len()));
                let count = u32::try_from(product.unwrap_or(usize::MAX)).unwrap_or(u32::MAX);
                Items::Matrix { keys, count }
            }
            Some(Foreach::Glob(pattern)) => match self.files.items(task, pattern) {
                Ok(files) => Items::Files {
                    files,
                    base: pattern.base(),
                },
                Err(diagnostic) => {
                    self.found.push(diagnostic);
                    return None;
                }
            },
        })
    }

    /// Refuses a file of the project in the place where the outputs of an earlier task are seen.
    fn shadowed(&mut self, task: &Task, files: &[u32]) {
        for before in task
            .after
            .iter()
            .filter_map(|index| self.pipeline.tasks.get(*index))
        {
            if self.files.any_in(files, &before.name) {
                let diagnostic = task.origins.name.diagnostic(
                    "pipeline::shadowed-input",
                    shadow_message(&task.name, &before.name),
                );
                self.found.push(
                    diagnostic
                        .label("hidden")
                        .hint("rename the task or the folder"),
                );
            }
        }
    }

    /// Makes the instances of a task.
    fn repeat(
        &mut self,
        task_index: usize,
        task: &Task,
        items: &Items<'_>,
        count: u32,
        priority: u64,
    ) {
        let filler = Filler::new(task);
        if let Err(diagnostic) = filler.admit(count, &self.budget) {
            self.found.push(diagnostic);
            return;
        }
        let mut odometer = items.odometer();
        self.instances.reserve(count as usize);
        for index in 0..count {
            let keys = items.keys(&odometer);
            let item = items.item(index, &keys, &self.files);
            let label = items.label(&task.name, index, count, item.as_deref(), &keys);
            let filled = match filler.fill(item.as_deref(), index, count, &keys, &mut self.budget) {
                Ok(filled) => filled,
                Err(diagnostic) => {
                    self.found.push(diagnostic);
                    return;
                }
            };
            let stdin = match filled.stdin.map(|path| self.stdin(task, path)).transpose() {
                Ok(stdin) => stdin,
                Err(diagnostic) => {
                    self.found.push(diagnostic);
                    return;
                }
            };
            self.instances.push(Instance {
                task: task_index,
                index,
                count,
                item,
                item_file: items.file(index),
                label,
                args: filled.args,
                params_json: filled.params_json,
                outputs: filled.outputs,
                stdin,
                priority,
            });
            items.step(&mut odometer);
        }
    }

    fn stdin(&self, task: &Task, path: Arc<str>) -> Result<Stdin, Diagnostic> {
        if let Some((owner, rest)) = self.pipeline.output_owner(task, &path) {
            return Ok(Stdin::Output {
                task: owner,
                path: rest.into(),
            });
        }
        if let Some(file) = self.files.find_input(&path) {
            return Ok(Stdin::File(file));
        }
        let message = format!(
            "the stdin {} of task `{}` is not there",
            quote(&path),
            task.name
        );
        let diagnostic = task
            .origins
            .stdin
            .diagnostic("pipeline::missing-input", message)
            .label("no such file");
        let first = path.split('/').next().unwrap_or_default();
        Err(
            match self.pipeline.tasks.iter().find(|other| other.name == first) {
                Some(other) => diagnostic.hint(format!(
                    "for an output of that task write `after = [\"{}\"]`",
                    other.name
                )),
                None => diagnostic,
            },
        )
    }

    /// Refuses that two instances write the same file: in the project folder, or in one task's outputs.
    fn duplicate_outputs(&mut self, groups: &[Group]) {
        let exported: Vec<Claim<'_>> =
            claims(self.pipeline, groups, &self.instances, |task| task.export);
        let mut pairs = self.collisions_of(&exported);
        for (index, task) in self
            .pipeline
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| !task.export)
        {
            let own = groups
                .get(index)
                .map(std::slice::from_ref)
                .unwrap_or_default();
            pairs.extend(self.collisions_of(&claims(
                self.pipeline,
                own,
                &self.instances,
                |other| other.name == task.name,
            )));
        }
        self.found.extend(pairs);
    }

    fn collisions_of(&self, claims: &[Claim<'_>]) -> Vec<Diagnostic> {
        let pairs = collisions(claims, MAX_DIAGNOSTICS);
        pairs
            .into_iter()
            .filter_map(|(first, second)| self.duplicate(claims.get(first)?, claims.get(second)?))
            .collect()
    }

    fn duplicate(&self, first: &Claim<'_>, second: &Claim<'_>) -> Option<Diagnostic> {
        let (one, other) = (
            self.instances.get(first.owner)?,
            self.instances.get(second.owner)?,
        );
        let task = self.pipeline.tasks.get(second.task)?;
        let at = task.origins.outputs.get(second.tag)?;
        let path = quote(first.pattern.as_str());
        let message = format!("`{}` and `{}` both write {path}", one.label, other.label);
        let diagnostic = at
            .diagnostic("pipeline::duplicate-output", message)
            .label("written twice");
        Some(match task.foreach {
            Some(Foreach::Shards(_)) => diagnostic.hint("tell them apart: `part-{index}`"),
            Some(_) => diagnostic.hint("tell them apart with `{item}`, or `{index}`"),
            None => diagnostic.hint("give each task files of its own, or `export = false`"),
        })
    }
}

/// Who writes what. An output that is the same in all instances of a task is claimed once, or twice where that is one
/// file that all would write.
fn claims<'p>(
    pipeline: &Pipeline,
    groups: &[Group],
    instances: &'p [Instance],
    chosen: impl Fn(&Task) -> bool,
) -> Vec<Claim<'p>> {
    let mut claims = Vec::new();
    for group in groups {
        let range = group.instances.start as usize..group.instances.end as usize;
        let own = instances.get(range.clone()).unwrap_or_default();
        let Some((first, task)) = own
            .first()
            .and_then(|one| Some((one, pipeline.tasks.get(one.task)?)))
        else {
            continue;
        };
        if !chosen(task) {
            continue;
        }
        for (tag, template) in task.outputs.iter().enumerate() {
            let take = match first.outputs.get(tag) {
                Some(pattern) if template.as_constant().is_some() => {
                    1 + usize::from(pattern.is_literal())
                }
                _ => own.len(),
            };
            for (offset, instance) in own.iter().take(take).enumerate() {
                if let Some(pattern) = instance.outputs.get(tag) {
                    claims.push(Claim {
                        task: instance.task,
                        owner: range.start + offset,
                        pattern,
                        tag,
                    });
                }
            }
        }
    }
    claims
}
