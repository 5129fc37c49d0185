//! What a guest left under `/out` → the tree that is kept of it.
//!
//! Kept is what matches the task's `outputs`; the rest is dropped and told. A declared file that is missing is an
//! error: what comes after counts on it. Contents go into the store as they are, never through memory of ours. Called
//! by `worker`.

use sykli_core::glob::Pattern;
use sykli_core::tree::{Tree, TreeEntry, TreeError};
use sykli_runtime::{ChangedFile, Changes};

use crate::store::{Store, StoreError};

/// Names of dropped files that are told.
const MAX_TOLD: usize = 5;

/// The kept part of what a guest left.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) tree: Tree,
    /// Files that no pattern matches.
    pub(crate) dropped: Vec<String>,
}

/// Why a guest's outputs cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("did not write the declared output `{path}`{}", similar(.instead))]
    Missing {
        path: String,
        /// What it wrote that nobody declared.
        instead: Vec<String>,
    },
    #[error("left files that cannot be kept together: {0}")]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn similar(instead: &[String]) -> String {
    if instead.is_empty() {
        " under /out".to_owned()
    } else {
        format!(" under /out, but {}", told(instead))
    }
}

/// `a, b and 3 more`.
pub(crate) fn told(paths: &[String]) -> String {
    let shown: Vec<String> = paths
        .iter()
        .take(MAX_TOLD)
        .map(|path| format!("`{path}`"))
        .collect();
    match paths.len().saturating_sub(MAX_TOLD) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Stores the files that match `patterns` and names those that do not.
pub(crate) fn keep(
    store: &Store,
    changes: &[Changes],
    patterns: &[Pattern],
) -> Result<Kept, OutputError> {
    let files = changes.iter().flat_map(|changes| changes.files.iter());
    let (kept, dropped): (Vec<&ChangedFile>, Vec<&ChangedFile>) =
        files.partition(|file| patterns.iter().any(|pattern| pattern.matches(&file.path)));
    let dropped: Vec<String> = dropped.into_iter().map(|file| file.path.clone()).collect();
    for path in patterns.iter().filter_map(Pattern::as_literal) {
        if !kept.iter().any(|file| file.path == path) {
            return Err(OutputError::Missing {
                path: path.to_owned(),
                instead: dropped,
            });
        }
    }
    let mut entries = Vec::with_capacity(kept.len());
    for file in kept {
        let (digest, size) = store.put_content(&file.content)?;
        entries.push(TreeEntry {
            path: file.path.clone(),
            digest,
            size,
            executable: file.executable,
        });
    }
    Ok(Kept {
        tree: Tree::new(entries)?,
        dropped,
    })
}
