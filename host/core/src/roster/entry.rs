//! What is known of one peer, and how each thing that happens changes it.
//!
//! Decides a peer's cool-down, its share of leases and the mean interval at which it is heard. Knows of no other peer;
//! called by [`super::Roster`] alone, which keeps its index in step.

use super::recent::Recent;
use super::{COOL_FIRST_MS, COOL_MOST_MS, MAX_HELD};
use crate::consent::{Beacon, Capabilities};
use crate::id::Digest;
use crate::profile::Link;
use crate::time::Tick;

/// Most blobs that are remembered of one peer.
pub const MAX_BLOBS: usize = 256;

/// One peer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says of itself; nothing before its first connection.
    pub capabilities: Option<Capabilities>,
    /// The link to it; what is expected of a link where there was none yet.
    pub link: Link,
    /// Its connection stands.
    pub connected: bool,
    /// A member whom this node trusts; a stranger otherwise.
    pub trusted: bool,
    /// Its latest beacon.
    pub beacon: Option<Beacon>,
    /// Offers and leases that it has.
    pub outstanding: u32,
    /// Of those, how many it has delivered: their results are being taken in here, and occupy nothing there.
    pub delivered: u32,
    /// How many it may have.
    pub may_hold: u32,
    /// How many it would run at once, by its last word about it.
    room: u32,
    /// Left alone until then; in the past where it is not.
    pub cooling_until: Tick,
    /// When its connection went, while it has none.
    pub away_since: Option<Tick>,
    /// Leases that it kept.
    pub kept: u64,
    /// Leases that it lost.
    pub losses: u64,
    /// Not released yet, even if `cooling_until` has passed.
    cooling: bool,
    losses_in_a_row: u32,
    heard_at: Tick,
    /// 0 while its tick is not known.
    interval_ms: u64,
    /// Its next beacon is believed whatever its sequence.
    restarted: bool,
    blobs: Recent<Digest>,
}

/// What became of a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    New,
    Stale,
}

impl Entry {
    pub(super) fn new(now: Tick) -> Entry {
        Entry {
            capabilities: None,
            link: Link::default(),
            connected: false,
            trusted: false,
            beacon: None,
            outstanding: 0,
            delivered: 0,
            may_hold: 1,
            room: 0,
            cooling_until: Tick(0),
            away_since: None,
            kept: 0,
            losses: 0,
            cooling: false,
            losses_in_a_row: 0,
            heard_at: now,
            interval_ms: 0,
            restarted: false,
            blobs: Recent::new(MAX_BLOBS),
        }
    }

    /// When it was heard last, in whatever way.
    #[must_use]
    pub fn heard_at(&self) -> Tick {
        self.heard_at
    }

