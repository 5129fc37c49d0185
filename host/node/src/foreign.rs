//! Runs a task of another node's, from its bundle in this node's store.
//!
//! **The policy step** for tasks of others. What runs is what the manifest says, and it says no more than was offered and
//! agreed to: `terms` compares the two and this node's policy before anything runs. The guest finds what it would find at
//! its owner's, and its end is judged as there, by the same code (`worker::stage`, `worker::judge`): that is why one digest
//! gives one result. Compiled code is never taken from a bundle, only bytes that are checked and compiled here.
//!
//! ```text
//! terms.rs  manifest ∧ offer ∧ policy → what is granted
//! error.rs  why there is no result
//! ```
//!
//! The guest runs in a process of its own, and so does the compiler of its component (`isolation`); this one only hands
//! over what belongs to the task and judges what comes back.
//!
//! A pure task that this node has run itself is answered from its cache. A result that another node computed and nobody
//! here has checked is not: it would be passed on as this node's word. It never fetches a blob, never signs, never says
//! anything to a peer. Blocks its thread. Called by the mesh node, which knows where bundles come from.

mod error;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sykli_core::consent::{Offer, RemoteOutcome};
use sykli_core::id::Digest;
use sykli_core::manifest::Manifest;
use sykli_core::policy::Policy;
use sykli_core::tree::Tree;
use sykli_core::wire::v1::MAX_MESSAGE_CHARS;
use sykli_runtime::{CancelToken, Engine, Floats, Grant, Observer, Outcome, Source, TaskInfo};

use crate::events::FailureReport;
use crate::isolation::{Confinement, InputTree, Isolation, Job, Ran, Task};
use crate::needs::SizeBook;
use crate::store::{InputFaults, NewResult, Record, Store};
use crate::worker::judge::{self, Case, Judgement, Passed};
use crate::worker::{self, stage};
pub(crate) use error::ForeignError;
pub(crate) use terms::MAX_PATTERNS;
use terms::Terms;

/// What this node runs the tasks of others with.
#[derive(Clone, Copy)]
pub(crate) struct Host<'a> {
    /// Where bundles are and results go.
    pub(crate) store: &'a Store,
    /// Where guests run.
    pub(crate) isolation: &'a Isolation,
    /// What its user allows.
    pub(crate) policy: &'a Policy,
    /// Compressed sizes, at the level that outputs will be sent at.
    pub(crate) sizes: &'a SizeBook,
}

/// What came of a task of another node's. All that it names is in the store, and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignResult {
    /// Passed, or how the guest failed.
    pub(crate) outcome: RemoteOutcome,
    /// The output tree; the empty one where the guest failed.
    pub(crate) output: Digest,
    /// What the tree and its files cost on the wire, in compressed bytes.
    pub(crate) output_bytes: u64,
    /// What was kept of standard output.
    pub(crate) stdout: Digest,
    /// What was kept of standard error.
    pub(crate) stderr: Digest,
    /// Fuel used.
    pub(crate) fuel: u64,
    /// How long the guest ran, in milliseconds; of a result that was known, how long it had taken.
    pub(crate) wall_ms: u64,
    /// What the process that it ran in had given up; none of a result that was known.
    pub(crate) isolation: Option<Confinement>,
}

/// The engine class of this node: sykli and wasmtime version, settings, architecture.
pub(crate) fn engine_class() -> Arc<str> {
    Engine::class(Floats::Fast).into()
}

/// The interfaces that a guest finds here, as offers name them.
pub(crate) fn host_imports() -> BTreeSet<Arc<str>> {
    let provided = sykli_runtime::provided_imports();
    provided.into_iter().map(Into::into).collect()
}

/// Runs the task of an offer whose bundle is in the store to its end on this thread. A panic of ours is caught.
///
/// # Errors
/// Why there is no result; [`ForeignError::lost`] is what its owner is told.
pub(crate) fn run_foreign(
    host: Host<'_>,
    offer: &Offer,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<ForeignResult, ForeignError> {
    let run = || attempt(host, offer, observer, cancel);
    let result = catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(ForeignError::of_panic(&*panic)));
    let task = offer.needs.digest;
    match &result {
        Ok(result) => {
            let isolation = result.isolation.as_ref().map(Confinement::words);
            tracing::debug!(%task, ?isolation, "a result of a foreign task");
        }
        Err(error) => {
            tracing::info!(%task, code = error.code(), %error, "no result of a foreign task");
        }
    }
    result
}

