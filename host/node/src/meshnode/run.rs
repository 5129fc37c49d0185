//! A run's side of the mesh node: what the run tells it, and what comes back.
//!
//! The run's loop is a thread of its own and the node's loop is a task: between them is a bounded queue one way, and the
//! run's mailbox the other way. Neither waits for the other while it holds anything. Used by `run::decider`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sykli_core::consent::Claim;
use sykli_core::id::{Digest, RunId, TaskId};
use sykli_core::machine::{Event, Step};
use sykli_core::policy::Requirements;
use sykli_core::run::{self, Counts, RunOutcome, RunStatus};
use sykli_core::snapshot::Snapshot;
use tokio::sync::mpsc;

use super::Command;
use crate::events::NodeRef;
use crate::needs::Bundles;
use crate::prepare::Prepared;
use crate::store::Store;

/// The largest component or standard input that is kept for a replay, in bytes.
const MAX_KEPT_BYTES: u64 = 64 << 20;

/// What the node tells a run.
#[derive(Debug)]
pub(crate) enum FromNode {
    /// What is to be done, as core's own machine would say it.
    Action(run::Action),
    /// What a task that ran elsewhere came to; that it is settled is said after it.
    Result {
        task: TaskId,
        claim: Box<Claim>,
        /// As its executor signed it, in its one encoding.
        receipt: Option<Box<[u8]>>,
        by: NodeRef,
    },
    /// Something happened to a task on its way.
    Step {
        task: TaskId,
        step: Box<Step>,
        peer: NodeRef,
    },
    /// What a task elsewhere has written.
    Output {
        task: TaskId,
        stderr: bool,
        bytes: Vec<u8>,
    },
}

/// Where a run hears from the node. Never blocks.
pub(crate) type Sink = Arc<dyn Fn(FromNode) + Send + Sync>;

/// The last picture of a run that the node has drawn.
#[derive(Clone, Default)]
pub(super) struct Picture(Arc<Mutex<Option<Snapshot>>>);

impl Picture {
    pub(super) fn draw(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    pub(super) fn look(&self) -> Option<Snapshot> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// See the module.
pub(crate) struct MeshRun {
    run: RunId,
    node: mpsc::Sender<Command>,
    picture: Picture,
    status: Option<RunStatus>,
    bundles: Arc<Bundles>,
    /// Components that were kept.
    kept: BTreeSet<Digest>,
}

impl MeshRun {
    pub(super) fn new(
        run: RunId,
        node: mpsc::Sender<Command>,
        picture: Picture,
        bundles: Arc<Bundles>,
    ) -> MeshRun {
        MeshRun {
            run,
            node,
            picture,
            status: None,
            bundles,
            kept: BTreeSet::new(),
        }
    }

    /// Keeps what a task that ran elsewhere can be run again from, where only the bundle had it: its component, which may
    /// be built anew any time, and its standard input. Best effort: what is not kept only cannot be replayed.
    pub(crate) fn keep(&mut self, store: &Store, prepared: &Arc<Prepared>) {
        let Some(manifest) = prepared.manifest() else {
            return;
        };
        let find = self.bundles.closure(prepared);
        let keep = |digest: &Digest| {
            let source = find(digest).filter(|source| source.len() <= MAX_KEPT_BYTES);
            source.map(|source| store.put_source(&source))
        };
        if self.kept.insert(manifest.component) {
            let _ = keep(&manifest.component);
        }
        if let Some(stdin) = manifest.stdin.filter(|stdin| !store.has(stdin)) {
            let _ = keep(&stdin);
        }
    }

    /// Passes on what happened. Waits while the node's queue is full.
    pub(crate) fn tell(&mut self, event: run::Event) {
        let run = self.run.clone();
        let event = match event {
            run::Event::PrepareFailed { task, reason } => {
                Event::PrepareFailed { run, task, reason }
            }
            run::Event::Finished {
                task,
                attempt,
                verdict,
                ran_us,
            } => Event::Finished {
                run,
                task,
                attempt,
                verdict,
                ran_us,
            },
            run::Event::Progress {
                task,
                attempt,
                done,
                total,
                message,
            } => Event::Progress {
                run,
                task,
                attempt,
                done,
                total,
                message: message.into(),
            },
            run::Event::Interrupt => Event::Interrupt { run },
            // The node began the run when it was submitted, prepared instances have a way of their own, and it keeps
            // its own time.
            run::Event::Begin | run::Event::Prepared { .. } | run::Event::Timeout => return,
        };
        self.send(Command::Own(event));
    }

    /// An instance is prepared: its bundle can be made from now on.
    pub(crate) fn prepared(
        &mut self,
        prepared: &Arc<Prepared>,
        hit: bool,
        needs: Option<Arc<Requirements>>,
    ) {
        let needs = needs.unwrap_or_else(|| Arc::new(stays(prepared)));
        let event = Event::Prepared {
            run: self.run.clone(),
            task: prepared.task,
            hit,
            needs,
        };
        let prepared = (!hit).then(|| Arc::clone(prepared));
        self.send(Command::Prepared { event, prepared });
    }

    fn send(&mut self, command: Command) {
        if self.node.blocking_send(command).is_err() {
            // The node has ended under it: nobody decides any more.
            self.end(RunStatus {
                outcome: RunOutcome::Interrupted,
                counts: Counts::default(),
            });
        }
    }

    /// The run is over.
    pub(crate) fn end(&mut self, status: RunStatus) {
        self.status.get_or_insert(status);
    }

    pub(crate) fn finished(&self) -> Option<RunStatus> {
        if self.status.is_none() && self.node.is_closed() {
            return Some(RunStatus {
                outcome: RunOutcome::Interrupted,
                counts: Counts::default(),
            });
        }
        self.status
    }

    pub(crate) fn picture(&self) -> Option<Snapshot> {
        self.picture.look()
    }
}

/// What is asked for an instance that will not be offered: it has a result, or stays here.
fn stays(prepared: &Prepared) -> Requirements {
    Requirements {
        digest: prepared.digest,
        label: "".into(),
        labels: Vec::new(),
        memory_mb: 0,
        fuel: 0,
        timeout_ms: 0,
        estimate_ms: 0,
        component_bytes: 0,
        input_bytes: 0,
        output_bytes: 0,
        blobs: Vec::new(),
        imports: Vec::new(),
        grants: Vec::new(),
        engine: None,
        pure: prepared.pure,
        secret: false,
        mesh: false,
        steal: false,
    }
}
