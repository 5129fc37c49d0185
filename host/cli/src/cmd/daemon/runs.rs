//! The runs that a node was given: each on a thread of its own, its events kept as lines, the last ended ones remembered.
//!
//! A run that is detached goes on when whoever submitted it is gone. At most [`MAX_RUNS`] go on at once, [`KEPT`] ended
//! ones are remembered. Decides nothing about tasks. Called by the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sykli_core::machine::{Mode, StepKind};
use sykli_core::snapshot::Snapshot;
use sykli_node::control::api::{
    ExecutorView, InstanceView, LogLine, MAX_INSTANCES, Progress, Reach as Far, RunView, StepView,
    Submit, TaskView,
};
use sykli_node::control::{Feed, Notice, Notices, Refused, RefusedKind, Reply, Started};
use sykli_node::events::{NodeRef, RunEvent, Stream};
use sykli_node::interrupt::Interrupt;
use sykli_node::meshnode::Handle;
use sykli_node::node::Node;
use sykli_node::run::{Reach, RunRequest};

use crate::cmd::run::filter;
use crate::cmd::{Context, Loaded, launch, load, node_error};
use crate::error::CliError;
use crate::render::convert::{self, Converter, Listed};
use crate::render::json::Event;
use crate::render::reasons;

/// Runs at once.
const MAX_RUNS: usize = 64;
/// Ended runs that are remembered.
const KEPT: usize = 64;
/// Instances of a run whose way is remembered, and steps of each.
const MAX_WAYS: usize = 10_000;
const MAX_STEPS: usize = 32;

/// See the module.
pub(super) struct Runs {
    context: Context,
    node: Node,
    handle: Handle,
    notices: Notices,
    table: Mutex<VecDeque<Arc<Entry>>>,
}

/// A run.
struct Entry {
    interrupt: Interrupt,
    began: Instant,
    detached: bool,
    reach: Far,
    feed: Feed,
    logs: Feed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: String,
    pipeline: String,
    snapshot: Option<Snapshot>,
    ended: Option<(String, Duration)>,
    ways: BTreeMap<Arc<str>, Way>,
}

/// What is known of an instance on its way.
#[derive(Default)]
struct Way {
    task: Arc<str>,
    settled: Option<String>,
    attempt: u32,
    executor: Option<NodeRef>,
    stolen: bool,
    since: Option<Instant>,
    /// How long it ran, once it has ended.
    took_ms: Option<u64>,
    steps: VecDeque<(Instant, NodeRef, StepKind)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    pub(super) fn new(context: Context, node: Node, handle: Handle, notices: Notices) -> Runs {
        Runs {
            context,
            node,
            handle,
            notices,
            table: Mutex::default(),
        }
    }

    /// Makes a run; answers once it has begun, or cannot.
    pub(super) fn submit(self: &Arc<Self>, submit: Submit, reply: Reply<Started>) {
        let going = lock(&self.table)
            .iter()
            .filter(|entry| lock(&entry.state).ended.is_none())
            .count();
        if going >= MAX_RUNS {
            return reply.refuse(Refused::new(
                RefusedKind::Busy,
                "run::too-many",
                format!("{MAX_RUNS} runs go on here already"),
            ));
        }
        let runs = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("sykli-run".to_owned())
            .spawn(move || runs.make(&submit, reply));
        if let Err(error) = started {
            // The reply went with the thread: whoever asked is told that nobody answers.
            tracing::warn!(%error, "no thread for a run");
        }
    }