fn attempt(
    host: Host<'_>,
    offer: &Offer,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<ForeignResult, ForeignError> {
    let Terms {
        manifest,
        grant,
        outputs,
    } = terms::agree(host.store, host.policy, offer)?;
    let pure = manifest.is_pure();
    if pure && let Some(record) = known(host.store, &offer.needs.digest) {
        return known_result(host, &record);
    }
    terms::room(host.store, manifest.output_bytes)?;
    let floats = worker::floats(manifest.floats);
    let code = host
        .isolation
        .code(host.store, &manifest.component, floats, cancel)?;
    terms::imports(offer, &code)?;
    let faults = InputFaults::default();
    let (stdin_bytes, trees) = inputs(host.store, &manifest)?;
    let task = Task {
        store: host.store,
        job: job(&manifest, offer, grant, stdin_bytes, &trees),
        stdin: manifest.stdin,
        trees,
        faults: &faults,
        observer,
        cancel,
    };
    let Ran { outcome, given_up } = host.isolation.run(&task, &code)?;
    let case = Case {
        store: host.store,
        name: &manifest.name,
        outputs: &outputs,
        asker: None,
    };
    let (verdict, output, tree) = match judge::judge(&case, &outcome, &faults) {
        Judgement::Passed(passed) => {
            if pure {
                keep(host.store, offer, &outcome, &passed)?;
            }
            (RemoteOutcome::Passed, passed.output, passed.tree)
        }
        Judgement::Failed { report, .. } => {
            let tree = Tree::default();
            (failed(&report), host.store.put_tree(&tree)?, tree)
        }
        Judgement::Void { report, code, why } => {
            return Err(ForeignError::Void {
                why,
                code,
                message: report.message,
            });
        }
        Judgement::BadInput(_) => return Err(ForeignError::Missing { what: "an input" }),
    };
    let result = ForeignResult {
        outcome: verdict,
        output,
        output_bytes: output_bytes(host, &tree)?,
        stdout: host.store.put_bytes(outcome.stdout.bytes.clone())?,
        stderr: host.store.put_bytes(outcome.stderr.bytes.clone())?,
        fuel: outcome.usage.fuel,
        wall_ms: judge::wall_ms(&outcome),
        isolation: Some(given_up),
    };
    host.store.flush()?;
    Ok(result)
}

/// The result of a pure task that this node may give as its own word.
fn known(store: &Store, task: &Digest) -> Option<Record> {
    let record = store.results(&[*task]).pop().flatten()?;
    (!record.unverified && store.complete(&record)).then_some(record)
}

fn known_result(host: Host<'_>, record: &Record) -> Result<ForeignResult, ForeignError> {
    let missing = || ForeignError::Missing {
        what: "an output of before",
    };
    let tree = host.store.tree(&record.outputs).ok_or_else(missing)?;
    Ok(ForeignResult {
        outcome: RemoteOutcome::Passed,
        output: record.outputs,
        output_bytes: output_bytes(host, &tree)?,
        stdout: record.stdout,
        stderr: record.stderr,
        fuel: record.fuel,
        wall_ms: record.wall_ms,
        isolation: None,
    })
}

/// Remembers what passed: the same task comes again, from this owner, another or this node's own user. Its manifest is a
/// blob of the bundle.
fn keep(
    store: &Store,
    offer: &Offer,
    outcome: &Outcome,
    passed: &Passed,
) -> Result<(), ForeignError> {
    let record = judge::record(store, outcome, passed, None)?;
    // Committed with the rest: the caller flushes.
    store.put_results(vec![NewResult {
        task: offer.needs.digest,
        record,
        fresh: false,
    }]);
    Ok(())
}

/// What its guest will read: how long standard input is, and the input trees. Files are looked for when they are read.
fn inputs(store: &Store, manifest: &Manifest) -> Result<(u64, Vec<InputTree>), ForeignError> {
    let missing = |what| ForeignError::Missing { what };
    let stdin_bytes = match &manifest.stdin {
        None => 0,
        Some(digest) => {
            let found = store.get(digest);
            found.ok_or(missing("the standard input"))?.len()
        }
    };
    let mut trees = Vec::with_capacity(manifest.inputs.len());
    for digest in manifest.inputs.values() {
        let tree = store.tree(digest);
        trees.push((*digest, tree.ok_or(missing("an input tree"))?));
    }
    Ok((stdin_bytes, trees))
}

/// What its process is told: the guest finds what its owner's own guest would.
fn job(
    manifest: &Manifest,
    offer: &Offer,
    grant: Grant,
    stdin_bytes: u64,
    trees: &[InputTree],
) -> Job {
    let entries = trees.iter().flat_map(|(_, tree)| tree.entries());
    let tree_bytes = entries.map(|entry| entry.path.len() as u64 + 64).sum();
    Job {
        component: manifest.component.0,
        floats: worker::floats(manifest.floats),
        grant,
        args: stage::arguments(&manifest.name, manifest.args.iter().map(String::as_str)),
        env: manifest.env.clone().into_iter().collect(),
        seed: offer.needs.digest.0,
        task: TaskInfo {
            name: manifest.name.clone(),
            params_json: manifest.params.clone(),
            shard_index: manifest.shard.index,
            shard_count: manifest.shard.count,
            // A pure task must not see what does not determine it.
            attempt: match manifest.is_pure() {
                true => 1,
                false => offer.key.attempt.0,
            },
            item: manifest.item.clone(),
        },
        stdin_bytes,
        inputs: manifest.inputs.keys().cloned().collect(),
        tree_bytes,
    }
}

/// What an owner without any of it will fetch.
fn output_bytes(host: Host<'_>, tree: &Tree) -> Result<u64, ForeignError> {
    let mut bytes = host.sizes.measure(&Source::bytes(tree.encode()))?;
    let (mut seen, faults) = (HashSet::new(), InputFaults::default());
    for entry in tree.entries() {
        if entry.size > 0 && seen.insert(entry.digest) {
            let source = host.store.source(entry.digest, entry.size, &faults);
            bytes = bytes.saturating_add(host.sizes.exact(&entry.digest, &source)?);
        }
    }
    Ok(bytes)
}

/// How a guest failed, as a claim says it.
pub(crate) fn failed(report: &FailureReport) -> RemoteOutcome {
    RemoteOutcome::Failed {
        code: report.code.as_str().into(),
        message: shortened(&report.message),
    }
}

/// As much of a message as a claim carries.
fn shortened(message: &str) -> Arc<str> {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        None => message.into(),
        Some(_) => {
            let kept = message.chars().take(MAX_MESSAGE_CHARS - 1);
            kept.chain(['…']).collect::<String>().into()
        }
    }
}
