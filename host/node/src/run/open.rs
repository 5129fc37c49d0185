//! A request → everything a run needs to know before anything starts.
//!
//! In this order, so that the cheap refusals come first: the project's files are listed, the pipeline expanded over
//! them, the filter applied, crates built (or, for a mere look, only asked whether they are up to date), components and
//! files digested. Components are loaded at the end, and only for a run: one that cannot run is refused before any
//! other has. Called by `run`, `plan`, `why` and `bundle`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sykli_core::expand::{self, Plan};
use sykli_core::id::Digest;
use sykli_core::pipeline::{Program, Task};
use sykli_runtime::{Component, Engine, LoadError};

use super::RunRequest;
use crate::build::{BuildRequest, TaskCrate};
use crate::events::RunEvent;
use crate::interrupt::Interrupt;
use crate::needs::Programs;
use crate::node::{Node, NodeError};
use crate::prepare::Context;
use crate::worker;
use crate::workspace::{self, Why};

/// Left-out files that are named.
const MAX_SKIPPED_TOLD: usize = 5;
/// The largest component that is read, bytes.
const MAX_COMPONENT_BYTES: u64 = 1 << 30;

/// What a request came to.
pub(crate) struct Opened {
    pub(crate) context: Context,
    /// By instance: whether the filter wants it; `None` for all.
    pub(crate) selected: Option<Vec<bool>>,
    pub(crate) programs: Programs,
    pub(crate) warnings: Vec<String>,
    /// Absolute; names the pipeline in the journal.
    pub(crate) pipeline_path: PathBuf,
}

/// Whether anything may be built.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// A run: crates are built.
    Run {
        events: &'a (dyn Fn(RunEvent) + Sync),
        interrupt: &'a Interrupt,
    },
    /// A look: a crate that is not up to date has no component.
    Look,
}

impl Node {
    /// Opens a request.
    pub(crate) fn open_run(
        &self,
        request: &RunRequest,
        purpose: Purpose<'_>,
    ) -> Result<Opened, NodeError> {
        let pipeline = &request.pipeline;
        let pipeline_path = std::path::absolute(&request.pipeline_path)
            .unwrap_or_else(|_| request.pipeline_path.clone());
        let mut warnings = Vec::new();
        let listed = workspace::list(&request.root, &pipeline.workspace_patterns())?;
        warnings.extend(skipped(&listed.skipped));
        let durations = self.journal()?.durations(&pipeline_path);
        let plan =
            expand::plan(pipeline, &listed.listing, &durations).map_err(NodeError::Pipeline)?;
        let selected = request
            .filter
            .as_ref()
            .map(|filter| filter.select(&plan))
            .transpose()?;
        let needed = needed(&plan, selected.as_deref());
        let threads = self.jobs(request.jobs);
        let store = self.store()?;
        // Before anything is built: a build may take long, and what a user edits meanwhile belongs to the next run.
        let files = workspace::digest(store, listed, threads)?;
        let found = self.programs(request, &needed, purpose)?;
        let env = pipeline
            .tasks
            .iter()
            .map(|task| environment(task, request.env.as_ref(), &mut warnings))
            .collect();
        let (components, paths) = found
            .into_iter()
            .map(|program| {
                program.map_or((None, None), |(digest, path)| (Some(digest), Some(path)))
            })
            .unzip();
        let context = Context::new(Arc::new(plan), store.clone(), files, components, env);
        Ok(Opened {
            context,
            selected,
            programs: Programs { paths, durations },
            warnings,
            pipeline_path,
        })
    }

