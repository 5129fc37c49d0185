//! `sykli cache why`: why an instance is, or is not, in the cache.
//!
//! Compares the manifest an instance has now with the one it had when it last ran. Core says what differs; here the
//! trees are fetched and the lines are put together. Called by the command line and by `plan`.

use std::collections::BTreeMap;
use std::path::Path;

use sykli_core::diagnostic::suggestion;
use sykli_core::expand::Instance;
use sykli_core::explain::{Change, FileChange, diff, diff_trees};
use sykli_core::id::Digest;
use sykli_core::manifest::{MAX_MANIFEST_BYTES, Manifest};

use crate::journal::{Journal, Outcome};
use crate::node::{Node, NodeError};
use crate::plan::{PlanState, Seen};
use crate::prepare::{Context, Prepared};
use crate::run::RunRequest;
use crate::run::open::{Opened, Purpose};

/// Why the instances of a task are, or are not, in the cache.
#[derive(Clone, Debug)]
pub struct WhyReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// One entry an instance asked about.
    pub instances: Vec<WhyInstance>,
}

/// Why one instance is, or is not, in the cache.
#[derive(Clone, Debug)]
pub struct WhyInstance {
    /// Declared task.
    pub task: String,
    /// Instance.
    pub label: String,
    /// Whether a run would take it from the cache.
    pub cached: bool,
    /// Task digest now, where its inputs are known.
    pub digest: Option<Digest>,
    /// Task digest when it last ran.
    pub previous: Option<Digest>,
    /// What changed since, or why nothing can be compared. One line each.
    pub reasons: Vec<String>,
}

/// Files of one tree that are named.
const MAX_FILES: usize = 10;
/// Reasons of one instance.
const MAX_REASONS: usize = 40;
/// Earlier runs that are searched for what an instance was before it last ran.
const RUNS_BACK: usize = 20;

impl Node {
    /// Says why the instances of `task` (a declared name or an instance's label; all where absent) are, or are not, in
    /// the cache. Of one that is, what made it run the last time it did.
    ///
    /// # Errors
    /// Where the pipeline does not fit the project folder, or has no such task.
    pub fn why(&self, request: &RunRequest, task: Option<&str>) -> Result<WhyReport, NodeError> {
        let opened = self.open_run(request, Purpose::Look)?;
        let context = &opened.context;
        let wanted = wanted(context, task)?;
        let survey = self.survey(&opened, true)?;
        let survey: Vec<Seen> = survey
            .into_iter()
            .filter(|seen| wanted.get(seen.id.index()) == Some(&true))
            .collect();
        let labels = survey
            .iter()
            .filter_map(|seen| Some(&*context.instance(seen.id)?.0.label));
        let previous = self
            .journal()?
            .last_manifests(&opened.pipeline_path, labels);
        let history = History::read(self.journal()?, &opened.pipeline_path);
        let instances = survey.into_iter().filter_map(|seen| {
            let (instance, task) = context.instance(seen.id)?;
            let label = instance.label.to_string();
            let cached = seen.state == PlanState::Cached;
            let reasons = match (seen.state, &seen.prepared) {
                (PlanState::Run { reasons }, _) => reasons,
                (PlanState::Unknown { waits_for }, _) => {
                    vec![format!(
                        "its inputs are known once {} has run",
                        waits_for.join(", ")
                    )]
                }
                (PlanState::Cached, Some(prepared)) => history.explain(context, prepared, &label),
                (PlanState::Cached, None) => Vec::new(),
            };
            Some(WhyInstance {
                task: task.name.clone(),
                cached,
                digest: seen.prepared.map(|prepared| prepared.digest),
                previous: previous.get(&label).copied(),
                reasons,
                label,
            })
        });
        Ok(WhyReport {
            pipeline: context.plan.pipeline.name.clone(),
            instances: instances.collect(),
        })
    }

    /// Says of everything that would run what makes it.
    pub(crate) fn add_reasons(&self, opened: &Opened, seen: &mut [Seen]) -> Result<(), NodeError> {
        let context = &opened.context;
        let would_run = seen
            .iter()
            .filter(|seen| matches!(seen.state, PlanState::Run { .. }));
        let labels = would_run.filter_map(|seen| Some(&*context.instance(seen.id)?.0.label));
        let previous = self
            .journal()?
            .last_manifests(&opened.pipeline_path, labels);
        for seen in seen {
            let (PlanState::Run { reasons }, Some(prepared)) = (&mut seen.state, &seen.prepared)
            else {
                continue;
            };
            let label = context
                .instance(seen.id)
                .map_or("", |(instance, _)| &instance.label);
            reasons.extend(reasons_to_run(context, prepared, previous.get(label)));
        }
        Ok(())
    }
}

