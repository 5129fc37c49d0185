//! Beacons by gossip: how the topic is set up, and which messages are believed and passed on.
//!
//! Only peers behind the wall hear or send any of it. A beacon is believed when the node that it is about signed it (the
//! signature is checked before it gets here) and does not beacon too often; one that no honest member would have passed on
//! costs the peer that did. A beacon may be about a member that is not connected here: what it says is a hint about whom
//! to ask, never a permission. Decides nothing else. Called by the hub.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAcceptance,
    MessageAuthenticity, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use sykli_core::consent::{self, Beacon, Offence};
use sykli_core::id::NodeId;
use sykli_core::profile::Profile;
use sykli_core::roster::MAX_PEERS;
use sykli_core::wire;

use super::error::MeshError;
use super::meter::Bucket;
use crate::identity;

/// Gossip, on one topic, signed.
pub(super) type Gossipsub = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// Beacons that one node may send at once, and a second after that. Its tick is a minute, changes come on top.
const BURST: u32 = 20;
const RATE: u32 = 1;
/// The longest message of gossip, control messages included, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// The topic of a mesh.
pub(super) fn topic(mesh: &str) -> IdentTopic {
    IdentTopic::new(format!("/sykli/status/1/{mesh}"))
}

/// Sets gossip up for `topic`.
///
/// # Errors
/// When libp2p does not take the settings.
pub(super) fn behaviour(
    keypair: &Keypair,
    topic: &IdentTopic,
    profile: &Profile,
) -> Result<Gossipsub, MeshError> {
    // Repair of what was lost: every second on a lan, less often where a wake-up or a byte is dear.
    let heartbeat = Duration::from_millis((profile.tick_ms / 60).clamp(1_000, 10_000));
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MAX_BYTES)
        .heartbeat_interval(heartbeat)
        .build()
        .map_err(|error| failed(&error))?;
    let mut behaviour = Behaviour::new_with_subscription_filter(
        MessageAuthenticity::Signed(keypair.clone()),
        config,
        WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
    )
    .map_err(|error| failed(&error))?;
    behaviour.subscribe(topic).map_err(|error| failed(&error))?;
    Ok(behaviour)
}

fn failed(error: &impl std::fmt::Display) -> MeshError {
    MeshError::Transport {
        message: format!("gossip: {error}"),
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Told and passed on.
    Take(Beacon),
    /// Neither.
    Pass,
    /// Neither, and whoever passed it on pays.
    Offence(Offence),
}

impl Verdict {
    /// The same for gossipsub.
    pub(super) fn acceptance(&self) -> MessageAcceptance {
        match self {
            Verdict::Take(_) => MessageAcceptance::Accept,
            Verdict::Pass => MessageAcceptance::Ignore,
            Verdict::Offence(_) => MessageAcceptance::Reject,
        }
    }
}

/// Judges messages. Remembers as many authors as core knows peers.
#[derive(Default)]
pub(super) struct Judge {
    authors: BTreeMap<NodeId, Bucket>,
}

impl Judge {
    /// What becomes of a message whose signature was good. `expelled` tells whether its author was.
    pub(super) fn judge(
        &mut self,
        message: &Message,
        expelled: impl FnOnce(&PeerId) -> bool,
        now: Instant,
    ) -> Verdict {
        let malformed = Verdict::Offence(Offence::Malformed);
        let Some(author) = message.source else {
            return malformed;
        };
        let beacon = match wire::decode(&message.data) {
            Ok(consent::Message::Beacon(beacon)) => beacon,
            Err(error) if !error.is_offence() => return Verdict::Pass,
            Ok(_) | Err(_) => return malformed,
        };
        if identity::node_id(&author) != Some(beacon.node) {
            return malformed;
        }
        if expelled(&author) || !self.has_time(beacon.node, now) {
            return Verdict::Pass;
        }
        Verdict::Take(beacon)
    }

    fn has_time(&mut self, author: NodeId, now: Instant) -> bool {
        if !self.authors.contains_key(&author) && self.authors.len() >= MAX_PEERS {
            self.authors.retain(|_, bucket| !bucket.is_full(now));
            if self.authors.len() >= MAX_PEERS {
                return false;
            }
        }
        self.authors
            .entry(author)
            .or_insert_with(|| Bucket::full(BURST, RATE, now))
            .take(1, now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::identity::Identity;
    use sykli_core::consent::ToOwner;

    fn beacon(node: NodeId) -> Beacon {
        Beacon {
            node,
            sequence: 1,
            free: 2,
            queued: 3,
            slots: 4,
            paused: false,
        }
    }

    fn message(author: NodeId, data: Vec<u8>) -> Message {
        Message {
            source: Some(identity::peer_id(author).unwrap()),
            data,
            sequence_number: Some(1),
            topic: topic("m").hash(),
        }
    }

    fn bytes(of: &consent::Message) -> Vec<u8> {
        wire::encode(of).unwrap()
    }

    #[test]
    fn a_beacon_is_believed_from_its_own_node_only() {
        let (node, other) = (
            Identity::generate().unwrap().node_id(),
            Identity::generate().unwrap().node_id(),
        );
        let data = bytes(&consent::Message::Beacon(beacon(node)));
        let (mut judge, now) = (Judge::default(), Instant::now());
        let mut judged = |message: &Message| judge.judge(message, |_| false, now);
        let malformed = Verdict::Offence(Offence::Malformed);
        assert_eq!(
            judged(&message(node, data.clone())),
            Verdict::Take(beacon(node))
        );
        assert_eq!(judged(&message(other, data.clone())), malformed);
        assert_eq!(judged(&message(node, b"x".to_vec())), malformed);
        let idle = consent::Message::ToOwner(ToOwner::Idle { free: 1 });
        assert_eq!(judged(&message(node, bytes(&idle))), malformed);
        let newer = [0x83, 0x02, 0x00, 0x00].to_vec();
        assert_eq!(judged(&message(node, newer)), Verdict::Pass);
        assert_eq!(
            judge.judge(&message(node, data), |_| true, now),
            Verdict::Pass,
            "expelled"
        );
    }

    #[test]
    fn who_beacons_too_often_is_passed_over_for_a_while() {
        let node = Identity::generate().unwrap().node_id();
        let message = message(node, bytes(&consent::Message::Beacon(beacon(node))));
        let (mut judge, now) = (Judge::default(), Instant::now());
        let mut taken = |now| matches!(judge.judge(&message, |_| false, now), Verdict::Take(_));
        assert!((0..BURST).all(|_| taken(now)));
        assert!(!taken(now));
        assert!(taken(now + Duration::from_secs(1)));
    }
}
