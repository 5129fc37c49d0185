//! A receipt → the same task run here, and what differs.
//!
//! Only a pure task can be run again for comparison, and only while its manifest and everything that this reaches can still
//! be had: from the cache, or, of a run of this user's own, from the project's files where these are what they were. It
//! runs in this process, within the manifest's limits, is judged by the code that judged it elsewhere (`worker::judge`), and
//! changes nothing: neither the cache's results nor any file of the user's.
//!
//! What is compared: outcome, output tree, both streams, fuel. Fuel, and the words of a failure, only within one engine
//! class; where two classes disagree on anything else, that says nothing about either. Called by `sykli replay`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sykli_core::consent::RemoteOutcome;
use sykli_core::glob::Pattern;
use sykli_core::id::{Digest, NodeId, RunId};
use sykli_core::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, SEMANTICS_VERSION};
use sykli_core::pipeline::Limits;
use sykli_core::receipt::Receipt;
use sykli_core::signed::Signed;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::{CancelToken, Component, LoadError, Observer, Outcome, Sandbox};

use crate::events::FailureReport;
use crate::exec::{ExecOutput, Watch};
use crate::foreign;
use crate::identity;
use crate::interrupt::Interrupt;
use crate::node::{Node, NodeError};
use crate::store::{InputFaults, Store};
use crate::worker;
use crate::worker::judge::{self, Case, Judgement};
use crate::worker::stage::{self, Allowed};

/// The largest component that is read, bytes.
const MAX_COMPONENT_BYTES: u64 = 1 << 30;

/// What came out where, and what differs.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The task's name in its pipeline.
    pub task: String,
    /// What came out here.
    pub here: Came,
    /// What does not agree with the receipt, in a fixed order. Empty: it is reproduced.
    pub differs: Vec<Difference>,
    /// The receipt is of another engine class.
    pub other_engine: bool,
    /// Why the guest failed here, with its backtrace, where it did.
    pub failure: Option<FailureReport>,
    /// How long it took here, in milliseconds.
    pub wall_ms: u64,
}

/// What came out of a guest, as receipts say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// Passed, or how it failed.
    pub outcome: RemoteOutcome,
    /// The output tree.
    pub output: Digest,
    /// What is kept of standard output.
    pub stdout: Digest,
    /// What is kept of standard error.
    pub stderr: Digest,
    /// Fuel used.
    pub fuel: u64,
}

/// A part of a result that is another one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub what: &'static str,
    /// As the receipt has it.
    pub there: String,
    /// As it came out here.
    pub here: String,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nobody signed it, or it was changed since.
    #[error("the receipt is not signed by {}: it proves nothing", shown(.0))]
    Unsigned(NodeId),
    /// Its task has effects.
    #[error("the task has effects (network, clock or randomness): it need not do the same again")]
    Impure,
    /// Its manifest is none.
    #[error("the task's manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// It is meant for another version of the runtime.
    #[error("the task is for version {0} of the sandbox's semantics")]
    Semantics(u32),
    /// Something that it needs is in no cache of this node's any more.
    #[error("{what} is gone: {digest} is not in the cache")]
    Gone {
        /// What it is to the task.
        what: String,
        /// Its name.
        digest: Digest,
    },
    /// A file of the project is not what it was.
    #[error("the input {} has changed since", .0.display())]
    Changed(PathBuf),
    /// Its component cannot be loaded here.
    #[error("its component: {0}")]
    Component(Box<LoadError>),
    /// It ended here in a way that says nothing about it.
    #[error("here it {message}")]
    Void {
        /// How.
        code: String,
        /// In words.
        message: String,
    },
    /// It was run in other engine classes, which disagree.
    #[error(
        "it ran in another engine class ({there}), and this one ({here}) makes something else of it"
    )]
    Engines {
        /// The receipt's.
        there: String,
        /// This node's.
        here: String,
    },
    /// This node failed.
    #[error(transparent)]
    Node(#[from] Box<NodeError>),
}

fn shown(node: &NodeId) -> String {
    identity::show(*node)
}

impl From<NodeError> for ReplayError {
    fn from(error: NodeError) -> ReplayError {
        ReplayError::Node(Box::new(error))
    }
}

