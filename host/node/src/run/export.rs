//! Declared outputs of what passed → the project folder.
//!
//! Which outputs: those of selected instances of tasks with `export` that settled well. How they are written, and what
//! is never written over, is `materialise`'s. Called by `run`, when a round is over.

use std::path::Path;

use sykli_core::id::TaskId;

use super::RunRequest;
use crate::events::Problem;
use crate::materialise::{Materialised, Output, Protected, Refused, materialise};
use crate::prepare::Context;

/// What was written.
#[derive(Default)]
pub(super) struct Exported {
    /// Relative paths, sorted.
    pub(super) written: Vec<String>,
    pub(super) unchanged: u64,
    /// Outputs that are not where they belong.
    pub(super) refused: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Content of an earlier result is gone: another round makes it anew.
    pub(super) lost: bool,
}

/// Writes the outputs into `request.root`.
pub(super) fn export(
    context: &Context,
    request: &RunRequest,
    selected: Option<&[bool]>,
) -> Exported {
    let mut exported = Exported::default();
    let outputs = outputs(context, selected, &mut exported);
    if outputs.is_empty() || exported.lost {
        return exported;
    }
    match materialise(&context.store, &request.root, outputs, &protected(request)) {
        Ok(done) => exported.take(done),
        Err(error) => exported.refused.push(Problem {
            code: "export::folder",
            message: format!("outputs could not be written into the project folder: {error}"),
            hint: "see that the folder is there and that you may write in it".to_owned(),
        }),
    }
    exported
}

impl Exported {
    fn take(&mut self, done: Materialised) {
        self.written = done.written;
        self.unchanged = done.unchanged.len() as u64;
        for (path, reason) in done.refused {
            self.lost |= matches!(reason, Refused::Lost(_));
            self.refused.push(Problem {
                code: reason.code(),
                message: format!("`{path}` was not written: {reason}"),
                hint: reason.hint(),
            });
        }
    }
}

fn outputs(context: &Context, selected: Option<&[bool]>, exported: &mut Exported) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for index in 0..u32::try_from(context.plan.tasks.len()).unwrap_or(u32::MAX) {
        let Some((instance, _)) = context
            .instance(TaskId(index))
            .filter(|(_, task)| task.export)
        else {
            continue;
        };
        let wanted = selected.is_none_or(|selected| selected.get(index as usize) == Some(&true));
        let Some(digest) = context
            .output(index)
            .filter(|_| wanted && !instance.outputs.is_empty())
        else {
            continue;
        };
        let Some(tree) = context.store.tree(&digest) else {
            exported.lost = true;
            continue;
        };
        outputs.extend(tree.entries().iter().map(|entry| Output {
            label: instance.label.to_string(),
            path: entry.path.clone(),
            digest: entry.digest,
            size: entry.size,
            executable: entry.executable,
        }));
    }
    // Instances may agree on a file; only where they differ is it nobody's.
    outputs
        .sort_by(|a, b| (&a.path, a.digest, a.executable).cmp(&(&b.path, b.digest, b.executable)));
    outputs.dedup_by(|a, b| (&a.path, a.digest, a.executable) == (&b.path, b.digest, b.executable));
    outputs
}

fn protected(request: &RunRequest) -> Protected {
    let mut paths: Vec<String> = request
        .pipeline
        .tasks
        .iter()
        .map(|task| task.program.path().to_owned())
        .collect();
    paths.extend(relative(&request.pipeline_path, &request.root));
    Protected { paths }
}

fn relative(path: &Path, root: &Path) -> Option<String> {
    let (path, root) = (path.canonicalize().ok()?, root.canonicalize().ok()?);
    Some(path.strip_prefix(root).ok()?.to_str()?.to_owned())
}
