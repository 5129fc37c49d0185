//! A node's own clock: off by an offset and running a little fast or slow, but never backwards.
//!
//! Turns the world's milliseconds into what a machine is told, and a machine's deadline back into the world's. Also the
//! one place where chance becomes a waiting time. Called by the world; decides nothing.

use crate::rng::Rng;
use crate::time::Tick;

const MILLION: i128 = 1_000_000;

/// One node's clock, from its start on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When the node started, in the world's time.
    pub(super) began: u64,
    /// What its clock showed then.
    pub(super) offset: u64,
    /// How much faster than the world's it runs, in parts per million; slower where negative.
    pub(super) ppm: i64,
}

impl Clock {
    /// What it shows at `now`.
    pub(super) fn at(&self, now: u64) -> Tick {
        let since = i128::from(now.saturating_sub(self.began));
        let gone = since + since * i128::from(self.ppm) / MILLION;
        Tick(self.offset.saturating_add(gone.max(0) as u64))
    }

    /// The first moment at which it shows `tick` or later.
    pub(super) fn when(&self, tick: Tick) -> u64 {
        let due = i128::from(tick.0.saturating_sub(self.offset));
        let guess = due * MILLION / (MILLION + i128::from(self.ppm));
        let mut moment = self.began.saturating_add(guess.max(0) as u64);
        while moment > self.began && self.at(moment - 1) >= tick {
            moment -= 1;
        }
        while moment < u64::MAX && self.at(moment) < tick {
            moment += 1;
        }
        moment
    }
}

/// A waiting time of which `mean` is the average, exponentially distributed. Integers only: the same on every machine.
pub(super) fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    const LN_2: u128 = 45_426;
    let chance = rng.next_u64() | 1;
    let zeros = chance.leading_zeros();
    let bits = (u128::from(zeros + 1) << 16) - log2_fraction(chance << zeros);
    ((bits * LN_2 * u128::from(mean)) >> 32) as u64
}

/// A number from `low` to `high`, each order of magnitude as likely as the next.
pub(super) fn log_uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let (low, high) = (low.max(1), high.max(1));
    if low >= high {
        return low;
    }
    let (from, to) = (log2(low), log2(high));
    let picked = from + rng.below(to - from + 1);
    exp2(picked).clamp(low, high)
}

fn log2(number: u64) -> u64 {
    let zeros = number.leading_zeros();
    (u64::from(63 - zeros) << 16) + log2_fraction(number << zeros) as u64
}

/// 2 to the power of `bits` / 2^16, by its whole part and a straight line: for picking, not for measuring.
fn exp2(bits: u64) -> u64 {
    let (whole, rest) = (bits >> 16, bits & 0xffff);
    let base = 1u128 << whole.min(63);
    (base + ((base * u128::from(rest)) >> 16)).min(u128::from(u64::MAX)) as u64
}

/// The binary logarithm of `mantissa` / 2^63, in 2^-16; its highest bit is set. By repeated squaring.
fn log2_fraction(mantissa: u64) -> u128 {
    let mut value = u128::from(mantissa);
    let mut fraction = 0;
    for bit in (0..16).rev() {
        value = (value * value) >> 63;
        if value >> 64 != 0 {
            value >>= 1;
            fraction |= 1 << bit;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_neither_early_nor_late() {
        for ppm in [-200, -1, 0, 7, 200] {
            let clock = Clock {
                began: 1234,
                offset: 987_654_321,
                ppm,
            };
            for tick in [0, 987_654_321, 987_654_322, 987_659_999, 1_987_654_321] {
                let when = clock.when(Tick(tick));
                assert!(clock.at(when) >= Tick(tick));
                assert!(when == clock.began || clock.at(when - 1) < Tick(tick));
            }
        }
    }

    #[test]
    fn waiting_times_have_their_mean() {
        let mut rng = Rng::new(5);
        let sum: u64 = (0..20_000).map(|_| exponential(&mut rng, 2000)).sum();
        let mean = sum / 20_000;
        assert!((1950..2050).contains(&mean), "{mean}");
        let mut below = 0;
        for _ in 0..10_000 {
            let picked = log_uniform(&mut rng, 10, 100_000);
            assert!((10..=100_000).contains(&picked));
            below += u32::from(picked < 1000);
        }
        assert!((4700..5300).contains(&below), "{below}");
    }
}
