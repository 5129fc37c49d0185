//! A bounded memory of what was used lately.
//!
//! Two generations instead of a linked list: when the young one is full it becomes the old one, and what is used from
//! the old one moves up. It holds at most twice its limit, costs one hash look-up, and never evicts what was used since
//! the last turn. Called by the store for verified names, open files, decoded trees and small blobs.

use std::collections::HashMap;
use std::hash::Hash;

pub(crate) struct Recent<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
    limit: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    /// Remembers values of at least `limit` together, and at most twice that.
    pub(crate) fn new(limit: usize) -> Recent<K, V> {
        Recent {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
            limit,
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.remove(key)?;
        self.insert(key.clone(), value.clone(), weight);
        Some(value)
    }

    /// Remembers `value`; one that is heavier than half the limit is not kept.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        if weight > self.limit / 2 {
            return;
        }
        if self.weight + weight > self.limit {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.weight -= before;
        }
        self.weight += weight;
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((_, weight)) = self.young.remove(key) {
            self.weight -= weight;
        }
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(10);
        for key in 0..100 {
            recent.insert(key, key, 1);
            assert_eq!(recent.get(&0), Some(0), "used after every insert");
        }
        assert_eq!(recent.get(&50), None);
        assert!(recent.young.len() + recent.old.len() <= 20);
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
    }

    #[test]
    fn one_too_heavy_is_not_kept() {
        let mut recent = Recent::new(10);
        recent.insert("big", (), 6);
        assert_eq!(recent.get(&"big"), None);
    }
}
