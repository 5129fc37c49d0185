//! What other nodes signed: `sykli report --receipts` exports it, `sykli replay` runs it again here and compares.
//!
//! It decides which exit code a comparison is. Called by `dispatch` and by `report`.

use std::path::Path;
use std::sync::Arc;

use sykli_core::receipt::Receipt;
use sykli_core::signed::Signed;
use sykli_node::events::Stream;
use sykli_node::identity::Identity;
use sykli_node::journal::{Journal, Kept, Run};
use sykli_node::receipts;
use sykli_node::replay::ReplayError;

use super::{Context, node_error, past};
use crate::args::{ReplayArgs, ReportArgs};
use crate::config::parse_duration_ms;
use crate::error::{CliError, Exit, Outcome, plain_text};
use crate::render::receipts::{self as show, Holder, ReceiptDoc, ReceiptsDoc};
use crate::render::text::plural;
use crate::render::{self, escape};

/// `report --receipts`.
pub(super) fn export(
    context: &Context,
    journal: &Journal,
    run: &Run,
    args: &ReportArgs,
) -> Outcome {
    let identity = Identity::existing(&context.resolved.settings.dirs.data);
    let identity = identity.map_err(|error| {
        CliError::usage(error.code(), plain_text(&error.to_string())).hint(error.hint())
    })?;
    let kept = journal.receipts(&run.id);
    let Some(out) = &args.out else {
        let holder = identity.as_ref().map(|identity| Holder {
            id: sykli_node::identity::show(identity.node_id()),
            public_key: receipts::public_key(identity.node_id()),
        });
        let kept = kept.into_iter();
        let doc = ReceiptsDoc {
            schema: "sykli.receipts/1",
            run: run.id.to_string(),
            pipeline: run.name.clone(),
            holder,
            receipts: kept
                .map(|one| show::entry(one, identity.as_ref()))
                .collect(),
            proofs: journal.proofs().iter().map(show::proof).collect(),
        };
        render::document(&doc, context.format());
        return Ok(Exit::Passed);
    };
    let out = context.cwd.join(out);
    let count = kept.len() as u64;
    files(&out, kept, identity.as_ref())?;
    render::err(&format!(
        "wrote {} into {}\n",
        plural(count, "receipt"),
        out.display()
    ));
    Ok(Exit::Passed)
}

/// Each receipt in a file of its own, its provenance beside it.
fn files(out: &Path, kept: Vec<Kept>, holder: Option<&Identity>) -> Result<(), CliError> {
    let unwritable = |path: &Path, error: &std::io::Error| {
        CliError::io("receipt::unwritable", "write", path, error)
    };
    std::fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
    let write = |name: String, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|error| unwritable(&path, &error))
    };
    for one in kept {
        let name = file_name(&one);
        let entry = show::entry(one, holder);
        if let Some(envelope) = &entry.provenance {
            // One envelope a line is what tools read; ours are plain data, which always serialise.
            let line = serde_json::to_string(envelope).unwrap_or_default();
            write(format!("{name}.intoto.jsonl"), format!("{line}\n"))?;
        }
        let doc = ReceiptDoc {
            schema: "sykli.receipt/1",
            entry,
        };
        let text = serde_json::to_string_pretty(&doc).unwrap_or_default();
        write(format!("{name}.receipt.json"), format!("{text}\n"))?;
    }
    Ok(())
}

/// `shrink[3/16]`, the instance 7 → `7-shrink-3-16`: two labels may only differ in what no file's name may hold.
fn file_name(kept: &Kept) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let parts = kept.label.split(|c| !plain(c));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let words: String = parts.join("-").chars().take(100).collect();
    format!("{}-{words}", kept.receipt.claimed().key.task.0)
}

