//! Several folders shown as one: `/in` is the workspace with a folder for each task it comes after.
//!
//! Nothing is copied or listed ahead: a name is looked up in each part when a guest asks. Parts must not disagree (the
//! pipeline's validation sees to it); where two have a file of one name, the earlier part has it. It never writes.
//! Called by `worker`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sykli_runtime::{DirSource, Entry};

/// A folder made of parts.
#[derive(Default)]
pub(crate) struct Overlay {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    /// Names to go down before `dir` begins, the next one last.
    below: Vec<String>,
    dir: Arc<dyn DirSource>,
}

impl Overlay {
    /// Adds `dir` at a '/'-separated `prefix`; empty for the top.
    pub(crate) fn add(&mut self, prefix: &str, dir: Arc<dyn DirSource>) {
        let below = prefix
            .split('/')
            .rev()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        self.parts.push(Part { below, dir });
    }

    /// As a folder; the part itself where there is only one, at the top.
    pub(crate) fn into_dir(mut self) -> Arc<dyn DirSource> {
        if self.parts.len() == 1
            && self.parts.iter().all(|part| part.below.is_empty())
            && let Some(part) = self.parts.pop()
        {
            return part.dir;
        }
        Arc::new(self)
    }

    /// The part that goes on below `name`.
    fn descend(part: &Part) -> Part {
        let mut below = part.below.clone();
        below.pop();
        Part {
            below,
            dir: part.dir.clone(),
        }
    }
}

impl DirSource for Overlay {
    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        let mut names: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for part in &self.parts {
            match part.below.last() {
                Some(name) => names.entry(name.clone()).or_default().push(
                    Overlay {
                        parts: vec![Overlay::descend(part)],
                    }
                    .into_entry(),
                ),
                None => part
                    .dir
                    .list()?
                    .into_iter()
                    .for_each(|(name, entry)| names.entry(name).or_default().push(entry)),
            }
        }
        Ok(names
            .into_iter()
            .filter_map(|(name, entries)| Some((name, merge(entries)?)))
            .collect())
    }

    fn get(&self, name: &str) -> io::Result<Option<Entry>> {
        let mut entries = Vec::new();
        for part in &self.parts {
            match part.below.last() {
                Some(next) if next == name => entries.push(
                    Overlay {
                        parts: vec![Overlay::descend(part)],
                    }
                    .into_entry(),
                ),
                Some(_) => {}
                None => entries.extend(part.dir.get(name)?),
            }
        }
        Ok(merge(entries))
    }
}

impl Overlay {
    fn into_entry(self) -> Entry {
        Entry::Dir(self.into_dir())
    }
}

/// What is shown under a name that several parts have.
fn merge(mut entries: Vec<Entry>) -> Option<Entry> {
    if entries.len() < 2 {
        return entries.pop();
    }
    if let Some(at) = entries
        .iter()
        .position(|entry| !matches!(entry, Entry::Dir(_)))
    {
        return Some(entries.swap_remove(at));
    }
    let mut overlay = Overlay::default();
    for entry in entries {
        if let Entry::Dir(dir) = entry {
            overlay.add("", dir);
        }
    }
    Some(overlay.into_entry())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sykli_runtime::Source;

    struct Names(&'static [&'static str]);

    impl DirSource for Names {
        fn list(&self) -> io::Result<Vec<(String, Entry)>> {
            let file = |name: &&str| {
                (
                    (*name).to_owned(),
                    Entry::File {
                        source: Source::bytes(name.to_string()),
                        executable: false,
                    },
                )
            };
            Ok(self.0.iter().map(file).collect())
        }
    }

    fn paths(dir: &dyn DirSource) -> Vec<String> {
        let mut found = Vec::new();
        for (name, entry) in dir.list().unwrap() {
            match entry {
                Entry::Dir(dir) => found.extend(
                    paths(dir.as_ref())
                        .into_iter()
                        .map(|path| format!("{name}/{path}")),
                ),
                _ => found.push(name),
            }
        }
        found
    }

    fn find(dir: &dyn DirSource, path: &str) -> bool {
        let (first, rest) = path
            .split_once('/')
            .map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (dir.get(first).unwrap(), rest) {
            (Some(Entry::Dir(dir)), Some(rest)) => find(dir.as_ref(), rest),
            (Some(Entry::File { .. }), None) => true,
            _ => false,
        }
    }

    #[test]
    fn parts_are_seen_as_one_folder_by_list_and_by_name() {
        let mut overlay = Overlay::default();
        overlay.add("", Arc::new(Names(&["a", "b"])));
        overlay.add("list", Arc::new(Names(&["index"])));
        overlay.add("photos/2024", Arc::new(Names(&["x.jpg"])));
        overlay.add("photos", Arc::new(Names(&["y.jpg"])));
        let dir = overlay.into_dir();
        assert_eq!(
            paths(dir.as_ref()),
            ["a", "b", "list/index", "photos/2024/x.jpg", "photos/y.jpg"]
        );
        for path in ["a", "list/index", "photos/2024/x.jpg", "photos/y.jpg"] {
            assert!(find(dir.as_ref(), path), "{path}");
        }
        for path in ["c", "list/x", "photos/2024/y.jpg", "2024"] {
            assert!(!find(dir.as_ref(), path), "{path}");
        }
    }

    #[test]
    fn one_part_at_the_top_is_the_folder_itself() {
        let mut overlay = Overlay::default();
        let part: Arc<dyn DirSource> = Arc::new(Names(&["a"]));
        overlay.add("", part.clone());
        assert!(Arc::ptr_eq(&overlay.into_dir(), &part));
        assert!(paths(Overlay::default().into_dir().as_ref()).is_empty());
    }
}
