//! Matching patterns against the files of the project.
//!
//! Never an input: what is under `.git`, `.sykli` or an unnamed `target`, and what a task writes into the project, since
//! a result must not depend on whether there was a run before. Caller: [`super::build`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Listing, MAX_INPUT_MATCHES};
use crate::diagnostic::{Diagnostic, quote};
use crate::glob::{Pattern, Within, folder_and_name, name_in};
use crate::pipeline::validate::input_is_output;
use crate::pipeline::{Origin, Pipeline, Task};
use crate::template::{Part, Placeholder, Template};

/// The most patterns that one output with placeholders is generalised to.
const MAX_GENERALISED: usize = 16;

/// The files of the project, less what tasks write.
pub(super) struct Files<'a> {
    pipeline: &'a Pipeline,
    listing: &'a Listing,
    /// For each file the task that writes it, [`NOBODY`] mostly.
    writers: Vec<u32>,
    /// What lists of patterns match, so that tasks that say the same share it.
    matched: BTreeMap<Vec<Pattern>, Arc<[u32]>>,
    total_matches: usize,
}

const NOBODY: u32 = u32::MAX;

impl<'a> Files<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, listing: &'a Listing) -> Files<'a> {
        let writers = vec![NOBODY; listing.files().len()];
        let mut files = Files {
            pipeline,
            listing,
            writers,
            matched: BTreeMap::new(),
            total_matches: 0,
        };
        for (index, task) in pipeline
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| task.export)
        {
            let writer = u32::try_from(index).unwrap_or(NOBODY);
            for pattern in task.outputs.iter().flat_map(generalised) {
                for file in files.candidates(&pattern) {
                    if let Some(slot) = files.writers.get_mut(file).filter(|slot| **slot == NOBODY)
                    {
                        *slot = writer;
                    }
                }
            }
        }
        files
    }

    /// The files that match a pattern, whoever writes them.
    fn candidates(&self, pattern: &Pattern) -> Vec<usize> {
        self.matches(pattern, |_| true)
    }

    /// The files that match a pattern and lie in a folder that `enters`. Files of a folder are neighbours, so what is
    /// the same for all of them is found once.
    fn matches(&self, pattern: &Pattern, enters: impl Fn(&str) -> bool) -> Vec<usize> {
        let files = self.listing.files();
        if let Some(path) = pattern.as_literal() {
            let found = self.listing.find(path).map(|index| index as usize);
            return found
                .filter(|_| enters(folder_and_name(path).0))
                .into_iter()
                .collect();
        }
        let prefix = if pattern.base().is_empty() {
            String::new()
        } else {
            format!("{}/", pattern.base())
        };
        let start = files.partition_point(|file| *file.path < *prefix);
        let inside = files.get(start..).unwrap_or_default();
        let end = inside.partition_point(|file| file.path.starts_with(&prefix));
        let inside = inside.get(..end).unwrap_or_default();
        let mut current: Option<(&str, Option<Within<'_>>)> = None;
        let mut found = Vec::new();
        for (offset, file) in inside.iter().enumerate() {
            let same = current
                .as_ref()
                .and_then(|(folder, within)| Some((name_in(folder, &file.path)?, within)));
            let (name, within) = match same {
                Some(same) => same,
                None => {
                    let (folder, name) = folder_and_name(&file.path);
                    let within = enters(folder).then(|| pattern.within(folder));
                    (name, &current.insert((folder, within)).1)
                }
            };
            if within.as_ref().is_some_and(|within| within.matches(name)) {
                found.push(start + offset);
            }
        }
        found
    }

    /// The files that are inputs by this pattern.
    fn inputs_of(&self, pattern: &Pattern) -> impl Iterator<Item = u32> {
        let files = self.matches(pattern, |folder| !pattern.skips_folder(folder));
        files
            .into_iter()
            .filter(|file| self.writers.get(*file) == Some(&NOBODY))
            .filter_map(|file| u32::try_from(file).ok())
    }

    /// What a task's `inputs` match.
    pub(super) fn inputs(&mut self, task: &Task) -> Result<Arc<[u32]>, Vec<Diagnostic>> {
        self.matching(task, &task.inputs, &task.origins.inputs)
    }

    /// What a task's foreach glob matches.
    pub(super) fn items(
        &mut self,
        task: &Task,
        pattern: &Pattern,
    ) -> Result<Arc<[u32]>, Diagnostic> {
        let found = self.matching(
            task,
            std::slice::from_ref(pattern),
            std::slice::from_ref(&task.origins.foreach),
        );
        found.map_err(|mut found| found.swap_remove(0))
    }

    fn matching(
        &mut self,
        task: &Task,
        patterns: &[Pattern],
        origins: &[Origin],
    ) -> Result<Arc<[u32]>, Vec<Diagnostic>> {
        if let Some(files) = self.matched.get(patterns) {
            return Ok(Arc::clone(files));
        }
        let (mut all, mut found) = (Vec::new(), Vec::new());
        for (index, pattern) in patterns.iter().enumerate() {
            let before = all.len();
            all.extend(self.inputs_of(pattern));
            if all.len() == before {
                let at = origins.get(index).unwrap_or(&task.origins.name);
                found.push(self.nothing(task, pattern, at));
            }
        }
        self.total_matches = self.total_matches.saturating_add(all.len());
        if self.total_matches > MAX_INPUT_MATCHES {
            let message = format!(
                "up to task `{}`, inputs match more than {MAX_INPUT_MATCHES} files",
                task.name
            );
            found.push(
                task.origins
                    .name
                    .diagnostic("pipeline::too-large", message)
                    .label("too many"),
            );
        }
        if !found.is_empty() {
            return Err(found);
        }
        // What one pattern matches ascends already.
        if !all.is_sorted_by(|a, b| a < b) {
            all.sort_unstable();
            all.dedup();
        }
        let files: Arc<[u32]> = all.into();
        self.matched.insert(patterns.to_vec(), Arc::clone(&files));
        Ok(files)
    }

    /// Why a pattern matches nothing.
    fn nothing(&self, task: &Task, pattern: &Pattern, at: &Origin) -> Diagnostic {
        let candidates = self.candidates(pattern);
        let written = candidates
            .iter()
            .find_map(|file| Some((*file, self.writer(*file)?)));
        let quoted = quote(pattern.as_str());
        if let (Some(path), Some((_, writer))) = (pattern.as_literal(), written) {
            return input_is_output(task, &writer.name, path, at);
        }
        let diagnostic = if pattern.is_literal() {
            let message = format!("{quoted}, an input of task `{}`, is not there", task.name);
            let missing = at
                .diagnostic("pipeline::missing-input", message)
                .label("no such file");
            missing.hint(format!(
                "if it is a folder, all that is in it: `{pattern}/**`"
            ))
        } else {
            let message = format!("{quoted} of task `{}` matches no file", task.name);
            at.diagnostic("pipeline::empty-glob", message)
                .label("matches nothing")
        };
        if let Some((_, writer)) = written {
            return diagnostic
                .hint(format!(
                    "what it matches is written by task `{}`, and so is no input",
                    writer.name
                ))
                .hint(format!(
                    "to read that, write `after = [\"{0}\"]`: it is in `/in/{0}/`",
                    writer.name
                ));
        }
        if !candidates.is_empty() {
            return diagnostic.hint("`.git`, `.sykli` and `target` folders are no inputs; `target` is where it is named");
        }
        diagnostic.hint(
            "paths are relative to the pipeline's folder; `**` goes into folders, `*` does not",
        )
    }

    fn writer(&self, file: usize) -> Option<&'a Task> {
        self.pipeline.tasks.get(*self.writers.get(file)? as usize)
    }

    /// Whether one of these (ascending) files is inside a folder.
    pub(super) fn any_in(&self, files: &[u32], folder: &str) -> bool {
        let prefix = format!("{folder}/");
        let path_of = |file: &u32| {
            self.listing
                .files()
                .get(*file as usize)
                .map_or("", |entry| &entry.path)
        };
        let at = files.partition_point(|file| path_of(file) < prefix.as_str());
        files
            .get(at)
            .is_some_and(|file| path_of(file).starts_with(&prefix))
    }

    /// The file at `path`, unless a task writes it.
    pub(super) fn find_input(&self, path: &str) -> Option<u32> {
        self.listing
            .find(path)
            .filter(|file| self.writers.get(*file as usize) == Some(&NOBODY))
    }

    pub(super) fn path(&self, file: u32) -> Option<Arc<str>> {
        self.listing
            .files()
            .get(file as usize)
            .map(|entry| Arc::clone(&entry.path))
    }
}

/// Patterns that cover whatever an output can be once it is filled in.
fn generalised(output: &Template) -> Vec<Pattern> {
    let mut texts = vec![String::new()];
    for part in output.parts() {
        match part {
            Part::Text(text) => texts.iter_mut().for_each(|one| one.push_str(text)),
            // These can hold a `/`, so they may stand for several segments.
            Part::Value(Placeholder::Item | Placeholder::Key(_)) => {
                let deep = texts
                    .iter()
                    .map(|one| format!("{one}*/**/*"))
                    .take(MAX_GENERALISED - texts.len());
                let deep: Vec<String> = deep.collect();
                texts.iter_mut().for_each(|one| one.push('*'));
                texts.extend(deep);
            }
            Part::Value(_) => texts.iter_mut().for_each(|one| one.push('*')),
        }
    }
    texts
        .iter()
        .filter_map(|text| Pattern::new(text).ok())
        .collect()
}
