//! Whom an idle node asks for work, and when.
//!
//! Of two owners that are known to have work, chosen at random, the busier: so that many idle nodes spread themselves
//! without talking to each other. One question at a time; after a no, a pause that grows while it stays no. Called by
//! [`super::Executor`].

use crate::consent::ToOwner;
use crate::id::NodeId;
use crate::machine::{Action, Desk};
use crate::profile::Stealing;
use crate::time::Tick;

/// The first pause after a no, in milliseconds; it doubles up to the profile's tick.
const PAUSE_MS: u64 = 1_000;
/// How long an answer is waited for beyond the consent timeout: a dial may be needed first.
const DIAL_MS: u64 = 10_000;

#[derive(Debug, Default)]
enum Asking {
    #[default]
    Nobody,
    /// It is being dialled.
    Dialling(NodeId),
    /// It was asked.
    Asked(NodeId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seek {
    asking: Asking,
    /// When the question is given up, or the pause ends.
    until: Tick,
    pause_ms: u64,
    look: bool,
    own: u32,
    idle: bool,
}

impl Seek {
    pub(super) fn next_timeout(&self) -> Option<Tick> {
        (self.idle && self.until > Tick(0)).then_some(self.until)
    }

    /// Tasks of this node's own, where they leave no room for foreign ones: counted as if they were foreign.
    pub(super) fn own_tasks_over(&self, desk: &Desk<'_>, active: u32) -> u32 {
        let slots = desk.setup.slots.max(1);
        match self.own.saturating_add(active) >= slots {
            true => desk.setup.policy.max_concurrent.max(active),
            false => active,
        }
    }

    /// A slot has become free: the pause is over.
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    pub(super) fn no_work(&mut self, desk: &mut Desk<'_>, owner: NodeId, retry_ms: u64) {
        if matches!(self.asking, Asking::Asked(asked) if asked == owner) {
            self.asking = Asking::Nobody;
            let most = desk.setup.profile.tick_ms.max(PAUSE_MS);
            self.pause_ms = self.pause_ms.saturating_mul(2).clamp(PAUSE_MS, most);
            let pause = self.pause_ms.max(retry_ms.min(most));
            self.until = desk.now.after_ms(pause / 2 + desk.rng.below(pause));
            desk.roster.cool(desk.now, owner, retry_ms.min(most));
        }
    }

    pub(super) fn answered(&mut self, owner: NodeId) {
        if matches!(self.asking, Asking::Asked(asked) if asked == owner) {
            self.asking = Asking::Nobody;
            self.pause_ms = 0;
            self.until = Tick(0);
            self.look = true;
        }
    }

    pub(super) fn connected(&mut self, desk: &mut Desk<'_>, owner: NodeId) {
        if matches!(self.asking, Asking::Dialling(dialled) if dialled == owner) {
            self.asking = Asking::Nobody;
            self.until = desk.now;
        }
    }

    pub(super) fn disconnected(&mut self, owner: NodeId) {
        if matches!(self.asking, Asking::Asked(asked) | Asking::Dialling(asked) if asked == owner) {
            self.asking = Asking::Nobody;
        }
    }

    pub(super) fn advance(&mut self, desk: &mut Desk<'_>, free: u32, own: u32) {
        self.own = own;
        self.idle = free > 0
            && own == 0
            && desk.setup.profile.stealing == Stealing::Full
            && desk.roster.busy() > 0;
        if !self.idle {
            return;
        }
        let ready = std::mem::take(&mut self.look) && matches!(self.asking, Asking::Nobody);
        if self.until > desk.now && !ready {
            return;
        }
        let Some(victim) = desk.roster.victim(desk.now, desk.rng) else {
            self.asking = Asking::Nobody;
            self.until = desk.now.after_ms(PAUSE_MS);
            return;
        };
        let answer = desk.setup.policy.consent_timeout_ms;
        if desk.connected(victim) {
            let link = desk.link(victim);
            self.asking = Asking::Asked(victim);
            self.until = desk
                .now
                .after_ms(answer.saturating_add(u64::from(link.rtt_ms).saturating_mul(4)));
            desk.tell_owner(victim, ToOwner::Idle { free });
        } else {
            self.asking = Asking::Dialling(victim);
            self.until = desk.now.after_ms(DIAL_MS);
            desk.act(Action::Dial { peer: victim });
        }
    }
}
