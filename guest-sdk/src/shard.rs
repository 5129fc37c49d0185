//! How a fanned-out task divides its work: arithmetic only, the same on every machine. Called by tasks with what
//! `sykli_guest::shard()` gives them.

use std::ops::Range;

/// Which part of a fanned-out task an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0 to `count - 1`.
    pub index: u32,
    /// How many instances there are, at least 1.
    pub count: u32,
}

impl Shard {
    /// This shard's part of `0..total`, in one piece. All shards' pieces are disjoint, cover `0..total` in order, and
    /// differ in length by at most one.
    ///
    /// ```
    /// use sykli_guest::Shard;
    ///
    /// let part = |index| Shard { index, count: 3 }.range(10);
    /// assert_eq!([part(0), part(1), part(2)], [0..3, 3..6, 6..10]);
    /// ```
    #[must_use]
    pub fn range(self, total: usize) -> Range<usize> {
        let count = u128::from(self.count.max(1));
        let cut = |index: u32| (total as u128 * u128::from(index).min(count) / count) as usize;
        cut(self.index)..cut(self.index.saturating_add(1))
    }

    /// Whether item `i` of an interleaved division is this shard's: every `count`-th one. Better than [`Shard::range`]
    /// where neighbours cost alike.
    ///
    /// ```
    /// use sykli_guest::Shard;
    ///
    /// let second = Shard { index: 1, count: 3 };
    /// assert_eq!((0..9).filter(|&i| second.owns(i)).collect::<Vec<_>>(), [1, 4, 7]);
    /// ```
    #[must_use]
    pub fn owns(self, i: usize) -> bool {
        i as u64 % u64::from(self.count.max(1)) == u64::from(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once_and_evenly() {
        for total in [0, 1, 2, 7, 12, 1000, usize::MAX] {
            for count in [1, 2, 3, 7, 12, 64] {
                let parts: Vec<_> = (0..count)
                    .map(|index| Shard { index, count }.range(total))
                    .collect();
                assert_eq!(parts[0].start, 0);
                assert_eq!(parts[parts.len() - 1].end, total);
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
                let lengths = parts.iter().map(ExactSizeIterator::len);
                let (least, most) = (
                    lengths.clone().min().unwrap_or(0),
                    lengths.max().unwrap_or(0),
                );
                assert!(most - least <= 1, "{count} shards of {total}: {parts:?}");
            }
        }
    }

    #[test]
    fn every_item_has_one_owner() {
        for i in 0..100 {
            assert_eq!(
                (0..7)
                    .filter(|&index| Shard { index, count: 7 }.owns(i))
                    .count(),
                1
            );
        }
    }
}
