//! What the mesh node tells a run's loop: what is to be done, and what tasks came to that ran elsewhere.
//!
//! A result from elsewhere is treated as one of this machine's: kept in the cache, journalled, told; only where it ran is
//! told too. What such a task was made of is kept, so that it can be replayed. Decides nothing. Called by `drive`.

use std::sync::Arc;

use sykli_core::consent::{Claim, RemoteOutcome};
use sykli_core::id::TaskId;
use sykli_core::machine::{Step, StepKind};
use sykli_core::run::Action;

use super::decider::Decider;
use super::drive::{Drive, Last};
use super::failure;
use crate::events::{FailureReport, NodeRef, RunEvent, Stream};
use crate::journal::Said;
use crate::meshnode::FromNode;
use crate::prepare::Prepared;
use crate::store::{Delta, NewResult, Record};

/// The most of each stream of a failed task that is read for its report.
const MAX_STREAM_BYTES: u64 = 1 << 20;

impl Drive<'_> {
    pub(super) fn hear(&mut self, said: FromNode) {
        match said {
            FromNode::Action(Action::Finish { status }) => {
                if let Decider::Mesh(run) = &mut self.machine {
                    run.end(status);
                }
            }
            FromNode::Action(action) => self.perform(action),
            FromNode::Result {
                task,
                claim,
                receipt,
                by,
            } => self.came(task, &claim, receipt, by),
            FromNode::Output {
                task: id,
                stderr,
                bytes,
            } => {
                if let Some((task, label)) = self.names(id) {
                    let stream = if stderr {
                        Stream::Stderr
                    } else {
                        Stream::Stdout
                    };
                    (self.events)(RunEvent::TaskOutput {
                        task,
                        label,
                        stream,
                        bytes,
                    });
                }
            }
            FromNode::Step { task, step, peer } => self.moved(task, *step, peer),
        }
    }

    /// A task elsewhere has a result. That it is settled is said next.
    fn came(&mut self, id: TaskId, claim: &Claim, receipt: Option<Box<[u8]>>, by: NodeRef) {
        let Some(active) = self.active.get_mut(&id) else {
            return;
        };
        let mut last = Last {
            wall_ms: claim.wall_ms,
            fuel: claim.fuel,
            node: Some(by),
            stolen: active.stolen,
            receipt,
            ..Last::default()
        };
        let stream = |digest| {
            let bytes = self.context.store.read(&digest, MAX_STREAM_BYTES);
            bytes.map_or(String::new(), |bytes| failure::tail(&bytes))
        };
        let said = || Said {
            stdout: stream(claim.stdout),
            stderr: stream(claim.stderr),
        };
        match &claim.outcome {
            RemoteOutcome::Passed => {
                self.context.settle(id, claim.output);
                last.output = Some(claim.output);
                let prepared = active.prepared.as_ref().filter(|prepared| prepared.pure);
                last.stored =
                    prepared.map(|prepared| Box::new(self.context.result(prepared, claim)));
                // A cached result keeps all of what it wrote.
                last.said = last.stored.is_none().then(|| Box::new(said()));
            }
            RemoteOutcome::Failed { code, message } => {
                let said = said();
                last.failure = Some(FailureReport {
                    stdout_tail: said.stdout.clone(),
                    stderr_tail: said.stderr.clone(),
                    ..failure::plain(code, message.to_string(), Vec::new())
                });
                last.said = Some(Box::new(said));
            }
        }
        let is_cached = last.stored.is_some();
        active.last = last;
        if let (Some(prepared), Decider::Mesh(run)) = (&active.prepared, &mut self.machine) {
            self.context.keep_inputs(prepared);
            if !is_cached {
                self.context.keep_manifest(prepared);
            }
            run.keep(&self.context.store, prepared);
        }
    }

    /// A task is on its way.
    fn moved(&mut self, id: TaskId, step: Step, peer: NodeRef) {
        if let Some(active) = self.active.get_mut(&id) {
            match step.what {
                StepKind::Offered { asked } => active.stolen = asked,
                StepKind::Started => active.attempts += 1,
                _ => {}
            }
        }
        if let Some((task, label)) = self.names(id) {
            (self.events)(RunEvent::TaskStep {
                task,
                label,
                attempt: step.attempt.0,
                node: peer,
                what: step.what,
            });
        }
    }
}

impl crate::prepare::Context {
    /// A result from elsewhere, as the cache keeps it.
    fn result(&self, prepared: &Arc<Prepared>, claim: &Claim) -> NewResult {
        NewResult {
            task: prepared.digest,
            ..claimed(claim, self.manifest_delta(prepared))
        }
    }
}

/// What a peer says that a task came to, as the cache keeps it: nobody has verified it.
pub(super) fn claimed(claim: &Claim, manifest: Option<Delta>) -> NewResult {
    let record = Record {
        exit: 0,
        outputs: claim.output,
        stdout: claim.stdout,
        stderr: claim.stderr,
        fuel: claim.fuel,
        wall_ms: claim.wall_ms,
        peak_memory_bytes: 0,
        manifest,
        unverified: true,
        warnings: Vec::new(),
    };
    NewResult {
        task: claim.task_digest,
        record,
        fresh: false,
    }
}
