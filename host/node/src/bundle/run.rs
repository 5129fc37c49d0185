//! A bundle → what its task gives: unpacked into the store, run in this process within its manifest's limits.
//!
//! A bundle comes from elsewhere, so nothing that it asks for beyond pure work is given unasked: network, clock and
//! randomness only where the user said so, and never more than the user's own ceilings. Nothing runs before all of the
//! file was verified. Results are not cached: whoever runs a bundle wants it run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sykli_core::glob::Pattern;
use sykli_core::manifest::{Manifest, SEMANTICS_VERSION};
use sykli_runtime::{CancelToken, Component, Grant, Observer, Outcome, Sandbox, Status};

use super::BundleError;
use super::read::{self, Sink};
use crate::exec::{ExecOutput, ExecReport, Watch};
use crate::interrupt::Interrupt;
use crate::materialise::{Output, Protected, materialise};
use crate::node::{Node, NodeError};
use crate::run::failure::{self, Asker};
use crate::run::outputs;
use crate::store::{InputFaults, Store};
use crate::worker;

/// The largest component that is loaded, bytes.
const MAX_COMPONENT_BYTES: u64 = 1 << 30;

/// How a bundle is to be run.
#[derive(Clone, Debug)]
pub struct BundleRun {
    /// The file.
    pub path: PathBuf,
    /// Where its outputs go; dropped without.
    pub out: Option<PathBuf>,
    /// Gives it the network, clock and randomness that it asks for.
    pub grant: bool,
    /// Wall time.
    pub timeout: Duration,
    /// The most fuel, whatever its manifest says.
    pub max_fuel: u64,
    /// The most memory, bytes, likewise.
    pub max_memory_bytes: u64,
    /// The most that it may write, bytes, likewise.
    pub max_output_bytes: u64,
    /// The most that it may unpack to, bytes.
    pub max_bytes: u64,
}

impl Node {
    /// Runs a bundle to its end on this thread. `output` is called from it, too.
    ///
    /// # Errors
    /// Where the file is not exactly a bundle, or its task cannot be started; how it ended is in the report.
    pub fn run_bundle(
        &self,
        request: &BundleRun,
        output: ExecOutput,
        interrupt: &Interrupt,
    ) -> Result<ExecReport, NodeError> {
        let store = self.store()?;
        let bundle = read::open(&request.path, request.max_bytes, &mut Sink::store(store))?;
        let manifest = &bundle.manifest;
        if manifest.semantics != SEMANTICS_VERSION {
            return Err(BundleError::Semantics(manifest.semantics).into());
        }
        let grant = grant(request, manifest)?;
        let component = self.component(store, request, manifest)?;
        let faults = InputFaults::default();
        let inputs = worker::stage::of_manifest(store, &bundle.task, manifest, &faults);
        let inputs = inputs.map_err(BundleError::Missing)?;
        let cancel = CancelToken::default();
        let to_cancel = cancel.clone();
        let _listening = interrupt.listen(move |_| to_cancel.cancel());
        let watch = Arc::new(Watch::new(output));
        let observer: Arc<dyn Observer> = watch.clone();
        let sandbox = Sandbox::new(self.engine()?.clone());
        let outcome = sandbox.run(&component, &grant, inputs, observer, &cancel);
        let mut report = report(&outcome, &watch);
        if !faults.found().is_empty() {
            let message = "its inputs were taken out of the cache while it ran".to_owned();
            report.fail("bundle::lost", message, "run it again");
        } else if outcome.status.is_success() {
            keep(store, request, manifest, &outcome, &mut report)?;
        }
        Ok(report)
    }

    fn component(
        &self,
        store: &Store,
        request: &BundleRun,
        manifest: &Manifest,
    ) -> Result<Component, NodeError> {
        let bytes = || {
            let found = store.read(&manifest.component, MAX_COMPONENT_BYTES);
            let lost = || io::Error::other("it is larger than 1 GiB, or not in the cache any more");
            found.map(|bytes| bytes.to_vec()).ok_or_else(lost)
        };
        let floats = worker::floats(manifest.floats);
        let loaded = self
            .engine()?
            .load_by_digest(manifest.component.0, floats, bytes);
        loaded.map_err(|source| NodeError::Component {
            task: manifest.name.clone(),
            path: request.path.clone(),
            source: Box::new(source),
        })
    }
}

