//! A liar's place in the world: its turn comes, its lies are carried as anybody's words, and hands play along.
//!
//! What it says is [`super::liar`]'s. Called by the world and by [`super::net`], where a liar hears something.

use super::codec;
use super::liar::{Liar, Lie, Said, Serves};
use super::net::PairId;
use super::world::{Ev, World};
use crate::consent::{Message, Offence, ToExecutor, ToOwner};
use crate::id::NodeId;
use crate::machine::Event;

impl World {
    pub(super) fn stir(&mut self, node: usize) {
        let Some(mut liar) = self.nodes[node].liar.take() else {
            return;
        };
        let me = |id: &PairId| id.0 == node || id.1 == node;
        let peers = self
            .net
            .pairs
            .iter()
            .filter(|(id, pair)| me(id) && pair.alive);
        let peers = peers.map(|(id, _)| self.cast.id(if id.0 == node { id.1 } else { id.0 }));
        let lies = liar.stir(&peers.collect::<Vec<NodeId>>());
        let after = 500 + self.nodes[node].rng.below(4_000);
        self.nodes[node].liar = Some(liar);
        self.plan_lies(node, lies);
        self.later(after, Ev::Stir { node });
    }

    pub(super) fn plan_lies(&mut self, node: usize, lies: Vec<Lie>) {
        for lie in lies {
            self.later(
                lie.after_ms,
                Ev::Lie {
                    node,
                    lie: Box::new(lie),
                },
            );
        }
    }

    pub(super) fn lie(&mut self, node: usize, lie: Lie) {
        let Some(to) = self.cast.index_of(&lie.to).filter(|to| *to != node) else {
            return;
        };
        if self.net.alive(node, to).is_none() {
            return;
        }
        match lie.what {
            Said::Words(message) => {
                self.liar_says(node, to, &message);
                self.carry(node, to, *message);
            }
            Said::Garbage(bytes) => match codec::heard(&bytes) {
                Some(message) => self.carry(node, to, message),
                None => {
                    let peer = self.cast.id(node);
                    let offence = Offence::Malformed;
                    self.tell(to, Event::Offended { peer, offence });
                }
            },
        }
    }

    pub(super) fn liar_hears(&mut self, node: usize, from: usize, message: &Message) {
        let peer = self.cast.id(from);
        let Some(liar) = self.nodes[node].liar.as_mut() else {
            return;
        };
        let lies = liar.hear(peer, message);
        if let Message::ToOwner(ToOwner::Accept { key, .. }) = message
            && liar.plays_owner()
        {
            let (swells, piece) = (liar.swells(), liar.puts_inline());
            self.send_lie(node, peer, key, swells);
            let key = key.clone();
            self.carry(
                node,
                from,
                Message::ToExecutor(ToExecutor::Bundle { key, piece }),
            );
        }
        if let Message::ToExecutor(ToExecutor::Bundle { key, piece }) = message
            && piece.of == 0
        {
            self.take_lie(node, peer, key);
        }
        self.plan_lies(node, lies);
    }

    /// What a liar says may need hands, so that it looks real.
    pub(super) fn liar_says(&mut self, node: usize, to: usize, message: &Message) {
        if let Message::ToOwner(ToOwner::Completed { key, claim, .. }) = message {
            let (owner, key, bytes) = (self.cast.id(to), key.clone(), claim.output_bytes);
            let real = if bytes == 10 { 900_000_000 } else { bytes };
            self.nodes[node].hands.keep_outputs(owner, key, real);
        }
    }

    /// How a liar hands outputs out; honest nodes always do.
    pub(super) fn serves(&mut self, node: usize) -> Serves {
        let liar = self.nodes[node].liar.as_deref_mut();
        liar.map_or(Serves::Yes, Liar::serves)
    }
}
