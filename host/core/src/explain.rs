//! What changed between two manifests of one task: why a cached result no longer fits.
//!
//! [`diff`] compares manifests field by field, [`diff_trees`] says which files make two input trees differ; the caller
//! looks up the two trees that a [`Change::Input`] names, as trees are blobs and this reads none. Values of environment
//! variables are compared but never repeated: they may be secrets. Called by the node for `cache why` and
//! `plan --explain`. Every change displays as a lower-case fragment without a full stop.

use crate::id::Digest;
use crate::manifest::Manifest;
use crate::tree::{Tree, TreeEntry};
use serde::Serialize;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How something that has a name differs between then and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// It is there now and was not.
    Added,
    /// It was there and is not now.
    Removed,
    /// It is another.
    Changed,
}

impl Difference {
    fn of<T: PartialEq>(old: Option<T>, new: Option<T>) -> Option<Difference> {
        match (old, new) {
            (None, Some(_)) => Some(Difference::Added),
            (Some(_), None) => Some(Difference::Removed),
            (Some(old), Some(new)) if old != new => Some(Difference::Changed),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::Added => "added",
            Difference::Removed => "removed",
            Difference::Changed => "changed",
        })
    }
}

/// One difference between two manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
#[non_exhaustive]
pub enum Change {
    /// Another component.
    Component {
        /// Its digest then.
        old: Digest,
        /// Its digest now.
        new: Digest,
    },
    /// An input tree: the files that differ are told by [`diff_trees`] of the two.
    Input {
        /// `""` for the workspace, else the task whose outputs they are.
        prefix: String,
        /// The tree then.
        old: Option<Digest>,
        /// The tree now.
        new: Option<Digest>,
    },
    /// What is given on stdin.
    Stdin {
        /// Its digest then.
        old: Option<Digest>,
        /// Its digest now.
        new: Option<Digest>,
    },
    /// Arguments, from one position on; what they have in common at both ends is left out.
    Args {
        /// Position of the first that differs, from 0.
        at: usize,
        /// Those that stood there.
        old: Vec<String>,
        /// Those that stand there now.
        new: Vec<String>,
    },
    /// An environment variable. Its value is not told: it may be a secret.
    Env {
        /// The variable.
        name: String,
        /// How it differs.
        difference: Difference,
    },
    /// A parameter.
    Param {
        /// Its name.
        name: String,
        /// Its value then, as JSON.
        old: Option<String>,
        /// Its value now, as JSON.
        new: Option<String>,
    },
    /// The item that the instance is for.
    Item {
        /// Then.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// Which part of how many.
    Shard {
        /// `index/count` then, the index from 0.
        old: String,
        /// `index/count` now.
        new: String,
    },
    /// The task's name.
    Name {
        /// Then.
        old: String,
        /// Now.
        new: String,
    },
    /// A pattern of outputs.
    Output {
        /// The pattern.
        pattern: String,
        /// Added or removed.
        difference: Difference,
    },
    /// A limit.
    Limit {
        /// `fuel`, `memory` or `output`.
        limit: &'static str,
        /// Then: fuel, or bytes.
        old: u64,
        /// Now.
        new: u64,
    },
    /// A grant: `clock`, `random`, or `net` with its host.
    Grant {
        /// The grant.
        grant: String,
        /// Added or removed.
        difference: Difference,
    },
    /// `floats`: fast or portable.
    Floats,
    /// The runtime shows guests something else than it did.
    Semantics {
        /// The version then.
        old: u32,
        /// The version now.
        new: u32,
    },
}

/// What differs, the likeliest causes first. Empty exactly when the manifests are equal.
#[must_use]
pub fn diff(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.component != new.component {
        changes.push(Change::Component {
            old: old.component,
            new: new.component,
        });
    }
    for prefix in union(old.inputs.keys(), new.inputs.keys()) {
        let (old, new) = (old.inputs.get(prefix), new.inputs.get(prefix));
        if old != new {
            changes.push(Change::Input {
                prefix: prefix.clone(),
                old: old.copied(),
                new: new.copied(),
            });
        }
    }
    if old.stdin != new.stdin {
        changes.push(Change::Stdin {
            old: old.stdin,
            new: new.stdin,
        });
    }
    changes.extend(diff_args(&old.args, &new.args));
    for name in union(old.env.keys(), new.env.keys()) {
        if let Some(difference) = Difference::of(old.env.get(name), new.env.get(name)) {
            changes.push(Change::Env {
                name: name.clone(),
                difference,
            });
        }
    }
    diff_params(old, new, &mut changes);
    if old.item != new.item {
        changes.push(Change::Item {
            old: old.item.clone(),
            new: new.item.clone(),
        });
    }
    if old.shard != new.shard {
        let text = |shard: crate::manifest::Shard| format!("{}/{}", shard.index, shard.count);
        changes.push(Change::Shard {
            old: text(old.shard),
            new: text(new.shard),
        });
    }
    if old.name != new.name {
        changes.push(Change::Name {
            old: old.name.clone(),
            new: new.name.clone(),
        });
    }
    diff_rules(old, new, &mut changes);
    changes
}

/// Outputs, limits, grants and what else a pipeline seldom changes.
fn diff_rules(old: &Manifest, new: &Manifest, changes: &mut Vec<Change>) {
    for (pattern, difference) in diff_sets(&old.outputs, &new.outputs) {
        changes.push(Change::Output {
            pattern: pattern.clone(),
            difference,
        });
    }
    let limits = [
        ("fuel", old.fuel, new.fuel),
        ("memory", old.memory_bytes, new.memory_bytes),
        ("output", old.output_bytes, new.output_bytes),
    ];
    for (limit, old, new) in limits {
        if old != new {
            changes.push(Change::Limit { limit, old, new });
        }
    }
    let flag = |set: bool| set.then_some(());
    let flags = [
        ("clock", old.grants.clock, new.grants.clock),
        ("random", old.grants.random, new.grants.random),
    ];
    for (grant, old, new) in flags {
        if let Some(difference) = Difference::of(flag(old), flag(new)) {
            changes.push(Change::Grant {
                grant: grant.to_owned(),
                difference,
            });
        }
    }
    for (host, difference) in diff_sets(&old.grants.net, &new.grants.net) {
        changes.push(Change::Grant {
            grant: format!("net {host}"),
            difference,
        });
    }
    if old.floats != new.floats {
        changes.push(Change::Floats);
    }
    if old.semantics != new.semantics {
        changes.push(Change::Semantics {
            old: old.semantics,
            new: new.semantics,
        });
    }
}

fn union<'a, T: Ord>(
    old: impl Iterator<Item = &'a T>,
    new: impl Iterator<Item = &'a T>,
) -> BTreeSet<&'a T> {
    old.chain(new).collect()
}

