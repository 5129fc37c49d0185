//! Who is let in: what the transport asks when two nodes greet each other.
//!
//! This one trusts a fixed set of nodes and says so without a signature. Called by the mesh alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use sykli_core::consent::{Capabilities, Message};
use sykli_core::id::NodeId;
use sykli_core::wire;

use crate::db::lock;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no member and not trusted.
    #[error("it is no member of this mesh")]
    Stranger,
    /// Its membership was revoked.
    #[error("its membership was revoked")]
    Revoked,
    /// Its certificate has run out.
    #[error("its certificate has expired")]
    Expired,
    /// Another process uses its identity at the same time.
    #[error("its identity is used by two processes at once")]
    Clone,
    /// The user does not want it.
    #[error("it is blocked")]
    Blocked,
    /// Its ticket is used up or unknown.
    #[error("its ticket is not valid")]
    BadTicket,
    /// What it said is no greeting.
    #[error("its greeting is malformed")]
    Malformed,
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Stranger => "membership::stranger",
            Refusal::Revoked => "membership::revoked",
            Refusal::Expired => "membership::expired",
            Refusal::Clone => "membership::clone",
            Refusal::Blocked => "membership::blocked",
            Refusal::BadTicket => "membership::bad-ticket",
            Refusal::Malformed => "membership::malformed",
        }
    }
}

/// What is known of somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What it says of itself.
    pub capabilities: Capabilities,
    /// A member, or listed in the configuration.
    pub trusted: bool,
    /// It may relay for others.
    pub relay: bool,
}

/// What a listener says to a greeting, and what it thinks of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The frame to send back.
    pub reply: Vec<u8>,
    /// Whether the dialler is let in.
    pub outcome: Result<Admitted, Refusal>,
}

/// What the transport asks.
#[derive(Clone)]
pub struct Gate {
    trusted: Arc<BTreeSet<NodeId>>,
    relays: Arc<BTreeSet<NodeId>>,
    own: Arc<Mutex<Capabilities>>,
}

impl Gate {
    /// One that lets `trusted` in, of whom some relay.
    #[must_use]
    pub fn trusting(
        own: Capabilities,
        trusted: BTreeSet<NodeId>,
        relays: BTreeSet<NodeId>,
    ) -> Gate {
        Gate {
            trusted: Arc::new(trusted),
            relays: Arc::new(relays),
            own: Arc::new(Mutex::new(own)),
        }
    }

    /// What every greeting says from now on.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        *lock(&self.own) = capabilities;
    }

    /// What every greeting says.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        lock(&self.own).clone()
    }

    /// The dialler's frame.
    #[must_use]
    pub fn hello(&self, _to: NodeId) -> Vec<u8> {
        let own = Box::new(self.capabilities());
        wire::encode(&Message::Capabilities(own)).unwrap_or_default()
    }

    /// The listener's answer to it.
    #[must_use]
    pub fn answer(&self, from: NodeId, frame: &[u8]) -> Answer {
        let outcome = self.conclude(from, frame);
        let reply = match outcome {
            Ok(_) => self.hello(from),
            Err(refusal) => refusal.code().as_bytes().to_vec(),
        };
        Answer { reply, outcome }
    }

    /// The dialler's judgement of that answer.
    ///
    /// # Errors
    /// Why the listener is not let in, or why it did not let us in.
    pub fn conclude(&self, from: NodeId, frame: &[u8]) -> Result<Admitted, Refusal> {
        if !self.trusted.contains(&from) {
            return Err(Refusal::Stranger);
        }
        match wire::decode(frame) {
            Ok(Message::Capabilities(capabilities)) => Ok(Admitted {
                capabilities: *capabilities,
                trusted: true,
                relay: self.relays.contains(&from),
            }),
            _ => Err(Refusal::Malformed),
        }
    }
}
