//! What passes between this node and others, one line each, for whoever looks for where time goes
//! (`SYKLI_LOG=sykli_node::meshnode::trail=trace`, with microseconds). Costs nothing where nobody listens.
//!
//! Names messages and leases only: nothing that a peer or a guest wrote. Called by the loop.

use sykli_core::consent::{Message, ToExecutor, ToOwner};
use sykli_core::id::{LeaseKey, NodeId};
use sykli_core::machine::Event;

/// A message leaves.
pub(super) fn said(peer: NodeId, message: &Message) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let (word, key) = word(message);
        tracing::trace!(%peer, key = key.map(tracing::field::display), "said {word}");
    }
}

/// A message is here.
pub(super) fn heard(peer: NodeId, message: &Message) {
    if tracing::enabled!(tracing::Level::TRACE) {
        let (word, key) = word(message);
        tracing::trace!(%peer, key = key.map(tracing::field::display), "heard {word}");
    }
}

/// Something that runs beside the loop is done.
pub(super) fn done(event: &Event) {
    match event {
        Event::BundleArrived { owner, key } => tracing::trace!(peer = %owner, %key, "took bundle"),
        Event::Fetched { peer, key } => tracing::trace!(%peer, %key, "took outputs"),
        Event::ForeignEnded { owner, key, .. } => tracing::trace!(peer = %owner, %key, "ran guest"),
        _ => {}
    }
}

fn word(message: &Message) -> (&'static str, Option<&LeaseKey>) {
    match message {
        Message::ToOwner(to_owner) => {
            let word = match to_owner {
                ToOwner::Idle { .. } => "idle",
                ToOwner::Accept { .. } => "accept",
                ToOwner::Decline { .. } => "decline",
                ToOwner::Pending { .. } => "pending",
                ToOwner::Started { .. } => "started",
                ToOwner::Progress { .. } => "progress",
                ToOwner::Output { .. } => "output",
                ToOwner::Completed { .. } => "completed",
                ToOwner::Outputs { .. } => "outputs",
                ToOwner::Lost { .. } => "lost",
            };
            (word, to_owner.key())
        }
        Message::ToExecutor(to_executor) => match to_executor {
            ToExecutor::Offer(offer) => ("offer", Some(&offer.key)),
            ToExecutor::NoWork { .. } => ("no-work", None),
            ToExecutor::Bundle { key, .. } => ("bundle", Some(key)),
            ToExecutor::Withdraw { key } => ("withdraw", Some(key)),
            ToExecutor::Cancel { key } => ("cancel", Some(key)),
            ToExecutor::Acked { key } => ("acked", Some(key)),
            ToExecutor::Settled { key } => ("settled", Some(key)),
            ToExecutor::Resume { .. } => ("resume", None),
        },
        Message::Beacon(_) => ("beacon", None),
        Message::Capabilities(_) => ("capabilities", None),
        Message::Acquaint(_) => ("acquaint", None),
    }
}
