//! A set that remembers so many, and forgets what it learned longest ago.
//!
//! Decides what is forgotten, knows nothing of what it holds. Used by [`super::Roster`] and its entries.

use std::collections::BTreeMap;

/// At most `most` keys, each with its number in the order in which they were learned.
#[derive(Clone, Debug)]
pub(super) struct Recent<K> {
    most: usize,
    next: u64,
    numbers: BTreeMap<K, u64>,
    order: BTreeMap<u64, K>,
}

impl<K: Ord + Copy> Recent<K> {
    pub(super) fn new(most: usize) -> Recent<K> {
        Recent {
            most,
            next: 0,
            numbers: BTreeMap::new(),
            order: BTreeMap::new(),
        }
    }

    pub(super) fn knows(&self, key: &K) -> bool {
        self.numbers.contains_key(key)
    }

    /// Learned again, a key is new again.
    pub(super) fn learn(&mut self, key: K) {
        if let Some(number) = self.numbers.insert(key, self.next) {
            self.order.remove(&number);
        }
        self.order.insert(self.next, key);
        self.next += 1;
        if self.numbers.len() > self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.numbers.remove(&oldest);
        }
    }

    pub(super) fn sanity_check(&self) -> Result<(), &'static str> {
        let agrees = |(number, key)| self.numbers.get(key) == Some(number);
        if self.numbers.len() > self.most {
            return Err("more is remembered than may be");
        }
        if self.numbers.len() != self.order.len() || !self.order.iter().all(agrees) {
            return Err("what is remembered does not agree with its order");
        }
        Ok(())
    }
}