fn diff_sets<'a>(
    old: &'a BTreeSet<String>,
    new: &'a BTreeSet<String>,
) -> Vec<(&'a String, Difference)> {
    let removed = old.difference(new).map(|text| (text, Difference::Removed));
    removed
        .chain(new.difference(old).map(|text| (text, Difference::Added)))
        .collect()
}

fn diff_args(old: &[String], new: &[String]) -> Option<Change> {
    if old == new {
        return None;
    }
    let at = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old == new)
        .count();
    let (old, new) = (&old[at..], &new[at..]);
    let same = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let (old, new) = (&old[..old.len() - same], &new[..new.len() - same]);
    Some(Change::Args {
        at,
        old: old.to_vec(),
        new: new.to_vec(),
    })
}

fn diff_params(old: &Manifest, new: &Manifest, changes: &mut Vec<Change>) {
    if old.params == new.params {
        return;
    }
    let parse =
        |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap_or_default();
    let (old_params, new_params) = (parse(&old.params), parse(&new.params));
    let before = changes.len();
    for name in union(old_params.keys(), new_params.keys()) {
        let (old, new) = (old_params.get(name), new_params.get(name));
        if old != new {
            let text = |value: Option<&Value>| value.map(Value::to_string);
            changes.push(Change::Param {
                name: name.clone(),
                old: text(old),
                new: text(new),
            });
        }
    }
    if changes.len() == before {
        // The texts differ in form alone, which the guest can see all the same.
        let (old, new) = (Some(old.params.clone()), Some(new.params.clone()));
        changes.push(Change::Param {
            name: String::new(),
            old,
            new,
        });
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Component { .. } => f.write_str("component changed"),
            Change::Input { prefix, old, new } => {
                let difference = Difference::of(*old, *new).unwrap_or(Difference::Changed);
                match prefix.as_str() {
                    "" => write!(f, "workspace inputs {difference}"),
                    task => write!(f, "outputs of task {task:?} {difference}"),
                }
            }
            Change::Stdin { old, new } => {
                write!(
                    f,
                    "stdin {}",
                    Difference::of(*old, *new).unwrap_or(Difference::Changed)
                )
            }
            Change::Args { at, old, new } => {
                write!(
                    f,
                    "arguments from position {} changed: {} → {}",
                    at + 1,
                    List(old),
                    List(new)
                )
            }
            Change::Env { name, difference } => {
                write!(f, "environment variable {name:?} {difference}")
            }
            Change::Param { name, old, new } => {
                write!(
                    f,
                    "parameter {name:?} changed: {} → {}",
                    Or(old.as_deref()),
                    Or(new.as_deref())
                )
            }
            Change::Item { old, new } => {
                write!(
                    f,
                    "item changed: {} → {}",
                    Or(old.as_deref()),
                    Or(new.as_deref())
                )
            }
            Change::Shard { old, new } => write!(f, "shard changed: {old} → {new}"),
            Change::Name { old, new } => write!(f, "task name changed: {old:?} → {new:?}"),
            Change::Output {
                pattern,
                difference,
            } => write!(f, "output {pattern:?} {difference}"),
            Change::Limit {
                limit: "fuel",
                old,
                new,
            } => write!(f, "fuel limit changed: {old} → {new}"),
            Change::Limit { limit, old, new } => {
                write!(f, "{limit} limit changed: {old} → {new} bytes")
            }
            Change::Grant { grant, difference } => write!(f, "grant {grant:?} {difference}"),
            Change::Floats => f.write_str("floats changed between fast and portable"),
            Change::Semantics { old, new } => {
                write!(
                    f,
                    "sykli's runtime semantics changed: version {old} → {new}"
                )
            }
        }
    }
}

