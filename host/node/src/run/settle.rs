//! Settled instances on their way to disk, and from there to the renderer.
//!
//! One thread takes what has settled, gives the store and the journal all of it as one batch each, waits until the
//! results (in the cache) and the rows (in the journal) are committed, and only then tells. A batch gathers for some
//! milliseconds ([`FIRST_GATHER`] to [`GATHER`]), or while the one before it is written: that is the group commit. The end
//! of the run does not wait. What could not be committed is told as a warning; the work itself is done. Called by `run`.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

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
/// How long the first of a run wait; each batch after them twice as long as the one before. A short run would otherwise end
/// with everything still to be committed and told, and have kept the memory of all of it.
const FIRST_GATHER: Duration = Duration::from_millis(2);

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

/// Fewer than these are not worth a commit of their own while more come.
const WORTH: usize = 128;

/// What the settler is told.
pub(super) enum Posted {
    /// Instances that have settled.
    Settled(Vec<Settlement>),
    /// The run is over: written with what settled last.
    Finished { passed: bool },
}

/// Serves until every sender is gone. Answers with what could not be committed, one line each. `left` is how many are to
/// settle at most.
pub(super) fn serve(
    (posted, mut left): (&Receiver<Posted>, usize),
    store: &Store,
    journal: &Journal,
    run: &RunId,
    events: &(dyn Fn(RunEvent) + Sync),
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut gather = FIRST_GATHER;
    while let Ok(first) = posted.recv() {
        let (mut batch, finished) = gathered(posted, first, Instant::now() + gather, left);
        left = left.saturating_sub(batch.len());
        gather = (gather * 2).min(GATHER);
        let results = batch
            .iter_mut()
            .filter_map(|settlement| settlement.stored.take().map(|stored| *stored));
        let results = store.put_results(results.collect());
        let rows = batch.iter_mut().filter_map(|one| {
            let beside = (one.said.take(), one.receipt.take());
            one.event.as_deref().map(|event| row(event, beside))
        });
        let rows: Vec<Settled> = rows.collect();
        let rows = (!rows.is_empty()).then(|| journal.settle(run, rows));
        let finished = finished.map(|passed| journal.finish_run(run, passed, SystemTime::now()));
        for (ticket, what) in [
            (results, "results could not be cached"),
            (rows, "the journal could not be written"),
            (finished, "the journal could not be written"),
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

/// What comes until then, and whether the run is over, and how. Half of what is `left` waits no longer: it is written
/// while the other half runs, so that the end of the run has little to wait for.
fn gathered(
    posted: &Receiver<Posted>,
    first: Posted,
    until: Instant,
    left: usize,
) -> (Vec<Settlement>, Option<bool>) {
    let (mut batch, mut next) = (Vec::new(), first);
    loop {
        match next {
            Posted::Settled(mut more) if !batch.is_empty() => batch.append(&mut more),
            Posted::Settled(more) => batch = more,
            Posted::Finished { passed } => return (batch, Some(passed)),
        }
        let half = batch.len() >= WORTH && batch.len() >= left.saturating_sub(batch.len());
        if half || batch.len() >= MAX_BATCH {
            return (batch, None);
        }
        let time = until.saturating_duration_since(Instant::now());
        // Nothing came in time, or nothing will come any more.
        let Ok(more) = posted.recv_timeout(time) else {
            return (batch, None);
        };
        next = more;
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn posted(count: usize) -> Posted {
        let none = || Settlement {
            event: None,
            stored: None,
            said: None,
            receipt: None,
        };
        Posted::Settled((0..count).map(|_| none()).collect())
    }

    /// What is gathered of batches that are all there, of `left`.
    fn of(batches: &[usize], left: usize) -> (usize, Option<bool>) {
        let (post, posts) = sync_channel(batches.len() + 1);
        batches
            .iter()
            .for_each(|count| post.send(posted(*count)).unwrap());
        post.send(Posted::Finished { passed: true }).unwrap();
        let first = posts.recv().unwrap();
        let late = Instant::now() + Duration::from_secs(3600);
        let (batch, finished) = gathered(&posts, first, late, left);
        (batch.len(), finished)
    }

    #[test]
    fn half_of_what_is_left_is_written_while_the_rest_runs() {
        assert_eq!(of(&[100, 200, 300, 400], 1000), (600, None));
        assert_eq!(of(&[300, 300], 100), (300, None), "more than was expected");
        assert_eq!(of(&[60, 60], 120), (120, Some(true)), "not worth a commit");
        assert_eq!(of(&[100, 100], 1_000_000), (200, Some(true)));
        assert_eq!(
            of(&[20_000, 1], 1_000_000),
            (20_000, None),
            "enough for one"
        );
        assert_eq!(of(&[], 0), (0, Some(true)));
    }
}
