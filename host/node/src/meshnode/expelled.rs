//! Peers that broke the protocol: who they were and what they did, for people. The roster forgets them, the transport
//! refuses them; here they are kept so that somebody can see it.
//!
//! Bounded: the [`MAX_SHOWN`] latest, since this node started; all are counted. Decides nothing: core says who is expelled.
//! Called by the loop.

use std::collections::VecDeque;

use sykli_core::consent::Offence;
use sykli_core::id::NodeId;
use sykli_core::time::Tick;

use super::hub::Hub;
use super::node_ref;
use crate::control::Notice;
use crate::control::api::PeerView;
use crate::mesh::offence_name;

/// Most of them that are shown.
const MAX_SHOWN: usize = 64;

/// One of them.
struct Offender {
    node: NodeId,
    name: String,
    address: Option<String>,
    since: Tick,
    offences: u32,
}

/// The latest ones, the oldest first.
#[derive(Default)]
pub(super) struct Expelled(VecDeque<Offender>);

impl Expelled {
    fn note(&mut self, offender: Offender) {
        if let Some(known) = self.0.iter_mut().find(|one| one.node == offender.node) {
            known.offences = known.offences.saturating_add(offender.offences);
            return;
        }
        self.0.push_back(offender);
        if self.0.len() > MAX_SHOWN {
            self.0.pop_front();
        }
    }
}

impl Hub {
    /// Whoever broke the protocol is disconnected, for as long as this process lives.
    pub(super) fn expel(&mut self, peer: NodeId, offence: Offence) {
        self.shared.mesh.expel(peer);
        let name = offence_name(offence);
        *self.counters.offences.entry(name.to_owned()).or_default() += 1;
        let met = self.met.get(&peer);
        let offender = Offender {
            node: peer,
            name: met.map_or(String::new(), |met| met.name.clone()),
            address: met.map(|met| met.address.clone()),
            since: self.now,
            offences: 1,
        };
        let by = node_ref(peer, &offender.name).name;
        self.expelled.note(offender);
        let message = format!("{by} broke the protocol ({offence:?}) and is not dealt with again");
        self.shared.notices.say(Notice::Warning { message });
    }

    /// Those that are no longer peers.
    pub(super) fn offenders(&self) -> impl Iterator<Item = PeerView> {
        self.expelled.0.iter().map(|offender| PeerView {
            id: node_ref(offender.node, "").id,
            name: offender.name.clone(),
            for_ms: self.now.ms_since(offender.since),
            blocked: true,
            addresses: offender.address.iter().cloned().collect(),
            offences: offender.offences,
            ..PeerView::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offender(number: u8) -> Offender {
        Offender {
            node: NodeId([number; 32]),
            name: String::new(),
            address: None,
            since: Tick(0),
            offences: 1,
        }
    }

    #[test]
    fn the_latest_are_kept_and_each_once() {
        let mut expelled = Expelled::default();
        for number in 0..=64 {
            expelled.note(offender(number));
        }
        assert_eq!(expelled.0.len(), MAX_SHOWN);
        assert_eq!(
            expelled.0.front().map(|one| one.node),
            Some(NodeId([1; 32]))
        );
        expelled.note(offender(64));
        assert_eq!(expelled.0.len(), MAX_SHOWN);
        assert_eq!(expelled.0.back().map(|one| one.offences), Some(2));
    }
}
