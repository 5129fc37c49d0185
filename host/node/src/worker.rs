//! Turns what a task asks for into what the sandbox grants, runs one attempt, and judges what came of it.
//!
//! **The policy step** for own tasks: they are granted what they declare and nothing else. (`foreign` has the one for
//! tasks of others.) A verdict about the guest is told apart from an end that says nothing about it (time, a fault of
//! this machine, an input that changed), because only the former may be remembered. Called by the threads of a run.
//!
//! ```text
//! stage.rs  what every guest finds, and the bounds that no task chooses
//! judge.rs  an outcome → a judgement
//! ```

pub(crate) mod judge;
pub(crate) mod stage;

use std::sync::{Arc, Mutex, PoisonError};

use sykli_core::expand::{Instance, Stdin};
use sykli_core::id::Digest;
use sykli_core::pipeline::{Floats, Task};
use sykli_core::run::{Failure, Verdict};
use sykli_runtime::{
    CancelToken, Component, DirSource, Grant, Inputs, Observer, Outcome, Sandbox, Source, TaskInfo,
};

use crate::events::FailureReport;
use crate::journal::Said;
use crate::prepare::overlay::Overlay;
use crate::prepare::{self, Context, NotReady, Prepared};
use crate::run::failure::{self, Asker, TAIL_BYTES};
use crate::store::{InputFault, InputFaults, NewResult};
use judge::{Case, Judgement, Passed, Void};
use stage::Allowed;

/// What one attempt came to.
pub(crate) struct Attempted {
    pub(crate) verdict: Verdict,
    /// False where it was asked back before it began: then it is no attempt.
    pub(crate) begun: bool,
    /// There unless it passed.
    pub(crate) failure: Option<FailureReport>,
    /// The output tree, where it passed.
    pub(crate) output: Option<Digest>,
    pub(crate) warnings: Vec<String>,
    pub(crate) wall_ms: u64,
    pub(crate) fuel: u64,
    /// The result, where it may be cached.
    pub(crate) stored: Option<Box<NewResult>>,
    /// The end of what it wrote, where no cached result keeps all of it.
    pub(crate) said: Option<Box<Said>>,
    /// A blob of an earlier result is gone: another round makes it anew.
    pub(crate) lost: bool,
}

/// The end of each output stream, for the report of a failure.
#[derive(Default)]
pub(crate) struct Tails {
    stdout: Mutex<Vec<u8>>,
    stderr: Mutex<Vec<u8>>,
}

impl Tails {
    pub(crate) fn stdout(&self, bytes: &[u8]) {
        Tails::push(&self.stdout, bytes);
    }

    pub(crate) fn stderr(&self, bytes: &[u8]) {
        Tails::push(&self.stderr, bytes);
    }

