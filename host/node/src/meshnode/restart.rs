//! What a node goes on with after a restart: runs that are not over, and results that wait for their owners.
//!
//! Decides nothing: the journal says what is over, the ledger what was promised. Called when a node starts.

use sykli_core::consent::Forget;
use sykli_core::id::RunId;
use sykli_core::machine::{Machine, Setup};

use super::Shared;
use super::permits::Permits;
use crate::journal::Journal;
use crate::ledger::{Ledger, LedgerError};
use crate::transfer::What;

/// What the journal knows to be over is not gone on with: nothing of its leases matters any more.
fn forget_ended(ledger: &Ledger, journal: &Journal) -> Result<(), LedgerError> {
    for run in ledger.runs()? {
        // A later round of a run has the run's name and a number.
        let (base, round) = run.as_str().rsplit_once('-').unwrap_or((run.as_str(), ""));
        let base = match round.parse::<u32>() {
            Ok(_) => RunId::new(base).unwrap_or_else(|_| run.clone()),
            Err(_) => run.clone(),
        };
        if journal
            .run(&base)
            .is_some_and(|run| run.finished_ms.is_some())
        {
            ledger.forget(Forget::Run { run });
        }
    }
    // What is read next must not know them any more.
    ledger.flush()
}

/// The machine as the ledger knows it, and what its owners may still fetch.
pub(super) fn restored(shared: &Shared, setup: Setup) -> Result<(Machine, Permits), LedgerError> {
    forget_ended(&shared.ledger, &shared.journal)?;
    let outbox = shared.ledger.outbox()?;
    let permits = Permits::default();
    for (owner, key, claim) in &outbox {
        let serving = shared.outputs(claim);
        permits.grant(*owner, key.clone(), What::Outputs, serving);
    }
    let unfinished = shared.ledger.runs()?.into_iter().collect();
    let machine = Machine::restore(setup, outbox, unfinished);
    Ok((machine, permits))
}