    /// Digest and place of each needed task's component.
    fn programs(
        &self,
        request: &RunRequest,
        needed: &[bool],
        purpose: Purpose<'_>,
    ) -> Result<Vec<Option<(Digest, PathBuf)>>, NodeError> {
        let crates = self.crates(request, needed, purpose)?;
        let tasks = &request.pipeline.tasks;
        let mut found: Vec<Option<(Digest, PathBuf)>> = vec![None; tasks.len()];
        let mut paths: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (index, task) in tasks
            .iter()
            .enumerate()
            .filter(|(index, _)| needed.get(*index) == Some(&true))
        {
            match &task.program {
                Program::Component(path) => paths
                    .entry(request.root.join(path))
                    .or_default()
                    .push(index),
                program @ (Program::Crate(_) | Program::Tests(_)) => {
                    if let Some(slot) = found.get_mut(index) {
                        *slot = TaskCrate::of(program).and_then(|of| crates.get(&of).cloned());
                    }
                }
            }
        }
        let list: Vec<PathBuf> = paths
            .keys()
            .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
            .collect();
        let digests = workspace::digest_paths(self.store()?, &list, self.jobs(request.jobs));
        for (((_, indices), path), digest) in paths.into_iter().zip(list).zip(digests) {
            let first = indices.first().and_then(|index| tasks.get(*index));
            let digest = digest
                .map_err(|error| no_component(first, &path, &error.to_string()))?
                .digest;
            for index in indices {
                if let Some(slot) = found.get_mut(index) {
                    *slot = Some((digest, path.clone()));
                }
            }
        }
        Ok(found)
    }

    fn crates(
        &self,
        request: &RunRequest,
        needed: &[bool],
        purpose: Purpose<'_>,
    ) -> Result<BTreeMap<TaskCrate, (Digest, PathBuf)>, NodeError> {
        let wanted = request
            .pipeline
            .tasks
            .iter()
            .zip(needed)
            .filter(|(_, needed)| **needed);
        let crates: BTreeSet<TaskCrate> = wanted
            .filter_map(|(task, _)| TaskCrate::of(&task.program))
            .collect();
        let built = match purpose {
            Purpose::Run { events, interrupt } => {
                let crates = crates.into_iter().collect();
                let build = BuildRequest {
                    root: request.root.clone(),
                    crates,
                    force: false,
                };
                self.build(&build, &|event| events(RunEvent::Build(event)), interrupt)?
                    .crates
            }
            Purpose::Look => crates
                .into_iter()
                .filter_map(|of| self.built(&request.root, of))
                .collect(),
        };
        Ok(built
            .into_iter()
            .map(|built| (built.of, (built.digest, built.artifact)))
            .collect())
    }
}

impl Opened {
    /// Where the component of a declared task is, where that is known.
    pub(crate) fn program(&self, task: usize) -> Option<&Path> {
        self.programs.paths.get(task)?.as_deref()
    }

    /// Loads the component of every task that is part of the run, each once.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        threads: usize,
    ) -> Result<Vec<Option<Component>>, NodeError> {
        let tasks = &self.context.plan.pipeline.tasks;
        let mut wanted: BTreeMap<(Digest, sykli_runtime::Floats), usize> = BTreeMap::new();
        let key = |index: usize, task: &Task| {
            Some((self.context.component(index)?, worker::floats(task.floats)))
        };
        for (index, task) in tasks.iter().enumerate() {
            if let Some(key) = key(index, task) {
                wanted.entry(key).or_insert(index);
            }
        }
        let loaded = Mutex::new(BTreeMap::new());
        let queue = Mutex::new(wanted.iter());
        let load_all = || -> Result<(), NodeError> {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(((digest, floats), index)) = next else {
                    return Ok(());
                };
                let component = self.load_one(engine, *digest, *floats, *index)?;
                loaded
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert((*digest, *floats), component);
            }
        };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads.min(wanted.len()))
                .map(|_| scope.spawn(load_all))
                .collect();
            let mine = load_all();
            helpers
                .into_iter()
                .try_fold((), |(), helper| helper.join().unwrap_or(Ok(())))
                .and(mine)
        })?;
        let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(tasks
            .iter()
            .enumerate()
            .map(|(index, task)| loaded.get(&key(index, task)?).cloned())
            .collect())
    }

    fn load_one(
        &self,
        engine: &Engine,
        digest: Digest,
        floats: sykli_runtime::Floats,
        index: usize,
    ) -> Result<Component, NodeError> {
        let path = self
            .programs
            .paths
            .get(index)
            .cloned()
            .flatten()
            .unwrap_or_default();
        let loaded = engine.load_by_digest(digest.0, floats, || read_as(&path, digest));
        loaded.map_err(|source| {
            component_error(self.context.plan.pipeline.tasks.get(index), &path, source)
        })
    }
}

