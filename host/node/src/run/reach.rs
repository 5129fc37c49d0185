//! How a run reaches other nodes: through which node, under which name, with what it left behind when it is resumed.
//!
//! Decides nothing: core does. Called by `run`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use sykli_core::consent::RemoteOutcome;
use sykli_core::id::{Digest, RunId};
use sykli_core::machine::{Mode, Submission};
use sykli_core::run::RunOptions;
use sykli_runtime::Component;

use super::away::claimed;
use super::crew::{Asking, Message};
use super::decider::Decider;
use super::mailbox::Mailbox;
use super::open::Opened;
use crate::db::lock;
use crate::events::{NodeRef, RunEvent};
use crate::journal::{Journal, NewStep, millis};
use crate::ledger::LedgerError;
use crate::meshnode::Handle;
use crate::needs::{Bundles, Programs};
use crate::prepare::Context;
use crate::store::Store;

/// How a run reaches other nodes.
#[derive(Clone)]
pub struct Reach {
    /// The node that it goes through.
    pub node: Handle,
    /// How far.
    pub mode: Mode,
    /// The run that is gone on with: what was offered of it is spent, its leases may still be held.
    pub resume: Option<RunId>,
}

/// A run that reaches other nodes, as its rounds see it.
pub(super) struct Reaching<'a> {
    pub(super) reach: &'a Reach,
    pub(super) run: &'a RunId,
    pub(super) programs: Programs,
}

impl Reaching<'_> {
    /// The bundles of a round.
    pub(super) fn bundles(
        &self,
        context: &Arc<Context>,
        components: &[Option<Component>],
    ) -> Arc<Bundles> {
        let sizes = self.reach.node.sizes();
        Arc::new(Bundles::new(context, components, &self.programs, sizes))
    }

    pub(super) fn asking(&self, bundles: &Arc<Bundles>) -> Asking {
        Asking {
            bundles: Arc::clone(bundles),
            cap: self.reach.node.cap(),
        }
    }

    /// Submits a round to the node. A later round is a run of its own: what peers say of the earlier one is not about it.
    pub(super) fn submit(
        &self,
        (context, bundles): (&Arc<Context>, &Arc<Bundles>),
        (round, options): (u32, RunOptions),
        (mailbox, at): (&Mailbox<Message>, usize),
    ) -> Result<Decider, LedgerError> {
        let run = match round {
            1 => self.run.clone(),
            _ => RunId::new(format!("{}-{round}", self.run)).unwrap_or_else(|_| self.run.clone()),
        };
        let ledger = self.reach.node.ledger();
        let (spent, fence) = (ledger.spent(&run)?, ledger.fence(&run)?);
        let submission = Submission {
            run,
            plan: context.plan.clone(),
            options,
            mode: self.reach.mode,
            spent,
            fence,
        };
        let mailbox = mailbox.clone();
        // What comes is about instances, each of which is spoken of a bounded number of times.
        let sink = Arc::new(move |said| mailbox.put(at, Message::Node(said)));
        let parts = (Arc::clone(context), Arc::clone(bundles));
        Ok(Decider::Mesh(
            self.reach.node.submit(submission, parts, sink),
        ))
    }
}

/// Receipts in their one encoding, by task digest.
pub(super) type SignedFor = BTreeMap<Digest, Box<[u8]>>;

impl Reach {
    /// The run that is gone on with, under its own name: where this node's ledger still knows what was offered of it, or
    /// nothing was. Otherwise a number that was said once could come to mean another lease, and it is begun anew.
    pub(super) fn resumable(&self, journal: &Journal) -> Result<Option<RunId>, LedgerError> {
        let Some(run) = &self.resume else {
            return Ok(None);
        };
        let ledger = self.node.ledger();
        let known = ledger.set_aside().is_none()
            && (ledger.runs()?.contains(run) || journal.steps(run, None).is_empty());
        if !known {
            tracing::warn!(%run, "the ledger does not know this run any more: it is begun anew");
        }
        Ok(Some(run.clone()).filter(|_| known))
    }
}

/// Results that were accepted before this run was interrupted and may not have reached the cache: they do now. By task
/// digest, what their executors signed, which may not have reached the journal.
pub(super) fn recovered(
    reach: Option<&Reach>,
    store: &Store,
    run: &RunId,
) -> Result<SignedFor, LedgerError> {
    let (mut results, mut signed) = (Vec::new(), SignedFor::new());
    let Some(node) = reach.map(|reach| &reach.node) else {
        return Ok(signed);
    };
    for (key, claim) in node.ledger().committed(run)? {
        if claim.outcome != RemoteOutcome::Passed || store.tree(&claim.output).is_none() {
            continue;
        }
        results.push(claimed(&claim, None));
        if let Some(receipt) = claim.receipt(node.house(), &key) {
            signed.insert(claim.task_digest, receipt.encode().into());
        }
    }
    if let Some(ticket) = store.put_results(results) {
        // What could not be kept is run again.
        let _ = ticket.wait();
    }
    Ok(signed)
}

/// Opens what a run that reaches other nodes needs to know beside its context.
pub(super) fn reaching<'a>(reach: &'a Reach, run: &'a RunId, opened: &Opened) -> Reaching<'a> {
    Reaching {
        reach,
        run,
        programs: opened.programs.clone(),
    }
}

/// Journals what happens to tasks on their way, and passes everything on.
pub(super) fn journalled<'a>(
    journal: &'a Journal,
    run: &'a RunId,
    events: &'a (dyn Fn(RunEvent) + Sync),
) -> impl Fn(RunEvent) + Sync + 'a {
    let met: Mutex<BTreeSet<NodeRef>> = Mutex::default();
    move |event| {
        if let RunEvent::TaskStep {
            label,
            attempt,
            node,
            what,
            ..
        } = &event
        {
            if lock(&met).insert(node.clone()) {
                // History is told of on a best effort; the run does not wait for it.
                let _ = journal.met(run, vec![node.clone()]);
            }
            let step = NewStep {
                label: label.clone(),
                at_ms: u64::try_from(millis(SystemTime::now())).unwrap_or_default(),
                attempt: *attempt,
                node: node.clone(),
                what: what.clone(),
            };
            let _ = journal.note(run, vec![step]);
        }
        events(event);
    }
}
