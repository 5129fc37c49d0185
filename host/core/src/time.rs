//! Time as core knows it: a number that the caller passes in.
//!
//! Nothing here (or anywhere in this crate) asks what time it is. The node reads a monotonic clock and hands ticks to
//! [`crate::run`]; tests hand over any ticks they like.

use serde::{Deserialize, Serialize};

/// A moment on the caller's monotonic clock, in milliseconds since a start of the caller's choosing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick `ms` milliseconds later; stays at the end of time rather than wrapping.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Tick {
        Tick(self.0.saturating_add(ms))
    }

    /// How many milliseconds have passed since `earlier`; 0 when `earlier` is not earlier.
    #[must_use]
    pub fn ms_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Tick;

    #[test]
    fn arithmetic_stays_within_the_range() {
        assert_eq!(Tick(5).after_ms(7), Tick(12));
        assert_eq!(Tick(u64::MAX - 1).after_ms(7), Tick(u64::MAX));
        assert_eq!(Tick(12).ms_since(Tick(5)), 7);
        assert_eq!(Tick(5).ms_since(Tick(12)), 0);
    }
}
