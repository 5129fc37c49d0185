//! One run of a pipeline: core's actions performed, its events fed back.
//!
//! ```text
//! open.rs     request → programs, listing, plan, selection          (once, before anything starts)
//! drive.rs    the loop: owns core's `Run`, hears from workers, sends events to the renderer
//! mailbox.rs  what workers tell the loop, a box each
//! pool.rs     worker threads and the queues they take jobs from
//! crew.rs     what those threads do
//! settle.rs   results and journal rows on their way to disk; an event is told only after its commit
//! outputs.rs  what a guest left under /out → the output tree
//! export.rs   declared outputs → the project folder
//! decider.rs  who decides: this run's own machine, or the mesh node's
//! reach.rs    how a run reaches other nodes
//! away.rs     what the mesh node tells the loop: what ran elsewhere
//! failure.rs  what happened → what a person reads, with the line that would grant what was refused
//! ```
//!
//! It decides nothing about order, retries or skipping: core does. Called by the command line through [`Node::run`].

mod away;
mod crew;
mod decider;
mod drive;
mod export;
pub(crate) mod failure;
mod mailbox;
pub(crate) mod open;
pub(crate) mod outputs;
mod pool;
mod reach;
mod settle;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use sykli_core::id::RunId;
use sykli_core::machine::Mode;
use sykli_core::pipeline::Pipeline;
use sykli_core::run::{Run, RunOptions, RunOutcome, RunStatus};
use sykli_runtime::{Component, Sandbox};

use crate::events::{Counts, InstanceReport, PlannedTask, RunEvent, RunReport, TaskReport};
use crate::filter::Filter;
use crate::interrupt::Interrupt;
use crate::journal::{Journal, NewRun, Ticket};
use crate::node::{Node, NodeError};
use crate::prepare::Context;
use crew::Crew;
use decider::Decider;
use drive::{Drive, End, Told};
use export::Exported;
use mailbox::Mailbox;
use open::{Opened, Purpose};
use pool::{Ending, Pool};
pub use reach::Reach;
use reach::Reaching;
use settle::Posted;

/// Instances of short tasks that wait beyond each slot: enough for the loop to sleep for a while, few enough that what
/// is urgent does not wait long behind them (`SHORT_US` each).
const HAND_AHEAD: u32 = 64;
/// Instances that are prepared, or being prepared, for each slot: look-ups in the store go together in batches.
const PREPARE_AHEAD: u32 = 128;
/// Rounds of one run: each after the first makes results anew that the cache turned out to have lost.
const MAX_ROUNDS: u32 = 4;

/// What `sykli run` was asked.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Parsed and valid.
    pub pipeline: Pipeline,
    /// Where it was read from; names it in the journal. For a pipeline from standard input: `root` joined with `-`.
    pub pipeline_path: PathBuf,
    /// The project folder: the pipeline's paths are relative to it.
    pub root: PathBuf,
    /// Guests at once, at most as many as the node has jobs; 0 for the node's default.
    pub jobs: u32,
    /// Go on with what does not depend on a failure.
    pub keep_going: bool,
    /// Take results from the cache. They are written to it either way.
    pub use_cache: bool,
    /// Which instances are wanted. What they come after is taken from the cache or run too.
    pub filter: Option<Filter>,
    /// Bound on the whole run.
    pub timeout: Option<Duration>,
    /// Where granted environment variables come from: the environment of whoever asked, where that is another process;
    /// otherwise this one's. Values never reach a log.
    pub env: Option<BTreeMap<String, String>>,
    /// Write declared outputs of passed tasks (those with `export`) into `root`.
    pub export: bool,
}

impl RunRequest {
    /// A request with the defaults of `sykli run`.
    pub fn new(pipeline: Pipeline, pipeline_path: PathBuf, root: PathBuf) -> RunRequest {
        RunRequest {
            pipeline,
            pipeline_path,
            root,
            jobs: 0,
            keep_going: false,
            use_cache: true,
            filter: None,
            timeout: None,
            env: None,
            export: true,
        }
    }
}

