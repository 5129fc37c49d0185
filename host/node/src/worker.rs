//! Turns what a task asks for into what the sandbox grants, runs one attempt, and judges what came of it.
//!
//! **The policy step**: the only place that knows both a task's `limits` and `grants` and the sandbox's
//! [`Grant`] and [`Outcome`]. Own tasks are granted what they declare and nothing else. A verdict about the guest is
//! told apart from an end that says nothing about it (time, a fault of this machine, an input that changed), because
//! only the former may be remembered. Called by the threads of a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sykli_core::expand::{Instance, Stdin};
use sykli_core::id::Digest;
use sykli_core::pipeline::{Floats, Task};
use sykli_core::run::{Failure, Verdict};
use sykli_runtime::vfs::MemDir;
use sykli_runtime::{
    Access, CancelToken, Component, DirSource, Grant, Inputs, Mount, Observer, Outcome, Sandbox,
    Source, Status, TaskInfo,
};

use crate::events::FailureReport;
use crate::prepare::overlay::Overlay;
use crate::prepare::{self, Context, NotReady, Prepared};
use crate::run::failure::{self, Asker, TAIL_BYTES};
use crate::run::outputs::{self, Kept, OutputError};
use crate::store::{InputFault, InputFaults, NewResult, Record, StoreError};

/// Files a task may create.
pub(crate) const OUTPUT_ENTRIES: u32 = 100_000;
/// Bytes kept of each of a task's output streams.
const STDIO_BYTES: u64 = 1 << 20;
/// Bytes of each stream that are looked at for the tail of a report.
pub(crate) const STREAM_BYTES: u64 = 1 << 30;

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
    Ok(Grant {
        fuel: task.limits.fuel,
        memory_bytes: task.limits.memory_bytes,
        timeout: Duration::from_millis(task.limits.timeout_ms),
        output_bytes: task.limits.output_bytes,
        output_entries: OUTPUT_ENTRIES,
        stdio_bytes: STDIO_BYTES,
        stream_bytes: STREAM_BYTES,
        clock: task.grants.clock,
        random: task.grants.random,
        net,
    })
}