impl ReplayError {
    /// Stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ReplayError::Unsigned(_) => "replay::unsigned",
            ReplayError::Impure => "replay::impure",
            ReplayError::Manifest(_) => "replay::manifest",
            ReplayError::Semantics(_) => "replay::semantics",
            ReplayError::Gone { .. } => "replay::gone",
            ReplayError::Changed(_) => "replay::changed",
            ReplayError::Component(_) => "replay::component",
            ReplayError::Void { .. } => "replay::no-result",
            ReplayError::Engines { .. } => "replay::engine-class",
            ReplayError::Node(error) => error.code(),
        }
    }

    /// Ways out.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            ReplayError::Unsigned(_) => {
                "export it again with `sykli report --receipts` where the run was started"
            }
            ReplayError::Impure => "run the pipeline again: `sykli run`",
            ReplayError::Manifest(_) | ReplayError::Semantics(_) | ReplayError::Engines { .. } => {
                "replay it with the version of sykli that its `engine` names"
            }
            ReplayError::Gone { .. } => {
                "replay it on the node that started the run, or that ran the task, before `sykli cache gc` does its work"
            }
            ReplayError::Changed(_) => "replay it in the project as it was then",
            ReplayError::Component(_) => return Vec::new(),
            ReplayError::Void { code, .. } if code == "task::timeout" => {
                "give it longer with --timeout"
            }
            ReplayError::Void { .. } => "try again; `sykli doctor` checks this machine",
            ReplayError::Node(error) => return error.hints(),
        };
        vec![hint.to_owned()]
    }
}

impl Node {
    /// Runs the task of a receipt again and compares. `output` gets what the guest writes, as it does.
    ///
    /// # Errors
    /// Where the receipt is not signed, the task cannot be run again, or nothing follows from what came out.
    pub fn replay(
        &self,
        signed: &Signed<Receipt>,
        timeout_ms: u64,
        output: ExecOutput,
        interrupt: &Interrupt,
    ) -> Result<Replay, ReplayError> {
        let receipt = signed.claimed();
        if !signed.holds(&identity::verify) {
            return Err(ReplayError::Unsigned(receipt.claim.executor));
        }
        let task = receipt.claim.task_digest;
        let store = self.store()?;
        let manifest = manifest(store, &task)?;
        let project = self.project(&receipt.key.run);
        gather(store, &manifest, project.as_deref())?;
        let component = self.replayed_component(store, &manifest)?;
        let faults = InputFaults::default();
        let inputs = stage::of_manifest(store, &task, &manifest, &faults);
        let inputs = inputs.map_err(|digest| gone("an input", digest))?;
        let limits = Limits {
            fuel: manifest.fuel,
            memory_bytes: manifest.memory_bytes,
            timeout_ms,
            output_bytes: manifest.output_bytes,
        };
        let grant = stage::grant(&limits, Allowed::default());
        let cancel = CancelToken::default();
        let to_cancel = cancel.clone();
        let _listening = interrupt.listen(move |_| to_cancel.cancel());
        let watch = Arc::new(Watch::new(output));
        let observer: Arc<dyn Observer> = watch.clone();
        let engine = self.engine()?.clone();
        let outcome = Sandbox::new(engine).run(&component, &grant, inputs, observer, &cancel);
        let (here, mut failure) = judged(store, &manifest, &outcome, &faults)?;
        if let Some(report) = &mut failure {
            watch.fill(report);
        }
        compared(receipt, &manifest, here, failure, judge::wall_ms(&outcome))
    }

    /// The folder of the project that a run of this node's was of.
    fn project(&self, run: &RunId) -> Option<PathBuf> {
        let journal = self.journal().ok()?;
        // A later round of a run has the run's name and a number.
        let base = run.as_str().rsplit_once('-').map(|(base, _)| base);
        let found = journal
            .run(run)
            .or_else(|| journal.run(&RunId::new(base?).ok()?))?;
        found.pipeline.parent().map(Path::to_owned)
    }

    fn replayed_component(
        &self,
        store: &Store,
        manifest: &Manifest,
    ) -> Result<Component, ReplayError> {
        let digest = manifest.component;
        let read = || {
            let found = store.read(&digest, MAX_COMPONENT_BYTES);
            let lost = || io::Error::from(io::ErrorKind::NotFound);
            found.map(|bytes| bytes.to_vec()).ok_or_else(lost)
        };
        let floats = worker::floats(manifest.floats);
        let loaded = self.engine()?.load_by_digest(digest.0, floats, read);
        loaded.map_err(|error| match store.has(&digest) {
            true => ReplayError::Component(Box::new(error)),
            false => gone("the component", digest),
        })
    }
}

fn gone(what: &str, digest: Digest) -> ReplayError {
    let what = what.to_owned();
    ReplayError::Gone { what, digest }
}

fn manifest(store: &Store, task: &Digest) -> Result<Manifest, ReplayError> {
    let bytes = store.manifest(task, MAX_MANIFEST_BYTES as u64);
    let manifest = Manifest::decode(&bytes.ok_or_else(|| gone("the manifest", *task))?)?;
    match manifest.semantics {
        SEMANTICS_VERSION if manifest.is_pure() => Ok(manifest),
        SEMANTICS_VERSION => Err(ReplayError::Impure),
        other => Err(ReplayError::Semantics(other)),
    }
}

