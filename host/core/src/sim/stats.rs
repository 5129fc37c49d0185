//! What a play cost: messages, bytes, and how long it took from asking for work to running it.
//!
//! Counts, and nothing else. Called by [`super::net`] and [`super::bulk`]; read by whoever asks how the mesh grows.

use std::collections::BTreeMap;

use crate::consent::{Message, ToExecutor, ToOwner};
use crate::id::LeaseKey;

/// Counts of one play.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Messages between two nodes.
    pub messages: u64,
    /// Their bytes, as encoded.
    pub bytes: u64,
    /// Beacons heard by way of gossip: one for each node reached.
    pub gossip_messages: u64,
    /// Their bytes.
    pub gossip_bytes: u64,
    /// Bytes of bundles and outputs.
    pub bulk_bytes: u64,
    /// Nodes that were killed.
    pub kills: u64,
    /// Connections that broke.
    pub cuts: u64,
    /// Peers that were expelled.
    pub expelled: u64,
    /// Events of the world.
    pub events: u64,
    /// When the play ended, in its own milliseconds.
    pub ended_ms: u64,
    /// Milliseconds from asking for work until its owner heard that the work had begun, for each task that was asked for.
    pub steals_ms: Vec<u64>,
    /// What was heard, by kind.
    pub heard: BTreeMap<&'static str, u64>,
    /// By executor and owner: since when it has been asking.
    asking: BTreeMap<(usize, usize), u64>,
    /// By executor: offers that answered, and since when that was asked for.
    answered: BTreeMap<(usize, LeaseKey), u64>,
}

impl Stats {
    pub(super) fn sent(
        &mut self,
        now: u64,
        (from, to): (usize, usize),
        message: &Message,
        bytes: u64,
    ) {
        self.messages += 1;
        self.bytes += bytes;
        if let Message::ToOwner(ToOwner::Idle { .. }) = message {
            self.asking.insert((from, to), now);
        }
    }

    pub(super) fn heard(&mut self, now: u64, (from, to): (usize, usize), message: &Message) {
        *self.heard.entry(kind(message)).or_default() += 1;
        match message {
            Message::ToExecutor(ToExecutor::Offer(offer)) => {
                if let Some(since) = self.asking.remove(&(to, from)) {
                    self.answered.insert((to, offer.key.clone()), since);
                }
            }
            Message::ToExecutor(ToExecutor::NoWork { .. }) => drop(self.asking.remove(&(to, from))),
            Message::ToOwner(ToOwner::Started { key }) => {
                if let Some(since) = self.answered.remove(&(from, key.clone())) {
                    self.steals_ms.push(now - since);
                }
            }
            _ => {}
        }
    }

    pub(super) fn gossip(&mut self, reached: u64, bytes: u64) {
        self.gossip_messages += reached;
        self.gossip_bytes += reached * bytes;
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::ToOwner(message) => match message {
            ToOwner::Idle { .. } => "Idle",
            ToOwner::Accept { .. } => "Accept",
            ToOwner::Decline { .. } => "Decline",
            ToOwner::Pending { .. } => "Pending",
            ToOwner::Started { .. } => "Started",
            ToOwner::Progress { .. } => "Progress",
            ToOwner::Output { .. } => "Output",
            ToOwner::Completed { .. } => "Completed",
            ToOwner::Outputs { .. } => "Outputs",
            ToOwner::Lost { .. } => "Lost",
        },
        Message::ToExecutor(message) => match message {
            ToExecutor::Offer(_) => "Offer",
            ToExecutor::NoWork { .. } => "NoWork",
            ToExecutor::Withdraw { .. } => "Withdraw",
            ToExecutor::Cancel { .. } => "Cancel",
            ToExecutor::Acked { .. } => "Acked",
            ToExecutor::Settled { .. } => "Settled",
            ToExecutor::Resume { .. } => "Resume",
            ToExecutor::Bundle { .. } => "Bundle",
        },
        Message::Beacon(_) => "Beacon",
        Message::Capabilities(_) => "Capabilities",
        Message::Acquaint(_) => "Acquaint",
    }
}