/// By instance: whether it was asked about.
pub(crate) fn wanted(context: &Context, task: Option<&str>) -> Result<Vec<bool>, NodeError> {
    let Some(name) = task else {
        return Ok(vec![true; context.plan.tasks.len()]);
    };
    let tasks = &context.plan.pipeline.tasks;
    let is_asked = |instance: &Instance| {
        *instance.label == *name
            || tasks
                .get(instance.task)
                .is_some_and(|task| task.name == name)
    };
    let wanted: Vec<bool> = context.plan.tasks.iter().map(is_asked).collect();
    if wanted.contains(&true) {
        return Ok(wanted);
    }
    let known = tasks
        .iter()
        .map(|task| task.name.as_str())
        .chain(context.plan.tasks.iter().map(|one| &*one.label));
    Err(NodeError::UnknownTask {
        name: name.to_owned(),
        suggestion: suggestion(name, known).map(str::to_owned),
    })
}

fn reasons_to_run(
    context: &Context,
    prepared: &Prepared,
    previous: Option<&Digest>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if !prepared.pure {
        let grants = prepared.manifest().map(|manifest| manifest.grants);
        let grants = grants.unwrap_or_default();
        let impure = [
            ("net", !grants.net.is_empty()),
            ("clock", grants.clock),
            ("random", grants.random),
        ];
        let names: Vec<&str> = impure
            .iter()
            .filter(|(_, granted)| *granted)
            .map(|(name, _)| *name)
            .collect();
        reasons.push(format!(
            "it is granted {}, so its result is never cached",
            names.join(", ")
        ));
    }
    match previous {
        None => reasons.push("it has not run before".to_owned()),
        Some(previous) if *previous == prepared.digest && prepared.pure => {
            reasons.push(
                "nothing changed, but there is no result: it failed, or the cache was emptied"
                    .to_owned(),
            );
        }
        Some(previous) => reasons.extend(changes(context, prepared, previous)),
    }
    reasons
}

/// What differs from an earlier manifest, one line each.
fn changes(context: &Context, prepared: &Prepared, previous: &Digest) -> Vec<String> {
    let old = context.store.manifest(previous, MAX_MANIFEST_BYTES as u64);
    let old = old.and_then(|bytes| Manifest::decode(&bytes).ok());
    let Some((old, new)) = old.zip(prepared.manifest()) else {
        return vec!["something changed, but what it was before is not known any more".to_owned()];
    };
    let mut lines = Vec::new();
    for change in diff(&old, &new) {
        match &change {
            Change::Input {
                prefix,
                old: Some(old),
                ..
            } => match files(context, prepared, prefix, old) {
                Some(files) => lines.extend(files),
                None => lines.push(change.to_string()),
            },
            _ => lines.push(change.to_string()),
        }
    }
    lines.truncate(MAX_REASONS);
    lines
}

/// The files that make an input tree differ from an earlier one, where both are known.
fn files(
    context: &Context,
    prepared: &Prepared,
    prefix: &str,
    old: &Digest,
) -> Option<Vec<String>> {
    let old = context.store.tree(old)?;
    let new = context.input_tree(prepared, prefix)?;
    let changes = diff_trees(&old, &new);
    let from = if context
        .plan
        .pipeline
        .tasks
        .iter()
        .any(|task| task.name == prefix)
    {
        format!("output of {prefix}: ")
    } else {
        String::new()
    };
    let folder = if from.is_empty() && !prefix.is_empty() {
        format!("{prefix}/")
    } else {
        String::new()
    };
    let line =
        |change: &FileChange| format!("{from}`{folder}{}` {}", change.path, change.difference);
    let mut lines: Vec<String> = changes.iter().take(MAX_FILES).map(line).collect();
    if let Some(more) = changes
        .len()
        .checked_sub(MAX_FILES)
        .filter(|more| *more > 0)
    {
        lines.push(format!("{from}{more} more files differ"));
    }
    Some(lines)
}

/// What instances were in the latest runs, the newest first.
struct History(Vec<BTreeMap<String, (Digest, Outcome)>>);

impl History {
    fn read(journal: &Journal, pipeline: &Path) -> History {
        let instances = |run: crate::journal::Run| {
            let rows = journal.instances(&run.id).into_iter();
            rows.filter_map(|row| Some((row.label, (row.digest?, row.outcome))))
                .collect()
        };
        History(
            journal
                .runs(Some(pipeline), RUNS_BACK)
                .into_iter()
                .map(instances)
                .collect(),
        )
    }

    /// Why a cached instance ran when it last did.
    fn explain(&self, context: &Context, prepared: &Prepared, label: &str) -> Vec<String> {
        let mut reasons = vec!["its result for exactly these inputs is in the cache".to_owned()];
        let mut runs = self.0.iter().filter_map(|run| run.get(label));
        let ran = |(digest, outcome): &&(Digest, Outcome)| {
            *digest == prepared.digest && *outcome == Outcome::Passed
        };
        if runs.any(|row| ran(&row)) {
            let before = runs.find(|(digest, _)| *digest != prepared.digest);
            match before {
                Some((before, _)) => {
                    let lines = changes(context, prepared, before).into_iter();
                    reasons.extend(lines.map(|line| format!("it last ran because: {line}")));
                }
                None => reasons.push("it last ran because it had not run before".to_owned()),
            }
        }
        reasons
    }
}