fn mount(guest_path: &str, dir: Arc<dyn DirSource>, access: Access, collect: bool) -> Mount {
    Mount {
        guest_path: guest_path.to_owned(),
        dir,
        access,
        collect,
    }
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

fn stdin(context: &Context, instance: &Instance, faults: &InputFaults) -> Result<Source, NotReady> {
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
    let mut args = Vec::with_capacity(instance.args.len() + 1);
    args.push(task.name.clone());
    args.extend(instance.args.iter().map(|arg| arg.to_string()));
    let shard = prepare::shard(instance);
    let inputs = Inputs {
        args,
        env: context
            .env(instance.task)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        stdin: stdin(context, instance, faults)?,
        mounts: vec![
            mount(
                "/in",
                inputs_dir(context, instance, task, faults)?,
                Access::ReadOnly,
                false,
            ),
            mount("/out", Arc::new(MemDir::new()), Access::ReadWrite, true),
            mount("/tmp", Arc::new(MemDir::new()), Access::ReadWrite, false),
        ],
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
    let mut attempted = judge(context, prepared, &outcome, &faults);
    if attempted.stored.is_none() {
        context.keep_manifest(prepared);
    }
    if let Some(report) = &mut attempted.failure {
        tails.fill(report);
    }
    attempted.wall_ms = u64::try_from(outcome.usage.wall.as_millis()).unwrap_or(u64::MAX);
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

fn judge(
    context: &Context,
    prepared: &Prepared,
    outcome: &Outcome,
    faults: &InputFaults,
) -> Attempted {
    let Some((instance, task)) = context.instance(prepared.task) else {
        return Attempted::not_run(NotReady::lost("the plan"));
    };
    if let Some(fault) = faults.found().into_iter().next() {
        return Attempted::not_run(input_fault(fault));
    }
    if let Some(report) = failure::of_status(Asker::Task(task), &outcome.status, &outcome.refusals)
    {
        // A pure guest does the same again: only what it may see of the world could change its mind.
        let retryable = !prepared.pure;
        return match &outcome.status {
            Status::Exited(_) => verdict(report, "task::exit", retryable),
            Status::Trapped { .. } => verdict(report, "task::trap", retryable),
            Status::Limit(_) => verdict(report, "task::limit", retryable),
            Status::TimedOut { .. } => Attempted::non_result(report, "task::timeout"),
            Status::Cancelled => Attempted {
                verdict: Verdict::Cancelled,
                ..Attempted::non_result(report, "task::cancelled")
            },
            Status::HostFault { .. } => Attempted::non_result(report, "task::host-fault"),
            Status::NoSpace { .. } => Attempted::non_result(report, "task::disk-full"),
        };
    }
    match outputs::keep(&context.store, &outcome.changes, &instance.outputs) {
        Ok(kept) => passed(context, prepared, task, outcome, &kept),
        Err(error) => not_kept(task, prepared, error),
    }
}

fn verdict(report: FailureReport, code: &'static str, retryable: bool) -> Attempted {
    Attempted::failed(
        report,
        |failure| Verdict::Failed { failure, retryable },
        code,
    )
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

fn not_kept(task: &Task, prepared: &Prepared, error: OutputError) -> Attempted {
    let message = error.to_string();
    match error {
        OutputError::Missing { instead, .. } => {
            let hint = match instead.first() {
                Some(path) => format!(
                    "under [task.{}]: outputs = [{}]",
                    task.name,
                    serde_json::Value::from(path.as_str())
                ),
                None => format!(
                    "write it under /out, or take it out of `outputs` of [task.{}]",
                    task.name
                ),
            };
            verdict(
                failure::plain("task::output-missing", message, vec![hint]),
                "task::output-missing",
                !prepared.pure,
            )
        }
        OutputError::Tree(_) => {
            let hint = "rename one of the files".to_owned();
            verdict(
                failure::plain("task::output-names", message, vec![hint]),
                "task::output-names",
                !prepared.pure,
            )
        }
        OutputError::Store(error) => unstored(&error),
    }
}

/// A disk that cannot take a result says nothing about the task.
fn unstored(error: &StoreError) -> Attempted {
    Attempted::non_result(
        failure::plain(error.code(), error.to_string(), vec![error.hint()]),
        error.code(),
    )
}

fn passed(
    context: &Context,
    prepared: &Prepared,
    task: &Task,
    outcome: &Outcome,
    kept: &Kept,
) -> Attempted {
    let mut warnings = failure::warnings(Asker::Task(task), &outcome.refusals);
    if !kept.dropped.is_empty() {
        let dropped = outputs::told(&kept.dropped);
        warnings.push(format!(
            "dropped what no pattern of `outputs` of [task.{}] matches: {dropped}",
            task.name
        ));
    }
    for (name, captured) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        if captured.dropped_bytes > 0 {
            warnings.push(format!(
                "kept the first {} bytes of {name}, dropped {}",
                captured.bytes.len(),
                captured.dropped_bytes
            ));
        }
    }
    let put = || -> Result<(Digest, Option<Box<NewResult>>), StoreError> {
        let store = &context.store;
        let output = store.put_tree(&kept.tree)?;
        if !prepared.pure {
            return Ok((output, None));
        }
        let record = Record {
            exit: 0,
            outputs: output,
            stdout: store.put_bytes(outcome.stdout.bytes.clone())?,
            stderr: store.put_bytes(outcome.stderr.bytes.clone())?,
            fuel: outcome.usage.fuel,
            wall_ms: u64::try_from(outcome.usage.wall.as_millis()).unwrap_or(u64::MAX),
            peak_memory_bytes: outcome.usage.peak_memory_bytes,
            manifest: context.manifest_delta(prepared),
            warnings: warnings.clone(),
        };
        let result = NewResult {
            task: prepared.digest,
            record,
            fresh: prepared.unknown,
        };
        Ok((output, Some(Box::new(result))))
    };
    match put() {
        Ok((output, stored)) => Attempted {
            verdict: Verdict::Passed,
            begun: true,
            failure: None,
            output: Some(output),
            warnings,
            wall_ms: 0,
            fuel: 0,
            stored,
            lost: false,
        },
        Err(error) => unstored(&error),
    }
}
