//! How often a peer says what leads nowhere: a little is to be expected, much is a flood.
//!
//! Counts by the minute and by peer; whoever asks decides what counts. Called by [`super::owner`] and [`super::executor`].

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::time::Tick;

/// Messages without use that a peer may send in a minute.
pub(super) const MAX_USELESS: u32 = 600;
const MINUTE_MS: u64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meter {
    seen: BTreeMap<NodeId, (Tick, u32)>,
}

impl Meter {
    /// Counts one more; whether that is too many.
    pub(super) fn is_flood(&mut self, now: Tick, peer: NodeId) -> bool {
        if self.seen.len() >= crate::roster::MAX_PEERS && !self.seen.contains_key(&peer) {
            self.seen.pop_first();
        }
        let (since, count) = self.seen.entry(peer).or_insert((now, 0));
        if now.ms_since(*since) > MINUTE_MS {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count > MAX_USELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_are_no_flood_and_one_more_is() {
        let (mut meter, peer) = (Meter::default(), NodeId([1; 32]));
        for n in 0..MAX_USELESS {
            assert!(!meter.is_flood(Tick(u64::from(n)), peer));
        }
        assert!(meter.is_flood(Tick(59_000), peer));
        assert!(
            !meter.is_flood(Tick(59_000), NodeId([2; 32])),
            "another peer's"
        );
        assert!(!meter.is_flood(Tick(60_001), peer), "a minute later");
    }
}
