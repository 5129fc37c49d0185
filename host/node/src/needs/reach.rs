//! A digest → the blob of a bundle that has this name.
//!
//! Only what the bundle reaches is found: whoever holds a lease may read the inputs of that task and nothing else of this
//! user's. Trees are indexed by content when they are first asked about. A file of the project is read in place; one
//! that has changed since it was digested reads as an error, never as what it is now. Called by `needs`.

use std::sync::Arc;

use sykli_core::id::Digest;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::Source;

use super::Bundles;
use crate::db::lock;
use crate::prepare::Prepared;
use crate::store::InputFaults;
use crate::worker;

/// A tree, searched by content.
pub(super) struct Reach {
    tree: Arc<Tree>,
    /// Indices of entries, ascending by digest.
    order: Box<[u32]>,
}

impl Reach {
    pub(super) fn new(tree: Arc<Tree>) -> Reach {
        let entries = tree.entries();
        // A tree has at most a million entries.
        let mut order: Vec<u32> = (0..).take(entries.len()).collect();
        let name = |at: &u32| entries.get(*at as usize).map(|entry| entry.digest);
        order.sort_unstable_by_key(name);
        Reach {
            order: order.into(),
            tree,
        }
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// An entry with this content.
    pub(super) fn find(&self, digest: &Digest) -> Option<&TreeEntry> {
        let entry = |at: &u32| self.tree.entries().get(*at as usize);
        let first = self
            .order
            .partition_point(|at| entry(at).is_some_and(|entry| entry.digest < *digest));
        let found = entry(self.order.get(first)?)?;
        (found.digest == *digest).then_some(found)
    }
}

impl Bundles {
    /// A blob of an instance's bundle.
    pub(super) fn find(&self, prepared: &Prepared, digest: &Digest) -> Option<Source> {
        if *digest == prepared.digest {
            return Some(Source::bytes(prepared.encoded.to_vec()));
        }
        let (instance, _) = self.context.instance(prepared.task)?;
        if self.context.component(instance.task) == Some(*digest) {
            // Puts it into the store where it is not there.
            self.component(instance.task).ok()?;
            return self.context.store.get(digest);
        }
        for (prefix, tree) in &*prepared.inputs {
            if tree == digest {
                return self.encoded(prepared, prefix, digest);
            }
        }
        let faults = InputFaults::default();
        for prefix in prepared.inputs.keys() {
            let reach = self.reach(prepared, prefix)?;
            if let Some(entry) = reach.find(digest) {
                return self.content(prepared, prefix, entry, &faults);
            }
        }
        let stdin = self.context.stdin(instance).ok()??.0;
        let read = || worker::stdin(&self.context, instance, &faults).ok();
        (stdin == *digest).then(read).flatten()
    }

    /// Whether one of these trees has such a file.
    pub(super) fn holds<'a>(
        &self,
        prepared: &Prepared,
        mut prefixes: impl Iterator<Item = &'a str>,
        digest: &Digest,
    ) -> bool {
        prefixes.any(|prefix| {
            self.reach(prepared, prefix)
                .is_some_and(|reach| reach.find(digest).is_some())
        })
    }

    /// An input tree by content.
    pub(super) fn reach(&self, prepared: &Prepared, prefix: &str) -> Option<Arc<Reach>> {
        let digest = prepared.inputs.get(prefix)?;
        if let Some(known) = lock(&self.reach).get(digest.as_bytes()) {
            return Some(known);
        }
        let tree = self.context.input_tree(prepared, prefix)?;
        let made = Arc::new(Reach::new(tree));
        // What is one instance's alone would only push out what others share.
        if prepared.own_tree() != Some(*digest) {
            let weight = made.order.len() + 1;
            lock(&self.reach).insert(*digest.as_bytes(), Arc::clone(&made), weight);
        }
        Some(made)
    }

    /// The blob that an input tree is.
    pub(super) fn encoded(
        &self,
        prepared: &Prepared,
        prefix: &str,
        digest: &Digest,
    ) -> Option<Source> {
        let store = &self.context.store;
        if let Some(kept) = store.get(digest) {
            return Some(kept);
        }
        let tree = self.context.input_tree(prepared, prefix)?;
        // Kept, so that reading it piece by piece does not make it anew each time. A disk that is full is no obstacle.
        match store.put_tree(&tree) {
            Ok(_) => store.get(digest),
            Err(_) => Some(Source::bytes(tree.encode())),
        }
    }

    /// The content of an entry of the input tree at `prefix`.
    pub(super) fn content(
        &self,
        prepared: &Prepared,
        prefix: &str,
        entry: &TreeEntry,
        faults: &InputFaults,
    ) -> Option<Source> {
        let (_, task) = self.context.instance(prepared.task)?;
        let tasks = &self.context.plan.pipeline.tasks;
        let mut after = task.after.iter().filter_map(|after| tasks.get(*after));
        if after.any(|earlier| earlier.name == prefix) {
            let store = &self.context.store;
            return Some(store.source(entry.digest, entry.size, faults));
        }
        // Anything else is files of the project, under the folder that they are in.
        let files = &self.context.files;
        let file = match prefix {
            "" => files.listing().find(&entry.path),
            folder => files.listing().find(&format!("{folder}/{}", entry.path)),
        }?;
        files.source(file, faults)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tree_is_searched_by_content() {
        let entry = |n: u32| TreeEntry {
            path: format!("{n:05}"),
            digest: Digest::of(&(n / 2).to_le_bytes()),
            size: 4,
            executable: false,
        };
        let tree = Arc::new(Tree::new((0..1001).map(entry).collect()).unwrap());
        let reach = Reach::new(Arc::clone(&tree));
        for n in 0..=500u32 {
            let digest = Digest::of(&n.to_le_bytes());
            let path = &reach.find(&digest).unwrap().path;
            assert_eq!(path.parse::<u32>().unwrap() / 2, n);
        }
        assert!(reach.find(&Digest::of(b"other")).is_none());
        let empty = Reach::new(Arc::new(Tree::default()));
        assert!(empty.find(&Digest::of(b"other")).is_none());
    }
}
