//! Who decides about a run: its own machine, or the mesh node that this run shares with others.
//!
//! A solo run owns core's [`Run`] and asks it directly. In the mesh, the node's loop owns the machine of all runs: what
//! happens is sent there, and what is to be done comes back through the run's mailbox. The loop of a run does not see the
//! difference. It decides nothing itself. Called by `drive`.

use std::sync::Arc;

use sykli_core::id::{Digest, TaskId};
use sykli_core::policy::Requirements;
use sykli_core::run::{Action, Event, Run, RunStatus};
use sykli_core::snapshot::Snapshot;
use sykli_core::time::Tick;

use crate::meshnode::MeshRun;
use crate::prepare::Prepared;

/// See the module.
pub(super) enum Decider {
    /// This run's own machine.
    Own(Box<Run>),
    /// The mesh node's.
    Mesh(MeshRun),
}

impl Decider {
    /// Takes in what happened; what follows at once is appended to `actions`.
    pub(super) fn handle_into(&mut self, now: Tick, event: Event, actions: &mut Vec<Action>) {
        match self {
            Decider::Own(run) => run.handle_into(now, event, actions),
            Decider::Mesh(run) => run.tell(event),
        }
    }

    /// An instance is prepared; `needs` is what it asks of a node, where nodes will be asked.
    pub(super) fn prepared(
        &mut self,
        now: Tick,
        (prepared, hit): (&Arc<Prepared>, bool),
        needs: Option<Arc<Requirements>>,
        actions: &mut Vec<Action>,
    ) {
        let (task, digest): (TaskId, Digest) = (prepared.task, prepared.digest);
        match self {
            Decider::Own(run) => {
                run.handle_into(now, Event::Prepared { task, digest, hit }, actions);
            }
            Decider::Mesh(run) => run.prepared(prepared, hit, needs),
        }
    }

    /// When [`Event::Timeout`] is wanted. The mesh node looks after that itself.
    pub(super) fn next_timeout(&self) -> Option<Tick> {
        match self {
            Decider::Own(run) => run.next_timeout(),
            Decider::Mesh(_) => None,
        }
    }

    /// How the run ended, once it has.
    pub(super) fn finished(&self) -> Option<RunStatus> {
        match self {
            Decider::Own(run) => run.finished(),
            Decider::Mesh(run) => run.finished(),
        }
    }

    /// The run as it is; none where the mesh node has not drawn it yet.
    pub(super) fn snapshot(&self, now: Tick) -> Option<Snapshot> {
        match self {
            Decider::Own(run) => Some(run.snapshot(now)),
            Decider::Mesh(run) => run.picture(),
        }
    }
}
