//! The one order of a bundle's blobs: as they are reached, each once. The same for who writes and who reads.

use std::collections::HashSet;
use std::sync::Arc;

use sykli_core::id::Digest;
use sykli_core::manifest::Manifest;
use sykli_core::tree::Tree;

use super::{BundleBlob, BundleError, Role};
use crate::transfer::{Item, Kind, Reach, Root};

/// See the module.
pub(super) struct Walk {
    reach: Reach,
    seen: HashSet<Digest>,
    manifest: Option<Manifest>,
}

impl Walk {
    pub(super) fn new(task: Digest) -> Walk {
        Walk {
            reach: Reach::new(Root::Manifest(task)),
            seen: HashSet::new(),
            manifest: None,
        }
    }

    /// The next blob, as far as contents are known.
    pub(super) fn next(&mut self) -> Option<Item> {
        loop {
            let item = self.reach.next()?;
            if self.seen.insert(item.digest) {
                return Some(item);
            }
        }
    }

    /// Whether the blob was there already.
    pub(super) fn was(&self, digest: &Digest) -> bool {
        self.seen.contains(digest)
    }

    /// Learns what a blob reaches. Only a manifest's and a tree's content is looked at.
    pub(super) fn learn(&mut self, item: &Item, content: &[u8]) -> Result<(), BundleError> {
        match item.kind {
            Kind::File => {}
            Kind::Manifest => {
                let manifest = Manifest::decode(content)?;
                self.reach.manifest(&manifest);
                self.manifest = Some(manifest);
            }
            Kind::Tree => self.reach.tree(Arc::new(Tree::decode(content)?)),
        }
        Ok(())
    }

    /// What a blob is to the task.
    pub(super) fn blob(&self, item: &Item, size: u64, packed: u64) -> BundleBlob {
        let manifest = self.manifest.as_ref();
        let is = |digest: Option<Digest>| digest == Some(item.digest);
        let role = match item.kind {
            Kind::Manifest => Role::Manifest,
            Kind::Tree => Role::Tree,
            Kind::File if is(manifest.map(|of| of.component)) => Role::Component,
            Kind::File if is(manifest.and_then(|of| of.stdin)) => Role::Stdin,
            Kind::File => Role::File,
        };
        BundleBlob {
            digest: item.digest,
            size,
            packed,
            role,
        }
    }

    /// The task, once everything was there.
    pub(super) fn finish(self, task: Digest) -> Result<Manifest, BundleError> {
        self.manifest.ok_or(BundleError::Missing(task))
    }
}
