//! Trees of the store as folders that a sandbox can be given, and what was found wrong while it read them.
//!
//! A layer costs nothing until a guest touches it: entries are made one at a time from the tree itself. What turns out
//! missing or changed while a guest reads makes its run no result; the guest's own verdict says nothing then, so the
//! finding is kept beside it. Called by the preparation of tasks and by the workspace's layers.

use super::Store;
use crate::db::lock;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use sykli_core::id::Digest;
use sykli_core::tree::{Tree, TreeEntry};
use sykli_runtime::vfs::{Entry, FlatIndex, FlatTree, Source};

/// Faults that are remembered of one run; the rest says nothing new.
const MAX_FAULTS: usize = 16;

/// What was wrong with an input when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputFault {
    /// A blob is missing or broken. It is dropped, so that what made it counts as not cached from now on.
    BlobLost(Digest),
    /// A file of the project is not what it was when it was digested.
    Changed(PathBuf),
}

/// What was wrong with the inputs of one run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct InputFaults(Arc<Mutex<Vec<InputFault>>>);

impl InputFaults {
    pub(crate) fn note(&self, fault: InputFault) {
        let mut faults = lock(&self.0);
        if faults.len() < MAX_FAULTS && !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    /// What was found so far. Anything at all means that the run is no result.
    pub fn found(&self) -> Vec<InputFault> {
        lock(&self.0).clone()
    }
}

impl Store {
    /// `tree` as a folder whose files are read from this store; faults met while reading go to `faults`.
    pub fn layer(&self, tree: Arc<Tree>, faults: &InputFaults) -> FlatTree {
        FlatTree::from_index(Arc::new(Layer {
            store: self.clone(),
            tree,
            faults: faults.clone(),
        }))
    }
}

struct Layer {
    store: Store,
    tree: Arc<Tree>,
    faults: InputFaults,
}

impl Layer {
    fn at(&self, index: usize) -> Option<&TreeEntry> {
        self.tree.entries().get(index)
    }
}

impl FlatIndex for Layer {
    fn len(&self) -> usize {
        self.tree.entries().len()
    }

    fn path(&self, index: usize) -> &str {
        self.at(index).map_or("", |entry| entry.path.as_str())
    }

    fn entry(&self, index: usize) -> Entry {
        match self.at(index) {
            Some(entry) => Entry::File {
                source: self.store.source(entry.digest, entry.size, &self.faults),
                executable: entry.executable,
            },
            None => Entry::File {
                source: Source::empty(),
                executable: false,
            },
        }
    }
}
