//! `sykli validate`: reads, checks and expands a pipeline against the project's files; runs and builds nothing.

use std::collections::BTreeMap;
use std::path::Path;

use sykli_core::diagnostic::Diagnostic;
use sykli_core::pipeline::{Pipeline, Program, Task};
use sykli_node::workspace;

use super::{Context, Loaded, load};
use crate::args::ValidateArgs;
use crate::error::{CliError, Exit, Outcome};
use crate::render::json::{ValidTask, ValidateDoc};
use crate::render::text::plural;
use crate::render::{self, escape};

/// See the module.
pub(crate) fn validate(context: &Context, args: &ValidateArgs) -> Outcome {
    let loaded = load(context, &args.pipeline)?;
    let instances = expand(&loaded)?;
    let doc = document(&loaded.pipeline, &loaded.source.name, &instances);
    if context.format().is_machine() {
        render::document(&doc, context.format());
    } else {
        let (tasks, all) = (
            plural(doc.tasks.len() as u64, "task"),
            plural(doc.instances.into(), "instance"),
        );
        render::out(&format!(
            "{} is valid: {tasks}, {all}\n",
            escape::clean(&doc.file)
        ));
    }
    Ok(Exit::Passed)
}

/// Instances of each declared task, with the project's files as they are. Programs must be there, too.
fn expand(loaded: &Loaded) -> Result<Vec<u32>, CliError> {
    let missing: Vec<Diagnostic> = loaded
        .pipeline
        .tasks
        .iter()
        .filter_map(|task| missing_program(&loaded.at.root, task))
        .collect();
    if !missing.is_empty() {
        return Err(CliError::diagnostics(loaded.source.clone(), missing));
    }
    let listed = workspace::list(&loaded.at.root, &loaded.pipeline.workspace_patterns())
        .map_err(|error| CliError::usage(error.code(), error.to_string()).hint(error.hint()))?;
    let plan = sykli_core::expand::plan(&loaded.pipeline, &listed.listing, &BTreeMap::new())
        .map_err(|found| CliError::diagnostics(loaded.source.clone(), found))?;
    Ok(plan
        .groups
        .iter()
        .map(|group| group.instances.end.saturating_sub(group.instances.start))
        .collect())
}

fn missing_program(root: &Path, task: &Task) -> Option<Diagnostic> {
    let (path, message, hint) = match &task.program {
        Program::Component(path) => (
            root.join(path),
            format!("the component `{path}` of `{}` does not exist", task.name),
            "build it, correct the path, or name the task's crate with `crate` and sykli builds it",
        ),
        Program::Crate(path) | Program::Tests(path) => (
            root.join(path).join("Cargo.toml"),
            format!("the crate `{path}` of `{}` has no Cargo.toml", task.name),
            "`sykli new task NAME` writes a crate",
        ),
    };
    let problem = || {
        task.origins
            .program
            .diagnostic("pipeline::missing-program", message)
            .label("not there")
            .hint(hint)
    };
    (!path.is_file()).then(problem)
}

fn document(pipeline: &Pipeline, file: &str, instances: &[u32]) -> ValidateDoc {
    let name = |index: &usize| pipeline.tasks.get(*index).map(|task| task.name.clone());
    let tasks = pipeline
        .tasks
        .iter()
        .zip(instances)
        .map(|(task, instances)| ValidTask {
            name: task.name.clone(),
            pure: task.grants.is_pure(),
            instances: *instances,
            after: task.after.iter().filter_map(name).collect(),
        });
    ValidateDoc {
        schema: "sykli.validate/1",
        valid: true,
        file: file.to_owned(),
        pipeline: pipeline.name.clone(),
        tasks: tasks.collect(),
        instances: instances
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count)),
    }
}