    fn make(&self, submit: &Submit, reply: Reply<Started>) {
        let prepared = self.request(submit);
        let (loaded, request, reach) = match prepared {
            Ok(ready) => ready,
            Err(error) => return reply.refuse(refused(&error)),
        };
        let entry = Arc::new(Entry {
            interrupt: Interrupt::new(),
            began: Instant::now(),
            detached: submit.detach,
            reach: submit.reach,
            feed: Feed::new(),
            logs: Feed::new(),
            state: Mutex::default(),
        });
        let converter = Mutex::new(Converter::new());
        let first = Mutex::new(Some(reply));
        let events = |event: RunEvent| {
            entry.note(&event);
            if let RunEvent::Planned { run, pipeline, .. } = &event {
                self.remember(&entry);
                self.notices.say(Notice::RunBegan {
                    run: run.clone(),
                    pipeline: pipeline.clone(),
                });
                if let Some(reply) = lock(&first).take() {
                    reply.done(Started {
                        run: run.clone(),
                        events: entry.feed.clone(),
                    });
                }
            }
            let mut converter = lock(&converter);
            for event in converter.events(event) {
                entry.say(&converter, event);
            }
        };
        let ran = match submit.reach {
            Far::Solo => self.node.run(request, &events, &entry.interrupt),
            Far::Mesh | Far::Swarm => {
                self.node
                    .run_in_mesh(request, &reach, &events, &entry.interrupt)
            }
        };
        match ran {
            Ok(report) => {
                let how = report.status.outcome.name();
                let doc = convert::run_doc(report, &loaded.at.root, Listed::Failed);
                entry.say(
                    &lock(&converter),
                    Event::Finished {
                        status: doc.status,
                        exit_code: doc.exit_code,
                        wall_ms: doc.wall_ms,
                        counts: doc.counts,
                        exported: doc.exported,
                        elsewhere: doc.elsewhere,
                    },
                );
                self.ended(&entry, how);
            }
            Err(error) => {
                if let Some(reply) = lock(&first).take() {
                    reply.refuse(refused(&node_error(&error, Some(&loaded))));
                }
                self.ended(&entry, "failed");
            }
        }
    }

    fn request(&self, submit: &Submit) -> Result<(Loaded, RunRequest, Reach), CliError> {
        let args = crate::args::PipelineArgs {
            pipeline: Some(PathBuf::from(&submit.path)),
            from: None,
        };
        let context = self.context.for_project(Path::new(&submit.root))?;
        let loaded = match &submit.text {
            None => load(&context, &args)?,
            Some(text) => crate::cmd::loaded(
                &context,
                PathBuf::from(&submit.path),
                PathBuf::from(&submit.root),
                text.clone(),
            )?,
        };
        let request = RunRequest {
            jobs: context.resolved.settings.jobs,
            env: Some(submit.env.clone()),
            keep_going: submit.keep_going,
            use_cache: !submit.no_cache,
            filter: filter(submit.filter.as_deref())?,
            timeout: submit.timeout_ms.map(Duration::from_millis),
            ..crate::cmd::run::request(&loaded)
        };
        let flags = crate::args::ReachArgs {
            resume: submit.resume,
            ..Default::default()
        };
        let reach = Reach {
            node: self.handle.clone(),
            mode: match submit.reach {
                Far::Solo => Mode::Solo,
                Far::Mesh => Mode::Mesh,
                Far::Swarm => Mode::Swarm,
            },
            resume: launch::resumed(&self.node, flags, &loaded)?,
        };
        Ok((loaded, request, reach))
    }

    fn remember(&self, entry: &Arc<Entry>) {
        let mut table = lock(&self.table);
        table.push_front(Arc::clone(entry));
        while table.len() > KEPT + MAX_RUNS {
            table.pop_back();
        }
    }

    fn ended(&self, entry: &Entry, how: &str) {
        entry.feed.end();
        entry.logs.end();
        let mut state = lock(&entry.state);
        state.ended = Some((how.to_owned(), entry.began.elapsed()));
        self.notices.say(Notice::RunEnded {
            run: state.run.clone(),
            how: how.to_owned(),
        });
    }

    /// The node ends: so do its runs.
    pub(super) fn end(&self) {
        for entry in &*lock(&self.table) {
            entry.interrupt.raise();
        }
    }

    pub(super) fn list(&self) -> Vec<RunView> {
        lock(&self.table).iter().map(|entry| entry.view()).collect()
    }

