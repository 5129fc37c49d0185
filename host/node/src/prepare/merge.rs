//! The outputs of all instances of a task as one tree: what is at `/in/<task>/` of those that come after it.
//!
//! Instances may write the same file as long as it has the same content; where it differs, nobody could say which one
//! is meant, so it is an error that names both. Called by `prepare`, once a task.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use sykli_core::id::Digest;
use sykli_core::tree::{Tree, TreeEntry};

use super::{Context, NotReady};

/// Merges the outputs of a declared task's instances, which have all settled well, and stores the tree.
pub(super) fn merge(context: &Context, task: usize) -> Result<Digest, NotReady> {
    let lost = || NotReady::lost("an output that it comes after");
    let range = context
        .plan
        .groups
        .get(task)
        .map(|group| group.instances.clone())
        .ok_or_else(lost)?;
    let mut digests = range
        .clone()
        .map(|instance| context.output(instance).ok_or_else(lost));
    if range.len() == 1 {
        return digests.next().unwrap_or_else(|| Err(lost()));
    }
    let mut trees = Vec::with_capacity(range.len());
    for (instance, digest) in range.zip(digests) {
        let tree = context.store.tree(&digest?).ok_or_else(lost)?;
        let label = context
            .plan
            .tasks
            .get(instance as usize)
            .map_or("", |instance| &instance.label);
        trees.push((label, tree));
    }
    let entries = union(&trees)?;
    let name = context
        .plan
        .pipeline
        .tasks
        .get(task)
        .map_or("", |task| task.name.as_str());
    let tree = Tree::new(entries).map_err(|error| {
        let message = format!("the outputs of `{name}` do not fit together: {error}");
        NotReady::new("task::output-conflict", message, Some(HINT.to_owned()))
    })?;
    context
        .store
        .put_tree(&tree)
        .map_err(|error| NotReady::store(&error))
}

const HINT: &str = "give each instance names of its own, e.g. with `{item.stem}` or `{index}` in `args` and `outputs`";

fn union(trees: &[(&str, Arc<Tree>)]) -> Result<Vec<TreeEntry>, NotReady> {
    let mut entries: BTreeMap<&str, (&str, &TreeEntry)> = BTreeMap::new();
    for (label, tree) in trees {
        for entry in tree.entries() {
            match entries.entry(&entry.path) {
                Entry::Vacant(slot) => drop(slot.insert((label, entry))),
                Entry::Occupied(slot) if slot.get().1 == entry => {}
                Entry::Occupied(slot) => {
                    let message = format!(
                        "`{}` and `{label}` both write `{}`, with different content",
                        slot.get().0,
                        entry.path
                    );
                    return Err(NotReady::new(
                        "task::output-conflict",
                        message,
                        Some(HINT.to_owned()),
                    ));
                }
            }
        }
    }
    Ok(entries
        .into_values()
        .map(|(_, entry)| entry.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Arc<Tree> {
        let entry = |(path, content): &(&str, &str)| TreeEntry {
            path: (*path).to_owned(),
            digest: Digest::of(content.as_bytes()),
            size: content.len() as u64,
            executable: false,
        };
        Arc::new(Tree::new(files.iter().map(entry).collect()).unwrap())
    }

    #[test]
    fn same_files_meet_and_different_ones_name_both_instances() {
        let merged = union(&[
            ("a", tree(&[("x", "1"), ("z", "3")])),
            ("b", tree(&[("x", "1"), ("y", "2")])),
        ])
        .unwrap();
        assert_eq!(
            merged
                .iter()
                .map(|entry| entry.path.as_str())
                .collect::<Vec<_>>(),
            ["x", "y", "z"]
        );
        let error = union(&[
            ("t[1/2]", tree(&[("x", "1")])),
            ("t[2/2]", tree(&[("x", "2")])),
        ])
        .unwrap_err();
        assert_eq!(error.code, "task::output-conflict");
        assert_eq!(
            error.report.message,
            "`t[1/2]` and `t[2/2]` both write `x`, with different content"
        );
    }
}