/// Sees to it that all that the guest may read is in the store: what is not, and is a file of the project that is what it
/// was, is put there.
fn gather(store: &Store, manifest: &Manifest, project: Option<&Path>) -> Result<(), ReplayError> {
    for (prefix, digest) in &manifest.inputs {
        let tree = store.tree(digest);
        let tree = tree.ok_or_else(|| gone("an input tree", *digest))?;
        for entry in tree.entries() {
            if entry.size > 0 && !store.has(&entry.digest) {
                bring(store, prefix, entry, project)?;
            }
        }
    }
    match manifest.stdin {
        Some(digest) if store.get(&digest).is_none() => Err(gone("its standard input", digest)),
        _ => Ok(()),
    }
}

fn bring(
    store: &Store,
    prefix: &str,
    entry: &TreeEntry,
    project: Option<&Path>,
) -> Result<(), ReplayError> {
    let lost = || gone(&format!("the input {}", entry.path), entry.digest);
    let path = project.ok_or_else(lost)?.join(prefix).join(&entry.path);
    // What is no file there is as good as gone.
    let (found, _) = match path.is_file() {
        true => store.put_file(&path).map_err(NodeError::from)?,
        false => return Err(lost()),
    };
    match found == entry.digest {
        true => Ok(()),
        false => Err(ReplayError::Changed(path)),
    }
}

/// What came of it here, judged as elsewhere.
fn judged(
    store: &Store,
    manifest: &Manifest,
    outcome: &Outcome,
    faults: &InputFaults,
) -> Result<(Came, Option<FailureReport>), ReplayError> {
    // Whoever made the manifest read them the same way; what is no pattern here matches nothing.
    let patterns = manifest.outputs.iter().map(|text| Pattern::new(text));
    let patterns: Vec<Pattern> = patterns.filter_map(Result::ok).collect();
    let case = Case {
        store,
        name: &manifest.name,
        outputs: &patterns,
        asker: None,
    };
    let came = |verdict, output| Came {
        outcome: verdict,
        output,
        stdout: Digest::of(&outcome.stdout.bytes),
        stderr: Digest::of(&outcome.stderr.bytes),
        fuel: outcome.usage.fuel,
    };
    match judge::judge(&case, outcome, faults) {
        Judgement::Passed(passed) => Ok((came(RemoteOutcome::Passed, passed.output), None)),
        Judgement::Failed { report, .. } => {
            let verdict = foreign::failed(&report);
            Ok((came(verdict, Tree::default().digest()), Some(report)))
        }
        Judgement::Void { report, code, .. } => Err(ReplayError::Void {
            code: code.to_owned(),
            message: report.message,
        }),
        Judgement::BadInput(_) => Err(ReplayError::Void {
            code: "replay::lost".to_owned(),
            message: "lost an input from the cache while it ran".to_owned(),
        }),
    }
}

fn compared(
    receipt: &Receipt,
    manifest: &Manifest,
    here: Came,
    failure: Option<FailureReport>,
    wall_ms: u64,
) -> Result<Replay, ReplayError> {
    let claim = &receipt.claim;
    let engine = foreign::engine_class();
    let other_engine = *receipt.engine != *engine;
    let words = |outcome: &RemoteOutcome| match outcome {
        RemoteOutcome::Passed => "passed".to_owned(),
        RemoteOutcome::Failed { code, .. } if other_engine => format!("failed: {code}"),
        RemoteOutcome::Failed { code, message } => format!("failed: {code}: {message}"),
    };
    let pairs = [
        ("outcome", words(&claim.outcome), words(&here.outcome)),
        ("output", claim.output.to_string(), here.output.to_string()),
        ("stdout", claim.stdout.to_string(), here.stdout.to_string()),
        ("stderr", claim.stderr.to_string(), here.stderr.to_string()),
        ("fuel", claim.fuel.to_string(), here.fuel.to_string()),
    ];
    let differs = pairs
        .into_iter()
        .filter(|(what, there, here)| there != here && !(other_engine && *what == "fuel"));
    let differs: Vec<Difference> = differs
        .map(|(what, there, here)| Difference { what, there, here })
        .collect();
    if other_engine && !differs.is_empty() {
        return Err(ReplayError::Engines {
            there: receipt.engine.to_string(),
            here: engine.to_string(),
        });
    }
    Ok(Replay {
        task: manifest.name.clone(),
        here,
        differs,
        other_engine,
        failure,
        wall_ms,
    })
}
