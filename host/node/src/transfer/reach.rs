//! What a manifest or a tree reaches, in one order: manifest, input trees, component, stdin, then files of the trees.
//!
//! It learns as contents become known: a manifest names trees, a tree names files. Empty blobs are left out: everybody
//! has them. A blob that is named twice comes twice, as a tree first; whoever walks knows what it has. Reads only
//! what it is told to learn from a store. Called by the requester's end of transfers, by what goes in messages, and by bundle
//! files.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sykli_core::id::Digest;
use sykli_core::manifest::{MAX_MANIFEST_BYTES, Manifest};
use sykli_core::tree::Tree;

use super::Root;
use crate::store::Store;

/// The longest encoded tree that is received, in bytes: a million files with paths of some length.
pub(crate) const MAX_TREE_BYTES: u64 = 256 << 20;

/// What a blob is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It names components and trees.
    Manifest,
    /// It names files.
    Tree,
    /// Nothing.
    File,
}

/// A blob that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
    /// Its size in bytes, where what reaches it says so.
    pub(crate) size: Option<u64>,
}

impl Item {
    /// Whether a blob of `size` bytes can be this one.
    pub(crate) fn may_have(&self, size: u64) -> bool {
        let most = match self.kind {
            Kind::Manifest => MAX_MANIFEST_BYTES as u64,
            Kind::Tree => MAX_TREE_BYTES,
            Kind::File => u64::MAX,
        };
        size <= most && self.size.is_none_or(|known| known == size)
    }
}

/// See the module.
pub(crate) struct Reach {
    single: VecDeque<Item>,
    trees: VecDeque<(Arc<Tree>, usize)>,
}

impl Reach {
    /// From this root on, which is reached first.
    pub(crate) fn new(root: Root) -> Reach {
        let single = match root {
            Root::Manifest(digest) => VecDeque::from([item(digest, Kind::Manifest)]),
            Root::Tree(digest) => VecDeque::from([item(digest, Kind::Tree)]),
            Root::Result { tree, streams } => {
                let tree = tree.map(|digest| item(digest, Kind::Tree));
                let streams = streams.map(|digest| item(digest, Kind::File));
                tree.into_iter().chain(streams).collect()
            }
        };
        Reach {
            single,
            trees: VecDeque::new(),
        }
    }

    /// Learns what a manifest reaches.
    pub(crate) fn manifest(&mut self, manifest: &Manifest) {
        let trees: BTreeSet<Digest> = manifest.inputs.values().copied().collect();
        let trees = trees.into_iter().map(|digest| item(digest, Kind::Tree));
        let files = [Some(manifest.component), manifest.stdin].into_iter();
        let files = files.flatten().map(|digest| item(digest, Kind::File));
        self.single.extend(trees.chain(files));
    }

    /// Learns what a tree reaches.
    pub(crate) fn tree(&mut self, tree: Arc<Tree>) {
        self.trees.push_back((tree, 0));
    }

    /// Learns what a blob reaches that is in the store; false where it is not what it is reached as.
    pub(super) fn learn(&mut self, store: &Store, item: Item) -> bool {
        match item.kind {
            Kind::File => true,
            Kind::Manifest => {
                let bytes = store.read(&item.digest, MAX_MANIFEST_BYTES as u64);
                let manifest = bytes.and_then(|bytes| Manifest::decode(&bytes).ok());
                manifest.map(|manifest| self.manifest(&manifest)).is_some()
            }
            Kind::Tree => {
                let tree = store.tree(&item.digest);
                tree.map(|tree| self.tree(tree)).is_some()
            }
        }
    }

    /// The next blob; `None` where there is none as far as contents are known.
    pub(crate) fn next(&mut self) -> Option<Item> {
        let empty = Digest::of(&[]);
        while let Some(item) = self.single.pop_front() {
            if item.digest != empty {
                return Some(item);
            }
        }
        while let Some((tree, at)) = self.trees.front_mut() {
            let Some(entry) = tree.entries().get(*at) else {
                self.trees.pop_front();
                continue;
            };
            *at += 1;
            if entry.size > 0 && entry.digest != empty {
                return Some(Item {
                    digest: entry.digest,
                    kind: Kind::File,
                    size: Some(entry.size),
                });
            }
        }
        None
    }

    /// Whether everything that is known was reached.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.single.is_empty() && self.trees.is_empty()
    }
}

fn item(digest: Digest, kind: Kind) -> Item {
    Item {
        digest,
        kind,
        size: None,
    }
}
