//! A token bucket: how fast something may go on, with room for a burst.
//!
//! Asks no clock: time is given. Called by [`super::doors`], [`super::gossip`] and a pair's reader.

use std::time::{Duration, Instant};

/// So many at once, so many a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    burst: f64,
    rate: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(burst: u32, rate: u32, now: Instant) -> Bucket {
        Bucket {
            tokens: f64::from(burst),
            burst: f64::from(burst),
            rate: f64::from(rate),
            at: now,
        }
    }

    /// Takes `n` if they are there.
    pub(super) fn take(&mut self, n: u32, now: Instant) -> bool {
        let enough = self.has(n, now);
        if enough {
            self.tokens -= f64::from(n);
        }
        enough
    }

    /// Whether `n` are there.
    pub(super) fn has(&mut self, n: u32, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= f64::from(n)
    }

    /// Takes `n` in any case, and answers how long to wait until they would have been there.
    pub(super) fn owe(&mut self, n: u32, now: Instant) -> Duration {
        self.refill(now);
        self.tokens -= f64::from(n);
        if self.tokens >= 0.0 || self.rate <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / self.rate)
    }

    /// Whether it is as full as it gets.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= self.burst
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(3, 2, start);
        assert!((0..3).all(|_| bucket.take(1, start)));
        assert!(!bucket.take(1, start));
        let later = start + Duration::from_millis(500);
        assert!(bucket.take(1, later) && !bucket.take(1, later));
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(later + Duration::from_secs(2)));
    }

    #[test]
    fn a_debt_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, 10, start);
        assert_eq!(bucket.owe(10, start), Duration::ZERO);
        assert_eq!(bucket.owe(5, start), Duration::from_millis(500));
        assert_eq!(bucket.owe(5, start), Duration::from_secs(1));
        assert_eq!(
            bucket.owe(0, start + Duration::from_secs(1)),
            Duration::ZERO
        );
    }
}
