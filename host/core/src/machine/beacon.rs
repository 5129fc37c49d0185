//! When a node tells others how busy it is: on change, but not too often, and on its tick.
//!
//! In a small mesh to each peer directly, which also tells that it is alive; in a larger one by gossip, and only owners
//! with work to give speak. Decides nothing about the work itself. Called by [`super::Machine`] after each event.

use super::{Action, Desk};
use crate::consent::executor::Executor;
use crate::consent::owner::Owner;
use crate::consent::{Beacon, Message};
use crate::id::NodeId;
use crate::profile::Link;
use crate::time::Tick;

/// In a mesh of up to so many other nodes each connected one is told directly. In a larger one nobody is connected to all.
const DIRECT_PEERS: usize = 50;
/// The least time between two beacons, as a part of the tick: a second on a lan.
const CHANGES_PER_TICK: u64 = 60;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Herald {
    sequence: u64,
    said: Option<(Tick, Beacon)>,
    next: Option<Tick>,
}

impl Herald {
    pub(super) fn next_timeout(&self) -> Option<Tick> {
        self.next
    }

    /// Tells a peer that has just come what the others were told last.
    pub(super) fn greet(&self, desk: &mut Desk<'_>, peer: NodeId) {
        if let Some((_, beacon)) = &self.said {
            desk.send(peer, Message::Beacon(beacon.clone()));
        }
    }

    pub(super) fn advance(&mut self, desk: &mut Desk<'_>, owner: &Owner, executor: &Executor) {
        let beacon = Beacon {
            node: desk.setup.id,
            sequence: self.sequence,
            free: executor.free(desk, owner.running_here() + owner.ready_here()),
            queued: owner.stealable(desk),
            slots: desk.setup.slots.max(1),
            paused: desk.host.paused || desk.host.draining,
        };
        let tick = tick_ms(desk);
        let pause = (tick / CHANGES_PER_TICK).max(1000);
        let due = match &self.said {
            None => desk.now,
            Some((at, said)) if differs(said, &beacon) => at.after_ms(pause),
            Some((at, _)) => at.after_ms(tick),
        };
        if due > desk.now {
            self.next = Some(due);
            return;
        }
        let was_busy = self.said.as_ref().is_some_and(|(_, said)| said.queued > 0);
        if desk.roster.known() <= DIRECT_PEERS {
            let peers: Vec<_> = desk
                .roster
                .iter()
                .filter(|(_, entry)| entry.connected)
                .map(|(peer, _)| peer)
                .collect();
            for peer in peers {
                desk.send(peer, Message::Beacon(beacon.clone()));
            }
        } else if beacon.queued > 0 || was_busy {
            desk.act(Action::Publish(beacon.clone()));
        }
        self.sequence += 1;
        self.said = Some((desk.now, beacon));
        self.next = Some(desk.now.after_ms(tick));
    }
}

/// The profile's tick, adapted to what the links are like on average; in a large mesh as it is.
fn tick_ms(desk: &Desk<'_>) -> u64 {
    let preset = desk.setup.profile.tick_ms;
    if desk.roster.known() > DIRECT_PEERS {
        return preset;
    }
    let links = desk
        .roster
        .iter()
        .filter(|(_, entry)| entry.connected)
        .map(|(_, entry)| entry.link);
    let (mut sum, mut count) = ((0u64, 0u64, 0u64), 0u64);
    for link in links {
        sum.0 += u64::from(link.rtt_ms);
        sum.1 += u64::from(link.jitter_ms);
        sum.2 += u64::from(link.loss_per_mille);
        count += 1;
    }
    let mean = |sum: u64| u32::try_from(sum / count.max(1)).unwrap_or(u32::MAX);
    let link = Link {
        rtt_ms: mean(sum.0),
        jitter_ms: mean(sum.1),
        loss_per_mille: u16::try_from(mean(sum.2)).unwrap_or(u16::MAX),
        ..Link::default()
    };
    match count {
        0 => preset,
        _ => desk.setup.profile.adapted_tick_ms(&link),
    }
}

/// Whether the change is worth telling before the tick: something to be had or not, or an order of magnitude.
fn differs(said: &Beacon, now: &Beacon) -> bool {
    let size = |queued: u32| queued.checked_ilog2().map_or(0, |log| log + 1);
    said.paused != now.paused
        || (said.free == 0) != (now.free == 0)
        || size(said.queued) != size(now.queued)
}
