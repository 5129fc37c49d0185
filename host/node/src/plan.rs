//! `sykli plan`: what a run would do, and why.
//!
//! Looks only: it builds nothing, runs nothing, writes nothing but digests it had to compute anyway.
//! Called by the command line.

use sykli_core::id::{Digest, TaskId};
use sykli_core::run::{Run, RunOptions};

use crate::node::{Node, NodeError};
use crate::prepare::{Context, Known, NotReady, Prepared};
use crate::run::RunRequest;
use crate::run::open::{Opened, Purpose};

/// What a run would do.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// Declared tasks in running order.
    pub tasks: Vec<PlanTask>,
    /// Every selected instance, by task, then index.
    pub instances: Vec<PlanInstance>,
    /// One line each.
    pub warnings: Vec<String>,
}

/// A declared task in a plan.
#[derive(Clone, Debug)]
pub struct PlanTask {
    /// Declared name.
    pub name: String,
    /// Declared names of what it comes after.
    pub after: Vec<String>,
    /// Whether its results can be cached.
    pub pure: bool,
    /// Instances in the cache.
    pub cached: u32,
    /// Instances that would run.
    pub would_run: u32,
    /// Instances whose inputs are not known before something else ran.
    pub unknown: u32,
}

/// An instance in a plan.
#[derive(Clone, Debug)]
pub struct PlanInstance {
    /// Declared task.
    pub task: String,
    /// Instance.
    pub label: String,
    /// Task digest, where its inputs are known.
    pub digest: Option<Digest>,
    /// What would happen.
    pub state: PlanState,
    /// Wall time recorded last time for its task, milliseconds.
    pub expected_ms: Option<u64>,
}

/// What would happen to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// Its result is in the cache.
    Cached,
    /// It would run.
    Run {
        /// Why: never run before, not pure, or what changed since the last run. One line each.
        reasons: Vec<String>,
    },
    /// It comes after something that would run: whether it runs depends on what that gives.
    Unknown {
        /// Declared names of what it waits for.
        waits_for: Vec<String>,
    },
}

/// Instances whose results are looked up at once.
const LOOK_UP_BATCH: usize = 256;

impl Node {
    /// Says what [`Node::run`] would do with the same request.
    ///
    /// # Errors
    /// Where the pipeline does not fit the project folder.
    pub fn plan(&self, request: &RunRequest) -> Result<PlanReport, NodeError> {
        let opened = self.open_run(request, Purpose::Look)?;
        let durations = self.journal()?.durations(&opened.pipeline_path);
        let survey = self.survey(&opened, request.use_cache)?;
        let plan = &opened.context.plan;
        let mut tasks = Vec::with_capacity(plan.order.len());
        for index in &plan.order {
            let Some(task) = plan.pipeline.tasks.get(*index) else {
                continue;
            };
            let name = |index: &usize| Some(plan.pipeline.tasks.get(*index)?.name.clone());
            let states = survey
                .iter()
                .filter(|seen| seen.declared == *index)
                .map(|seen| &seen.state);
            let mut entry = PlanTask {
                name: task.name.clone(),
                after: task.after.iter().filter_map(name).collect(),
                pure: task.grants.is_pure(),
                cached: 0,
                would_run: 0,
                unknown: 0,
            };
            for state in states {
                match state {
                    PlanState::Cached => entry.cached += 1,
                    PlanState::Run { .. } => entry.would_run += 1,
                    PlanState::Unknown { .. } => entry.unknown += 1,
                }
            }
            tasks.push(entry);
        }
        let instances = survey.into_iter().filter_map(|seen| {
            let (instance, task) = opened.context.instance(seen.id)?;
            Some(PlanInstance {
                task: task.name.clone(),
                label: instance.label.to_string(),
                digest: seen.prepared.map(|prepared| prepared.digest),
                state: seen.state,
                expected_ms: durations.get(&task.name).copied(),
            })
        });
        Ok(PlanReport {
            pipeline: plan.pipeline.name.clone(),
            tasks,
            instances: instances.collect(),
            warnings: opened.warnings,
        })
    }