impl Node {
    /// Runs a pipeline here. `events` is called from several threads, for each instance in order.
    ///
    /// # Errors
    /// [`NodeError`] where nothing could be run; what failed while it ran is in the report.
    pub fn run(
        &self,
        request: RunRequest,
        events: &(dyn Fn(RunEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<RunReport, NodeError> {
        self.run_as(request, None, events, interrupt)
    }

    /// Runs a pipeline, here and on other nodes. As [`Node::run`] otherwise.
    ///
    /// # Errors
    /// [`NodeError`] where nothing could be run; what failed while it ran is in the report.
    pub fn run_in_mesh(
        &self,
        request: RunRequest,
        reach: &Reach,
        events: &(dyn Fn(RunEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<RunReport, NodeError> {
        self.run_as(request, Some(reach), events, interrupt)
    }

    fn run_as(
        &self,
        request: RunRequest,
        reach: Option<&Reach>,
        events: &(dyn Fn(RunEvent) + Sync),
        interrupt: &Interrupt,
    ) -> Result<RunReport, NodeError> {
        let began = Instant::now();
        // Each takes a while and needs no other. Why one could not be made is asked where it is needed. The engine is made
        // by this thread: its part of the heap grows in larger steps than another thread's.
        let mut opened = std::thread::scope(|scope| {
            // Without a thread each is opened where it is first asked for.
            let another = std::thread::Builder::new;
            let _ = another().spawn_scoped(scope, || self.store().map(|_| ()));
            let _ = another().spawn_scoped(scope, || self.journal().map(|_| ()));
            let _ = self.engine();
            self.open_run(&request, Purpose::Run { events, interrupt })
        })?;
        for message in &opened.warnings {
            events(RunEvent::Warning {
                message: message.clone(),
            });
        }
        let components = opened.load(self.engine()?, self.jobs(request.jobs))?;
        if interrupt.is_raised() {
            return Err(NodeError::Interrupted);
        }
        let journal = self.journal()?;
        let plan = opened.context.plan.clone();
        let (run, begun) = begin(journal, &opened, reach)?;
        let reaching = reach.map(|reach| reach::reaching(reach, &run, &opened));
        let signed = reach::recovered(reach, &opened.context.store, &run)?;
        let journalled = reach::journalled(journal, &run, events);
        // A solo run's tasks go nowhere.
        let events = match reach {
            Some(_) => &journalled as &(dyn Fn(RunEvent) + Sync),
            None => events,
        };
        let warnings = std::mem::take(&mut opened.warnings);
        let mut told = Told {
            instances: vec![None; plan.tasks.len()],
            warnings,
            signed,
            ..Told::default()
        };
        let (mut status, exported, ending) = std::thread::scope(|scope| {
            let (settler, settled) = sync_channel(settle::MAX_WAITING);
            let serving = scope.spawn({
                let (run, store) = (&run, opened.context.store.clone());
                let left = plan.tasks.len();
                move || settle::serve((&settled, left), &store, journal, run, events)
            });
            let mut ended = self.rounds(
                (&request, reaching.as_ref()),
                (opened, begun),
                &components,
                events,
                &settler,
                &mut told,
                interrupt,
            );
            if let Ok((status, exported, _)) = &mut ended {
                // What was declared and is not where it belongs makes no success.
                if !exported.refused.is_empty() && status.outcome == RunOutcome::Passed {
                    status.outcome = RunOutcome::Failed;
                }
                // Gone only when its thread panicked: the run is then one that was interrupted.
                let passed = status.outcome == RunOutcome::Passed;
                let _ = settler.send(Posted::Finished { passed });
            }
            drop(settler);
            told.warnings.extend(serving.join().unwrap_or_default());
            ended
        })?;
        // Meanwhile they have ended.
        ending.into_iter().for_each(Ending::wait);
        tell(&exported, events, &mut told.warnings);
        status.counts = counts(told.instances.iter().flatten());
        events(RunEvent::Finished { status });
        Ok(report(&run, &plan, status, told, exported, began))
    }

    /// Rounds until one ends without a result lost on the way.
    #[allow(clippy::too_many_arguments)]
    fn rounds(
        &self,
        (request, reaching): (&RunRequest, Option<&Reaching<'_>>),
        (opened, begun): (Opened, Begun<'_>),
        components: &[Option<Component>],
        events: &(dyn Fn(RunEvent) + Sync),
        settler: &SyncSender<Posted>,
        told: &mut Told,
        interrupt: &Interrupt,
    ) -> Result<(RunStatus, Exported, Vec<Ending>), NodeError> {
        let Opened {
            context, selected, ..
        } = opened;
        let mut context = Arc::new(context);
        let (mut begun, mut ending) = (Some(begun), Vec::new());
        let mut round = 1;
        // A guest that waited for one of the engine's slots would wait in its own time.
        let slots = self.jobs(request.jobs).min(self.engine()?.slots());
        loop {
            let options = RunOptions {
                slots: u32::try_from(slots).unwrap_or(u32::MAX),
                hand_ahead: HAND_AHEAD,
                prepare_ahead: PREPARE_AHEAD,
                granted: false,
                keep_going: request.keep_going,
                timeout_ms: request
                    .timeout
                    .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                selected: selected.clone(),
            };
            let use_cache = request.use_cache || round > 1;
            let (end, ends) = self.round(
                (&context, begun.take()),
                (reaching, round, options),
                (components, use_cache, slots),
                events,
                settler,
                told,
                interrupt,
            )?;
            ending.extend(ends);
            let interrupted = interrupt.is_raised();
            let mut exported = Exported::default();
            if request.export && !interrupted && !end.lost {
                exported = export::export(&context, request, selected.as_deref());
            }
            let again = (end.lost || exported.lost) && !interrupted && round < MAX_ROUNDS;
            if !again {
                return Ok((end.status, exported, ending));
            }
            round += 1;
            context = Arc::new(context.again());
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn round(
        &self,
        (context, begun): (&Arc<Context>, Option<Begun<'_>>),
        (reaching, round, options): (Option<&Reaching<'_>>, u32, RunOptions),
        (components, use_cache, slots): (&[Option<Component>], bool, usize),
        events: &(dyn Fn(RunEvent) + Sync),
        settler: &SyncSender<Posted>,
        told: &mut Told,
        interrupt: &Interrupt,
    ) -> Result<(End, Option<Ending>), NodeError> {
        // One more than there are slots, so that what is in the cache is found while all slots run something long.
        let (executors, helpers) = (slots, 1);
        let mailbox = Mailbox::new(executors + helpers + usize::from(reaching.is_some()));
        let bundles = reaching.map(|reaching| reaching.bundles(context, components));
        let crew = Crew {
            context: context.clone(),
            sandbox: Sandbox::new(self.engine()?.clone()),
            components: components.to_vec(),
            use_cache,
            asking: reaching
                .zip(bundles.as_ref())
                .map(|(reaching, bundles)| reaching.asking(bundles)),
            mailbox: mailbox.clone(),
        };
        let pool = Pool::start(executors, helpers, &Arc::new(crew)).map_err(NodeError::Threads)?;
        // While it is written the threads come up.
        if let Some(begun) = begun {
            begun.wait(events)?;
        }
        // Only a ring: never blocks, so that it may be raised from anywhere, a renderer included.
        let bell = mailbox.clone();
        let listening = interrupt.listen(move |_| bell.ring());
        let decider = match reaching.zip(bundles.as_ref()) {
            None => Decider::Own(Box::new(Run::new(context.plan.clone(), options))),
            Some((reaching, bundles)) => reaching.submit(
                (context, bundles),
                (round, options),
                (&mailbox, executors + helpers),
            )?,
        };
        let end = Drive::new(
            context.clone(),
            decider,
            &pool,
            events,
            settler.clone(),
            told,
            interrupt,
        )
        .run(&mailbox);
        // A guest that is given up on may be talking to nobody right now.
        mailbox.close();
        drop(listening);
        let ending = end.quiet.then(|| pool.finish());
        Ok((end, ending))
    }
}

/// What the export has to say.
fn tell(exported: &Exported, events: &(dyn Fn(RunEvent) + Sync), warnings: &mut Vec<String>) {
    for problem in &exported.refused {
        events(RunEvent::Problem(problem.clone()));
    }
    for message in &exported.warnings {
        events(RunEvent::Warning {
            message: message.clone(),
        });
        warnings.push(message.clone());
    }
}

/// A run whose name is on its way into the journal, and what is told once it is there. Nothing runs before.
struct Begun<'a> {
    journal: &'a Journal,
    /// None where it is there.
    ticket: Option<Ticket>,
    planned: RunEvent,
}

impl Begun<'_> {
    fn wait(self, events: &(dyn Fn(RunEvent) + Sync)) -> Result<(), NodeError> {
        if let Some(ticket) = &self.ticket {
            self.journal.begun(ticket)?;
        }
        events(self.planned);
        Ok(())
    }
}

/// Names the run in the journal.
fn begin<'a>(
    journal: &'a Journal,
    opened: &Opened,
    reach: Option<&Reach>,
) -> Result<(RunId, Begun<'a>), NodeError> {
    let plan = &opened.context.plan;
    let (pipeline, tasks) = (plan.pipeline.name.clone(), planned(opened));
    let new = NewRun {
        pipeline: opened.pipeline_path.clone(),
        name: pipeline.clone(),
        instances: u32::try_from(plan.tasks.len()).unwrap_or(u32::MAX),
        started: SystemTime::now(),
        mode: reach.map_or(Mode::Solo, |reach| reach.mode),
        tasks: tasks.clone(),
    };
    let resumed = match reach {
        Some(reach) => reach.resumable(journal)?,
        None => None,
    };
    let (run, ticket) = match resumed {
        None => {
            let (run, ticket) = journal.start_run(new);
            (run, Some(ticket))
        }
        Some(run) => {
            journal.resume_run(&run, new)?;
            (run, None)
        }
    };
    let planned = RunEvent::Planned {
        run: run.to_string(),
        pipeline,
        tasks,
    };
    let begun = Begun {
        journal,
        ticket,
        planned,
    };
    Ok((run, begun))
}

/// The declared tasks as they are shown.
fn planned(opened: &Opened) -> Vec<PlannedTask> {
    let plan = &opened.context.plan;
    let tasks = plan.order.iter().filter_map(|index| {
        let (task, group) = (plan.pipeline.tasks.get(*index)?, plan.groups.get(*index)?);
        let instances = group.instances.end.saturating_sub(group.instances.start);
        let wanted = |id: &u32| {
            opened
                .selected
                .as_ref()
                .is_none_or(|selected| selected.get(*id as usize) == Some(&true))
        };
        let selected = group.instances.clone().filter(wanted).count();
        let name = |index: &usize| Some(plan.pipeline.tasks.get(*index)?.name.clone());
        let after = task.after.iter().filter_map(name).collect();
        Some(PlannedTask {
            name: task.name.clone(),
            instances,
            selected: u32::try_from(selected).unwrap_or(u32::MAX),
            after,
        })
    });
    tasks.collect()
}

fn counts<'a>(instances: impl Iterator<Item = &'a InstanceReport>) -> Counts {
    use sykli_core::run::SettledKind;
    let mut counts = Counts::default();
    for instance in instances {
        match instance.state {
            SettledKind::Passed => counts.passed += 1,
            SettledKind::Cached => counts.cached += 1,
            SettledKind::Failed => counts.failed += 1,
            SettledKind::Skipped => counts.skipped += 1,
            SettledKind::Cancelled => counts.cancelled += 1,
        }
    }
    counts
}

fn report(
    run: &RunId,
    plan: &sykli_core::expand::Plan,
    status: RunStatus,
    told: Told,
    exported: Exported,
    began: Instant,
) -> RunReport {
    let tasks = plan.order.iter().filter_map(|index| {
        let (task, group) = (plan.pipeline.tasks.get(*index)?, plan.groups.get(*index)?);
        let range = group.instances.start as usize..group.instances.end as usize;
        let instances: Vec<&InstanceReport> = told.instances.get(range)?.iter().flatten().collect();
        Some(TaskReport {
            name: task.name.clone(),
            counts: counts(instances.iter().copied()),
            wall_ms: instances
                .iter()
                .fold(0, |sum, instance| sum.saturating_add(instance.wall_ms)),
            fuel: instances
                .iter()
                .fold(0, |sum, instance| sum.saturating_add(instance.fuel)),
        })
    });
    RunReport {
        run: run.to_string(),
        pipeline: plan.pipeline.name.clone(),
        status,
        wall: began.elapsed(),
        tasks: tasks.collect(),
        instances: told.instances.into_iter().flatten().collect(),
        failures: told.failures,
        exported: exported.written,
        unchanged: exported.unchanged,
        warnings: told.warnings,
        problems: exported.refused,
    }
}
