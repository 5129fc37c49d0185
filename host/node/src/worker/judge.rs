//! What an outcome says of a task: a verdict about the guest, or an end that says nothing about it.
//!
//! **The one judge** of own and foreign attempts, so that the same end means the same wherever it came about. It keeps the
//! outputs of what passed in the store, for that can fail too. It knows no plan and no peer, and decides nothing about
//! retries or caching: its callers, `worker` and `foreign`, do.

use sykli_core::glob::Pattern;
use sykli_core::id::Digest;
use sykli_core::tree::Tree;
use sykli_runtime::{Outcome, Status};

use crate::events::FailureReport;
use crate::run::failure::{self, Asker};
use crate::run::outputs::{self, Kept, OutputError};
use crate::store::{Delta, InputFault, InputFaults, Record, Store, StoreError};

/// The task whose attempt is judged.
pub(crate) struct Case<'a> {
    /// Where its outputs go.
    pub(crate) store: &'a Store,
    /// Its name in the pipeline.
    pub(crate) name: &'a str,
    /// What is kept of what it writes.
    pub(crate) outputs: &'a [Pattern],
    /// Whom hints speak to; `None` where nobody here could follow them.
    pub(crate) asker: Option<Asker<'a>>,
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It ended well, and what it left is in the store.
    Passed(Box<Passed>),
    /// The guest failed. `code` is that of the verdict, which is coarser than the report's.
    Failed {
        report: FailureReport,
        code: &'static str,
    },
    /// An end that says nothing of the guest: never cached, never compared.
    Void {
        report: FailureReport,
        code: &'static str,
        why: Void,
    },
    /// An input was not there, or not what it was said to be: whatever the guest made of that counts for nothing.
    BadInput(InputFault),
}

/// Why an end says nothing of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// Its time was over.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
    /// This machine failed it.
    HostFault,
    /// The disk could not take what it wrote.
    Disk,
}

/// What a guest left that ended well.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The digest of `tree`.
    pub(crate) output: Digest,
    pub(crate) tree: Tree,
    pub(crate) warnings: Vec<String>,
}

/// Judges an outcome. `faults` are those of the inputs that the guest read.
pub(crate) fn judge(case: &Case<'_>, outcome: &Outcome, faults: &InputFaults) -> Judgement {
    if let Some(fault) = faults.found().into_iter().next() {
        return Judgement::BadInput(fault);
    }
    if let Some(report) = failure::of_status(case.asker, &outcome.status, &outcome.refusals) {
        return of_status(&outcome.status, report);
    }
    match outputs::keep(case.store, &outcome.changes, case.outputs) {
        Ok(kept) => passed(case, outcome, kept),
        Err(error) => not_kept(case, error),
    }
}

fn of_status(status: &Status, report: FailureReport) -> Judgement {
    let (code, why) = match status {
        Status::Exited(_) => return failed(report, "task::exit"),
        Status::Trapped { .. } => return failed(report, "task::trap"),
        Status::Limit(_) => return failed(report, "task::limit"),
        Status::TimedOut { .. } => ("task::timeout", Void::TimedOut),
        Status::Cancelled => ("task::cancelled", Void::Cancelled),
        Status::HostFault { .. } => ("task::host-fault", Void::HostFault),
        Status::NoSpace { .. } => ("task::disk-full", Void::Disk),
    };
    Judgement::Void { report, code, why }
}

fn failed(report: FailureReport, code: &'static str) -> Judgement {
    Judgement::Failed { report, code }
}

fn not_kept(case: &Case<'_>, error: OutputError) -> Judgement {
    let message = error.to_string();
    let (code, hint) = match error {
        OutputError::Missing { instead, .. } => {
            let hint = match instead.first() {
                Some(path) => format!(
                    "under [task.{}]: outputs = [{}]",
                    case.name,
                    serde_json::Value::from(path.as_str())
                ),
                None => format!(
                    "write it under /out, or take it out of `outputs` of [task.{}]",
                    case.name
                ),
            };
            ("task::output-missing", hint)
        }
        OutputError::Tree(_) => ("task::output-names", "rename one of the files".to_owned()),
        OutputError::Store(error) => return unstored(&error),
    };
    failed(failure::plain(code, message, vec![hint]), code)
}

/// A disk that cannot take a result says nothing about the task.
pub(crate) fn unstored(error: &StoreError) -> Judgement {
    let code = error.code();
    Judgement::Void {
        report: failure::plain(code, error.to_string(), vec![error.hint()]),
        code,
        why: Void::Disk,
    }
}

fn passed(case: &Case<'_>, outcome: &Outcome, kept: Kept) -> Judgement {
    let mut warnings = failure::warnings(case.asker, &outcome.refusals);
    if !kept.dropped.is_empty() {
        let dropped = outputs::told(&kept.dropped);
        warnings.push(format!(
            "dropped what no pattern of `outputs` of [task.{}] matches: {dropped}",
            case.name
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
    match case.store.put_tree(&kept.tree) {
        Ok(output) => Judgement::Passed(Box::new(Passed {
            output,
            tree: kept.tree,
            warnings,
        })),
        Err(error) => unstored(&error),
    }
}

/// What is remembered of a pure task that passed; its streams are stored for it.
///
/// # Errors
/// When the disk cannot take them.
pub(crate) fn record(
    store: &Store,
    outcome: &Outcome,
    passed: &Passed,
    manifest: Option<Delta>,
) -> Result<Record, StoreError> {
    Ok(Record {
        exit: 0,
        outputs: passed.output,
        stdout: store.put_bytes(outcome.stdout.bytes.clone())?,
        stderr: store.put_bytes(outcome.stderr.bytes.clone())?,
        fuel: outcome.usage.fuel,
        wall_ms: wall_ms(outcome),
        peak_memory_bytes: outcome.usage.peak_memory_bytes,
        manifest,
        warnings: passed.warnings.clone(),
        unverified: false,
    })
}

/// How long it took, in milliseconds.
pub(crate) fn wall_ms(outcome: &Outcome) -> u64 {
    u64::try_from(outcome.usage.wall.as_millis()).unwrap_or(u64::MAX)
}
