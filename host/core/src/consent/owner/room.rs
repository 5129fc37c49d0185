//! Which peers that are here were not asked about a task that waits, for the person who wonders.
//!
//! A peer without room is passed over before any task is looked at: that is most of them, most of the time, and nothing to
//! tell. Where a task has waited for a while it is what keeps it waiting. Decides nothing, and looks at a bounded number of
//! tasks and peers, now and then. Called by [`super::place`].

use super::Owner;
use super::place::{PEERS, SCAN};
use crate::id::{LeaseKey, NodeId, RunId, TaskId};
use crate::machine::{Desk, Mode, StepKind};
use crate::policy::Reason;
use crate::roster::Entry;

impl Owner {
    /// Notes for each task that waits which peers have no room for it.
    pub(super) fn note_no_room(&mut self, desk: &mut Desk<'_>) {
        let full = desk.roster.iter();
        let full = full.filter_map(|(peer, entry)| Some((peer, no_room(entry)?)));
        let full: Vec<(NodeId, Reason)> = full.take(PEERS).collect();
        if full.is_empty() {
            return;
        }
        let reaching = self.runs.iter();
        let reaching = reaching.filter(|(_, own)| own.mode != Mode::Solo && own.run.is_going());
        let waiting: Vec<(RunId, TaskId)> = reaching
            .flat_map(|(run, own)| own.run.ready().take(SCAN).map(|task| (run.clone(), task)))
            .take(SCAN)
            .collect();
        for (place, (run, task)) in waiting.into_iter().enumerate() {
            let attempt = self.runs.get(&run).and_then(|own| own.run.attempt(task));
            let Some(attempt) = attempt else {
                continue;
            };
            let key = LeaseKey { run, task, attempt };
            for (peer, reason) in &full {
                // What would keep the task from it in any case says more.
                let reason = match self.may_offer(desk, *peer, &key.run, task, (place, false)) {
                    Err(Reason::CoolingDown) => continue,
                    Err(other) => other,
                    Ok(_) => reason.clone(),
                };
                self.note(desk, &key, *peer, StepKind::NotOffered(reason));
            }
        }
    }
}

/// Why a peer that is here is passed over, by what it says of itself. One that is left alone after it declined or lost
/// something has been told of.
fn no_room(entry: &Entry) -> Option<Reason> {
    let told = entry.beacon.as_ref().filter(|_| entry.connected)?;
    match () {
        () if told.paused => Some(Reason::Paused),
        () if !entry.has_room() => Some(Reason::NoRoom),
        () if entry.outstanding >= entry.may_hold => Some(Reason::LeaseCap { n: entry.may_hold }),
        () => None,
    }
}