    /// Looks at every instance that a run would be about, in running order.
    pub(crate) fn survey(&self, opened: &Opened, use_cache: bool) -> Result<Vec<Seen>, NodeError> {
        let context = &opened.context;
        let included = included(opened);
        let mut settled = vec![true; context.plan.pipeline.tasks.len()];
        let mut seen = Vec::new();
        for declared in &context.plan.order {
            let (Some(task), Some(group)) = (
                context.plan.pipeline.tasks.get(*declared),
                context.plan.groups.get(*declared),
            ) else {
                continue;
            };
            let waits_for: Vec<&usize> = task
                .after
                .iter()
                .filter(|after| settled.get(**after) == Some(&false))
                .collect();
            let ids: Vec<TaskId> = group
                .instances
                .clone()
                .map(TaskId)
                .filter(|id| included.get(id.index()) == Some(&true))
                .collect();
            let first = seen.len();
            if waits_for.is_empty() {
                for batch in ids.chunks(LOOK_UP_BATCH) {
                    look(context, *declared, batch, use_cache, &mut seen);
                }
            } else {
                let name =
                    |index: &&usize| Some(context.plan.pipeline.tasks.get(**index)?.name.clone());
                let waits_for: Vec<String> = waits_for.iter().filter_map(name).collect();
                let unknown = |id| Seen {
                    id,
                    declared: *declared,
                    prepared: None,
                    state: PlanState::Unknown {
                        waits_for: waits_for.clone(),
                    },
                };
                seen.extend(ids.into_iter().map(unknown));
            }
            let all_cached = seen
                .iter()
                .skip(first)
                .all(|seen| seen.state == PlanState::Cached);
            if let Some(slot) = settled.get_mut(*declared) {
                *slot = all_cached;
            }
        }
        self.add_reasons(opened, &mut seen)?;
        Ok(seen)
    }
}

/// What a survey found out about one instance.
pub(crate) struct Seen {
    pub(crate) id: TaskId,
    /// Index of its declared task.
    pub(crate) declared: usize,
    pub(crate) prepared: Option<Prepared>,
    pub(crate) state: PlanState,
}

/// By instance: whether a run would be about it, as core decides that.
fn included(opened: &Opened) -> Vec<bool> {
    let options = RunOptions {
        selected: opened.selected.clone(),
        ..RunOptions::default()
    };
    let run = Run::new(opened.context.plan.clone(), options);
    (0..opened.context.plan.tasks.len())
        .map(|index| u32::try_from(index).is_ok_and(|id| run.includes(TaskId(id))))
        .collect()
}

fn look(
    context: &Context,
    declared: usize,
    batch: &[TaskId],
    use_cache: bool,
    seen: &mut Vec<Seen>,
) {
    let prepared: Vec<_> = batch.iter().map(|id| context.prepare(*id)).collect();
    let wanted: Vec<&Prepared> = prepared.iter().flatten().filter(|_| use_cache).collect();
    let mut records = context.look_up(&wanted).into_iter();
    for (id, prepared) in batch.iter().zip(prepared) {
        let (prepared, state) = match prepared {
            Ok(prepared) => {
                let state = match records.next().and_then(Known::result) {
                    Some(record) => {
                        context.settle(*id, record.outputs);
                        PlanState::Cached
                    }
                    None => PlanState::Run {
                        reasons: Vec::new(),
                    },
                };
                (Some(prepared), state)
            }
            Err(not_ready) => (
                None,
                PlanState::Run {
                    reasons: vec![reason(&not_ready)],
                },
            ),
        };
        seen.push(Seen {
            id: *id,
            declared,
            prepared,
            state,
        });
    }
}

fn reason(not_ready: &NotReady) -> String {
    match not_ready.code {
        "build::stale" => format!(
            "{}: its crate has changed or was never built",
            not_ready.report.message
        ),
        _ => not_ready.report.message.clone(),
    }
}
