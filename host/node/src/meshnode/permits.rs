//! What may be fetched from this node, by whom, and how much of it.
//!
//! A transfer is pulled: whoever receives opens a stream and names a lease. It is served only where core has said so
//! before: a bundle for as long as its lease stands, outputs until their owner has them. The question may come before the
//! permission, for the two travel on different streams: it then waits, for [`PATIENCE`]. Bounded by core's leases and its
//! outbox. Used by the loop (grants, withdraws) and by the tasks that serve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sykli_core::id::{LeaseKey, NodeId, RunId, TaskId};
use tokio::sync::Notify;

use crate::transfer::{Serving, What};

/// How long a question waits for its permission.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is permitted: to whom, under which lease, which way.
type Key = (NodeId, LeaseKey, What);

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Permits(Arc<Inner>);

#[derive(Default)]
struct Inner {
    table: Mutex<BTreeMap<Key, Serving>>,
    changed: Notify,
}

impl Permits {
    fn table(&self) -> MutexGuard<'_, BTreeMap<Key, Serving>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn grant(&self, peer: NodeId, key: LeaseKey, what: What, serving: Serving) {
        self.table().insert((peer, key, what), serving);
        self.0.changed.notify_waiters();
    }

    /// Whether `peer` may fetch that now.
    pub(super) fn has(&self, peer: NodeId, key: &LeaseKey, what: What) -> bool {
        self.table().contains_key(&(peer, key.clone(), what))
    }

    pub(super) fn withdraw(&self, peer: NodeId, key: &LeaseKey, what: What) {
        self.table().remove(&(peer, key.clone(), what));
    }

    /// A task is settled: nobody needs its bundle any more.
    pub(super) fn withdraw_task(&self, run: &RunId, task: TaskId) {
        self.table().retain(|(_, key, what), _| {
            *what == What::Outputs || key.run != *run || key.task != task
        });
    }

    /// Whether a result waits to be fetched by a peer of which `is_there` holds.
    pub(super) fn is_awaited(&self, is_there: impl Fn(NodeId) -> bool) -> bool {
        let table = self.table();
        let mut outputs = table.keys().filter(|(_, _, what)| *what == What::Outputs);
        outputs.any(|(peer, ..)| is_there(*peer))
    }

    /// What `peer` may fetch under a lease; waits for a while where that is not said yet.
    pub(super) async fn find(&self, peer: NodeId, key: &LeaseKey, what: What) -> Option<Serving> {
        let wanted = (peer, key.clone(), what);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that what is granted right after it is heard.
            changed.as_mut().enable();
            if let Some(serving) = self.table().get(&wanted) {
                return Some(serving.clone());
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return None;
            }
        }
    }
}
