//! Settled instances on their way to disk, and from there to the renderer.
//!
//! One thread takes what has settled, gives the journal all of it as one batch, waits until the results (in the cache)
//! and the rows (in the journal) are committed, and only then tells. While it waits, the next batch gathers: that is the
//! group commit, without a timer. What could not be committed is told as a warning; the work itself is done. Called by
//! `run`.

use std::sync::mpsc::{Receiver, TryRecvError};

use sykli_core::id::RunId;
use sykli_core::run::SettledKind;

use crate::db::{CommitError, FaultKind};
use crate::events::{RunEvent, TaskSettled};
use crate::journal::{Journal, Outcome, Settled};
use crate::store::Ticket;

/// Settled instances that may wait for the disk; beyond it, the run waits too.
pub(super) const MAX_WAITING: usize = 8192;
/// Instances that share one commit at most.
const MAX_BATCH: usize = 4096;

/// An instance that has settled.
pub(super) struct Settlement {
    pub(super) event: Box<TaskSettled>,
    /// The result's way into the cache, where there is one.
    pub(super) stored: Option<Ticket>,
}

/// Serves until every sender is gone. Answers with what could not be committed, one line each.
pub(super) fn serve(
    settled: &Receiver<Settlement>,
    journal: &Journal,
    run: &RunId,
    events: &(dyn Fn(RunEvent) + Sync),
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut batch = Vec::new();
    while let Ok(first) = settled.recv() {
        batch.push(first);
        while batch.len() < MAX_BATCH {
            match settled.try_recv() {
                Ok(next) => batch.push(next),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let rows = batch
            .iter()
            .map(|settlement| row(&settlement.event))
            .collect();
        let ticket = journal.settle(run, rows);
        for settlement in &batch {
            if let Some(Err(error)) = settlement.stored.as_ref().map(Ticket::wait) {
                warn(
                    &mut warnings,
                    events,
                    lost("results could not be cached", &error),
                );
            }
        }
        if let Err(error) = ticket.wait() {
            warn(
                &mut warnings,
                events,
                lost("the journal could not be written", &error),
            );
        }
        for settlement in batch.drain(..) {
            events(RunEvent::TaskSettled(settlement.event));
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

fn row(event: &TaskSettled) -> Settled {
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
    }
}