    fn find(&self, run: &str) -> Result<Arc<Entry>, Refused> {
        let table = lock(&self.table);
        let found = table.iter().find(|entry| lock(&entry.state).run == run);
        found.cloned().ok_or_else(|| {
            Refused::no_such("run", run).hint("`sykli history` lists those of the past")
        })
    }

    pub(super) fn events(&self, run: &str) -> Result<Feed, Refused> {
        self.find(run).map(|entry| entry.feed.clone())
    }

    pub(super) fn interrupt(&self, run: &str) -> Result<(), Refused> {
        self.find(run).map(|entry| {
            entry.interrupt.raise();
        })
    }

    /// The newest run that has this task.
    fn with_task(&self, name: &str) -> Result<Arc<Entry>, Refused> {
        let table = lock(&self.table);
        let has = |entry: &&Arc<Entry>| lock(&entry.state).has(name);
        let found = table.iter().find(has);
        found.cloned().ok_or_else(|| {
            Refused::no_such("task", name).hint("`sykli task NAME` looks into the journal too")
        })
    }

    pub(super) fn task(&self, name: &str) -> Result<TaskView, Refused> {
        self.with_task(name).map(|entry| entry.task(name))
    }

    pub(super) fn logs(&self, name: &str) -> Result<Feed, Refused> {
        self.with_task(name).map(|entry| entry.logs.clone())
    }
}

impl State {
    fn has(&self, name: &str) -> bool {
        self.ways
            .iter()
            .any(|(label, way)| **label == *name || *way.task == *name)
    }

    fn way(&mut self, task: &Arc<str>, label: &Arc<str>) -> Option<&mut Way> {
        if self.ways.len() >= MAX_WAYS && !self.ways.contains_key(label) {
            return None;
        }
        let way = self.ways.entry(label.clone()).or_default();
        way.task = task.clone();
        Some(way)
    }
}

impl Entry {
    fn say(&self, converter: &Converter, event: Event) {
        // Plain data with text keys: it always serialises.
        let line = serde_json::to_string(&converter.doc(event)).unwrap_or_default();
        self.feed.push(line);
    }

