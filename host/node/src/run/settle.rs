//! Settled instances on their way to disk, and from there to the renderer.
//!
//! One thread takes what has settled, gives the store and the journal all of it as one batch each, waits until the
//! results (in the cache) and the rows (in the journal) are committed, and only then tells. A batch gathers for
//! [`GATHER`], or while the one before it is written: that is the group commit. The end of the run does not wait. What
//! could not be committed is told as a warning; the work itself is done. Called by `run`.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use sykli_core::id::RunId;
use sykli_core::run::SettledKind;

use crate::db::{CommitError, FaultKind};
use crate::events::{RunEvent, TaskSettled};
use crate::journal::{Journal, Outcome, Said, Settled};
use crate::store::{NewResult, Store};

/// Messages that may wait for the settler, each of what settled in one look of the loop; beyond it, the run waits too.
pub(super) const MAX_WAITING: usize = 64;
/// Instances that share one commit, unless more of them came at once.
const MAX_BATCH: usize = 16_384;
/// How long what has settled waits for company. A commit costs as much as some hundred short tasks.
const GATHER: Duration = Duration::from_millis(20);

/// An instance that has settled.
pub(super) struct Settlement {
    /// What is told; nothing where an earlier round has told it.
    pub(super) event: Option<Box<TaskSettled>>,
    /// The result, where there is one that may be kept.
    pub(super) stored: Option<Box<NewResult>>,
    /// The end of what it wrote, where no result keeps all of it.
    pub(super) said: Option<Box<Said>>,
    /// What the node signed that ran it, where that was another one.
    pub(super) receipt: Option<Box<[u8]>>,
}

/// Serves until every sender is gone. Answers with what could not be committed, one line each.
pub(super) fn serve(
    settled: &Receiver<Vec<Settlement>>,
    store: &Store,
    journal: &Journal,
    run: &RunId,
    events: &(dyn Fn(RunEvent) + Sync),
) -> Vec<String> {
    let mut warnings = Vec::new();
    while let Ok(mut batch) = settled.recv() {
        let until = Instant::now() + GATHER;
        while batch.len() < MAX_BATCH {
            // Nothing came in time, or nothing will come any more.
            let Ok(mut next) =
                settled.recv_timeout(until.saturating_duration_since(Instant::now()))
            else {
                break;
            };
            batch.append(&mut next);
        }
        let results = batch
            .iter_mut()
            .filter_map(|settlement| settlement.stored.take().map(|stored| *stored));
        let results = store.put_results(results.collect());
        let rows = batch.iter_mut().filter_map(|one| {
            let beside = (one.said.take(), one.receipt.take());
            one.event.as_deref().map(|event| row(event, beside))
        });
        let rows = rows.collect();
        let rows = journal.settle(run, rows);
        for (ticket, what) in [
            (results, "results could not be cached"),
            (Some(rows), "the journal could not be written"),
        ] {
            if let Some(Err(error)) = ticket.map(|ticket| ticket.wait()) {
                warn(&mut warnings, events, lost(what, &error));
            }
        }
        for event in batch.into_iter().filter_map(|one| one.event) {
            events(RunEvent::TaskSettled(event));
        }
    }
    warnings
}

/// What was not kept, and the way out where there is one.
fn lost(what: &str, error: &CommitError) -> String {
    let way_out = match error.kind {
        FaultKind::Full => " (free some space, for instance with `sykli cache gc`)",
        _ => "",
    };
    format!("{what}: {error}{way_out}")
}

/// Once for each kind of trouble: a full disk stays full.
fn warn(warnings: &mut Vec<String>, events: &(dyn Fn(RunEvent) + Sync), message: String) {
    if !warnings.contains(&message) && warnings.len() < 16 {
        events(RunEvent::Warning {
            message: message.clone(),
        });
        warnings.push(message);
    }
}

fn row(event: &TaskSettled, (said, receipt): (Option<Box<Said>>, Option<Box<[u8]>>)) -> Settled {
    Settled {
        label: event.label.clone(),
        task: event.task.clone(),
        outcome: match event.state {
            SettledKind::Passed => Outcome::Passed,
            SettledKind::Cached => Outcome::Cached,
            SettledKind::Failed => Outcome::Failed,
            SettledKind::Skipped => Outcome::Skipped,
            SettledKind::Cancelled => Outcome::Cancelled,
        },
        digest: event.digest,
        attempt: event.attempts,
        wall_ms: event.wall_ms,
        fuel: event.fuel,
        failure: event
            .failure
            .as_ref()
            .map(|failure| failure.message.clone()),
        node: event.node.clone(),
        stolen: event.stolen,
        said,
        receipt,
    }
}