/// `replay`.
pub(crate) fn replay(context: &Context, args: &ReplayArgs) -> Outcome {
    let timeout_ms = parse_duration_ms(&args.timeout).map_err(|why| {
        CliError::usage("cli::value", format!("--timeout: {why}")).hint("as in --timeout 5m")
    })?;
    let signed = wanted(context, args)?;
    let interrupt = crate::interrupt::watch(|| ());
    let ceiling = context.resolved.settings.ceilings.timeout_ms;
    let node = context.node()?;
    // What it writes is told by its digests, and by its end where it fails.
    let silent = Arc::new(|_: Stream, _: &[u8]| ());
    let replayed = node.replay(&signed, timeout_ms.min(ceiling), silent, &interrupt);
    let replayed = replayed.map_err(refused)?;
    let doc = show::replay(signed.claimed(), replayed);
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        render::out(&show::replayed(&context.stdout_term(), &doc));
    }
    Ok(match (doc.reproduced, doc.here.passed) {
        (true, true) => Exit::Passed,
        (true, false) => Exit::TaskFailed,
        (false, _) => Exit::Mismatch,
    })
}

/// The receipt in a file of that name, else the one of a task of that name.
fn wanted(context: &Context, args: &ReplayArgs) -> Result<Signed<Receipt>, CliError> {
    let path = context.cwd.join(&args.receipt);
    if args.run.is_none() && path.is_file() {
        return receipts::read(&path).map_err(|error| {
            CliError::usage(error.code(), plain_text(&error.to_string())).hint(error.hint())
        });
    }
    let journal = past::journal(context)?;
    let run = past::chosen(context, &journal, args.run.as_deref())?;
    let is_meant = |one: &Kept| past::is_meant(&args.receipt, &one.task, &one.label);
    let mut found: Vec<Kept> = journal.receipts(&run.id);
    found.retain(is_meant);
    match (found.pop(), found.last()) {
        (Some(only), None) => Ok(only.receipt),
        (Some(one), Some(_)) => {
            let count = found.len() + 1;
            let message = format!("`{}` is {count} instances: name one", args.receipt);
            Err(CliError::usage("replay::several", message)
                .hint(format!("for instance `{}`", escape::clean(&one.label))))
        }
        (None, _) if past::settled(&journal, &run, &args.receipt).is_empty() => {
            Err(past::unknown(&journal, &run, &args.receipt))
        }
        (None, _) => {
            let message = format!("no other node ran `{}` in the run {}", args.receipt, run.id);
            Err(CliError::usage("replay::no-receipt", message)
                .hint("`sykli report` says where each task ran"))
        }
    }
}

fn refused(error: ReplayError) -> CliError {
    if let ReplayError::Node(error) = &error {
        return node_error(error, None);
    }
    let mut refused = CliError::usage(error.code(), plain_text(&error.to_string()));
    refused.hints = error.hints();
    refused.exit = match error {
        ReplayError::Changed(_) => Exit::InputsChanged,
        ReplayError::Void { ref code, .. } if code == "task::cancelled" => Exit::Interrupted,
        _ => Exit::Usage,
    };
    refused
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use sykli_core::consent::{Claim, RemoteOutcome};
    use sykli_core::id::{Attempt, Digest, LeaseKey, NodeId, RunId, TaskId};

    #[test]
    fn a_file_is_called_after_its_instance() {
        let receipt = Receipt {
            mesh: None,
            key: LeaseKey {
                run: RunId::new("r").unwrap(),
                task: TaskId(7),
                attempt: Attempt(1),
            },
            claim: Claim {
                executor: NodeId([1; 32]),
                task_digest: Digest([2; 32]),
                nonce: 3,
                outcome: RemoteOutcome::Passed,
                output: Digest([4; 32]),
                output_bytes: 5,
                stdout: Digest([6; 32]),
                stderr: Digest([7; 32]),
                fuel: 8,
                wall_ms: 9,
            },
            engine: "e".into(),
            at_s: 10,
        };
        let kept = |label: &str| Kept {
            label: label.to_owned(),
            task: "shrink".to_owned(),
            receipt: Signed::new(receipt.clone(), |_, _| [0; 64]),
        };
        assert_eq!(file_name(&kept("shrink[3/16]")), "7-shrink-3-16");
        assert_eq!(file_name(&kept("a[../../etc/x]")), "7-a-etc-x");
        assert!(file_name(&kept(&"ü".repeat(400))).len() < 200);
    }
}