/// `(none)` for what is not there.
struct Or<'a>(Option<&'a str>);

impl fmt::Display for Or<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("(none)"))
    }
}

/// A few of the texts, quoted.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        if self.0.is_empty() {
            return f.write_str("(none)");
        }
        for (at, text) in self.0.iter().take(SHOWN).enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{text:?}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// One file in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path in the tree.
    pub path: String,
    /// How it differs. A file that only became executable, or ceased to be, has changed.
    pub difference: Difference,
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.path, self.difference)
    }
}

/// The files in which two trees differ, sorted by path.
#[must_use]
pub fn diff_trees(old: &Tree, new: &Tree) -> Vec<FileChange> {
    let mut changes = Vec::new();
    let mut push = |entry: &TreeEntry, difference| {
        changes.push(FileChange {
            path: entry.path.clone(),
            difference,
        });
    };
    let (mut old, mut new) = (
        old.entries().iter().peekable(),
        new.entries().iter().peekable(),
    );
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        match order {
            Ordering::Less => old
                .next()
                .into_iter()
                .for_each(|gone| push(gone, Difference::Removed)),
            Ordering::Greater => new
                .next()
                .into_iter()
                .for_each(|entry| push(entry, Difference::Added)),
            Ordering::Equal => {
                if let (Some(old), Some(new)) = (old.next(), new.next())
                    && old != new
                {
                    push(new, Difference::Changed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