    /// Keeps between one and two tails' worth, so that most writes only append.
    fn push(tail: &Mutex<Vec<u8>>, bytes: &[u8]) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        let from = bytes.len().saturating_sub(TAIL_BYTES);
        tail.extend_from_slice(bytes.get(from..).unwrap_or_default());
        if tail.len() > 2 * TAIL_BYTES {
            let surplus = tail.len() - TAIL_BYTES;
            tail.drain(..surplus);
        }
    }

    /// Both; nothing where it wrote nothing.
    pub(crate) fn said(&self) -> Option<Box<Said>> {
        let tail = |stream: &Mutex<Vec<u8>>| {
            failure::tail(&stream.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let said = Said {
            stdout: tail(&self.stdout),
            stderr: tail(&self.stderr),
        };
        (said != Said::default()).then(|| Box::new(said))
    }

    /// Fills in the tails of a report.
    pub(crate) fn fill(&self, report: &mut FailureReport) {
        report.stdout_tail =
            failure::tail(&self.stdout.lock().unwrap_or_else(PoisonError::into_inner));
        report.stderr_tail =
            failure::tail(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The engine that a task's floats need.
pub(crate) fn floats(floats: Floats) -> sykli_runtime::Floats {
    match floats {
        Floats::Fast => sykli_runtime::Floats::Fast,
        Floats::Portable => sykli_runtime::Floats::Portable,
    }
}

/// What a task of this user's own pipeline is granted: what it declares.
fn grant(task: &Task) -> Result<Grant, NotReady> {
    let mut net = Vec::with_capacity(task.grants.net.len());
    for rule in &task.grants.net {
        net.push(rule.parse().map_err(|error: sykli_runtime::NetRuleError| {
            NotReady::new(
                "pipeline::net",
                format!("`grants.net` of `{}`: {error}", task.name),
                None,
            )
        })?);
    }
    let allowed = Allowed {
        net,
        clock: task.grants.clock,
        random: task.grants.random,
    };
    Ok(stage::grant(&task.limits, allowed))
}

/// What the guest sees under `/in`.
fn inputs_dir(
    context: &Context,
    instance: &Instance,
    task: &Task,
    faults: &InputFaults,
) -> Result<Arc<dyn DirSource>, NotReady> {
    let mut dir = Overlay::default();
    let files: Vec<u32> = context.plan.input_files(instance).collect();
    if !files.is_empty() {
        dir.add("", Arc::new(context.files.folder(files, faults)));
    }
    for &after in &task.after {
        let Some(earlier) = context.plan.pipeline.tasks.get(after) else {
            continue;
        };
        let digest = context.merged(after)?;
        let tree = context
            .store
            .tree(&digest)
            .ok_or_else(|| NotReady::lost("an output that it comes after"))?;
        dir.add(&earlier.name, Arc::new(context.store.layer(tree, faults)));
    }
    Ok(dir.into_dir())
}

/// What an instance reads as its standard input.
pub(crate) fn stdin(
    context: &Context,
    instance: &Instance,
    faults: &InputFaults,
) -> Result<Source, NotReady> {
    Ok(match (&instance.stdin, context.stdin(instance)?) {
        (Some(Stdin::File(file)), _) => context
            .files
            .source(*file, faults)
            .unwrap_or_else(Source::empty),
        (Some(Stdin::Output { .. }), Some((digest, size))) => {
            context.store.source(digest, size, faults)
        }
        _ => Source::empty(),
    })
}

fn inputs(
    context: &Context,
    prepared: &Prepared,
    attempt: u32,
    faults: &InputFaults,
) -> Result<(Inputs, Grant), NotReady> {
    let gone = || {
        NotReady::new(
            "run::internal",
            "the instance is not in the plan".to_owned(),
            None,
        )
    };
    let (instance, task) = context.instance(prepared.task).ok_or_else(gone)?;
    let shard = prepare::shard(instance);
    let inputs = Inputs {
        args: stage::arguments(&task.name, instance.args.iter().map(|arg| &**arg)),
        env: context
            .env(instance.task)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        stdin: stdin(context, instance, faults)?,
        mounts: stage::mounts(inputs_dir(context, instance, task, faults)?),
        seed: prepared.digest.0,
        task: TaskInfo {
            name: task.name.clone(),
            params_json: instance.params_json.to_string(),
            shard_index: shard.index,
            shard_count: shard.count,
            // A pure task must not see what does not determine it.
            attempt: if prepared.pure { 1 } else { attempt },
            item: instance.item.as_deref().map(str::to_owned),
        },
    };
    Ok((inputs, grant(task)?))
}

/// Runs one attempt to its end on this thread.
pub(crate) fn attempt(
    context: &Context,
    sandbox: &Sandbox,
    component: &Component,
    prepared: &Prepared,
    attempt: u32,
    (observer, tails): (Arc<dyn Observer>, &Tails),
    cancel: &CancelToken,
) -> Attempted {
    let faults = InputFaults::default();
    let (inputs, grant) = match inputs(context, prepared, attempt, &faults) {
        Ok(ready) => ready,
        Err(not_ready) => return Attempted::not_run(not_ready),
    };
    context.keep_inputs(prepared);
    let outcome = sandbox.run(component, &grant, inputs, observer, cancel);
    let mut attempted = judged(context, prepared, &outcome, &faults);
    if attempted.stored.is_none() {
        context.keep_manifest(prepared);
        attempted.said = tails.said();
    }
    if let Some(report) = &mut attempted.failure {
        tails.fill(report);
    }
    attempted.wall_ms = judge::wall_ms(&outcome);
    attempted.fuel = outcome.usage.fuel;
    attempted
}

impl Attempted {
    fn failed(
        failure: FailureReport,
        verdict: impl FnOnce(Failure) -> Verdict,
        code: &'static str,
    ) -> Attempted {
        let verdict = verdict(Failure {
            code,
            message: failure.message.clone(),
        });
        Attempted {
            verdict,
            begun: true,
            failure: Some(failure),
            output: None,
            warnings: Vec::new(),
            wall_ms: 0,
            fuel: 0,
            stored: None,
            said: None,
            lost: false,
        }
    }

    fn non_result(failure: FailureReport, code: &'static str) -> Attempted {
        Attempted::failed(failure, |failure| Verdict::NonResult { failure }, code)
    }

    /// An attempt that was asked back before it began.
    pub(crate) fn not_begun() -> Attempted {
        let message = "was cancelled before it began".to_owned();
        Attempted {
            verdict: Verdict::Cancelled,
            begun: false,
            ..Attempted::non_result(
                failure::plain("task::cancelled", message, Vec::new()),
                "task::cancelled",
            )
        }
    }

    /// An attempt that could not even begin.
    pub(crate) fn not_run(not_ready: NotReady) -> Attempted {
        let lost = not_ready.lost;
        Attempted {
            lost,
            ..Attempted::non_result(*not_ready.report, not_ready.code)
        }
    }
}

/// What an attempt's judgement means for the run that it is an attempt of.
fn judged(
    context: &Context,
    prepared: &Prepared,
    outcome: &Outcome,
    faults: &InputFaults,
) -> Attempted {
    let Some((instance, task)) = context.instance(prepared.task) else {
        return Attempted::not_run(NotReady::lost("the plan"));
    };
    let case = Case {
        store: &context.store,
        name: &task.name,
        outputs: &instance.outputs,
        asker: Some(Asker::Task(task)),
    };
    match judge::judge(&case, outcome, faults) {
        Judgement::Passed(passed) => keep(context, prepared, outcome, *passed),
        // A pure guest does the same again: only what it may see of the world could change its mind.
        Judgement::Failed { report, code } => verdict(report, code, !prepared.pure),
        Judgement::Void { report, code, why } => void(report, code, why),
        Judgement::BadInput(fault) => Attempted::not_run(input_fault(fault)),
    }
}

fn verdict(report: FailureReport, code: &'static str, retryable: bool) -> Attempted {
    Attempted::failed(
        report,
        |failure| Verdict::Failed { failure, retryable },
        code,
    )
}

fn void(report: FailureReport, code: &'static str, why: Void) -> Attempted {
    let attempted = Attempted::non_result(report, code);
    match why {
        Void::Cancelled => Attempted {
            verdict: Verdict::Cancelled,
            ..attempted
        },
        Void::TimedOut | Void::HostFault | Void::Disk => attempted,
    }
}

fn input_fault(fault: InputFault) -> NotReady {
    match fault {
        InputFault::BlobLost(_) => NotReady::lost("an output that it comes after"),
        InputFault::Changed(path) => {
            let message = format!("its input {} changed while the run used it", path.display());
            NotReady::new(
                "task::input-changed",
                message,
                Some("run again when nothing writes it any more".to_owned()),
            )
        }
    }
}

/// What passed, with the result where it may be cached.
fn keep(context: &Context, prepared: &Prepared, outcome: &Outcome, passed: Passed) -> Attempted {
    let mut stored = None;
    if prepared.pure {
        let manifest = context.manifest_delta(prepared);
        match judge::record(&context.store, outcome, &passed, manifest) {
            Ok(record) => {
                stored = Some(Box::new(NewResult {
                    task: prepared.digest,
                    record,
                    fresh: prepared.unknown,
                }));
            }
            Err(error) => {
                let failure = failure::plain(error.code(), error.to_string(), vec![error.hint()]);
                return Attempted::non_result(failure, error.code());
            }
        }
    }
    Attempted {
        verdict: Verdict::Passed,
        begun: true,
        failure: None,
        output: Some(passed.output),
        warnings: passed.warnings,
        wall_ms: 0,
        fuel: 0,
        stored,
        said: None,
        lost: false,
    }
}