/// What it is granted: what its manifest says, within what this user allows.
fn grant(request: &BundleRun, manifest: &Manifest) -> Result<Grant, NodeError> {
    if !manifest.is_pure() && !request.grant {
        let asks = &manifest.grants;
        let hosts = asks.net.iter().map(|rule| format!("the network ({rule})"));
        let clock = asks.clock.then(|| "the clock".to_owned());
        let random = asks.random.then(|| "randomness".to_owned());
        let all = hosts.chain(clock).chain(random).collect();
        return Err(BundleError::Grants(all).into());
    }
    let rules = manifest.grants.net.iter().map(|rule| rule.parse());
    Ok(Grant {
        fuel: manifest.fuel.min(request.max_fuel),
        memory_bytes: manifest.memory_bytes.min(request.max_memory_bytes),
        timeout: request.timeout,
        output_bytes: manifest.output_bytes.min(request.max_output_bytes),
        output_entries: worker::stage::OUTPUT_ENTRIES,
        stdio_bytes: failure::TAIL_BYTES as u64,
        stream_bytes: worker::stage::STREAM_BYTES,
        clock: manifest.grants.clock,
        random: manifest.grants.random,
        net: rules.collect::<Result<Vec<_>, sykli_runtime::NetRuleError>>()?,
    })
}

fn report(outcome: &Outcome, watch: &Watch) -> ExecReport {
    let mut failure = failure::of_status(Some(Asker::Exec), &outcome.status, &outcome.refusals);
    if let Some(failure) = &mut failure {
        // Flags of `exec` are no help here: a bundle's limits are part of its task.
        failure.hints = match outcome.status {
            Status::Limit(_) => vec![
                "its limits are part of it: raise them in its pipeline, and pack it again"
                    .to_owned(),
            ],
            Status::TimedOut { .. } => vec!["give it longer with --timeout".to_owned()],
            _ => Vec::new(),
        };
        watch.fill(failure);
    }
    ExecReport {
        exit_code: match outcome.status {
            Status::Exited(code) => code,
            Status::Cancelled => 130,
            _ => 1,
        },
        failure: failure.filter(|_| !matches!(outcome.status, Status::Exited(_))),
        written: Vec::new(),
        removed: Vec::new(),
        warnings: Vec::new(),
        fuel: outcome.usage.fuel,
        peak_memory_bytes: outcome.usage.peak_memory_bytes,
        wall: outcome.usage.wall,
    }
}

/// Brings what it left to where it is wanted.
fn keep(
    store: &Store,
    request: &BundleRun,
    manifest: &Manifest,
    outcome: &Outcome,
    report: &mut ExecReport,
) -> Result<(), NodeError> {
    // Whoever made the bundle read them the same way; what is no pattern here matches nothing.
    let patterns: Vec<Pattern> = manifest
        .outputs
        .iter()
        .filter_map(|text| Pattern::new(text).ok())
        .collect();
    let kept = match outputs::keep(store, &outcome.changes, &patterns) {
        Ok(kept) => kept,
        Err(outputs::OutputError::Store(error)) => return Err(error.into()),
        Err(error) => {
            report.fail(
                "bundle::outputs",
                error.to_string(),
                "its pipeline declares its outputs",
            );
            return Ok(());
        }
    };
    if !kept.dropped.is_empty() {
        let dropped = outputs::told(&kept.dropped);
        report.warnings.push(format!(
            "dropped what none of its outputs matches: {dropped}"
        ));
    }
    let Some(out) = &request.out else {
        return Ok(());
    };
    let files = kept.tree.entries().iter().map(|entry| Output {
        label: manifest.name.clone(),
        path: entry.path.clone(),
        digest: entry.digest,
        size: entry.size,
        executable: entry.executable,
    });
    bring(store, out, files.collect(), report)
}

fn bring(
    store: &Store,
    out: &Path,
    files: Vec<Output>,
    report: &mut ExecReport,
) -> Result<(), NodeError> {
    let unusable = |error: io::Error| NodeError::Folder {
        path: out.to_owned(),
        message: error.to_string(),
    };
    std::fs::create_dir_all(out).map_err(unusable)?;
    let done = materialise(store, out, files, &Protected::default()).map_err(unusable)?;
    report.written = done.written.iter().map(|path| out.join(path)).collect();
    if let Some((path, reason)) = done.refused.first() {
        let message = format!(
            "{} files were not written, `{path}` because {reason}",
            done.refused.len()
        );
        report.fail("bundle::copy-out", message, &reason.hint());
    }
    Ok(())
}
