//! Whether compressing pays on this link: it does where the link is slower than the compressor.
//!
//! Both rates are measured as the transfer goes: what a byte costs to compress, and what a byte costs to get rid of. The
//! first has to be clearly less: the other end must unpack it, and where both ends are short of processors rather than of
//! bandwidth, compressing takes from what the link is slow for.
//! Only where nothing bounds the bytes that flow; where something does, every part is compressed, so that what flows is
//! what was announced. Called by the provider's end of a transfer.

use std::time::Duration;

/// Parts that go as they are before anything is decided, where compression is quick.
const UNTRIED: u32 = 4;
/// Parts after which what was decided is tried anew.
const TRY_AGAIN: u32 = 64;
/// How much less a byte must cost to compress than to get rid of.
const CLEARLY: f64 = 1.5;
/// Levels up to this are for links that may well be faster than the compressor.
const QUICK_LEVEL: i32 = 3;

/// See the module.
pub(super) struct Pays {
    /// Nanoseconds a byte, smoothed; `None` before the first one.
    pack: Option<f64>,
    write: Option<f64>,
    quick: bool,
    parts: u32,
}

impl Pays {
    pub(super) fn new(level: i32) -> Pays {
        Pays {
            pack: None,
            write: None,
            quick: level <= QUICK_LEVEL,
            parts: 0,
        }
    }

    /// Whether the next part is to be compressed.
    pub(super) fn next(&mut self) -> bool {
        self.parts = self.parts.saturating_add(1);
        if self.quick && self.parts <= UNTRIED {
            return false;
        }
        match (self.pack, self.write) {
            (Some(pack), Some(write)) => {
                pack * CLEARLY < write || self.parts.is_multiple_of(TRY_AGAIN)
            }
            _ => true,
        }
    }

    /// Notes how long it took to compress so many bytes.
    pub(super) fn packed(&mut self, bytes: usize, took: Duration) {
        smooth(&mut self.pack, bytes, took);
    }

    /// Notes how long it took until the link had taken so many bytes.
    pub(super) fn wrote(&mut self, bytes: usize, took: Duration) {
        smooth(&mut self.write, bytes, took);
    }
}

fn smooth(rate: &mut Option<f64>, bytes: usize, took: Duration) {
    if bytes == 0 {
        return;
    }
    let now = took.as_nanos() as f64 / bytes as f64;
    *rate = Some(rate.map_or(now, |before| before * 0.8 + now * 0.2));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: Duration = Duration::from_micros(500);

    fn after(level: i32, write: Duration) -> Vec<bool> {
        let mut pays = Pays::new(level);
        let mut chosen = Vec::new();
        for _ in 0..20 {
            let pack = pays.next();
            if pack {
                pays.packed(262_144, PACK);
            }
            pays.wrote(262_144, write);
            chosen.push(pack);
        }
        chosen
    }

    #[test]
    fn a_fast_link_gets_parts_as_they_are() {
        let chosen = after(1, PACK / 2);
        assert_eq!(
            chosen.iter().filter(|pack| **pack).count(),
            1,
            "the trial: {chosen:?}"
        );
    }

    #[test]
    fn a_slow_link_gets_them_compressed() {
        let chosen = after(1, PACK * 4);
        assert_eq!(
            chosen.iter().filter(|pack| !**pack).count(),
            UNTRIED as usize
        );
        assert!(after(9, PACK * 4).into_iter().all(|pack| pack));
    }
}
