//! A run that goes through the node that runs here: handed over by the control socket, shown from its events.
//!
//! What it shows is what a run of this process's own would show; it decides nothing. With `--detach` it says the run's name
//! and returns. Called by [`super`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sykli_node::control::Client;
use sykli_node::control::api::Submit;
use sykli_node::interrupt::Interrupt;

use super::{conclude, timeout};
use crate::args::RunArgs;
use crate::cmd::node::control_error;
use crate::cmd::{Context, Loaded, launch};
use crate::config::Format;
use crate::error::{CliError, Exit, Outcome};
use crate::render::json::{
    Counts, DetachedDoc, Event, EventLine, Instance, RunDoc, RunProblem, TaskSummary,
};
use crate::render::{self, Reporter, convert};

/// Follows the events of a run.
struct Follower {
    /// Asks the node to end the run, once.
    stop: Option<Client>,
    detach: bool,
    interrupt: Interrupt,
    reporter: Arc<Reporter>,
    seen: Seen,
}

/// What the events of a run came to.
#[derive(Default)]
struct Seen {
    run: String,
    pipeline: String,
    order: Vec<String>,
    instances: Vec<Instance>,
    warnings: Vec<String>,
    problems: Vec<RunProblem>,
    finished: Option<Event>,
}

/// See the module.
pub(super) fn run(context: &Context, args: &RunArgs, loaded: &Loaded) -> Outcome {
    let client = || Client::new(&context.resolved.settings.dirs.runtime);
    let submit = submit(args, loaded)?;
    let reporter = Arc::new(Reporter::new(context.format(), context.term, args.verbose));
    let interrupt = crate::interrupt::watch({
        let reporter = reporter.clone();
        move || {
            reporter.own(Event::Warning {
                message: "ending the run; once more leaves it to the node".to_owned(),
            })
        }
    });
    let mut follower = Follower {
        stop: Some(client()),
        detach: args.reach.detach,
        interrupt,
        reporter: reporter.clone(),
        seen: Seen::default(),
    };
    let ended = client().submit(&submit, &mut |line| follower.line(line));
    let seen = follower.seen;
    if let Err(error) = ended {
        reporter.finish();
        return Err(control_error(&error));
    }
    if args.reach.detach {
        reporter.finish();
        return Ok(detached(context, &seen));
    }
    let run = seen.run.clone();
    let Some(doc) = seen.document() else {
        reporter.finish();
        return Err(left(&run));
    };
    let status = doc.status;
    conclude(context, &reporter, doc);
    Ok(convert::exit_of(status))
}

fn submit(args: &RunArgs, loaded: &Loaded) -> Result<Submit, CliError> {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.display().to_string()
    };
    let timeout = args.timeout.as_deref().map(timeout).transpose()?;
    Ok(Submit {
        path: absolute(&loaded.at.path),
        root: absolute(&loaded.at.root),
        text: Some(loaded.source.text.clone()),
        reach: launch::mode(args.reach).into(),
        resume: args.reach.resume,
        filter: args.filter.clone(),
        no_cache: args.no_cache,
        keep_going: args.keep_going,
        timeout_ms: timeout.map(convert::millis),
        env: granted(loaded),
        detach: args.reach.detach,
    })
}

/// The variables that the pipeline's tasks are granted, as they are set here.
fn granted(loaded: &Loaded) -> BTreeMap<String, String> {
    let tasks = loaded.pipeline.tasks.iter();
    let names = tasks.flat_map(|task| &task.grants.env);
    names
        .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
        .collect()
}

fn detached(context: &Context, seen: &Seen) -> Exit {
    match context.format() {
        Format::Text => {
            render::out(&format!("{}\n", seen.run));
            render::err("the node goes on with it: `sykli status --watch` shows it\n");
        }
        format => render::document(
            &DetachedDoc {
                schema: "sykli.detached/1",
                run: seen.run.clone(),
            },
            format,
        ),
    }
    Exit::Passed
}

/// The stream ended before the run did.
fn left(run: &str) -> CliError {
    CliError::failed(
        "run::left",
        format!("the run {run} goes on, or its node has ended"),
    )
    .hint("`sykli status` says which; `sykli run --resume` goes on with one that was interrupted")
}

impl Follower {
    /// Asks once, on a thread of its own: this one is in the middle of a request.
    fn ask_to_end(&mut self) {
        if self.seen.run.is_empty() {
            return;
        }
        if let Some(client) = self.stop.take() {
            let run = self.seen.run.clone();
            // The stream goes on to the run's last word. Where the node is gone it ends as well.
            std::thread::spawn(move || drop(client.interrupt(&run)));
        }
    }

    fn line(&mut self, line: &str) -> ControlFlow<()> {
        // A line of a newer node, or one that says how many were left out.
        let Ok(EventLine { event }) = serde_json::from_str(line) else {
            return ControlFlow::Continue(());
        };
        self.seen.note(&event);
        if self.detach && !self.seen.run.is_empty() {
            return ControlFlow::Break(());
        }
        if !matches!(event, Event::Finished { .. }) {
            self.reporter.own(event);
        }
        match self.interrupt.count() {
            0 => ControlFlow::Continue(()),
            1 => {
                self.ask_to_end();
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Planned {
                run,
                pipeline,
                tasks,
            } => {
                self.run.clone_from(run);
                self.pipeline.clone_from(pipeline);
                self.order = tasks.iter().map(|task| task.name.clone()).collect();
            }
            Event::Warning { message } => self.warnings.push(message.clone()),
            Event::Problem(problem) => self.problems.push(problem.clone()),
            Event::TaskSettled(instance) => self.instances.push(instance.clone()),
            Event::Finished { .. } => self.finished = Some(event.clone()),
            _ => {}
        }
    }

    /// The run's document, as far as its events tell.
    fn document(self) -> Option<RunDoc> {
        let Some(Event::Finished {
            status,
            exit_code,
            wall_ms,
            counts,
            exported,
            elsewhere,
        }) = self.finished
        else {
            return None;
        };
        let mut sums: BTreeMap<String, (Counts, u64, u64)> = BTreeMap::new();
        for one in &self.instances {
            let (counts, wall_ms, fuel) = sums.entry(one.task.to_string()).or_default();
            counts.add(one.state);
            *wall_ms += one.wall_ms;
            *fuel += one.fuel;
        }
        let task = |name: String| {
            let (counts, wall_ms, fuel) = sums.remove(&name).unwrap_or_default();
            TaskSummary {
                name,
                state: counts.worst(),
                counts,
                wall_ms,
                fuel,
            }
        };
        Some(RunDoc {
            schema: "sykli.run/1",
            run: self.run,
            pipeline: self.pipeline,
            status,
            exit_code,
            wall_ms,
            counts,
            tasks: self.order.into_iter().map(task).collect(),
            instances: self.instances,
            exported,
            unchanged: 0,
            warnings: self.warnings,
            problems: self.problems,
            elsewhere,
        })
    }
}
