//! What a task is repeated for, one item after the other.
//!
//! Items are named and counted here; nothing is filled in. Caller: [`super::build`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::Files;

/// What a task is repeated for.
pub(super) enum Items<'a> {
    /// Nothing: it runs once.
    Once,
    /// So many shares.
    Shards(u32),
    /// Files of the listing, and the folder that their names begin with.
    Files {
        files: Arc<[u32]>,
        base: &'a str,
    },
    Values(&'a [String]),
    /// Each combination of one value per key.
    Matrix {
        keys: &'a BTreeMap<String, Vec<String>>,
        count: u32,
    },
}

/// Which value each key of a matrix has, in the order of the keys.
pub(super) struct Odometer(Vec<usize>);

impl<'a> Items<'a> {
    pub(super) fn count(&self) -> u32 {
        match self {
            Items::Once => 1,
            Items::Shards(count) | Items::Matrix { count, .. } => *count,
            Items::Files { files, .. } => u32::try_from(files.len()).unwrap_or(u32::MAX),
            Items::Values(values) => u32::try_from(values.len()).unwrap_or(u32::MAX),
        }
    }

    /// The first combination.
    pub(super) fn odometer(&self) -> Odometer {
        match self {
            Items::Matrix { keys, .. } => Odometer(vec![0; keys.len()]),
            _ => Odometer(Vec::new()),
        }
    }

    /// Moves to the next combination: the last key changes fastest.
    pub(super) fn step(&self, odometer: &mut Odometer) {
        let Items::Matrix { keys, .. } = self else {
            return;
        };
        for (values, position) in keys.values().zip(&mut odometer.0).rev() {
            *position += 1;
            if *position < values.len() {
                return;
            }
            *position = 0;
        }
    }

    /// The matrix keys and their values in this combination.
    pub(super) fn keys(&self, odometer: &Odometer) -> Vec<(&'a str, &'a str)> {
        let Items::Matrix { keys, .. } = self else {
            return Vec::new();
        };
        let chosen = keys.iter().zip(&odometer.0);
        chosen
            .map(|((key, values), at)| (key.as_str(), values.get(*at).map_or("", String::as_str)))
            .collect()
    }

    /// What the instance is for, as the guest is told.
    pub(super) fn item(
        &self,
        index: u32,
        keys: &[(&str, &str)],
        files: &Files<'_>,
    ) -> Option<Arc<str>> {
        match self {
            Items::Once | Items::Shards(_) => None,
            Items::Files { .. } => self.file(index).and_then(|file| files.path(file)),
            Items::Values(values) => values
                .get(index as usize)
                .map(|value| value.as_str().into()),
            Items::Matrix { .. } => {
                let pairs: Vec<String> = keys
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                Some(pairs.join(",").into())
            }
        }
    }

    /// The item's index in the listing, where it is a file.
    pub(super) fn file(&self, index: u32) -> Option<u32> {
        let Items::Files { files, .. } = self else {
            return None;
        };
        files.get(index as usize).copied()
    }

    /// The instance's name.
    pub(super) fn label(
        &self,
        task: &str,
        index: u32,
        count: u32,
        item: Option<&str>,
        keys: &[(&str, &str)],
    ) -> Arc<str> {
        let item = item.unwrap_or_default();
        match self {
            Items::Once => task.into(),
            Items::Shards(_) => format!("{task}[{}/{count}]", index.saturating_add(1)).into(),
            Items::Files { base, .. } => {
                let short = item
                    .strip_prefix(base)
                    .and_then(|rest| rest.strip_prefix('/'))
                    .unwrap_or(item);
                format!("{task}[{short}]").into()
            }
            Items::Values(_) => format!("{task}[{item}]").into(),
            Items::Matrix { .. } => {
                let values: Vec<&str> = keys.iter().map(|(_, value)| *value).collect();
                format!("{task}[{}]", values.join(",")).into()
            }
        }
    }
}