/// The file's bytes, if they are still what was digested.
fn read_as(path: &Path, digest: Digest) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_COMPONENT_BYTES {
        return Err(io::Error::other("it is larger than 1 GiB"));
    }
    let bytes = std::fs::read(path)?;
    if Digest::of(&bytes) == digest {
        Ok(bytes)
    } else {
        Err(io::Error::other("it changed while the run began"))
    }
}

fn component_error(task: Option<&Task>, path: &Path, source: LoadError) -> NodeError {
    NodeError::Component {
        task: task.map_or(String::new(), |task| task.name.clone()),
        path: path.to_owned(),
        source: Box::new(source),
    }
}

fn no_component(task: Option<&Task>, path: &Path, message: &str) -> NodeError {
    let message = if path.exists() {
        message.to_owned()
    } else {
        "there is no such file".to_owned()
    };
    NodeError::NoComponent {
        task: task.map_or(String::new(), |task| task.name.clone()),
        path: path.to_owned(),
        message,
    }
}

/// The declared tasks that are part of the run: selected ones and what they come after.
fn needed(plan: &Plan, selected: Option<&[bool]>) -> Vec<bool> {
    let tasks = &plan.pipeline.tasks;
    let Some(selected) = selected else {
        return vec![true; tasks.len()];
    };
    let mut needed = vec![false; tasks.len()];
    let wanted = plan
        .tasks
        .iter()
        .zip(selected)
        .filter(|(_, wanted)| **wanted);
    let mut open: Vec<usize> = wanted.map(|(instance, _)| instance.task).collect();
    while let Some(index) = open.pop() {
        if let Some(slot) = needed.get_mut(index).filter(|slot| !**slot) {
            *slot = true;
            open.extend(tasks.get(index).map_or(&[][..], |task| &task.after));
        }
    }
    needed
}

/// What the guest finds in its environment: what the pipeline says, and granted names that are set in `given`, else here.
fn environment(
    task: &Task,
    given: Option<&BTreeMap<String, String>>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut env = task.env.clone();
    let look = |name: &String| match given {
        Some(given) => given
            .get(name)
            .cloned()
            .ok_or(std::env::VarError::NotPresent),
        None => std::env::var(name),
    };
    for name in &task.grants.env {
        match look(name) {
            Ok(value) => {
                env.entry(name.clone()).or_insert(value);
            }
            Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => {
                warnings.push(format!(
                    "the variable {name}, granted to `{}`, is no text and left out",
                    task.name
                ));
            }
        }
    }
    env
}

fn skipped(skipped: &[workspace::Skipped]) -> Vec<String> {
    let line = |one: &workspace::Skipped| {
        let why = match one.why {
            Why::LeavesProject => "it is a link to a place outside the project",
            Why::LinkedFolder => "it is a link to a folder",
            Why::BrokenLink => "it is a link that leads nowhere",
            Why::NotUtf8 => "its name is not UTF-8",
            _ => "it is no regular file",
        };
        format!("`{}` is left out of the inputs: {why}", one.path)
    };
    let mut lines: Vec<String> = skipped.iter().take(MAX_SKIPPED_TOLD).map(line).collect();
    if let Some(more) = skipped
        .len()
        .checked_sub(MAX_SKIPPED_TOLD)
        .filter(|more| *more > 0)
    {
        lines.push(format!("{more} more files are left out of the inputs"));
    }
    lines
}