    /// Keeps what a look at a task or at the run wants to know.
    fn note(&self, event: &RunEvent) {
        let mut state = lock(&self.state);
        match event {
            RunEvent::Planned { run, pipeline, .. } => {
                state.run.clone_from(run);
                state.pipeline.clone_from(pipeline);
            }
            RunEvent::Snapshot(snapshot) => state.snapshot = Some((**snapshot).clone()),
            RunEvent::TaskStarted {
                task,
                label,
                attempt,
            } => {
                if let Some(way) = state.way(task, label) {
                    way.attempt = *attempt;
                    way.executor = None;
                    way.since = Some(Instant::now());
                }
            }
            RunEvent::TaskStep {
                task,
                label,
                attempt,
                node,
                what,
            } => {
                if let Some(way) = state.way(task, label) {
                    way.step(*attempt, node, what);
                }
            }
            RunEvent::TaskSettled(settled) => {
                if let Some(way) = state.way(&settled.task, &settled.label) {
                    way.settled = Some(settled.state.name().to_owned());
                    way.attempt = settled.attempts;
                    way.took_ms = Some(settled.wall_ms);
                    way.executor = settled.node.clone().or_else(|| way.executor.take());
                }
            }
            RunEvent::TaskOutput {
                label,
                stream,
                bytes,
                ..
            } => {
                let line = LogLine {
                    label: label.to_string(),
                    stream: match stream {
                        Stream::Stdout => "stdout",
                        Stream::Stderr => "stderr",
                    }
                    .to_owned(),
                    text: String::from_utf8_lossy(bytes).into_owned(),
                };
                self.logs
                    .push(serde_json::to_string(&line).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn view(&self) -> RunView {
        let state = lock(&self.state);
        let counts = state
            .snapshot
            .as_ref()
            .map(|it| it.counts)
            .unwrap_or_default();
        let on = |way: &&Way| way.settled.is_none() && way.executor.is_some();
        let elsewhere = u32::try_from(state.ways.values().filter(on).count()).unwrap_or(u32::MAX);
        let elapsed = match &state.ended {
            Some((_, took)) => *took,
            None => self.began.elapsed(),
        };
        RunView {
            run: state.run.clone(),
            pipeline: state.pipeline.clone(),
            reach: self.reach,
            detached: self.detached,
            ended: state.ended.as_ref().map(|(how, _)| how.clone()),
            elapsed_ms: convert::millis(elapsed),
            total: counts.total,
            settled: counts.settled.settled(),
            failed: counts.settled.failed,
            here: counts.running.saturating_sub(elsewhere),
            elsewhere,
        }
    }

    fn task(&self, name: &str) -> TaskView {
        let state = lock(&self.state);
        let named = |(label, way): &(&Arc<str>, &Way)| ***label == *name || *way.task == *name;
        let all: Vec<_> = state.ways.iter().filter(named).collect();
        let task = all
            .first()
            .map_or(String::new(), |(_, way)| way.task.to_string());
        let running = state.snapshot.as_ref().map(|it| it.running.as_slice());
        let instance = |(label, way): &(&Arc<str>, &Way)| {
            let mut running = running.unwrap_or_default().iter();
            let live = running.find(|one| one.label == ***label);
            way.view(
                label,
                live.map(|one| Progress {
                    done: one.done,
                    total: one.total,
                    message: one.message.clone(),
                }),
            )
        };
        TaskView {
            schema: "sykli.task-live/1".to_owned(),
            run: state.run.clone(),
            task,
            instances: all.iter().take(MAX_INSTANCES).map(instance).collect(),
            more: u32::try_from(all.len().saturating_sub(MAX_INSTANCES)).unwrap_or(u32::MAX),
        }
    }
}

impl Way {
    fn step(&mut self, attempt: u32, node: &NodeRef, what: &StepKind) {
        self.attempt = attempt;
        match what {
            StepKind::Offered { asked } => self.stolen = *asked,
            StepKind::Accepted | StepKind::Started => {
                self.executor = Some(node.clone());
                self.since = Some(Instant::now());
            }
            StepKind::Lost { .. } => {
                self.executor = None;
                self.since = None;
            }
            _ => {}
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.pop_front();
        }
        self.steps
            .push_back((Instant::now(), node.clone(), what.clone()));
    }

    fn view(&self, label: &str, progress: Option<Progress>) -> InstanceView {
        let last = self.steps.back().map(|(_, _, what)| what);
        let state = match (&self.settled, last) {
            (Some(settled), _) => settled.as_str(),
            (None, Some(StepKind::Offered { .. } | StepKind::Pending)) => "offered",
            (None, Some(StepKind::Accepted)) => "sending",
            // Nobody has it: it has not begun, or not again.
            _ if self.since.is_none() => "waiting",
            _ => "running",
        };
        let steps = self.steps.iter().map(|(at, node, what)| {
            let word = serde_json::to_value(reasons::name(what)).unwrap_or_default();
            StepView {
                ago_ms: convert::millis(at.elapsed()),
                peer: node.name.clone(),
                what: word.as_str().unwrap_or_default().to_owned(),
                why: reasons::of(what, &node.name).message,
            }
        });
        InstanceView {
            label: label.to_owned(),
            state: state.to_owned(),
            attempt: self.attempt,
            executor: self.executor.as_ref().map(|node| ExecutorView {
                id: node.id.clone(),
                name: node.name.clone(),
                address: String::new(),
                here: false,
            }),
            stolen: self.stolen,
            elapsed_ms: self.took_ms.unwrap_or_else(|| {
                let since = self.since.map(|since| since.elapsed());
                convert::millis(since.unwrap_or_default())
            }),
            progress: progress.unwrap_or_default(),
            steps: steps.collect(),
        }
    }
}

fn refused(error: &CliError) -> Refused {
    let mut no = Refused::new(
        RefusedKind::Invalid,
        error.code.to_string(),
        error.message.clone(),
    );
    no.hints.clone_from(&error.hints);
    no
}