    /// Whether it is hidden, as far as it has introduced itself: nobody can dial it, and its absence alarms nobody.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.capabilities.as_ref().is_some_and(|it| it.hidden)
    }

    pub(super) fn arrive(
        &mut self,
        now: Tick,
        capabilities: Capabilities,
        link: Link,
        trusted: bool,
    ) {
        if !self.connected {
            self.restarted = true;
            self.interval_ms = 0;
        }
        self.connected = true;
        self.trusted = trusted;
        self.link = link;
        self.away_since = None;
        self.heard_at = self.heard_at.max(now);
        self.describe(capabilities);
    }

    pub(super) fn leave(&mut self, now: Tick) {
        if self.connected {
            self.connected = false;
            self.away_since = Some(now);
        }
    }

    pub(super) fn describe(&mut self, capabilities: Capabilities) {
        let tick_ms = capabilities.tick_ms.max(1);
        self.interval_ms = match self.interval_ms {
            0 => tick_ms,
            known => known.clamp(tick_ms, tick_ms.saturating_mul(4)),
        };
        self.capabilities = Some(capabilities);
    }

    pub(super) fn hear(&mut self, now: Tick) {
        if let Some(tick_ms) = self.tick_ms() {
            let most = tick_ms.saturating_mul(4);
            let sample = now.ms_since(self.heard_at).clamp(tick_ms, most);
            let step = self.interval_ms.abs_diff(sample).div_ceil(8);
            self.interval_ms = if sample >= self.interval_ms {
                self.interval_ms.saturating_add(step)
            } else {
                self.interval_ms.saturating_sub(step)
            };
        }
        self.heard_at = self.heard_at.max(now);
    }

    pub(super) fn tell(&mut self, now: Tick, beacon: Beacon) -> Told {
        let newest = self.beacon.as_ref().map(|known| known.sequence);
        let stale = newest.is_some_and(|sequence| beacon.sequence <= sequence);
        if stale && !self.restarted {
            return Told::Stale;
        }
        self.restarted = false;
        // What runs there of this node's was not free when it said so.
        self.room = beacon.free.saturating_add(self.occupied());
        self.beacon = Some(beacon);
        self.hear(now);
        Told::New
    }

    /// Of the leases that it has, how many occupy it.
    fn occupied(&self) -> u32 {
        self.outstanding.saturating_sub(self.delivered)
    }

    /// Whether it has room for one more, as far as it has said.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.occupied() < self.room
    }

    /// It says that it has none: until one of those that it has ends, or it says otherwise. False where it has none of this
    /// node's, so that the former will not come.
    pub(super) fn fill(&mut self) -> bool {
        self.room = self.occupied();
        self.room > 0
    }

    pub(super) fn end(&mut self, delivered: bool) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let left = self.delivered.saturating_sub(u32::from(delivered));
        self.delivered = left.min(self.outstanding);
    }

    pub(super) fn keep(&mut self) {
        self.end(true);
        self.may_hold = self.may_hold.saturating_add(1).min(MAX_HELD);
        self.kept = self.kept.saturating_add(1);
        self.losses_in_a_row = 0;
    }

    pub(super) fn lose(&mut self, now: Tick, delivered: bool) {
        self.end(delivered);
        self.may_hold = (self.may_hold / 2).max(1);
        self.losses = self.losses.saturating_add(1);
        let doublings = self.losses_in_a_row.min(16);
        self.losses_in_a_row = self.losses_in_a_row.saturating_add(1);
        self.cool(now, (COOL_FIRST_MS << doublings).min(COOL_MOST_MS));
    }

    pub(super) fn cool(&mut self, now: Tick, ms: u64) {
        let until = now.after_ms(ms);
        if until > self.cooling_until {
            self.cooling_until = until;
            self.cooling = true;
        }
    }

    pub(super) fn release(&mut self) {
        self.cooling = false;
    }

    pub(super) fn has_blob(&self, blob: Digest) -> bool {
        self.blobs.knows(&blob)
    }

    pub(super) fn learn_blob(&mut self, blob: Digest) {
        self.blobs.learn(blob);
    }

    /// When it may be asked again, while it is cooling.
    pub(super) fn cooling(&self) -> Option<Tick> {
        self.cooling.then_some(self.cooling_until)
    }

    /// Whether it would take a task now.
    pub(super) fn is_available(&self) -> bool {
        let open = self.beacon.as_ref().is_some_and(|told| !told.paused);
        let earned = self.outstanding < self.may_hold;
        open && self.has_room() && self.connected && !self.cooling && earned
    }

    /// Whether it has tasks that wait.
    pub(super) fn is_busy(&self) -> bool {
        self.beacon.as_ref().is_some_and(|told| told.queued > 0)
    }

    /// Whether it can be asked for one.
    pub(super) fn is_askable(&self) -> bool {
        let reachable = self.connected || !self.is_hidden();
        self.is_busy() && reachable && !self.cooling
    }

    /// Its queue, and by how many slots that is shared: at most 32 bits each.
    pub(super) fn queued_per_slot(&self) -> (u64, u64) {
        self.beacon.as_ref().map_or((0, 1), |told| {
            (told.queued.into(), told.slots.max(1).into())
        })
    }

    /// For how long it has been silent, and at which mean interval it was heard before, both in milliseconds; nothing for
    /// who is hidden or has not introduced itself.
    pub(super) fn silence(&self, now: Tick) -> Option<(u64, u64)> {
        self.tick_ms().filter(|_| !self.is_hidden())?;
        Some((now.ms_since(self.heard_at), self.interval_ms))
    }

    fn tick_ms(&self) -> Option<u64> {
        self.capabilities.as_ref().map(|it| it.tick_ms.max(1))
    }

    pub(super) fn sanity_check(&self) -> Result<(), &'static str> {
        if self.may_hold == 0 || self.may_hold > MAX_HELD {
            return Err("a peer's share of leases is out of bounds");
        }
        if self.connected && self.away_since.is_some() {
            return Err("a connected peer is away");
        }
        if self.delivered > self.outstanding {
            return Err("more is delivered than was given");
        }
        let interval_fits = match self.tick_ms() {
            None => self.interval_ms == 0,
            Some(tick_ms) => (tick_ms..=tick_ms.saturating_mul(4)).contains(&self.interval_ms),
        };
        if !interval_fits {
            return Err("a mean interval is out of bounds");
        }
        self.blobs.sanity_check()
    }
}
